//! The whole-line bench: as fast as the edge acks, until everything is stored, and what it cost each process.
//!
//! Senders, both programs and the servers share the machine's cores, so the rate is that of the whole machine; the
//! processor seconds per million items are each process's own.
#![allow(clippy::print_stdout, reason = "a bench reports on the terminal")]

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, bail};
use clap::Parser;
use devstack::{Endpoints, Stack, StackOptions};
use e2e::process::{Cpu, resident_bytes};
use e2e::sender::{Answer, Sender};
use e2e::{Line, LineOptions};
use prost::Message;
use telemetry_wire::Signal;
use telemetry_wire::fixtures::Load;

/// Distinct requests that the senders send in turn.
const DISTINCT: usize = 16;
/// Requests of the data set that make one request on the wire: about 400 KB of logs.
const JOINED: usize = 6;
/// How long the stores may take after the last ack.
const SETTLE: Duration = Duration::from_secs(120);

/// Sends logs and spans through the whole line as fast as they are acked.
#[derive(Debug, Parser)]
struct Arguments {
    /// How long to send each signal, in seconds
    #[arg(long, default_value = "15")]
    seconds: u64,
    /// Connections that send at the same time
    #[arg(long, default_value = "8")]
    connections: usize,
    /// Partitions of each topic
    #[arg(long, default_value = "4")]
    partitions: i32,
    /// An edge without a spool
    #[arg(long)]
    without_spool: bool,
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
    let stack = Stack::up(StackOptions::own(&devstack::Part::ALL)).context("start the servers")?;
    // One thread: the programs end with the thread that started them.
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("build the runtime")?;
    runtime.block_on(bench(arguments, &stack))
}

