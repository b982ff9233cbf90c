//! From the bytes of Kafka records to one sorted ClickHouse block, without an object tree in between.
//!
//! ```text
//!  record bytes ── telemetry-wire's cursors ──► rows: fixed-size structs + arenas + dictionaries   push, 1st copy
//!                                                 │ sort by the table's key
//!                                                 ▼
//!                                               columns of the Native block                        encode, 2nd copy
//! ```
//!
//! A block is a pure function of the records pushed into it, in their order: no clock, no random order, nothing kept from
//! earlier blocks but memory. Building it again from the same records gives the same bytes, which retries rely on.
//! A record either adds all its rows or, when it cannot be decoded, leaves the block as it was.
//!
//! The rows are those of the Collector's ClickHouse exporter (v0.151 and later, same columns, same texts), with these
//! differences: a timestamp far from the broker's is replaced ([`ORIGINAL_TIMESTAMP`]); a span that ends before it starts has
//! duration 0 instead of 584 years; ids of a wrong length are kept; of equal attribute keys the last one counts, for
//! `ServiceName` too; and each row says which record it came from.

mod attributes;
mod context;
mod logs;
mod plain;
mod spans;
mod strings;
mod text;
mod time;

use std::collections::HashMap;
use std::fmt::{self, Debug};
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use telemetry_wire::{InspectLimits, Malformed, Signal, Summary, inspect};
use xxhash_rust::xxh3::{Xxh3Default, xxh3_64, xxh3_128};

use crate::clickhouse::block::{BlockWriter, Type};
use crate::clickhouse::columns::{Column, ColumnSet, Need};
use crate::clickhouse::dictionary::Dictionary;
use crate::derive::{Program, Tally};
use time::Clamp;

pub use logs::LogRows;
pub use spans::SpanRows;
pub use time::ORIGINAL_TIMESTAMP;
pub(crate) use time::day_of;

/// A block may hold this much before it must have been encoded: positions in it are 32 bits wide.
const MAX_BLOCK_BYTES: usize = 2 << 30;

/// Where a record came from; part of every row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Source {
    /// The partition of the topic.
    pub partition: i32,
    /// The record's offset in the partition.
    pub offset: i64,
    /// When the broker got the record (or its producer made it, by the topic's configuration), in milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
}

/// What a decoder must know beside the records.
#[derive(Clone, Debug)]
pub struct DecodeSettings {
    /// The topic the records come from; stored with every row.
    pub topic: String,
    /// How long the table keeps rows; older timestamps are replaced by the broker's.
    pub retention: Duration,
    /// A record may become this many bytes of block. Every row repeats its resource, so a few kilobytes of request can
    /// become gigabytes of rows; a record that does is [`Undecodable::TooLarge`]. At most 1 GiB.
    pub max_record_bytes: usize,
}

/// Tells a row from others, here and in the table. Rows of one key are on one day, so a server has all of them or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct RowKey {
    /// Offset of its record.
    pub offset: i64,
    /// The time it is stored under, in nanoseconds since the epoch.
    pub time: i64,
    /// XXH3 of what it has in the column [`Rows::TELLING`].
    pub telling: u64,
}

/// Changes whenever the same records would become other rows.
const ENCODER_VERSION: u32 = 3;

impl DecodeSettings {
    /// What the rows of a block depend on beside its records. Equal ids give equal rows.
    pub fn encoder_id(&self) -> u32 {
        let mut hash = Xxh3Default::default();
        hash.update(&ENCODER_VERSION.to_le_bytes());
        hash.update(&self.retention.as_secs().to_le_bytes());
        hash.update(&(self.max_record_bytes as u64).to_le_bytes());
        hash.digest() as u32
    }
}

/// What a record added to a block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pushed {
    /// Log records or spans; 0 for an empty request.
    pub rows: usize,
}

/// The reason of a record in which nothing was found although it holds something.
pub(crate) const NO_ITEMS: &str = "no_items";

/// A record that can never become rows.
#[derive(Debug, thiserror::Error)]
pub enum Undecodable {
    /// It is no protobuf of the expected shape.
    #[error("the record is no OTLP request")]
    Malformed(#[source] Malformed),
    /// Its rows would take more than [`DecodeSettings::max_record_bytes`].
    #[error("the record becomes too many bytes of rows")]
    TooLarge {
        /// Rows decoded until then.
        rows: usize,
        /// Bytes of block they take.
        bytes: usize,
    },
    /// It is well-formed, and all that it holds are fields that no such request has.
    #[error("the record holds no item and {unknown_fields} fields that are not known")]
    NoItems {
        /// How many there are.
        unknown_fields: u64,
    },
}

impl Undecodable {
    /// A word for metrics and dead-letter headers.
    pub fn reason(&self) -> &'static str {
        match self {
            Undecodable::Malformed(_) => "malformed",
            Undecodable::TooLarge { .. } => "too_large",
            Undecodable::NoItems { .. } => NO_ITEMS,
        }
    }
}

