//! What the table holds of a range of offsets: the counting, all of it done by ClickHouse.
//!
//! One query counts a window of all partitions at once, since after merges their rows lie mixed and a query for each
//! partition would read them all every time. It groups rows by record, records by buckets of [`BUCKET`] offsets, and
//! answers with a line for each bucket: rows, records, the offsets that are there unless the bucket is full, and the
//! records that are suspect.
//!
//! A record is *suspect* when it has another number of rows than these say it has ([`ITEMS`]). Suspects are compared with
//! the topic. All rows of a record that are of one day lie in one part, and a part is there or is not; so a number that is right
//! means that each row is there once, unless somebody has deleted rows and added others by hand: the deep way sees that too. Rows
//! of several days say 0, which is never right.
//!
//! Memory of the server: about 100 bytes for each record of a window; what is more than [`SPILL_BYTES`] goes to its disk. Memory here:
//! an answer, which is some tens of bytes for each offset of a window at most, and a window has at most [`WINDOW_OFFSETS`] of them.

use std::{collections::BTreeMap, ops::Range, time::Duration};

use anyhow::{Context as _, anyhow};

use super::range::Span;
use crate::{
    clickhouse::{
        ClickHouseConfig,
        client::{Client, quoted},
    },
    decode::ITEMS,
};

/// Offsets that are one line of an answer.
pub(super) const BUCKET: i64 = 8192;
/// Rows that one query should count.
const WINDOW_ROWS: f64 = 50_000_000.0;
/// Offsets that one query may count.
const WINDOW_OFFSETS: f64 = 1_000_000.0;
/// The same when every record is to be named.
const DEEP_WINDOW_OFFSETS: f64 = 500_000.0;
/// What a grouping may take of the server's memory.
const SPILL_BYTES: &str = "1073741824";
/// Suspects that one query looks at.
const SUSPECTS: usize = 20_000;
/// A window is counted in seconds; this is for a server in trouble.
const QUERY_TIMEOUT: Duration = Duration::from_secs(600);

/// A table of records with provenance.
#[derive(Debug)]
pub(super) struct Table {
    client: Client,
    name: String,
    topic: String,
    deep: bool,
    /// Of the whole range, what one query takes.
    share: f64,
    /// What it may take at most.
    most: f64,
}

/// The next offsets of some partitions.
pub(super) type Window = BTreeMap<i32, Range<i64>>;

/// What the table holds of one partition in a window.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) rows: u64,
    pub(super) records: u64,
    /// Runs of offsets without a row, in order.
    pub(super) absent: Vec<Range<i64>>,
    /// Records to be compared with the topic, by offset.
    pub(super) suspects: BTreeMap<i64, Rows>,
}

/// The rows of one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rows {
    pub(super) rows: u64,
    /// Different timestamps among them.
    pub(super) times: u64,
}

impl Table {
    pub(super) async fn open(
        config: &ClickHouseConfig,
        table: &str,
        topic: &str,
        spans: &[Span],
        deep: bool,
    ) -> anyhow::Result<Table> {
        let client = Client::new(&config.http).context("set up the ClickHouse client")?;
        let name = format!("{}.{}", quoted(&config.database), quoted(table));
        let offsets: i64 = spans.iter().map(|span| span.to - span.from).sum();
        let limit = if deep { DEEP_WINDOW_OFFSETS } else { WINDOW_OFFSETS };
        let most = (limit / (offsets as f64).max(1.0)).min(1.0);
        let mut table = Table { client, name, topic: topic.to_owned(), deep, share: most, most };
        // As if all rows were of the range; the windows grow when they are not.
        let rows = number(&table.query(&format!("SELECT count() FROM {}", table.name)).await?)?;
        table.share = (WINDOW_ROWS / rows.max(1.0)).min(most);
        Ok(table)
    }

    /// Makes the next windows as large as they may be, by what this one held.
    fn adapt(&mut self, rows: u64) {
        let factor = (WINDOW_ROWS / (rows as f64).max(1.0)).clamp(0.25, 4.0);
        self.share = (self.share * factor).min(self.most);
    }

    /// The window that follows on `done`; `None` when all is done.
    pub(super) fn next_window(&self, spans: &[Span], done: &BTreeMap<i32, i64>) -> Option<Window> {
        let parts = spans.iter().filter_map(|span| {
            let from = done.get(&span.partition).copied().unwrap_or(span.from);
            let step = ((span.to - span.from) as f64 * self.share) as i64 + 1;
            // Whole buckets, so that a full one is known by its number of records.
            let to = ((from + step) / BUCKET + 1) * BUCKET;
            (from < span.to).then(|| (span.partition, from..to.min(span.to)))
        });
        let window: Window = parts.collect();
        (!window.is_empty()).then_some(window)
    }

