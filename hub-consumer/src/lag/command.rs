//! `hub-consumer lag`: how far every group is behind, in records and in seconds, and when it will be through.
//!
//! All partitions of each topic count, whether somebody owns them or not, and everything is asked of the brokers: it is right
//! also while hubs are paused, between two owners, or gone.

use std::{
    collections::BTreeMap,
    fmt,
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::Context as _;
use futures::future::try_join_all;
use jiff::Timestamp;
use kafka_client::admin;
use serde::Serialize;
use service_runtime::{RunArgs, Runtime};
use telemetry_wire::Signal;
use tokio::time::{Instant, sleep};

use crate::config::{HubConfig, SignalConfig};

/// Between the two looks that rates are worked out from.
const APART: Duration = Duration::from_millis(400);
/// How long the first uncommitted records are waited for.
const READING: Duration = Duration::from_secs(2);
/// Between two tables of `--watch`.
const WATCH: Duration = Duration::from_secs(2);
/// For how long a group may be behind without moving before its partition counts as stuck, with `--watch`.
const STUCK: Duration = Duration::from_secs(30);

/// What `lag` is asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct LagArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub run: RunArgs,
    /// Only this signal: `logs`, `traces` or `metrics`.
    #[arg(long, value_parser = signal)]
    pub signal: Option<Signal>,
    /// Go on, with a new table every two seconds.
    #[arg(long)]
    pub watch: bool,
    /// Print JSON instead of the table; with --watch a line for each look.
    #[arg(long)]
    pub json: bool,
}

/// The lag of one partition.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartitionState {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The group's committed offset; `None` when it has never committed.
    pub committed: Option<i64>,
    /// First offset that the log still has.
    pub log_start: i64,
    /// Offset that the next record will get.
    pub log_end: i64,
    /// Records that are not committed.
    pub records: i64,
    /// Age of the first of them by the broker's timestamp; 0 without any, `None` when it could not be read in time.
    pub seconds: Option<f64>,
    /// Records a second that came in while it was looked.
    pub records_in: f64,
    /// Records a second that were committed meanwhile.
    pub records_out: f64,
    /// Seconds until there is no lag at these rates; `None` when there is no end to it.
    pub drained_in: Option<f64>,
    /// Records between the beginning of the log and the committed offset: when it is 0, retention deletes unread records.
    pub head_room: i64,
    /// The member that has the partition.
    pub owner: Option<String>,
    /// What is wrong with it.
    pub state: State,
}

/// What is wrong with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing.
    Fine,
    /// It is behind, and nothing has been committed for long.
    Stuck,
    /// It is behind, and no member has it.
    Orphaned,
    /// Retention has removed records that the group has not read.
    Overrun,
}

/// What one look at a topic gives.
#[derive(Debug, Clone, Default)]
struct Look {
    committed: BTreeMap<i32, i64>,
    ends: BTreeMap<i32, (i64, i64)>,
}

pub(crate) fn signal(text: &str) -> Result<Signal, String> {
    let known = Signal::ALL.into_iter().find(|signal| signal.as_str() == text);
    known.ok_or_else(|| "give `logs`, `traces` or `metrics`".to_owned())
}

/// Prints the lag, once or until it is told to stop.
///
/// # Errors
/// The brokers do not answer.
pub async fn run(config: HubConfig, runtime: Runtime, args: &LagArgs) -> anyhow::Result<()> {
    let chosen = || config.signals.iter().filter(|of| args.signal.is_none_or(|signal| signal == of.signal));
    let mut moved: BTreeMap<(String, i32), (Option<i64>, Instant)> = BTreeMap::new();
    loop {
        let looking = try_join_all(chosen().map(measure));
        let looked = runtime.shutdown().run_until_cancelled(looking).await;
        let Some(states) = looked.transpose()? else { return Ok(()) };
        let mut states: Vec<PartitionState> = states.into_iter().flatten().collect();
        for state in &mut states {
            let now = (state.committed, Instant::now());
            let last = moved.entry((state.topic.clone(), state.partition)).or_insert(now);
            if last.0 != state.committed || state.records == 0 {
                *last = now;
            }
            if last.1.elapsed() >= STUCK && state.state == State::Fine {
                state.state = State::Stuck;
            }
        }
        print(&states, args)?;
        if !args.watch || runtime.shutdown().run_until_cancelled(sleep(WATCH)).await.is_none() {
            return Ok(());
        }
    }
}

