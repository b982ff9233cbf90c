//! One server of a stack, and the faults a test can put it through.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::Signal;

use crate::process::{Mode, Process};
use crate::question::Question;
use crate::{Error, Part, Result};

/// How long a server may take to its first answer. Quiet machines need two seconds; outliers of 24 s were seen.
const START_PATIENCE: Duration = Duration::from_secs(90);
/// How long a server may take to stop before it is killed.
const STOP_PATIENCE: Duration = Duration::from_secs(20);
/// How long one question may take. A frozen server takes all of it.
const ANSWER_PATIENCE: Duration = Duration::from_secs(2);
/// The pause between two questions.
const PAUSE: Duration = Duration::from_millis(50);
/// How long the threads of a server may take to stop once they are told to.
const FREEZE_PATIENCE: Duration = Duration::from_secs(10);
/// How often a server that ends at once is started again on other ports.
const ATTEMPTS: usize = 3;
/// How much of a log an error shows.
const TAIL_LINES: usize = 25;

/// A server. Clones are handles of the same one.
///
/// The methods block until the server is in the new state: seconds. In an async test call them through
/// `tokio::task::spawn_blocking`; a handle may be cloned into it.
#[derive(Debug, Clone)]
pub struct Server(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    part: Part,
    question: Question,
    /// None when the user named the server.
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    launch: Launch,
    process: Mutex<Option<Process>>,
}

/// All it takes to start a server, again and again.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    pub(crate) mode: Mode,
    /// The program and its arguments.
    pub(crate) command: Vec<OsString>,
    /// Where everything that the server prints is appended.
    pub(crate) log: PathBuf,
}

/// Starts a server that is of no stack, and returns when it answers.
pub(crate) fn spawn_to_answer(
    name: &str,
    command: &[OsString],
    log: &Path,
    question: &Question,
) -> Result<Process> {
    let process = Process::spawn(Mode::Exec, command, log)?;
    let start = Instant::now();
    while let Err(answer) = question.ask(ANSWER_PATIENCE) {
        let ended = process.wait(PAUSE).map(|status| status.to_string());
        if ended.is_some() || start.elapsed() > START_PATIENCE {
            let (status, tail) = (ended.unwrap_or(answer), tail(log, TAIL_LINES));
            return Err(Error::Command { what: format!("start {name}"), status, tail });
        }
    }
    Ok(process)
}

impl Server {
    /// A server that the user named.
    pub(crate) fn given(part: Part, address: String, question: Question) -> Result<Self> {
        question.ask(ANSWER_PATIENCE * 5).map_err(|answer| Error::Given {
            part,
            variable: part.variable(),
            address,
            answer,
        })?;
        Ok(Self(Arc::new(Inner { part, question, own: None })))
    }

    /// Starts a new server; `setup` prepares its files, each time on other ports, and gives what is made of them
    /// beside the server.
    pub(crate) fn bring_up<T>(
        part: Part,
        mut setup: impl FnMut() -> Result<(Launch, Question, T)>,
    ) -> Result<(Self, T)> {
        let mut attempt = 1;
        loop {
            let (launch, question, made) = setup()?;
            let own = Own { launch, process: Mutex::new(None) };
            let server = Self(Arc::new(Inner { part, question, own: Some(own) }));
            match server.start() {
                Ok(()) => return Ok((server, made)),
                Err(error) if error.is_early_end() && attempt < ATTEMPTS => attempt += 1,
                Err(error) => return Err(error),
            }
        }
    }

    /// Which one it is.
    pub fn part(&self) -> Part {
        self.0.part
    }

    /// Starts the server on the ports and the data it had, and waits until it answers. Nothing happens when it runs.
    pub fn start(&self) -> Result<()> {
        let own = self.own("start")?;
        let mut process = own.process.lock().unwrap_or_else(PoisonError::into_inner);
        if process.as_ref().is_some_and(|process| process.wait(Duration::ZERO).is_none()) {
            return Ok(());
        }
        let started = Process::spawn(own.launch.mode, &own.launch.command, &own.launch.log)?;
        self.wait_until_ready(&started, &own.launch.log)?;
        *process = Some(started);
        Ok(())
    }

