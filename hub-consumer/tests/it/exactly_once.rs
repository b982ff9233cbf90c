//! What a hub does with records that may be stored already, on a real broker and a real ClickHouse: positions that step back,
//! metadata that is gone or of another log, rows that are lost, a topic that is made anew. `docs/exactly-once.md` says which
//! hole each closes.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use hub_consumer::decode::{LogRows, Rows};
use kafka_client::admin::{self, TopicSpec};
use telemetry_wire::Signal;

use crate::{
    clickhouse_faults::{Fault, Insert, behind_proxy},
    database::Database,
    line::{Hub, Line, eventually, logs_request},
};

/// Rows by offset.
async fn rows(database: &Database) -> Vec<(i64, i64)> {
    let sql =
        "SELECT toInt32(source_offset) AS o, toInt32(count()) AS n FROM {db}.otel_logs GROUP BY o ORDER BY o";
    let rows = database.rows(sql).await;
    rows.iter().map(|row| (row["o"].as_i64().unwrap(), row["n"].as_i64().unwrap())).collect()
}

/// Two rows for each of these offsets.
fn twice(offsets: impl IntoIterator<Item = i64>) -> Vec<(i64, i64)> {
    offsets.into_iter().map(|offset| (offset, 2)).collect()
}

async fn send(line: &Line, from: i64, to: i64) {
    for number in from..to {
        line.send(0, &logs_request(&format!("request {number}"), 2), &[]).await;
    }
}

/// A line of which so many records are stored and committed, and whose hub has ended.
async fn stored(records: i64) -> (Line, Database) {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    send(&line, 0, records).await;
    run(&line, &database, "").await;
    assert_eq!(rows(&database).await, twice(0..records));
    (line, database)
}

