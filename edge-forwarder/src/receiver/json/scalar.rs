//! Strings, numbers, booleans, ids and bytes: one JSON value to one protobuf value, by the kind of its field.

use std::{borrow::Cow, fmt};

use base64::Engine;
use serde::de::{self, DeserializeSeed, Deserializer, Visitor};

use super::{
    FIXED32, FIXED64, LENGTH_DELIMITED, STANDARD, URL_SAFE, VARINT, put_varint,
    schema::{Field, Kind},
};
use crate::receiver::buffer::BudgetBuffer;

/// Writes one scalar, with its tag or, inside a packed field, without.
pub(super) struct Seed<'a> {
    field: &'static Field,
    is_tagged: bool,
    output: &'a mut BudgetBuffer,
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

impl<'a> Seed<'a> {
    pub(super) fn tagged(field: &'static Field, output: &'a mut BudgetBuffer) -> Seed<'a> {
        Seed { field, is_tagged: true, output }
    }

    pub(super) fn untagged(field: &'static Field, output: &'a mut BudgetBuffer) -> Seed<'a> {
        Seed { field, is_tagged: false, output }
    }

    fn put_tag<E: de::Error>(&mut self) -> Result<(), E> {
        if !self.is_tagged {
            return Ok(());
        }
        put_varint(self.output, u64::from(self.field.number) << 3 | self.field.kind.wire_type())
    }

    fn put_bits<E: de::Error>(mut self, bits: u64) -> Result<(), E> {
        self.put_tag()?;
        match self.field.kind.wire_type() {
            FIXED64 => self.output.put(&bits.to_le_bytes()).map_err(E::custom),
            FIXED32 => self.output.put(&(bits as u32).to_le_bytes()).map_err(E::custom),
            _ => put_varint(self.output, bits),
        }
    }

    fn put_integer<E: de::Error>(self, value: i128) -> Result<(), E> {
        let Some(integer) = self.field.kind.integer() else {
            return Err(self.unexpected(&value));
        };
        if !(integer.min..=integer.max).contains(&value) {
            let Integer { min, max, .. } = integer;
            return Err(E::custom(format_args!("{}: {value} is not in {min}..={max}", self.field.name)));
        }
        self.put_bits((integer.encode)(value))
    }

    fn put_bytes<E: de::Error>(mut self, bytes: &[u8]) -> Result<(), E> {
        self.put_tag()?;
        put_varint(self.output, bytes.len() as u64)?;
        self.output.put(bytes).map_err(E::custom)
    }

    /// Decodes into the output's own spare room, so that the decoded bytes are counted like all others.
    fn put_base64<E: de::Error>(mut self, text: &str) -> Result<(), E> {
        let engine = if text.contains(['-', '_']) { &URL_SAFE } else { &STANDARD };
        let digits = text.trim_end_matches('=').len();
        let length = digits / 4 * 3 + (digits % 4).saturating_sub(1);
        self.put_tag()?;
        put_varint(self.output, length as u64)?;
        self.output.reserve(length).map_err(E::custom)?;
        match engine.decode_slice(text, &mut self.output.spare()[..length]) {
            Ok(decoded) if decoded == length => {
                self.output.advance(length);
                Ok(())
            }
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
        put_varint(self.output, digits.len() as u64 / 2)?;
        for pair in digits.chunks_exact(2) {
            self.output.put(&[nibble(pair[0]) << 4 | nibble(pair[1])]).map_err(E::custom)?;
        }
        Ok(())
    }

    fn put_enum<E: de::Error>(self, prefix: &str, names: &[&str], text: &str) -> Result<(), E> {
        let by_name =
            text.strip_prefix(prefix).and_then(|name| names.iter().position(|known| *known == name));
        match by_name.map(|index| index as i128).or_else(|| text.parse::<i32>().ok().map(i128::from)) {
            Some(value) => self.put_integer(value),
            None => Err(self.unexpected(&shortened(text))),
        }
    }

    fn unexpected<E: de::Error>(&self, value: &dyn fmt::Debug) -> E {
        E::custom(format_args!("{}: {value:?} is not {}", self.field.name, self.field.kind))
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_any(self)
    }
}

impl Visitor<'_> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} for {}", self.field.kind, self.field.name)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<(), E> {
        match self.field.kind {
            Kind::Bool => self.put_bits(u64::from(value)),
            _ => Err(self.unexpected(&value)),
        }
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.put_bits((value as f64).to_bits()),
            _ => self.put_integer(value.into()),
        }
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.put_bits((value as f64).to_bits()),
            _ => self.put_integer(value.into()),
        }
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<(), E> {
        match self.field.kind {
            Kind::Double => self.put_bits(value.to_bits()),
            // `1e3` and `5.0` are integers in JSON; beyond 2^53 the text no longer tells which one.
            _ if value.fract() == 0.0 && value.abs() <= (1u64 << 53) as f64 => {
                self.put_integer(value as i128)
            }
            _ => Err(self.unexpected(&value)),
        }
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<(), E> {
        match self.field.kind {
            Kind::String => self.put_bytes(text.as_bytes()),
            Kind::Bytes => self.put_base64(text),
            Kind::Id => self.put_hex(text),
            Kind::Enum { prefix, names } => self.put_enum(prefix, names, text),
            Kind::Double => match double(text) {
                Some(value) => self.put_bits(value.to_bits()),
                None => Err(self.unexpected(&shortened(text))),
            },
            Kind::Bool | Kind::Message(_) => Err(self.unexpected(&shortened(text))),
            Kind::Sint32
            | Kind::Uint32
            | Kind::Int64
            | Kind::Uint64
            | Kind::Fixed32
            | Kind::Fixed64
            | Kind::Sfixed64 => match text.parse::<i128>() {
                Ok(value) => self.put_integer(value),
                Err(_) => Err(self.unexpected(&shortened(text))),
            },
        }
    }
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

fn double(text: &str) -> Option<f64> {
    match text {
        "NaN" => Some(f64::NAN),
        "Infinity" => Some(f64::INFINITY),
        "-Infinity" => Some(f64::NEG_INFINITY),
        // Rust also reads "inf", "nan" and "infinity", which JSON's mapping does not have.
        _ if text.bytes().all(|byte| byte.is_ascii_digit() || b"+-.eE".contains(&byte)) => text.parse().ok(),
        _ => None,
    }
}

/// Enough of a bad value to find it, not all of it.
fn shortened(text: &str) -> Cow<'_, str> {
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
