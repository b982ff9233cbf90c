//! The verdict: per signal, what the SDKs were acked equals what the edge acked equals what the stores hold.

use std::fmt;

use anyhow::{Context, Result};
use e2e::Line;
use e2e::scrape::Page;
use serde_json::Value;
use telemetry_wire::Signal;

/// Items whose export was answered with success, by signal, in the order of [`Signal::ALL`].
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Exported([u64; 3]);

/// The three counts of each signal.
#[derive(Debug)]
pub(crate) struct Verdict {
    rows: [Row; 3],
}

#[derive(Debug, Clone, Copy)]
struct Row {
    signal: Signal,
    sdk_acked: u64,
    edge_acked: u64,
    stored: u64,
}

impl Exported {
    /// Reads `exported` from the report of a `mock-service`.
    pub(crate) fn from_report(report: &Value) -> Result<Self> {
        let exported = exported_of(report).context("the report has no `exported`")?;
        Ok(Self(Signal::ALL.map(|signal| exported[signal.as_str()].as_u64().unwrap_or(0))))
    }

    /// Both together.
    pub(crate) fn plus(&self, other: &Self) -> Self {
        Self(std::array::from_fn(|index| self.0[index] + other.0[index]))
    }
}

impl Verdict {
    /// Asks the edge and the stores.
    pub(crate) async fn take(line: &Line, exported: &Exported) -> Result<Self> {
        let edge = Page::read(&reqwest::Client::new(), &line.edge_admin_url()).await?;
        let mut rows = Vec::new();
        for (signal, sdk_acked) in Signal::ALL.into_iter().zip(exported.0) {
            let edge_acked =
                whole(edge.sum("edge_publisher_acked_items_total", &[("signal", signal.as_str())]));
            rows.push(Row { signal, sdk_acked, edge_acked, stored: stored(line, signal).await? });
        }
        let rows = rows.try_into().ok().context("there are three signals")?;
        Ok(Self { rows })
    }

    /// Whether everything acked is stored, and nothing else, and there was something of each signal.
    pub(crate) fn holds(&self) -> bool {
        self.rows.iter().all(Row::holds)
    }
}

impl Row {
    fn holds(&self) -> bool {
        self.sdk_acked > 0 && self.sdk_acked == self.edge_acked && self.sdk_acked == self.stored
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<9}{:>14}{:>14}{:>12}", "", "acked to SDK", "acked by edge", "stored")?;
        for Row { signal, sdk_acked, edge_acked, stored } in &self.rows {
            writeln!(f, "{:<9}{sdk_acked:>14}{edge_acked:>14}{stored:>12}", signal.as_str())?;
        }
        if self.holds() {
            write!(f, "\nPASS  everything that was acked is stored, once")
        } else {
            write!(f, "\nFAIL  acked and stored differ")
        }
    }
}

/// Whether the value is a report of a `mock-service`.
pub(crate) fn mentions_export(report: &Value) -> bool {
    exported_of(report).is_some()
}

fn exported_of(report: &Value) -> Option<&Value> {
    [&report["exported"], &report["telemetry"]["exported"]].into_iter().find(|value| value.is_object())
}

/// Rows of the signal's table, or data points in Mimir: every sample of a series that is one per point.
async fn stored(line: &Line, signal: Signal) -> Result<u64> {
    match signal {
        Signal::Logs => line.clickhouse().count("otel_logs").await,
        Signal::Traces => line.clickhouse().count("otel_traces").await,
        Signal::Metrics => {
            // A histogram point becomes a sample of each bucket, of the sum and of the count: count the counts.
            let points =
                r#"sum(count_over_time({__name__=~".+",__name__!~".+_bucket|.+_sum|target_info"}[1h]))"#;
            Ok(whole(line.mimir().number(points).await?))
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts far below 2^53")]
fn whole(count: f64) -> u64 {
    count as u64
}
