//! Turns what the cursors yield back into prost's types, visiting everything, so that whole requests can be compared.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1 as common_v1;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1 as logs_v1;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1 as trace_v1;
use telemetry_wire::common::{AnyValue, Attributes};
use telemetry_wire::envelope::{Request, Scope};
use telemetry_wire::{Malformed, logs, pb, traces};

/// Reads a logs request through the cursors.
pub(crate) fn logs(bytes: &[u8]) -> Result<ExportLogsServiceRequest, Malformed> {
    let mut resource_logs = Vec::new();
    for group in Request::new(bytes).resources() {
        let group = group?;
        let mut scope_logs = Vec::new();
        for scope_group in group.scopes() {
            let scope_group = scope_group?;
            let mut log_records = Vec::new();
            for item in scope_group.items() {
                log_records.push(log_record(&logs::LogRecord::parse(item?)?)?);
            }
            scope_logs.push(logs_v1::ScopeLogs {
                scope: Some(scope(&scope_group.scope)?),
                log_records,
                schema_url: text(scope_group.schema_url),
            });
        }
        resource_logs.push(logs_v1::ResourceLogs {
            resource: Some(resource(group.resource.attributes())?),
            scope_logs,
            schema_url: text(group.schema_url),
        });
    }
    Ok(ExportLogsServiceRequest { resource_logs })
}

/// Reads a traces request through the cursors.
pub(crate) fn traces(bytes: &[u8]) -> Result<ExportTraceServiceRequest, Malformed> {
    let mut resource_spans = Vec::new();
    for group in Request::new(bytes).resources() {
        let group = group?;
        let mut scope_spans = Vec::new();
        for scope_group in group.scopes() {
            let scope_group = scope_group?;
            let mut spans = Vec::new();
            for item in scope_group.items() {
                spans.push(span(&traces::Span::parse(item?)?)?);
            }
            scope_spans.push(trace_v1::ScopeSpans {
                scope: Some(scope(&scope_group.scope)?),
                spans,
                schema_url: text(scope_group.schema_url),
            });
        }
        resource_spans.push(trace_v1::ResourceSpans {
            resource: Some(resource(group.resource.attributes())?),
            scope_spans,
            schema_url: text(group.schema_url),
        });
    }
    Ok(ExportTraceServiceRequest { resource_spans })
}

/// Reads attributes through the cursors.
pub(crate) fn attributes(attributes: Attributes<'_>) -> Result<Vec<common_v1::KeyValue>, Malformed> {
    attributes
        .map(|attribute| {
            let attribute = attribute?;
            let value = any_value(&attribute.value)?;
            Ok(common_v1::KeyValue { key: text(attribute.key), value, ..Default::default() })
        })
        .collect()
}

fn log_record(record: &logs::LogRecord<'_>) -> Result<logs_v1::LogRecord, Malformed> {
    Ok(logs_v1::LogRecord {
        time_unix_nano: record.time_unix_nano,
        observed_time_unix_nano: record.observed_time_unix_nano,
        severity_number: record.severity_number,
        severity_text: text(record.severity_text),
        body: any_value(&record.body)?,
        attributes: attributes(record.attributes())?,
        dropped_attributes_count: record.dropped_attributes_count,
        flags: record.flags,
        trace_id: record.trace_id.to_vec(),
        span_id: record.span_id.to_vec(),
        event_name: text(record.event_name),
    })
}

fn span(span: &traces::Span<'_>) -> Result<trace_v1::Span, Malformed> {
    Ok(trace_v1::Span {
        trace_id: span.trace_id.to_vec(),
        span_id: span.span_id.to_vec(),
        trace_state: text(span.trace_state),
        parent_span_id: span.parent_span_id.to_vec(),
        flags: span.flags,
        name: text(span.name),
        kind: span.kind,
        start_time_unix_nano: span.start_time_unix_nano,
        end_time_unix_nano: span.end_time_unix_nano,
        attributes: attributes(span.attributes())?,
        dropped_attributes_count: span.dropped_attributes_count,
        events: span.events().map(|event| self::event(&event?)).collect::<Result<_, _>>()?,
        dropped_events_count: span.dropped_events_count,
        links: span.links().map(|link| self::link(&link?)).collect::<Result<_, _>>()?,
        dropped_links_count: span.dropped_links_count,
        status: Some(trace_v1::Status { message: text(span.status.message), code: span.status.code }),
    })
}

fn event(event: &traces::Event<'_>) -> Result<trace_v1::span::Event, Malformed> {
    Ok(trace_v1::span::Event {
        time_unix_nano: event.time_unix_nano,
        name: text(event.name),
        attributes: attributes(event.attributes())?,
        dropped_attributes_count: event.dropped_attributes_count,
    })
}

