//! What a spool is told, and whom it tells what the disk did.

use std::{fmt, io, path::PathBuf, time::Duration};

/// What a spool is told at its opening.
#[derive(Debug, Clone)]
pub struct SpoolOptions {
    /// Where its files are; made when it is not there.
    pub directory: PathBuf,
    /// A segment is sealed when the next append would make it larger than this.
    pub segment_bytes: u64,
    /// How long the first frame of a group waits for others before the group is written and synced.
    pub group_window: Duration,
    /// A group of so many bytes does not wait for the window.
    pub group_bytes: usize,
    /// Bytes that may wait for the disk; beyond them appends are refused.
    pub queue_bytes: usize,
    /// Frames larger than this are refused.
    pub max_frame_bytes: usize,
    /// What happens when the quota is used up.
    pub when_full: WhenFull,
    /// Frames older than this are dropped; none when there is no such limit.
    pub max_age: Option<Duration>,
}

/// What happens when the quota is used up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WhenFull {
    /// Appends are refused.
    Refuse,
    /// The oldest segment without a taken frame goes, and is counted.
    DropOldest,
}

/// What the disk did, as it happens. Called on the spool's own thread and in [`Spool::take`](crate::Spool::take); it must
/// not block.
pub trait Observer: Send + Sync + fmt::Debug {
    /// A group of frames was synced.
    fn synced(&self, frames: usize, bytes: usize, took: Duration);
    /// An operation on the disk failed.
    fn disk_error(&self, operation: &'static str, error: &io::Error);
}
