//! The closed set of things a consumer tells its owner, in the one order in which they happened.
//!
//! **Generations.** Each assignment gets the next generation. A partition keeps the generation it was assigned in
//! until it is revoked; every [`Record`] carries it, and a commit must name it. State built under a generation dies
//! with it: after [`ConsumerEvent::Revoked`] has been acknowledged, no record of it arrives and no commit of it is
//! sent, so a member that was frozen and has silently rejoined cannot move another owner's offsets.
//!
//! **Acknowledgement.** The group waits while a rebalance event is unacknowledged, at most `rebalance_timeout`. The
//! owner takes the state over (or, when revoked and not lost, commits its last resolved prefix), then acknowledges.
//! Dropping the guard acknowledges too, so that an owner that is going away does not hold the group up.

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use bytes::Bytes;

use crate::{credit::Credit, doorbell::Doorbell, error::ConsumerError};

/// What happened to a consumer.
#[derive(Debug)]
pub enum ConsumerEvent {
    /// Partitions were given to this member. Their records follow after the acknowledgement. An empty list means
    /// that the group was joined and had nothing to give.
    Assigned {
        /// The generation that these partitions live in.
        generation: u64,
        /// What was given, with the position to resume from.
        partitions: Vec<AssignedPartition>,
        /// Fetching starts once this is acknowledged.
        ack: AckGuard,
    },
    /// Partitions were taken away; no more of their records follow.
    Revoked {
        /// The consumer's newest generation at this moment. Each partition carries its own.
        generation: u64,
        /// What was taken.
        partitions: Vec<RevokedPartition>,
        /// Another member may own them already: drop their state and do not commit.
        lost: bool,
        /// The partitions are given back once this is acknowledged; until then (unless lost) they can be committed.
        ack: AckGuard,
    },
    /// One record.
    Record(Record),
    /// The position of a partition is not in the log any more (retention has passed it, or the log was cut). The
    /// partition delivers nothing until [`Consumer::seek`](crate::Consumer::seek) names a new position.
    OffsetOutOfRange {
        /// Generation of the partition.
        generation: u64,
        /// Its topic.
        topic: Arc<str>,
        /// Its number.
        partition: i32,
        /// The offset that was wanted.
        position: i64,
        /// First offset that the log still has. `low - position` records are gone when it is the larger one.
        low: i64,
        /// Offset that the next record will get.
        high: i64,
    },
    /// Something an operator should know; see [`ConsumerError::is_fatal`].
    Error(ConsumerError),
}

/// A partition given to this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AssignedPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// The group's committed position; `None` when there is none, and fetching starts at `initial_offset`.
    pub committed: Option<CommittedOffset>,
}

/// A committed position.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// Offset of the next record to process.
    pub offset: i64,
    /// What the committer wrote beside it; empty when nothing.
    pub metadata: String,
}

/// A partition taken from this member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RevokedPartition {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// The generation in which it had been assigned.
    pub generation: u64,
}

/// A position to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitOffset {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Offset of the next record to process: one past the last resolved.
    pub offset: i64,
    /// Printable ASCII, at most 512 bytes; replaces what was there.
    pub metadata: String,
}

/// One consumed record. Its bytes are counted against the partition until `credit` is dropped.
#[derive(Debug)]
pub struct Record {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// Broker or producer timestamp in milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Key, if any.
    pub key: Option<Bytes>,
    /// Value; a tombstone (no value) reads as empty.
    pub value: Bytes,
    /// Headers in order; a header without value reads as empty.
    pub headers: Vec<(String, Bytes)>,
    /// Generation of the partition when the record was handed over.
    pub generation: u64,
    /// Holds back further records of the partition while it lives; drop it when the record is resolved.
    pub credit: Credit,
}

/// Acknowledges a rebalance event, at the latest when dropped.
pub struct AckGuard {
    signal: Arc<AckSignal>,
}

impl AckGuard {
    /// The rebalance may go on.
    pub fn ack(self) {
        drop(self);
    }

    pub(crate) fn new(doorbell: Doorbell) -> (AckGuard, Arc<AckSignal>) {
        let signal = Arc::new(AckSignal { acknowledged: AtomicBool::new(false), doorbell });
        (AckGuard { signal: Arc::clone(&signal) }, signal)
    }
}

impl Drop for AckGuard {
    fn drop(&mut self) {
        self.signal.acknowledged.store(true, Ordering::Release);
        self.signal.doorbell.ring();
    }
}

impl fmt::Debug for AckGuard {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("AckGuard").finish_non_exhaustive()
    }
}

/// The poll thread's side of an [`AckGuard`].
#[derive(Debug)]
pub(crate) struct AckSignal {
    acknowledged: AtomicBool,
    doorbell: Doorbell,
}

impl AckSignal {
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.acknowledged.load(Ordering::Acquire)
    }
}
