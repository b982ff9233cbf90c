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
//! occurrence; that is kept here. It also makes the encoding as long as a sender likes: two occurrences in each of
//! thirty nested maps are a gigabyte. Without repetition an encoding is at most 2.25 times what was received (an array
//! of small integers), so one beyond [`encoding_limit`] is given up, and the received bytes are hashed in its place.

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
    let received = attributes.unread();
    let entries = attributes.collect::<Result<Vec<_>, _>>()?;
    if entries.is_empty() {
        return Ok([0; 16]);
    }
    hash_encoding(received, |encoder| encoder.put_map(entries))
}

/// The hash of the values of the named attributes, in the order of `names`; absent ones are left out.
///
/// # Errors
/// [`Malformed`] when the attributes are not well-formed.
pub fn selected_hash(attributes: Attributes<'_>, names: &[String]) -> Result<[u8; 16], Malformed> {
    let received = attributes.unread();
    let entries = attributes.collect::<Result<Vec<_>, _>>()?;
    if entries.is_empty() || names.is_empty() {
        return Ok([0; 16]);
    }
    hash_encoding(received, |encoder| {
        names.iter().try_for_each(|name| {
            let entry = entries.iter().find(|entry| entry.key == name.as_bytes());
            entry.map_or(Ok(()), |entry| encoder.put_value(&entry.value))
        })
    })
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

/// The hash of what `encode` writes, or of the received bytes when that becomes too long.
fn hash_encoding(
    received: &[u8],
    encode: impl FnOnce(&mut Encoder) -> Result<(), Abandoned>,
) -> Result<[u8; 16], Malformed> {
    let mut encoder = Encoder::new(received.len());
    match encode(&mut encoder) {
        Ok(()) => Ok(sum(encoder.encoded)),
        Err(Abandoned::TooLong) => Ok(sum(received.to_vec())),
        Err(Abandoned::Malformed(malformed)) => Err(malformed),
    }
}

/// The longest encoding of a map that came in a message of `received` bytes; see the module's text.
fn encoding_limit(received: usize) -> usize {
    received.saturating_mul(4).saturating_add(64 * 1024)
}

/// Writes the encoding of a map or of values, up to a limit.
struct Encoder {
    encoded: Vec<u8>,
    limit: usize,
}

/// Why an encoding ended early.
#[derive(Debug)]
enum Abandoned {
    Malformed(Malformed),
    TooLong,
}

impl From<Malformed> for Abandoned {
    fn from(malformed: Malformed) -> Self {
        Abandoned::Malformed(malformed)
    }
}

impl Encoder {
    fn new(received: usize) -> Self {
        Self { encoded: Vec::with_capacity(512), limit: encoding_limit(received) }
    }

    fn put_map(&mut self, mut entries: Vec<KeyValue<'_>>) -> Result<(), Abandoned> {
        // Stable, so that the first of equal keys stays first.
        entries.sort_by_key(|entry| entry.key);
        for equal in entries.chunk_by(|one, other| one.key == other.key) {
            let start = self.encoded.len();
            self.put(0xf4, equal[0].key)?;
            self.put_value(&equal[0].value)?;
            let entry = start..self.encoded.len();
            // Copied, not encoded again: a value may take long to read and encode to almost nothing.
            for _ in 1..equal.len() {
                self.admit(entry.len())?;
                self.encoded.extend_from_within(entry.clone());
            }
        }
        Ok(())
    }

    fn put_value(&mut self, value: &AnyValue<'_>) -> Result<(), Abandoned> {
        match value {
            AnyValue::Empty => self.put(0xf5, &[]),
            AnyValue::Bytes(bytes) => self.put(0xf6, bytes),
            AnyValue::String(text) => self.put(0xf7, text),
            AnyValue::Bool(true) => self.put(0xf8, &[]),
            AnyValue::Bool(false) => self.put(0xf9, &[]),
            AnyValue::Int(number) => self.put(0xfa, &number.to_le_bytes()),
            AnyValue::Double(number) => self.put(0xfb, &number.to_bits().to_le_bytes()),
            AnyValue::KeyValueList(map) => {
                self.put(0xfc, &[])?;
                self.put_map(map.iter().collect::<Result<_, _>>()?)?;
                self.put(0xfd, &[])
            }
            AnyValue::Array(values) => {
                self.put(0xfe, &[])?;
                for value in values.iter() {
                    self.put_value(&value?)?;
                }
                self.put(0xff, &[])
            }
        }
    }

    fn put(&mut self, tag: u8, bytes: &[u8]) -> Result<(), Abandoned> {
        self.admit(1 + bytes.len())?;
        self.encoded.push(tag);
        self.encoded.extend_from_slice(bytes);
        Ok(())
    }

    /// Refuses what would go beyond the limit, before memory is taken for it.
    fn admit(&self, more: usize) -> Result<(), Abandoned> {
        let fits = more <= self.limit - self.encoded.len();
        if fits { Ok(()) } else { Err(Abandoned::TooLong) }
    }
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
