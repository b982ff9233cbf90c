//! What a spool knows of its frames: which are pending, taken, given back, resolved, and where they lie.
//!
//! Everything here is in memory and does no I/O. For each sequence exactly one of these holds: resolved (whatever became
//! of it), taken, given back, or not handed out yet; only taken and given-back frames have an entry of their own, so
//! memory does not depend on the backlog.

mod segment;

use std::{collections::BTreeMap, ops::Range};

use bytes::Bytes;

pub(crate) use segment::Segment;

use crate::{Tally, resolved::Resolved};

/// All of it, behind one lock.
#[derive(Debug, Default)]
pub(crate) struct State {
    /// By first sequence.
    pub(crate) segments: BTreeMap<u64, Segment>,
    pub(crate) resolved: Resolved,
    taken: BTreeMap<u64, Location>,
    returned: BTreeMap<u64, Location>,
    pub(crate) pending: Tally,
    taken_tally: Tally,
    pub(crate) corrupt: Tally,
    pub(crate) dropped_full: Tally,
    pub(crate) dropped_aged: Tally,
    /// The owner's last note.
    pub(crate) note: Bytes,
    /// Why appends are refused.
    pub(crate) obstacle: Option<String>,
    /// Frames before this place need not be read: each is taken, given back or resolved.
    pub(crate) skip_to: Option<Place>,
    /// A segment that nobody writes to has become wholly resolved.
    pub(crate) has_done_segment: bool,
    /// An append was refused because the quota is used up.
    pub(crate) wants_room: bool,
    /// The next segment could not be opened for a reason that may pass; looked at again with the next tick.
    pub(crate) is_reading_blocked: bool,
    /// Bytes of the quarantine.
    pub(crate) quarantine_bytes: u64,
    /// When the frame that the reader saw last was appended, and in which segment.
    pub(crate) last_read: Option<(u64, u64)>,
}

/// Where a frame lies, and what it counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Location {
    /// First sequence of its segment.
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) bytes: u32,
    pub(crate) items: u64,
    pub(crate) appended_at_ms: u64,
}

impl Location {
    fn tally(&self) -> Tally {
        Tally { frames: 1, items: self.items, bytes: u64::from(self.bytes) }
    }
}

/// A place that reading may go on from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) segment: u64,
    pub(crate) offset: u64,
    pub(crate) sequence: u64,
}

/// What became of frames that nobody resolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Corrupt,
    DroppedFull,
    DroppedAged,
}

impl State {
    /// Frames that `take` may hand out.
    pub(crate) fn available(&self) -> u64 {
        self.pending.frames - self.taken_tally.frames
    }

    /// Frames that are to be found by reading on.
    fn unread(&self) -> u64 {
        self.available() - self.returned.len() as u64
    }

    /// The sequence after the last frame that is published, or that is known to have been.
    pub(crate) fn next_sequence(&self) -> u64 {
        let last = self.segments.last_key_value().map_or(0, |(_, segment)| segment.end);
        last.max(self.resolved.end())
    }

    pub(crate) fn taken(&self) -> Tally {
        self.taken_tally
    }

    pub(crate) fn is_taken(&self, sequence: u64) -> bool {
        self.taken.contains_key(&sequence)
    }

    /// Where a frame that is taken or given back lies.
    pub(crate) fn location(&self, sequence: u64) -> Option<&Location> {
        self.taken.get(&sequence).or_else(|| self.returned.get(&sequence))
    }

    pub(crate) fn has_taken_in(&self, range: Range<u64>) -> bool {
        !range.is_empty() && self.taken.range(range).next().is_some()
    }

    /// Frames of a group are on the disk now: `frames` of the segment, which is `length` bytes long with them.
    pub(crate) fn publish(&mut self, first: u64, length: u64, frames: &[(u64, Location, bool)]) {
        let Some(segment) = self.segments.get_mut(&first) else { return };
        if self.pending.frames - self.taken_tally.frames == self.returned.len() as u64 {
            let place = frames.first().map(|(sequence, location, _)| (*sequence, location.offset));
            self.skip_to = place.map(|(sequence, offset)| Place { segment: first, offset, sequence });
        }
        for (sequence, location, is_taken) in frames {
            segment.add(*sequence, location.tally(), location.appended_at_ms);
            self.pending += location.tally();
            if *is_taken {
                self.taken_tally += location.tally();
                self.taken.insert(*sequence, *location);
            }
        }
        segment.length = length;
    }

    /// Sequences that never were frames.
    pub(crate) fn pass_over(&mut self, gap: Range<u64>) {
        self.resolved.insert(gap);
    }

    /// The reader hands this frame out.
    pub(crate) fn mark_taken(&mut self, sequence: u64, location: Location) {
        self.returned.remove(&sequence);
        self.taken_tally += location.tally();
        self.taken.insert(sequence, location);
    }

    /// The oldest given-back frame before a sequence.
    pub(crate) fn first_returned(&self, before: u64) -> Option<(u64, Location)> {
        let (sequence, location) = self.returned.first_key_value()?;
        (*sequence < before).then_some((*sequence, *location))
    }