fn link(link: &traces::Link<'_>) -> Result<trace_v1::span::Link, Malformed> {
    Ok(trace_v1::span::Link {
        trace_id: link.trace_id.to_vec(),
        span_id: link.span_id.to_vec(),
        trace_state: text(link.trace_state),
        attributes: attributes(link.attributes())?,
        dropped_attributes_count: link.dropped_attributes_count,
        flags: link.flags,
    })
}

fn resource(from: Attributes<'_>) -> Result<Resource, Malformed> {
    Ok(Resource { attributes: attributes(from)?, ..Default::default() })
}

fn scope(scope: &Scope<'_>) -> Result<common_v1::InstrumentationScope, Malformed> {
    Ok(common_v1::InstrumentationScope {
        name: text(scope.name),
        version: text(scope.version),
        attributes: attributes(scope.attributes())?,
        ..Default::default()
    })
}

fn any_value(value: &AnyValue<'_>) -> Result<Option<common_v1::AnyValue>, Malformed> {
    let value = match value {
        AnyValue::Empty => return Ok(None),
        AnyValue::String(bytes) => Value::StringValue(text(bytes)),
        AnyValue::Bool(value) => Value::BoolValue(*value),
        AnyValue::Int(value) => Value::IntValue(*value),
        AnyValue::Double(value) => Value::DoubleValue(*value),
        AnyValue::Bytes(bytes) => Value::BytesValue(bytes.to_vec()),
        AnyValue::KeyValueList(list) => {
            Value::KvlistValue(common_v1::KeyValueList { values: attributes(list.iter())? })
        }
        AnyValue::Array(array) => {
            let values = array.iter().map(|value| Ok(any_value(&value?)?.unwrap_or_default()));
            Value::ArrayValue(common_v1::ArrayValue { values: values.collect::<Result<_, Malformed>>()? })
        }
    };
    Ok(Some(common_v1::AnyValue { value: Some(value) }))
}

fn text(bytes: &[u8]) -> String {
    pb::lossy(bytes).into_owned()
}

/// Leaves in prost's reading what the cursors promise to yield: absent and empty are the same, and counts, entity
/// references and string-table indexes, which no sink writes, are gone.
pub(crate) trait Reduce {
    fn reduce(&mut self);
}

impl Reduce for ExportLogsServiceRequest {
    fn reduce(&mut self) {
        for group in &mut self.resource_logs {
            reduce_resource(&mut group.resource);
            for scope in &mut group.scope_logs {
                reduce_scope(&mut scope.scope);
                for record in &mut scope.log_records {
                    reduce_value(&mut record.body);
                    reduce_attributes(&mut record.attributes);
                }
            }
        }
    }
}

impl Reduce for ExportTraceServiceRequest {
    fn reduce(&mut self) {
        for group in &mut self.resource_spans {
            reduce_resource(&mut group.resource);
            for scope in &mut group.scope_spans {
                reduce_scope(&mut scope.scope);
                for span in &mut scope.spans {
                    reduce_attributes(&mut span.attributes);
                    span.events.iter_mut().for_each(|event| reduce_attributes(&mut event.attributes));
                    span.links.iter_mut().for_each(|link| reduce_attributes(&mut link.attributes));
                    span.status.get_or_insert_default();
                }
            }
        }
    }
}

fn reduce_resource(resource: &mut Option<Resource>) {
    let resource = resource.get_or_insert_default();
    resource.dropped_attributes_count = 0;
    resource.entity_refs.clear();
    reduce_attributes(&mut resource.attributes);
}

fn reduce_scope(scope: &mut Option<common_v1::InstrumentationScope>) {
    let scope = scope.get_or_insert_default();
    scope.dropped_attributes_count = 0;
    reduce_attributes(&mut scope.attributes);
}

pub(crate) fn reduce_attributes(attributes: &mut [common_v1::KeyValue]) {
    for attribute in attributes {
        attribute.key_strindex = 0;
        reduce_value(&mut attribute.value);
    }
}

fn reduce_value(value: &mut Option<common_v1::AnyValue>) {
    match value.as_mut().and_then(|value| value.value.as_mut()) {
        None | Some(Value::StringValueStrindex(_)) => *value = None,
        Some(Value::KvlistValue(list)) => reduce_attributes(&mut list.values),
        Some(Value::ArrayValue(array)) => {
            for element in &mut array.values {
                let mut reduced = Some(std::mem::take(element));
                reduce_value(&mut reduced);
                *element = reduced.unwrap_or_default();
            }
        }
        Some(_) => {}
    }
}
