//! The outcome of a send, and the table that says what to do with each error of a delivery report.
//!
//! | kind | what it means | what the owner does |
//! |---|---|---|
//! | `Record` | this record can never be stored | dead-letter it |
//! | `Topic` | the topic is missing or may not be written | hold the topic's records, readiness degraded; do not dead-letter |
//! | `Fatal` | the idempotent session broke; the producer replaces its instance by itself | send again |
//! | `Retryable` | everything else, unknown codes too | send again later |
//!
//! Unknown codes are retryable on purpose: a wrong "retry" costs time, a wrong "give up" costs data.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use rdkafka::error::RDKafkaErrorCode as Code;
use thiserror::Error;
use tokio::sync::oneshot;

use crate::error::Cause;

/// Where a delivered record lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Partition number.
    pub partition: i32,
    /// Offset in the partition; -1 when the broker did not say (a duplicate that it recognised).
    pub offset: i64,
}

/// Resolves once, when the broker has acknowledged the record or the producer has given it up.
///
/// Dropping it does not take the record back.
#[derive(Debug)]
#[must_use = "without the delivery report nobody knows whether the record was stored"]
pub struct Delivery {
    report: oneshot::Receiver<Result<Delivered, DeliveryError>>,
}

impl Delivery {
    pub(crate) fn new() -> (DeliveryReporter, Delivery) {
        let (sender, report) = oneshot::channel();
        (Box::new(sender), Delivery { report })
    }
}

impl Future for Delivery {
    type Output = Result<Delivered, DeliveryError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.report)
            .poll(context)
            .map(|report| report.unwrap_or_else(|_closed| Err(DeliveryError::from_code(Code::PurgeInflight))))
    }
}

/// What travels through librdkafka with the record and comes back with its report.
pub(crate) type DeliveryReporter = Box<oneshot::Sender<Result<Delivered, DeliveryError>>>;

/// A record was not acknowledged.
#[derive(Clone, Debug, Error)]
#[error("record was not acknowledged")]
pub struct DeliveryError {
    kind: DeliveryErrorKind,
    ambiguous: bool,
    #[source]
    cause: Cause,
}

impl DeliveryError {
    /// What to do about it.
    pub fn kind(&self) -> DeliveryErrorKind {
        self.kind
    }

    /// Whether the record may be in the topic all the same, so that sending it again may store it twice.
    pub fn is_ambiguous(&self) -> bool {
        self.ambiguous
    }

    /// Whether sending the same record again can succeed (kinds `Fatal` and `Retryable`).
    pub fn is_retryable(&self) -> bool {
        matches!(self.kind, DeliveryErrorKind::Fatal | DeliveryErrorKind::Retryable)
    }

    pub(crate) fn from_code(code: Code) -> DeliveryError {
        DeliveryError { kind: classify(code), ambiguous: is_ambiguous(code), cause: Cause::from(code) }
    }
}

/// The four classes of delivery errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum DeliveryErrorKind {
    /// Permanent for this record: too large, or malformed in the broker's eyes.
    ///
    /// "Too large" is judged by the broker for a whole batch. The producer never forms batches above
    /// `max_message_bytes`, so this is the record's own fault as long as that setting is not above the topic's limit.
    Record,
    /// Permanent for this topic until an operator acts: it does not exist or may not be written.
    Topic,
    /// The producer's session cannot go on; a new instance takes its place.
    Fatal,
    /// Not now.
    Retryable,
}

/// The table. It also sorts what librdkafka refuses at once.
pub(crate) fn classify(code: Code) -> DeliveryErrorKind {
    match code {
        Code::MessageSizeTooLarge
        | Code::MessageBatchTooLarge
        | Code::InvalidMessageSize
        | Code::InvalidRecord
        | Code::InvalidTimestamp
        | Code::BadMessage => DeliveryErrorKind::Record,

        Code::UnknownTopic
        | Code::UnknownTopicOrPartition
        | Code::UnknownPartition
        | Code::UnknownTopicId
        | Code::InvalidTopic
        | Code::TopicAuthorizationFailed
        | Code::ClusterAuthorizationFailed
        | Code::PolicyViolation
        | Code::InvalidRequiredAcks
        | Code::UnsupportedForMessageFormat
        | Code::UnsupportedCompressionType => DeliveryErrorKind::Topic,

        Code::Fatal
        | Code::Fenced
        | Code::GaplessGuarantee
        | Code::Inconsistent
        | Code::UnknownProducerId
        | Code::OutOfOrderSequenceNumber
        | Code::DuplicateSequenceNumber
        | Code::InvalidProducerEpoch
        | Code::InvalidProducerIdMapping
        | Code::ProducerFenced => DeliveryErrorKind::Fatal,

        _ => DeliveryErrorKind::Retryable,
    }
}

/// False only where the code itself proves that no broker has stored the record. A record that was purged from the queue may
/// have been on its way before and wait there for another attempt; the same goes for one whose topic has gone since.
fn is_ambiguous(code: Code) -> bool {
    let is_refused = classify(code) == DeliveryErrorKind::Record;
    !(is_refused || code == Code::QueueFull)
}

#[cfg(test)]
mod tests;
