//! Which offset of one partition may be committed: a pure state machine, without I/O, clock or client.
//!
//! Semantics. The committed offset is the *next offset to read*. It may only move to `n` when every record that was
//! received below `n` is *resolved*: stored, or dead-lettered and acked there. Later records may resolve first; the
//! position waits for the earliest one that has not. Offsets of a partition may have gaps (transaction markers,
//! compaction): a gap below a resolved record is skipped with it, a gap above the last received record is not assumed.
//!
//! A commit is in flight at most once per tracker, so that two commits of one partition cannot overtake each other.
//! A failed commit leaves the position due again. A tracker lives for one assignment of its partition: its generation
//! never changes, and results that carry another generation must not reach it (see [`crate::assignment`]).
//!
//! What is committed is a [`CommitPoint`], offset *and* metadata, and points are compared as a whole: a protocol that
//! announces a block in the metadata before it is inserted commits the same offset again with other metadata, which
//! this state machine already treats as a commit that is due.

#[cfg(test)]
mod tests;

use std::collections::VecDeque;

/// Records that the mean size is of, about.
const SIZES: f64 = 100.0;

/// What is written to the group's offset of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CommitPoint {
    /// The next offset to read.
    pub offset: i64,
    /// Printable ASCII of at most 512 bytes; empty means that nothing is announced.
    pub metadata: String,
}

/// The first record of a partition that is not resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unresolved {
    /// Its offset.
    pub offset: i64,
    /// The broker's timestamp of it, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
}

/// The resolved and unresolved records of one partition during one assignment.
#[derive(Debug)]
pub struct OffsetTracker {
    generation: u64,
    /// Received records, ascending by offset; the front one is unresolved.
    outstanding: VecDeque<Outstanding>,
    /// Records in `outstanding` that are not resolved.
    unresolved: usize,
    /// One past the highest offset ever received, or the committed offset before the first record.
    next: Option<i64>,
    committed: Option<CommitPoint>,
    requested: Option<CommitPoint>,
    /// What is to be committed beside the position.
    announced: Option<String>,
    /// The point is to be committed even if the broker has it.
    is_renewal_due: bool,
    has_resolved_prefix: bool,
    last_resolved_timestamp_ms: Option<i64>,
    mean_bytes: Option<f64>,
}

#[derive(Debug)]
struct Outstanding {
    record: Unresolved,
    resolved: bool,
}

impl OffsetTracker {
    /// A tracker for a partition that was assigned with `generation` and is read from `committed`, when the group has
    /// such an offset.
    pub fn new(generation: u64, committed: Option<CommitPoint>) -> Self {
        OffsetTracker {
            generation,
            outstanding: VecDeque::new(),
            unresolved: 0,
            next: committed.as_ref().map(|point| point.offset),
            // What another owner announced stays until this one announces something.
            announced: committed.as_ref().map(|point| point.metadata.clone()),
            committed,
            requested: None,
            is_renewal_due: false,
            has_resolved_prefix: false,
            last_resolved_timestamp_ms: None,
            mean_bytes: None,
        }
    }

    /// The generation of the assignment this tracker lives for.
    pub fn generation(&self) -> u64 {
        self.generation
    }

    /// Takes note of a record. `false` when its offset lies below what was already received or committed: such a
    /// record is a re-delivery, already accounted for, and must be ignored.
    #[must_use]
    pub fn receive(&mut self, offset: i64, timestamp_ms: Option<i64>) -> bool {
        if self.next.is_some_and(|next| offset < next) {
            return false;
        }
        self.next = Some(offset + 1);
        self.unresolved += 1;
        let record = Unresolved { offset, timestamp_ms };
        self.outstanding.push_back(Outstanding { record, resolved: false });
        true
    }

    /// Takes note of the size of a received record.
    pub fn note_size(&mut self, bytes: usize) {
        let mean = self.mean_bytes.unwrap_or(bytes as f64);
        self.mean_bytes = Some(mean + (bytes as f64 - mean) / SIZES);
    }

    /// Bytes of a record, in the mean over about the last [`SIZES`]; `None` before the first.
    pub fn mean_bytes(&self) -> Option<f64> {
        self.mean_bytes
    }

