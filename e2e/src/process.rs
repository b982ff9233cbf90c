//! Child processes: where our programs lie, how they are started, watched and ended.

use std::ffi::OsString;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

/// How long a program may take to become ready, or to end after SIGTERM.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running program whose output goes to a file; killed when dropped, and by the kernel when this process ends.
#[derive(Debug)]
pub struct Program {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

/// Runs `name` to its end and returns what it printed.
///
/// # Errors
/// The program cannot be found, built or started.
pub async fn output_of(name: &'static str, args: &[&str]) -> Result<Output> {
    let mut command = devstack::tethered(&path_of(name)?).context("find the launcher")?;
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
    let child = devstack::spawn_for_good(command).with_context(|| format!("start {name}"))?;
    let waiting = tokio::task::spawn_blocking(move || child.wait_with_output());
    waiting
        .await
        .with_context(|| format!("wait for {name}"))?
        .with_context(|| format!("read what {name} prints"))
}

impl Program {
    /// Starts `name` with `args` and `env`; standard output and error go to `log`.
    ///
    /// # Errors
    /// The program cannot be found or built, or the log cannot be written.
    pub fn start(name: &'static str, args: &[&str], env: &[(&str, &str)], log: &Path) -> Result<Self> {
        Self::start_behind(&[], name, args, env, log)
    }

    /// The same with the words of `prefix` before the command line: a program that becomes ours, in another namespace.
    ///
    /// # Errors
    /// Those of [`Program::start`].
    pub fn start_behind(
        prefix: &[OsString],
        name: &'static str,
        args: &[&str],
        env: &[(&str, &str)],
        log: &Path,
    ) -> Result<Self> {
        Self::start_path(prefix, name, &path_of(name)?, args, env, log)
    }

    /// The same for a program that is not of this workspace; `name` is what messages call it.
    ///
    /// # Errors
    /// The log cannot be written, or the program not be started.
    pub fn start_path(
        prefix: &[OsString],
        name: &'static str,
        path: &Path,
        args: &[&str],
        env: &[(&str, &str)],
        log: &Path,
    ) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log).context("open the program's log")?;
        let mut words = prefix.to_vec();
        words.push(path.into());
        let mut command = devstack::tethered(Path::new(&words[0])).context("find the launcher")?;
        command
            .args(&words[1..])
            .args(args)
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(file.try_clone().context("share the program's log")?)
            .stderr(file);
        let child = devstack::spawn_for_good(command).with_context(|| format!("start {name}"))?;
        Ok(Self { name, child, log: log.to_path_buf() })
    }

    /// The process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The file that holds what the program printed.
    #[must_use]
    pub fn log(&self) -> &Path {
        &self.log
    }

    /// Waits until `url` answers 200, or fails with the program's last lines.
    ///
    /// # Errors
    /// The program ended, or it did not become ready within [`PATIENCE`].
    pub async fn wait_until_ready(&mut self, url: &str) -> Result<()> {
        let client = reqwest::Client::new();
        let deadline = Instant::now() + PATIENCE;
        let mut last = String::from("no answer");
        while Instant::now() < deadline {
            if let Some(status) = self.child.try_wait().context("ask for the program's state")? {
                bail!("{} ended with {status} before it was ready\n{}", self.name, self.tail());
            }
            match client.get(url).timeout(Duration::from_secs(2)).send().await {
                Ok(reply) if reply.status().is_success() => return Ok(()),
                Ok(reply) => last = reply.text().await.unwrap_or_default(),
                Err(error) => last = error.to_string(),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        bail!("{} is not ready after {PATIENCE:?}: {last}\n{}", self.name, self.tail())
    }

    /// Sends SIGTERM and waits for the end.
    ///
    /// # Errors
    /// The program is still there after [`PATIENCE`].
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.signal("TERM")?;
        self.wait().await
    }

    /// Waits for the program to end by itself.
    ///
    /// # Errors
    /// The program is still there after [`PATIENCE`].
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.wait_within(PATIENCE).await
    }

    /// The same for one that has more to do.
    ///
    /// # Errors
    /// The program is still there after `patience`.
    pub async fn wait_within(&mut self, patience: Duration) -> Result<ExitStatus> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(status) = self.child.try_wait().context("ask for the program's state")? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                bail!("{} did not end within {patience:?}\n{}", self.name, self.tail());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Whether the program has ended.
    ///
    /// # Errors
    /// The operating system does not know the process.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.try_wait().context("ask for the program's state")?.is_some())
    }

    /// Kills it at once, without the time that starting `kill` takes.
    ///
    /// # Errors
    /// It cannot be killed.
    pub fn kill(&mut self) -> Result<()> {
        self.child.kill().context("kill the program")
    }

    /// Waits until it logs these words, not counting what it has logged before; `false` when it does not within `patience`.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn logs(&self, words: &str, patience: Duration) -> Result<bool> {
        let start = std::fs::metadata(&self.log).context("look at the program's log")?.len();
        self.has_logged_since(start, words, patience).await
    }

    /// Waits until it has logged these words at any time.
    ///
    /// # Errors
    /// The log cannot be read.
    pub async fn has_logged(&self, words: &str, patience: Duration) -> Result<bool> {
        self.has_logged_since(0, words, patience).await
    }

    async fn has_logged_since(&self, start: u64, words: &str, patience: Duration) -> Result<bool> {
        let mut log = File::open(&self.log).context("open the program's log")?;
        log.seek(SeekFrom::Start(start)).context("seek in the log")?;
        let (mut text, mut looked) = (Vec::new(), 0);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            log.read_to_end(&mut text).context("read the log")?;
            // Words that were cut by the last look as well.
            let fresh = &text[looked..];
            if fresh.windows(words.len()).any(|window| window == words.as_bytes()) {
                return Ok(true);
            }
            looked = text.len().saturating_sub(words.len());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(false)
    }

    /// Sends the named signal, as `kill` spells it.
    ///
    /// # Errors
    /// `kill` refuses.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let pid = self.child.id().to_string();
        let status = Command::new("kill").args(["-s", signal, &pid]).status().context("run kill")?;
        if !status.success() {
            bail!("kill -s {signal} {pid} ended with {status}");
        }
        Ok(())
    }

    /// The last lines the program printed.
    #[must_use]
    pub fn tail(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<&str> = text.lines().collect();
        lines[lines.len().saturating_sub(30)..].join("\n")
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Processor seconds that a process had used at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Cpu(f64);

impl Cpu {
    /// User and system time of a process, now.
    ///
    /// # Errors
    /// The process is gone.
    pub fn of(pid: u32) -> Result<Self> {
        // utime and stime are fields 14, 15.
        Self::in_fields(pid, 14)
    }

    /// The same of all programs that this process has started, and that have ended.
    ///
    /// # Errors
    /// The system does not tell.
    pub fn of_ended() -> Result<Self> {
        Self::in_fields(std::process::id(), 16)
    }

    fn in_fields(pid: u32, first: usize) -> Result<Self> {
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).context("read /proc/PID/stat")?;
        // The command name, field 2, may hold blanks, so count from behind its closing bracket.
        let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
        let ticks = |index: usize| fields.get(index).and_then(|text| text.parse::<f64>().ok());
        let (user, system) =
            ticks(first - 3).zip(ticks(first - 2)).context("/proc/PID/stat holds user and system time")?;
        // USER_HZ is 100 on every Linux architecture we build for.
        Ok(Self((user + system) / 100.0))
    }

    /// Seconds used since the process began.
    #[must_use]
    pub fn seconds(self) -> f64 {
        self.0
    }

    /// Seconds used since an earlier moment.
    #[must_use]
    pub fn since(self, before: Self) -> f64 {
        self.0 - before.0
    }
}

