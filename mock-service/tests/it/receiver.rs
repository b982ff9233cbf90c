//! An OTLP receiver: gRPC and HTTP on one port, real protobuf, and an answer that the test chooses.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::{IntoResponse as _, Response};
use axum::routing::post;
use http::{HeaderMap, HeaderValue, StatusCode};
use http_body_util::{BodyExt as _, Full};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::logs::v1::{ExportLogsPartialSuccess, ExportLogsServiceResponse};
use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs};
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tokio::sync::oneshot;

/// How requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    Accept,
    /// Keeps nothing: 503, or `UNAVAILABLE`.
    Refuse,
    /// Keeps what came but claims that one item of it was rejected.
    RejectOne,
}

#[derive(Debug, Default)]
struct Received {
    /// Requests that came, refused ones included.
    requests: usize,
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    logs: Vec<ExportLogsServiceRequest>,
}

/// A receiver on a free loopback port, stopped when dropped.
pub(crate) struct Receiver {
    address: SocketAddr,
    received: Arc<Mutex<Received>>,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Clone)]
struct Shared {
    behaviour: Behaviour,
    received: Arc<Mutex<Received>>,
}

impl Receiver {
    pub(crate) fn start(behaviour: Behaviour) -> Self {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let received = Arc::default();
        let router = router(Shared { behaviour, received: Arc::clone(&received) });
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    served = axum::serve(listener, router) => served.unwrap(),
                    _ = stopped => {}
                }
            });
        });
        Receiver { address, received, stop: Some(stop), thread: Some(thread) }
    }

    pub(crate) fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn requests(&self) -> usize {
        self.received.lock().unwrap().requests
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        let received = self.received.lock().unwrap();
        let resources = received.traces.iter().flat_map(|request| &request.resource_spans);
        resources.flat_map(|resource| &resource.scope_spans).flat_map(|scope| scope.spans.clone()).collect()
    }

    pub(crate) fn resources(&self) -> Vec<Resource> {
        let received = self.received.lock().unwrap();
        let resources = received.traces.iter().flat_map(|request| &request.resource_spans);
        resources.filter_map(|resource| resource.resource.clone()).collect()
    }

    pub(crate) fn log_records(&self) -> Vec<LogRecord> {
        let received = self.received.lock().unwrap();
        let resources = received.logs.iter().flat_map(|request| &request.resource_logs);
        resources
            .flat_map(|resource| &resource.scope_logs)
            .flat_map(|scope| scope.log_records.clone())
            .collect()
    }

    /// Each log record with the service that it is of.
    pub(crate) fn service_records(&self) -> Vec<(String, LogRecord)> {
        let received = self.received.lock().unwrap();
        let of = |resource: &ResourceLogs| {
            let attributes = &resource.resource.as_ref().unwrap().attributes;
            let service = attribute(attributes, "service.name").unwrap();
            let records = resource.scope_logs.iter().flat_map(|scope| scope.log_records.clone());
            records.map(|record| (service.clone(), record)).collect::<Vec<_>>()
        };
        received.logs.iter().flat_map(|request| &request.resource_logs).flat_map(of).collect()
    }

    pub(crate) fn metrics(&self) -> Vec<Metric> {
        let received = self.received.lock().unwrap();
        let resources = received.metrics.iter().flat_map(|request| &request.resource_metrics);
        resources
            .flat_map(|resource| &resource.scope_metrics)
            .flat_map(|scope| scope.metrics.clone())
            .collect()
    }

    pub(crate) fn data_points(&self) -> usize {
        let points = |metric: &Metric| match metric.data.as_ref().expect("a metric has data") {
            metric::Data::Gauge(gauge) => gauge.data_points.len(),
            metric::Data::Sum(sum) => sum.data_points.len(),
            metric::Data::Histogram(histogram) => histogram.data_points.len(),
            other => panic!("not a kind the program has: {other:?}"),
        };
        self.metrics().iter().map(points).sum()
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The text of an attribute, numbers included; `None` when it is absent.
pub(crate) fn attribute(attributes: &[KeyValue], key: &str) -> Option<String> {
    let found = attributes.iter().find(|attribute| attribute.key == key)?;
    Some(text(found.value.as_ref().expect("an attribute has a value")))
}

pub(crate) fn text(value: &AnyValue) -> String {
    match value.value.as_ref().expect("a value") {
        Value::StringValue(text) => text.clone(),
        Value::IntValue(number) => number.to_string(),
        Value::DoubleValue(number) => number.to_string(),
        other => panic!("not a kind the program uses: {other:?}"),
    }
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn router(shared: Shared) -> Router {
    const GRPC: &str = "/opentelemetry.proto.collector";
    Router::new()
        .route("/v1/traces", post(traces))
        .route("/v1/metrics", post(metrics))
        .route("/v1/logs", post(logs))
        .route(&format!("{GRPC}.trace.v1.TraceService/Export"), post(traces))
        .route(&format!("{GRPC}.metrics.v1.MetricsService/Export"), post(metrics))
        .route(&format!("{GRPC}.logs.v1.LogsService/Export"), post(logs))
        .with_state(shared)
}

async fn traces(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut answer = ExportTraceServiceResponse::default();
    if shared.behaviour == Behaviour::RejectOne {
        answer.partial_success =
            Some(ExportTracePartialSuccess { rejected_spans: 1, error_message: "no".into() });
    }
    shared.answer(&headers, &body, |received| &mut received.traces, &answer)
}

async fn metrics(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut answer = ExportMetricsServiceResponse::default();
    if shared.behaviour == Behaviour::RejectOne {
        let partial = ExportMetricsPartialSuccess { rejected_data_points: 1, error_message: "no".into() };
        answer.partial_success = Some(partial);
    }
    shared.answer(&headers, &body, |received| &mut received.metrics, &answer)
}

async fn logs(State(shared): State<Shared>, headers: HeaderMap, body: Bytes) -> Response {
    let mut answer = ExportLogsServiceResponse::default();
    if shared.behaviour == Behaviour::RejectOne {
        answer.partial_success =
            Some(ExportLogsPartialSuccess { rejected_log_records: 1, error_message: "no".into() });
    }
    shared.answer(&headers, &body, |received| &mut received.logs, &answer)
}

impl Shared {
    fn answer<T: Message + Default>(
        &self,
        headers: &HeaderMap,
        body: &Bytes,
        keep: impl Fn(&mut Received) -> &mut Vec<T>,
        answer: &impl Message,
    ) -> Response {
        const FRAME_HEAD: usize = 5;
        let grpc = headers["content-type"] == "application/grpc";
        let message = if grpc { body.slice(FRAME_HEAD..) } else { body.clone() };
        let request = T::decode(message).expect("a request of the SDK decodes");
        self.received.lock().unwrap().requests += 1;
        if self.behaviour == Behaviour::Refuse {
            return match grpc {
                true => [("content-type", "application/grpc"), ("grpc-status", "14")].into_response(),
                false => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            };
        }
        keep(&mut self.received.lock().unwrap()).push(request);
        if !grpc {
            return ([("content-type", "application/x-protobuf")], answer.encode_to_vec()).into_response();
        }
        let mut frame = vec![0];
        frame.extend(u32::try_from(answer.encoded_len()).unwrap().to_be_bytes());
        frame.extend(answer.encode_to_vec());
        let trailers =
            HeaderMap::from_iter([(http::HeaderName::from_static("grpc-status"), HeaderValue::from(0))]);
        let body = Full::new(Bytes::from(frame)).with_trailers(std::future::ready(Some(Ok(trailers))));
        ([("content-type", "application/grpc")], Body::new(body)).into_response()
    }
}
