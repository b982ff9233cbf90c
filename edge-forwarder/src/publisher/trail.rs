//! Follows a record that the producer and the spool both have, until the broker has answered.
//!
//! Its sender is not waiting any more. A report of the broker resolves the frame; a failure gives it back to the spool, with
//! what is known of where it may be.

use std::{iter, sync::Arc};

use kafka_client::{Delivered, Delivery, DeliveryError, DeliveryErrorKind};
use service_runtime::error_chain::ErrorChain;
use telemetry_wire::Signal;
use tokio::{
    sync::{OnceCell, OwnedSemaphorePermit},
    time::{Instant, timeout},
};

use super::{
    Shared,
    backlog::{Backlog, Refused},
    floors::{DoubtAt, Place},
    record::Record,
    route::Route,
    state::{Action, Event, State},
};

/// A frame whose record is with the producer.
#[derive(Debug)]
pub(super) struct Trailing {
    sequence: u64,
    is_letter: bool,
    partition: i32,
    /// It cannot land in its partition below this.
    floor: i64,
    items: u64,
    reason: Option<&'static str>,
    source: Source,
}

/// Where the record was handed over.
#[derive(Debug)]
enum Source {
    /// With a request; it is late already.
    Sender,
    /// From the backlog, with its share of the producer's queue, which it loses when it is late: one silent partition must
    /// not hold the others up.
    Backlog(Option<OwnedSemaphorePermit>),
}

impl Trailing {
    /// A record of a request that the broker is late with.
    pub(super) fn of_sender(sequence: u64, record: &Record, floor: i64) -> Trailing {
        Trailing::new(sequence, record, floor, Source::Sender)
    }

    /// A record of the backlog.
    pub(super) fn of_backlog(
        sequence: u64,
        record: &Record,
        floor: i64,
        permit: OwnedSemaphorePermit,
    ) -> Trailing {
        Trailing::new(sequence, record, floor, Source::Backlog(Some(permit)))
    }

    fn new(sequence: u64, record: &Record, floor: i64, source: Source) -> Trailing {
        Trailing {
            sequence,
            is_letter: record.letter.is_some(),
            partition: record.partition.unwrap_or_default(),
            floor,
            items: record.items,
            reason: record.letter.as_ref().map(|letter| letter.reason),
            source,
        }
    }
}

impl Shared {
    /// Follows the record in a task of its own.
    pub(super) fn trail(self: &Arc<Self>, signal: Signal, trailing: Trailing, delivery: Delivery) {
        let shared = Arc::clone(self);
        let mut trailing = trailing;
        self.trailing.spawn(async move {
            let route = &shared.routes[signal as usize];
            let Some(backlog) = &route.backlog else { return };
            let report = shared.await_report(route, &mut trailing, delivery).await;
            shared.conclude(route, backlog, &trailing, &report);
        });
    }

    /// Waits for the report, and marks the partition as late once it is. A broker that forgets the session would take a repetition
    /// for a new record, so the session ends before that.
    async fn await_report(
        &self,
        route: &Route,
        trailing: &mut Trailing,
        mut delivery: Delivery,
    ) -> Result<Delivered, DeliveryError> {
        let Trailing { is_letter, partition, .. } = *trailing;
        if let Source::Backlog(permit) = &mut trailing.source {
            if let Ok(report) = timeout(self.spool_after, &mut delivery).await {
                return report;
            }
            *permit = None;
        }
        route.overdue.enter(is_letter, partition);
        let report = loop {
            match timeout(self.session_trust, &mut delivery).await {
                Ok(report) => break report,
                Err(_) => self.renew_sessions(),
            }
        };
        route.overdue.leave(is_letter, partition);
        report
    }

    pub(super) fn renew_sessions(&self) {
        for producer in iter::once(&self.producer).chain(self.solo.iter().filter_map(OnceCell::get)) {
            if let Err(error) = producer.renew(self.session_trust) {
                tracing::error!(error = %ErrorChain(&error), "cannot begin a new session");
            }
        }
    }

    fn conclude(
        &self,
        route: &Route,
        backlog: &Backlog,
        trailing: &Trailing,
        report: &Result<Delivered, DeliveryError>,
    ) {
        let Trailing { sequence, is_letter, partition, floor, .. } = *trailing;
        let event = match report {
            Ok(_) => Event::Acked,
            Err(error) => Event::Failed { is_ambiguous: error.is_ambiguous() },
        };
        let (state, action) = State::InFlightKept.on(event);
        let mut sending = backlog.sending();
        if matches!(trailing.source, Source::Backlog(_)) {
            sending.floors.leave((is_letter, partition), floor);
        }
        if state == State::Doubtful {
            let doubt = DoubtAt { place: (is_letter, partition), floor, since: Instant::now() };
            sending.doubtful.insert(sequence, doubt);
        }
        drop(sending);
        if let Err(error) = report {
            self.note_failure(route, is_letter, error);
            if error.kind() == DeliveryErrorKind::Record {
                self.note_refused(route, backlog, sequence, (is_letter, partition), floor);
            }
        }
        match action {
            Action::Resolve => {
                let topic = route.topic_for(is_letter);
                topic.note_taken();
                self.metrics.count_record(topic.name(), partition);
                self.count_resolved(route, is_letter, trailing.reason, trailing.items);
                backlog.spool().resolve(sequence);
            }
            Action::GiveBack => {
                self.metrics.count_returned(route.signal);
                backlog.spool().give_back(sequence);
            }
            Action::None | Action::Write { .. } => {}
        }
    }

    /// The broker refused a frame's record: it goes on alone, and in parts.
    pub(super) fn note_refused(
        &self,
        route: &Route,
        backlog: &Backlog,
        sequence: u64,
        place: Place,
        floor: i64,
    ) {
        let letters = &route.dead_letter_topic;
        let partitions = letters.partitions(&self.producer).unwrap_or(0);
        let of_letter = |partition| ((true, partition), self.producer.floor(letters.name(), partition));
        let floors = iter::once((place, floor)).chain((0..partitions).map(of_letter)).collect();
        backlog.sending().refused.entry(sequence).or_insert(Refused { floors, was_tried: false });
    }

    pub(super) fn note_failure(&self, route: &Route, is_letter: bool, error: &DeliveryError) {
        let topic = route.topic_for(is_letter);
        match error.kind() {
            DeliveryErrorKind::Record => topic.note_refused_batch(error),
            DeliveryErrorKind::Topic => topic.note_blocked(error),
            DeliveryErrorKind::Fatal | DeliveryErrorKind::Retryable => {
                tracing::debug!(topic = topic.name(), error = %ErrorChain(error), "a record goes to the spool");
            }
        }
    }
}
