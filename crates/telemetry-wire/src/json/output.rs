//! Where the protobuf goes, and its encoding: tags, varints, lengths that are known only afterwards.

use serde::de;
use thiserror::Error;

/// The output has no room. Whoever owns it knows its bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the request is larger than there is room for")]
pub struct Full;

/// Bytes that grow at their end, perhaps up to a bound.
pub trait Output {
    /// Appends `count` bytes of any value, and gives them to be written.
    ///
    /// # Errors
    /// [`Full`] when they are more than the bound allows; nothing was appended.
    fn grow(&mut self, count: usize) -> Result<&mut [u8], Full>;

    /// All bytes until now, for changes in place.
    fn written(&mut self) -> &mut [u8];
}

impl Output for Vec<u8> {
    fn grow(&mut self, count: usize) -> Result<&mut [u8], Full> {
        let start = self.len();
        self.resize(start + count, 0);
        Ok(&mut self[start..])
    }

    fn written(&mut self) -> &mut [u8] {
        self
    }
}

pub(super) const VARINT: u64 = 0;
pub(super) const FIXED64: u64 = 1;
pub(super) const LENGTH_DELIMITED: u64 = 2;
pub(super) const FIXED32: u64 = 5;

/// Writes protobuf to an output, and remembers what the JSON reader's error type cannot carry.
pub(super) struct Writer<'o, O> {
    output: &'o mut O,
    full: Option<Full>,
    unknown_field: Option<String>,
}

impl<'o, O: Output> Writer<'o, O> {
    pub(super) fn new(output: &'o mut O) -> Writer<'o, O> {
        Writer { output, full: None, unknown_field: None }
    }

    /// Why writing ended early, and the first unknown field.
    pub(super) fn finish(self) -> (Option<Full>, Option<String>) {
        (self.full, self.unknown_field)
    }

    pub(super) fn note_unknown(&mut self, message: &str, name: &str) {
        let note = || format!("{message}.{}", super::scalar::shortened(name));
        self.unknown_field.get_or_insert_with(note);
    }

    pub(super) fn append<E: de::Error>(&mut self, count: usize) -> Result<&mut [u8], E> {
        let full = &mut self.full;
        self.output.grow(count).map_err(|refusal| E::custom(full.insert(refusal)))
    }

    pub(super) fn put<E: de::Error>(&mut self, bytes: &[u8]) -> Result<(), E> {
        self.append(bytes.len())?.copy_from_slice(bytes);
        Ok(())
    }

    pub(super) fn put_varint<E: de::Error>(&mut self, value: u64) -> Result<(), E> {
        let (varint, width) = varint(value);
        self.put(&varint[..width])
    }

    pub(super) fn put_tag<E: de::Error>(&mut self, number: u32, wire_type: u64) -> Result<(), E> {
        self.put_varint(u64::from(number) << 3 | wire_type)
    }

    /// Writes a length-delimited field whose length is known only afterwards: one byte is left for it, and what was
    /// written moves when the length needs more.
    pub(super) fn nested<E: de::Error>(
        &mut self,
        number: u32,
        write: impl FnOnce(&mut Self) -> Result<(), E>,
    ) -> Result<(), E> {
        self.put_tag(number, LENGTH_DELIMITED)?;
        self.put(&[0])?;
        let start = self.output.written().len();
        write(self)?;
        let length = self.output.written().len() - start;
        let (varint, width) = varint(length as u64);
        self.append(width - 1)?;
        let written = self.output.written();
        written.copy_within(start..start + length, start + width - 1);
        written[start - 1..start - 1 + width].copy_from_slice(&varint[..width]);
        Ok(())
    }
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