    /// Stops the server in order (SIGTERM, after 20 s SIGKILL) and waits until it is gone.
    pub fn stop(&self) -> Result<()> {
        self.with_process("stop", |process| process.end(STOP_PATIENCE))
    }

    /// Kills the server (SIGKILL) and waits until it is gone.
    pub fn kill(&self) -> Result<()> {
        self.with_process("kill", Process::kill)
    }

    /// Freezes the server (SIGSTOP): its connections stay open and nothing is answered.
    pub fn freeze(&self) -> Result<()> {
        self.with_process("freeze", |process| {
            process.signal(Signal::STOP);
            // The signal stops each thread when that comes to look at it, which a busy machine makes wait.
            let start = Instant::now();
            while has_running_thread(process.pid()) && start.elapsed() < FREEZE_PATIENCE {
                if process.wait(PAUSE).is_some() {
                    break;
                }
            }
        })
    }

    /// Lets a frozen server go on.
    pub fn thaw(&self) -> Result<()> {
        self.with_process("thaw", |process| process.signal(Signal::CONT))
    }

    /// Asks the server the question whose answer means that it is ready, for at most two seconds.
    pub fn is_ready(&self) -> bool {
        self.0.question.ask(ANSWER_PATIENCE).is_ok()
    }

    /// The process id, while a server of ours runs.
    pub fn pid(&self) -> Option<i32> {
        let process = self.0.own.as_ref()?.process.lock().unwrap_or_else(PoisonError::into_inner);
        process.as_ref().filter(|process| process.wait(Duration::ZERO).is_none()).map(Process::pid)
    }

    /// The file that takes what a server of ours prints.
    pub fn log(&self) -> Option<&Path> {
        self.0.own.as_ref().map(|own| own.launch.log.as_path())
    }

    fn own(&self, verb: &'static str) -> Result<&Own> {
        self.0.own.as_ref().ok_or(Error::NotOurs { part: self.0.part, verb })
    }

    fn with_process(&self, verb: &'static str, act: impl FnOnce(&Process)) -> Result<()> {
        let process = self.own(verb)?.process.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(process) = &*process {
            act(process);
        }
        Ok(())
    }

    fn wait_until_ready(&self, process: &Process, log: &Path) -> Result<()> {
        let part = self.0.part;
        let start = Instant::now();
        loop {
            let answer = self.0.question.ask(ANSWER_PATIENCE);
            // An answer counts only while our process lives: it could be another server's, on a port ours did not get.
            if let Some(status) = process.wait(if answer.is_ok() { Duration::ZERO } else { PAUSE }) {
                let status = status.to_string();
                return Err(Error::Ended {
                    part,
                    status,
                    log: log.to_path_buf(),
                    tail: tail(log, TAIL_LINES),
                });
            }
            let Err(answer) = answer else { return Ok(()) };
            if start.elapsed() > START_PATIENCE {
                let (log, tail) = (log.to_path_buf(), tail(log, TAIL_LINES));
                return Err(Error::Silent { part, seconds: START_PATIENCE.as_secs(), answer, log, tail });
            }
        }
    }
}

/// The last `lines` lines of a log, or nothing when there is none.
pub fn tail(log: &Path, lines: usize) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.trim_end().lines().rev().take(lines).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join("\n")
}

/// Whether some thread of a process is not stopped.
fn has_running_thread(pid: i32) -> bool {
    let Ok(threads) = std::fs::read_dir(format!("/proc/{pid}/task")) else { return false };
    // The state is the first field behind the name, which is in brackets and may hold anything.
    let is_stopped = |stat: String| stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with('T'));
    threads
        .filter_map(|thread| std::fs::read_to_string(thread.ok()?.path().join("stat")).ok())
        .any(|stat| !is_stopped(stat))
}
