//! A demo that goes on: everything belongs to one process, which leaves the terminal and can be ended later.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use devstack::Endpoints;
use devstack::supervisor::ProcessName;
use e2e::Line;

/// How long the programs and servers of a demo may take to end.
const STOP_PATIENCE: Duration = Duration::from_secs(90);

/// Runs the demo in a process of its own, which stays when this one leaves with its exit code.
///
/// # Errors
/// That process ends without a verdict.
pub(crate) fn run_detached(directory: &Path, env_file: &Path) -> Result<ExitCode> {
    let verdict = directory.join("verdict");
    for file in [verdict.as_path(), env_file] {
        remove(file)?;
    }
    let mut child = Command::new(std::env::current_exe().context("find this program")?)
        .args(std::env::args_os().skip(1))
        .arg("--detached")
        .stdin(Stdio::null())
        .spawn()
        .context("start the demo")?;
    loop {
        if let Ok(text) = std::fs::read_to_string(&verdict) {
            return Ok(if text == "PASS" { ExitCode::SUCCESS } else { ExitCode::FAILURE });
        }
        if let Some(status) = child.try_wait().context("ask for the demo's state")? {
            bail!("the demo ended early: {status}");
        }
        #[allow(clippy::disallowed_methods, reason = "there is no runtime here, and nothing else to do")]
        std::thread::sleep(Duration::from_millis(100));
    }
}

/// Writes the addresses and how to end it, tells the waiting process the verdict, and waits to be ended.
///
/// # Errors
/// A file cannot be written.
pub(crate) async fn stay(
    directory: &Path,
    env_file: &Path,
    addresses: &Addresses<'_>,
    passed: bool,
) -> Result<()> {
    let me = ProcessName::of(std::process::id().cast_signed()).context("read this process's start time")?;
    std::fs::write(directory.join("pid"), format!("{} {}", me.pid, me.start_time))
        .context("write the demo's pid")?;
    std::fs::write(env_file, addresses.assignments()).context("write the addresses")?;
    println!("all addresses as shell assignments: {}\nend it with: make down", env_file.display());
    let draft = directory.join("verdict.draft");
    std::fs::write(&draft, if passed { "PASS" } else { "FAIL" }).context("write the verdict")?;
    std::fs::rename(&draft, directory.join("verdict")).context("write the verdict")?;
    let mut terminate =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).context("catch signals")?;
    terminate.recv().await;
    Ok(())
}

/// Writes down which process a later run has to end.
///
/// # Errors
/// The file cannot be written.
pub(crate) fn register(directory: &Path) -> Result<()> {
    let me = ProcessName::of(std::process::id().cast_signed()).context("read this process's start time")?;
    std::fs::write(directory.join("pid"), format!("{} {}", me.pid, me.start_time))
        .context("write the demo's pid")
}

/// Ends the demo that an earlier `--keep` left running, if there is one.
///
/// # Errors
/// It does not end.
pub(crate) fn down(directory: &Path) -> Result<()> {
    let file = directory.join("pid");
    let Ok(text) = std::fs::read_to_string(&file) else { return Ok(()) };
    let numbers =
        text.split_once(' ').and_then(|(pid, start)| Some((pid.parse().ok()?, start.parse().ok()?)));
    let (pid, start_time) =
        numbers.with_context(|| format!("{} holds no process: remove it", file.display()))?;
    let process = ProcessName { pid, start_time };
    if process.is_alive() {
        println!("ending the demo that was kept running (pid {pid})");
        if !process.stop(STOP_PATIENCE) {
            bail!("process {pid} did not end within {STOP_PATIENCE:?}");
        }
    }
    remove(&file)
}

/// Everything a visitor may want to open.
#[derive(Debug)]
pub(crate) struct Addresses<'a> {
    pub(crate) line: &'a Line,
    pub(crate) endpoints: &'a Endpoints,
    pub(crate) menu_url: &'a str,
    /// What Alertmanager has delivered.
    pub(crate) pages_url: &'a str,
    /// The trace of a request that failed.
    pub(crate) failed_trace: Option<String>,
    /// The preview of the boards, when Node.js is there.
    pub(crate) boards_url: Option<&'a str>,
}

