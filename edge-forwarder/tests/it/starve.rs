//! One sender must not starve the others: what bodies under way hold is bounded, and the slow ones give way.

use std::{
    future::pending,
    io::Write as _,
    time::{Duration, Instant},
};

use bytes::Bytes;
use flate2::{Compression, write::GzEncoder};
use http_body_util::{BodyExt, Full};
use prost::Message;
use reqwest::{Body, Client};
use telemetry_wire::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinSet,
};

use crate::{
    requests::{few_logs, logs},
    support::{Answer, Edge, until, within},
};

/// The beginning of a gzip body that holds `bytes` of memory for a thousandth of them sent, and never ends.
fn bomb(bytes: usize) -> Bytes {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; bytes]).unwrap();
    encoder.flush().unwrap();
    encoder.get_ref().clone().into()
}

fn unfinished(start: &Bytes) -> Body {
    Body::wrap(Full::new(start.clone()).with_trailers(pending()))
}

/// Sends one body after the other over one HTTP/2 connection, `width` of them at a time, none of which ends.
fn attack(edge: &Edge, width: usize) -> JoinSet<()> {
    let client = Client::builder().http2_prior_knowledge().build().unwrap();
    let (start, url) = (bomb(15 << 20), edge.url(Signal::Logs.http_path()));
    let mut streams = JoinSet::new();
    for _ in 0..width {
        let (client, start, url) = (client.clone(), start.clone(), url.clone());
        streams.spawn(async move {
            loop {
                let request = client.post(&url).header("content-type", "application/x-protobuf");
                let sent = request.header("content-encoding", "gzip").body(unfinished(&start)).send().await;
                // As an attacker that does not hurry: it has refusals and closed connections to deal with.
                drop(sent);
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        });
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn unfinished_streams_of_one_connection_leave_the_others_their_memory() {
    let edge = Edge::ready("").await;
    let attackers = attack(&edge, 26);
    until("the attack to hold memory", async || edge.budget.used() > 32 << 20).await;
    let big = logs((0..10_000).map(|index| format!("{index} {}", "m".repeat(500)))).encode_to_vec();
    let mut good = 0;
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(5) {
        let request = edge.http_post(Signal::Logs, "application/x-protobuf").body(big.clone());
        assert_eq!(Answer::of(request).await.status, 200, "after {good} others");
        good += 1;
        assert!(edge.budget.used() < 200 << 20, "{} bytes are held", edge.budget.used());
    }
    let refused = |reason| edge.metric("edge_receiver_refused_total", &format!("reason=\"{reason}\""));
    assert!(refused("connection_memory") + refused("given_up") > 0.0);
    assert_eq!(refused("memory"), 0.0, "nobody else was refused");
    drop(attackers);
    until("an empty budget", async || edge.budget.used() == 0).await;
    edge.stop().await;
}

/// Sends the head and a part of a body over a connection of its own, and keeps it open.
async fn begin(edge: &Edge, encoding: &str, part: &[u8]) -> TcpStream {
    let mut stream = TcpStream::connect(edge.http).await.unwrap();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: edge\r\ncontent-type: application/x-protobuf\r\ncontent-encoding: {encoding}\r\ncontent-length: {}\r\n\r\n",
        part.len() + 1000
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(part).await.unwrap();
    stream
}

async fn answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    within("an answer and the end", stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn when_memory_is_short_the_slow_bodies_give_way() {
    let edge = Edge::ready(
        "{receivers: {max_request_bytes: 1MiB, body_timeout: 10m, min_body_rate: 0B}, memory: {max_bytes: 8MiB, connection_percent: 100, peer_percent: 100}}",
    )
    .await;
    let mut holders = Vec::new();
    for _ in 0..7 {
        let before = edge.budget.used();
        holders.push(begin(&edge, "identity", &vec![0; (1 << 20) - 2000]).await);
        until("a holder's bytes, or those of one that gave way", async || {
            edge.budget.used() != before && edge.budget.used() > (1 << 20) - 2000
        })
        .await;
    }
    let big = logs((0..1500).map(|index| format!("{index} {}", "m".repeat(500)))).encode_to_vec();
    until("the same request to be taken", async || {
        let request = edge.http_post(Signal::Logs, "application/x-protobuf").body(big.clone());
        Answer::of(request).await.status == 200
    })
    .await;
    assert!(edge.metric("edge_receiver_refused_total", "reason=\"given_up\"") > 0.0);
    let told = answer(&mut holders[0]).await;
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("retry-after: 2"), "{told}");
    assert!(told.contains("came too slowly") && told.contains("connection: close"), "{told}");
    drop(holders);
    until("an empty budget", async || edge.budget.used() == 0).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_peer_holds_no_more_than_its_part_over_however_many_connections() {
    // Of 40 MiB a peer has 20; nothing is given up, since nothing is slow enough for so short a time.
    let edge = Edge::ready("{receivers: {max_request_bytes: 4MiB}, memory: {max_bytes: 40MiB}}").await;
    let start = bomb(3 << 20);
    let mut holders = Vec::new();
    for _ in 0..20 {
        holders.push(begin(&edge, "gzip", &start).await);
    }
    until("the peer to have its part", async || {
        edge.metric("edge_receiver_refused_total", "reason=\"peer_memory\"") > 0.0
    })
    .await;
    assert!(edge.budget.used() <= 20 << 20, "{}", edge.budget.used());
    let request = edge.http_post(Signal::Logs, "application/x-protobuf").body(few_logs().encode_to_vec());
    until("the slow ones to give way", async || Answer::of(request.try_clone().unwrap()).await.status == 200)
        .await;
    drop(holders);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_comes_by_drops_is_refused_before_its_time_is_over() {
    let edge = Edge::without_broker("{receivers: {body_timeout: 10m}}").await;
    let mut stream = begin(&edge, "identity", &few_logs().encode_to_vec()).await;
    let started = Instant::now();
    let told = answer(&mut stream).await;
    assert!(told.starts_with("HTTP/1.1 503") && told.contains("less than 1024 bytes"), "{told}");
    assert!(started.elapsed() < Duration::from_secs(60));
    assert_eq!(edge.metric("edge_receiver_refused_total", "reason=\"stalled\""), 1.0);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_that_do_nothing_make_room_for_those_that_do() {
    let edge = Edge::ready("{receivers: {server: {max_connections: 8, max_connections_per_peer: 8}}}").await;
    let mut idle = Vec::new();
    for _ in 0..8 {
        let client = Client::builder().http2_prior_knowledge().build().unwrap();
        let request = client.post(edge.url("/v1/nothing")).body("");
        assert_eq!(Answer::of(request).await.status, 404);
        idle.push(client);
    }
    let request = edge.http_post(Signal::Logs, "application/x-protobuf").body(few_logs().encode_to_vec());
    assert_eq!(Answer::of(request).await.status, 200);
    assert!(edge.metric("edge_receiver_connections_closed_total", "reason=\"no_room\"") >= 1.0);
    edge.stop().await;
}
