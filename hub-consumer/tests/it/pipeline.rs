//! Records of a real broker become rows of a real ClickHouse once each, whatever happens in between.

use std::{
    collections::BTreeMap,
    time::{Duration, Instant},
};

use bytes::Bytes;
use devstack::{Part, Stack, StackOptions};
use hub_consumer::{
    clickhouse::{client::Client, migrate::Migrator},
    dead_letter::HEAD_BYTES,
};
use kafka_client::admin::{self, TopicSpec};
use prost::Message as _;
use service_runtime::http_client::HttpClientConfig;
use telemetry_wire::{Signal, fixtures::Load, headers};
use tokio::time::sleep;

use crate::{
    database::Database,
    line::{Hub, Line, eventually, logs_request},
};

/// Rows by partition and offset.
type Rows = BTreeMap<(i32, i64), usize>;

/// Not protobuf: a length that runs past the end.
const POISON: &[u8] = b"\x0a\xff poison";

async fn stored(database: &Database, table: &str) -> Rows {
    let sql = format!(
        "SELECT toInt32(source_partition) AS p, toInt32(source_offset) AS o, toInt32(count()) AS n FROM {{db}}.{table} \
         GROUP BY p, o"
    );
    let number = |row: &serde_json::Value, key: &str| row[key].as_i64().unwrap();
    let rows = database.rows(&sql).await;
    rows.iter().map(|row| ((number(row, "p") as i32, number(row, "o")), number(row, "n") as usize)).collect()
}

/// Sends `count` requests of `items` records over the partitions; the rows that they are to become.
async fn send_logs(line: &Line, partitions: i32, count: usize, items: usize) -> Rows {
    let mut sent = Rows::new();
    for number in 0..count {
        let partition = number as i32 % partitions;
        let offset = line.send(partition, &logs_request(&format!("request {number}"), items), &[]).await;
        sent.insert((partition, offset), items);
    }
    sent
}

