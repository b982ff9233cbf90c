//! What can go wrong in a Kafka client, as questions a caller can ask.
//!
//! Delivery errors have their own table in `delivery`. No type of rdkafka leaves this crate: its errors travel as
//! [`Cause`], so that callers ask the questions here and cannot come to depend on codes.

use std::fmt;

use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use thiserror::Error;

/// What the client library said, kept for logs.
#[derive(Clone, Debug)]
pub struct Cause(KafkaErrorOrCode);

#[derive(Clone, Debug)]
enum KafkaErrorOrCode {
    Error(KafkaError),
    Code(RDKafkaErrorCode),
}

impl fmt::Display for Cause {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            KafkaErrorOrCode::Error(error) => error.fmt(formatter),
            KafkaErrorOrCode::Code(code) => write!(formatter, "{code} (code {})", *code as i32),
        }
    }
}

impl std::error::Error for Cause {}

impl From<KafkaError> for Cause {
    fn from(error: KafkaError) -> Cause {
        Cause(KafkaErrorOrCode::Error(error))
    }
}

impl From<RDKafkaErrorCode> for Cause {
    fn from(code: RDKafkaErrorCode) -> Cause {
        Cause(KafkaErrorOrCode::Code(code))
    }
}

/// A client could not be created: the settings contradict each other or name a file that cannot be read.
///
/// A broker that is down never causes this: clients connect lazily and keep trying.
#[derive(Debug, Error)]
pub enum ClientError {
    /// librdkafka refused a setting or the combination of settings.
    #[error("kafka client settings were refused")]
    Settings(#[source] Cause),
    /// The topics could not be subscribed to (an empty or malformed name).
    #[error("subscription was refused")]
    Subscription(#[source] Cause),
    /// The operating system gave no thread.
    #[error("kafka client thread could not be started")]
    Thread(#[source] std::io::Error),
}

/// A record was not taken into the producer's queue; nothing of it is in flight.
#[derive(Debug, Error)]
pub enum SendError {
    /// The queue holds `queue_bytes` already. This is back-pressure: try again when deliveries have come back.
    #[error("producer queue is full")]
    QueueFull,
    /// The record is above `max_message_bytes`; it can never be sent as it is.
    #[error("record of {bytes} bytes is larger than the producer's limit")]
    RecordTooLarge {
        /// Key, value and headers together, in bytes.
        bytes: usize,
    },
    /// The topic name holds a NUL byte or is otherwise impossible.
    #[error("topic name is invalid")]
    InvalidTopic,
    /// The topic or the partition does not exist, or may not be written, as far as the cluster has said so far.
    #[error("topic or partition is unknown or forbidden")]
    UnknownTopic,
    /// The client instance failed for good and its replacement could not be made yet; try again.
    #[error("producer instance failed")]
    Instance(#[source] ClientError),
    /// Anything else librdkafka refused at once; try again.
    #[error("record was refused by the producer")]
    Refused(#[source] Cause),
}

impl SendError {
    /// Whether the queue had no room: wait for deliveries, then send again.
    pub fn is_queue_full(&self) -> bool {
        matches!(self, SendError::QueueFull)
    }

    /// Whether this record can never be sent (dead-letter it), whatever the state of the broker.
    pub fn is_permanent(&self) -> bool {
        matches!(self, SendError::RecordTooLarge { .. } | SendError::InvalidTopic)
    }
}

/// An offset commit did not (certainly) take place.
#[derive(Clone, Debug, Error)]
pub enum CommitError {
    /// The generation no longer owns one of the partitions. Nothing was sent; drop the state of that generation.
    #[error("generation no longer owns the partition")]
    Stale {
        /// Topic of the first partition that was not owned.
        topic: String,
        /// Its number.
        partition: i32,
    },
    /// The metadata is not printable ASCII of at most 512 bytes, or the offset is negative. Nothing was sent.
    #[error("commit is malformed: {reason}")]
    Malformed {
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The group has moved on: this member was fenced and will lose its partitions. Never retry.
    #[error("group refused the member")]
    Fenced(#[source] Cause),
    /// The commit failed for now, or its result is not known; committing the same or a later position again is safe
    /// while the generation lasts.
    #[error("commit failed")]
    Failed(#[source] Cause),
    /// No result came within the time limit; whether the commit took place is not known.
    #[error("commit had no answer in time")]
    TimedOut,
    /// Too many commits wait for the poll thread. This one was not queued; committing the same or a later position
    /// again is safe while the generation lasts.
    #[error("commit queue is full")]
    QueueFull,
    /// The consumer was shut down; whether the commit took place is not known.
    #[error("consumer is closed")]
    Closed,
}

impl CommitError {
    /// Whether committing again under the same generation may succeed.
    pub fn is_retryable(&self) -> bool {
        matches!(self, CommitError::Failed(_) | CommitError::TimedOut | CommitError::QueueFull)
    }

    /// Whether the partition is no longer this member's: drop its state, do not commit for it again.
    pub fn is_stale(&self) -> bool {
        matches!(self, CommitError::Stale { .. } | CommitError::Fenced(_))
    }

    pub(crate) fn from_code(code: RDKafkaErrorCode) -> CommitError {
        use RDKafkaErrorCode as Code;
        match code {
            Code::UnknownMemberId
            | Code::IllegalGeneration
            | Code::FencedInstanceId
            | Code::FencedMemberEpoch
            | Code::StaleMemberEpoch
            | Code::AssignmentLost => CommitError::Fenced(Cause::from(code)),
            Code::OffsetMetadataTooLarge => {
                CommitError::Malformed { reason: "metadata is larger than the broker allows" }
            }
            _ => CommitError::Failed(Cause::from(code)),
        }
    }
}

/// Something an operator should know about a consumer. Transient network trouble is logged, not reported here.
#[derive(Clone, Debug, Error)]
pub enum ConsumerError {
    /// The instance cannot go on (fenced static member, inconsistent state). Start a new [`Consumer`](crate::Consumer).
    #[error("consumer instance failed")]
    Fatal(#[source] Cause),
    /// A topic of the subscription does not exist, or may not be read.
    #[error("topic cannot be read")]
    Topic(#[source] Cause),
    /// The group may not be used with these credentials.
    #[error("group cannot be used")]
    Group(#[source] Cause),
    /// Committed offsets could not be read at an assignment; it is tried again until it works.
    #[error("committed offsets could not be read")]
    CommittedOffsets(#[source] Cause),
    /// Anything else that the client reports; it keeps trying by itself.
    #[error("consumer reports an error")]
    Other(#[source] Cause),
}

impl ConsumerError {
    /// Whether this consumer will never deliver anything again.
    pub fn is_fatal(&self) -> bool {
        matches!(self, ConsumerError::Fatal(_))
    }
}

/// A question to the cluster (watermarks, committed offsets, topics) had no answer.
#[derive(Clone, Debug, Error)]
pub enum LookupError {
    /// The cluster refused, or did not answer in time.
    #[error("cluster did not answer the lookup")]
    Refused(#[source] Cause),
    /// One element of the answer carries an error.
    #[error("cluster refused the lookup for {element}")]
    Element {
        /// Topic, partition or group concerned.
        element: String,
        /// The code of that element.
        #[source]
        source: Cause,
    },
    /// The client was shut down.
    #[error("client is closed")]
    Closed,
}
