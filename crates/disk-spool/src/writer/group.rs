//! Storing a group: written, synced, published, answered.

use std::{
    collections::VecDeque,
    io::{self, IoSlice},
    ops::Range,
    time::Instant,
};

use super::{Active, Writer};
use crate::{
    Frame, Refusal,
    filesystem::write_all_at,
    format::{HEADER_BYTES, KIND_DATA, PREFIX_BYTES, Prefix, SEAL_BYTES, Seal},
    shared::Append,
    state::Location,
};

/// Why a run of frames is not on the disk.
pub(super) enum Trouble {
    /// The segment is as it was before, and good for further appends.
    Undone(Refusal),
    /// The segment may hold what was not stored, and is not written to again.
    Spoiled(io::Error),
}

/// Frames as they are written.
struct Run {
    prefixes: Vec<[u8; PREFIX_BYTES]>,
    places: Vec<(u64, Location, bool)>,
    seal: Option<[u8; SEAL_BYTES]>,
    sum: Seal,
    /// Length of the segment with the frames, without the seal.
    length: u64,
}

impl Writer {
    /// Stores what has collected, in as many runs as segments are needed.
    pub(super) fn store_group(&mut self, group: VecDeque<Append>) {
        let queued: usize = group.iter().map(|append| append.bytes as usize).sum();
        let (mut run, mut run_bytes) = (Vec::new(), 0);
        for append in group {
            if !append.is_granted && !self.make_room(append.bytes) {
                self.shared.state().wants_room = true;
                let _ = append.reply.send(Err(Refusal::Full));
                continue;
            }
            if !self.has_room(run_bytes, append.bytes) {
                if run.is_empty() {
                    self.seal_active();
                } else {
                    self.store(std::mem::take(&mut run), true);
                }
                run_bytes = 0;
            }
            run_bytes += append.bytes;
            run.push(append);
        }
        if !run.is_empty() {
            self.store(run, false);
        }
        self.shared.queue().bytes -= queued;
    }

    /// Whether the segment takes `bytes` more after `run_bytes`. An empty one takes whatever comes.
    fn has_room(&self, run_bytes: u64, bytes: u64) -> bool {
        let used = run_bytes + self.active.as_ref().map_or(HEADER_BYTES as u64, |active| active.length);
        used + bytes + SEAL_BYTES as u64 <= self.shared.options.segment_bytes || used == HEADER_BYTES as u64
    }

    /// Stores frames in one segment and answers for them.
    fn store(&mut self, run: Vec<Append>, is_last_of_segment: bool) {
        let frames: u64 = run.iter().map(|append| append.frames.len() as u64).sum();
        self.group_bytes = run.iter().map(|append| append.bytes).sum();
        let outcome = match self.obstacle() {
            Some(refusal) => Err(refusal),
            None => self.store_twice(&run, is_last_of_segment),
        };
        match outcome {
            Ok(first) => answer(run, first),
            Err(refusal) => {
                tracing::debug!(frames, %refusal, "a group was refused");
                self.refuse(run, &refusal);
            }
        }
    }

    /// Tries once more, in a fresh segment, when the one at hand is spoiled: the frames are still in memory, but what
    /// a failed sync left of them on the disk is not to be trusted.
    fn store_twice(&mut self, run: &[Append], is_last_of_segment: bool) -> Result<u64, Refusal> {
        let first = self.next;
        let frames: u64 = run.iter().map(|append| append.frames.len() as u64).sum();
        let refusal = match self.attempt(run, is_last_of_segment) {
            Ok(()) => return Ok(first),
            Err(Trouble::Undone(refusal)) => return Err(self.obstructed(refusal)),
            Err(Trouble::Spoiled(error)) => {
                tracing::warn!(%error, "a segment can no longer be written to, trying another");
                match self.attempt(run, is_last_of_segment) {
                    Ok(()) => return Ok(first),
                    Err(Trouble::Undone(refusal)) => refusal,
                    Err(Trouble::Spoiled(error)) => Refusal::Disk { reason: error.to_string() },
                }
            }
        };
        // The spoiled segment may hold frames with these sequences: no other frame gets them, and the next segment's
        // header says that they are void.
        self.next += frames;
        self.retire_active(0);
        Err(self.obstructed(refusal))
    }

    fn attempt(&mut self, appends: &[Append], is_last_of_segment: bool) -> Result<(), Trouble> {
        if self.active.is_none() {
            self.begin_segment()?;
        }
        let Some(active) = &self.active else { return Err(Trouble::Undone(Refusal::Full)) };
        let run = self.encode(active, appends, is_last_of_segment);
        let frames = || appends.iter().flat_map(|append| &append.frames);
        let mut parts = parts(&run, frames());
        if let Err(error) = write_all_at(active.file.as_ref(), &mut parts, active.length) {
            return Err(self.undo_write(error, run.length));
        }
        let started = Instant::now();
        if let Err(error) = active.file.sync() {
            let error = self.shared.report("sync", error);
            self.retire_active(run.length);
            return Err(Trouble::Spoiled(error));
        }
        let bytes = frames().map(Frame::payload_bytes).sum();
        self.shared.observer.synced(run.places.len(), bytes, started.elapsed());
        self.publish(&run);
        Ok(())
    }