async fn bench(arguments: &Arguments, stack: &Stack) -> Result<()> {
    let directory = tempfile::tempdir().context("make a folder")?;
    let options = LineOptions {
        has_spool: !arguments.without_spool,
        partitions: arguments.partitions,
        ..LineOptions::new("bench", directory.path())
    };
    let line = Line::start(stack.endpoints(), options).await?;
    tokio::time::sleep(Duration::from_secs(3)).await;
    let idle = |pid: Option<u32>| pid.map(resident_bytes).transpose().map(|bytes| bytes.unwrap_or(0) >> 20);
    let (edge, hub) = (
        line.edge.as_ref().context("the edge runs")?.pid(),
        line.hub.as_ref().context("the hub runs")?.pid(),
    );
    println!("idle memory: edge-forwarder {} MiB, hub-consumer {} MiB", idle(Some(edge))?, idle(Some(hub))?);

    let server = |part: Option<i32>| part.and_then(|pid| u32::try_from(pid).ok()).context("the server runs");
    let processes = [
        ("edge-forwarder", edge),
        ("hub-consumer", hub),
        ("kafka", server(stack.kafka().pid())?),
        ("clickhouse", server(stack.clickhouse().pid())?),
        ("senders", std::process::id()),
    ];
    for (signal, table) in [(Signal::Logs, "otel_logs"), (Signal::Traces, "otel_traces")] {
        measure(arguments, &line, stack.endpoints(), signal, table, &processes).await?;
    }
    count_again(&line, "beside the merges of what was just written").await?;
    let merging = "SELECT count() FROM system.merges WHERE database = currentDatabase()";
    while line.clickhouse().number(merging).await? > 0 {
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    count_again(&line, "after them").await?;
    replay_again(&line, server(stack.clickhouse().pid())?).await
}

/// What it costs to prove that everything is stored once.
async fn count_again(line: &Line, when: &str) -> Result<()> {
    let clickhouse = line.clickhouse();
    let rows = clickhouse.count("otel_logs").await? + clickhouse.count("otel_traces").await?;
    let (started, began_at) =
        (Instant::now(), SystemTime::now().duration_since(UNIX_EPOCH).context("tell the time")?);
    line.audit().await?;
    let took = started.elapsed();
    clickhouse.query("SYSTEM FLUSH LOGS").await?;
    // By the query: merges of what was just written go on beside it.
    let micros = clickhouse
        .number(&format!(
            "SELECT toUInt64(sum(ProfileEvents['OSCPUVirtualTimeMicroseconds'])) FROM system.query_log \
             WHERE type = 'QueryFinish' AND query LIKE '%groupArray%' AND query NOT LIKE '%query_log%' \
             AND query_start_time_microseconds >= fromUnixTimestamp64Milli(toInt64({}))",
            began_at.as_millis()
        ))
        .await?;
    println!(
        "\naudit of {rows} rows {when}: nothing missing, nothing doubled; {:.2} s, {:.2} CPU s of ClickHouse: {:.1} M rows per CPU second",
        took.as_secs_f64(),
        micros as f64 / 1e6,
        rows as f64 / micros as f64
    );
    Ok(())
}

/// What it costs to replay what is stored: it is compared, and nothing is read or inserted.
async fn replay_again(line: &Line, clickhouse: u32) -> Result<()> {
    let rows = line.clickhouse().count("otel_logs").await? + line.clickhouse().count("otel_traces").await?;
    let before = (Cpu::of_ended()?, Cpu::of(clickhouse)?);
    let (code, answer) = line.hub_output("replay", &[]).await?;
    if code != Some(0) {
        bail!("the replay ended with {code:?}\n{answer}");
    }
    let (program, server) = (Cpu::of_ended()?.since(before.0), Cpu::of(clickhouse)?.since(before.1));
    println!(
        "replay of the same rows: {program:.2} CPU s of the program and {server:.2} of ClickHouse, merges beside it among them: \
         {:.1} M rows per CPU second of the program, {:.1} M of both",
        rows as f64 / program / 1e6,
        rows as f64 / (program + server) / 1e6
    );
    Ok(())
}

async fn measure(
    arguments: &Arguments,
    line: &Line,
    endpoints: &Endpoints,
    signal: Signal,
    table: &str,
    processes: &[(&str, u32)],
) -> Result<()> {
    let requests = Arc::new(requests(signal));
    let bytes = requests.iter().map(|(body, _)| body.len()).sum::<usize>() / requests.len();
    let items = requests.iter().map(|(_, items)| items).sum::<u64>() / requests.len() as u64;
    println!(
        "\n{}: requests of {} KB with {items} items over {} connections",
        signal.as_str(),
        bytes / 1000,
        arguments.connections
    );

    let counts = async || -> Result<(f64, f64)> {
        let blocks = line.hub_metric("hub_insert_duration_seconds_count").await?;
        Ok((blocks, line.hub_metric("hub_offset_commits_total").await?))
    };
    let before_blocks = counts().await?;
    let before: Vec<Cpu> = processes.iter().map(|(_, pid)| Cpu::of(*pid)).collect::<Result<_>>()?;
    let started = Instant::now();
    let sent = send(arguments, line.sender()?, signal, &requests).await?;
    let acked_after = started.elapsed();
    let clickhouse = line.clickhouse();
    let mut peaks = vec![0; processes.len()];
    loop {
        for (peak, (_, pid)) in peaks.iter_mut().zip(processes) {
            *peak = resident_bytes(*pid)?.max(*peak);
        }
        let stored = clickhouse.count(table).await?;
        if stored == sent {
            break;
        }
        if stored > sent || started.elapsed() > acked_after + SETTLE {
            bail!("{sent} items were acked and {stored} are stored at {}", endpoints.clickhouse_url);
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let stored_after = started.elapsed();
    let rate = |time: Duration| sent as f64 / time.as_secs_f64();
    println!(
        "  {sent} items acked in {:.1} s ({:.0}/s), all stored after {:.1} s ({:.0}/s), none lost, none twice",
        acked_after.as_secs_f64(),
        rate(acked_after),
        stored_after.as_secs_f64(),
        rate(stored_after)
    );
    println!("  {:<16}{:>22}{:>12}", "", "CPU s / million items", "RSS MiB");
    for (((name, pid), before), peak) in processes.iter().zip(before).zip(peaks) {
        let used = Cpu::of(*pid)?.since(before);
        println!("  {name:<16}{:>22.2}{:>12}", used / sent as f64 * 1e6, peak >> 20);
    }
    let (blocks, commits) = counts().await?;
    let (blocks, commits) = (blocks - before_blocks.0, commits - before_blocks.1);
    println!("  {blocks} blocks, {commits} offsets committed: {:.2} a block", commits / blocks);
    Ok(())
}

/// Sends until the time is up and returns the number of acked items; anything but an ack or a retryable refusal fails.
async fn send(
    arguments: &Arguments,
    sender: Sender,
    signal: Signal,
    requests: &Arc<Vec<(Vec<u8>, u64)>>,
) -> Result<u64> {
    let until = Instant::now() + Duration::from_secs(arguments.seconds);
    let next = Arc::new(AtomicU64::new(0));
    let mut tasks = Vec::new();
    for _ in 0..arguments.connections {
        let (sender, requests, next) = (sender.clone(), Arc::clone(requests), Arc::clone(&next));
        tasks.push(tokio::spawn(async move {
            let mut acked = 0;
            while Instant::now() < until {
                let turn = next.fetch_add(1, Ordering::Relaxed);
                let (body, items) = &requests[usize::try_from(turn).unwrap_or(0) % requests.len()];
                match sender.send_http(signal, body.clone()).await {
                    Answer::Acked => acked += items,
                    Answer::Retryable(_) => tokio::time::sleep(Duration::from_millis(50)).await,
                    answer => bail!("{answer:?}"),
                }
            }
            Ok(acked)
        }));
    }
    let mut acked = 0;
    for task in tasks {
        acked += task.await.context("a sender failed")??;
    }
    Ok(acked)
}

/// Encoded requests with their number of items. Requests put end to end are a request.
fn requests(signal: Signal) -> Vec<(Vec<u8>, u64)> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let mut load = Load::new(1).starting_at(u64::try_from(now.as_nanos()).unwrap_or(u64::MAX));
    let mut one = || match signal {
        Signal::Logs => {
            let request = load.logs();
            let items = request
                .resource_logs
                .iter()
                .flat_map(|resource| &resource.scope_logs)
                .map(|scope| scope.log_records.len())
                .sum();
            (request.encode_to_vec(), items)
        }
        _ => {
            let request = load.traces();
            let items = request
                .resource_spans
                .iter()
                .flat_map(|resource| &resource.scope_spans)
                .map(|scope| scope.spans.len())
                .sum();
            (request.encode_to_vec(), items)
        }
    };
    (0..DISTINCT)
        .map(|_| {
            let (mut body, mut items) = (Vec::new(), 0);
            for _ in 0..JOINED {
                let (more, count): (Vec<u8>, usize) = one();
                body.extend_from_slice(&more);
                items += count as u64;
            }
            (body, items)
        })
        .collect()
}
