//! What an audit found, for people and for machines.

use std::{
    fmt,
    io::IsTerminal as _,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;

/// Ranges of a finding that are named; the number counts all of them.
pub(super) const NAMED_RANGES: usize = 10;
/// Without a terminal a line is printed this often.
const PLAIN_EVERY: Duration = Duration::from_secs(5);
/// What cannot be audited, and why.
const METRICS: &str = "metrics are not audited: Mimir does not keep the offset that a sample came from";
/// What the quick way leaves open.
const NOT_DEEP: &str = "rows are counted: a record of which as many rows of a day are there twice as are lost is found with --deep only";

/// The outcome of an audit.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Whether nothing is missing, incomplete or doubled.
    pub complete: bool,
    /// Whether every record was compared with its rows.
    pub deep: bool,
    /// Every partition judged.
    pub partitions: Vec<Partition>,
    /// What the numbers cannot say.
    pub notes: Vec<String>,
}

/// The account of one partition.
#[derive(Debug, Default, Clone, Serialize)]
pub struct Partition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// First offset judged.
    pub from: i64,
    /// The offset before which judging ended.
    pub to: i64,
    /// The first offset that the topic still has.
    pub log_start: i64,
    /// The group's committed offset.
    pub committed: Option<i64>,
    /// Records in the topic.
    pub records: u64,
    /// Records of which the table has rows.
    pub stored: u64,
    /// Those rows.
    pub rows: u64,
    /// Records in the dead-letter topic, whole or in part.
    pub dead_lettered: u64,
    /// Records that hold no item.
    pub empty: u64,
    /// Records whose rows the table's TTL has outlived.
    pub expired: u64,
    /// Offsets that are no record.
    pub gaps: u64,
    /// Offsets that were asked for and that retention has removed.
    pub gone: u64,
    /// Offsets that retention removed before the group had come to them.
    pub unread: u64,
    /// Records with equal rows that are no longer in the topic to be compared with.
    pub unverified: u64,
    /// Records that are nowhere.
    pub missing: Finding,
    /// Records of which rows are missing.
    pub incomplete: Finding,
    /// Records with rows that are there more often than they should be.
    pub doubled: Finding,
}

/// Records with the same fault.
#[derive(Debug, Clone, Serialize)]
pub struct Finding {
    /// How many.
    pub records: u64,
    /// The first of them: first and last offset of each run.
    pub ranges: Vec<[i64; 2]>,
    #[serde(skip)]
    last: Option<i64>,
    /// How many of them are kept.
    #[serde(skip)]
    most: usize,
}

impl Finding {
    /// Nothing yet; names so many runs.
    pub(super) fn naming(most: usize) -> Finding {
        Finding { records: 0, ranges: Vec::new(), last: None, most }
    }

    /// Counts an offset; they come in order.
    pub(super) fn add(&mut self, offset: i64) {
        self.records += 1;
        let follows = self.last == Some(offset - 1);
        self.last = Some(offset);
        let is_full = self.ranges.len() >= self.most;
        match self.ranges.last_mut() {
            Some(run) if follows && run[1] == offset - 1 => run[1] = offset,
            _ if !is_full => self.ranges.push([offset, offset]),
            _ => {}
        }
    }
}

impl Default for Finding {
    fn default() -> Finding {
        Finding::naming(NAMED_RANGES)
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let runs = self
            .ranges
            .iter()
            .map(|[first, last]| if first == last { first.to_string() } else { format!("{first}-{last}") });
        write!(out, "{}", runs.collect::<Vec<_>>().join(", "))?;
        let named: i64 = self.ranges.iter().map(|[first, last]| last - first + 1).sum();
        if named.unsigned_abs() < self.records { write!(out, ", ...") } else { Ok(()) }
    }
}

impl Report {
    /// Draws the conclusions.
    pub(crate) fn new(partitions: Vec<Partition>, deep: bool) -> Report {
        let mut notes = vec![METRICS.to_owned()];
        if !deep {
            notes.push(NOT_DEEP.to_owned());
        }
        for partition in &partitions {
            notes.extend(partition.notes());
        }
        Report { complete: partitions.iter().all(Partition::is_clean), deep, partitions, notes }
    }

    /// The report for a machine.
    pub fn json(&self) -> String {
        serde_json::to_string_pretty(self).expect("plain structures can be written as JSON")
    }

    fn total(&self, of: impl Fn(&Partition) -> u64) -> u64 {
        self.partitions.iter().map(of).sum()
    }
}

impl Partition {
    /// Whether nothing is known to be lost or doubled.
    pub fn is_clean(&self) -> bool {
        self.unread == 0 && self.findings().iter().all(|(_, found)| found.records == 0)
    }

