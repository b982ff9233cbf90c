//! Settles one request: sends its pieces, waits for their reports, cuts what is too large, dead-letters what no record can hold.
//!
//! A broker judges the size of a *batch*, so "too large" may be said of a record that only shared one. Such a record is sent
//! again alone, by the producer whose batches hold one record; only what is refused there is cut smaller, and only a single
//! item refused there is dead-lettered.

use std::{collections::VecDeque, error::Error};

use bytes::Bytes;
use kafka_client::{Delivery, DeliveryError, DeliveryErrorKind, OutgoingRecord, SendError};
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
    waiting: VecDeque<Waiting>,
    sent: VecDeque<(Waiting, Delivery)>,
}

/// A piece to send.
#[derive(Clone)]
struct Waiting {
    piece: Piece,
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
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
        }
    }

    /// Items that have an outcome already.
    pub(super) fn settled_items(&self) -> u64 {
        self.published.acked + self.published.dead_lettered
    }

    /// Runs to the end of every record that was sent, also when one of them fails: a report that nobody awaits is an item that
    /// nobody counts.
    pub(super) async fn run(&mut self, request: &Bytes) -> Result<Published, Unpublished> {
        self.partitions = self.shared.partitions(self.route)?;
        let bucket = |hash: &[u8; 16]| self.route.bucket(hash, self.partitions);
        let cut = self.cut(request, self.route.grouping(&bucket), self.shared.max_value_bytes)?;
        self.count_copies(request, &cut)?;
        let mut failure = self.take(cut, false).await.err();
        loop {
            while let Some(next) = self.waiting.pop_front() {
                failure = failure.or(self.send(next).await.err());
            }
            let Some((sent, delivery)) = self.sent.pop_front() else { break };
            failure = failure.or(self.settle(sent, delivery).await.err());
            if failure.is_some() {
                // The sender keeps the whole request; what has not been sent need not be.
                self.waiting.clear();
            }
        }
        failure.map_or(Ok(self.published), Err)
    }

    /// Dead-letters what no record can hold and queues the rest.
    async fn take(&mut self, cut: Split, is_alone: bool) -> Result<(), Unpublished> {
        let pieces = cut.pieces.into_iter();
        self.waiting.extend(pieces.map(|piece| Waiting { piece, is_alone, resends: 0 }));
        for oversize in cut.oversize {
            self.dead_letter(DeadLetter::from_oversize(oversize)).await?;
        }
        Ok(())
    }

    async fn send(&mut self, next: Waiting) -> Result<(), Unpublished> {
        let producer = if next.is_alone { self.shared.solo().await? } else { &self.shared.producer };
        let piece = &next.piece;
        let headers = self.shared.identity.headers(piece.items, self.received_at).encode();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let record = OutgoingRecord {
            topic: self.route.topic.name(),
            partition: Some(self.route.partition(piece, self.partitions)),
            key: piece.key.as_deref(),
            value: &piece.value,
            headers: &headers,
        };
        match producer.send(record) {
            Ok(delivery) => {
                self.sent.push_back((next, delivery));
                Ok(())
            }
            Err(error @ SendError::RecordTooLarge { .. }) => self.smaller(&next.piece, &error).await,
            Err(error) => Err(self.unsent(&self.route.topic, &error)),
        }
    }

    /// Awaits one report and queues what has to be sent in the record's place.
    async fn settle(&mut self, sent: Waiting, delivery: Delivery) -> Result<(), Unpublished> {
        let error = match delivery.await {
            Ok(_) => {
                self.acked(&sent.piece);
                return Ok(());
            }
            Err(error) => error,
        };
        match error.kind() {
            DeliveryErrorKind::Record if sent.is_alone => self.smaller(&sent.piece, &error).await,
            DeliveryErrorKind::Record => {
                self.route.topic.note_refused_batch(&error);
                self.waiting.push_back(Waiting { is_alone: true, ..sent });
                Ok(())
            }
            DeliveryErrorKind::Fatal if sent.resends < MAX_RESENDS => {
                self.waiting.push_back(Waiting { resends: sent.resends + 1, ..sent });
                Ok(())
            }
            _ => Err(self.unpublished(&self.route.topic, &error)),
        }
    }

    fn acked(&mut self, piece: &Piece) {
        let Settlement { shared, route, .. } = self;
        route.topic.note_taken();
        shared.metrics.count_record(route.topic.name());
        shared.metrics.count_acked(route.signal, piece.items);
        self.published.acked += piece.items;
    }

    /// In place of a record that can never be stored as it is: smaller ones, or, for a single item, a dead letter.
    async fn smaller(
        &mut self,
        piece: &Piece,
        cause: &(dyn Error + Send + Sync + 'static),
    ) -> Result<(), Unpublished> {
        if let Some(cut) = self.cut_smaller(piece)? {
            return self.take(cut, true).await;
        }
        let detail = ErrorChain(cause).to_string();
        self.dead_letter(DeadLetter::whole(piece, &detail)).await
    }

    /// Halves, or the next unequal parts in which every item still has its place; `None` when there is no such cut.
    fn cut_smaller(&self, piece: &Piece) -> Result<Option<Split>, Unpublished> {
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
        }
        Ok(None)
    }

    fn cut(&self, request: &Bytes, grouping: Grouping<'_>, max_bytes: usize) -> Result<Split, Unpublished> {
        let options = SplitOptions { grouping, max_bytes, head_bytes: HEAD_BYTES };
        split(self.route.signal, request, &options).map_err(|malformed| {
            // Inspection has passed it, so this is a bug; refusing keeps the data with the sender.
            tracing::error!(error = %malformed, topic = self.route.topic.name(), "an inspected request could not be cut");
            Unpublished::NotAcknowledged
        })
    }

    /// Pieces that are not slices of the request are copies, of at most their own size.
    fn count_copies(&mut self, request: &Bytes, cut: &Split) -> Result<(), Unpublished> {
        let pieces = cut.pieces.iter().map(|piece| &piece.value);
        let is_copy = |value: &&Bytes| !request.as_ptr_range().contains(&value.as_ptr());
        let copied = pieces.filter(is_copy).map(Bytes::len).sum();
        self.reservation.grow(copied).map_err(|_| Unpublished::Memory)
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

    fn blocked(&self, topic: &Topic, cause: &(dyn Error + 'static)) -> Unpublished {
        topic.note_blocked(cause);
        Unpublished::TopicBlocked { signal: self.route.signal.as_str() }
    }
}
