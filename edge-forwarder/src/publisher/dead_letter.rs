//! The dead-letter topic: what no record of the topic can hold, with the reason, and as much of its bytes as fit there.

use std::error::Error;

use bytes::Bytes;
use kafka_client::{DeliveryErrorKind, OutgoingRecord, SendError};
use telemetry_wire::{
    headers::dead_letter,
    split::{Oversize, Piece},
};

use super::{Unpublished, delivery::Settlement};

/// How much of what does not fit is kept, in bytes: enough to know whose it is.
pub(super) const HEAD_BYTES: usize = 64 * 1024;

/// Items that no record of the topic can hold.
#[derive(Clone)]
pub(super) struct DeadLetter {
    /// The record's, when there was one.
    key: Option<Bytes>,
    value: Bytes,
    items: u64,
    reason: &'static str,
    /// Encoded size of what was given up, when `value` is only its head.
    original_bytes: Option<usize>,
    detail: String,
}

/// Why a dead letter was not taken.
enum Failure {
    /// Its bytes do not fit in the dead-letter topic either.
    TooLarge(Box<dyn Error + Send + Sync>),
    Unpublished(Unpublished),
}

impl DeadLetter {
    /// What was too large to be cut.
    pub(super) fn from_oversize(oversize: Oversize) -> DeadLetter {
        DeadLetter {
            key: None,
            value: oversize.head,
            items: oversize.items,
            reason: oversize.reason.as_str(),
            original_bytes: Some(oversize.size),
            detail: "it does not fit in one record".to_owned(),
        }
    }

    /// A record that the broker refused for good.
    pub(super) fn whole(piece: Piece, detail: String) -> DeadLetter {
        let Piece { value, items, key, .. } = piece;
        DeadLetter { key, value, items, reason: "record_refused", original_bytes: None, detail }
    }

    fn head_only(&self) -> DeadLetter {
        DeadLetter {
            value: self.value.slice(..HEAD_BYTES.min(self.value.len())),
            original_bytes: Some(self.original_bytes.unwrap_or(self.value.len())),
            ..self.clone()
        }
    }
}

impl Settlement<'_> {
    /// Puts the letter into the dead-letter topic, whole if it fits, and waits until the broker has it.
    pub(super) async fn dead_letter(&mut self, letter: &DeadLetter) -> Result<(), Unpublished> {
        let topic = &self.route.dead_letter_topic;
        if topic.partitions(&self.shared.producer).is_none() {
            // The producer would wait for the topic to appear until the delivery timeout.
            topic.note_missed();
            return Err(self.route.blocked(topic));
        }
        let result = match self.send_letter(letter).await {
            Err(Failure::TooLarge(_)) if letter.value.len() > HEAD_BYTES => {
                self.send_letter(&letter.head_only()).await
            }
            result => result,
        };
        result.map_err(|failure| match failure {
            Failure::TooLarge(cause) => self.blocked(topic, &*cause),
            Failure::Unpublished(unpublished) => unpublished,
        })?;
        topic.note_taken();
        self.shared.metrics.count_record(topic.name());
        self.shared.metrics.count_dead_lettered(self.route.signal, letter.reason, letter.items);
        self.published.dead_lettered += letter.items;
        Ok(())
    }

    async fn send_letter(&self, letter: &DeadLetter) -> Result<(), Failure> {
        let mut headers = self.shared.identity.headers(letter.items, self.received_at).encode();
        headers.push((dead_letter::REASON, letter.reason.into()));
        headers.push((dead_letter::DETAIL, letter.detail.as_str().into()));
        headers.push((dead_letter::SOURCE_TOPIC, self.route.topic.name().into()));
        if let Some(bytes) = letter.original_bytes {
            headers.push((dead_letter::ORIGINAL_BYTES, bytes.to_string().into_bytes()));
        }
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let topic = &self.route.dead_letter_topic;
        let record = OutgoingRecord {
            topic: topic.name(),
            partition: None,
            key: letter.key.as_deref(),
            value: &letter.value,
            headers: &headers,
        };
        let producer = self.shared.solo().await.map_err(Failure::Unpublished)?;
        let delivery = producer.send(record).map_err(|error| match error {
            SendError::RecordTooLarge { .. } => Failure::TooLarge(error.into()),
            error => Failure::Unpublished(self.unsent(topic, &error)),
        })?;
        delivery.await.map(|_| ()).map_err(|error| match error.kind() {
            DeliveryErrorKind::Record => Failure::TooLarge(error.into()),
            _ => Failure::Unpublished(self.unpublished(topic, &error)),
        })
    }
}
