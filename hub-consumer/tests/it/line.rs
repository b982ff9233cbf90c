//! A topic, its dead letters, a group and a sink of a test's own, and hubs that run in this process between them.

use std::{
    collections::BTreeMap,
    sync::atomic::{AtomicU32, Ordering},
    time::Duration,
};

use bytes::Bytes;
use hub_consumer::{app, clickhouse::ClickHouseConfig, config::HubConfig};
use kafka_client::{
    CommitOffset, ConnectionConfig, Consumer, ConsumerConfig, ConsumerEvent, OutgoingRecord, Producer,
    ProducerConfig, Record,
    admin::{self, TopicSpec},
};
use service_runtime::{Runtime, Settings, log::LogConfig};
use telemetry_wire::Signal;
use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};

/// Far above what anything here takes; a test that hangs fails by it.
const PATIENCE: Duration = Duration::from_secs(60);

/// One signal's topics and group.
pub(crate) struct Line {
    pub(crate) signal: Signal,
    pub(crate) topic: String,
    pub(crate) dead_letters: String,
    group: String,
    pub(crate) connection: ConnectionConfig,
    producer: Producer,
}

/// A hub that runs in this process.
pub(crate) struct Hub {
    pub(crate) runtime: Runtime,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Line {
    /// A line with its topics on the shared broker.
    pub(crate) async fn new(signal: Signal, partitions: i32) -> Line {
        let line = Line::without_dead_letters(signal, partitions).await;
        line.create_dead_letters().await;
        line
    }

    /// A line whose dead-letter topic does not exist.
    pub(crate) async fn without_dead_letters(signal: Signal, partitions: i32) -> Line {
        let line = Line::without_topics(signal);
        line.create_topic(partitions).await;
        line
    }

    /// A line of which nothing exists yet.
    pub(crate) fn without_topics(signal: Signal) -> Line {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        let topic = format!("{}_{}_{number}", signal.default_topic(), std::process::id());
        let brokers: Vec<&str> = devstack::shared().kafka_brokers.split(',').collect();
        let connection = ConnectionConfig::plaintext(&brokers, "it");
        let producer = Producer::new(&ProducerConfig::new(connection.clone())).unwrap();
        let (dead_letters, group) = (telemetry_wire::dead_letter_topic(&topic), format!("hub-{topic}"));
        Line { signal, topic, dead_letters, group, connection, producer }
    }

    pub(crate) async fn create_topic(&self, partitions: i32) {
        admin::create_topics(&self.connection, &[TopicSpec::new(&self.topic, partitions)]).await.unwrap();
    }

    pub(crate) async fn create_dead_letters(&self) {
        admin::create_topics(&self.connection, &[TopicSpec::new(&self.dead_letters, 1)]).await.unwrap();
    }

    /// A configuration that reads only this line. `more` is YAML of further sections.
    pub(crate) fn config(&self, more: &str) -> HubConfig {
        let mut yaml = format!(
            "kafka:\n  brokers: ['{}']\nretry: {{initial_interval: 100ms, max_interval: 1s}}\n\
             dead_letter: {{delivery_timeout: 3s}}\nsignals:\n",
            self.connection.brokers.join("','")
        );
        for signal in Signal::ALL {
            let line = if signal == self.signal {
                format!("  {signal}: {{topic: {}, group_id: {}}}\n", self.topic, self.group)
            } else {
                format!("  {signal}: {{enabled: false}}\n")
            };
            yaml.push_str(&line);
        }
        yaml.push_str(more);
        let mut settings = Settings::from_yaml("HUB", &yaml, []);
        let config = HubConfig::read(&mut settings.root());
        settings.finish().unwrap_or_else(|problems| panic!("{problems}"));
        config
    }

    /// The same for a line of logs or traces that are stored in `clickhouse`.
    pub(crate) fn table_config(&self, clickhouse: &ClickHouseConfig, more: &str) -> HubConfig {
        let mut config = self.config(&format!("clickhouse: {{url: {}}}\n{more}", clickhouse.http.url()));
        config.clickhouse = Some(clickhouse.clone());
        config
    }

    /// A configuration file for the program itself.
    pub(crate) fn yaml(&self, clickhouse: &ClickHouseConfig, more: &str) -> String {
        let signals: String = Signal::ALL
            .into_iter()
            .map(|signal| match signal == self.signal {
                true => format!("  {signal}: {{topic: {}, group_id: {}}}\n", self.topic, self.group),
                false => format!("  {signal}: {{enabled: false}}\n"),
            })
            .collect();
        format!(
            "kafka: {{brokers: ['{}']}}\nclickhouse: {{url: '{}', database: {}, schema: {{retention_days: {}}}}}\n\
             signals:\n{signals}{more}\n",
            self.connection.brokers.join("','"),
            clickhouse.http.url(),
            clickhouse.database,
            clickhouse.schema.retention_days,
        )
    }

    /// Sends one record to a partition and returns its offset once the broker has it.
    pub(crate) async fn send(&self, partition: i32, value: &[u8], headers: &[(&str, &[u8])]) -> i64 {
        loop {
            let record =
                OutgoingRecord { topic: &self.topic, partition: Some(partition), key: None, value, headers };
            match self.producer.send(record) {
                Ok(delivery) => return delivery.await.unwrap().offset,
                Err(refused) if refused.is_queue_full() => sleep(Duration::from_millis(10)).await,
                Err(refused) => panic!("{refused}"),
            }
        }
    }

    /// Waits until the group has committed every record there is.
    pub(crate) async fn wait_until_committed(&self) {
        let ends = admin::watermarks(&self.connection, &self.topic).await.unwrap();
        eventually("every record is committed", async || {
            let committed = self.committed().await;
            ends.iter().all(|end| committed.get(&end.partition).copied().unwrap_or(0) >= end.high)
        })
        .await;
    }

    /// The group's committed offset by partition.
    pub(crate) async fn committed(&self) -> BTreeMap<i32, i64> {
        let committed = admin::committed(&self.connection, &self.group, &self.topic).await.unwrap();
        committed
            .into_iter()
            .filter_map(|(partition, position)| Some((partition, position?.offset)))
            .collect()
    }

    /// What is announced beside the group's committed offsets, by partition.
    pub(crate) async fn announced(&self) -> BTreeMap<i32, String> {
        let committed = admin::committed(&self.connection, &self.group, &self.topic).await.unwrap();
        let announced =
            committed.into_iter().filter_map(|(partition, point)| Some((partition, point?.metadata)));
        announced.filter(|(_, metadata)| !metadata.is_empty()).collect()
    }

    /// Commits an offset for the group, as an operator's tool does while no hub runs.
    pub(crate) async fn set_committed(&self, partition: i32, offset: i64) {
        self.set_committed_with(partition, offset, "").await;
    }

    /// The same with metadata.
    pub(crate) async fn set_committed_with(&self, partition: i32, offset: i64, metadata: &str) {
        let config = ConsumerConfig::new(self.connection.clone(), &self.group);
        let (consumer, mut events) = Consumer::start(&config, &[&self.topic]).unwrap();
        let generation = loop {
            let event = timeout(PATIENCE, events.recv()).await.expect("the group is joined").unwrap();
            if let ConsumerEvent::Assigned { generation, .. } = event {
                break generation;
            }
        };
        let topic = self.topic.as_str().into();
        let commit = CommitOffset { topic, partition, offset, metadata: metadata.to_owned() };
        consumer.commit(generation, vec![commit]).await.unwrap();
        tokio::join!(consumer.shutdown(), async { while events.recv().await.is_some() {} });
    }

    /// The first `count` records of the dead-letter topic, and proof that there are no more.
    pub(crate) async fn read_dead_letters(&self, count: usize) -> Vec<Record> {
        let ends = admin::watermarks(&self.connection, &self.dead_letters).await.unwrap();
        assert_eq!(ends.iter().map(|end| end.high).sum::<i64>(), count as i64, "dead letters");
        let config = ConsumerConfig::new(self.connection.clone(), &format!("{}-check", self.group));
        let (consumer, mut events) = Consumer::start(&config, &[&self.dead_letters]).unwrap();
        let mut records = Vec::new();
        while records.len() < count {
            let event = timeout(PATIENCE, events.recv()).await.expect("the dead letters come").unwrap();
            if let ConsumerEvent::Record(record) = event {
                records.push(record);
            }
        }
        tokio::join!(consumer.shutdown(), async { while events.recv().await.is_some() {} });
        records
    }
}

impl Hub {
    pub(crate) fn start(config: HubConfig) -> Hub {
        log_as_asked();
        let runtime = Runtime::detached();
        let task = tokio::spawn(app::run(config, runtime.clone()));
        Hub { runtime, task }
    }

