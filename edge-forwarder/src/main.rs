//! `edge-forwarder`: receives OTLP and publishes it to Kafka. All of it is in the library; this file only starts it.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use edge_forwarder::{App, Config, SERVICE, SpoolCommand};
use service_runtime::{RunArgs, Runtime, run};

/// Receives OTLP over gRPC and HTTP and publishes it to Kafka.
#[derive(Debug, Parser)]
#[command(name = SERVICE.name, version = SERVICE.version_and_commit(), args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(flatten)]
    run: RunArgs,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Look at a spool's directory, and mend it, without the daemon
    #[command(subcommand)]
    Spool(SpoolCommand),
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::Spool(command)) => service_runtime::command(|| command.run()),
        None => run(&SERVICE, &arguments.run, Config::read, async |config: Config, runtime: Runtime| {
            App::build(config, runtime).await?.run().await
        }),
    }
}
