//! The rows we make against the rows that ClickHouse's own protobuf reader makes of the same bytes: a reader that shares no line
//! of code with ours, nor with prost.

use hub_consumer::decode::{Block, Rows};
use prost::Message;
use telemetry_wire::fixtures::{ITEMS, Load, RESOURCES};

use crate::blocks::{block, source};
use crate::database::Database;

/// A hundred thousand items of each signal.
const REQUESTS: usize = 500;

const VALUE: &str = "Tuple(string_value Nullable(String), bool_value Nullable(Bool), int_value Nullable(Int64), \
                     double_value Nullable(Float64))";

/// The text of an `AnyValue`, in SQL.
fn text(value: &str) -> String {
    format!(
        "coalesce({value}.string_value, toString({value}.int_value), toString({value}.double_value), \
         multiIf({value}.bool_value IS NULL, '', {value}.bool_value, 'true', 'false'))"
    )
}

/// A list of `KeyValue` as a map, in SQL.
fn map(attributes: &str) -> String {
    let value = text("a.value");
    format!(
        "CAST(mapFromArrays(arrayMap(a -> a.key, {attributes}), arrayMap(a -> {value}, {attributes})), \
         'Map(LowCardinality(String), String)')"
    )
}

fn log_rows() -> String {
    format!(
        "SELECT fromUnixTimestamp64Nano(toInt64(r.time_unix_nano)), lower(hex(r.trace_id)), lower(hex(r.span_id)), \
         toUInt8(r.flags), r.severity_text, toUInt8(r.severity_number), resource['service.name'], {body}, \
         resource_url, resource, scope_url, scope.name, scope.version, {scope_map}, {log_map}, r.event_name \
         FROM (SELECT {resource_map} AS resource, g.schema_url AS resource_url, s.scope AS scope, \
         s.schema_url AS scope_url, arrayJoin(s.log_records) AS r \
         FROM (SELECT g, arrayJoin(g.scope_logs) AS s FROM (SELECT arrayJoin(groups) AS g FROM {{db}}.raw)))",
        body = text("r.body"),
        scope_map = map("scope.attributes"),
        log_map = map("r.attributes"),
        resource_map = map("g.resource.attributes"),
    )
}

fn span_rows() -> String {
    let event_map = map("e.attributes");
    let link_map = map("l.attributes");
    format!(
        "SELECT fromUnixTimestamp64Nano(toInt64(r.start_time_unix_nano)), lower(hex(r.trace_id)), lower(hex(r.span_id)), \
         lower(hex(r.parent_span_id)), r.trace_state, r.name, \
         ['Unspecified', 'Internal', 'Server', 'Client', 'Producer', 'Consumer'][r.kind + 1], resource['service.name'], \
         resource, scope.name, scope.version, {span_map}, r.end_time_unix_nano - r.start_time_unix_nano, \
         ['Unset', 'Ok', 'Error'][r.status.code + 1], r.status.message, \
         arrayMap(e -> fromUnixTimestamp64Nano(toInt64(e.time_unix_nano)), r.events), arrayMap(e -> e.name, r.events), \
         arrayMap(e -> {event_map}, r.events), \
         arrayMap(l -> lower(hex(l.trace_id)), r.links), arrayMap(l -> lower(hex(l.span_id)), r.links), \
         arrayMap(l -> l.trace_state, r.links), arrayMap(l -> {link_map}, r.links) \
         FROM (SELECT {resource_map} AS resource, s.scope AS scope, arrayJoin(s.spans) AS r \
         FROM (SELECT g, arrayJoin(g.scope_spans) AS s FROM (SELECT arrayJoin(groups) AS g FROM {{db}}.raw)))",
        span_map = map("r.attributes"),
        resource_map = map("g.resource.attributes"),
    )
}

/// Lets ClickHouse read the records into `raw`, as the nested structure that they are.
async fn read_by_clickhouse(database: &Database, structure: &str, schema: &str, records: &[Vec<u8>]) {
    database.query(&format!("CREATE TABLE {{db}}.raw (groups {structure}) ENGINE = Memory")).await;
    let url = devstack::shared().clickhouse_url.clone();
    let insert = format!("INSERT INTO {}.raw FORMAT ProtobufSingle", database.config.database);
    // Several requests, one after the other, are one request with all their groups.
    let parameters = [
        ("query", insert.as_str()),
        ("format_schema_source", "string"),
        ("format_schema", schema),
        ("format_schema_message_name", "Request"),
    ];
    let request = reqwest::Client::new().post(url).query(&parameters).body(records.concat());
    let answer = request.send().await.unwrap();
    assert!(answer.status().is_success(), "{}", answer.text().await.unwrap());
}