    /// Counts a window.
    pub(super) async fn count(&mut self, window: &Window) -> anyhow::Result<BTreeMap<i32, Held>> {
        let printed = self.query(&self.counting(window)).await?;
        let mut held: BTreeMap<i32, Held> =
            window.keys().map(|partition| (*partition, Held::default())).collect();
        // Up to where each partition is known.
        let mut known: BTreeMap<i32, i64> =
            window.iter().map(|(partition, range)| (*partition, range.start)).collect();
        for line in printed.lines() {
            let bucket =
                Bucket::parse(line).with_context(|| format!("unexpected answer of ClickHouse: {line}"))?;
            let (Some(of), Some(known)) = (held.get_mut(&bucket.partition), known.get_mut(&bucket.partition))
            else {
                continue;
            };
            of.rows += bucket.rows;
            of.records += bucket.records;
            of.suspects.extend(bucket.suspects);
            let begin = bucket.number * BUCKET;
            if bucket.records == BUCKET as u64 {
                of.leave_out(*known..begin);
                *known = begin + BUCKET;
            }
            for offset in bucket.present {
                of.leave_out(*known..offset);
                *known = offset + 1;
            }
        }
        for (partition, of) in &mut held {
            of.leave_out(known[partition]..window[partition].end);
        }
        if !self.deep {
            self.tell_times(&mut held).await?;
        }
        self.adapt(held.values().map(|of| of.rows).sum());
        Ok(held)
    }

    fn counting(&self, window: &Window) -> String {
        let (table, area) = (&self.name, Area::of(window));
        let (number, is_suspect) = if self.deep {
            ("uniqExact(Timestamp)".to_owned(), "1")
        } else {
            (format!("any({ITEMS})"), "n != x")
        };
        let Area { least, most, partitions, .. } = &area;
        let is_of_partition = |partition, offset| area.bounds(window, partition, offset);
        let of_row = if area.is_even(window) {
            String::new()
        } else {
            format!(" AND {}", is_of_partition("source_partition", "source_offset"))
        };
        let of_record = is_of_partition("p", "o");
        format!(
            "SELECT p, intDiv(o, {BUCKET}) AS bucket, sum(n), count() AS records, \
               arraySort(if(records = {BUCKET}, [], groupArray(o))), \
               arrayFlatten(groupArrayIf([o, n, x], {is_suspect})) \
             FROM (SELECT bitAnd(k, 65535) AS p, bitShiftRight(k, 16) AS o, n, x \
               FROM (SELECT source_offset * 65536 + source_partition AS k, count() AS n, {number} AS x \
                 FROM {table} WHERE source_topic = {{topic:String}} \
                   AND source_offset >= {least} AND source_offset < {most} \
                   AND source_partition IN ({partitions}){of_row} GROUP BY k)) \
             WHERE {of_record} GROUP BY p, bucket ORDER BY p, bucket"
        )
    }

    /// Asks for the timestamps of the suspects; those of all other records are not read.
    async fn tell_times(&self, held: &mut BTreeMap<i32, Held>) -> anyhow::Result<()> {
        let mut suspects = Vec::new();
        for (partition, of) in held.iter_mut() {
            suspects.extend(std::mem::take(&mut of.suspects).into_keys().map(|offset| (*partition, offset)));
        }
        for some in suspects.chunks(SUSPECTS) {
            let least = some.iter().map(|(_, offset)| *offset).min().unwrap_or(0);
            let most = some.iter().map(|(_, offset)| *offset).max().unwrap_or(0);
            let pairs: Vec<_> =
                some.iter().map(|(partition, offset)| format!("({partition},{offset})")).collect();
            let sql = format!(
                "SELECT source_partition, source_offset, count(), uniqExact(Timestamp) FROM {} \
                 WHERE source_topic = {{topic:String}} AND source_offset >= {least} AND source_offset <= {most} \
                 AND (source_partition, source_offset) IN ({}) GROUP BY source_partition, source_offset",
                self.name,
                pairs.join(","),
            );
            for line in self.query(&sql).await?.lines() {
                let numbers = numbers(line, '\t').filter(|numbers| numbers.len() == 4);
                let numbers = numbers.with_context(|| format!("unexpected answer of ClickHouse: {line}"))?;
                if let Some(of) = held.get_mut(&(numbers[0] as i32)) {
                    let rows = Rows { rows: numbers[2] as u64, times: numbers[3] as u64 };
                    of.suspects.insert(numbers[1], rows);
                }
            }
        }
        Ok(())
    }

