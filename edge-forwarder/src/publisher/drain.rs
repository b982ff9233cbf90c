//! Sends what a route keeps in the spool, one task a route.
//!
//! ```text
//!   spool ─take─► in doubt? ─read back─┬─ there: resolve
//!     ▲                                └─ not there ─► room, rate, gate ─► producer ─► trail ─► resolve, or give back
//!     └────────────── given back, parked ──────────────────────┘
//! ```
//!
//! Fresh data goes first: the backlog has half of the producer's queue at most, and a rate of its own. Frames are handed out
//! in the order in which they were appended, so the records of a partition keep it. Before the first of them is sent the
//! spool's checkpoint says that this has begun, and from which offsets on the records can be found.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use disk_spool::Taken;
use kafka_client::SendError;
use service_runtime::{CancellationToken, error_chain::ErrorChain, liveness::Heartbeat};
use telemetry_wire::Signal;
use tokio::{
    sync::Semaphore,
    time::{Instant, sleep, sleep_until},
};

use super::{
    Shared,
    backlog::{Backlog, Refused, idle_note},
    floors::{DoubtAt, Note, Place},
    record::{Record, RecordId, SentAt},
    route::Route,
    settlement::Settlement,
    state::{Action, Event, State},
    trail::Trailing,
};
use crate::readback::{Doubt, ReadBack, ReadBackError};

/// Payload bytes taken from the spool at a time: enough to read the disk in long runs, little beside the memory of a request.
const CHUNK_BYTES: usize = 1024 * 1024;

/// How soon a closed way is tried again.
const PAUSE: Duration = Duration::from_millis(200);

/// How soon a full producer's queue is tried again; it empties in milliseconds.
const QUEUE_PAUSE: Duration = Duration::from_millis(10);

/// How often the note follows the floors: what a crash makes the edge read is a few seconds of its partitions.
const NOTE_INTERVAL: Duration = Duration::from_secs(2);

/// Frames set aside because their partition or topic is closed; with more of them the others wait too. Each takes about 100
/// bytes.
const MAX_PARKED: usize = 20_000;

/// The disk answers within it, or something is wrong; nothing else that the task waits for counts as silence.
pub(super) const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// What the task of a signal is called where it is late or silent.
pub(super) fn name(signal: Signal) -> &'static str {
    match signal {
        Signal::Logs => "drain of logs",
        Signal::Traces => "drain of traces",
        Signal::Metrics => "drain of metrics",
    }
}

/// The task that sends the backlog of one route.
pub(super) struct Drain {
    shared: Arc<Shared>,
    signal: Signal,
    readback: ReadBack<RecordId>,
    /// When this process began; nothing of an earlier one was sent later.
    started: Instant,
    /// Whether the checkpoint says that the backlog is being sent.
    is_noted: bool,
    noted_at: Instant,
    /// Every frame of an earlier process has been taken and looked for.
    is_past_recovered: bool,
    window: Arc<Semaphore>,
    parked: Vec<Parked>,
    next_at: Instant,
    heartbeat: Heartbeat,
}

/// A frame taken from the spool.
struct Held {
    sequence: u64,
    record: Record,
    state: State,
    /// Where it may be already.
    doubts: Vec<DoubtAt>,
}

/// A frame that waits for its partition or topic.
struct Parked {
    sequence: u64,
    is_letter: bool,
    partition: Option<i32>,
}

impl Drain {
    pub(super) fn new(
        shared: Arc<Shared>,
        signal: Signal,
        readback: ReadBack<RecordId>,
        heartbeat: Heartbeat,
    ) -> Drain {
        let now = Instant::now();
        let window = Arc::new(Semaphore::new(shared.drain.window_kib as usize));
        Drain {
            shared,
            signal,
            readback,
            started: now,
            is_noted: false,
            noted_at: now,
            is_past_recovered: false,
            window,
            parked: Vec::new(),
            next_at: now,
            heartbeat,
        }
    }

