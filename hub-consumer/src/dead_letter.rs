//! Writes what can never be stored to the dead-letter topic, with the reason, where it was read, and its exact bytes.
//!
//! [`DeadLetter::write`] returns when every in-sync replica of the dead-letter topic has the record, and not before:
//! its caller then counts the offset as resolved. While the topic cannot be written the call waits, readiness says
//! why, and the offset does not move.
//!
//! The record keeps its key and headers. `eventline-dlq-*` headers are put in front; a part of a record is a valid
//! request of its own and says so by [`PART`].
//!
//! A record that the producer or the topic refuses as too large could never move its partition's offset. It is written
//! as its *head*: the first [`HEAD_BYTES`] of the value, with the size of the whole in [`names::ORIGINAL_BYTES`]. The
//! rest is in the source topic, at the coordinates of the headers, for as long as that keeps it.

mod pace;

use std::{borrow::Cow, sync::Arc};

use kafka_client::{DeliveryError, DeliveryErrorKind, OutgoingRecord, Producer, SendError};
use service_runtime::{
    Condition,
    backoff::{Backoff, BackoffConfig},
    error_chain::ErrorChain,
};
use telemetry_wire::headers::{self, Encoding, dead_letter as names};
use tracing::{error, warn};

pub use self::pace::Pace;
use crate::{
    metrics::SignalMetrics,
    sink::{Fragment, Unreadable},
};

/// Header that says that the value is a part of the source record, itself a valid request: the rest of it was stored.
pub const PART: &str = "eventline-dlq-part";
/// Longest text of [`names::DETAIL`], in bytes: servers quote data in their errors.
const MAX_DETAIL_BYTES: usize = 1024;
/// How much of a value that does not fit is kept, in bytes; it has to fit in any topic. Also the most bytes of its
/// original headers that are kept with it.
pub const HEAD_BYTES: usize = 16 * 1024;
/// Letters that one note of [`DeadLetter::write_redriven`] names.
const MAX_NOTED_LETTERS: usize = 500;
/// Longest key that a head keeps, in bytes.
const MAX_HEAD_KEY_BYTES: usize = 1024;

/// The dead-letter topic of one signal's topic.
#[derive(Debug)]
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
    /// Of the log's lines about records that were written.
    pub written: Pace,
    /// Of the log's lines about attempts that failed.
    pub failed: Pace,
}

/// Where a record was read.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// The partition.
    pub partition: i32,
    /// The offset.
    pub offset: i64,
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
        let (topic, partition, offset) = (&origin.topic, origin.partition, origin.offset);
        let mut letter = Letter::whole(fragment, reason, detail);
        let mut backoff = Backoff::new(&self.backoff);
        while let Err(failure) = self.attempt(&letter).await {
            if failure.is_of_the_record() && !letter.is_head {
                letter = letter.head();
                continue;
            }
            self.health.not_ready(format!("{} cannot be written", self.topic));
            if let Some(count) = self.failed.tick() {
                let cause = ErrorChain(&failure).to_string();
                error!(to = %self.topic, %topic, partition, offset, count, cause, "dead letters are not written");
            }
            tokio::time::sleep(backoff.next_delay()).await;
        }
        self.health.ready();
        self.metrics.dead_lettered(reason);
        if let Some(count) = self.written.tick() {
            let is_head = letter.is_head;
            warn!(%topic, partition, offset, reason, detail, is_head, count, "records are dead-lettered; this is the last");
        }
    }

    /// Notes that these letters of a record, by partition and offset in the dead-letter topic, were sent again: it is stored, or
    /// what was refused of it again has letters of its own.
    ///
    /// # Errors
    /// The topic does not take it. The letters stay as they were, and the next redrive sends them again; what is stored it finds.
    pub async fn write_redriven(&self, place: Place<'_>, letters: &[(i32, i64)]) -> anyhow::Result<()> {
        let Place { topic, partition, offset } = place;
        let letters: Vec<String> =
            letters.iter().map(|(partition, offset)| format!("{partition}:{offset}")).collect();
        for letters in letters.chunks(MAX_NOTED_LETTERS) {
            let headers = [
                (names::REDRIVEN, letters.join(",")),
                (names::SOURCE_TOPIC, topic.to_owned()),
                (names::SOURCE_PARTITION, partition.to_string()),
                (names::SOURCE_OFFSET, offset.to_string()),
            ];
            let headers: Vec<(&str, &[u8])> =
                headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
            self.send(None, b"", &headers).await?;
        }
        Ok(())
    }

    async fn attempt(&self, letter: &Letter<'_>) -> Result<(), WriteError> {
        let headers: Vec<(&str, &[u8])> =
            letter.headers.iter().map(|(name, value)| (name.as_ref(), value.as_ref())).collect();
        self.send(letter.key, letter.value, &headers).await
    }

    async fn send(
        &self,
        key: Option<&[u8]>,
        value: &[u8],
        headers: &[(&str, &[u8])],
    ) -> Result<(), WriteError> {
        let record = OutgoingRecord { topic: &self.topic, partition: None, key, value, headers };
        let delivery = self.producer.send(record).map_err(WriteError::Send)?;
        delivery.await.map_err(WriteError::Delivery)?;
        Ok(())
    }
}