impl From<Malformed> for Undecodable {
    fn from(malformed: Malformed) -> Undecodable {
        Undecodable::Malformed(malformed)
    }
}

/// Refuses a request without items that holds what is not known: it is something else, and would vanish.
///
/// # Errors
/// [`Undecodable::NoItems`], or [`Undecodable::Malformed`].
pub(crate) fn refuse_unknown(signal: Signal, request: &[u8]) -> Result<(), Undecodable> {
    let Summary { items, unknown_fields, .. } = inspect(signal, request, &InspectLimits::default())?;
    if items == 0 && unknown_fields > 0 { Err(Undecodable::NoItems { unknown_fields }) } else { Ok(()) }
}

/// The rows of one signal: how they are decoded, ordered and written. [`LogRows`] and [`SpanRows`] implement it.
pub trait Rows: Debug + Default + Send + 'static {
    /// What the records are requests of.
    const SIGNAL: Signal;
    /// Every column that can be written, in table order; [`PROVENANCE`] at the end.
    const COLUMNS: &'static [Column];
    /// The string column by which rows of one record and time are told apart.
    const TELLING: &'static str;
    /// One row.
    type Row: Copy + Debug + Send;
    /// A state to go back to.
    type Mark: Copy + Debug;

    /// Decodes a request and adds its rows, each naming `record`, and what they add to the `tally`. After an error both are in no
    /// usable state until [`Rows::rollback`] and [`Tally::forget`].
    fn decode(
        &mut self,
        request: &[u8],
        context: &RecordContext,
        tally: Option<&mut Tally>,
    ) -> Result<(), Undecodable>;
    /// The rows in the order they came.
    fn rows(&self) -> &[Self::Row];
    /// The most bytes the rows take in a block, the columns' names and types aside; also no less than the memory they hold,
    /// the slack of growing lists aside.
    fn bytes(&self) -> usize;
    /// Sets `order` to the table's sorting key of each row and the row's index.
    fn sorting_keys(&self, order: &mut Vec<(u128, u32)>);
    /// The time a row is stored under, in nanoseconds since the epoch.
    fn timestamp(row: &Self::Row) -> i64;
    /// The record number of a row.
    fn record(row: &Self::Row) -> u32;
    /// What a row has in the column [`Rows::TELLING`].
    fn telling(&self, row: &Self::Row) -> &[u8];
    /// Writes one column other than provenance for `rows`.
    fn write(&self, column: &Column, rows: &[Self::Row], block: &mut BlockWriter<'_>);
    /// The state to go back to.
    fn mark(&self) -> Self::Mark;
    /// Goes back.
    fn rollback(&mut self, mark: Self::Mark);
    /// Drops all rows and keeps the memory.
    fn clear(&mut self);
}

/// What the rows of one record share.
#[derive(Debug)]
pub struct RecordContext {
    record: u32,
    clamp: Clamp,
    /// [`Rows::bytes`] must stay at or below this.
    max_bytes: usize,
}

impl RecordContext {
    fn check_size(&self, rows: usize, bytes: usize) -> Result<(), Undecodable> {
        if bytes > self.max_bytes { Err(Undecodable::TooLarge { rows, bytes }) } else { Ok(()) }
    }
}

/// XXH3 over the offset and the bytes' own XXH3 of each record.
#[derive(Default)]
struct Fingerprint(Box<Xxh3Default>);

impl Fingerprint {
    fn add(&mut self, offset: i64, digest: u128) {
        self.0.update(&offset.to_le_bytes());
        self.0.update(&digest.to_le_bytes());
    }
}

impl Debug for Fingerprint {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{:032x}", self.0.digest128())
    }
}

/// The columns that say which record a row came from.
pub const PROVENANCE: [&str; 5] = ["source_topic", "source_partition", "source_offset", ITEMS, RECEIVED];
/// The column that says how many rows the record of a row has. Rows of one day are in one part or in none, so those of a record on
/// one day are known to be complete, and none of them to be doubled, by their number alone. Of a record on several days the column
/// holds 0: it has to be compared.
pub const ITEMS: &str = "source_items";
/// The column that says when the broker had the record, in seconds since the epoch; 0 when it did not say. Event time tells when
/// something happened, and this how fresh a table is.
pub const RECEIVED: &str = "received_at";

