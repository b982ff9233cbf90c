//! What a table has of a block: looking, and making the insert of what it lacks.
//!
//! Rows are told apart by the offset of their record and the time they are stored under. All rows of one such pair are on one
//! day, so the server has stored all of them or none.

use std::collections::HashMap;

use service_runtime::error_chain::ErrorChain;
use xxhash_rust::xxh3::Xxh3Default;

use super::{
    Fragment, Held, Missing, Rebuilt, Sealed, Sink, Verdict,
    clickhouse::{Insert, TableSink},
};
use crate::{
    clickhouse::client::QueryError,
    decode::{Block, Rows},
    intent::Stored,
};

/// Rows by the offset of their record and their time.
type Counts = HashMap<(i64, i64), u64>;

impl<R: Rows> TableSink<R> {
    /// See [`Sink::read_back`].
    pub(super) async fn look(&self, fragments: &[Fragment], rebuilt: Rebuilt) -> Result<Held, Verdict> {
        let expected = self.decoded(fragments).counts();
        let (Some(first), Some(last)) = (fragments.first(), fragments.last()) else {
            return Ok(Held::default());
        };
        let (topic, partition) = (&first.origin.topic, first.origin.partition);
        let (from, to) = (first.origin.offset, last.origin.offset);
        let times = || expected.keys().map(|(_, time)| *time);
        let (earliest, latest) = (times().min().unwrap_or(0), times().max().unwrap_or(0));
        // What another encoder made may be under other times; else only the days of the block are read.
        let within = match rebuilt {
            Rebuilt::Alike => format!(
                " AND Timestamp BETWEEN fromUnixTimestamp64Nano(toInt64({earliest})) AND fromUnixTimestamp64Nano(toInt64({latest}))"
            ),
            Rebuilt::Otherwise => String::new(),
        };
        let table = self.client.qualified(&self.table);
        let of_partition =
            format!("FROM {table} WHERE source_topic = {{topic:String}} AND source_partition = {partition}");
        let rows = format!(
            "SELECT source_offset, toUnixTimestamp64Nano(Timestamp) AS time, count() {of_partition} \
             AND source_offset BETWEEN {from} AND {to}{within} GROUP BY source_offset, time FORMAT TSV"
        );
        let behind = format!(
            "SELECT count() = 0 ? -1 : toInt64(max(source_offset)) {of_partition} AND source_offset > {to} FORMAT TSV"
        );
        let rows =
            self.client.read(&rows, &[("param_topic", topic)]).await.map_err(|error| cannot_read(&error))?;
        let behind = self
            .client
            .read(&behind, &[("param_topic", topic)])
            .await
            .map_err(|error| cannot_read(&error))?;
        let found = rows.lines().filter_map(count_of_line).collect();
        let missing = match rebuilt {
            Rebuilt::Alike => missing_rows(&expected, &found),
            Rebuilt::Otherwise => missing_records(&expected, &found),
        };
        let stored = match missing.len() {
            0 => Stored::Whole,
            all if all == expected.len() => Stored::Nothing,
            _ => Stored::Part,
        };
        let furthest = behind.trim().parse().ok().filter(|offset: &i64| *offset >= 0);
        Ok(Held { stored, missing, furthest })
    }

    /// See [`Sink::is_quiet`]. Every insert bears its token as a comment, which begins with the partition.
    pub(super) async fn has_no_insert(&self, fragments: &[Fragment]) -> Result<bool, Verdict> {
        let Some(first) = fragments.first() else { return Ok(true) };
        let prefix = format!("{}/{}/{}/", self.cluster, first.origin.topic, first.origin.partition);
        let sql = "SELECT count() FROM system.processes WHERE startsWith(Settings['log_comment'], {prefix:String}) FORMAT TSV";
        let running = self.client.read(sql, &[("param_prefix", &prefix)]).await;
        Ok(running.map_err(|error| cannot_read(&error))?.trim() == "0")
    }

