//! The one place that decides how a request becomes durable: today the producer, with the disk spool the producer or the spool.
//!
//! `Publisher::publish` returns [`Published`] only when the broker has acknowledged every record made from the request (all
//! in-sync replicas, idempotent), or holds the dead letter of what no record can hold. In every other case the answer is
//! [`Unpublished`]: the sender keeps the request and sends it again, even when some of its records were acknowledged.
//! OTLP has no way to say "these, but not those, later", so those are stored twice; `edge_publisher_acked_items_total` counts them.
//!
//! ```text
//!   request bytes ─ cut by size, key or partition ─ send each ─ await each ─┬─ acked
//!                                        ▲                                  ├─ refused for its size: cut smaller
//!                                        └──────────────────────────────────┘  one item: dead-letter topic
//! ```
//!
//! Each request is settled by a task of its own: a sender that goes away takes nothing back, and what became of its records is
//! counted. The tasks are bounded by the memory budget, since each holds its request's reservation until it ends.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroU32,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Instant, SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use kafka_client::{ClientError, Producer, ProducerConfig};
use service_runtime::error_chain::ErrorChain;
use telemetry_wire::{
    Signal,
    headers::{Encoding, RecordHeaders},
};
use tokio::sync::OnceCell;
use tokio_util::task::TaskTracker;

use crate::{budget::Reservation, config::PublisherConfig, metrics::Metrics};
use delivery::Settlement;
use route::Route;

mod dead_letter;
mod delivery;
mod outcome;
mod route;
mod topic;

pub use outcome::{Published, Unpublished};

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
    /// For records that a broker has to judge one by one; started by the first of them.
    solo: OnceCell<Producer>,
    solo_config: ProducerConfig,
    /// The largest value of a record, in bytes.
    max_value_bytes: usize,
    routes: [Route; 3],
    identity: Identity,
    metrics: Metrics,
    settling: TaskTracker,
}

/// Edge id, incarnation and sequence name a record for ever.
#[derive(Debug)]
struct Identity {
    edge_id: String,
    incarnation: u64,
    next_sequence: AtomicU64,
}

impl Publisher {
    /// Starts the producer, which connects in the background: a broker that is down is no error.
    pub fn start(config: &PublisherConfig, metrics: &Metrics) -> Result<Publisher, ClientError> {
        let producer = Producer::new(&config.producer)?;
        let routes = Signal::ALL.map(|signal| {
            let route = config.route(signal);
            Route::new(signal, &route.topic, &route.key, config.partitioner)
        });
        for route in &routes {
            route.topic.partitions(&producer);
            route.dead_letter_topic.partitions(&producer);
        }
        let shared = Shared {
            producer,
            solo: OnceCell::new(),
            solo_config: ProducerConfig {
                max_batch_records: Some(NonZeroU32::MIN),
                ..config.producer.clone()
            },
            max_value_bytes: config.max_value_bytes(),
            routes,
            identity: Identity::new(&config.edge_id),
            metrics: metrics.clone(),
            settling: TaskTracker::new(),
        };
        Ok(Publisher { shared: Arc::new(shared) })
    }

    /// Publishes a request and waits for the broker. Dropping the future takes nothing back.
    pub(crate) async fn publish(&self, batch: Batch) -> Result<Published, Unpublished> {
        let shared = &self.shared;
        let (signal, items) = (batch.signal, batch.items);
        if shared.settling.is_closed() {
            return Err(Unpublished::Draining);
        }
        shared.metrics.count_taken(signal, items, batch.request.len());
        let settling = shared.settling.spawn(Arc::clone(shared).settle(batch));
        settling.await.unwrap_or_else(|failed| {
            tracing::error!(error = %failed, signal = signal.as_str(), "the task that settles a request failed");
            Err(Unpublished::NotAcknowledged)
        })
    }

    /// Waits until every request taken so far is settled; further ones are refused.
    pub async fn drain(&self) {
        self.shared.settling.close();
        self.shared.settling.wait().await;
    }

    /// Why requests would be refused now; empty when the broker takes records of every signal.
    pub fn obstacles(&self) -> Vec<String> {
        let Shared { producer, routes, .. } = &*self.shared;
        if !producer.is_connected() {
            return vec!["no broker answers".to_owned()];
        }
        let of_route = |route: &Route| {
            [route.topic.obstacle(producer), route.dead_letter_topic.obstacle_if_needed(producer)]
        };
        routes.iter().flat_map(of_route).flatten().collect()
    }
}

impl Shared {
    /// The partition count of a route's topic, when it makes sense to send: a broker known to be down would keep the sender
    /// waiting for the whole delivery timeout, longer than most wait, and leave it unsure.
    fn partitions(&self, route: &Route) -> Result<i32, Unpublished> {
        if !self.producer.is_connected() {
            return Err(Unpublished::NoBroker);
        }
        route.topic.partitions(&self.producer).ok_or_else(|| route.blocked(&route.topic))
    }

    /// The producer whose batches hold one record each.
    async fn solo(&self) -> Result<&Producer, Unpublished> {
        let start = async || Producer::new(&self.solo_config);
        self.solo.get_or_try_init(start).await.map_err(|error| {
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
        let settled = settlement.settled_items();
        if let Err(unpublished) = &outcome {
            // Whatever has no outcome of its own is the sender's again.
            self.metrics.count_refused_items(signal, unpublished.reason(), items.saturating_sub(settled));
        }
        self.metrics.count_settled_bytes(signal, request.len());
        self.metrics.observe_publish(signal, started.elapsed().as_secs_f64());
        outcome
    }
}

impl Identity {
    fn new(edge_id: &str) -> Identity {
        // The hasher's keys come from the operating system's randomness.
        let incarnation = RandomState::new().hash_one(SystemTime::now());
        Identity { edge_id: edge_id.to_owned(), incarnation, next_sequence: AtomicU64::new(0) }
    }

    fn headers(&self, items: u64, received_at: u64) -> RecordHeaders {
        RecordHeaders {
            edge_id: Some(self.edge_id.clone()),
            incarnation: Some(self.incarnation),
            sequence: Some(self.next_sequence.fetch_add(1, Ordering::Relaxed)),
            item_count: Some(items),
            received_at_unix_nano: Some(received_at),
            encoding: Some(Encoding::OtlpProto),
        }
    }
}

/// Now, in nanoseconds since the epoch; 0 for a clock before it.
pub(crate) fn unix_nanos() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
}
