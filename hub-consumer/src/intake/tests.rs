//! Requests in every encoding and the headers that name it, or do not.

use opentelemetry_proto::tonic::collector::{
    logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
    trace::v1::ExportTraceServiceRequest,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
use prost::Message;
use telemetry_wire::{fixtures::Load, headers::ENCODING};

use super::*;

/// As a Collector's Kafka exporter with `encoding: otlp_json` writes them: pdata's JSON, no header.
const COLLECTOR_LOGS: &str = r#"{"resourceLogs":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"menu"}},{"key":"process.pid","value":{"intValue":"7"}}]},"scopeLogs":[{"scope":{"name":"lib"},"logRecords":[{"timeUnixNano":"1790000000000000000","observedTimeUnixNano":"1790000000000000001","severityNumber":9,"severityText":"Info","body":{"stringValue":"a|b"},"attributes":[{"key":"ratio","value":{"doubleValue":0.5}},{"key":"tags","value":{"arrayValue":{"values":[{"stringValue":"x"},{"boolValue":true}]}}}],"droppedAttributesCount":1,"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708"}]}],"schemaUrl":"https://opentelemetry.io/schemas/1.6.1"}]}"#;
const COLLECTOR_SPANS: &str = r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"menu"}}]},"scopeSpans":[{"scope":{},"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","parentSpanId":"","name":"GET /menu","kind":2,"startTimeUnixNano":"1790000000000000000","endTimeUnixNano":"1790000000000000009","events":[{"timeUnixNano":"1790000000000000001","name":"retry"}],"links":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0807060504030201"}],"status":{"message":"late","code":2}}]}]}]}"#;
const COLLECTOR_METRICS: &str = r#"{"resourceMetrics":[{"resource":{},"scopeMetrics":[{"scope":{},"metrics":[{"name":"orders","unit":"1","sum":{"dataPoints":[{"startTimeUnixNano":"1790000000000000000","timeUnixNano":"1790000000000000001","asInt":"3"}],"aggregationTemporality":2,"isMonotonic":true}},{"name":"load","gauge":{"dataPoints":[{"timeUnixNano":"1790000000000000001","asDouble":0.5}]}}]}]}]}"#;

fn read(signal: Signal, value: &[u8], encoding: Option<&str>) -> Result<Bytes, Unreadable> {
    let headers: Vec<_> = encoding
        .map(|name| (ENCODING.to_owned(), Bytes::copy_from_slice(name.as_bytes())))
        .into_iter()
        .collect();
    let headers = headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
    protobuf(signal, &Bytes::copy_from_slice(value), headers)
}

fn items(signal: Signal, request: &[u8]) -> u64 {
    inspect(signal, request, &InspectLimits::default()).unwrap().items
}

fn check_json<T: Message + Default + PartialEq + serde::Serialize>(signal: Signal, request: &T) {
    let json = serde_json::to_vec(request).unwrap();
    for encoding in [Some("otlp_json"), None] {
        let read = T::decode(read(signal, &json, encoding).unwrap()).unwrap();
        assert!(read == *request, "{signal:?} with the header {encoding:?}");
    }
}

#[test]
fn json_becomes_the_protobuf_it_stands_for() {
    let mut load = Load::new(4);
    check_json(Signal::Logs, &load.logs());
    check_json(Signal::Traces, &load.traces());
    check_json(Signal::Metrics, &load.metrics());
}

#[test]
fn a_collectors_json_needs_no_header() {
    for (signal, json, expected) in [
        (Signal::Logs, COLLECTOR_LOGS, 1),
        (Signal::Traces, COLLECTOR_SPANS, 1),
        (Signal::Metrics, COLLECTOR_METRICS, 2),
    ] {
        for blanks in ["", "\n", " \r\n\t"] {
            let request = read(signal, format!("{blanks}{json}").as_bytes(), None).unwrap();
            assert_eq!(items(signal, &request), expected, "{signal:?} after {blanks:?}");
        }
    }
    let logs = ExportLogsServiceRequest::decode(read(Signal::Logs, COLLECTOR_LOGS.as_bytes(), None).unwrap());
    let record = logs.unwrap().resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0);
    assert_eq!((record.time_unix_nano, record.severity_number), (1_790_000_000_000_000_000, 9));
    assert_eq!((record.trace_id, record.attributes.len()), ((1..=16).collect(), 2));
    let traces =
        ExportTraceServiceRequest::decode(read(Signal::Traces, COLLECTOR_SPANS.as_bytes(), None).unwrap());
    let span = traces.unwrap().resource_spans.remove(0).scope_spans.remove(0).spans.remove(0);
    assert_eq!((span.name.as_str(), span.kind, span.parent_span_id), ("GET /menu", 2, vec![]));
    assert_eq!((span.events.len(), span.links[0].span_id.as_slice()), (1, &[8, 7, 6, 5, 4, 3, 2, 1][..]));
}

#[test]
fn protobuf_that_looks_like_json_stays_protobuf() {
    let record = LogRecord { severity_text: "x".repeat(117), ..LogRecord::default() };
    let scope = ScopeLogs { log_records: vec![record], ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    let request = ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec();
    assert_eq!(request[..2], *b"\n{");
    assert_eq!(read(Signal::Logs, &request, None).unwrap(), request);
    // A group of an unknown field: well formed, without items, and no JSON. The decoder finds that nothing in it is known.
    assert_eq!(read(Signal::Logs, b"{|", None).unwrap(), &b"{|"[..]);
    assert_eq!(read(Signal::Logs, b"", None).unwrap(), Bytes::new());
}

#[test]
fn json_that_is_well_formed_protobuf_does_not_vanish() {
    let head = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":""#;
    let tail = r#""}}]}]}]}"#;
    let text = |length| "y".repeat(length);
    // `{` opens a group, `"r` is a field of 114 bytes, `|` closes the group, `bx` is a field of 120 bytes.
    let json = format!("{head}{}|bx{}{tail}", text(3 + 114 - head.len()), text(120 - tail.len()));
    assert_eq!(items(Signal::Logs, json.as_bytes()), 0);
    assert_eq!(items(Signal::Logs, &read(Signal::Logs, json.as_bytes(), None).unwrap()), 1);
}

#[test]
fn what_is_neither_is_refused_by_name() {
    let reason = |value: &[u8], encoding| read(Signal::Traces, value, encoding).unwrap_err().reason;
    assert_eq!(reason(br#"{"resourceSpans": 1}"#, Some("otlp_json")), "malformed_json");
    assert_eq!(reason(br#"{"resourceSpans": 1}"#, None), "malformed_json");
    assert_eq!(reason(&COLLECTOR_SPANS.as_bytes()[..300], None), "malformed_json");
    assert_eq!(reason(b"", Some("otap")), "unknown_encoding");
}

/// What the generated types' own reader refused, took for nothing, or stored as 0.
#[test]
fn every_legal_spelling_of_json_is_read() {
    let body = |value: &str| {
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{value}}}]}}]}}]}}"#)
    };
    for value in [
        r#"{"arrayValue":{}}"#,
        r#"{"kvlistValue":{}}"#,
        r#"{"kvlistValue":{"values":[{"value":{"intValue":1}}]}}"#,
        r#"{"arrayValue":{"values":null}}"#,
        r#"{"doubleValue":"1.5"}"#,
        r#"{"doubleValue":"-Infinity"}"#,
        r#"{"bytesValue":"-_8"}"#,
        r#"{"intValue":"1e3"}"#,
        r#"{"stringValue":"\ud83e"}"#,
    ] {
        for encoding in [None, Some("otlp_json")] {
            assert_eq!(
                items(Signal::Logs, &read(Signal::Logs, body(value).as_bytes(), encoding).unwrap()),
                1,
                "{value}"
            );
        }
    }
    let gauge = br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[
        {"name":"a","gauge":{"dataPoints":[{"asDouble":"NaN"}]}},
        {"name":"b","histogram":{"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","dataPoints":[{"count":"1","sum":"NaN"}]}}]}]}]}"#;
    let request = ExportMetricsServiceRequest::decode(read(Signal::Metrics, gauge, None).unwrap()).unwrap();
    let metrics = &request.resource_metrics[0].scope_metrics[0].metrics;
    let Some(Data::Gauge(gauge)) = &metrics[0].data else { panic!("{metrics:?}") };
    assert!(matches!(gauge.data_points[0].value, Some(Value::AsDouble(value)) if value.is_nan()));
    let Some(Data::Histogram(histogram)) = &metrics[1].data else { panic!("{metrics:?}") };
    assert!(histogram.data_points[0].sum.is_some_and(f64::is_nan) && histogram.aggregation_temporality == 2);
}

#[test]
fn json_in_which_nothing_is_found_is_refused_by_name() {
    for json in [
        r#"{"message":"paid"}"#,
        r#"{"resourceLogs":[],"message":"paid"}"#,
        r#"{"resourceLogs":[{"scopeLogs":[{"logRecord":[{"body":{"stringValue":"a"}}]}]}]}"#,
        COLLECTOR_SPANS,
        COLLECTOR_METRICS,
    ] {
        for encoding in [None, Some("otlp_json")] {
            let error = read(Signal::Logs, json.as_bytes(), encoding).unwrap_err();
            assert_eq!(error.reason, "no_items", "{json}");
        }
    }
    for json in ["{}", r#"{"resourceLogs":[]}"#, r#"{"resourceLogs":[{"resource":{}}]}"#] {
        assert_eq!(
            items(Signal::Logs, &read(Signal::Logs, json.as_bytes(), Some("otlp_json")).unwrap()),
            0,
            "{json}"
        );
    }
}
