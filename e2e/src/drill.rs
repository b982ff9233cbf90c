//! `make drill`: what an operator does after two kinds of trouble, on real servers and under live load, with every word that the
//! commands say.
//!
//! 1. An hour of one partition is deleted from ClickHouse; a replay brings it back.
//! 2. ClickHouse is away; the lag in seconds rises and falls, and is compared with the truth. Each record bears the moment at
//!    which the drill sent it, so the truth is the age of the first uncommitted record by the drill's own clock.

mod stream;
mod truth;

use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use devstack::{Server, Stack};
use serde_json::Value;
use telemetry_wire::Signal;

use self::stream::Stream;
use crate::faults::hubs::on;
use crate::line::wait_for;
use crate::{Line, LineOptions};

/// Gauges are written every second and read a moment later; the command says how old a record was while it ran.
const TOLERANCE: f64 = 2.0;

/// How long the drill takes its time.
#[derive(Debug, Clone, Copy)]
pub struct DrillOptions {
    /// Requests of the two hours before.
    pub history: u64,
    /// Requests a second while it goes on.
    pub rate: u32,
    /// For how long ClickHouse is away.
    pub outage: Duration,
    /// Between two looks at the lag.
    pub look: Duration,
    /// How long the lag is looked at before a replay and beside it.
    pub calm: Duration,
}

/// The drill's words, on the terminal and for the page.
#[derive(Debug, Default)]
pub struct Transcript {
    text: String,
}

impl Transcript {
    #[allow(clippy::print_stdout, reason = "a drill speaks to a person at a terminal")]
    fn say(&mut self, line: &str) {
        println!("{line}");
        // Writing to a string cannot fail.
        let _ = writeln!(self.text, "{line}");
    }

    /// All that was said.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Runs the drill.
///
/// # Errors
/// Something cannot be done, or is not as it should be.
pub async fn drill(
    stack: &Stack,
    directory: &Path,
    options: DrillOptions,
    transcript: &mut Transcript,
) -> Result<()> {
    let line = Line::start(stack.endpoints(), LineOptions::new("drill", directory)).await?;
    let mut drill = Drill { line, options, transcript };
    let sent = stream::send_history(&drill.line, options.history).await?;
    drill.line.wait_for_rows("otel_logs", sent).await?;
    drill.say(&format!("{sent} log records of the last two hours are stored; now live load is added."));
    let stream = Stream::start(&drill.line, options.rate)?;
    let lost = drill.lose_an_hour().await?;
    drill.restore(lost).await?;
    drill.outage(stack.clickhouse()).await?;
    let sent = sent + stream.stop().await?;
    drill.end(sent).await
}

struct Drill<'a> {
    line: Line,
    options: DrillOptions,
    transcript: &'a mut Transcript,
}

