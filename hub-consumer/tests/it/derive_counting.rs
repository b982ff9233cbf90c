//! Which log records a hub counts, on a real broker and a real ClickHouse: those that its own inserts have brought, once.
//! Where the counts go nobody listens here.

use hub_consumer::replay::{ReplayArgs, replay};
use service_runtime::Runtime;
use telemetry_wire::Signal;

use crate::{
    clickhouse_faults::{Fault, Insert, behind_proxy},
    database::Database,
    line::{Hub, Line, eventually, logs_request},
};

/// Small blocks, so that what is in doubt is more than one; and nobody answers at the port.
const DERIVE: &str =
    "blocks: {max_age: 50ms, max_rows: 8}\nderive: {enabled: true, url: 'http://127.0.0.1:1'}\n";
const COUNTED: &str = "hub_derive_counted_records_total";

/// Sends requests of two log records each.
async fn send(line: &Line, from: i64, to: i64) {
    for number in from..to {
        line.send(0, &logs_request(&format!("request {number}"), 2), &[]).await;
    }
}

async fn rows(database: &Database) -> f64 {
    database.query("SELECT count() FROM {db}.otel_logs").await.trim().parse().unwrap()
}

/// Runs a hub that counts, until everything is committed; what it has counted.
async fn counted(line: &Line, database: &Database) -> f64 {
    let hub = Hub::start(line.table_config(&database.config, DERIVE));
    line.wait_until_committed().await;
    let counted = hub.metric(COUNTED, "logs");
    hub.stop().await;
    counted
}

/// A line of which so many records are stored and committed, by a hub that does not count.
async fn stored(records: i64) -> (Line, Database) {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    send(&line, 0, records).await;
    let hub = Hub::start(line.table_config(&database.config, "blocks: {max_age: 50ms, max_rows: 8}"));
    line.wait_until_committed().await;
    hub.stop().await;
    assert_eq!(rows(&database).await, 2.0 * records as f64);
    (line, database)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_stored_record_counts_once_and_dead_letters_do_not() {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    send(&line, 0, 20).await;
    line.send(0, b"\x0a\xff poison", &[]).await;
    send(&line, 20, 41).await;
    assert_eq!(counted(&line, &database).await, 82.0);
    assert_eq!(line.read_dead_letters(1).await.len(), 1);
    assert_eq!(rows(&database).await, 82.0);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_another_owner_has_stored_does_not_count() {
    let (line, database) = stored(30).await;
    line.set_committed(0, 0).await;
    // Not a multiple of what is in a block: one is partly old.
    send(&line, 30, 35).await;
    assert_eq!(counted(&line, &database).await, 10.0);
    assert_eq!(rows(&database).await, 70.0);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn of_blocks_that_are_there_in_part_the_records_that_were_missing_count() {
    let (line, database) = stored(30).await;
    database
        .query("ALTER TABLE {db}.otel_logs DELETE WHERE source_offset IN (4, 5, 17, 29) SETTINGS mutations_sync = 1")
        .await;
    line.set_committed(0, 0).await;
    assert_eq!(counted(&line, &database).await, 8.0);
    assert_eq!(rows(&database).await, 60.0);
    database.drop().await;
}

/// Sends records and stores them through a script; what is counted of them, in how many rows.
async fn behind(script: impl Fn(usize, &Insert) -> Fault + Send + Sync + 'static) -> (Line, f64, f64) {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    send(&line, 0, 16).await;
    let (clickhouse, _) = behind_proxy(&database.config, script).await;
    let hub =
        Hub::ready(line.table_config(&clickhouse, &DERIVE.replace("max_rows: 8", "max_rows: 1000"))).await;
    line.wait_until_committed().await;
    let outcome = (hub.metric(COUNTED, "logs"), rows(&database).await);
    hub.stop().await;
    database.drop().await;
    (line, outcome.0, outcome.1)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_insert_whose_answer_is_lost_counts_once() {
    let (_, counted, rows) =
        behind(|number, _| if number == 0 { Fault::StoreAndLose } else { Fault::None }).await;
    assert_eq!((counted, rows), (32.0, 32.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_lost_and_inserted_again_count_once() {
    let (_, counted, rows) =
        behind(|number, _| if number == 0 { Fault::StoreAndForget } else { Fault::None }).await;
    assert_eq!((counted, rows), (32.0, 32.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_divided_block_counts_by_its_halves_and_a_refused_record_not_at_all() {
    let refuses_5 = |_: usize, insert: &Insert| {
        let (first, last) = insert.range;
        if (first..=last).contains(&5) { Fault::Refuse(6, "Cannot parse string") } else { Fault::None }
    };
    let (line, counted, rows) = behind(refuses_5).await;
    assert_eq!(line.read_dead_letters(1).await.len(), 1);
    assert_eq!((counted, rows), (30.0, 30.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replay_stores_does_not_count() {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    send(&line, 0, 20).await;
    let config = line.table_config(&database.config, DERIVE);
    let hub = Hub::ready(config.clone()).await;
    line.wait_until_committed().await;
    eventually("everything is counted", async || hub.metric(COUNTED, "logs") == 40.0).await;
    database.query("ALTER TABLE {db}.otel_logs DELETE WHERE 1 SETTINGS mutations_sync = 1").await;

    let runtime = Runtime::detached();
    replay(config, runtime.clone(), &ReplayArgs { parallel: 1, ..ReplayArgs::default() }).await.unwrap();
    assert_eq!(rows(&database).await, 40.0, "it has stored them again");
    assert!(!runtime.encode_metrics().unwrap().contains("hub_derive"), "it knows no rules");
    send(&line, 20, 21).await;
    line.wait_until_committed().await;
    assert_eq!(hub.metric(COUNTED, "logs"), 42.0);
    hub.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_join_and_leave_count_every_record_once() {
    let (line, database) = (Line::new(Signal::Logs, 4).await, Database::migrated().await);
    let send = async |from: usize, to: usize| {
        for number in from..to {
            line.send(number as i32 % 4, &logs_request(&format!("request {number}"), 2), &[]).await;
        }
    };
    let config = || line.table_config(&database.config, DERIVE);
    let first = Hub::ready(config()).await;
    send(0, 200).await;
    let second = Hub::ready(config()).await;
    send(200, 400).await;
    eventually("both members own partitions", async || {
        let owned = |hub: &Hub| hub.metric("hub_assigned_partitions", "logs");
        (owned(&first), owned(&second)) == (2.0, 2.0)
    })
    .await;
    send(400, 600).await;
    let runtime = first.runtime.clone();
    first.stop().await;
    send(600, 800).await;
    line.wait_until_committed().await;
    let page = runtime.encode_metrics().unwrap();
    let of_first: f64 = page
        .lines()
        .filter_map(|text| text.strip_prefix(&format!("{COUNTED}{{signal=\"logs\"}} ")))
        .map(|count| count.parse::<f64>().unwrap())
        .sum();
    assert!(of_first > 0.0);
    assert_eq!((of_first + second.metric(COUNTED, "logs"), rows(&database).await), (1600.0, 1600.0));
    second.stop().await;
    database.drop().await;
}
