//! What a table has of a block: looking, and making the insert of what it lacks.
//!
//! Rows are told apart by [`RowKey`]: their record's offset, their time, and a hash of a column. What another topic of the same
//! name had under the same offsets differs in the hash, and does not count.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    ops::RangeInclusive,
};

use service_runtime::error_chain::ErrorChain;
use xxhash_rust::xxh3::Xxh3Default;

use super::{
    Fragment, Missing, Origin, Rebuilt, Sealed, Sink, Verdict,
    clickhouse::{Insert, TableSink},
};
use crate::{
    clickhouse::client::QueryError,
    decode::{Block, RowKey, Rows, day_of},
    derive::Tally,
};

/// Rows by their keys.
type Counts = HashMap<RowKey, u64>;

impl<R: Rows> TableSink<R> {
    /// See [`Sink::read_back`].
    pub(super) async fn look(
        &self,
        fragments: &[Fragment],
        insert: &Insert,
        rebuilt: Rebuilt,
    ) -> Result<Missing, Verdict> {
        let (Some(first), Some(last)) = (fragments.first(), fragments.last()) else {
            return Ok(Missing::Rows(HashSet::new()));
        };
        let (topic, partition) = (&first.origin.topic, first.origin.partition);
        let (from, to) = (first.origin.offset, last.origin.offset);
        // What another encoder made may be under other times; else only the days of the block are read.
        let within = match rebuilt {
            Rebuilt::Alike => format!(" AND {}", insert.times.condition()),
            Rebuilt::Otherwise => String::new(),
        };
        let (table, telling) = (self.client.qualified(&self.table), R::TELLING);
        let rows = format!(
            "SELECT source_offset, toUnixTimestamp64Nano(Timestamp) AS time, xxh3({telling}) AS telling, count() \
             FROM {table} WHERE source_topic = {{topic:String}} AND source_partition = {partition} \
             AND source_offset BETWEEN {from} AND {to}{within} GROUP BY source_offset, time, telling FORMAT TSV"
        );
        let rows =
            self.client.read(&rows, &[("param_topic", topic)]).await.map_err(|error| cannot_read(&error))?;
        if rows.is_empty() {
            // Nothing to compare, so that a backlog is not decoded twice.
            return Ok(Missing::All);
        }
        let found = rows.lines().filter_map(count_of_line).collect();
        let expected = self.decoded(fragments).counts();
        let missing = match rebuilt {
            Rebuilt::Alike => missing_rows(&expected, &found),
            Rebuilt::Otherwise => missing_records(&expected, &found),
        };
        Ok(if missing.len() == expected.len() { Missing::All } else { Missing::Rows(missing) })
    }

    /// See [`Sink::is_quiet`].
    pub(super) async fn has_no_insert(&self, fragments: &[Fragment]) -> Result<bool, Verdict> {
        let (Some(first), Some(last)) = (fragments.first(), fragments.last()) else { return Ok(true) };
        let Origin { topic, partition, offset, .. } = &*first.origin;
        let running = self.is_inserting(topic, *partition, *offset..=last.origin.offset).await;
        Ok(!running.map_err(|error| cannot_read(&error))?)
    }

    /// Whether the server works on an insert of these offsets. Every insert bears its token as a comment, which begins with
    /// the partition and the range.
    ///
    /// # Errors
    /// The server does not say.
    pub async fn is_inserting(
        &self,
        topic: &str,
        partition: i32,
        offsets: RangeInclusive<i64>,
    ) -> Result<bool, QueryError> {
        let prefix = format!("{}/{topic}/{partition}/", self.cluster);
        let sql = "SELECT substring(Settings['log_comment'], length({prefix:String}) + 1) FROM system.processes \
                   WHERE startsWith(Settings['log_comment'], {prefix:String}) FORMAT TSV";
        let running = self.client.read(sql, &[("param_prefix", &prefix)]).await?;
        // What has no range is taken for one of these.
        let is_of_these = |(first, last): (i64, i64)| first <= *offsets.end() && last >= *offsets.start();
        Ok(running.lines().any(|token| range_of(token).is_none_or(is_of_these)))
    }

