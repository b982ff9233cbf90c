//! The spool takes what the broker does not: senders are answered, and everything arrives once when the broker is well.

use std::{collections::BTreeMap, sync::Arc};

use devstack::{Part, Server, Stack, StackOptions};
use kafka_client::admin::{self, TopicSpec};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value,
};
use prost::Message;
use telemetry_wire::{Signal, dead_letter_topic};
use tempfile::TempDir;

use crate::{
    requests::logs,
    support::{Answer, Edge, PATIENCE, Topics, until},
};

/// A broker that a test may stop, the topics, and a folder for the spool.
struct Scene {
    stack: Arc<Stack>,
    topics: Topics,
    folder: TempDir,
}

impl Scene {
    async fn new() -> Scene {
        let own = StackOptions::own(&[Part::Kafka]);
        let stack = Arc::new(tokio::task::spawn_blocking(|| Stack::up(own)).await.unwrap().unwrap());
        let topics = Topics::create_at(&stack.endpoints().kafka_brokers).await;
        Scene { stack, topics, folder: TempDir::new().unwrap() }
    }

    /// An edge that spools after a short while; `more` follows its settings of the spool.
    async fn edge(&self, more: &str) -> Edge {
        self.edge_after("300ms", more).await
    }

    async fn edge_after(&self, after: &str, more: &str) -> Edge {
        let folder = self.folder.path().display();
        let yaml = format!("spool:\n  directory: {folder}\n  after: {after}\n  settling: 500ms\n{more}");
        Edge::start(self.topics.clone(), &yaml).await
    }

    async fn broker(&self, act: fn(&Server) -> devstack::Result<()>) {
        let stack = Arc::clone(&self.stack);
        tokio::task::spawn_blocking(move || act(stack.kafka())).await.unwrap().unwrap();
    }

    /// How often each body is in a topic of logs.
    async fn stored(&self, topic: &str) -> BTreeMap<String, usize> {
        let mut copies = BTreeMap::new();
        for record in self.topics.read(topic).await {
            let request = ExportLogsServiceRequest::decode(record.value).unwrap();
            let records = request.resource_logs.into_iter().flat_map(|group| group.scope_logs);
            for record in records.flat_map(|scope| scope.log_records) {
                match record.body.and_then(|body| body.value) {
                    Some(Value::StringValue(body)) => *copies.entry(body).or_default() += 1,
                    other => panic!("{other:?}"),
                }
            }
        }
        copies
    }
}

/// Sends one request for each number, and returns the bodies of the acked ones.
async fn send(edge: &Edge, numbers: std::ops::Range<u32>) -> Vec<String> {
    let mut acked = Vec::new();
    for number in numbers {
        let body = format!("line {number}");
        let request = edge.http_post(Signal::Logs, "application/x-protobuf");
        let answer = Answer::of(request.body(logs([body.clone()]).encode_to_vec())).await;
        match answer.status {
            200 => acked.push(body),
            status => assert_eq!(status, 503, "{}", String::from_utf8_lossy(&answer.body)),
        }
    }
    acked
}

fn once(bodies: &[String]) -> BTreeMap<String, usize> {
    bodies.iter().map(|body| (body.clone(), 1)).collect()
}

