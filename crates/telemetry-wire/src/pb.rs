//! Protobuf wire format on borrowed bytes: a reader of fields and the few writers that re-wrapping needs.
//!
//! The reader refuses exactly what prost refuses: a varint longer than ten bytes or above 64 bits, field number zero,
//! a key above 32 bits, wire types 6 and 7, an end-group without its start, a length that runs past the message, and
//! nesting beyond [`MAX_DEPTH`]. One difference is on purpose: strings are bytes here, so invalid UTF-8 is no error;
//! [`lossy`] replaces it where text is needed.
//!
//! Groups are surfaced whole as [`Value::Group`], because a group under a known field number is a wire-type mismatch
//! while one under an unknown number is skipped.

use std::borrow::Cow;

#[cfg(test)]
mod tests;

/// Messages may nest this deep below the request (prost's limit); a deeper one is malformed.
pub const MAX_DEPTH: u32 = 100;

/// Bytes that are not a protobuf message of the expected shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed protobuf at byte {offset}: {kind}")]
pub struct Malformed {
    /// Where reading stopped, in bytes from the start of the slice given to the reader; from the start of the
    /// request when it comes from [`crate::inspect()`] or [`crate::split()`].
    pub offset: usize,
    /// What is wrong there.
    pub kind: MalformedKind,
}

/// What is wrong with malformed bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MalformedKind {
    /// A value or length runs past the end of its message.
    #[error("a value runs past the end of its message")]
    Truncated,
    /// A varint has more than ten bytes or more than 64 bits.
    #[error("a varint exceeds 64 bits")]
    VarintOverflow,
    /// A field key is above 32 bits or its field number is zero.
    #[error("an invalid field number")]
    InvalidFieldNumber,
    /// Wire types 6 and 7 do not exist.
    #[error("an invalid wire type")]
    InvalidWireType,
    /// A known field has a wire type other than its own.
    #[error("field {0} has the wrong wire type")]
    WireTypeMismatch(u32),
    /// An end-group without its start.
    #[error("an end of group without its start")]
    UnexpectedEndGroup,
    /// Nesting beyond the limit.
    #[error("messages nest deeper than the limit")]
    TooDeep,
}

/// One field of a message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Field<'a> {
    /// The field number, never zero.
    pub number: u32,
    /// The value in its wire type.
    pub value: Value<'a>,
    /// Where the field's key starts in the slice given to the reader, in bytes.
    pub offset: usize,
}

/// A value in its wire type.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 5.
    Fixed32(u32),
    /// Wire type 2: string, bytes, message or packed scalars.
    Len(&'a [u8]),
    /// Wire types 3 and 4: the fields inside the group, already checked.
    Group(&'a [u8]),
}

/// Reads the fields of one message in wire order.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
    depth_left: u32,
}

impl Malformed {
    #[cold]
    pub(crate) fn wire_type(offset: usize, number: u32) -> Self {
        Malformed { offset, kind: MalformedKind::WireTypeMismatch(number) }
    }

    /// The same fault seen from a message in which this one starts at `base`.
    pub(crate) fn shifted(self, base: usize) -> Self {
        Malformed { offset: self.offset + base, ..self }
    }
}

impl<'a> Field<'a> {
    fn mismatch(&self) -> Malformed {
        Malformed::wire_type(self.offset, self.number)
    }

    /// The value of a varint field; any other wire type is malformed.
    #[inline]
    pub fn varint(&self) -> Result<u64, Malformed> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.mismatch()),
        }
    }

    /// The value of a `uint32` field: the low 32 bits, as every decoder does.
    #[inline]
    pub fn uint32(&self) -> Result<u32, Malformed> {
        Ok(self.varint()? as u32)
    }

    /// The value of an `int32` or enum field: the low 32 bits.
    #[inline]
    pub fn int32(&self) -> Result<i32, Malformed> {
        Ok(self.varint()? as i32)
    }

    /// The value of a fixed 64-bit field; any other wire type is malformed.
    #[inline]
    pub fn fixed64(&self) -> Result<u64, Malformed> {
        match self.value {
            Value::Fixed64(value) => Ok(value),
            _ => Err(self.mismatch()),
        }
    }

    /// The value of a fixed 32-bit field; any other wire type is malformed.
    #[inline]
    pub fn fixed32(&self) -> Result<u32, Malformed> {
        match self.value {
            Value::Fixed32(value) => Ok(value),
            _ => Err(self.mismatch()),
        }
    }

    /// The value of a length-delimited field; any other wire type is malformed.
    #[inline]
    pub fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self.value {
            Value::Len(bytes) => Ok(bytes),
            _ => Err(self.mismatch()),
        }
    }
}

