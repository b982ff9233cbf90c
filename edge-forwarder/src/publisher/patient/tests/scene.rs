//! A broker, edges whose publisher is spoken to as a tailer does, and what lies in their topics.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use devstack::{Part, Server, Stack, StackOptions};
use kafka_client::{
    ConnectionConfig, LookupError, OffsetRange, RangeReader, RangeRecord,
    admin::{self, TopicSpec},
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
};
use prost::Message;
use service_runtime::{Runtime, Settings};
use telemetry_wire::{Signal, dead_letter_topic, headers::RecordHeaders};
use tempfile::TempDir;
use tokio::time::{Instant, timeout};

use crate::{
    Config,
    budget::MemoryBudget,
    metrics::Metrics,
    publisher::{
        Backlog, Origin, Publisher,
        patient::{Abandoned, TailedBatch},
        tail_mark::{Landed, TailMark},
    },
    spool::Backlogs,
};

/// Longer than anything here takes on a loaded machine; reached only when something hangs.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

pub(super) const SPOOL: &str = "spool: {after: 300ms, settling: 500ms}";

/// A broker that is well is not late, however busy the machine.
pub(super) const UNHURRIED: &str = "spool: {after: 1h, settling: 500ms}";

/// A broker, and a topic of the test's own.
pub(super) struct Scene {
    pub(super) own: Option<Arc<Stack>>,
    pub(super) brokers: String,
    pub(super) topic: String,
}

/// A publisher on a folder for its spool.
pub(super) struct Edge {
    pub(super) publisher: Publisher,
    runtime: Runtime,
    budget: MemoryBudget,
}

/// What a record of a topic holds.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) bodies: Vec<String>,
    pub(super) headers: RecordHeaders,
}

impl Scene {
    /// At the broker that all tests share.
    pub(super) async fn shared() -> Scene {
        static BROKER: LazyLock<Stack> = LazyLock::new(|| {
            Stack::up(StackOptions { parts: vec![Part::Kafka], ..StackOptions::default() }).unwrap()
        });
        let brokers = tokio::task::spawn_blocking(|| BROKER.endpoints().kafka_brokers.clone()).await.unwrap();
        Scene::at(None, brokers, &[]).await
    }

    /// At a broker that the test may stop.
    pub(super) async fn own() -> Scene {
        let options = StackOptions::own(&[Part::Kafka]);
        let stack = Arc::new(tokio::task::spawn_blocking(|| Stack::up(options)).await.unwrap().unwrap());
        let brokers = stack.endpoints().kafka_brokers.clone();
        Scene::at(Some(stack), brokers, &[]).await
    }

