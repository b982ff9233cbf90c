//! The attributes of one record, as they are being written: encoded fields, some of which are left out in the end.

use telemetry_wire::pb;

/// Fields of `LogRecord` and `KeyValue`.
const ATTRIBUTES: u32 = 6;
const KEY: u32 = 1;
const VALUE: u32 = 2;

/// Fields of `AnyValue`.
pub(super) const STRING: u32 = 1;
pub(super) const BOOL: u32 = 2;
pub(super) const INT: u32 = 3;
pub(super) const DOUBLE: u32 = 4;

/// Encoded `LogRecord.attributes` fields.
#[derive(Debug, Default)]
pub(super) struct Attributes {
    pub(super) bytes: Vec<u8>,
    written: Vec<Written>,
}

#[derive(Debug, Clone, Copy)]
struct Written {
    start: usize,
    end: usize,
    key_start: usize,
    key_end: usize,
    is_left_out: bool,
}

/// A length that is written once what it measures is.
#[derive(Debug, Clone, Copy)]
#[must_use = "the length is not there yet"]
pub(super) struct OpenLength(usize);

impl Attributes {
    pub(super) fn clear(&mut self) {
        self.bytes.clear();
        self.written.clear();
    }

    pub(super) fn len(&self) -> usize {
        self.written.len()
    }

    /// Writes an attribute whose value `put` appends as the content of an `AnyValue`. Returns its number, and what `put` did.
    pub(super) fn put<T, E>(
        &mut self,
        key: &str,
        put: impl FnOnce(&mut Vec<u8>) -> Result<T, E>,
    ) -> Result<(usize, T), E> {
        let start = self.bytes.len();
        let attribute = open_length(&mut self.bytes, ATTRIBUTES);
        pb::put_len_header(&mut self.bytes, KEY, key.len());
        let mut key_start = self.bytes.len();
        self.bytes.extend_from_slice(key.as_bytes());
        let value = open_length(&mut self.bytes, VALUE);
        let done = put(&mut self.bytes)?;
        close_length(&mut self.bytes, value);
        key_start += close_length(&mut self.bytes, attribute);
        let key_end = key_start + key.len();
        self.leave_out_same_key(key);
        let end = self.bytes.len();
        self.written.push(Written { start, end, key_start, key_end, is_left_out: false });
        Ok((self.written.len() - 1, done))
    }

    /// Of attributes with the same key the last one counts.
    fn leave_out_same_key(&mut self, key: &str) {
        let bytes = &self.bytes;
        let is_same = |one: &&mut Written| {
            one.key_end - one.key_start == key.len() && bytes[one.key_start..one.key_end] == *key.as_bytes()
        };
        self.written.iter_mut().filter(is_same).for_each(|one| one.is_left_out = true);
    }

    pub(super) fn put_string(&mut self, key: &str, value: &str) {
        self.put_value(key, |bytes| pb::put_len_field(bytes, STRING, value.as_bytes()));
    }

    pub(super) fn put_int(&mut self, key: &str, value: i64) {
        self.put_value(key, |bytes| pb::put_varint_field(bytes, INT, value as u64));
    }

    pub(super) fn put_bool(&mut self, key: &str, value: bool) {
        self.put_value(key, |bytes| pb::put_varint_field(bytes, BOOL, value.into()));
    }

    fn put_value(&mut self, key: &str, put: impl FnOnce(&mut Vec<u8>)) {
        let Ok(_) = self.put(key, |bytes| {
            put(bytes);
            Ok::<(), std::convert::Infallible>(())
        });
    }

    /// What it says is said by a field of the record.
    pub(super) fn leave_out(&mut self, number: usize) {
        self.written[number].is_left_out = true;
    }

    fn kept(&self) -> impl Iterator<Item = &[u8]> {
        let kept = self.written.iter().filter(|one| !one.is_left_out);
        kept.map(|one| &self.bytes[one.start..one.end])
    }

    pub(super) fn kept_bytes(&self) -> usize {
        self.kept().map(<[u8]>::len).sum()
    }

    pub(super) fn put_kept(&self, out: &mut Vec<u8>) {
        self.kept().for_each(|attribute| out.extend_from_slice(attribute));
    }
}

/// Begins a length-delimited field whose length is not known yet.
pub(super) fn open_length(bytes: &mut Vec<u8>, field: u32) -> OpenLength {
    pb::put_len_header(bytes, field, 0);
    OpenLength(bytes.len())
}

/// Ends it. Returns by how many bytes what is in it has moved.
pub(super) fn close_length(bytes: &mut Vec<u8>, OpenLength(start): OpenLength) -> usize {
    let len = bytes.len() - start;
    if len < 0x80 {
        bytes[start - 1] = len as u8;
        return 0;
    }
    let mut length = Vec::with_capacity(5);
    pb::put_varint(&mut length, len as u64);
    let moved = length.len() - 1;
    bytes.splice(start - 1..start, length);
    moved
}
