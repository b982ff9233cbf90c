//! prost's reading of a request, and the flat list of items by which requests are compared.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use prost::{DecodeError, Message};
use telemetry_wire::Signal;

/// A decoded request.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Request {
    Logs(ExportLogsServiceRequest),
    Traces(ExportTraceServiceRequest),
    Metrics(ExportMetricsServiceRequest),
}

/// What prost makes of the bytes.
pub(crate) fn decode(signal: Signal, bytes: &[u8]) -> Result<Request, DecodeError> {
    Ok(match signal {
        Signal::Logs => Request::Logs(Message::decode(bytes)?),
        Signal::Traces => Request::Traces(Message::decode(bytes)?),
        Signal::Metrics => Request::Metrics(Message::decode(bytes)?),
    })
}

/// Whether the error is the one this crate does not share: text that is not UTF-8.
pub(crate) fn is_about_utf8(error: &DecodeError) -> bool {
    error.to_string().contains("UTF-8")
}

/// One item with everything it stands under, each encoded by prost: resource, scope, (metric,) item.
pub(crate) type Item = Vec<Vec<u8>>;

/// The items of a request, sorted, so that two requests hold the same when the lists are equal.
pub(crate) fn items(signal: Signal, bytes: &[u8]) -> Vec<Item> {
    let mut items = match decode(signal, bytes).expect("only well-formed requests are compared") {
        Request::Logs(mut request) => flatten_logs(&mut request),
        Request::Traces(mut request) => flatten_traces(&mut request),
        Request::Metrics(mut request) => flatten_metrics(&mut request),
    };
    items.sort();
    items
}

fn flatten_logs(request: &mut ExportLogsServiceRequest) -> Vec<Item> {
    let mut items = Vec::new();
    for group in &mut request.resource_logs {
        for mut scope in std::mem::take(&mut group.scope_logs) {
            for item in std::mem::take(&mut scope.log_records) {
                items.push(vec![group.encode_to_vec(), scope.encode_to_vec(), item.encode_to_vec()]);
            }
        }
    }
    items
}

fn flatten_traces(request: &mut ExportTraceServiceRequest) -> Vec<Item> {
    let mut items = Vec::new();
    for group in &mut request.resource_spans {
        for mut scope in std::mem::take(&mut group.scope_spans) {
            for item in std::mem::take(&mut scope.spans) {
                items.push(vec![group.encode_to_vec(), scope.encode_to_vec(), item.encode_to_vec()]);
            }
        }
    }
    items
}

fn flatten_metrics(request: &mut ExportMetricsServiceRequest) -> Vec<Item> {
    let mut items = Vec::new();
    for group in &mut request.resource_metrics {
        for mut scope in std::mem::take(&mut group.scope_metrics) {
            for mut metric in std::mem::take(&mut scope.metrics) {
                for point in take_points(&mut metric) {
                    let path = [group.encode_to_vec(), scope.encode_to_vec(), metric.encode_to_vec(), point];
                    items.push(path.into());
                }
            }
        }
    }
    items
}

fn take_points(metric: &mut Metric) -> Vec<Vec<u8>> {
    fn take<M: Message>(points: &mut Vec<M>) -> Vec<Vec<u8>> {
        std::mem::take(points).iter().map(Message::encode_to_vec).collect()
    }
    match &mut metric.data {
        None => Vec::new(),
        Some(Data::Gauge(data)) => take(&mut data.data_points),
        Some(Data::Sum(data)) => take(&mut data.data_points),
        Some(Data::Histogram(data)) => take(&mut data.data_points),
        Some(Data::ExponentialHistogram(data)) => take(&mut data.data_points),
        Some(Data::Summary(data)) => take(&mut data.data_points),
    }
}
