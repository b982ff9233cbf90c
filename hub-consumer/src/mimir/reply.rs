//! What an answer of an OTLP metrics endpoint means: the one table for Mimir, Prometheus 3 and VictoriaMetrics.
//!
//! | answer | verdict |
//! |---|---|
//! | 2xx | stored; items of a partial success are gone for good and counted, never sent again |
//! | 202 | stored: the other replica of a highly available pair is elected, and these samples are dropped on purpose |
//! | 400 with `otlp parse error` | stored: Mimir kept what it could translate and tells of the rest |
//! | 400 else | something in it is bad: divide, dead-letter what is left |
//! | 401, 403, 404, 415, other 3xx and 4xx | our configuration: alert, keep the records |
//! | 408 | wait |
//! | 413 | divide; a single point that is too large is dead-lettered |
//! | 429 | wait as told; divide when the request is above the burst, or was refused [`TRIES`] times |
//! | 500 | wait [`TRIES`] times, then divide; a lone point is dead-lettered only when the sink stores others |
//! | other 5xx, no answer | wait as told, without limit |
//!
//! A 400 that names a limit or a check of Mimir (`err-mimir-…`) does not say whether anything was stored. Dividing is right
//! either way: identical samples that come again change nothing.
//!
//! Waiting for ever on a 429 would hang on a request that is larger than the tenant's burst: Mimir refuses that one
//! always. A 500 may be Prometheus rolling back a whole request for one sample, or a server that is broken.

use std::time::Duration;

use jiff::Timestamp;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use prost::Message;

use crate::sink::{Alone, Refused, Verdict};

/// Attempts of one request before a 429 or 500 is taken for the request's own fault.
pub const TRIES: u32 = 5;
/// Longest text kept of an answer, in bytes.
const MAX_DETAIL_BYTES: usize = 512;

/// An answer.
#[derive(Debug, Clone, Default)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// The delay of a `Retry-After` header.
    pub retry_after: Option<Duration>,
    /// The body, at least its beginning.
    pub body: Vec<u8>,
}

/// The request that was answered.
#[derive(Debug, Clone, Copy)]
pub struct Asked {
    /// Data points in it.
    pub points: u64,
    /// Which attempt it was, from 1.
    pub attempt: u32,
    /// Points that the tenant may send at once; a larger request is never accepted.
    pub burst: u64,
}

/// What the answer means for the request.
pub fn verdict(reply: &Reply, asked: Asked) -> Verdict {
    let detail = || format!("{}: {}", reply.status, text_of(&reply.body));
    let wait = |reason| Verdict::Wait { reason, detail: detail(), at_least: reply.retry_after };
    let divide = |reason, alone| Verdict::Divide { reason, detail: detail(), alone };
    let stored =
        |reason, items| Verdict::Stored { refused: Some(Refused { reason, items, detail: detail() }) };
    match reply.status {
        202 => stored("ha_not_elected", asked.points),
        200..300 => Verdict::Stored { refused: partial_success(&reply.body) },
        // At least one item; the answer does not say how many.
        400 if is_translation_error(&reply.body) => stored("rejected", 1),
        400 => divide("bad_request", Alone::DeadLetter),
        408 => wait("timeout"),
        413 => divide("too_large", Alone::DeadLetter),
        429 if asked.points > 1 && (asked.points > asked.burst || asked.attempt >= TRIES) => {
            divide("rate_limited", Alone::Wait)
        }
        429 => wait("rate_limited"),
        500 if asked.attempt >= TRIES => divide("server_error", Alone::DeadLetterOnceOthersPass),
        500 => wait("server_error"),
        501.. => wait("unavailable"),
        _ => Verdict::Alert { reason: "refused", detail: detail() },
    }
}

/// The delay of a `Retry-After` header: seconds, or a date.
pub fn retry_after(value: &str, now: Timestamp) -> Option<Duration> {
    let value = value.trim();
    if let Ok(seconds) = value.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::parse(value).ok()?.timestamp();
    // A date that has passed asks for no delay.
    Some(Duration::try_from(date.duration_since(now)).unwrap_or(Duration::ZERO))
}

fn partial_success(body: &[u8]) -> Option<Refused> {
    // VictoriaMetrics and Prometheus answer without a body. One that is no response says nothing against the 200.
    let partial = ExportMetricsServiceResponse::decode(body).ok()?.partial_success?;
    if partial.rejected_data_points <= 0 && partial.error_message.is_empty() {
        return None;
    }
    // Older versions of Mimir give a message and no number: at least one was refused.
    let items = u64::try_from(partial.rejected_data_points).unwrap_or(0).max(1);
    let reason = sample_fault(&partial.error_message);
    Some(Refused { reason, items, detail: clipped(&partial.error_message).to_owned() })
}

/// Reasons for which samples are refused while others of the same request are stored.
pub const REFUSALS: [&str; 6] =
    ["too_old", "out_of_order", "duplicate_timestamp", "partial_success", "rejected", "ha_not_elected"];

/// Why samples were refused, by the first of Mimir's error ids in the text: it names one, and counts all.
fn sample_fault(message: &str) -> &'static str {
    let ids = [
        ("err-mimir-sample-timestamp-too-old", "too_old"),
        ("err-mimir-sample-out-of-order", "out_of_order"),
        ("err-mimir-sample-duplicate-timestamp", "duplicate_timestamp"),
    ];
    let found = ids.into_iter().filter_map(|(id, reason)| Some((message.find(id)?, reason)));
    found.min().map_or("partial_success", |(_, reason)| reason)
}

fn is_translation_error(body: &[u8]) -> bool {
    String::from_utf8_lossy(body).contains("otlp parse error")
}

/// `google.rpc.Status`, which OTLP endpoints answer errors with.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
}

fn text_of(body: &[u8]) -> String {
    match Status::decode(body) {
        Ok(status) if !status.message.is_empty() => clipped(&status.message).to_owned(),
        _ => clipped(String::from_utf8_lossy(body).trim()).to_owned(),
    }
}

fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_DETAIL_BYTES)]
}

#[cfg(test)]
mod tests;
