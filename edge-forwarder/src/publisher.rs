//! The one place that decides how a request becomes durable: in its topic by the producer, or on the disk by the spool.
//!
//! [`Publisher`] says [`Published`] only when every record made of the request is safe: acknowledged by the broker (all in-sync
//! replicas, idempotent), in the dead-letter topic if no record can hold it, or synced to the spool's disk. In every other case
//! the answer is [`Unpublished`]: the sender keeps the request and sends it again, even when some of its records are safe. OTLP
//! has no way to say "these, but not those, later", so those are stored twice; the counters tell how many.
//!
//! ```text
//!   request bytes ─ cut by size, key or partition ─┬─ send ──┬─ acked ──────────────────────────────► done
//!                                 ▲                │         ├─ too large: cut smaller, dead letter
//!                                 │                │         ├─ late: to the spool as well ─ trail ─► done
//!                                 └── parts ───────┘         └─ failed ──┐
//!                                                  └─ no broker ─────────┴► spool ─ drain ─ trail ─► done
//! ```
//!
//! `state` has every state of a record and every way out of it. On the healthy path the disk is not touched. Each request is
//! settled by a task of its own: a sender that goes away takes nothing back, and what became of its records is counted. The
//! tasks are bounded by the memory budget, since each holds its request's reservation until it is answered; what is followed
//! after that is bounded by the producer's queue.
//!
//! Lines of log files come another way, `patient`: nobody can be told to send them again, so they wait until they are safe, and
//! `tail_mark` tells after a crash which of them are.

use std::{
    error::Error,
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use anyhow::Context;
use bytes::Bytes;
use kafka_client::{Delivery, Producer, ProducerConfig, SendError};
use service_runtime::{CancellationToken, Runtime, error_chain::ErrorChain};
use telemetry_wire::Signal;
use tokio::sync::{OnceCell, oneshot};
use tokio_util::task::{TaskTracker, task_tracker::TaskTrackerToken};

use crate::{
    budget::{MemoryBudget, Reservation},
    config::PublisherConfig,
    metrics::Metrics,
    readback::{ReadBack, ReadBackConfig},
    spool::Backlogs,
};
use drain::Drain;
use route::{Closed, Route};
use settlement::Settlement;
use tail_mark::Outstanding;
use unanswered::Again;

mod backlog;
mod dead_letter;
mod drain;
mod floors;
mod outcome;
mod overdue;
mod patient;
mod record;
mod route;
mod settlement;
mod state;
mod tail_mark;
mod topic;
mod trail;
mod unanswered;

pub(crate) use backlog::Backlog;
pub use outcome::{Published, Unpublished};
pub(crate) use patient::TailedBatch;
pub(crate) use record::{Mark, Origin, Record, RecordId};
pub(crate) use tail_mark::{Landed, TailMark};

/// How long the end of the process waits for the broker to take what the producer has; the disk has it too.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(3);

/// A well-formed, non-empty request on its way to the broker.
#[derive(Debug)]
pub(crate) struct Batch {
    pub(crate) signal: Signal,
    /// `Export*ServiceRequest` protobuf that has passed inspection.
    pub(crate) request: Bytes,
    pub(crate) items: u64,
    /// When the last byte had come, in nanoseconds since the epoch.
    pub(crate) received_at: u64,
    /// The budget that `request` holds.
    pub(crate) reservation: Reservation,
}

/// Publishes requests; clones share one producer.
#[derive(Debug, Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    producer: Producer,
    /// By signal, for records that a broker has to judge one by one; started by the first of them. A refusal ends the session
    /// of its producer, so the signals do not share one.
    solo: [OnceCell<Producer>; 3],
    solo_config: ProducerConfig,
    /// The largest value of a record, in bytes.
    max_value_bytes: usize,
    routes: [Route; 3],
    identity: Identity,
    metrics: Metrics,
    budget: MemoryBudget,
    /// How long a request waits for the broker before the spool gets it too.
    spool_after: Duration,
    /// How long a request waits for the broker when the spool does not take it.
    patience: Duration,
    /// How long the brokers remember a session.
    session_trust: Duration,
    drain: DrainConfig,
    readback: ReadBackConfig,
    settling: TaskTracker,
    /// Without a spool: tasks that follow what the producer has of requests that were refused.
    following: TaskTracker,
    /// Batches of tailed lines, which wait without an end until they are told to stop.
    tailing: TaskTracker,
    stop_tailing: CancellationToken,
    outstanding: Arc<Outstanding>,
    trailing: TaskTracker,
    draining: TaskTracker,
    stop_draining: CancellationToken,
}

/// How the backlog is sent.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DrainConfig {
    /// Payload bytes a second, of each signal.
    pub(crate) bytes_per_second: u64,
    /// The part of the producer's queue that a signal's backlog may take, in KiB.
    pub(crate) window_kib: u32,
}

