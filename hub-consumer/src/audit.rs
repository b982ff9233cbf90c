//! `hub-consumer audit`: proves by counting that every record of a topic is stored, or says which is not.
//!
//! ```text
//!  committed offset, watermarks ──► range (range.rs)
//!  ClickHouse ── one query a window ──► rows and records by partition, absent offsets, suspects (table.rs)
//!  dead-letter topic ── headers ──► dead-lettered offsets (letters.rs)
//!  topic ── only the records in question ──► gap, empty, expired, missing, incomplete, doubled (judge.rs)
//! ```
//!
//! The order makes it safe beside a running hub: what is committed was stored or dead-lettered before, so the committed
//! offset is asked for first.
//!
//! Memory: an answer of ClickHouse (see [`table`]), 8 bytes for each dead letter of the range, the reader's 4 MiB, and the
//! rows of one record.

mod judge;
mod letters;
mod range;
mod report;
mod table;
mod verdict;

use std::collections::BTreeMap;

use anyhow::Context as _;
use service_runtime::Runtime;
use telemetry_wire::Signal;

use self::{
    judge::{Case, Judge},
    report::NAMED_RANGES,
    table::Table,
};
pub(crate) use self::{
    letters::{LetterPlace, redriven_letters},
    range::Span,
    report::Reading,
};
pub use self::{
    range::{AuditArgs, Position},
    report::{Finding, Partition, Report},
};
use crate::{
    config::{HubConfig, SignalConfig},
    decode::{DecodeSettings, LogRows, Rows, SpanRows},
};

/// How an audit ended, for the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Everything adds up.
    Complete,
    /// Something is missing, incomplete or doubled.
    Incomplete,
    /// It could not be judged.
    Failed,
}

/// Audits and prints the report.
///
/// # Errors
/// Something that has to be asked does not answer; nothing is printed then.
pub async fn run(config: HubConfig, runtime: Runtime, args: &AuditArgs) -> anyhow::Result<Outcome> {
    let auditing = audit(&config, args);
    let report =
        runtime.shutdown().run_until_cancelled(auditing).await.context("audit was interrupted")??;
    let pushed = match args.push {
        true => verdict::push(&report, &config.telemetry, &runtime).await,
        false => Ok(()),
    };
    print(if args.json { report.json() } else { report.to_string() });
    pushed?;
    Ok(if report.complete { Outcome::Complete } else { Outcome::Incomplete })
}

#[allow(clippy::print_stdout, reason = "the report is the answer of the command")]
#[allow(clippy::needless_pass_by_value, reason = "it is at its end")]
fn print(report: String) {
    println!("{report}");
}

/// Audits what is asked for.
///
/// # Errors
/// Something that has to be asked does not answer, or what is asked for does not exist.
pub async fn audit(config: &HubConfig, args: &AuditArgs) -> anyhow::Result<Report> {
    let mut partitions = Vec::new();
    for signal in args.chosen(&config.signals)? {
        let spans = args.spans(signal).await?;
        let audited = audit_spans(config, signal, &spans, args.deep, NAMED_RANGES).await;
        partitions.extend(audited.with_context(|| format!("audit topic `{}`", signal.topic))?);
    }
    Ok(Report::new(partitions, args.deep))
}

/// Audits these ranges of one topic. Of each fault so many runs of offsets are named.
pub(crate) async fn audit_spans(
    config: &HubConfig,
    signal: &SignalConfig,
    spans: &[Span],
    deep: bool,
    named: usize,
) -> anyhow::Result<Vec<Partition>> {
    match signal.signal {
        Signal::Logs => audit_rows::<LogRows>(config, signal, spans, deep, named).await,
        Signal::Traces | Signal::Metrics => audit_rows::<SpanRows>(config, signal, spans, deep, named).await,
    }
}

async fn audit_rows<R: Rows>(
    config: &HubConfig,
    signal: &SignalConfig,
    spans: &[Span],
    deep: bool,
    named: usize,
) -> anyhow::Result<Vec<Partition>> {
    let clickhouse =
        config.clickhouse.as_ref().context("clickhouse is not configured; set clickhouse.url")?;
    let letters = letters::read(signal, spans).await?;
    let mut table =
        Table::open(clickhouse, clickhouse.table_of(signal.signal), &signal.topic, spans, deep).await?;
    let decode = DecodeSettings {
        topic: signal.topic.clone(),
        retention: clickhouse.retention(),
        max_record_bytes: config.max_record_bytes.as_usize(),
    };
    let offsets: i64 = spans.iter().map(|span| span.to - span.from).sum();
    let reading = Reading::new(&signal.topic, "judged", offsets.unsigned_abs());
    let mut judge = Judge::<R>::new(signal, decode, reading.clone())?;
    let mut accounts: BTreeMap<i32, Partition> =
        spans.iter().map(|span| (span.partition, account(&signal.topic, span, named))).collect();
    let mut done = BTreeMap::new();
    while let Some(window) = table.next_window(spans, &done) {
        let held = table.count(&window).await?;
        // After the count: a row that the TTL took before it is known to have expired.
        let expired_until = table.expired_until().await?;
        let cases = held.into_iter().map(|(partition, held)| {
            let range = &window[&partition];
            let letters = letters.get(&partition).map_or(&[][..], Vec::as_slice);
            let begin = letters.partition_point(|offset| *offset < range.start);
            let end = letters.partition_point(|offset| *offset < range.end);
            Case { partition, held, dead_lettered: letters[begin..end].to_vec(), expired_until }
        });
        let cases: Vec<Case> = cases.collect();
        let judging = tokio::task::spawn_blocking(move || {
            for case in &cases {
                if let Some(account) = accounts.get_mut(&case.partition) {
                    judge.judge(case, account)?;
                }
            }
            anyhow::Ok((judge, accounts))
        });
        (judge, accounts) = judging.await.context("judge what is in question")??;
        for (partition, range) in window {
            reading.add((range.end - range.start).unsigned_abs());
            done.insert(partition, range.end);
        }
    }
    reading.end();
    Ok(accounts.into_values().collect())
}

fn account(topic: &str, span: &Span, named: usize) -> Partition {
    let finding = || Finding::naming(named);
    Partition {
        missing: finding(),
        incomplete: finding(),
        doubled: finding(),
        topic: topic.to_owned(),
        partition: span.partition,
        from: span.from,
        to: span.to,
        log_start: span.log_start,
        committed: span.committed,
        gone: span.gone.unsigned_abs(),
        unread: span.committed.map_or(0, |at| (span.log_start - at).max(0)).unsigned_abs(),
        records: (span.to - span.from).unsigned_abs(),
        ..Partition::default()
    }
}
