//! What one segment file holds.

use std::{io, ops::Range};

use crate::{
    filesystem::{File, read_full_at},
    format::{HEADER_BYTES, Header, HeaderError, SEAL_BYTES, Seal, segment_name},
    resolved::Resolved,
    state::Segment,
    walker::{Bounds, Step, Walker},
};

/// Larger payloads are checked before memory is taken for them.
pub(crate) const TRUSTED_BYTES: usize = 1 << 20;

/// A segment as it was found.
#[derive(Debug)]
pub(crate) struct Surveyed {
    pub(crate) first: u64,
    pub(crate) previous_end: u64,
    pub(crate) segment: Segment,
    pub(crate) is_sealed: bool,
    /// Frames were looked at, not only the seal.
    pub(crate) is_read: bool,
    /// Bytes that are no frames, apart from the tail.
    pub(crate) damage: Vec<Damage>,
    /// Bytes after the last frame of a segment without a seal.
    pub(crate) tail: Range<u64>,
    pub(crate) has_bad_header: bool,
    /// Sequence after the last frame that its frames know to have been durable.
    pub(crate) synced_end: u64,
    /// Frames that its seal counts, when they were looked at.
    pub(crate) sealed_frames: Option<u64>,
}

/// Bytes that are no frames, and the sequences that are missing there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Damage {
    pub(crate) bytes: Range<u64>,
    pub(crate) missing: Range<u64>,
}

impl Surveyed {
    pub(crate) fn name(&self) -> String {
        segment_name(self.first)
    }
}

/// The header, and the seal if there is one at the end.
pub(crate) fn read_header(file: &dyn File) -> io::Result<Result<Header, HeaderError>> {
    let mut bytes = [0; HEADER_BYTES];
    let read = read_full_at(file, &mut bytes, 0)?;
    Ok(Header::decode(&bytes[..read]))
}

/// The seal at the end of a file.
pub(crate) fn read_seal(file: &dyn File, file_bytes: u64, seed: u32, first: u64) -> Option<Seal> {
    let offset = file_bytes.checked_sub(SEAL_BYTES as u64).filter(|offset| *offset >= HEADER_BYTES as u64)?;
    let mut bytes = [0; SEAL_BYTES];
    let read = read_full_at(file, &mut bytes, offset).ok()?;
    Seal::decode(seed, &bytes[..read], first)
}

/// Whether any frame of the file is ours, although its header is not.
pub(crate) fn has_our_frames(file: Box<dyn File>, file_bytes: u64, seed: u32, first: u64) -> bool {
    let mut walker = Walker::new(file, seed, first, TRUSTED_BYTES);
    let bounds = Bounds { limit: file_bytes, end: first.saturating_add(file_bytes) };
    loop {
        match walker.step(bounds) {
            Ok(Step::Frame(_) | Step::Seal(_)) => return true,
            Ok(Step::Damage(_)) => {}
            Ok(Step::End) | Err(_) => return false,
        }
    }
}

/// A segment by its seal.
pub(crate) fn by_seal(header: Header, seal: Seal, file_bytes: u64) -> Surveyed {
    let segment = Segment {
        end: seal.end,
        length: file_bytes,
        file_bytes,
        total: seal.total,
        pending: seal.total,
        oldest_ms: seal.oldest_ms,
        newest_ms: seal.newest_ms,
        ..Segment::default()
    };
    surveyed(header, segment, file_bytes, true)
}

/// A segment that cannot be read now: it may hold whatever is missing up to `end`.
pub(crate) fn unread(header: Header, end: u64, file_bytes: u64) -> Surveyed {
    let first = header.first;
    let mut segment = Segment::empty(first, file_bytes, file_bytes, header.created_ms);
    segment.end = end.max(first);
    segment.is_active = false;
    surveyed(header, segment, file_bytes, false)
}

fn surveyed(header: Header, segment: Segment, file_bytes: u64, is_sealed: bool) -> Surveyed {
    Surveyed {
        first: header.first,
        previous_end: header.previous_end,
        segment,
        is_sealed,
        is_read: false,
        damage: Vec::new(),
        tail: file_bytes..file_bytes,
        has_bad_header: false,
        synced_end: header.previous_end,
        sealed_frames: None,
    }
}

/// A segment by its frames, of which those from `end` on are not its own.
pub(crate) fn by_frames(
    file: Box<dyn File>,
    header: Header,
    file_bytes: u64,
    end: u64,
    seed: u32,
    resolved: &Resolved,
) -> io::Result<Surveyed> {
    let mut walker = Walker::new(file, seed, header.first, TRUSTED_BYTES);
    let bounds = Bounds { limit: file_bytes, end };
    let segment = Segment::empty(header.first, HEADER_BYTES as u64, file_bytes, header.created_ms);
    let mut found = surveyed(header, segment, file_bytes, false);
    (found.is_read, found.segment.is_active) = (true, false);
    let mut pending_damage: Option<Range<u64>> = None;
    loop {
        let expected = walker.expected();
        match walker.step(bounds)? {
            Step::Damage(bytes) => {
                // Two in a row are one: the second begins where the first ends.
                pending_damage = Some(pending_damage.map_or(bytes.start, |first| first.start)..bytes.end);
                continue;
            }
            Step::Frame(frame) => {
                let prefix = frame.prefix;
                note_damage(&mut found, pending_damage.take(), frame.offset, expected..prefix.sequence);
                let tally = crate::Tally { frames: 1, items: prefix.items, bytes: u64::from(prefix.length) };
                found.segment.add(prefix.sequence, tally, prefix.appended_at_ms);
                if resolved.contains(prefix.sequence) {
                    found.segment.pending -= tally;
                }
                found.segment.length = walker.offset();
                found.synced_end = found.synced_end.max(prefix.synced_end);
            }
            Step::Seal(seal) => {
                let sealed_end = seal.end.min(end);
                note_damage(&mut found, pending_damage.take(), walker.offset(), expected..sealed_end);
                found.segment.end = sealed_end.max(expected);
                found.segment.length = walker.offset();
                found.is_sealed = true;
                found.sealed_frames = (seal.end <= end).then_some(seal.total.frames);
                found.tail = file_bytes..file_bytes;
                return Ok(found);
            }
            Step::End => {
                found.tail = found.segment.length..file_bytes;
                return Ok(found);
            }
        }
    }
}

fn note_damage(found: &mut Surveyed, bytes: Option<Range<u64>>, offset: u64, missing: Range<u64>) {
    if bytes.is_some() || !missing.is_empty() {
        found.damage.push(Damage { bytes: bytes.unwrap_or(offset..offset), missing });
    }
}
