//! The account of exported telemetry: what was produced, delivered and refused, per signal.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use serde::Serialize;

use super::Signal;

/// Counters of every signal, shared with the exporters.
#[derive(Debug, Default)]
pub(super) struct Account {
    traces: Arc<Counts>,
    metrics: Arc<Counts>,
    logs: Arc<Counts>,
}

/// Counters of one signal, in items. Each is written by one thread of the SDK and read after that thread has ended.
#[derive(Debug, Default)]
pub(super) struct Counts {
    produced: AtomicU64,
    delivered: AtomicU64,
    failed: AtomicU64,
    /// Of `delivered`, those the receiver rejected in a partial success.
    rejected: AtomicU64,
}

impl Counts {
    pub(super) fn produced(&self, items: u64) {
        self.produced.fetch_add(items, Ordering::Relaxed);
    }

    /// Settles a batch of `items` by the receiver's answer.
    pub(super) fn settle<E>(&self, items: u64, answer: &Result<(), E>) {
        let counter = if answer.is_ok() { &self.delivered } else { &self.failed };
        counter.fetch_add(items, Ordering::Relaxed);
    }

    pub(super) fn rejected(&self, items: u64) {
        self.rejected.fetch_add(items, Ordering::Relaxed);
    }
}

impl Account {
    pub(super) fn of(&self, signal: Signal) -> Arc<Counts> {
        Arc::clone(match signal {
            Signal::Traces => &self.traces,
            Signal::Metrics => &self.metrics,
            Signal::Logs => &self.logs,
        })
    }

    pub(super) fn report(&self) -> ExportReport {
        let mut report = ExportReport::default();
        for signal in Signal::ALL {
            let counts = self.of(signal);
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            let rejected = read(&counts.rejected);
            let exported = read(&counts.delivered).saturating_sub(rejected);
            let failed = read(&counts.failed) + rejected;
            let dropped = read(&counts.produced).saturating_sub(exported + failed);
            report.exported.insert(signal.as_str(), exported);
            report.failed.insert(signal.as_str(), failed);
            report.dropped.insert(signal.as_str(), dropped);
        }
        report
    }
}

/// What became of the items produced: spans, metric data points and log records.
#[derive(Debug, Default, Serialize)]
pub(crate) struct ExportReport {
    exported: BTreeMap<&'static str, u64>,
    failed: BTreeMap<&'static str, u64>,
    dropped: BTreeMap<&'static str, u64>,
}

impl fmt::Display for ExportReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<10}{:>12}{:>12}{:>12}", "telemetry", "exported", "failed", "dropped")?;
        for (signal, exported) in &self.exported {
            let (failed, dropped) = (self.failed[signal], self.dropped[signal]);
            writeln!(f, "{signal:<10}{exported:>12}{failed:>12}{dropped:>12}")?;
        }
        Ok(())
    }
}
