//! The edge under test, as a process that is started, killed and questioned from outside.

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use telemetry_wire::Signal;

use crate::line::wait_for;
use crate::process::{PATIENCE, Program, free_port};
use crate::scrape::Page;
use crate::sender::Sender;

/// What an edge is told.
#[derive(Debug, Clone)]
pub struct EdgeOptions {
    /// Its id, and the prefix of its topics.
    pub name: String,
    /// Bootstrap brokers.
    pub brokers: String,
    /// Where configuration and log go.
    pub directory: PathBuf,
    /// The spool's directory; none for an edge without one.
    pub spool: Option<PathBuf>,
    /// Settings as environment variables.
    pub env: Vec<(String, String)>,
    /// Words before its command line; see [`devstack::Disk::prefix`].
    pub prefix: Vec<OsString>,
}

/// An edge that runs, or can be started.
#[derive(Debug)]
pub struct Edge {
    /// May be changed between two starts.
    pub options: EdgeOptions,
    grpc: u16,
    http: u16,
    admin: u16,
    program: Option<Program>,
    client: reqwest::Client,
    /// The most memory that any of its processes had.
    peak: u64,
}

impl Edge {
    /// Not started yet; its ports stay the same.
    ///
    /// # Errors
    /// There is no free port, or no client.
    pub fn new(options: EdgeOptions) -> Result<Self> {
        // A kept connection could be one to the process that was killed.
        let client = reqwest::Client::builder().pool_max_idle_per_host(0).timeout(Duration::from_secs(5));
        let client = client.build().context("build the HTTP client")?;
        let (grpc, http, admin) = (free_port()?, free_port()?, free_port()?);
        Ok(Self { options, grpc, http, admin, program: None, client, peak: 0 })
    }

    /// Starts the process and waits until it answers on its admin port, ready or not.
    ///
    /// # Errors
    /// It ends, or does not answer.
    pub async fn start(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_for("/livez").await
    }

    /// Starts the process and waits until it says that it is ready.
    ///
    /// # Errors
    /// It ends, or does not become ready.
    pub async fn start_ready(&mut self) -> Result<()> {
        self.spawn()?;
        self.wait_for("/readyz").await
    }

