//! A line with everything that boards ask: derived series, own metrics, rules, the menu, and the logs of pods.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use devstack::{Endpoints, Stack};
use jiff::Timestamp;
use serde_json::Value;

use super::facts::{Facts, Service};
use crate::line::wait_for;
use crate::process::{Program, free_port};
use crate::runtime::{self, CONTAINER, Runtime};
use crate::{Line, LineOptions};

/// How often hubs push what they derive, and edge and hub their own metrics: the least that is allowed, so that a scene of
/// seconds has samples enough.
const PUSH: Duration = Duration::from_secs(1);

/// By how much of a scene the last samples before its end may be older than its end: `increase` and `rate` draw counters out to
/// the end, and a machine that is busy may push late.
const DRAWN_OUT: f64 = 0.01;

/// The shipped rules.
const RULES: [(&str, &str); 2] = [
    ("menu.yaml", include_str!("../../../dashboards/rules/menu.yaml")),
    ("pipeline.yaml", include_str!("../../../dashboards/rules/pipeline.yaml")),
];

/// What a stage is set with.
#[derive(Debug, Clone)]
pub struct StageOptions {
    /// Prefix of topics and groups, name of the database and of the tenant; a plain word.
    pub name: String,
    /// Where configuration and logs of the programs go.
    pub directory: PathBuf,
    /// Share of lists that the Menu API fails, 0 to 1.
    pub failure_rate: f64,
    /// For how long before now the scene's time begins: logs that are written by hand may be so old.
    pub before: Duration,
    /// What the menu has beyond the items of the Menu API.
    pub more_items: Vec<Value>,
    /// Where the edge finds Mimir for its own metrics, when its way there is another than the hub's.
    pub edge_metrics_url: Option<String>,
}

/// A running line with the Menu API before it.
#[derive(Debug)]
pub struct Stage {
    /// The line.
    pub line: Line,
    directory: PathBuf,
    menu_url: String,
    menu: Program,
    container: Runtime,
    /// When the programs were started, in seconds since the epoch.
    started: u64,
    facts: Facts,
}

