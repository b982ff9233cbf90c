//! The real ClickHouse reads the configuration that its chart gives it, and the users that are in it can do their work.
//!
//! Only an engine knows which settings and grants it takes. The cold volume is left out: there is no object store here.

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::helmfile::Environment;
use super::render::release_objects;
use super::{Tools, manifest::Set};

const PATIENCE: Duration = Duration::from_secs(60);

/// Passwords, as a Secret would give them.
const PASSWORDS: [(&str, &str); 2] =
    [("CLICKHOUSE_PASSWORD_HUB", "of-hub"), ("CLICKHOUSE_PASSWORD_GRAFANA", "of-grafana")];

/// What is wrong with the configuration: the engine's words, or what a user may do or not.
///
/// # Errors
/// The engine cannot be started at all.
pub(crate) fn check(root: &Path, tools: &Tools) -> Result<Vec<String>> {
    let Some(library) = &tools.clickhouse else {
        eprintln!("charts: no ClickHouse for this machine: its configuration is not tried");
        return Ok(Vec::new());
    };
    let environment = Environment::read(root, "local")?;
    let release = environment.releases.iter().find(|release| release.name == "clickhouse");
    let release = release.context("the environment local has the release clickhouse")?;
    let set = Set { objects: release_objects(root, tools, release, &["cold.enabled=false"])? };
    let folder = tempfile::tempdir().context("make a folder for ClickHouse")?;
    let port = write(folder.path(), &set)?;
    let server = Server::start(root, library, folder.path(), port)?;
    let mut problems = Vec::new();
    if let Err(error) = server.answers() {
        problems.push(format!("ClickHouse does not take the configuration of its chart: {error:#}"));
        return Ok(problems);
    }
    if let Err(error) = migrate(root, folder.path(), port) {
        problems.push(format!("the user hub cannot make the schema: {error:#}"));
    }
    let reads = server.ask("grafana", "of-grafana", "SELECT count() FROM otel.otel_logs")?;
    if !reads.starts_with("HTTP/1.1 200") {
        problems.push(format!("the user grafana cannot read: {reads}"));
    }
    let writes = server.ask("grafana", "of-grafana", "INSERT INTO otel.otel_logs (Body) VALUES ('x')")?;
    if !writes.contains("ACCESS_DENIED") && !writes.contains("READONLY") {
        problems.push(format!("the user grafana may write: {writes}"));
    }
    Ok(problems)
}

/// Lays the files out as the image does. Ports come from the command line: those of the chart may be taken.
fn write(folder: &Path, set: &Set) -> Result<u16> {
    let map = set.of_kind("ConfigMap").next().context("the chart makes a ConfigMap")?;
    let file =
        |name: &str| map.value["data"][name].as_str().with_context(|| format!("the ConfigMap has {name}"));
    let data = folder.join("data").display().to_string();
    let platform = file("platform.xml")?
        .replace("/var/lib/clickhouse", &data)
        .replace("<http_port>8123</http_port>", "")
        .replace("<tcp_port>9000</tcp_port>", "")
        .replace("<port>9363</port>", "<port>0</port>");
    let users = folder.join("users.xml");
    let files = [
        ("config.xml", format!("<clickhouse><users_config>{}</users_config></clickhouse>", users.display())),
        ("config.d/platform.xml", platform),
        (
            "users.xml",
            "<clickhouse><profiles><default/></profiles><quotas><default/></quotas></clickhouse>".to_owned(),
        ),
        ("users.d/platform.xml", file("users.xml")?.to_owned()),
    ];
    for (name, text) in files {
        let path = folder.join(name);
        let parent = path.parent().context("a file lies in a folder")?;
        std::fs::create_dir_all(parent).with_context(|| format!("make {}", parent.display()))?;
        std::fs::write(&path, text).with_context(|| format!("write {}", path.display()))?;
    }
    free_port()
}

