//! OTLP senders that say exactly what they were answered.

use std::time::Duration;

use anyhow::{Context, Result};
use opentelemetry_proto::tonic::collector::{
    logs::v1::{ExportLogsServiceRequest, logs_service_client::LogsServiceClient},
    metrics::v1::{ExportMetricsServiceRequest, metrics_service_client::MetricsServiceClient},
    trace::v1::{ExportTraceServiceRequest, trace_service_client::TraceServiceClient},
};
use prost::Message;
use telemetry_wire::Signal;
use tonic::transport::Channel;

/// What a sender knows about a request once it has stopped waiting.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The request is durable.
    Acked,
    /// Nothing was taken; the same request may be sent again.
    Retryable(String),
    /// Nothing was taken, and the same request will never be.
    Refused(String),
    /// The connection broke or the time was up: the request may have been taken or not.
    Unknown(String),
}

/// Sends requests to one edge-forwarder.
#[derive(Debug, Clone)]
pub struct Sender {
    http: reqwest::Client,
    http_url: String,
    grpc: Channel,
}

impl Sender {
    /// Addresses the edge's two listeners; connections are made when they are needed.
    ///
    /// # Errors
    /// An address is no URL.
    pub fn new(grpc_url: &str, http_url: &str) -> Result<Self> {
        Ok(Self {
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(60))
                .build()
                .context("build the HTTP client")?,
            http_url: http_url.to_owned(),
            grpc: Channel::from_shared(grpc_url.to_owned()).context("read the gRPC address")?.connect_lazy(),
        })
    }

    /// Sends an encoded request over OTLP/HTTP as protobuf.
    pub async fn send_http(&self, signal: Signal, body: Vec<u8>) -> Answer {
        let request = self
            .http
            .post(format!("{}{}", self.http_url, signal.http_path()))
            .header("content-type", "application/x-protobuf")
            .body(body);
        match request.send().await {
            Err(error) => Answer::Unknown(error.to_string()),
            Ok(reply) => {
                let status = reply.status();
                let text = reply.text().await.unwrap_or_default();
                match status.as_u16() {
                    200 => Answer::Acked,
                    429 | 502 | 503 | 504 => Answer::Retryable(format!("{status}: {text}")),
                    _ => Answer::Refused(format!("{status}: {text}")),
                }
            }
        }
    }

    /// Sends an encoded request over OTLP/gRPC with the generated client.
    ///
    /// # Errors
    /// The bytes are no request of this signal.
    pub async fn send_grpc(&self, signal: Signal, body: &[u8]) -> Result<Answer> {
        const LIMIT: usize = 64 << 20;
        let channel = self.grpc.clone();
        let outcome = match signal {
            Signal::Logs => {
                let request = ExportLogsServiceRequest::decode(body).context("decode logs")?;
                LogsServiceClient::new(channel)
                    .max_encoding_message_size(LIMIT)
                    .export(request)
                    .await
                    .map(drop)
            }
            Signal::Traces => {
                let request = ExportTraceServiceRequest::decode(body).context("decode traces")?;
                TraceServiceClient::new(channel)
                    .max_encoding_message_size(LIMIT)
                    .export(request)
                    .await
                    .map(drop)
            }
            Signal::Metrics => {
                let request = ExportMetricsServiceRequest::decode(body).context("decode metrics")?;
                MetricsServiceClient::new(channel)
                    .max_encoding_message_size(LIMIT)
                    .export(request)
                    .await
                    .map(drop)
            }
        };
        Ok(outcome.map_or_else(|status| grpc_answer(&status), |()| Answer::Acked))
    }
}

/// The OTLP specification's table of retryable codes; RESOURCE_EXHAUSTED only with RetryInfo in its details.
fn grpc_answer(status: &tonic::Status) -> Answer {
    use tonic::Code;
    let text = format!("{:?}: {}", status.code(), status.message());
    // A status that an edge sent has no cause; one with a cause was made here, when the connection broke.
    if std::error::Error::source(status).is_some() {
        return Answer::Unknown(text);
    }
    match status.code() {
        Code::Cancelled
        | Code::DeadlineExceeded
        | Code::Aborted
        | Code::OutOfRange
        | Code::Unavailable
        | Code::DataLoss => Answer::Retryable(text),
        Code::ResourceExhausted if !status.details().is_empty() => Answer::Retryable(text),
        // Made here as well: a stream that ended without a status.
        Code::Unknown | Code::Internal => Answer::Unknown(text),
        _ => Answer::Refused(text),
    }
}