    /// Starts and waits until every condition holds.
    pub(crate) async fn ready(config: HubConfig) -> Hub {
        let hub = Hub::start(config);
        let readiness = hub.runtime.readiness();
        eventually("the hub is ready", async || !readiness.report().is_empty() && readiness.is_ready()).await;
        hub
    }

    /// Ends the hub in order, as SIGTERM does.
    pub(crate) async fn stop(self) {
        self.runtime.shutdown().cancel();
        timeout(PATIENCE, self.task).await.expect("the hub ends").unwrap().unwrap();
    }

    /// Why a condition does not hold.
    pub(crate) fn unmet(&self, condition: &str) -> Option<String> {
        let report = self.runtime.readiness().report();
        report.into_iter().find(|state| state.name == condition)?.unmet().map(str::to_owned)
    }

    /// The value of a metric, summed over its labels that contain `label`.
    pub(crate) fn metric(&self, name: &str, label: &str) -> f64 {
        let text = self.runtime.encode_metrics().unwrap();
        let lines = text.lines().filter(|line| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' '])) && line.contains(label)
        });
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    /// The conservation identity of the records. While records flow the counters are not read at one moment, so it is waited for.
    pub(crate) async fn check_conservation(&self) {
        eventually("no record is unaccounted for", async || {
            let resolved = self.metric("hub_records_resolved_total", "");
            let in_flight = self.metric("hub_records_in_flight", "");
            self.metric("hub_records_fetched_total", "") == resolved + in_flight
        })
        .await;
    }
}