/// What the rows of a record say of it.
#[derive(Debug, Clone, Copy)]
struct Provenance {
    partition: u16,
    offset: u64,
    /// As in the column [`ITEMS`].
    items: u32,
    /// As in the column [`RECEIVED`].
    received: u32,
}

/// Rows of consecutive records on their way into one insert.
#[derive(Debug)]
pub struct Block<R: Rows> {
    settings: DecodeSettings,
    rows: R,
    records: Vec<Provenance>,
    first_offset: Option<i64>,
    last_offset: Option<i64>,
    fingerprint: Fingerprint,
    order: Vec<(u128, u32)>,
    sorted: Vec<R::Row>,
    /// What the rows add to the derived metrics, if something is derived.
    tally: Option<Tally>,
}

impl<R: Rows> Block<R> {
    /// The columns this block can write.
    pub const COLUMNS: &'static [Column] = R::COLUMNS;

    /// An empty block.
    pub fn new(settings: DecodeSettings) -> Block<R> {
        assert!(settings.max_record_bytes <= MAX_BLOCK_BYTES / 2, "max_record_bytes is at most 1 GiB");
        Block {
            settings,
            rows: R::default(),
            records: Vec::new(),
            first_offset: None,
            last_offset: None,
            fingerprint: Fingerprint::default(),
            order: Vec::new(),
            sorted: Vec::new(),
            tally: None,
        }
    }

    /// The same, with what its rows add counted by these rules.
    #[must_use]
    pub fn counted_by(self, program: &Arc<Program>) -> Block<R> {
        Block { tally: Some(Tally::new(Arc::clone(program))), ..self }
    }

    /// Whether something is derived from the rows.
    pub fn is_counted(&self) -> bool {
        self.tally.is_some()
    }

    /// Takes what the rows add to the derived metrics.
    pub fn take_tally(&mut self) -> Option<Tally> {
        let tally = self.tally.as_mut()?;
        let fresh = tally.fresh();
        Some(std::mem::replace(tally, fresh))
    }

    /// Adds all rows of a record, given as a request in protobuf, or none.
    ///
    /// # Errors
    /// When the record can never become rows; the block is as it was before.
    ///
    /// # Panics
    /// When the block has grown past 2 GiB: the caller cuts blocks by [`Block::bytes`], long before.
    pub fn push(&mut self, request: &[u8], source: Source) -> Result<Pushed, Undecodable> {
        let before = self.rows.bytes();
        assert!(before < MAX_BLOCK_BYTES, "a block is cut before it holds 2 GiB");
        let context = RecordContext {
            record: self.records.len() as u32,
            clamp: Clamp::around(source.timestamp_ms, self.settings.retention),
            max_bytes: before + self.settings.max_record_bytes,
        };
        // One pass in order over the bytes, before the decoder jumps about in them: it also brings them into the cache.
        let digest = xxh3_128(request);
        let mark = self.rows.mark();
        let rows_before = self.rows.rows().len();
        let decoded = self.rows.decode(request, &context, self.tally.as_mut()).and_then(|()| {
            let is_empty = self.rows.rows().len() == rows_before;
            if is_empty { refuse_unknown(R::SIGNAL, request) } else { Ok(()) }
        });
        if let Err(undecodable) = decoded {
            self.rows.rollback(mark);
            self.tally.iter_mut().for_each(Tally::forget);
            return Err(undecodable);
        }
        let added = &self.rows.rows()[rows_before..];
        self.tally.iter_mut().for_each(|tally| tally.keep(added.len()));
        let items = if are_of_one_day(added.iter().map(R::timestamp)) { added.len() as u32 } else { 0 };
        let (partition, offset) = (source.partition as u16, source.offset as u64);
        let received = source.timestamp_ms.and_then(|ms| u32::try_from(ms / 1000).ok()).unwrap_or(0);
        self.records.push(Provenance { partition, offset, items, received });
        self.first_offset.get_or_insert(source.offset);
        self.last_offset = Some(source.offset);
        self.fingerprint.add(source.offset, digest);
        Ok(Pushed { rows: added.len() })
    }

    /// How many rows there are.
    pub fn rows(&self) -> usize {
        self.rows.rows().len()
    }

    /// The times the rows are stored under, in the order they came; nanoseconds since the epoch.
    pub fn timestamps(&self) -> impl Iterator<Item = i64> {
        self.rows.rows().iter().map(R::timestamp)
    }

    /// How many records were pushed, those without rows included.
    pub fn records(&self) -> usize {
        self.records.len()
    }

    /// The most bytes [`Block::encode`] will write, the columns' names and types aside, which are less than 2 KiB; also an
    /// upper bound of the memory the records hold until then, the slack of growing lists aside.
    pub fn bytes(&self) -> usize {
        self.rows.bytes() + self.records.len() * size_of::<Provenance>()
    }

