//! `hub-consumer doctor`: looks at everything a hub needs, and says of what is wrong how it is mended. It changes nothing but a
//! scratch table, on which it proves that the server de-duplicates.
//!
//! | area | what is looked at |
//! |---|---|
//! | brokers | they answer; topics and dead-letter topics are there and keep their records; clocks of the newest records |
//! | groups | nothing is stuck, orphaned or overtaken by retention |
//! | clickhouse | it answers; schema; tables, windows of de-duplication; room on its disks; its clock |
//! | metrics | the endpoint takes a request; Mimir's limits against our requests; its clock |

mod stores;

use std::{fmt, time::Duration};

use futures::future::join_all;
use jiff::Timestamp;
use kafka_client::admin;
use serde::Serialize;
use service_runtime::{RunArgs, Runtime, error_chain::ErrorChain};

use crate::{
    app::Hub,
    audit::Outcome,
    config::{HubConfig, SignalConfig},
    lag::meter::{Meter, PartitionState, Scope, State},
};

/// Clocks that differ by this much make lag and retention untrue.
const CLOCK_TOLERANCE: Duration = Duration::from_secs(2);
/// How long the newest records are waited for.
const READING: Duration = Duration::from_secs(2);
/// Retention below this leaves little time to find out that a hub is down.
const LEAST_RETENTION: Duration = Duration::from_secs(24 * 3600);

/// What `doctor` is asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct DoctorArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub run: RunArgs,
    /// Print JSON instead of lines.
    #[arg(long)]
    pub json: bool,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// `brokers`, `groups`, `clickhouse` or `metrics`.
    pub area: &'static str,
    /// How it is.
    pub level: Level,
    /// What was found.
    pub found: String,
    /// What helps; of what is fine nothing.
    pub remedy: Option<String>,
}

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// As it should be.
    Fine,
    /// It works, and may not for long.
    Warning,
    /// Records are not stored, or not safely.
    Problem,
}

impl Finding {
    fn fine(area: &'static str, found: impl Into<String>) -> Finding {
        Finding { area, level: Level::Fine, found: found.into(), remedy: None }
    }

    fn warning(area: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { area, level: Level::Warning, found: found.into(), remedy: Some(remedy.into()) }
    }

    fn problem(area: &'static str, found: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { area, level: Level::Problem, found: found.into(), remedy: Some(remedy.into()) }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.level {
            Level::Fine => "fine",
            Level::Warning => "warning",
            Level::Problem => "PROBLEM",
        };
        write!(out, "{word:<8}{:<11} {}", self.area, self.found)?;
        match &self.remedy {
            Some(remedy) => write!(out, "\n{:20}-> {remedy}", ""),
            None => Ok(()),
        }
    }
}

/// Looks, and prints what was found. Incomplete when there is a problem.
///
/// # Errors
/// Only of the program itself: whatever does not answer is a finding.
#[allow(clippy::print_stdout, reason = "the findings are the answer of the command")]
pub async fn run(config: HubConfig, runtime: Runtime, args: &DoctorArgs) -> anyhow::Result<Outcome> {
    let findings = examine(config, runtime).await?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&findings)?);
    } else {
        findings.iter().for_each(|finding| println!("{finding}"));
    }
    let is_well = findings.iter().all(|finding| finding.level < Level::Problem);
    Ok(if is_well { Outcome::Complete } else { Outcome::Incomplete })
}

/// Looks at everything that is configured.
///
/// # Errors
/// As [`run`].
pub async fn examine(config: HubConfig, runtime: Runtime) -> anyhow::Result<Vec<Finding>> {
    let hub = Hub::new(config, runtime)?;
    let mut findings = Vec::new();
    let brokers = join_all(hub.config.signals.iter().map(brokers_of)).await;
    let groups = join_all(hub.config.signals.iter().map(group_of)).await;
    // Brokers that do not answer are one problem, not one for each signal and question.
    for found in brokers.into_iter().chain(groups).flatten() {
        if !findings.contains(&found) {
            findings.push(found);
        }
    }
    findings.extend(Box::pin(stores::clickhouse(&hub)).await);
    findings.extend(stores::metrics(&hub).await);
    Ok(findings)
}

const BROKERS: &str = "brokers";
const GROUPS: &str = "groups";

async fn brokers_of(signal: &SignalConfig) -> Vec<Finding> {
    let connection = &signal.consumer.connection;
    let addresses = connection.brokers.join(", ");
    let mut findings = match admin::cluster_id(connection).await {
        Ok(cluster) => vec![Finding::fine(BROKERS, format!("{addresses} answer; cluster {cluster}"))],
        Err(failure) => {
            let found = format!("{addresses} do not answer: {}", ErrorChain(&failure));
            return vec![Finding::problem(
                BROKERS,
                found,
                "check kafka.brokers, TLS and credentials, and the network",
            )];
        }
    };
    for topic in [&signal.topic, &signal.dead_letter_topic] {
        findings.extend(topic_of(signal, topic).await);
    }
    findings
}

