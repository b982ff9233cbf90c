//! What decoding promises: whole records or nothing, the same bytes for the same records, and the rows of the exporter.

use hub_consumer::clickhouse::columns::ColumnSet;
use hub_consumer::decode::{Block, DecodeSettings, LogRows, ORIGINAL_TIMESTAMP, Rows, SpanRows, Undecodable};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use prost::Message;
use serde_json::json;
use telemetry_wire::fixtures::Load;

use crate::blocks::{BROKER_MS, PARTITION, block, logs_block, settings, source, spans_block};
use crate::database::Database;

const NOW: u64 = BROKER_MS as u64 * 1_000_000;

fn encoded<R: Rows>(block: &mut Block<R>) -> Vec<u8> {
    let mut out = Vec::new();
    block.encode(ColumnSet::all(R::COLUMNS), &mut out);
    out
}

fn some_logs(seed: u64, records: usize) -> Vec<Vec<u8>> {
    let mut load = Load::new(seed);
    (0..records).map(|_| load.logs().encode_to_vec()).collect()
}

fn some_traces(seed: u64, records: usize) -> Vec<Vec<u8>> {
    let mut load = Load::new(seed);
    (0..records).map(|_| load.traces().encode_to_vec()).collect()
}

fn filled<R: Rows>(records: &[Vec<u8>]) -> Block<R> {
    let mut block = block::<R>();
    for (offset, record) in records.iter().enumerate() {
        block.push(record, source(offset as i64)).unwrap();
    }
    block
}

/// Cuts the second of three records at many places: what does not decode must leave no trace.
fn check_malformed_leaves_no_trace<R: Rows>(records: &[Vec<u8>]) {
    let [first, second, third] = records else { panic!("three records") };
    let mut expected = block::<R>();
    expected.push(first, source(0)).unwrap();
    expected.push(third, source(2)).unwrap();
    let (fingerprint, expected) = (expected.fingerprint(), encoded(&mut expected));
    let mut refused = 0;
    for cut in (1..second.len()).step_by(second.len() / 97) {
        let mut block = block::<R>();
        block.push(first, source(0)).unwrap();
        if block.push(&second[..cut], source(1)).is_ok() {
            continue;
        }
        refused += 1;
        assert_eq!((block.rows(), block.records(), block.last_offset()), (200, 1, Some(0)));
        block.push(third, source(2)).unwrap();
        assert_eq!(block.fingerprint(), fingerprint, "cut at {cut}");
        assert!(encoded(&mut block) == expected, "cut at {cut} of {}", second.len());
    }
    assert!(refused > 80, "{refused} refused");
}

#[test]
fn a_malformed_record_leaves_the_block_as_it_was() {
    check_malformed_leaves_no_trace::<LogRows>(&some_logs(1, 3));
    check_malformed_leaves_no_trace::<SpanRows>(&some_traces(1, 3));
}

fn check_same_bytes<R: Rows>(records: &[Vec<u8>], others: &[Vec<u8>]) {
    let mut once = filled::<R>(records);
    let mut again = filled::<R>(others);
    encoded(&mut again);
    again.clear();
    assert_eq!((again.rows(), again.bytes(), again.first_offset()), (0, 0, None));
    for (offset, record) in records.iter().enumerate() {
        again.push(record, source(offset as i64)).unwrap();
    }
    assert_eq!(once.fingerprint(), again.fingerprint());
    assert_eq!(once.bytes(), again.bytes());
    let first = encoded(&mut once);
    assert!(first == encoded(&mut again), "another block, used before");
    assert!(first == encoded(&mut once), "the same block again");
}

#[test]
fn the_same_records_give_the_same_bytes_whatever_the_block_held_before() {
    check_same_bytes::<LogRows>(&some_logs(1, 5), &some_logs(2, 3));
    check_same_bytes::<SpanRows>(&some_traces(1, 5), &some_traces(2, 3));
}

#[test]
fn the_size_announced_is_close_to_the_size_encoded_and_never_far_below() {
    for (announced, encoded) in [
        {
            let mut b = filled::<LogRows>(&some_logs(3, 50));
            (b.bytes(), encoded(&mut b).len())
        },
        {
            let mut b = filled::<SpanRows>(&some_traces(3, 50));
            (b.bytes(), encoded(&mut b).len())
        },
    ] {
        assert!((announced as f64) > 0.95 * encoded as f64, "{announced} for {encoded}");
        assert!((announced as f64) < 1.25 * encoded as f64, "{announced} for {encoded}");
    }
}

