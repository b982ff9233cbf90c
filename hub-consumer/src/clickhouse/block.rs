//! One block in ClickHouse's `Native` format, as its HTTP interface reads it from a client that names no protocol version.
//!
//! ```text
//! block   := varint columns, varint rows, column*
//! column  := string name, string type, prefix, data          (prefix and data only when rows > 0)
//! string  := varint length, bytes
//!
//! type                      prefix             data
//! String                    -                  string per row
//! UInt8 … Int64, DateTime64 -                  little-endian values
//! LowCardinality(String)    u64 version = 1    low cardinality of all rows
//! Array(T)                  prefix of T        u64 end of each row's elements, then data of T for all elements
//! Map(K, V)                 prefix of K, V     like Array(Tuple(K, V)): ends, all keys, all values
//!
//! low cardinality := u64 flags, u64 keys, string per key, u64 indexes, index per row       (nothing for no rows)
//! flags           := index width (0 = u8, 1 = u16, 2 = u32) | has additional keys (0x200) | new dictionary (0x400)
//! ```
//!
//! The writer hands the bytes on in pieces that a processor's cache holds, so that a block never lies in memory as a whole.
//! It knows the format and nothing of telemetry: which columns there are and in which order their rows come is the
//! caller's business. What it cannot know by itself it asserts in debug builds: that a column has as many rows as the block.

use std::io::Write;

use super::dictionary::Dictionary;

/// How much is handed on at once.
const PIECE_BYTES: usize = 256 * 1024;

const LOW_CARDINALITY_VERSION: u64 = 1;
const HAS_ADDITIONAL_KEYS: u64 = 1 << 9;
const NEED_UPDATE_DICTIONARY: u64 = 1 << 10;

/// The ClickHouse types this encoder writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// Bytes of any length.
    String,
    /// One byte.
    UInt8,
    /// Two bytes.
    UInt16,
    /// Four bytes.
    UInt32,
    /// Eight bytes.
    UInt64,
    /// Eight bytes, signed.
    Int64,
    /// Seconds since the epoch, four bytes.
    DateTime,
    /// Nanoseconds since the epoch as `i64`.
    DateTime64,
    /// A string kept once per block.
    LowCardinality,
    /// A map from kept-once strings to strings.
    Map,
    /// An array of times.
    ArrayDateTime64,
    /// An array of strings.
    ArrayString,
    /// An array of kept-once strings.
    ArrayLowCardinality,
    /// An array of maps.
    ArrayMap,
}

impl Type {
    /// The type as ClickHouse spells it.
    pub fn name(self) -> &'static str {
        match self {
            Type::String => "String",
            Type::UInt8 => "UInt8",
            Type::UInt16 => "UInt16",
            Type::UInt32 => "UInt32",
            Type::UInt64 => "UInt64",
            Type::Int64 => "Int64",
            Type::DateTime => "DateTime",
            Type::DateTime64 => "DateTime64(9)",
            Type::LowCardinality => "LowCardinality(String)",
            Type::Map => "Map(LowCardinality(String), String)",
            Type::ArrayDateTime64 => "Array(DateTime64(9))",
            Type::ArrayString => "Array(String)",
            Type::ArrayLowCardinality => "Array(LowCardinality(String))",
            Type::ArrayMap => "Array(Map(LowCardinality(String), String))",
        }
    }
}

/// One map of a map column: the numbers of its keys, and its values as they go on the wire.
#[derive(Clone, Copy, Debug)]
pub struct MapRow<'a> {
    /// Positions of the keys in the column's key list, one after the other.
    pub keys: KeyRange,
    /// As many `string`s as there are keys, already with their lengths.
    pub values: &'a [u8],
}

/// A run of keys in a column's key list.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// Position of the first key.
    pub start: u32,
    /// Number of keys.
    pub count: u32,
}

/// Fixed-width values the format stores as little-endian bytes.
pub trait Fixed: Copy {
    /// Appends the value.
    fn put(self, out: &mut Vec<u8>);
}

macro_rules! fixed {
    ($($int:ty),*) => { $(impl Fixed for $int {
        fn put(self, out: &mut Vec<u8>) {
            out.extend_from_slice(&self.to_le_bytes());
        }
    })* };
}
fixed!(u8, u16, u32, u64, i64);

/// Writes one block.
pub struct BlockWriter<'o> {
    to: &'o mut dyn Write,
    /// What is not handed on yet.
    out: Vec<u8>,
    rows: usize,
    columns_left: usize,
}

impl std::fmt::Debug for BlockWriter<'_> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let BlockWriter { rows, columns_left, .. } = self;
        formatter
            .debug_struct("BlockWriter")
            .field("rows", rows)
            .field("columns_left", columns_left)
            .finish_non_exhaustive()
    }
}

