//! Handing out frames: first those that were given back, then by reading on.
//!
//! The reader never goes past what is published as durable. What it finds damaged it skips, counts and keeps a copy of.

use std::{io, ops::Range};

use bytes::Bytes;

use crate::{
    Finding, Taken, Tally,
    format::{HEADER_BYTES, KIND_SEAL, PREFIX_BYTES, Prefix, segment_name},
    quarantine,
    shared::Shared,
    state::{Fate, Location, Place},
    walker::{Bounds, Walker, is_damage},
};

/// Where reading goes on. Its lock is held while the disk is read; the state's is not.
#[derive(Debug, Default)]
pub(crate) struct Reader {
    place: Option<Place>,
    sequential: Option<(u64, Walker)>,
    /// For frames that were given back, which lie anywhere.
    again: Option<(u64, Walker)>,
}

/// What to look at next.
enum Goal {
    Again(u64, Location),
    Read(u64, Bounds),
    Nothing,
}

/// What looking at it came to.
enum Outcome {
    Taken(Taken),
    GoOn,
    Enough,
}

impl Reader {
    /// See [`crate::Spool::take`].
    pub(crate) fn take(&mut self, shared: &Shared, max_bytes: usize) -> Vec<Taken> {
        let mut taken = Vec::new();
        let mut room = max_bytes;
        loop {
            let limit = if taken.is_empty() { usize::MAX } else { room };
            match self.next(shared, limit) {
                Ok(Some(frame)) => {
                    room = room.saturating_sub(frame.payload.len());
                    taken.push(frame);
                }
                Ok(None) => break,
                Err(error) => {
                    shared.report("read", error);
                    shared.state().is_reading_blocked = true;
                    break;
                }
            }
        }
        taken
    }

    /// The next frame, if there is one of at most `limit` bytes.
    fn next(&mut self, shared: &Shared, limit: usize) -> io::Result<Option<Taken>> {
        loop {
            let outcome = match self.goal(shared) {
                Goal::Nothing => return Ok(None),
                Goal::Again(sequence, location) => self.read_again(shared, sequence, location, limit)?,
                Goal::Read(segment, bounds) => self.read_on(shared, segment, bounds, limit)?,
            };
            match outcome {
                Outcome::Taken(taken) => return Ok(Some(taken)),
                Outcome::Enough => return Ok(None),
                Outcome::GoOn => {}
            }
        }
    }

    fn goal(&mut self, shared: &Shared) -> Goal {
        let state = shared.state();
        if state.available() == 0 || state.is_reading_blocked {
            return Goal::Nothing;
        }
        let place = match (self.place, state.skip_to) {
            (Some(place), Some(skip)) if skip.sequence > place.sequence => Some(skip),
            (None, skip) => skip,
            (place, _) => place,
        };
        let from = place.map_or(0, |place| place.sequence);
        if let Some((sequence, location)) = state.first_returned(from) {
            self.place = place;
            return Goal::Again(sequence, location);
        }
        let sequence = state.resolved.first_missing(from);
        let containing =
            state.segments.range(..=sequence).next_back().filter(|(_, segment)| segment.end > sequence);
        let Some((&first, segment)) = containing
            .or_else(|| state.segments.range(sequence..).find(|(_, segment)| segment.pending.frames > 0))
        else {
            return Goal::Nothing;
        };
        self.place = match place {
            Some(place) if place.segment == first => Some(place),
            _ => Some(Place { segment: first, offset: HEADER_BYTES as u64, sequence: first }),
        };
        Goal::Read(first, Bounds { limit: segment.length, end: segment.end })
    }

    /// Looks at the next frame of a segment.
    fn read_on(&mut self, shared: &Shared, first: u64, bounds: Bounds, limit: usize) -> io::Result<Outcome> {
        let Some(place) = self.place else { return Ok(Outcome::GoOn) };
        let Some(walker) = walker_of(&mut self.sequential, shared, first, bounds)? else {
            self.place = Some(Place { segment: first, offset: bounds.limit, sequence: bounds.end });
            return Ok(Outcome::GoOn);
        };
        walker.seek(place.offset, place.sequence);
        let outcome = look(shared, walker, first, bounds, limit);
        self.place = Some(Place { segment: first, offset: walker.offset(), sequence: walker.expected() });
        if let Some(error) = walker.take_read_error() {
            shared.report("read", error);
        }
        outcome
    }

