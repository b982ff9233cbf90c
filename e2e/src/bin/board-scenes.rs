//! `make test-dashboards`: plays every scene, measures every panel of every board in it, and holds what moved to the list of what
//! has to move.
#![allow(clippy::print_stdout, reason = "it speaks to a person at a terminal")]

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use devstack::{Part, Stack, StackOptions};
use e2e::boards::scenes::{Scene, play};
use e2e::boards::{environment, node};

/// Scenes of dashboards, on real servers.
#[derive(Debug, Parser)]
struct Arguments {
    /// Only these scenes; what was measured of others is kept from an earlier run
    #[arg(value_enum)]
    scenes: Vec<Scene>,
    /// Where what is measured goes, a file for each scene
    #[arg(long, default_value = "target/board-scenes")]
    out: PathBuf,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("\nthe scenes failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    std::fs::create_dir_all(&arguments.out).context("make the folder of what is measured")?;
    let out = arguments.out.canonicalize().context("find the folder of what is measured")?;
    let stack = Stack::up(StackOptions::own(&Part::ALL)).context("start the servers")?;
    // One thread: the programs end with the thread that started them.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("build the runtime")?;
    let scenes = if arguments.scenes.is_empty() { &Scene::ALL[..] } else { &arguments.scenes };
    runtime.block_on(async {
        for scene in scenes {
            let started = Instant::now();
            measure(&stack, *scene, &out).await.with_context(|| format!("scene {}", scene.name()))?;
            println!("{:<24}{:>6.0} s", scene.name(), started.elapsed().as_secs_f64());
        }
        let env = [("BOARDS_SCENES", out.display().to_string())];
        let printed = node(&["--test", "test/scenes.test.ts"], &env).await?;
        println!("{printed}");
        Ok(())
    })
}

/// Plays a scene and writes what boards show of it.
async fn measure(stack: &Stack, scene: Scene, out: &Path) -> Result<()> {
    let directory = tempfile::tempdir().context("make a folder")?;
    let (line, facts) = play(stack, scene, directory.path()).await?;
    let file = directory.path().join("facts.json");
    let text = serde_json::to_vec(&facts).context("write the facts")?;
    std::fs::write(&file, text).context("write the facts")?;
    let env = environment(stack.endpoints(), line.clickhouse().database(), &file);
    let measured = node(&["test/measure.ts"], &env).await?;
    std::fs::write(out.join(format!("{}.json", scene.name())), measured).context("write what was measured")
}
