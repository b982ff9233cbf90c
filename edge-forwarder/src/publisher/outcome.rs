//! What became of a request that was handed to the publisher.

use disk_spool::Refusal;
use thiserror::Error;

/// Every item of the request is in its topic, in the dead-letter topic, or on the disk and on its way there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[must_use = "the sender is acknowledged with it"]
pub struct Published {
    /// Items in the topic.
    pub acked: u64,
    /// Items that no record can hold; the dead-letter topic has their head.
    pub dead_lettered: u64,
    /// Items in the spool.
    pub kept: u64,
}

/// At least one item is neither known to be in a topic nor in the spool: the sender must keep the request and send it again.
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
    /// No broker takes it, and the spool's quota is used up.
    #[error("the spool is full and the broker does not take the records; try again later")]
    SpoolFull,
    /// No broker takes it, and the disk is too slow for what comes in.
    #[error("the spool has too much to write; try again later")]
    SpoolBusy,
    /// No broker takes it, and the disk does not either.
    #[error("the spool's disk does not take the records, and neither does the broker; try again later")]
    SpoolDisk,
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
            Unpublished::SpoolFull => "spool_full",
            Unpublished::SpoolBusy => "spool_busy",
            Unpublished::SpoolDisk => "spool_disk",
            Unpublished::Draining => "draining",
        }
    }
}

impl From<Refusal> for Unpublished {
    fn from(refusal: Refusal) -> Unpublished {
        match refusal {
            Refusal::Full => Unpublished::SpoolFull,
            Refusal::Busy => Unpublished::SpoolBusy,
            Refusal::Closed => Unpublished::Draining,
            // A record is never larger than a segment; see the configuration.
            Refusal::TooLarge { .. } | Refusal::Disk { .. } => Unpublished::SpoolDisk,
        }
    }
}