    /// Runs until `stop`. What is with the producer then is followed elsewhere.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let shared = Arc::clone(&self.shared);
        let route = &shared.routes[self.signal as usize];
        let Some(backlog) = &route.backlog else { return };
        self.is_noted = backlog.recovered().note.is_draining;
        // Stopping between two steps leaves frames that are taken and not sent, which the next process finds as they are.
        stop.run_until_cancelled(self.run_forever(route, backlog)).await;
    }

    async fn run_forever(&mut self, route: &Route, backlog: &Backlog) {
        loop {
            self.heartbeat.beat();
            if self.parked.is_empty() {
                self.note_idleness(backlog).await;
                self.heartbeat.during(backlog.spool().pending()).await;
            } else {
                // Whether something else comes or a closed way opens: look at both.
                let _ = tokio::time::timeout(PAUSE, backlog.spool().pending()).await;
                self.unpark(route, backlog);
            }
            let is_closed = route.partitions_now(&self.shared.producer, false).is_err();
            if is_closed || self.parked.len() >= MAX_PARKED || !self.note_sending(route, backlog).await {
                sleep(PAUSE).await;
                continue;
            }
            self.heartbeat.during(sleep_until(self.next_at)).await;
            self.send_chunk(route, backlog).await;
        }
    }

    /// Takes some frames and sends them, or settles them otherwise.
    async fn send_chunk(&mut self, route: &Route, backlog: &Backlog) {
        let spool = backlog.spool().clone();
        let taken = tokio::task::spawn_blocking(move || spool.take(CHUNK_BYTES)).await.unwrap_or_default();
        if taken.is_empty() {
            // Somebody else had it, or the disk could not be read.
            return sleep(QUEUE_PAUSE).await;
        }
        let recovered = backlog.recovered();
        // What was given back comes first, so nothing of an earlier process is left once a frame of this one leads.
        self.is_past_recovered |= taken.first().is_some_and(|first| !recovered.has(first.sequence))
            && !self.parked.iter().any(|parked| recovered.has(parked.sequence));
        let bytes: usize = taken.iter().map(|taken| taken.payload.len()).sum();
        let mut held = VecDeque::with_capacity(taken.len());
        for taken in taken {
            if let Some(next) = self.read(route, backlog, taken) {
                if route.is_open(&self.shared.producer, next.record.letter.is_some(), next.record.partition) {
                    held.push_back(next);
                } else {
                    self.park(next);
                }
            }
        }
        if let Err(error) = self.look_for(route, held.iter().flat_map(|held| &held.doubts)).await {
            tracing::warn!(signal = self.signal.as_str(), error = %ErrorChain(&error), "cannot read back yet");
            held.iter().for_each(|held| backlog.spool().give_back(held.sequence));
            sleep(PAUSE).await;
            return;
        }
        while let Some(next) = held.pop_front() {
            self.settle(route, backlog, next).await;
        }
        let pace = Duration::from_secs_f64(bytes as f64 / self.shared.drain.bytes_per_second as f64);
        self.next_at = self.next_at.max(Instant::now()) + pace;
    }

    /// A frame as a record. One that cannot be read stays in the spool, for a version that can.
    fn read(&self, route: &Route, backlog: &Backlog, taken: Taken) -> Option<Held> {
        let Taken { sequence, payload, .. } = taken;
        let (record, sent) = match Record::from_payload(payload) {
            Ok(read) => read,
            Err(error) => {
                let signal = self.signal.as_str();
                tracing::error!(signal, sequence, error = %ErrorChain(&error), "a spooled record is left alone");
                return None;
            }
        };
        let (recovered, is_letter) = (backlog.recovered(), record.letter.is_some());
        let mut doubts = Vec::new();
        if recovered.may_have_sent(sequence) {
            let places = match record.partition {
                Some(partition) => vec![(is_letter, partition)],
                None => self.all_places(route, is_letter),
            };
            let of_earlier =
                |place| DoubtAt { place, floor: recovered.note.floor(place), since: self.started };
            doubts.extend(places.into_iter().map(of_earlier));
        }
        if let Some(given_back) = backlog.sending().doubtful.get(&sequence) {
            doubts.push(*given_back);
        } else if let (Some(partition), Some(SentAt { floor })) = (record.partition, sent) {
            let since = if recovered.has(sequence) { self.started } else { Instant::now() };
            doubts.push(DoubtAt { place: (is_letter, partition), floor, since });
        }
        let state = if doubts.is_empty() { State::Kept } else { State::Doubtful };
        Some(Held { sequence, record, state, doubts })
    }

    fn all_places(&self, route: &Route, is_letter: bool) -> Vec<Place> {
        let partitions = route.topic_for(is_letter).partitions(&self.shared.producer).unwrap_or(0);
        (0..partitions).map(|partition| (is_letter, partition)).collect()
    }

    /// Reads the topics until it is known which of the doubtful records they have.
    async fn look_for(
        &mut self,
        route: &Route,
        doubts: impl Iterator<Item = &DoubtAt>,
    ) -> Result<(), ReadBackError> {
        let mut asked = Vec::new();
        for DoubtAt { place: (is_letter, partition), floor, since } in doubts {
            let topic = route.topic_for(*is_letter);
            let partitions = topic.partitions(&self.shared.producer).ok_or(ReadBackError::UnknownTopic)?;
            // A topic that was made anew with fewer partitions has nothing in the others.
            if *partition < partitions {
                let (topic, partition) = (topic.name().into(), *partition);
                asked.push(Doubt { topic, partition, floor: *floor, since: *since });
            }
        }
        let Drain { heartbeat, readback, .. } = self;
        heartbeat.during(readback.look_for(&asked)).await
    }

    async fn settle(&mut self, route: &Route, backlog: &Backlog, mut held: Held) {
        self.heartbeat.beat();
        if held.state == State::Doubtful {
            let is_there = self.readback.has(route.topic_of(&held.record).name(), &held.record.id);
            let (state, action) = held.state.on(if is_there { Event::Found } else { Event::Missing });
            held.state = state;
            if action == Action::Resolve {
                self.shared.metrics.count_found(self.signal);
                self.resolve(route, backlog, &held);
                return;
            }
        }
        let is_refused = backlog.sending().refused.contains_key(&held.sequence);
        if is_refused {
            self.settle_alone(route, backlog, held).await
        } else {
            self.send(route, backlog, held).await
        }
    }

    /// Hands a record to the producer, when there is room for it.
    async fn send(&mut self, route: &Route, backlog: &Backlog, mut held: Held) {
        debug_assert!(held.state.is_sendable(), "{:?}", held.state);
        let shared = Arc::clone(&self.shared);
        let kib = u32::try_from(held.record.value.len() / 1024 + 1).unwrap_or(u32::MAX);
        let kib = kib.min(shared.drain.window_kib);
        // It is never closed.
        let room = Arc::clone(&self.window).acquire_many_owned(kib);
        let Ok(permit) = self.heartbeat.during(room).await else { return };
        loop {
            let Ok(partition) = route.gate(&shared.producer, &held.record) else { return self.park(held) };
            held.record.partition = Some(partition);
            let topic = route.topic_of(&held.record);
            let place = (held.record.letter.is_some(), partition);
            let floor = shared.producer.floor(topic.name(), partition);
            backlog.sending().floors.enter(place, floor);
            let outcome = shared.send(&shared.producer, route, &held.record);
            if outcome.is_err() {
                backlog.sending().floors.leave(place, floor);
            }
            match outcome {
                Ok(delivery) => {
                    let (state, _) = held.state.on(Event::Sent);
                    debug_assert_eq!(state, State::InFlightKept);
                    backlog.sending().doubtful.remove(&held.sequence);
                    let trailing = Trailing::of_backlog(held.sequence, &held.record, floor, permit);
                    return shared.trail(self.signal, trailing, delivery);
                }
                Err(SendError::QueueFull) => self.heartbeat.during(sleep(QUEUE_PAUSE)).await,
                Err(SendError::RecordTooLarge { .. }) => {
                    drop(permit);
                    shared.note_refused(route, backlog, held.sequence, place, floor);
                    return self.settle_alone(route, backlog, held).await;
                }
                Err(error) => {
                    topic.note_blocked(&error);
                    return self.park(held);
                }
            }
        }
    }

    /// Settles a record that the broker refused in a batch: alone, in parts, or as a dead letter.
    async fn settle_alone(&mut self, route: &Route, backlog: &Backlog, mut held: Held) {
        // Its parts are looked for where it was refused, so that is where they go.
        let refused_in = backlog.sending().refused.get(&held.sequence).and_then(Refused::partition);
        held.record.partition = held.record.partition.or(refused_in);
        let Some(doubts) = self.doubts_of_refused(route, backlog, &held) else { return self.park(held) };
        if let Err(error) = self.look_for(route, doubts.iter()).await {
            tracing::warn!(signal = self.signal.as_str(), error = %ErrorChain(&error), "cannot read back yet");
            return self.park(held);
        }
        let shared = Arc::clone(&self.shared);
        let readback = &self.readback;
        let is_there = |record: &Record| readback.has(route.topic_of(record).name(), &record.id);
        let mut settlement = Settlement::of_backlog(&shared, route);
        let settling = settlement.run_kept(held.record.clone(), &is_there);
        let outcome = self.heartbeat.during(settling).await;
        match outcome {
            Ok(published) => {
                shared.count_resolved(route, false, None, published.acked);
                shared.count_resolved(route, true, Some("record_refused"), published.dead_lettered);
                backlog.sending().forget(held.sequence);
                backlog.spool().resolve(held.sequence);
            }
            Err(unpublished) => {
                tracing::debug!(signal = self.signal.as_str(), %unpublished, "a refused record waits");
                self.park(held);
            }
        }
    }

    /// Where parts of a refused record may be: nowhere when this is the first attempt of the first process.
    fn doubts_of_refused(&self, route: &Route, backlog: &Backlog, held: &Held) -> Option<Vec<DoubtAt>> {
        let mut sending = backlog.sending();
        let refused = sending.refused.get_mut(&held.sequence)?;
        let since = Instant::now();
        let mut doubts = Vec::new();
        let recovered = backlog.recovered();
        let of_earlier = recovered.may_have_sent(held.sequence);
        for place in self.all_places(route, true) {
            // A topic that was not there when the record was refused begins with it.
            let since_refused =
                refused.floors.iter().find(|(of, _)| *of == place).map_or(0, |(_, floor)| *floor);
            let floor =
                if of_earlier { recovered.note.floor(place).min(since_refused) } else { since_refused };
            if of_earlier || refused.was_tried {
                doubts.push(DoubtAt { place, floor, since });
            }
        }
        if refused.was_tried {
            let own = refused.floors.iter().filter(|((is_letter, _), _)| !is_letter);
            doubts.extend(own.map(|(place, floor)| DoubtAt { place: *place, floor: *floor, since }));
        }
        refused.was_tried = true;
        Some(doubts)
    }

    fn resolve(&self, route: &Route, backlog: &Backlog, held: &Held) {
        let letter = held.record.letter.as_ref();
        self.shared.count_resolved(
            route,
            letter.is_some(),
            letter.map(|letter| letter.reason),
            held.record.items,
        );
        backlog.sending().forget(held.sequence);
        backlog.spool().resolve(held.sequence);
    }

    fn park(&mut self, held: Held) {
        let Held { sequence, record, .. } = held;
        self.parked.push(Parked {
            sequence,
            is_letter: record.letter.is_some(),
            partition: record.partition,
        });
    }

    /// Gives back what can go on.
    fn unpark(&mut self, route: &Route, backlog: &Backlog) {
        let producer = &self.shared.producer;
        self.parked.retain(|parked| {
            let is_open = route.is_open(producer, parked.is_letter, parked.partition);
            if is_open {
                backlog.spool().give_back(parked.sequence);
            }
            !is_open
        });
    }

    /// Sees to it that a checkpoint says that the backlog is being sent, and from where on to look for it. False when that
    /// cannot be written: then nothing may be sent.
    async fn note_sending(&mut self, route: &Route, backlog: &Backlog) -> bool {
        if self.is_noted && self.noted_at.elapsed() < NOTE_INTERVAL {
            return true;
        }
        let checkpoint = backlog.spool().checkpoint(self.note(route, backlog).to_bytes());
        self.noted_at = Instant::now();
        // A note that is older is right as well.
        if !self.is_noted {
            match checkpoint.await {
                Ok(()) => self.is_noted = true,
                Err(error) => {
                    tracing::warn!(signal = self.signal.as_str(), %error, "the backlog waits for its checkpoint");
                }
            }
        }
        self.is_noted
    }

    /// The next process need not look for anything, as long as nothing is sent.
    async fn note_idleness(&mut self, backlog: &Backlog) {
        if self.is_noted && backlog.spool().usage().pending.frames == 0 {
            // When it cannot be written, the next process looks in vain.
            let _ = backlog.spool().checkpoint(idle_note()).await;
            self.is_noted = false;
            self.readback.forget();
        }
    }

    fn note(&self, route: &Route, backlog: &Backlog) -> Note {
        let (recovered, sending) = (backlog.recovered(), backlog.sending());
        let mut floors = Vec::new();
        for is_letter in [false, true] {
            let topic = route.topic_for(is_letter);
            for place in self.all_places(route, is_letter) {
                let now = self.shared.producer.floor(topic.name(), place.1);
                let sent = sending.lowest_floor(place).unwrap_or(now);
                let earlier = recovered.note.floor(place);
                let is_earlier = recovered.note.is_draining && !self.is_past_recovered;
                floors.push((place, if is_earlier { earlier.min(sent) } else { sent }));
            }
        }
        Note::draining(floors)
    }
}
