//! Sends records and says when the broker has them.
//!
//! **Promise.** A [`Delivery`] resolves to `Ok` only after all in-sync replicas have the record. Within one instance
//! the idempotent session neither doubles nor reorders records of a partition.
//!
//! **Failure of the session.** A fatal error (the broker lost the session's state, sequence numbers no longer fit)
//! ends the instance, not the producer: its waiting records come back as errors of kind `Fatal` or `Retryable`, and
//! the next `send` starts a new instance. Sending such a record again may store it twice; see
//! [`DeliveryError::is_ambiguous`](crate::DeliveryError::is_ambiguous).
//!
//! **Threads.** One polls each instance for delivery reports; one refreshes partition counts and probes the
//! connection while it is down. No call of [`Producer`] waits for the network.

mod instance;
mod topics;

use std::{
    fmt,
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use rdkafka::{
    error::{KafkaError, RDKafkaErrorCode},
    message::{Header, OwnedHeaders},
    producer::BaseRecord,
};

use self::{instance::Instance, topics::TopicDirectory};
use crate::{
    config::ProducerConfig,
    connection::ConnectionStatus,
    delivery::{Delivery, DeliveryErrorKind, DeliveryReporter, classify},
    doorbell::{Doorbell, doorbell},
    error::{ClientError, SendError},
};

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
    topics: TopicDirectory,
    status: Arc<ConnectionStatus>,
    doorbell: Doorbell,
}

impl Producer {
    /// Starts a producer. It connects in the background; a broker that is down is no error.
    pub fn new(config: &ProducerConfig) -> Result<Producer, ClientError> {
        let (doorbell, listener) = doorbell();
        let status = ConnectionStatus::new("producer", doorbell.clone());
        let instance = Instance::start(config, &status)?;
        let shared = Arc::new(Shared {
            config: config.clone(),
            instance: RwLock::new(Arc::new(instance)),
            topics: TopicDirectory::default(),
            status,
            doorbell,
        });
        topics::spawn_refresh(Arc::downgrade(&shared), listener)?;
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

    /// Whether a broker answered lately. False at start and while no broker can be reached.
    pub fn is_connected(&self) -> bool {
        self.shared.status.is_connected()
    }

    /// Whether the current instance failed for good. The next `send` replaces it; no action is needed.
    pub fn is_fatal(&self) -> bool {
        self.shared.read_instance().is_fatal()
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
            *slot = Arc::new(Instance::start(&self.config, &self.status).map_err(SendError::Instance)?);
            tracing::warn!("kafka producer instance was replaced");
        }
        Ok(Arc::clone(&slot))
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
