//! The stack and its command line, with real servers and real signals.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod cluster;
mod command_line;
mod disk;
mod faults;
mod given;
mod life;
mod services;

use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use devstack::supervisor::State;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// Long enough for anything on a busy machine; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// `devstack ARGS`, without the servers that this test run may have been given.
fn devstack(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_devstack"));
    command.args(args);
    for variable in ["KAFKA_BROKERS", "CLICKHOUSE_URL", "CLICKHOUSE_NATIVE", "MIMIR_URL"] {
        command.env_remove(variable);
    }
    command
}

/// A folder for a supervised stack, which a failing test does not leave running.
struct Place(tempfile::TempDir);

impl Place {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn path(&self) -> &Path {
        self.0.path()
    }

    fn as_str(&self) -> &str {
        self.path().to_str().unwrap()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        run(&mut devstack(&["down", "--dir", self.as_str()]));
    }
}

/// Runs a command to its end; what it printed as text.
fn run(command: &mut Command) -> (bool, String, String) {
    let Output { status, stdout, stderr } = command.output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// Something that is known when a process ends, also when its pid has become another's.
struct Watched(OwnedFd);

impl Watched {
    fn new(pid: i32) -> Self {
        Self(pidfd_open(Pid::from_raw(pid).unwrap(), PidfdFlags::empty()).unwrap())
    }

    /// Whether the process ends within `patience`.
    fn ends(&self, patience: Duration) -> bool {
        let patience = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: 0 };
        poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&patience)).unwrap() == 1
    }
}

/// All processes of a supervised stack: its servers.
fn servers_of(state: &State) -> Vec<Watched> {
    state.servers.iter().map(|server| Watched::new(server.process.unwrap().pid)).collect()
}

/// GET over HTTP: the status and the body.
fn get(url: &str) -> (u16, String) {
    request(|client| client.get(url))
}

/// POST over HTTP: the status and the body.
fn post(url: &str, body: &str) -> (u16, String) {
    request(|client| client.post(url).body(body.to_owned()))
}

fn request(make: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder) -> (u16, String) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().timeout(PATIENCE).build().unwrap();
        let response = make(&client).send().await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    })
}
