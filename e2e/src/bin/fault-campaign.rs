//! `make test-faults`: the whole catalogue of faults, and the page that says what came of it.
#![allow(clippy::print_stdout, reason = "the campaign speaks to a person at a terminal")]

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::Parser;
use e2e::faults::arena::Arena;
use e2e::faults::catalogue::{self, ROWS, Row};
use e2e::faults::report;

/// Tries an edge with every fault of the catalogue.
#[derive(Debug, Parser)]
struct Arguments {
    /// Ids of rows; all when none is given
    rows: Vec<String>,
    /// Share of the usual number of repeats
    #[arg(long, env = "E2E_FAULT_REPEATS", default_value = "1")]
    repeats: f64,
    /// What random choices begin with
    #[arg(long, env = "E2E_FAULT_SEED", default_value = "1")]
    seed: u64,
    /// Where logs of edges go
    #[arg(long, default_value = "target/faults")]
    folder: PathBuf,
    /// Write the lines of these rows into this page
    #[arg(long)]
    page: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            println!("the campaign failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<bool> {
    let rows = chosen(&arguments.rows)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.context("build the runtime")?;
    if arguments.folder.exists() {
        // The last run's logs would be read as this one's.
        std::fs::remove_dir_all(&arguments.folder).context("empty the folder of the campaign")?;
    }
    let folder = std::path::absolute(&arguments.folder).context("find the folder of the campaign")?;
    let mut arena = Arena::new(&folder, arguments.seed)?;
    let (mut finished, mut skipped) = (Vec::new(), 0);
    for row in rows {
        if !row.is_possible() {
            println!("{} skipped: it needs root", row.id);
            skipped += 1;
            continue;
        }
        let one = runtime.block_on(row.run(&mut arena, repeats(row, arguments.repeats)));
        println!("{}", report::lines(&one));
        finished.push(one);
    }
    if let Some(page) = &arguments.page {
        let before = std::fs::read_to_string(page).unwrap_or_default();
        std::fs::write(page, report::page(&finished, &before)).context("write the page")?;
    }
    let failed: Vec<_> = finished.iter().filter(|one| !one.is_passed()).map(|one| one.row.id).collect();
    println!("\n{} rows, {} failed {failed:?}, {} skipped", finished.len(), failed.len(), skipped);
    Ok(failed.is_empty())
}

fn chosen(ids: &[String]) -> Result<Vec<Row>> {
    if ids.is_empty() {
        return Ok(ROWS.to_vec());
    }
    ids.iter()
        .map(|id| match catalogue::row(id) {
            Some(row) => Ok(row),
            None => bail!(
                "there is no row {id}; there are {:?}",
                ROWS.iter().map(|row| row.id).collect::<Vec<_>>()
            ),
        })
        .collect()
}

fn repeats(row: Row, share: f64) -> u32 {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a small, positive number")]
    let scaled = (f64::from(row.heavy) * share).round() as u32;
    scaled.max(1)
}