    pub(crate) fn resolve(&mut self, sequence: u64) {
        let location = match self.taken.remove(&sequence) {
            Some(location) => {
                self.taken_tally -= location.tally();
                location
            }
            // A late answer for a frame that was given back.
            None => match self.returned.remove(&sequence) {
                Some(location) => location,
                None => return self.resolve_unread(sequence),
            },
        };
        self.resolved.insert(sequence..sequence + 1);
        self.settle(location.segment, location.tally());
    }

    /// The owner knows of a frame that was not handed out, from its append or an earlier opening.
    fn resolve_unread(&mut self, sequence: u64) {
        let before = self.segments.range_mut(..=sequence).next_back();
        let Some((&first, segment)) = before.filter(|(_, segment)| segment.end > sequence) else { return };
        if self.resolved.insert(sequence..sequence + 1) > 0 {
            segment.has_unmeasured = true;
            self.settle(first, Tally { frames: 1, ..Tally::default() });
        }
    }

    /// Whether there was such a taken frame.
    pub(crate) fn give_back(&mut self, sequence: u64) -> bool {
        let Some(location) = self.taken.remove(&sequence) else { return false };
        self.taken_tally -= location.tally();
        self.returned.insert(sequence, location);
        true
    }

    /// Frames of one segment that nobody can resolve any more; taken ones are left to their owner. Says how many.
    pub(crate) fn lose(&mut self, first: u64, range: Range<u64>, known: Tally, fate: Fate) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let taken: Vec<u64> = self.taken.range(range.clone()).map(|(sequence, _)| *sequence).collect();
        let mut lost = Tally::default();
        let mut start = range.start;
        for end in taken.into_iter().chain([range.end]) {
            if start < end {
                lost += self.lose_untaken(start..end);
            }
            start = end + 1;
        }
        if lost.frames == 0 {
            return 0;
        }
        // What a given-back frame counts is known by its location; the caller may know it of the others.
        lost.items = lost.items.max(known.items);
        lost.bytes = lost.bytes.max(known.bytes);
        *self.count_of(fate) += lost;
        if let Some(segment) = self.segments.get_mut(&first) {
            segment.has_damage |= fate == Fate::Corrupt;
        }
        self.settle(first, lost);
        lost.frames
    }

    fn lose_untaken(&mut self, range: Range<u64>) -> Tally {
        let mut lost = Tally { frames: self.resolved.insert(range.clone()), ..Tally::default() };
        while let Some((&sequence, location)) = self.returned.range(range.clone()).next() {
            let tally = location.tally();
            lost += Tally { frames: 0, ..tally };
            self.returned.remove(&sequence);
        }
        lost
    }

    /// Gives up what is pending of a segment that has no taken frames.
    pub(crate) fn drop_segment(&mut self, first: u64, fate: Fate) {
        let Some(segment) = self.segments.get(&first) else { return };
        let (range, pending) = (segment.range(first), segment.pending);
        self.lose(first, range, pending, fate);
    }

    fn count_of(&mut self, fate: Fate) -> &mut Tally {
        match fate {
            Fate::Corrupt => &mut self.corrupt,
            Fate::DroppedFull => &mut self.dropped_full,
            Fate::DroppedAged => &mut self.dropped_aged,
        }
    }

    /// Takes resolved frames off what is pending of a segment.
    fn settle(&mut self, first: u64, tally: Tally) {
        let Some(segment) = self.segments.get_mut(&first) else { return };
        segment.pending -= tally;
        self.pending -= tally;
        if segment.pending.frames == 0 {
            // What is left over was in frames that damage took, or that were resolved without being read.
            let rest = std::mem::take(&mut segment.pending);
            self.pending -= rest;
            if segment.has_damage && !segment.has_unmeasured {
                self.corrupt += rest;
            }
            self.has_done_segment |= !segment.is_active;
        }
    }

    /// Nobody writes to this segment any more.
    pub(crate) fn retire(&mut self, first: u64) {
        if let Some(segment) = self.segments.get_mut(&first) {
            segment.is_active = false;
            self.has_done_segment |= segment.pending.frames == 0;
        }
    }

    /// When the oldest unresolved frame was appended, as far as is known without reading.
    pub(crate) fn oldest_pending_ms(&self) -> Option<u64> {
        if self.pending.frames == 0 {
            return None;
        }
        let in_hand =
            self.taken.values().chain(self.returned.values()).map(|location| location.appended_at_ms);
        let in_hand = in_hand.min();
        if self.unread() == 0 {
            return in_hand;
        }
        let (first, segment) = self.segments.iter().find(|(_, segment)| segment.pending.frames > 0)?;
        let read = self.last_read.filter(|(segment, _)| segment == first).map(|(_, at)| at);
        let unread = read.unwrap_or(0).max(segment.oldest_ms);
        Some(in_hand.map_or(unread, |in_hand| in_hand.min(unread)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stay_taken_when_all_segments_are_gone() {
        let mut state = State { resolved: Resolved::below(7), ..State::default() };
        assert_eq!(state.next_sequence(), 7);
        state.segments.insert(7, Segment::empty(7, 0, 0, 0));
        state.pass_over(8..9);
        assert_eq!(state.next_sequence(), 9);
    }
}
