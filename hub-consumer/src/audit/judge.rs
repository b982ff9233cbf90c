//! What the topic says about offsets of which the table raises a question: reads and decodes just those records.
//!
//! | the table has | and the record | verdict |
//! |---|---|---|
//! | no row | is not there | a gap: a transaction's marker, an aborted record, or taken by compaction |
//! | no row | holds no item | empty |
//! | no row | holds only items that the table's TTL has outlived | expired |
//! | no row | holds another item, or cannot be decoded | missing |
//! | fewer rows | holds more items that have not expired, and no part of it is dead-lettered | incomplete |
//! | more rows, or the same number but fewer timestamps | whatever it is | doubled |
//!
//! A dead-lettered record without rows is not read. A record is decoded by the code that stores it, so it is judged by
//! the rows that it has to become.

use std::{collections::BTreeMap, collections::BTreeSet, ops::Range};

use anyhow::Context as _;
use bytes::Bytes;
use kafka_client::{OffsetRange, RangeReader, RangeRecord};
use telemetry_wire::Signal;

use super::{
    report::{Partition, Reading},
    table::{Held, Rows as StoredRows},
};
use crate::{
    config::SignalConfig,
    decode::{Block, DecodeSettings, Rows, Source},
    intake,
};

/// Records between two that are in question: reading them costs less than asking again.
const NEAR: i64 = 1_000;

/// Reads the records of one topic that are in question.
#[derive(Debug)]
pub(super) struct Judge<R: Rows> {
    reader: RangeReader,
    block: Block<R>,
    signal: Signal,
    topic: String,
    reading: Reading,
}

/// What is known of a partition's window before its records are read.
#[derive(Debug)]
pub(super) struct Case {
    pub(super) partition: i32,
    pub(super) held: Held,
    /// Offsets that were dead-lettered, in order.
    pub(super) dead_lettered: Vec<i64>,
    /// Rows with a timestamp up to this one may be gone.
    pub(super) expired_until: Option<i64>,
}

/// A record as it has to be in the table.
struct Expected {
    items: u64,
    /// Of them, those that the TTL cannot have taken.
    lasting: u64,
    /// Different timestamps.
    times: u64,
}

impl<R: Rows> Judge<R> {
    pub(super) fn new(
        config: &SignalConfig,
        decode: DecodeSettings,
        reading: Reading,
    ) -> anyhow::Result<Self> {
        let reader = RangeReader::isolated(&config.consumer.connection, config.consumer.isolation)
            .context("set up a reader of the topic")?;
        let (signal, topic, block) = (config.signal, config.topic.clone(), Block::new(decode));
        Ok(Judge { reader, block, signal, topic, reading })
    }

    /// Adds what comes of a case to its partition's account. Blocks.
    pub(super) fn judge(&mut self, case: &Case, account: &mut Partition) -> anyhow::Result<()> {
        account.rows += case.held.rows;
        account.stored += case.held.records;
        account.dead_lettered += case.dead_lettered.len() as u64;
        let unexplained = without(&case.held.absent, &case.dead_lettered);
        let mut unseen: u64 = unexplained.iter().map(length).sum();
        let mut unverified: BTreeSet<i64> = case.held.suspects.keys().copied().collect();
        for range in worth_reading(&unexplained, &case.held.suspects) {
            let wanted = OffsetRange {
                topic: self.topic.clone(),
                partition: case.partition,
                from: range.start,
                to: range.end,
            };
            let Judge { reader, block, signal, reading, .. } = self;
            let read = reader.read(&wanted, |record| {
                reading.saw_one();
                let offset = record.offset;
                if contains(&unexplained, offset) {
                    unseen -= 1;
                    account.note_absent(offset, &expected(block, *signal, record, case));
                } else if let Some(stored) = case.held.suspects.get(&offset) {
                    unverified.remove(&offset);
                    let is_dead_lettered = case.dead_lettered.binary_search(&offset).is_ok();
                    let expected = expected(block, *signal, record, case);
                    account.note_present(offset, *stored, &expected, is_dead_lettered);
                }
            });
            let read = read.with_context(|| {
                format!("read offsets {} to {} of {}/{}", range.start, range.end, self.topic, case.partition)
            })?;
            let taken = range.start..range.start + read.missing;
            let taken: u64 = unexplained.iter().map(|part| length(&overlap(part, &taken))).sum();
            account.gone += taken;
            account.records -= taken;
            unseen -= taken;
        }
        account.gaps += unseen;
        account.records -= unseen;
        account.unverified += unverified.len() as u64;
        Ok(())
    }
}

impl Partition {
    /// A record that has no row.
    fn note_absent(&mut self, offset: i64, expected: &Option<Expected>) {
        match expected {
            Some(Expected { items: 0, .. }) => self.empty += 1,
            Some(Expected { lasting: 0, .. }) => self.expired += 1,
            // What cannot be decoded has to be in the dead letters, and is not.
            Some(_) | None => self.missing.add(offset),
        }
    }

