//! What became of a request that was handed to the publisher.

use thiserror::Error;

/// Every item of the request is in its topic or in the dead-letter topic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "the sender is acknowledged with it"]
pub struct Published {
    /// Items in the topic.
    pub acked: u64,
    /// Items that no record can hold; the dead-letter topic has their head.
    pub dead_lettered: u64,
}

/// At least one item is not known to be in a topic: the sender must keep the request and send it again.
///
/// Its text goes to the sender, so it names no address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Unpublished {
    /// No broker answers.
    #[error("the broker cannot be reached; try again later")]
    NoBroker,
    /// The topic does not exist or may not be written; an operator has to act.
    #[error("the broker does not take records for the topic of {signal}; try again later")]
    TopicBlocked {
        /// Whose topic.
        signal: &'static str,
    },
    /// An item needs the dead-letter topic, and that one does not exist or does not take it; an operator has to act.
    #[error("the broker does not take records for the dead-letter topic of {signal}; try again later")]
    DeadLetterTopicBlocked {
        /// Whose dead-letter topic.
        signal: &'static str,
    },
    /// The records of other requests fill the producer's queue.
    #[error("too many records wait for the broker; try again later")]
    QueueFull,
    /// The memory for requests is in use.
    #[error("the memory for requests is in use; try again later")]
    Memory,
    /// The broker did not acknowledge within the delivery timeout, or refused for now.
    #[error("the broker did not acknowledge the records; try again later")]
    NotAcknowledged,
    /// The process is about to end.
    #[error("the receiver is shutting down; try again later")]
    Draining,
}

impl Published {
    /// A sentence for the sender when not all is where it should be.
    pub fn warning(&self) -> Option<String> {
        let Published { dead_lettered, .. } = self;
        (*dead_lettered > 0)
            .then(|| format!("{dead_lettered} items are too large for one record and were dead-lettered"))
    }
}

impl Unpublished {
    /// A metric label.
    pub fn reason(&self) -> &'static str {
        match self {
            Unpublished::NoBroker => "no_broker",
            Unpublished::TopicBlocked { .. } => "topic_blocked",
            Unpublished::DeadLetterTopicBlocked { .. } => "dead_letter_topic_blocked",
            Unpublished::QueueFull => "queue_full",
            Unpublished::Memory => "memory",
            Unpublished::NotAcknowledged => "not_acknowledged",
            Unpublished::Draining => "draining",
        }
    }
}