async fn topic_of(signal: &SignalConfig, topic: &str) -> Vec<Finding> {
    let connection = &signal.consumer.connection;
    let Ok(ends) = admin::watermarks(connection, topic).await else {
        let remedy = "run `hub-consumer topics`, which creates what is missing";
        return vec![Finding::problem(
            BROKERS,
            format!("topic {topic} is not there, or may not be read"),
            remedy,
        )];
    };
    let mut findings = Vec::new();
    let setting = async |name| admin::topic_setting(connection, topic, name).await.ok().flatten();
    if let Some(policy) = setting("cleanup.policy").await.filter(|policy| policy.contains("compact")) {
        let found = format!("topic {topic} has cleanup.policy {policy}, which removes records");
        findings.push(Finding::problem(BROKERS, found, "set its cleanup.policy to delete"));
    }
    let retention = setting("retention.ms").await.and_then(|millis| millis.parse().ok());
    if let Some(retention) = retention.map(Duration::from_millis).filter(|kept| *kept < LEAST_RETENTION) {
        let found = format!("topic {topic} keeps records for {} only", humantime::format_duration(retention));
        let remedy = "raise its retention.ms: a hub that is down for longer loses records";
        findings.push(Finding::warning(BROKERS, found, remedy));
    }
    let newest: Vec<(i32, i64)> =
        ends.iter().filter(|end| end.low < end.high).map(|end| (end.partition, end.high - 1)).collect();
    let now_ms = Timestamp::now().as_millisecond();
    let newest = admin::first_records(connection, topic, &newest, READING).await.unwrap_or_default();
    let ahead_ms = newest.values().map(|of| of.timestamp_ms - now_ms).max().unwrap_or(0);
    if ahead_ms > CLOCK_TOLERANCE.as_millis() as i64 {
        let found = format!("the newest record of {topic} is from {ahead_ms} ms in the future");
        let remedy =
            "set the clocks of brokers, edges and hubs by one source (NTP): lag in seconds is untrue";
        findings.push(Finding::warning(BROKERS, found, remedy));
    }
    if findings.is_empty() {
        findings.push(Finding::fine(BROKERS, format!("topic {topic} has {} partitions", ends.len())));
    }
    findings
}

async fn group_of(signal: &SignalConfig) -> Vec<Finding> {
    // Without brokers or topic there is nothing to say that was not said.
    let Ok(states) = Meter::new(signal, Scope::All).look().await else { return Vec::new() };
    let group = &signal.consumer.group_id;
    let of = |state: State| -> Vec<String> {
        let found = states.iter().filter(|of| of.state == state);
        found.map(|of| of.partition.to_string()).collect()
    };
    let topic = &signal.topic;
    let mut findings = Vec::new();
    let overrun = of(State::Overrun);
    if !overrun.is_empty() {
        let lost: i64 =
            states.iter().map(|of| (of.log_start - of.committed.unwrap_or(of.log_start)).max(0)).sum();
        let found = format!(
            "retention has removed {lost} records that {group} has not read, of partitions {} of {topic}",
            overrun.join(", ")
        );
        let remedy =
            "they are gone; decide by pipeline.lost_range or `hub-consumer seek`, and raise retention.ms";
        findings.push(Finding::problem(GROUPS, found, remedy));
    }
    let orphaned = of(State::Orphaned);
    if !orphaned.is_empty() {
        let found = format!("nobody reads partitions {} of {topic}, which have records", orphaned.join(", "));
        findings.push(Finding::problem(
            GROUPS,
            found,
            "start a hub; /readyz of one that runs says what it waits for",
        ));
    }
    if findings.is_empty() {
        let records: i64 = states.iter().map(|of| of.records).sum();
        let seconds = states.iter().filter_map(|of: &PartitionState| of.seconds).fold(0.0, f64::max);
        let lag = format!("{group} is {records} records and {seconds:.1} s behind in {topic}");
        findings.push(Finding::fine(GROUPS, lag));
    }
    findings
}

/// What is said of a clock that was asked between two moments of ours, in milliseconds since the epoch.
fn clock(
    area: &'static str,
    name: &str,
    theirs_ms: i64,
    asked_ms: (i64, i64),
    resolution_ms: i64,
) -> Finding {
    let tolerance = CLOCK_TOLERANCE.as_millis() as i64 + resolution_ms;
    let apart = (theirs_ms - asked_ms.1).max(asked_ms.0 - theirs_ms).max(0);
    if apart <= tolerance {
        return Finding::fine(area, format!("the clock of {name} is ours"));
    }
    let found = format!("the clock of {name} and ours are {apart} ms apart");
    Finding::warning(area, found, "set both by one source (NTP)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_may_differ_by_the_time_of_the_question_and_no_more() {
        let level = |theirs| clock("clickhouse", "it", theirs, (10_000, 12_000), 0).level;
        assert_eq!((level(11_000), level(8_000), level(14_000)), (Level::Fine, Level::Fine, Level::Fine));
        assert_eq!((level(7_999), level(14_001)), (Level::Warning, Level::Warning));
    }
}