async fn insert<R: Rows>(database: &Database, table: &str, records: &[Vec<u8>]) -> usize {
    let mut block: Block<R> = block();
    for (offset, record) in records.iter().enumerate() {
        block.push(record, source(offset as i64)).unwrap();
    }
    let rows = block.rows();
    database.insert(table, &mut block, "oracle").await;
    rows
}

/// The rows of `table`, provenance aside, are those of `oracle`, as texts and as a multiset.
async fn check_equal(database: &Database, table: &str, oracle: &str, rows: usize) {
    let ours = format!(
        "SELECT * EXCEPT (source_topic, source_partition, source_offset, source_items, received_at) FROM {{db}}.{table}"
    );
    let as_text = |rows: &str| {
        format!("SELECT toString(tuple(*)) AS row, count() AS copies FROM ({rows}) GROUP BY row")
    };
    for (left, right) in [(ours.as_str(), oracle), (oracle, ours.as_str())] {
        let difference = format!("SELECT * FROM ({} EXCEPT {}) LIMIT 1", as_text(left), as_text(right));
        assert_eq!(database.query(&difference).await, "", "left only, of {left}");
    }
    assert_eq!(database.query(&format!("SELECT count() FROM ({oracle})")).await.trim(), rows.to_string());
    assert_eq!(rows, REQUESTS * RESOURCES * ITEMS);
}

#[tokio::test]
async fn log_rows_are_what_clickhouse_reads_from_the_same_bytes() {
    let database = Database::migrated().await;
    let mut load = Load::new(11);
    let records: Vec<Vec<u8>> = (0..REQUESTS).map(|_| load.logs().encode_to_vec()).collect();
    let attributes = format!("Array(Tuple(key String, value {VALUE}))");
    let structure = format!(
        "Array(Tuple(resource Tuple(attributes {attributes}), scope_logs Array(Tuple(\
         scope Tuple(name String, version String, attributes {attributes}), log_records Array(Tuple(\
         time_unix_nano UInt64, severity_number Int32, severity_text String, body {VALUE}, attributes {attributes}, \
         flags UInt32, trace_id String, span_id String, event_name String)), schema_url String)), schema_url String))"
    );
    let schema = include_str!("schema/logs.proto");
    read_by_clickhouse(&database, &structure, schema, &records).await;
    let rows = insert::<hub_consumer::decode::LogRows>(&database, "otel_logs", &records).await;
    check_equal(&database, "otel_logs", &log_rows(), rows).await;
    database.drop().await;
}

#[tokio::test]
async fn span_rows_are_what_clickhouse_reads_from_the_same_bytes() {
    let database = Database::migrated().await;
    let mut load = Load::new(12);
    let records: Vec<Vec<u8>> = (0..REQUESTS).map(|_| load.traces().encode_to_vec()).collect();
    let attributes = format!("Array(Tuple(key String, value {VALUE}))");
    let structure = format!(
        "Array(Tuple(resource Tuple(attributes {attributes}), scope_spans Array(Tuple(\
         scope Tuple(name String, version String), spans Array(Tuple(trace_id String, span_id String, \
         trace_state String, parent_span_id String, name String, kind Int32, start_time_unix_nano UInt64, \
         end_time_unix_nano UInt64, attributes {attributes}, \
         events Array(Tuple(time_unix_nano UInt64, name String, attributes {attributes})), \
         links Array(Tuple(trace_id String, span_id String, trace_state String, attributes {attributes})), \
         status Tuple(message String, code Int32))), schema_url String)), schema_url String))"
    );
    let schema = include_str!("schema/traces.proto");
    read_by_clickhouse(&database, &structure, schema, &records).await;
    let rows = insert::<hub_consumer::decode::SpanRows>(&database, "otel_traces", &records).await;
    check_equal(&database, "otel_traces", &span_rows(), rows).await;
    database.drop().await;
}
