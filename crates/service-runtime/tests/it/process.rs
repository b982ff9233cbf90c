//! The example program as a child process, and its log as JSON.

use std::{
    io::{BufRead, BufReader, Read as _, Write as _},
    path::PathBuf,
    process::{Child, ChildStderr, Command, Output, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Long enough for any machine: a process that has not ended by then is killed, and what waits for its log fails.
const FAILSAFE: Duration = Duration::from_secs(60);

/// A running child; killed when dropped, so that a failed test leaves nothing behind.
pub(crate) struct Process {
    child: Child,
    log: BufReader<ChildStderr>,
    /// Every event read so far.
    events: Vec<Value>,
    /// Its end tells the watchdog that it is no longer needed.
    _watched: mpsc::Sender<()>,
}

/// The example's path: cargo builds examples before it runs the tests of a package.
fn program() -> PathBuf {
    let mut path = std::env::current_exe().unwrap();
    path.pop();
    path.pop();
    path.join("examples").join("process")
}

pub(crate) fn command(env: &[(&str, &str)]) -> Command {
    let mut command = Command::new(program());
    command
        .env("DEMO__ADMIN__LISTEN", "127.0.0.1:0")
        .env("DEMO__RUNTIME__WORKER_THREADS", "2")
        .envs(env.iter().copied());
    command
}

/// Runs it to its end.
pub(crate) fn run_to_end(args: &[&str], env: &[(&str, &str)]) -> Output {
    command(env).args(args).stdin(Stdio::null()).output().unwrap()
}

/// The lines of a log, each of which must be a JSON object.
pub(crate) fn events(log: &[u8]) -> Vec<Value> {
    String::from_utf8(log.to_vec()).unwrap().lines().map(parse_event).collect()
}

fn parse_event(line: &str) -> Value {
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in log line {line:?}"))
}

impl Process {
    pub(crate) fn start(env: &[(&str, &str)]) -> Self {
        let mut child = command(env).stdin(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let log = BufReader::new(child.stderr.take().unwrap());
        Self { log, events: Vec::new(), _watched: watch(Pid::from_child(&child)), child }
    }

    /// Reads the log up to the event with this message.
    pub(crate) fn wait_for(&mut self, message: &str) -> Value {
        loop {
            let mut line = String::new();
            let read = self.log.read_line(&mut line).unwrap();
            assert!(read > 0, "the log ended without {message:?}: {:?}", self.events);
            let event = parse_event(&line);
            self.events.push(event.clone());
            if event["message"] == message {
                return event;
            }
        }
    }

    /// The URL of the admin server, which the log tells.
    pub(crate) fn admin_url(&mut self) -> String {
        let event = self.wait_for("admin server listens");
        format!("http://{}", event["address"].as_str().unwrap())
    }

    pub(crate) fn signal(&self, signal: Signal) {
        let pid = Pid::from_child(&self.child);
        kill_process(pid, signal).unwrap();
    }

    /// Lets a draining process go on.
    pub(crate) fn release(&mut self) {
        self.child.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
    }

    /// Waits for the end: exit code and every event.
    pub(crate) fn end(mut self) -> (Option<i32>, Vec<Value>) {
        let mut rest = Vec::new();
        self.log.read_to_end(&mut rest).unwrap();
        let mut all = std::mem::take(&mut self.events);
        all.extend(events(&rest));
        (self.child.wait().unwrap().code(), all)
    }
}

/// Kills the process after the failsafe time, unless the returned handle was dropped before.
fn watch(pid: Pid) -> mpsc::Sender<()> {
    let (watched, ended) = mpsc::channel();
    std::thread::spawn(move || {
        if ended.recv_timeout(FAILSAFE) == Err(mpsc::RecvTimeoutError::Timeout) {
            // Fails when it has just ended by itself.
            let _ = kill_process(pid, Signal::KILL);
        }
    });
    watched
}

impl Drop for Process {
    fn drop(&mut self) {
        // Fails when it has already ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
