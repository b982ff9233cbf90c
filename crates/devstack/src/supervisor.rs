//! A stack that outlives the command that started it: `devstack up` leaves a supervisor behind, which owns the servers.
//!
//! There is one rule for the life of a server, with and without a supervisor: it ends with the process that started it.
//! So `down` ends the supervisor, and whatever ends the supervisor ends the servers.
//!
//! `FOLDER/state.json` appears when every server has answered, and names each process by pid and start time, so that
//! nothing is ever sent to a process that merely got an old pid.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::question::Question;
use crate::{Endpoints, Error, Part, Result, Stack, StackOptions, process, server};

/// How long a supervisor may take to stop its servers before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(60);
/// How often the starting command looks whether the servers are up.
const LOOK: Duration = Duration::from_millis(50);
/// How long `status` waits for one answer.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);

/// What a supervisor writes about itself.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct State {
    /// The supervisor.
    pub supervisor: ProcessName,
    /// Where data, logs and this state are.
    pub folder: PathBuf,
    /// Where the servers are reached.
    pub endpoints: Endpoints,
    /// Every server, also those that the user named.
    pub servers: Vec<ServerState>,
}

/// A process, for ever: a pid is used again, a pid with its start time is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct ProcessName {
    /// Process id.
    pub pid: i32,
    /// Start time in clock ticks since boot.
    pub start_time: u64,
}

/// One server of a supervised stack.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct ServerState {
    /// Which one.
    pub part: Part,
    /// Its process; none for a server that the user named.
    pub process: Option<ProcessName>,
    /// Its log; none for a server that the user named.
    pub log: Option<PathBuf>,
}

/// What a server is found to do.
#[derive(Debug, Clone)]
pub struct Health {
    /// Which one.
    pub part: Part,
    /// Where it is reached.
    pub address: String,
    /// Its process id, while it runs.
    pub pid: Option<i32>,
    /// Memory that it keeps resident, in bytes.
    pub resident_bytes: Option<u64>,
    /// The error is what came instead of the right answer.
    pub answer: std::result::Result<(), String>,
}

/// Starts a supervisor with `command`, which must come to [`supervise`] for the same folder, and waits until its servers
/// are up.
pub fn start(folder: &Path, mut command: Command) -> Result<State> {
    std::fs::create_dir_all(folder).map_err(Error::io(format!("create {}", folder.display())))?;
    if let Some(state) = running(folder)? {
        return Err(Error::AlreadyUp { folder: folder.to_path_buf(), pid: Some(state.supervisor.pid) });
    }
    let log = folder.join("supervisor.log");
    let out = File::create(&log).map_err(Error::io(format!("create {}", log.display())))?;
    let err = out.try_clone().map_err(Error::io(format!("create {}", log.display())))?;
    command.stdin(Stdio::null()).stdout(out).stderr(err);
    let mut child = command.spawn().map_err(Error::io("start the supervisor"))?;
    let pid = child.id();
    let (ended, end) = channel();
    std::thread::spawn(move || {
        // The receiver is gone once the servers are up; the supervisor then lives on without us.
        let _ = ended.send(child.wait());
    });
    loop {
        match end.recv_timeout(LOOK) {
            Err(RecvTimeoutError::Timeout) => {}
            outcome => {
                let status = outcome.ok().and_then(|status| status.ok());
                return Err(Error::Command {
                    what: "start the servers".into(),
                    status: status.map_or("unknown".into(), |status| status.to_string()),
                    tail: server::tail(&log, 40),
                });
            }
        }
        if let Some(state) = read(folder)?.filter(|state| i64::from(state.supervisor.pid) == i64::from(pid)) {
            return Ok(state);
        }
    }
}

/// Runs a stack until SIGTERM or SIGINT; `up` is called when the servers answer.
pub fn supervise(options: StackOptions, up: impl FnOnce(&State)) -> Result<()> {
    // The signals are caught before anything starts, so that one that comes early is not lost.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(Error::io("make a runtime"))?;
    let (mut terminate, mut interrupt) = runtime
        .block_on(async {
            use tokio::signal::unix::{SignalKind, signal};
            Ok((signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?))
        })
        .map_err(Error::io("catch signals"))?;

    let stack = Stack::up(options)?;
    let state = State {
        supervisor: ProcessName::of(std::process::id().cast_signed()).ok_or_else(no_start_time)?,
        folder: stack.folder().to_path_buf(),
        endpoints: stack.endpoints().clone(),
        servers: stack.servers().iter().map(ServerState::of).collect(),
    };
    write(stack.folder(), &state)?;
    up(&state);
    runtime.block_on(async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    });
    let file = state_file(stack.folder());
    drop(stack);
    match std::fs::remove_file(&file) {
        // A temporary folder is gone as a whole.
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { what: format!("remove {}", file.display()), source })
        }
        _ => Ok(()),
    }
}

