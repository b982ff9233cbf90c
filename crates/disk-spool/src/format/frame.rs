//! A frame: a prefix, then the payload.

use super::{Fields, MAX_SEQUENCE};
use crate::Tally;

/// Length of what stands before a payload.
pub(crate) const PREFIX_BYTES: usize = 41;

/// What of the prefix the checksum covers; the checksum itself follows.
const CHECKED_BYTES: usize = PREFIX_BYTES - 4;

/// Something that was appended.
pub(crate) const KIND_DATA: u8 = 1;

/// The last frame of a segment that is complete.
pub(crate) const KIND_SEAL: u8 = 2;

const SEAL_PAYLOAD_BYTES: usize = 40;

/// Length of a seal, prefix included.
pub(crate) const SEAL_BYTES: usize = PREFIX_BYTES + SEAL_PAYLOAD_BYTES;

/// What stands before a payload. Not to be believed before the checksum was compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Prefix {
    /// Of the payload.
    pub(crate) length: u32,
    pub(crate) kind: u8,
    pub(crate) sequence: u64,
    pub(crate) items: u64,
    pub(crate) appended_at_ms: u64,
    /// Sequence after the last frame that was durable when this one was written. It tells a group that was never
    /// synced, and may have holes, from damage to frames that had been acknowledged.
    pub(crate) synced_end: u64,
    pub(crate) checksum: u32,
}

impl Prefix {
    /// The bytes to write, with the checksum of `seed`, these fields and the payload's parts.
    pub(crate) fn encode(&self, seed: u32, payload: &[&[u8]]) -> [u8; PREFIX_BYTES] {
        let mut bytes = self.fields();
        let checksum =
            payload.iter().fold(self.checksum_start(seed), |sum, part| crc32c::crc32c_append(sum, part));
        bytes[CHECKED_BYTES..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Option<Prefix> {
        let mut fields = Fields(bytes);
        Some(Prefix {
            length: fields.u32()?,
            kind: fields.bytes(1)?[0],
            sequence: fields.u64()?,
            items: fields.u64()?,
            appended_at_ms: fields.u64()?,
            synced_end: fields.u64()?,
            checksum: fields.u32()?,
        })
    }

    /// The checksum before the payload is added to it.
    pub(crate) fn checksum_start(&self, seed: u32) -> u32 {
        crc32c::crc32c_append(seed, &self.fields()[..CHECKED_BYTES])
    }

    /// Whether the payload is the one that was written with this prefix.
    pub(crate) fn fits(&self, seed: u32, payload: &[u8]) -> bool {
        crc32c::crc32c_append(self.checksum_start(seed), payload) == self.checksum
    }

    /// Whether a frame with this prefix may stand where `expected` is the next sequence, `end` is the one after the
    /// segment's last, and `room` bytes follow the prefix. A gap may be before it, since damage makes gaps.
    pub(crate) fn is_plausible(&self, expected: u64, end: u64, room: u64) -> bool {
        let fits = u64::from(self.length) <= room
            && self.sequence >= expected
            && self.sequence < MAX_SEQUENCE
            && self.synced_end <= self.sequence;
        match self.kind {
            KIND_DATA => fits && self.sequence < end,
            KIND_SEAL => fits && self.length as usize == SEAL_PAYLOAD_BYTES,
            _ => false,
        }
    }

    /// Prefix and payload.
    pub(crate) fn frame_bytes(&self) -> u64 {
        PREFIX_BYTES as u64 + u64::from(self.length)
    }

    fn fields(&self) -> [u8; PREFIX_BYTES] {
        let mut bytes = [0; PREFIX_BYTES];
        bytes[..4].copy_from_slice(&self.length.to_le_bytes());
        bytes[4] = self.kind;
        bytes[5..13].copy_from_slice(&self.sequence.to_le_bytes());
        bytes[13..21].copy_from_slice(&self.items.to_le_bytes());
        bytes[21..29].copy_from_slice(&self.appended_at_ms.to_le_bytes());
        bytes[29..37].copy_from_slice(&self.synced_end.to_le_bytes());
        bytes
    }
}

/// What a complete segment holds, so that opening need not read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seal {
    /// Sequence after its last frame.
    pub(crate) end: u64,
    pub(crate) total: Tally,
    pub(crate) oldest_ms: u64,
    pub(crate) newest_ms: u64,
}

impl Seal {
    /// Counts one more frame.
    pub(crate) fn add(&mut self, sequence: u64, tally: Tally, appended_at_ms: u64) {
        if self.total.frames == 0 {
            self.oldest_ms = appended_at_ms;
        }
        self.oldest_ms = self.oldest_ms.min(appended_at_ms);
        self.newest_ms = self.newest_ms.max(appended_at_ms);
        self.end = sequence + 1;
        self.total += tally;
    }

    pub(crate) fn encode(&self, seed: u32, now_ms: u64) -> [u8; SEAL_BYTES] {
        let mut payload = [0; SEAL_PAYLOAD_BYTES];
        let numbers = [self.total.frames, self.total.items, self.total.bytes, self.oldest_ms, self.newest_ms];
        for (place, number) in payload.chunks_exact_mut(8).zip(numbers) {
            place.copy_from_slice(&number.to_le_bytes());
        }
        let prefix = Prefix {
            length: SEAL_PAYLOAD_BYTES as u32,
            kind: KIND_SEAL,
            sequence: self.end,
            items: 0,
            appended_at_ms: now_ms,
            synced_end: 0,
            checksum: 0,
        };
        let mut bytes = [0; SEAL_BYTES];
        bytes[..PREFIX_BYTES].copy_from_slice(&prefix.encode(seed, &[&payload]));
        bytes[PREFIX_BYTES..].copy_from_slice(&payload);
        bytes
    }

    /// From the last bytes of a segment that begins with the frame `first`.
    pub(crate) fn decode(seed: u32, bytes: &[u8], first: u64) -> Option<Seal> {
        let prefix = Prefix::decode(bytes)?;
        let payload = bytes.get(PREFIX_BYTES..)?;
        let is_seal = prefix.kind == KIND_SEAL
            && prefix.length as usize == payload.len()
            && (first..MAX_SEQUENCE).contains(&prefix.sequence)
            && prefix.fits(seed, payload);
        let mut fields = Fields(payload);
        let total = Tally { frames: fields.u64()?, items: fields.u64()?, bytes: fields.u64()? };
        let seal = Seal { end: prefix.sequence, total, oldest_ms: fields.u64()?, newest_ms: fields.u64()? };
        (is_seal && total.frames <= seal.end - first).then_some(seal)
    }
}