/// Names every record for ever: the edge, and for each signal an incarnation and a sequence.
#[derive(Debug)]
struct Identity {
    edge_id: String,
    numbers: [Numbers; 3],
}

#[derive(Debug)]
struct Numbers {
    incarnation: u64,
    next_sequence: AtomicU64,
}

impl Publisher {
    /// Starts the producer, which connects in the background: a broker that is down is no error. What `backlogs` hold from
    /// before is sent in the background too.
    pub fn start(
        config: &PublisherConfig,
        backlogs: Backlogs,
        budget: &MemoryBudget,
        metrics: &Metrics,
        runtime: &Runtime,
    ) -> anyhow::Result<Publisher> {
        let patience = config.producer.delivery_timeout.unwrap_or(ProducerConfig::DEFAULT_DELIVERY_TIMEOUT);
        // A record stays with the producer however long the outage. That keeps its place in the idempotent session, and with it
        // the certainty that it is stored once: one that times out makes librdkafka begin a session anew, and send again what the
        // broker may have.
        let producer_config = ProducerConfig { delivery_timeout: None, ..config.producer.clone() };
        let producer = Producer::new(&producer_config).context("start the kafka producer")?;
        metrics.watch_producer(&producer);
        producer.watch(&runtime.liveness());
        let mut spools = backlogs.into_backlogs();
        let routes = Signal::ALL.map(|signal| {
            let route = config.route(signal);
            let backlog: Option<Backlog> = spools[signal as usize].take();
            Route::new(signal, &route.topic, &route.key, config.partitioner, backlog)
        });
        for route in &routes {
            route.topic.partitions(&producer);
            route.dead_letter_topic.partitions(&producer);
        }
        let identity = Identity::new(&config.edge_id, &routes);
        let shared = Arc::new(Shared {
            producer,
            solo: Default::default(),
            solo_config: ProducerConfig { max_batch_records: Some(NonZeroU32::MIN), ..producer_config },
            max_value_bytes: config.max_value_bytes(),
            routes,
            identity,
            metrics: metrics.clone(),
            budget: budget.clone(),
            spool_after: config.spool_after,
            patience,
            session_trust: config.session_trust,
            drain: config.drain(),
            readback: ReadBackConfig {
                connection: config.producer.connection.clone(),
                settling: config.settling,
            },
            settling: TaskTracker::new(),
            following: TaskTracker::new(),
            tailing: TaskTracker::new(),
            stop_tailing: CancellationToken::new(),
            outstanding: Arc::default(),
            trailing: TaskTracker::new(),
            draining: TaskTracker::new(),
            stop_draining: CancellationToken::new(),
        });
        for signal in Signal::ALL {
            let Some(backlog) = &shared.routes[signal as usize].backlog else { continue };
            let readback = ReadBack::of_records(&shared.readback, &shared.producer, metrics, backlog.mark());
            let name = drain::name(signal);
            let (heartbeat, guard) = (runtime.heartbeat(name, drain::LONGEST_SILENCE), runtime.guard(name));
            let drain = Drain::new(Arc::clone(&shared), signal, readback, heartbeat);
            let stop = shared.stop_draining.clone();
            shared.draining.spawn(async move {
                let _guard = guard;
                drain.run(stop).await;
            });
        }
        Ok(Publisher { shared })
    }

    /// Publishes a request and waits until it is safe. Dropping the future takes nothing back.
    pub(crate) async fn publish(&self, batch: Batch) -> Result<Published, Unpublished> {
        let shared = &self.shared;
        let (signal, items) = (batch.signal, batch.items);
        if shared.settling.is_closed() {
            return Err(Unpublished::Draining);
        }
        shared.metrics.count_taken(signal, items, batch.request.len());
        if shared.routes[signal as usize].backlog.is_none() {
            return self.publish_unspooled(batch).await;
        }
        let settling = shared.settling.spawn(Arc::clone(shared).settle(batch));
        settling.await.unwrap_or_else(|failed| task_failed(signal, &failed))
    }

    /// Without a spool: a request that comes again while the producer has its copy waits for that one, and one that the broker
    /// is late with is followed to its end after its sender was told to come again.
    async fn publish_unspooled(&self, batch: Batch) -> Result<Published, Unpublished> {
        let shared = &self.shared;
        let (signal, items, bytes) = (batch.signal, batch.items, batch.request.len());
        let route = &shared.routes[signal as usize];
        match route.unanswered.wait(&batch.request, shared.patience).await {
            None | Some(Again::Failed) => {}
            Some(Again::Published(published)) => {
                shared.count_again(signal, items, bytes, &published);
                return Ok(published);
            }
            Some(Again::StillWaiting) => {
                let refusal = Unpublished::NotAcknowledged;
                shared.metrics.count_refused_items(signal, refusal.reason(), items);
                shared.metrics.count_settled_bytes(signal, bytes);
                return Err(refusal);
            }
        }
        let (answer, answered) = oneshot::channel();
        // Until the sender is answered the end of the process waits for the task; after that not for ever.
        let token = shared.settling.token();
        shared.following.spawn(Arc::clone(shared).settle_and_follow(batch, answer, token));
        answered.await.unwrap_or_else(|failed| task_failed(signal, &failed))
    }

