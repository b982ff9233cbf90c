//! Writes what can never be stored to the dead-letter topic, with the reason, where it was read, and its exact bytes.
//!
//! [`DeadLetter::write`] returns when every in-sync replica of the dead-letter topic has the record, and not before:
//! its caller then counts the offset as resolved. While the topic cannot be written the call waits, readiness says
//! why, and the offset does not move. That holds too when the topic refuses the record as too large: cutting it would
//! lose bytes, so the topic's limit must not be below that of its source.
//!
//! The record keeps its key and headers. `eventline-dlq-*` headers are put in front; a part of a record is a valid
//! request of its own and says so by [`PART`].

use std::sync::Arc;

use kafka_client::{DeliveryError, OutgoingRecord, Producer, SendError};
use service_runtime::{
    Condition,
    backoff::{Backoff, BackoffConfig},
    error_chain::ErrorChain,
};
use telemetry_wire::headers::{self, Encoding, dead_letter as names};
use tracing::{error, warn};

use crate::{
    metrics::SignalMetrics,
    sink::{Fragment, Unreadable},
};

/// Header that says that the value is a part of the source record, itself a valid request: the rest of it was stored.
pub const PART: &str = "eventline-dlq-part";
/// Longest text of [`names::DETAIL`], in bytes: servers quote data in their errors.
const MAX_DETAIL_BYTES: usize = 1024;

/// The dead-letter topic of one signal's topic.
#[derive(Debug, Clone)]
pub struct DeadLetter {
    /// Sends the records; shared by all signals.
    pub producer: Producer,
    /// The topic written to.
    pub topic: Arc<str>,
    /// Delays between attempts.
    pub backoff: BackoffConfig,
    /// Holds while the topic takes what it is sent.
    pub health: Condition,
    /// Counters of the signal.
    pub metrics: SignalMetrics,
}

