//! One librdkafka producer and the thread that polls it for delivery reports.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use rdkafka::{
    ClientContext, Message,
    config::{FromClientConfigAndContext, RDKafkaLogLevel},
    error::{KafkaError, RDKafkaErrorCode},
    producer::{BaseProducer, BaseRecord, DeliveryResult, Producer as _, ProducerContext, PurgeConfig},
};

use super::topics::TopicDirectory;
use crate::{
    config::ProducerConfig,
    connection::ConnectionStatus,
    delivery::{Delivered, DeliveryError, DeliveryErrorKind, DeliveryReporter, classify},
    error::ClientError,
};

/// How long the poll thread waits for events before it looks whether it should end. At the end of each wait rdkafka spins for
/// up to a millisecond, so ten a second took 1 % of a core.
const POLL_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct Instance {
    client: Arc<BaseProducer<Context>>,
    /// Records taken and not yet reported on. librdkafka's own count includes events that are none.
    in_flight: Arc<AtomicUsize>,
    fatal: Arc<AtomicBool>,
    stopping: Arc<AtomicBool>,
    started: Instant,
}

/// What librdkafka calls back into, on the poll thread.
struct Context {
    status: Arc<ConnectionStatus>,
    topics: Arc<TopicDirectory>,
    in_flight: Arc<AtomicUsize>,
    fatal: Arc<AtomicBool>,
}

impl Instance {
    pub(super) fn start(
        config: &ProducerConfig,
        status: &Arc<ConnectionStatus>,
        topics: &Arc<TopicDirectory>,
    ) -> Result<Instance, ClientError> {
        let fatal = Arc::new(AtomicBool::new(false));
        let in_flight = Arc::new(AtomicUsize::new(0));
        let context = Context {
            status: Arc::clone(status),
            topics: Arc::clone(topics),
            in_flight: Arc::clone(&in_flight),
            fatal: Arc::clone(&fatal),
        };
        let client = BaseProducer::from_config_and_context(&config.client_config(), context)
            .map_err(|error| ClientError::Settings(error.into()))?;
        let client = Arc::new(client);
        let stopping = Arc::new(AtomicBool::new(false));
        let instance = Instance {
            client: Arc::clone(&client),
            in_flight,
            fatal,
            stopping: Arc::clone(&stopping),
            started: Instant::now(),
        };
        // The thread holds the client itself, so that the last reference, whose drop waits for librdkafka's own
        // threads, is never dropped on a runtime worker.
        thread::Builder::new()
            .name("kafka-producer".to_owned())
            .spawn(move || {
                while !stopping.load(Ordering::Acquire) {
                    client.poll(POLL_INTERVAL);
                }
            })
            .map_err(ClientError::Thread)?;
        Ok(instance)
    }

    pub(super) fn send(
        &self,
        record: BaseRecord<'_, [u8], [u8], DeliveryReporter>,
    ) -> Result<(), KafkaError> {
        // Counted first, since the report may come before `send` returns.
        self.in_flight.fetch_add(1, Ordering::Relaxed);
        self.client.send(record).map_err(|(error, _record)| {
            self.in_flight.fetch_sub(1, Ordering::Relaxed);
            error
        })
    }

    pub(super) fn is_fatal(&self) -> bool {
        self.fatal.load(Ordering::Acquire)
    }

    pub(super) fn mark_fatal(&self) {
        self.fatal.store(true, Ordering::Release);
    }

    pub(super) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight.load(Ordering::Relaxed)
    }

    /// Gives back every record without a report, as errors; does not wait for them.
    pub(super) fn give_up(&self) {
        self.client.purge(PurgeConfig::default().queue().inflight().non_blocking());
    }

    /// Sends what lingers at once and waits for the reports, at most `timeout`; blocks.
    pub(super) fn flush(&self, timeout: Duration) {
        // The result is the count that remains, which the caller reads by itself.
        let _ = self.client.flush(timeout);
    }

    /// Asks the cluster for a topic's partition count; blocks at most `timeout`.
    pub(super) fn fetch_partition_count(
        &self,
        topic: &str,
        timeout: Duration,
    ) -> Result<Option<i32>, KafkaError> {
        let metadata = self.client.client().fetch_metadata(Some(topic), timeout)?;
        let found = metadata.topics().iter().find(|candidate| candidate.name() == topic);
        Ok(found.and_then(|found| {
            let count = i32::try_from(found.partitions().len()).ok()?;
            (found.error().is_none() && count > 0).then_some(count)
        }))
    }

    /// The end of a partition's log; `None` when its leader does not answer within `timeout`. Blocks.
    pub(super) fn fetch_end(&self, topic: &str, partition: i32, timeout: Duration) -> Option<i64> {
        let (_, end) = self.client.client().fetch_watermarks(topic, partition, timeout).ok()?;
        Some(end)
    }

    /// Whether any broker answers within `timeout`; blocks.
    pub(super) fn probe(&self, timeout: Duration) -> bool {
        self.client.client().fetch_metadata(None, timeout).is_ok()
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        self.stopping.store(true, Ordering::Release);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.status.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        // The event of a fatal error bears the code of what led to it.
        if error.rdkafka_error_code().map(classify) == Some(DeliveryErrorKind::Fatal) {
            self.fatal.store(true, Ordering::Release);
        }
        self.status.client_error(&error, reason);
    }
}

impl ProducerContext for Context {
    type DeliveryOpaque = DeliveryReporter;

    fn delivery(&self, result: &DeliveryResult<'_>, reporter: DeliveryReporter) {
        let outcome = match result {
            Ok(message) => {
                self.status.answered();
                self.topics.acked(message.topic(), message.partition(), message.offset());
                Ok(Delivered { partition: message.partition(), offset: message.offset() })
            }
            Err((error, _message)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                Err(DeliveryError::from_code(code))
            }
        };
        self.in_flight.fetch_sub(1, Ordering::Relaxed);
        // The owner may have stopped waiting; the record's fate does not depend on it.
        let _ = reporter.send(outcome);
    }
}
