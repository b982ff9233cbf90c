//! Sends records and says when the broker has them.
//!
//! **Promise.** A [`Delivery`] resolves to `Ok` only after all in-sync replicas have the record. Within one instance
//! the idempotent session neither doubles nor reorders records of a partition.
//!
//! **Failure of the session.** A fatal error (the broker lost the session's state, it refused a record, so that sequence
//! numbers no longer fit) ends the instance, not the producer: its waiting records come back as errors of kind `Fatal` or `Retryable`, and
//! the next `send` starts a new instance. Sending such a record again may store it twice; see
//! [`DeliveryError::is_ambiguous`](crate::DeliveryError::is_ambiguous).
//!
//! **Clock.** librdkafka waits on the wall clock: set back by an hour, its threads would sleep an hour longer. So a clock
//! that falls ends the instance as a fatal error does, and its records come back.
//!
//! **Threads.** One polls each instance for delivery reports; one refreshes partition counts and probes the
//! connection while it is down; one watches the clock. No call of [`Producer`] waits for the network.

mod clock;
mod instance;
mod topics;

use std::{
    fmt,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::BaseRecord,
};
use service_runtime::liveness::{Heartbeat, Liveness};

use self::{instance::Instance, topics::TopicDirectory};
use crate::{
    config::ProducerConfig,
    connection::ConnectionStatus,
    delivery::{Delivery, DeliveryErrorKind, DeliveryReporter, classify},
    doorbell::{Doorbell, Listener, doorbell},
    error::{ClientError, SendError},
};

/// Each thread turns every few seconds, and waits for a broker for a few more.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// One record to send; its bytes are copied into the producer's queue.
#[derive(Clone, Copy, Debug)]
pub struct OutgoingRecord<'a> {
    /// Topic name.
    pub topic: &'a str,
    /// Partition; `None` lets the key's hash decide (evenly spread without a key).
    pub partition: Option<i32>,
    /// Key.
    pub key: Option<&'a [u8]>,
    /// Value.
    pub value: &'a [u8],
    /// Headers in order; names may repeat.
    pub headers: &'a [(&'a str, &'a [u8])],
}

impl OutgoingRecord<'_> {
    fn len(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        self.key.map_or(0, <[u8]>::len) + self.value.len() + headers
    }
}

/// An idempotent producer; clones share one queue.
#[derive(Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

struct Shared {
    config: ProducerConfig,
    instance: RwLock<Arc<Instance>>,
    topics: Arc<TopicDirectory>,
    status: Arc<ConnectionStatus>,
    doorbell: Doorbell,
    listener: Arc<Mutex<Listener>>,
    heartbeats: OnceLock<Heartbeats>,
    /// Which of the refreshing threads is the one; an older one may be asleep in librdkafka.
    refreshing: AtomicUsize,
}

impl Producer {
    /// Starts a producer. It connects in the background; a broker that is down is no error.
    pub fn new(config: &ProducerConfig) -> Result<Producer, ClientError> {
        let (doorbell, listener) = doorbell();
        let status = ConnectionStatus::new("producer", doorbell.clone());
        let topics = Arc::new(TopicDirectory::default());
        let instance = Instance::start(config, &status, &topics)?;
        let shared = Arc::new(Shared {
            config: config.clone(),
            instance: RwLock::new(Arc::new(instance)),
            topics,
            status,
            doorbell,
            listener: Arc::new(Mutex::new(listener)),
            heartbeats: OnceLock::new(),
            refreshing: AtomicUsize::new(0),
        });
        topics::spawn_refresh(Arc::downgrade(&shared), Arc::clone(&shared.listener), 0)?;
        clock::spawn_watch(Arc::downgrade(&shared))?;
        Ok(Producer { shared })
    }

    /// Puts a record into the queue; never blocks.
    ///
    /// # Errors
    /// Nothing was taken: the queue is full, the record is larger than `max_message_bytes`, or the topic or the
    /// partition does not exist or may not be written.
    pub fn send(&self, record: OutgoingRecord<'_>) -> Result<Delivery, SendError> {
        let instance = self.shared.current_instance()?;
        match try_send(&instance, &record) {
            Err(error) if error.rdkafka_error_code() == Some(RDKafkaErrorCode::Fatal) => {
                instance.mark_fatal();
                let successor = self.shared.current_instance()?;
                try_send(&successor, &record).map_err(|error| send_error(error, &record))
            }
            Err(error) => Err(send_error(error, &record)),
            Ok(delivery) => Ok(delivery),
        }
    }

    /// Number of partitions of a topic, from the cache; `None` while it is not known (not asked for yet, no broker
    /// answers, or no such topic). The first call for a topic starts the lookup; an answer is renewed each minute.
    pub fn partition_count(&self, topic: &str) -> Option<i32> {
        self.shared.topics.partition_count(topic, &self.shared.doorbell)
    }

    /// An offset of the partition below which no record that is sent from now on can land; 0 while the topic is not known.
    /// It is the end of the log when the topic was found, or one past the last acknowledged record.
    pub fn floor(&self, topic: &str, partition: i32) -> i64 {
        self.shared.topics.floor(topic, partition)
    }

