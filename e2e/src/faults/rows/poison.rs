//! Records that can never be stored: alone, among others, all of them, and when the dead letters cannot be written.

use std::time::Duration;

use anyhow::Result;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message as _;
use telemetry_wire::{Signal, dead_letter_topic};

use crate::faults::arena::Arena;
use crate::faults::hubs::Hubs;
use crate::faults::outcome::Outcome;
use crate::line::wait_for;
use crate::pages::{Page, Pages, Status};

fn poison(number: usize) -> Vec<u8> {
    [b"\xff\xff\xff poison ".as_slice(), number.to_string().as_bytes()].concat()
}

/// C06: poison alone in its partition, among good records, and a flood of it.
pub(in crate::faults) async fn poisoned(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut hubs = Hubs::idle(arena, "C06").await?;
    hubs.start_members()?;
    hubs.produce(Signal::Logs, 0, &[poison(0)]).await?;
    hubs.settled().await?;
    let mut written = 1;
    hubs.resume().await?;
    for round in 0..repeats as usize {
        for partition in 0..4 {
            hubs.produce(Signal::Logs, partition, &[poison(round)]).await?;
            written += 1;
        }
        let flood: Vec<Vec<u8>> = (0..500).map(poison).collect();
        hubs.produce(Signal::Logs, (round % 4) as i32, &flood).await?;
        written += 500;
        hubs.acked(100).await?;
    }
    hubs.pause().await?;
    hubs.settled().await?;
    let (records, letters) = hubs.dead_letters(Signal::Logs).await?;
    outcome.check(records == written, format!("dead letters of {records} records, {written} were poisoned"));
    outcome
        .note(format!("dead letters of all {records} poisoned records, {} of them twice", letters - records));
    hubs.judge(outcome).await
}

/// How long an alert without a time to hold may take: pushed, evaluated every ten seconds, delivered.
const ALERT: Duration = Duration::from_secs(60);

/// D05: a flood of poison: whoever is to be told is told, by the alert on dead letters and by no other.
pub(in crate::faults) async fn alerted(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let pages = Pages::start()?;
    let mut hubs = Hubs::paging(arena, "D05", &pages).await?;
    hubs.start_members()?;
    hubs.resume().await?;
    for round in 0..repeats as usize {
        let flood: Vec<Vec<u8>> = (0..200).map(poison).collect();
        hubs.produce(Signal::Logs, (round % 4) as i32, &flood).await?;
        let is_told = |page: &Page| page.alert == "DeadLetters" && page.status == Status::Firing;
        let page = pages.wait_for(ALERT, is_told).await;
        outcome.check(page.is_ok(), format!("round {round}: nobody was told of 200 dead letters: {page:?}"));
        if let Ok(page) = page {
            let reason = page.labels.get("reason").cloned().unwrap_or_default();
            outcome.check(reason == "malformed", format!("the alert names the reason `{reason}`"));
            let runbook = page.annotations.get("runbook_url").cloned().unwrap_or_default();
            outcome.check(runbook.ends_with("#deadletters"), format!("its runbook is `{runbook}`"));
        }
    }
    hubs.pause().await?;
    hubs.settled().await?;
    let others: Vec<String> = pages
        .delivered()
        .into_iter()
        .map(|page| page.alert)
        .filter(|alert| !EXPECTED.contains(&alert.as_str()))
        .collect();
    outcome.check(others.is_empty(), format!("other alerts fired: {others:?}"));
    hubs.judge(outcome).await
}

/// What fires in D05: the alert, and the one that always does.
const EXPECTED: [&str; 2] = ["DeadLetters", "Watchdog"];

/// C08: the dead-letter topic cannot be written: nothing moves past the record, and the hub says so.
pub(in crate::faults) async fn dead_letters_refused(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut hubs = Hubs::idle(arena, "C08").await?;
    let topic = dead_letter_topic(&hubs.line.topic(Signal::Logs));
    for round in 0..repeats as usize {
        hubs.line.delete_topic(&topic).await?;
        hubs.line.start_hub().await?;
        let offsets = hubs.produce(Signal::Logs, 0, &[poison(round), poison(round)]).await?;
        wait_for("the hub not to be ready", async || {
            let answer = hubs.line.hub_answer("/readyz").await?;
            Ok(if answer.contains("dead") { Ok(()) } else { Err(answer) })
        })
        .await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        let committed = hubs.line.committed(Signal::Logs).await?;
        let is_behind = committed.iter().all(|(partition, offset)| *partition != 0 || *offset <= offsets[0]);
        outcome.check(is_behind, format!("round {round}: {committed:?}, and {} is not written", offsets[0]));
        hubs.line.create_topics().await?;
        hubs.settled().await?;
        let (records, letters) = hubs.dead_letters(Signal::Logs).await?;
        outcome.check(
            records == 2,
            format!("round {round}: {letters} dead letters of {records} records, not 2"),
        );
        hubs.line.stop_hub().await?;
    }
    // The letters of earlier rounds went with their topic; the audit is asked for the last one's.
    hubs.start_members()?;
    hubs.resume().await?;
    hubs.judge_by_table(outcome).await
}

/// H07: ClickHouse refuses one row of a block: exactly its record is dead-lettered.
pub(in crate::faults) async fn row_refused(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut hubs = Hubs::start(arena, "H07").await?;
    let clickhouse = hubs.line.clickhouse();
    clickhouse.query("ALTER TABLE otel_logs ADD CONSTRAINT it CHECK Body != 'refused by the table'").await?;
    for round in 0..repeats {
        hubs.produce(Signal::Logs, (round % 4) as i32, &[refused()]).await?;
        hubs.acked(60).await?;
    }
    hubs.pause().await?;
    hubs.settled().await?;
    let (records, letters) = hubs.dead_letters(Signal::Logs).await?;
    outcome.check(
        records == i64::from(repeats),
        format!("{letters} letters of {records} records, {repeats} were refused"),
    );
    hubs.judge(outcome).await
}

fn refused() -> Vec<u8> {
    let body =
        Some(AnyValue { value: Some(any_value::Value::StringValue("refused by the table".to_owned())) });
    let scope_logs = vec![ScopeLogs {
        log_records: vec![LogRecord { body, ..LogRecord::default() }],
        ..ScopeLogs::default()
    }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}