    /// Waits until every request taken so far is settled, ends the waiting of tailed lines, and leaves what the disk has in order; further requests are refused.
    pub async fn drain(&self) {
        let shared = &self.shared;
        shared.settling.close();
        shared.settling.wait().await;
        shared.tailing.close();
        shared.stop_tailing.cancel();
        shared.tailing.wait().await;
        shared.following.close();
        if tokio::time::timeout(FLUSH_TIMEOUT, shared.following.wait()).await.is_err() {
            let requests = shared.following.len();
            tracing::info!(
                requests,
                "requests that were refused are with the producer; their senders have them too"
            );
        }
        shared.stop_draining.cancel();
        shared.draining.close();
        shared.draining.wait().await;
        shared.trailing.close();
        if tokio::time::timeout(FLUSH_TIMEOUT, shared.trailing.wait()).await.is_err() {
            let records = shared.trailing.len();
            tracing::info!(
                records,
                "records stay in the spool; the next start looks whether the broker has them"
            );
        }
        let closing = Arc::clone(shared);
        let close =
            move || closing.routes.iter().filter_map(|route| route.backlog.as_ref()).for_each(Backlog::close);
        // A failed join means that the runtime is shutting down; what is synced is safe either way.
        let _ = tokio::task::spawn_blocking(close).await;
    }

    /// Why requests would be refused now, and what else somebody ought to look at.
    pub fn obstacles(&self) -> Obstacles {
        let mut obstacles = Obstacles::default();
        let is_connected = self.shared.producer.is_connected();
        for route in &self.shared.routes {
            let broker = if is_connected {
                self.shared.of_topics(route)
            } else {
                vec!["no broker answers".to_owned()]
            };
            let spool = match &route.backlog {
                None => Some("there is no spool".to_owned()),
                Some(backlog) => backlog.obstacle(),
            };
            let is_refused = spool.is_some() && !broker.is_empty();
            let of_spool = spool
                .filter(|_| route.backlog.is_some())
                .map(|reason| format!("spool of {}: {reason}", route.signal.as_str()));
            let list = if is_refused { &mut obstacles.refusing } else { &mut obstacles.degrading };
            for reason in broker.into_iter().chain(of_spool) {
                if !list.contains(&reason) {
                    list.push(reason);
                }
            }
        }
        obstacles
    }
}

/// What keeps the publisher from doing all of its work.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Obstacles {
    /// Requests of some signal are refused for these reasons.
    pub refusing: Vec<String>,
    /// Requests are taken in spite of these.
    pub degrading: Vec<String>,
}

impl Shared {
    /// What is wrong with the topics of a route.
    fn of_topics(&self, route: &Route) -> Vec<String> {
        let topic = route.topic.obstacle(&self.producer);
        let letters = route.dead_letter_topic.obstacle_if_needed(&self.producer);
        let late = route.overdue.records();
        let is_late = late > 0 || route.unanswered.is_late();
        let silent = is_late.then(|| format!("the broker is late for topic {}", route.topic.name()));
        [topic, letters, silent].into_iter().flatten().collect()
    }

    /// The partition count of a route's topic, when it makes sense to send, and with a spool `None` when it does not: a broker
    /// known to be down would keep the sender waiting for the whole delivery timeout, longer than most wait, and leave it unsure.
    fn partitions(&self, route: &Route) -> Result<Option<i32>, Unpublished> {
        if route.backlog.is_some() {
            return Ok(route.topic.partitions(&self.producer));
        }
        if !self.producer.is_connected() {
            return Err(Unpublished::NoBroker);
        }
        let partitions = route.topic.partitions(&self.producer);
        partitions.map(Some).ok_or_else(|| route.closed(&route.topic, Closed::UnknownTopic))
    }

    /// Hands a record to a producer; its partition is chosen.
    fn send(&self, producer: &Producer, route: &Route, record: &Record) -> Result<Delivery, SendError> {
        let mut headers = record.headers(&self.identity.edge_id);
        headers.extend(record.letter_headers(route.topic.name()));
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        producer.send(record.outgoing(route.topic_of(record).name(), &headers))
    }

