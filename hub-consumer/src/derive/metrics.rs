//! The hub's own metrics of what it derives. `metric` is a name of the rules.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

/// Everything stored.
pub const PUSHED: &str = "stored";
/// Some samples were refused for good.
pub const PARTIAL: &str = "partial";
/// No answer, or one that asks to wait.
pub const FAILED: &str = "failed";
/// The endpoint refuses us.
pub const REFUSED: &str = "refused";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MetricLabels {
    metric: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct SignalLabels {
    signal: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

/// Cheap to clone; every clone counts into the same series.
#[derive(Debug, Clone, Default)]
pub struct DeriveMetrics {
    series: Family<MetricLabels, Gauge>,
    overflows: Family<MetricLabels, Counter>,
    bad_values: Family<MetricLabels, Counter>,
    counted_records: Family<SignalLabels, Counter>,
    pushes: Family<OutcomeLabels, Counter>,
    last_push: Gauge<f64, std::sync::atomic::AtomicU64>,
}

impl DeriveMetrics {
    /// Creates the metrics and names them in `registry`.
    pub fn register(registry: &mut Registry) -> DeriveMetrics {
        let metrics = DeriveMetrics::default();
        registry.register("hub_derive_series", "Label sets of a derived metric", metrics.series.clone());
        registry.register(
            "hub_derive_overflow",
            "Records counted under `other`, because a label or a metric has as many values as it may have",
            metrics.overflows.clone(),
        );
        registry.register(
            "hub_derive_bad_values",
            "Records left out of a derived metric, because a value in them is no number",
            metrics.bad_values.clone(),
        );
        registry.register(
            "hub_derive_counted_records",
            "Log records and spans of the blocks that were counted: stored, by an insert of this hub",
            metrics.counted_records.clone(),
        );
        registry.register(
            "hub_derive_pushes",
            "Pushes of all derived series, by what came of them",
            metrics.pushes.clone(),
        );
        registry.register(
            "hub_derive_last_push_timestamp_seconds",
            "When all derived series were last stored, since the epoch",
            metrics.last_push.clone(),
        );
        metrics
    }

    /// A block was counted: the metric has so many label sets now, and so many more records were left out or sent to `other`.
    pub(super) fn counted(&self, metric: &str, series: usize, overflowed: u64, bad: u64) {
        let labels = MetricLabels { metric: metric.to_owned() };
        self.series.get_or_create(&labels).set(series as i64);
        self.overflows.get_or_create(&labels).inc_by(overflowed);
        self.bad_values.get_or_create(&labels).inc_by(bad);
    }

    /// So many log records or spans were looked at in it.
    pub(super) fn records_counted(&self, signal: &'static str, records: u64) {
        self.counted_records.get_or_create(&SignalLabels { signal }).inc_by(records);
    }

    /// A push has ended.
    pub(super) fn pushed(&self, outcome: &'static str) {
        self.pushes.get_or_create(&OutcomeLabels { outcome }).inc();
    }

    /// Everything is stored as of this moment, in seconds since the epoch.
    pub(super) fn stored_at(&self, seconds: f64) {
        self.last_push.set(seconds);
    }
}

#[cfg(test)]
impl DeriveMetrics {
    pub(crate) fn counted_of(&self, signal: &'static str) -> u64 {
        self.counted_records.get_or_create(&SignalLabels { signal }).get()
    }

    pub(super) fn bad_values_of(&self, metric: &str) -> u64 {
        self.bad_values.get_or_create(&MetricLabels { metric: metric.to_owned() }).get()
    }

    pub(super) fn overflows_of(&self, metric: &str) -> u64 {
        self.overflows.get_or_create(&MetricLabels { metric: metric.to_owned() }).get()
    }

    pub(super) fn series_of(&self, metric: &str) -> i64 {
        self.series.get_or_create(&MetricLabels { metric: metric.to_owned() }).get()
    }
}
