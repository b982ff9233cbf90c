//! `make drill-incident`: plays the incident on real servers, and writes what was said to a page.
#![allow(clippy::print_stdout, reason = "a drill speaks to a person at a terminal")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use devstack::{Part, Stack, StackOptions};
use e2e::incident::{IncidentOptions, Transcript, play};
use e2e::pages::Pages;

/// Orders that are charged and never reach a restaurant, and the pages that say so.
#[derive(Debug, Parser)]
struct Arguments {
    /// Orders a second in each market that loses all of them
    #[arg(long, default_value = "2")]
    total_rate: u32,
    /// Orders a second in each market that loses 1 %; 0 leaves these out
    #[arg(long, default_value = "20")]
    percent_rate: u32,
    /// Seconds between the first outcomes and the faults
    #[arg(long, default_value = "30")]
    calm: u64,
    /// Do not wait until every page is resolved
    #[arg(long)]
    no_clear: bool,
    /// Write the transcript to this file
    #[arg(long)]
    page: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nthe drill failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let directory = tempfile::tempdir().context("make a folder")?;
    let pages = Pages::start()?;
    let options =
        StackOptions { alert_webhook: Some(pages.url().to_owned()), ..StackOptions::own(&Part::ALL) };
    let stack = Stack::up(options).context("start the servers")?;
    let options = IncidentOptions {
        total_rate: arguments.total_rate,
        percent_rate: arguments.percent_rate,
        calm: Duration::from_secs(arguments.calm),
        until_clear: !arguments.no_clear,
    };
    // One thread: the programs end with the thread that started them.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("build the runtime")?;
    let mut transcript = Transcript::default();
    runtime.block_on(play(&stack, &pages, directory.path(), options, &mut transcript))?;
    if let Some(page) = &arguments.page {
        let head = "# The incident, played\n\nWritten by `make drill-incident`: each fault of [orders.md](orders.md) in a market of its own, on a real edge, Kafka, hub, ClickHouse, \
                    Mimir, its ruler and its Alertmanager.\nA page is what the Alertmanager has delivered to a webhook. Nothing here reads the switch of the faults: what is known comes from stored telemetry.\n\n";
        std::fs::write(page, format!("{head}{}", transcript.text())).context("write the page")?;
    }
    Ok(())
}
