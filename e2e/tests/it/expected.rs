//! What ClickHouse must hold for a request, by prost's reading of it and a second, plain writing of the row rules.

use std::collections::BTreeMap;

use base64::prelude::{BASE64_STANDARD, Engine};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
use serde_json::{Value, json};

use crate::generate::ID;

/// Rows by record id.
pub(crate) type Rows = BTreeMap<String, Value>;

/// Columns of the logs table, in the form that [`logs`] expects them.
pub(crate) const LOG_COLUMNS: &str = "toUnixTimestamp64Nano(Timestamp) AS time, TraceId, SpanId, TraceFlags, SeverityText, SeverityNumber, ServiceName, \
    Body, ResourceSchemaUrl, ResourceAttributes, ScopeSchemaUrl, ScopeName, ScopeVersion, ScopeAttributes, LogAttributes, EventName";

/// Columns of the traces table, in the form that [`spans`] expects them.
pub(crate) const SPAN_COLUMNS: &str = "toUnixTimestamp64Nano(Timestamp) AS time, TraceId, SpanId, ParentSpanId, TraceState, SpanName, SpanKind, ServiceName, \
    ResourceAttributes, ScopeName, ScopeVersion, SpanAttributes, Duration, StatusCode, StatusMessage, \
    arrayMap(t -> toUnixTimestamp64Nano(t), `Events.Timestamp`) AS event_times, `Events.Name` AS event_names, `Events.Attributes` AS event_attributes, \
    `Links.TraceId` AS link_traces, `Links.SpanId` AS link_spans, `Links.TraceState` AS link_states, `Links.Attributes` AS link_attributes";

const SPAN_KINDS: [&str; 6] = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];
const STATUS_CODES: [&str; 3] = ["Unset", "Ok", "Error"];

pub(crate) fn logs(request: &ExportLogsServiceRequest, rows: &mut Rows) {
    for resource_logs in &request.resource_logs {
        let resource = attributes(&resource_logs.resource.as_ref().expect("generated with one").attributes);
        for scope_logs in &resource_logs.scope_logs {
            let scope = scope_logs.scope.as_ref().expect("generated with one");
            for record in &scope_logs.log_records {
                let own = attributes(&record.attributes);
                let time = if record.time_unix_nano == 0 {
                    record.observed_time_unix_nano
                } else {
                    record.time_unix_nano
                };
                let row = json!({
                    "time": time.to_string(), "TraceId": hex(&record.trace_id), "SpanId": hex(&record.span_id),
                    "TraceFlags": record.flags, "SeverityText": record.severity_text, "SeverityNumber": record.severity_number,
                    "ServiceName": service(&resource), "Body": record.body.as_ref().map(as_string).unwrap_or_default(),
                    "ResourceSchemaUrl": resource_logs.schema_url, "ResourceAttributes": resource,
                    "ScopeSchemaUrl": scope_logs.schema_url, "ScopeName": scope.name, "ScopeVersion": scope.version,
                    "ScopeAttributes": attributes(&scope.attributes), "LogAttributes": own, "EventName": record.event_name,
                });
                insert(rows, &own, row);
            }
        }
    }
}

