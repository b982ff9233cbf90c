//! What is known of a segment without reading it.

use std::ops::Range;

use crate::{Tally, format::Seal};

/// One segment, as far as its frames are published.
#[derive(Debug, Clone, Default)]
pub(crate) struct Segment {
    /// Sequence after its last frame.
    pub(crate) end: u64,
    /// Bytes up to the end of its last frame that is durable; the reader never goes past it.
    pub(crate) length: u64,
    /// Bytes of the file, as counted against the quota.
    pub(crate) file_bytes: u64,
    /// The writer may add to it.
    pub(crate) is_active: bool,
    /// All its frames.
    pub(crate) total: Tally,
    /// Those that are not resolved.
    pub(crate) pending: Tally,
    /// Frames of it were lost to damage; what they count is known when all others are resolved.
    pub(crate) has_damage: bool,
    /// Frames of it were resolved without being read; what they count is not known.
    pub(crate) has_unmeasured: bool,
    /// When its first frame was appended; the time of its making while it has none.
    pub(crate) oldest_ms: u64,
    /// When its newest frame was appended.
    pub(crate) newest_ms: u64,
}

impl Segment {
    /// A new one that has no frames yet.
    pub(crate) fn empty(first: u64, header_bytes: u64, file_bytes: u64, now_ms: u64) -> Segment {
        Segment {
            end: first,
            length: header_bytes,
            file_bytes,
            is_active: true,
            oldest_ms: now_ms,
            newest_ms: 0,
            ..Segment::default()
        }
    }

    pub(crate) fn range(&self, first: u64) -> Range<u64> {
        first..self.end
    }

    /// Counts one more pending frame.
    pub(crate) fn add(&mut self, sequence: u64, tally: Tally, appended_at_ms: u64) {
        if self.total.frames == 0 {
            self.oldest_ms = appended_at_ms;
        }
        self.oldest_ms = self.oldest_ms.min(appended_at_ms);
        self.newest_ms = self.newest_ms.max(appended_at_ms);
        self.end = sequence + 1;
        self.total += tally;
        self.pending += tally;
    }

    /// What its seal says.
    pub(crate) fn seal(&self) -> Seal {
        Seal { end: self.end, total: self.total, oldest_ms: self.oldest_ms, newest_ms: self.newest_ms }
    }
}