    /// The producer whose batches hold one record each.
    async fn solo(&self, signal: Signal) -> Result<&Producer, Unpublished> {
        let start = async || Producer::new(&self.solo_config);
        self.solo[signal as usize].get_or_try_init(start).await.map_err(|error| {
            tracing::error!(error = %ErrorChain(&error), "cannot start the producer for single records");
            Unpublished::NotAcknowledged
        })
    }

    async fn settle(self: Arc<Self>, batch: Batch) -> Result<Published, Unpublished> {
        let started = Instant::now();
        let Batch { signal, request, items, received_at, reservation } = batch;
        let route = &self.routes[signal as usize];
        let mut settlement = Settlement::new(&self, route, received_at, reservation);
        let outcome = settlement.run(&request).await;
        self.count_settled(&settlement, &outcome, (items, request.len()), started);
        outcome
    }

    /// The same without a spool. What the producer has when the sender is told to come again is followed to its report.
    async fn settle_and_follow(
        self: Arc<Self>,
        batch: Batch,
        answer: oneshot::Sender<Result<Published, Unpublished>>,
        token: TaskTrackerToken,
    ) {
        let started = Instant::now();
        let Batch { signal, request, items, received_at, reservation } = batch;
        let route = &self.routes[signal as usize];
        let mut settlement = Settlement::new(&self, route, received_at, reservation);
        let outcome = settlement.run(&request).await;
        self.count_settled(&settlement, &outcome, (items, request.len()), started);
        match &outcome {
            Ok(_) => route.unanswered.note_taken(),
            Err(Unpublished::NotAcknowledged | Unpublished::QueueFull) => route.unanswered.note_refused(),
            Err(_) => {}
        }
        let is_with_the_producer = outcome.is_err() && settlement.has_sent();
        // Before the answer: the sender may be quick.
        let followed = is_with_the_producer.then(|| route.unanswered.follow(&request));
        // Nobody is there to be told when the sender has left.
        let _ = answer.send(outcome);
        drop(token);
        if let Some(followed) = followed {
            followed.end(settlement.follow().await);
            route.unanswered.note_taken();
        }
    }

    fn count_settled(
        &self,
        settlement: &Settlement<'_>,
        outcome: &Result<Published, Unpublished>,
        (items, bytes): (u64, usize),
        started: Instant,
    ) {
        let signal = settlement.route.signal;
        if let Err(unpublished) = outcome {
            // Whatever has no outcome of its own is the sender's again.
            let settled = settlement.settled_items();
            self.metrics.count_refused_items(signal, unpublished.reason(), items.saturating_sub(settled));
        }
        self.metrics.count_settled_bytes(signal, bytes);
        self.metrics.observe_publish(signal, started.elapsed().as_secs_f64());
    }

    /// A request that came again is where its copy is.
    fn count_again(&self, signal: Signal, items: u64, bytes: usize, published: &Published) {
        let route = &self.routes[signal as usize];
        let letters = published.dead_lettered.min(items);
        self.count_resolved(route, true, Some("record_refused"), letters);
        self.count_resolved(route, false, None, items - letters);
        self.metrics.count_settled(signal, items);
        self.metrics.count_settled_bytes(signal, bytes);
    }

    /// Items of a request, or of the backlog, are where they belong.
    fn count_resolved(&self, route: &Route, is_letter: bool, reason: Option<&'static str>, items: u64) {
        if is_letter {
            self.metrics.count_dead_lettered(route.signal, reason.unwrap_or("other"), items);
        } else {
            self.metrics.count_acked(route.signal, items);
        }
    }
}

impl Identity {
    fn new(edge_id: &str, routes: &[Route; 3]) -> Identity {
        let numbers = |route: &Route| {
            // The hasher's keys come from the operating system's randomness.
            let drawn = RandomState::new().hash_one((SystemTime::now(), route.signal));
            let incarnation =
                route.backlog.as_ref().map_or(drawn, |backlog| backlog.mark().incarnation(drawn));
            Numbers { incarnation, next_sequence: AtomicU64::new(0) }
        };
        Identity { edge_id: edge_id.to_owned(), numbers: routes.each_ref().map(numbers) }
    }

    fn next_id(&self, signal: Signal) -> RecordId {
        let Numbers { incarnation, next_sequence } = &self.numbers[signal as usize];
        let sequence = next_sequence.fetch_add(1, Ordering::Relaxed);
        RecordId { incarnation: *incarnation, sequence, part: String::new() }
    }
}

/// The task that settles a request has panicked: its sender keeps the request.
fn task_failed(signal: Signal, failed: &dyn Error) -> Result<Published, Unpublished> {
    tracing::error!(error = %failed, signal = signal.as_str(), "the task that settles a request failed");
    Err(Unpublished::NotAcknowledged)
}

/// Now, in nanoseconds since the epoch; 0 for a clock before it.
pub(crate) fn unix_nanos() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