impl<'o> BlockWriter<'o> {
    /// Starts a block of exactly `columns` columns of `rows` rows each. `to` must not fail: it is memory.
    pub fn begin(to: &'o mut dyn Write, columns: usize, rows: usize) -> BlockWriter<'o> {
        let mut out = Vec::with_capacity(2 * PIECE_BYTES);
        put_varint(&mut out, columns as u64);
        put_varint(&mut out, rows as u64);
        BlockWriter { to, out, rows, columns_left: columns }
    }

    /// A column of fixed-width values.
    pub fn fixed<T: Fixed>(&mut self, name: &str, kind: Type, values: impl Iterator<Item = T>) {
        self.header(name, kind);
        let mut rows = 0;
        for value in values {
            value.put(&mut self.out);
            rows += 1;
        }
        debug_assert_eq!(rows, self.rows, "rows of {name}");
    }

    /// A `String` column of values that already carry their length, as [`put_string`] writes it.
    pub fn encoded_strings<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a [u8]>) {
        self.header(name, Type::String);
        let mut rows = 0;
        for value in values {
            self.out.extend_from_slice(value);
            self.hand_on();
            rows += 1;
        }
        debug_assert_eq!(rows, self.rows, "rows of {name}");
    }

    /// A `String` column.
    pub fn strings<'a>(&mut self, name: &str, values: impl Iterator<Item = &'a [u8]>) {
        self.header(name, Type::String);
        let mut rows = 0;
        for value in values {
            put_string(&mut self.out, value);
            self.hand_on();
            rows += 1;
        }
        debug_assert_eq!(rows, self.rows, "rows of {name}");
    }

    /// A `LowCardinality(String)` column: each row's number in `keys`.
    pub fn low_cardinality(&mut self, name: &str, keys: &Dictionary, numbers: impl Iterator<Item = u32>) {
        self.header(name, Type::LowCardinality);
        self.low_cardinality_prefix();
        if self.rows == 0 {
            return;
        }
        let width = self.dictionary(keys, self.rows);
        let mut rows = 0;
        for number in numbers {
            width.put(number, &mut self.out);
            rows += 1;
        }
        debug_assert_eq!(rows, self.rows, "rows of {name}");
    }

    /// A `Map(LowCardinality(String), String)` column. `keys` holds the key numbers that the rows' [`KeyRange`]s point into;
    /// `rows` is walked three times and must give the same maps each time.
    pub fn maps<'a, I>(&mut self, name: &str, dictionary: &Dictionary, keys: &[u32], rows: impl Fn() -> I)
    where
        I: Iterator<Item = MapRow<'a>>,
    {
        self.header(name, Type::Map);
        self.low_cardinality_prefix();
        self.map_data(dictionary, keys, rows);
    }

    /// An `Array(DateTime64(9))` column: the number of elements of each row, and all elements in row order.
    pub fn time_arrays(
        &mut self,
        name: &str,
        counts: impl Iterator<Item = u32>,
        elements: impl Iterator<Item = i64>,
    ) {
        self.header(name, Type::ArrayDateTime64);
        self.ends(counts);
        for element in elements {
            element.put(&mut self.out);
            self.hand_on();
        }
    }

    /// An `Array(String)` column of elements that already carry their length.
    pub fn string_arrays<'a>(
        &mut self,
        name: &str,
        counts: impl Iterator<Item = u32>,
        elements: impl Iterator<Item = &'a [u8]>,
    ) {
        self.header(name, Type::ArrayString);
        self.ends(counts);
        for element in elements {
            self.out.extend_from_slice(element);
            self.hand_on();
        }
    }

    /// An `Array(LowCardinality(String))` column: each element's number in `keys`.
    pub fn low_cardinality_arrays(
        &mut self,
        name: &str,
        counts: impl Iterator<Item = u32>,
        keys: &Dictionary,
        elements: impl Iterator<Item = u32>,
    ) {
        self.header(name, Type::ArrayLowCardinality);
        self.low_cardinality_prefix();
        let total = self.ends(counts);
        if total == 0 {
            return;
        }
        let width = self.dictionary(keys, total);
        for number in elements {
            width.put(number, &mut self.out);
            self.hand_on();
        }
    }

    /// An `Array(Map(LowCardinality(String), String))` column; see [`BlockWriter::maps`] for the maps.
    pub fn map_arrays<'a, I>(
        &mut self,
        name: &str,
        counts: impl Iterator<Item = u32>,
        dictionary: &Dictionary,
        keys: &[u32],
        elements: impl Fn() -> I,
    ) where
        I: Iterator<Item = MapRow<'a>>,
    {
        self.header(name, Type::ArrayMap);
        self.low_cardinality_prefix();
        self.ends(counts);
        self.map_data(dictionary, keys, elements);
    }

    /// Ends the block.
    pub fn finish(mut self) {
        debug_assert_eq!(self.columns_left, 0, "columns announced and not written");
        self.hand_on_all();
    }

    /// Hands on what has become a piece.
    #[inline]
    fn hand_on(&mut self) {
        if self.out.len() >= PIECE_BYTES {
            self.hand_on_all();
        }
    }

    fn hand_on_all(&mut self) {
        self.to.write_all(&self.out).expect("writing to memory cannot fail");
        self.out.clear();
    }

    fn header(&mut self, name: &str, kind: Type) {
        self.hand_on();
        debug_assert!(self.columns_left > 0, "more columns than announced, at {name}");
        self.columns_left -= 1;
        put_string(&mut self.out, name.as_bytes());
        put_string(&mut self.out, kind.name().as_bytes());
    }

    fn low_cardinality_prefix(&mut self) {
        if self.rows > 0 {
            self.u64(LOW_CARDINALITY_VERSION);
        }
    }

    fn map_data<'a, I>(&mut self, dictionary: &Dictionary, keys: &[u32], maps: impl Fn() -> I)
    where
        I: Iterator<Item = MapRow<'a>>,
    {
        let total = self.ends(maps().map(|map| map.keys.count));
        if total > 0 {
            let width = self.dictionary(dictionary, total);
            for map in maps() {
                let KeyRange { start, count } = map.keys;
                width.put_all(&keys[start as usize..(start + count) as usize], &mut self.out);
                self.hand_on();
            }
        }
        for map in maps() {
            self.out.extend_from_slice(map.values);
            self.hand_on();
        }
    }

    /// Writes where each row's elements end; returns how many elements there are.
    fn ends(&mut self, counts: impl Iterator<Item = u32>) -> usize {
        let mut end = 0_u64;
        for count in counts {
            end += u64::from(count);
            self.u64(end);
            self.hand_on();
        }
        end as usize
    }

    fn dictionary(&mut self, keys: &Dictionary, indexes: usize) -> IndexWidth {
        let width = IndexWidth::for_keys(keys.len());
        self.u64(width.flag() | HAS_ADDITIONAL_KEYS | NEED_UPDATE_DICTIONARY);
        self.u64(keys.len() as u64);
        for key in keys.iter() {
            put_string(&mut self.out, key);
            self.hand_on();
        }
        self.u64(indexes as u64);
        width
    }

    fn u64(&mut self, value: u64) {
        self.out.extend_from_slice(&value.to_le_bytes());
    }
}

