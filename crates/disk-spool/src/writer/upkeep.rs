//! What the writer does by itself, with each tick or for want of room.

use std::io::{self, IoSlice};

use super::{
    Writer,
    checkpoint::{RESERVE, RESERVE_BYTES},
};
use crate::{WhenFull, filesystem::write_all_at, state::Fate};

/// The least that must go onto a disk that failed before it is trusted again.
const PROBE_BYTES: u64 = 64 << 10;

/// The most that is tried.
const MAX_PROBE_BYTES: u64 = 4 << 20;

/// What those files are made of.
const BLOCK_BYTES: usize = 4096;

/// Ticks between two tries to make the reserve: a disk that is nearly full has better uses for its writes.
const RESERVE_TICKS: u32 = 30;

const PROBE: &str = "probe.tmp";

/// An active segment without pending frames goes when it is this part of a full one.
const STALE_PART: u64 = 4;

impl Writer {
    /// Probes a disk that failed, drops what is too old, deletes what is done, and restores the reserve.
    pub(super) fn look_after(&mut self) {
        self.probe();
        self.unblock_reading();
        self.drop_aged();
        self.give_room();
        let (is_done, version) = {
            let state = self.shared.state();
            (state.has_done_segment, state.resolved.version())
        };
        // Acknowledgements wait while a checkpoint is written, so none is written that says nothing new.
        if is_done || (self.is_checkpoint_due && version != self.checkpointed) {
            // It was reported, and is tried again with the next tick.
            let _ = self.checkpoint();
        }
        self.restore_reserve();
    }

    /// Sees whether the disk takes something again.
    fn probe(&mut self) {
        if self.shared.state().obstacle.is_none() {
            return;
        }
        let bytes = self.group_bytes.clamp(PROBE_BYTES, MAX_PROBE_BYTES);
        match self.write_file(PROBE, bytes as usize) {
            Ok(()) => {
                tracing::info!("the disk takes appends again");
                self.shared.state().obstacle = None;
            }
            Err(error) => {
                let error = self.shared.report("probe", error);
                self.shared.state().obstacle = Some(error.to_string());
            }
        }
        let _ = self.shared.files.remove(&self.shared.path(PROBE));
    }

    fn unblock_reading(&self) {
        if std::mem::take(&mut self.shared.state().is_reading_blocked) {
            self.shared.reader_bell.notify_waiters();
        }
    }

    /// Drops the segments whose newest frame is too old. They are deleted by the checkpoint that follows.
    fn drop_aged(&mut self) {
        let Some(max_age) = self.shared.options.max_age else { return };
        let now_ms = self.shared.files.now_ms();
        let oldest_ms = now_ms.saturating_sub(u64::try_from(max_age.as_millis()).unwrap_or(u64::MAX));
        let mut state = self.shared.state();
        let aged: Vec<u64> = state
            .segments
            .iter()
            .filter(|(_, segment)| segment.pending.frames > 0 && segment.newest_ms < oldest_ms)
            .filter(|(first, segment)| !state.has_taken_in(segment.range(**first)))
            .map(|(first, _)| *first)
            .collect();
        for first in aged {
            state.drop_segment(first, Fate::DroppedAged);
        }
    }

    /// Ends an active segment that holds nothing pending, when its room is wanted or it has grown large.
    fn give_room(&mut self) {
        let Some(active) = &self.active else { return };
        let is_stale = {
            let mut state = self.shared.state();
            let wants_room = std::mem::take(&mut state.wants_room);
            let is_large = active.length >= self.shared.options.segment_bytes / STALE_PART;
            let segment = state.segments.get(&active.first);
            let is_resolved =
                segment.is_some_and(|segment| segment.total.frames > 0 && segment.pending.frames == 0);
            is_resolved && (wants_room || is_large)
        };
        if is_stale {
            self.seal_active();
        }
    }

    /// Gets `bytes` of the quota, by dropping the oldest segments if that is what the options say.
    pub(super) fn make_room(&mut self, bytes: u64) -> bool {
        loop {
            if self.shared.lane.try_grow(bytes) {
                return true;
            }
            if self.shared.options.when_full == WhenFull::Refuse {
                return false;
            }
            let segments = self.shared.state().segments.len();
            if !self.drop_oldest() || self.checkpoint().is_err() {
                return false;
            }
            if self.shared.state().segments.len() >= segments {
                return false;
            }
        }
    }

    /// Gives up the oldest segment without taken frames; the active one only when there is no other.
    fn drop_oldest(&mut self) -> bool {
        let victim = {
            let state = self.shared.state();
            let mut candidates = state.segments.iter().filter(|(first, segment)| {
                (!segment.is_active || segment.total.frames > 0)
                    && !state.has_taken_in(segment.range(**first))
            });
            candidates.next().map(|(first, segment)| (*first, segment.is_active, segment.pending))
        };
        let Some((first, is_active, pending)) = victim else { return false };
        if is_active {
            self.seal_active();
        }
        tracing::warn!(
            segment = first,
            frames = pending.frames,
            "the quota is used up, dropped the oldest segment"
        );
        self.shared.state().drop_segment(first, Fate::DroppedFull);
        true
    }

    /// Makes the reserve file if it is not there and the disk is well.
    fn restore_reserve(&mut self) {
        self.ticks_to_reserve = self.ticks_to_reserve.saturating_sub(1);
        if self.has_reserve || self.ticks_to_reserve > 0 || self.shared.state().obstacle.is_some() {
            return;
        }
        self.ticks_to_reserve = RESERVE_TICKS;
        match self.write_file(RESERVE, RESERVE_BYTES) {
            Ok(()) => self.has_reserve = true,
            // There is no room for it now: half of one would only take what others need.
            Err(_) => {
                let _ = self.shared.files.remove(&self.shared.path(RESERVE));
            }
        }
    }

    /// A file of so many bytes, rounded up to whole blocks. They are really allocated: neither zeros nor all alike, in
    /// case the disk is clever.
    fn write_file(&self, name: &str, bytes: usize) -> io::Result<()> {
        let file = self.shared.files.create(&self.shared.path(name))?;
        let number = |place: u32| (place.wrapping_mul(2_654_435_761) >> 24) as u8;
        let block: Vec<u8> = (0..BLOCK_BYTES as u32).map(number).collect();
        let mut parts: Vec<_> = (0..bytes.div_ceil(BLOCK_BYTES)).map(|_| IoSlice::new(&block)).collect();
        write_all_at(file.as_ref(), &mut parts, 0)?;
        file.sync()
    }
}
