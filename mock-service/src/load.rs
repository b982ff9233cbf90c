//! `mock-service load`: open-loop traffic against a Menu API, and a report of what came back.
//!
//! Requests are due at fixed times, whatever the answers take, and latency counts from the due time. A server that
//! stalls is therefore seen stalling by every request that was due meanwhile, not by the few that were in flight.
//!
//! The bound on requests in flight keeps memory finite: a request due while that many are unanswered is skipped, and
//! counted as skipped.
//!
//! One task owns the schedule and the record; each request runs as its own task and hands back one observation.

mod client;
mod latency;
mod mix;
mod report;
mod scene;

use std::io::{self, Write as _};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::task::JoinSet;
use tokio::time::Instant;

use self::client::{Client, Observation};
pub use self::mix::{Mix, MixError, Route};
use self::report::{Record, Report};
pub use self::scene::Scene;
use crate::cli::LoadArgs;
use crate::telemetry::{Signal, Telemetry};

/// Sends the traffic, flushes the telemetry and prints the report on stdout.
///
/// Fails when nothing at all was answered; single failures are what the report is for.
pub(crate) fn run(args: &LoadArgs) -> anyhow::Result<ExitCode> {
    let runtime = crate::runtime()?;
    let telemetry = Telemetry::from_env("menu-load", &Signal::ALL, runtime.handle())?;
    let client = Client::new(args.target.clone(), args.timeout, &telemetry)?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let (record, elapsed) = runtime.block_on(async {
        let stop = crate::termination()?;
        anyhow::Ok(send(args, seed, client, stop).await)
    })?;
    let report = Report::new(args, seed, elapsed, &record, telemetry.finish());
    let text = if args.json {
        serde_json::to_string_pretty(&report).context("encode the report")? + "\n"
    } else {
        report.to_string()
    };
    io::stdout().lock().write_all(text.as_bytes()).context("print the report")?;
    Ok(if record.answered() > 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Sends until the duration is over or `stop` resolves, then waits for the answers that are still due.
async fn send(
    args: &LoadArgs,
    seed: u64,
    client: Client,
    stop: impl Future<Output = ()>,
) -> (Record, Duration) {
    let client = Arc::new(client);
    let mut draws = StdRng::seed_from_u64(seed);
    let mut record = Record::default();
    let mut in_flight: JoinSet<Observation> = JoinSet::new();
    let mix = args.mix();
    let mut stop = std::pin::pin!(stop);
    let start = Instant::now();
    for due in schedule(args.rate, args.duration) {
        let due = start + due;
        tokio::select! {
            biased;
            () = &mut stop => break,
            () = tokio::time::sleep_until(due) => {}
        }
        while let Some(done) = in_flight.try_join_next() {
            record.add(&done.expect("a request task neither panics nor is aborted"));
        }
        let (route, path) = mix.draw(&mut draws);
        if in_flight.len() < args.max_in_flight.get() {
            let client = Arc::clone(&client);
            in_flight.spawn(async move { client.request(route, &path, due).await });
        } else {
            record.skip();
            client.skipped(route);
        }
    }
    while let Some(done) = in_flight.join_next().await {
        record.add(&done.expect("a request task neither panics nor is aborted"));
    }
    (record, start.elapsed())
}

/// The due times: every 1/`rate` seconds from 0 up to, but not including, `duration`.
fn schedule(rate: f64, duration: Duration) -> impl Iterator<Item = Duration> {
    (0_u64..).map(move |n| Duration::from_secs_f64(n as f64 / rate)).take_while(move |due| *due < duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_are_due_at_the_rate_for_the_duration() {
        let due: Vec<_> = schedule(4.0, Duration::from_secs(1)).collect();
        assert_eq!(due, [0, 250, 500, 750].map(Duration::from_millis));
        assert_eq!(schedule(1000.0, Duration::from_secs(30)).count(), 30_000);
    }
}
