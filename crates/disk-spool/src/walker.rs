//! Walks over the frames of one segment, past whatever damage is in it.
//!
//! A frame counts when its checksum fits and its sequence may stand where it is. What does not is skipped: by its length
//! when that leads to a good frame, else by looking at every byte for the next good one. Blocks that the disk cannot read
//! are taken for zeros, which are never a frame.

mod window;

use std::{io, ops::Range};

use bytes::Bytes;

use crate::{
    filesystem::File,
    format::{HEADER_BYTES, KIND_DATA, KIND_SEAL, PREFIX_BYTES, Prefix, SEAL_BYTES, Seal},
};
use window::Window;
pub(crate) use window::is_damage;

/// Bytes that looking for the next frame may check, for each byte that it looks at. Only a payload that is made to look
/// like frames needs more than a few, and then what follows is given up rather than looked at for hours.
const MAX_CHECKED_PER_BYTE: u64 = 32;

/// Walks over one file.
#[derive(Debug)]
pub(crate) struct Walker {
    window: Window,
    seed: u32,
    /// Where the next frame begins.
    offset: u64,
    /// The sequence it should have.
    expected: u64,
    /// Larger payloads are checked before memory is taken for them.
    trusted_bytes: usize,
}

/// How far a walk may go.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// Bytes.
    pub(crate) limit: u64,
    /// Sequences.
    pub(crate) end: u64,
}

/// What the walk came upon.
#[derive(Debug)]
pub(crate) enum Step {
    /// A good frame.
    Frame(Found),
    /// The segment is complete here.
    Seal(Seal),
    /// Bytes that are no frame.
    Damage(Range<u64>),
    /// The bound.
    End,
}

/// A good frame and where it is.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) offset: u64,
    pub(crate) prefix: Prefix,
}

impl Walker {
    /// Begins after the header.
    pub(crate) fn new(file: Box<dyn File>, seed: u32, first: u64, trusted_bytes: usize) -> Walker {
        let offset = HEADER_BYTES as u64;
        Walker { window: Window::new(file), seed, offset, expected: first, trusted_bytes }
    }

    pub(crate) fn offset(&self) -> u64 {
        self.offset
    }

    pub(crate) fn expected(&self) -> u64 {
        self.expected
    }

    /// Goes on somewhere else.
    pub(crate) fn seek(&mut self, offset: u64, expected: u64) {
        self.offset = offset;
        self.expected = expected;
    }

    /// What the disk could not read since this was asked last.
    pub(crate) fn take_read_error(&mut self) -> Option<io::Error> {
        self.window.take_read_error()
    }

    /// The next thing, checked; the walk is past it then.
    pub(crate) fn step(&mut self, bounds: Bounds) -> io::Result<Step> {
        if self.offset >= bounds.limit {
            return Ok(Step::End);
        }
        if let Some(prefix) = self.peek(bounds)?
            && self.check(prefix)?
        {
            return self.pass(prefix);
        }
        self.resync(bounds).map(Step::Damage)
    }

    /// The next prefix, if it may be one. It is not checked.
    pub(crate) fn peek(&mut self, bounds: Bounds) -> io::Result<Option<Prefix>> {
        self.peek_at(self.offset, bounds)
    }

    /// Whether the payload of the peeked frame is what was written.
    pub(crate) fn check(&mut self, prefix: Prefix) -> io::Result<bool> {
        self.check_at(self.offset, prefix)
    }

    /// The payload of the peeked frame, if it is what was written. The walk stays where it is.
    pub(crate) fn payload(&mut self, prefix: Prefix) -> io::Result<Option<Bytes>> {
        // A length that lies must not make us take its memory.
        if prefix.length as usize > self.trusted_bytes && !self.check(prefix)? {
            return Ok(None);
        }
        let payload = self.window.read(self.offset + PREFIX_BYTES as u64, prefix.length as usize)?;
        Ok(prefix.fits(self.seed, &payload).then_some(payload))
    }

