//! Settles one request: sends its records, waits for their reports, cuts what is too large, dead-letters what no record can
//! hold, and puts into the spool what the broker does not take in time.
//!
//! A broker judges the size of a *batch*, so "too large" may be said of a record that only shared one. Such a record is sent
//! again alone, by the producer whose batches hold one record; only what is refused there is cut smaller, and only a single
//! item refused there is dead-lettered.
//!
//! With a spool that is done from there, so that the sender need not wait, and one at a time, since each refusal ends the
//! session of what is in flight beside it. The refused record of the backlog comes here again, without a sender: its parts keep
//! its number, so that those that are in the topic already are found there and not sent again.

use std::{collections::VecDeque, error::Error, sync::Arc};

use bytes::Bytes;
use kafka_client::{Delivery, DeliveryError, DeliveryErrorKind, Producer, SendError};
use service_runtime::error_chain::ErrorChain;
use telemetry_wire::split::{Grouping, Split, SplitOptions, split};
use tokio::time::{Duration, Instant, timeout, timeout_at};

use super::{
    Published, Shared, Unpublished,
    record::Record,
    route::Route,
    state::{Event, State},
    topic::Topic,
};
use crate::budget::Reservation;
use parcel::{HEAD_BYTES, Parcel, copied_bytes, is_copy};

mod keep;
mod parcel;

/// How often what waits behind a late record is tried again.
const FOLLOW_AGAIN: Duration = Duration::from_millis(500);

/// Whether a record of the backlog is in its topic already, as far as the topic was read.
pub(super) type IsThere<'a> = &'a (dyn Fn(&Record) -> bool + Sync);

/// The state of one request, or of one record of the backlog.
pub(super) struct Settlement<'a> {
    pub(super) shared: &'a Arc<Shared>,
    pub(super) route: &'a Route,
    pub(super) published: Published,
    received_at: u64,
    reservation: Reservation,
    letters: VecDeque<Parcel>,
    waiting: VecDeque<Parcel>,
    sent: VecDeque<(Parcel, Delivery)>,
    /// What the producer does not take, or gave up: for the spool.
    unsent: Vec<Parcel>,
    /// Whether what is delivered is counted as it is. What the backlog has is counted with its frame.
    is_counted: bool,
}

