//! One topic of the producer: how many partitions it has, and whether the broker takes records for it. Changes are logged once,
//! not once a request.

use std::{
    error::Error,
    sync::atomic::{AtomicBool, Ordering},
};

use kafka_client::Producer;
use service_runtime::error_chain::ErrorChain;

/// A topic that records are sent to.
#[derive(Debug)]
pub(super) struct Topic {
    name: String,
    is_blocked: AtomicBool,
    has_refused_batches: AtomicBool,
}

impl Topic {
    pub(super) fn new(name: String) -> Topic {
        Topic { name, is_blocked: AtomicBool::new(false), has_refused_batches: AtomicBool::new(false) }
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
        if !self.is_blocked.swap(true, Ordering::Relaxed) {
            tracing::error!(topic = self.name, error = %ErrorChain(cause), "the broker does not take records for the topic");
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
            tracing::info!(topic = self.name, "the broker takes records for the topic again");
        }
    }

    /// Why records would be refused now.
    pub(super) fn obstacle(&self, producer: &Producer) -> Option<String> {
        let Topic { name, is_blocked, .. } = self;
        if self.partitions(producer).is_none() {
            return Some(format!("topic {name} is not known to the broker"));
        }
        is_blocked.load(Ordering::Relaxed).then(|| format!("the broker refuses records for topic {name}"))
    }
}
