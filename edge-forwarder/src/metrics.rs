//! Every metric of the edge, named once.
//!
//! They conserve: for each signal, `edge_receiver_items_total` + `edge_spool_recovered_items` =
//! `edge_publisher_acked_items_total` + `edge_publisher_dead_lettered_items_total` + `edge_publisher_refused_items_total`
//! + `edge_publisher_in_flight_items` + `edge_spool_pending_items` + `edge_spool_dropped_items_total`
//! + `edge_spool_corrupt_items_total`. Lines of log files count as received once they are handed to the publisher.

use std::{
    fmt,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicI64, AtomicU64},
    },
};

use kafka_client::{Producer, RangeRead};
use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
        histogram::Histogram,
    },
    registry::{Registry, Unit},
};
use service_runtime::http_server::Closings;
use telemetry_wire::Signal;

use crate::budget::MemoryBudget;

mod filelog;
mod spool;

pub(crate) use filelog::{FilelogMetrics, SeenFile, SeenLog};
use spool::SpoolMetrics;
pub use spool::SpoolObserver;

/// From the hand-over to the producer to the last ack of a request, in seconds.
const PUBLISH_BUCKETS: [f64; 12] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 5.0, 30.0];

type Counters<L> = Family<L, Counter<u64, AtomicU64>>;

/// The edge's counters; clones share them.
#[derive(Debug, Clone)]
pub struct Metrics {
    requests: Counters<RequestLabels>,
    items: Counters<SignalLabels>,
    refused: Counters<ReasonLabels>,
    unrecognized: Counters<SignalLabels>,
    closings: Closings,
    bytes: Counters<SignalLabels>,
    acked_items: Counters<SignalLabels>,
    refused_items: Counters<ReasonLabels>,
    dead_lettered_items: Counters<ReasonLabels>,
    in_flight_items: Family<SignalLabels, Gauge<i64, AtomicI64>>,
    in_flight_bytes: Family<SignalLabels, Gauge<i64, AtomicI64>>,
    records: Counters<PartitionLabels>,
    publish_seconds: Family<SignalLabels, Histogram, fn() -> Histogram>,
    kept_items: Counters<SignalLabels>,
    returned_records: Counters<SignalLabels>,
    found_records: Counters<SignalLabels>,
    read_back_bytes: Counter<u64, AtomicU64>,
    unverifiable: Counter<u64, AtomicU64>,
    producer: Arc<OnceLock<Producer>>,
    spool: SpoolMetrics,
    filelog: FilelogMetrics,
}

/// Reads the budget and the connection when the metrics are scraped.
#[derive(Debug)]
struct StateCollector {
    budget: MemoryBudget,
    producer: Arc<OnceLock<Producer>>,
}