impl WriteError {
    /// Whether these very bytes can never be written: too large for the producer, or refused by the broker.
    fn is_of_the_record(&self) -> bool {
        match self {
            WriteError::Send(refused) => matches!(refused, SendError::RecordTooLarge { .. }),
            WriteError::Delivery(refused) => refused.kind() == DeliveryErrorKind::Record,
        }
    }
}

type Header<'a> = (Cow<'a, str>, Cow<'a, [u8]>);

/// What is written for a fragment.
struct Letter<'a> {
    key: Option<&'a [u8]>,
    value: &'a [u8],
    /// Ours, then the record's own.
    headers: Vec<Header<'a>>,
    /// How many of the headers are ours.
    own_headers: usize,
    is_head: bool,
}

impl<'a> Letter<'a> {
    fn whole(fragment: &'a Fragment, reason: &'a str, detail: &'a str) -> Self {
        let origin = &fragment.origin;
        let mut headers: Vec<Header<'a>> = Vec::with_capacity(origin.headers.len() + 9);
        let mut put =
            |name: &'static str, value: Cow<'a, str>| headers.push((name.into(), into_bytes(value)));
        put(names::REASON, reason.into());
        put(names::DETAIL, clipped(detail).into());
        put(names::SOURCE_TOPIC, (&*origin.topic).into());
        put(names::SOURCE_PARTITION, origin.partition.to_string().into());
        put(names::SOURCE_OFFSET, origin.offset.to_string().into());
        if let Some(timestamp) = origin.timestamp_ms {
            put(names::SOURCE_TIMESTAMP, timestamp.to_string().into());
        }
        if fragment.is_part {
            put(PART, "true".into());
            put(headers::ENCODING, Encoding::OtlpProto.as_str().to_owned().into());
        }
        let own_headers = headers.len();
        let is_replaced = |name: &str| fragment.is_part && name == headers::ENCODING;
        let kept = origin.headers.iter().filter(|(name, _)| !is_replaced(name));
        headers.extend(kept.map(|(name, value)| (name.as_str().into(), value.as_ref().into())));
        // A whole record goes exactly as it was read, in whatever encoding.
        let value = if fragment.is_part { &fragment.value } else { &origin.value };
        Letter { key: origin.key.as_deref(), value, headers, own_headers, is_head: false }
    }