impl<'a> Reader<'a> {
    /// A reader over a top-level message.
    pub fn new(buf: &'a [u8]) -> Self {
        Self::nested(buf, MAX_DEPTH)
    }

    /// A reader over a message below which `depth_left` more levels may nest.
    #[inline]
    pub fn nested(buf: &'a [u8], depth_left: u32) -> Self {
        Self { rest: buf, length: buf.len(), depth_left }
    }

    /// Whether the whole message has been read.
    #[inline]
    pub(crate) fn is_at_end(&self) -> bool {
        self.rest.is_empty()
    }

    /// Bytes read so far.
    #[inline]
    pub fn offset(&self) -> usize {
        self.length - self.rest.len()
    }

    /// The next field, or `None` at the end of the message. After an error nothing more can be read.
    // Inlined by force: the walkers match on the number, and a field passed through memory costs more than reading it.
    #[inline(always)]
    #[expect(
        clippy::should_implement_trait,
        reason = "a fallible cursor, not an Iterator: `?` stays on the call"
    )]
    #[expect(clippy::inline_always, reason = "measured: 2x on the log walker")]
    pub fn next(&mut self) -> Result<Option<Field<'a>>, Malformed> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let offset = self.offset();
        let (number, wire_type) = self.key()?;
        let value = match wire_type {
            WIRE_LEN => Value::Len(self.len_prefixed()?),
            WIRE_VARINT => Value::Varint(self.varint()?),
            WIRE_FIXED64 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            WIRE_FIXED32 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => Value::Group(self.rare(offset, number, wire_type)?),
        };
        Ok(Some(Field { number, value, offset }))
    }

    /// The depth left inside a sub-message of this one, or `TooDeep`.
    #[inline]
    pub fn enter(&self) -> Result<u32, Malformed> {
        if self.depth_left == 0 {
            return Err(self.error(MalformedKind::TooDeep));
        }
        Ok(self.depth_left - 1)
    }

    /// Accepts a field of unknown number; prost counts skipping one as a level of nesting.
    #[inline]
    pub(crate) fn accept_unknown(&self) -> Result<(), Malformed> {
        self.enter().map(drop)
    }

    #[inline]
    pub(crate) fn key(&mut self) -> Result<(u32, u8), Malformed> {
        let key = self.varint()?;
        if key > u64::from(u32::MAX) || key < 8 {
            return Err(self.error(MalformedKind::InvalidFieldNumber));
        }
        Ok(((key >> 3) as u32, (key & 7) as u8))
    }

    #[inline]
    pub(crate) fn varint(&mut self) -> Result<u64, Malformed> {
        // Keys and most lengths take one byte, lengths of records two.
        match self.rest {
            [byte @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            [low, high @ ..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.long_varint(),
        }
    }

    #[cold]
    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let (value, length) = read_varint(self.rest).map_err(|kind| self.error(kind))?;
        self.rest = &self.rest[length..];
        Ok(value)
    }

    #[inline]
    pub(crate) fn len_prefixed(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.varint()?;
        // A length that does not fit in memory's width is past the end as well.
        let Some((value, rest)) =
            usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length))
        else {
            return Err(self.error(MalformedKind::Truncated));
        };
        self.rest = rest;
        Ok(value)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let Some((value, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(self.error(MalformedKind::Truncated));
        };
        self.rest = rest;
        Ok(*value)
    }

    /// The wire types that honest encoders do not write: groups, and what is malformed.
    #[cold]
    fn rare(&mut self, offset: usize, number: u32, wire_type: u8) -> Result<&'a [u8], Malformed> {
        match wire_type {
            WIRE_START_GROUP => self.group(number, self.depth_left),
            WIRE_END_GROUP => Err(Malformed { offset, kind: MalformedKind::UnexpectedEndGroup }),
            _ => Err(Malformed { offset, kind: MalformedKind::InvalidWireType }),
        }
    }

    /// Reads past the group that `number` opened and returns the fields inside it.
    #[cold]
    fn group(&mut self, number: u32, depth_left: u32) -> Result<&'a [u8], Malformed> {
        if depth_left == 0 {
            return Err(self.error(MalformedKind::TooDeep));
        }
        let inner_depth = depth_left - 1;
        let group = self.rest;
        loop {
            let end = group.len() - self.rest.len();
            let (inner, wire_type) = self.key()?;
            if wire_type == WIRE_END_GROUP {
                if inner != number {
                    return Err(self.error(MalformedKind::UnexpectedEndGroup));
                }
                return Ok(&group[..end]);
            }
            if inner_depth == 0 {
                return Err(self.error(MalformedKind::TooDeep));
            }
            self.skip_nested(inner, wire_type, inner_depth)?;
        }
    }

    /// Reads past the value of a field whose key has been read.
    #[inline]
    pub(crate) fn skip(&mut self, number: u32, wire_type: u8) -> Result<(), Malformed> {
        self.skip_nested(number, wire_type, self.depth_left)
    }

    #[inline]
    fn skip_nested(&mut self, number: u32, wire_type: u8, depth_left: u32) -> Result<(), Malformed> {
        match wire_type {
            WIRE_VARINT => self.varint().map(drop),
            WIRE_FIXED64 => self.array::<8>().map(drop),
            WIRE_LEN => self.len_prefixed().map(drop),
            WIRE_FIXED32 => self.array::<4>().map(drop),
            WIRE_START_GROUP => self.group(number, depth_left).map(drop),
            WIRE_END_GROUP => Err(self.error(MalformedKind::UnexpectedEndGroup)),
            _ => Err(self.error(MalformedKind::InvalidWireType)),
        }
    }

    #[cold]
    fn error(&self, kind: MalformedKind) -> Malformed {
        Malformed { offset: self.offset(), kind }
    }
}

