//! `make demo`: menu traffic through the whole line on real servers, a live table, and one verdict.
#![allow(clippy::print_stdout, reason = "the demo speaks to a person at a terminal")]

mod alerts;
mod boards;
mod business;
mod keep;
mod outage;
mod table;
mod verdict;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use devstack::{Stack, StackOptions};
use e2e::pages::Pages;
use e2e::process::{Program, free_port};
use e2e::runtime::{self, Runtime};
use e2e::{Line, LineOptions};
use serde_json::Value;

use crate::boards::Boards;
use crate::outage::Outage;
use crate::table::Table;
use crate::verdict::{Exported, Verdict};

/// How often the SDK of the traffic generator exports its metrics; short, so that a demo shows a series move.
const METRIC_EXPORT_INTERVAL_MS: &str = "2000";

/// How often edge and hub push their own metrics: a board that is opened a moment later has them.
const OWN_METRICS: Duration = Duration::from_secs(5);

/// How long stored rows may lag behind the last ack before the verdict is taken anyway.
const SETTLE: Duration = Duration::from_secs(30);

/// Drives menu traffic through the whole line and compares what was acked with what is stored.
#[derive(Debug, Parser)]
struct Arguments {
    /// Leave everything running and write the addresses to target/demo.env
    #[arg(long)]
    keep: bool,
    /// End what an earlier --keep left running
    #[arg(long, conflicts_with = "keep")]
    down: bool,
    /// This is the process that stays
    #[arg(long, hide = true)]
    detached: bool,
    /// Requests per second
    #[arg(long, default_value = "50")]
    rate: f64,
    /// How long to drive traffic, in seconds
    #[arg(long, default_value = "40")]
    seconds: u64,
    /// For how long the broker goes away in the middle, in seconds; 0 leaves it alone
    #[arg(long, default_value = "20")]
    outage: u64,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(code) => code,
        Err(error) => {
            println!("\nthe demo failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<ExitCode> {
    let directory = directory()?;
    if !arguments.detached {
        keep::down(&directory)?;
    }
    if arguments.down {
        return Ok(ExitCode::SUCCESS);
    }
    if arguments.keep && !arguments.detached {
        return keep::run_detached(&directory, &keep::env_file(&directory));
    }
    // The last run's logs would be read as this one's.
    std::fs::remove_dir_all(&directory).context("empty the demo's directory")?;
    std::fs::create_dir_all(&directory).context("make the demo's directory")?;
    keep::register(&directory)?;
    let pages = Pages::start().context("start the webhook that takes pages")?;
    let folder = Some(directory.join("servers"));
    let alert_webhook = Some(pages.url().to_owned());
    let stack = Stack::up(StackOptions { folder, alert_webhook, ..StackOptions::default() })
        .context("start the servers")?;
    // One thread: the programs end with the thread that started them.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("build the runtime")?;
    let passed = runtime.block_on(async {
        tokio::select! {
            outcome = demo(arguments, &directory, &stack, &pages) => outcome,
            _ = tokio::signal::ctrl_c() => bail!("interrupted"),
        }
    })?;
    Ok(if passed { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Returns whether everything acked is stored.
async fn demo(arguments: &Arguments, directory: &Path, stack: &Stack, pages: &Pages) -> Result<bool> {
    let endpoints = stack.endpoints();
    println!("starting edge-forwarder, hub-consumer and mock-service");
    let mut options = LineOptions::new(&database(), directory);
    options
        .edge_env
        .push(("EDGE__FILELOG__INCLUDE", format!("{}/*/*/*.log", runtime::pods(directory).display())));
    options.hub_env.push(("HUB__DERIVE__ENABLED", "true".to_owned()));
    options.own_metrics = Some(OWN_METRICS);
    let has_rules = alerts::load(stack, &options.name)?;
    let line = Line::start(endpoints, options).await?;
    let menu_url = format!("http://127.0.0.1:{}", free_port()?);
    let mut menu = start_menu(&line, directory, &menu_url).await?;
    business::write_menu(&line, &menu_url).await?;
    let container = Runtime::start(directory, menu.log(), 0)?;
    let mut load = start_load(arguments, &line, directory, &menu_url, &format!("{}s", arguments.seconds))?;

    println!("driving menu traffic at {}/s for {} s\n", arguments.rate, arguments.seconds);
    let mut table = Table::new(menu.log());
    let mut outage = Outage::plan(arguments.seconds, arguments.outage, stack.kafka());
    let started = Instant::now();
    while !load.has_ended()? || !outage.is_over() {
        if let Some((began, ended)) = outage.step(started.elapsed()).await? {
            business::mark_outage(&line, began, ended).await?;
        }
        table.show(&line, started.elapsed(), outage.is_on()).await?;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    let sent =
        Exported::from_report(&report(load.log())?).context("read the report of the traffic generator")?;
    // Stopping the service makes its SDK export the last spans and say how many were taken.
    menu.stop().await?;
    let log_lines = container.stop()?;
    let exported =
        sent.plus(&Exported::from_report(&report(menu.log())?).context("read the report of mock-service")?);

    let deadline = Instant::now() + SETTLE;
    let verdict = loop {
        let verdict = Verdict::take(&line, &exported, log_lines).await?;
        let lag = table.show(&line, started.elapsed(), false).await?;
        if (verdict.holds() && lag == 0.0) || Instant::now() > deadline {
            break verdict;
        }
        tokio::time::sleep(Duration::from_millis(250)).await;
    };
    table.finish();
    println!("\n{verdict}");
    println!("\n{}\n", business::audit(&line).await?);
    println!("{}", verdict::one_request(&line).await?);
    if has_rules {
        println!("\n{}", alerts::listing(&line).await?);
    }
    if arguments.keep {
        let traffic = Traffic::resume(arguments, &line, directory, &menu_url).await?;
        let boards = Boards::serve(&line, endpoints, directory).await?;
        let addresses = keep::Addresses {
            line: &line,
            endpoints,
            menu_url: &menu_url,
            pages_url: pages.url(),
            failed_trace: business::failed_trace(&line).await?,
            boards_url: boards.as_ref().map(|boards| boards.url.as_str()),
        };
        println!("{}", addresses.directions());
        if has_rules {
            println!(
                "\nwaiting for the page of the failed menus; a rule has to hold for two minutes before it fires"
            );
            println!("{}", alerts::wait_for_page(pages, started).await?);
        }
        keep::stay(directory, &keep::env_file(directory), &addresses, verdict.holds()).await?;
        drop(traffic);
    }
    Ok(verdict.holds())
}

/// Traffic that goes on for as long as the demo is kept.
struct Traffic {
    _menu: Program,
    _container: Runtime,
    _load: Program,
}

impl Traffic {
    async fn resume(arguments: &Arguments, line: &Line, directory: &Path, menu_url: &str) -> Result<Self> {
        let log = directory.join("mock-service.log");
        let printed = std::fs::metadata(&log).context("look at the log of mock-service")?.len();
        let menu = start_menu(line, directory, menu_url).await?;
        let container = Runtime::start(directory, menu.log(), printed)?;
        let load = start_load(arguments, line, directory, menu_url, "3650d")?;
        Ok(Self { _menu: menu, _container: container, _load: load })
    }
}

/// The user's own servers may hold an earlier run's rows, so each run has names of its own.
fn database() -> String {
    let seconds =
        std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |time| time.as_secs());
    format!("demo_{seconds}")
}

async fn start_menu(line: &Line, directory: &Path, url: &str) -> Result<Program> {
    let address = url.trim_start_matches("http://");
    let grpc = line.edge_grpc_url();
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", grpc.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_SERVICE_NAME", "mock-service"),
    ];
    let log = directory.join("mock-service.log");
    let mut menu = Program::start("mock-service", &["serve", "--listen", address], &env, &log)?;
    menu.wait_until_ready(&format!("{url}/health")).await?;
    Ok(menu)
}

fn start_load(
    arguments: &Arguments,
    line: &Line,
    directory: &Path,
    menu_url: &str,
    duration: &str,
) -> Result<Program> {
    let http = line.edge_http_url();
    let env = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", http.as_str()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
        ("OTEL_SERVICE_NAME", "menu-load"),
        ("OTEL_METRIC_EXPORT_INTERVAL", METRIC_EXPORT_INTERVAL_MS),
    ];
    let rate = arguments.rate.to_string();
    let args =
        ["load", "--target", menu_url, "--rate", &rate, "--duration", duration, "--seed", "1", "--json"];
    Program::start("mock-service", &args, &env, &directory.join("load.log"))
}

/// The last JSON object that a program printed and that speaks of exported telemetry.
fn report(log: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(log).with_context(|| format!("read {}", log.display()))?;
    let whole = text.find("{\n").and_then(|start| serde_json::from_str(&text[start..]).ok());
    let of_a_line = || {
        text.lines().rev().find_map(|line| {
            let value: Value = serde_json::from_str(line).ok()?;
            verdict::mentions_export(&value).then_some(value)
        })
    };
    whole.or_else(of_a_line).with_context(|| format!("{} holds no report", log.display()))
}

/// `target/demo` beside this program.
fn directory() -> Result<PathBuf> {
    let exe = std::env::current_exe().context("find this program")?;
    let target = exe.parent().and_then(Path::parent).context("the demo lies in target/PROFILE")?;
    let directory = target.join("demo");
    std::fs::create_dir_all(&directory).context("make the demo's directory")?;
    Ok(directory)
}