fn free_port() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0").context("take a free port")?;
    Ok(listener.local_addr().context("read a port")?.port())
}

fn migrate(root: &Path, folder: &Path, port: u16) -> Result<()> {
    let config = folder.join("hub.yaml");
    let text = format!(
        "kafka: {{brokers: ['127.0.0.1:1']}}\nmimir: {{url: 'http://127.0.0.1:1'}}\n\
         clickhouse: {{url: 'http://127.0.0.1:{port}', username: hub, schema: {{storage_policy: hot_cold}}}}\n"
    );
    std::fs::write(&config, text).context("write the hub's configuration")?;
    let output = Command::new(root.join("target/debug/hub-consumer"))
        .args(["migrate", "--config"])
        .arg(&config)
        .env("HUB__CLICKHOUSE__PASSWORD", "of-hub")
        .output()
        .context("start hub-consumer")?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr).into_owned();
        bail!("{}", words.lines().last().unwrap_or_default());
    }
    Ok(())
}

/// A ClickHouse that ends with this value.
struct Server {
    child: Child,
    log: std::path::PathBuf,
    port: u16,
}

impl Server {
    fn start(root: &Path, library: &Path, folder: &Path, port: u16) -> Result<Self> {
        let log = folder.join("clickhouse.log");
        let out = std::fs::File::create(&log).context("make ClickHouse's log")?;
        let session = "SYSTEM START LISTEN HTTP; SELECT count() FROM file('-', 'LineAsString', 'line String') FORMAT Null";
        let child = Command::new(root.join("target/debug/devstack-launch"))
            .args(["clickhouse", &std::process::id().to_string()])
            .arg(library)
            .arg("--path")
            .arg(folder.join("data"))
            .arg("--config-file")
            .arg(folder.join("config.xml"))
            .args(["--log-level", "error", "--listen_host", "127.0.0.1"])
            .args(["--http_port", &port.to_string(), "--tcp_port", &free_port()?.to_string()])
            .args(["--multiquery", "--query", session])
            .envs(PASSWORDS)
            .envs([("SHARD", "0"), ("POD_NAME", "clickhouse-0-0")])
            .current_dir(folder)
            .stdin(Stdio::null())
            .stderr(out.try_clone().context("make ClickHouse's log")?)
            .stdout(out)
            .spawn()
            .context("start devstack-launch")?;
        Ok(Self { child, log, port })
    }

    /// Waits until it serves.
    fn answers(&self) -> Result<()> {
        let start = Instant::now();
        loop {
            if self.ask("default", "", "SELECT 1").is_ok_and(|answer| answer.starts_with("HTTP/1.1 200")) {
                return Ok(());
            }
            let log = std::fs::read_to_string(&self.log).unwrap_or_default();
            let refusal = log.lines().find(|line| line.contains("DB::Exception"));
            if let Some(words) = refusal {
                bail!("{words}");
            }
            if start.elapsed() > PATIENCE {
                bail!("it does not answer within {PATIENCE:?}");
            }
            #[allow(clippy::disallowed_methods, reason = "there is no runtime here, and nothing else to do")]
            std::thread::sleep(Duration::from_millis(200));
        }
    }

    /// Head and body of the answer to a query.
    fn ask(&self, user: &str, password: &str, query: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port)).context("connect to ClickHouse")?;
        stream.set_read_timeout(Some(PATIENCE)).context("bound the wait for ClickHouse")?;
        let request = format!(
            "POST / HTTP/1.1\r\nHost: clickhouse\r\nX-ClickHouse-User: {user}\r\nX-ClickHouse-Key: {password}\r\n\
             Connection: close\r\nContent-Length: {}\r\n\r\n{query}",
            query.len()
        );
        stream.write_all(request.as_bytes()).context("ask ClickHouse")?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).context("read ClickHouse's answer")?;
        Ok(String::from_utf8_lossy(&answer).into_owned())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Nothing is lost when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
