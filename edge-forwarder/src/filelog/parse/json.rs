//! Reads a JSON object into attributes and fields of a record, without a tree in between.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use telemetry_wire::pb;

use super::{
    attributes::{Attributes, BOOL, DOUBLE, INT, STRING, close_length, open_length},
    rules::{Field, ParseRules},
    severity,
};
use crate::filelog::cri::read_time;

/// Fields of `AnyValue`, `ArrayValue`, `KeyValueList` and `KeyValue`.
const ARRAY: u32 = 5;
const KVLIST: u32 = 6;
const VALUES: u32 = 1;
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// Objects and arrays nested deeper are kept as JSON text.
const MAX_DEPTH: u32 = 16;

/// 1971, below which a number is no time, and 2261, where nanoseconds end.
const EARLIEST_NANOS: u64 = 31_536_000_000_000_000;
const LATEST_NANOS: u64 = 9_190_000_000_000_000_000;

/// What is read for the record's own fields, each with the rank of its key.
#[derive(Debug, Default)]
pub(super) struct Known<'a> {
    time: Option<Chosen<u64>>,
    severity: Option<Chosen<(u8, Cow<'a, [u8]>)>>,
    trace_id: Option<Chosen<[u8; 16]>>,
    span_id: Option<Chosen<[u8; 8]>>,
    flags: Option<Chosen<u8>>,
}

#[derive(Debug)]
struct Chosen<T> {
    value: T,
    rank: u8,
    /// The attribute that says the same.
    attribute: usize,
}

/// A value, as far as a field can be made of it.
#[derive(Debug)]
enum Scalar<'a> {
    Text(Cow<'a, str>),
    Int(i64),
    Double(f64),
    Other,
}

/// Reads `text` as one object.
pub(super) fn read_object<'a>(
    rules: &ParseRules,
    text: &'a [u8],
    attributes: &mut Attributes,
) -> Result<Known<'a>, serde_json::Error> {
    let mut reader = serde_json::Deserializer::from_slice(text);
    let known = reader.deserialize_map(ObjectVisitor { rules, attributes })?;
    reader.end()?;
    known.taken().into_iter().flatten().for_each(|attribute| attributes.leave_out(attribute));
    Ok(known)
}

