//! A process whose behaviour is chosen by configuration: the tests run it to see how `service_runtime::run` starts and ends one.
//!
//! ```text
//! DEMO__BEHAVIOUR=fail cargo run -p service-runtime --example process; echo $?
//! ```

use std::{io, process::ExitCode};

use clap::Parser;
use service_runtime::{RunArgs, Runtime, Section, Service, Setting, run, run_once, settings::choice};

const SERVICE: Service = Service { name: "process", env_prefix: "DEMO", version: env!("CARGO_PKG_VERSION") };

/// Runs until told to end, or does not.
#[derive(Debug, Parser)]
struct Args {
    /// Without an admin server.
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    run: RunArgs,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Behaviour {
    /// Returns at once.
    Leave,
    /// Returns an error at once.
    Fail,
    /// Panics.
    Panic,
    /// Spawns a task that panics, and waits for the shutdown.
    PanicInTask,
    /// Waits for the shutdown, then for a line on standard input while a task named `publisher` is still in hand.
    Drain,
}

const BEHAVIOURS: [(&str, Behaviour); 5] = [
    ("leave", Behaviour::Leave),
    ("fail", Behaviour::Fail),
    ("panic", Behaviour::Panic),
    ("panic-in-task", Behaviour::PanicInTask),
    ("drain", Behaviour::Drain),
];

impl Setting for Behaviour {
    fn expected() -> String {
        "`leave`, `fail`, `panic`, `panic-in-task` or `drain`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        choice(text, &BEHAVIOURS)
    }

    fn to_text(&self) -> String {
        BEHAVIOURS.iter().find(|(_, it)| it == self).map(|(name, _)| (*name).to_owned()).unwrap_or_default()
    }
}

fn main() -> ExitCode {
    let args = Args::parse();
    let start = if args.once { run_once } else { run };
    start(&SERVICE, &args.run, read, app)
}

fn read(root: &mut Section<'_>) -> Behaviour {
    root.value("behaviour", Behaviour::Drain, "How the process behaves.")
}

async fn app(behaviour: Behaviour, runtime: Runtime) -> anyhow::Result<()> {
    match behaviour {
        Behaviour::Leave => return Ok(()),
        Behaviour::Fail => return Err(anyhow::anyhow!("no route to host").context("connect to the broker")),
        Behaviour::Panic => panic!("the app gives up"),
        Behaviour::PanicInTask => {
            runtime.spawn("receiver", async { panic!("the task gives up") });
        }
        Behaviour::Drain => {
            let shutdown = runtime.shutdown();
            runtime.spawn("publisher", async move {
                shutdown.cancelled().await;
                let line = tokio::task::spawn_blocking(|| io::stdin().read_line(&mut String::new())).await;
                tracing::info!(ended = line.is_ok(), "publisher drained");
            });
        }
    }
    runtime.shutdown().cancelled().await;
    Ok(())
}
