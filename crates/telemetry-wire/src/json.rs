//! OTLP/JSON to protobuf in one pass, without a tree of objects in between.
//!
//! A tree would be the memory bomb of a receiver: `{},` is three bytes of JSON and a log record of some 250 bytes once
//! decoded. Here each value is written to the output as it is read, so the cost is the output, which is bounded by
//! whoever gives it ([`Output`]), and one scratch string for a text with escapes.
//!
//! The rules are those of the OTLP specification's "JSON Protobuf Encoding" and of proto3's JSON mapping:
//! ids are hex, bytes base64 (either alphabet), integers numbers or strings in any spelling of a whole number (`5`, `"5.0"`,
//! `1e3`), enums numbers or names, doubles also `"NaN"` and `"Infinity"`, `null` is an absent field, unknown fields are
//! skipped and the first of them is named ([`Read`]). Field names are lowerCamelCase; the original snake_case names are read
//! too, as the Collector does. A field given twice is an error. An escaped half of a surrogate pair becomes U+FFFD.
//! Nesting is bounded by the JSON reader at 128 levels, which is 42 nested arrays or maps of attribute values.

use std::fmt;

use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use thiserror::Error;

use crate::Signal;
use output::Writer;
use schema::{Field, Kind, Message};

mod number;
mod output;
mod scalar;
mod schema;

pub use output::{Full, Output};

/// Why a JSON text was not turned into protobuf.
#[derive(Debug, Error)]
pub enum JsonError {
    /// The output has no room for the request.
    #[error(transparent)]
    Full(#[from] Full),
    /// Not JSON, or not this request; the text names field, line and column.
    #[error("the body is not a valid OTLP/JSON request: {what}")]
    Invalid {
        /// What was found, and where.
        what: String,
    },
}

/// What was met on the way.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Read {
    /// The first field that the schema does not have, with the message that it stood in: `LogRecord.sevrity`.
    pub unknown_field: Option<String>,
}

/// Reads `json` as the request of `signal` and writes it to `output` as protobuf.
///
/// # Errors
/// [`JsonError`]; what was written until then is worth nothing.
pub fn transcode(signal: Signal, json: &[u8], output: &mut impl Output) -> Result<Read, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(json);
    let mut writer = Writer::new(output);
    let seed = MessageSeed { message: schema::request(signal), writer: &mut writer };
    let read = seed.deserialize(&mut reader).and_then(|()| reader.end());
    match (read, writer.finish()) {
        (Ok(()), (_, unknown_field)) => Ok(Read { unknown_field }),
        (Err(_), (Some(full), _)) => Err(JsonError::Full(full)),
        (Err(error), (None, _)) => Err(JsonError::Invalid { what: error.to_string() }),
    }
}

/// Writes the fields of one message; the length before them is the business of [`Writer::nested`].
struct MessageSeed<'a, 'o, O> {
    message: &'static Message,
    writer: &'a mut Writer<'o, O>,
}

impl<'de, O: Output> DeserializeSeed<'de> for MessageSeed<'_, '_, O> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_map(self)
    }
}

impl<'de, O: Output> Visitor<'de> for MessageSeed<'_, '_, O> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object for {}", self.message.name)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let MessageSeed { message, writer } = self;
        let mut seen = 0u32;
        while let Some(found) = map.next_key_seed(NameSeed { message, writer: &mut *writer })? {
            let Some(index) = found else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let field = &message.fields[index];
            if seen & (1 << index) != 0 {
                return Err(de::Error::custom(format_args!(
                    "{}.{} is given twice",
                    message.name, field.name
                )));
            }
            seen |= 1 << index;
            map.next_value_seed(FieldSeed { field, writer: &mut *writer })?;
        }
        Ok(())
    }
}

/// Finds a field by its JSON name; `None` for an unknown one, which is noted.
struct NameSeed<'a, 'o, O> {
    message: &'static Message,
    writer: &'a mut Writer<'o, O>,
}

impl<'de, O: Output> DeserializeSeed<'de> for NameSeed<'_, '_, O> {
    type Value = Option<usize>;

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<Option<usize>, D::Error> {
        reader.deserialize_identifier(self)
    }
}

impl<O: Output> Visitor<'_> for NameSeed<'_, '_, O> {
    type Value = Option<usize>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a field name")
    }

    fn visit_str<E: de::Error>(self, name: &str) -> Result<Option<usize>, E> {
        let Message { name: message, fields } = self.message;
        let exact = fields.iter().position(|field| field.name == name);
        let found = exact.or_else(|| fields.iter().position(|field| is_snake_case_of(name, field.name)));
        if found.is_none() {
            self.writer.note_unknown(message, name);
        }
        Ok(found)
    }
}

/// The value of a field: absent, one, or many.
struct FieldSeed<'a, 'o, O> {
    field: &'static Field,
    writer: &'a mut Writer<'o, O>,
}

impl<'de, O: Output> DeserializeSeed<'de> for FieldSeed<'_, '_, O> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        reader.deserialize_option(self)
    }
}

impl<'de, O: Output> Visitor<'de> for FieldSeed<'_, '_, O> {
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
        write_value(self.field, reader, self.writer)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<(), A::Error> {
        let FieldSeed { field, writer } = self;
        if field.kind.is_packed() {
            return writer.nested(field.number, |writer| {
                while elements.next_element_seed(scalar::Seed::untagged(field, &mut *writer))?.is_some() {}
                Ok(())
            });
        }
        while elements.next_element_seed(ElementSeed { field, writer: &mut *writer })?.is_some() {}
        Ok(())
    }
}

/// One element of a repeated field that is not packed.
struct ElementSeed<'a, 'o, O> {
    field: &'static Field,
    writer: &'a mut Writer<'o, O>,
}

impl<'de, O: Output> DeserializeSeed<'de> for ElementSeed<'_, '_, O> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, reader: D) -> Result<(), D::Error> {
        write_value(self.field, reader, self.writer)
    }
}

fn write_value<'de, D: Deserializer<'de>, O: Output>(
    field: &'static Field,
    reader: D,
    writer: &mut Writer<'_, O>,
) -> Result<(), D::Error> {
    match field.kind {
        Kind::Message(message) => {
            writer.nested(field.number, |writer| MessageSeed { message, writer }.deserialize(reader))
        }
        _ => scalar::Seed::tagged(field, writer).deserialize(reader),
    }
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