impl<'a> Known<'a> {
    /// What a text without a structure tells.
    pub(super) fn guessed(text: &'a [u8]) -> Known<'a> {
        let severity = severity::guessed(text).map(|(severity, word)| Chosen {
            value: (severity, Cow::Borrowed(word)),
            rank: 0,
            attribute: 0,
        });
        Known { severity, ..Known::default() }
    }

    pub(super) fn time_unix_nano(&self) -> Option<u64> {
        self.time.as_ref().map(|chosen| chosen.value)
    }

    pub(super) fn severity(&self) -> Option<(u8, &[u8])> {
        self.severity.as_ref().map(|chosen| (chosen.value.0, &*chosen.value.1))
    }

    pub(super) fn trace_id(&self) -> Option<[u8; 16]> {
        self.trace_id.as_ref().map(|chosen| chosen.value)
    }

    pub(super) fn span_id(&self) -> Option<[u8; 8]> {
        self.span_id.as_ref().map(|chosen| chosen.value)
    }

    pub(super) fn flags(&self) -> Option<u8> {
        self.flags.as_ref().map(|chosen| chosen.value)
    }

    /// The attributes that fields say already.
    fn taken(&self) -> [Option<usize>; 5] {
        [
            self.time.as_ref().map(|chosen| chosen.attribute),
            self.severity.as_ref().map(|chosen| chosen.attribute),
            self.trace_id.as_ref().map(|chosen| chosen.attribute),
            self.span_id.as_ref().map(|chosen| chosen.attribute),
            self.flags.as_ref().map(|chosen| chosen.attribute),
        ]
    }

    fn take(&mut self, (field, rank): (Field, u8), scalar: Scalar<'a>, attribute: usize) {
        match field {
            Field::Time => choose(&mut self.time, time_of(&scalar), rank, attribute),
            Field::Severity => choose(&mut self.severity, severity_of(scalar), rank, attribute),
            Field::TraceId => choose(&mut self.trace_id, id_of(&scalar), rank, attribute),
            Field::SpanId => choose(&mut self.span_id, id_of(&scalar), rank, attribute),
            Field::Flags => choose(&mut self.flags, flags_of(&scalar), rank, attribute),
        }
    }
}

/// Keeps the value whose key ranks first; of the same key the last one.
fn choose<T>(chosen: &mut Option<Chosen<T>>, value: Option<T>, rank: u8, attribute: usize) {
    let is_better = chosen.as_ref().is_none_or(|chosen| rank <= chosen.rank);
    if let Some(value) = value.filter(|_| is_better) {
        *chosen = Some(Chosen { value, rank, attribute });
    }
}

fn time_of(scalar: &Scalar<'_>) -> Option<u64> {
    let nanos = match scalar {
        Scalar::Text(text) => match read_time(text.as_bytes()) {
            Some(nanos) => Some(nanos),
            None => of_epoch(text.parse().ok()?),
        },
        Scalar::Int(number) => of_integer_epoch(u64::try_from(*number).ok()?),
        Scalar::Double(number) => of_epoch(*number),
        Scalar::Other => None,
    };
    nanos.filter(|nanos| (EARLIEST_NANOS..=LATEST_NANOS).contains(nanos))
}

/// Seconds, milliseconds, microseconds or nanoseconds, as their size tells.
fn of_integer_epoch(number: u64) -> Option<u64> {
    let unit = match number {
        ..100_000_000_000 => 1_000_000_000,
        100_000_000_000..100_000_000_000_000 => 1_000_000,
        100_000_000_000_000..100_000_000_000_000_000 => 1_000,
        _ => 1,
    };
    number.checked_mul(unit)
}

fn of_epoch(number: f64) -> Option<u64> {
    if !(0.0..1e19).contains(&number) {
        return None;
    }
    let whole = number.trunc();
    let unit = of_integer_epoch(1.max(whole as u64))? / 1.max(whole as u64);
    Some(whole as u64 * unit + ((number - whole) * unit as f64).round() as u64)
}

fn severity_of(scalar: Scalar<'_>) -> Option<(u8, Cow<'_, [u8]>)> {
    match scalar {
        Scalar::Text(text) => {
            let severity = severity::of_word(text.as_bytes())?;
            let text = match text {
                Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
                Cow::Owned(text) => Cow::Owned(text.into_bytes()),
            };
            Some((severity, text))
        }
        Scalar::Int(number) => {
            severity::of_number(number).map(|(severity, word)| (severity, Cow::Borrowed(word)))
        }
        Scalar::Double(_) | Scalar::Other => None,
    }
}

/// Hex digits of an id that is not all zero.
fn id_of<const N: usize>(scalar: &Scalar<'_>) -> Option<[u8; N]> {
    let Scalar::Text(text) = scalar else { return None };
    if text.len() != 2 * N {
        return None;
    }
    let mut id = [0; N];
    for (byte, digits) in id.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        let digit = |digit: u8| char::from(digit).to_digit(16);
        *byte = (digit(digits[0])? << 4 | digit(digits[1])?) as u8;
    }
    id.iter().any(|byte| *byte != 0).then_some(id)
}

fn flags_of(scalar: &Scalar<'_>) -> Option<u8> {
    match scalar {
        Scalar::Int(flags) => u8::try_from(*flags).ok(),
        Scalar::Text(text) if text.len() == 2 => u8::from_str_radix(text, 16).ok(),
        _ => None,
    }
}

/// The outermost object.
struct ObjectVisitor<'r, 'o> {
    rules: &'r ParseRules,
    attributes: &'o mut Attributes,
}