    /// Rows with a timestamp up to this one may have been deleted by the table's TTL, in nanoseconds since the epoch;
    /// `None` when the table deletes nothing.
    pub(super) async fn expired_until(&self) -> anyhow::Result<Option<i64>> {
        let sql = format!("SHOW CREATE TABLE {} FORMAT TSVRaw", self.name);
        let statement = self.query(&sql).await?;
        let Some(expression) = delete_ttl(&statement) else { return Ok(None) };
        // How long a row of now is kept; whatever the expression is, the server works it out.
        let sql = format!(
            "SELECT toUnixTimestamp(now()) - (toUnixTimestamp(toDateTime({expression})) - toUnixTimestamp(toDateTime(Timestamp))) \
             FROM (SELECT now64(9) AS Timestamp)"
        );
        let until: f64 = number(&self.query(&sql).await.context("work out the table's TTL")?)?;
        Ok(Some((until * 1e9) as i64))
    }

    async fn query(&self, sql: &str) -> anyhow::Result<String> {
        let parameters = [
            ("param_topic", self.topic.as_str()),
            ("max_bytes_before_external_group_by", SPILL_BYTES),
            ("max_query_size", "4194304"),
            ("max_ast_elements", "1000000"),
            ("max_expanded_ast_elements", "1000000"),
            // The bounds of each partition are for records; before the grouping they would be looked up for each row.
            ("query_plan_filter_push_down", "0"),
            // To compile takes longer than what it saves of a second's work.
            ("compile_expressions", "0"),
            ("compile_aggregate_expressions", "0"),
            // Answers are small or follow at the end: no status 200 before the query is through.
            ("wait_end_of_query", "1"),
        ];
        self.client.query_within(sql, &parameters, QUERY_TIMEOUT).await.with_context(|| {
            format!("ask ClickHouse about {}; check clickhouse.url, and that `migrate` has run", self.name)
        })
    }
}

/// The smallest rectangle of partitions and offsets around a window; the index of the source columns knows it.
struct Area {
    least: i64,
    most: i64,
    /// Separated by commas.
    partitions: String,
    last_partition: i32,
}

impl Area {
    fn of(window: &Window) -> Area {
        let partitions: Vec<_> = window.keys().map(i32::to_string).collect();
        Area {
            least: window.values().map(|range| range.start).min().unwrap_or(0),
            most: window.values().map(|range| range.end).max().unwrap_or(0),
            partitions: partitions.join(","),
            last_partition: window.keys().next_back().copied().unwrap_or(0),
        }
    }

    /// Whether there is little in the rectangle that is not of the window. Then it is dropped record by record, for to look
    /// up the bounds of each row costs a fifth of the whole query.
    fn is_even(&self, window: &Window) -> bool {
        let inside: i64 = window.values().map(|range| range.end - range.start).sum();
        inside as f64 >= 0.8 * (self.most - self.least) as f64 * window.len() as f64
    }

    /// The condition that an offset is in the range of its partition.
    fn bounds(&self, window: &Window, partition: &str, offset: &str) -> String {
        // Of a partition that is not asked about no offset is in its range.
        let list = |bound: fn(&Range<i64>) -> i64| {
            let of = |partition| window.get(&partition).map_or(0, bound).to_string();
            (0..=self.last_partition).map(of).collect::<Vec<_>>().join(",")
        };
        let (from, to) = (list(|range| range.start), list(|range| range.end));
        format!("{offset} >= [{from}][{partition} + 1] AND {offset} < [{to}][{partition} + 1]")
    }
}

impl Held {
    fn leave_out(&mut self, range: Range<i64>) {
        if !range.is_empty() {
            self.absent.push(range);
        }
    }
}

/// A line of the counting query.
#[derive(Debug, PartialEq)]
struct Bucket {
    partition: i32,
    number: i64,
    rows: u64,
    records: u64,
    present: Vec<i64>,
    suspects: Vec<(i64, Rows)>,
}

impl Bucket {
    fn parse(line: &str) -> Option<Bucket> {
        let fields: Vec<&str> = line.split('\t').collect();
        let [partition, number, rows, records, present, suspects] = fields[..] else { return None };
        let array = |text: &str| numbers(text.strip_prefix('[')?.strip_suffix(']')?, ',');
        let suspects = array(suspects)?;
        let suspects = suspects
            .chunks_exact(3)
            .map(|suspect| (suspect[0], Rows { rows: suspect[1] as u64, times: suspect[2] as u64 }));
        Some(Bucket {
            partition: partition.parse().ok()?,
            number: number.parse().ok()?,
            rows: rows.parse().ok()?,
            records: records.parse().ok()?,
            present: array(present)?,
            suspects: suspects.collect(),
        })
    }
}

fn numbers(text: &str, separator: char) -> Option<Vec<i64>> {
    text.split(separator).filter(|number| !number.is_empty()).map(|number| number.parse().ok()).collect()
}

