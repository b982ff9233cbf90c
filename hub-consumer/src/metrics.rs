//! Every metric of the hub, by name, in one place.
//!
//! Conservation, per signal, at every moment between two records:
//! `hub_records_fetched_total = hub_records_resolved_total{outcome="stored"} + {outcome="dead_lettered"} +
//! {outcome="abandoned"} + hub_records_in_flight`.
//! *Abandoned* records were given up by this process without being resolved, because their partition went to another
//! member or the process stopped: their offsets were not committed and the next owner reads them again.
//!
//! Labels are bounded: `signal` has three values, `reason` and `outcome` are constants of this crate, `topic` and
//! `partition` are those this member owns and those that nobody owns; gauges are removed when they go to another member,
//! `hub_records_lost_total` stays.

mod partition;

use std::{collections::BTreeMap, sync::Arc};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::{Registry, Unit},
};
use telemetry_wire::Signal;

pub use self::partition::PartitionLag;
use self::partition::{PartitionGauges, PartitionLabels};
use crate::{
    intent::Stored,
    mimir::{DROPS, reply::REFUSALS},
};

/// Outcome of records whose items are in the sink, or were refused by it item by item.
pub const STORED: &str = "stored";
/// Outcome of records that are in the dead-letter topic, wholly or in part.
pub const DEAD_LETTERED: &str = "dead_lettered";
/// Outcome of records that this process gave up without resolving them.
pub const ABANDONED: &str = "abandoned";

/// The label set of one signal.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignalLabels {
    signal: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    signal: &'static str,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    signal: &'static str,
    reason: &'static str,
}

/// All metrics of the process; cheap to clone, every clone counts into the same series.
#[derive(Debug, Clone)]
pub struct Metrics {
    records_fetched: Family<SignalLabels, Counter>,
    records_resolved: Family<OutcomeLabels, Counter>,
    records_in_flight: Family<SignalLabels, Gauge>,
    records_redelivered: Family<SignalLabels, Counter>,
    items_stored: Family<SignalLabels, Counter>,
    items_rejected: Family<ReasonLabels, Counter>,
    items_dropped: Family<ReasonLabels, Counter>,
    dead_lettered: Family<ReasonLabels, Counter>,
    insert_duration: Family<SignalLabels, Histogram, fn() -> Histogram>,
    insert_retries: Family<ReasonLabels, Counter>,
    block_rows: Family<SignalLabels, Histogram, fn() -> Histogram>,
    offset_commits: Family<SignalLabels, Counter>,
    commit_failures: Family<ReasonLabels, Counter>,
    read_backs: Family<ReasonLabels, Counter>,
    intent_mismatches: Family<SignalLabels, Counter>,
    assigned_partitions: Family<SignalLabels, Gauge>,
    paused_partitions: Family<SignalLabels, Gauge>,
    records_lost: Family<PartitionLabels, Counter>,
    partitions: Arc<PartitionGauges>,
}

impl Metrics {
    /// Creates the metrics and names them in `registry`.
    pub fn register(registry: &mut Registry) -> Metrics {
        let metrics = Metrics {
            records_fetched: Family::default(),
            records_resolved: Family::default(),
            records_in_flight: Family::default(),
            records_redelivered: Family::default(),
            items_stored: Family::default(),
            items_rejected: Family::default(),
            items_dropped: Family::default(),
            dead_lettered: Family::default(),
            insert_duration: Family::new_with_constructor(duration_histogram),
            insert_retries: Family::default(),
            block_rows: Family::new_with_constructor(rows_histogram),
            offset_commits: Family::default(),
            commit_failures: Family::default(),
            read_backs: Family::default(),
            intent_mismatches: Family::default(),
            assigned_partitions: Family::default(),
            paused_partitions: Family::default(),
            records_lost: Family::default(),
            partitions: Arc::new(PartitionGauges::default()),
        };
        metrics.name_records_in(registry);
        metrics.name_sink_in(registry);
        metrics.partitions.name_in(registry);
        metrics
    }

    /// The metrics of one signal's pipeline.
    pub fn of(&self, signal: Signal) -> SignalMetrics {
        let metrics = SignalMetrics { signal: signal.as_str(), all: self.clone() };
        // From 0 on: what a series counts before its first sample no `increase` sees.
        self.items_stored.get_or_create(&metrics.labels()).inc_by(0);
        self.records_fetched.get_or_create(&metrics.labels()).inc_by(0);
        metrics
    }