#[test]
fn other_bytes_or_other_offsets_have_another_fingerprint() {
    let records = some_logs(1, 2);
    let fingerprint = |offsets: [i64; 2]| {
        let mut block = logs_block();
        for (record, offset) in records.iter().zip(offsets) {
            block.push(record, source(offset)).unwrap();
        }
        block.fingerprint()
    };
    assert_ne!(fingerprint([0, 1]), fingerprint([1, 2]));
    assert_ne!(fingerprint([0, 1]), fingerprint([0, 2]));
    assert_ne!(logs_block().fingerprint(), fingerprint([0, 1]));
}

#[test]
fn a_small_request_that_becomes_gigabytes_is_refused() {
    let huge = KeyValue { key: "k".to_owned(), value: string(&"x".repeat(100_000)), ..KeyValue::default() };
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: Some(Resource { attributes: vec![huge], ..Resource::default() }),
            scope_logs: vec![ScopeLogs {
                log_records: vec![LogRecord::default(); 50_000],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    let bytes = request.encode_to_vec();
    assert!(bytes.len() < 300_000);
    let mut block = logs_block();
    let refused = block.push(&bytes, source(0)).unwrap_err();
    assert!(matches!(refused, Undecodable::TooLarge { rows, .. } if rows < 1_000), "{refused:?}");
    assert_eq!((block.rows(), block.bytes()), (0, 0));
}

#[test]
fn an_empty_request_is_a_record_without_rows() {
    let mut block = logs_block();
    assert_eq!(block.push(b"", source(5)).unwrap().rows, 0);
    assert_eq!((block.rows(), block.records()), (0, 1));
    assert_eq!((block.first_offset(), block.last_offset()), (Some(5), Some(5)));
}

#[test]
fn json_gives_the_rows_of_the_protobuf_it_stands_for() {
    let mut load = Load::new(4);
    let (logs, traces) = (load.logs(), load.traces());
    let json = serde_json::to_vec(&logs).unwrap();
    let mut from_json = logs_block();
    from_json.push_json(&json, source(0)).unwrap();
    assert!(encoded(&mut from_json) == encoded(&mut filled::<LogRows>(&[logs.encode_to_vec()])));
    let json = serde_json::to_vec(&traces).unwrap();
    let mut from_json = spans_block();
    from_json.push_json(&json, source(0)).unwrap();
    assert!(encoded(&mut from_json) == encoded(&mut filled::<SpanRows>(&[traces.encode_to_vec()])));
    let refused = from_json.push_json(b"{\"resourceSpans\": 1}", source(1)).unwrap_err();
    assert_eq!(refused.reason(), "malformed_json");
    assert_eq!(from_json.records(), 1);
}

fn string(text: &str) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) })
}

fn attribute(key: &str, value: Option<AnyValue>) -> KeyValue {
    KeyValue { key: key.to_owned(), value, ..KeyValue::default() }
}

fn attributes() -> Vec<KeyValue> {
    let value = |value| Some(AnyValue { value: Some(value) });
    vec![
        attribute("twice", string("first")),
        attribute("int", value(Value::IntValue(-7))),
        attribute("double", value(Value::DoubleValue(1e21))),
        attribute("bool", value(Value::BoolValue(false))),
        attribute("bytes", value(Value::BytesValue(vec![0xff, 0, 1]))),
        attribute("none", None),
        attribute("twice", string("second")),
    ]
}

fn attributes_as_json() -> serde_json::Value {
    json!({"int": "-7", "double": "1e+21", "bool": "false", "bytes": "/wAB", "none": "", "twice": "second"})
}

fn resource() -> Option<Resource> {
    let attributes =
        vec![attribute("service.name", string("menu")), attribute("k8s.pod.name", string("menu-0"))];
    Some(Resource { attributes, ..Resource::default() })
}