    fn findings(&self) -> [(&'static str, &Finding); 3] {
        [("missing", &self.missing), ("incomplete", &self.incomplete), ("doubled", &self.doubled)]
    }

    fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let Partition { topic, partition, log_start, gone, unverified, .. } = self;
        if self.gone > 0 {
            notes.push(format!("{topic}/{partition}: {gone} offsets are not judged; retention has removed them from the topic"));
        } else if self.log_start > 0 {
            notes.push(format!("{topic}/{partition}: the topic begins at offset {log_start}; what retention removed before it is not judged"));
        }
        match self.committed {
            None => notes.push(format!("{topic}/{partition}: the group has committed nothing yet")),
            Some(committed) if committed < self.log_start => notes.push(format!(
                "{topic}/{partition}: retention has passed the group, which stands at {committed}: \
                 {} offsets are lost unread",
                self.log_start - committed
            )),
            Some(committed) if committed < self.to => notes.push(format!(
                "{topic}/{partition}: offsets from {committed} on are not committed; what is missing there may be on its way"
            )),
            Some(_) => {}
        }
        if self.unverified > 0 {
            notes.push(format!("{topic}/{partition}: {unverified} records have equal rows and are no longer in the topic to be compared with"));
        }
        notes
    }

    fn cells(&self) -> [String; 14] {
        [
            self.topic.clone(),
            self.partition.to_string(),
            self.from.to_string(),
            self.to.to_string(),
            self.records.to_string(),
            self.stored.to_string(),
            self.rows.to_string(),
            self.dead_lettered.to_string(),
            self.empty.to_string(),
            self.expired.to_string(),
            self.gaps.to_string(),
            self.missing.records.to_string(),
            self.incomplete.records.to_string(),
            self.doubled.records.to_string(),
        ]
    }
}

const HEADS: [&str; 14] = [
    "topic",
    "partition",
    "from",
    "to",
    "records",
    "stored",
    "rows",
    "dead-lettered",
    "empty",
    "expired",
    "gaps",
    "missing",
    "incomplete",
    "doubled",
];

impl fmt::Display for Report {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut lines = vec![HEADS.map(str::to_owned)];
        lines.extend(self.partitions.iter().map(Partition::cells));
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
        for line in &lines {
            write!(out, "{:<1$}", line[0], widths[0])?;
            for (cell, width) in line.iter().zip(&widths).skip(1) {
                write!(out, "  {cell:>width$}")?;
            }
            writeln!(out)?;
        }
        for partition in &self.partitions {
            for (what, found) in partition.findings().into_iter().filter(|(_, found)| found.records > 0) {
                writeln!(out, "{}/{} {what} at offsets {found}", partition.topic, partition.partition)?;
            }
        }
        for note in &self.notes {
            writeln!(out, "note: {note}")?;
        }
        let records = self.total(|partition| partition.records);
        if self.complete && records == 0 {
            return write!(out, "nothing was judged: the group has committed no record of this range");
        }
        if self.complete {
            return write!(out, "complete: {records} records, 0 missing, 0 doubled");
        }
        let missing = self.total(|partition| partition.missing.records);
        let incomplete = self.total(|partition| partition.incomplete.records);
        let doubled = self.total(|partition| partition.doubled.records);
        let unread = self.total(|partition| partition.unread);
        write!(
            out,
            "NOT COMPLETE: {records} records, {missing} missing, {incomplete} incomplete, {doubled} doubled, \
             {unread} lost unread"
        )
    }
}

/// Tells a person how far an audit or a replay is. Clones speak of the same one.
#[derive(Debug, Clone)]
pub(crate) struct Reading {
    bar: ProgressBar,
    /// What is done to offsets.
    done: &'static str,
    is_plain: bool,
    last_line: Arc<Mutex<Instant>>,
}

impl Reading {
    /// A bar on a terminal, lines otherwise; both on standard error.
    pub(crate) fn new(topic: &str, done: &'static str, offsets: u64) -> Reading {
        let is_plain = !std::io::stderr().is_terminal();
        let bar = if is_plain { ProgressBar::hidden() } else { ProgressBar::new(offsets) };
        bar.set_length(offsets);
        let template = "{prefix} [{bar:30}] {pos}/{len} offsets, {eta} left  {msg}";
        bar.set_style(
            ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
        );
        bar.set_prefix(topic.to_owned());
        Reading { bar, done, is_plain, last_line: Arc::new(Mutex::new(Instant::now())) }
    }

    pub(crate) fn add(&self, offsets: u64) {
        self.bar.inc(offsets);
        self.bar.set_message("");
        self.say("");
    }

    /// One more record of the topic was read.
    pub(super) fn saw_one(&self) {
        const MARK: &str = "reading the topic";
        if self.bar.message() != MARK {
            self.bar.set_message(MARK);
        }
        self.say(MARK);
    }

    pub(crate) fn end(&self) {
        self.bar.finish_and_clear();
    }

    #[allow(clippy::print_stderr, reason = "progress is for whoever watches, and the log may be elsewhere")]
    fn say(&self, what: &str) {
        if !self.is_plain {
            return;
        }
        let mut last = self.last_line.lock().unwrap_or_else(PoisonError::into_inner);
        if last.elapsed() >= PLAIN_EVERY {
            *last = Instant::now();
            let (at, of) = (self.bar.position(), self.bar.length().unwrap_or(0));
            eprintln!("{}: {at} of {of} offsets {} {what}", self.bar.prefix(), self.done);
        }
    }
}
