//! Settles one request: sends its pieces, waits for their reports, cuts what is too large, dead-letters what no record can hold.

use std::{collections::VecDeque, error::Error};

use bytes::Bytes;
use kafka_client::{Delivery, DeliveryError, DeliveryErrorKind, OutgoingRecord, SendError};
use service_runtime::error_chain::ErrorChain;
use telemetry_wire::{
    headers::dead_letter,
    split::{Grouping, Oversize, Piece, Split, SplitOptions, split},
};

use super::{Published, Shared, Unpublished, route::Route, topic::Topic};
use crate::budget::Reservation;

/// How much of an item that no record can hold goes to the dead-letter topic: enough to know whose it is.
const HEAD_BYTES: usize = 64 * 1024;

/// How often a record is sent again by itself after the producer's session broke; after that the sender decides.
const MAX_RESENDS: u32 = 1;

/// The state of one request.
pub(super) struct Settlement<'a> {
    shared: &'a Shared,
    route: &'a Route,
    received_at: u64,
    reservation: Reservation,
    published: Published,
}

/// A record whose report is awaited.
struct Sent {
    piece: Piece,
    resends: u32,
    delivery: Delivery,
}

/// Items that no record of the topic can hold.
struct DeadLetter<'a> {
    value: Bytes,
    items: u64,
    reason: &'static str,
    /// Encoded size of what was given up, when `value` is only its head.
    original_bytes: Option<usize>,
    detail: &'a str,
}

