//! OTLP/HTTP: `POST /v1/{logs,traces,metrics}` in protobuf or JSON, answered in the format of the request.

use std::time::{Duration, Instant};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header, request::Parts},
};
use prost::Message;
use serde::Serialize;
use telemetry_wire::{
    Signal,
    json::{self, Read},
};

use super::{
    Accepted, Receiver,
    answer::{ExportResponse, Refusal, Status},
    body::{self, BodyLimits, BodyMemory},
    buffer::{BudgetBuffer, Overflow, RequestBytes},
    decompress::Encoding,
    sender::Sender,
};
use crate::{metrics::Transport, publisher::Unpublished};

/// JSON bodies above this many bytes are turned into protobuf on a blocking thread: at some 200 MB/s a larger one would hold a
/// runtime worker for milliseconds.
const INLINE_JSON_BYTES: usize = 512 * 1024;

/// How much of a refused body is still read, in request limits.
const DISCARDED_LIMITS: usize = 4;

/// How a request and its answer are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Format {
    Protobuf,
    Json,
}

/// `google.rpc.Status` in JSON; the details are a protobuf matter.
#[derive(Serialize)]
struct JsonStatus<'a> {
    code: i32,
    message: &'a str,
}

/// `Export*ServiceResponse` in JSON.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonResponse<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    partial_success: Option<JsonPartialSuccess<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct JsonPartialSuccess<'a> {
    error_message: &'a str,
}

/// Answers one request that is not gRPC.
pub(super) async fn answer(receiver: &Receiver, request: Request<Body>) -> Response<Body> {
    let started = Instant::now();
    let (parts, mut body) = request.into_parts();
    let Some(signal) = signal_of(parts.uri.path()) else {
        discard(receiver, &parts, &mut body).await;
        return plain(
            StatusCode::NOT_FOUND,
            "unknown path; OTLP/HTTP is at /v1/logs, /v1/traces and /v1/metrics",
        );
    };
    if parts.method != Method::POST {
        discard(receiver, &parts, &mut body).await;
        let mut response = plain(StatusCode::METHOD_NOT_ALLOWED, "OTLP/HTTP requests are sent with POST");
        response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("POST"));
        return response;
    }
    let format = Format::of(&parts.headers);
    let sender = receiver.sender(&parts.extensions);
    let outcome = export(receiver, signal, format, &sender, &parts, &mut body).await;
    // A body that did not come in time is not waited for again: the connection is closed.
    if outcome.as_ref().is_err_and(|refusal| !refusal.is_slow()) {
        discard(receiver, &parts, &mut body).await;
    }
    let response = match &outcome {
        Ok(accepted) => success(format, accepted.warning()),
        Err(refusal) => refused(format, refusal, receiver.config().retry_delay),
    };
    let code = response.status().as_str().to_owned();
    let refusal = outcome.as_ref().err();
    receiver.count_answer(signal, Transport::Http, code, refusal, &sender, started);
    response
}

async fn export(
    receiver: &Receiver,
    signal: Signal,
    format: Option<Format>,
    sender: &Sender,
    parts: &Parts,
    body: &mut Body,
) -> Result<Accepted, Refusal> {
    let limits = receiver.config().body_limits();
    let format =
        format.ok_or_else(|| Refusal::ContentType { found: text(&parts.headers, header::CONTENT_TYPE) })?;
    let encoding = Encoding::of(&parts.headers, &header::CONTENT_ENCODING)?;
    let declared =
        parts.headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if declared.is_some_and(|length: usize| length > limits.max_bytes) {
        return Err(Overflow::Limit { limit: limits.max_bytes }.into());
    }
    let memory = BodyMemory::new(receiver.budget(), &sender.holder);
    let received = body::read_plain(body, encoding, limits, &memory).await?;
    drop(memory);
    let (request, unknown_field) = match format {
        Format::Protobuf => (received, None),
        Format::Json if received.bytes.len() <= INLINE_JSON_BYTES => to_protobuf(receiver, signal, received)?,
        Format::Json => {
            let receiver = receiver.clone();
            let transcoded = tokio::task::spawn_blocking(move || to_protobuf(&receiver, signal, received));
            transcoded.await.map_err(|failed| {
                // A panic, which is a bug, or the end of the runtime; either way the sender keeps its data.
                tracing::error!(error = %failed, "a JSON request was not converted");
                Unpublished::Draining
            })??
        }
    };
    receiver.accept(signal, request, unknown_field).await
}

