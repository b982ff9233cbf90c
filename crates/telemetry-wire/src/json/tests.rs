//! OTLP/JSON against the generated types: every field of every message, then the rules of the JSON mapping one by one.

use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{
        AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
    },
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint,
        Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
        exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
        summary_data_point::ValueAtQuantile,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span},
};
use prost::Message as _;
use serde_json::json;

use super::*;

mod spellings;

/// An output with a bound.
struct Bounded {
    bytes: Vec<u8>,
    limit: usize,
}

impl Output for Bounded {
    fn grow(&mut self, count: usize) -> Result<&mut [u8], Full> {
        if self.bytes.len() + count > self.limit {
            return Err(Full);
        }
        self.bytes.grow(count)
    }

    fn written(&mut self) -> &mut [u8] {
        &mut self.bytes
    }
}

fn convert(signal: Signal, json: &str) -> Result<Vec<u8>, JsonError> {
    let mut output = Vec::new();
    transcode(signal, json.as_bytes(), &mut output)?;
    Ok(output)
}

/// The request that the generated type writes as JSON comes back field by field.
fn check_round_trip<T>(signal: Signal, request: &T)
where
    T: prost::Message + Default + PartialEq + serde::Serialize + fmt::Debug,
{
    let json = serde_json::to_string(request).unwrap();
    let converted = convert(signal, &json).unwrap_or_else(|error| panic!("{error}\n{json}"));
    assert_eq!(T::decode(&*converted).unwrap(), *request, "{json}");
}

fn logs(record: &serde_json::Value) -> String {
    json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [record]}]}]}).to_string()
}

/// Reads one log record from JSON.
fn record(record: &serde_json::Value) -> LogRecord {
    let request = ExportLogsServiceRequest::decode(&*convert(Signal::Logs, &logs(record)).unwrap()).unwrap();
    request.resource_logs[0].scope_logs[0].log_records[0].clone()
}

/// One log record is refused, and the message says what was wrong and where.
fn check_refused(record: &serde_json::Value, what: &str) {
    let error = convert(Signal::Logs, &logs(record)).unwrap_err().to_string();
    assert!(error.contains(what) && error.contains("line 1 column"), "{record}: {error}");
}

fn value(value: Value) -> AnyValue {
    AnyValue { value: Some(value) }
}

fn attribute(key: &str, of: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(value(of)), ..KeyValue::default() }
}

fn attributes() -> Vec<KeyValue> {
    let nested = KeyValueList { values: vec![attribute("inner", Value::BoolValue(true))] };
    let mixed = [Value::IntValue(-1), Value::StringValue("ü\"\n".into())];
    vec![
        attribute("string", Value::StringValue("text".into())),
        attribute("bool", Value::BoolValue(false)),
        attribute("int", Value::IntValue(i64::MIN)),
        attribute("double", Value::DoubleValue(0.1 + 0.2)),
        attribute("bytes", Value::BytesValue(vec![0, 0xfb, 0xff])),
        attribute("array", Value::ArrayValue(ArrayValue { values: mixed.map(value).to_vec() })),
        attribute("map", Value::KvlistValue(nested)),
    ]
}

fn resource() -> Option<Resource> {
    let entity = EntityRef {
        schema_url: "entity".into(),
        r#type: "service".into(),
        id_keys: vec!["a".into(), "b".into()],
        description_keys: vec!["c".into()],
    };
    Some(Resource { attributes: attributes(), dropped_attributes_count: 1, entity_refs: vec![entity] })
}

fn scope() -> Option<InstrumentationScope> {
    let (name, version) = ("scope".into(), "1.2".into());
    Some(InstrumentationScope { name, version, attributes: attributes(), dropped_attributes_count: 2 })
}

fn every_field_of_logs() -> ExportLogsServiceRequest {
    let log_records = vec![
        LogRecord {
            time_unix_nano: u64::MAX,
            observed_time_unix_nano: 1_700_000_000_000_000_001,
            severity_number: 17,
            severity_text: "ERROR".into(),
            body: Some(value(Value::StringValue("body".into()))),
            attributes: attributes(),
            dropped_attributes_count: 3,
            flags: 0xffff_ffff,
            trace_id: (0..16).collect(),
            span_id: (0xf8..=0xff).collect(),
            event_name: "event".into(),
        },
        LogRecord::default(),
    ];
    let scope_logs = vec![ScopeLogs { scope: scope(), log_records, schema_url: "scope-url".into() }];
    let resource_logs = vec![ResourceLogs { resource: resource(), scope_logs, schema_url: "url".into() }];
    ExportLogsServiceRequest { resource_logs }
}