    fn name_records_in(&self, registry: &mut Registry) {
        registry.register("hub_records_fetched", "Kafka records taken over", self.records_fetched.clone());
        registry.register("hub_records_resolved", "Records by final state", self.records_resolved.clone());
        registry.register(
            "hub_records_in_flight",
            "Records taken over and not yet in a final state",
            self.records_in_flight.clone(),
        );
        registry.register(
            "hub_records_redelivered",
            "Records ignored because their offset was already taken over",
            self.records_redelivered.clone(),
        );
        registry.register(
            "hub_dead_lettered",
            "Records, or parts of them, written to the dead-letter topic",
            self.dead_lettered.clone(),
        );
        registry.register(
            "hub_records_lost",
            "Records that retention removed before they were read, and that were gone over",
            self.records_lost.clone(),
        );
        registry.register(
            "hub_offset_commits",
            "Offsets of partitions that the broker has taken, the announcement of a block with each",
            self.offset_commits.clone(),
        );
        registry.register("hub_commit_failures", "Offset commits that failed", self.commit_failures.clone());
        registry.register(
            "hub_read_backs",
            "Blocks that were looked for in the table after a doubt, by what was there",
            self.read_backs.clone(),
        );
        registry.register(
            "hub_intent_mismatches",
            "Announced blocks that the topic does not hold any more",
            self.intent_mismatches.clone(),
        );
        registry.register(
            "hub_assigned_partitions",
            "Partitions this member owns",
            self.assigned_partitions.clone(),
        );
        registry.register(
            "hub_paused_partitions",
            "Owned partitions that are not read, because their sink is behind or their position is not in the log",
            self.paused_partitions.clone(),
        );
    }

    fn name_sink_in(&self, registry: &mut Registry) {
        registry.register("hub_items_stored", "Items the sink acknowledged", self.items_stored.clone());
        registry.register(
            "hub_items_rejected",
            "Items the sink refused for good while it stored the rest of their request",
            self.items_rejected.clone(),
        );
        registry.register(
            "hub_items_dropped",
            "Items left out by configured policy before sending",
            self.items_dropped.clone(),
        );
        registry.register_with_unit(
            "hub_insert_duration",
            "Time of one request to the sink",
            Unit::Seconds,
            self.insert_duration.clone(),
        );
        registry.register(
            "hub_insert_retries",
            "Requests to the sink that have to be repeated",
            self.insert_retries.clone(),
        );
        registry.register("hub_block_rows", "Items per request to the sink", self.block_rows.clone());
    }
}

/// The metrics as one signal's pipeline sees them.
#[derive(Debug, Clone)]
pub struct SignalMetrics {
    signal: &'static str,
    all: Metrics,
}

impl SignalMetrics {
    /// One record was taken over.
    pub fn record_fetched(&self) {
        self.all.records_fetched.get_or_create(&self.labels()).inc();
        self.all.records_in_flight.get_or_create(&self.labels()).inc();
    }

    /// `count` records reached [`STORED`], [`DEAD_LETTERED`] or [`ABANDONED`].
    pub fn records_resolved(&self, outcome: &'static str, count: usize) {
        let labels = OutcomeLabels { signal: self.signal, outcome };
        self.all.records_resolved.get_or_create(&labels).inc_by(count as u64);
        self.all.records_in_flight.get_or_create(&self.labels()).dec_by(count as i64);
    }

    /// A record was delivered again and ignored.
    pub fn record_redelivered(&self) {
        self.all.records_redelivered.get_or_create(&self.labels()).inc();
    }

    /// The sink acknowledged this many items.
    pub fn items_stored(&self, items: u64) {
        self.all.items_stored.get_or_create(&self.labels()).inc_by(items);
    }

    /// The sink refused this many items for good and stored the others.
    pub fn items_rejected(&self, reason: &'static str, items: u64) {
        self.all.items_rejected.get_or_create(&self.reason(reason)).inc_by(items);
    }

    /// This many items were left out by policy.
    pub fn items_dropped(&self, reason: &'static str, items: u64) {
        if items > 0 {
            self.all.items_dropped.get_or_create(&self.reason(reason)).inc_by(items);
        }
    }

