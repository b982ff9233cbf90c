//! The verdict: per signal, what the SDKs were acked equals what the edge acked equals what the stores hold, and so do the lines
//! that the container has printed.

use std::fmt;

use anyhow::{Context, Result};
use e2e::Line;
use e2e::runtime::CONTAINER;
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
    lines: Row,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    name: &'static str,
    /// Acked to the SDKs, or printed.
    sent: u64,
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
    /// Asks the edge and the stores. `log_lines` is how many the container has printed.
    pub(crate) async fn take(line: &Line, exported: &Exported, log_lines: u64) -> Result<Self> {
        let edge = Page::read(&reqwest::Client::new(), &line.edge_admin_url()).await?;
        let of_container = format!(
            "SELECT count() FROM otel_logs WHERE ResourceAttributes['k8s.container.name'] = '{CONTAINER}'"
        );
        let lines = Row {
            name: "log lines",
            sent: log_lines,
            edge_acked: whole(edge.sum("edge_filelog_records_total", &[])),
            stored: line.clickhouse().number(&of_container).await?,
        };
        let mut rows = Vec::new();
        for (signal, sent) in Signal::ALL.into_iter().zip(exported.0) {
            let name = signal.as_str();
            let edge_acked = whole(edge.sum("edge_publisher_acked_items_total", &[("signal", name)]));
            let mut row = Row { name, sent, edge_acked, stored: stored(line, signal).await? };
            if signal == Signal::Logs {
                // The lines of the container travel with the logs, and are counted by themselves.
                row.edge_acked = row.edge_acked.saturating_sub(lines.edge_acked);
                row.stored = row.stored.saturating_sub(lines.stored);
            }
            rows.push(row);
        }
        let rows = rows.try_into().ok().context("there are three signals")?;
        Ok(Self { rows, lines })
    }

    fn all(&self) -> impl Iterator<Item = &Row> {
        self.rows.iter().chain([&self.lines])
    }

    /// Whether everything acked is stored, and nothing else, and there was something of each signal.
    pub(crate) fn holds(&self) -> bool {
        self.all().all(Row::holds)
    }
}

impl Row {
    fn holds(&self) -> bool {
        self.sent > 0 && self.sent == self.edge_acked && self.sent == self.stored
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:<11}{:>14}{:>14}{:>12}", "", "sent", "acked by edge", "stored")?;
        for Row { name, sent, edge_acked, stored } in self.all() {
            writeln!(f, "{name:<11}{sent:>14}{edge_acked:>14}{stored:>12}")?;
        }
        if self.holds() {
            write!(f, "\nPASS  everything that was acked is stored, once")
        } else {
            write!(f, "\nFAIL  acked and stored differ")
        }
    }
}

/// A line that the container printed and the span of the same request, by one query.
pub(crate) async fn one_request(line: &Line) -> Result<String> {
    let query = format!(
        "SELECT l.TraceId AS trace, l.Body AS line, s.SpanName AS span, s.ServiceName AS service, s.Duration / 1e6 AS ms \
         FROM otel_logs AS l INNER JOIN otel_traces AS s ON l.TraceId = s.TraceId AND l.SpanId = s.SpanId \
         WHERE l.ResourceAttributes['k8s.container.name'] = '{CONTAINER}' AND s.ServiceName = 'mock-service' \
         AND l.SeverityText = 'ERROR' LIMIT 1"
    );
    let rows = line.clickhouse().rows(&query).await?;
    let row = rows.first().context("no line of the container has the span of its request")?;
    let text = |key: &str| row[key].as_str().map_or_else(|| row[key].to_string(), str::to_owned);
    let (trace, log, span, service, ms) =
        (text("trace"), text("line"), text("span"), text("service"), text("ms"));
    Ok(format!(
        "one request, by one query:\n  trace  {trace}\n  line   {log}\n  span   {span} of {service}, {ms} ms"
    ))
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
                r#"sum(count_over_time({job="menu-load",__name__!~".+_bucket|.+_sum|target_info"}[1h]))"#;
            Ok(whole(line.mimir().number(points).await?))
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "counts far below 2^53")]
fn whole(count: f64) -> u64 {
    count as u64
}
