//! Inserts into a real server: once per token, into the columns there are, and what its refusals mean.

use hub_consumer::clickhouse::compression::{Body, Compression};
use hub_consumer::clickhouse::errors::InsertError;
use hub_consumer::clickhouse::insert::OpenError;
use hub_consumer::decode::{LogRows, Rows};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::AnyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use prost::Message;

use crate::blocks::{BROKER_MS, logs_block, source};
use crate::database::Database;

const DAY_NANOS: u64 = 24 * 3600 * 1_000_000_000;

/// A request with a record at each of these times.
fn request(times: &[u64]) -> Vec<u8> {
    let record = |time: &u64| LogRecord { time_unix_nano: *time, ..LogRecord::default() };
    request_of(times.iter().map(record).collect())
}

fn request_of(log_records: Vec<LogRecord>) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec()
}

async fn insert(database: &Database, times: &[u64], token: &str) -> Result<(), InsertError> {
    let mut block = logs_block();
    block.push(&request(times), source(0)).unwrap();
    let inserts = database.inserts();
    let target = inserts.open("otel_logs", LogRows::COLUMNS).await.unwrap();
    let mut encoded = Vec::new();
    block.encode(target.columns(), &mut encoded);
    inserts.insert(&target, &inserts.compression().compress(&encoded).unwrap(), token).await
}

async fn stored(database: &Database) -> usize {
    database.query("SELECT count() FROM {db}.otel_logs").await.trim().parse().unwrap()
}

const NOW: u64 = BROKER_MS as u64 * 1_000_000;

#[tokio::test]
async fn a_token_that_comes_again_inserts_nothing() {
    let database = Database::migrated().await;
    insert(&database, &[NOW, NOW + 1], "a/0-1").await.unwrap();
    insert(&database, &[NOW, NOW + 1], "a/0-1").await.unwrap();
    assert_eq!(stored(&database).await, 2);
    insert(&database, &[NOW, NOW + 1], "a/2-3").await.unwrap();
    assert_eq!(stored(&database).await, 4);
    database.drop().await;
}

#[tokio::test]
async fn a_block_of_two_hundred_days_is_inserted_once() {
    let database = Database::migrated().await;
    let times: Vec<u64> = (0..200).map(|day| NOW - day * DAY_NANOS).collect();
    for _ in 0..3 {
        insert(&database, &times, "days").await.unwrap();
    }
    assert_eq!(stored(&database).await, times.len());
    database.drop().await;
}

#[tokio::test]
async fn the_lookup_of_traces_and_tables_of_views_see_a_block_once() {
    let database = Database::migrated().await;
    database.query("CREATE TABLE {db}.counts (n UInt64) ENGINE = MergeTree ORDER BY n SETTINGS non_replicated_deduplication_window = 100").await;
    database.query("CREATE MATERIALIZED VIEW {db}.counts_mv TO {db}.counts AS SELECT count() AS n FROM {db}.otel_logs").await;
    for _ in 0..3 {
        insert(&database, &[NOW, NOW + 1, NOW + 2], "view").await.unwrap();
    }
    assert_eq!(database.query("SELECT sum(n) FROM {db}.counts").await.trim(), "3");
    database.drop().await;
}

#[tokio::test]
async fn a_table_without_optional_columns_is_filled_and_the_missing_ones_named() {
    let database = Database::migrated().await;
    database.query("ALTER TABLE {db}.otel_logs DROP COLUMN EventName, DROP COLUMN source_topic").await;
    let target = database.inserts().open("otel_logs", LogRows::COLUMNS).await.unwrap();
    assert_eq!(target.not_stored(), ["EventName", "source_topic"]);
    insert(&database, &[NOW], "t").await.unwrap();
    assert_eq!(stored(&database).await, 1);
    database.drop().await;
}

#[tokio::test]
async fn a_table_without_required_columns_is_refused_with_the_remedy() {
    let database = Database::migrated().await;
    database.query("ALTER TABLE {db}.otel_logs DROP INDEX idx_source").await;
    database.query("ALTER TABLE {db}.otel_logs DROP COLUMN source_offset").await;
    let refused = database.inserts().open("otel_logs", LogRows::COLUMNS).await.unwrap_err();
    assert!(matches!(&refused, OpenError::MissingColumns { columns, .. } if columns == &["source_offset"]));
    assert!(refused.needs_operator());
    assert!(
        refused.to_string().contains("source_offset") && refused.to_string().contains("hub-consumer migrate")
    );
    database.drop().await;
}

#[tokio::test]
async fn a_table_that_is_not_there_waits_for_an_operator() {
    let database = Database::empty().await;
    let refused = database.inserts().open("otel_logs", LogRows::COLUMNS).await.unwrap_err();
    assert!(refused.needs_operator(), "{refused:?}");
    database.drop().await;
}

