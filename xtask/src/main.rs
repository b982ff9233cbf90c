//! Project automation: `cargo xtask demo|test|test-faults|test-dashboards|drill|drill-incident|dashboards|boards|charts|check|tidy|bench`.
//!
//! CI and people run the same commands; each one does all of its own set-up.
#![allow(clippy::print_stderr, reason = "a command-line tool reports on the terminal")]

mod boards;
mod charts;
mod grafana;
mod prerequisites;
mod steps;
mod tidy;

use std::process::ExitCode;

use anyhow::{Result, bail};

use crate::prerequisites::Scope;
use crate::steps::Steps;

const USAGE: &str = "\
usage: cargo xtask COMMAND
  demo [--keep]   build everything, start the real servers, drive menu traffic, compare acked with stored
  down            end what `demo --keep` left running
  test            all checks and all tests, on servers that it starts and ends
  test-faults [ROW...]
                  every fault of the catalogue, again and again; writes docs/faults.md
  test-dashboards [SCENE...]
                  scenes of dashboards on real servers: what has to move does, and nothing else
  drill           trouble and what an operator does about it; writes docs/drill.md
  drill-incident  charged orders that never reach a restaurant, and who is paged; writes docs/incident-drill.md
  boards          take the pictures of docs/img from the demo that is kept
  grafana         run a real Grafana in Docker on the demo that is kept
  charts [--write]
                  render every environment of deploy/ and judge it; --write makes the charts' READMEs and schemas anew
  dashboards      write dashboards/, its rules and docs/metrics.md from boards/src
  check           tidy, format, clippy, documentation, and that generated files are what is generated
  tidy            the rules about the source tree that no other tool knows
  bench [FILTER]  criterion benches, the spool beside its disk, the whole line, an outage
";

