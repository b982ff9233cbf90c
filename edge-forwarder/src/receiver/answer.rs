//! Why a request is refused, and what the OTLP specification says the sender is told.
//!
//! | refusal | HTTP | gRPC | sender may retry |
//! |---|---|---|---|
//! | malformed, corrupt compression | 400 | INVALID_ARGUMENT | no |
//! | broken gRPC frame | – | INTERNAL | no |
//! | over the size limit | 413 | RESOURCE_EXHAUSTED, without RetryInfo | no |
//! | content type, encoding | 415 | UNIMPLEMENTED | no |
//! | slow body, memory in use, given up, not published | 503 + Retry-After | UNAVAILABLE + RetryInfo | yes |
//!
//! Only what can never succeed is refused for good: a sender drops what it may not retry.

use std::time::Duration;

use axum::http::StatusCode;
use prost::Message;
use telemetry_wire::Signal;
use thiserror::Error;

use super::{buffer::Overflow, decompress::DecompressError};
use crate::{
    budget::Scope,
    publisher::{Published, Unpublished},
};

/// What became of a request that was taken.
#[derive(Debug)]
pub(crate) enum Accepted {
    /// It held items, and they are where they should be.
    Published(Published),
    /// It held no item and nothing else.
    Empty,
    /// It held no item, but this field, which requests of this signal do not have.
    Unrecognized { signal: Signal, field: String },
}

/// Why a request was not taken. Its text goes to the sender.
#[derive(Debug, Error)]
pub(crate) enum Refusal {
    /// The bytes are not a request of this signal.
    #[error("{what}")]
    Malformed { what: String },
    /// The bytes are not a unary gRPC request.
    #[error("{what}")]
    Framing { what: String },
    #[error("the request is larger than {limit} bytes after decompression; send smaller batches")]
    TooLarge { limit: usize },
    #[error("content type {found:?} is not supported; use application/x-protobuf or application/json")]
    ContentType { found: String },
    #[error("encoding {found:?} is not supported; use identity, gzip or zstd")]
    Encoding { found: String },
    #[error("the memory for {scope} is in use; try again later")]
    Memory { scope: Scope },
    #[error("the body did not arrive within {}", humantime(*timeout))]
    SlowBody { timeout: Duration },
    #[error("less than {min_rate} bytes of the body came in a second, for several seconds; send it at once")]
    Stalled { min_rate: u64 },
    #[error("memory for requests is short, and the body came too slowly; try again later")]
    GivenUp,
    /// The connection ended inside the body; nobody reads this answer.
    #[error("the connection ended inside the body")]
    Disconnected {
        #[source]
        source: axum::Error,
    },
    #[error(transparent)]
    Unpublished(#[from] Unpublished),
}

/// The gRPC status codes this receiver answers with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum GrpcCode {
    Ok = 0,
    InvalidArgument = 3,
    ResourceExhausted = 8,
    Unimplemented = 12,
    Internal = 13,
    Unavailable = 14,
}

impl Accepted {
    /// A sentence for the sender when not all is where it expects it.
    pub(crate) fn warning(&self) -> Option<String> {
        match self {
            Accepted::Published(published) => published.warning(),
            Accepted::Empty => None,
            Accepted::Unrecognized { signal, field } => {
                let item = match signal {
                    Signal::Logs => "log record",
                    Signal::Traces => "span",
                    Signal::Metrics => "data point",
                };
                let remedy = misdirected(field).map_or_else(
                    || "compare its name with the OTLP schema".to_owned(),
                    |signal| format!("send requests of {signal} to {}", signal.http_path()),
                );
                Some(format!("no {item} was found and nothing stored; field {field} is unknown: {remedy}"))
            }
        }
    }
}

/// The signal whose requests have the field, when it is the top field of another signal's.
fn misdirected(field: &str) -> Option<Signal> {
    let (message, name) = field.split_once('.')?;
    if !message.starts_with("Export") {
        return None;
    }
    match name {
        "resourceLogs" | "resource_logs" => Some(Signal::Logs),
        "resourceSpans" | "resource_spans" => Some(Signal::Traces),
        "resourceMetrics" | "resource_metrics" => Some(Signal::Metrics),
        _ => None,
    }
}