/// The state of the stack that runs in `folder`.
///
/// # Errors
/// [`Error::NotUp`] when none does.
pub fn state(folder: &Path) -> Result<State> {
    running(folder)?.ok_or_else(|| Error::NotUp { folder: folder.to_path_buf() })
}

/// Ends the stack that runs in `folder`, and waits until all of it is gone. False when none ran.
pub fn stop(folder: &Path) -> Result<bool> {
    let Some(state) = running(folder)? else { return Ok(false) };
    for process in state.servers.iter().filter_map(|server| server.process) {
        // A frozen server could not stop in order.
        process.signal(Signal::CONT);
    }
    if !state.supervisor.end(Signal::TERM, STOP_PATIENCE) {
        state.supervisor.end(Signal::KILL, STOP_PATIENCE);
    }
    for process in state.servers.iter().filter_map(|server| server.process) {
        process.end(Signal::KILL, STOP_PATIENCE);
    }
    // The supervisor removes it, unless it had to be killed.
    let _ = std::fs::remove_file(state_file(folder));
    Ok(true)
}

/// Asks every server of a stack its question.
pub fn ask(state: &State) -> Vec<Health> {
    let ask = |server: &ServerState| Health {
        part: server.part,
        address: state.endpoints.address(server.part).to_owned(),
        pid: server.process.filter(ProcessName::is_alive).map(|process| process.pid),
        resident_bytes: server
            .process
            .filter(ProcessName::is_alive)
            .and_then(|process| process::resident_bytes(process.pid)),
        answer: Question::about(server.part, &state.endpoints).ask(ANSWER_PATIENCE),
    };
    state.servers.iter().map(ask).collect()
}

impl ProcessName {
    /// The process that has this pid now.
    pub fn of(pid: i32) -> Option<Self> {
        Some(Self { pid, start_time: process::start_time(pid)? })
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        process::start_time(self.pid) == Some(self.start_time)
    }

    fn signal(self, signal: Signal) {
        self.end(signal, Duration::ZERO);
    }

    /// Asks the process to end, if it is still this one; true when it is gone, within `patience`.
    pub fn stop(self, patience: Duration) -> bool {
        self.end(Signal::TERM, patience)
    }

    /// Sends `signal` if the process is still this one; true when it is gone, within `patience`.
    fn end(self, signal: Signal, patience: Duration) -> bool {
        let Some(pid) = Pid::from_raw(self.pid) else { return true };
        // The handle first, then the look whether it is the right process: then nothing can come between.
        let Ok(handle) = pidfd_open(pid, PidfdFlags::empty()) else { return true };
        if !self.is_alive() || pidfd_send_signal(&handle, signal).is_err() {
            return true;
        }
        let patience = Timespec { tv_sec: patience.as_secs().cast_signed(), tv_nsec: 0 };
        poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&patience)).is_ok_and(|ended| ended > 0)
    }
}

impl ServerState {
    fn of(server: &crate::Server) -> Self {
        Self {
            part: server.part(),
            process: server.pid().and_then(ProcessName::of),
            log: server.log().map(Path::to_path_buf),
        }
    }
}

fn running(folder: &Path) -> Result<Option<State>> {
    Ok(read(folder)?.filter(|state| state.supervisor.is_alive()))
}

fn read(folder: &Path) -> Result<Option<State>> {
    let file = state_file(folder);
    let text = match std::fs::read(&file) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        Err(source) => return Err(Error::Io { what: format!("read {}", file.display()), source }),
    };
    serde_json::from_slice(&text).map(Some).map_err(|source| Error::State { file, source })
}

/// Whole or not at all: whoever waits for the file reads it the moment it appears.
fn write(folder: &Path, state: &State) -> Result<()> {
    let (file, draft) = (state_file(folder), folder.join("state.json.draft"));
    let what = || format!("write {}", file.display());
    let text =
        serde_json::to_vec_pretty(state).map_err(|error| Error::Io { what: what(), source: error.into() })?;
    let mut draft_file = File::create(&draft).map_err(Error::io(what()))?;
    draft_file.write_all(&text).map_err(Error::io(what()))?;
    std::fs::rename(&draft, &file).map_err(Error::io(what()))
}

fn state_file(folder: &Path) -> PathBuf {
    folder.join("state.json")
}

fn no_start_time() -> Error {
    let source = std::io::Error::other("/proc does not say when this process started");
    Error::Io { what: "name this process".into(), source }
}