fn scope() -> Option<InstrumentationScope> {
    let attributes = vec![attribute("s", string("v"))];
    Some(InstrumentationScope {
        name: "lib".to_owned(),
        version: "1.2".to_owned(),
        attributes,
        ..Default::default()
    })
}

#[tokio::test]
async fn a_log_record_is_stored_field_by_field() {
    let database = Database::migrated().await;
    let records = vec![
        LogRecord {
            time_unix_nano: NOW + 1,
            observed_time_unix_nano: NOW + 2,
            severity_number: 9 + 256,
            severity_text: "INFO".to_owned(),
            body: string("hello"),
            attributes: attributes(),
            flags: 0x0101,
            trace_id: (1..=16).collect(),
            span_id: (0xf0..0xf8).collect(),
            event_name: "started".to_owned(),
            ..LogRecord::default()
        },
        LogRecord { observed_time_unix_nano: NOW + 3, trace_id: vec![0; 16], ..LogRecord::default() },
        LogRecord { time_unix_nano: 4, ..LogRecord::default() },
        LogRecord::default(),
    ];
    let request = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            resource: resource(),
            scope_logs: vec![ScopeLogs {
                scope: scope(),
                log_records: records,
                schema_url: "scope-url".to_owned(),
            }],
            schema_url: "resource-url".to_owned(),
        }],
    };
    let mut block = filled::<LogRows>(&[request.encode_to_vec()]);
    database.insert("otel_logs", &mut block, "t").await;

    let rows = database.rows("SELECT *, `__otel_materialized_k8s.pod.name` AS pod FROM {db}.otel_logs ORDER BY Timestamp, TraceId DESC, LogAttributes").await;
    let row = |time: &str, changes: serde_json::Value| {
        let mut row = json!({
            "Timestamp": time, "TraceId": "", "SpanId": "", "TraceFlags": 0, "SeverityText": "", "SeverityNumber": 0,
            "ServiceName": "menu", "Body": "", "ResourceSchemaUrl": "resource-url",
            "ResourceAttributes": {"service.name": "menu", "k8s.pod.name": "menu-0"},
            "ScopeSchemaUrl": "scope-url", "ScopeName": "lib", "ScopeVersion": "1.2", "ScopeAttributes": {"s": "v"},
            "LogAttributes": {}, "EventName": "",
            "source_topic": "otlp_test", "source_partition": PARTITION, "source_offset": "0", "pod": "menu-0",
        });
        row.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        row
    };
    let expected = json!([
        row("2026-01-01 00:00:00.000000000", json!({})),
        row("2026-01-01 00:00:00.000000000", json!({"LogAttributes": {ORIGINAL_TIMESTAMP: "4"}})),
        row(
            "2026-01-01 00:00:00.000000001",
            json!({
                "TraceId": "0102030405060708090a0b0c0d0e0f10", "SpanId": "f0f1f2f3f4f5f6f7", "TraceFlags": 1,
                "SeverityText": "INFO", "SeverityNumber": 9, "Body": "hello", "LogAttributes": attributes_as_json(),
                "EventName": "started",
            })
        ),
        row("2026-01-01 00:00:00.000000003", json!({})),
    ]);
    assert_eq!(serde_json::Value::Array(rows), expected);
    database.drop().await;
}