    /// See [`Sink::seal_missing`].
    pub(super) fn encode_missing(&self, fragments: &[Fragment], missing: &Missing) -> Option<Sealed<Insert>> {
        let mut block = self.decoded(fragments);
        let target = self.target();
        let (items, body) = self.with_buffer(|encoded| {
            let keep = |offset, time| missing.contains(&(offset, time));
            let items = block.encode_only(target.columns(), keep, encoded);
            (items, self.client.compression().compress(encoded).expect("compressing in memory cannot fail"))
        });
        let whole = self.token(&block, fragments)?;
        let token = format!("{whole}/missing-{:016x}", digest(missing));
        (items > 0).then(|| Sealed { request: Insert { target, body, token }, items: items as u64 })
    }

    fn decoded(&self, fragments: &[Fragment]) -> Block<R> {
        let mut block = self.new_block();
        for fragment in fragments {
            // They were decoded before, by the same decoder.
            let _ = self.add(&mut block, fragment);
        }
        block
    }
}

fn count_of_line(line: &str) -> Option<((i64, i64), u64)> {
    let mut fields = line.split('\t').map(str::parse::<i64>);
    let mut next = || fields.next()?.ok();
    Some(((next()?, next()?), next()? as u64))
}

/// What was inserted before has the same times: a row that is there under another time is of other content.
fn missing_rows(expected: &Counts, found: &Counts) -> Missing {
    expected.keys().filter(|row| !found.contains_key(*row)).copied().collect()
}

/// What was inserted before has as many rows of each record.
fn missing_records(expected: &Counts, found: &Counts) -> Missing {
    let by_record = |counts: &Counts| {
        let mut records: HashMap<i64, u64> = HashMap::new();
        counts.iter().for_each(|((offset, _), rows)| *records.entry(*offset).or_default() += rows);
        records
    };
    let (wanted, there) = (by_record(expected), by_record(found));
    let is_missing = |offset: &i64| there.get(offset).is_none_or(|rows| *rows < wanted[offset]);
    expected.keys().filter(|(offset, _)| is_missing(offset)).copied().collect()
}

/// The same for the same rows.
fn digest(missing: &Missing) -> u64 {
    let mut rows: Vec<_> = missing.iter().collect();
    rows.sort_unstable();
    let mut hash = Xxh3Default::default();
    for (offset, time) in rows {
        hash.update(&offset.to_le_bytes());
        hash.update(&time.to_le_bytes());
    }
    hash.digest()
}

fn cannot_read(error: &QueryError) -> Verdict {
    Verdict::Wait { reason: "read_back", detail: ErrorChain(error).to_string(), at_least: None }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn counts(rows: &[(i64, i64, u64)]) -> Counts {
        rows.iter().map(|(offset, time, count)| ((*offset, *time), *count)).collect()
    }

    #[test]
    fn rows_of_other_content_under_the_same_offsets_do_not_count() {
        let expected = counts(&[(1, 10, 2), (1, 20, 1), (2, 30, 1)]);
        assert!(missing_rows(&expected, &expected).is_empty());
        let found = counts(&[(1, 10, 2), (2, 31, 1)]);
        assert_eq!(missing_rows(&expected, &found), Missing::from([(1, 20), (2, 30)]));
    }

    #[test]
    fn rows_of_another_encoder_are_counted_by_record() {
        let expected = counts(&[(1, 10, 2), (1, 20, 1), (2, 30, 1)]);
        let found = counts(&[(1, 99, 3), (2, 30, 0)]);
        assert_eq!(missing_records(&expected, &found), Missing::from([(2, 30)]));
    }

    #[test]
    fn the_same_missing_rows_have_the_same_token_in_whatever_order() {
        let (one, other) = (Missing::from([(1, 2), (3, 4)]), Missing::from([(3, 4), (1, 2)]));
        assert_eq!(digest(&one), digest(&other));
        assert_ne!(digest(&one), digest(&Missing::from([(1, 2)])));
    }
}
