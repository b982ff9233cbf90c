//! One topic of the producer: how many partitions it has, and whether the broker takes records for it. Changes are logged once,
//! not once a request.

use std::{
    error::Error,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kafka_client::Producer;
use service_runtime::error_chain::ErrorChain;
use tokio::time::Instant;

/// How long a refusal stands against a topic. An edge that is not ready may be sent nothing, so that no record could show that
/// the topic is open again.
const REFUSAL_STANDS: Duration = Duration::from_secs(60);

/// How long a refusal keeps records in the spool. The first of them that is sent after it tells whether it still stands.
const REFUSAL_HOLDS_BACK: Duration = Duration::from_secs(5);

/// A topic that records are sent to.
#[derive(Debug)]
pub(super) struct Topic {
    name: String,
    is_blocked: AtomicBool,
    last_refusal: Mutex<Option<Instant>>,
    has_been_missed: AtomicBool,
    has_refused_batches: AtomicBool,
}

impl Topic {
    pub(super) fn new(name: String) -> Topic {
        Topic {
            name,
            is_blocked: AtomicBool::new(false),
            last_refusal: Mutex::new(None),
            has_been_missed: AtomicBool::new(false),
            has_refused_batches: AtomicBool::new(false),
        }
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// How many partitions it has; `None` while that is not known. The first question starts the lookup.
    pub(super) fn partitions(&self, producer: &Producer) -> Option<i32> {
        producer.partition_count(&self.name)
    }

    /// The broker refused the topic itself.
    pub(super) fn note_blocked(&self, cause: &(dyn Error + 'static)) {
        *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = Some(Instant::now());
        if !self.is_blocked.swap(true, Ordering::Relaxed) {
            tracing::error!(topic = self.name, error = %ErrorChain(cause), "the broker does not take records for the topic");
        }
    }

    /// A record was meant for the topic, and the broker does not know it.
    pub(super) fn note_missed(&self) {
        if !self.has_been_missed.swap(true, Ordering::Relaxed) {
            tracing::error!(topic = self.name, "a record needs the topic, which is not known to the broker");
        }
    }

    /// The broker refused a batch for good: its records go on one by one, which is slow and a sign of limits that do not fit.
    pub(super) fn note_refused_batch(&self, cause: &(dyn Error + 'static)) {
        if !self.has_refused_batches.swap(true, Ordering::Relaxed) {
            let topic = &self.name;
            tracing::warn!(topic, error = %ErrorChain(cause), "the broker refuses batches; is the topic's max.message.bytes below kafka.producer.max_message_bytes?");
        }
    }

    /// The broker took a record.
    pub(super) fn note_taken(&self) {
        // The load keeps the common case free of a write to a shared cache line.
        if self.is_blocked.load(Ordering::Relaxed) && self.is_blocked.swap(false, Ordering::Relaxed) {
            *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner) = None;
            tracing::info!(topic = self.name, "the broker takes records for the topic again");
        }
    }

    /// Why records would be refused now.
    pub(super) fn obstacle(&self, producer: &Producer) -> Option<String> {
        let Topic { name, .. } = self;
        if self.partitions(producer).is_none() {
            return Some(format!("topic {name} is not known to the broker"));
        }
        self.has_refused_lately().then(|| format!("the broker refuses records for topic {name}"))
    }

    /// Why records would be refused now, for a topic that most requests do not need: nothing before the first was.
    pub(super) fn obstacle_if_needed(&self, producer: &Producer) -> Option<String> {
        if self.partitions(producer).is_none() {
            let was_missed = self.has_been_missed.load(Ordering::Relaxed);
            return was_missed.then(|| format!("topic {} is needed and not known to the broker", self.name));
        }
        // The next miss is another one, and logged.
        self.has_been_missed.store(false, Ordering::Relaxed);
        self.obstacle(producer)
    }

    /// Whether it is too early to try again.
    pub(super) fn has_refused_just_now(&self) -> bool {
        self.is_blocked.load(Ordering::Relaxed) && self.has_refused_within(REFUSAL_HOLDS_BACK)
    }

    fn has_refused_lately(&self) -> bool {
        self.has_refused_within(REFUSAL_STANDS)
    }

    fn has_refused_within(&self, time: Duration) -> bool {
        let last_refusal = *self.last_refusal.lock().unwrap_or_else(PoisonError::into_inner);
        last_refusal.is_some_and(|at| at.elapsed() < time)
    }
}

#[cfg(test)]
mod tests {
    use kafka_client::SendError;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_refusal_stands_until_a_record_is_taken_or_a_minute_is_over() {
        let topic = Topic::new("logs".to_owned());
        for is_taken in [true, false] {
            topic.note_blocked(&SendError::UnknownTopic);
            assert!(topic.has_refused_lately());
            if is_taken {
                topic.note_taken();
            } else {
                tokio::time::advance(REFUSAL_STANDS).await;
            }
            assert!(!topic.has_refused_lately(), "taken: {is_taken}");
        }
    }
}