impl Stage {
    /// Starts everything and writes the menu; no traffic yet. `mimir` is the stack of the Mimir that `endpoints` name.
    ///
    /// # Errors
    /// A part does not start; its last lines are in the error.
    pub async fn set(endpoints: &Endpoints, mimir: &Stack, options: &StageOptions) -> Result<Self> {
        let StageOptions { name, directory, failure_rate, before, more_items, edge_metrics_url } = options;
        // Before the programs, which count from their start.
        let started = now();
        let from = minute_of(started - before.as_secs());
        for (file, yaml) in RULES {
            mimir.put_mimir_rules(name, file, &every_second(yaml)).with_context(|| format!("give {file}"))?;
        }
        let mut line_options = LineOptions::new(name, directory);
        let logs = format!("{}/*/*/*.log", runtime::pods(directory).display());
        line_options.edge_env.push(("EDGE__FILELOG__INCLUDE", logs));
        if let Some(url) = edge_metrics_url {
            let endpoint = format!("{url}/otlp/v1/metrics");
            line_options.edge_env.push(("EDGE__TELEMETRY__OTLP_ENDPOINT", endpoint));
        }
        line_options.hub_env.push(("HUB__DERIVE__ENABLED", "true".to_owned()));
        line_options.hub_env.push(("HUB__DERIVE__INTERVAL", format!("{}s", PUSH.as_secs())));
        line_options.own_metrics = Some(PUSH);
        let line = Line::start(endpoints, line_options).await?;
        let menu = write_menu(&line, directory, more_items).await?;
        let menu_url = format!("http://127.0.0.1:{}", free_port()?);
        let log = directory.join("mock-service.log");
        let grpc = line.edge_grpc_url();
        let traced = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", grpc.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_SERVICE_NAME", CONTAINER),
        ];
        let server = serve(&menu_url, &log, *failure_rate, &traced).await?;
        let container = Runtime::start(directory, &log, 0)?;
        let facts = Facts { from, to: 0, services: Vec::new(), menu, yesterday: Vec::new() };
        Ok(Self { line, directory: directory.clone(), menu_url, menu: server, container, started, facts })
    }

    /// The moment at which the scene's time begins.
    ///
    /// # Errors
    /// Never in practice: it is a time of today.
    pub fn begins_at(&self) -> Result<Timestamp> {
        Timestamp::from_millisecond(self.facts.from).context("the scene's time is one")
    }

    /// Writes the whole log of another service, in a pod of its own.
    ///
    /// # Errors
    /// The disk refuses.
    pub fn write_log(&mut self, service: &str, lines: Vec<String>, is_derived: bool) -> Result<()> {
        runtime::write_log(&self.directory, service, &lines)?;
        self.facts.services.push(Service { name: service.to_owned(), lines, is_derived });
        Ok(())
    }

    /// Marks the scene on every board, as a person does with an incident.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn mark(&self, text: &str) -> Result<()> {
        let (from, now) = (self.facts.from / 1000, now());
        let insert = format!(
            "INSERT INTO incident_marks (started_at, ended_at, kind, text) VALUES ({from}, {now}, 'exercise', '{text}')"
        );
        self.line.clickhouse().query(&insert).await.map(drop).context("mark the scene")
    }

    /// Starts the traffic of a scene; with the same scene, rate and duration it is the same.
    ///
    /// # Errors
    /// The traffic generator cannot be started.
    pub fn traffic(&self, scene: &str, rate: u32, duration: Duration) -> Result<Program> {
        let http = self.line.edge_http_url();
        let env = [
            ("OTEL_EXPORTER_OTLP_ENDPOINT", http.as_str()),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf"),
            ("OTEL_SERVICE_NAME", "menu-load"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "1000"),
        ];
        let (rate, duration) = (rate.to_string(), format!("{}ms", duration.as_millis()));
        let scene = ["--scene", scene, "--rate", &rate, "--duration", &duration, "--seed", "1", "--json"];
        let args = [&["load", "--target", &self.menu_url][..], &scene].concat();
        Program::start("mock-service", &args, &env, &self.directory.join("load.log"))
    }

    /// Drives the traffic of a scene to its end.
    ///
    /// # Errors
    /// The traffic generator fails; its last lines are in the error.
    pub async fn drive(&self, scene: &str, rate: u32, duration: Duration) -> Result<()> {
        let mut load = self.traffic(scene, rate, duration)?;
        let status = load.wait_within(duration + Duration::from_secs(60)).await?;
        if !status.success() {
            bail!("the traffic of {scene} ended with {status}\n{}", load.tail());
        }
        Ok(())
    }

    /// Stops the Menu API, and waits until every store has what it printed, and every rule has seen it. The line runs on.
    ///
    /// # Errors
    /// Something is not stored in time.
    pub async fn settle(self) -> Result<(Line, Facts)> {
        let Self { line, mut menu, container, started, mut facts, .. } = self;
        // Its SDK exports the last spans when it is stopped.
        menu.stop().await?;
        let printed = container.stop()?;
        let text = std::fs::read_to_string(menu.log()).context("read what mock-service printed")?;
        let lines: Vec<String> = text.lines().map(str::to_owned).collect();
        if lines.len() as u64 != printed {
            bail!("{printed} lines were followed of {}", lines.len());
        }
        facts.services.push(Service { name: CONTAINER.to_owned(), lines, is_derived: true });
        let lines = facts.services.iter().map(|service| service.lines.len() as u64).sum();
        stored(&line, lines).await?;
        let (code, printed) = line.hub_output("audit", &["--push"]).await?;
        if code != Some(0) {
            bail!("hub-consumer audit ended with {code:?}: {printed}");
        }
        facts.to = pushed(&line, started).await?;
        Ok((line, facts))
    }
}

impl Facts {
    /// Copies item views of the Menu API to the day before, with SQL: no hub has stored them, so no counter knows of them.
    ///
    /// # Errors
    /// The server refuses.
    pub async fn add_yesterday(&mut self, line: &Line, items: &[&str]) -> Result<()> {
        let list = items.iter().map(|item| format!("'{item}'")).collect::<Vec<_>>().join(", ");
        let insert = format!(
            "INSERT INTO otel_logs SELECT * REPLACE (Timestamp - INTERVAL 1 DAY AS Timestamp) FROM otel_logs \
             WHERE ServiceName = '{CONTAINER}' AND menu_route = '/api/menu/{{id}}' AND menu_status = 200 AND menu_item IN ({list})"
        );
        line.clickhouse().query(&insert).await.context("copy rows to the day before")?;
        self.yesterday = items.iter().map(ToString::to_string).collect();
        Ok(())
    }
}

