//! Errors, delays and deaths inside chosen system calls of a running process, by `strace`.
//!
//! The kernel's own state is not changed: this tries how the process takes an error, not how the kernel makes one.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use anyhow::{Context, Result, bail};
use devstack::{Cache, FaultTool};

/// What happens in the calls.
#[derive(Debug, Clone)]
pub struct Injection {
    /// System calls by name, separated by commas.
    pub calls: &'static str,
    /// What is done, in strace's words: `error=EIO`, `delay_enter=200000` (microseconds), `signal=KILL`.
    pub action: String,
    /// Which of a thread's calls, in strace's words: `1`, `3+`; every one when empty.
    pub when: String,
    /// Only calls that concern this path; all when there is none.
    pub path: Option<PathBuf>,
}

/// An attached strace; it lets go of the process when it is dropped.
#[derive(Debug)]
pub struct Attached {
    strace: Child,
    log: PathBuf,
}

impl Injection {
    /// Every call of `calls`.
    #[must_use]
    pub fn all(calls: &'static str, action: impl Into<String>) -> Self {
        Self { calls, action: action.into(), when: String::new(), path: None }
    }

    /// Attaches to all threads of `pid`, and returns when the next call will be met. The calls met go to `log`.
    ///
    /// # Errors
    /// strace is missing and cannot be installed, or may not attach.
    pub fn attach(&self, pid: u32, log: PathBuf) -> Result<Attached> {
        FaultTool::Strace.ensure(&Cache::from_env()).context("find strace")?;
        let Self { calls, action, when, path } = self;
        let when = if when.is_empty() { String::new() } else { format!(":when={when}") };
        let mut command = Command::new("strace");
        command.args(["-f", "-p", &pid.to_string(), "-e", &format!("trace={calls}")]);
        command.args(["-e", &format!("inject={calls}:{action}{when}"), "-o"]).arg(&log);
        if let Some(path) = path {
            command.arg("-P").arg(path);
        }
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut strace = command.spawn().context("start strace")?;
        let errors = strace.stderr.take().context("its errors are piped")?;
        let mut attached = Attached { strace, log };
        let mut lines = BufReader::new(errors).lines();
        let first = lines.next().transpose().context("read what strace says")?.unwrap_or_default();
        if !first.contains("attached") {
            bail!("strace does not attach: {first}");
        }
        // Its pipe must not fill up, and ends with it.
        std::thread::spawn(move || lines.for_each(drop));
        if attached.strace.try_wait().context("ask for strace's state")?.is_some() {
            bail!("strace has ended: {first}");
        }
        Ok(attached)
    }
}

impl Attached {
    /// The calls it has met, one a line.
    #[must_use]
    pub fn met(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How many calls were tampered with.
    #[must_use]
    pub fn injected(&self) -> usize {
        ["INJECTED", "DELAYED"].iter().map(|mark| self.met().matches(mark).count()).sum()
    }
}

impl Drop for Attached {
    fn drop(&mut self) {
        // SIGTERM makes it let go; it may have ended with the process.
        let pid = self.strace.id().to_string();
        let _ = Command::new("kill").args(["-s", "TERM", &pid]).stderr(Stdio::null()).status();
        let _ = self.strace.wait();
    }
}
