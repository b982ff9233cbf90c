//! Strings, numbers, booleans, ids and bytes: one JSON value to one protobuf value, by the kind of its field.
//!
//! A value is taken as the text that it is ([`RawValue`], which the JSON reader has checked), so that no number passes
//! through a double and an escaped half of a surrogate pair costs nobody the request.

use std::{borrow::Cow, fmt};

use base64::{
    Engine, alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, Visitor};
use serde_json::value::RawValue;

use super::{
    number::{self, NotInteger},
    output::{FIXED32, FIXED64, LENGTH_DELIMITED, Output, VARINT, Writer},
    schema::{Field, Kind},
};

const BASE64: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, BASE64);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, BASE64);

/// Writes one scalar, with its tag or, inside a packed field, without.
pub(super) struct Seed<'a, 'o, O> {
    field: &'static Field,
    is_tagged: bool,
    writer: &'a mut Writer<'o, O>,
}

/// Each integer kind's range and its bits on the wire.
struct Integer {
    min: i128,
    max: i128,
    encode: fn(i128) -> u64,
}

impl Kind {
    /// Repeated fields of these kinds are written as one length-delimited field.
    pub(super) fn is_packed(self) -> bool {
        !matches!(self, Kind::String | Kind::Bytes | Kind::Id | Kind::Message(_))
    }

    fn wire_type(self) -> u64 {
        match self {
            Kind::String | Kind::Bytes | Kind::Id | Kind::Message(_) => LENGTH_DELIMITED,
            Kind::Double | Kind::Fixed64 | Kind::Sfixed64 => FIXED64,
            Kind::Fixed32 => FIXED32,
            Kind::Bool | Kind::Sint32 | Kind::Uint32 | Kind::Int64 | Kind::Uint64 | Kind::Enum { .. } => {
                VARINT
            }
        }
    }

    fn integer(self) -> Option<Integer> {
        let plain: fn(i128) -> u64 = |value| value as u64;
        let zigzag: fn(i128) -> u64 = |value| ((value << 1) ^ (value >> 127)) as u64;
        let (min, max, encode) = match self {
            Kind::Enum { .. } => (i128::from(i32::MIN), i128::from(i32::MAX), plain),
            Kind::Sint32 => (i128::from(i32::MIN), i128::from(i32::MAX), zigzag),
            Kind::Uint32 | Kind::Fixed32 => (0, i128::from(u32::MAX), plain),
            Kind::Int64 | Kind::Sfixed64 => (i128::from(i64::MIN), i128::from(i64::MAX), plain),
            Kind::Uint64 | Kind::Fixed64 => (0, i128::from(u64::MAX), plain),
            Kind::String | Kind::Bytes | Kind::Id | Kind::Bool | Kind::Double | Kind::Message(_) => {
                return None;
            }
        };
        Some(Integer { min, max, encode })
    }
}

impl<'a, 'o, O: Output> Seed<'a, 'o, O> {
    pub(super) fn tagged(field: &'static Field, writer: &'a mut Writer<'o, O>) -> Self {
        Seed { field, is_tagged: true, writer }
    }

    pub(super) fn untagged(field: &'static Field, writer: &'a mut Writer<'o, O>) -> Self {
        Seed { field, is_tagged: false, writer }
    }

    fn put_tag<E: de::Error>(&mut self) -> Result<(), E> {
        if !self.is_tagged {
            return Ok(());
        }
        self.writer.put_tag(self.field.number, self.field.kind.wire_type())
    }

    fn put_bits<E: de::Error>(mut self, bits: u64) -> Result<(), E> {
        self.put_tag()?;
        match self.field.kind.wire_type() {
            FIXED64 => self.writer.put(&bits.to_le_bytes()),
            FIXED32 => self.writer.put(&(bits as u32).to_le_bytes()),
            _ => self.writer.put_varint(bits),
        }
    }

    fn put_integer<E: de::Error>(self, text: &str) -> Result<(), E> {
        let Some(Integer { min, max, encode }) = self.field.kind.integer() else {
            return Err(self.unexpected(text));
        };
        match number::integer(text) {
            Ok(value) if (min..=max).contains(&value) => self.put_bits(encode(value)),
            Ok(_) | Err(NotInteger::Range) => {
                let (name, text) = (self.field.name, shortened(text));
                Err(E::custom(format_args!("{name}: {text} is not in {min}..={max}")))
            }
            Err(NotInteger::Form) => Err(self.unexpected(text)),
        }
    }

