//! The first bytes of a segment.

use super::{Fields, Incarnation, MAX_SEQUENCE, VERSION};

const MAGIC: &[u8; 8] = b"DSPOOLSG";

/// Length of a segment's header.
pub(crate) const HEADER_BYTES: usize = 56;

/// What a segment says about itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) incarnation: Incarnation,
    /// Sequence of its first frame.
    pub(crate) first: u64,
    /// Sequence after the last durable frame before this segment. What an older segment holds from here on was never
    /// acknowledged, or is written again in this one; nobody reads it. Up to `first` there are no frames.
    pub(crate) previous_end: u64,
    pub(crate) created_ms: u64,
}

/// Why it is not a header.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(crate) enum HeaderError {
    #[error("it does not begin like a segment")]
    Magic,
    #[error("its version {0} is unknown")]
    Version(u32),
    #[error("its header is damaged")]
    Damaged,
}

impl Header {
    pub(crate) fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&VERSION.to_le_bytes());
        bytes[12..28].copy_from_slice(&self.incarnation.0.to_le_bytes());
        bytes[28..36].copy_from_slice(&self.first.to_le_bytes());
        bytes[36..44].copy_from_slice(&self.previous_end.to_le_bytes());
        bytes[44..52].copy_from_slice(&self.created_ms.to_le_bytes());
        let checksum = crc32c::crc32c(&bytes[..52]);
        bytes[52..].copy_from_slice(&checksum.to_le_bytes());
        bytes
    }

    pub(crate) fn decode(bytes: &[u8]) -> Result<Header, HeaderError> {
        let mut fields = Fields(bytes);
        if fields.bytes(8) != Some(MAGIC) {
            return Err(HeaderError::Magic);
        }
        match fields.u32() {
            Some(VERSION) => {}
            Some(other) => return Err(HeaderError::Version(other)),
            None => return Err(HeaderError::Damaged),
        }
        let header = (|| {
            let header = Header {
                incarnation: fields.incarnation()?,
                first: fields.u64()?,
                previous_end: fields.u64()?,
                created_ms: fields.u64()?,
            };
            (fields.u32()? == crc32c::crc32c(&bytes[..52])).then_some(header)
        })();
        header
            .filter(|header| header.first < MAX_SEQUENCE && header.previous_end <= header.first)
            .ok_or(HeaderError::Damaged)
    }
}