impl Addresses<'_> {
    fn all(&self) -> Vec<(&'static str, String)> {
        let mut all: Vec<_> =
            self.endpoints.variables().into_iter().map(|(name, value)| (name, value.to_owned())).collect();
        all.extend([
            ("CLICKHOUSE_DATABASE", self.line.clickhouse().database().to_owned()),
            ("MIMIR_TENANT", self.line.clickhouse().database().to_owned()),
            ("EDGE_OTLP_GRPC", self.line.edge_grpc_url()),
            ("EDGE_OTLP_HTTP", self.line.edge_http_url()),
            ("EDGE_ADMIN", self.line.edge_admin_url()),
            ("HUB_ADMIN", self.line.hub_admin_url()),
            ("MENU_URL", self.menu_url.to_owned()),
            ("PAGES_URL", self.pages_url.to_owned()),
        ]);
        all.extend(self.failed_trace.iter().map(|id| ("FAILED_TRACE", id.clone())));
        all.extend(self.boards_url.map(|url| ("BOARDS_URL", url.to_owned())));
        all
    }

    fn assignments(&self) -> String {
        let mut text = String::new();
        for (name, value) in self.all() {
            let _ = writeln!(text, "export {name}='{value}'");
        }
        text
    }

    /// Where to look, and what to try in five minutes.
    pub(crate) fn directions(&self) -> String {
        let (clickhouse, mimir) = (&self.endpoints.clickhouse_url, &self.endpoints.mimir_url);
        let database = self.line.clickhouse().database().to_owned();
        let boards = match self.boards_url {
            Some(url) => format!(
                "boards        {url}/d/platform-overview?from=now-15m   (a preview, drawn with Grafana's components)\n  \
                 one trace     {url}/d/service?var-trace_id={}\n  ",
                self.failed_trace.as_deref().unwrap_or_default()
            ),
            None => {
                "boards        install Node.js 20 (npm) and run this again to look at them\n  ".to_owned()
            }
        };
        format!(
            "\nrunning on, with traffic; where to look:\n  \
             {boards}\
             pages         {pages}   (what Alertmanager has delivered)\n  \
             Menu API      {menu}/api/menu\n  \
             SQL           {clickhouse}/play\n                \
             SELECT * FROM {database}.menu_requests ORDER BY minute DESC LIMIT 20\n  \
             PromQL        curl -sH 'X-Scope-OrgID: {database}' {mimir}/prometheus/api/v1/query --data-urlencode \\\n                \
             'query=sum by (route, status) (menu_requests_total)'\n  \
             edge metrics  {edge}/metrics\n  \
             hub metrics   {hub}/metrics\n\n\
             to try in five minutes:\n  \
             1. on the board, is every panel filled, and do the rows agree with one another?\n  \
             2. click a failed trace in the Technical row: its spans, and below them its lines\n  \
             3. change the range to the last hour, and the variable Service\n  \
             4. kill -STOP {hub_pid}   (the hub): within a minute Data behind grows; kill -CONT {hub_pid} lets it catch up\n  \
             5. hub-consumer replay of a range (docs/operations.md): no number of the Business row changes",
            pages = self.pages_url,
            menu = self.menu_url,
            edge = self.line.edge_admin_url(),
            hub = self.line.hub_admin_url(),
            hub_pid = self.line.hub.as_ref().map_or(0, e2e::process::Program::pid),
        )
    }
}

fn remove(file: &Path) -> Result<()> {
    match std::fs::remove_file(file) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("remove {}", file.display()))
        }
        _ => Ok(()),
    }
}

/// `target/demo.env`, beside the demo's directory.
pub(crate) fn env_file(directory: &Path) -> PathBuf {
    directory.with_extension("env")
}
