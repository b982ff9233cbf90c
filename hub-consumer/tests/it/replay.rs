//! `hub-consumer replay` brings back what was taken out of the table, and changes nothing else.

use std::{
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use hub_consumer::{
    audit::{AuditArgs, Position},
    replay::{ReplayArgs, Replayed, replay},
};
use kafka_client::admin;
use rustix::process::{Pid, Signal as ProcessSignal, kill_process};
use service_runtime::Runtime;
use telemetry_wire::Signal;
use tokio::time::sleep;

use crate::{
    database::Database,
    line::{Hub, Line, eventually, logs_request, logs_request_at},
};

/// Items of every record.
const ITEMS: usize = 4;

/// Records that a hub has stored, the hub gone.
struct Stored {
    line: Line,
    database: Database,
}

impl Stored {
    async fn new(partitions: i32, records: i64) -> Stored {
        let stored =
            Stored { line: Line::new(Signal::Logs, partitions).await, database: Database::migrated().await };
        stored.more(partitions, 0, records).await;
        stored.store().await;
        stored
    }

    async fn more(&self, partitions: i32, from: i64, to: i64) {
        for number in from..to {
            let value = logs_request(&format!("record {number}"), ITEMS);
            self.line.send(number as i32 % partitions, &value, &[]).await;
        }
    }

    /// Lets a hub store what there is.
    async fn store(&self) {
        let hub = Hub::start(self.line.table_config(&self.database.config, "blocks: {max_age: 50ms}"));
        self.line.wait_until_committed().await;
        hub.stop().await;
    }

    async fn delete(&self, which: &str) {
        let sql = format!("ALTER TABLE {{db}}.otel_logs DELETE WHERE {which} SETTINGS mutations_sync = 2");
        self.database.query(&sql).await;
    }

    async fn try_replay(&self, args: &ReplayArgs) -> anyhow::Result<Replayed> {
        // Small blocks, so that a replay has several.
        let config = self.line.table_config(&self.database.config, "blocks: {max_rows: 20}");
        replay(config, Runtime::detached(), args).await
    }

    async fn replay(&self, args: &ReplayArgs) -> Replayed {
        self.try_replay(args).await.unwrap_or_else(|error| panic!("{error:#}"))
    }

    /// Rows, different rows, and records.
    async fn counts(&self, database: &str) -> (u64, u64, u64) {
        let sql = format!(
            "SELECT count(), uniqExact(Body, source_partition), uniqExact(source_partition, source_offset) FROM {database}.otel_logs"
        );
        let text = self.database.query(&sql).await;
        let numbers: Vec<u64> = text.trim().split('\t').map(|number| number.parse().unwrap()).collect();
        (numbers[0], numbers[1], numbers[2])
    }

    async fn has_all(&self, records: u64) {
        let items = records * ITEMS as u64;
        assert_eq!(self.counts("{db}").await, (items, items, records));
    }

    /// Starts the program itself.
    fn spawn(&self, folder: &std::path::Path, args: &[&str]) -> Child {
        let path = folder.join("hub.yaml");
        std::fs::write(&path, self.line.yaml(&self.database.config, "blocks: {max_rows: 20}")).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_hub-consumer"));
        command.arg("replay").arg("--config").arg(&path).args(args);
        command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap()
    }
}

fn from(position: Position) -> AuditArgs {
    AuditArgs { from: Some(position), ..AuditArgs::default() }
}

fn all() -> ReplayArgs {
    ReplayArgs { parallel: 2, ..ReplayArgs::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_deleted_comes_back_and_twice_is_once() {
    let stored = Stored::new(3, 90).await;
    stored.delete("source_partition = 1 OR source_offset IN (3, 4, 20)").await;
    let dry = stored.replay(&ReplayArgs { dry_run: true, ..all() }).await;
    assert_eq!((dry.lacking_before, dry.records, dry.audit.complete), (36, 0, false));
    assert_eq!(stored.counts("{db}").await.2, 54, "a dry run changes nothing");

    let replayed = stored.replay(&all()).await;
    assert_eq!((replayed.lacking_before, replayed.records, replayed.rows), (36, 36, 36 * ITEMS as u64));
    assert!(replayed.audit.complete, "{}", replayed.audit);
    stored.has_all(90).await;

    let again = stored.replay(&all()).await;
    assert_eq!((again.lacking_before, again.records, again.rows), (0, 0, 0));
    stored.has_all(90).await;
    // And once more the same rows: the server still remembers the first replay's tokens.
    stored.delete("source_partition = 1").await;
    assert_eq!(stored.replay(&all()).await.records, 30);
    stored.has_all(90).await;
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_a_record_that_is_there_in_part_only_the_rest_is_inserted() {
    let stored = Stored::new(1, 12).await;
    let deep = AuditArgs { deep: true, ..AuditArgs::default() };
    for args in [all(), ReplayArgs { range: deep, ..all() }] {
        stored.delete("source_offset IN (2, 7) AND endsWith(Body, ' 1')").await;
        let replayed = stored.replay(&args).await;
        assert_eq!(replayed.lacking_before, 2);
        assert!(replayed.audit.complete, "{}", replayed.audit);
        stored.has_all(12).await;
    }
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_group_has_not_committed_is_left_to_the_hubs() {
    let stored = Stored::new(1, 10).await;
    stored.more(1, 10, 15).await;
    stored.delete("source_offset = 4").await;
    let range = AuditArgs { to: Some(Position::Offset(15)), ..AuditArgs::default() };
    assert_eq!(stored.replay(&ReplayArgs { range, ..all() }).await.records, 1);
    stored.has_all(10).await;
    stored.store().await;
    stored.has_all(15).await;
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_beside_live_traffic_disturbs_nothing() {
    let stored = Stored::new(2, 60).await;
    stored.delete("source_offset < 20").await;
    let hub = Hub::ready(stored.line.table_config(&stored.database.config, "blocks: {max_age: 50ms}")).await;
    let slowly = ReplayArgs { rate: Some(100), ..all() };
    let (replayed, ()) = tokio::join!(stored.replay(&slowly), stored.more(2, 60, 200));
    assert_eq!(replayed.records, 40);
    stored.line.wait_until_committed().await;
    hub.stop().await;
    stored.has_all(200).await;
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_one_replay_is_at_work_in_a_database() {
    let stored = Stored::new(1, 40).await;
    stored.delete("1").await;
    let slowly = ReplayArgs { rate: Some(60), ..all() };
    let (one, other) = tokio::join!(stored.try_replay(&slowly), stored.try_replay(&slowly));
    let (done, refused) = if one.is_ok() { (one, other) } else { (other, one) };
    assert_eq!(done.unwrap().records, 40);
    let refused = refused.err().map(|error| format!("{error:#}")).unwrap_or_default();
    assert!(refused.contains("another replay is at work") && refused.contains("replay_lock"), "{refused}");
    stored.has_all(40).await;
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_killed_is_gone_on_with() {
    let stored = Stored::new(1, 120).await;
    let folder = tempfile::tempdir().unwrap();
    let exists = "SELECT count() FROM system.tables WHERE database = '{db}' AND name = 'replay_lock'";
    for round in 0..4_u64 {
        stored.delete("source_offset % 2 = 0").await;
        let mut killed = stored.spawn(folder.path(), &["--rate", "300"]);
        eventually("the replay has its lock", async || stored.database.query(exists).await.trim() == "1")
            .await;
        sleep(Duration::from_millis(100 + 150 * round)).await;
        killed.kill().unwrap();
        killed.wait().unwrap();
        // Its lock is there until it is two minutes old, or an operator who knows that it is dead drops it.
        stored.database.query("DROP TABLE IF EXISTS {db}.replay_lock").await;
        let replayed = stored.replay(&all()).await;
        assert!(replayed.audit.complete, "round {round}: {}", replayed.audit);
        stored.has_all(120).await;
    }
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_is_kept_also_by_what_would_fit_into_one_block() {
    let stored = Stored::new(1, 60).await;
    stored.delete("1").await;
    let config = stored.line.table_config(&stored.database.config, "");
    let slowly = ReplayArgs { rate: Some(60), ..all() };
    let began = Instant::now();
    let replayed = replay(config, Runtime::detached(), &slowly).await.unwrap();
    assert_eq!((replayed.rows, replayed.audit.complete), (60 * ITEMS as u64, true));
    // Four blocks of a second's worth, the first at once.
    assert!(began.elapsed() >= Duration::from_secs(3), "it took {:?}", began.elapsed());
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_that_is_told_to_end_gives_its_lock_back() {
    let stored = Stored::new(1, 120).await;
    let folder = tempfile::tempdir().unwrap();
    stored.delete("1").await;
    let told = stored.spawn(folder.path(), &["--rate", "50"]);
    eventually("it has stored something", async || stored.counts("{db}").await.0 > 0).await;
    kill_process(Pid::from_child(&told), ProcessSignal::TERM).unwrap();
    let told = told.wait_with_output().unwrap();
    assert_eq!(told.status.code(), Some(2), "it did not get to its end");
    // Otherwise this one would be refused for two minutes.
    let replayed = stored.replay(&all()).await;
    assert!(replayed.audit.complete && (1..120).contains(&replayed.records), "{}", replayed.audit);
    stored.has_all(120).await;
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_has_left_the_topic_is_refused_with_how_much_it_is() {
    let stored = Stored::new(1, 30).await;
    admin::delete_records(&stored.line.connection, &stored.line.topic, 0, 12).await.unwrap();
    let refused = async |range| {
        let refused = stored.try_replay(&ReplayArgs { range, ..all() }).await;
        refused.map_or_else(|error| format!("{error:#}"), |_| String::new())
    };
    let text = refused(from(Position::Offset(5))).await;
    assert!(text.contains("7 of partition 0, which begins at 12"), "{text}");
    let text = refused(from(Position::Time("2020-01-01T00:00:00Z".parse().unwrap()))).await;
    assert!(text.contains("partition 0 begins at") && text.contains("after 2020-01-01"), "{text}");
    let left = ReplayArgs { range: from(Position::Offset(5)), allow_gone: true, ..all() };
    assert!(stored.replay(&left).await.audit.complete);
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_ttl_took_stays_away_and_what_it_left_comes_back() {
    const DAY: u64 = 86_400_000_000_000;
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    let now = u64::try_from(jiff::Timestamp::now().as_nanosecond()).unwrap();
    let (expired, kept) = (now - 20 * DAY, now - 5 * DAY);
    let record = |number: u64, times: &[u64]| {
        let requests =
            times.iter().map(|time| logs_request_at(&format!("record {number}"), 2, *time + number));
        requests.collect::<Vec<_>>().concat()
    };
    for number in 0..9 {
        // Two requests put end to end are one. Of some records every row has expired, of others a half.
        let times: &[u64] = if number < 3 { &[expired] } else { &[expired, kept] };
        line.send(0, &record(number, times), &[]).await;
    }
    let stored = Stored { line, database };
    stored.store().await;
    assert_eq!(stored.counts("{db}").await.0, 3 * 2 + 6 * 4);
    let alter = "ALTER TABLE {db}.otel_logs MODIFY TTL toDateTime(Timestamp) + toIntervalDay(10)";
    stored.database.query(alter).await;
    // The part of the old day goes as a whole, when the server comes to it.
    let settle = async || {
        stored.database.query("OPTIMIZE TABLE {db}.otel_logs FINAL").await;
        eventually("the TTL has taken its rows", async || stored.counts("{db}").await.0 <= 12).await;
    };
    settle().await;
    stored.delete("source_offset IN (1, 4, 5)").await;
    assert_eq!(stored.counts("{db}").await, (8, 8, 4));

    let replayed = stored.replay(&all()).await;
    assert_eq!((replayed.lacking_before, replayed.records), (2, 2), "record 1 has expired");
    assert!(replayed.audit.complete, "{}", replayed.audit);
    settle().await;
    assert_eq!(stored.counts("{db}").await, (12, 12, 6));
    let again = stored.replay(&all()).await;
    assert!(again.records == 0 && again.audit.complete, "{}", again.audit);
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_is_built_beside_the_table_in_use() {
    let stored = Stored::new(2, 50).await;
    let copy = format!("{}_copy", stored.database.config.database);
    let replayed = stored.replay(&ReplayArgs { into: Some(copy.clone()), ..all() }).await;
    assert!(replayed.records == 50 && replayed.audit.complete, "{}", replayed.audit);
    assert_eq!(stored.counts(&copy).await, (50 * ITEMS as u64, 50 * ITEMS as u64, 50));
    stored.has_all(50).await;
    stored.database.query(&format!("DROP DATABASE {copy} SYNC")).await;
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_program_says_what_it_did_and_by_its_exit_code_whether_all_is_there() {
    let stored = Stored::new(1, 10).await;
    stored.delete("source_offset = 3").await;
    let folder = tempfile::tempdir().unwrap();
    let run = |args: &[&str]| stored.spawn(folder.path(), args).wait_with_output().unwrap();
    let dry = run(&["--dry-run"]);
    let text = String::from_utf8_lossy(&dry.stdout).into_owned();
    assert!(
        dry.status.code() == Some(1) && text.contains("would store 1 records; nothing was changed"),
        "{text}"
    );
    let done = run(&["--json"]);
    assert_eq!(done.status.code(), Some(0));
    let json: serde_json::Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&json["records"], &json["rows"]), (&1.into(), &ITEMS.into()));
    stored.database.drop().await;
}
