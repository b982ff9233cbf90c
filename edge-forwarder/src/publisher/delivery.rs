//! Settles one request: sends its pieces, waits for their reports, cuts what is too large, dead-letters what no record can hold.
//!
//! A broker judges the size of a *batch*, so "too large" may be said of a record that only shared one. Such a record is sent
//! again alone, by the producer whose batches hold one record; only what is refused there is cut smaller, and only a single
//! item refused there is dead-lettered.

use std::{collections::VecDeque, error::Error};

use bytes::Bytes;
use kafka_client::{Delivery, DeliveryError, DeliveryErrorKind, OutgoingRecord, Producer, SendError};
use service_runtime::error_chain::ErrorChain;
use telemetry_wire::split::{Grouping, Piece, Split, SplitOptions, split};

use super::{
    Published, Shared, Unpublished,
    dead_letter::{DeadLetter, HEAD_BYTES},
    route::Route,
    topic::Topic,
};
use crate::budget::Reservation;

/// How often a record is sent again by itself after the producer's session broke; after that the sender decides.
const MAX_RESENDS: u32 = 1;

/// The state of one request.
pub(super) struct Settlement<'a> {
    pub(super) shared: &'a Shared,
    pub(super) route: &'a Route,
    pub(super) received_at: u64,
    pub(super) published: Published,
    partitions: i32,
    reservation: Reservation,
    letters: VecDeque<DeadLetter>,
    waiting: VecDeque<Waiting>,
    sent: VecDeque<(Waiting, Delivery)>,
}

/// A piece to send.
struct Waiting {
    piece: Piece,
    /// The piece is no slice of what it was cut from: the reservation holds its bytes besides those.
    is_copy: bool,
    /// By the producer whose batches hold one record.
    is_alone: bool,
    resends: u32,
}