pub(crate) fn spans(request: &ExportTraceServiceRequest, rows: &mut Rows) {
    for resource_spans in &request.resource_spans {
        let resource = attributes(&resource_spans.resource.as_ref().expect("generated with one").attributes);
        for scope_spans in &resource_spans.scope_spans {
            let scope = scope_spans.scope.as_ref().expect("generated with one");
            for span in &scope_spans.spans {
                let own = attributes(&span.attributes);
                let status = span.status.clone().unwrap_or_default();
                let row = json!({
                    "time": span.start_time_unix_nano.to_string(), "TraceId": hex(&span.trace_id), "SpanId": hex(&span.span_id),
                    "ParentSpanId": hex(&span.parent_span_id), "TraceState": span.trace_state, "SpanName": span.name,
                    "SpanKind": SPAN_KINDS[usize::try_from(span.kind).expect("generated")],
                    "ServiceName": service(&resource), "ResourceAttributes": resource, "ScopeName": scope.name, "ScopeVersion": scope.version,
                    "SpanAttributes": own, "Duration": (span.end_time_unix_nano - span.start_time_unix_nano).to_string(),
                    "StatusCode": STATUS_CODES[usize::try_from(status.code).expect("generated")], "StatusMessage": status.message,
                    "event_times": span.events.iter().map(|event| event.time_unix_nano.to_string()).collect::<Vec<_>>(),
                    "event_names": span.events.iter().map(|event| event.name.clone()).collect::<Vec<_>>(),
                    "event_attributes": span.events.iter().map(|event| attributes(&event.attributes)).collect::<Vec<_>>(),
                    "link_traces": span.links.iter().map(|link| hex(&link.trace_id)).collect::<Vec<_>>(),
                    "link_spans": span.links.iter().map(|link| hex(&link.span_id)).collect::<Vec<_>>(),
                    "link_states": span.links.iter().map(|link| link.trace_state.clone()).collect::<Vec<_>>(),
                    "link_attributes": span.links.iter().map(|link| attributes(&link.attributes)).collect::<Vec<_>>(),
                });
                insert(rows, &own, row);
            }
        }
    }
}

/// Fails with the first rows that differ; every id must be there exactly once.
pub(crate) fn compare(stored: Vec<Value>, attributes: &str, expected: &Rows) {
    let mut seen = Rows::new();
    for row in stored {
        let id = row[attributes][ID].as_str().expect("every row carries its id").to_owned();
        let previous = seen.insert(id.clone(), row);
        assert_eq!(previous, None, "{id} is stored twice");
    }
    let missing: Vec<_> = expected.keys().filter(|id| !seen.contains_key(*id)).take(5).collect();
    assert!(
        missing.is_empty(),
        "{} of {} rows are stored; missing for instance {missing:?}",
        seen.len(),
        expected.len()
    );
    for (id, row) in &seen {
        assert_eq!(Some(row), expected.get(id), "{id}");
    }
}

fn insert(rows: &mut Rows, own: &BTreeMap<String, String>, row: Value) {
    let previous = rows.insert(own[ID].clone(), row);
    assert_eq!(previous, None, "generated ids are unique");
}

fn service(resource: &BTreeMap<String, String>) -> String {
    resource.get("service.name").cloned().unwrap_or_default()
}

fn attributes(list: &[KeyValue]) -> BTreeMap<String, String> {
    list.iter()
        .map(|pair| (pair.key.clone(), pair.value.as_ref().map(as_string).unwrap_or_default()))
        .collect()
}

fn as_string(value: &AnyValue) -> String {
    match &value.value {
        None => String::new(),
        Some(Any::StringValue(text)) => text.clone(),
        _ => match as_json(value) {
            Value::String(text) => text,
            other => other.to_string(),
        },
    }
}

/// JSON as the Collector writes nested values: sorted keys, whole doubles without a fraction, bytes as base64.
fn as_json(value: &AnyValue) -> Value {
    match value.value.as_ref() {
        None => Value::Null,
        Some(Any::StringValue(text)) => json!(text),
        Some(Any::BoolValue(truth)) => json!(truth),
        Some(Any::IntValue(number)) => json!(number),
        #[allow(clippy::cast_possible_truncation, reason = "generated doubles are small")]
        Some(Any::DoubleValue(number)) if number.fract() == 0.0 => json!(*number as i64),
        Some(Any::DoubleValue(number)) => json!(number),
        Some(Any::BytesValue(bytes)) => json!(BASE64_STANDARD.encode(bytes)),
        Some(Any::ArrayValue(array)) => array.values.iter().map(as_json).collect(),
        Some(Any::KvlistValue(list)) => {
            let sorted: BTreeMap<_, _> = list
                .values
                .iter()
                .map(|pair| (pair.key.clone(), pair.value.as_ref().map_or(Value::Null, as_json)))
                .collect();
            json!(sorted)
        }
        Some(other) => unreachable!("not generated: {other:?}"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
