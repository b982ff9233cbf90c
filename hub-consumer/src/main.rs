//! hub-consumer: parses the command line, loads the configuration, builds, runs, exits.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hub_consumer::{
    SERVICE, app,
    audit::{self, AuditArgs, Outcome},
    config::HubConfig,
    doctor::{self, DoctorArgs},
    heap,
    lag::{self, command::LagArgs},
    menu::{self, MenuArgs},
    reconcile::{self, ReconcileArgs},
    redrive::{self, RedriveArgs},
    replay::{self, ReplayArgs},
    seek::{self, SeekArgs},
    topics::{self, TopicsArgs},
};
use service_runtime::{RunArgs, Runtime};

/// Stores telemetry from Kafka: logs and traces in ClickHouse, metrics in Mimir.
#[derive(Debug, Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Read, store and commit until told to stop.
    Run(RunArgs),
    /// Bring the ClickHouse schema up to the version this program knows; run it before a new version of `run`.
    Migrate {
        /// Where the configuration is.
        #[command(flatten)]
        args: RunArgs,
        /// Print the SQL that would run, and change nothing.
        #[arg(long)]
        dry_run: bool,
        /// Also give the rows that are older than the rollup of the menu theirs. Without it, queries over them are as right, and
        /// slower.
        #[arg(long, conflicts_with = "dry_run")]
        rebuild_rollups: bool,
    },
    /// Write the Menu API's items, prices and restaurants into the dimension that dashboards join, with the time from which they
    /// are so. Run it again when the menu has changed.
    Menu(MenuArgs),
    /// Store what ClickHouse lacks of a range of the topics, and nothing else. Exits as `audit` does.
    Replay(ReplayArgs),
    /// Show how far every group is behind, in records and seconds, and when it will be through.
    Lag(LagArgs),
    /// Send dead letters of logs and traces through the pipeline again, after a fix. Exits with 1 when some came back.
    Redrive(RedriveArgs),
    /// Move a group to another place in its topic. Its hubs have to be stopped.
    Seek(SeekArgs),
    /// Create the topics of the configuration and their dead-letter topics, or check those that are there. Exits with 1 when one
    /// is not as it should be.
    Topics(TopicsArgs),
    /// Look at everything a hub needs, and say how what is wrong is mended. Exits with 1 when there is a problem.
    Doctor(DoctorArgs),
    /// Count that every committed record of logs and traces is stored or dead-lettered, once. Exits with 0 when all is, with
    /// 1 when records are missing or doubled, with 2 when that cannot be known.
    Audit(AuditArgs),
    /// Say of every charged order of the order flow whether its restaurant has it, from the stored events, and push what became of
    /// them; until told to stop.
    Reconcile(ReconcileArgs),
}

fn main() -> ExitCode {
    heap::share_one();
    match Cli::parse().command {
        Command::Run(args) => service_runtime::run(&SERVICE, &args, HubConfig::read, app::run),
        Command::Migrate { args, dry_run, rebuild_rollups } => {
            let migrate =
                async move |config, runtime| app::migrate(config, runtime, dry_run, rebuild_rollups).await;
            service_runtime::run_once(&SERVICE, &args, HubConfig::read, migrate)
        }
        Command::Menu(args) => {
            let run = args.run.clone();
            service_runtime::run_once(&SERVICE, &run, HubConfig::read, async |config, runtime| {
                menu::run(config, runtime, &args).await
            })
        }
        Command::Replay(args) => {
            judged(&args.range.run, async |config, runtime| replay::run(config, runtime, &args).await)
        }
        Command::Lag(args) => {
            let run = args.run.clone();
            service_runtime::run_once(&SERVICE, &run, HubConfig::read, async |config, runtime| {
                lag::command::run(config, runtime, &args).await
            })
        }
        Command::Redrive(args) => {
            judged(&args.run, async |config, runtime| redrive::run(config, runtime, &args).await)
        }
        Command::Seek(args) => {
            let run = args.run.clone();
            service_runtime::run_once(&SERVICE, &run, HubConfig::read, async |config, _| {
                seek::run(config, &args).await
            })
        }
        Command::Topics(args) => judged(&args.run, async |config, _| topics::run(config, &args).await),
        Command::Doctor(args) => {
            judged(&args.run, async |config, runtime| doctor::run(config, runtime, &args).await)
        }
        Command::Audit(args) => {
            judged(&args.run, async |config, runtime| audit::run(config, runtime, &args).await)
        }
        Command::Reconcile(args) => {
            let run = args.run.clone();
            service_runtime::run_once(&SERVICE, &run, HubConfig::read, async |config, runtime| {
                reconcile::run(config, runtime, &args).await
            })
        }
    }
}

/// Runs a command whose exit code is its answer.
fn judged(
    args: &RunArgs,
    command: impl AsyncFnOnce(HubConfig, Runtime) -> anyhow::Result<Outcome>,
) -> ExitCode {
    let mut outcome = None;
    let command = async |config, runtime| {
        let ended = command(config, runtime).await;
        outcome = Some(*ended.as_ref().unwrap_or(&Outcome::Failed));
        ended.map(drop)
    };
    let code = service_runtime::run_once(&SERVICE, args, HubConfig::read, command);
    match outcome {
        None | Some(Outcome::Complete) => code,
        Some(Outcome::Incomplete) => ExitCode::from(1),
        Some(Outcome::Failed) => ExitCode::from(2),
    }
}
