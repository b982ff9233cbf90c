//! What the tailing of log files does.

use std::{
    fmt, fs,
    os::unix::fs::MetadataExt,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, AtomicU64},
    },
};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric},
    metrics::{
        MetricType,
        counter::Counter,
        family::Family,
        gauge::{ConstGauge, Gauge},
    },
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
    seen: Arc<Mutex<Vec<SeenLog>>>,
}

/// A log as the tailer saw it last.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SeenLog {
    pub(crate) path: PathBuf,
    /// Those that are open.
    pub(crate) files: Vec<SeenFile>,
}

/// A file of a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SeenFile {
    pub(crate) device: u64,
    pub(crate) inode: u64,
    /// In bytes.
    pub(crate) size: u64,
    /// Bytes that are durable.
    pub(crate) durable: u64,
}

/// Computes the lag when it is asked for, from the files as they are then: a tailer that stands still does not hide what has
/// been written since.
#[derive(Debug)]
struct LagCollector(Arc<Mutex<Vec<SeenLog>>>);

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
        registry.register_collector(Box::new(LagCollector(Arc::clone(&self.seen))));
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

    /// `logs` are all that are followed.
    pub(crate) fn set_state(&self, logs: Vec<SeenLog>) {
        *self.seen.lock().unwrap_or_else(PoisonError::into_inner) = logs;
    }

    #[cfg(test)]
    pub(crate) fn lost(&self) -> u64 {
        self.lost_bytes.get()
    }
}

impl SeenLog {
    /// Bytes that are there now and were not durable when it was last seen.
    fn lag_bytes(&self) -> u64 {
        let seen: u64 = self.files.iter().map(|file| file.size.saturating_sub(file.durable)).sum();
        let grown = fs::metadata(&self.path).map_or(0, |now| {
            let is_it = |file: &&SeenFile| (file.device, file.inode) == (now.dev(), now.ino());
            now.len().saturating_sub(self.files.iter().find(is_it).map_or(0, |file| file.size))
        });
        seen + grown
    }
}

impl Collector for LagCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let logs = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let gauge = |value: u64| ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        let mut lags: Vec<_> = logs.iter().map(|log| (log.lag_bytes(), &*log.path)).collect();
        let all = gauge(lags.iter().map(|(bytes, _)| *bytes).sum());
        let help = "Bytes of log files that are not durable yet";
        all.encode(encoder.encode_descriptor(
            "edge_filelog_lag",
            help,
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?)?;
        lags.retain(|(bytes, _)| *bytes > 0);
        lags.sort_unstable_by(|one, other| other.cmp(one));
        lags.truncate(MAX_LAGGING_LOGS);
        let family = Family::<PathLabels, Gauge<i64, AtomicI64>>::default();
        for (bytes, path) in lags {
            let labels = PathLabels { path: path.to_string_lossy().into_owned() };
            family.get_or_create(&labels).set(i64::try_from(bytes).unwrap_or(i64::MAX));
        }
        let help = "Bytes of a log that are not durable yet, of those logs that have most";
        family.encode(encoder.encode_descriptor(
            "edge_filelog_log_lag",
            help,
            Some(&Unit::Bytes),
            MetricType::Gauge,
        )?)?;
        let files = gauge(logs.iter().map(|log| log.files.len() as u64).sum());
        let help = "Log files that are open";
        files.encode(encoder.encode_descriptor(
            "edge_filelog_open_files",
            help,
            None,
            MetricType::Gauge,
        )?)?;
        let help = "Logs that are followed";
        gauge(logs.len() as u64).encode(encoder.encode_descriptor(
            "edge_filelog_logs",
            help,
            None,
            MetricType::Gauge,
        )?)
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
            let seen = |(path, size): (&String, u64)| SeenLog {
                path: path.into(),
                files: vec![SeenFile { device: 1, inode: size, size, durable: 0 }],
            };
            metrics.set_state(paths.iter().zip(1..).map(seen).collect());
        };
        lags(&paths);
        assert_eq!(page().matches("edge_filelog_log_lag_bytes{").count(), MAX_LAGGING_LOGS);
        assert!(page().contains("edge_filelog_log_lag_bytes{path=\"/logs/30.log\"} 30"), "{}", page());
        assert!(page().contains("edge_filelog_lag_bytes 465"), "{}", page());
        assert!(
            page().contains("edge_filelog_open_files 30") && page().contains("edge_filelog_logs 30"),
            "{}",
            page()
        );
        lags(&paths[..1]);
        assert_eq!(page().matches("edge_filelog_log_lag_bytes{").count(), 1, "what has caught up is gone");
    }

    #[test]
    fn what_is_written_while_the_tailer_stands_still_is_lag() {
        let (metrics, mut registry) = (FilelogMetrics::default(), Registry::default());
        metrics.register(&mut registry);
        let lag = || {
            let mut text = String::new();
            prometheus_client::encoding::text::encode(&mut text, &registry).unwrap();
            let line =
                text.lines().find_map(|line| line.strip_prefix("edge_filelog_lag_bytes ").map(str::to_owned));
            line.unwrap()
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("app.log");
        fs::write(&path, "0123456789").unwrap();
        let now = fs::metadata(&path).unwrap();
        let file = SeenFile { device: now.dev(), inode: now.ino(), size: 10, durable: 4 };
        metrics.set_state(vec![SeenLog { path: path.clone(), files: vec![file] }]);
        assert_eq!(lag(), "6");
        fs::write(&path, "0123456789 and more").unwrap();
        assert_eq!(lag(), "15");
        fs::rename(&path, folder.path().join("app.log.1")).unwrap();
        assert_eq!(lag(), "6", "what the rotated file has is as it was");
        fs::write(&path, "new").unwrap();
        assert_eq!(lag(), "9", "and the new one has its own");
    }
}
