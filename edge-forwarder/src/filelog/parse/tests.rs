//! Lines as loggers write them, and the records that they become.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, any_value::Value},
    logs::v1::{LogRecord, ScopeLogs},
};
use proptest::prelude::*;
use prost::Message as _;

use super::*;

fn encode(rules: &ParseRules, body: &[u8]) -> (LogRecord, Encoded) {
    let line = LineRecord {
        body,
        time_unix_nano: 7,
        observed_unix_nano: 9,
        stream: Stream::None,
        part: None,
        attributes: &[],
    };
    let mut out = Vec::new();
    let mut encoder = RecordEncoder::default();
    // What an earlier line left behind must not show.
    encoder.append(
        &ParseRules::default(),
        &LineRecord { body: br#"{"old":[1,"x"],"level":"warn"}"#, ..line },
        &mut out,
    );
    out.clear();
    let encoded = encoder.append(rules, &line, &mut out);
    let mut records = ScopeLogs::decode(&*out).unwrap().log_records;
    assert_eq!(records.len(), 1);
    (records.remove(0), encoded)
}

fn body_of(record: &LogRecord) -> Vec<u8> {
    match record.body.clone().unwrap().value.unwrap() {
        Value::StringValue(text) => text.into_bytes(),
        Value::BytesValue(bytes) => bytes,
        other => panic!("{other:?}"),
    }
}

/// Values as JSON, to be written down in a test.
fn shown(value: Option<&AnyValue>) -> serde_json::Value {
    let Some(value) = value.and_then(|value| value.value.as_ref()) else { return serde_json::Value::Null };
    match value {
        Value::StringValue(text) => text.clone().into(),
        Value::BoolValue(value) => (*value).into(),
        Value::IntValue(value) => (*value).into(),
        Value::DoubleValue(value) => (*value).into(),
        Value::ArrayValue(array) => array.values.iter().map(|value| shown(Some(value))).collect(),
        Value::KvlistValue(list) => {
            list.values.iter().map(|pair| (pair.key.clone(), shown(pair.value.as_ref()))).collect()
        }
        other => panic!("{other:?}"),
    }
}

fn attributes_of(record: &LogRecord) -> BTreeMap<String, serde_json::Value> {
    let attributes = record.attributes.iter().map(|one| (one.key.clone(), shown(one.value.as_ref())));
    let collected: BTreeMap<_, _> = attributes.collect();
    assert_eq!(collected.len(), record.attributes.len(), "a key twice");
    collected
}

/// `expected`: time, severity number and text, and the attributes.
#[track_caller]
fn check(line: &str, time: u64, severity: (i32, &str), attributes: &str) -> LogRecord {
    let (record, _) = encode(&ParseRules::default(), line.as_bytes());
    assert_eq!(body_of(&record), line.as_bytes());
    assert_eq!(record.time_unix_nano, time, "time");
    assert_eq!((record.severity_number, &*record.severity_text), severity);
    let expected: BTreeMap<String, serde_json::Value> = serde_json::from_str(attributes).unwrap();
    assert_eq!(attributes_of(&record), expected);
    assert_eq!(record.observed_time_unix_nano, 9);
    record
}

const SECOND: u64 = 1_000_000_000;
const T: u64 = 1_767_323_045 * SECOND;

#[test]
fn the_lines_of_the_menu_api() {
    check(
        r#"{"timestamp":"2026-01-02T03:04:05Z","level":"INFO","method":"GET","path":"/api/menu","status_code":200,"duration_ms":0.123,"message":"Listed 5 menu items"}"#,
        T,
        (9, "INFO"),
        r#"{"method":"GET","path":"/api/menu","status_code":200,"duration_ms":0.123,"message":"Listed 5 menu items"}"#,
    );
    let failed = check(
        r#"{"timestamp":"2026-01-02T04:04:05+01:00","level":"ERROR","method":"GET","path":"/api/menu","status_code":500,"duration_ms":1,"message":"Failed to list menu items","error":"restaurant service timeout","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7"}"#,
        T,
        (17, "ERROR"),
        r#"{"method":"GET","path":"/api/menu","status_code":500,"duration_ms":1,"message":"Failed to list menu items","error":"restaurant service timeout"}"#,
    );
    assert_eq!(failed.trace_id[..2], [0x4b, 0xf9]);
    assert_eq!(failed.span_id, [0, 0xf0, 0x67, 0xaa, 0x0b, 0xa9, 0x02, 0xb7]);
    check(
        r#"{"timestamp":"2026-01-02T03:04:05Z","level":"WARN","method":"GET","path":"/api/menu/9","status_code":404,"duration_ms":0.01,"message":"Menu item ID 9 does not exist","error":"menu item not found","menu_item_id":"9"}"#,
        T,
        (13, "WARN"),
        r#"{"method":"GET","path":"/api/menu/9","status_code":404,"duration_ms":0.01,"message":"Menu item ID 9 does not exist","error":"menu item not found","menu_item_id":"9"}"#,
    );
}

#[test]
fn the_lines_of_common_loggers() {
    // zap
    check(
        r#"{"level":"info","ts":1767323045.5,"caller":"app/main.go:7","msg":"taken"}"#,
        T + SECOND / 2,
        (9, "info"),
        r#"{"caller":"app/main.go:7","msg":"taken"}"#,
    );
    // logrus
    check(
        r#"{"level":"warning","msg":"slow","time":"2026-01-02T03:04:05Z"}"#,
        T,
        (13, "warning"),
        r#"{"msg":"slow"}"#,
    );
    // slog
    check(
        r#"{"time":"2026-01-02T03:04:05.000000001Z","level":"ERROR","msg":"gone","attr":{"id":7}}"#,
        T + 1,
        (17, "ERROR"),
        r#"{"msg":"gone","attr":{"id":7}}"#,
    );
    // bunyan
    check(
        r#"{"name":"app","hostname":"h","pid":1,"level":50,"msg":"gone","time":"2026-01-02T03:04:05.000Z","v":0}"#,
        T,
        (17, "error"),
        r#"{"name":"app","hostname":"h","pid":1,"msg":"gone","v":0}"#,
    );
    // pino
    check(r#"{"level":30,"time":1767323045000,"msg":"up"}"#, T, (9, "info"), r#"{"msg":"up"}"#);
    // log4j2's JSON layout
    check(
        r#"{"@timestamp":"2026-01-02T03:04:05.000Z","log.level":"FATAL","message":"gone","process.thread.name":"main"}"#,
        T,
        (21, "FATAL"),
        r#"{"message":"gone","process.thread.name":"main"}"#,
    );
    // serilog, compact
    check(
        r#"{"@t":"2026-01-02T03:04:05Z","@mt":"Took {Id}","@l":"Warning","Id":7,"@tr":"4bf92f3577b34da6a3ce929d0e0e4736"}"#,
        T,
        (13, "Warning"),
        r#"{"@mt":"Took {Id}","Id":7}"#,
    );
    // python-json-logger
    check(
        r#"{"asctime":"2026-01-02 03:04:05,678","levelname":"CRITICAL","message":"gone"}"#,
        7,
        (18, "CRITICAL"),
        r#"{"asctime":"2026-01-02 03:04:05,678","message":"gone"}"#,
    );
    // nginx with a JSON log format
    check(
        r#"{"time":"2026-01-02T03:04:05+00:00","remote_addr":"10.0.0.1","request":"GET / HTTP/1.1","status":"200","request_time":"0.001"}"#,
        T,
        (0, ""),
        r#"{"remote_addr":"10.0.0.1","request":"GET / HTTP/1.1","status":"200","request_time":"0.001"}"#,
    );
}

#[test]
fn lines_that_are_no_json() {
    check(
        "2026-01-02 03:04:05,678 ERROR [main] App - gone\n\tat App.main(App.java:1)",
        7,
        (17, "ERROR"),
        "{}",
    );
    check("just a line", 7, (0, ""), "{}");
    check("", 7, (0, ""), "{}");
    check("[1,2]", 7, (0, ""), "{}");
}

#[test]
fn odd_json_keeps_what_can_be_kept() {
    check(
        r#"{"level":3,"time":"soon","trace_id":7,"span_id":"00"}"#,
        7,
        (0, ""),
        r#"{"level":3,"time":"soon","trace_id":7,"span_id":"00"}"#,
    );
    check(r#"{"a":1,"b":null,"a":"two"}"#, 7, (0, ""), r#"{"a":"two","b":null}"#);
    check(r#"{"level":"info","level":"error"}"#, 7, (17, "error"), "{}");
    check(
        r#"{"time":"2026-01-02T03:04:05Z","timestamp":"2026-01-02T03:04:06Z"}"#,
        T + SECOND,
        (0, ""),
        r#"{"time":"2026-01-02T03:04:05Z"}"#,
    );
    check(
        r#"{"big":18446744073709551615,"huge":1e300,"neg":-9223372036854775808,"":1}"#,
        7,
        (0, ""),
        r#"{"big":18446744073709551615.0,"huge":1e300,"neg":-9223372036854775808,"":1}"#,
    );
    check(r#"{"e":"\u00e4\n","k\u0041":[true,{"x":[]}]}"#, 7, (0, ""), r#"{"e":"ä\n","kA":[true,{"x":[]}]}"#);
    check(
        r#"{"trace_id":"00000000000000000000000000000000"}"#,
        7,
        (0, ""),
        r#"{"trace_id":"00000000000000000000000000000000"}"#,
    );
    let flags = check(r#"{"trace_flags":"01"}"#, 7, (0, ""), "{}");
    assert_eq!(flags.flags, 1);
}

#[test]
fn what_begins_like_json_and_is_none_says_so_and_is_kept() {
    for line in [
        r#"{"a":1"#,
        r#"{"a":1} x"#,
        "{not json}",
        r#"{"a":"\ud800"}"#,
        r#"{"a":1e999}"#,
        "{\"a\":\"\u{1}\"}",
        " {",
    ] {
        let (record, encoded) = encode(&ParseRules::default(), line.as_bytes());
        assert_eq!(encoded.outcome, Outcome::ParseError, "{line}");
        assert_eq!(body_of(&record), line.as_bytes());
        assert_eq!(attributes_of(&record).keys().collect::<Vec<_>>(), ["parse_error"]);
    }
    let (record, _) = encode(&ParseRules::default(), b"{\"a\":\"\xff\"}");
    assert_eq!(body_of(&record), b"{\"a\":\"\xff\"}");
}

#[test]
fn nesting_ends_in_text_and_attributes_in_the_body() {
    let deep = format!("{{\"a\":{}1{}}}", "[".repeat(40), "]".repeat(40));
    let (record, encoded) = encode(&ParseRules::default(), deep.as_bytes());
    assert_eq!(encoded.outcome, Outcome::Json);
    let mut value = attributes_of(&record)["a"].clone();
    let mut depth = 0;
    while let serde_json::Value::Array(items) = &value {
        value = items[0].clone();
        depth += 1;
    }
    assert_eq!((depth, value), (16, format!("{}1{}", "[".repeat(24), "]".repeat(24)).into()));
    let many: String = (0..300).map(|key| format!("\"k{key}\":{key},")).collect();
    let (record, _) = encode(&ParseRules::default(), format!("{{{many}\"z\":1}}").as_bytes());
    assert_eq!(record.attributes.len(), 128);
}

#[test]
fn a_line_says_its_stream_and_which_part_it_is() {
    let line = LineRecord {
        body: b"x",
        time_unix_nano: 0,
        observed_unix_nano: 9,
        stream: Stream::Stderr,
        part: Some(PartOf { index: 3, is_last: true }),
        attributes: &[],
    };
    let mut out = Vec::new();
    RecordEncoder::default().append(&ParseRules::bare(), &line, &mut out);
    let record = ScopeLogs::decode(&*out).unwrap().log_records.remove(0);
    let expected = r#"{"log.iostream":"stderr","log.part.index":3,"log.part.last":true}"#;
    assert_eq!(attributes_of(&record), serde_json::from_str(expected).unwrap());
    assert_eq!(record.time_unix_nano, 0);
}

fn json() -> impl Strategy<Value = serde_json::Value> {
    let leaf = prop_oneof![
        Just(serde_json::Value::Null),
        any::<bool>().prop_map(Into::into),
        any::<i64>().prop_map(Into::into),
        (-1e9..1e9f64).prop_map(Into::into),
        ".{0,200}".prop_map(Into::into),
    ];
    leaf.prop_recursive(4, 32, 6, |inner| {
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..6).prop_map(Into::into),
            proptest::collection::btree_map(".{0,9}", inner, 0..6)
                .prop_map(|map| serde_json::Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn any_bytes_are_one_record_with_those_bytes(body in proptest::collection::vec(any::<u8>(), 0..300), is_object: bool) {
        let body = if is_object { [b"{", &body[..]].concat() } else { body };
        let (record, _) = encode(&ParseRules::default(), &body);
        prop_assert_eq!(body_of(&record), body);
    }

    #[test]
    fn any_object_becomes_its_attributes(object in proptest::collection::btree_map("[a-z]{6,9}", json(), 0..9)) {
        let text = serde_json::to_string(&object).unwrap();
        let (record, encoded) = encode(&ParseRules::default(), text.as_bytes());
        prop_assert_eq!(encoded.outcome, Outcome::Json);
        let fields = ["timestamp", "datetime", "eventTime", "severity", "levelname", "loglevel", "traceid", "spanid"];
        let mut expected = object;
        let mut found = attributes_of(&record);
        for field in fields {
            expected.remove(field);
            found.remove(field);
        }
        prop_assert_eq!(found, expected);
    }
}
