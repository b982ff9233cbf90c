//! Record keys, byte-identical to those of the OpenTelemetry Collector's Kafka exporter, so that a mixed fleet puts the
//! same resource or trace into the same partition.
//!
//! The hash of an attribute map is 16 bytes: XXH64 (seed 0, little-endian) of the map's encoding, then XXH64 of the same
//! encoding with one more byte 0xf3. An empty map hashes to 16 zero bytes. The encoding, keys in byte order:
//!
//! ```text
//! map entry  f4 key value          int     fa 8 bytes LE        map    fc entries fd
//! empty      f5                    double  fb 8 bytes LE        slice  fe values  ff
//! bytes      f6 …   string  f7 …   true    f8   false  f9
//! ```
//!
//! The Collector looks each key up again while encoding, so a repeated key contributes its *first* value once for every
//! occurrence; that is kept here.

use crate::common::{AnyValue, Attributes, KeyValue};
use crate::pb::Malformed;
use xxhash_rust::xxh64::xxh64;

#[cfg(test)]
mod tests;

/// What the key of a record is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub enum KeyRule {
    /// No key: records spread evenly.
    #[default]
    None,
    /// The trace id as 32 lower-case hex digits. Items without a trace id, and metrics, have no key.
    TraceId,
    /// The hash of all resource attributes, 16 bytes.
    Resource,
    /// The hash of the values of these resource attributes, in this order, 16 bytes.
    Attributes(Vec<String>),
}

/// The hash of a map; see the module's text.
///
/// # Errors
/// [`Malformed`] when the attributes are not well-formed.
pub fn resource_hash(attributes: Attributes<'_>) -> Result<[u8; 16], Malformed> {
    let entries = attributes.collect::<Result<Vec<_>, _>>()?;
    if entries.is_empty() {
        return Ok([0; 16]);
    }
    let mut encoded = Vec::with_capacity(512);
    encode_map(entries, &mut encoded)?;
    Ok(sum(encoded))
}

/// The hash of the values of the named attributes, in the order of `names`; absent ones are left out.
///
/// # Errors
/// [`Malformed`] when the attributes are not well-formed.
pub fn selected_hash(attributes: Attributes<'_>, names: &[String]) -> Result<[u8; 16], Malformed> {
    let entries = attributes.collect::<Result<Vec<_>, _>>()?;
    if entries.is_empty() || names.is_empty() {
        return Ok([0; 16]);
    }
    let mut encoded = Vec::with_capacity(512);
    for name in names {
        if let Some(entry) = entries.iter().find(|entry| entry.key == name.as_bytes()) {
            encode_value(&entry.value, &mut encoded)?;
        }
    }
    Ok(sum(encoded))
}

/// The key of a trace: 32 lower-case hex digits, or `None` when the id is empty, all zero or not 16 bytes.
pub fn trace_key(trace_id: &[u8]) -> Option<[u8; 32]> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let id: &[u8; 16] = trace_id.try_into().ok()?;
    if id == &[0; 16] {
        return None;
    }
    let mut hex = [0; 32];
    for (pair, byte) in hex.chunks_exact_mut(2).zip(id) {
        pair[0] = DIGITS[usize::from(byte >> 4)];
        pair[1] = DIGITS[usize::from(byte & 15)];
    }
    Some(hex)
}

fn encode_map(mut entries: Vec<KeyValue<'_>>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    // Stable, so that the first of equal keys stays first.
    entries.sort_by_key(|entry| entry.key);
    let mut first = 0;
    for index in 0..entries.len() {
        if entries[index].key != entries[first].key {
            first = index;
        }
        out.push(0xf4);
        out.extend_from_slice(entries[first].key);
        encode_value(&entries[first].value, out)?;
    }
    Ok(())
}

fn encode_value(value: &AnyValue<'_>, out: &mut Vec<u8>) -> Result<(), Malformed> {
    match value {
        AnyValue::Empty => out.push(0xf5),
        AnyValue::Bytes(bytes) => put_tagged(out, 0xf6, bytes),
        AnyValue::String(text) => put_tagged(out, 0xf7, text),
        AnyValue::Bool(true) => out.push(0xf8),
        AnyValue::Bool(false) => out.push(0xf9),
        AnyValue::Int(number) => put_tagged(out, 0xfa, &number.to_le_bytes()),
        AnyValue::Double(number) => put_tagged(out, 0xfb, &number.to_bits().to_le_bytes()),
        AnyValue::KeyValueList(map) => {
            out.push(0xfc);
            encode_map(map.iter().collect::<Result<_, _>>()?, out)?;
            out.push(0xfd);
        }
        AnyValue::Array(values) => {
            out.push(0xfe);
            for value in values.iter() {
                encode_value(&value?, out)?;
            }
            out.push(0xff);
        }
    }
    Ok(())
}

fn put_tagged(out: &mut Vec<u8>, tag: u8, bytes: &[u8]) {
    out.push(tag);
    out.extend_from_slice(bytes);
}

fn sum(mut encoded: Vec<u8>) -> [u8; 16] {
    let low = xxh64(&encoded, 0);
    encoded.push(0xf3);
    let high = xxh64(&encoded, 0);
    let mut hash = [0; 16];
    hash[..8].copy_from_slice(&low.to_le_bytes());
    hash[8..].copy_from_slice(&high.to_le_bytes());
    hash
}
