//! Requests of all signals, and the encodings they are sent in.

use std::io::Write;

use flate2::{Compression, write::GzEncoder};
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::ExportLogsServiceRequest, metrics::v1::ExportMetricsServiceRequest,
        trace::v1::ExportTraceServiceRequest,
    },
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    metrics::v1::{
        Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data, number_data_point,
    },
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span},
};
use prost::Message;
use telemetry_wire::Signal;

pub(crate) fn text(text: impl Into<String>) -> Option<AnyValue> {
    Some(AnyValue { value: Some(Value::StringValue(text.into())) })
}

pub(crate) fn resource(service: &str) -> Option<Resource> {
    let name = KeyValue { key: "service.name".into(), value: text(service), ..KeyValue::default() };
    Some(Resource { attributes: vec![name], ..Resource::default() })
}

/// One resource with log records of the given bodies.
pub(crate) fn resource_logs(service: &str, bodies: impl IntoIterator<Item = String>) -> ResourceLogs {
    let record = |body| LogRecord {
        time_unix_nano: 1_700_000_000_000_000_000,
        body: text(body),
        ..LogRecord::default()
    };
    let log_records = bodies.into_iter().map(record).collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    ResourceLogs { resource: resource(service), scope_logs, ..ResourceLogs::default() }
}

pub(crate) fn logs(bodies: impl IntoIterator<Item = String>) -> ExportLogsServiceRequest {
    ExportLogsServiceRequest { resource_logs: vec![resource_logs("menu", bodies)] }
}

pub(crate) fn few_logs() -> ExportLogsServiceRequest {
    logs(["first".into(), "second".into(), "third".into()])
}

pub(crate) fn spans() -> ExportTraceServiceRequest {
    let span = |id: u8| Span {
        trace_id: vec![id; 16],
        span_id: vec![id; 8],
        name: format!("GET /{id}"),
        start_time_unix_nano: 1,
        end_time_unix_nano: 2,
        ..Span::default()
    };
    let scope_spans = vec![ScopeSpans { spans: (1..=4).map(span).collect(), ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: resource("menu"),
            scope_spans,
            ..ResourceSpans::default()
        }],
    }
}

/// One data point for each service, each under a resource of its own.
pub(crate) fn metrics(services: &[&str]) -> ExportMetricsServiceRequest {
    let resource_metrics = |service: &&str| {
        let value = Some(number_data_point::Value::AsDouble(0.1 + 0.2));
        let point = NumberDataPoint { time_unix_nano: 3, value, ..NumberDataPoint::default() };
        let data = Some(Data::Gauge(Gauge { data_points: vec![point] }));
        let metric = Metric { name: "requests".into(), data, ..Metric::default() };
        let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
        ResourceMetrics { resource: resource(service), scope_metrics, ..ResourceMetrics::default() }
    };
    ExportMetricsServiceRequest { resource_metrics: services.iter().map(resource_metrics).collect() }
}

/// A small request of each signal, as protobuf, as JSON, and its number of items.
pub(crate) fn small(signal: Signal) -> (Vec<u8>, Vec<u8>, u64) {
    fn both(request: &(impl Message + serde::Serialize), items: u64) -> (Vec<u8>, Vec<u8>, u64) {
        (request.encode_to_vec(), serde_json::to_vec(request).unwrap(), items)
    }
    match signal {
        Signal::Logs => both(&few_logs(), 3),
        Signal::Traces => both(&spans(), 4),
        Signal::Metrics => both(&metrics(&["menu"]), 1),
    }
}

/// Whether two requests of a signal say the same, field order aside.
pub(crate) fn assert_same(signal: Signal, stored: &[u8], sent: &[u8]) {
    fn same<T: Message + Default + PartialEq + std::fmt::Debug>(stored: &[u8], sent: &[u8]) {
        assert_eq!(T::decode(stored).unwrap(), T::decode(sent).unwrap());
    }
    match signal {
        Signal::Logs => same::<ExportLogsServiceRequest>(stored, sent),
        Signal::Traces => same::<ExportTraceServiceRequest>(stored, sent),
        Signal::Metrics => same::<ExportMetricsServiceRequest>(stored, sent),
    }
}

pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

pub(crate) fn zstd(bytes: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(bytes, 3).unwrap()
}

pub(crate) fn encoded(encoding: &str, bytes: &[u8]) -> Vec<u8> {
    match encoding {
        "gzip" => gzip(bytes),
        "zstd" => zstd(bytes),
        _ => bytes.to_vec(),
    }
}

/// A gRPC message with its prefix.
pub(crate) fn framed(is_compressed: bool, message: &[u8]) -> Vec<u8> {
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[u8::from(is_compressed)], length.as_slice(), message].concat()
}
