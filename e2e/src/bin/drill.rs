//! `make drill`: deletes an hour and brings it back, stops ClickHouse and watches the lag, and writes what was said to a page.
#![allow(clippy::print_stdout, reason = "a drill speaks to a person at a terminal")]

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use devstack::{Part, Stack, StackOptions};
use e2e::drill::{DrillOptions, Transcript, drill};

/// Trouble and what an operator does about it, on real servers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Requests a second, of 20 log records each
    #[arg(long, default_value = "50")]
    rate: u32,
    /// For how long ClickHouse is away, in seconds
    #[arg(long, default_value = "120")]
    outage: u64,
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
    let stack = Stack::up(StackOptions::own(&Part::ALL)).context("start the servers")?;
    let options = DrillOptions {
        history: 3600,
        rate: arguments.rate,
        outage: Duration::from_secs(arguments.outage),
        look: Duration::from_secs(10),
        calm: Duration::from_secs(15),
    };
    // One thread: the programs end with the thread that started them.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("build the runtime")?;
    let mut transcript = Transcript::default();
    runtime.block_on(drill(&stack, directory.path(), options, &mut transcript))?;
    if let Some(page) = &arguments.page {
        let head = "# Drill\n\nWritten by `make drill`: what an operator does after two kinds of trouble, on real servers under live load, \
                    with what the commands said.\nThe true age of the lag is that of the first uncommitted record by the clock of who sent it.\n\n";
        std::fs::write(page, format!("{head}{}", transcript.text())).context("write the page")?;
    }
    Ok(())
}