    /// Lets `liveness` watch the threads that keep this producer going.
    pub fn watch(&self, liveness: &Liveness) {
        let metadata = liveness.heartbeat("kafka metadata", LONGEST_SILENCE);
        let clock = liveness.heartbeat("kafka clock", LONGEST_SILENCE);
        // A second call changes nothing.
        let _ = self.shared.heartbeats.set(Heartbeats { metadata, clock });
    }

    /// Whether a broker answered lately. False at start and while no broker can be reached.
    pub fn is_connected(&self) -> bool {
        self.shared.status.is_connected()
    }

    /// Whether the current instance failed for good. The next `send` replaces it; no action is needed.
    pub fn is_fatal(&self) -> bool {
        self.shared.read_instance().is_fatal()
    }

    /// Ends the session if it has lasted for longer than `age`: its records without a report come back as errors, and what is
    /// sent from now on belongs to a new one. For an owner who cannot trust the brokers to remember a session for so long.
    ///
    /// # Errors
    /// No new instance can be made; the old one goes on.
    pub fn renew(&self, age: Duration) -> Result<(), ClientError> {
        if self.shared.read_instance().age() < age {
            return Ok(());
        }
        self.shared.replace_instance()
    }

    /// Records waiting or in flight.
    pub fn in_flight(&self) -> usize {
        self.shared.read_instance().in_flight()
    }

    /// Waits until every record taken so far was reported on, at most `timeout`. Returns how many were not.
    pub async fn flush(&self, timeout: Duration) -> usize {
        let instance = self.shared.read_instance();
        let flushing = Arc::clone(&instance);
        // A failed join means that the runtime is shutting down; the count tells the truth either way.
        let _ = tokio::task::spawn_blocking(move || flushing.flush(timeout)).await;
        instance.in_flight()
    }
}

/// The threads that somebody watches. They are held here and not by the threads, so that one that has ended is missed.
struct Heartbeats {
    metadata: Heartbeat,
    clock: Heartbeat,
}

impl fmt::Debug for Producer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Producer")
            .field("client_id", &self.shared.config.connection.client_id)
            .field("connected", &self.is_connected())
            .field("in_flight", &self.in_flight())
            .finish_non_exhaustive()
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // The refreshing thread sees that nobody is left.
        self.doorbell.ring();
    }
}

impl Shared {
    fn read_instance(&self) -> Arc<Instance> {
        Arc::clone(&self.instance.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// The instance, replaced when it has failed.
    fn current_instance(&self) -> Result<Arc<Instance>, SendError> {
        let instance = self.read_instance();
        if !instance.is_fatal() {
            return Ok(instance);
        }
        let mut slot = self.instance.write().unwrap_or_else(PoisonError::into_inner);
        if slot.is_fatal() {
            *slot = Arc::new(self.new_instance().map_err(SendError::Instance)?);
            tracing::warn!("kafka producer instance was replaced");
        }
        Ok(Arc::clone(&slot))
    }

    fn new_instance(&self) -> Result<Instance, ClientError> {
        Instance::start(&self.config, &self.status, &self.topics)
    }

    /// Goes on with another instance; the records of this one that have no report come back.
    fn replace_instance(&self) -> Result<(), ClientError> {
        let successor = Arc::new(self.new_instance()?);
        let mut slot = self.instance.write().unwrap_or_else(PoisonError::into_inner);
        let ended = std::mem::replace(&mut *slot, successor);
        drop(slot);
        ended.mark_fatal();
        ended.give_up();
        Ok(())
    }

    /// The wall clock fell, so every thread of the instance may sleep for as long as it fell.
    fn replace_sleeping_instance(self: &Arc<Self>) -> Result<(), ClientError> {
        self.replace_instance()?;
        // The refreshing thread may sleep in a question of its own.
        let number = self.refreshing.fetch_add(1, Ordering::AcqRel) + 1;
        topics::spawn_refresh(Arc::downgrade(self), Arc::clone(&self.listener), number)
    }
}

fn try_send(instance: &Instance, record: &OutgoingRecord<'_>) -> Result<Delivery, KafkaError> {
    let (reporter, delivery): (DeliveryReporter, Delivery) = Delivery::new();
    let mut outgoing =
        BaseRecord::<[u8], [u8], _>::with_opaque_to(record.topic, reporter).payload(record.value);
    if let Some(partition) = record.partition {
        outgoing = outgoing.partition(partition);
    }
    if let Some(key) = record.key {
        outgoing = outgoing.key(key);
    }
    if !record.headers.is_empty() {
        let mut headers = OwnedHeaders::new_with_capacity(record.headers.len());
        for &(key, value) in record.headers {
            headers = headers.insert(Header { key, value: Some(value) });
        }
        outgoing = outgoing.headers(headers);
    }
    instance.send(outgoing)?;
    Ok(delivery)
}

fn send_error(error: KafkaError, record: &OutgoingRecord<'_>) -> SendError {
    match (error.rdkafka_error_code(), &error) {
        (Some(RDKafkaErrorCode::QueueFull), _) => SendError::QueueFull,
        (Some(RDKafkaErrorCode::MessageSizeTooLarge), _) => SendError::RecordTooLarge { bytes: record.len() },
        (Some(code), _) if classify(code) == DeliveryErrorKind::Topic => SendError::UnknownTopic,
        (Some(RDKafkaErrorCode::InvalidArgument), _) | (None, KafkaError::Nul(_)) => SendError::InvalidTopic,
        _ => SendError::Refused(error.into()),
    }
}