    /// See [`Sink::seal_missing`].
    pub(super) fn encode_missing(
        &self,
        fragments: &[Fragment],
        missing: &Missing,
        announced_at: u64,
        repairs: u32,
    ) -> Option<Sealed<Insert>> {
        let mut block = self.decoded(fragments);
        let target = self.target();
        let mut items = 0;
        let body = self.compressed(block.bytes(), |to| {
            items = block.encode_only(target.columns(), |row| missing.contains(row), to);
        });
        let whole = self.token(&block, fragments, announced_at)?;
        let token = format!("{whole}/missing-{:016x}-{repairs}", digest(missing));
        let times = Times::of(block.timestamps());
        let request = Insert { target, body, token, times };
        (items > 0).then(|| Sealed { request, items: items as u64, tally: self.tally_of(fragments, missing) })
    }

    /// What is to be counted of a block that is there in part: the records that were not there as a whole.
    fn tally_of(&self, fragments: &[Fragment], missing: &Missing) -> Option<Box<Tally>> {
        let mut block = self.new_block();
        block.is_counted().then(|| {
            let is_missing = |fragment: &&Fragment| missing.is_of_record(fragment.origin.offset);
            for fragment in fragments.iter().filter(is_missing) {
                let _ = self.add(&mut block, fragment);
            }
            block.take_tally().map(Box::new)
        })?
    }

    fn decoded(&self, fragments: &[Fragment]) -> Block<R> {
        let mut block = self.uncounted_block();
        for fragment in fragments {
            // They were decoded before, by the same decoder.
            let _ = self.add(&mut block, fragment);
        }
        block
    }
}

/// Spans of time that some rows lie in, few and close around them: a single row of long ago must not make a question read all
/// that lies between.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Times(Vec<(i64, i64)>);

/// Above it the server is rather asked for all of the time: it refuses blocks of more than a hundred days anyhow.
const MOST_SPANS: usize = 100;

impl Times {
    /// Of these times, in nanoseconds since the epoch.
    pub(super) fn of(times: impl Iterator<Item = i64>) -> Times {
        let mut days: BTreeMap<i64, (i64, i64)> = BTreeMap::new();
        // Rows that follow each other are mostly of one day.
        let mut latest: Option<(i64, (i64, i64))> = None;
        for time in times {
            match &mut latest {
                Some((day, (from, to))) if *day == day_of(time) => {
                    (*from, *to) = ((*from).min(time), (*to).max(time));
                }
                _ => {
                    latest.into_iter().for_each(|(day, span)| widen(&mut days, day, span));
                    latest = Some((day_of(time), (time, time)));
                }
            }
        }
        latest.into_iter().for_each(|(day, span)| widen(&mut days, day, span));
        let spans: Vec<(i64, i64)> = days.into_values().collect();
        match spans.as_slice() {
            [(from, _), .., (_, to)] if spans.len() > MOST_SPANS => Times(vec![(*from, *to)]),
            _ => Times(spans),
        }
    }

    /// As a condition in SQL.
    fn condition(&self) -> String {
        let time = |nanos: &i64| format!("fromUnixTimestamp64Nano(toInt64({nanos}))");
        let span = |(from, to): &(i64, i64)| format!("Timestamp BETWEEN {} AND {}", time(from), time(to));
        let spans: Vec<String> = self.0.iter().map(span).collect();
        format!("({})", spans.join(" OR "))
    }
}

/// The range that the rest of a token begins with.
fn range_of(token: &str) -> Option<(i64, i64)> {
    let (first, last) = token.split('/').next()?.split_once('-')?;
    Some((first.parse().ok()?, last.parse().ok()?))
}

fn widen(days: &mut BTreeMap<i64, (i64, i64)>, day: i64, (from, to): (i64, i64)) {
    let span = days.entry(day).or_insert((from, to));
    *span = (span.0.min(from), span.1.max(to));
}

fn count_of_line(line: &str) -> Option<(RowKey, u64)> {
    let mut fields = line.split('\t');
    let (offset, time) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    let (telling, rows) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some((RowKey { offset, time, telling }, rows))
}

/// What was inserted before has the same keys: a row that is there under another one is of other content.
fn missing_rows(expected: &Counts, found: &Counts) -> HashSet<RowKey> {
    expected.keys().filter(|row| !found.contains_key(*row)).copied().collect()
}