#[tokio::test]
async fn a_span_is_stored_field_by_field() {
    let database = Database::migrated().await;
    let event = |time_unix_nano, attributes| span::Event {
        time_unix_nano,
        name: "retry".to_owned(),
        attributes,
        ..span::Event::default()
    };
    let link = span::Link {
        trace_id: vec![0xaa; 16],
        span_id: vec![0xbb; 8],
        trace_state: "x=y".to_owned(),
        attributes: attributes(),
        ..span::Link::default()
    };
    let spans = vec![
        Span {
            trace_id: (1..=16).collect(),
            span_id: (1..=8).collect(),
            parent_span_id: (9..=16).collect(),
            trace_state: "a=b".to_owned(),
            name: "GET /menu".to_owned(),
            kind: 2,
            start_time_unix_nano: NOW,
            end_time_unix_nano: NOW + 1_500,
            attributes: attributes(),
            events: vec![event(NOW + 5, attributes()), event(u64::MAX, vec![])],
            links: vec![link],
            status: Some(Status { code: 2, message: "late".to_owned() }),
            ..Span::default()
        },
        Span {
            name: "backwards".to_owned(),
            kind: 99,
            start_time_unix_nano: NOW,
            end_time_unix_nano: NOW - 1,
            ..Span::default()
        },
    ];
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: resource(),
            scope_spans: vec![ScopeSpans { scope: scope(), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    let mut block = filled::<SpanRows>(&[request.encode_to_vec()]);
    database.insert("otel_traces", &mut block, "t").await;
    let rows = database.rows("SELECT * FROM {db}.otel_traces ORDER BY SpanName").await;
    let expected = json!([
        {"Timestamp": "2026-01-01 00:00:00.000000000", "TraceId": "0102030405060708090a0b0c0d0e0f10",
         "SpanId": "0102030405060708", "ParentSpanId": "090a0b0c0d0e0f10", "TraceState": "a=b", "SpanName": "GET /menu",
         "SpanKind": "Server", "ServiceName": "menu",
         "ResourceAttributes": {"service.name": "menu", "k8s.pod.name": "menu-0"},
         "ScopeName": "lib", "ScopeVersion": "1.2", "SpanAttributes": attributes_as_json(), "Duration": "1500",
         "StatusCode": "Error", "StatusMessage": "late",
         "Events.Timestamp": ["2026-01-01 00:00:00.000000005", "2262-04-11 23:47:16.854775807"],
         "Events.Name": ["retry", "retry"], "Events.Attributes": [attributes_as_json(), {}],
         "Links.TraceId": ["aa".repeat(16)], "Links.SpanId": ["bb".repeat(8)], "Links.TraceState": ["x=y"],
         "Links.Attributes": [attributes_as_json()],
         "source_topic": "otlp_test", "source_partition": PARTITION, "source_offset": "0"},
        {"Timestamp": "2026-01-01 00:00:00.000000000", "TraceId": "", "SpanId": "", "ParentSpanId": "", "TraceState": "",
         "SpanName": "backwards", "SpanKind": "", "ServiceName": "menu",
         "ResourceAttributes": {"service.name": "menu", "k8s.pod.name": "menu-0"},
         "ScopeName": "lib", "ScopeVersion": "1.2", "SpanAttributes": {}, "Duration": "0",
         "StatusCode": "Unset", "StatusMessage": "",
         "Events.Timestamp": [], "Events.Name": [], "Events.Attributes": [],
         "Links.TraceId": [], "Links.SpanId": [], "Links.TraceState": [], "Links.Attributes": [],
         "source_topic": "otlp_test", "source_partition": PARTITION, "source_offset": "0"},
    ]);
    assert_eq!(serde_json::Value::Array(rows), expected);
    database.drop().await;
}

/// Rows arrive in a table that keeps their order; it must be that of the real table's key.
async fn check_sorted<R: Rows>(table: &str, key: &str, records: &[Vec<u8>]) {
    let database = Database::migrated().await;
    database.query(&format!("CREATE TABLE {{db}}.arrival AS {{db}}.{table} ENGINE = Memory")).await;
    let mut block = filled::<R>(records);
    let rows = block.rows();
    database.insert("arrival", &mut block, "t").await;
    let sorted = format!(
        "SELECT count(), arraySort(groupArray({key})) = groupArray({key}) FROM {{db}}.arrival SETTINGS max_threads = 1"
    );
    assert_eq!(database.query(&sorted).await, format!("{rows}\t1\n"));
    database.drop().await;
}

#[tokio::test]
async fn rows_come_in_the_order_of_the_tables_key() {
    let logs = "(toStartOfFiveMinutes(Timestamp), ServiceName, Timestamp)";
    check_sorted::<LogRows>("otel_logs", logs, &some_logs(6, 40)).await;
    let spans = "(ServiceName, SpanName, toDateTime(Timestamp), Timestamp)";
    check_sorted::<SpanRows>("otel_traces", spans, &some_traces(6, 40)).await;
}

#[test]
fn settings_that_positions_cannot_hold_are_refused() {
    let settings = DecodeSettings { max_record_bytes: 2 << 30, ..settings() };
    let refused = std::panic::catch_unwind(|| Block::<LogRows>::new(settings));
    assert!(refused.is_err());
}
