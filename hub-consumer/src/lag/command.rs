//! `hub-consumer lag`: how far every group is behind, in records and in seconds, and when it will be through.
//!
//! All partitions of each topic count, whether somebody owns them or not, and everything is asked of the brokers: it is right
//! also while hubs are paused, between two owners, or gone.

use std::{
    fmt,
    io::{IsTerminal as _, Write as _},
    time::Duration,
};

use anyhow::Context as _;
use futures::future::try_join_all;
use indicatif::HumanBytes;
use service_runtime::{RunArgs, Runtime, error_chain::ErrorChain};
use telemetry_wire::Signal;
use tokio::time::sleep;
use tracing::warn;

use super::meter::{Meter, PartitionState, Scope, State};
use crate::config::HubConfig;

/// Between two tables of `--watch`.
const WATCH: Duration = Duration::from_secs(2);

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

pub(crate) fn signal(text: &str) -> Result<Signal, String> {
    let known = Signal::ALL.into_iter().find(|signal| signal.as_str() == text);
    known.ok_or_else(|| "give `logs`, `traces` or `metrics`".to_owned())
}

/// Prints the lag, once or until it is told to stop.
///
/// # Errors
/// The brokers do not answer; who watches is told so, and waits.
pub async fn run(config: HubConfig, runtime: Runtime, args: &LagArgs) -> anyhow::Result<()> {
    let chosen = config.signals.iter().filter(|of| args.signal.is_none_or(|signal| signal == of.signal));
    let mut meters: Vec<Meter<'_>> = chosen.map(|signal| Meter::new(signal, Scope::All)).collect();
    loop {
        let looking = try_join_all(meters.iter_mut().map(Meter::look));
        let looked = runtime.shutdown().run_until_cancelled(looking).await;
        match looked {
            None => return Ok(()),
            Some(Ok(states)) => print(&states.into_iter().flatten().collect::<Vec<_>>(), args)?,
            // Who watches wants to see when they are back.
            Some(Err(failure)) if args.watch => {
                warn!(error = %ErrorChain(failure.as_ref()), "lag is not known")
            }
            Some(Err(failure)) => return Err(failure),
        }
        if !args.watch || runtime.shutdown().run_until_cancelled(sleep(WATCH)).await.is_none() {
            return Ok(());
        }
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
        const HEADS: [&str; 11] = [
            "group",
            "topic/partition",
            "committed",
            "end",
            "records",
            "bytes",
            "seconds",
            "in/s",
            "out/s",
            "through in",
            "head-room",
        ];
        let mut lines = vec![HEADS.map(str::to_owned)];
        lines.extend(self.0.iter().map(|of| {
            let seconds = of.seconds.map_or("?".to_owned(), |seconds| format!("{seconds:.1}"));
            let drained = of.drain_seconds.map_or("never".to_owned(), |seconds| format!("{seconds:.0} s"));
            [
                of.group.clone(),
                format!("{}/{}", of.topic, of.partition),
                of.committed.map_or("-".to_owned(), |offset| offset.to_string()),
                of.log_end.to_string(),
                of.records.to_string(),
                of.bytes.map_or("?".to_owned(), |bytes| HumanBytes(bytes).to_string()),
                seconds,
                format!("{:.0}", of.records_in),
                format!("{:.0}", of.records_out),
                if of.records == 0 { "-".to_owned() } else { drained },
                of.head_room_records.to_string(),
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
