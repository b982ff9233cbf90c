//! `edge-forwarder`: receives OTLP and publishes it to Kafka. All of it is in the library; this file only starts it.

use std::process::ExitCode;

use clap::Parser;
use edge_forwarder::{App, Config, SERVICE};
use service_runtime::{RunArgs, Runtime, run};

/// Receives OTLP over gRPC and HTTP and publishes it to Kafka.
#[derive(Debug, Parser)]
#[command(name = SERVICE.name, version = SERVICE.version)]
struct Arguments {
    #[command(flatten)]
    run: RunArgs,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    run(&SERVICE, &arguments.run, Config::read, async |config: Config, runtime: Runtime| {
        App::build(config, runtime).await?.run().await
    })
}
