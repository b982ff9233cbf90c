//! The broker misbehaves: what was not acknowledged is refused as retryable, and goes through when the broker is right again.

use std::sync::Arc;

use devstack::{Part, Server, Stack, StackOptions};
use kafka_client::admin::{self, TopicSpec};
use prost::Message;
use telemetry_wire::{Signal, dead_letter_topic};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    requests::{few_logs, logs, small},
    support::{Answer, Edge, PATIENCE, Topics, until},
};

async fn send_logs(edge: &Edge) -> Answer {
    Answer::of(edge.http_post(Signal::Logs, "application/x-protobuf").body(small(Signal::Logs).0)).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_topic_blocks_its_signal_until_it_is_created() {
    let topics = Topics::create().await;
    admin::delete_topics(&topics.connection(), &[&topics.of(Signal::Logs)]).await.unwrap();
    let edge = Edge::start(topics, "").await;
    let topic = edge.topics.of(Signal::Logs);
    let is_named = async || {
        let report = edge.runtime.readiness().report();
        report.iter().any(|state| state.unmet.as_ref().is_some_and(|reason| reason.contains(&topic)))
    };
    until("readiness to name the topic", is_named).await;
    let answer = send_logs(&edge).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
    let other =
        Answer::of(edge.http_post(Signal::Traces, "application/x-protobuf").body(small(Signal::Traces).0))
            .await;
    assert_eq!(other.status, 200, "other signals are not held up");
    admin::create_topics(&edge.topics.connection(), &[TopicSpec::new(&topic, 2)]).await.unwrap();
    assert!(edge.runtime.readiness().wait_ready(PATIENCE).await);
    assert_eq!(send_logs(&edge).await.status, 200);
    assert_eq!(edge.topics.count(&topic).await, 1, "the refused request was not published");
    edge.assert_conserved();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_above_the_topics_own_limit_are_cut_smaller_and_a_single_one_is_dead_lettered() {
    let topics = Topics::create().await;
    let topic = topics.of(Signal::Logs);
    admin::delete_topics(&topics.connection(), &[&topic]).await.unwrap();
    let mut spec = TopicSpec::new(&topic, 1);
    spec.config.push(("max.message.bytes".into(), "50000".into()));
    until("the old topic to be gone", async || {
        admin::create_topics(&topics.connection(), std::slice::from_ref(&spec)).await.is_ok()
    })
    .await;
    let edge = Edge::start(topics, "kafka: {producer: {compression: none}}").await;
    assert!(edge.runtime.readiness().wait_ready(PATIENCE).await);
    let big = "b".repeat(60_000);
    let bodies = (0..200).map(|index| format!("{index} {}", "x".repeat(1000))).chain([big]);
    let request = edge.http_post(Signal::Logs, "application/x-protobuf").body(logs(bodies).encode_to_vec());
    assert_eq!(Answer::of(request).await.status, 200);
    assert_eq!(edge.metric("edge_publisher_acked_items_total", ""), 200.0);
    assert_eq!(edge.metric("edge_publisher_dead_lettered_items_total", "record_refused"), 1.0);
    let letters = edge.topics.read(&dead_letter_topic(&topic)).await;
    assert!(letters.len() == 1 && letters[0].value.len() > 60_000, "the whole record, since it fits there");
    edge.assert_conserved();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_leaves_after_its_request_takes_nothing_back() {
    let edge = Edge::ready("kafka: {producer: {linger: 500ms}}").await;
    let body = few_logs().encode_to_vec();
    let mut stream = TcpStream::connect(edge.http).await.unwrap();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: edge\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    until("the request to be taken", async || edge.metric("edge_receiver_items_total", "") == 3.0).await;
    drop(stream);
    until("the ack", async || edge.metric("edge_publisher_acked_items_total", "") == 3.0).await;
    assert_eq!(edge.topics.count(&edge.topics.of(Signal::Logs)).await, 1);
    until("an empty budget", async || edge.budget.used() == 0).await;
    edge.assert_conserved();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_broker_means_refusals_and_a_started_one_acks_again() {
    let own = StackOptions::own(&[Part::Kafka]);
    let stack = Arc::new(tokio::task::spawn_blocking(|| Stack::up(own)).await.unwrap().unwrap());
    let topics = Topics::create_at(&stack.endpoints().kafka_brokers).await;
    let edge = Edge::start(topics, "kafka: {producer: {delivery_timeout: 3s}}").await;
    assert!(edge.runtime.readiness().wait_ready(PATIENCE).await);
    assert_eq!(send_logs(&edge).await.status, 200);

    with_broker(&stack, |kafka| kafka.freeze()).await;
    let answer = send_logs(&edge).await;
    assert_eq!(answer.status, 503, "a broker that does not answer within the delivery timeout");
    assert_eq!(edge.metric("edge_publisher_refused_items_total", "not_acknowledged"), 3.0);
    with_broker(&stack, |kafka| kafka.thaw()).await;
    until("an ack from the thawed broker", async || send_logs(&edge).await.status == 200).await;

    with_broker(&stack, |kafka| kafka.stop()).await;
    until("readiness to end", async || !edge.runtime.readiness().is_ready()).await;
    let answer = send_logs(&edge).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
    with_broker(&stack, |kafka| kafka.start()).await;
    until("an ack from the new broker", async || send_logs(&edge).await.status == 200).await;
    assert!(edge.runtime.readiness().wait_ready(PATIENCE).await);

    let acked = edge.metric("edge_publisher_acked_items_total", "") as i64 / 3;
    let stored = edge.topics.count(&edge.topics.of(Signal::Logs)).await;
    assert!(stored >= acked, "{acked} requests were acked, {stored} are stored");
    edge.assert_conserved();
    edge.stop().await;
}

/// Does something to the broker, on a thread that may block.
async fn with_broker(stack: &Arc<Stack>, act: fn(&Server) -> devstack::Result<()>) {
    let stack = Arc::clone(stack);
    tokio::task::spawn_blocking(move || act(stack.kafka())).await.unwrap().unwrap();
}
