//! The straight line of one signal: record → block → announcement → sink → commit. One task owns all of it.
//!
//! ```text
//!  Record ─► take ─► decode into the partition's open block ─► cut ─► announce ─► delivery (own task, one per partition)
//!                      │ unreadable                                       │ every record stored or dead-lettered
//!                      └─► dead letter (own tasks, few) ────┐             │
//!                                                           ▼             ▼
//!                               commit ◄─ contiguous prefix ◄─ resolve ◄──┘
//! ```
//!
//! - A block is cut when the sink calls it full, when its first record has waited [`PipelineConfig::max_block_age`], or when
//!   the memory for records is used up, so that nothing more would come. While a block of a partition is under way the next
//!   one fills; then records wait, their credits are held, and the consumer pauses the partition. Polling and this loop go on
//!   whatever the sink does.
//! - A block for a sink that keeps what is sent twice is announced in the committed metadata before it is sent; the commit that
//!   completes one block announces the next ([`crate::intent`]). Such an announcement found at an assignment makes its records
//!   one block again.
//! - An offset is committed when every record before it is resolved. A record whose delivery was cut off is not.
//! - Rebalance: the revocation is acknowledged after the state of the partition is gone. Blocks under way get
//!   [`PipelineConfig::revoke_wait`] to finish and be committed; a *lost* partition gets nothing and is not committed.
//! - Shutdown: what is decoded is delivered and committed within [`PipelineConfig::drain_timeout`]; the rest is left
//!   to the next owner.
//!
//! # Memory
//!
//! At most, per signal, the sum of
//! - `buffer_bytes`: records read and not yet resolved, by their credits; a record that is above the mark when it comes
//!   counts beyond it, and so does one block that another member had announced, while it is formed again;
//! - the protobuf made of records in OTLP/JSON: about as much again, for the part of the records that is JSON;
//! - logs and traces: decoded blocks, open, under way and spare, (2 × `partitions` + `write_concurrency`) ×
//!   (`blocks.max_bytes` + `blocks.max_record_bytes`), since a block's last record may go beyond its limit. Records as SDKs
//!   write them reach far less, *e* × `buffer_bytes` and the spare ones, where *e* is what decoding expands a record by: 5
//!   for logs of a dozen resource attributes, since every row repeats them. A small hostile record may become
//!   `blocks.max_record_bytes`;
//! - metrics: the copies of requests from which something had to be left out, at most their records' bytes;
//! - `write_concurrency` compressed blocks, a tenth of what they were, and 1 MiB each while they are encoded (metrics:
//!   `write_concurrency` × `mimir.max_request_bytes`, or one larger record);
//! - metrics: while a refused record is divided, its halves: twice its bytes for each delivery under way;
//! - what kafka-client states for its own queues.

mod ownership;

use std::{collections::BTreeSet, num::NonZeroUsize, sync::Arc, time::Duration};