impl<'de> Visitor<'de> for ObjectVisitor<'_, '_> {
    type Value = Known<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Known<'de>, A::Error> {
        let mut known = Known::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            if self.attributes.len() >= self.rules.max_attributes {
                map.next_value::<IgnoredAny>()?;
                continue;
            }
            let put = |bytes: &mut Vec<u8>| map.next_value_seed(ValueSeed { bytes, depth_left: MAX_DEPTH });
            let (attribute, scalar) = self.attributes.put(&key, put)?;
            if let Some(field) = self.rules.field(&key) {
                known.take(field, scalar, attribute);
            }
        }
        Ok(known)
    }
}

/// A key, borrowed where it has no escapes.
struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Cow<'de, str>, D::Error> {
        deserializer.deserialize_str(KeySeed)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Cow<'de, str>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a key")
    }

    fn visit_borrowed_str<E>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Borrowed(key))
    }

    fn visit_str<E>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(Cow::Owned(key.to_owned()))
    }
}

/// Writes a value as the content of an `AnyValue`.
struct ValueSeed<'o> {
    bytes: &'o mut Vec<u8>,
    depth_left: u32,
}

impl<'de> DeserializeSeed<'de> for ValueSeed<'_> {
    type Value = Scalar<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar<'de>, D::Error> {
        if self.depth_left > 0 {
            return deserializer.deserialize_any(self);
        }
        let value: serde_json::Value = serde::Deserialize::deserialize(deserializer)?;
        let text = serde_json::to_string(&value).map_err(D::Error::custom)?;
        pb::put_len_field(self.bytes, STRING, text.as_bytes());
        Ok(Scalar::Other)
    }
}

impl<'de> Visitor<'de> for ValueSeed<'_> {
    type Value = Scalar<'de>;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Scalar<'de>, E> {
        pb::put_len_field(self.bytes, STRING, text.as_bytes());
        Ok(Scalar::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<'de>, E> {
        pb::put_len_field(self.bytes, STRING, text.as_bytes());
        Ok(Scalar::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar<'de>, E> {
        pb::put_varint_field(self.bytes, BOOL, value.into());
        Ok(Scalar::Other)
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar<'de>, E> {
        pb::put_varint_field(self.bytes, INT, value as u64);
        Ok(Scalar::Int(value))
    }

    fn visit_u64<E: serde::de::Error>(self, value: u64) -> Result<Scalar<'de>, E> {
        match i64::try_from(value) {
            Ok(value) => self.visit_i64(value),
            Err(_) => self.visit_f64(value as f64),
        }
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar<'de>, E> {
        pb::put_fixed64_field(self.bytes, DOUBLE, value.to_bits());
        Ok(Scalar::Double(value))
    }

    /// An `AnyValue` without a value.
    fn visit_unit<E>(self) -> Result<Scalar<'de>, E> {
        Ok(Scalar::Other)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Scalar<'de>, A::Error> {
        let ValueSeed { bytes, depth_left } = self;
        let array = open_length(bytes, ARRAY);
        loop {
            let item = open_length(bytes, VALUES);
            let before = bytes.len();
            if items.next_element_seed(ValueSeed { bytes, depth_left: depth_left - 1 })?.is_none() {
                // Its header is one byte of tag and one of length.
                bytes.truncate(before - 2);
                break;
            }
            close_length(bytes, item);
        }
        close_length(bytes, array);
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<'de>, A::Error> {
        let ValueSeed { bytes, depth_left } = self;
        let list = open_length(bytes, KVLIST);
        while let Some(key) = map.next_key_seed(KeySeed)? {
            let pair = open_length(bytes, VALUES);
            pb::put_len_field(bytes, KEY, key.as_bytes());
            let value = open_length(bytes, VALUE);
            map.next_value_seed(ValueSeed { bytes, depth_left: depth_left - 1 })?;
            close_length(bytes, value);
            close_length(bytes, pair);
        }
        close_length(bytes, list);
        Ok(Scalar::Other)
    }
}