    /// Marks a received record as stored or dead-lettered. `false` when the offset is not outstanding, or was
    /// resolved before: every record resolves once.
    #[must_use]
    pub fn resolve(&mut self, offset: i64) -> bool {
        let Ok(index) = self.outstanding.binary_search_by_key(&offset, |entry| entry.record.offset) else {
            return false;
        };
        let entry = &mut self.outstanding[index];
        if entry.resolved {
            return false;
        }
        entry.resolved = true;
        self.unresolved -= 1;
        while let Some(front) = self.outstanding.pop_front_if(|front| front.resolved) {
            self.has_resolved_prefix = true;
            self.last_resolved_timestamp_ms = front.record.timestamp_ms;
        }
        true
    }

    /// The next offset a new owner would have to read: every received record below it is resolved. `None` when the
    /// group has no offset and nothing was received.
    pub fn position(&self) -> Option<i64> {
        match self.outstanding.front() {
            Some(first) => Some(first.record.offset),
            None => self.next,
        }
    }

    /// One past the last received record, or the committed offset before the first one.
    pub fn next(&self) -> Option<i64> {
        self.next
    }

    /// The commit to issue now: `None` while one is in flight, and when the broker already has this point.
    pub fn commit_due(&self) -> Option<CommitPoint> {
        if self.requested.is_some() {
            return None;
        }
        let metadata = self.announced.clone().unwrap_or_default();
        let point = CommitPoint { offset: self.position()?, metadata };
        let has_moved = match &self.committed {
            Some(committed) => *committed != point,
            // A group without an offset starts at the earliest record anyhow: only a resolved record is news.
            None => self.has_resolved_prefix || self.announced.is_some(),
        };
        (has_moved || self.is_renewal_due).then_some(point)
    }

    /// Whether a commit is due or in flight.
    pub fn is_commit_pending(&self) -> bool {
        self.requested.is_some() || self.commit_due().is_some()
    }

    /// The point is on its way to the broker.
    pub fn commit_started(&mut self, point: CommitPoint) {
        debug_assert!(self.requested.is_none(), "one commit in flight per partition");
        self.requested = Some(point);
        self.is_renewal_due = false;
    }

    /// From now on `metadata` is committed beside the position; once more if the broker has it, since the acknowledgement
    /// proves that the partition is ours.
    pub fn announce(&mut self, metadata: String) {
        self.announced = Some(metadata);
        self.is_renewal_due = true;
    }

    /// Nothing is announced any more.
    pub fn withdraw(&mut self) {
        self.announced = None;
        self.is_renewal_due = false;
    }

    /// Commits once more what the broker may have, for the acknowledgement.
    pub fn renew(&mut self) {
        self.is_renewal_due = true;
    }

    /// Whether something is announced that the broker has to take, or a proof of ownership is waited for.
    pub fn is_commit_wished(&self) -> bool {
        self.is_renewal_due
    }

    /// Whether the broker has acknowledged what is announced now, since it was.
    pub fn is_announcement_committed(&self) -> bool {
        let committed = self.committed.as_ref().map(|point| point.metadata.as_str());
        self.announced.is_some()
            && !self.is_renewal_due
            && self.requested.is_none()
            && committed == self.announced.as_deref()
    }

    /// The broker answered the commit in flight. After a failure the position is due again.
    pub fn commit_finished(&mut self, is_committed: bool) {
        let requested = self.requested.take();
        if is_committed {
            self.committed = requested;
        } else {
            self.is_renewal_due |= self.announced.is_some();
        }
    }

    /// The offset the broker has for the group.
    pub fn committed_offset(&self) -> Option<i64> {
        self.committed.as_ref().map(|point| point.offset)
    }

    /// The first received record that is not resolved.
    pub fn first_unresolved(&self) -> Option<Unresolved> {
        self.outstanding.front().map(|entry| entry.record)
    }

    /// Broker timestamp of the last record of the resolved prefix, milliseconds since the epoch.
    pub fn last_resolved_timestamp_ms(&self) -> Option<i64> {
        self.last_resolved_timestamp_ms
    }

    /// Records received and not resolved.
    pub fn unresolved(&self) -> usize {
        self.unresolved
    }
}