#[test]
fn every_field_of_a_log_record_is_kept() {
    check_round_trip(Signal::Logs, &every_field_of_logs());
}

fn every_field_of_spans() -> ExportTraceServiceRequest {
    let event = span::Event {
        time_unix_nano: 5,
        name: "event".into(),
        attributes: attributes(),
        dropped_attributes_count: 6,
    };
    let link = span::Link {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        trace_state: "state".into(),
        attributes: attributes(),
        dropped_attributes_count: 7,
        flags: 8,
    };
    let span = Span {
        trace_id: vec![3; 16],
        span_id: vec![4; 8],
        trace_state: "a=b".into(),
        parent_span_id: vec![5; 8],
        flags: 0x101,
        name: "GET /".into(),
        kind: 2,
        start_time_unix_nano: 9,
        end_time_unix_nano: 10,
        attributes: attributes(),
        dropped_attributes_count: 11,
        events: vec![event, span::Event::default()],
        dropped_events_count: 12,
        links: vec![link],
        dropped_links_count: 13,
        status: Some(Status { message: "failed".into(), code: 2 }),
    };
    let scope_spans = vec![ScopeSpans { scope: scope(), spans: vec![span], schema_url: "scope-url".into() }];
    let resource_spans = vec![ResourceSpans { resource: resource(), scope_spans, schema_url: "url".into() }];
    ExportTraceServiceRequest { resource_spans }
}

#[test]
fn every_field_of_a_span_is_kept() {
    check_round_trip(Signal::Traces, &every_field_of_spans());
}

fn exemplars() -> Vec<Exemplar> {
    let exemplar = |value| Exemplar {
        filtered_attributes: attributes(),
        time_unix_nano: 14,
        span_id: vec![6; 8],
        trace_id: vec![7; 16],
        value: Some(value),
    };
    vec![exemplar(exemplar::Value::AsInt(-15)), exemplar(exemplar::Value::AsDouble(f64::MIN_POSITIVE))]
}

fn number_points() -> Vec<NumberDataPoint> {
    let point = |value| NumberDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 16,
        time_unix_nano: 17,
        exemplars: exemplars(),
        flags: 1,
        value: Some(value),
    };
    vec![point(number_data_point::Value::AsInt(i64::MAX)), point(number_data_point::Value::AsDouble(-1e300))]
}

fn all_kinds_of_metrics() -> Vec<Data> {
    let histogram = HistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 18,
        time_unix_nano: 19,
        count: u64::MAX,
        sum: Some(20.5),
        bucket_counts: vec![0, 1, u64::MAX],
        explicit_bounds: vec![0.1, 1e10],
        exemplars: exemplars(),
        flags: 1,
        min: Some(0.0),
        max: Some(21.25),
    };
    let exponential = ExponentialHistogramDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 22,
        time_unix_nano: 23,
        count: 24,
        sum: Some(25.0),
        scale: -26,
        zero_count: 27,
        positive: Some(Buckets { offset: i32::MIN, bucket_counts: vec![28, u64::MAX] }),
        negative: Some(Buckets { offset: i32::MAX, bucket_counts: vec![0] }),
        flags: 1,
        exemplars: exemplars(),
        min: Some(-29.0),
        max: Some(30.0),
        zero_threshold: 1e-9,
    };
    let summary = SummaryDataPoint {
        attributes: attributes(),
        start_time_unix_nano: 31,
        time_unix_nano: 32,
        count: 33,
        sum: 34.5,
        quantile_values: vec![ValueAtQuantile { quantile: 0.99, value: 35.5 }],
        flags: 1,
    };
    vec![
        Data::Gauge(Gauge { data_points: number_points() }),
        Data::Sum(Sum { data_points: number_points(), aggregation_temporality: 2, is_monotonic: true }),
        Data::Histogram(Histogram { data_points: vec![histogram], aggregation_temporality: 1 }),
        Data::ExponentialHistogram(ExponentialHistogram {
            data_points: vec![exponential],
            aggregation_temporality: 2,
        }),
        Data::Summary(Summary { data_points: vec![summary] }),
    ]
}

fn every_field_of_metrics() -> ExportMetricsServiceRequest {
    let metric = |data| Metric {
        name: "metric".into(),
        description: "words".into(),
        unit: "By".into(),
        metadata: attributes(),
        data: Some(data),
    };
    let metrics = all_kinds_of_metrics().into_iter().map(metric).collect();
    let scope_metrics = vec![ScopeMetrics { scope: scope(), metrics, schema_url: "scope-url".into() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: resource(), scope_metrics, schema_url: "url".into() }];
    ExportMetricsServiceRequest { resource_metrics }
}