    /// A record, or a part of one, was acked by the dead-letter topic.
    pub fn dead_lettered(&self, reason: &'static str) {
        self.all.dead_lettered.get_or_create(&self.reason(reason)).inc();
    }

    /// One request of `items` items took `seconds`, whatever its result.
    pub fn request_sent(&self, items: u64, seconds: f64) {
        self.all.block_rows.get_or_create(&self.labels()).observe(items as f64);
        self.all.insert_duration.get_or_create(&self.labels()).observe(seconds);
    }

    /// A request has to be repeated.
    pub fn request_failed(&self, reason: &'static str) {
        self.all.insert_retries.get_or_create(&self.reason(reason)).inc();
    }

    /// A commit of so many partitions' offsets was acknowledged.
    pub fn offsets_committed(&self, partitions: usize) {
        self.all.offset_commits.get_or_create(&self.labels()).inc_by(partitions as u64);
    }

    /// A commit failed.
    pub fn commit_failed(&self, reason: &'static str) {
        self.all.commit_failures.get_or_create(&self.reason(reason)).inc();
    }

    /// A block was looked for in the table.
    pub fn read_back(&self, stored: Stored) {
        let found = match stored {
            Stored::Whole => "whole",
            Stored::Part => "part",
            Stored::Nothing => "nothing",
        };
        self.all.read_backs.get_or_create(&self.reason(found)).inc();
    }

    /// What was announced is not what the topic holds.
    pub fn intent_mismatched(&self) {
        self.all.intent_mismatches.get_or_create(&self.labels()).inc();
    }

    /// Partitions owned and paused now.
    pub fn partitions(&self, assigned: usize, paused: usize) {
        self.all.assigned_partitions.get_or_create(&self.labels()).set(assigned as i64);
        self.all.paused_partitions.get_or_create(&self.labels()).set(paused as i64);
    }

    /// What is known of an owned partition.
    pub fn lag(&self, topic: &str, partition: i32, lag: &PartitionLag) {
        self.all.partitions.tell(&PartitionLabels { topic: topic.to_owned(), partition }, lag);
    }

    /// This many records of an owned partition fell out of the log unread; the partition waits.
    pub fn out_of_range(&self, topic: &str, partition: i32, records: i64) {
        let labels = PartitionLabels { topic: topic.to_owned(), partition };
        self.all.partitions.out_of_range_records.get_or_create(&labels).set(records);
    }

    /// This many records fell out of the log unread, and the group has gone over them. Outlives the assignment.
    pub fn records_lost(&self, topic: &str, partition: i32, records: u64) {
        let labels = PartitionLabels { topic: topic.to_owned(), partition };
        self.all.records_lost.get_or_create(&labels).inc_by(records);
    }

    /// The partition went to another member: its series here would be stale.
    pub fn forget(&self, topic: &str, partition: i32) {
        self.all.partitions.forget(&PartitionLabels { topic: topic.to_owned(), partition });
    }

    /// Items that the sink has acknowledged so far.
    pub fn stored(&self) -> u64 {
        self.all.items_stored.get_or_create(&self.labels()).get()
    }

    /// Items that the sink has refused so far, by reason.
    pub fn rejected(&self) -> BTreeMap<&'static str, u64> {
        self.by_reason(&self.all.items_rejected, &REFUSALS)
    }

    /// Items that policy has left out so far, by reason.
    pub fn dropped(&self) -> BTreeMap<&'static str, u64> {
        self.by_reason(&self.all.items_dropped, &DROPS)
    }

    fn by_reason(
        &self,
        family: &Family<ReasonLabels, Counter>,
        reasons: &[&'static str],
    ) -> BTreeMap<&'static str, u64> {
        let counted = |reason: &'static str| Some((reason, family.get(&self.reason(reason))?.get()));
        reasons.iter().filter_map(|reason| counted(reason)).collect()
    }

    fn labels(&self) -> SignalLabels {
        SignalLabels { signal: self.signal }
    }

    fn reason(&self, reason: &'static str) -> ReasonLabels {
        ReasonLabels { signal: self.signal, reason }
    }
}

fn duration_histogram() -> Histogram {
    // 1 ms to 65 s: below lies a stub, above lies every sensible request timeout.
    Histogram::new(exponential_buckets(0.001, 2.0, 17))
}

fn rows_histogram() -> Histogram {
    // 1 row to 1 Mi rows.
    Histogram::new(exponential_buckets(1.0, 4.0, 11))
}