    fn read_again(
        &mut self,
        shared: &Shared,
        sequence: u64,
        location: Location,
        limit: usize,
    ) -> io::Result<Outcome> {
        if location.bytes as usize > limit {
            return Ok(Outcome::Enough);
        }
        let end = location.offset + PREFIX_BYTES as u64 + u64::from(location.bytes);
        let bounds = Bounds { limit: end, end: sequence + 1 };
        let Some(walker) = walker_of(&mut self.again, shared, location.segment, bounds)? else {
            return Ok(Outcome::GoOn);
        };
        walker.seek(location.offset, sequence);
        let payload = match walker.peek(bounds)? {
            Some(prefix) if prefix.kind != KIND_SEAL => {
                walker.payload(prefix)?.map(|payload| (prefix, payload))
            }
            _ => None,
        };
        if let Some(error) = walker.take_read_error() {
            shared.report("read", error);
        }
        let Some((prefix, payload)) = payload else {
            let frames = lose(shared, location.segment, sequence..sequence + 1);
            found_damage(shared, location.segment, location.offset..end, frames);
            return Ok(Outcome::GoOn);
        };
        Ok(hand_out(shared, sequence, location, prefix, payload))
    }
}

/// Looks at the frame that the walk has come to.
fn look(
    shared: &Shared,
    walker: &mut Walker,
    first: u64,
    bounds: Bounds,
    limit: usize,
) -> io::Result<Outcome> {
    if walker.offset() >= bounds.limit {
        return Ok(end_segment(shared, walker, first, bounds));
    }
    let Some(prefix) = walker.peek(bounds)? else { return skip_damage(shared, walker, first, bounds) };
    let location = Location {
        segment: first,
        offset: walker.offset(),
        bytes: prefix.length,
        items: prefix.items,
        appended_at_ms: prefix.appended_at_ms,
    };
    let payload = match examine(shared, walker, prefix, location, limit)? {
        Seen::Seal => return Ok(end_segment(shared, walker, first, bounds)),
        Seen::Damaged => return skip_damage(shared, walker, first, bounds),
        Seen::TooLarge => return Ok(Outcome::Enough),
        Seen::Done => None,
        Seen::Pending(payload) => Some(payload),
    };
    let gap = walker.expected()..prefix.sequence;
    walker.pass(prefix)?;
    lose(shared, first, gap);
    Ok(match payload {
        Some(payload) => hand_out(shared, prefix.sequence, location, prefix, payload),
        None => Outcome::GoOn,
    })
}

/// What a frame turns out to be.
enum Seen {
    /// Taken or resolved.
    Done,
    Pending(Bytes),
    /// Pending, and more than is asked for.
    TooLarge,
    Seal,
    Damaged,
}

fn examine(
    shared: &Shared,
    walker: &mut Walker,
    prefix: Prefix,
    location: Location,
    limit: usize,
) -> io::Result<Seen> {
    let (is_known, is_resolved) = {
        let state = shared.state();
        let known = state.location(prefix.sequence).filter(|_| state.is_taken(prefix.sequence));
        (known == Some(&location), state.resolved.contains(prefix.sequence))
    };
    if is_known {
        // Where a taken frame ends is known without reading it.
        return Ok(Seen::Done);
    }
    if prefix.kind == KIND_SEAL || is_resolved {
        let good = if prefix.kind == KIND_SEAL { Seen::Seal } else { Seen::Done };
        return Ok(if walker.check(prefix)? { good } else { Seen::Damaged });
    }
    if prefix.length as usize > limit {
        return Ok(Seen::TooLarge);
    }
    Ok(walker.payload(prefix)?.map_or(Seen::Damaged, Seen::Pending))
}