    /// The frames are durable: counts them, lets the reader see them, and only then wakes it.
    fn publish(&mut self, run: &Run) {
        let Some(active) = &mut self.active else { return };
        let (first, written) = (active.first, run.length - active.length);
        active.length = run.length;
        active.sum = run.sum;
        self.next = run.sum.end;
        self.durable_end = run.sum.end;
        {
            let mut state = self.shared.state();
            state.publish(first, run.length, &run.places);
            if let Some(segment) = state.segments.get_mut(&first) {
                segment.file_bytes += written;
            }
        }
        self.shared.reader_bell.notify_waiters();
        if run.seal.is_some() {
            self.retire_active(0);
            self.is_checkpoint_due = true;
        }
    }

    /// A write failed: cuts off what it left.
    fn undo_write(&mut self, error: io::Error, length: u64) -> Trouble {
        let error = self.shared.report("write", error);
        let is_cut = match &self.active {
            Some(active) => {
                active.file.truncate(active.length).map_err(|error| self.shared.report("truncate", error))
            }
            None => Ok(()),
        };
        if is_cut.is_ok() && is_full(&error) {
            return Trouble::Undone(Refusal::Disk { reason: error.to_string() });
        }
        self.retire_active(if is_cut.is_ok() { 0 } else { length });
        Trouble::Spoiled(error)
    }

    fn encode(&self, active: &Active, appends: &[Append], is_last_of_segment: bool) -> Run {
        let shared = &self.shared;
        let now_ms = shared.files.now_ms();
        let mut run = Run {
            prefixes: Vec::new(),
            places: Vec::new(),
            seal: None,
            sum: active.sum,
            length: active.length,
        };
        for frame in appends.iter().flat_map(|append| &append.frames) {
            let sequence = self.next + run.places.len() as u64;
            let prefix = Prefix {
                length: frame.payload_bytes() as u32,
                kind: KIND_DATA,
                sequence,
                items: frame.items,
                appended_at_ms: now_ms,
                synced_end: self.durable_end,
                checksum: 0,
            };
            run.prefixes.push(prefix.encode(shared.seed, &[&frame.head, &frame.body]));
            let location = Location {
                segment: active.first,
                offset: run.length,
                bytes: prefix.length,
                items: frame.items,
                appended_at_ms: now_ms,
            };
            run.places.push((sequence, location, frame.is_taken));
            run.length += prefix.frame_bytes();
            run.sum.add(sequence, frame.tally(), now_ms);
        }
        run.seal = is_last_of_segment.then(|| run.sum.encode(shared.seed, now_ms));
        run
    }

    /// Answers callers whose frames are not stored, and gives back what they had of the quota.
    fn refuse(&self, run: Vec<Append>, refusal: &Refusal) {
        for append in run {
            self.shared.lane.shrink(append.bytes);
            let _ = append.reply.send(Err(refusal.clone()));
        }
    }

    fn obstacle(&self) -> Option<Refusal> {
        self.shared.state().obstacle.clone().map(|reason| Refusal::Disk { reason })
    }

    /// Remembers what the disk refused, so that further appends need not try.
    fn obstructed(&mut self, refusal: Refusal) -> Refusal {
        if let Refusal::Disk { reason } = &refusal {
            tracing::warn!(%reason, "the disk takes nothing, appends are refused until it does");
            self.shared.state().obstacle = Some(reason.clone());
        }
        refusal
    }
}

/// Tells each caller the numbers of its frames.
fn answer(run: Vec<Append>, first: u64) {
    let mut next = first;
    for append in run {
        let range: Range<u64> = next..next + append.frames.len() as u64;
        next = range.end;
        let _ = append.reply.send(Ok(range));
    }
}

fn parts<'a>(run: &'a Run, frames: impl Iterator<Item = &'a Frame>) -> Vec<IoSlice<'a>> {
    let mut parts = Vec::with_capacity(run.prefixes.len() * 3 + 1);
    for (prefix, frame) in run.prefixes.iter().zip(frames) {
        parts.extend([IoSlice::new(prefix), IoSlice::new(&frame.head), IoSlice::new(&frame.body)]);
    }
    parts.extend(run.seal.as_ref().map(|seal| IoSlice::new(seal)));
    parts
}

/// Whether the disk has no room, so that another file would fare no better.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
