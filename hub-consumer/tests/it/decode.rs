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

use crate::blocks::{BROKER_MS, PARTITION, block, logs_block, settings, source};
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

/// The columns' names and types are no part of the size announced.
const HEADERS: usize = 2 << 10;

/// Pushes a request; what the block announces for it must hold what it becomes. Returns both.
fn check_announced<R: Rows>(request: &[u8]) -> (usize, usize) {
    let mut block = filled::<R>(&[request.to_vec()]);
    let (announced, encoded) = (block.bytes(), encoded(&mut block).len());
    assert!(announced + HEADERS >= encoded, "{announced} for {encoded}");
    (announced, encoded)
}

#[test]
fn the_size_announced_is_close_to_the_size_encoded_and_never_below() {
    for (announced, encoded) in [
        check_announced::<LogRows>(&some_logs(3, 50).concat()),
        check_announced::<SpanRows>(&some_traces(3, 50).concat()),
    ] {
        assert!((announced as f64) < 1.25 * encoded as f64, "{announced} for {encoded}");
    }
}

#[test]
fn text_that_a_block_keeps_once_is_announced() {
    const LENGTH: usize = 900_000;
    let long = || "k".repeat(LENGTH);
    let key = || vec![attribute(&long(), None)];
    let keyed = || Shared {
        resource: Resource { attributes: key(), ..Resource::default() },
        scope: InstrumentationScope { attributes: key(), ..InstrumentationScope::default() },
        ..Shared::default()
    };
    let logs = [
        logs_of(Shared::default(), vec![LogRecord { attributes: key(), ..LogRecord::default() }]),
        logs_of(Shared::default(), vec![LogRecord { severity_text: long(), ..LogRecord::default() }]),
        logs_of(keyed(), vec![LogRecord::default()]),
    ];
    for request in logs {
        assert!(check_announced::<LogRows>(&request).0 > LENGTH);
    }
    let event = |event| Span { events: vec![event], ..Span::default() };
    let link = span::Link { attributes: key(), ..span::Link::default() };
    let spans = [
        Span { attributes: key(), ..Span::default() },
        Span { name: long(), ..Span::default() },
        event(span::Event { name: long(), ..span::Event::default() }),
        event(span::Event { attributes: key(), ..span::Event::default() }),
        Span { links: vec![link], ..Span::default() },
    ];
    for span in spans {
        assert!(check_announced::<SpanRows>(&spans_of(Shared::default(), vec![span])).0 > LENGTH);
    }
    assert!(check_announced::<SpanRows>(&spans_of(keyed(), vec![Span::default()])).0 > LENGTH);
}