use bytes::Bytes;
use kafka_client::{CommitError, Consumer, ConsumerError, ConsumerEvent, Record};
use service_runtime::{Condition, error_chain::ErrorChain, liveness::Heartbeat};
use telemetry_wire::Signal;
use tokio::{
    sync::mpsc,
    task::JoinSet,
    time::{Instant, Interval, MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::{debug, warn};

use crate::{
    assignment::{Assignment, Decoded, Gap, PartitionId, pass::PASS_PATIENCE},
    delivery::{Delivered, Delivery},
    intake,
    intent::Intent,
    lag::LagProbe,
    lease::BootTime,
    metrics::{DEAD_LETTERED, STORED, SignalMetrics},
    sink::{Fragment, Sink, Unreadable},
};

/// How often the age of blocks is looked at: a block waits at most this much longer than it should.
const TICK: Duration = Duration::from_millis(100);
/// After a failed commit; the position is kept and only grows meanwhile.
const COMMIT_RETRY: Duration = Duration::from_secs(1);

/// How long a shutdown waits, after it has drained, for the group to be left in order.
pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// Times and choices of one pipeline.
#[derive(Debug, Clone)]
pub struct PipelineConfig {
    /// A block is cut when its first record has waited this long.
    pub max_block_age: Duration,
    /// How long a revocation waits for blocks under way. Must stay below the consumer's rebalance timeout.
    pub revoke_wait: Duration,
    /// How long a shutdown waits for what was decoded. With [`LEAVE_TIMEOUT`] it must stay below the grace time
    /// of the process.
    pub drain_timeout: Duration,
    /// Requests that are encoded or under way at once; also the spare blocks kept.
    pub write_concurrency: NonZeroUsize,
    /// What to do when records were removed from the log before they were read.
    pub lost_range: LostRange,
    /// How long an acknowledged commit proves that a partition is ours. Must stay well below the session timeout.
    pub lease: Duration,
}

/// The operator's choice about a position that is not in the log any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LostRange {
    /// The partition waits, not ready.
    Stop,
    /// Goes on at the first record there is; the loss is counted and logged. A position behind the end of the log still
    /// waits.
    Resume,
}

/// What a pipeline is built from.
#[derive(Debug)]
pub struct Wiring<S> {
    /// The signal.
    pub signal: Signal,
    /// The member of the signal's group.
    pub consumer: Consumer,
    /// Its events.
    pub events: mpsc::Receiver<ConsumerEvent>,
    /// Settles blocks.
    pub delivery: Arc<Delivery<S>>,
    /// Measures lag.
    pub lag: LagProbe,
    /// Holds while the member has joined the group and every partition can be read.
    pub health: Condition,
    /// Beaten by the loop.
    pub heartbeat: Heartbeat,
    /// Counters of the signal.
    pub metrics: SignalMetrics,
    /// Times and choices.
    pub config: PipelineConfig,
}

/// The pipeline cannot go on; the process must be started again.
#[derive(Debug, thiserror::Error)]
pub enum PipelineError {
    /// The member of the group failed for good.
    #[error("consumer failed for good")]
    Consumer(#[source] ConsumerError),
    /// The consumer's thread is gone.
    #[error("consumer ended by itself")]
    ConsumerEnded,
}

/// The pipeline of one signal.
#[derive(Debug)]
pub struct Pipeline<S: Sink> {
    wiring: Wiring<S>,
    assignment: Assignment<S::Block>,
    /// Deliveries, dead letters and commits that are under way.
    work: JoinSet<Done<S::Block>>,
    /// Emptied blocks, their memory kept.
    spare: Vec<S::Block>,
    commit_not_before: Instant,
    /// Why nothing can be read, as the group or the topic says; `None` once partitions were assigned.
    obstacle: Option<&'static str>,
    is_draining: bool,
}

/// Something that was under way has come to its end.
#[derive(Debug)]
enum Done<B> {
    Delivery { id: PartitionId, offsets: Vec<i64>, result: Option<Delivered<B>> },
    DeadLetter { id: PartitionId, offset: i64, is_written: bool },
    Commit { ids: Vec<PartitionId>, issued_at: BootTime, result: Result<(), CommitError> },
    Seek { id: PartitionId, gap: Gap, result: Result<(), CommitError> },
}

impl<S: Sink> Pipeline<S> {
    /// Builds the pipeline; nothing is read before [`Pipeline::run`].
    pub fn new(wiring: Wiring<S>) -> Self {
        Pipeline {
            wiring,
            assignment: Assignment::default(),
            work: JoinSet::new(),
            spare: Vec::new(),
            commit_not_before: Instant::now(),
            obstacle: Some("group is not joined"),
            is_draining: false,
        }
    }

    /// Reads, stores and commits until `shutdown`, then drains. An error means that this member can never go on.
    pub async fn run(mut self, shutdown: CancellationToken) -> Result<(), PipelineError> {
        let mut tick = ticks();
        loop {
            // Every arm waits on something that loses nothing when another arm wins: channels, a join set, timers.
            tokio::select! {
                event = self.wiring.events.recv() => self.on_event(event).await?,
                Some(done) = self.work.join_next() => self.on_done(done),
                _ = tick.tick() => self.on_tick(),
                () = shutdown.cancelled() => break,
            }
            self.commit_resolved();
        }
        self.drain().await
    }

    async fn on_event(&mut self, event: Option<ConsumerEvent>) -> Result<(), PipelineError> {
        match event.ok_or(PipelineError::ConsumerEnded)? {
            ConsumerEvent::Record(record) => self.take(record),
            ConsumerEvent::Assigned { generation, partitions, ack } => self.own(generation, partitions, ack),
            ConsumerEvent::Revoked { partitions, lost, ack, .. } => {
                self.give_back(partitions, lost, ack).await
            }
            ConsumerEvent::OffsetOutOfRange { generation, topic, partition, position, low, .. } => {
                self.on_lost_range(&PartitionId { topic, partition, generation }, position, low);
            }
            ConsumerEvent::Error(failure) if failure.is_fatal() => {
                return Err(PipelineError::Consumer(failure));
            }
            ConsumerEvent::Error(failure) => {
                warn!(error = %ErrorChain(&failure), "consumer reports an error");
                if matches!(failure, ConsumerError::Topic(_) | ConsumerError::Group(_)) {
                    self.obstacle = Some("topic or group cannot be used");
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, record: Record) {
        // The topic is read and the group is joined, whatever they said before.
        self.obstacle = None;
        let (topic, partition) = (Arc::clone(&record.topic), record.partition);
        let id = PartitionId { topic, partition, generation: record.generation };
        // A closed partition is not read on; its next owner gets the record.
        let Some(state) = self.assignment.get_mut(&id).filter(|state| !state.is_closed) else { return };
        if !state.tracker.receive(record.offset, record.timestamp_ms) {
            self.wiring.metrics.record_redelivered();
            return;
        }
        self.wiring.metrics.record_fetched();
        state.tracker.note_size(record.key.as_ref().map_or(0, Bytes::len) + record.value.len());
        match intake::open(self.wiring.signal, record) {
            Ok(fragment) => state.waiting.push_back(fragment),
            Err((fragment, error)) => self.dead_letter(&id, fragment, error),
        }
        self.advance(&id);
    }

    /// Decodes what waits as far as there is room, and cuts full blocks.
    fn advance(&mut self, id: &PartitionId) {
        while let Some(state) = self.assignment.get_mut(id) {
            match state.decode_next(&*self.wiring.delivery.sink, &mut self.spare) {
                Decoded::Added => {}
                Decoded::Unreadable(fragment, error) => self.dead_letter(id, fragment, error),
                Decoded::Full => {
                    if !self.cut(id) {
                        return;
                    }
                }
                Decoded::Idle => return,
            }
        }
    }

    /// Closes the open block: it is delivered, or announced first. `false` when the partition has one under way.
    fn cut(&mut self, id: &PartitionId) -> bool {
        let delivery = &self.wiring.delivery;
        let Some(state) = self.assignment.get_mut(id).filter(|state| !state.is_delivering) else {
            return false;
        };
        let Some(open) = state.open.take() else { return false };
        state.is_delivering = true;
        debug!(step = "Announce", partition = id.partition, "block");
        match delivery.sink.intent(&open.block) {
            Some(intent) => {
                if state.pin.doubtful_below.is_none() {
                    state.pin.doubtful_below = self.wiring.lag.end_after(id.partition, state.owned_since);
                }
                let claim = state.claim(&intent, &self.wiring.metrics);
                // Of a block whose past is not known the next owner knows as little: nothing is announced, and the commit only
                // proves that the partition is ours.
                let announced = Intent { announced_at: claim.announced_at, ..intent };
                let is_told = !claim.insertion.needs_quiet();
                state.tracker.announce(if is_told { announced.to_string() } else { String::new() });
                state.pin.announced = Some((open, claim));
            }
            None => {
                let (id, cancel, delivery) = (id.clone(), state.cancel.clone(), Arc::clone(delivery));
                self.work.spawn(async move {
                    let offsets = offsets_of(&open.fragments);
                    let delivering = Box::pin(delivery.deliver(open.block, open.fragments));
                    Done::Delivery { id, offsets, result: cancel.run_until_cancelled(delivering).await }
                });
            }
        }
        true
    }

    /// Sends the block of a partition that waited for its announcement, if that is committed.
    fn send_announced(&mut self, id: &PartitionId) {
        let Some(state) = self.assignment.get_mut(id) else { return };
        let Some((open, claim)) = state.take_announced() else { return };
        let (id, cancel, delivery) = (id.clone(), state.cancel.clone(), Arc::clone(&self.wiring.delivery));
        self.work.spawn(async move {
            let offsets = offsets_of(&open.fragments);
            let delivering = Box::pin(delivery.deliver_pinned(open.block, open.fragments, claim));
            Done::Delivery { id, offsets, result: cancel.run_until_cancelled(delivering).await }
        });
    }

    fn dead_letter(&mut self, id: &PartitionId, fragment: Fragment, error: Unreadable) {
        let Some(state) = self.assignment.get_mut(id) else { return };
        state.unreadable.push_back((fragment, error));
        self.write_dead_letters(id);
    }

    fn write_dead_letters(&mut self, id: &PartitionId) {
        let Some(state) = self.assignment.get_mut(id) else { return };
        while let Some((fragment, error)) = state.start_dead_letter() {
            let (id, cancel, delivery) =
                (id.clone(), state.cancel.clone(), Arc::clone(&self.wiring.delivery));
            self.work.spawn(async move {
                let offset = fragment.origin.offset;
                debug!(step = "DeadLetter", partition = id.partition, offset, "record");
                let writing = delivery.dead_letter.write_unreadable(&fragment, &error);
                let is_written = cancel.run_until_cancelled(writing).await.is_some();
                Done::DeadLetter { id, offset, is_written }
            });
        }
    }

    fn on_done(&mut self, done: Result<Done<S::Block>, tokio::task::JoinError>) {
        match done {
            Ok(Done::Delivery { id, offsets, result }) => self.on_delivered(&id, &offsets, result),
            Ok(Done::DeadLetter { id, offset, is_written: true }) => {
                if let Some(state) = self.assignment.get_mut(&id) {
                    state.dead_letters -= 1;
                }
                self.write_dead_letters(&id);
                self.resolve(&id, &[offset], &BTreeSet::from([offset]));
            }
            // Cancelled with its partition, which is gone.
            Ok(Done::DeadLetter { is_written: false, .. }) => {}
            Ok(Done::Commit { ids, issued_at, result }) => self.on_committed(&ids, issued_at, result),
            Ok(Done::Seek { id, gap, result }) => self.on_gone_over(&id, gap, &result),
            // Tasks of this set are never aborted: it is a panic, and a bug that must end this task too.
            Err(failure) => std::panic::resume_unwind(failure.into_panic()),
        }
    }

    fn on_delivered(&mut self, id: &PartitionId, offsets: &[i64], result: Option<Delivered<S::Block>>) {
        // Without a result the delivery was cancelled with its partition.
        let Some(Delivered { block, dead_lettered, divided }) = result else { return };
        if self.spare.len() < self.wiring.config.write_concurrency.get() {
            self.spare.push(block);
        }
        let is_divided = divided.is_some();
        if let Some(state) = self.assignment.get_mut(id) {
            state.tracker.withdraw();
            divided.into_iter().for_each(|halves| state.pin.divide(halves));
        }
        if !is_divided {
            self.resolve(id, offsets, &dead_lettered);
        }
        if let Some(state) = self.assignment.get_mut(id) {
            state.is_delivering = false;
            state.settled_at = Some(Instant::now());
            if self.is_draining {
                self.cut(id);
            }
        }
        self.advance(id);
    }

    fn resolve(&mut self, id: &PartitionId, offsets: &[i64], dead_lettered: &BTreeSet<i64>) {
        // A late result of a partition that was given back: its records were counted as abandoned.
        let Some(state) = self.assignment.get_mut(id) else { return };
        for offset in offsets {
            if state.tracker.resolve(*offset) {
                let outcome = if dead_lettered.contains(offset) { DEAD_LETTERED } else { STORED };
                self.wiring.metrics.records_resolved(outcome, 1);
            }
        }
    }

    fn on_tick(&mut self) {
        self.wiring.heartbeat.beat();
        self.report_health();
        for id in self.assignment.due(self.wiring.config.max_block_age) {
            if self.cut(&id) {
                self.advance(&id);
            }
        }
        self.assignment.let_one_pass(PASS_PATIENCE);
        for (_, state) in self.assignment.iter_mut() {
            if state.pin.lease.take_wish() {
                state.tracker.renew();
            }
        }
        self.go_over_gaps();
        self.wiring.lag.observe(&self.wiring.consumer, &self.assignment, &self.wiring.metrics);
    }

    fn commit_resolved(&mut self) {
        if Instant::now() < self.commit_not_before {
            return;
        }
        for (generation, offsets) in self.assignment.start_commits(self.wiring.config.max_block_age) {
            let id =
                |topic: &Arc<str>, partition| PartitionId { topic: Arc::clone(topic), partition, generation };
            let ids = offsets.iter().map(|offset| id(&offset.topic, offset.partition)).collect();
            debug!(generation, ?offsets, "offsets are being committed");
            let issued_at = BootTime::now();
            let committing = self.wiring.consumer.commit(generation, offsets);
            self.work.spawn(async move { Done::Commit { ids, issued_at, result: committing.await } });
        }
    }

    fn on_committed(&mut self, ids: &[PartitionId], issued_at: BootTime, result: Result<(), CommitError>) {
        debug!(?ids, ?result, "commit is answered");
        for id in ids {
            if let Some(state) = self.assignment.get_mut(id) {
                state.tracker.commit_finished(result.is_ok());
                if result.is_ok() {
                    state.pin.lease.prove(issued_at);
                }
            }
            self.send_announced(id);
        }
        match result {
            Ok(()) => self.wiring.metrics.offsets_committed(ids.len()),
            Err(failure) => {
                self.commit_not_before = Instant::now() + COMMIT_RETRY;
                self.wiring.metrics.commit_failed(if failure.is_stale() { "stale" } else { "failed" });
                warn!(error = %ErrorChain(&failure), "offsets are not committed; the next commit includes them");
            }
        }
    }

    /// Whether records can come at all.
    fn report_health(&self) {
        let is_stalled = self.assignment.iter().any(|(_, state)| state.is_stalled);
        match self.obstacle {
            _ if !self.wiring.consumer.is_connected() => self.wiring.health.not_ready("no broker answers"),
            Some(obstacle) => self.wiring.health.not_ready(obstacle),
            None if is_stalled => self.wiring.health.not_ready("a position is not in the log any more"),
            None => self.wiring.health.ready(),
        }
    }
}

fn offsets_of(fragments: &[Fragment]) -> Vec<i64> {
    fragments.iter().map(|fragment| fragment.origin.offset).collect()
}

fn ticks() -> Interval {
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}