    /// Goes past the peeked frame.
    pub(crate) fn pass(&mut self, prefix: Prefix) -> io::Result<Step> {
        let offset = self.offset;
        if prefix.kind == KIND_SEAL {
            self.offset += prefix.frame_bytes();
            let bytes = self.window.read(offset, SEAL_BYTES)?;
            let range = offset..self.offset;
            return Ok(Seal::decode(self.seed, &bytes, 0).map_or(Step::Damage(range), Step::Seal));
        }
        self.offset += prefix.frame_bytes();
        self.expected = prefix.sequence + 1;
        Ok(Step::Frame(Found { offset, prefix }))
    }

    /// Goes past bytes that are no frame, to the next that is one or to the bound.
    pub(crate) fn resync(&mut self, bounds: Bounds) -> io::Result<Range<u64>> {
        let start = self.offset;
        self.offset = match self.after_length(bounds)? {
            Some(offset) => offset,
            None => self.find(bounds)?,
        };
        Ok(start..self.offset)
    }

    /// Where the length of the bad frame leads, if that is to a good one or to the bound.
    fn after_length(&mut self, bounds: Bounds) -> io::Result<Option<u64>> {
        let rest = bounds.limit - self.offset;
        let bytes = self.window.view(self.offset, PREFIX_BYTES, bounds.limit)?;
        let Some(prefix) = Prefix::decode(bytes).filter(|prefix| prefix.frame_bytes() <= rest) else {
            return Ok(None);
        };
        let next = self.offset + prefix.frame_bytes();
        if next == bounds.limit {
            return Ok(Some(next));
        }
        Ok(match self.peek_at(next, bounds)? {
            Some(prefix) if self.check_at(next, prefix)? => Some(next),
            _ => None,
        })
    }

    /// The next good frame by looking at every byte.
    fn find(&mut self, bounds: Bounds) -> io::Result<u64> {
        let mut offset = self.offset + 1;
        let mut budget = (bounds.limit - self.offset).saturating_mul(MAX_CHECKED_PER_BYTE);
        while bounds.limit.saturating_sub(offset) >= PREFIX_BYTES as u64 {
            let bytes = self.window.view(offset, Window::BYTES, bounds.limit)?;
            let room = bounds.limit - offset - PREFIX_BYTES as u64;
            let candidate = candidates(bytes, self.expected, bounds.end, room).next();
            let Some((skipped, prefix)) = candidate else {
                // The last bytes of the window may be the first of a prefix.
                offset += (bytes.len() - PREFIX_BYTES + 1) as u64;
                continue;
            };
            offset += skipped as u64;
            if self.check_at(offset, prefix)? {
                return Ok(offset);
            }
            offset += 1;
            budget = match budget.checked_sub(prefix.frame_bytes()) {
                Some(budget) => budget,
                None => break,
            };
        }
        Ok(bounds.limit)
    }

    fn peek_at(&mut self, offset: u64, bounds: Bounds) -> io::Result<Option<Prefix>> {
        let Some(room) = bounds.limit.checked_sub(offset + PREFIX_BYTES as u64) else { return Ok(None) };
        let bytes = self.window.view(offset, PREFIX_BYTES, bounds.limit)?;
        let prefix = Prefix::decode(bytes);
        Ok(prefix.filter(|prefix| prefix.is_plausible(self.expected, bounds.end, room)))
    }

    fn check_at(&mut self, offset: u64, prefix: Prefix) -> io::Result<bool> {
        let (mut at, end) = (offset + PREFIX_BYTES as u64, offset + prefix.frame_bytes());
        let mut sum = prefix.checksum_start(self.seed);
        while at < end {
            let bytes = self.window.view(at, Window::BYTES, end)?;
            sum = crc32c::crc32c_append(sum, bytes);
            at += bytes.len() as u64;
        }
        Ok(sum == prefix.checksum)
    }
}

/// Where in `bytes` a plausible prefix stands; `room` bytes follow the prefix that stands at the first byte.
fn candidates(bytes: &[u8], expected: u64, end: u64, room: u64) -> impl Iterator<Item = (usize, Prefix)> {
    bytes.windows(PREFIX_BYTES).enumerate().filter_map(move |(skipped, bytes)| {
        // Most bytes are ruled out by this one look.
        if !matches!(bytes[4], KIND_DATA | KIND_SEAL) {
            return None;
        }
        let prefix = Prefix::decode(bytes)?;
        let room = room.checked_sub(skipped as u64)?;
        prefix.is_plausible(expected, end, room).then_some((skipped, prefix))
    })
}