/// Logs to standard error when `HUB_TEST_LOG` holds a level.
fn log_as_asked() {
    if let Ok(level) = std::env::var("HUB_TEST_LOG") {
        let mut settings = Settings::from_yaml("HUB", &format!("{{format: text, level: '{level}'}}"), []);
        LogConfig::read(&mut settings.root()).install();
    }
}

/// Waits until `holds`, and fails by name when it never does.
pub(crate) async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await {
        assert!(Instant::now() < deadline, "never happened: {what}");
        sleep(Duration::from_millis(100)).await;
    }
}

/// A logs request of `items` records whose bodies begin with `name`.
pub(crate) fn logs_request(name: &str, items: usize) -> Bytes {
    logs_request_at(name, items, telemetry_wire::fixtures::START_UNIX_NANO)
}

/// The same, from this moment on, in nanoseconds since the epoch.
pub(crate) fn logs_request_at(name: &str, items: usize, unix_nano: u64) -> Bytes {
    use opentelemetry_proto::tonic::{
        collector::logs::v1::ExportLogsServiceRequest,
        common::v1::{AnyValue, any_value::Value},
        logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    };
    use prost::Message as _;
    let log_records = (0..items)
        .map(|item| LogRecord {
            time_unix_nano: unix_nano + item as u64,
            body: Some(AnyValue { value: Some(Value::StringValue(format!("{name} {item}"))) }),
            ..LogRecord::default()
        })
        .collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource_logs = vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec().into()
}