/// Whose path it is: `/v1/logs`, also with slashes doubled or at the end, as base URLs that end in one make it.
fn signal_of(path: &str) -> Option<Signal> {
    fn segments(path: &str) -> impl Iterator<Item = &str> {
        path.split('/').filter(|segment| !segment.is_empty())
    }
    Signal::ALL.into_iter().find(|signal| segments(signal.http_path()).eq(segments(path)))
}

/// The request as protobuf, and the first field that OTLP does not have.
fn to_protobuf(
    receiver: &Receiver,
    signal: Signal,
    mut json: RequestBytes,
) -> Result<(RequestBytes, Option<String>), Refusal> {
    // A text with escapes exists twice beside the output: in the JSON reader's scratch and as it is written.
    json.reservation.grow(2 * json.bytes.len()).map_err(Overflow::from)?;
    let mut output = BudgetBuffer::new(receiver.config().body_limits().max_bytes, receiver.budget());
    match json::transcode(signal, &json.bytes, &mut output) {
        Ok(Read { unknown_field }) => Ok((output.into_request(), unknown_field)),
        Err(error) => Err(output
            .overflow()
            .map_or_else(|| Refusal::Malformed { what: error.to_string() }, Refusal::from)),
    }
}

impl Format {
    fn of(headers: &HeaderMap) -> Option<Format> {
        let found = text(headers, header::CONTENT_TYPE);
        let essence = found.split(';').next().unwrap_or_default().trim();
        match essence.to_ascii_lowercase().as_str() {
            "application/x-protobuf" | "application/protobuf" => Some(Format::Protobuf),
            "application/json" => Some(Format::Json),
            _ => None,
        }
    }

    fn content_type(self) -> HeaderValue {
        HeaderValue::from_static(match self {
            Format::Protobuf => "application/x-protobuf",
            Format::Json => "application/json",
        })
    }
}

fn success(format: Option<Format>, warning: Option<String>) -> Response<Body> {
    let body = match format {
        Some(Format::Protobuf) => ExportResponse::new(warning).encode_to_vec(),
        Some(Format::Json) | None => {
            let partial_success =
                warning.as_deref().map(|error_message| JsonPartialSuccess { error_message });
            to_json(&JsonResponse { partial_success })
        }
    };
    response(StatusCode::OK, format, body)
}

fn refused(format: Option<Format>, refusal: &Refusal, retry_delay: Duration) -> Response<Body> {
    let status = refusal.status(retry_delay);
    let mut response = response(refusal.http_status(), format, encode_status(format, &status));
    let headers = response.headers_mut();
    if refusal.is_retryable() {
        // Whole seconds only, and at least one: 0 would ask for an immediate retry.
        let seconds = retry_delay.as_secs() + u64::from(retry_delay.subsec_nanos() > 0);
        headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    if matches!(refusal, Refusal::Encoding { .. }) {
        headers.insert(header::ACCEPT_ENCODING, HeaderValue::from_static(Encoding::ACCEPTED));
    }
    if refusal.is_slow() {
        headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

fn encode_status(format: Option<Format>, status: &Status) -> Vec<u8> {
    match format {
        Some(Format::Protobuf) => status.encode_to_vec(),
        Some(Format::Json) | None => to_json(&JsonStatus { code: status.code, message: &status.message }),
    }
}

fn to_json(value: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec(value).expect("numbers and strings always have a JSON form")
}

fn response(status: StatusCode, format: Option<Format>, body: Vec<u8>) -> Response<Body> {
    let mut response = Response::new(Body::from(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, format.unwrap_or(Format::Json).content_type());
    response
}

fn plain(status: StatusCode, text: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

async fn discard(receiver: &Receiver, parts: &Parts, body: &mut Body) {
    // HTTP/2 resets one stream, not the connection; and who expects "100 Continue" has sent nothing yet.
    if parts.version >= Version::HTTP_2 || parts.headers.contains_key(header::EXPECT) {
        return;
    }
    let limits = receiver.config().body_limits();
    let max_bytes = limits.max_bytes.saturating_mul(DISCARDED_LIMITS);
    body::discard(body, BodyLimits { max_bytes, ..limits }).await;
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> String {
    headers
        .get(name)
        .map(|value| String::from_utf8_lossy(value.as_bytes()).trim().to_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests;
