//! `hub-consumer audit` finds what was done to the table, and calls nothing lost that is not.

use std::process::{Command, Output};

use futures::future::join_all;
use hub_consumer::audit::{AuditArgs, Finding, Partition, Position, Report, audit};
use kafka_client::admin;
use prost::Message as _;
use telemetry_wire::{Signal, fixtures::Load};

use crate::{
    database::Database,
    line::{Hub, Line, logs_request, logs_request_at},
};

/// Items of every record that is not said to be otherwise.
const ITEMS: usize = 3;
/// Not protobuf: a length that runs past the end.
const POISON: &[u8] = b"\x0a\xff poison";

/// Records that a hub has stored, the hub gone.
struct Stored {
    line: Line,
    database: Database,
}

impl Stored {
    async fn new(partitions: i32, records: &[&[u8]]) -> Stored {
        let stored =
            Stored { line: Line::new(Signal::Logs, partitions).await, database: Database::migrated().await };
        for (number, value) in records.iter().enumerate() {
            stored.line.send(number as i32 % partitions, value, &[]).await;
        }
        stored.store().await;
        stored
    }

    /// Lets a hub store what there is.
    async fn store(&self) {
        let hub = Hub::ready(self.line.table_config(&self.database.config, "")).await;
        self.line.wait_until_committed().await;
        hub.stop().await;
    }

    async fn ten_records() -> Stored {
        let records: Vec<_> =
            (0..10).map(|number| logs_request(&format!("record {number}"), ITEMS)).collect();
        let records: Vec<&[u8]> = records.iter().map(AsRef::as_ref).collect();
        Stored::new(1, &records).await
    }

