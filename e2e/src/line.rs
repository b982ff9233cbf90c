//! One line: topics, a database, an edge and a hub of its own, on servers that may be shared.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use devstack::Endpoints;
use kafka_client::admin::{self, TopicSpec};
use kafka_client::{CommitOffset, ConnectionConfig};
use telemetry_wire::{Signal, dead_letter_topic};

use crate::clickhouse::ClickHouse;
use crate::mimir::Mimir;
use crate::process::{PATIENCE, Program, free_port, output_of};
use crate::scrape::Page;
use crate::sender::Sender;

/// What a line is made of.
#[derive(Debug, Clone)]
pub struct LineOptions {
    /// Prefix of topics and groups, name of the database and of the tenant; a plain word.
    pub name: String,
    /// Where configuration and logs of the programs go.
    pub directory: PathBuf,
    /// Partitions of each topic.
    pub partitions: i32,
    /// Whether the edge has a spool, below `directory`.
    pub has_spool: bool,
    /// Settings of the edge beyond the addresses, as environment variables.
    pub edge_env: Vec<(&'static str, String)>,
    /// Settings of the hub, likewise.
    pub hub_env: Vec<(&'static str, String)>,
    /// How often edge and hub push their own metrics to Mimir, into the tenant of the line; never when there is none.
    pub own_metrics: Option<Duration>,
    /// Where the hub bootstraps, when its way to the brokers is another than the edge's.
    pub hub_brokers: Option<String>,
}

impl LineOptions {
    /// Four partitions, a spool, and the programs' defaults.
    #[must_use]
    pub fn new(name: &str, directory: &Path) -> Self {
        Self {
            name: name.to_owned(),
            directory: directory.to_path_buf(),
            partitions: 4,
            has_spool: true,
            edge_env: Vec::new(),
            hub_env: Vec::new(),
            own_metrics: None,
            hub_brokers: None,
        }
    }
}

/// A running edge and hub with their stores.
#[derive(Debug)]
pub struct Line {
    options: LineOptions,
    endpoints: Endpoints,
    ports: Ports,
    /// The edge; taken out while it is stopped.
    pub edge: Option<Program>,
    /// The hub; taken out while it is stopped.
    pub hub: Option<Program>,
}

#[derive(Debug)]
struct Ports {
    edge_grpc: u16,
    edge_http: u16,
    edge_admin: u16,
    hub_admin: u16,
}

impl Line {
    /// Creates topics and schema, starts edge and hub, and returns once both are ready.
    ///
    /// # Errors
    /// A server refuses, or a program does not become ready; its last lines are in the error.
    pub async fn start(endpoints: &Endpoints, options: LineOptions) -> Result<Self> {
        std::fs::create_dir_all(&options.directory).context("make the line's directory")?;
        let ports = Ports {
            edge_grpc: free_port()?,
            edge_http: free_port()?,
            edge_admin: free_port()?,
            hub_admin: free_port()?,
        };
        let mut line = Self { options, endpoints: endpoints.clone(), ports, edge: None, hub: None };
        line.create_topics().await?;
        std::fs::write(line.edge_config(), line.edge_yaml()).context("write the edge's configuration")?;
        std::fs::write(line.hub_config(), line.hub_yaml()).context("write the hub's configuration")?;
        line.migrate().await?;
        line.start_hub().await?;
        line.start_edge().await?;
        Ok(line)
    }

    /// Starts the edge and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start_edge(&mut self) -> Result<()> {
        let url = format!("{}/readyz", self.edge_admin_url());
        let log = self.options.directory.join("edge-forwarder.log");
        let config = self.edge_config();
        let env: Vec<_> = self.options.edge_env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let edge = Program::start("edge-forwarder", &["--config", text(&config)?], &env, &log)?;
        self.edge.insert(edge).wait_until_ready(&url).await
    }

    /// Starts the hub and waits until it is ready.
    ///
    /// # Errors
    /// It does not become ready.
    pub async fn start_hub(&mut self) -> Result<()> {
        let url = format!("{}/readyz", self.hub_admin_url());
        let hub = self.hub(&["run", "--config", text(&self.hub_config())?])?;
        self.hub.insert(hub).wait_until_ready(&url).await
    }

    /// Starts the hub and does not wait until it is ready.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn start_hub_unready(&mut self) -> Result<()> {
        let hub = self.hub(&["run", "--config", text(&self.hub_config())?])?;
        self.hub = Some(hub);
        wait_for("the hub to answer", async || {
            Ok(self.hub_answer("/livez").await.map(drop).map_err(|error| format!("{error:#}")))
        })
        .await
    }