/// Appends `value` with its length, as every `String` is written.
#[inline]
pub fn put_string(out: &mut Vec<u8>, value: &[u8]) {
    put_varint(out, value.len() as u64);
    out.extend_from_slice(value);
}

/// Bytes that [`put_string`] appends for `value`.
pub fn string_len(value: &[u8]) -> usize {
    let bits = usize::BITS - (value.len() | 1).leading_zeros();
    bits.div_ceil(7) as usize + value.len()
}

/// Appends a variable-length unsigned integer (LEB128).
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// How wide the indexes into a dictionary are.
#[derive(Clone, Copy, Debug)]
enum IndexWidth {
    One,
    Two,
    Four,
}

impl IndexWidth {
    fn for_keys(keys: usize) -> IndexWidth {
        match keys {
            0..=0x100 => IndexWidth::One,
            0x101..=0x1_0000 => IndexWidth::Two,
            _ => IndexWidth::Four,
        }
    }

    fn flag(self) -> u64 {
        match self {
            IndexWidth::One => 0,
            IndexWidth::Two => 1,
            IndexWidth::Four => 2,
        }
    }

    #[inline]
    fn put(self, number: u32, out: &mut Vec<u8>) {
        match self {
            IndexWidth::One => out.push(number as u8),
            IndexWidth::Two => out.extend_from_slice(&(number as u16).to_le_bytes()),
            IndexWidth::Four => out.extend_from_slice(&number.to_le_bytes()),
        }
    }

    #[inline]
    fn put_all(self, numbers: &[u32], out: &mut Vec<u8>) {
        match self {
            IndexWidth::One => out.extend(numbers.iter().map(|number| *number as u8)),
            IndexWidth::Two => {
                for number in numbers {
                    out.extend_from_slice(&(*number as u16).to_le_bytes());
                }
            }
            IndexWidth::Four => {
                for number in numbers {
                    out.extend_from_slice(&number.to_le_bytes());
                }
            }
        }
    }
}