/// What was inserted before has as many rows of each record.
fn missing_records(expected: &Counts, found: &Counts) -> HashSet<RowKey> {
    let by_record = |counts: &Counts| {
        let mut records: HashMap<i64, u64> = HashMap::new();
        counts.iter().for_each(|(row, rows)| *records.entry(row.offset).or_default() += rows);
        records
    };
    let (wanted, there) = (by_record(expected), by_record(found));
    let is_missing = |offset: &i64| there.get(offset).is_none_or(|rows| *rows < wanted[offset]);
    expected.keys().filter(|row| is_missing(&row.offset)).copied().collect()
}

/// The same for the same rows.
fn digest(missing: &Missing) -> u64 {
    let Missing::Rows(rows) = missing else { return 0 };
    let mut rows: Vec<_> = rows.iter().collect();
    rows.sort_unstable();
    let mut hash = Xxh3Default::default();
    for RowKey { offset, time, telling } in rows {
        [offset.to_le_bytes(), time.to_le_bytes(), telling.to_le_bytes()]
            .iter()
            .for_each(|part| hash.update(part));
    }
    hash.digest()
}

fn cannot_read(error: &QueryError) -> Verdict {
    Verdict::Wait { reason: "read_back", detail: ErrorChain(error).to_string(), at_least: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(offset: i64, time: i64) -> RowKey {
        RowKey { offset, time, telling: 7 }
    }

    fn counts(rows: &[(i64, i64, u64)]) -> Counts {
        rows.iter().map(|(offset, time, count)| (key(*offset, *time), *count)).collect()
    }

    #[test]
    fn rows_of_other_content_under_the_same_offsets_do_not_count() {
        let expected = counts(&[(1, 10, 2), (1, 20, 1), (2, 30, 1)]);
        assert!(missing_rows(&expected, &expected).is_empty());
        let mut found = counts(&[(1, 10, 2), (2, 31, 1)]);
        found.insert(RowKey { telling: 8, ..key(1, 20) }, 1);
        assert_eq!(missing_rows(&expected, &found), HashSet::from([key(1, 20), key(2, 30)]));
    }

    #[test]
    fn rows_of_another_encoder_are_counted_by_record() {
        let expected = counts(&[(1, 10, 2), (1, 20, 1), (2, 30, 1)]);
        let found = counts(&[(1, 99, 3), (2, 30, 0)]);
        assert_eq!(missing_records(&expected, &found), HashSet::from([key(2, 30)]));
    }

    #[test]
    fn the_same_missing_rows_have_the_same_token_in_whatever_order() {
        let missing = |rows: &[RowKey]| Missing::Rows(rows.iter().copied().collect());
        let (one, other) = (missing(&[key(1, 2), key(3, 4)]), missing(&[key(3, 4), key(1, 2)]));
        assert_eq!(digest(&one), digest(&other));
        assert_ne!(digest(&one), digest(&missing(&[key(1, 2)])));
    }

    #[test]
    fn the_times_of_rows_are_close_around_them_day_by_day() {
        let day = |day: i64, hour: i64| (day * 24 + hour) * 3_600_000_000_000;
        let times = Times::of([day(9, 5), day(9, 3), day(-1, 2), day(9, 7), day(-1, 1)].into_iter());
        assert_eq!(times, Times(vec![(day(-1, 1), day(-1, 2)), (day(9, 3), day(9, 7))]));
        assert!(times.condition().contains(" OR Timestamp BETWEEN"));
        let many = Times::of((0..=MOST_SPANS as i64).map(|number| day(number, 1)));
        assert_eq!(many, Times(vec![(day(0, 1), day(MOST_SPANS as i64, 1))]));
    }

    #[test]
    fn a_token_says_its_range() {
        assert_eq!(range_of("10-25/00ff/17a"), Some((10, 25)));
        assert_eq!(range_of("someone else's"), None);
    }

    #[test]
    fn a_line_of_the_answer_is_a_key_and_its_rows() {
        let key = RowKey { offset: 5, time: -7, telling: u64::MAX };
        assert_eq!(count_of_line("5\t-7\t18446744073709551615\t3"), Some((key, 3)));
        assert_eq!(count_of_line("5\t-7"), None);
    }
}
