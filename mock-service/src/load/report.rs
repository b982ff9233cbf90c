//! What a run got, as a table for people or as JSON for programs.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use serde::Serialize;

use super::Route;
use super::client::Observation;
use super::latency::Latencies;
use crate::cli::LoadArgs;
use crate::telemetry::ExportReport;

/// Everything observed so far. Its size depends on the routes and statuses seen, not on the number of requests.
#[derive(Debug, Default)]
pub(super) struct Record {
    routes: BTreeMap<Route, RouteRecord>,
    latencies: Latencies,
    skipped: u64,
}

#[derive(Debug, Default)]
struct RouteRecord {
    requests: u64,
    statuses: BTreeMap<u16, u64>,
    errors: BTreeMap<&'static str, u64>,
    latencies: Latencies,
}

impl Record {
    pub(super) fn add(&mut self, observation: &Observation) {
        let route = self.routes.entry(observation.route).or_default();
        route.requests += 1;
        match observation.outcome {
            Ok(status) => *route.statuses.entry(status.as_u16()).or_default() += 1,
            Err(failure) => *route.errors.entry(failure.as_str()).or_default() += 1,
        }
        route.latencies.add(observation.latency);
        self.latencies.add(observation.latency);
    }

    pub(super) fn skip(&mut self) {
        self.skipped += 1;
    }

    pub(super) fn answered(&self) -> u64 {
        self.routes.values().flat_map(|route| route.statuses.values()).sum()
    }
}

/// The report of a finished run. Latencies are in milliseconds, from the time a request was due.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    target: String,
    seed: u64,
    mix: String,
    /// Requests per second asked for.
    rate: f64,
    /// Requests per second sent.
    achieved_rate: f64,
    seconds: f64,
    sent: u64,
    answered: u64,
    /// Requests without an answer, by reason.
    errors: BTreeMap<&'static str, u64>,
    /// Requests not sent because too many were in flight.
    skipped: u64,
    latency_ms: LatencyReport,
    routes: BTreeMap<&'static str, RouteReport>,
    /// Absent when no signal is exported.
    #[serde(skip_serializing_if = "Option::is_none")]
    telemetry: Option<ExportReport>,
}

#[derive(Debug, Serialize)]
struct RouteReport {
    requests: u64,
    statuses: BTreeMap<u16, u64>,
    errors: BTreeMap<&'static str, u64>,
    latency_ms: LatencyReport,
}

#[derive(Debug, Serialize)]
struct LatencyReport {
    p50: f64,
    p95: f64,
    p99: f64,
    max: f64,
}

impl Report {
    pub(super) fn new(
        args: &LoadArgs,
        seed: u64,
        elapsed: Duration,
        record: &Record,
        telemetry: Option<ExportReport>,
    ) -> Self {
        let mut errors: BTreeMap<&'static str, u64> = BTreeMap::new();
        for (reason, count) in record.routes.values().flat_map(|route| &route.errors) {
            *errors.entry(reason).or_default() += count;
        }
        let sent = record.routes.values().map(|route| route.requests).sum();
        let routes = record.routes.iter().map(|(route, record)| (route.as_str(), RouteReport::new(record)));
        Report {
            target: args.target.to_string(),
            seed,
            mix: args.mix().to_string(),
            rate: args.rate,
            achieved_rate: sent as f64 / elapsed.as_secs_f64().max(f64::MIN_POSITIVE),
            seconds: elapsed.as_secs_f64(),
            sent,
            answered: record.answered(),
            errors,
            skipped: record.skipped,
            latency_ms: LatencyReport::new(&record.latencies),
            routes: routes.collect(),
            telemetry,
        }
    }
}

impl RouteReport {
    fn new(record: &RouteRecord) -> Self {
        Self {
            requests: record.requests,
            statuses: record.statuses.clone(),
            errors: record.errors.clone(),
            latency_ms: LatencyReport::new(&record.latencies),
        }
    }
}

impl LatencyReport {
    fn new(latencies: &Latencies) -> Self {
        let milliseconds = |latency: Duration| latency.as_secs_f64() * 1000.0;
        Self {
            p50: milliseconds(latencies.quantile(0.50)),
            p95: milliseconds(latencies.quantile(0.95)),
            p99: milliseconds(latencies.quantile(0.99)),
            max: milliseconds(latencies.max()),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} requests in {:.1} s to {} ({:.1}/s of {}/s, seed {}, {} skipped)\n",
            self.sent, self.seconds, self.target, self.achieved_rate, self.rate, self.seed, self.skipped
        )?;
        writeln!(
            f,
            "{:<10}{:>10}{:>10}{:>10}{:>10}{:>10}  answers",
            "route", "requests", "p50 ms", "p95 ms", "p99 ms", "max ms"
        )?;
        for (name, route) in &self.routes {
            write_row(f, name, route.requests, &route.latency_ms)?;
            for (status, count) in &route.statuses {
                write!(f, "  {status}: {count}")?;
            }
            for (reason, count) in &route.errors {
                write!(f, "  {reason}: {count}")?;
            }
            writeln!(f)?;
        }
        write_row(f, "all", self.sent, &self.latency_ms)?;
        writeln!(f, "  answered: {}", self.answered)?;
        match &self.telemetry {
            Some(telemetry) => write!(f, "\n{telemetry}"),
            None => Ok(()),
        }
    }
}

fn write_row(f: &mut fmt::Formatter<'_>, name: &str, requests: u64, latency: &LatencyReport) -> fmt::Result {
    let LatencyReport { p50, p95, p99, max } = latency;
    write!(f, "{name:<10}{requests:>10}{p50:>10.2}{p95:>10.2}{p99:>10.2}{max:>10.2}")
}