impl<'a> Settlement<'a> {
    pub(super) fn new(
        shared: &'a Arc<Shared>,
        route: &'a Route,
        received_at: u64,
        reservation: Reservation,
    ) -> Settlement<'a> {
        Settlement {
            shared,
            route,
            published: Published::default(),
            received_at,
            reservation,
            letters: VecDeque::new(),
            waiting: VecDeque::new(),
            sent: VecDeque::new(),
            unsent: Vec::new(),
            is_counted: true,
        }
    }

    /// For a record that the spool has.
    pub(super) fn of_backlog(shared: &'a Arc<Shared>, route: &'a Route) -> Settlement<'a> {
        let reservation = shared.budget.reservation();
        Settlement { is_counted: false, ..Settlement::new(shared, route, 0, reservation) }
    }

    /// Items that have an outcome already.
    pub(super) fn settled_items(&self) -> u64 {
        self.published.acked + self.published.dead_lettered + self.published.kept
    }

    /// Runs until every record of the request is safe: acknowledged, or on the disk. After a failure nothing more is sent: the
    /// sender keeps the whole request, and what is stored now is stored again with each of its retries.
    pub(super) async fn run(&mut self, request: &Bytes) -> Result<Published, Unpublished> {
        let started = Instant::now();
        self.take_request(request)?;
        let patience = started + self.shared.patience;
        let mut deadline =
            if self.route.backlog.is_some() { started + self.shared.spool_after } else { patience };
        let mut failure = None;
        loop {
            if failure.is_none() {
                failure = self.send_queued().await.err();
            }
            if failure.is_none() {
                failure = self.keep_unsent().await.err();
            }
            let Some((_, delivery)) = self.sent.front_mut() else { break };
            match timeout_at(deadline, delivery).await {
                Ok(report) => failure = self.reported(&report, &|_| false).err().or(failure),
                Err(_) if deadline == patience => {
                    failure = failure.or(Some(Unpublished::NotAcknowledged));
                    break;
                }
                Err(_) if failure.is_some() => break,
                // What the spool does not take goes on waiting for the broker, which is all that is left.
                Err(_) if self.keep_overdue().await => {}
                Err(_) => deadline = patience,
            }
        }
        failure.map_or(Ok(self.published), Err)
    }

    /// Whether the producer has records of the request, or has had them.
    pub(super) fn has_sent(&self) -> bool {
        !self.sent.is_empty()
    }

    /// Sees the request through after its sender was told to send it again: what the producer has to its reports, and what waits
    /// behind it into the producer. Its items are counted when the sender comes again.
    ///
    /// # Errors
    /// A part of it is nowhere. What there is of it is stored a second time when it comes again.
    pub(super) async fn follow(&mut self) -> Result<Published, Unpublished> {
        self.is_counted = false;
        loop {
            let failure = self.send_queued().await.err();
            let Some((_, delivery)) = self.sent.front_mut() else {
                let is_whole = self.letters.is_empty() && self.waiting.is_empty() && self.unsent.is_empty();
                let refusal = failure.unwrap_or(Unpublished::NotAcknowledged);
                return if is_whole { Ok(self.published) } else { Err(refusal) };
            };
            if let Ok(report) = timeout(FOLLOW_AGAIN, delivery).await {
                // Whatever is reported of one, the others are waited for.
                let _ = self.reported(&report, &|_| false);
            }
        }
    }

    /// Settles a record of the backlog that the broker refused in a batch: alone, in parts, or as a dead letter. `is_there`
    /// tells what the topic holds of it.
    pub(super) async fn run_kept(
        &mut self,
        record: Record,
        is_there: IsThere<'_>,
    ) -> Result<Published, Unpublished> {
        let parcel = Parcel { is_alone: true, ..Parcel::new(record, false) };
        if parcel.record.letter.is_some() {
            self.letters.push_back(parcel);
        } else {
            self.waiting.push_back(parcel);
        }
        loop {
            self.pass_over(is_there);
            self.send_queued().await?;
            if let Some(unsent) = self.unsent.pop() {
                return Err(unsent.refusal.unwrap_or(Unpublished::NotAcknowledged));
            }
            let Some((_, delivery)) = self.sent.front_mut() else { return Ok(self.published) };
            let report = delivery.await;
            self.reported(&report, is_there)?;
        }
    }

    /// Settles without sending what the topic has.
    fn pass_over(&mut self, is_there: IsThere<'_>) {
        let mut there = Vec::new();
        for queue in [&mut self.letters, &mut self.waiting] {
            for parcel in std::mem::take(queue) {
                if is_there(&parcel.record) { there.push(parcel) } else { queue.push_back(parcel) }
            }
        }
        for parcel in there {
            self.shared.metrics.count_found(self.route.signal);
            self.delivered(&parcel.record);
        }
    }

    /// The broker has the record.
    fn delivered(&mut self, record: &Record) {
        let reason = record.letter.as_ref().map(|letter| letter.reason);
        let topic = self.route.topic_of(record).name();
        self.shared.metrics.count_record(topic, record.partition.unwrap_or_default());
        if self.is_counted {
            self.shared.count_resolved(self.route, reason.is_some(), reason, record.items);
            self.shared.metrics.count_settled(self.route.signal, record.items);
        }
        match &record.letter {
            Some(_) => self.published.dead_lettered += record.items,
            None => self.published.acked += record.items,
        }
    }

    /// Cuts the request and queues what was cut.
    fn take_request(&mut self, request: &Bytes) -> Result<(), Unpublished> {
        let route = self.route;
        let partitions = self.shared.partitions(route)?;
        let bucket = |hash: &[u8; 16]| route.bucket(hash, partitions.unwrap_or(1));
        let grouping = match partitions {
            Some(_) => route.grouping(&bucket),
            None => route.grouping_without_partitions(),
        };
        let cut = self.cut(request, grouping, self.shared.max_value_bytes)?;
        let is_hash = partitions.is_none() && route.places_by_resource();
        self.take(cut, request, is_hash);
        Ok(())
    }

    /// Queues what was cut from `source`. `is_hash`: the keys are none, they choose the partition.
    fn take(&mut self, cut: Split, source: &Bytes, is_hash: bool) {
        for oversize in cut.oversize {
            let record =
                Record::oversize(self.shared.identity.next_id(self.route.signal), self.received_at, oversize);
            self.letters.push_back(Parcel::new(record, false));
        }
        for piece in cut.pieces {
            let is_copy = is_copy(source, &piece.value);
            let record = Record::whole(
                self.shared.identity.next_id(self.route.signal),
                self.received_at,
                piece,
                is_hash,
            );
            self.waiting.push_back(Parcel::new(record, is_copy));
        }
    }

    /// Sends what is queued. Letters go first: when the dead-letter topic does not take them, nothing else has been stored. One
    /// that the broker has to judge by itself goes alone, since a refusal ends the producer's session for all that is in it.
    /// Stops before the end when a report that is awaited here has to come first, or will make room in the producer's queue.
    async fn send_queued(&mut self) -> Result<(), Unpublished> {
        loop {
            let is_judged_alone = self.sent.iter().any(|(sent, _)| sent.is_judged_alone());
            if is_judged_alone {
                return Ok(());
            }
            let Some(next) = self.letters.pop_front().or_else(|| self.waiting.pop_front()) else {
                return Ok(());
            };
            if let Some(next) = self.send(next).await? {
                let queue = if next.record.letter.is_some() { &mut self.letters } else { &mut self.waiting };
                queue.push_front(next);
                return Ok(());
            }
        }
    }

    /// Hands one record to the producer, or sets it aside for the spool. Gives it back when it has to wait for room.
    async fn send(&mut self, mut parcel: Parcel) -> Result<Option<Parcel>, Unpublished> {
        debug_assert!(parcel.state.is_sendable(), "{:?}", parcel.state);
        let shared = self.shared;
        let topic = self.route.topic_of(&parcel.record);
        match self.route.gate(&shared.producer, &parcel.record) {
            Ok(partition) => parcel.record.partition = Some(partition),
            Err(closed) => {
                self.set_aside(parcel, self.route.closed(topic, closed))?;
                return Ok(None);
            }
        }
        let producer =
            if parcel.is_judged_alone() { shared.solo(self.route.signal).await? } else { &shared.producer };
        parcel.floor = producer_floor(&shared.producer, topic, &parcel.record);
        match shared.send(producer, self.route, &parcel.record) {
            Ok(delivery) => {
                parcel.apply(Event::Sent);
                self.sent.push_back((parcel, delivery));
            }
            Err(SendError::QueueFull) if !self.sent.is_empty() => return Ok(Some(parcel)),
            Err(error @ SendError::RecordTooLarge { .. }) => self.smaller(parcel, &error)?,
            Err(error) => {
                let refusal = self.unsent(topic, &error);
                self.set_aside(parcel, refusal)?;
            }
        }
        Ok(None)
    }

    /// The record cannot go to the broker now. Where there is no spool, that is the end of the request: whatever else were sent
    /// would be stored again with each of its retries.
    fn set_aside(&mut self, mut parcel: Parcel, refusal: Unpublished) -> Result<(), Unpublished> {
        if self.route.backlog.is_none() {
            let queue = if parcel.record.letter.is_some() { &mut self.letters } else { &mut self.waiting };
            queue.push_front(parcel);
            return Err(refusal);
        }
        parcel.apply(Event::Unsendable);
        parcel.refusal = Some(refusal);
        self.unsent.push(parcel);
        Ok(())
    }

    /// The report of the record that was sent first.
    fn reported(
        &mut self,
        report: &Result<kafka_client::Delivered, DeliveryError>,
        is_there: IsThere<'_>,
    ) -> Result<(), Unpublished> {
        let Some((mut parcel, _)) = self.sent.pop_front() else { return Ok(()) };
        let error = match report {
            Ok(_) => {
                parcel.apply(Event::Acked);
                self.route.topic_of(&parcel.record).note_taken();
                self.delivered(&parcel.record);
                return Ok(());
            }
            Err(error) => error,
        };
        let topic = self.route.topic_of(&parcel.record);
        match error.kind() {
            DeliveryErrorKind::Record if parcel.is_judged_alone() => {
                self.smaller(parcel, error)?;
                self.pass_over(is_there);
            }
            DeliveryErrorKind::Record => {
                topic.note_refused_batch(error);
                // The broker has refused the batch as a whole, so this record is nowhere.
                parcel.is_alone = true;
                if self.route.backlog.is_some() {
                    parcel.apply(Event::Failed { is_ambiguous: error.is_ambiguous() });
                    self.unsent.push(parcel);
                } else {
                    self.waiting.push_back(Parcel { state: State::Fresh, ..parcel });
                }
            }
            _ => {
                parcel.refusal = Some(self.unpublished(topic, error));
                parcel.apply(Event::Failed { is_ambiguous: error.is_ambiguous() });
                self.unsent.push(parcel);
            }
        }
        Ok(())
    }

    /// In place of a record that can never be stored as it is: smaller ones, or, for a single item, a dead letter.
    fn smaller(&mut self, whole: Parcel, cause: &(dyn Error + 'static)) -> Result<(), Unpublished> {
        let Parcel { record, is_copy, .. } = whole;
        if record.letter.is_some() {
            let Some(head) = record.head_only() else {
                return Err(self.blocked(&self.route.dead_letter_topic, cause));
            };
            self.letters.push_back(Parcel::new(head, false));
            return Ok(());
        }
        let Some(cut) = self.cut_smaller(&record)? else {
            self.letters.push_back(Parcel::new(record.refused(ErrorChain(cause).to_string()), is_copy));
            return Ok(());
        };
        for (index, piece) in cut.pieces.into_iter().enumerate() {
            let is_copy = parcel::is_copy(&record.value, &piece.value);
            let part = record.part(index, piece.value, piece.items);
            self.waiting.push_back(Parcel { is_alone: true, ..Parcel::new(part, is_copy) });
        }
        // Unless others are slices of the same memory.
        if is_copy && record.value.is_unique() {
            let bytes = record.value.len();
            drop(record);
            self.reservation.shrink(bytes);
        }
        Ok(())
    }

    /// Halves, or the next unequal parts in which every item still has its place; `None` when there is no such cut.
    fn cut_smaller(&mut self, record: &Record) -> Result<Option<Split>, Unpublished> {
        if record.items < 2 {
            return Ok(None);
        }
        let bytes = record.value.len();
        for max_bytes in [bytes / 2, bytes / 4 * 3, bytes - 1] {
            let cut = self.cut(&record.value, Grouping::Whole, max_bytes)?;
            if cut.oversize.is_empty() {
                return Ok(Some(cut));
            }
            let copied = copied_bytes(&record.value, &cut);
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
    fn unsent(&self, topic: &Topic, error: &SendError) -> Unpublished {
        match error {
            SendError::QueueFull => Unpublished::QueueFull,
            SendError::UnknownTopic | SendError::InvalidTopic => self.blocked(topic, error),
            error => {
                tracing::warn!(topic = topic.name(), error = %ErrorChain(error), "the producer does not take a record");
                Unpublished::NotAcknowledged
            }
        }
    }

    /// Why a record was not acknowledged, as the sender is told.
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
        self.route.blocked(topic)
    }
}

/// Where a record that is handed over now can land at the earliest.
fn producer_floor(producer: &Producer, topic: &Topic, record: &Record) -> i64 {
    record.partition.map_or(0, |partition| producer.floor(topic.name(), partition))
}

#[cfg(test)]
mod tests;
