//! Attributes and values as the three signals share them, read in place.
//!
//! Protobuf's merge law holds throughout: scalars and oneofs take their last occurrence, and a sub-message that
//! occurs several times is the concatenation of its occurrences. Bytes are copied only in that last, rare case.

use crate::pb::{Malformed, MalformedKind, Reader, Repeated};
use std::borrow::Cow;

/// A value of any type.
// A tag of a whole word: with a smaller one values are moved in odd pieces, which doubles the cost of an attribute.
#[repr(u64)]
#[derive(Debug, Clone, Default, PartialEq)]
pub enum AnyValue<'a> {
    /// No value set, or a string-table index, which has no meaning outside profiles.
    #[default]
    Empty,
    /// A string; not necessarily UTF-8, see [`crate::pb::lossy`].
    String(&'a [u8]),
    /// A boolean.
    Bool(bool),
    /// A signed integer.
    Int(i64),
    /// A floating-point number.
    Double(f64),
    /// A list of values.
    Array(ArrayValue<'a>),
    /// A map; keys may repeat on the wire.
    KeyValueList(KeyValueList<'a>),
    /// Opaque bytes.
    Bytes(&'a [u8]),
}

/// A list of values, read as it is iterated.
#[derive(Debug, Clone, PartialEq)]
pub struct ArrayValue<'a> {
    bytes: Cow<'a, [u8]>,
    depth_left: u32,
}

/// A map, read as it is iterated.
#[derive(Debug, Clone, PartialEq)]
pub struct KeyValueList<'a> {
    bytes: Cow<'a, [u8]>,
    depth_left: u32,
}

/// One attribute.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct KeyValue<'a> {
    /// The key; empty when absent, not necessarily UTF-8.
    pub key: &'a [u8],
    /// The value.
    pub value: AnyValue<'a>,
}

/// The attributes in a message, in wire order. Duplicate keys are all yielded; the last one counts.
#[derive(Debug, Clone)]
pub struct Attributes<'a> {
    fields: Repeated<'a>,
    depth_left: u32,
}

impl<'a> AnyValue<'a> {
    /// Reads one `AnyValue` message below which `depth_left` levels may nest.
    #[inline]
    pub fn parse(bytes: &'a [u8], depth_left: u32) -> Result<Self, Malformed> {
        let mut value = AnyValue::Empty;
        value.merge(bytes, depth_left)?;
        Ok(value)
    }

    /// Merges one more occurrence of the message into the value.
    #[inline]
    pub(crate) fn merge(&mut self, bytes: &'a [u8], depth_left: u32) -> Result<(), Malformed> {
        if let Some(text) = plain_text(bytes) {
            *self = AnyValue::String(text);
            return Ok(());
        }
        self.merge_fields(bytes, depth_left)
    }

    fn merge_fields(&mut self, bytes: &'a [u8], depth_left: u32) -> Result<(), Malformed> {
        let mut reader = Reader::nested(bytes, depth_left);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => *self = AnyValue::String(field.bytes()?),
                2 => *self = AnyValue::Bool(field.varint()? != 0),
                3 => *self = AnyValue::Int(field.varint()? as i64),
                4 => *self = AnyValue::Double(f64::from_bits(field.fixed64()?)),
                5 => self.merge_array(field.bytes()?, reader.enter()?),
                6 => self.merge_map(field.bytes()?, reader.enter()?),
                7 => *self = AnyValue::Bytes(field.bytes()?),
                8 => {
                    field.int32()?;
                    *self = AnyValue::Empty;
                }
                _ => reader.accept_unknown()?,
            }
        }
        Ok(())
    }

    fn merge_array(&mut self, more: &'a [u8], depth_left: u32) {
        match self {
            AnyValue::Array(array) => array.bytes.to_mut().extend_from_slice(more),
            _ => *self = AnyValue::Array(ArrayValue { bytes: Cow::Borrowed(more), depth_left }),
        }
    }

    fn merge_map(&mut self, more: &'a [u8], depth_left: u32) {
        match self {
            AnyValue::KeyValueList(map) => map.bytes.to_mut().extend_from_slice(more),
            _ => *self = AnyValue::KeyValueList(KeyValueList { bytes: Cow::Borrowed(more), depth_left }),
        }
    }
}