fn main() -> ExitCode {
    match dispatch(&std::env::args().skip(1).collect::<Vec<_>>()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn dispatch(args: &[String]) -> Result<()> {
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let mut steps = Steps::new()?;
    match args.as_slice() {
        ["demo", options @ ..] => demo(&mut steps, options),
        ["down"] => steps.run("end what was kept", "target/release/demo", &["--down"]),
        ["test"] => test(&mut steps),
        ["test-faults", rows @ ..] => test_faults(&mut steps, rows),
        ["test-dashboards", scenes @ ..] => test_dashboards(&mut steps, scenes),
        ["drill"] => drill(&mut steps),
        ["drill-incident"] => drill_incident(&mut steps),
        ["dashboards"] => {
            boards::install(&mut steps)?;
            boards::generate(&mut steps)
        }
        ["boards"] => boards::pictures(&mut steps),
        ["grafana"] => grafana::run(&mut steps),
        ["charts"] => {
            prerequisites::ensure(Scope::Programs)?;
            charts::check(&mut steps)
        }
        ["charts", "--write"] => charts::write(&steps),
        ["check"] => {
            prerequisites::ensure(Scope::Programs)?;
            check(&mut steps)
        }
        ["tidy"] => tidy::check(steps.root()),
        ["bench", filter @ ..] => bench(&mut steps, filter),
        _ => bail!("unknown command\n{USAGE}"),
    }
}

/// Builds the programs while the servers are fetched, then hands over to the demo.
fn demo(steps: &mut Steps, options: &[&str]) -> Result<()> {
    prerequisites::ensure(Scope::Programs)?;
    steps.cargo("build the server launcher", &["build", "--release", "-p", "devstack"])?;
    let fetch = steps.spawn("target/release/devstack", &["fetch"])?;
    steps.cargo(
        "build the programs",
        &["build", "--release", "--bins", "--workspace", "--exclude", "xtask"],
    )?;
    if options.contains(&"--keep") {
        prepare_boards(steps);
    }
    steps.wait("fetch the servers", fetch)?;
    steps.run("demo", "target/release/demo", options)
}

/// Boards can be looked at while the demo is kept. Without npm, or when its packages cannot be had, the rest goes on.
fn prepare_boards(steps: &mut Steps) {
    let prepared = boards::install(steps)
        .and_then(|()| boards::npm(steps, "bundle boards", &["run", "--silent", "bundle"]));
    if let Err(error) = prepared {
        eprintln!("boards are not shown: {error:#}");
    }
}

/// Everything CI asks for. One set of servers is started for all tests of the run.
fn test(steps: &mut Steps) -> Result<()> {
    prerequisites::ensure(Scope::Tests)?;
    steps.cargo("build the server launcher", &["build", "-p", "devstack"])?;
    let fetch = steps.spawn("target/debug/devstack", &["fetch", "--for-tests"])?;
    check(steps)?;
    steps.cargo("build the tests", &["test", "--workspace", "--no-run"])?;
    steps.wait("fetch the servers", fetch)?;
    let boards = boards::test(steps);
    let stack = steps.stack("target/debug")?;
    let outcome = steps.cargo_with(stack.env(), "test", &["test", "--workspace", "--no-fail-fast"]);
    stack.down(steps)?;
    boards.and(outcome)?;
    steps.report();
    Ok(())
}

/// The campaign starts servers of its own: it kills them.
fn test_faults(steps: &mut Steps, rows: &[&str]) -> Result<()> {
    prerequisites::ensure(Scope::Programs)?;
    steps.cargo("build the programs", &["build", "--bins", "--workspace", "--exclude", "xtask"])?;
    steps.run("fetch the servers", "target/debug/devstack", &["fetch"])?;
    let args = [&["--page", "docs/faults.md"], rows].concat();
    steps.run("faults", "target/debug/fault-campaign", &args)
}

/// On servers of its own: it stops one of them, and has Mimir evaluate rules.
fn test_dashboards(steps: &mut Steps, scenes: &[&str]) -> Result<()> {
    prerequisites::ensure(Scope::Programs)?;
    boards::install(steps)?;
    steps.cargo("build the programs", &["build", "--bins", "--workspace", "--exclude", "xtask"])?;
    steps.run("fetch the servers", "target/debug/devstack", &["fetch"])?;
    steps.run("scenes of dashboards", "target/debug/board-scenes", scenes)
}

/// On servers of its own: it stops one of them.
fn drill(steps: &mut Steps) -> Result<()> {
    prerequisites::ensure(Scope::Programs)?;
    steps.cargo("build the programs", &["build", "--bins", "--workspace", "--exclude", "xtask"])?;
    steps.run("fetch the servers", "target/debug/devstack", &["fetch"])?;
    steps.run("drill", "target/debug/drill", &["--page", "docs/drill.md"])
}

/// On servers of its own: nothing else may page.
fn drill_incident(steps: &mut Steps) -> Result<()> {
    prerequisites::ensure(Scope::Programs)?;
    steps.cargo("build the programs", &["build", "--bins", "--workspace", "--exclude", "xtask"])?;
    steps.run("fetch the servers", "target/debug/devstack", &["fetch"])?;
    steps.run("drill", "target/debug/incident-drill", &["--page", "docs/incident-drill.md"])
}

fn check(steps: &mut Steps) -> Result<()> {
    steps.timed("tidy", |steps| tidy::check(steps.root()))?;
    steps.cargo("format", &["fmt", "--all", "--check"])?;
    steps.cargo("clippy", &["clippy", "--workspace", "--all-targets", "--", "-D", "warnings"])?;
    steps.cargo_with(
        vec![("RUSTDOCFLAGS".into(), "-D warnings".into())],
        "documentation",
        &["doc", "--workspace", "--no-deps", "--document-private-items"],
    )?;
    boards::install(steps)?;
    boards::check(steps)?;
    charts::check(steps)
}

fn bench(steps: &mut Steps, filter: &[&str]) -> Result<()> {
    prerequisites::ensure(Scope::Programs)?;
    let mut criterion = vec!["bench", "-p", "telemetry-wire", "-p", "hub-consumer"];
    criterion.extend_from_slice(filter);
    steps.cargo("criterion", &criterion)?;
    steps.cargo("spool", &["bench", "-p", "disk-spool"])?;
    steps.cargo(
        "build the programs",
        &["build", "--release", "--bins", "--workspace", "--exclude", "xtask"],
    )?;
    steps.run("whole line", "target/release/line-bench", &[])?;
    steps.run("inserts", "target/release/store-bench", &[])?;
    steps.run("outage", "target/release/spool-bench", &[])?;
    steps.run("log files", "target/release/tail-bench", &[])
}