    /// The same, cut so that it fits in any topic. Keys and headers have no bound of their own and are cut too.
    fn head(mut self) -> Self {
        let mut room = HEAD_BYTES;
        let kept = self.headers.split_off(self.own_headers).into_iter().take_while(|(name, value)| {
            let size = name.len() + value.len();
            let fits = size <= room;
            room = room.saturating_sub(size);
            fits
        });
        let kept: Vec<Header<'a>> = kept.collect();
        let original_bytes = self.value.len().to_string();
        self.headers.push((names::ORIGINAL_BYTES.into(), original_bytes.into_bytes().into()));
        self.headers.extend(kept);
        Letter {
            key: self.key.filter(|key| key.len() <= MAX_HEAD_KEY_BYTES),
            value: &self.value[..self.value.len().min(HEAD_BYTES)],
            is_head: true,
            ..self
        }
    }
}

fn into_bytes(text: Cow<'_, str>) -> Cow<'_, [u8]> {
    match text {
        Cow::Borrowed(text) => text.as_bytes().into(),
        Cow::Owned(text) => text.into_bytes().into(),
    }
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

    fn value_of<'a>(letter: &'a Letter<'_>, name: &str) -> Vec<&'a str> {
        let found = letter.headers.iter().filter(|(given, _)| given == name);
        found.map(|(_, value)| std::str::from_utf8(value).unwrap()).collect()
    }

    #[test]
    fn whole_record_keeps_its_headers_and_names_where_it_was_read() {
        let fragment = whole_record();
        let letter = Letter::whole(&fragment, "malformed", "not JSON");
        assert_eq!(value_of(&letter, names::REASON), ["malformed"]);
        assert_eq!(value_of(&letter, names::SOURCE_TOPIC), ["otlp_logs"]);
        assert_eq!(value_of(&letter, names::SOURCE_PARTITION), ["3"]);
        assert_eq!(value_of(&letter, names::SOURCE_OFFSET), ["42"]);
        assert_eq!(value_of(&letter, names::SOURCE_TIMESTAMP), ["1700000000000"]);
        assert_eq!(value_of(&letter, headers::EDGE_ID), ["edge-1"]);
        assert_eq!(value_of(&letter, headers::ENCODING), ["otlp_json"]);
        assert!(value_of(&letter, PART).is_empty());
        assert!(value_of(&letter, names::ORIGINAL_BYTES).is_empty());
    }

    #[test]
    fn part_of_a_record_is_marked_and_names_its_own_encoding() {
        let fragment = whole_record().part(Bytes::from_static(b"\x0a\x00"));
        let letter = Letter::whole(&fragment, "too_large", "");
        assert_eq!(value_of(&letter, PART), ["true"]);
        assert_eq!(value_of(&letter, headers::ENCODING), ["otlp_proto"]);
    }

    #[test]
    fn head_is_small_whatever_is_large_and_names_the_size_of_the_whole() {
        let Fragment { origin, .. } = whole_record();
        let mut origin = Arc::into_inner(origin).unwrap();
        let large = Bytes::from(vec![b'x'; 5 << 20]);
        (origin.key, origin.value) = (Some(large.clone()), large.clone());
        origin.headers.push(("huge".to_owned(), large.clone()));
        let fragment = Fragment::whole(Arc::new(origin), large);
        let head = Letter::whole(&fragment, "malformed", "").head();
        assert_eq!((head.key, head.value.len()), (None, HEAD_BYTES));
        assert_eq!(value_of(&head, names::ORIGINAL_BYTES), ["5242880"]);
        assert_eq!(value_of(&head, names::SOURCE_OFFSET), ["42"]);
        assert_eq!(value_of(&head, headers::EDGE_ID), ["edge-1"], "small headers are kept");
        assert!(value_of(&head, "huge").is_empty());
    }

    #[test]
    fn long_detail_is_cut_at_a_character() {
        let text = "ä".repeat(MAX_DETAIL_BYTES);
        assert_eq!(clipped(&text).len(), MAX_DETAIL_BYTES);
        let odd = format!("x{text}");
        assert_eq!(clipped(&odd).len(), MAX_DETAIL_BYTES - 1);
    }
}