async fn until_drained(edge: &Edge) {
    until("an empty spool", async || edge.metric("edge_spool_pending_items", "") == 0.0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_the_spool_acks_and_the_backlog_arrives_once() {
    let scene = Scene::new().await;
    scene.broker(Server::stop).await;
    let edge = scene.edge("").await;
    assert!(edge.runtime.readiness().wait_ready(PATIENCE).await, "the spool is enough to be ready");
    let acked = send(&edge, 0..20).await;
    assert_eq!(acked.len(), 20);
    assert_eq!(edge.metric("edge_spool_pending_items", "logs"), 20.0);
    edge.assert_conserved();
    scene.broker(Server::start).await;
    until_drained(&edge).await;
    edge.assert_conserved();
    edge.stop().await;
    assert_eq!(scene.stored(&scene.topics.of(Signal::Logs)).await, once(&acked));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_one_process_spooled_the_next_one_sends() {
    let scene = Scene::new().await;
    scene.broker(Server::stop).await;
    let edge = scene.edge("").await;
    let mut acked = send(&edge, 0..10).await;
    edge.stop().await;
    let edge = scene.edge("").await;
    assert_eq!(edge.metric("edge_spool_recovered_items", "logs"), 10.0);
    acked.extend(send(&edge, 10..20).await);
    scene.broker(Server::start).await;
    until_drained(&edge).await;
    edge.assert_conserved();
    edge.stop().await;
    assert_eq!((acked.len(), scene.stored(&scene.topics.of(Signal::Logs)).await), (20, once(&acked)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_broker_keeps_no_sender_waiting_and_its_late_acks_count() {
    let scene = Scene::new().await;
    // Longer than a healthy broker takes on a busy machine.
    let edge = scene.edge_after("3s", "").await;
    let kept = || edge.metric("edge_publisher_kept_items_total", "");
    let mut acked = send(&edge, 0..1).await;
    until("the broker's first ack", async || edge.metric("edge_publisher_acked_items_total", "") == 1.0)
        .await;
    let before = kept();
    acked.extend(send(&edge, 1..10).await);
    assert_eq!(kept(), before, "a healthy broker leaves the disk alone");
    scene.broker(Server::freeze).await;
    acked.extend(send(&edge, 10..30).await);
    assert_eq!((acked.len(), kept() - before), (30, 20.0));
    scene.broker(Server::thaw).await;
    until_drained(&edge).await;
    edge.assert_conserved();
    edge.stop().await;
    assert_eq!(scene.stored(&scene.topics.of(Signal::Logs)).await, once(&acked));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_in_flight_at_the_end_is_looked_for_before_it_is_sent_again() {
    let scene = Scene::new().await;
    let edge = scene.edge("").await;
    let mut acked = send(&edge, 0..10).await;
    scene.broker(Server::freeze).await;
    // In flight and on the disk; the broker stores them once it is thawed, when nobody waits for its answer any more.
    acked.extend(send(&edge, 10..11).await);
    edge.stop().await;
    scene.broker(Server::thaw).await;
    let topic = scene.topics.of(Signal::Logs);
    let connection = scene.topics.connection();
    until("the late record", async || {
        let marks = admin::watermarks(&connection, &topic).await;
        marks.is_ok_and(|marks| marks.iter().map(|mark| mark.high - mark.low).sum::<i64>() == 11)
    })
    .await;
    let edge = scene.edge("").await;
    until_drained(&edge).await;
    assert_eq!(edge.metric("edge_readback_found_records_total", "logs"), 1.0);
    assert!(edge.metric("edge_readback_bytes_total", "") > 0.0);
    edge.assert_conserved();
    edge.stop().await;
    assert_eq!(scene.stored(&topic).await, once(&acked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_that_is_missing_keeps_its_records_and_degrades_readiness() {
    let scene = Scene::new().await;
    let topic = scene.topics.of(Signal::Logs);
    admin::delete_topics(&scene.topics.connection(), &[&topic]).await.unwrap();
    let edge = scene.edge("").await;
    let readiness = edge.runtime.readiness();
    until("readiness to name the topic", async || {
        readiness.report().iter().any(|state| state.holding.to_string().contains(&topic))
    })
    .await;
    assert!(readiness.is_ready(), "{:?}", readiness.report());
    let acked = send(&edge, 0..5).await;
    assert_eq!((acked.len(), edge.metric("edge_spool_pending_items", "logs")), (5, 5.0));
    admin::create_topics(&scene.topics.connection(), &[TopicSpec::new(&topic, 2)]).await.unwrap();
    until_drained(&edge).await;
    edge.assert_conserved();
    edge.stop().await;
    assert_eq!(scene.stored(&topic).await, once(&acked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_above_the_topics_limit_is_cut_and_what_cannot_be_cut_is_dead_lettered() {
    let scene = Scene::new().await;
    let topic = scene.topics.of(Signal::Logs);
    admin::delete_topics(&scene.topics.connection(), &[&topic]).await.unwrap();
    let edge = scene.edge("kafka: {producer: {compression: none}}").await;
    let big = "b".repeat(60_000);
    let bodies = || (0..200).map(|index| format!("{index} {}", "x".repeat(1000))).chain([big.clone()]);
    let request = edge.http_post(Signal::Logs, "application/x-protobuf");
    assert_eq!(Answer::of(request.body(logs(bodies()).encode_to_vec())).await.status, 200);
    let mut spec = TopicSpec::new(&topic, 1);
    spec.config.push(("max.message.bytes".into(), "50000".into()));
    until("the old topic to be gone", async || {
        admin::create_topics(&scene.topics.connection(), std::slice::from_ref(&spec)).await.is_ok()
    })
    .await;
    until_drained(&edge).await;
    assert_eq!(edge.metric("edge_publisher_dead_lettered_items_total", "record_refused"), 1.0);
    edge.assert_conserved();
    edge.stop().await;
    let expected: Vec<String> = bodies().take(200).collect();
    assert_eq!(scene.stored(&topic).await, once(&expected));
    assert_eq!(scene.stored(&dead_letter_topic(&topic)).await, once(&[big]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_spool_refuses_as_retryable_and_says_so() {
    let scene = Scene::new().await;
    scene.broker(Server::stop).await;
    let small = "  max_bytes: 1MiB\n  segment_bytes: 64KiB\n  queue_bytes: 64KiB\nkafka: {producer: {max_message_bytes: 32KiB}}";
    let edge = scene.edge(small).await;
    let body = "f".repeat(20_000);
    let mut acked = 0;
    loop {
        let request = edge.http_post(Signal::Logs, "application/x-protobuf");
        let answer = Answer::of(request.body(logs([format!("{acked} {body}")]).encode_to_vec())).await;
        if answer.status != 200 {
            assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
            assert!(String::from_utf8_lossy(&answer.body).contains("the spool is full"));
            break;
        }
        acked += 1;
        assert!(acked < 100, "a quota of 1 MiB holds no more");
    }
    assert!(edge.metric("edge_spool_disk_bytes", "logs") <= 1024.0 * 1024.0);
    let readiness = edge.runtime.readiness();
    until("readiness to end", async || !readiness.is_ready()).await;
    let traces = edge.http_post(Signal::Traces, "application/x-protobuf");
    let traces = Answer::of(traces.body(crate::requests::small(Signal::Traces).0)).await;
    assert_eq!(traces.status, 200, "a part of the quota is kept for each signal");
    scene.broker(Server::start).await;
    until_drained(&edge).await;
    edge.assert_conserved();
    edge.stop().await;
    assert_eq!(scene.topics.count(&scene.topics.of(Signal::Logs)).await, acked);
}
