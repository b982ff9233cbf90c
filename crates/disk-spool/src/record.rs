//! What goes into a spool, what comes out, and how it is counted.

use std::{
    ops::{AddAssign, SubAssign},
    time::Duration,
};

use bytes::Bytes;

use crate::{Finding, Incarnation};

/// One record to append. Its payload is `head` followed by `body`.
#[derive(Debug, Clone)]
pub struct Frame {
    /// The owner's description of the body.
    pub head: Bytes,
    /// What the owner wants to keep.
    pub body: Bytes,
    /// How many of the owner's items it holds, for the counts.
    pub items: u64,
    /// The owner is delivering it already: [`Spool::take`](crate::Spool::take) passes over it until it is given back.
    pub is_taken: bool,
}

impl Frame {
    pub(crate) fn payload_bytes(&self) -> usize {
        self.head.len().saturating_add(self.body.len())
    }

    pub(crate) fn tally(&self) -> Tally {
        Tally { frames: 1, items: self.items, bytes: self.payload_bytes() as u64 }
    }
}

/// A frame handed out by [`Spool::take`](crate::Spool::take).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taken {
    /// Its number in this spool.
    pub sequence: u64,
    /// `head` followed by `body`, as appended.
    pub payload: Bytes,
    /// As appended.
    pub items: u64,
    /// The wall clock at the append, in milliseconds since the epoch.
    pub appended_at_ms: u64,
}

/// A count of frames.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Frames.
    pub frames: u64,
    /// Their items.
    pub items: u64,
    /// Their payload bytes.
    pub bytes: u64,
}

// Sizes and item counts come from the disk, and a count that lies must not end the process.
impl AddAssign for Tally {
    fn add_assign(&mut self, other: Tally) {
        self.frames = self.frames.saturating_add(other.frames);
        self.items = self.items.saturating_add(other.items);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

impl SubAssign for Tally {
    fn sub_assign(&mut self, other: Tally) {
        self.frames = self.frames.saturating_sub(other.frames);
        self.items = self.items.saturating_sub(other.items);
        self.bytes = self.bytes.saturating_sub(other.bytes);
    }
}

/// What a spool found in its directory.
#[derive(Debug, Clone)]
pub struct Recovery {
    /// Which spool this is; with a frame's sequence it names the frame for ever.
    pub incarnation: Incarnation,
    /// The number that the next frame gets; every frame below it was appended by an earlier process.
    pub next_sequence: u64,
    /// The note of the last checkpoint; empty when there was none.
    pub note: Bytes,
    /// Frames that are not resolved.
    pub pending: Tally,
    /// What was not as it should be, and what was done about it.
    pub findings: Vec<Finding>,
    /// How long the opening took.
    pub took: Duration,
}

/// What a spool holds and has done; the counts begin at its opening.
#[derive(Debug, Clone, Default)]
pub struct Usage {
    /// Frames not resolved, taken ones included.
    pub pending: Tally,
    /// Frames handed out and neither resolved nor given back.
    pub taken: Tally,
    /// Bytes of its segments and of its quarantine; the cursors and the reserve file come on top of it.
    pub disk_bytes: u64,
    /// Bytes that it may have.
    pub quota_bytes: u64,
    /// When the oldest unresolved frame was appended, in milliseconds since the epoch. Never later than it was, and
    /// earlier by what one segment spans at most.
    pub oldest_pending_ms: Option<u64>,
    /// Frames lost to damage. Items and bytes of a damaged frame are known, and counted, only when everything else of
    /// its segment is resolved, and not at all where that was read only in part.
    pub corrupt: Tally,
    /// Frames dropped because the quota was used up.
    pub dropped_full: Tally,
    /// Frames dropped because of their age.
    pub dropped_aged: Tally,
    /// Segment files.
    pub segments: usize,
    /// Why appends are refused now, in words; `None` while they are taken.
    pub obstacle: Option<String>,
}

/// Why an append was not taken. Nothing of it is kept.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The quota is used up.
    #[error("the spool is full")]
    Full,
    /// Too many bytes wait for the disk.
    #[error("too many bytes wait for the disk")]
    Busy,
    /// A frame is larger than a segment may hold, or a note than a cursor may.
    #[error("a frame of {bytes} bytes is above the limit")]
    TooLarge {
        /// Its size.
        bytes: usize,
    },
    /// The disk does not take it.
    #[error("the disk does not take it: {reason}")]
    Disk {
        /// What the disk said.
        reason: String,
    },
    /// The spool is closed.
    #[error("the spool is closed")]
    Closed,
}