impl Drill<'_> {
    fn say(&mut self, line: &str) {
        self.transcript.say(line);
    }

    fn heading(&mut self, words: &str) {
        self.say(&format!("\n## {words}\n"));
    }

    /// Runs a command of the hub as an operator would, and shows it with its answer.
    async fn show(&mut self, command: &str, args: &[&str], expected: i32) -> Result<String> {
        let (code, answer) = self.line.hub_output(command, args).await?;
        self.shown(command, args, code, &answer, expected)?;
        Ok(answer)
    }

    fn shown(
        &mut self,
        command: &str,
        args: &[&str],
        code: Option<i32>,
        answer: &str,
        expected: i32,
    ) -> Result<()> {
        self.say("```");
        self.say(&format!("$ hub-consumer {command} --config hub.yaml {}", args.join(" ")));
        self.say(answer.trim_end());
        self.say(&format!("exit code {}\n```", code.unwrap_or(-1)));
        ensure!(code == Some(expected), "hub-consumer {command} ends with {code:?} and not {expected}");
        Ok(())
    }

    async fn rows(&self) -> Result<u64> {
        self.line.clickhouse().count("otel_logs").await
    }

    async fn lose_an_hour(&mut self) -> Result<u64> {
        self.heading("An hour of one partition is lost");
        let hour = "Timestamp >= now() - INTERVAL 90 MINUTE AND Timestamp < now() - INTERVAL 30 MINUTE";
        let clickhouse = self.line.clickhouse();
        // The edge fills one partition after the other, so not every one has rows of every hour.
        let most = format!(
            "SELECT source_partition FROM otel_logs WHERE {hour} GROUP BY source_partition ORDER BY count() DESC LIMIT 1"
        );
        let partition = clickhouse.number(&most).await?;
        let of_hour = format!("source_partition = {partition} AND {hour}");
        let lost = clickhouse.number(&format!("SELECT count() FROM otel_logs WHERE {of_hour}")).await?;
        let sql = format!("ALTER TABLE otel_logs DELETE WHERE {of_hour} SETTINGS mutations_sync = 1");
        clickhouse.query(&sql).await?;
        ensure!(lost > 0, "there was nothing to lose");
        self.say(&format!("`ALTER TABLE otel_logs DELETE WHERE {of_hour}`\n\n{lost} rows are gone.\n"));
        Ok(lost)
    }

    async fn restore(&mut self, lost: u64) -> Result<()> {
        let range = ["--signal", "logs", "--deep"];
        self.show("audit", &range, 1).await?;
        let before = self.worst_lag(self.options.calm).await?;
        let started = Instant::now();
        let rate = (lost as f64 / self.options.calm.as_secs_f64()).ceil().to_string();
        let args = [&range[..], &["--rate", &rate]].concat();
        let (beside, (code, answer)) = {
            let mut replaying = std::pin::pin!(self.line.hub_output("replay", &args));
            let mut beside: f64 = 0.0;
            loop {
                tokio::select! {
                    done = &mut replaying => break (beside, done?),
                    lag = self.lag() => beside = beside.max(lag?),
                }
            }
        };
        self.shown("replay", &args, code, &answer, 0)?;
        self.say(&format!(
            "\nThe replay took {:.1} s under live load. The worst lag of the group was {before:.1} s in {:.0} s before it, and {beside:.1} s beside it.\n",
            started.elapsed().as_secs_f64(),
            self.options.calm.as_secs_f64(),
        ));
        let audited = self.show("audit", &range, 0).await?;
        ensure!(audited.contains("0 missing, 0 doubled"), "the audit says otherwise");
        Ok(())
    }

    /// The lag in seconds as the hub's gauges have it: the worst of all partitions.
    async fn lag(&self) -> Result<f64> {
        tokio::time::sleep(Duration::from_millis(200)).await;
        let topic = self.line.topic(Signal::Logs);
        Ok(self.line.hub_page().await?.max("hub_lag_seconds", &[("topic", &topic)]).unwrap_or(0.0))
    }

    async fn worst_lag(&self, time: Duration) -> Result<f64> {
        let (until, mut worst) = (Instant::now() + time, 0.0_f64);
        while Instant::now() < until {
            worst = worst.max(self.lag().await?);
        }
        Ok(worst)
    }

    async fn outage(&mut self, clickhouse: &Server) -> Result<()> {
        self.heading("ClickHouse is away");
        self.say(
            "| s since it stopped | records behind | lag, `/metrics` | lag, `hub-consumer lag` | true age |",
        );
        self.say("|---|---|---|---|---|");
        on(clickhouse, Server::stop).await?;
        let stopped = Instant::now();
        let (mut worst, mut peak, mut is_back) = (0.0_f64, 0.0_f64, false);
        let mut next = Duration::ZERO;
        loop {
            if !is_back && stopped.elapsed() >= self.options.outage {
                on(clickhouse, Server::start).await?;
                is_back = true;
                self.say(&format!(
                    "| {:.0} | ClickHouse is started | | | |",
                    stopped.elapsed().as_secs_f64()
                ));
            }
            if stopped.elapsed() < next {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
            let mut looked = self.look().await?;
            if looked.error > TOLERANCE {
                // A gauge is a second old: where the lag falls at once it may still say what was.
                tokio::time::sleep(Duration::from_millis(1500)).await;
                looked = self.look().await?;
            }
            let Looked { records, gauge, told, truth, error } = looked;
            self.say(&format!(
                "| {:.0} | {records} | {gauge:.1} | {told:.1} | {truth:.1} |",
                stopped.elapsed().as_secs_f64()
            ));
            (worst, peak) = (worst.max(error), peak.max(truth));
            if is_back && truth < TOLERANCE {
                break;
            }
            ensure!(
                stopped.elapsed() < self.options.outage + Duration::from_secs(120),
                "the lag does not fall"
            );
            // While it falls it is worth a closer look.
            next += if is_back { Duration::from_secs(2) } else { self.options.look };
        }
        let enough = self.options.outage.as_secs_f64() - TOLERANCE;
        ensure!(peak >= enough, "the lag rose to {peak:.1} s only");
        ensure!(worst <= TOLERANCE, "the lag was wrong by {worst:.1} s");
        self.say(&format!(
            "\nThe lag rose to {peak:.1} s and fell again; no look differed from the truth by more than {worst:.1} s."
        ));
        Ok(())
    }

    /// The lag by gauge, command and truth, and by how much one of them is wrong: the truth goes on while they are asked.
    async fn look(&self) -> Result<Looked> {
        let before = truth::age(&self.line).await?;
        let topic = self.line.topic(Signal::Logs);
        let page = self.line.hub_page().await?;
        let gauge = page.max("hub_lag_seconds", &[("topic", &topic)]).context("the hub tells its lag")?;
        let between = truth::age(&self.line).await?;
        let (code, answer) = self.line.hub_output("lag", &["--signal", "logs", "--json"]).await?;
        ensure!(code == Some(0), "hub-consumer lag ends with {code:?}");
        let after = truth::age(&self.line).await?;
        let states: Vec<Value> = serde_json::from_str(&answer).context("read the lag")?;
        let told = states.iter().filter_map(|of| of["seconds"].as_f64()).fold(0.0, f64::max);
        let records = states.iter().filter_map(|of| of["records"].as_i64()).sum();
        let off =
            |value: f64, one: f64, other: f64| (one.min(other) - value).max(value - one.max(other)).max(0.0);
        let error = off(gauge, before, between).max(off(told, between, after));
        Ok(Looked { records, gauge, told, truth: after, error })
    }

    async fn end(&mut self, sent: u64) -> Result<()> {
        self.heading("The end");
        wait_for("everything committed", async || {
            let left = self.line.uncommitted().await?;
            Ok(if left == 0 { Ok(()) } else { Err(format!("{left} records are not")) })
        })
        .await?;
        self.show("audit", &["--signal", "logs", "--deep"], 0).await?;
        let rows = self.rows().await?;
        ensure!(rows == sent, "{sent} log records were acked, and {rows} are stored");
        self.say(&format!(
            "\n{sent} log records were acked by the edge, and {rows} rows are stored: none lost, none twice."
        ));
        Ok(())
    }
}

struct Looked {
    records: i64,
    gauge: f64,
    told: f64,
    truth: f64,
    error: f64,
}