/// Runs a hub until everything is committed.
async fn run(line: &Line, database: &Database, metric: &str) -> f64 {
    // Small blocks, so that what is in doubt is more than one.
    let hub = Hub::start(line.table_config(&database.config, "blocks: {max_age: 50ms, max_rows: 8}"));
    line.wait_until_committed().await;
    let value = if metric.is_empty() { 0.0 } else { hub.metric(metric, "") };
    hub.check_conservation().await;
    hub.stop().await;
    value
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_steps_back_stores_nothing_twice() {
    let (line, database) = stored(30).await;
    line.set_committed(0, 3).await;
    send(&line, 30, 35).await;
    run(&line, &database, "").await;
    assert_eq!(rows(&database).await, twice(0..35));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_lost_behind_the_position_come_back_and_the_others_stay() {
    let (line, database) = stored(30).await;
    database
        .query("ALTER TABLE {db}.otel_logs DELETE WHERE source_offset IN (4, 5, 17, 29) SETTINGS mutations_sync = 1")
        .await;
    line.set_committed(0, 0).await;
    run(&line, &database, "").await;
    assert_eq!(rows(&database).await, twice(0..30));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_announcement_that_the_log_does_not_hold_is_an_alarm_and_loses_nothing() {
    let (line, database) = stored(10).await;
    send(&line, 10, 20).await;
    let other = format!("v1 10 14 5 {:032x} 00000001 1", 7);
    line.set_committed_with(0, 10, &other).await;
    assert_eq!(run(&line, &database, "hub_intent_mismatches_total").await, 1.0);
    assert_eq!(rows(&database).await, twice(0..20));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn metadata_of_somebody_else_is_no_announcement() {
    let (line, database) = stored(10).await;
    line.set_committed_with(0, 5, "connect-task-3").await;
    send(&line, 10, 12).await;
    run(&line, &database, "").await;
    assert_eq!(rows(&database).await, twice(0..12));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_made_anew_with_the_same_offsets_is_stored_too() {
    let (line, database) = stored(20).await;
    admin::delete_topics(&line.connection, &[&line.topic]).await.unwrap();
    eventually("the topic is gone", async || admin::watermarks(&line.connection, &line.topic).await.is_err())
        .await;
    line.create_topic(1).await;
    send(&line, 100, 110).await;
    run(&line, &database, "").await;
    let of_both: Vec<_> = (0..20).map(|offset| (offset, if offset < 10 { 4 } else { 2 })).collect();
    assert_eq!(rows(&database).await, of_both);
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_announced_is_formed_again_by_a_member_with_smaller_buffers() {
    const PARTITIONS: i32 = 4;
    const RECORDS: i64 = 64;
    let (line, database) = (Line::new(Signal::Logs, PARTITIONS).await, Database::migrated().await);
    let script = |_, insert: &Insert| match insert.range.0 {
        0 => Fault::None,
        _ => Fault::Hold(Duration::from_secs(600)),
    };
    let (clickhouse, _) = behind_proxy(&database.config, script).await;
    let hub =
        Hub::ready(line.table_config(&clickhouse, "blocks: {max_age: 10s}\npipeline: {drain_timeout: 1s}"))
            .await;
    // What is in the log when a partition is taken over is not announced; what comes behind it is.
    let send = async |partition, request: Bytes, records| {
        for _ in 0..records {
            line.send(partition, &request, &[]).await;
        }
    };
    join_all((0..PARTITIONS).map(|partition| send(partition, logs_request("first", 2), 1))).await;
    line.wait_until_committed().await;
    // Records of 32 KiB: 2 MiB of each partition.
    let request = logs_request(&"x".repeat(16 * 1024), 2);
    join_all((0..PARTITIONS).map(|partition| send(partition, request.clone(), RECORDS))).await;
    eventually("a block of each partition is announced", async || {
        line.announced().await.values().filter(|intent| !intent.starts_with("v1 0 ")).count() == 4
    })
    .await;
    // It gives up what is under way, and what it announced stays.
    hub.stop().await;
    assert_eq!(rows(&database).await, [(0, 8)], "nothing of what is announced is stored");

    let mut config = line.table_config(&database.config, "");
    let consumer = &mut config.signals[0].consumer;
    (consumer.buffer_bytes, consumer.partition_buffer_bytes) = (1024 * 1024, 1024 * 1024);
    let hub = Hub::start(config);
    line.wait_until_committed().await;
    hub.check_conservation().await;
    hub.stop().await;
    let all = (0..=RECORDS).map(|offset| (offset, 8));
    assert_eq!(rows(&database).await, all.collect::<Vec<_>>());
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_compacted_topic_is_refused() {
    let (line, database) = (Line::without_topics(Signal::Logs), Database::migrated().await);
    line.create_dead_letters().await;
    let config = vec![("cleanup.policy".to_owned(), "compact".to_owned())];
    let topic = TopicSpec { config, ..TopicSpec::new(&line.topic, 1) };
    admin::create_topics(&line.connection, &[topic]).await.unwrap();
    let hub = Hub::start(line.table_config(&database.config, ""));
    eventually("an operator is asked for", async || {
        hub.unmet("kafka_logs").as_deref() == Some("needs an operator")
    })
    .await;
    hub.stop().await;
    database.drop().await;
}

#[tokio::test]
async fn a_table_that_forgets_tokens_too_soon_is_refused_with_the_remedy() {
    let database = Database::migrated().await;
    let refused = async || {
        let checked = database.inserts().check("otel_logs").await;
        checked.map_or_else(|error| error.to_string(), |()| String::new())
    };
    assert_eq!(refused().await, "");
    database
        .query("ALTER TABLE {db}.otel_logs MODIFY SETTING non_replicated_deduplication_window = 100")
        .await;
    let text = refused().await;
    assert!(text.contains("non_replicated_deduplication_window = 100,"), "{text}");
    assert!(text.contains("MODIFY SETTING non_replicated_deduplication_window = 1000000"), "{text}");
    database.query("ALTER TABLE {db}.otel_logs MODIFY SETTING non_replicated_deduplication_window = 0").await;
    assert!(refused().await.contains("= 0,"));
    database.drop().await;
}

#[tokio::test]
async fn a_server_that_drops_repeated_tokens_is_proven_to() {
    let database = Database::migrated().await;
    let (client, before) = (database.inserts(), "SELECT count() FROM system.tables WHERE database = '{db}'");
    let target = client.open("otel_logs", LogRows::COLUMNS).await.unwrap();
    let tables = database.query(before).await;
    client.prove_deduplication(&target).await.unwrap();
    assert_eq!(database.query(before).await, tables, "the probe leaves nothing behind");
    database.drop().await;
}
