//! A server's process: started so that it cannot outlive us, ended by its pidfd so that no other can be hit.

use std::ffi::OsString;
use std::fs::File;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Sender, SyncSender, channel, sync_channel};
use std::sync::{Arc, Condvar, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal};

use crate::{Error, Result, launcher};

/// How the launcher turns itself into the server; see `devstack-launch`.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Mode {
    /// It becomes the program.
    Exec,
    /// It loads ClickHouse's library.
    Clickhouse,
}

/// A running or ended process that this one started.
#[derive(Debug)]
pub(crate) struct Process {
    pid: Pid,
    handle: OwnedFd,
    exit: Arc<Exit>,
}

#[derive(Debug, Default)]
struct Exit {
    status: Mutex<Option<ExitStatus>>,
    happened: Condvar,
}

impl Process {
    /// Starts `command` (the program first); what it prints is appended to `log`.
    pub(crate) fn spawn(mode: Mode, command: &[OsString], log: &Path) -> Result<Self> {
        let what = || format!("open {}", log.display());
        let out = File::options().create(true).append(true).open(log).map_err(Error::io(what()))?;
        let err = out.try_clone().map_err(Error::io(what()))?;
        let mut launch = Command::new(launcher::path()?);
        launch.arg(match mode {
            Mode::Exec => "exec",
            Mode::Clickhouse => "clickhouse",
        });
        launch.arg(std::process::id().to_string()).args(command);
        launch.stdin(Stdio::null()).stdout(out).stderr(err);
        // ClickHouse leaves a schema cache where it is started: in its own folder, then, and not in a user's tree.
        if let Some(folder) = log.parent() {
            launch.current_dir(folder);
        }
        // A group of its own: Ctrl-C at the terminal is for us, who then stop the servers in order.
        std::os::unix::process::CommandExt::process_group(&mut launch, 0);
        Self::watch(spawn_for_good(launch).map_err(Error::io("start devstack-launch"))?)
    }

    fn watch(mut child: Child) -> Result<Self> {
        let pid = Pid::from_child(&child);
        // Before anyone waits for the child its pid cannot be given to another process.
        let handle = pidfd_open(pid, PidfdFlags::empty()).map_err(|errno| Error::Io {
            what: format!("open a handle of process {}", pid.as_raw_nonzero()),
            source: errno.into(),
        })?;
        let exit = Arc::new(Exit::default());
        let shared = Arc::clone(&exit);
        std::thread::spawn(move || {
            if let Ok(status) = child.wait() {
                *shared.status.lock().unwrap_or_else(PoisonError::into_inner) = Some(status);
                shared.happened.notify_all();
            }
        });
        Ok(Self { pid, handle, exit })
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid.as_raw_nonzero().get()
    }

    /// Sends a signal; a process that has ended is not an error.
    pub(crate) fn signal(&self, signal: Signal) {
        // The handle means this process for ever, so the one possible failure is that it has ended.
        let _ = pidfd_send_signal(&self.handle, signal);
    }

    /// Waits until the process ends, for at most `patience`.
    pub(crate) fn wait(&self, patience: Duration) -> Option<ExitStatus> {
        let status = self.exit.status.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self.exit.happened.wait_timeout_while(status, patience, |status| status.is_none());
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    /// Asks the process to end, also a frozen one, and kills it when it has not within `patience`.
    pub(crate) fn end(&self, patience: Duration) {
        self.signal(Signal::TERM);
        self.signal(Signal::CONT);
        if self.wait(patience).is_none() {
            self.kill();
        }
    }

    /// Kills the process and waits until it is gone.
    pub(crate) fn kill(&self) {
        self.signal(Signal::KILL);
        // Only a process stuck in the kernel takes longer, and no signal would help against that.
        self.wait(Duration::from_secs(30));
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if self.wait(Duration::ZERO).is_none() {
            self.kill();
        }
    }
}

/// When a live process was started, in clock ticks since boot: with its pid it names a process for ever.
pub(crate) fn start_time(pid: i32) -> Option<u64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The second field is the program's name in parentheses and may hold anything; then come the state and, as the
    // 22nd field, the start time.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    // Ended, and kept only until its parent has asked; in a container nobody may ever ask for an orphan.
    if matches!(fields.first(), None | Some(&("Z" | "X"))) {
        return None;
    }
    fields.get(19)?.parse().ok()
}

/// Memory that a process keeps resident, in bytes.
pub(crate) fn resident_bytes(pid: i32) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches("kB").trim().parse::<u64>().ok().map(|kibibytes| kibibytes * 1024)
}

/// Starts a [`tethered`](crate::tethered) command from a thread that lasts as long as this process: the kernel would
/// kill the program with the *thread* that started it, and a runtime's threads come and go.
///
/// # Errors
/// Those of [`Command::spawn`].
pub fn spawn_for_good(command: Command) -> std::io::Result<Child> {
    type Request = (Command, SyncSender<std::io::Result<Child>>);
    static SPAWNER: LazyLock<Sender<Request>> = LazyLock::new(|| {
        let (requests, queue) = channel::<Request>();
        std::thread::spawn(move || {
            for (mut command, reply) in queue {
                // Nobody waits for the reply only when the caller has panicked; the child then goes unwatched.
                let _ = reply.send(command.spawn());
            }
        });
        requests
    });
    let (reply, answer) = sync_channel(1);
    let gone = || std::io::Error::other("the thread that starts servers is gone");
    SPAWNER.send((command, reply)).map_err(|_| gone())?;
    answer.recv().map_err(|_| gone())?
}