impl ArrayValue<'_> {
    /// The values, in order.
    pub fn iter(&self) -> impl Iterator<Item = Result<AnyValue<'_>, Malformed>> {
        let depth_left = self.depth_left;
        Repeated::new(&self.bytes, 1, depth_left)
            .map(move |bytes| AnyValue::parse(bytes?, enter(depth_left)?))
    }
}

impl KeyValueList<'_> {
    /// The entries, in wire order.
    pub fn iter(&self) -> Attributes<'_> {
        Attributes::new(&self.bytes, 1, self.depth_left)
    }
}

impl<'a> KeyValue<'a> {
    #[inline]
    fn parse(bytes: &'a [u8], depth_left: u32) -> Result<Self, Malformed> {
        match plain_attribute(bytes) {
            Some((key, value)) => Ok(KeyValue { key, value: AnyValue::parse(value, enter(depth_left)?)? }),
            None => KeyValue::parse_fields(bytes, depth_left),
        }
    }

    fn parse_fields(bytes: &'a [u8], depth_left: u32) -> Result<Self, Malformed> {
        let mut attribute = KeyValue::default();
        let mut reader = Reader::nested(bytes, depth_left);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => attribute.key = field.bytes()?,
                2 => attribute.value.merge(field.bytes()?, reader.enter()?)?,
                // A string-table index: profiles only.
                3 => drop(field.int32()?),
                _ => reader.accept_unknown()?,
            }
        }
        Ok(attribute)
    }
}

impl<'a> Attributes<'a> {
    /// The attributes held in field `number` of the message `bytes`, below which `depth_left` levels may nest.
    #[inline]
    pub(crate) fn new(bytes: &'a [u8], number: u32, depth_left: u32) -> Self {
        Self { fields: Repeated::new(bytes, number, depth_left), depth_left }
    }

    /// The bytes of the message that were not iterated yet, fields other than the attributes included.
    pub(crate) fn unread(&self) -> &'a [u8] {
        self.fields.unread()
    }
}

impl<'a> Iterator for Attributes<'a> {
    type Item = Result<KeyValue<'a>, Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        let bytes = self.fields.next()?;
        Some(bytes.and_then(|bytes| KeyValue::parse(bytes, enter(self.depth_left)?)))
    }
}

/// The value of the last attribute named `key`, or `None`.
pub fn find<'a>(attributes: Attributes<'a>, key: &[u8]) -> Result<Option<AnyValue<'a>>, Malformed> {
    let mut found = None;
    for attribute in attributes {
        let attribute = attribute?;
        if attribute.key == key {
            found = Some(attribute.value);
        }
    }
    Ok(found)
}

#[inline]
fn enter(depth_left: u32) -> Result<u32, Malformed> {
    depth_left.checked_sub(1).ok_or(Malformed { offset: 0, kind: MalformedKind::TooDeep })
}

/// The key and the encoded value of a `KeyValue` written as encoders write it: each once, in order, nothing else, and
/// lengths of one byte. Most attributes are, and then need no loop over fields.
#[inline]
pub(crate) fn plain_attribute(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (&[0x0a, key_length @ ..0x80], rest) = bytes.split_first_chunk()? else { return None };
    let (key, rest) = rest.split_at_checked(usize::from(key_length))?;
    let (&[0x12, value_length @ ..0x80], value) = rest.split_first_chunk()? else { return None };
    (value.len() == usize::from(value_length)).then_some((key, value))
}

/// The text of an `AnyValue` that is one string with a length of one byte, and nothing else.
#[inline]
pub(crate) fn plain_text(bytes: &[u8]) -> Option<&[u8]> {
    let (&[0x0a, length @ ..0x80], text) = bytes.split_first_chunk()? else { return None };
    (text.len() == usize::from(length)).then_some(text)
}

/// The stretch of a message from the first to the last occurrence of one field, so that a second pass reads no more.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Extent {
    start: Option<usize>,
    end: usize,
}

impl Extent {
    #[inline]
    pub(crate) fn cover(&mut self, start: usize, end: usize) {
        self.start.get_or_insert(start);
        self.end = end;
    }

    #[inline]
    pub(crate) fn of(self, bytes: &[u8]) -> &[u8] {
        self.start.map_or(&[], |start| &bytes[start..self.end])
    }
}