/// One attempt failed; nothing is known to be in the topic.
#[derive(Debug, thiserror::Error)]
enum WriteError {
    #[error("dead-letter topic did not take the record")]
    Send(#[source] SendError),
    #[error("dead-letter topic did not acknowledge the record")]
    Delivery(#[source] DeliveryError),
}

impl DeadLetter {
    /// Writes a record that is no request of its signal. Returns when the topic has it.
    pub async fn write_unreadable(&self, fragment: &Fragment, cause: &Unreadable) {
        let detail = ErrorChain(cause).to_string();
        self.write(fragment, cause.reason, &detail).await;
    }

    /// Writes a record or a part of one. Returns when the topic has it, however long that takes.
    pub async fn write(&self, fragment: &Fragment, reason: &'static str, detail: &str) {
        let origin = &fragment.origin;
        let headers = headers_of(fragment, reason, detail);
        let mut backoff = Backoff::new(&self.backoff);
        let mut attempt: u32 = 0;
        loop {
            attempt += 1;
            match self.attempt(fragment, &headers).await {
                Ok(()) => break,
                Err(failure) => {
                    let cause = ErrorChain(&failure).to_string();
                    self.health.not_ready(format!("{} cannot be written", self.topic));
                    if attempt.is_power_of_two() {
                        let (partition, offset) = (origin.partition, origin.offset);
                        error!(topic = %self.topic, partition, offset, attempt, cause, "dead letter is not written");
                    }
                }
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
        self.health.ready();
        self.metrics.dead_lettered(reason);
        let (topic, partition, offset) = (&origin.topic, origin.partition, origin.offset);
        warn!(%topic, partition, offset, reason, detail, "record is dead-lettered");
    }

    async fn attempt(&self, fragment: &Fragment, headers: &[(String, Vec<u8>)]) -> Result<(), WriteError> {
        let headers: Vec<(&str, &[u8])> =
            headers.iter().map(|(name, value)| (name.as_str(), value.as_slice())).collect();
        let record = OutgoingRecord {
            topic: &self.topic,
            partition: None,
            key: fragment.origin.key.as_deref(),
            // A whole record goes exactly as it was read, in whatever encoding.
            value: if fragment.is_part { &fragment.value } else { &fragment.origin.value },
            headers: &headers,
        };
        let delivery = self.producer.send(record).map_err(WriteError::Send)?;
        delivery.await.map_err(WriteError::Delivery)?;
        Ok(())
    }
}

fn headers_of(fragment: &Fragment, reason: &str, detail: &str) -> Vec<(String, Vec<u8>)> {
    let origin = &fragment.origin;
    let mut headers: Vec<(String, Vec<u8>)> = Vec::with_capacity(origin.headers.len() + 7);
    let mut put = |name: &str, value: String| headers.push((name.to_owned(), value.into_bytes()));
    put(names::REASON, reason.to_owned());
    put(names::DETAIL, clipped(detail).to_owned());
    put(names::SOURCE_TOPIC, origin.topic.to_string());
    put(names::SOURCE_PARTITION, origin.partition.to_string());
    put(names::SOURCE_OFFSET, origin.offset.to_string());
    if let Some(timestamp) = origin.timestamp_ms {
        put(names::SOURCE_TIMESTAMP, timestamp.to_string());
    }
    if fragment.is_part {
        put(PART, "true".to_owned());
        put(headers::ENCODING, Encoding::OtlpProto.as_str().to_owned());
    }
    for (name, value) in &origin.headers {
        let is_replaced = fragment.is_part && name == headers::ENCODING;
        if !is_replaced {
            headers.push((name.clone(), value.to_vec()));
        }
    }
    headers
}

/// The text, cut at a character so that it fits a header.
fn clipped(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_DETAIL_BYTES)]
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::sink::Origin;

    fn whole_record() -> Fragment {
        let origin = Origin {
            topic: "otlp_logs".into(),
            partition: 3,
            offset: 42,
            timestamp_ms: Some(1_700_000_000_000),
            key: None,
            value: Bytes::from_static(b"{}"),
            headers: vec![
                (headers::EDGE_ID.to_owned(), Bytes::from_static(b"edge-1")),
                (headers::ENCODING.to_owned(), Bytes::from_static(b"otlp_json")),
            ],
            credit: None,
        };
        Fragment::whole(Arc::new(origin), Bytes::from_static(b"{}"))
    }

    fn value_of<'a>(headers: &'a [(String, Vec<u8>)], name: &str) -> Vec<&'a str> {
        let found = headers.iter().filter(|(given, _)| given == name);
        found.map(|(_, value)| std::str::from_utf8(value).unwrap()).collect()
    }

    #[test]
    fn whole_record_keeps_its_headers_and_names_where_it_was_read() {
        let headers = headers_of(&whole_record(), "malformed", "not JSON");
        assert_eq!(value_of(&headers, names::REASON), ["malformed"]);
        assert_eq!(value_of(&headers, names::SOURCE_TOPIC), ["otlp_logs"]);
        assert_eq!(value_of(&headers, names::SOURCE_PARTITION), ["3"]);
        assert_eq!(value_of(&headers, names::SOURCE_OFFSET), ["42"]);
        assert_eq!(value_of(&headers, names::SOURCE_TIMESTAMP), ["1700000000000"]);
        assert_eq!(value_of(&headers, headers::EDGE_ID), ["edge-1"]);
        assert_eq!(value_of(&headers, headers::ENCODING), ["otlp_json"]);
        assert!(value_of(&headers, PART).is_empty());
    }

    #[test]
    fn part_of_a_record_is_marked_and_names_its_own_encoding() {
        let headers = headers_of(&whole_record().part(Bytes::from_static(b"\x0a\x00")), "too_large", "");
        assert_eq!(value_of(&headers, PART), ["true"]);
        assert_eq!(value_of(&headers, headers::ENCODING), ["otlp_proto"]);
    }

    #[test]
    fn long_detail_is_cut_at_a_character() {
        let text = "ä".repeat(MAX_DETAIL_BYTES);
        assert_eq!(clipped(&text).len(), MAX_DETAIL_BYTES);
        let odd = format!("x{text}");
        assert_eq!(clipped(&odd).len(), MAX_DETAIL_BYTES - 1);
    }
}