#[test]
fn every_field_of_a_metric_is_kept() {
    check_round_trip(Signal::Metrics, &every_field_of_metrics());
}

#[test]
fn integers_are_strings_or_numbers_and_never_rounded() {
    for time in [json!("18446744073709551615"), json!(u64::MAX)] {
        assert_eq!(record(&json!({"timeUnixNano": time})).time_unix_nano, u64::MAX);
    }
    for count in [json!(1000), json!("1000"), json!(1e3), json!("1e3"), json!("1000.0")] {
        assert_eq!(record(&json!({"droppedAttributesCount": count})).dropped_attributes_count, 1000);
    }
    check_refused(&json!({"timeUnixNano": "18446744073709551616"}), "timeUnixNano");
    check_refused(&json!({"timeUnixNano": -1}), "timeUnixNano");
    check_refused(&json!({"timeUnixNano": 1.5}), "timeUnixNano");
    check_refused(&json!({"droppedAttributesCount": 4_294_967_296_u64}), "droppedAttributesCount");
    check_refused(&json!({"body": {"intValue": "9223372036854775808"}}), "intValue");
}

#[test]
fn enums_are_numbers_or_names() {
    for severity in [json!(9), json!("9"), json!("SEVERITY_NUMBER_INFO")] {
        assert_eq!(record(&json!({"severityNumber": severity})).severity_number, 9);
    }
    assert_eq!(record(&json!({"severityNumber": 99})).severity_number, 99, "an unknown number is kept");
    check_refused(&json!({"severityNumber": "INFO"}), "severityNumber");
}

#[test]
fn ids_are_hex_of_either_case() {
    let id = record(&json!({"traceId": "5B8EFFF798038103D269B633813FC60C", "spanId": "eee19b7ec3c1b174"}));
    assert_eq!((id.trace_id[..3].to_vec(), id.span_id.len()), (vec![0x5b, 0x8e, 0xff], 8));
    assert_eq!(record(&json!({"traceId": ""})).trace_id, Vec::<u8>::new());
    check_refused(&json!({"traceId": "5b8"}), "traceId");
    check_refused(&json!({"traceId": "W47/95gDgQPSabYzgT/GDA=="}), "traceId");
}

#[test]
fn bytes_are_base64_of_either_alphabet_with_or_without_padding() {
    for text in ["+/8=", "+/8", "-_8=", "-_8"] {
        let body = record(&json!({"body": {"bytesValue": text}})).body.unwrap();
        assert_eq!(body.value, Some(Value::BytesValue(vec![0xfb, 0xff])), "{text}");
    }
    check_refused(&json!({"body": {"bytesValue": "a b"}}), "bytesValue");
    check_refused(&json!({"body": {"bytesValue": "abcde"}}), "bytesValue");
    check_refused(&json!({"body": {"bytesValue": "+_8="}}), "bytesValue");
}

#[test]
fn doubles_keep_every_bit_and_their_special_names() {
    let double =
        |json: serde_json::Value| match record(&json!({"body": {"doubleValue": json}})).body.unwrap().value {
            Some(Value::DoubleValue(double)) => double,
            other => panic!("{other:?}"),
        };
    for exact in [0.1 + 0.2, 5e-324, f64::MAX, 8.41, 9_007_199_254_740_993.0, -0.0] {
        assert_eq!(double(json!(exact)).to_bits(), exact.to_bits());
        assert_eq!(double(json!(exact.to_string())).to_bits(), exact.to_bits());
    }
    assert!(double(json!("NaN")).is_nan());
    assert_eq!(
        (double(json!("Infinity")), double(json!("-Infinity")), double(json!(7))),
        (f64::INFINITY, f64::NEG_INFINITY, 7.0)
    );
    check_refused(&json!({"body": {"doubleValue": "inf"}}), "doubleValue");
}

#[test]
fn unknown_fields_are_skipped_at_every_level() {
    let unknown = json!({"deep": [{"er": null}, 1, "text", true]});
    let json = json!({"new": unknown, "resourceLogs": [{"new": unknown, "resource": {"new": unknown}, "scopeLogs": [
        {"scope": {"new": unknown}, "logRecords": [{"new": unknown, "body": {"new": unknown, "stringValue": "kept"}}]}]}]});
    let converted = convert(Signal::Logs, &json.to_string()).unwrap();
    let request = ExportLogsServiceRequest::decode(&*converted).unwrap();
    let body = request.resource_logs[0].scope_logs[0].log_records[0].body.clone().unwrap();
    assert_eq!(body.value, Some(Value::StringValue("kept".into())));
}

