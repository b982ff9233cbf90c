//! The promises of the whole line, on real servers.
#![allow(clippy::unwrap_used, reason = "a test fails by panicking, in its helpers as well")]

mod boards;
mod configuration;
mod drill;
mod expected;
mod faults;
mod generate;
mod outage;
mod own_metrics;
mod pages;
mod sdk;
mod stored;

use std::path::Path;

use devstack::Endpoints;
use e2e::{Line, LineOptions};
use tempfile::TempDir;

/// A line of its own on the given servers; its folder goes when the test ends.
async fn line(endpoints: &Endpoints, name: &str) -> (Line, TempDir) {
    line_with(endpoints, name, |_| {}).await
}

/// The same with options changed by `change`.
async fn line_with(
    endpoints: &Endpoints,
    name: &str,
    change: impl FnOnce(&mut LineOptions),
) -> (Line, TempDir) {
    let directory = TempDir::new().expect("a temporary folder can be made");
    let mut options = LineOptions::new(&unique(name), directory.path());
    change(&mut options);
    (Line::start(endpoints, options).await.expect("the line starts"), directory)
}

/// Two runs against the same servers must not meet.
fn unique(name: &str) -> String {
    let now =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).expect("the clock is after 1970");
    format!("{name}_{:x}_{}", now.as_micros(), std::process::id())
}

/// The servers of this run. Starting them may take long, so not on a runtime's thread.
async fn servers() -> &'static Endpoints {
    tokio::task::spawn_blocking(devstack::shared).await.expect("the servers start")
}

/// Fails when a program logged an error that the test did not expect.
fn assert_no_errors(log: &Path) {
    let text = std::fs::read_to_string(log).expect("the log can be read");
    let errors: Vec<_> = text.lines().filter(|line| line.contains("\"level\":\"ERROR\"")).collect();
    assert!(errors.is_empty(), "{}: {errors:#?}", log.display());
}
