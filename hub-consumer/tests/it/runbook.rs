//! Every command of `docs/runbook.md`, run in the situation that it is for; of the alerts' pages, whether the hub takes them.

use std::{
    collections::VecDeque,
    process::{Command, Output, Stdio},
    time::Duration,
};

use futures::future::{FutureExt as _, LocalBoxFuture, join_all};
use hub_consumer::config::HubConfig;
use kafka_client::admin;
use rustix::process::{Pid, Signal as ProcessSignal, kill_process};
use telemetry_wire::Signal;
use tempfile::TempDir;
use tokio::time::sleep;

use crate::{
    database::Database,
    line::{Hub, Line, eventually, logs_request},
    metrics_sink::{gauge, request},
};

const BOOK: &str = include_str!("../../../docs/runbook.md");

/// A section of the book with the situation that it is for.
struct Section {
    heading: &'static str,
    commands: VecDeque<&'static str>,
    folder: TempDir,
    line: Line,
    database: Database,
    /// What the reader has put into variables.
    variables: Vec<(&'static str, String)>,
    more: String,
}

impl Section {
    async fn new(heading: &'static str, signal: Signal) -> Section {
        let (line, database) = (Line::new(signal, 2).await, Database::migrated().await);
        let more = "blocks: {max_rows: 20, max_age: 50ms}\n".to_owned();
        Section::with(heading, line, database, more)
    }

    fn with(heading: &'static str, line: Line, database: Database, more: String) -> Section {
        let text = sections().into_iter().find(|(of, _)| *of == heading).expect("the book has the section").1;
        let commands = commands(text).collect();
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("hub.yaml"), line.yaml(&database.config, &more)).unwrap();
        let url = database.config.http.url().to_string();
        let variables = vec![("CLICKHOUSE_URL", url), ("DATABASE", database.config.database.clone())];
        Section { heading, commands, folder, line, database, variables, more }
    }

    fn config(&self) -> HubConfig {
        self.line.table_config(&self.database.config, &self.more)
    }

    async fn send(&self, from: usize, to: usize) {
        for number in from..to {
            self.line.send(number as i32 % 2, &logs_request(&format!("record {number}"), 2), &[]).await;
        }
    }

    /// Lets a hub store what there is.
    async fn store(&self) {
        let hub = Hub::start(self.config());
        self.line.wait_until_committed().await;
        hub.stop().await;
    }

    /// The next command, which begins like this, ready to be run.
    fn next(&mut self, begins: &str) -> Command {
        let command = self.commands.pop_front().unwrap_or_else(|| panic!("{} has no {begins}", self.heading));
        assert!(command.starts_with(begins), "{}: {command} is not {begins}", self.heading);
        let mut shell = shell(command);
        shell.current_dir(self.folder.path());
        shell.envs(self.variables.iter().map(|(name, value)| (name, value)));
        shell.stdout(Stdio::piped()).stderr(Stdio::piped());
        shell
    }

    /// Runs the next command and compares its exit code; what it printed.
    async fn run(&mut self, begins: &str, code: i32) -> String {
        let mut command = self.next(begins);
        let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
        self.told(begins, &output, code)
    }

    fn told(&self, begins: &str, output: &Output, code: i32) -> String {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let errors = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{}: {begins}\n{text}\n{errors}", self.heading);
        text
    }

    async fn rows(&self) -> u64 {
        self.database.query("SELECT count() FROM {db}.otel_logs").await.trim().parse().unwrap()
    }

    async fn end(self) {
        assert!(self.commands.is_empty(), "{}: {:?} were not run", self.heading, self.commands);
        self.database.drop().await;
    }
}

/// A shell that becomes the command, so that a signal meets that.
fn shell(command: &str) -> Command {
    let program = std::path::Path::new(env!("CARGO_BIN_EXE_hub-consumer"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("exec {command}")]).env("PATH", path);
    shell
}

/// The part of situations, and that of alerts.
fn parts() -> (&'static str, &'static str) {
    BOOK.split_once("\n# Alerts\n").expect("the book has a part of alerts")
}