    pub(super) async fn at(own: Option<Arc<Stack>>, brokers: String, config: &[(&str, &str)]) -> Scene {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let topic = format!("tailed-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let scene = Scene { own, brokers, topic };
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let specs = [
            TopicSpec { config, ..TopicSpec::new(&scene.topic, 3) },
            TopicSpec::new(dead_letter_topic(&scene.topic), 1),
        ];
        admin::create_topics(&scene.connection(), &specs).await.unwrap();
        scene
    }

    pub(super) fn connection(&self) -> ConnectionConfig {
        ConnectionConfig::plaintext(&[&self.brokers], "test")
    }

    pub(super) async fn broker(&self, act: fn(&Server) -> devstack::Result<()>) {
        let stack = Arc::clone(self.own.as_ref().unwrap());
        tokio::task::spawn_blocking(move || act(stack.kafka())).await.unwrap().unwrap();
    }

    pub(super) fn edge(&self, folder: &Path, yaml: &str) -> Edge {
        let environment = [
            ("EDGE__KAFKA__BROKERS", self.brokers.as_str()),
            ("EDGE__PUBLISHER__LOGS__TOPIC", &self.topic),
            ("EDGE__SPOOL__DIRECTORY", folder.to_str().unwrap()),
        ];
        let environment = environment.map(|(name, value)| (name.to_owned(), value.to_owned()));
        let mut settings = Settings::from_yaml("EDGE", yaml, environment);
        let config = Config::read(&mut settings.root());
        settings.finish().unwrap();
        let budget = MemoryBudget::new(config.memory_max_bytes);
        let runtime = Runtime::detached();
        let metrics = runtime.register_metrics(|registry| Metrics::register(registry, &budget));
        let backlogs = Backlogs::open(&config.spool, config.publisher.max_frame_bytes(), &metrics).unwrap();
        let publisher =
            Publisher::start(&config.publisher, backlogs, &budget, &metrics, &Runtime::detached()).unwrap();
        Edge { publisher, runtime, budget }
    }

    /// One that knows its topic, so that its marks do not reach back to the beginning.
    pub(super) async fn ready_edge(&self, folder: &Path, yaml: &str) -> Edge {
        let edge = self.edge(folder, yaml);
        edge.until_topic_known().await;
        edge
    }

    pub(super) async fn knows(&self, topic: &str) -> bool {
        admin::watermarks(&self.connection(), topic).await.is_ok_and(|marks| !marks.is_empty())
    }

    /// Every record of a topic that has items.
    pub(super) async fn read(&self, topic: &str) -> Vec<Stored> {
        let mut marks = Err(LookupError::Closed);
        // A broker that was silent has to find itself first.
        until("the topic's watermarks", async || {
            marks = admin::watermarks(&self.connection(), topic).await;
            marks.is_ok()
        })
        .await;
        let marks = marks.unwrap();
        let (connection, topic) = (self.connection(), topic.to_owned());
        let read = move || {
            let reader = RangeReader::new(&connection).unwrap();
            let mut stored = Vec::new();
            for mark in marks {
                let range = OffsetRange {
                    topic: topic.clone(),
                    partition: mark.partition,
                    from: mark.low,
                    to: mark.high,
                };
                let see = |record: &RangeRecord<'_>| {
                    let headers = RecordHeaders::decode(record.headers.iter().copied());
                    stored.push(Stored { bodies: bodies(record.value), headers });
                };
                reader.read(&range, see).unwrap();
            }
            stored.retain(|record| !record.bodies.is_empty());
            stored
        };
        tokio::task::spawn_blocking(read).await.unwrap()
    }

    /// Whether a batch has arrived only the broker knows; the next process has to know it too. Ends that one.
    pub(super) async fn assert_found_if_stored(&self, next: Edge, mark: &TailMark, batch: (&str, u64)) {
        let found = next.tailed_since(mark).await;
        next.stop().await;
        let copies = self.copies().await;
        let is_stored = copies.contains_key(&line(batch.0, batch.1));
        assert_eq!(found, if is_stored { set([batch]) } else { set([]) });
        assert!(copies.values().all(|copies| *copies == 1), "{copies:?}");
    }

    /// How often each body is in the topic.
    pub(super) async fn copies(&self) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for body in self.read(&self.topic).await.into_iter().flat_map(|record| record.bodies) {
            *copies.entry(body).or_default() += 1;
        }
        copies
    }
}

impl Edge {
    pub(super) fn batch(&self, file: &str, position: u64, lines: &[String]) -> TailedBatch {
        let request: Bytes = logs(lines).encode_to_vec().into();
        let mut reservation = self.budget.reservation();
        reservation.grow(request.len()).unwrap();
        let items = lines.len() as u64;
        TailedBatch { request, items, received_at: 1, reservation, origin: origin(file, position) }
    }

    /// Publishes one line, which names its file and position.
    pub(super) async fn publish(&self, file: &str, position: u64) -> Result<Landed, Abandoned> {
        self.publisher.publish_tailed(self.batch(file, position, &[line(file, position)])).await
    }

    /// The same, until the broker has it, however late that is.
    pub(super) async fn publish_and_be_acked(&self, file: &str, position: u64) {
        self.publish(file, position).await.unwrap().position_moved();
        until("an ack", async || self.metric("edge_publisher_acked_items_total") == 1.0).await;
    }