fn number(printed: &str) -> anyhow::Result<f64> {
    printed.trim().parse().map_err(|_| anyhow!("unexpected answer of ClickHouse: {printed}"))
}

/// The expression after which the server deletes rows, out of a table's statement. Elements that move or compress rows
/// delete nothing, nor do those of columns, which stand before `ENGINE`.
fn delete_ttl(statement: &str) -> Option<&str> {
    let (_, after_engine) = statement.split_once("\nENGINE = ")?;
    let (_, clause) = after_engine.split_once("\nTTL ")?;
    let clause = clause.split_once("\nSETTINGS ").map_or(clause, |(clause, _)| clause);
    let elements = top_level(clause);
    let deleting = elements.into_iter().find(|element| {
        ![" TO VOLUME ", " TO DISK ", " RECOMPRESS ", " GROUP BY "]
            .iter()
            .any(|other| element.contains(other))
    })?;
    let expression = deleting.split_once(" WHERE ").map_or(deleting, |(expression, _)| expression);
    Some(expression.trim().trim_end_matches(" DELETE"))
}

/// The elements of a list, cut at the commas that no parenthesis holds.
fn top_level(list: &str) -> Vec<&str> {
    let (mut depth, mut start, mut elements) = (0_i32, 0, Vec::new());
    for (at, character) in list.char_indices() {
        match character {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                elements.push(&list[start..at]);
                start = at + 1;
            }
            _ => {}
        }
    }
    elements.push(&list[start..]);
    elements
}

#[cfg(test)]
mod tests {
    use service_runtime::http_client::HttpClientConfig;

    use super::*;

    fn table(share: f64) -> Table {
        let config = HttpClientConfig::plain("http://localhost".parse().unwrap());
        let client = Client::new(&config).unwrap();
        Table { client, name: "t".to_owned(), topic: "t".to_owned(), deep: false, share, most: 1.0 }
    }

    fn span(partition: i32, from: i64, to: i64) -> Span {
        Span { partition, log_start: 0, committed: None, from, to, gone: 0 }
    }

    #[test]
    fn windows_cover_every_offset_once_and_begin_with_whole_buckets() {
        let spans = [span(0, 0, 100_000), span(3, 12_345, 2_000_001), span(5, 9, 9)];
        for share in [1.0, 0.4, 0.01, 0.0] {
            let (table, mut done) = (table(share), BTreeMap::new());
            let mut covered: BTreeMap<i32, i64> =
                spans.iter().map(|span| (span.partition, span.from)).collect();
            while let Some(window) = table.next_window(&spans, &done) {
                for (partition, range) in window {
                    assert_eq!(covered[&partition], range.start);
                    assert!(range.start < range.end);
                    assert!(range.end % BUCKET == 0 || spans.iter().any(|span| span.to == range.end));
                    covered.insert(partition, range.end);
                    done.insert(partition, range.end);
                }
            }
            assert!(spans.iter().all(|span| covered[&span.partition] == span.to), "{covered:?}");
        }
    }

    #[test]
    fn windows_follow_the_rows_that_the_last_one_held() {
        let mut table = table(0.1);
        table.adapt(1);
        assert!((table.share - 0.4).abs() < 1e-9, "no more than four times as large");
        table.adapt(100_000_000);
        assert!((table.share - 0.2).abs() < 1e-9);
    }

    #[test]
    fn only_the_ttl_that_deletes_counts() {
        let statement = |ttl: &str| {
            format!(
                "CREATE TABLE t\n(\n    `a` String TTL x\n)\nENGINE = MergeTree\nORDER BY a{ttl}\nSETTINGS s = 1"
            )
        };
        let check = |ttl: &str, expected: Option<&str>| {
            assert_eq!(delete_ttl(&statement(ttl)), expected, "{ttl}");
        };
        check("", None);
        check(
            "\nTTL toDateTime(Timestamp) + toIntervalDay(30)",
            Some("toDateTime(Timestamp) + toIntervalDay(30)"),
        );
        check(
            "\nTTL toDateTime(T) + toIntervalDay(7) TO VOLUME 'cold', f(T, 1) + x DELETE",
            Some("f(T, 1) + x"),
        );
        check("\nTTL toDateTime(T) + toIntervalDay(7) TO VOLUME 'cold'", None);
    }

    #[test]
    fn a_line_of_the_answer_is_a_bucket() {
        let suspect = (7, Rows { rows: 4, times: 2 });
        let expected = Bucket {
            partition: 3,
            number: 0,
            rows: 9,
            records: 2,
            present: vec![5, 7],
            suspects: vec![suspect],
        };
        assert_eq!(Bucket::parse("3\t0\t9\t2\t[5,7]\t[7,4,2]"), Some(expected));
        assert_eq!(Bucket::parse("3\t0\t9\t2\t[5,x]\t[]"), None);
    }
}
