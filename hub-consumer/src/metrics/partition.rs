//! The gauges of one partition.

use std::sync::atomic::AtomicU64;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

/// The label set of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(super) struct PartitionLabels {
    pub(super) topic: String,
    pub(super) partition: i32,
}

type SecondsGauge = Gauge<f64, AtomicU64>;

/// The gauges of partitions.
#[derive(Debug, Default)]
pub(super) struct PartitionGauges {
    committed_offset: Family<PartitionLabels, Gauge>,
    log_start_offset: Family<PartitionLabels, Gauge>,
    log_end_offset: Family<PartitionLabels, Gauge>,
    lag_records: Family<PartitionLabels, Gauge>,
    lag_seconds: Family<PartitionLabels, SecondsGauge>,
    lag_bytes: Family<PartitionLabels, Gauge>,
    lag_drain_seconds: Family<PartitionLabels, SecondsGauge>,
    lag_head_room_records: Family<PartitionLabels, Gauge>,
    lag_stuck: Family<PartitionLabels, Gauge>,
    lag_orphaned: Family<PartitionLabels, Gauge>,
    pub(super) out_of_range_records: Family<PartitionLabels, Gauge>,
}

/// What is known of a partition at one moment.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct PartitionLag {
    /// The group's committed offset.
    pub committed: Option<i64>,
    /// First offset in the log.
    pub log_start: Option<i64>,
    /// Offset the next record of the log will get.
    pub log_end: Option<i64>,
    /// Age of the first uncommitted record by the broker's timestamp, in seconds; 0 without lag, `None` while there is lag
    /// whose age is not known.
    pub seconds: Option<f64>,
    /// About how many bytes the lag has; `None` while the size of records is not known.
    pub bytes: Option<u64>,
    /// Seconds until there is no lag at the rates of the last half minute; `None` when there is no end to it.
    pub drain_seconds: Option<f64>,
    /// The group is behind and has not moved for half a minute.
    pub is_stuck: bool,
    /// No member has the partition.
    pub is_orphaned: bool,
}

impl PartitionLag {
    /// Records between the committed offset (or the start of the log) and its end; `None` while the end is unknown.
    pub fn records(&self) -> Option<i64> {
        let end = self.log_end?;
        let from = self.committed.or(self.log_start)?;
        Some((end - from).max(0))
    }

    /// Records between the start of the log and the committed offset: at 0 retention deletes unread records.
    pub fn head_room_records(&self) -> Option<i64> {
        let start = self.log_start?;
        Some((self.committed.unwrap_or(start) - start).max(0))
    }
}

impl PartitionGauges {
    pub(super) fn name_in(&self, registry: &mut Registry) {
        let committed = self.committed_offset.clone();
        registry.register("hub_committed_offset", "Next offset the group will read", committed);
        registry.register("hub_log_start_offset", "First offset in the log", self.log_start_offset.clone());
        registry.register("hub_log_end_offset", "Next offset of the log", self.log_end_offset.clone());
        registry.register(
            "hub_lag_records",
            "Records not yet resolved by the group",
            self.lag_records.clone(),
        );
        registry.register_with_unit(
            "hub_lag",
            "Age of the first uncommitted record by the broker's timestamp; 0 without lag, absent while it is not known",
            Unit::Seconds,
            self.lag_seconds.clone(),
        );
        registry.register_with_unit(
            "hub_lag_drain",
            "Time until there is no lag at the rates of the last half minute; absent when there is no end to it",
            Unit::Seconds,
            self.lag_drain_seconds.clone(),
        );
        registry.register(
            "hub_lag_bytes",
            "About how many bytes the records have that are not yet resolved",
            self.lag_bytes.clone(),
        );
        registry.register(
            "hub_lag_head_room_records",
            "Records between the start of the log and the committed offset; at 0 retention deletes unread records",
            self.lag_head_room_records.clone(),
        );
        registry.register(
            "hub_lag_stuck",
            "1 for a partition that is behind and of which nothing was resolved for half a minute",
            self.lag_stuck.clone(),
        );
        registry.register(
            "hub_lag_orphaned",
            "1 for a partition that no member of the group has",
            self.lag_orphaned.clone(),
        );
        registry.register(
            "hub_offset_out_of_range_records",
            "Records that retention removed before they were read, of a partition that waits for it",
            self.out_of_range_records.clone(),
        );
    }

    /// Sets them to what is known.
    pub(super) fn tell(&self, labels: &PartitionLabels, lag: &PartitionLag) {
        let known = [
            (&self.committed_offset, lag.committed),
            (&self.log_start_offset, lag.log_start),
            (&self.log_end_offset, lag.log_end),
            (&self.lag_records, lag.records()),
            (&self.lag_bytes, lag.bytes.and_then(|bytes| i64::try_from(bytes).ok())),
            (&self.lag_head_room_records, lag.head_room_records()),
            (&self.lag_stuck, Some(lag.is_stuck.into())),
            (&self.lag_orphaned, Some(lag.is_orphaned.into())),
        ];
        for (gauge, value) in known {
            if let Some(value) = value {
                gauge.get_or_create(labels).set(value);
            }
        }
        for (gauge, value) in [(&self.lag_seconds, lag.seconds), (&self.lag_drain_seconds, lag.drain_seconds)]
        {
            match value {
                Some(seconds) => drop(gauge.get_or_create(labels).set(seconds)),
                // Nothing is better than a number that an alert takes for health.
                None => drop(gauge.remove(labels)),
            }
        }
    }

    /// Removes the series of a partition.
    pub(super) fn forget(&self, labels: &PartitionLabels) {
        for gauge in [
            &self.committed_offset,
            &self.log_start_offset,
            &self.log_end_offset,
            &self.lag_records,
            &self.lag_bytes,
            &self.lag_head_room_records,
            &self.lag_stuck,
            &self.lag_orphaned,
            &self.out_of_range_records,
        ] {
            gauge.remove(labels);
        }
        self.lag_seconds.remove(labels);
        self.lag_drain_seconds.remove(labels);
    }
}