    /// Starts the process and waits for nothing.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&mut self) -> Result<()> {
        let config = self.options.directory.join(format!("edge-{}.yaml", self.admin));
        std::fs::write(&config, self.yaml()).context("write the edge's configuration")?;
        let config = config.to_str().context("paths are UTF-8")?;
        let env: Vec<_> =
            self.options.env.iter().map(|(key, value)| (key.as_str(), value.as_str())).collect();
        let log = self.log();
        let args = ["--config", config];
        self.program =
            Some(Program::start_behind(&self.options.prefix, "edge-forwarder", &args, &env, &log)?);
        Ok(())
    }

    /// Waits until the admin server answers `path` with 200.
    ///
    /// # Errors
    /// The edge ends, or does not in time.
    pub async fn wait_for(&mut self, path: &str) -> Result<()> {
        let url = format!("http://127.0.0.1:{}{path}", self.admin);
        self.program.as_mut().context("the edge does not run")?.wait_until_ready(&url).await
    }

    /// Kills it (SIGKILL) and waits until it is gone.
    ///
    /// # Errors
    /// It does not run, or had ended before.
    pub async fn kill(&mut self) -> Result<()> {
        self.note_peak();
        let mut program = self.program.take().context("the edge does not run")?;
        if program.has_ended()? {
            bail!("the edge had ended by itself before it was killed\n{}", program.tail());
        }
        program.signal("KILL")?;
        program.wait().await.map(drop)
    }

    /// Stops it (SIGTERM) and waits for its end.
    ///
    /// # Errors
    /// It does not run, or does not end in time.
    pub async fn stop(&mut self) -> Result<ExitStatus> {
        self.note_peak();
        self.program.take().context("the edge does not run")?.stop().await
    }

    /// Waits for its end by itself.
    ///
    /// # Errors
    /// It does not run, or does not end in time.
    pub async fn wait(&mut self) -> Result<ExitStatus> {
        self.program.take().context("the edge does not run")?.wait().await
    }

    /// Whether it ends by itself within `patience`; it counts as stopped then.
    ///
    /// # Errors
    /// It does not run.
    pub async fn ends_within(&mut self, patience: Duration) -> Result<bool> {
        let deadline = Instant::now() + patience;
        let program = self.program.as_mut().context("the edge does not run")?;
        while !program.has_ended()? {
            if Instant::now() > deadline {
                return Ok(false);
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.program = None;
        Ok(true)
    }

    /// Freezes it (SIGSTOP), and returns when no thread of it is inside of a system call any more.
    ///
    /// # Errors
    /// It does not run, or does not stop in time.
    pub async fn freeze(&self) -> Result<()> {
        let program = self.program()?;
        program.signal("STOP")?;
        let folder = Path::new("/proc").join(program.pid().to_string()).join("task");
        wait_for("all threads to stop", async || {
            let mut moving = 0;
            for thread in std::fs::read_dir(&folder).context("list the edge's threads")?.flatten() {
                let stat = std::fs::read_to_string(thread.path().join("stat")).unwrap_or_default();
                // The state is the first letter behind the name, which is in brackets and may hold anything.
                let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
                moving += u32::from(state != Some('T'));
            }
            Ok(if moving == 0 { Ok(()) } else { Err(format!("{moving} threads move")) })
        })
        .await
    }

    /// The running process.
    ///
    /// # Errors
    /// It does not run.
    pub fn program(&self) -> Result<&Program> {
        self.program.as_ref().context("the edge does not run")
    }

    /// Whether a process was started and neither killed nor stopped.
    #[must_use]
    pub fn is_running(&self) -> bool {
        self.program.is_some()
    }

    /// What `/readyz` says: whether it is ready, and why not.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn readiness(&self) -> Result<(bool, String)> {
        let reply = self.client.get(format!("http://127.0.0.1:{}/readyz", self.admin)).send().await;
        let reply = reply.context("ask whether the edge is ready")?;
        Ok((reply.status().is_success(), reply.text().await.unwrap_or_default()))
    }

    /// Waits until `/readyz` is as wanted; what it says then.
    ///
    /// # Errors
    /// It is not within [`PATIENCE`]; what it says instead is in the error.
    pub async fn readiness_becomes(&self, wanted: bool) -> Result<String> {
        self.readiness_where(|is_ready, _| is_ready == wanted).await
    }

    /// Waits until `/readyz` is ready without any "but".
    ///
    /// # Errors
    /// It is not within [`PATIENCE`]; what it says instead is in the error.
    pub async fn becomes_well(&self) -> Result<String> {
        self.readiness_where(|is_ready, text| is_ready && !text.contains("degraded")).await
    }

    /// Waits until `/readyz` says what is asked for; all of what it says then.
    ///
    /// # Errors
    /// It does not within [`PATIENCE`]; what it says instead is in the error.
    pub async fn readiness_where(&self, is_it: impl Fn(bool, &str) -> bool) -> Result<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (is_ready, text) = self.readiness().await?;
            if is_it(is_ready, &text) {
                return Ok(text);
            }
            if Instant::now() > deadline {
                bail!("readiness is {is_ready} after {PATIENCE:?}: {text}");
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Its metrics page.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn metrics(&self) -> Result<Page> {
        Page::read(&self.client, &format!("http://127.0.0.1:{}", self.admin)).await
    }

    /// A sender to it; valid over restarts.
    ///
    /// # Errors
    /// Never in practice: the addresses are URLs.
    pub fn sender(&self) -> Result<Sender> {
        Sender::new(&format!("http://127.0.0.1:{}", self.grpc), &self.http_url())
    }

    /// Where OTLP/HTTP is taken.
    #[must_use]
    pub fn http_url(&self) -> String {
        format!("http://127.0.0.1:{}", self.http)
    }

    /// The port of OTLP/HTTP.
    #[must_use]
    pub fn http_port(&self) -> u16 {
        self.http
    }

    /// The port of OTLP/gRPC.
    #[must_use]
    pub fn grpc_port(&self) -> u16 {
        self.grpc
    }

    /// What it has printed, over all of its processes.
    #[must_use]
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.log()).unwrap_or_default()
    }

    /// The most memory that any of its processes kept resident, in bytes.
    pub fn peak_memory(&mut self) -> u64 {
        self.note_peak();
        self.peak
    }

    /// The topic of a signal.
    #[must_use]
    pub fn topic(&self, signal: Signal) -> String {
        format!("{}.{}", self.options.name, signal.default_topic())
    }

    fn log(&self) -> PathBuf {
        self.options.directory.join(format!("edge-{}.log", self.admin))
    }

    fn note_peak(&mut self) {
        if let Some(program) = &self.program {
            // A process that has just ended has no memory to report.
            self.peak = self.peak.max(peak_of(program.pid()).unwrap_or(0));
        }
    }

    fn yaml(&self) -> String {
        let EdgeOptions { name, brokers, spool, .. } = &self.options;
        let mut yaml = format!(
            "kafka:\n  brokers: [{brokers}]\nadmin:\n  listen: 127.0.0.1:{}\nreceivers:\n  grpc:\n    listen: 127.0.0.1:{}\n  http:\n    \
             listen: 127.0.0.1:{}\n",
            self.admin, self.grpc, self.http
        );
        if let Some(directory) = spool {
            // Writing to a String cannot fail, here and below.
            let _ = write!(yaml, "spool:\n  directory: {}\n", directory.display());
        }
        let _ = write!(yaml, "publisher:\n  edge_id: {name}\n");
        for signal in Signal::ALL {
            let _ = write!(yaml, "  {}:\n    topic: {}\n", signal.as_str(), self.topic(signal));
        }
        yaml
    }
}

/// The high-water mark of a process's resident memory, in bytes.
fn peak_of(pid: u32) -> Result<u64> {
    let status = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM is there")?;
    let kib: u64 = line.trim().trim_end_matches("kB").trim().parse().context("VmHWM is a number")?;
    Ok(kib * 1024)
}
