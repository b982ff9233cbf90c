//! Beginning and ending segments.

use std::io::{self, IoSlice};

use super::{Active, Writer, group::Trouble};
use crate::{
    Refusal,
    filesystem::{File, write_all_at},
    format::{HEADER_BYTES, Header, SEAL_BYTES, Seal, segment_name},
    state::Segment,
};

/// What a segment has beside its frames; charged to the quota when it begins.
pub(crate) const OVERHEAD_BYTES: u64 = (HEADER_BYTES + SEAL_BYTES) as u64;

/// The name of a segment that is not there yet.
const TEMPORARY: &str = "segment.tmp";

impl Writer {
    /// Begins the segment of the next frame. Its name and header are durable before anything is appended.
    pub(super) fn begin_segment(&mut self) -> Result<(), Trouble> {
        if !self.make_room(OVERHEAD_BYTES) {
            self.shared.state().wants_room = true;
            return Err(Trouble::Undone(Refusal::Full));
        }
        let (first, now_ms) = (self.next, self.shared.files.now_ms());
        let header = Header {
            incarnation: self.shared.incarnation,
            first,
            previous_end: self.durable_end,
            created_ms: now_ms,
        };
        let file = match self.write_segment(&header) {
            Ok(file) => file,
            Err(error) => {
                let error = self.shared.report("begin segment", error);
                self.shared.lane.shrink(OVERHEAD_BYTES);
                for name in [TEMPORARY, &segment_name(first)] {
                    let _ = self.shared.files.remove(&self.shared.path(name));
                }
                // Nothing was appended, but a name may be left that the next try must not meet.
                return Err(Trouble::Undone(Refusal::Disk { reason: error.to_string() }));
            }
        };
        let length = HEADER_BYTES as u64;
        let sum = Seal { end: first, total: Default::default(), oldest_ms: now_ms, newest_ms: 0 };
        self.active = Some(Active { first, file, length, sum });
        let mut state = self.shared.state();
        state.pass_over(self.durable_end..first);
        state.segments.insert(first, Segment::empty(first, length, OVERHEAD_BYTES, now_ms));
        Ok(())
    }

    fn write_segment(&self, header: &Header) -> io::Result<Box<dyn File>> {
        let shared = &self.shared;
        let temporary = shared.path(TEMPORARY);
        let file = shared.files.create(&temporary)?;
        write_all_at(file.as_ref(), &mut [IoSlice::new(&header.encode())], 0)?;
        file.sync()?;
        shared.files.rename(&temporary, &shared.segment_path(header.first))?;
        shared.files.sync_directory(&shared.options.directory)?;
        Ok(file)
    }

    /// Ends the active segment with its totals. Nothing depends on the seal: without it opening reads the segment, so
    /// it is left to the kernel when it becomes durable.
    pub(super) fn seal_active(&mut self) {
        let Some(active) = &self.active else { return };
        let seal = active.sum.encode(self.shared.seed, self.shared.files.now_ms());
        if let Err(error) = write_all_at(active.file.as_ref(), &mut [IoSlice::new(&seal)], active.length) {
            self.shared.report("seal", error);
        }
        self.retire_active(0);
        self.is_checkpoint_due = true;
    }

    /// Writes to the active segment no more. It may be `length` bytes long, if that is more than what is counted.
    pub(super) fn retire_active(&mut self, length: u64) {
        let Some(active) = self.active.take() else { return };
        let mut excess = length.saturating_sub(active.length);
        if excess > 0 && active.file.truncate(active.length).is_ok() {
            excess = 0;
        }
        self.shared.lane.grow(excess);
        let mut state = self.shared.state();
        if let Some(segment) = state.segments.get_mut(&active.first) {
            segment.file_bytes += excess;
        }
        state.retire(active.first);
    }
}
