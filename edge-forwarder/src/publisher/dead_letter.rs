//! The dead-letter topic: what no record of the topic can hold, with the reason, and as much of its bytes as fit there.

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
pub(super) struct DeadLetter<'a> {
    value: Bytes,
    items: u64,
    reason: &'static str,
    /// Encoded size of what was given up, when `value` is only its head.
    original_bytes: Option<usize>,
    detail: &'a str,
}

/// Why a dead letter was not taken.
enum Failure {
    /// Its bytes do not fit in the dead-letter topic either.
    TooLarge,
    Unpublished(Unpublished),
}

impl DeadLetter<'_> {
    /// What was too large to be cut.
    pub(super) fn from_oversize(oversize: Oversize) -> DeadLetter<'static> {
        DeadLetter {
            value: oversize.head,
            items: oversize.items,
            reason: oversize.reason.as_str(),
            original_bytes: Some(oversize.size),
            detail: "it does not fit in one record",
        }
    }

    /// A record that the broker refused for good.
    pub(super) fn whole<'a>(piece: &Piece, detail: &'a str) -> DeadLetter<'a> {
        DeadLetter {
            value: piece.value.clone(),
            items: piece.items,
            reason: "record_refused",
            original_bytes: None,
            detail,
        }
    }

    fn head_only(&self) -> DeadLetter<'_> {
        DeadLetter {
            value: self.value.slice(..HEAD_BYTES.min(self.value.len())),
            items: self.items,
            reason: self.reason,
            original_bytes: Some(self.original_bytes.unwrap_or(self.value.len())),
            detail: self.detail,
        }
    }
}

impl Settlement<'_> {
    /// Puts the letter into the dead-letter topic, whole if it fits, and waits until the broker has it.
    pub(super) async fn dead_letter(&mut self, letter: DeadLetter<'_>) -> Result<(), Unpublished> {
        let result = match self.send_letter(&letter).await {
            Err(Failure::TooLarge) if letter.value.len() > HEAD_BYTES => {
                self.send_letter(&letter.head_only()).await
            }
            result => result,
        };
        match result {
            Ok(()) => {
                self.route.dead_letter_topic.note_taken();
                self.shared.metrics.count_record(self.route.dead_letter_topic.name());
                self.shared.metrics.count_dead_lettered(self.route.signal, letter.reason, letter.items);
                self.published.dead_lettered += letter.items;
                Ok(())
            }
            Err(Failure::TooLarge) => Err(Unpublished::TopicBlocked { signal: self.route.signal.as_str() }),
            Err(Failure::Unpublished(unpublished)) => Err(unpublished),
        }
    }

    async fn send_letter(&self, letter: &DeadLetter<'_>) -> Result<(), Failure> {
        let mut headers = self.shared.identity.headers(letter.items, self.received_at).encode();
        headers.push((dead_letter::REASON, letter.reason.into()));
        headers.push((dead_letter::DETAIL, letter.detail.into()));
        headers.push((dead_letter::SOURCE_TOPIC, self.route.topic.name().into()));
        if let Some(bytes) = letter.original_bytes {
            headers.push((dead_letter::ORIGINAL_BYTES, bytes.to_string().into_bytes()));
        }
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let topic = &self.route.dead_letter_topic;
        let record = OutgoingRecord {
            topic: topic.name(),
            partition: None,
            key: None,
            value: &letter.value,
            headers: &headers,
        };
        let producer = self.shared.solo().await.map_err(Failure::Unpublished)?;
        let delivery = producer.send(record).map_err(|error| match error {
            SendError::RecordTooLarge { .. } => Failure::TooLarge,
            error => Failure::Unpublished(self.unsent(topic, &error)),
        })?;
        delivery.await.map(|_| ()).map_err(|error| match error.kind() {
            DeliveryErrorKind::Record => Failure::TooLarge,
            _ => Failure::Unpublished(self.unpublished(topic, &error)),
        })
    }
}