#[test]
fn null_is_an_absent_field() {
    let nulls = json!({"timeUnixNano": null, "body": null, "attributes": null, "traceId": null, "severityNumber": null});
    assert_eq!(record(&nulls), LogRecord::default());
    let value = record(&json!({"body": {"intValue": null, "stringValue": "text"}})).body.unwrap();
    assert_eq!(value.value, Some(Value::StringValue("text".into())));
}

#[test]
fn the_original_field_names_are_read_too() {
    let json =
        json!({"resource_logs": [{"scope_logs": [{"log_records": [{"time_unix_nano": "7"}]}]}]}).to_string();
    let request = ExportLogsServiceRequest::decode(&*convert(Signal::Logs, &json).unwrap()).unwrap();
    assert_eq!(request.resource_logs[0].scope_logs[0].log_records[0].time_unix_nano, 7);
}

#[test]
fn a_field_given_twice_is_refused() {
    let twice = r#"{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"severityText": "a", "severity_text": "b"}]}]}]}"#;
    let error = convert(Signal::Logs, twice).unwrap_err().to_string();
    assert!(error.contains("LogRecord.severityText is given twice"), "{error}");
}

#[test]
fn what_is_not_such_a_request_is_refused_with_its_place() {
    for (json, what) in [
        ("", "EOF"),
        ("[]", "an object for ExportLogsServiceRequest"),
        ("null", "an object for ExportLogsServiceRequest"),
        ("{", "EOF"),
        ("{} {}", "trailing characters"),
        (r#"{"resourceLogs": {}}"#, "an array for resourceLogs"),
        (r#"{"resourceLogs": [null]}"#, "an object for ResourceLogs"),
        (r#"{"resourceLogs": [{"schemaUrl": 7}]}"#, "schemaUrl: 7 is not a string"),
        ("{\"resourceLogs\": [{\"schemaUrl\": \"\u{1}\"}]}", "control character"),
    ] {
        let error = convert(Signal::Logs, json).unwrap_err().to_string();
        assert!(error.contains(what) && error.contains("line 1 column"), "{json}: {error}");
    }
    let not_utf8 = [br#"{"resourceLogs": [{"schemaUrl": ""#.as_slice(), &[0xff], br#""}]}"#].concat();
    let error = transcode(Signal::Logs, &not_utf8, &mut Vec::new()).unwrap_err();
    assert!(error.to_string().contains("unicode"), "{error}");
}

#[test]
fn nesting_is_bounded() {
    let mut body = json!({"stringValue": "deepest"});
    for _ in 0..30 {
        body = json!({"arrayValue": {"values": [body]}});
    }
    convert(Signal::Logs, &logs(&json!({"body": body}))).unwrap();
    let deep =
        format!(r#"{{"resourceLogs": [{{"unknown": {}1{}}}]}}"#, "[".repeat(100_000), "]".repeat(100_000));
    convert(Signal::Logs, &deep).unwrap();
    let deep = r#"{"arrayValue":{"values":["#.repeat(1000);
    let deep = format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{deep}"#);
    let error = convert(Signal::Logs, &deep).unwrap_err().to_string();
    assert!(error.contains("recursion limit"), "{error}");
}

#[test]
fn many_small_records_cost_their_protobuf_and_no_more() {
    let records = "{},".repeat(300_000);
    let json = format!(r#"{{"resourceLogs": [{{"scopeLogs": [{{"logRecords": [{records}{{}}]}}]}}]}}"#);
    let output = convert(Signal::Logs, &json).unwrap();
    assert!(output.len() < 600_100, "{} bytes", output.len());
}

#[test]
fn output_over_its_limit_is_too_large_however_small_the_json() {
    let counts = "1,".repeat(60_000);
    let json = format!(
        r#"{{"resourceMetrics": [{{"scopeMetrics": [{{"metrics": [{{"histogram": {{"dataPoints": [{{"bucketCounts": [{counts}1]}}]}}}}]}}]}}]}}"#
    );
    let mut output = Bounded { bytes: Vec::new(), limit: 200_000 };
    let error = transcode(Signal::Metrics, json.as_bytes(), &mut output).unwrap_err();
    assert!(matches!(error, JsonError::Full(Full)), "{error}");
}