#[test]
fn more_keys_than_two_bytes_can_number_are_announced() {
    let attributes = (0..70_000).map(|number| attribute(&format!("{number:x}"), None)).collect();
    let shared = Shared { resource: Resource { attributes, ..Resource::default() }, ..Shared::default() };
    check_announced::<LogRows>(&logs_of(shared, vec![LogRecord::default(); 20]));
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

/// What the rows of a request have in common.
#[derive(Clone, Default)]
struct Shared {
    resource: Resource,
    resource_url: String,
    scope: InstrumentationScope,
    scope_url: String,
}

fn logs_of(shared: Shared, log_records: Vec<LogRecord>) -> Vec<u8> {
    let scope = ScopeLogs { scope: Some(shared.scope), log_records, schema_url: shared.scope_url };
    let resource = ResourceLogs {
        resource: Some(shared.resource),
        scope_logs: vec![scope],
        schema_url: shared.resource_url,
    };
    ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec()
}

fn spans_of(shared: Shared, spans: Vec<Span>) -> Vec<u8> {
    let scope = ScopeSpans { scope: Some(shared.scope), spans, schema_url: shared.scope_url };
    let resource = ResourceSpans {
        resource: Some(shared.resource),
        scope_spans: vec![scope],
        schema_url: shared.resource_url,
    };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
}

/// Many empty items that share a text of 100 kB.
fn check_blow_up<R: Rows>(request: &[u8], is_repeated: bool) {
    assert!(request.len() < 300_000);
    if !is_repeated {
        check_announced::<R>(request);
        return;
    }
    let mut block = block::<R>();
    let refused = block.push(request, source(0)).unwrap_err();
    assert!(matches!(refused, Undecodable::TooLarge { rows, .. } if rows < 1_000), "{refused:?}");
    assert_eq!((block.rows(), block.bytes()), (0, 0));
}

#[test]
fn a_small_request_that_becomes_gigabytes_is_refused() {
    const ITEMS: usize = 50_000;
    let long = || "x".repeat(100_000);
    let resource =
        |key| Resource { attributes: vec![attribute(key, string(&long()))], ..Resource::default() };
    let scope = InstrumentationScope::default;
    let attributes = vec![attribute("k", string(&long()))];
    // With whether every row of a log record, and of a span, repeats it.
    let cases = [
        (Shared { resource: resource("k"), ..Shared::default() }, true, true),
        (Shared { resource: resource("service.name"), ..Shared::default() }, true, true),
        (Shared { resource_url: long(), ..Shared::default() }, false, false),
        (Shared { scope: InstrumentationScope { name: long(), ..scope() }, ..Shared::default() }, true, true),
        (
            Shared { scope: InstrumentationScope { version: long(), ..scope() }, ..Shared::default() },
            false,
            true,
        ),
        (Shared { scope: InstrumentationScope { attributes, ..scope() }, ..Shared::default() }, true, false),
        (Shared { scope_url: long(), ..Shared::default() }, false, false),
    ];
    for (shared, in_logs, in_spans) in cases {
        check_blow_up::<LogRows>(&logs_of(shared.clone(), vec![LogRecord::default(); ITEMS]), in_logs);
        check_blow_up::<SpanRows>(&spans_of(shared, vec![Span::default(); ITEMS]), in_spans);
    }
}

#[test]
fn resources_and_scopes_without_items_count_as_well() {
    let resource_logs = (0..20_000)
        .map(|number| {
            let scope = InstrumentationScope { name: number.to_string(), ..InstrumentationScope::default() };
            let scope_logs = vec![ScopeLogs { scope: Some(scope), ..ScopeLogs::default() }];
            ResourceLogs { schema_url: number.to_string(), scope_logs, ..ResourceLogs::default() }
        })
        .collect();
    let request = ExportLogsServiceRequest { resource_logs }.encode_to_vec();
    let mut block = Block::<LogRows>::new(DecodeSettings { max_record_bytes: request.len(), ..settings() });
    let refused = block.push(&request, source(0)).unwrap_err();
    assert!(matches!(refused, Undecodable::TooLarge { rows: 0, .. }), "{refused:?}");
    assert_eq!(block.bytes(), 0);
}

#[test]
fn an_empty_request_is_a_record_without_rows() {
    let mut block = logs_block();
    assert_eq!(block.push(b"", source(5)).unwrap().rows, 0);
    assert_eq!((block.rows(), block.records()), (0, 1));
    assert_eq!((block.first_offset(), block.last_offset()), (Some(5), Some(5)));
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
            "source_topic": "otlp_test", "source_partition": PARTITION, "source_offset": "0",
            "source_items": 4, "received_at": "2026-01-01 00:00:00", "pod": "menu-0",
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
         "source_topic": "otlp_test", "source_partition": PARTITION, "source_offset": "0", "source_items": 2, "received_at": "2026-01-01 00:00:00"},
        {"Timestamp": "2026-01-01 00:00:00.000000000", "TraceId": "", "SpanId": "", "ParentSpanId": "", "TraceState": "",
         "SpanName": "backwards", "SpanKind": "", "ServiceName": "menu",
         "ResourceAttributes": {"service.name": "menu", "k8s.pod.name": "menu-0"},
         "ScopeName": "lib", "ScopeVersion": "1.2", "SpanAttributes": {}, "Duration": "0",
         "StatusCode": "Unset", "StatusMessage": "",
         "Events.Timestamp": [], "Events.Name": [], "Events.Attributes": [],
         "Links.TraceId": [], "Links.SpanId": [], "Links.TraceState": [], "Links.Attributes": [],
         "source_topic": "otlp_test", "source_partition": PARTITION, "source_offset": "0", "source_items": 2, "received_at": "2026-01-01 00:00:00"},
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
