//! What the tailing of log files does.

use std::{
    path::Path,
    sync::atomic::{AtomicI64, AtomicU64},
};

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::Counters;

/// So many logs have a series of their own: those that are furthest behind.
const MAX_LAGGING_LOGS: usize = 20;

/// The metrics of log files; clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct FilelogMetrics {
    read_bytes: Counter<u64, AtomicU64>,
    records: Counter<u64, AtomicU64>,
    lost_bytes: Counter<u64, AtomicU64>,
    dropped: Counters<RuleLabels>,
    parse_errors: Counter<u64, AtomicU64>,
    format_errors: Counter<u64, AtomicU64>,
    file_errors: Counter<u64, AtomicU64>,
    truncated: Counter<u64, AtomicU64>,
    lag_bytes: Gauge<i64, AtomicI64>,
    log_lag_bytes: Family<PathLabels, Gauge<i64, AtomicI64>>,
    open_files: Gauge<i64, AtomicI64>,
    logs: Gauge<i64, AtomicI64>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleLabels {
    rule: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PathLabels {
    path: String,
}

impl FilelogMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let bytes = |registry: &mut Registry, name: &str, help: &str, counter: &Counter<u64, AtomicU64>| {
            registry.register_with_unit(name, help, Unit::Bytes, counter.clone());
        };
        bytes(registry, "edge_filelog_read", "Bytes of log files read", &self.read_bytes);
        bytes(
            registry,
            "edge_filelog_lost",
            "Bytes of log files that were deleted or truncated before they were read",
            &self.lost_bytes,
        );
        let count = |registry: &mut Registry, name: &str, help: &str, counter: &Counter<u64, AtomicU64>| {
            registry.register(name, help, counter.clone());
        };
        count(registry, "edge_filelog_records", "Log records made of lines", &self.records);
        count(
            registry,
            "edge_filelog_parse_errors",
            "Lines that begin like JSON and are none; their text is kept",
            &self.parse_errors,
        );
        count(
            registry,
            "edge_filelog_format_errors",
            "Lines that are not of their file's format; their text is kept",
            &self.format_errors,
        );
        count(registry, "edge_filelog_file_errors", "Failed operations on log files", &self.file_errors);
        count(registry, "edge_filelog_truncated_files", "Log files that were truncated", &self.truncated);
        let dropped = self.dropped.clone();
        registry.register("edge_filelog_dropped_records", "Log records dropped by a declared rule", dropped);
        let lag = self.lag_bytes.clone();
        registry.register_with_unit(
            "edge_filelog_lag",
            "Bytes of log files that are not durable yet",
            Unit::Bytes,
            lag,
        );
        registry.register_with_unit(
            "edge_filelog_log_lag",
            "Bytes of a log that are not durable yet, of those logs that have most",
            Unit::Bytes,
            self.log_lag_bytes.clone(),
        );
        registry.register("edge_filelog_open_files", "Log files that are open", self.open_files.clone());
        registry.register("edge_filelog_logs", "Logs that are followed", self.logs.clone());
    }

    pub(crate) fn count_read(&self, bytes: u64) {
        self.read_bytes.inc_by(bytes);
    }

    pub(crate) fn count_records(&self, records: u64) {
        self.records.inc_by(records);
    }

    pub(crate) fn count_lost(&self, bytes: u64) {
        self.lost_bytes.inc_by(bytes);
    }

    pub(crate) fn count_dropped(&self, rule: &str) {
        self.dropped.get_or_create(&RuleLabels { rule: rule.to_owned() }).inc();
    }

    pub(crate) fn count_parse_error(&self) {
        self.parse_errors.inc();
    }

    pub(crate) fn count_format_error(&self) {
        self.format_errors.inc();
    }

    pub(crate) fn count_file_error(&self) {
        self.file_errors.inc();
    }

    pub(crate) fn count_truncated(&self) {
        self.truncated.inc();
    }

    /// `lags` are the logs that are not durable to their end, each with its bytes.
    pub(crate) fn set_state(&self, mut lags: Vec<(u64, &Path)>, open_files: usize, logs: usize) {
        self.lag_bytes.set(lags.iter().map(|(bytes, _)| *bytes as i64).sum());
        lags.sort_unstable_by(|one, other| other.cmp(one));
        lags.truncate(MAX_LAGGING_LOGS);
        self.log_lag_bytes.clear();
        for (bytes, path) in lags {
            let labels = PathLabels { path: path.to_string_lossy().into_owned() };
            self.log_lag_bytes.get_or_create(&labels).set(bytes as i64);
        }
        self.open_files.set(open_files as i64);
        self.logs.set(logs as i64);
    }

    #[cfg(test)]
    pub(crate) fn lost(&self) -> u64 {
        self.lost_bytes.get()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_logs_that_are_furthest_behind_have_a_series() {
        let (metrics, mut registry) = (FilelogMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        let page = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            text
        };
        let paths: Vec<_> = (1..=30).map(|log| format!("/logs/{log}.log")).collect();
        let lags = |paths: &[String]| {
            metrics.set_state(
                paths.iter().zip(1..).map(|(path, bytes)| (bytes, Path::new(path))).collect(),
                30,
                30,
            )
        };
        lags(&paths);
        assert_eq!(page().matches("edge_filelog_log_lag_bytes{").count(), MAX_LAGGING_LOGS);
        assert!(page().contains("edge_filelog_log_lag_bytes{path=\"/logs/30.log\"} 30"), "{}", page());
        assert!(page().contains("edge_filelog_lag_bytes 465"), "{}", page());
        lags(&paths[..1]);
        assert_eq!(page().matches("edge_filelog_log_lag_bytes{").count(), 1, "what has caught up is gone");
    }
}