/// Memory that a process keeps resident, in bytes.
///
/// # Errors
/// The process is gone.
pub fn resident_bytes(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).context("read /proc/PID/status")?;
    let line =
        status.lines().find(|line| line.starts_with("VmRSS:")).context("/proc/PID/status holds VmRSS")?;
    let kib: u64 =
        line.split_whitespace().nth(1).and_then(|text| text.parse().ok()).context("VmRSS is a number")?;
    Ok(kib * 1024)
}

/// A port that was free a moment ago. Whoever binds it may still lose a race, and then says so and ends.
///
/// # Errors
/// Loopback has no free port.
pub fn free_port() -> Result<u16> {
    let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("bind a free port")?;
    Ok(listener.local_addr().context("read the bound address")?.port())
}

/// The program beside this one in the build directory; built first when this runs under cargo.
fn path_of(name: &str) -> Result<PathBuf> {
    static BUILT: OnceLock<Result<(), String>> = OnceLock::new();
    let exe = std::env::current_exe().context("find this program")?;
    let mut directory = exe.parent().context("a program lies in a directory")?.to_path_buf();
    if directory.ends_with("deps") {
        directory.pop();
        BUILT
            .get_or_init(|| build(&directory).map_err(|error| format!("{error:#}")))
            .clone()
            .map_err(anyhow::Error::msg)?;
    }
    let path = directory.join(name);
    if !path.exists() {
        bail!("{} is not there: run `cargo build --release --bins --workspace`", path.display());
    }
    Ok(path)
}

/// `cargo test` builds the binaries of the tested package only, so a test asks for the others itself.
fn build(directory: &Path) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args([
        "build",
        "--quiet",
        "--bins",
        "-p",
        "edge-forwarder",
        "-p",
        "hub-consumer",
        "-p",
        "mock-service",
    ]);
    if directory.ends_with("release") {
        command.arg("--release");
    }
    let status = command.status().context("run cargo build")?;
    if !status.success() {
        bail!("cargo build of the programs ended with {status}");
    }
    Ok(())
}