/// Waits until the lines of all containers are rows, and everything that is in topics has been stored.
async fn stored(line: &Line, lines: u64) -> Result<()> {
    let of_containers = "SELECT count() FROM otel_logs WHERE mapContains(LogAttributes, 'log.iostream')";
    wait_for("the printed lines to be rows", async || {
        let rows = line.clickhouse().number(of_containers).await?;
        if rows > lines {
            bail!("{rows} rows are there of {lines} lines");
        }
        Ok((rows == lines).then_some(()).ok_or(format!("{rows} of {lines}")))
    })
    .await?;
    wait_for("the topics to be stored", async || {
        let left = line.uncommitted().await?;
        Ok((left == 0).then_some(()).ok_or(format!("{left} records are left")))
    })
    .await
}

/// When derived series were pushed last.
const DERIVED_AT: &str = "max(timestamp(menu_requests_total))";

/// Waits until what was derived is pushed and the rules were evaluated with it; the time of the last push. `started` is when
/// the programs were, in seconds since the epoch.
async fn pushed(line: &Line, started: u64) -> Result<i64> {
    let mimir = line.mimir();
    let both = "SELECT (SELECT count() FROM otel_logs) + (SELECT count() FROM otel_traces)";
    #[allow(clippy::cast_precision_loss, reason = "counts far below 2^53")]
    let rows = line.clickhouse().number(both).await? as f64;
    wait_for("all rows to be counted", async || {
        let counted = line.hub_metric("hub_derive_counted_records_total").await?;
        Ok((counted >= rows).then_some(()).ok_or(format!("{counted} of {rows}")))
    })
    .await?;
    #[allow(clippy::cast_precision_loss, reason = "seconds since 1970 fit")]
    let (settled, started) = (now() as f64 + 1.0, started as f64);
    // What the counters say at the end has to be in the rules and in what edge and hub have pushed of themselves, and none of it
    // long before the end.
    let last = wait_for("the rules to be evaluated", async || {
        let pushed = mimir.number(DERIVED_AT).await?;
        let own = mimir.number_at("min(max by (job) (timestamp(ready_condition)))", pushed).await?;
        let evaluated = mimir.number_at("min(timestamp(menu:availability_burn:rate5m))", pushed).await?;
        let seen = mimir.number_at(DERIVED_AT, evaluated).await?;
        let behind = (pushed - own).max(evaluated - seen);
        let is_over = evaluated.min(own).min(seen) > settled && behind <= DRAWN_OUT * (pushed - started);
        Ok(is_over.then_some(pushed).ok_or(format!(
            "derived {pushed}, own {own}, rules {evaluated} of what was derived {seen}, after {settled}"
        )))
    })
    .await?;
    #[allow(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit")]
    Ok((last * 1000.0).round() as i64)
}

/// Has the hub write the menu, as a Menu API that does not fail answers it, and more.
async fn write_menu(line: &Line, directory: &Path, more_items: &[Value]) -> Result<Value> {
    let url = format!("http://127.0.0.1:{}", free_port()?);
    let mut server = serve(&url, &directory.join("menu-source.log"), 0.0, &[]).await?;
    let answer = reqwest::get(format!("{url}/api/menu")).await.context("ask for the menu")?;
    let text = answer.text().await.context("read the menu")?;
    server.stop().await?;
    let mut menu: Value = serde_json::from_str(&text).context("read the menu as JSON")?;
    menu["menu_items"].as_array_mut().context("a menu has items")?.extend_from_slice(more_items);
    let file = directory.join("menu.json");
    std::fs::write(&file, menu.to_string()).context("write the menu to a file")?;
    let (code, printed) = line.hub_output("menu", &[&file.display().to_string()]).await?;
    if code != Some(0) {
        bail!("hub-consumer menu ended with {code:?}: {printed}");
    }
    Ok(menu)
}

async fn serve(url: &str, log: &Path, failure_rate: f64, env: &[(&str, &str)]) -> Result<Program> {
    let (address, rate) = (url.trim_start_matches("http://"), failure_rate.to_string());
    let args = ["serve", "--listen", address, "--failure-rate", &rate, "--seed", "1"];
    let mut menu = Program::start("mock-service", &args, env, log)?;
    menu.wait_until_ready(&format!("{url}/health")).await?;
    Ok(menu)
}

/// The rules with an interval of a second for each group.
fn every_second(yaml: &str) -> String {
    let lines = yaml.lines().map(|line| {
        let is_group = line.starts_with("  - name: ");
        format!("{line}\n{}", if is_group { "    interval: 1s\n" } else { "" })
    });
    lines.collect()
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

fn milliseconds(seconds: u64) -> i64 {
    i64::try_from(seconds * 1000).unwrap_or(i64::MAX)
}

/// The beginning of the minute that has this second, in milliseconds.
fn minute_of(seconds: u64) -> i64 {
    milliseconds(seconds / 60 * 60)
}
