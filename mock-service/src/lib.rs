//! The application under observation: the Menu API of a food delivery platform with its traffic generator, and the way of an
//! order from the gateway to the restaurant's tablet ([`orders`]).
//!
//! ```text
//!   mock-service load --- HTTP + traceparent ---> mock-service serve ---> stdout: one JSON line per request
//!          |                                              |
//!          +-- spans, metrics, logs (OTLP) --+            +-- spans (OTLP)
//!                                            v            v
//!                                         any OTLP receiver
//! ```
//!
//! `serve` behaves like the Go program it stands for, answer by answer and log line by log line; [`cli::ServeArgs`]
//! names the few places where it knowingly differs. Telemetry exists only when an OTLP endpoint is configured by the
//! standard `OTEL_*` variables; without one there is no span, no extra log field and no background thread.
//!
//! What it deliberately does not do: it knows nothing of Kafka, of the edge-forwarder or of any other crate of this
//! workspace. It is a foreign program to the platform, as every real application would be.

mod api;
pub mod cli;
mod database;
mod json;
pub mod load;
mod log_line;
mod menu;
pub mod orders;
mod request_path;
mod serve;
mod server;
mod spans;
mod telemetry;

use std::future::Future;
use std::io::{self, Write as _};
use std::process::ExitCode;

use anyhow::Context as _;

use crate::cli::{Cli, Command};
use crate::telemetry::TelemetryError;

/// Exit code for a configuration that cannot be used: `EX_USAGE` of `sysexits.h`, as in all binaries of this project.
const EXIT_BAD_CONFIGURATION: u8 = 64;

/// Runs the chosen command to its end.
///
/// Exit codes: 0 ended in order, 1 failed (the cause is on stderr), 64 the telemetry configuration is unusable.
pub fn run(cli: Cli) -> ExitCode {
    let outcome = match cli.command.unwrap_or(Command::Serve(cli.serve)) {
        Command::Serve(args) => serve::run(&args),
        Command::Load(args) => load::run(&args),
        Command::Orders(args) => orders::run(&args),
        Command::OrdersCanary(args) => orders::canary::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        complain(&format!("{error:#}"));
        match error.downcast_ref::<TelemetryError>() {
            Some(_) => ExitCode::from(EXIT_BAD_CONFIGURATION),
            None => ExitCode::FAILURE,
        }
    })
}

/// Builds the runtime by hand, so that it outlives `work` and the telemetry exporters can still use it afterwards.
fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build().context("start the async runtime")
}

/// Resolves at the first SIGTERM or SIGINT.
///
/// # Errors
/// When the handlers cannot be installed; without them the process could not stop in order.
fn termination() -> anyhow::Result<impl Future<Output = ()>> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate()).context("install the SIGTERM handler")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("install the SIGINT handler")?;
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    })
}

/// One line on stderr. A closed stderr is no reason to fail, so the result is dropped.
fn complain(line: &str) {
    let _ = writeln!(io::stderr().lock(), "{line}");
}
