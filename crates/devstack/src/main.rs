//! `devstack`: real servers on loopback, from the command line.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

use clap::{Parser, Subcommand};
use devstack::supervisor::{self, Health, State};
use devstack::{Cache, Error, Part, Progress, Result, StackOptions};

/// Real Kafka, ClickHouse and Mimir on loopback, fetched once and pinned.
#[derive(Debug, Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Start the servers, wait until they answer, and print their addresses as KEY=value.
    Up {
        #[command(flatten)]
        place: Place,
        /// Start only these (default: all).
        #[arg(long = "part", value_enum)]
        parts: Vec<Part>,
        /// Stay until SIGINT or SIGTERM instead of leaving a supervisor behind.
        #[arg(long)]
        foreground: bool,
        /// With --foreground: keep data and logs in a temporary folder that goes with the servers.
        #[arg(long, requires = "foreground", conflicts_with = "folder")]
        temporary: bool,
        /// Leave the terminal's session; `up` starts its supervisor with it.
        #[arg(long, hide = true)]
        detached: bool,
    },
    /// Stop the servers. Their data stays unless --purge is given.
    Down {
        #[command(flatten)]
        place: Place,
        /// Remove the folder with data and logs as well.
        #[arg(long)]
        purge: bool,
    },
    /// Ask every server a real question; fails unless all answer.
    Status {
        #[command(flatten)]
        place: Place,
    },
    /// Print the end of the servers' logs.
    Logs {
        /// Only this server's.
        part: Option<Part>,
        #[command(flatten)]
        place: Place,
        /// How many lines of each.
        #[arg(short = 'n', long, default_value_t = 50)]
        lines: usize,
    },
    /// Print the addresses as shell assignments: eval "$(devstack env)".
    Env {
        #[command(flatten)]
        place: Place,
    },
    /// Print the path of promtool, which checks and tests rules; it is built first when it is not in the cache.
    Promtool,
    /// Print the paths of what charts are rendered and judged with, as KEY=value; built first when it is not in the cache.
    ChartTools,
    /// Fetch or build what the servers need into the cache.
    Fetch {
        /// Fetch only these (default: all).
        #[arg(long = "part", value_enum)]
        parts: Vec<Part>,
        /// Also build what only tests need: a Kubernetes API, a Prometheus, and what charts are judged with.
        #[arg(long)]
        for_tests: bool,
        /// Verify the checksums of what is in the cache already.
        #[arg(long)]
        verify: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Place {
    /// Where data, logs and state are kept (default: $XDG_STATE_HOME/eventline/devstack or below ~/.local/state).
    #[arg(long = "dir")]
    folder: Option<PathBuf>,
}

fn main() -> ExitCode {
    match run(Arguments::parse().command) {
        Ok(code) => code,
        Err(error) => {
            complain(&error);
            ExitCode::FAILURE
        }
    }
}

fn run(what: What) -> Result<ExitCode> {
    match what {
        What::Up { place, parts, foreground: false, .. } => up(&place.folder(), &parts_or_all(parts))?,
        What::Up { place, parts, temporary, detached, .. } => {
            let folder = if temporary { None } else { Some(place.folder()) };
            stay_up(folder, parts_or_all(parts), detached)?;
        }
        What::Down { place, purge } => down(&place.folder(), purge)?,
        What::Status { place } => return Ok(status(&supervisor::state(&place.folder())?)),
        What::Logs { part, place, lines } => logs(&supervisor::state(&place.folder())?, part, lines),
        What::Env { place } => {
            for (name, value) in supervisor::state(&place.folder())?.endpoints.variables() {
                say(&format!("export {name}='{value}'"));
            }
        }
        What::Promtool => {
            say(&devstack::promtool(&Cache::from_env(), &Progress::detect())?.display().to_string());
        }
        What::ChartTools => {
            let tools = devstack::ChartTools::fetch(&Cache::from_env(), &Progress::detect())?;
            say(&format!("HELM={}", tools.helm.display()));
            say(&format!("KUBECONFORM={}", tools.kubeconform.display()));
            say(&format!("KUBERNETES_OPENAPI={}", tools.openapi.display()));
        }
        What::Fetch { parts, for_tests, verify } => {
            let work = if verify { devstack::verify } else { devstack::fetch };
            let (cache, progress) = (Cache::from_env(), Progress::detect());
            work(&parts_or_all(parts), &cache, &progress)?;
            if for_tests {
                // One after the other: each takes all cores.
                devstack::Prometheus::fetch(&cache, &progress)?;
                devstack::KubernetesApi::fetch(&cache, &progress)?;
                devstack::ChartTools::fetch(&cache, &progress)?;
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn up(folder: &Path, parts: &[Part]) -> Result<()> {
    // Here, and not in the supervisor: this is where someone watches.
    devstack::fetch(parts, &Cache::from_env(), &Progress::detect())?;
    let this =
        std::env::current_exe().map_err(|source| Error::Io { what: "find this program".into(), source })?;
    let mut command = Command::new(this);
    command.args(["up", "--foreground", "--detached", "--dir"]).arg(folder);
    for part in parts {
        command.args(["--part", part.as_str()]);
    }
    print_addresses(&supervisor::start(folder, command)?);
    Ok(())
}

fn stay_up(folder: Option<PathBuf>, parts: Vec<Part>, detached: bool) -> Result<()> {
    if detached {
        // It fails only for the leader of a process group, which then has what it wants already.
        let _ = rustix::process::setsid();
    }
    supervisor::supervise(StackOptions { parts, folder, ..StackOptions::default() }, print_addresses)
}

fn down(folder: &Path, purge: bool) -> Result<()> {
    if !supervisor::stop(folder)? {
        say(&format!("no stack is up in {}", folder.display()));
    }
    if purge && folder.exists() {
        std::fs::remove_dir_all(folder)
            .map_err(|source| Error::Io { what: format!("remove {}", folder.display()), source })?;
    }
    Ok(())
}

fn status(state: &State) -> ExitCode {
    let health = supervisor::ask(state);
    for Health { part, address, pid, resident_bytes, answer } in &health {
        let name = part.as_str();
        let pid = pid.map_or("not ours or gone".into(), |pid| format!("pid {pid}"));
        let memory = resident_bytes.map_or(String::new(), |bytes| format!("{} MiB", bytes >> 20));
        let answer = answer.as_ref().map_or_else(String::as_str, |()| "ready");
        say(&format!("{name:<11} {address:<27} {pid:<17} {memory:>8}  {answer}"));
    }
    if health.iter().all(|server| server.answer.is_ok()) { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn logs(state: &State, part: Option<Part>, lines: usize) {
    for server in state.servers.iter().filter(|server| part.is_none_or(|part| part == server.part)) {
        if let Some(log) = &server.log {
            say(&format!("==> {} <==", log.display()));
            say(&devstack::log_tail(log, lines));
        }
    }
}

fn print_addresses(state: &State) {
    for (name, value) in state.endpoints.variables() {
        say(&format!("{name}={value}"));
    }
    say(&format!("DEVSTACK_DIR={}", state.folder.display()));
}

fn parts_or_all(parts: Vec<Part>) -> Vec<Part> {
    if parts.is_empty() { Part::ALL.to_vec() } else { parts }
}

impl Place {
    fn folder(self) -> PathBuf {
        let state =
            || std::env::var_os("XDG_STATE_HOME").filter(|value| !value.is_empty()).map(PathBuf::from);
        let home = || std::env::home_dir().map(|home| home.join(".local/state"));
        let folder = self.folder.unwrap_or_else(|| {
            state().or_else(home).unwrap_or_else(std::env::temp_dir).join("eventline/devstack")
        });
        std::path::absolute(&folder).unwrap_or(folder)
    }
}

/// Servers must not end because nobody reads the answer any more, so a closed pipe is no error here.
fn say(text: &str) {
    let _ = writeln!(std::io::stdout(), "{text}");
}

#[allow(clippy::print_stderr, reason = "a command-line tool complains on standard error")]
fn complain(error: &dyn std::error::Error) {
    eprintln!("devstack: {error}");
    let mut cause = error.source();
    while let Some(error) = cause {
        eprintln!("  because: {error}");
        cause = error.source();
    }
}