/// The lag of one signal's group.
///
/// # Errors
/// The brokers do not answer, or the topic does not exist.
pub async fn measure(config: &SignalConfig) -> anyhow::Result<Vec<PartitionState>> {
    let (connection, topic, group) =
        (&config.consumer.connection, config.topic.as_str(), &config.consumer.group_id);
    let unknown =
        || format!("ask the brokers about topic `{topic}`; check kafka.brokers and the topic's name");
    let began = Instant::now();
    let (first, owners) =
        tokio::try_join!(look(config), async { Ok(admin::owners(connection, group, topic).await?) })
            .with_context(unknown)?;
    sleep(APART).await;
    let second = look(config).await.with_context(unknown)?;
    let apart = began.elapsed().as_secs_f64();
    let behind: Vec<(i32, i64)> = second
        .ends
        .iter()
        .map(|(partition, (low, high))| (*partition, second.position(*partition).max(*low), *high))
        .filter(|(_, position, high)| position < high)
        .map(|(partition, position, _)| (partition, position))
        .collect();
    let since = admin::timestamps_at(connection, topic, &behind, READING).await.with_context(unknown)?;
    let now = Timestamp::now().as_millisecond();
    let states = second.ends.iter().map(|(partition, (low, high))| {
        let committed = second.committed.get(partition).copied();
        let position = second.position(*partition);
        let records = (high - position).max(0);
        let grown = |at: i64, before: i64| (at - before).max(0) as f64 / apart;
        let records_in = grown(*high, first.ends.get(partition).map_or(*high, |ends| ends.1));
        let records_out = grown(position, first.position(*partition));
        let owner = owners.get(partition).cloned();
        let state = match (records, &owner) {
            _ if committed.is_some_and(|at| at < *low) => State::Overrun,
            (1.., None) => State::Orphaned,
            _ => State::Fine,
        };
        PartitionState {
            group: group.clone(),
            topic: topic.to_owned(),
            partition: *partition,
            committed,
            log_start: *low,
            log_end: *high,
            records,
            seconds: if records == 0 {
                Some(0.0)
            } else {
                since.get(partition).map(|since| (now - since).max(0) as f64 / 1000.0)
            },
            records_in,
            records_out,
            drained_in: drained_in(records, records_in, records_out),
            head_room: (position - low).max(0),
            owner,
            state,
        }
    });
    Ok(states.collect())
}

async fn look(config: &SignalConfig) -> anyhow::Result<Look> {
    let (connection, topic) = (&config.consumer.connection, config.topic.as_str());
    let (committed, ends) = tokio::try_join!(
        admin::committed(connection, &config.consumer.group_id, topic),
        admin::watermarks(connection, topic)
    )?;
    let committed = committed.into_iter();
    Ok(Look {
        committed: committed.filter_map(|(partition, found)| Some((partition, found?.offset))).collect(),
        ends: ends.into_iter().map(|ends| (ends.partition, (ends.low, ends.high))).collect(),
    })
}

impl Look {
    /// Where the group would begin to read.
    fn position(&self, partition: i32) -> i64 {
        let begin = || self.ends.get(&partition).map_or(0, |ends| ends.0);
        self.committed.get(&partition).copied().unwrap_or_else(begin)
    }
}

/// Seconds until `records` are worked off.
fn drained_in(records: i64, records_in: f64, records_out: f64) -> Option<f64> {
    match records {
        0 => Some(0.0),
        _ if records_out > records_in => Some(records as f64 / (records_out - records_in)),
        _ => None,
    }
}

#[allow(clippy::print_stdout, reason = "the table is the answer of the command")]
fn print(states: &[PartitionState], args: &LagArgs) -> anyhow::Result<()> {
    if args.json {
        println!("{}", serde_json::to_string(states).context("write JSON")?);
        return Ok(());
    }
    if args.watch && std::io::stdout().is_terminal() {
        // Home, and clear what is below.
        print!("\x1b[H\x1b[J");
    }
    println!("{}", Table(states));
    std::io::stdout().flush().context("print the table")
}

/// The lag for a person.
#[derive(Debug)]
pub struct Table<'a>(pub &'a [PartitionState]);

impl fmt::Display for Table<'_> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        const HEADS: [&str; 10] = [
            "group",
            "topic/partition",
            "committed",
            "end",
            "records",
            "seconds",
            "in/s",
            "out/s",
            "through in",
            "head-room",
        ];
        let mut lines = vec![HEADS.map(str::to_owned)];
        lines.extend(self.0.iter().map(|of| {
            let seconds = of.seconds.map_or("?".to_owned(), |seconds| format!("{seconds:.1}"));
            let drained = of.drained_in.map_or("never".to_owned(), |seconds| format!("{seconds:.0} s"));
            [
                of.group.clone(),
                format!("{}/{}", of.topic, of.partition),
                of.committed.map_or("-".to_owned(), |offset| offset.to_string()),
                of.log_end.to_string(),
                of.records.to_string(),
                seconds,
                format!("{:.0}", of.records_in),
                format!("{:.0}", of.records_out),
                if of.records == 0 { "-".to_owned() } else { drained },
                of.head_room.to_string(),
            ]
        }));
        let width = |column: usize| lines.iter().map(|line| line[column].len()).max().unwrap_or(0);
        let widths: Vec<usize> = (0..HEADS.len()).map(width).collect();
        for line in &lines {
            write!(out, "{:<2$}  {:<3$}", line[0], line[1], widths[0], widths[1])?;
            for (cell, width) in line.iter().zip(&widths).skip(2) {
                write!(out, "  {cell:>width$}")?;
            }
            writeln!(out)?;
        }
        for of in self.0 {
            let said = match of.state {
                State::Fine => continue,
                State::Stuck => "is stuck: nothing has been committed for 30 s, look at the hub's log",
                State::Orphaned => "has no owner: no hub reads it",
                State::Overrun => "has lost records: retention has passed the group",
            };
            writeln!(out, "{}/{} {said}", of.topic, of.partition)?;
        }
        let records: i64 = self.0.iter().map(|of| of.records).sum();
        let oldest = self.0.iter().filter_map(|of| of.seconds).fold(0.0, f64::max);
        write!(out, "{records} records behind, the oldest for {oldest:.1} s")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_an_end_to_a_lag_only_when_more_goes_out_than_comes_in() {
        assert_eq!(drained_in(0, 5.0, 0.0), Some(0.0));
        assert_eq!(drained_in(100, 10.0, 60.0), Some(2.0));
        assert_eq!(drained_in(100, 10.0, 10.0), None);
    }
}
