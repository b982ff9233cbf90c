//! The cursor: what is resolved, and the owner's note.

use std::ops::Range;

use bytes::Bytes;

use super::{Fields, Incarnation, MAX_SEQUENCE, VERSION};
use crate::Tally;

const MAGIC: &[u8; 8] = b"DSPOOLCU";

/// A longer file is not a cursor; nothing is allocated for it.
pub(crate) const MAX_CURSOR_BYTES: u64 = 16 << 20;

/// A longer note is refused.
pub(crate) const MAX_NOTE_BYTES: usize = 1 << 20;

/// One checkpoint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Cursor {
    pub(crate) incarnation: Incarnation,
    /// Grows with each checkpoint; the higher of two valid cursors counts.
    pub(crate) generation: u64,
    /// Everything below is resolved.
    pub(crate) watermark: u64,
    /// Sequence after the last that is durable or resolved.
    pub(crate) next: u64,
    /// Below this sequence the ranges are complete; above it what is resolved was left out for its length.
    pub(crate) complete_below: u64,
    /// What is resolved above the watermark, in order, apart from each other.
    pub(crate) ranges: Vec<Range<u64>>,
    /// What is resolved of segments that are so in part, as far as the ranges are complete.
    pub(crate) tallies: Vec<ResolvedTally>,
    pub(crate) note: Bytes,
}

/// Items and bytes that are resolved of one segment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ResolvedTally {
    /// First sequence of the segment.
    pub(crate) segment: u64,
    pub(crate) resolved: Tally,
}

impl Cursor {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&self.incarnation.0.to_le_bytes());
        put(&mut bytes, &[self.generation, self.watermark, self.next, self.complete_below]);
        put(&mut bytes, &[self.ranges.len() as u64, self.tallies.len() as u64, self.note.len() as u64]);
        for range in &self.ranges {
            put(&mut bytes, &[range.start, range.end]);
        }
        for ResolvedTally { segment, resolved } in &self.tallies {
            put(&mut bytes, &[*segment, resolved.frames, resolved.items, resolved.bytes]);
        }
        bytes.extend_from_slice(&self.note);
        let checksum = crc32c::crc32c(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Cursor> {
        let (checked, checksum) = bytes.split_at_checked(bytes.len().checked_sub(4)?)?;
        if Fields(checksum).u32()? != crc32c::crc32c(checked) {
            return None;
        }
        let mut fields = Fields(checked);
        if fields.bytes(8)? != MAGIC || fields.u32()? != VERSION {
            return None;
        }
        let incarnation = fields.incarnation()?;
        let [generation, watermark, next, complete_below] =
            [fields.u64()?, fields.u64()?, fields.u64()?, fields.u64()?];
        let [ranges, tallies, note] = [fields.u64()?, fields.u64()?, fields.u64()?];
        // Collecting stops at the first that is missing, so a count that lies allocates nothing.
        let ranges = (0..ranges).map(|_| fields.range()).collect::<Option<Vec<_>>>()?;
        let tallies = (0..tallies).map(|_| tally(&mut fields)).collect::<Option<Vec<_>>>()?;
        let note = Bytes::copy_from_slice(fields.bytes(usize::try_from(note).ok()?)?);
        let cursor =
            Cursor { incarnation, generation, watermark, next, complete_below, ranges, tallies, note };
        (watermark <= next && next < MAX_SEQUENCE && fields.0.is_empty()).then_some(cursor)
    }
}

fn tally(fields: &mut Fields<'_>) -> Option<ResolvedTally> {
    let segment = fields.u64()?;
    let resolved = Tally { frames: fields.u64()?, items: fields.u64()?, bytes: fields.u64()? };
    Some(ResolvedTally { segment, resolved })
}

fn put(bytes: &mut Vec<u8>, numbers: &[u64]) {
    for number in numbers {
        bytes.extend_from_slice(&number.to_le_bytes());
    }
}
