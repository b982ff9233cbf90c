//! What the spools hold, and what their disk does.

use std::{
    fmt, io,
    sync::{Arc, Mutex, PoisonError, atomic::AtomicU64},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use disk_spool::{Observer, Spool, Usage};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric},
    metrics::{MetricType, counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};
use telemetry_wire::Signal;

use super::{Counters, Metrics, ReasonLabels, SignalLabels};

/// One fdatasync, in seconds: a disk with a cache to a network disk in trouble.
const SYNC_BUCKETS: [f64; 11] = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];

/// Frames of one group.
const GROUP_BUCKETS: [f64; 8] = [1.0, 2.0, 5.0, 10.0, 20.0, 50.0, 200.0, 1000.0];

/// The metrics of the disk; clones share them.
#[derive(Debug, Clone)]
pub(super) struct SpoolMetrics {
    sync_seconds: Family<SignalLabels, Histogram, fn() -> Histogram>,
    group_frames: Family<SignalLabels, Histogram, fn() -> Histogram>,
    appended_bytes: Counters<SignalLabels>,
    disk_errors: Counters<DiskErrorLabels>,
    recovered_items: Family<SignalLabels, Gauge>,
    watched: Arc<Mutex<Vec<(Signal, Spool)>>>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, prometheus_client::encoding::EncodeLabelSet)]
struct DiskErrorLabels {
    signal: &'static str,
    operation: &'static str,
    errno: i32,
}

/// Asks the spools when the metrics are scraped.
#[derive(Debug)]
struct SpoolCollector(Arc<Mutex<Vec<(Signal, Spool)>>>);

/// Tells the metrics what one spool's disk does.
#[derive(Debug)]
pub struct SpoolObserver {
    signal: Signal,
    metrics: Metrics,
}

impl SpoolMetrics {
    pub(super) fn unregistered() -> SpoolMetrics {
        SpoolMetrics {
            sync_seconds: Family::new_with_constructor(|| Histogram::new(SYNC_BUCKETS)),
            group_frames: Family::new_with_constructor(|| Histogram::new(GROUP_BUCKETS)),
            appended_bytes: Family::default(),
            disk_errors: Counters::<DiskErrorLabels>::default(),
            recovered_items: Family::default(),
            watched: Arc::default(),
        }
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        registry.register_with_unit(
            "edge_spool_sync",
            "Duration of one sync of the spool's disk",
            Unit::Seconds,
            self.sync_seconds.clone(),
        );
        registry.register(
            "edge_spool_group_frames",
            "Frames that shared one sync",
            self.group_frames.clone(),
        );
        registry.register_with_unit(
            "edge_spool_appended",
            "Bytes synced to the spool",
            Unit::Bytes,
            self.appended_bytes.clone(),
        );
        registry.register(
            "edge_spool_disk_errors",
            "Failed operations on the spool's disk",
            self.disk_errors.clone(),
        );
        registry.register(
            "edge_spool_recovered_items",
            "Items that the spool held when the process started",
            self.recovered_items.clone(),
        );
        registry.register_collector(Box::new(SpoolCollector(Arc::clone(&self.watched))));
    }
}

impl Metrics {
    /// Shows what a spool holds from now on.
    pub(crate) fn watch_spool(&self, signal: Signal, spool: &Spool, recovered_items: u64) {
        let metrics = &self.spool;
        let labels = SignalLabels { signal: signal.as_str() };
        metrics
            .recovered_items
            .get_or_create(&labels)
            .set(i64::try_from(recovered_items).unwrap_or(i64::MAX));
        metrics.watched.lock().unwrap_or_else(PoisonError::into_inner).push((signal, spool.clone()));
    }
}

impl SpoolObserver {
    pub(crate) fn new(signal: Signal, metrics: Metrics) -> SpoolObserver {
        SpoolObserver { signal, metrics }
    }
}

