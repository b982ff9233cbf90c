//! The maps of one attribute column, in the shape the block encoder takes them.
//!
//! A map is two runs, one of key numbers and one of values with their lengths, so that writing it again, as every row of
//! a resource does, is two copies.

use std::iter;

use telemetry_wire::common::{AnyValue, KeyValue};
use telemetry_wire::pb::Malformed;

use super::text::{clean, put_text};
use crate::clickhouse::block::{BlockWriter, KeyRange, MapRow, put_string};
use crate::clickhouse::dictionary::Dictionary;

/// Positions whose last key is kept. Longer maps are rare and only lose the shortcut.
const MAX_EXPECTED: usize = 64;

/// All maps of one column of one block.
#[derive(Debug, Default)]
pub(super) struct AttributeColumn {
    dictionary: Dictionary,
    keys: Vec<u32>,
    values: Vec<u8>,
    /// Per key number, where in `keys` it came last; what it says about keys before the map at hand is void.
    last_at: Vec<u32>,
    /// The key that came last at each position of a map: records of one kind have the same keys in the same order.
    expected: Vec<u32>,
    scratch: Vec<u8>,
}

/// One map of a column.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct AttributeMap {
    keys: KeyRange,
    values_at: u32,
    values_len: u32,
}

/// Where a column stood, to go back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct Mark {
    dictionary: usize,
    keys: usize,
    values: usize,
}

/// A map that is being filled.
#[derive(Debug)]
pub(super) struct OpenMap<'c> {
    column: &'c mut AttributeColumn,
    first_key: usize,
    first_value: usize,
    has_duplicates: bool,
}

impl AttributeColumn {
    /// Starts a map.
    pub(super) fn open(&mut self) -> OpenMap<'_> {
        let (first_key, first_value) = (self.keys.len(), self.values.len());
        OpenMap { column: self, first_key, first_value, has_duplicates: false }
    }

    /// Adds a map of `attributes`.
    pub(super) fn push<'a>(
        &mut self,
        attributes: impl Iterator<Item = Result<KeyValue<'a>, Malformed>>,
    ) -> Result<AttributeMap, Malformed> {
        let mut map = self.open();
        map.extend(attributes)?;
        Ok(map.close())
    }

    /// The map as the encoder takes it.
    #[inline]
    fn row(&self, map: AttributeMap) -> MapRow<'_> {
        let start = map.values_at as usize;
        MapRow { keys: map.keys, values: &self.values[start..start + map.values_len as usize] }
    }

    /// Writes the column for the rows whose maps `rows` gives, the same ones each time.
    pub(super) fn write<I>(&self, name: &str, block: &mut BlockWriter<'_>, rows: impl Fn() -> I)
    where
        I: Iterator<Item = AttributeMap>,
    {
        block.maps(name, &self.dictionary, &self.keys, || rows().map(|map| self.row(map)));
    }

    /// Writes an array column: how many maps each row has, and all maps in row order.
    pub(super) fn write_arrays<I>(
        &self,
        name: &str,
        block: &mut BlockWriter<'_>,
        counts: impl Iterator<Item = u32>,
        elements: impl Fn() -> I,
    ) where
        I: Iterator<Item = AttributeMap>,
    {
        let maps = || elements().map(|map| self.row(map));
        block.map_arrays(name, counts, &self.dictionary, &self.keys, maps);
    }

    /// Memory that the maps and their keys' texts take.
    pub(super) fn held_bytes(&self) -> usize {
        self.text_bytes() + self.keys.len() * size_of::<u32>() + self.values.len()
    }

    /// Memory that the keys' texts take, however many maps have them; no less than what they take in the block.
    #[inline]
    pub(super) fn text_bytes(&self) -> usize {
        self.dictionary.held_bytes() + self.dictionary.len() * size_of::<u32>()
    }

    pub(super) fn mark(&self) -> Mark {
        Mark { dictionary: self.dictionary.len(), keys: self.keys.len(), values: self.values.len() }
    }

    pub(super) fn rollback(&mut self, mark: Mark) {
        self.dictionary.truncate(mark.dictionary);
        self.keys.truncate(mark.keys);
        self.values.truncate(mark.values);
    }

    pub(super) fn clear(&mut self) {
        self.rollback(Mark { dictionary: 0, keys: 0, values: 0 });
    }
}

impl AttributeMap {
    /// The most bytes the map takes in the block each time it is written, and no less than the memory it holds: the texts
    /// of its keys aside, and with indexes as wide as the block can have them.
    #[inline]
    pub(super) fn encoded_len(self) -> usize {
        size_of::<u64>() + self.keys.count as usize * size_of::<u32>() + self.values_len as usize
    }
}