/// Nothing more comes in this segment; what has not come is lost.
fn end_segment(shared: &Shared, walker: &mut Walker, first: u64, bounds: Bounds) -> Outcome {
    lose(shared, first, walker.expected()..bounds.end);
    walker.seek(bounds.limit, bounds.end);
    Outcome::GoOn
}

/// Marks a frame as taken, unless it is too old or was resolved meanwhile.
fn hand_out(shared: &Shared, sequence: u64, location: Location, prefix: Prefix, payload: Bytes) -> Outcome {
    let now_ms = shared.files.now_ms();
    let mut state = shared.state();
    state.last_read = Some((location.segment, location.appended_at_ms));
    if state.resolved.contains(sequence) || state.is_taken(sequence) {
        return Outcome::GoOn;
    }
    let max_age =
        shared.options.max_age.map_or(u64::MAX, |age| u64::try_from(age.as_millis()).unwrap_or(u64::MAX));
    if now_ms.saturating_sub(location.appended_at_ms) > max_age {
        let tally = Tally { frames: 1, items: location.items, bytes: u64::from(location.bytes) };
        state.lose(location.segment, sequence..sequence + 1, tally, Fate::DroppedAged);
        return Outcome::GoOn;
    }
    state.mark_taken(sequence, location);
    Outcome::Taken(Taken { sequence, payload, items: prefix.items, appended_at_ms: prefix.appended_at_ms })
}

/// Goes past damage, and counts what is lost by what comes next.
fn skip_damage(shared: &Shared, walker: &mut Walker, first: u64, bounds: Bounds) -> io::Result<Outcome> {
    let range = walker.resync(bounds)?;
    let next = match walker.peek(bounds)? {
        Some(prefix) if prefix.kind != KIND_SEAL => prefix.sequence,
        _ => bounds.end,
    };
    let frames = lose(shared, first, walker.expected()..next);
    walker.seek(walker.offset(), next);
    found_damage(shared, first, range, frames);
    Ok(Outcome::GoOn)
}

fn lose(shared: &Shared, first: u64, range: Range<u64>) -> u64 {
    if range.is_empty() {
        return 0;
    }
    shared.state().lose(first, range, Tally::default(), Fate::Corrupt)
}

fn found_damage(shared: &Shared, first: u64, range: Range<u64>, frames: u64) {
    let file = segment_name(first);
    let (offset, bytes) = (range.start, range.end - range.start);
    tracing::warn!("{}", Finding::Damage { file, offset, bytes, frames });
    let kept =
        quarantine::keep(shared.files.as_ref(), &shared.options.directory, &segment_name(first), range);
    match kept {
        Ok(bytes) => {
            shared.lane.grow(bytes);
            shared.state().quarantine_bytes += bytes;
        }
        Err(error) => {
            shared.report("quarantine", error);
        }
    }
}

/// The walker of a segment; `None` when the segment turned out to be lost.
fn walker_of<'a>(
    slot: &'a mut Option<(u64, Walker)>,
    shared: &Shared,
    first: u64,
    bounds: Bounds,
) -> io::Result<Option<&'a mut Walker>> {
    if slot.as_ref().is_none_or(|(open, _)| *open != first) {
        *slot = None;
        let opened = shared.files.open(&shared.segment_path(first), crate::filesystem::Access::Read);
        match opened {
            Ok(file) => {
                let trusted = shared.options.max_frame_bytes;
                *slot = Some((first, Walker::new(file, shared.seed, first, trusted)));
            }
            Err(error) if is_lost(shared, &error) => {
                let error = shared.report("open segment", error);
                let frames = lose(shared, first, first..bounds.end);
                tracing::warn!(segment = first, frames, %error, "a segment is gone");
                return Ok(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(slot.as_mut().map(|(_, walker)| walker))
}

/// Whether a segment that cannot be opened is gone for good, and not out of reach for now.
fn is_lost(shared: &Shared, error: &io::Error) -> bool {
    // When all names are gone the directory was moved or unmounted, and may come back.
    let is_deleted = error.kind() == io::ErrorKind::NotFound
        && shared.files.list(&shared.options.directory).is_ok_and(|entries| !entries.is_empty());
    is_deleted || is_damage(error)
}