impl<'a> Settlement<'a> {
    pub(super) fn new(
        shared: &'a Shared,
        route: &'a Route,
        received_at: u64,
        reservation: Reservation,
    ) -> Settlement<'a> {
        Settlement { shared, route, received_at, reservation, published: Published::default() }
    }

    /// Items that have an outcome already.
    pub(super) fn settled_items(&self) -> u64 {
        self.published.acked + self.published.dead_lettered
    }

    /// Runs to the end of every record that was sent, also when one of them fails: a report that nobody awaits is an item that
    /// nobody counts.
    pub(super) async fn run(&mut self, request: &Bytes) -> Result<Published, Unpublished> {
        if self.shared.settling.is_closed() {
            return Err(Unpublished::Draining);
        }
        let partitions = self.shared.partitions(self.route)?;
        let bucket = |hash: &[u8; 16]| self.route.bucket(hash, partitions);
        let cut = self.cut(request, self.route.grouping(&bucket), self.shared.max_value_bytes)?;
        self.count_copies(request, &cut)?;
        let mut sent = VecDeque::new();
        let mut failure = self.send_all(cut, partitions, &mut sent).await.err();
        while let Some(next) = sent.pop_front() {
            let settled = match self.settle(next).await {
                Ok(None) => continue,
                Ok(Some((cut, resends))) => self.send_again(cut, resends, partitions, &mut sent).await,
                Err(unpublished) => Err(unpublished),
            };
            failure = failure.or(settled.err());
        }
        failure.map_or(Ok(self.published), Err)
    }

    /// Awaits one report. `Some` is what to send in its place.
    async fn settle(&mut self, sent: Sent) -> Result<Option<(Split, u32)>, Unpublished> {
        let Sent { piece, resends, delivery } = sent;
        let error = match delivery.await {
            Ok(_) => {
                self.acked(&piece);
                return Ok(None);
            }
            Err(error) => error,
        };
        match error.kind() {
            DeliveryErrorKind::Record => {
                self.smaller(&piece, &error).await.map(|cut| cut.map(|cut| (cut, resends)))
            }
            DeliveryErrorKind::Fatal if resends < MAX_RESENDS => {
                let again = Split { pieces: vec![piece], oversize: Vec::new() };
                Ok(Some((again, resends + 1)))
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

    async fn send_all(
        &mut self,
        cut: Split,
        partitions: i32,
        sent: &mut VecDeque<Sent>,
    ) -> Result<(), Unpublished> {
        self.send_again(cut, 0, partitions, sent).await
    }

    async fn send_again(
        &mut self,
        cut: Split,
        resends: u32,
        partitions: i32,
        sent: &mut VecDeque<Sent>,
    ) -> Result<(), Unpublished> {
        let mut waiting = VecDeque::from(cut.pieces);
        for oversize in cut.oversize {
            self.dead_letter(DeadLetter::from_oversize(oversize)).await?;
        }
        while let Some(piece) = waiting.pop_front() {
            match self.send(&piece, partitions) {
                Ok(delivery) => sent.push_back(Sent { piece, resends, delivery }),
                Err(error @ SendError::RecordTooLarge { .. }) => {
                    let Some(cut) = self.smaller(&piece, &error).await? else { continue };
                    for oversize in cut.oversize {
                        self.dead_letter(DeadLetter::from_oversize(oversize)).await?;
                    }
                    cut.pieces.into_iter().rev().for_each(|piece| waiting.push_front(piece));
                }
                Err(error) => return Err(self.unsent(&self.route.topic, &error)),
            }
        }
        Ok(())
    }

    fn send(&self, piece: &Piece, partitions: i32) -> Result<Delivery, SendError> {
        let headers = self.shared.identity.headers(piece.items, self.received_at).encode();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        self.shared.producer.send(OutgoingRecord {
            topic: self.route.topic.name(),
            partition: Some(self.route.partition(piece, partitions)),
            key: piece.key.as_deref(),
            value: &piece.value,
            headers: &headers,
        })
    }

    /// A record that can never be stored as it is: cut in halves while it has more than one item, else dead-lettered.
    async fn smaller(
        &mut self,
        piece: &Piece,
        cause: &(dyn Error + Send + Sync + 'static),
    ) -> Result<Option<Split>, Unpublished> {
        if piece.items > 1 {
            let mut cut = self.cut(&piece.value, Grouping::Whole, piece.value.len() / 2)?;
            for smaller in &mut cut.pieces {
                smaller.key = piece.key.clone();
                smaller.bucket = piece.bucket;
            }
            return Ok(Some(cut));
        }
        let detail = ErrorChain(cause).to_string();
        let whole = DeadLetter {
            value: piece.value.clone(),
            items: piece.items,
            reason: "record_refused",
            original_bytes: None,
            detail: &detail,
        };
        self.dead_letter(whole).await?;
        Ok(None)
    }

    fn cut(&self, request: &Bytes, grouping: Grouping<'_>, max_bytes: usize) -> Result<Split, Unpublished> {
        let options = SplitOptions { grouping, max_bytes, head_bytes: HEAD_BYTES };
        split(self.route.signal, request, &options).map_err(|malformed| {
            // Inspection has passed it, so this is a bug; refusing keeps the data with the sender.
            tracing::error!(error = %malformed, signal = self.route.signal.as_str(), "an inspected request could not be cut");
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

    async fn dead_letter(&mut self, letter: DeadLetter<'_>) -> Result<(), Unpublished> {
        let result = match self.send_dead_letter(&letter).await {
            Err(Failure::TooLarge) if letter.value.len() > HEAD_BYTES => {
                self.send_dead_letter(&letter.head_only()).await
            }
            result => result,
        };
        match result {
            Ok(()) => {
                let Settlement { shared, route, .. } = self;
                route.dead_letter_topic.note_taken();
                shared.metrics.count_record(route.dead_letter_topic.name());
                shared.metrics.count_dead_lettered(route.signal, letter.reason, letter.items);
                self.published.dead_lettered += letter.items;
                Ok(())
            }
            Err(Failure::TooLarge) => Err(Unpublished::TopicBlocked { signal: self.route.signal.as_str() }),
            Err(Failure::Unpublished(unpublished)) => Err(unpublished),
        }
    }

    async fn send_dead_letter(&self, letter: &DeadLetter<'_>) -> Result<(), Failure> {
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
        let delivery = self.shared.producer.send(record).map_err(|error| match error {
            SendError::RecordTooLarge { .. } => Failure::TooLarge,
            error => Failure::Unpublished(self.unsent(topic, &error)),
        })?;
        delivery.await.map(|_| ()).map_err(|error| match error.kind() {
            DeliveryErrorKind::Record => Failure::TooLarge,
            _ => Failure::Unpublished(self.unpublished(topic, &error)),
        })
    }

    fn unsent(&self, topic: &Topic, error: &SendError) -> Unpublished {
        match error {
            SendError::QueueFull => Unpublished::QueueFull,
            SendError::UnknownTopic | SendError::InvalidTopic => self.blocked(topic, error),
            SendError::RecordTooLarge { .. } | SendError::Instance(_) | SendError::Refused(_) => {
                tracing::warn!(topic = topic.name(), error = %ErrorChain(error), "the producer refused a record");
                Unpublished::NotAcknowledged
            }
        }
    }

    fn unpublished(&self, topic: &Topic, error: &DeliveryError) -> Unpublished {
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

/// Why a dead letter was not taken.
enum Failure {
    TooLarge,
    Unpublished(Unpublished),
}

impl DeadLetter<'_> {
    fn from_oversize(oversize: Oversize) -> DeadLetter<'static> {
        DeadLetter {
            value: oversize.head,
            items: oversize.items,
            reason: oversize.reason.as_str(),
            original_bytes: Some(oversize.size),
            detail: "it does not fit in one record",
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
