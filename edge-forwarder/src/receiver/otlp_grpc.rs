//! OTLP/gRPC: the three unary `Export` calls, framed by hand on HTTP/2 (why: `docs/decisions/0001-grpc-framing.md`).

use std::{fmt::Write, time::Instant};

use axum::{
    body::Body,
    http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Version, header},
};
use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use bytes::{BufMut, Bytes, BytesMut};
use http_body_util::{BodyExt, Full};
use prost::Message;
use telemetry_wire::Signal;

use super::{
    Accepted, Receiver,
    answer::{ExportResponse, GrpcCode, Refusal},
    body::{self, BodyMemory},
    decompress::Encoding,
    framing::PREFIX_BYTES,
    sender::Sender,
};
use crate::metrics::Transport;

const GRPC_MEDIA_TYPE: &[u8] = b"application/grpc";
const CONTENT_TYPE: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const GRPC_MESSAGE: HeaderName = HeaderName::from_static("grpc-message");
const GRPC_STATUS_DETAILS: HeaderName = HeaderName::from_static("grpc-status-details-bin");

/// Whether a request is gRPC, by its content type.
pub(super) fn is_grpc(headers: &HeaderMap) -> bool {
    let begins = |value: &HeaderValue| {
        let start = value.as_bytes().get(..GRPC_MEDIA_TYPE.len());
        start.is_some_and(|start| start.eq_ignore_ascii_case(GRPC_MEDIA_TYPE))
    };
    headers.get(header::CONTENT_TYPE).is_some_and(begins)
}

/// Answers one gRPC request.
pub(super) async fn answer(receiver: &Receiver, request: Request<Body>) -> Response<Body> {
    let started = Instant::now();
    if request.version() < Version::HTTP_2 {
        return bare(StatusCode::HTTP_VERSION_NOT_SUPPORTED);
    }
    if request.method() != Method::POST {
        return bare(StatusCode::METHOD_NOT_ALLOWED);
    }
    let path = request.uri().path();
    let Some(signal) = Signal::ALL.into_iter().find(|signal| signal.grpc_path() == path) else {
        return trailers_only(GrpcCode::Unimplemented, &format!("unknown method {path}"), None);
    };
    let sender = receiver.sender(request.extensions());
    let outcome = export(receiver, signal, &sender, request).await;
    let (code, response) = match &outcome {
        Ok(accepted) => (GrpcCode::Ok, success(accepted.warning())),
        Err(refusal) => (refusal.grpc_code(), refused(receiver, refusal)),
    };
    let code = (code as i32).to_string();
    let refusal = outcome.as_ref().err();
    receiver.count_answer(signal, Transport::Grpc, code, refusal, &sender, started);
    response
}

async fn export(
    receiver: &Receiver,
    signal: Signal,
    sender: &Sender,
    request: Request<Body>,
) -> Result<Accepted, Refusal> {
    let (parts, mut body) = request.into_parts();
    if !is_protobuf(&parts.headers) {
        let found = parts.headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
        return Err(Refusal::Framing {
            what: format!("message format {:?} is not protobuf", String::from_utf8_lossy(found)),
        });
    }
    let encoding = Encoding::of(&parts.headers, &GRPC_ENCODING)?;
    let memory = BodyMemory::new(receiver.budget(), &sender.holder);
    let message = body::read_message(&mut body, encoding, receiver.config().body_limits(), &memory).await?;
    receiver.accept(signal, message, None).await
}

/// `application/grpc` means protobuf; `+json` and others do not.
fn is_protobuf(headers: &HeaderMap) -> bool {
    let found = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes).unwrap_or_default();
    let essence = found.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii();
    matches!(essence.to_ascii_lowercase().as_slice(), GRPC_MEDIA_TYPE | b"application/grpc+proto")
}

fn success(warning: Option<String>) -> Response<Body> {
    let message = ExportResponse::new(warning);
    let length = message.encoded_len();
    let mut framed = BytesMut::with_capacity(PREFIX_BYTES + length);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(length).expect("a warning is far below 4 GiB"));
    message.encode(&mut framed).expect("the buffer grows");
    let trailers = async {
        let mut trailers = HeaderMap::new();
        trailers.insert(GRPC_STATUS, HeaderValue::from_static("0"));
        Some(Ok(trailers))
    };
    let body = Full::new(Bytes::from(framed)).with_trailers(trailers);
    let mut response = Response::new(Body::new(body));
    put_headers(response.headers_mut());
    response
}

fn refused(receiver: &Receiver, refusal: &Refusal) -> Response<Body> {
    let status = refusal.status(receiver.config().retry_delay);
    let details = (!status.details.is_empty()).then(|| STANDARD_NO_PAD.encode(status.encode_to_vec()));
    trailers_only(refusal.grpc_code(), &status.message, details.as_deref())
}

/// An answer without a message: its status is in the one header block.
fn trailers_only(code: GrpcCode, message: &str, details: Option<&str>) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    let headers = response.headers_mut();
    put_headers(headers);
    headers.insert(GRPC_STATUS, HeaderValue::from(code as i32));
    if let Ok(message) = HeaderValue::try_from(percent_encoded(message)) {
        headers.insert(GRPC_MESSAGE, message);
    }
    if let Some(details) = details.and_then(|details| HeaderValue::try_from(details).ok()) {
        headers.insert(GRPC_STATUS_DETAILS, details);
    }
    response
}

fn put_headers(headers: &mut HeaderMap) {
    headers.insert(header::CONTENT_TYPE, CONTENT_TYPE);
    headers.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static(Encoding::ACCEPTED));
}

fn bare(status: StatusCode) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = status;
    response
}

/// `grpc-message` is printable ASCII without `%`; every other byte of its UTF-8 is written as `%XX`.
fn percent_encoded(message: &str) -> String {
    let mut encoded = String::with_capacity(message.len());
    for byte in message.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => write!(encoded, "%{byte:02X}").expect("a string grows"),
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_of_any_text_is_printable_ascii() {
        assert_eq!(percent_encoded("100% größer\n"), "100%25 gr%C3%B6%C3%9Fer%0A");
    }

    #[test]
    fn only_protobuf_messages_are_read() {
        let is = |value: &'static str| {
            let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, HeaderValue::from_static(value))]);
            (is_grpc(&headers), is_protobuf(&headers))
        };
        assert_eq!(is("application/grpc"), (true, true));
        assert_eq!(is("application/grpc+proto; charset=utf-8"), (true, true));
        assert_eq!(is("Application/GRPC+Proto"), (true, true));
        assert_eq!(is("application/grpc+json"), (true, false));
        assert_eq!(is("application/json"), (false, false));
    }
}