    pub(super) async fn tailed_since(&self, mark: &TailMark) -> BTreeSet<(String, String)> {
        let mut answer = None;
        until("an answer", async || {
            answer = self.publisher.tailed_since(mark).await.ok();
            answer.is_some()
        })
        .await;
        let origins = answer.unwrap();
        let found: BTreeSet<_> =
            origins.iter().map(|origin| (origin.file.to_string(), origin.position.clone())).collect();
        assert_eq!(found.len(), origins.len(), "each once");
        found
    }

    pub(super) async fn until_topic_known(&self) {
        let shared = &self.publisher.shared;
        let topic = &shared.routes[Signal::Logs as usize].topic;
        until("the topic to be known", async || topic.partitions(&shared.producer).is_some()).await;
    }

    pub(super) fn backlog(&self) -> &Backlog {
        self.publisher.shared.routes[Signal::Logs as usize].backlog.as_ref().unwrap()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.publisher.shared.producer.in_flight()
    }

    pub(super) fn metric(&self, name: &str) -> f64 {
        let text = self.runtime.encode_metrics().unwrap();
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let of_logs = text.lines().filter(of_name).filter(|line| line.contains("signal=\"logs\""));
        of_logs.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    pub(super) async fn until_drained(&self) {
        until("an empty spool", async || self.metric("edge_spool_pending_items") == 0.0).await;
    }

    pub(super) fn assert_conserved(&self) {
        let sum = |names: &[&str]| -> f64 { names.iter().map(|name| self.metric(name)).sum() };
        let taken = sum(&["edge_receiver_items_total", "edge_spool_recovered_items"]);
        let settled = sum(&[
            "edge_publisher_acked_items_total",
            "edge_publisher_dead_lettered_items_total",
            "edge_publisher_refused_items_total",
            "edge_spool_pending_items",
        ]);
        let in_flight = sum(&["edge_publisher_in_flight_items", "edge_publisher_in_flight_bytes"]);
        assert_eq!((taken, in_flight), (settled, 0.0));
        assert_eq!(self.budget.used(), 0);
    }

    pub(super) async fn stop(self) {
        within("the edge's end", self.publisher.drain()).await;
        self.assert_conserved();
    }
}

pub(super) fn line(file: &str, position: u64) -> String {
    format!("{file} up to {position}")
}

pub(super) fn origin(file: &str, position: u64) -> Origin {
    Origin { file: file.into(), position: position.to_string() }
}

pub(super) fn set<const N: usize>(origins: [(&str, u64); N]) -> BTreeSet<(String, String)> {
    origins.map(|(file, position)| (file.to_owned(), position.to_string())).into_iter().collect()
}

pub(super) fn logs(lines: &[String]) -> ExportLogsServiceRequest {
    let record = |line: &String| LogRecord {
        body: Some(AnyValue { value: Some(Value::StringValue(line.clone())) }),
        ..LogRecord::default()
    };
    let log_records = lines.iter().map(record).collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource = Some(Resource::default());
    ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }],
    }
}

pub(super) fn bodies(value: &[u8]) -> Vec<String> {
    let request = ExportLogsServiceRequest::decode(value).unwrap();
    let scopes = request.resource_logs.into_iter().flat_map(|group| group.scope_logs);
    let body = |record: LogRecord| match record.body.unwrap().value.unwrap() {
        Value::StringValue(body) => body,
        other => panic!("{other:?}"),
    };
    scopes.flat_map(|scope| scope.log_records).map(body).collect()
}

pub(super) fn once(lines: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    lines.into_iter().map(|line| (line, 1)).collect()
}

/// What a crash leaves on the disk.
pub(super) fn image(folder: &Path) -> TempDir {
    fn copy(from: &Path, to: &Path) {
        for entry in fs::read_dir(from).unwrap() {
            let entry = entry.unwrap();
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                fs::create_dir(&target).unwrap();
                copy(&entry.path(), &target);
            } else {
                fs::copy(entry.path(), target).unwrap();
            }
        }
    }
    let image = TempDir::new().unwrap();
    copy(folder, image.path());
    image
}

pub(super) async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

pub(super) async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_true().await {
        assert!(started.elapsed() < PATIENCE, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
