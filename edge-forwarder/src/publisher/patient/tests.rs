//! Batches of tailed lines against a real broker: they are durable once, and found again from a mark.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use devstack::{Part, Server, Stack, StackOptions};
use kafka_client::{
    ConnectionConfig, OffsetRange, RangeReader,
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
use telemetry_wire::{dead_letter_topic, headers::RecordHeaders, key::KeyRule, partition::Partitioner};
use tempfile::TempDir;
use tokio::task::JoinSet;

use super::*;
use crate::{
    Config,
    budget::MemoryBudget,
    metrics::Metrics,
    publisher::tail_mark::{TailMark, TailedSinceError},
    spool::Backlogs,
};

/// Longer than anything here takes on a loaded machine; reached only when something hangs.
const PATIENCE: Duration = Duration::from_secs(60);

const SPOOL: &str = "spool: {after: 300ms, settling: 500ms}";

/// A broker, and a topic of the test's own.
struct Scene {
    own: Option<Arc<Stack>>,
    brokers: String,
    topic: String,
}

/// A publisher on a folder for its spool.
struct Edge {
    publisher: Publisher,
    runtime: Runtime,
    budget: MemoryBudget,
}

/// What a record of a topic holds.
#[derive(Debug)]
struct Stored {
    bodies: Vec<String>,
    headers: RecordHeaders,
}

impl Scene {
    /// At the broker that all tests share.
    async fn shared() -> Scene {
        static BROKER: LazyLock<Stack> = LazyLock::new(|| {
            Stack::up(StackOptions { parts: vec![Part::Kafka], ..StackOptions::default() }).unwrap()
        });
        let brokers = tokio::task::spawn_blocking(|| BROKER.endpoints().kafka_brokers.clone()).await.unwrap();
        Scene::at(None, brokers, &[]).await
    }

    /// At a broker that the test may stop.
    async fn own() -> Scene {
        let options = StackOptions::own(&[Part::Kafka]);
        let stack = Arc::new(tokio::task::spawn_blocking(|| Stack::up(options)).await.unwrap().unwrap());
        let brokers = stack.endpoints().kafka_brokers.clone();
        Scene::at(Some(stack), brokers, &[]).await
    }

    async fn at(own: Option<Arc<Stack>>, brokers: String, config: &[(&str, &str)]) -> Scene {
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

    fn connection(&self) -> ConnectionConfig {
        ConnectionConfig::plaintext(&[&self.brokers], "test")
    }

    async fn broker(&self, act: fn(&Server) -> devstack::Result<()>) {
        let stack = Arc::clone(self.own.as_ref().unwrap());
        tokio::task::spawn_blocking(move || act(stack.kafka())).await.unwrap().unwrap();
    }

    fn edge(&self, folder: &Path, yaml: &str) -> Edge {
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
        let backlogs =
            Backlogs::open(&config.spool, config.publisher.max_frame_bytes(), &metrics).unwrap();
        let publisher = Publisher::start(&config.publisher, backlogs, &budget, &metrics).unwrap();
        Edge { publisher, runtime, budget }
    }

    /// One that knows its topics, so that its marks do not reach back to their beginning.
    async fn ready_edge(&self, folder: &Path, yaml: &str) -> Edge {
        let edge = self.edge(folder, yaml);
        let route = &edge.publisher.shared.routes[Signal::Logs as usize];
        until("the topics to be known", async || {
            let is_known = |topic: &crate::publisher::topic::Topic| {
                topic.partitions(&edge.publisher.shared.producer).is_some()
            };
            is_known(&route.topic) && is_known(&route.dead_letter_topic)
        })
        .await;
        edge
    }

    /// Every record of a topic that has items.
    async fn read(&self, topic: &str) -> Vec<Stored> {
        let marks = admin::watermarks(&self.connection(), topic).await.unwrap();
        let (connection, topic) = (self.connection(), topic.to_owned());
        let read = move || {
            let reader = RangeReader::new(&connection).unwrap();
            let mut stored = Vec::new();
            for mark in marks {
                let range =
                    OffsetRange { topic: topic.clone(), partition: mark.partition, from: mark.low, to: mark.high };
                let see = |record: &kafka_client::RangeRecord<'_>| {
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

    /// How often each body is in the topic.
    async fn copies(&self) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for body in self.read(&self.topic).await.into_iter().flat_map(|record| record.bodies) {
            *copies.entry(body).or_default() += 1;
        }
        copies
    }
}

impl Edge {
    fn batch(&self, file: &str, position: u64, lines: &[String]) -> TailedBatch {
        let request: Bytes = logs(lines).encode_to_vec().into();
        let mut reservation = self.budget.reservation();
        reservation.grow(request.len()).unwrap();
        let items = lines.len() as u64;
        TailedBatch { request, items, received_at: 1, reservation, origin: origin(file, position) }
    }

    /// Publishes one line, which names its file and position.
    async fn publish(&self, file: &str, position: u64) -> Result<Landed, Abandoned> {
        self.publisher.publish_tailed(self.batch(file, position, &[line(file, position)])).await
    }

    async fn tailed_since(&self, mark: &TailMark) -> BTreeSet<(String, String)> {
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

    fn metric(&self, name: &str) -> f64 {
        let text = self.runtime.encode_metrics().unwrap();
        let of_name = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']));
        let of_logs = text.lines().filter(of_name).filter(|line| line.contains("signal=\"logs\""));
        of_logs.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum()
    }

    async fn until_drained(&self) {
        until("an empty spool", async || self.metric("edge_spool_pending_items") == 0.0).await;
    }

    fn assert_conserved(&self) {
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

    async fn stop(self) {
        within("the edge's end", self.publisher.drain()).await;
        self.assert_conserved();
    }
}

fn line(file: &str, position: u64) -> String {
    format!("{file} up to {position}")
}

fn origin(file: &str, position: u64) -> Origin {
    Origin { file: file.into(), position: position.to_string() }
}

fn set<const N: usize>(origins: [(&str, u64); N]) -> BTreeSet<(String, String)> {
    origins.map(|(file, position)| (file.to_owned(), position.to_string())).into_iter().collect()
}

fn logs(lines: &[String]) -> ExportLogsServiceRequest {
    let record = |line: &String| LogRecord {
        body: Some(AnyValue { value: Some(Value::StringValue(line.clone())) }),
        ..LogRecord::default()
    };
    let log_records = lines.iter().map(record).collect();
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let resource = Some(Resource::default());
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }] }
}

fn bodies(value: &[u8]) -> Vec<String> {
    let request = ExportLogsServiceRequest::decode(value).unwrap();
    let scopes = request.resource_logs.into_iter().flat_map(|group| group.scope_logs);
    let body = |record: LogRecord| match record.body.unwrap().value.unwrap() {
        Value::StringValue(body) => body,
        other => panic!("{other:?}"),
    };
    scopes.flat_map(|scope| scope.log_records).map(body).collect()
}

fn once(lines: impl IntoIterator<Item = String>) -> BTreeMap<String, usize> {
    lines.into_iter().map(|line| (line, 1)).collect()
}

/// What a crash leaves on the disk.
fn image(folder: &Path) -> TempDir {
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

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    timeout(PATIENCE, future).await.unwrap_or_else(|_| panic!("{what} did not come"))
}

async fn until(what: &str, mut is_true: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !is_true().await {
        assert!(started.elapsed() < PATIENCE, "{what} did not come true");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_became_durable_after_a_mark_is_found_from_it_and_nothing_else() {
    let scene = Scene::shared().await;
    let (folder, other_folder) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let edge = scene.ready_edge(folder.path(), SPOOL).await;
    edge.publish("a", 1).await.unwrap().position_moved();
    let early = TailMark::from_bytes(&edge.publisher.tail_mark().to_bytes()).unwrap();
    let unknown = edge.publish("b", 1).await.unwrap();
    // Each partition gets more, so that only a floor that stays behind leads to what came before.
    edge.publisher.publish_tailed(edge.batch("a", 2, &[line("a", 2)])).await.unwrap().position_moved();
    let late = edge.publisher.tail_mark();
    let other = scene.ready_edge(other_folder.path(), SPOOL).await;
    other.publish("c", 1).await.unwrap().position_moved();
    edge.assert_conserved();
    edge.stop().await;
    other.stop().await;
    let next = scene.ready_edge(folder.path(), SPOOL).await;
    assert_eq!(next.tailed_since(&early).await, set([("a", 2), ("b", 1)]));
    assert!(next.tailed_since(&late).await.is_superset(&set([("b", 1)])), "its position has not moved");
    assert_eq!(next.tailed_since(&next.publisher.tail_mark()).await, set([]));
    drop(unknown);
    next.stop().await;
    let lines = [line("a", 1), line("a", 2), line("b", 1), line("c", 1)];
    assert_eq!(scene.copies().await, once(lines));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_lines_are_found_in_the_spool_and_later_in_the_topic() {
    let scene = Scene::own().await;
    scene.broker(Server::stop).await;
    let folder = TempDir::new().unwrap();
    let edge = scene.edge(folder.path(), SPOOL);
    edge.publish("a", 1).await.unwrap().position_moved();
    let mark = edge.publisher.tail_mark();
    edge.publish("a", 2).await.unwrap().position_moved();
    let _unknown = edge.publish("b", 1).await.unwrap();
    assert_eq!(edge.metric("edge_spool_pending_items"), 3.0);
    let crashed = image(folder.path());
    edge.stop().await;
    let next = scene.edge(crashed.path(), SPOOL);
    let route = &next.publisher.shared.routes[Signal::Logs as usize];
    let backlog = route.backlog.as_ref().unwrap();
    let spooled = crate::publisher::tail_mark::spooled_since(backlog, &mark).await.unwrap();
    assert_eq!(spooled, [origin("a", 2), origin("b", 1)].into());
    let asked = within("an answer", next.publisher.tailed_since(&mark)).await;
    assert!(matches!(asked, Err(TailedSinceError::Topics(_))), "half an answer is none: {asked:?}");
    scene.broker(Server::start).await;
    // The mark was taken while the topics were not known, so it leads to all that is in them.
    assert!(next.tailed_since(&mark).await.is_superset(&set([("a", 2), ("b", 1)])));
    next.until_drained().await;
    next.stop().await;
    let next = scene.edge(crashed.path(), SPOOL);
    assert_eq!(next.tailed_since(&mark).await, set([("a", 1), ("a", 2), ("b", 1)]), "in the topic now");
    next.stop().await;
    assert_eq!(scene.copies().await, once([line("a", 1), line("a", 2), line("b", 1)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_full_spool_and_no_broker_lines_wait_and_arrive_once() {
    let scene = Scene::own().await;
    scene.broker(Server::stop).await;
    let folder = TempDir::new().unwrap();
    let small = "{spool: {max_bytes: 1MiB, segment_bytes: 64KiB, queue_bytes: 64KiB}, kafka: {producer: {max_message_bytes: 32KiB}}}";
    let edge = scene.edge(folder.path(), small);
    let file = |number: u64| format!("file {number} {}", "f".repeat(20_000));
    let mut batches = JoinSet::new();
    for number in 0..60 {
        let (publisher, batch) = (edge.publisher.clone(), edge.batch("f", number, &[file(number)]));
        batches.spawn(async move { publisher.publish_tailed(batch).await.map(Landed::position_moved) });
    }
    until("a full spool", async || {
        !edge.publisher.obstacles().refusing.is_empty()
            && edge.metric("edge_publisher_in_flight_items") + edge.metric("edge_spool_pending_items") == 60.0
    })
    .await;
    let waiting = edge.metric("edge_publisher_in_flight_items");
    assert!(waiting > 0.0, "1 MiB does not hold them all");
    scene.broker(Server::start).await;
    let landed = within("the last batch", batches.join_all()).await;
    assert_eq!(landed, vec![Ok(()); 60]);
    edge.until_drained().await;
    edge.stop().await;
    assert_eq!(scene.copies().await, once((0..60).map(file)));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_too_large_for_the_topic_arrives_in_parts_that_all_say_whose_they_are() {
    let shared = Scene::shared().await;
    let scene = Scene::at(None, shared.brokers, &[("max.message.bytes", "50000")]).await;
    let folder = TempDir::new().unwrap();
    let plain = "{spool: {after: 300ms, settling: 500ms}, kafka: {producer: {compression: none}}}";
    let edge = scene.ready_edge(folder.path(), plain).await;
    let mark = edge.publisher.tail_mark();
    let lines: Vec<String> = (0..200).map(|number| format!("{number} {}", "x".repeat(1000))).collect();
    let big = vec!["b".repeat(60_000)];
    for (position, lines) in [(1, &lines), (2, &big)] {
        let batch = edge.batch("a", position, lines);
        within("it to land", edge.publisher.publish_tailed(batch)).await.unwrap().position_moved();
    }
    edge.until_drained().await;
    edge.stop().await;
    assert_eq!(scene.copies().await, once(lines));
    let letters = scene.read(&dead_letter_topic(&scene.topic)).await;
    assert_eq!(letters.iter().map(|letter| &letter.bodies).collect::<Vec<_>>(), [&big]);
    let parts = scene.read(&scene.topic).await;
    assert!(parts.len() > 3 && parts.iter().all(|part| part.headers.part.is_some()), "{parts:?}");
    for (record, position) in parts.iter().map(|part| (part, "1")).chain([(&letters[0], "2")]) {
        let Stored { headers, .. } = record;
        let of_file = (headers.file.as_deref(), headers.file_position.as_deref());
        assert_eq!(of_file, (Some("a"), Some(position)));
    }
    let next = scene.ready_edge(folder.path(), plain).await;
    assert_eq!(next.tailed_since(&mark).await, set([("a", 1), ("a", 2)]));
    next.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_flight_at_a_crash_is_found_if_it_has_arrived_and_sent_no_second_time() {
    let scene = Scene::own().await;
    let folder = TempDir::new().unwrap();
    let patient = "spool: {after: 1h, settling: 500ms}";
    let edge = scene.ready_edge(folder.path(), patient).await;
    edge.publish("a", 1).await.unwrap().position_moved();
    scene.broker(Server::freeze).await;
    let (publisher, batch) = (edge.publisher.clone(), edge.batch("a", 2, &[line("a", 2)]));
    let publishing = tokio::spawn(async move { publisher.publish_tailed(batch).await });
    until("the batch to be on its way", async || edge.publisher.shared.producer.in_flight() == 1).await;
    let mark = edge.publisher.tail_mark();
    let crashed = image(folder.path());
    edge.stop().await;
    // The end of the process is a reason to ask the disk early.
    let _unknown = within("an answer", publishing).await.unwrap().unwrap();
    scene.broker(Server::thaw).await;
    until("the late record", async || scene.copies().await.len() == 2).await;
    for folder in [&crashed, &folder] {
        let next = scene.edge(folder.path(), patient);
        assert_eq!(next.tailed_since(&mark).await, set([("a", 2)]));
        next.until_drained().await;
        next.stop().await;
    }
    assert_eq!(scene.copies().await, once([line("a", 1), line("a", 2)]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_only_a_silent_broker_has_waits_for_it_until_the_process_ends() {
    let scene = Scene::own().await;
    let folder = TempDir::new().unwrap();
    let edge = scene.ready_edge(folder.path(), "spool: {after: 100ms, settling: 500ms}").await;
    let start = |position| {
        let (publisher, batch) = (edge.publisher.clone(), edge.batch("a", position, &[line("a", position)]));
        tokio::spawn(async move { publisher.publish_tailed(batch).await })
    };
    let is_on_its_way = async || edge.publisher.shared.producer.in_flight() == 1;
    edge.publish("a", 1).await.unwrap().position_moved();
    // It refuses whatever comes.
    edge.publisher.shared.routes[Signal::Logs as usize].backlog.as_ref().unwrap().close();
    scene.broker(Server::freeze).await;
    let mut second = start(2);
    until("the batch to be on its way", is_on_its_way).await;
    let waited = timeout(Duration::from_secs(2), &mut second).await;
    assert!(waited.is_err(), "the spool refuses and nobody answers: {waited:?}");
    scene.broker(Server::thaw).await;
    within("the broker's answer", second).await.unwrap().unwrap().position_moved();
    scene.broker(Server::freeze).await;
    let third = start(3);
    until("the batch to be on its way", is_on_its_way).await;
    within("the end", edge.publisher.drain()).await;
    assert_eq!(within("an answer", third).await.unwrap().map(drop), Err(Abandoned));
    assert_eq!(edge.publish("a", 4).await.map(drop), Err(Abandoned), "it is over");
    let mark = edge.publisher.tail_mark();
    edge.assert_conserved();
    drop(edge);
    scene.broker(Server::thaw).await;
    let next = scene.ready_edge(folder.path(), SPOOL).await;
    let found = next.tailed_since(&mark).await;
    next.stop().await;
    let copies = scene.copies().await;
    assert_eq!(found.contains(&("a".to_owned(), "3".to_owned())), copies.contains_key(&line("a", 3)));
    assert!(copies.values().all(|copies| *copies == 1), "{copies:?}");
}

#[test]
fn the_key_is_that_of_the_resource_or_none() {
    let request: Bytes = logs(&["one".to_owned(), "two".to_owned()]).encode_to_vec().into();
    let attributes = KeyRule::Attributes(vec!["service.name".to_owned()]);
    for (rule, key_bytes) in
        [(KeyRule::None, None), (KeyRule::TraceId, None), (KeyRule::Resource, Some(16)), (attributes, Some(16))]
    {
        let route = Route::new(Signal::Logs, "logs", &rule, Partitioner::default(), None);
        assert_eq!(key_of(&route, &request).map(|key| key.len()), key_bytes, "{rule:?}");
        assert_eq!(key_of(&route, &Bytes::from_static(b"\xff")), None, "{rule:?}");
    }
}