impl OpenMap<'_> {
    /// Adds attributes in wire order.
    #[inline]
    pub(super) fn extend<'a>(
        &mut self,
        attributes: impl Iterator<Item = Result<KeyValue<'a>, Malformed>>,
    ) -> Result<(), Malformed> {
        for attribute in attributes {
            let KeyValue { key, value } = attribute?;
            self.put(key, &value)?;
        }
        Ok(())
    }

    /// Adds one attribute; it replaces an earlier one of the same key. Returns the key's number in the column.
    #[inline]
    pub(super) fn put(&mut self, key: &[u8], value: &AnyValue<'_>) -> Result<u32, Malformed> {
        let number = self.key(key);
        let AttributeColumn { values, scratch, .. } = &mut *self.column;
        if let AnyValue::String(text) = value {
            put_string(values, &clean(text));
        } else {
            scratch.clear();
            put_text(scratch, value)?;
            put_string(values, scratch);
        }
        Ok(number)
    }

    /// Adds an attribute whose value is a string or number.
    #[inline]
    pub(super) fn put_scalar(&mut self, key: &[u8], value: &AnyValue<'_>) -> u32 {
        self.put(key, value).expect("a scalar holds nothing that could be malformed")
    }

    /// Adds an attribute of our own.
    pub(super) fn put_text(&mut self, key: &str, value: &str) {
        self.key(key.as_bytes());
        put_string(&mut self.column.values, value.as_bytes());
    }

    /// Forgets what was put into the map.
    pub(super) fn restart(&mut self) {
        self.column.keys.truncate(self.first_key);
        self.column.values.truncate(self.first_value);
        self.has_duplicates = false;
    }

    /// Ends the map.
    #[inline]
    pub(super) fn close(mut self) -> AttributeMap {
        if self.has_duplicates {
            self.drop_replaced();
        }
        let OpenMap { column, first_key, first_value, .. } = self;
        AttributeMap {
            keys: KeyRange { start: first_key as u32, count: (column.keys.len() - first_key) as u32 },
            values_at: first_value as u32,
            values_len: (column.values.len() - first_value) as u32,
        }
    }

    #[inline]
    fn key(&mut self, key: &[u8]) -> u32 {
        let AttributeColumn { dictionary, keys, last_at, expected, .. } = &mut *self.column;
        let position = keys.len() - self.first_key;
        let number = match expected.get(position) {
            Some(number) if dictionary.contains(*number) && dictionary.get(*number) == key => *number,
            Some(_) => {
                expected[position] = dictionary.intern(&clean(key));
                expected[position]
            }
            None => {
                let number = dictionary.intern(&clean(key));
                if position < MAX_EXPECTED {
                    expected.push(number);
                }
                number
            }
        };
        let at = keys.len() as u32;
        match last_at.get_mut(number as usize) {
            Some(last) => {
                let before = std::mem::replace(last, at) as usize;
                self.has_duplicates |= before >= self.first_key && keys.get(before) == Some(&number);
            }
            None => last_at.extend(iter::repeat_n(at, number as usize + 1 - last_at.len())),
        }
        keys.push(number);
        number
    }

    /// Keeps, of every key, the value that came last.
    #[cold]
    fn drop_replaced(&mut self) {
        let AttributeColumn { keys, values, last_at, .. } = &mut *self.column;
        let (mut read, mut write) = (self.first_value, self.first_value);
        let mut kept = self.first_key;
        for at in self.first_key..keys.len() {
            let end = read + encoded_string_len(&values[read..]);
            let number = keys[at];
            if last_at[number as usize] as usize == at {
                keys[kept] = number;
                kept += 1;
                values.copy_within(read..end, write);
                write += end - read;
            }
            read = end;
        }
        keys.truncate(kept);
        values.truncate(write);
    }
}

/// The length of the string that `bytes` begin with, its own length prefix included.
fn encoded_string_len(bytes: &[u8]) -> usize {
    let mut length = 0;
    for (index, byte) in bytes.iter().enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            return index + 1 + length;
        }
    }
    unreachable!("every value was written by put_string")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(column: &mut AttributeColumn, attributes: &[(&str, &str)], expected: &[(&str, &str)]) {
        let mut open = column.open();
        for (key, value) in attributes {
            open.put(key.as_bytes(), &AnyValue::String(value.as_bytes())).unwrap();
        }
        let map = open.close();
        let row = column.row(map);
        let keys = &column.keys[row.keys.start as usize..][..row.keys.count as usize];
        let keys: Vec<&[u8]> = keys.iter().map(|number| column.dictionary.get(*number)).collect();
        let mut values = Vec::new();
        for (_, value) in expected {
            put_string(&mut values, value.as_bytes());
        }
        assert_eq!(keys, expected.iter().map(|(key, _)| key.as_bytes()).collect::<Vec<_>>());
        assert_eq!(row.values, values);
    }

    #[test]
    fn the_last_of_equal_keys_counts_within_one_map_only() {
        let mut column = AttributeColumn::default();
        let long = "x".repeat(300);
        check(&mut column, &[("a", "1"), ("b", "2")], &[("a", "1"), ("b", "2")]);
        check(
            &mut column,
            &[("a", &long), ("b", "2"), ("a", "3"), ("a", &long)],
            &[("b", "2"), ("a", &long)],
        );
        check(&mut column, &[("b", "5"), ("c", ""), ("a", "4")], &[("b", "5"), ("c", ""), ("a", "4")]);
        check(&mut column, &[("c", "1"), ("c", "2")], &[("c", "2")]);
        check(&mut column, &[], &[]);
    }

    #[test]
    fn going_back_leaves_nothing_behind() {
        let mut column = AttributeColumn::default();
        check(&mut column, &[("a", "1")], &[("a", "1")]);
        let mark = column.mark();
        check(&mut column, &[("b", "1"), ("c", "2"), ("b", "3")], &[("c", "2"), ("b", "3")]);
        column.rollback(mark);
        check(&mut column, &[("d", "1"), ("a", "2"), ("b", "3")], &[("d", "1"), ("a", "2"), ("b", "3")]);
        assert_eq!(column.dictionary.len(), 3);
    }
}