/// The values of one repeated length-delimited field, other fields being passed over. Ends after an error.
#[derive(Debug, Clone)]
pub struct Repeated<'a> {
    reader: Reader<'a>,
    number: u32,
}

impl<'a> Repeated<'a> {
    pub(crate) fn new(buf: &'a [u8], number: u32, depth_left: u32) -> Self {
        Self { reader: Reader::nested(buf, depth_left), number }
    }

    pub(crate) fn unread(&self) -> &'a [u8] {
        self.reader.rest
    }
}

impl<'a> Iterator for Repeated<'a> {
    type Item = Result<&'a [u8], Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        loop {
            let found = match self.reader.next() {
                Ok(None) => return None,
                Ok(Some(field)) if field.number == self.number => field.bytes(),
                Ok(Some(_)) => continue,
                Err(malformed) => Err(malformed),
            };
            if found.is_err() {
                self.reader.rest = &[];
            }
            return Some(found);
        }
    }
}

pub(crate) const WIRE_VARINT: u8 = 0;
pub(crate) const WIRE_FIXED64: u8 = 1;
pub(crate) const WIRE_LEN: u8 = 2;
pub(crate) const WIRE_START_GROUP: u8 = 3;
pub(crate) const WIRE_END_GROUP: u8 = 4;
pub(crate) const WIRE_FIXED32: u8 = 5;

/// Reads a varint from the start of `buf`: its value and its length in bytes.
#[inline]
pub(crate) fn read_varint(buf: &[u8]) -> Result<(u64, usize), MalformedKind> {
    let mut value = 0u64;
    for (index, &byte) in buf.iter().take(10).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte < 0x80 {
            // The tenth byte holds the 64th bit alone.
            return if index == 9 && byte > 1 {
                Err(MalformedKind::VarintOverflow)
            } else {
                Ok((value, index + 1))
            };
        }
    }
    Err(if buf.len() < 10 { MalformedKind::Truncated } else { MalformedKind::VarintOverflow })
}

/// The text of a protobuf string, with U+FFFD for every invalid sequence.
pub fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

/// The encoded length of a varint, in bytes (1 to 10).
pub const fn varint_len(value: u64) -> usize {
    ((value | 1).ilog2() as usize * 9 + 73) / 64
}

/// Appends a varint.
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a field key.
fn put_key(out: &mut Vec<u8>, number: u32, wire_type: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire_type));
}

/// Appends a varint field.
pub fn put_varint_field(out: &mut Vec<u8>, number: u32, value: u64) {
    put_key(out, number, WIRE_VARINT);
    put_varint(out, value);
}

/// Appends a fixed 64-bit field.
pub fn put_fixed64_field(out: &mut Vec<u8>, number: u32, value: u64) {
    put_key(out, number, WIRE_FIXED64);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a fixed 32-bit field.
pub fn put_fixed32_field(out: &mut Vec<u8>, number: u32, value: u32) {
    put_key(out, number, WIRE_FIXED32);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a length-delimited field: string, bytes or message.
pub fn put_len_field(out: &mut Vec<u8>, number: u32, value: &[u8]) {
    put_len_header(out, number, value.len());
    out.extend_from_slice(value);
}

/// Appends the key and length of a length-delimited field whose `length` bytes the caller writes next.
pub fn put_len_header(out: &mut Vec<u8>, number: u32, length: usize) {
    put_key(out, number, WIRE_LEN);
    put_varint(out, length as u64);
}

/// The encoded size of a length-delimited field of `length` bytes, key and length included.
pub const fn len_field_size(number: u32, length: usize) -> usize {
    varint_len((number as u64) << 3) + varint_len(length as u64) + length
}
