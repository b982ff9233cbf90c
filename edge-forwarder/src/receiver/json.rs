//! OTLP/JSON to protobuf in one pass, without a tree of objects in between.
//!
//! A tree would be the memory bomb of this receiver: `{},` is three bytes of JSON and a log record of some 250 bytes once
//! decoded. Here each value is written to the output as it is read, so the cost is the output, which is counted against
//! the request's limit and the budget, and one scratch string inside the JSON reader, counted by the caller.
//!
//! The rules are those of the OTLP specification's "JSON Protobuf Encoding" and of proto3's JSON mapping:
//! ids are hex, bytes base64 (either alphabet), 64-bit integers strings or numbers, enums numbers or names, doubles also
//! `"NaN"` and `"Infinity"`, `null` is an absent field, unknown fields are skipped. Field names are lowerCamelCase; the
//! original snake_case names are read too, as the Collector does, because skipping `resource_logs` as
//! unknown would acknowledge data that is not kept. A field given twice is an error.
//! Nesting is bounded by the JSON reader at 128 levels, which is 42 nested arrays or maps of attribute values.

use std::fmt;

use base64::{
    alphabet,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use telemetry_wire::Signal;
use thiserror::Error;

use super::buffer::{BudgetBuffer, Overflow};
use schema::{Field, Kind, Message};

mod scalar;
mod schema;

/// Why a JSON body was not turned into protobuf.
#[derive(Debug, Error)]
pub(crate) enum JsonError {
    #[error(transparent)]
    Overflow(#[from] Overflow),
    /// Not JSON, or not this request; the text names field, line and column.
    #[error("the body is not a valid OTLP/JSON request: {what}")]
    Invalid { what: String },
}

const BASE64: GeneralPurposeConfig = GeneralPurposeConfig::new()
    .with_decode_padding_mode(DecodePaddingMode::Indifferent)
    .with_decode_allow_trailing_bits(true);
const STANDARD: GeneralPurpose = GeneralPurpose::new(&alphabet::STANDARD, BASE64);
const URL_SAFE: GeneralPurpose = GeneralPurpose::new(&alphabet::URL_SAFE, BASE64);

/// Reads `json` as the request of `signal` and writes it to `output` as protobuf.
pub(crate) fn transcode(signal: Signal, json: &[u8], output: &mut BudgetBuffer) -> Result<(), JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let seed = MessageSeed { message: schema::request(signal), output };
    let read = seed.deserialize(&mut reader).and_then(|()| reader.end());
    match (read, output.overflow()) {
        (Ok(()), _) => Ok(()),
        (Err(_), Some(overflow)) => Err(JsonError::Overflow(overflow)),
        (Err(error), None) => Err(JsonError::Invalid { what: error.to_string() }),
    }
}

/// Writes the fields of one message; the length before them is the business of [`nested`].
struct MessageSeed<'a> {
    message: &'static Message,
    output: &'a mut BudgetBuffer,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object for {}", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let fields = self.message.fields;
        let mut seen = 0u32;
        while let Some(found) = map.next_key_seed(NameSeed(fields))? {
            let Some(index) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = &fields[index];
            if seen & (1 << index) != 0 {
                return Err(de::Error::custom(format_args!(
                    "{}.{} is given twice",
                    self.message.name, field.name
                )));
            }
            seen |= 1 << index;
            map.next_value_seed(FieldSeed { field, output: &mut *self.output })?;
        }
        Ok(())
    }
}

/// Finds a field by its JSON name; `None` for an unknown one.
struct NameSeed(&'static [Field]);

impl<'de> DeserializeSeed<'de> for NameSeed {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Option<usize>, D::Error> {
        reader.deserialize_identifier(self)
    }
}

impl Visitor<'_> for NameSeed {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Option<usize>, E> {
        let fields = self.0;
        let exact = fields.iter().position(|field| field.name == name);
        Ok(exact.or_else(|| fields.iter().position(|field| is_snake_case_of(name, field.name))))
    }
}

/// The value of a field: absent, one, or many.
struct FieldSeed<'a> {
    field: &'static Field,
    output: &'a mut BudgetBuffer,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_option(self)
    }
}

impl<'de> Visitor<'de> for FieldSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array for {}", self.field.name)
    }

    fn visit_none<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_some<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        if self.field.is_repeated {
            return reader.deserialize_seq(self);
        }
        write_value(self.field, reader, self.output)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let FieldSeed { field, output } = self;
        if field.kind.is_packed() {
            return nested(output, field.number, |output| {
                while elements.next_element_seed(scalar::Seed::untagged(field, &mut *output))?.is_some() {}
                Ok(())
            });
        }
        while elements.next_element_seed(ElementSeed { field, output: &mut *output })?.is_some() {}
        Ok(())
    }
}

/// One element of a repeated field that is not packed.
struct ElementSeed<'a> {
    field: &'static Field,
    output: &'a mut BudgetBuffer,
}

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        write_value(self.field, reader, self.output)
    }
}

fn write_value<'de, D: Deserializer<'de>>(
    field: &'static Field,
    reader: D,
    output: &mut BudgetBuffer,
) -> Result<(), D::Error> {
    match field.kind {
        Kind::Message(message) => {
            nested(output, field.number, |output| MessageSeed { message, output }.deserialize(reader))
        }
        _ => scalar::Seed::tagged(field, output).deserialize(reader),
    }
}

/// Writes a length-delimited field whose length is known only afterwards: one byte is left for it, and what was written
/// moves when the length needs more.
fn nested<E: de::Error>(
    output: &mut BudgetBuffer,
    number: u32,
    write: impl FnOnce(&mut BudgetBuffer) -> Result<(), E>,
) -> Result<(), E> {
    put_varint(output, u64::from(number) << 3 | LENGTH_DELIMITED)?;
    let start = output.len() + 1;
    output.put(&[0]).map_err(E::custom)?;
    write(output)?;
    let length = output.len() - start;
    let (varint, width) = varint(length as u64);
    output.put(&[0; 10][1..width]).map_err(E::custom)?;
    let written = output.written();
    written.copy_within(start..start + length, start + width - 1);
    written[start - 1..start - 1 + width].copy_from_slice(&varint[..width]);
    Ok(())
}

const VARINT: u64 = 0;
const FIXED64: u64 = 1;
const LENGTH_DELIMITED: u64 = 2;
const FIXED32: u64 = 5;

fn put_varint<E: de::Error>(output: &mut BudgetBuffer, value: u64) -> Result<(), E> {
    let (varint, width) = varint(value);
    output.put(&varint[..width]).map_err(E::custom)
}

fn varint(mut value: u64) -> ([u8; 10], usize) {
    let mut bytes = [0; 10];
    let mut width = 0;
    while value >= 0x80 {
        bytes[width] = value as u8 | 0x80;
        value >>= 7;
        width += 1;
    }
    bytes[width] = value as u8;
    (bytes, width + 1)
}

/// Whether `name` is the original protobuf name that `camel` was made from.
fn is_snake_case_of(name: &str, camel: &str) -> bool {
    let mut expected = camel.bytes().flat_map(|byte| {
        let underscore = byte.is_ascii_uppercase().then_some(b'_');
        underscore.into_iter().chain([byte.to_ascii_lowercase()])
    });
    name.bytes().all(|byte| expected.next() == Some(byte)) && expected.next().is_none()
}

#[cfg(test)]
mod tests;