/// How a request came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// OTLP/gRPC.
    Grpc,
    /// OTLP/HTTP.
    Http,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignalLabels {
    signal: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    signal: &'static str,
    transport: &'static str,
    code: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    signal: &'static str,
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PartitionLabels {
    topic: String,
    partition: i32,
}

impl Metrics {
    /// Registers every metric of the edge.
    pub fn register(registry: &mut Registry, budget: &MemoryBudget) -> Metrics {
        let metrics = Metrics::unregistered();
        metrics.register_receiver(registry);
        metrics.register_publisher(registry);
        metrics.register_backlog(registry);
        metrics.spool.register(registry);
        metrics.filelog.register(registry);
        let producer = Arc::clone(&metrics.producer);
        registry.register_collector(Box::new(StateCollector { budget: budget.clone(), producer }));
        for signal in Signal::ALL {
            // From 0 on: what a series counts before its first sample no `increase` sees.
            metrics.count_acked(signal, 0);
        }
        metrics
    }

    fn unregistered() -> Metrics {
        Metrics {
            requests: Family::default(),
            items: Family::default(),
            refused: Family::default(),
            unrecognized: Family::default(),
            closings: Closings::default(),
            bytes: Family::default(),
            acked_items: Family::default(),
            refused_items: Family::default(),
            dead_lettered_items: Family::default(),
            in_flight_items: Family::default(),
            in_flight_bytes: Family::default(),
            records: Family::default(),
            publish_seconds: Family::new_with_constructor(|| Histogram::new(PUBLISH_BUCKETS)),
            kept_items: Family::default(),
            returned_records: Family::default(),
            found_records: Family::default(),
            read_back_bytes: Counter::default(),
            unverifiable: Counter::default(),
            producer: Arc::default(),
            spool: SpoolMetrics::unregistered(),
            filelog: FilelogMetrics::default(),
        }
    }

    // prometheus-client appends `_total` to counters and the unit to names.
    fn register_receiver(&self, registry: &mut Registry) {
        registry.register(
            "edge_receiver_requests",
            "Requests answered, by HTTP status or gRPC code",
            self.requests.clone(),
        );
        registry.register(
            "edge_receiver_items",
            "Log records, spans and data points in well-formed requests",
            self.items.clone(),
        );
        registry.register("edge_receiver_refused", "Requests refused", self.refused.clone());
        registry.register(
            "edge_receiver_unrecognized",
            "Requests in which no item was found although they held something; answered with success and a warning",
            self.unrecognized.clone(),
        );
        registry.register(
            "edge_receiver_connections_closed",
            "Connections that were closed to keep within the bounds of the listeners, by reason",
            self.closings.counters(),
        );
        registry.register_with_unit(
            "edge_receiver",
            "Request bytes after decompression",
            Unit::Bytes,
            self.bytes.clone(),
        );
    }

    fn register_publisher(&self, registry: &mut Registry) {
        registry.register(
            "edge_publisher_acked_items",
            "Items acknowledged by the broker",
            self.acked_items.clone(),
        );
        registry.register(
            "edge_publisher_refused_items",
            "Items given back to the sender to try again",
            self.refused_items.clone(),
        );
        registry.register(
            "edge_publisher_dead_lettered_items",
            "Items in the dead-letter topic",
            self.dead_lettered_items.clone(),
        );
        registry.register(
            "edge_publisher_in_flight_items",
            "Items taken and not settled",
            self.in_flight_items.clone(),
        );
        registry.register_with_unit(
            "edge_publisher_in_flight",
            "Request bytes taken and not settled",
            Unit::Bytes,
            self.in_flight_bytes.clone(),
        );
        registry.register(
            "edge_publisher_records",
            "Records acknowledged by the broker",
            self.records.clone(),
        );
        let publish = self.publish_seconds.clone();
        registry.register_with_unit(
            "edge_publisher_publish",
            "From hand-over to the last ack of a request",
            Unit::Seconds,
            publish,
        );
    }

    fn register_backlog(&self, registry: &mut Registry) {
        registry.register(
            "edge_publisher_kept_items",
            "Items that went to the spool's disk",
            self.kept_items.clone(),
        );
        registry.register(
            "edge_publisher_returned_records",
            "Spooled records that the producer gave up; they are sent again",
            self.returned_records.clone(),
        );
        registry.register(
            "edge_readback_found_records",
            "Spooled records that were found in their topic, and not sent again",
            self.found_records.clone(),
        );
        registry.register_with_unit(
            "edge_readback",
            "Bytes of records read to find out which ones of ours a topic has",
            Unit::Bytes,
            self.read_back_bytes.clone(),
        );
        registry.register(
            "edge_readback_unverifiable_offsets",
            "Offsets that retention had removed before they could be looked at",
            self.unverifiable.clone(),
        );
    }

    /// Those of log files.
    pub(crate) fn filelog(&self) -> FilelogMetrics {
        self.filelog.clone()
    }

    /// A request was answered.
    pub(crate) fn count_request(&self, signal: Signal, transport: Transport, code: String) {
        let transport = match transport {
            Transport::Grpc => "grpc",
            Transport::Http => "http",
        };
        self.requests.get_or_create(&RequestLabels { signal: signal.as_str(), transport, code }).inc();
    }

    /// A request was refused.
    pub(crate) fn count_refused(&self, signal: Signal, reason: &'static str) {
        self.refused.get_or_create(&ReasonLabels { signal: signal.as_str(), reason }).inc();
    }

    /// Where the listeners count the connections that they close.
    pub(crate) fn closings(&self) -> Closings {
        self.closings.clone()
    }

    /// A request held something, and no item.
    pub(crate) fn count_unrecognized(&self, signal: Signal) {
        self.unrecognized.get_or_create(&SignalLabels { signal: signal.as_str() }).inc();
    }

    /// A well-formed request was handed to the publisher.
    pub(crate) fn count_taken(&self, signal: Signal, items: u64, bytes: usize) {
        let labels = SignalLabels { signal: signal.as_str() };
        self.items.get_or_create(&labels).inc_by(items);
        self.bytes.get_or_create(&labels).inc_by(bytes as u64);
        self.in_flight_items.get_or_create(&labels).inc_by(items as i64);
        self.in_flight_bytes.get_or_create(&labels).inc_by(bytes as i64);
    }

    /// The bytes of a request are settled, whatever became of its items.
    pub(crate) fn count_settled_bytes(&self, signal: Signal, bytes: usize) {
        self.in_flight_bytes.get_or_create(&SignalLabels { signal: signal.as_str() }).dec_by(bytes as i64);
    }

    /// The broker has the items.
    pub(crate) fn count_acked(&self, signal: Signal, items: u64) {
        self.acked_items.get_or_create(&SignalLabels { signal: signal.as_str() }).inc_by(items);
    }

    /// The disk has the items, and their request needs no more.
    pub(crate) fn count_kept(&self, signal: Signal, items: u64) {
        self.kept_items.get_or_create(&SignalLabels { signal: signal.as_str() }).inc_by(items);
        self.count_settled(signal, items);
    }

    /// A spooled record is to be sent again.
    pub(crate) fn count_returned(&self, signal: Signal) {
        self.returned_records.get_or_create(&SignalLabels { signal: signal.as_str() }).inc();
    }

    /// A spooled record is in its topic already.
    pub(crate) fn count_found(&self, signal: Signal) {
        self.found_records.get_or_create(&SignalLabels { signal: signal.as_str() }).inc();
    }

    /// A range of a topic was read.
    pub(crate) fn count_read_back(&self, read: &RangeRead) {
        self.read_back_bytes.inc_by(read.bytes);
        self.unverifiable.inc_by(u64::try_from(read.missing).unwrap_or_default());
    }

    /// The dead-letter topic has the items.
    pub(crate) fn count_dead_lettered(&self, signal: Signal, reason: &'static str, items: u64) {
        self.dead_lettered_items
            .get_or_create(&ReasonLabels { signal: signal.as_str(), reason })
            .inc_by(items);
    }

    /// The sender keeps the items.
    pub(crate) fn count_refused_items(&self, signal: Signal, reason: &'static str, items: u64) {
        self.refused_items.get_or_create(&ReasonLabels { signal: signal.as_str(), reason }).inc_by(items);
        self.count_settled(signal, items);
    }

    /// Items of a request are not in flight any more.
    pub(crate) fn count_settled(&self, signal: Signal, items: u64) {
        self.in_flight_items.get_or_create(&SignalLabels { signal: signal.as_str() }).dec_by(items as i64);
    }

    /// A partition has one record more.
    pub(crate) fn count_record(&self, topic: &str, partition: i32) {
        self.records.get_or_create(&PartitionLabels { topic: topic.to_owned(), partition }).inc();
    }

    /// Shows from now on whether the producer's brokers answer.
    pub(crate) fn watch_producer(&self, producer: &Producer) {
        // A second producer would be one of another publisher, and there is none.
        let _ = self.producer.set(producer.clone());
    }

    /// A request is settled after `seconds`.
    pub(crate) fn observe_publish(&self, signal: Signal, seconds: f64) {
        self.publish_seconds.get_or_create(&SignalLabels { signal: signal.as_str() }).observe(seconds);
    }
}

impl Collector for StateCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let StateCollector { budget, producer } = self;
        let is_up = producer.get().is_some_and(Producer::is_connected);
        let help = "Whether a broker answers";
        ConstGauge::new(i64::from(is_up)).encode(encoder.encode_descriptor(
            "edge_broker_up",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let bytes = |count: usize| ConstGauge::new(i64::try_from(count).unwrap_or(i64::MAX));
        let shown = [
            ("edge_memory_budget", "Bound on request bytes held", bytes(budget.limit())),
            ("edge_memory_budget_used", "Request bytes held now", bytes(budget.used())),
        ];
        for (name, help, gauge) in shown {
            gauge.encode(encoder.encode_descriptor(name, help, Some(&Unit::Bytes), MetricType::Gauge)?)?;
        }
        Ok(())
    }
}
