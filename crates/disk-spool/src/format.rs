//! The bytes on the disk: segment headers, frames, seals, cursors. All numbers are little-endian.

mod cursor;
mod frame;
mod header;

use std::{fmt, ops::Range};

pub(crate) use cursor::{Cursor, MAX_CURSOR_BYTES, MAX_NOTE_BYTES, ResolvedTally};
pub(crate) use frame::{KIND_DATA, KIND_SEAL, PREFIX_BYTES, Prefix, SEAL_BYTES, Seal};
pub(crate) use header::{HEADER_BYTES, Header, HeaderError};

/// Sequences from here on are taken for damage; at a million frames a second this lasts for 146,000 years.
pub(crate) const MAX_SEQUENCE: u64 = 1 << 62;

/// The only version there is.
const VERSION: u32 = 1;

/// Says which spool a file or record belongs to: drawn at random when a directory becomes a spool. With a sequence it
/// names one frame of all spools.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u128);

impl Incarnation {
    /// A new one.
    pub(crate) fn draw() -> Incarnation {
        let mut bytes = [0; 16];
        let drawn = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty());
        if drawn.is_err() {
            // A kernel without random numbers: the address space's layout, the process and the time must do.
            use std::hash::{BuildHasher, RandomState};
            let seed = (std::process::id(), std::time::SystemTime::now());
            bytes[..8].copy_from_slice(&RandomState::new().hash_one(seed).to_le_bytes());
            bytes[8..].copy_from_slice(&RandomState::new().hash_one(seed).to_le_bytes());
        }
        Incarnation(u128::from_le_bytes(bytes))
    }

    /// What the checksum of each frame begins with, so that a frame of another spool never passes for ours.
    pub(crate) fn checksum_seed(self) -> u32 {
        crc32c::crc32c(&self.0.to_le_bytes())
    }
}

impl fmt::Display for Incarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{:032x}", self.0)
    }
}

impl fmt::Debug for Incarnation {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// The name of the segment that begins with this frame.
pub(crate) fn segment_name(first: u64) -> String {
    format!("{first:020}.seg")
}

/// The first sequence by a segment's name.
pub(crate) fn parse_segment_name(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let is_plain = digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit());
    digits.parse().ok().filter(|_| is_plain)
}

/// Reads numbers off the front of a slice.
pub(crate) struct Fields<'a>(pub(crate) &'a [u8]);

impl<'a> Fields<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count)?;
        self.0 = rest;
        Some(taken)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn incarnation(&mut self) -> Option<Incarnation> {
        self.array().map(|bytes| Incarnation(u128::from_le_bytes(bytes)))
    }

    /// A range that is not empty and within the sequences there can be.
    pub(crate) fn range(&mut self) -> Option<Range<u64>> {
        let range = self.u64()?..self.u64()?;
        (!range.is_empty() && range.end <= MAX_SEQUENCE).then_some(range)
    }
}

#[cfg(test)]
mod tests;