#[tokio::test(flavor = "multi_thread")]
async fn every_log_record_is_stored_once_and_committed() {
    let (line, database) = (Line::new(Signal::Logs, 3).await, Database::migrated().await);
    let mut load = Load::new(1);
    let mut sent = Rows::new();
    for number in 0..60 {
        let offset = line.send(number % 3, &load.logs().encode_to_vec(), &[]).await;
        sent.insert((number % 3, offset), 200);
    }
    let hub = Hub::ready(line.table_config(&database.config, "blocks: {max_rows: 1500}")).await;
    line.wait_until_committed().await;
    assert_eq!(stored(&database, "otel_logs").await, sent);
    assert_eq!(hub.metric("hub_items_stored_total", "logs"), 12_000.0);
    assert_eq!(
        hub.metric("hub_block_rows_count", "logs"),
        9.0,
        "8 records of 200 rows fill a block, 20 a partition"
    );
    eventually("lag is 0 on the metrics", async || {
        hub.metric("hub_log_end_offset", &line.topic) == 60.0
            && hub.metric("hub_lag_records", &line.topic) == 0.0
    })
    .await;
    assert_eq!(hub.metric("hub_lag_seconds", &line.topic), 0.0);
    hub.check_conservation().await;
    hub.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_span_is_stored_once() {
    let (line, database) = (Line::new(Signal::Traces, 2).await, Database::migrated().await);
    let mut load = Load::new(2);
    let mut sent = Rows::new();
    for number in 0..10 {
        let offset = line.send(number % 2, &load.traces().encode_to_vec(), &[]).await;
        sent.insert((number % 2, offset), 200);
    }
    let hub = Hub::ready(line.table_config(&database.config, "")).await;
    line.wait_until_committed().await;
    assert_eq!(stored(&database, "otel_traces").await, sent);
    hub.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_is_dead_lettered_with_its_bytes_and_the_others_are_stored() {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    let mut sent = send_logs(&line, 1, 5, 3).await;
    let source = [(headers::EDGE_ID, b"edge-7".as_slice())];
    let poison = line.send(0, POISON, &source).await;
    let json = br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"json"}}]}]}]}"#;
    let json_header = [(headers::ENCODING, b"otlp_json".as_slice())];
    sent.insert((0, line.send(0, json, &json_header).await), 1);
    let not_json = line.send(0, b"{", &json_header).await;
    let unknown = line.send(0, b"", &[(headers::ENCODING, b"otap".as_slice())]).await;
    let no_telemetry = br#"{"message":"paid"}"#.as_slice();
    let other_json = line.send(0, no_telemetry, &[]).await;
    // Field 15, a text: well-formed, and of no request.
    let other_protobuf = line.send(0, b"\x7a\x04paid", &[]).await;
    // An empty request is well-formed and has nothing to store.
    line.send(0, b"", &[]).await;
    sent.extend(send_logs(&line, 1, 5, 3).await);

    let hub = Hub::ready(line.table_config(&database.config, "")).await;
    line.wait_until_committed().await;
    assert_eq!(stored(&database, "otel_logs").await, sent);

    let mut found: Vec<(i64, Bytes, String)> = Vec::new();
    for letter in line.read_dead_letters(5).await {
        let header = |name: &str| {
            let value = &letter.headers.iter().find(|(given, _)| given == name).expect(name).1;
            String::from_utf8(value.to_vec()).unwrap()
        };
        assert_eq!(header(headers::dead_letter::SOURCE_TOPIC), line.topic);
        assert_eq!(header(headers::dead_letter::SOURCE_PARTITION), "0");
        let offset = header(headers::dead_letter::SOURCE_OFFSET).parse().unwrap();
        if offset == poison {
            assert_eq!(header(headers::EDGE_ID), "edge-7", "the record keeps its own headers");
        }
        found.push((offset, letter.value.clone(), header(headers::dead_letter::REASON)));
    }
    found.sort_unstable();
    let expected = [
        (poison, POISON, "malformed"),
        (not_json, b"{", "malformed_json"),
        (unknown, b"", "unknown_encoding"),
        (other_json, no_telemetry, "no_items"),
        (other_protobuf, b"\x7a\x04paid", "no_items"),
    ];
    assert_eq!(
        found,
        expected.map(|(offset, value, reason)| (offset, Bytes::from(value), reason.to_owned()))
    );
    assert_eq!(hub.metric("hub_records_resolved_total", "dead_lettered"), 5.0);
    hub.check_conservation().await;
    hub.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_alone_does_not_stop_the_partition() {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    for _ in 0..3 {
        line.send(0, POISON, &[]).await;
    }
    let hub = Hub::ready(line.table_config(&database.config, "")).await;
    line.wait_until_committed().await;
    assert_eq!(line.read_dead_letters(3).await.len(), 3);
    let sent = send_logs(&line, 1, 1, 1).await;
    line.wait_until_committed().await;
    assert_eq!(stored(&database, "otel_logs").await, sent);
    hub.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn offset_waits_while_the_dead_letter_topic_cannot_be_written() {
    let (line, database) = (Line::without_dead_letters(Signal::Logs, 1).await, Database::migrated().await);
    let mut sent = send_logs(&line, 1, 2, 1).await;
    let poison = line.send(0, POISON, &[]).await;
    sent.extend(send_logs(&line, 1, 2, 1).await);
    let hub = Hub::start(line.table_config(&database.config, ""));
    eventually("the others are stored", async || stored(&database, "otel_logs").await == sent).await;
    eventually("readiness says why", async || hub.unmet("dead_letter_logs").is_some()).await;
    eventually("what comes before the poison is committed", async || {
        line.committed().await.get(&0) == Some(&poison)
    })
    .await;
    hub.check_conservation().await;

    line.create_dead_letters().await;
    line.wait_until_committed().await;
    assert_eq!(line.read_dead_letters(1).await[0].value, POISON);
    assert_eq!(hub.unmet("dead_letter_logs"), None);
    assert_eq!(stored(&database, "otel_logs").await, sent, "nothing is stored twice for the wait");
    hub.stop().await;
    database.drop().await;
}

/// Bytes that no codec makes smaller, and that are no request: field 1 runs past their end.
fn large_poison(length: usize) -> Vec<u8> {
    let mut state = 1_u64;
    let mut noise = || {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 56) as u8
    };
    let start = [0x0a, 0xff, 0xff, 0xff, 0x7f];
    start.into_iter().chain(std::iter::repeat_with(&mut noise)).take(length).collect()
}

