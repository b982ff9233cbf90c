//! The spool under load, as the whole edge: what an outage costs in memory, syncs, processor time and waiting, and how fast the
//! backlog leaves when the broker is back.
//!
//! The rates are asked for, not found: what counts is what the edge needs for them.
#![allow(clippy::print_stdout, reason = "a bench reports on the terminal")]

use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::Parser;
use devstack::{Part, Server, Stack, StackOptions};
use e2e::faults::edge::{Edge, EdgeOptions};
use e2e::process::{Cpu, resident_bytes};
use e2e::scrape::Page;
use e2e::sender::{Answer, Sender};
use kafka_client::ConnectionConfig;
use kafka_client::admin::{self, TopicSpec};
use prost::Message;
use telemetry_wire::fixtures::Load;
use telemetry_wire::{Signal, dead_letter_topic};

/// How long the backlog may take to leave.
const DRAIN_PATIENCE: Duration = Duration::from_secs(300);

/// Sends logs to an edge whose broker is away.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long to send at each rate, in seconds
    #[arg(long, default_value = "15")]
    seconds: u64,
    /// Connections that send at the same time
    #[arg(long, default_value = "64")]
    connections: u32,
}

/// A rate of requests of one size.
#[derive(Debug, Clone, Copy)]
struct Pace {
    requests_per_second: f64,
    request_bytes: usize,
}

/// What the senders saw.
#[derive(Debug, Default)]
struct Seen {
    acked_requests: u64,
    acked_items: u64,
    refused: u64,
    waits: Vec<Duration>,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            println!("the bench failed: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let stack = Stack::up(StackOptions::own(&[Part::Kafka])).context("start the broker")?;
    // One thread: the edge ends with the thread that started it.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.context("build the runtime")?.block_on(bench(arguments, &stack))
}

async fn bench(arguments: &Arguments, stack: &Stack) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let brokers = stack.endpoints().kafka_brokers.clone();
    let mut edge = Edge::new(EdgeOptions {
        name: "bench".to_owned(),
        brokers: brokers.clone(),
        directory: folder.path().to_path_buf(),
        spool: Some(folder.path().join("spool")),
        env: Vec::new(),
        prefix: Vec::new(),
    })?;
    let topic = edge.topic(Signal::Logs);
    let topics = [TopicSpec::new(&topic, 12), TopicSpec::new(dead_letter_topic(&topic), 1)];
    let connection = ConnectionConfig::plaintext(&[&brokers], "bench");
    admin::create_topics(&connection, &topics).await.context("create the topics")?;
    edge.start_ready().await?;
    edge.readiness_where(|_, text| !text.contains("no broker")).await?;

    let megabytes = Pace { requests_per_second: 125.0, request_bytes: 400_000 };
    let small = Pace { requests_per_second: 2_000.0, request_bytes: 10_000 };
    let mut items = 0;
    on(stack, Server::stop).await?;
    items += measure(arguments, &edge, "the broker is down: 50 MB/s of 400 KB requests", megabytes).await?;
    items += measure(arguments, &edge, "the broker is down: 2,000 requests/s of 10 KB", small).await?;
    on(stack, Server::start).await?;
    drain(&edge, items).await?;
    on(stack, Server::freeze).await?;
    items += measure(arguments, &edge, "the broker is silent: 50 MB/s of 400 KB requests", megabytes).await?;
    on(stack, Server::thaw).await?;
    drain(&edge, items).await
}

async fn on(stack: &Stack, act: fn(&Server) -> devstack::Result<()>) -> Result<()> {
    let kafka = stack.kafka().clone();
    tokio::task::spawn_blocking(move || act(&kafka)).await.context("the broker's thread ends")??;
    Ok(())
}