    async fn audit(&self, args: &AuditArgs) -> Report {
        let config = self.line.table_config(&self.database.config, "");
        audit(&config, args).await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// The account of the only partition.
    async fn account(&self, args: &AuditArgs) -> Partition {
        let mut report = self.audit(args).await;
        let partition = report.partitions.remove(0);
        let findings = [&partition.missing, &partition.incomplete, &partition.doubled];
        assert_eq!(report.complete, findings.iter().all(|found| found.records == 0), "{report}");
        partition
    }

    async fn change(&self, sql: &str) {
        self.database.query(&format!("{sql} SETTINGS mutations_sync = 2")).await;
    }

    /// Inserts rows that are there already once more.
    async fn double(&self, which: &str) {
        let again = "INSERT INTO {db}.otel_logs SELECT * FROM {db}.otel_logs WHERE";
        self.database.query(&format!("{again} {which} SETTINGS insert_deduplicate = 0")).await;
    }

    /// Runs the program itself.
    fn run(&self, args: &[&str]) -> Output {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("hub.yaml");
        let yaml = format!(
            "kafka: {{brokers: ['{}']}}\nclickhouse: {{url: '{}', database: {}, schema: {{retention_days: 7300}}}}\n\
             signals:\n  logs: {{topic: {topic}, group_id: hub-{topic}}}\n  traces: {{enabled: false}}\n  \
             metrics: {{enabled: false}}\n",
            self.line.connection.brokers.join("','"),
            self.database.config.http.url(),
            self.database.config.database,
            topic = self.line.topic,
        );
        std::fs::write(&path, yaml).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hub-consumer"));
        command.arg("audit").arg("--config").arg(&path).args(args).output().unwrap()
    }
}

fn deep() -> AuditArgs {
    AuditArgs { deep: true, ..AuditArgs::default() }
}

fn clean(account: &Partition) -> bool {
    [&account.missing, &account.incomplete, &account.doubled].iter().all(|found| found.records == 0)
}

fn check(found: &Finding, ranges: &[[i64; 2]]) {
    let records: i64 = ranges.iter().map(|[first, last]| last - first + 1).sum();
    assert_eq!((found.ranges.as_slice(), found.records), (ranges, records as u64));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_complete_topic_of_several_partitions_adds_up() {
    let mut load = Load::new(3);
    let records: Vec<_> = (0..30).map(|_| load.logs().encode_to_vec()).collect();
    let records: Vec<&[u8]> = records.iter().map(Vec::as_slice).collect();
    let stored = Stored::new(3, &records).await;
    for args in [AuditArgs::default(), deep()] {
        let report = stored.audit(&args).await;
        assert!(report.complete, "{report}");
        let counts: Vec<_> = report.partitions.iter().map(|of| (of.records, of.stored, of.rows)).collect();
        assert_eq!(counts, [(10, 10, 2000); 3]);
    }
    let one = AuditArgs { partitions: vec![2], ..AuditArgs::default() };
    assert_eq!(stored.audit(&one).await.partitions.len(), 1);
    stored.database.drop().await;
}

/// The offsets before which judging ends differ, a little at first.
#[tokio::test(flavor = "multi_thread")]
async fn every_partition_is_judged_within_its_own_range() {
    let stored = Stored::new(2, &vec![&logs_request("even", 1)[..]; 20]).await;
    for more in [1, 40] {
        for _ in 0..more {
            stored.line.send(1, &logs_request("tail", 1), &[]).await;
        }
        stored.store().await;
        // Rows that no committed record can have: only a partition's own bound keeps them out.
        let beyond = "INSERT INTO {db}.otel_logs (Timestamp, source_topic, source_partition, source_offset) \
             SELECT max(Timestamp), any(source_topic), 0, 10 FROM {db}.otel_logs";
        stored.database.query(beyond).await;
        let report = stored.audit(&AuditArgs::default()).await;
        assert!(report.complete, "{report}");
        let counts: Vec<_> = report.partitions.iter().map(|of| (of.records, of.rows)).collect();
        let tail = if more == 1 { 11 } else { 51 };
        assert_eq!(counts, [(10, 10), (tail, tail)]);
    }
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn spans_are_audited_like_log_records() {
    let (line, database) = (Line::new(Signal::Traces, 1).await, Database::migrated().await);
    let mut load = Load::new(4);
    for _ in 0..4 {
        line.send(0, &load.traces().encode_to_vec(), &[]).await;
    }
    let hub = Hub::ready(line.table_config(&database.config, "")).await;
    line.wait_until_committed().await;
    hub.stop().await;
    database.query("DELETE FROM {db}.otel_traces WHERE source_offset = 2").await;
    for args in [AuditArgs::default(), deep()] {
        let report = audit(&line.table_config(&database.config, ""), &args).await.unwrap();
        check(&report.partitions[0].missing, &[[2, 2]]);
        assert_eq!((report.partitions[0].stored, report.complete), (3, false));
    }
    let again = "INSERT INTO {db}.otel_traces SELECT * FROM {db}.otel_traces WHERE source_offset = 1";
    database.query(&format!("{again} SETTINGS insert_deduplicate = 0")).await;
    for args in [AuditArgs::default(), deep()] {
        let report = audit(&line.table_config(&database.config, ""), &args).await.unwrap();
        check(&report.partitions[0].doubled, &[[1, 1]]);
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn deleted_records_are_missing_with_their_offsets() {
    let stored = Stored::ten_records().await;
    stored.change("ALTER TABLE {db}.otel_logs DELETE WHERE source_offset IN (0, 4, 5, 9)").await;
    for args in [AuditArgs::default(), deep()] {
        let account = stored.account(&args).await;
        check(&account.missing, &[[0, 0], [4, 5], [9, 9]]);
        assert_eq!((account.records, account.stored), (10, 6));
    }
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_records_than_fit_a_bucket_are_told_apart() {
    const RECORDS: usize = 9_000;
    let stored = Stored::new(1, &[]).await;
    let value = logs_request("record", 1);
    for _ in 0..RECORDS / 500 {
        join_all((0..500).map(|_| stored.line.send(0, &value, &[]))).await;
    }
    stored.store().await;
    let account = stored.account(&AuditArgs::default()).await;
    assert!(clean(&account), "{account:?}");
    assert_eq!((account.stored, account.records, account.gaps), (RECORDS as u64, RECORDS as u64, 0));
    let from = AuditArgs { from: Some(Position::Offset(8_190)), ..AuditArgs::default() };
    assert_eq!(stored.account(&from).await.stored, RECORDS as u64 - 8_190);
    stored.change("ALTER TABLE {db}.otel_logs DELETE WHERE source_offset IN (0, 8191, 8192, 8999)").await;
    for args in [AuditArgs::default(), deep()] {
        check(&stored.account(&args).await.missing, &[[0, 0], [8_191, 8_192], [8_999, 8_999]]);
    }
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_lost_one_of_its_rows_is_incomplete() {
    let stored = Stored::ten_records().await;
    stored.change("ALTER TABLE {db}.otel_logs DELETE WHERE source_offset = 4 AND Body = 'record 4 1'").await;
    for args in [AuditArgs::default(), deep()] {
        let account = stored.account(&args).await;
        check(&account.incomplete, &[[4, 4]]);
        assert_eq!((account.stored, account.doubled.records), (10, 0));
    }
    // The number of rows is right again, which the deep way does not content itself with.
    stored.double("source_offset = 4 AND Body = 'record 4 0'").await;
    let quick = stored.audit(&AuditArgs::default()).await;
    assert!(quick.complete && quick.notes.iter().any(|note| note.contains("--deep")), "{quick}");
    let account = stored.account(&deep()).await;
    check(&account.incomplete, &[[4, 4]]);
    check(&account.doubled, &[[4, 4]]);
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_of_two_days_is_compared_with_the_topic() {
    // Its first row is the last of its day.
    let midnight = telemetry_wire::fixtures::START_UNIX_NANO.next_multiple_of(86_400_000_000_000);
    let over_midnight = logs_request_at("over", 2, midnight - 1);
    let stored = Stored::new(1, &[&logs_request("first", 2), &over_midnight]).await;
    let items =
        "SELECT groupUniqArray((toInt32(source_offset), toInt32(source_items))) AS items FROM {db}.otel_logs";
    assert_eq!(stored.database.query(&format!("{items} FORMAT TSV")).await.trim(), "[(0,2),(1,0)]");
    assert!(clean(&stored.account(&AuditArgs::default()).await));
    // A part that came twice, and another one that did not come: the number is right.
    stored.change("ALTER TABLE {db}.otel_logs DELETE WHERE source_offset = 1 AND Body = 'over 1'").await;
    check(&stored.account(&AuditArgs::default()).await.incomplete, &[[1, 1]]);
    stored.double("source_offset = 1").await;
    let account = stored.account(&AuditArgs::default()).await;
    check(&account.incomplete, &[[1, 1]]);
    check(&account.doubled, &[[1, 1]]);
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_do_not_say_how_many_they_are_are_compared_with_the_topic() {
    let stored = Stored::ten_records().await;
    stored.change("ALTER TABLE {db}.otel_logs UPDATE source_items = 0 WHERE 1").await;
    assert!(clean(&stored.account(&AuditArgs::default()).await));
    stored.change("ALTER TABLE {db}.otel_logs DELETE WHERE source_offset = 4 AND Body = 'record 4 1'").await;
    stored.double("source_offset = 7").await;
    let account = stored.account(&AuditArgs::default()).await;
    check(&account.incomplete, &[[4, 4]]);
    check(&account.doubled, &[[7, 7]]);
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_there_twice_are_doubled() {
    let stored = Stored::ten_records().await;
    stored.double("source_offset = 7").await;
    stored.double("source_offset = 2 AND Body = 'record 2 1'").await;
    for args in [AuditArgs::default(), deep()] {
        let account = stored.account(&args).await;
        check(&account.doubled, &[[2, 2], [7, 7]]);
        assert_eq!((account.stored, account.rows), (10, 34));
    }
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_holds_the_same_item_twice_is_not_doubled() {
    let twice: Vec<u8> = [logs_request("same", 1), logs_request("same", 1)].concat();
    let stored = Stored::new(1, &[&twice, &logs_request("other", 1)]).await;
    for args in [AuditArgs::default(), deep()] {
        let account = stored.account(&args).await;
        assert!(clean(&account), "{account:?}");
        assert_eq!(account.rows, 3);
    }
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_lettered_and_empty_records_are_not_missing() {
    let (first, last) = (logs_request("first", ITEMS), logs_request("last", ITEMS));
    let no_items = logs_request("", 0);
    let stored = Stored::new(1, &[&first, POISON, b"", &no_items, &last]).await;
    for args in [AuditArgs::default(), deep()] {
        let account = stored.account(&args).await;
        assert!(clean(&account), "{account:?}");
        assert_eq!((account.records, account.stored, account.dead_lettered, account.empty), (5, 2, 1, 2));
    }
    // Without its dead letter the same record is missing.
    admin::delete_records(&stored.line.connection, &stored.line.dead_letters, 0, 1).await.unwrap();
    check(&stored.account(&AuditArgs::default()).await.missing, &[[1, 1]]);
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_uncommitted_tail_is_judged_only_when_asked_for() {
    let stored = Stored::ten_records().await;
    for number in 0..2 {
        stored.line.send(0, &logs_request(&format!("late {number}"), ITEMS), &[]).await;
    }
    let account = stored.account(&AuditArgs::default()).await;
    assert!(clean(&account), "{account:?}");
    assert_eq!((account.to, account.committed), (10, Some(10)));
    let asked = AuditArgs { to: Some(Position::Offset(11)), ..AuditArgs::default() };
    check(&stored.account(&asked).await.missing, &[[10, 10]]);
    let report = stored.audit(&asked).await;
    assert!(report.notes.iter().any(|note| note.contains("not committed")), "{report}");
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_retention_removed_is_reported_and_not_judged() {
    let stored = Stored::ten_records().await;
    stored.change("ALTER TABLE {db}.otel_logs DELETE WHERE source_offset IN (1, 6)").await;
    admin::delete_records(&stored.line.connection, &stored.line.topic, 0, 4).await.unwrap();
    let report = stored.audit(&AuditArgs::default()).await;
    assert!(report.notes.iter().any(|note| note.contains("begins at offset 4")), "{report}");
    check(&report.partitions[0].missing, &[[6, 6]]);
    let asked = AuditArgs { from: Some(Position::Offset(0)), ..AuditArgs::default() };
    let account = stored.account(&asked).await;
    assert_eq!((account.gone, account.from, account.records), (4, 4, 6));
    check(&account.missing, &[[6, 6]]);
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_retention_has_passed_is_reported() {
    let stored = Stored::ten_records().await;
    for _ in 0..3 {
        stored.line.send(0, &logs_request("unread", 1), &[]).await;
    }
    admin::delete_records(&stored.line.connection, &stored.line.topic, 0, 12).await.unwrap();
    let report = stored.audit(&AuditArgs::default()).await;
    assert!(report.notes.iter().any(|note| note.contains("2 offsets are lost unread")), "{report}");
    assert!(!report.complete, "{report}");
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_the_ttl_took_are_expired_and_not_missing() {
    let stored = Stored::ten_records().await;
    // The fixtures' time is long past: with this TTL every row may go, and most have gone.
    stored.change("ALTER TABLE {db}.otel_logs MODIFY TTL toDateTime(Timestamp) + toIntervalDay(1)").await;
    stored.change("ALTER TABLE {db}.otel_logs DELETE WHERE source_offset < 9").await;
    for args in [AuditArgs::default(), deep()] {
        let account = stored.account(&args).await;
        assert!(clean(&account), "{account:?}");
        assert_eq!(account.stored + account.expired, 10, "{account:?}");
        assert!(account.expired >= 9, "{account:?}");
    }
    // A TTL that keeps them takes the excuse away.
    stored.change("ALTER TABLE {db}.otel_logs MODIFY TTL toDateTime(Timestamp) + toIntervalDay(7300)").await;
    assert!(stored.account(&AuditArgs::default()).await.missing.records >= 9);
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_time_chooses_the_records_from_then_on() {
    let stored = Stored::ten_records().await;
    stored.change("ALTER TABLE {db}.otel_logs DELETE WHERE source_offset = 3").await;
    let last = |text: &str| AuditArgs {
        last: Some(humantime::parse_duration(text).unwrap()),
        ..AuditArgs::default()
    };
    check(&stored.account(&last("1h")).await.missing, &[[3, 3]]);
    let later = AuditArgs { from: Some("2100-01-01".parse().unwrap()), ..AuditArgs::default() };
    assert_eq!(stored.account(&later).await.records, 0);
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_prints_a_table_or_json_and_tells_by_its_exit_code() {
    let stored = Stored::ten_records().await;
    let output = stored.run(&[]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{table}{}", String::from_utf8_lossy(&output.stderr));
    assert!(table.contains("complete: 10 records, 0 missing, 0 doubled"), "{table}");
    assert!(table.contains("metrics are not audited"), "{table}");

    stored.change("ALTER TABLE {db}.otel_logs DELETE WHERE source_offset = 4").await;
    let output = stored.run(&["--json", "--signal", "logs", "--last", "1h"]);
    assert_eq!(output.status.code(), Some(1));
    let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(json["complete"], false);
    assert_eq!(json["partitions"][0]["missing"]["ranges"], serde_json::json!([[4, 4]]));

    let output = stored.run(&["--topic", "unknown"]);
    assert_eq!(output.status.code(), Some(2));
    let told = String::from_utf8(output.stderr).unwrap();
    assert!(told.contains(&stored.line.topic), "the remedy names what there is: {told}");
    stored.database.drop().await;
}
