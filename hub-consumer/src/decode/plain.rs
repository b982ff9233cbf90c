//! Log records in the layout that SDKs write, read in one pass.
//!
//! telemetry-wire's cursor reads every layout that protobuf allows, fields in any order, repeated and nested, and pays for it with
//! two passes over each record. Nearly all records need none of it: field keys of one byte with their proper wire type, lengths of at most two
//! bytes, a body and attributes that are strings or numbers. Those are read here; at the first byte that is anything else the record is
//! left to the cursor, so that nothing is decided here that could differ. The test reads all kinds of bytes both ways.

use telemetry_wire::common::AnyValue;
use telemetry_wire::logs::LogRecord;

/// What a row takes from a log record beside its attributes.
#[derive(Debug, Default)]
pub(super) struct Fields<'a> {
    pub(super) time_unix_nano: u64,
    pub(super) observed_time_unix_nano: u64,
    pub(super) severity_number: u8,
    pub(super) severity_text: &'a [u8],
    pub(super) body: AnyValue<'a>,
    pub(super) flags: u32,
    pub(super) trace_id: &'a [u8],
    pub(super) span_id: &'a [u8],
    pub(super) event_name: &'a [u8],
}

impl<'a> From<LogRecord<'a>> for Fields<'a> {
    fn from(record: LogRecord<'a>) -> Fields<'a> {
        Fields {
            time_unix_nano: record.time_unix_nano,
            observed_time_unix_nano: record.observed_time_unix_nano,
            // The column is as narrow as the exporter's.
            severity_number: record.severity_number as u8,
            severity_text: record.severity_text,
            body: record.body,
            flags: record.flags,
            trace_id: record.trace_id,
            span_id: record.span_id,
            event_name: record.event_name,
        }
    }
}

/// Reads a record; each attribute goes to `attribute` in wire order. `None` when the record is not plain or not well formed;
/// attributes that were handed out until then do not count.
#[inline]
pub(super) fn read<'a>(
    bytes: &'a [u8],
    mut attribute: impl FnMut(&'a [u8], AnyValue<'a>),
) -> Option<Fields<'a>> {
    let mut record = Fields::default();
    let mut rest = bytes;
    while let [key, after @ ..] = rest {
        rest = after;
        match *key {
            TIME => record.time_unix_nano = u64::from_le_bytes(fixed(&mut rest)?),
            OBSERVED_TIME => record.observed_time_unix_nano = u64::from_le_bytes(fixed(&mut rest)?),
            SEVERITY_NUMBER => record.severity_number = small(&mut rest)?,
            SEVERITY_TEXT => record.severity_text = string(&mut rest)?,
            BODY => record.body = value(string(&mut rest)?)?,
            ATTRIBUTES => {
                let (key, value) = key_value(string(&mut rest)?)?;
                attribute(key, value);
            }
            DROPPED_ATTRIBUTES_COUNT => drop(small(&mut rest)?),
            FLAGS => record.flags = u32::from_le_bytes(fixed(&mut rest)?),
            TRACE_ID => record.trace_id = string(&mut rest)?,
            SPAN_ID => record.span_id = string(&mut rest)?,
            EVENT_NAME => record.event_name = string(&mut rest)?,
            _ => return None,
        }
    }
    Some(record)
}

const fn key(field: u8, wire_type: u8) -> u8 {
    field << 3 | wire_type
}

const VARINT: u8 = 0;
const FIXED64: u8 = 1;
const LEN: u8 = 2;
const FIXED32: u8 = 5;

const TIME: u8 = key(1, FIXED64);
const SEVERITY_NUMBER: u8 = key(2, VARINT);
const SEVERITY_TEXT: u8 = key(3, LEN);
const BODY: u8 = key(5, LEN);
const ATTRIBUTES: u8 = key(6, LEN);
const DROPPED_ATTRIBUTES_COUNT: u8 = key(7, VARINT);
const FLAGS: u8 = key(8, FIXED32);
const TRACE_ID: u8 = key(9, LEN);
const SPAN_ID: u8 = key(10, LEN);
const OBSERVED_TIME: u8 = key(11, FIXED64);
const EVENT_NAME: u8 = key(12, LEN);

const STRING_VALUE: u8 = key(1, LEN);
const BOOL_VALUE: u8 = key(2, VARINT);
const INT_VALUE: u8 = key(3, VARINT);
const DOUBLE_VALUE: u8 = key(4, FIXED64);