    /// A record that has rows.
    fn note_present(
        &mut self,
        offset: i64,
        stored: StoredRows,
        expected: &Option<Expected>,
        is_dead_lettered: bool,
    ) {
        let Expected { items, lasting, times } =
            expected.as_ref().unwrap_or(&Expected { items: 0, lasting: 0, times: 0 });
        // One row twice hides that another one is lost.
        let hides_one = stored.rows == *items && stored.times < *times;
        if stored.rows > *items || hides_one {
            self.doubled.add(offset);
        }
        if (stored.rows < *lasting || hides_one) && !is_dead_lettered {
            self.incomplete.add(offset);
        }
    }
}

/// Decodes a record; `None` when that cannot be done.
fn expected<R: Rows>(
    block: &mut Block<R>,
    signal: Signal,
    record: &RangeRecord<'_>,
    case: &Case,
) -> Option<Expected> {
    let value = Bytes::copy_from_slice(record.value);
    let request = intake::protobuf(signal, &value, record.headers.iter().copied()).ok()?;
    block.clear();
    let source =
        Source { partition: case.partition, offset: record.offset, timestamp_ms: record.timestamp_ms };
    let items = block.push(&request, source).ok()?.rows as u64;
    let is_lasting = |time: &i64| case.expired_until.is_none_or(|until| *time > until);
    let lasting = block.timestamps().filter(is_lasting).count() as u64;
    let times = block.timestamps().collect::<BTreeSet<_>>().len() as u64;
    Some(Expected { items, lasting, times })
}

/// The ranges without the offsets; both in order.
fn without(ranges: &[Range<i64>], offsets: &[i64]) -> Vec<Range<i64>> {
    let mut left = Vec::new();
    for range in ranges {
        let mut start = range.start;
        let begin = offsets.partition_point(|offset| *offset < range.start);
        for offset in offsets[begin..].iter().take_while(|offset| **offset < range.end) {
            if start < *offset {
                left.push(start..*offset);
            }
            start = offset + 1;
        }
        if start < range.end {
            left.push(start..range.end);
        }
    }
    left
}

/// Ranges that hold all that is in question, those that are near each other joined.
fn worth_reading(absent: &[Range<i64>], suspects: &BTreeMap<i64, StoredRows>) -> Vec<Range<i64>> {
    let mut all: Vec<Range<i64>> = absent.to_vec();
    all.extend(suspects.keys().map(|offset| *offset..offset + 1));
    all.sort_unstable_by_key(|range| range.start);
    let mut joined: Vec<Range<i64>> = Vec::new();
    for range in all {
        match joined.last_mut() {
            Some(last) if range.start - last.end <= NEAR => last.end = last.end.max(range.end),
            _ => joined.push(range),
        }
    }
    joined
}

fn contains(ranges: &[Range<i64>], offset: i64) -> bool {
    let next = ranges.partition_point(|range| range.end <= offset);
    ranges.get(next).is_some_and(|range| range.contains(&offset))
}

fn overlap(one: &Range<i64>, other: &Range<i64>) -> Range<i64> {
    one.start.max(other.start)..one.end.min(other.end)
}

fn length(range: &Range<i64>) -> u64 {
    u64::try_from(range.end - range.start).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_dead_lettered_is_not_read() {
        assert_eq!(without(&[0..5, 7..9, 20..22], &[0, 3, 7, 8, 10, 21]), [1..3, 4..5, 20..21]);
        assert_eq!(without(&[0..2, 4..5], &[]), [0..2, 4..5]);
    }

    #[test]
    fn near_questions_are_read_at_once() {
        let rows = StoredRows { rows: 2, times: 1 };
        let suspects = BTreeMap::from([(6, rows), (5_000, rows)]);
        assert_eq!(worth_reading(&[0..2, 900..901], &suspects), [0..901, 5_000..5_001]);
        assert!(contains(&[0..2, 5..6], 5) && !contains(&[0..2, 5..6], 3) && !contains(&[0..2, 5..6], 9));
    }

    #[test]
    fn a_lost_row_hidden_by_a_doubled_one_is_both() {
        let mut account = Partition::default();
        let expected = |items, lasting, times| Some(Expected { items, lasting, times });
        let stored = |rows, times| StoredRows { rows, times };
        account.note_present(1, stored(3, 2), &expected(3, 3, 3), false);
        account.note_present(2, stored(3, 2), &expected(3, 3, 2), false);
        account.note_present(3, stored(2, 2), &expected(3, 2, 3), false);
        account.note_present(4, stored(2, 2), &expected(3, 3, 3), true);
        account.note_present(5, stored(4, 3), &expected(3, 3, 3), false);
        assert_eq!((account.doubled.ranges.clone(), account.doubled.records), (vec![[1, 1], [5, 5]], 2));
        assert_eq!(account.incomplete.ranges, [[1, 1]]);
    }
}