    /// The offset of the first record pushed.
    pub fn first_offset(&self) -> Option<i64> {
        self.first_offset
    }

    /// The offset of the last record pushed.
    pub fn last_offset(&self) -> Option<i64> {
        self.last_offset
    }

    /// A hash of the records' offsets and requests. Equal records give an equal value in every version of this program.
    pub fn fingerprint(&self) -> u128 {
        self.fingerprint.0.digest128()
    }

    /// Writes the rows as one Native block of the chosen columns, sorted by the table's key, into memory: `to` must not fail.
    pub fn encode(&mut self, columns: ColumnSet, to: &mut dyn Write) {
        self.sort();
        self.write(columns, to);
    }

    /// The same for the rows that `keep` says. Returns how many these are.
    pub fn encode_only(
        &mut self,
        columns: ColumnSet,
        keep: impl Fn(&RowKey) -> bool,
        to: &mut dyn Write,
    ) -> usize {
        self.sort();
        let mut sorted = std::mem::take(&mut self.sorted);
        sorted.retain(|row| keep(&self.key(row)));
        self.sorted = sorted;
        self.write(columns, to);
        self.sorted.len()
    }

    /// How many rows there are of each key.
    pub fn counts(&self) -> HashMap<RowKey, u64> {
        let mut counts = HashMap::new();
        self.rows.rows().iter().for_each(|row| *counts.entry(self.key(row)).or_default() += 1);
        counts
    }

    fn key(&self, row: &R::Row) -> RowKey {
        let offset = self.records[R::record(row) as usize].offset as i64;
        RowKey { offset, time: R::timestamp(row), telling: xxh3_64(self.rows.telling(row)) }
    }

    fn write(&self, columns: ColumnSet, to: &mut dyn Write) {
        let mut block = BlockWriter::begin(to, columns.len(), self.sorted.len());
        for column in columns.of(R::COLUMNS) {
            if PROVENANCE.contains(&column.name) {
                self.write_provenance(column, &mut block);
            } else {
                self.rows.write(column, &self.sorted, &mut block);
            }
        }
        block.finish();
    }

    /// Drops everything and keeps the memory.
    pub fn clear(&mut self) {
        self.rows.clear();
        self.records.clear();
        self.first_offset = None;
        self.last_offset = None;
        self.fingerprint.0.reset();
        self.order.clear();
        self.sorted.clear();
        // Its numbers of resources are the block's.
        let _ = self.take_tally();
    }

    /// The server skips its own sort when rows come in key order, and that is a quarter of its work for an insert.
    /// Rows of equal keys keep the order they came in.
    fn sort(&mut self) {
        self.rows.sorting_keys(&mut self.order);
        self.order.sort_unstable();
        let rows = self.rows.rows();
        self.sorted.clear();
        self.sorted.extend(self.order.iter().map(|(_, row)| rows[*row as usize]));
    }

    fn write_provenance(&self, column: &Column, block: &mut BlockWriter<'_>) {
        let records = self.sorted.iter().map(|row| self.records[R::record(row) as usize]);
        match column.name {
            "source_topic" => {
                let mut topics = Dictionary::new();
                let topic = topics.intern(self.settings.topic.as_bytes());
                block.low_cardinality(column.name, &topics, records.map(|_| topic));
            }
            "source_partition" => block.fixed(column.name, Type::UInt16, records.map(|of| of.partition)),
            "source_offset" => block.fixed(column.name, Type::UInt64, records.map(|of| of.offset)),
            ITEMS => block.fixed(column.name, Type::UInt32, records.map(|of| of.items)),
            RECEIVED => block.fixed(column.name, Type::DateTime, records.map(|of| of.received)),
            name => unreachable!("{name} is no provenance column"),
        }
    }
}

fn are_of_one_day(times: impl Iterator<Item = i64>) -> bool {
    let mut days = times.map(day_of);
    let first = days.next();
    days.all(|day| Some(day) == first)
}

const fn column(name: &'static str, kind: Type, need: Need) -> Column {
    Column { name, kind, need }
}

/// For every string of a dictionary its place in byte order.
fn ranks(dictionary: &Dictionary) -> Vec<u32> {
    let mut numbers: Vec<u32> = (0..dictionary.len() as u32).collect();
    numbers.sort_unstable_by_key(|number| dictionary.get(*number));
    let mut ranks = vec![0; numbers.len()];
    for (rank, number) in numbers.into_iter().enumerate() {
        ranks[number as usize] = rank as u32;
    }
    ranks
}

/// A signed timestamp as an unsigned number of the same order.
fn ordered(timestamp: i64) -> u64 {
    timestamp as u64 ^ 1 << 63
}