/// Sends at a pace and prints what it took; the acked items.
async fn measure(arguments: &Arguments, edge: &Edge, what: &str, pace: Pace) -> Result<u64> {
    let pid = edge.program()?.pid();
    let (page, cpu) = (edge.metrics().await?, Cpu::of(pid)?);
    let sending = tokio::spawn(send(edge.sender()?, pace, arguments.connections, arguments.seconds));
    let mut peak = 0;
    while !sending.is_finished() {
        peak = peak.max(resident_bytes(pid)?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let seen = sending.await.context("the senders end")??;
    let (after, used) = (edge.metrics().await?, Cpu::of(pid)?.since(cpu));
    let grown = |metric: &str| after.sum(metric, &[]) - page.sum(metric, &[]);
    let (syncs, bytes) = (grown("edge_spool_sync_seconds_count"), grown("edge_spool_appended_bytes_total"));
    let sync = grown("edge_spool_sync_seconds_sum") / syncs.max(1.0);
    println!("\n{what}");
    println!(
        "  {} requests acked, {} refused, {:.0} MB on the disk",
        seen.acked_requests,
        seen.refused,
        bytes / 1e6
    );
    println!(
        "  {:.1} requests a sync, {:.1} ms a sync (mean); wait p50 {:.1} ms, p99 {:.1} ms",
        seen.acked_requests as f64 / syncs.max(1.0),
        sync * 1e3,
        seen.wait(0.5).as_secs_f64() * 1e3,
        seen.wait(0.99).as_secs_f64() * 1e3
    );
    println!(
        "  edge: peak RSS {} MiB, {:.2} CPU s per million items, {:.2} CPU s per GB",
        peak >> 20,
        used / seen.acked_items as f64 * 1e6,
        used / bytes.max(1.0) * 1e9
    );
    Ok(seen.acked_items)
}

/// Waits until nothing is left on the disk and checks that all of it arrived.
async fn drain(edge: &Edge, items: u64) -> Result<()> {
    let started = Instant::now();
    let pending = |page: &Page| page.sum("edge_spool_pending_bytes", &[("signal", "logs")]);
    let before = pending(&edge.metrics().await?);
    let (mut acked, pid) = (0.0, edge.program()?.pid());
    let (mut peak, cpu) = (0, Cpu::of(pid)?);
    while started.elapsed() < DRAIN_PATIENCE {
        peak = peak.max(resident_bytes(pid)?);
        let page = edge.metrics().await?;
        acked = page.sum("edge_publisher_acked_items_total", &[]);
        if pending(&page) == 0.0 {
            println!(
                "\nthe broker is back: {:.0} MB sent in {:.1} s, {:.2} CPU s per GB, peak RSS {} MiB",
                before / 1e6,
                started.elapsed().as_secs_f64(),
                Cpu::of(pid)?.since(cpu) / before * 1e9,
                peak >> 20
            );
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    if acked != items as f64 {
        bail!("{items} items were acked to the senders and {acked} by the broker");
    }
    Ok(())
}

async fn send(sender: Sender, pace: Pace, connections: u32, seconds: u64) -> Result<Seen> {
    let (body, items) = request(pace.request_bytes);
    let body = Arc::new(body);
    let interval = Duration::from_secs_f64(f64::from(connections) / pace.requests_per_second);
    let until = Instant::now() + Duration::from_secs(seconds);
    let mut tasks = Vec::new();
    for number in 0..connections {
        let (sender, body) = (sender.clone(), Arc::clone(&body));
        let offset = interval * number / connections;
        tasks.push(tokio::spawn(async move {
            let mut ticks = tokio::time::interval_at(tokio::time::Instant::now() + offset, interval);
            let mut seen = Seen::default();
            while Instant::now() < until {
                ticks.tick().await;
                let asked = Instant::now();
                match sender.send_http(Signal::Logs, body.to_vec()).await {
                    Answer::Acked => {
                        seen.acked_requests += 1;
                        seen.acked_items += items;
                        seen.waits.push(asked.elapsed());
                    }
                    Answer::Retryable(_) => seen.refused += 1,
                    answer => bail!("{answer:?}"),
                }
            }
            Ok(seen)
        }));
    }
    let mut all = Seen::default();
    for task in tasks {
        let seen: Seen = task.await.context("a sender failed")??;
        all.acked_requests += seen.acked_requests;
        all.acked_items += seen.acked_items;
        all.refused += seen.refused;
        all.waits.extend(seen.waits);
    }
    all.waits.sort_unstable();
    Ok(all)
}

/// A request of logs of about the given size, and its items. Requests put end to end are a request.
fn request(bytes: usize) -> (Vec<u8>, u64) {
    let mut load = Load::new(1);
    let (mut body, mut items) = (Vec::new(), 0);
    while body.len() < bytes {
        let mut more = load.logs();
        let missing = bytes - body.len();
        for resource in &mut more.resource_logs {
            for scope in &mut resource.scope_logs {
                // Records of the data set have about 340 bytes.
                scope.log_records.truncate((missing / 340 / 4).max(1));
                items += scope.log_records.len() as u64;
            }
        }
        more.encode(&mut body).unwrap_or_default();
    }
    (body, items)
}

impl Seen {
    /// The wait that `part` of the acked requests did not exceed.
    fn wait(&self, part: f64) -> Duration {
        let last = self.waits.len().saturating_sub(1);
        self.waits.get((last as f64 * part) as usize).copied().unwrap_or_default()
    }
}