/// A poison that does not fit is dead-lettered as its head, and its partition goes on.
async fn check_large_poison(topic_limit: &str, producer_limit: Option<u32>) {
    let line = Line::without_dead_letters(Signal::Logs, 1).await;
    let mut spec = TopicSpec::new(&line.dead_letters, 1);
    spec.config.push(("max.message.bytes".to_owned(), topic_limit.to_owned()));
    admin::create_topics(&line.connection, &[spec]).await.unwrap();
    let database = Database::migrated().await;
    let poison = large_poison(300_000);
    let offset = line.send(0, &poison, &[(headers::EDGE_ID, b"edge-7")]).await;
    let sent = send_logs(&line, 1, 2, 2).await;
    let mut config = line.table_config(&database.config, "");
    if let Some(limit) = producer_limit {
        config.dead_letter.max_message_bytes = limit;
    }
    let hub = Hub::ready(config).await;
    line.wait_until_committed().await;
    assert_eq!(stored(&database, "otel_logs").await, sent);
    let letters = line.read_dead_letters(1).await;
    let header =
        |name: &str| letters[0].headers.iter().find(|(given, _)| given == name).expect(name).1.clone();
    assert_eq!(letters[0].value, poison[..HEAD_BYTES]);
    assert_eq!(header(headers::dead_letter::ORIGINAL_BYTES), "300000");
    assert_eq!(header(headers::dead_letter::SOURCE_OFFSET), offset.to_string());
    assert_eq!(header(headers::EDGE_ID), "edge-7");
    hub.check_conservation().await;
    hub.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_that_the_dead_letter_topic_refuses_for_its_size_does_not_stop_the_partition() {
    check_large_poison("60000", None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn poison_that_the_producer_refuses_for_its_size_does_not_stop_the_partition() {
    check_large_poison("1000000", Some(60_000)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_hub_goes_on_where_it_was() {
    let (line, database) = (Line::new(Signal::Logs, 2).await, Database::migrated().await);
    let config = || line.table_config(&database.config, "blocks: {max_rows: 40}");
    let mut sent = send_logs(&line, 2, 300, 5).await;
    for _ in 0..3 {
        let hub = Hub::ready(config()).await;
        sent.extend(send_logs(&line, 2, 100, 5).await);
        hub.stop().await;
    }
    let hub = Hub::ready(config()).await;
    line.wait_until_committed().await;
    assert_eq!(stored(&database, "otel_logs").await, sent);
    hub.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn members_that_join_and_leave_lose_nothing_and_store_nothing_twice() {
    let (line, database) = (Line::new(Signal::Logs, 4).await, Database::migrated().await);
    let config = || line.table_config(&database.config, "blocks: {max_rows: 40, max_age: 50ms}");
    let first = Hub::ready(config()).await;
    let mut sent = send_logs(&line, 4, 200, 5).await;
    let second = Hub::ready(config()).await;
    sent.extend(send_logs(&line, 4, 200, 5).await);
    eventually("both members own partitions", async || {
        let owned = |hub: &Hub| hub.metric("hub_assigned_partitions", "logs");
        (owned(&first), owned(&second)) == (2.0, 2.0)
    })
    .await;
    sent.extend(send_logs(&line, 4, 200, 5).await);
    first.check_conservation().await;
    first.stop().await;
    sent.extend(send_logs(&line, 4, 200, 5).await);
    line.wait_until_committed().await;
    assert_eq!(stored(&database, "otel_logs").await, sent);
    second.check_conservation().await;
    second.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_clickhouse_pauses_the_partitions_and_then_every_row_is_stored_once() {
    let line = Line::new(Signal::Logs, 2).await;
    let stack = tokio::task::spawn_blocking(|| Stack::up(StackOptions::own(&[Part::Clickhouse])));
    let stack = stack.await.unwrap().unwrap();
    let http = HttpClientConfig::plain(stack.endpoints().clickhouse_url.parse().unwrap());
    let mut config = Database::unused().config;
    config.http = http;
    Migrator::new(&config).unwrap().apply().await.unwrap();
    let database = Database { client: Client::new(&config.http).unwrap(), config };

    let mut config = line.table_config(&database.config, "blocks: {max_rows: 50}");
    config.signals[0].consumer.partition_buffer_bytes = 16 * 1024;
    let hub = Hub::ready(config).await;
    let mut sent = send_logs(&line, 2, 50, 5).await;
    line.wait_until_committed().await;

    let server = stack.clickhouse().clone();
    tokio::task::spawn_blocking(move || server.stop()).await.unwrap().unwrap();
    sent.extend(send_logs(&line, 2, 400, 5).await);
    eventually("readiness says why", async || hub.unmet("clickhouse_logs").is_some()).await;
    eventually("records wait", async || hub.metric("hub_paused_partitions", "logs") == 2.0).await;
    eventually("lag grows", async || hub.metric("hub_lag_seconds", &line.topic) > 1.0).await;
    assert_eq!(hub.unmet("kafka_logs"), None, "polling goes on");
    hub.check_conservation().await;

    let server = stack.clickhouse().clone();
    tokio::task::spawn_blocking(move || server.start()).await.unwrap().unwrap();
    line.wait_until_committed().await;
    assert_eq!(stored(&database, "otel_logs").await, sent);
    assert_eq!(hub.unmet("clickhouse_logs"), None);
    assert_eq!(hub.metric("hub_assigned_partitions", "logs"), 2.0, "no partition was lost meanwhile");
    hub.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_commit_completes_a_block_and_announces_the_next() {
    let (line, database) = (Line::new(Signal::Logs, 2).await, Database::migrated().await);
    let hub = Hub::ready(line.table_config(&database.config, "blocks: {max_age: 400ms}")).await;
    let until = Instant::now() + Duration::from_secs(6);
    let mut number = 0;
    while Instant::now() < until {
        line.send(number % 2, &logs_request(&format!("record {number}"), 3), &[]).await;
        number += 1;
        sleep(Duration::from_millis(5)).await;
    }
    line.wait_until_committed().await;
    let blocks = hub.metric("hub_insert_duration_seconds_count", "");
    let commits = hub.metric("hub_offset_commits_total", "");
    // The last block of each partition has no next one; and a machine in trouble may leave a gap.
    assert!(blocks >= 10.0 && commits <= 1.4 * blocks, "{commits} commits of {blocks} blocks");
    hub.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_without_its_table_says_so_and_starts_once_it_is_migrated() {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::empty().await);
    let sent = send_logs(&line, 1, 3, 2).await;
    let hub = Hub::start(line.table_config(&database.config, ""));
    eventually("readiness asks for an operator", async || {
        hub.unmet("clickhouse_logs").as_deref() == Some("needs an operator")
    })
    .await;
    eventually("the lag shows", async || hub.metric("hub_lag_records", &line.topic) == 3.0).await;
    assert_eq!(hub.metric("hub_lag_orphaned", &line.topic), 1.0, "nobody owns it");
    assert!(hub.metric("hub_lag_seconds", &line.topic) > 0.0, "though nobody reads it");
    assert!(hub.metric("hub_lag_bytes", &line.topic) > 100.0);
    database.migrator().apply().await.unwrap();
    line.wait_until_committed().await;
    assert_eq!(stored(&database, "otel_logs").await, sent);
    eventually("it has an owner and no lag", async || {
        let lag = ["orphaned", "records", "bytes", "drain_seconds", "stuck"];
        lag.iter().all(|of| hub.metric(&format!("hub_lag_{of}"), &line.topic) == 0.0)
            && hub.metric("hub_lag_head_room_records", &line.topic) == 3.0
    })
    .await;
    hub.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn hub_that_was_there_before_its_topic_reads_it_once_it_is_created() {
    let (line, database) = (Line::without_topics(Signal::Logs), Database::migrated().await);
    let hub = Hub::start(line.table_config(&database.config, ""));
    eventually("readiness says so", async || {
        hub.unmet("kafka_logs").as_deref() == Some("topic or group cannot be used")
    })
    .await;
    line.create_topic(1).await;
    let sent = send_logs(&line, 1, 3, 2).await;
    line.wait_until_committed().await;
    assert_eq!(stored(&database, "otel_logs").await, sent);
    eventually("it is ready", async || hub.unmet("kafka_logs").is_none()).await;
    hub.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn position_that_is_not_in_the_log_stops_its_partition_and_no_other() {
    let (line, database) = (Line::new(Signal::Logs, 2).await, Database::migrated().await);
    let sent = send_logs(&line, 2, 6, 2).await;
    line.set_committed(0, 1_000).await;
    // Even where records lost to retention are gone over, a log that is shorter than the position is not.
    let hub = Hub::start(line.table_config(&database.config, "pipeline: {lost_range: resume}"));
    eventually("readiness says so", async || {
        hub.unmet("kafka_logs").as_deref() == Some("a position is not in the log any more")
    })
    .await;
    let of_partition_1: Rows = sent.into_iter().filter(|((partition, _), _)| *partition == 1).collect();
    eventually("the other partition is stored", async || {
        stored(&database, "otel_logs").await == of_partition_1
    })
    .await;
    eventually("and committed", async || line.committed().await.get(&1) == Some(&3)).await;
    assert_eq!(line.committed().await.get(&0), Some(&1_000), "the operator's choice is not anticipated");
    hub.stop().await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_that_fills_the_memory_for_records_is_not_waited_for() {
    const BIG: u64 = 64 << 20;
    // What a partition may hold, and all of them: either is the bound.
    for (of_partition, of_all) in [(8_000, BIG), (BIG, 16_000)] {
        let (line, database) = (Line::new(Signal::Logs, 2).await, Database::migrated().await);
        // About 400 bytes each with what is charged for a record, so some 20 make a block.
        let sent = send_logs(&line, 2, 120, 1).await;
        let mut config = line.table_config(&database.config, "blocks: {max_age: 10min}");
        config.signals[0].consumer.partition_buffer_bytes = of_partition;
        config.signals[0].consumer.buffer_bytes = of_all;
        let hub = Hub::start(config);
        // What does not fill it any more may still grow.
        eventually("nearly all are stored", async || stored(&database, "otel_logs").await.len() >= 80).await;
        hub.stop().await;
        let found = stored(&database, "otel_logs").await;
        assert!(found.iter().all(|(record, rows)| sent.get(record) == Some(rows)), "{found:?}");
        database.drop().await;
    }
}