/// Headings of situations with their text.
fn sections() -> Vec<(&'static str, &'static str)> {
    parts().0.split("\n## ").skip(1).map(|section| section.split_once('\n').unwrap()).collect()
}

fn commands(text: &'static str) -> impl Iterator<Item = &'static str> {
    let blocks = text.split("```sh\n").skip(1).filter_map(|block| block.split_once("```"));
    blocks.flat_map(|(block, _)| block.lines())
}

#[test]
fn every_hub_command_of_an_alert_is_one_that_the_hub_takes() {
    let of_the_hub: Vec<_> =
        commands(parts().1).filter(|command| command.starts_with("hub-consumer ")).collect();
    assert!(of_the_hub.len() > 10, "{of_the_hub:?}");
    for command in of_the_hub {
        // What stands before it is looked at first, and an option that is not known is an error.
        let output = shell(&format!("{command} --help")).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}

/// What an alert's labels would be put in for.
const LABELS: [(&str, &str); 3] = [("SERVICE", "menu-api"), ("MARKET", "at"), ("ORDER_ID", "at-1")];

#[tokio::test]
async fn every_statement_of_an_alert_is_one_that_the_schema_answers() {
    let database = Database::migrated().await;
    let url = database.config.http.url().to_string();
    let statements: Vec<_> =
        commands(parts().1).filter(|command| command.starts_with("curl -sS \"$CLICKHOUSE_URL\"")).collect();
    assert!(statements.len() > 15, "{statements:?}");
    for command in statements {
        let mut shell = shell(command);
        shell.envs(LABELS).envs([("CLICKHOUSE_URL", &url), ("DATABASE", &database.config.database)]);
        let output = tokio::task::spawn_blocking(move || shell.output().unwrap()).await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !text.contains("DB::Exception"), "{command}\n{text}");
    }
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_command_of_the_runbook_does_what_it_says() {
    let situation = |heading| -> Option<LocalBoxFuture<'static, ()>> {
        Some(match heading {
            "A broker outage is over" => outage_is_over(heading).boxed_local(),
            "ClickHouse was restored from a backup" => restored(heading).boxed_local(),
            "Dead letters flood in" => poison(heading).boxed_local(),
            "The lag grows" => lag_grows(heading).boxed_local(),
            "Retention comes close to the group, or has passed it" => retention(heading).boxed_local(),
            "A partition of a table was lost" => lost_partition(heading).boxed_local(),
            "A wrong schema was deployed" => wrong_schema(heading).boxed_local(),
            "A replay was killed" => killed_replay(heading).boxed_local(),
            "Metrics are missing in Mimir" => missing_metrics(heading).boxed_local(),
            _ => return None,
        })
    };
    // A page of the edge alone is tried with the edge.
    let is_of_a_hub = |text| !commands(text).all(|command| command.contains("$EDGE_ADMIN"));
    let of = |(heading, _)| situation(heading).unwrap_or_else(|| panic!("nobody tries: {heading}"));
    let all: Vec<_> = sections().into_iter().filter(|(_, text)| is_of_a_hub(text)).map(of).collect();
    join_all(all).await;
}

async fn outage_is_over(heading: &'static str) {
    let mut section = Section::new(heading, Signal::Logs).await;
    section.send(0, 40).await;
    let hub = Hub::ready(section.config()).await;
    let watching = section.next("hub-consumer lag").spawn().unwrap();
    section.send(40, 60).await;
    section.line.wait_until_committed().await;
    sleep(Duration::from_secs(4)).await;
    kill_process(Pid::from_child(&watching), ProcessSignal::TERM).unwrap();
    let watched = section.told("hub-consumer lag --watch", &watching.wait_with_output().unwrap(), 0);
    assert!(watched.matches("records behind").count() >= 2, "{watched}");
    assert!(section.run("hub-consumer lag", 0).await.contains("0 records behind"));
    let audited = section.run("hub-consumer audit", 0).await;
    assert!(audited.contains("60"), "{audited}");
    hub.stop().await;
    section.end().await;
}

async fn restored(heading: &'static str) {
    let mut section = Section::new(heading, Signal::Logs).await;
    section.send(0, 40).await;
    section.store().await;
    section
        .database
        .query("ALTER TABLE {db}.otel_logs DELETE WHERE source_offset >= 12 SETTINGS mutations_sync = 2")
        .await;
    let hub = Hub::ready(section.config()).await;
    section.run("hub-consumer doctor", 0).await;
    section.run("hub-consumer audit", 1).await;
    let dry = section.run("hub-consumer replay", 1).await;
    assert!(dry.contains("would store 16 records"), "{dry}");
    let replayed = section.run("hub-consumer replay", 0).await;
    assert!(replayed.contains("stored 16 records of 32 rows"), "{replayed}");
    section.run("hub-consumer audit", 0).await;
    assert_eq!(section.rows().await, 80);
    hub.stop().await;
    section.end().await;
}

async fn poison(heading: &'static str) {
    let mut section = Section::new(heading, Signal::Logs).await;
    section
        .database
        .query("ALTER TABLE {db}.otel_logs ADD CONSTRAINT wrong CHECK NOT endsWith(Body, ' 1')")
        .await;
    section.send(0, 10).await;
    for _ in 0..6 {
        section.line.send(1, b"\x0a\xff poison", &[]).await;
    }
    section.store().await;
    let summary = section.run("hub-consumer redrive", 0).await;
    for reason in ["malformed            ", "data            "] {
        assert!(summary.lines().any(|line| line.starts_with(reason)), "{summary}");
    }
    let before = section.run("hub-consumer audit", 0).await;
    section.database.query("ALTER TABLE {db}.otel_logs DROP CONSTRAINT wrong").await;
    let sent = section.run("hub-consumer redrive", 0).await;
    assert!(!sent.contains("malformed") && sent.contains("data"), "{sent}");
    let after = section.run("hub-consumer audit", 0).await;
    assert!(dead_letters(&before) > 6 && dead_letters(&after) == 6, "{before}\n{after}");
    section.end().await;
}

/// What an audit's table has in its column of dead letters, of all partitions.
fn dead_letters(audit: &str) -> u64 {
    let mut rows = audit.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
    let names = rows.find(|row| row.contains(&"dead-lettered")).expect("the table has a head");
    let column = names.iter().position(|name| *name == "dead-lettered").expect("it is there");
    rows.filter_map(|row| row.get(column)?.parse::<u64>().ok()).sum()
}

async fn lag_grows(heading: &'static str) {
    let mut section = Section::new(heading, Signal::Logs).await;
    section.send(0, 10).await;
    let lag = section.run("hub-consumer lag", 0).await;
    assert!(lag.contains("has no owner") && lag.contains("10 records behind"), "{lag}");
    let found = section.run("hub-consumer doctor", 1).await;
    assert!(found.contains("nobody reads partitions 0, 1"), "{found}");
    section.end().await;
}

async fn retention(heading: &'static str) {
    let mut section = Section::new(heading, Signal::Logs).await;
    section.send(0, 10).await;
    section.store().await;
    section.send(10, 40).await;
    admin::delete_records(&section.line.connection, &section.line.topic, 0, 12).await.unwrap();
    let lag = section.run("hub-consumer lag", 0).await;
    assert!(lag.contains("has lost records"), "{lag}");
    let found = section.run("hub-consumer doctor", 1).await;
    assert!(found.contains("retention has removed 7 records"), "{found}");
    section.variables.push(("PARTITION", "0".to_owned()));
    let dry = section.run("hub-consumer seek", 0).await;
    assert!(dry.contains("logs/0: would be moved from 5 to 12"), "{dry}");
    let moved = section.run("hub-consumer seek", 0).await;
    assert!(moved.contains("logs/0: moved from 5 to 12"), "{moved}");
    assert!(!moved.contains("logs/1"), "a partition that lost nothing stays where it is: {moved}");
    section.store().await;
    assert!(section.run("hub-consumer lag", 0).await.contains("0 records behind"));
    assert_eq!(section.rows().await, 2 * (40 - 7), "moving back stores nothing twice");
    section.end().await;
}

async fn lost_partition(heading: &'static str) {
    let mut section = Section::new(heading, Signal::Logs).await;
    section.send(0, 20).await;
    section.store().await;
    let active = "SELECT DISTINCT partition_id FROM system.parts WHERE database = '{db}' AND table = 'otel_logs' AND active";
    let partition = section.database.query(active).await.trim().to_owned();
    section.database.query(&format!("ALTER TABLE {{db}}.otel_logs DETACH PARTITION ID '{partition}'")).await;
    assert_eq!(section.rows().await, 0);
    let detached = section.run("curl", 0).await;
    assert_eq!(detached.trim(), partition);
    section.variables.push(("PARTITION", partition.clone()));
    section.run("curl", 0).await;
    assert_eq!(section.rows().await, 40);
    section.database.query(&format!("ALTER TABLE {{db}}.otel_logs DROP PARTITION ID '{partition}'")).await;
    section.run("hub-consumer audit", 1).await;
    section.run("hub-consumer replay", 0).await;
    section.run("hub-consumer audit", 0).await;
    assert_eq!(section.rows().await, 40);
    section.end().await;
}

async fn wrong_schema(heading: &'static str) {
    let mut section = Section::new(heading, Signal::Logs).await;
    section
        .database
        .query("ALTER TABLE {db}.otel_logs ADD CONSTRAINT wrong CHECK NOT endsWith(Body, ' 1')")
        .await;
    section.send(0, 6).await;
    section.store().await;
    let letters = section.run("hub-consumer redrive", 0).await;
    assert!(letters.lines().any(|line| line.starts_with("data") && line.contains(" 6 ")), "{letters}");
    section.variables.push(("CONSTRAINT", "wrong".to_owned()));
    section.run("curl", 0).await;
    section.run("hub-consumer migrate", 0).await;
    section.run("hub-consumer doctor", 0).await;
    section.run("hub-consumer redrive", 0).await;
    section.run("hub-consumer audit", 0).await;
    assert_eq!(section.rows().await, 12);
    section.end().await;
}

async fn killed_replay(heading: &'static str) {
    let mut section = Section::new(heading, Signal::Logs).await;
    section.send(0, 40).await;
    section.store().await;
    section.database.query("TRUNCATE TABLE {db}.otel_logs").await;
    let mut killed = Command::new(env!("CARGO_BIN_EXE_hub-consumer"));
    killed.args(["replay", "--config", "hub.yaml", "--rate", "20"]).current_dir(section.folder.path());
    let mut killed = killed.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    eventually("it has stored something", async || section.rows().await > 0).await;
    killed.kill().unwrap();
    killed.wait().unwrap();
    let found = section.run("hub-consumer doctor", 0).await;
    assert!(found.contains("or was killed"), "{found}");
    section.run("curl", 0).await;
    section.run("hub-consumer replay", 0).await;
    assert_eq!(section.rows().await, 80);
    section.end().await;
}

async fn missing_metrics(heading: &'static str) {
    let (line, database) = (Line::new(Signal::Metrics, 2).await, Database::migrated().await);
    let mimir = &devstack::shared().mimir_url;
    let more = format!("mimir: {{url: '{mimir}', tenant: anonymous}}\n");
    let mut section = Section::with(heading, line, database, more);
    let name = format!("it_{}_runbook", std::process::id());
    section.line.send(0, &request(vec![gauge(&name, 5)]), &[]).await;
    section.store().await;
    section.run("hub-consumer doctor", 0).await;
    let dry = section.run("hub-consumer replay", 0).await;
    assert!(dry.contains("would send the samples of 1 records"), "{dry}");
    let replayed = section.run("hub-consumer replay", 0).await;
    assert!(replayed.contains("accepted 5 samples"), "{replayed}");
    section.run("hub-consumer redrive", 0).await;
    section.end().await;
}
