//! The plain string columns of a table, kept row by row: one arena, in which a row's strings follow each other.

use telemetry_wire::pb::Malformed;

use super::text::put_id;
use crate::clickhouse::block::{put_string, put_varint};

/// `N` string columns of a block.
#[derive(Debug, Default)]
pub(super) struct StringColumns<const N: usize> {
    /// Strings with their lengths, as they go into the block.
    encoded: Vec<u8>,
    scratch: Vec<u8>,
}

/// The strings of one row.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row<const N: usize> {
    start: u32,
    ends: [u32; N],
}

/// A row that is being filled: exactly `N` strings, in column order.
#[derive(Debug)]
pub(super) struct OpenRow<'c, const N: usize> {
    columns: &'c mut StringColumns<N>,
    row: Row<N>,
    filled: usize,
}

impl<const N: usize> StringColumns<N> {
    #[inline]
    pub(super) fn open(&mut self) -> OpenRow<'_, N> {
        let start = self.encoded.len() as u32;
        OpenRow { columns: self, row: Row { start, ends: [start; N] }, filled: 0 }
    }

    /// A row's string in column `index`, with its length.
    #[inline]
    pub(super) fn get(&self, row: &Row<N>, index: usize) -> &[u8] {
        let start = if index == 0 { row.start } else { row.ends[index - 1] };
        &self.encoded[start as usize..row.ends[index] as usize]
    }

    /// The same without its length.
    pub(super) fn text(&self, row: &Row<N>, index: usize) -> &[u8] {
        let encoded = self.get(row, index);
        let more = encoded.iter().take_while(|byte| **byte >= 0x80).count();
        encoded.get(more + 1..).unwrap_or_default()
    }

    pub(super) fn mark(&self) -> usize {
        self.encoded.len()
    }

    pub(super) fn rollback(&mut self, mark: usize) {
        self.encoded.truncate(mark);
    }
}

impl<const N: usize> Row<N> {
    #[inline]
    pub(super) fn encoded_len(&self) -> usize {
        (self.ends[N - 1] - self.start) as usize
    }
}

impl<const N: usize> OpenRow<'_, N> {
    #[inline]
    pub(super) fn put(&mut self, value: &[u8]) {
        put_string(&mut self.columns.encoded, value);
        self.next();
    }

    /// An id as lower-case hex.
    #[inline]
    pub(super) fn put_id(&mut self, id: &[u8]) {
        let StringColumns { encoded, .. } = &mut *self.columns;
        let before = encoded.len();
        // Every id of a legal length has a one-byte length prefix, filled in afterwards.
        if id.len() < 64 {
            encoded.push(0);
            put_id(encoded, id);
            encoded[before] = (encoded.len() - before - 1) as u8;
        } else {
            put_varint(encoded, if id.iter().all(|byte| *byte == 0) { 0 } else { id.len() as u64 * 2 });
            put_id(encoded, id);
        }
        self.next();
    }

    /// A string that `write` appends to the buffer it is given.
    #[inline]
    pub(super) fn put_with(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Malformed>,
    ) -> Result<(), Malformed> {
        let StringColumns { encoded, scratch } = &mut *self.columns;
        scratch.clear();
        write(scratch)?;
        put_string(encoded, scratch);
        self.next();
        Ok(())
    }

    #[inline]
    pub(super) fn close(self) -> Row<N> {
        debug_assert_eq!(self.filled, N, "every string column has a value");
        self.row
    }

    #[inline]
    fn next(&mut self) {
        self.row.ends[self.filled] = self.columns.encoded.len() as u32;
        self.filled += 1;
    }
}
