//! The broker misbehaves: what was not acknowledged is refused as retryable, and goes through when the broker is right again.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use devstack::{Part, Server, Stack, StackOptions};
use kafka_client::{
    Record,
    admin::{self, TopicSpec},
};
use prost::Message;
use reqwest::{Client, RequestBuilder};
use telemetry_wire::{InspectLimits, Signal, dead_letter_topic, headers, inspect};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::{
    requests::{few_logs, logs, small, spans},
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
        report.iter().any(|state| state.unmet().is_some_and(|reason| reason.contains(&topic)))
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

/// A request of which one record must be dead-lettered and the others need not.
fn with_an_oversize_item(edge: &Edge) -> RequestBuilder {
    let bodies = ["before".into(), "y".repeat(2_000_000), "after".into()];
    edge.http_post(Signal::Logs, "application/x-protobuf").body(logs(bodies).encode_to_vec())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_missing_dead_letter_topic_is_named_and_nothing_is_stored_in_vain() {
    let topics = Topics::create().await;
    let topic = topics.of(Signal::Logs);
    let letters = dead_letter_topic(&topic);
    admin::delete_topics(&topics.connection(), &[&letters]).await.unwrap();
    // A broker goes on telling of it for a moment, and an edge believes that for a minute.
    until("the topic to be gone", async || admin::watermarks(&topics.connection(), &letters).await.is_err())
        .await;
    let edge = Edge::start(topics, "").await;
    let readiness = edge.runtime.readiness();
    assert!(readiness.wait_ready(PATIENCE).await, "as long as nothing needs the topic");

    let answer = Answer::of(with_an_oversize_item(&edge)).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
    let told = String::from_utf8_lossy(&answer.body);
    assert!(told.contains("dead-letter topic of logs"), "{told}");
    assert_eq!(edge.topics.count(&topic).await, 0, "each retry would store it again");
    assert_eq!(edge.metric("edge_publisher_refused_items_total", "dead_letter_topic_blocked"), 3.0);
    let is_named = async || {
        let report = readiness.report();
        report.iter().any(|state| state.unmet().is_some_and(|reason| reason.contains(&letters)))
    };
    until("readiness to name the topic", is_named).await;
    assert_eq!(send_logs(&edge).await.status, 200, "what needs no letter passes");

    admin::create_topics(&edge.topics.connection(), &[TopicSpec::new(&letters, 1)]).await.unwrap();
    assert!(readiness.wait_ready(PATIENCE).await, "without another letter");
    assert_eq!(Answer::of(with_an_oversize_item(&edge)).await.status, 200);
    assert_eq!(edge.topics.count(&letters).await, 1);
    edge.assert_conserved();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_topic_that_takes_no_letter_is_named() {
    let topics = Topics::create().await;
    let letters = dead_letter_topic(&topics.of(Signal::Logs));
    recreate(&topics, &letters, "1000").await;
    let edge = Edge::start(topics, "kafka: {producer: {compression: none}}").await;
    assert!(edge.runtime.readiness().wait_ready(PATIENCE).await);
    let answer = Answer::of(with_an_oversize_item(&edge)).await;
    assert_eq!(answer.status, 503);
    let told = String::from_utf8_lossy(&answer.body);
    assert!(told.contains("dead-letter topic of logs"), "{told}");
    let is_named = async || {
        let report = edge.runtime.readiness().report();
        report.iter().any(|state| state.unmet().is_some_and(|reason| reason.contains(&letters)))
    };
    until("readiness to name the topic", is_named).await;
    assert_eq!(edge.topics.count(&edge.topics.of(Signal::Logs)).await, 0);
    edge.assert_conserved();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_larger_than_the_producers_queue_is_sent_as_the_queue_empties() {
    let edge =
        Edge::ready("kafka: {producer: {compression: none, max_message_bytes: 20kB, queue_bytes: 1MiB}}")
            .await;
    let bodies = (0..4000).map(|index| format!("{index} {}", "q".repeat(1000)));
    let request = edge.http_post(Signal::Logs, "application/x-protobuf").body(logs(bodies).encode_to_vec());
    let answer = Answer::of(request).await;
    assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
    assert_eq!(edge.metric("edge_publisher_acked_items_total", ""), 4000.0);
    edge.assert_conserved();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_letter_keeps_the_key_of_its_record() {
    let topics = Topics::create().await;
    let topic = topics.of(Signal::Traces);
    recreate(&topics, &topic, "50000").await;
    let edge =
        Edge::start(topics, "{publisher: {traces: {key: trace_id}}, kafka: {producer: {compression: none}}}")
            .await;
    assert!(edge.runtime.readiness().wait_ready(PATIENCE).await);
    let mut request = spans();
    request.resource_spans[0].scope_spans[0].spans[2].name = "n".repeat(60_000);
    let request = edge.http_post(Signal::Traces, "application/x-protobuf").body(request.encode_to_vec());
    assert_eq!(Answer::of(request).await.status, 200);
    let letters = edge.topics.read(&dead_letter_topic(&topic)).await;
    let keys: Vec<_> = letters.iter().map(|letter| letter.key.as_deref()).collect();
    assert_eq!(keys, [Some("03".repeat(16).as_bytes())]);
    edge.assert_conserved();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_above_the_topics_own_limit_are_cut_smaller_and_a_single_one_is_dead_lettered() {
    let topics = Topics::create().await;
    let topic = topics.of(Signal::Logs);
    recreate(&topics, &topic, "50000").await;
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

/// Sends a request as the specification asks: again after each answer that says so. How often it was sent.
async fn send_until_taken(url: String, body: Vec<u8>) -> usize {
    for attempt in 1.. {
        let request =
            Client::new().post(&url).header("content-type", "application/x-protobuf").body(body.clone());
        match Answer::of(request).await.status {
            200 => return attempt,
            503 => {}
            other => panic!("answered with {other}"),
        }
    }
    unreachable!("attempts have no end")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_that_is_sent_again_while_the_broker_is_late_is_stored_once() {
    let own = StackOptions::own(&[Part::Kafka]);
    let stack = Arc::new(tokio::task::spawn_blocking(|| Stack::up(own)).await.unwrap().unwrap());
    let topics = Topics::create_at(&stack.endpoints().kafka_brokers).await;
    let edge = Edge::start(topics, "kafka: {producer: {delivery_timeout: 1s}}").await;
    let (topic, url) = (edge.topics.of(Signal::Logs), edge.url("/v1/logs"));
    assert!(edge.runtime.readiness().wait_ready(PATIENCE).await);

    with_broker(&stack, |kafka| kafka.freeze()).await;
    // Two senders with the same bytes are two events, and one has a request of several records.
    let equal = || logs(["equal".to_owned()]).encode_to_vec();
    let large = logs((0..3000).map(|index| format!("{index} {}", "l".repeat(1000)))).encode_to_vec();
    let bodies = [equal(), equal(), few_logs().encode_to_vec(), large];
    let senders = bodies.map(|body| tokio::spawn(send_until_taken(url.clone(), body)));
    let refused = || edge.metric("edge_publisher_refused_items_total", "not_acknowledged");
    until("a refusal", async || refused() > 0.0).await;
    let since = Instant::now();
    until("readiness to end", async || !edge.runtime.readiness().is_ready()).await;
    assert!(since.elapsed() < Duration::from_secs(3), "{:?}", since.elapsed());
    // Several refusals of each.
    until("many refusals", async || refused() > 4.0 * 3005.0).await;
    with_broker(&stack, |kafka| kafka.thaw()).await;
    let mut sent = 0;
    for sender in senders {
        let attempts = sender.await.unwrap();
        assert!(attempts > 2, "it was sent {attempts} times");
        sent += attempts;
    }
    let items = items_of(&edge.topics.read(&topic).await);
    assert_eq!(items, 1 + 1 + 3 + 3000, "after {sent} requests");
    assert!(edge.runtime.readiness().wait_ready(PATIENCE).await);

    // What was never refused is another event, however equal.
    assert_eq!(send_until_taken(url.clone(), equal()).await, 1);
    assert_eq!(send_until_taken(url, equal()).await, 1);
    let items = items_of(&edge.topics.read(&topic).await);
    assert_eq!(items, 1 + 1 + 3 + 3000 + 2);
    until("an empty budget", async || edge.budget.used() == 0).await;
    edge.assert_conserved();
    edge.stop().await;
}

/// Items of the records that the edge made, each record once by its number. A second copy that the edge makes has another number.
/// Seen beside load: a broker that was frozen has no leader for a moment, and then a record twice with one number and one time,
/// which the producer's library sent anew by itself.
fn items_of(records: &[Record]) -> u64 {
    let numbered = records.iter().map(|record| {
        let number: Vec<_> = [headers::INCARNATION, headers::SEQUENCE, headers::PART]
            .map(|name| {
                record.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.to_vec())
            })
            .to_vec();
        (number, inspect(Signal::Logs, &record.value, &InspectLimits::default()).unwrap().items)
    });
    numbered.collect::<HashMap<_, _>>().into_values().sum()
}

/// Makes a topic anew, with a bound of its own on the size of its batches.
async fn recreate(topics: &Topics, topic: &str, max_message_bytes: &str) {
    admin::delete_topics(&topics.connection(), &[topic]).await.unwrap();
    let mut spec = TopicSpec::new(topic, 1);
    spec.config.push(("max.message.bytes".into(), max_message_bytes.into()));
    until("the old topic to be gone", async || {
        admin::create_topics(&topics.connection(), std::slice::from_ref(&spec)).await.is_ok()
    })
    .await;
}

/// Does something to the broker, on a thread that may block.
async fn with_broker(stack: &Arc<Stack>, act: fn(&Server) -> devstack::Result<()>) {
    let stack = Arc::clone(stack);
    tokio::task::spawn_blocking(move || act(stack.kafka())).await.unwrap().unwrap();
}