impl<'a> Settlement<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        route: &'a Route,
        received_at: u64,
        reservation: Reservation,
    ) -> Settlement<'a> {
        Settlement {
            shared,
            route,
            received_at,
            published: Published::default(),
            partitions: 0,
            reservation,
            letters: VecDeque::new(),
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
        }
    }

    /// Items that have an outcome already.
    pub(super) fn settled_items(&self) -> u64 {
        self.published.acked + self.published.dead_lettered
    }

    /// Runs to the end of every record that was sent, also when one of them fails: a report that nobody awaits is an item that
    /// nobody counts. After a failure nothing more is sent: the sender keeps the whole request, and what is stored now is stored
    /// again with each of its retries.
    pub(super) async fn run(&mut self, request: &Bytes) -> Result<Published, Unpublished> {
        let (route, partitions) = (self.route, self.shared.partitions(self.route)?);
        self.partitions = partitions;
        let bucket = |hash: &[u8; 16]| route.bucket(hash, partitions);
        let cut = self.cut(request, route.grouping(&bucket), self.shared.max_value_bytes)?;
        self.take(cut, request, false);
        let mut failure = None;
        loop {
            if failure.is_none() {
                failure = self.send_queued().await.err();
            }
            let Some((sent, delivery)) = self.sent.pop_front() else { break };
            match delivery.await {
                Ok(_) => self.acked(&sent.piece),
                Err(error) if failure.is_none() => failure = self.replace(sent, &error).err(),
                Err(error) => {
                    let topic = route.topic.name();
                    tracing::debug!(topic, error = %ErrorChain(&error), "another record was not acknowledged");
                }
            }
        }
        failure.map_or(Ok(self.published), Err)
    }

    /// Queues what was cut from `source`.
    fn take(&mut self, cut: Split, source: &Bytes, is_alone: bool) {
        self.letters.extend(cut.oversize.into_iter().map(DeadLetter::from_oversize));
        self.waiting.extend(cut.pieces.into_iter().map(|piece| Waiting {
            is_copy: is_copy(source, &piece),
            piece,
            is_alone,
            resends: 0,
        }));
    }

    /// Sends what is queued, letters first: when the dead-letter topic does not take them, nothing else has been stored. Stops
    /// before the end when the producer's queue is full and a report that is awaited here will make room.
    async fn send_queued(&mut self) -> Result<(), Unpublished> {
        loop {
            if let Some(letter) = self.letters.pop_front() {
                match self.dead_letter(&letter).await {
                    Err(Unpublished::QueueFull) if !self.sent.is_empty() => {
                        self.letters.push_front(letter);
                        return Ok(());
                    }
                    outcome => outcome?,
                }
            } else if let Some(next) = self.waiting.pop_front() {
                let producer = if next.is_alone { self.shared.solo().await? } else { &self.shared.producer };
                match self.send(producer, &next.piece) {
                    Ok(delivery) => self.sent.push_back((next, delivery)),
                    Err(SendError::QueueFull) if !self.sent.is_empty() => {
                        self.waiting.push_front(next);
                        return Ok(());
                    }
                    Err(error @ SendError::RecordTooLarge { .. }) => self.smaller(next, &error)?,
                    Err(error) => return Err(self.unsent(&self.route.topic, &error)),
                }
            } else {
                return Ok(());
            }
        }
    }

    fn send(&self, producer: &Producer, piece: &Piece) -> Result<Delivery, SendError> {
        let headers = self.shared.identity.headers(piece.items, self.received_at).encode();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        producer.send(OutgoingRecord {
            topic: self.route.topic.name(),
            partition: Some(self.route.partition(piece, self.partitions)),
            key: piece.key.as_deref(),
            value: &piece.value,
            headers: &headers,
        })
    }

    /// Queues what has to be sent in the place of a record that was not stored.
    fn replace(&mut self, sent: Waiting, error: &DeliveryError) -> Result<(), Unpublished> {
        match error.kind() {
            DeliveryErrorKind::Record if sent.is_alone => return self.smaller(sent, error),
            DeliveryErrorKind::Record => {
                self.route.topic.note_refused_batch(error);
                self.waiting.push_back(Waiting { is_alone: true, ..sent });
            }
            DeliveryErrorKind::Fatal if sent.resends < MAX_RESENDS => {
                self.waiting.push_back(Waiting { resends: sent.resends + 1, ..sent });
            }
            _ => return Err(self.unpublished(&self.route.topic, error)),
        }
        Ok(())
    }

    fn acked(&mut self, piece: &Piece) {
        let Settlement { shared, route, .. } = self;
        route.topic.note_taken();
        shared.metrics.count_record(route.topic.name());
        shared.metrics.count_acked(route.signal, piece.items);
        self.published.acked += piece.items;
    }

    /// In place of a record that can never be stored as it is: smaller ones, or, for a single item, a dead letter.
    fn smaller(&mut self, whole: Waiting, cause: &(dyn Error + 'static)) -> Result<(), Unpublished> {
        let Waiting { piece, is_copy, .. } = whole;
        let Some(cut) = self.cut_smaller(&piece)? else {
            self.letters.push_back(DeadLetter::whole(piece, ErrorChain(cause).to_string()));
            return Ok(());
        };
        self.take(cut, &piece.value, true);
        // Unless others are slices of the same memory.
        if is_copy && piece.value.is_unique() {
            let bytes = piece.value.len();
            drop(piece);
            self.reservation.shrink(bytes);
        }
        Ok(())
    }

    /// Halves, or the next unequal parts in which every item still has its place; `None` when there is no such cut.
    fn cut_smaller(&mut self, piece: &Piece) -> Result<Option<Split>, Unpublished> {
        if piece.items < 2 {
            return Ok(None);
        }
        let bytes = piece.value.len();
        for max_bytes in [bytes / 2, bytes / 4 * 3, bytes - 1] {
            let mut cut = self.cut(&piece.value, Grouping::Whole, max_bytes)?;
            if cut.oversize.is_empty() {
                for smaller in &mut cut.pieces {
                    smaller.key.clone_from(&piece.key);
                    smaller.bucket = piece.bucket;
                }
                return Ok(Some(cut));
            }
            let copied = copied_bytes(&piece.value, &cut);
            drop(cut);
            self.reservation.shrink(copied);
        }
        Ok(None)
    }

    /// Cuts with the copies counted: as many bytes as there are to cut before it is done, which is all but what is repeated,
    /// and then as many as there are.
    fn cut(
        &mut self,
        source: &Bytes,
        grouping: Grouping<'_>,
        max_bytes: usize,
    ) -> Result<Split, Unpublished> {
        let is_whole = matches!(grouping, Grouping::Whole) && source.len() <= max_bytes;
        let expected = if is_whole { 0 } else { source.len() };
        self.reservation.grow(expected).map_err(|_| Unpublished::Memory)?;
        let options = SplitOptions { grouping, max_bytes, head_bytes: HEAD_BYTES };
        let cut = split(self.route.signal, source, &options).map_err(|malformed| {
            // Inspection has passed it, so this is a bug; refusing keeps the data with the sender.
            tracing::error!(error = %malformed, topic = self.route.topic.name(), "an inspected request could not be cut");
            Unpublished::NotAcknowledged
        })?;
        let copied = copied_bytes(source, &cut);
        self.reservation.grow(copied.saturating_sub(expected)).map_err(|_| Unpublished::Memory)?;
        self.reservation.shrink(expected.saturating_sub(copied));
        Ok(cut)
    }

    /// Why nothing was sent, as the sender is told.
    pub(super) fn unsent(&self, topic: &Topic, error: &SendError) -> Unpublished {
        match error {
            SendError::QueueFull => Unpublished::QueueFull,
            SendError::UnknownTopic | SendError::InvalidTopic => self.blocked(topic, error),
            SendError::RecordTooLarge { .. } | SendError::Instance(_) | SendError::Refused(_) => {
                tracing::warn!(topic = topic.name(), error = %ErrorChain(error), "the producer refused a record");
                Unpublished::NotAcknowledged
            }
        }
    }

    /// Why a record was not acknowledged, as the sender is told.
    pub(super) fn unpublished(&self, topic: &Topic, error: &DeliveryError) -> Unpublished {
        match error.kind() {
            DeliveryErrorKind::Topic => self.blocked(topic, error),
            DeliveryErrorKind::Record | DeliveryErrorKind::Fatal | DeliveryErrorKind::Retryable => {
                tracing::debug!(topic = topic.name(), error = %ErrorChain(error), "a record was not acknowledged");
                Unpublished::NotAcknowledged
            }
        }
    }

    pub(super) fn blocked(&self, topic: &Topic, cause: &(dyn Error + 'static)) -> Unpublished {
        topic.note_blocked(cause);
        self.route.blocked(topic)
    }
}

/// Bytes of the pieces that are not slices of what they were cut from.
fn copied_bytes(source: &Bytes, cut: &Split) -> usize {
    cut.pieces.iter().filter(|piece| is_copy(source, piece)).map(|piece| piece.value.len()).sum()
}

fn is_copy(source: &Bytes, piece: &Piece) -> bool {
    !source.as_ptr_range().contains(&piece.value.as_ptr())
}

#[cfg(test)]
mod tests;
