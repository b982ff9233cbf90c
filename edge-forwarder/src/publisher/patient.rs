//! Makes batches of tailed lines durable, however long that takes: their file is the buffer, so there is nobody to refuse them to.
//!
//! ```text
//!   batch ─ one record ─┬─ way is open: send ──┬─ acked ────────────────────────────► durable
//!                       │        ▲             ├─ late ──► to the spool as well ─────► durable, trail
//!                       │        │             └─ failed ─┐        └─ refused: wait on, again each second
//!                       └────────┼────────────────────────┴► spool ─────────────────► durable, drain
//!                                └─ it is not there: wait ◄─ refused ─► it may be there: wait, only the spool again
//! ```
//!
//! One batch is one record, which is never cut here: what the broker refuses as too large goes to the spool, and the drain settles
//! it alone or in parts. Each of them says whose lines it holds, and up to where, so that after a crash the next process can
//! ask for it (see [`super::tail_mark`]).
//!
//! Everything here follows `state`: a record is sent only while it is certain that its topic does not hold it.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use disk_spool::Refusal;
use kafka_client::{Delivered, Delivery, DeliveryError, DeliveryErrorKind, SendError};
use service_runtime::{
    backoff::{Backoff, BackoffConfig},
    error_chain::ErrorChain,
};
use telemetry_wire::{
    Signal,
    split::{Grouping, SplitOptions, split},
};
use thiserror::Error;
use tokio::time::{Instant, timeout};

use super::{
    Publisher, Shared, Unpublished,
    backlog::Backlog,
    record::{Origin, Record, SentAt},
    route::Route,
    state::{Action, Event, State},
    tail_mark::Landed,
    trail::Trailing,
};
use crate::budget::Reservation;

/// How soon a record that neither broker nor spool takes is tried again at first.
const FIRST_PAUSE: Duration = Duration::from_millis(200);

/// How long lines wait at most once there is room again.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// How soon the spool is asked again for a record that the broker is late with.
const SPOOL_PAUSE: Duration = Duration::from_secs(1);

/// Lines of one file, which has no other batch outstanding.
#[derive(Debug)]
pub(crate) struct TailedBatch {
    /// An `ExportLogsServiceRequest` of one resource, not larger than a record's value may be.
    pub(crate) request: Bytes,
    pub(crate) items: u64,
    /// When they were read, in nanoseconds since the epoch.
    pub(crate) received_at: u64,
    /// The budget that `request` holds.
    pub(crate) reservation: Reservation,
    pub(crate) origin: Origin,
}

/// The process is about to end: the batch may or may not be durable, and the next process has to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the process ends before the lines are known to be durable")]
pub(crate) struct Abandoned;

impl Publisher {
    /// Publishes a batch and waits until it is durable, without an end but that of the process. Dropping the future takes
    /// nothing back.
    pub(crate) async fn publish_tailed(&self, batch: TailedBatch) -> Result<Landed, Abandoned> {
        let shared = &self.shared;
        if shared.stop_tailing.is_cancelled() {
            return Err(Abandoned);
        }
        // Before anything of it can be anywhere. Unless it lands, marks lead to it for as long as this process lasts.
        let landed = shared.outstanding.enter(|| shared.tail_mark_now());
        let settling = shared.tailing.spawn(Arc::clone(shared).settle_tailed(batch));
        let outcome = settling.await.unwrap_or_else(|failed| {
            tracing::error!(error = %failed, "the task that publishes tailed lines failed");
            Err(Abandoned)
        });
        outcome.map(|()| landed)
    }
}

impl Shared {
    async fn settle_tailed(self: Arc<Self>, batch: TailedBatch) -> Result<(), Abandoned> {
        let TailedBatch { request, items, received_at, reservation: _reservation, origin } = batch;
        debug_assert!(origin.file.len() + origin.position.len() <= Origin::MAX_BYTES, "{origin:?}");
        let route = &self.routes[Signal::Logs as usize];
        let Some(backlog) = &route.backlog else {
            tracing::error!("lines of log files need a spool, and there is none");
            return Err(Abandoned);
        };
        let bytes = request.len();
        self.metrics.count_taken(route.signal, items, bytes);
        let record = Record {
            id: self.identity.next_id(route.signal),
            received_at,
            items,
            key: key_of(route, &request),
            hash: None,
            partition: None,
            value: request,
            letter: None,
            origin: Some(origin),
        };
        let patient = Patient {
            shared: &self,
            route,
            backlog,
            record,
            state: State::Fresh,
            floor: 0,
            is_too_large: false,
        };
        let outcome = patient.run().await;
        if outcome.is_err() {
            self.metrics.count_refused_items(route.signal, Unpublished::Draining.reason(), items);
        }
        self.metrics.count_settled_bytes(route.signal, bytes);
        outcome
    }
}

/// The key of a request that stays whole. By trace id there is none, since lines that are read together stay together.
fn key_of(route: &Route, request: &Bytes) -> Option<Bytes> {
    let rule = route.key_of_resources()?;
    let options = SplitOptions { grouping: Grouping::Key(rule), max_bytes: request.len(), head_bytes: 0 };
    match split(route.signal, request, &options) {
        Ok(cut) if cut.pieces.len() == 1 => cut.pieces.into_iter().next().and_then(|piece| piece.key),
        Ok(_) => {
            tracing::error!("tailed lines are not of one resource; they go without a key");
            None
        }
        Err(malformed) => {
            tracing::error!(error = %malformed, "tailed lines are not well-formed; they go without a key");
            None
        }
    }
}

/// One record, and what is known of it.
struct Patient<'a> {
    shared: &'a Arc<Shared>,
    route: &'a Route,
    backlog: &'a Backlog,
    record: Record,
    state: State,
    /// It cannot land in its partition below this.
    floor: i64,
    /// The broker has refused it: only the drain can send it, in parts if need be.
    is_too_large: bool,
}