impl Observer for SpoolObserver {
    fn synced(&self, frames: usize, bytes: usize, took: Duration) {
        let labels = SignalLabels { signal: self.signal.as_str() };
        let metrics = &self.metrics.spool;
        metrics.sync_seconds.get_or_create(&labels).observe(took.as_secs_f64());
        metrics.group_frames.get_or_create(&labels).observe(frames as f64);
        metrics.appended_bytes.get_or_create(&labels).inc_by(bytes as u64);
    }

    fn disk_error(&self, operation: &'static str, error: &io::Error) {
        let errno = error.raw_os_error().unwrap_or_default();
        let labels = DiskErrorLabels { signal: self.signal.as_str(), operation, errno };
        self.metrics.spool.disk_errors.get_or_create(&labels).inc();
    }
}

impl Collector for SpoolCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let usages: Vec<(Signal, Usage)> =
            watched.iter().map(|(signal, spool)| (*signal, spool.usage())).collect();
        drop(watched);
        for (name, help, unit, value) in GAUGES {
            let family = Family::<SignalLabels, Gauge>::default();
            for (signal, usage) in &usages {
                let labels = SignalLabels { signal: signal.as_str() };
                family.get_or_create(&labels).set(i64::try_from(value(usage)).unwrap_or(i64::MAX));
            }
            family.encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)?;
        }
        for (name, help, unit, values) in LOSSES {
            let family = Counters::<ReasonLabels>::default();
            for (signal, usage) in &usages {
                for (reason, value) in values(usage) {
                    let labels = ReasonLabels { signal: signal.as_str(), reason };
                    let counter: &Counter<u64, AtomicU64> = &family.get_or_create(&labels);
                    counter.inc_by(value);
                }
            }
            family.encode(encoder.encode_descriptor(name, help, unit, MetricType::Counter)?)?;
        }
        Ok(())
    }
}

type Shown = (&'static str, &'static str, Option<&'static Unit>, fn(&Usage) -> u64);

const GAUGES: [Shown; 8] = [
    ("edge_spool_pending_items", "Items on the disk that no broker has acknowledged", None, |usage| {
        usage.pending.items
    }),
    ("edge_spool_pending_records", "Records on the disk that no broker has acknowledged", None, |usage| {
        usage.pending.frames
    }),
    ("edge_spool_pending", "Bytes of records that no broker has acknowledged", Some(&Unit::Bytes), |usage| {
        usage.pending.bytes
    }),
    ("edge_spool_in_flight_records", "Records on the disk that are with the producer", None, |usage| {
        usage.taken.frames
    }),
    ("edge_spool_disk", "Bytes of the spool's files", Some(&Unit::Bytes), |usage| usage.disk_bytes),
    ("edge_spool_quota", "Bytes that the spool may have", Some(&Unit::Bytes), |usage| usage.quota_bytes),
    (
        "edge_spool_oldest_pending",
        "Age of the oldest record on the disk",
        Some(&Unit::Seconds),
        oldest_seconds,
    ),
    ("edge_spool_refusing", "Whether the spool takes nothing now", None, |usage| {
        u64::from(usage.obstacle.is_some())
    }),
];

type Lost = (&'static str, &'static str, Option<&'static Unit>, fn(&Usage) -> Vec<(&'static str, u64)>);

const LOSSES: [Lost; 2] = [
    ("edge_spool_dropped_items", "Items dropped by the declared policy", None, |usage| {
        vec![("full", usage.dropped_full.items), ("age", usage.dropped_aged.items)]
    }),
    ("edge_spool_corrupt_items", "Items lost to damage of the disk", None, |usage| {
        vec![("corrupt", usage.corrupt.items)]
    }),
];

fn oldest_seconds(usage: &Usage) -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_millis();
    let age = usage.oldest_pending_ms.map(|then| now.saturating_sub(then.into()) / 1000);
    u64::try_from(age.unwrap_or_default()).unwrap_or(u64::MAX)
}