    /// What the hub's admin server answers, whatever its status.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn hub_answer(&self, path: &str) -> Result<String> {
        let url = format!("{}{path}", self.hub_admin_url());
        let answer = reqwest::get(&url).await.with_context(|| format!("ask {url}"))?;
        answer.text().await.context("read the answer")
    }

    /// The sum of a metric of the hub.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn hub_metric(&self, name: &str) -> Result<f64> {
        Ok(self.hub_page().await?.sum(name, &[]))
    }

    /// The metrics of the hub.
    ///
    /// # Errors
    /// It does not answer.
    pub async fn hub_page(&self) -> Result<Page> {
        Page::read(&reqwest::Client::new(), &self.hub_admin_url()).await
    }

    /// Changes a setting of hubs that are started from now on.
    pub fn set_hub_env(&mut self, name: &'static str, value: &str) {
        self.options.hub_env.retain(|(known, _)| *known != name);
        self.options.hub_env.push((name, value.to_owned()));
    }

    /// Starts one more member of the hub's groups, under a name of its own, and does not wait for it.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn start_member(&self, name: &str) -> Result<Program> {
        let log = self.options.directory.join(format!("hub-{name}.log"));
        let mut env: Vec<_> =
            self.options.hub_env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        let admin = format!("127.0.0.1:{}", free_port()?);
        env.extend([
            ("HUB__ADMIN__LISTEN", admin.as_str()),
            ("HUB__KAFKA__CONSUMER__GROUP_INSTANCE_ID", name),
        ]);
        Program::start("hub-consumer", &["run", "--config", text(&self.hub_config())?], &env, &log)
    }

    /// Moves the group of a signal, which has no members, to this position of a partition, with this metadata.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn set_committed(
        &self,
        signal: Signal,
        partition: i32,
        offset: i64,
        metadata: &str,
    ) -> Result<()> {
        let topic = self.topic(signal).into();
        let position = CommitOffset { topic, partition, offset, metadata: metadata.to_owned() };
        // Members that were killed are in the group until their session is over.
        wait_for("the group to have no members", async || {
            let set =
                admin::set_committed(&self.connection(), &self.group(signal), vec![position.clone()]).await;
            Ok(set.map_err(|error| error.to_string()))
        })
        .await
    }

    /// The committed position of each partition that has one.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn committed(&self, signal: Signal) -> Result<Vec<(i32, i64)>> {
        let committed = admin::committed(&self.connection(), &self.group(signal), &self.topic(signal)).await;
        let committed = committed.context("ask for offsets")?.into_iter();
        Ok(committed.filter_map(|(partition, found)| Some((partition, found?.offset))).collect())
    }

    /// Makes the topics of the line that are not there.
    ///
    /// # Errors
    /// The broker refuses.
    pub async fn create_topics(&self) -> Result<()> {
        let mut topics = Vec::new();
        for signal in Signal::ALL {
            let topic = self.topic(signal);
            topics.push(TopicSpec::new(dead_letter_topic(&topic), 1));
            topics.push(TopicSpec::new(topic, self.options.partitions));
        }
        admin::create_topics(&self.connection(), &topics).await.context("create the topics")
    }

    /// Deletes a topic and waits until it is gone.
    ///
    /// # Errors
    /// The broker refuses, or the topic stays.
    pub async fn delete_topic(&self, topic: &str) -> Result<()> {
        admin::delete_topics(&self.connection(), &[topic]).await.context("delete a topic")?;
        wait_for("the topic to be gone", async || {
            let found = admin::watermarks(&self.connection(), topic).await;
            Ok(if found.is_err() { Ok(()) } else { Err("it is there".to_owned()) })
        })
        .await
    }

    /// How to reach the brokers.
    #[must_use]
    pub fn connection(&self) -> ConnectionConfig {
        let brokers: Vec<&str> = self.endpoints.kafka_brokers.split(',').collect();
        ConnectionConfig::plaintext(&brokers, "e2e")
    }

    fn group(&self, signal: Signal) -> String {
        format!("{}-{}", self.options.name, signal.as_str())
    }

    /// Starts one of the hub's commands beside the hub.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn hub_command(&self, command: &str, args: &[&str]) -> Result<Program> {
        let log = self.options.directory.join(format!("{command}.log"));
        let config = self.hub_config();
        let args = [&[command, "--config", text(&config)?], args].concat();
        Program::start("hub-consumer", &args, &[], &log)
    }

    /// Runs one of the hub's commands to its end: its exit code, and what it printed for the operator.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn hub_output(&self, command: &str, args: &[&str]) -> Result<(Option<i32>, String)> {
        let config = self.hub_config();
        let args = [&[command, "--config", text(&config)?], args].concat();
        let output = output_of("hub-consumer", &args).await?;
        Ok((output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned()))
    }

    /// Counts with `hub-consumer audit` that everything committed is stored or dead-lettered, once.
    ///
    /// # Errors
    /// It says that something is missing or doubled, or cannot say; its table is in the error.
    pub async fn audit(&self) -> Result<()> {
        let mut audit = self.hub_command("audit", &[])?;
        let status = audit.wait().await?;
        if !status.success() {
            bail!("hub-consumer audit ended with {status}\n{}", audit.tail());
        }
        Ok(())
    }

    /// Records that the groups have not committed, over all topics.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn uncommitted(&self) -> Result<i64> {
        let mut lag = 0;
        for signal in Signal::ALL {
            let (topic, group) = (self.topic(signal), self.group(signal));
            let marks = admin::watermarks(&self.connection(), &topic).await.context("ask for watermarks")?;
            let committed =
                admin::committed(&self.connection(), &group, &topic).await.context("ask for offsets")?;
            for mark in marks {
                let position = committed.iter().find(|(partition, _)| *partition == mark.partition);
                let position =
                    position.and_then(|(_, found)| found.as_ref()).map_or(mark.low, |found| found.offset);
                lag += mark.high - position;
            }
        }
        Ok(lag)
    }

    /// Stops the hub with SIGTERM and waits for its end.
    ///
    /// # Errors
    /// It does not run, does not end in time, or ends with a failure.
    pub async fn stop_hub(&mut self) -> Result<()> {
        let mut hub = self.hub.take().context("the hub does not run")?;
        let status = hub.stop().await?;
        if !status.success() {
            bail!("the hub ended with {status}\n{}", hub.tail());
        }
        Ok(())
    }

    /// A sender to this line's edge.
    ///
    /// # Errors
    /// Never in practice: the addresses are URLs.
    pub fn sender(&self) -> Result<Sender> {
        Sender::new(&self.edge_grpc_url(), &self.edge_http_url())
    }

    /// The line's database.
    #[must_use]
    pub fn clickhouse(&self) -> ClickHouse {
        ClickHouse::new(&self.endpoints.clickhouse_url, &self.options.name)
    }

    /// The line's tenant.
    #[must_use]
    pub fn mimir(&self) -> Mimir {
        Mimir::new(&self.endpoints.mimir_url, &self.options.name)
    }

    /// Where OTLP/gRPC is taken.
    #[must_use]
    pub fn edge_grpc_url(&self) -> String {
        loopback(self.ports.edge_grpc)
    }

    /// Where OTLP/HTTP is taken.
    #[must_use]
    pub fn edge_http_url(&self) -> String {
        loopback(self.ports.edge_http)
    }

    /// The edge's admin server.
    #[must_use]
    pub fn edge_admin_url(&self) -> String {
        loopback(self.ports.edge_admin)
    }

    /// The hub's admin server.
    #[must_use]
    pub fn hub_admin_url(&self) -> String {
        loopback(self.ports.hub_admin)
    }

    /// The topic of a signal.
    #[must_use]
    pub fn topic(&self, signal: Signal) -> String {
        format!("{}.{}", self.options.name, signal.default_topic())
    }

    /// Records in a topic: the sum of high minus low watermarks.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn records(&self, topic: &str) -> Result<i64> {
        let marks = admin::watermarks(&self.connection(), topic).await.context("ask for watermarks")?;
        Ok(marks.iter().map(|mark| mark.high - mark.low).sum())
    }

    /// Waits until `table` holds exactly `rows`; more than that fails at once.
    ///
    /// # Errors
    /// The rows are not there within [`PATIENCE`], or there are too many.
    pub async fn wait_for_rows(&self, table: &str, rows: u64) -> Result<()> {
        let clickhouse = self.clickhouse();
        wait_for(&format!("{rows} rows in {table}"), async || {
            let stored = clickhouse.count(table).await?;
            if stored > rows {
                bail!("{table} holds {stored} rows, expected {rows}");
            }
            Ok((stored == rows).then_some(()).ok_or(format!("{stored} rows")))
        })
        .await
    }

    async fn migrate(&self) -> Result<()> {
        let mut migrate = self.hub(&["migrate", "--config", text(&self.hub_config())?])?;
        let status = migrate.wait().await?;
        if !status.success() {
            bail!("hub-consumer migrate ended with {status}\n{}", migrate.tail());
        }
        Ok(())
    }

    fn hub(&self, args: &[&str]) -> Result<Program> {
        let env: Vec<_> = self.options.hub_env.iter().map(|(name, value)| (*name, value.as_str())).collect();
        Program::start("hub-consumer", args, &env, &self.options.directory.join("hub-consumer.log"))
    }

    fn edge_config(&self) -> PathBuf {
        self.options.directory.join("edge.yaml")
    }

    fn hub_config(&self) -> PathBuf {
        self.options.directory.join("hub.yaml")
    }

    fn edge_yaml(&self) -> String {
        let Ports { edge_grpc, edge_http, edge_admin, .. } = self.ports;
        let mut yaml = format!(
            "kafka:\n  brokers: [{}]\nadmin:\n  listen: 127.0.0.1:{edge_admin}\nreceivers:\n  grpc:\n    listen: 127.0.0.1:{edge_grpc}\n  \
             http:\n    listen: 127.0.0.1:{edge_http}\npublisher:\n  edge_id: {}\n",
            self.endpoints.kafka_brokers, self.options.name,
        );
        for signal in Signal::ALL {
            let _ = writeln!(yaml, "  {}:\n    topic: {}", signal.as_str(), self.topic(signal));
        }
        if self.options.has_spool {
            let _ = writeln!(yaml, "spool:\n  directory: {}", self.options.directory.join("spool").display());
        }
        yaml + &self.telemetry_yaml()
    }

    fn hub_yaml(&self) -> String {
        let Endpoints { kafka_brokers, clickhouse_url, mimir_url, .. } = &self.endpoints;
        let kafka_brokers = self.options.hub_brokers.as_ref().unwrap_or(kafka_brokers);
        let (name, admin) = (&self.options.name, self.ports.hub_admin);
        let mut yaml = format!(
            "kafka:\n  brokers: [{kafka_brokers}]\nadmin:\n  listen: 127.0.0.1:{admin}\nclickhouse:\n  url: {clickhouse_url}\n  database: {name}\n\
             mimir:\n  url: {mimir_url}\n  tenant: {name}\nsignals:\n",
        );
        for signal in Signal::ALL {
            let word = signal.as_str();
            let _ =
                writeln!(yaml, "  {word}:\n    topic: {}\n    group_id: {name}-{word}", self.topic(signal));
        }
        yaml + &self.telemetry_yaml()
    }

    /// Past the line that it tells of.
    fn telemetry_yaml(&self) -> String {
        let Some(interval) = self.options.own_metrics else { return String::new() };
        let (url, tenant) = (&self.endpoints.mimir_url, &self.options.name);
        let millis = interval.as_millis();
        format!(
            "telemetry:\n  otlp_endpoint: {url}/otlp/v1/metrics\n  interval: {millis}ms\n  headers: {{X-Scope-OrgID: {tenant}}}\n"
        )
    }
}

/// Asks `question` until it answers `Ok(Ok(value))`; the last `Ok(Err(state))` is in the error when it never does.
///
/// # Errors
/// The question fails, or [`PATIENCE`] is over.
pub async fn wait_for<T>(
    what: &str,
    mut question: impl AsyncFnMut() -> Result<Result<T, String>>,
) -> Result<T> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match question().await? {
            Ok(value) => return Ok(value),
            Err(state) if Instant::now() > deadline => bail!("waited {PATIENCE:?} for {what}: {state}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

fn loopback(port: u16) -> String {
    format!("http://127.0.0.1:{port}")
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("paths are UTF-8")
}
