//! What good senders get done beside one that does not finish its bodies, as a share of what they get done alone.
//!
//! ```text
//! cargo build --release -p edge-forwarder
//! cargo run --release -p edge-forwarder --example goodput -- target/release/edge-forwarder
//! ```
//!
//! Starts a broker and the given edge. Eight good senders post requests of about a quarter of a megabyte over connections of their own,
//! each waiting for its answer. The attacker keeps 26 gzip streams open on one HTTP/2 connection, which never end and hold a
//! thousand times what was sent, in sizes that fill the default memory of an edge; whatever is refused or closed it begins anew,
//! at 10 kB or 100 kB a second. Times alone and beside the attack alternate.

#![allow(clippy::print_stdout, reason = "its result is printed")]

use std::{
    future::pending,
    io::{BufRead, BufReader, Write as _},
    net::SocketAddr,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use bytes::Bytes;
use clap::Parser;
use devstack::{Part, Stack, StackOptions};
use flate2::{Compression, write::GzEncoder};
use http_body_util::{BodyExt, Full};
use kafka_client::{
    ConnectionConfig,
    admin::{self, TopicSpec},
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest,
    common::v1::{AnyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
};
use prost::Message;
use reqwest::{Body, Client};
use tokio::{
    sync::Mutex,
    task::JoinSet,
    time::{sleep, sleep_until, timeout},
};

const GOOD_SENDERS: usize = 8;
/// KiB that the streams hold, large ones first: 26 streams of together nearly 256 MiB, decoders included.
const STREAMS_KIB: [usize; 26] = {
    let mut sizes = [15 * 1024; 26];
    let small = [7900, 3900, 900, 450, 225, 120, 60, 60, 30, 30, 15];
    let mut index = 0;
    while index < small.len() {
        sizes[26 - small.len() + index] = small[index];
        index += 1;
    }
    sizes
};
const PROTOBUF: &str = "application/x-protobuf";

#[derive(Debug, Parser)]
struct Arguments {
    /// The edge to measure
    edge: PathBuf,
    /// Seconds of each time
    #[arg(long, default_value_t = 15)]
    seconds: u64,
    /// Pairs of times
    #[arg(long, default_value_t = 2)]
    rounds: u32,
}

/// What the good senders got done in one time.
#[derive(Debug, Default)]
struct Done {
    taken: AtomicU64,
    refused: AtomicU64,
}

/// The edge; killed when dropped.
struct Edge {
    process: Child,
    url: String,
}

impl Edge {
    fn start(path: &PathBuf, brokers: &str) -> anyhow::Result<Edge> {
        let mut command = Command::new(path);
        command.env("EDGE__KAFKA__BROKERS", brokers).stderr(Stdio::piped());
        for key in ["ADMIN__LISTEN", "RECEIVERS__GRPC__LISTEN", "RECEIVERS__HTTP__LISTEN"] {
            command.env(format!("EDGE__{key}"), "127.0.0.1:0");
        }
        let mut process = command.spawn().with_context(|| format!("start {}", path.display()))?;
        let mut log = BufReader::new(process.stderr.take().context("its log is piped")?);
        let mut line = String::new();
        let address: SocketAddr = loop {
            line.clear();
            if log.read_line(&mut line)? == 0 {
                bail!("the edge ended at its start");
            }
            let event: serde_json::Value = serde_json::from_str(&line)?;
            if let Some(address) = event["http"].as_str() {
                break address.parse()?;
            }
        };
        // Nobody may wait for a reader of the log.
        std::thread::spawn(move || std::io::copy(&mut log, &mut std::io::sink()));
        Ok(Edge { process, url: format!("http://{address}/v1/logs") })
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // They fail when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn good_request() -> Bytes {
    let record = |index: usize| LogRecord {
        body: Some(AnyValue { value: Some(Value::StringValue(format!("{index} {}", "m".repeat(500)))) }),
        ..LogRecord::default()
    };
    let scope = ScopeLogs { log_records: (0..500).map(record).collect(), ..ScopeLogs::default() };
    let resource = ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![resource] }.encode_to_vec().into()
}

fn bomb(bytes: usize) -> anyhow::Result<Bytes> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(&vec![0; bytes])?;
    encoder.flush()?;
    Ok(encoder.get_ref().clone().into())
}

/// Sends until it is aborted.
async fn send_well(url: String, request: Bytes, done: Arc<Done>) -> anyhow::Result<()> {
    let client = Client::new();
    loop {
        let post = client.post(&url).header("content-type", PROTOBUF).body(request.clone());
        match post.send().await {
            Ok(answer) if answer.status().is_success() => done.taken.fetch_add(1, Ordering::Relaxed),
            // As an exporter does, if sooner than it is asked to.
            _ => {
                sleep(Duration::from_millis(100)).await;
                done.refused.fetch_add(1, Ordering::Relaxed)
            }
        };
    }
}

/// Keeps one stream open that never ends, and begins it anew, all streams together at most at `rate` bytes a second.
async fn attack(
    client: Client,
    url: String,
    start: Bytes,
    rate: f64,
    next: Arc<Mutex<tokio::time::Instant>>,
) {
    loop {
        let mut turn = next.lock().await;
        let at = (*turn).max(tokio::time::Instant::now());
        *turn = at + Duration::from_secs_f64(start.len() as f64 / rate);
        drop(turn);
        sleep_until(at).await;
        let body = Body::wrap(Full::new(start.clone()).with_trailers(pending()));
        let post = client.post(&url).header("content-type", PROTOBUF).header("content-encoding", "gzip");
        drop(post.body(body).send().await);
    }
}

async fn measure(edge: &Edge, attack_rate: Option<f64>, time: Duration) -> anyhow::Result<Done> {
    let (request, done) = (good_request(), Arc::<Done>::default());
    let mut tasks = JoinSet::new();
    if let Some(rate) = attack_rate {
        let client = Client::builder().http2_prior_knowledge().build()?;
        // What is open at the start was sent before.
        let next = Arc::new(Mutex::new(tokio::time::Instant::now()));
        for kib in STREAMS_KIB {
            let start = bomb(kib * 1024)?;
            let body = Body::wrap(Full::new(start.clone()).with_trailers(pending()));
            let post =
                client.post(&edge.url).header("content-type", PROTOBUF).header("content-encoding", "gzip");
            let first = post.body(body).send();
            let (client, url, start, next) =
                (client.clone(), edge.url.clone(), start.clone(), Arc::clone(&next));
            sleep(Duration::from_millis(50)).await;
            tasks.spawn(async move {
                drop(first.await);
                attack(client, url, start, rate, next).await;
                Ok(())
            });
        }
        sleep(Duration::from_secs(1)).await;
    }
    for _ in 0..GOOD_SENDERS {
        tasks.spawn(send_well(edge.url.clone(), request.clone(), Arc::clone(&done)));
    }
    sleep(time).await;
    tasks.shutdown().await;
    let done = Arc::into_inner(done).context("its senders have ended")?;
    Ok(done)
}

#[tokio::main]
#[allow(clippy::disallowed_macros, clippy::disallowed_methods, reason = "a program that measures")]
async fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    let stack = tokio::task::spawn_blocking(|| {
        Stack::up(StackOptions { parts: vec![Part::Kafka], ..StackOptions::default() })
    });
    let stack = stack.await??;
    let brokers = stack.endpoints().kafka_brokers.clone();
    let connection = ConnectionConfig::plaintext(&[&brokers], "goodput");
    let topics =
        ["otlp_logs", "otlp_logs.dlq", "otlp_spans", "otlp_spans.dlq", "otlp_metrics", "otlp_metrics.dlq"];
    admin::create_topics(&connection, &topics.map(|topic| TopicSpec::new(topic, 3))).await?;
    let edge = Edge::start(&arguments.edge, &brokers)?;
    let warm = async {
        while measure(&edge, None, Duration::from_secs(5)).await?.taken.load(Ordering::Relaxed) == 0 {}
        anyhow::Ok(())
    };
    timeout(Duration::from_secs(120), warm).await.context("wait for the edge to take requests")??;
    let time = Duration::from_secs(arguments.seconds);
    println!("{:>10} {:>12} {:>9} {:>9}", "seconds", "attack", "taken", "refused");
    let mut taken = [0; 3];
    for _ in 0..arguments.rounds {
        let kinds = [("none", None), ("10 kB/s", Some(10_000.0)), ("100 kB/s", Some(100_000.0))];
        for (kind, (name, attack)) in kinds.into_iter().enumerate() {
            let started = Instant::now();
            let done = measure(&edge, attack, time).await?;
            let (of_kind, refused) = (done.taken.into_inner(), done.refused.into_inner());
            taken[kind] += of_kind;
            println!("{:>10.1} {name:>12} {of_kind:>9} {refused:>9}", started.elapsed().as_secs_f64());
        }
    }
    let share = |kind: usize| 100.0 * taken[kind] as f64 / taken[0].max(1) as f64;
    println!("goodput beside 10 kB/s: {:.1} %, beside 100 kB/s: {:.1} %", share(1), share(2));
    Ok(())
}
