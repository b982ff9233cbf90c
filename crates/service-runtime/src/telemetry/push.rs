//! The way to the endpoint, and what comes back.

use std::fmt;

use opentelemetry_proto::tonic::collector::metrics::v1::{
    ExportMetricsServiceRequest, ExportMetricsServiceResponse,
};
use prost::Message as _;
use reqwest::{
    Response, StatusCode,
    header::{CONTENT_TYPE, HeaderValue},
};

use super::page::Unreadable;
use crate::{
    error_chain::ErrorChain,
    http_client::{HttpClient, HttpClientConfig, HttpClientError},
};

const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
/// Read of an answer at most.
const MAX_ANSWER_BYTES: usize = 64 * 1024;
/// Shown of an answer at most.
const MAX_SHOWN_CHARACTERS: usize = 300;

/// Why a push was not taken.
#[derive(Debug, thiserror::Error)]
pub enum PushError {
    /// A metric cannot be written as text.
    #[error("cannot encode the metrics")]
    Encode(#[source] fmt::Error),
    /// The text of the metrics is not what it should be.
    #[error("cannot read the metrics")]
    Page(#[from] Unreadable),
    /// The endpoint cannot be reached, or does not answer.
    #[error("no answer")]
    NoAnswer(#[from] reqwest::Error),
    /// The answer took longer than it may.
    #[error("no answer in time")]
    Late,
    /// The endpoint cannot take it now.
    #[error("answered with {status}: {answer}")]
    Unavailable {
        /// Of the answer.
        status: StatusCode,
        /// The beginning of its body.
        answer: String,
    },
    /// The endpoint will not take it.
    #[error("refused with {status}: {answer}")]
    Refused {
        /// Of the answer.
        status: StatusCode,
        /// The beginning of its body.
        answer: String,
    },
    /// The endpoint has not taken all of it.
    #[error("{points} points were rejected: {reason}")]
    Rejected {
        /// How many were not taken.
        points: i64,
        /// What the endpoint says.
        reason: String,
    },
}

/// One OTLP/HTTP metrics endpoint.
#[derive(Debug)]
pub(super) struct Endpoint {
    client: HttpClient,
}

/// Whether the endpoint takes what it is sent.
#[derive(Debug, Default)]
pub(super) enum EndpointState {
    #[default]
    Taking,
    /// It has not taken this many pushes.
    Failing { pushes: u64 },
}

impl PushError {
    /// Every [`PushError::outcome`].
    pub(super) const OUTCOMES: [&'static str; 3] = ["unreadable", "unavailable", "refused"];

    /// Whether the same can be taken later.
    pub(super) fn is_retryable(&self) -> bool {
        match self {
            Self::NoAnswer(_) | Self::Late | Self::Unavailable { .. } => true,
            Self::Encode(_) | Self::Page(_) | Self::Refused { .. } | Self::Rejected { .. } => false,
        }
    }

    /// For the label of a counter.
    pub(super) fn outcome(&self) -> &'static str {
        match self {
            Self::Encode(_) | Self::Page(_) => Self::OUTCOMES[0],
            Self::NoAnswer(_) | Self::Late | Self::Unavailable { .. } => Self::OUTCOMES[1],
            Self::Refused { .. } | Self::Rejected { .. } => Self::OUTCOMES[2],
        }
    }
}

impl Endpoint {
    pub(super) fn new(config: &HttpClientConfig) -> Result<Self, HttpClientError> {
        Ok(Self { client: config.build()? })
    }

    pub(super) async fn post(&self, request: &ExportMetricsServiceRequest) -> Result<(), PushError> {
        let post = self.client.post("").header(CONTENT_TYPE, PROTOBUF).body(request.encode_to_vec());
        let response = post.send().await?;
        let status = response.status();
        let answer = beginning(response).await?;
        if status.is_success() {
            return taken_whole(&answer);
        }
        let answer = String::from_utf8_lossy(&answer).trim().chars().take(MAX_SHOWN_CHARACTERS).collect();
        if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
            Err(PushError::Unavailable { status, answer })
        } else {
            Err(PushError::Refused { status, answer })
        }
    }
}

impl EndpointState {
    /// Logs when it changes.
    pub(super) fn note(&mut self, endpoint: &Endpoint, pushed: &Result<(), PushError>) {
        let url = endpoint.client.base();
        *self = match (&self, pushed) {
            (Self::Taking, Ok(())) => Self::Taking,
            (Self::Taking, Err(error)) => {
                tracing::warn!(endpoint = %url, error = %ErrorChain(error), "own metrics are not taken");
                Self::Failing { pushes: 1 }
            }
            (Self::Failing { pushes }, Err(_)) => Self::Failing { pushes: pushes + 1 },
            (Self::Failing { pushes }, Ok(())) => {
                tracing::info!(endpoint = %url, failed = pushes, "own metrics are taken again");
                Self::Taking
            }
        };
    }
}

/// An endpoint that takes a request may all the same leave points out, and say so.
fn taken_whole(answer: &[u8]) -> Result<(), PushError> {
    // An answer that is none in protobuf says nothing against it.
    let partial = ExportMetricsServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    match partial {
        Some(partial) if partial.rejected_data_points > 0 => {
            let reason = partial.error_message.chars().take(MAX_SHOWN_CHARACTERS).collect();
            Err(PushError::Rejected { points: partial.rejected_data_points, reason })
        }
        _ => Ok(()),
    }
}

async fn beginning(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await? {
        let room = MAX_ANSWER_BYTES - body.len();
        body.extend_from_slice(&chunk[..chunk.len().min(room)]);
        if body.len() == MAX_ANSWER_BYTES {
            break;
        }
    }
    Ok(body)
}