/// A `KeyValue` that is a key and then a value, and nothing else.
#[inline]
fn key_value(bytes: &[u8]) -> Option<(&[u8], AnyValue<'_>)> {
    let mut rest = bytes.strip_prefix(&[key(1, LEN)])?;
    let name = string(&mut rest)?;
    let mut rest = rest.strip_prefix(&[key(2, LEN)])?;
    let value = value(string(&mut rest)?)?;
    rest.is_empty().then_some((name, value))
}

/// An `AnyValue` that is one scalar and nothing else.
#[inline]
fn value(bytes: &[u8]) -> Option<AnyValue<'_>> {
    let (kind, mut rest) = bytes.split_first()?;
    let value = match *kind {
        STRING_VALUE => AnyValue::String(string(&mut rest)?),
        BOOL_VALUE => AnyValue::Bool(small(&mut rest)? != 0),
        INT_VALUE => AnyValue::Int(two_byte_varint(&mut rest)? as i64),
        DOUBLE_VALUE => AnyValue::Double(f64::from_le_bytes(fixed(&mut rest)?)),
        _ => return None,
    };
    rest.is_empty().then_some(value)
}

#[inline]
fn string<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = two_byte_varint(rest)?;
    let (string, after) = rest.split_at_checked(length)?;
    *rest = after;
    Some(string)
}

#[inline]
fn two_byte_varint(rest: &mut &[u8]) -> Option<usize> {
    match *rest {
        [byte @ ..0x80, after @ ..] => {
            *rest = after;
            Some(usize::from(*byte))
        }
        [low, high @ ..0x80, after @ ..] => {
            *rest = after;
            Some(usize::from(low & 0x7f) | usize::from(*high) << 7)
        }
        _ => None,
    }
}

#[inline]
fn small(rest: &mut &[u8]) -> Option<u8> {
    let (byte, after) = rest.split_first().filter(|(byte, _)| **byte < 0x80)?;
    *rest = after;
    Some(*byte)
}

#[inline]
fn fixed<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (bytes, after) = rest.split_first_chunk::<N>()?;
    *rest = after;
    Some(*bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;
    use telemetry_wire::fixtures::Load;

    /// Reads both ways; whether the record was plain.
    fn check(bytes: &[u8]) -> bool {
        let mut attributes = Vec::new();
        let Some(plain) = read(bytes, |key, value| attributes.push((key, value))) else { return false };
        let record = LogRecord::parse(bytes).expect("a plain record is well formed");
        let expected: Vec<_> = record
            .attributes()
            .map(|attribute| attribute.map(|attribute| (attribute.key, attribute.value)).unwrap())
            .collect();
        assert_eq!(format!("{attributes:?}"), format!("{expected:?}"));
        assert_eq!(plain.time_unix_nano, record.time_unix_nano);
        assert_eq!(plain.observed_time_unix_nano, record.observed_time_unix_nano);
        assert_eq!(i32::from(plain.severity_number), record.severity_number);
        assert_eq!(plain.severity_text, record.severity_text);
        assert_eq!(format!("{:?}", plain.body), format!("{:?}", record.body));
        assert_eq!(plain.flags, record.flags);
        assert_eq!((plain.trace_id, plain.span_id), (record.trace_id, record.span_id));
        assert_eq!(plain.event_name, record.event_name);
        true
    }

    fn records() -> impl Iterator<Item = Vec<u8>> {
        let groups = Load::new(5).logs().resource_logs.into_iter().flat_map(|group| group.scope_logs);
        groups.flat_map(|scope| scope.log_records).map(|record| record.encode_to_vec())
    }

    #[test]
    fn what_sdks_write_is_plain() {
        assert!(records().all(|record| check(&record)));
    }

    proptest! {
        #[test]
        fn damaged_records_are_read_as_the_cursor_reads_them(record in 0..200_usize, at in any::<prop::sample::Index>(), byte in any::<u8>()) {
            let mut bytes = records().nth(record).unwrap();
            let at = at.index(bytes.len());
            bytes[at] = byte;
            check(&bytes);
            check(&bytes[..at]);
            check(&[&bytes[at..], &bytes[..at]].concat());
        }

        #[test]
        fn wild_bytes_are_read_as_the_cursor_reads_them(bytes in prop::collection::vec(prop_oneof![0..20_u8, any::<u8>()], 0..40)) {
            check(&bytes);
        }
    }
}
