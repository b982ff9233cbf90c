//! Checkpoints, and the deletion of segments that they make possible.

use std::io::{self, IoSlice};

use super::{Writer, group::is_full};
use crate::{
    filesystem::write_all_at,
    format::{Cursor, ResolvedTally},
    shared::Shared,
    state::State,
};

/// Ranges that a cursor holds at most; what is resolved above them is handed out again after a restart.
const MAX_RANGES: usize = 4096;

/// Bytes kept for a checkpoint on a full disk.
pub(crate) const RESERVE_BYTES: usize = 1 << 20;

/// The file that keeps them.
pub(crate) const RESERVE: &str = "reserve";

/// The two files that checkpoints go to by turns, so that one always holds a complete one.
pub(crate) const CURSORS: [&str; 2] = ["cursor.0", "cursor.1"];

const TEMPORARY: &str = "cursor.tmp";

impl Writer {
    /// Writes down what is resolved, and then deletes the segments that are so wholly.
    pub(super) fn checkpoint(&mut self) -> io::Result<()> {
        let shared = std::sync::Arc::clone(&self.shared);
        let (version, (cursor, done)) = {
            let mut state = shared.state();
            state.has_done_segment = false;
            (state.resolved.version(), self.snapshot(&state))
        };
        let mut outcome = write_cursor(&shared, &cursor);
        if outcome.as_ref().is_err_and(is_full) && self.has_reserve {
            // This is what the reserve is for.
            self.has_reserve = shared.files.remove(&shared.path(RESERVE)).is_err();
            outcome = write_cursor(&shared, &cursor);
        }
        if let Err(error) = outcome {
            shared.state().has_done_segment |= !done.is_empty();
            return Err(shared.report("checkpoint", error));
        }
        self.generation = cursor.generation;
        self.checkpointed = version;
        self.is_checkpoint_due = false;
        delete(&shared, &done);
        Ok(())
    }

    /// The cursor, and the segments that may go once it is durable.
    fn snapshot(&self, state: &State) -> (Cursor, Vec<u64>) {
        let mut all = state.resolved.ranges();
        let ranges: Vec<_> = all.by_ref().take(MAX_RANGES).collect();
        let complete_below = all.next().map_or(u64::MAX, |range| range.start);
        let complete = || state.segments.iter().filter(|(_, segment)| segment.end <= complete_below);
        let done = complete()
            .filter(|(_, segment)| !segment.is_active && segment.pending.frames == 0)
            .map(|(first, _)| *first)
            .collect();
        // Also of the active one that has nothing pending now: it may be sealed with more before the next checkpoint.
        let partial = complete().filter(|(_, segment)| segment.is_active || segment.pending.frames > 0);
        let tallies = partial.filter_map(|(first, segment)| {
            let mut resolved = segment.total;
            resolved -= segment.pending;
            (resolved != Default::default()).then_some(ResolvedTally { segment: *first, resolved })
        });
        let cursor = Cursor {
            incarnation: self.shared.incarnation,
            generation: self.generation + 1,
            watermark: state.resolved.watermark(),
            // Numbers of frames that failed count as resolved: they are passed, and never given again.
            next: self.durable_end.max(state.resolved.end()),
            complete_below,
            ranges,
            tallies: tallies.collect(),
            note: state.note.clone(),
        };
        (cursor, done)
    }
}

fn write_cursor(shared: &Shared, cursor: &Cursor) -> io::Result<()> {
    let temporary = shared.path(TEMPORARY);
    // A file of its own for each try: one whose sync failed is never synced again.
    let outcome = (|| {
        let file = shared.files.create(&temporary)?;
        write_all_at(file.as_ref(), &mut [IoSlice::new(&cursor.encode())], 0)?;
        file.sync()
    })();
    if let Err(error) = outcome {
        let _ = shared.files.remove(&temporary);
        return Err(error);
    }
    let name = CURSORS[usize::from(cursor.generation % 2 == 1)];
    shared.files.rename(&temporary, &shared.path(name))?;
    shared.files.sync_directory(&shared.options.directory)
}

/// Deletes segments that the durable cursor has as resolved. Their names may come back after a power cut: the directory
/// is not synced for them, and opening deletes them again.
fn delete(shared: &Shared, done: &[u64]) {
    for first in done {
        match shared.files.remove(&shared.segment_path(*first)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                shared.report("delete segment", error);
                continue;
            }
        }
        if let Some(segment) = shared.state().segments.remove(first) {
            shared.lane.shrink(segment.file_bytes);
        }
    }
}