impl Refusal {
    /// The label of `edge_receiver_refused_total`.
    pub(crate) fn reason(&self) -> &'static str {
        match self {
            Refusal::Malformed { .. } => "malformed",
            Refusal::Framing { .. } => "framing",
            Refusal::TooLarge { .. } => "too_large",
            Refusal::ContentType { .. } => "content_type",
            Refusal::Encoding { .. } => "encoding",
            Refusal::Memory { scope: Scope::Process } => "memory",
            Refusal::Memory { scope: Scope::Connection } => "connection_memory",
            Refusal::Memory { scope: Scope::Peer } => "peer_memory",
            Refusal::SlowBody { .. } => "slow_body",
            Refusal::Stalled { .. } => "stalled",
            Refusal::GivenUp => "given_up",
            Refusal::Disconnected { .. } => "disconnected",
            Refusal::Unpublished(unpublished) => unpublished.reason(),
        }
    }

    /// Whether the same request can succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        self.is_slow() || matches!(self, Refusal::Memory { .. } | Refusal::Unpublished(_))
    }

    /// Whether the rest of the body is not worth waiting for: it did not come.
    pub(crate) fn is_slow(&self) -> bool {
        matches!(self, Refusal::SlowBody { .. } | Refusal::Stalled { .. } | Refusal::GivenUp)
    }

    pub(crate) fn http_status(&self) -> StatusCode {
        match self {
            Refusal::Malformed { .. } | Refusal::Framing { .. } | Refusal::Disconnected { .. } => {
                StatusCode::BAD_REQUEST
            }
            Refusal::TooLarge { .. } => StatusCode::PAYLOAD_TOO_LARGE,
            Refusal::ContentType { .. } | Refusal::Encoding { .. } => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Refusal::Memory { .. }
            | Refusal::SlowBody { .. }
            | Refusal::Stalled { .. }
            | Refusal::GivenUp
            | Refusal::Unpublished(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    pub(crate) fn grpc_code(&self) -> GrpcCode {
        match self {
            Refusal::Malformed { .. } => GrpcCode::InvalidArgument,
            Refusal::Framing { .. } | Refusal::Disconnected { .. } => GrpcCode::Internal,
            Refusal::TooLarge { .. } => GrpcCode::ResourceExhausted,
            Refusal::ContentType { .. } | Refusal::Encoding { .. } => GrpcCode::Unimplemented,
            Refusal::Memory { .. }
            | Refusal::SlowBody { .. }
            | Refusal::Stalled { .. }
            | Refusal::GivenUp
            | Refusal::Unpublished(_) => GrpcCode::Unavailable,
        }
    }

    /// `google.rpc.Status`: the error body of OTLP/HTTP, and gRPC's `grpc-status-details-bin`.
    pub(crate) fn status(&self, retry_delay: Duration) -> Status {
        let details = if self.is_retryable() { vec![retry_info(retry_delay)] } else { Vec::new() };
        Status { code: self.grpc_code() as i32, message: self.to_string(), details }
    }
}

impl From<Overflow> for Refusal {
    fn from(overflow: Overflow) -> Refusal {
        match overflow {
            Overflow::Limit { limit } => Refusal::TooLarge { limit },
            Overflow::Budget(exhausted) => Refusal::Memory { scope: exhausted.scope },
        }
    }
}

impl From<DecompressError> for Refusal {
    fn from(error: DecompressError) -> Refusal {
        match error {
            DecompressError::Overflow(overflow) => overflow.into(),
            DecompressError::Corrupt { .. } => Refusal::Malformed { what: error.to_string() },
        }
    }
}

/// `google.rpc.Status`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Status {
    #[prost(int32, tag = "1")]
    pub(crate) code: i32,
    #[prost(string, tag = "2")]
    pub(crate) message: String,
    #[prost(message, repeated, tag = "3")]
    pub(crate) details: Vec<Any>,
}

/// `google.protobuf.Any`.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// `google.rpc.RetryInfo`.
#[derive(Clone, PartialEq, Message)]
struct RetryInfo {
    #[prost(message, optional, tag = "1")]
    retry_delay: Option<ProtoDuration>,
}

/// `google.protobuf.Duration`.
#[derive(Clone, Copy, PartialEq, Message)]
struct ProtoDuration {
    #[prost(int64, tag = "1")]
    seconds: i64,
    #[prost(int32, tag = "2")]
    nanos: i32,
}

/// `Export*ServiceResponse` of every signal: their partial successes have the same shape.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct ExportResponse {
    #[prost(message, optional, tag = "1")]
    pub(crate) partial_success: Option<PartialSuccess>,
}

/// `Export*PartialSuccess`. This receiver never rejects a part: what can never be stored as it is, is dead-lettered, and said in
/// the message.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct PartialSuccess {
    #[prost(int64, tag = "1")]
    pub(crate) rejected: i64,
    #[prost(string, tag = "2")]
    pub(crate) error_message: String,
}

impl ExportResponse {
    /// Success, with a warning when not all is where the sender expects it.
    pub(crate) fn new(warning: Option<String>) -> ExportResponse {
        let partial_success = warning.map(|error_message| PartialSuccess { rejected: 0, error_message });
        ExportResponse { partial_success }
    }
}

fn retry_info(delay: Duration) -> Any {
    let seconds = i64::try_from(delay.as_secs()).unwrap_or(i64::MAX);
    let nanos = i32::try_from(delay.subsec_nanos()).expect("less than a second of nanoseconds fits");
    let value = RetryInfo { retry_delay: Some(ProtoDuration { seconds, nanos }) }.encode_to_vec();
    Any { type_url: "type.googleapis.com/google.rpc.RetryInfo".into(), value }
}

fn humantime(duration: Duration) -> String {
    format!("{}s", duration.as_secs_f32())
}