impl Patient<'_> {
    async fn run(mut self) -> Result<(), Abandoned> {
        let bounds = BackoffConfig::between(FIRST_PAUSE, LONGEST_PAUSE).unwrap_or_default();
        let mut backoff = Backoff::new(&bounds);
        loop {
            match self.state {
                State::Fresh if !self.is_too_large => self.send().await,
                state => {
                    let is_nowhere = state == State::Fresh;
                    self.apply(if is_nowhere { Event::TooLarge } else { Event::Unsendable });
                }
            }
            if let State::Writing { is_taken, .. } = self.state {
                self.keep(is_taken).await;
            }
            if self.state.is_safe() {
                return Ok(());
            }
            if !backoff.wait(&self.shared.stop_tailing).await {
                return Err(Abandoned);
            }
        }
    }

    /// Hands it to the producer and follows it, or sets it aside for the spool.
    async fn send(&mut self) {
        match self.hand_over() {
            Ok(delivery) => {
                self.apply(Event::Sent);
                self.follow(delivery).await;
            }
            Err(event) => {
                self.apply(event);
            }
        }
    }

    fn hand_over(&mut self) -> Result<Delivery, Event> {
        debug_assert!(self.state.is_sendable(), "{:?}", self.state);
        let (shared, topic) = (self.shared, &self.route.topic);
        // It is nowhere, so it may go anywhere.
        self.record.partition = None;
        let gate = self.route.gate(&shared.producer, &self.record);
        let partition = gate.map_err(|_closed| Event::Unsendable)?;
        self.record.partition = Some(partition);
        self.floor = shared.producer.floor(topic.name(), partition);
        shared.send(&shared.producer, self.route, &self.record).map_err(|error| match error {
            SendError::RecordTooLarge { .. } => {
                self.is_too_large = true;
                Event::TooLarge
            }
            SendError::QueueFull => Event::Unsendable,
            SendError::UnknownTopic | SendError::InvalidTopic => {
                topic.note_blocked(&error);
                Event::Unsendable
            }
            error => {
                tracing::warn!(topic = topic.name(), error = %ErrorChain(&error), "the producer does not take a record");
                Event::Unsendable
            }
        })
    }

    /// Waits for the report, and asks the spool to take the record as well once the broker is late, or the process ends.
    async fn follow(&mut self, mut delivery: Delivery) {
        let shared = self.shared;
        let sent_at = Instant::now();
        let mut pause = shared.spool_after;
        loop {
            let waited = shared.stop_tailing.run_until_cancelled(timeout(pause, &mut delivery)).await;
            if let Some(Ok(report)) = waited {
                return self.reported(&report);
            }
            self.apply(Event::Overdue);
            if let Some(sequence) = self.write(true).await {
                self.apply(Event::Written);
                self.count_kept();
                let trailing = Trailing::of_sender(sequence, &self.record, self.floor);
                return shared.trail(self.route.signal, trailing, delivery);
            }
            self.apply(Event::Unwritten);
            if shared.stop_tailing.is_cancelled() {
                return;
            }
            // A broker that forgets the session would take a repetition for a new record.
            if sent_at.elapsed() >= shared.session_trust {
                shared.renew_sessions();
            }
            pause = SPOOL_PAUSE;
        }
    }

    fn reported(&mut self, report: &Result<Delivered, DeliveryError>) {
        let (shared, route) = (self.shared, self.route);
        let Err(error) = report else {
            self.apply(Event::Acked);
            route.topic.note_taken();
            shared.metrics.count_record(route.topic.name(), self.record.partition.unwrap_or_default());
            shared.count_resolved(route, false, None, self.record.items);
            shared.metrics.count_settled(route.signal, self.record.items);
            return;
        };
        shared.note_failure(route, false, error);
        self.is_too_large = error.kind() == DeliveryErrorKind::Record;
        self.apply(match error.kind() {
            // The broker has refused the batch as a whole, so this record is nowhere.
            DeliveryErrorKind::Record => Event::TooLarge,
            _ => Event::Failed { is_ambiguous: error.is_ambiguous() },
        });
    }

    /// Into the spool, for the drain.
    async fn keep(&mut self, is_taken: bool) {
        let Some(sequence) = self.write(is_taken).await else {
            self.apply(Event::Postponed);
            return;
        };
        if self.is_too_large {
            let place = (false, self.record.partition.unwrap_or_default());
            self.shared.note_refused(self.route, self.backlog, sequence, place, self.floor);
        }
        if self.apply(Event::Written) == Action::GiveBack {
            self.backlog.spool().give_back(sequence);
        }
        self.count_kept();
    }

    /// The number of its frame once the disk has it; `None` when the spool does not take it.
    async fn write(&self, is_taken: bool) -> Option<u64> {
        let sent = self.state.is_written_in_doubt().then_some(SentAt { floor: self.floor });
        let refused = |refusal: Refusal| {
            tracing::debug!(signal = self.route.signal.as_str(), %refusal, "the spool does not take tailed lines");
        };
        let frames = vec![self.record.to_frame(sent, is_taken)];
        let appending = self.backlog.spool().append(frames).map_err(refused).ok()?;
        appending.await.map_err(refused).ok().map(|sequences| sequences.start)
    }

    fn count_kept(&self) {
        self.shared.metrics.count_kept(self.route.signal, self.record.items);
    }

    /// Takes the event; what it asks for is returned.
    fn apply(&mut self, event: Event) -> Action {
        let (state, action) = self.state.on(event);
        self.state = state;
        action
    }
}

#[cfg(test)]
mod tests;