    /// A number, written as one or as a text.
    fn put_number<E: de::Error>(self, text: &str) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => match number::double(text) {
                Some(value) => self.put_bits(value.to_bits()),
                None => Err(self.unexpected(text)),
            },
            _ => self.put_integer(text),
        }
    }

    fn put_text<E: de::Error>(self, text: &str) -> Result<(), E> {
        match self.field.kind {
            Kind::String => self.put_bytes(text.as_bytes()),
            Kind::Bytes => self.put_base64(text),
            Kind::Id => self.put_hex(text),
            Kind::Enum { prefix, names } => self.put_enum(prefix, names, text),
            Kind::Bool | Kind::Message(_) => Err(self.unexpected(text)),
            _ => self.put_number(text),
        }
    }

    fn put_bytes<E: de::Error>(mut self, bytes: &[u8]) -> Result<(), E> {
        self.put_tag()?;
        self.writer.put_varint(bytes.len() as u64)?;
        self.writer.put(bytes)
    }

    /// Decodes into the output itself, so that the decoded bytes are counted like all others.
    fn put_base64<E: de::Error>(mut self, text: &str) -> Result<(), E> {
        let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        let digits = text.trim_end_matches('=').len();
        let length = digits / 4 * 3 + (digits % 4).saturating_sub(1);
        self.put_tag()?;
        self.writer.put_varint(length as u64)?;
        match engine.decode_slice(text, self.writer.append(length)?) {
            Ok(decoded) if decoded == length => Ok(()),
            Ok(_) | Err(_) => Err(E::custom(format_args!("{}: not base64", self.field.name))),
        }
    }

    fn put_hex<E: de::Error>(mut self, text: &str) -> Result<(), E> {
        let digits = text.as_bytes();
        if !digits.len().is_multiple_of(2) || !digits.iter().all(u8::is_ascii_hexdigit) {
            let name = self.field.name;
            return Err(E::custom(format_args!("{name}: {:?} is not hex of whole bytes", shortened(text))));
        }
        self.put_tag()?;
        self.writer.put_varint(digits.len() as u64 / 2)?;
        let bytes = self.writer.append(digits.len() / 2)?;
        for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
            *byte = nibble(pair[0]) << 4 | nibble(pair[1]);
        }
        Ok(())
    }

    fn put_enum<E: de::Error>(self, prefix: &str, names: &[&str], text: &str) -> Result<(), E> {
        let by_name =
            text.strip_prefix(prefix).and_then(|name| names.iter().position(|known| *known == name));
        match by_name {
            Some(value) => self.put_bits(value as u64),
            None => self.put_integer(text),
        }
    }

    fn unexpected<E: de::Error>(&self, value: &str) -> E {
        E::custom(format_args!("{}: {} is not {}", self.field.name, shortened(value), self.field.kind))
    }
}

impl<'de, O: Output> DeserializeSeed<'de> for Seed<'_, '_, O> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        let value = <&RawValue>::deserialize(reader)?.get();
        match (value.as_bytes().first(), self.field.kind) {
            (Some(b'"'), _) => self.put_text(&unescaped(value)),
            (Some(b't' | b'f'), Kind::Bool) => self.put_bits(u64::from(value == "true")),
            (Some(b'-' | b'0'..=b'9'), _) => self.put_number(value),
            _ => Err(self.unexpected(value)),
        }
    }
}

/// The text that a JSON string stands for; `quoted` has been checked to be one.
fn unescaped(quoted: &str) -> Cow<'_, str> {
    let text = &quoted[1..quoted.len() - 1];
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let bytes = serde_json::Deserializer::from_str(quoted).deserialize_bytes(Wtf8);
    Cow::Owned(bytes.map_or_else(|_| text.to_owned(), without_surrogates))
}

/// Takes a string whose escapes may name halves of surrogate pairs: the JSON reader gives them the bytes that UTF-8 would
/// have for them.
struct Wtf8;

impl Visitor<'_> for Wtf8 {
    type Value = Vec<u8>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_bytes<E: de::Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
        Ok(bytes.to_vec())
    }
}

/// U+FFFD in place of each half of a surrogate pair. Both take three bytes.
fn without_surrogates(mut bytes: Vec<u8>) -> String {
    for start in 0..bytes.len().saturating_sub(2) {
        if bytes[start] == 0xed && bytes[start + 1] >= 0xa0 {
            bytes[start..start + 3].copy_from_slice("\u{fffd}".as_bytes());
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Kind::String => f.write_str("a string"),
            Kind::Bytes => f.write_str("base64 text"),
            Kind::Id => f.write_str("hex text"),
            Kind::Bool => f.write_str("a boolean"),
            Kind::Double => f.write_str("a number"),
            Kind::Enum { prefix, .. } => write!(f, "a number or a {prefix}… name"),
            Kind::Message(message) => write!(f, "an object for {}", message.name),
            Kind::Uint32 | Kind::Uint64 | Kind::Fixed32 | Kind::Fixed64 => f.write_str("an unsigned integer"),
            Kind::Sint32 | Kind::Int64 | Kind::Sfixed64 => f.write_str("an integer"),
        }
    }
}

/// Enough of a bad value to find it, not all of it.
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(40) {
        None => Cow::Borrowed(text),
        Some((end, _)) => Cow::Owned(format!("{}…", &text[..end])),
    }
}

/// The value of one digit that was checked to be hex.
fn nibble(digit: u8) -> u8 {
    match digit {
        b'0'..=b'9' => digit - b'0',
        _ => (digit | 0x20) - b'a' + 10,
    }
}
