//! hub-consumer: parses the command line, loads the configuration, builds, runs, exits.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use hub_consumer::{
    SERVICE, app,
    audit::{self, AuditArgs, Outcome},
    config::HubConfig,
};
use service_runtime::RunArgs;

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
    },
    /// Count that every committed record of logs and traces is stored or dead-lettered, once. Exits with 0 when all is, with
    /// 1 when records are missing or doubled, with 2 when that cannot be known.
    Audit(AuditArgs),
}

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(args) => service_runtime::run(&SERVICE, &args, HubConfig::read, app::run),
        Command::Migrate { args, dry_run } => {
            let migrate = async move |config, runtime| app::migrate(config, runtime, dry_run).await;
            service_runtime::run_once(&SERVICE, &args, HubConfig::read, migrate)
        }
        Command::Audit(args) => audit(&args),
    }
}

fn audit(args: &AuditArgs) -> ExitCode {
    let mut outcome = None;
    let audit = async |config, runtime| {
        let ended = audit::run(config, runtime, args).await;
        outcome = Some(*ended.as_ref().unwrap_or(&Outcome::Failed));
        ended.map(drop)
    };
    let code = service_runtime::run_once(&SERVICE, &args.run, HubConfig::read, audit);
    match outcome {
        None | Some(Outcome::Complete) => code,
        Some(Outcome::Incomplete) => ExitCode::from(1),
        Some(Outcome::Failed) => ExitCode::from(2),
    }
}