#[tokio::test]
async fn a_table_dropped_while_running_is_a_schema_error() {
    let database = Database::migrated().await;
    let inserts = database.inserts();
    let target = inserts.open("otel_logs", LogRows::COLUMNS).await.unwrap();
    let mut block = logs_block();
    block.push(&request(&[NOW]), source(0)).unwrap();
    let mut encoded = Vec::new();
    block.encode(target.columns(), &mut encoded);
    let body = inserts.compression().compress(&encoded).unwrap();
    database.query("DROP TABLE {db}.otel_logs SYNC").await;
    let refused = inserts.insert(&target, &body, "t").await.unwrap_err();
    assert!(refused.needs_operator(), "{refused:?}");
    database.drop().await;
}

#[tokio::test]
async fn a_value_the_table_forbids_is_a_data_error_and_stores_nothing() {
    let database = Database::migrated().await;
    database
        .query(&format!(
            "ALTER TABLE {{db}}.otel_logs ADD CONSTRAINT c CHECK toUnixTimestamp64Nano(Timestamp) != {NOW}"
        ))
        .await;
    let refused = insert(&database, &[NOW + 1, NOW], "t").await.unwrap_err();
    assert!(refused.blames_data(), "{refused:?}");
    assert_eq!(stored(&database).await, 0);
    insert(&database, &[NOW + 1], "t").await.unwrap();
    assert_eq!(stored(&database).await, 1);
    database.drop().await;
}

#[tokio::test]
async fn a_block_cut_short_stores_nothing_and_the_whole_one_goes_through_with_the_same_token() {
    let database = Database::migrated().await;
    let inserts = database.inserts();
    let target = inserts.open("otel_logs", LogRows::COLUMNS).await.unwrap();
    let mut block = logs_block();
    block.push(&request(&[NOW; 500]), source(0)).unwrap();
    let mut encoded = Vec::new();
    block.encode(target.columns(), &mut encoded);
    for cut in [encoded.len() - 1, encoded.len() / 2, 10] {
        let body = inserts.compression().compress(&encoded[..cut]).unwrap();
        let refused = inserts.insert(&target, &body, "t").await.unwrap_err();
        assert!(!refused.blames_data(), "cut at {cut}: {refused:?}");
        assert_eq!(stored(&database).await, 0, "cut at {cut}");
    }
    let body = inserts.compression().compress(&encoded).unwrap();
    inserts.insert(&target, &body, "t").await.unwrap();
    assert_eq!(stored(&database).await, 500);
    database.drop().await;
}

#[tokio::test]
async fn a_body_damaged_on_the_way_stores_nothing() {
    let database = Database::migrated().await;
    let inserts = database.inserts();
    let target = inserts.open("otel_logs", LogRows::COLUMNS).await.unwrap();
    let mut block = logs_block();
    // Text without a pattern travels as it is, so that most damage is another letter and no broken code.
    let letter = |n: u64| {
        let mixed = (n + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        char::from(b'a' + ((mixed >> 40) % 26) as u8)
    };
    let body = AnyValue { value: Some(Value::StringValue((0..20_000).map(letter).collect())) };
    let record = LogRecord { time_unix_nano: NOW, body: Some(body), ..LogRecord::default() };
    block.push(&request_of(vec![record]), source(0)).unwrap();
    let mut encoded = Vec::new();
    block.encode(target.columns(), &mut encoded);
    for compression in [Compression::Lz4, Compression::Zstd] {
        let whole = compression.compress(&encoded).unwrap();
        for at in (1..20).map(|part| whole.len() * part / 20) {
            let mut bytes = whole.bytes.to_vec();
            bytes[at] ^= 1;
            let damaged = Body { bytes: bytes.into(), ..whole.clone() };
            let refused = inserts.insert(&target, &damaged, "t").await.unwrap_err();
            assert!(refused.is_retryable(), "{compression:?}, byte {at}: {refused:?}");
            assert_eq!(stored(&database).await, 0, "{compression:?}, byte {at}");
        }
    }
    inserts.insert(&target, &Compression::Lz4.compress(&encoded).unwrap(), "t").await.unwrap();
    assert_eq!(stored(&database).await, 1);
    database.drop().await;
}

#[tokio::test]
async fn a_server_that_is_not_there_is_asked_again() {
    let mut database = Database::migrated().await;
    let working = database.inserts();
    let target = working.open("otel_logs", LogRows::COLUMNS).await.unwrap();
    let body = working.compression().compress(b"").unwrap();
    // Port 9 (discard) is closed on every machine we test on.
    let closed = "http://127.0.0.1:9".parse().unwrap();
    database.config.http = service_runtime::http_client::HttpClientConfig::plain(closed);
    let refused = database.inserts().insert(&target, &body, "t").await.unwrap_err();
    assert!(refused.is_retryable() && !refused.is_ambiguous(), "{refused:?}");
    let unopened = database.inserts().open("otel_logs", LogRows::COLUMNS).await.unwrap_err();
    assert!(!unopened.needs_operator(), "{unopened:?}");
    database.drop().await;
}
