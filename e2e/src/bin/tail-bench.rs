//! The reading of log files, as the whole edge on a real broker: what lines cost on their way from the file to the topic, and
//! what files cost in which nothing happens. The OpenTelemetry Collector reads the same files in the same run, and is spared
//! what comes after: its exporter does nothing.
#![allow(clippy::print_stdout, reason = "a bench reports on the terminal")]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use devstack::{Cache, Part, Progress, Stack, StackOptions};
use e2e::faults::edge::{Edge, EdgeOptions};
use e2e::line::wait_for;
use e2e::process::{Cpu, Program, free_port, resident_bytes};
use e2e::scrape::Page;
use kafka_client::ConnectionConfig;
use kafka_client::admin::{self, TopicSpec};
use telemetry_wire::{Signal, dead_letter_topic};

/// How the collector counts what its receivers have taken; some versions add `_total`.
const ACCEPTED: &str = "otelcol_receiver_accepted_log_records";

/// Reads container logs from a disk.
#[derive(Debug, Parser)]
struct Arguments {
    /// Files that are read at the same time
    #[arg(long, default_value = "8")]
    files: u32,
    /// Size of each, in MB
    #[arg(long, default_value = "50")]
    megabytes: u64,
    /// How long quiet files are watched, in seconds
    #[arg(long, default_value = "30")]
    seconds: u64,
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
    runtime.context("build the runtime")?.block_on(bench(arguments, &stack.endpoints().kafka_brokers))
}

async fn bench(arguments: &Arguments, brokers: &str) -> Result<()> {
    let folder = tempfile::tempdir().context("make a folder")?;
    let loud = folder.path().join("loud");
    let bytes = write_logs(&loud, arguments.files, arguments.megabytes * 1_000_000)?;
    let lines = fs::read(log(&loud, 0))?.iter().filter(|byte| **byte == b'\n').count() as u64
        * u64::from(arguments.files);
    println!(
        "{} files of {} MB, {lines} lines of {} bytes",
        arguments.files,
        arguments.megabytes,
        bytes / lines
    );
    let collector =
        devstack::collector(&Cache::from_env(), &Progress::detect()).context("build the collector")?;
    for (name, json) in [("container format", false), ("and JSON", true)] {
        let work = Work { name, json, bytes, lines };
        let ours = read_all(folder.path(), brokers, &loud, &work).await?;
        let theirs = collect_all(folder.path(), &collector, &loud, &work).await?;
        println!("{name:<18} the edge needs {:.2} of the collector's CPU time", ours / theirs);
    }
    for files in [1_000, 5_000] {
        watch(folder.path(), brokers, files, arguments.seconds).await?;
    }
    Ok(())
}

/// What is to be read.
struct Work {
    name: &'static str,
    json: bool,
    bytes: u64,
    lines: u64,
}

impl Work {
    fn report(&self, who: &str, used: f64, peak: u64) {
        println!(
            "{:<18} {who:<9} {:>6.0} MB per CPU second, {:>5.2} CPU us a line, {} MiB resident at most",
            self.name,
            self.bytes as f64 / 1e6 / used,
            used * 1e6 / self.lines as f64,
            peak >> 20
        );
    }
}

/// From the first byte to the last ack; CPU seconds.
async fn read_all(folder: &Path, brokers: &str, logs: &Path, work: &Work) -> Result<f64> {
    let settings = [("EDGE__FILELOG__PARSE__JSON", work.json.to_string())];
    let edge = start(folder, brokers, &format!("loud-{}", work.json), logs, &settings).await?;
    let pid = edge.program()?.pid();
    let mut peak = 0;
    wait_for("all lines in the topic", async || {
        peak = peak.max(resident_bytes(pid)?);
        let page = edge.metrics().await?;
        let acked = page.sum("edge_publisher_acked_items_total", &[("signal", "logs")]);
        Ok(if acked >= work.lines as f64 { Ok(()) } else { Err(format!("{acked} of {} lines", work.lines)) })
    })
    .await?;
    let used = Cpu::of(pid)?.seconds();
    work.report("edge", used, peak);
    Ok(used)
}

/// The same by the collector's receiver `filelog`, up to an exporter that does nothing; CPU seconds.
async fn collect_all(folder: &Path, collector: &Path, logs: &Path, work: &Work) -> Result<f64> {
    let (port, name) = (free_port()?, format!("collector-{}", work.json));
    let config = folder.join(format!("{name}.yaml"));
    let json =
        if work.json { "      - {type: json_parser, parse_from: body, parse_to: attributes}\n" } else { "" };
    let text = format!(
        "receivers:\n  filelog:\n    include: ['{}/*/*/*.log']\n    start_at: beginning\n    include_file_path: true\n    operators:\n      - {{type: container}}\n{json}\
         exporters: {{nop: {{}}}}\n\
         service:\n  pipelines: {{logs: {{receivers: [filelog], exporters: [nop]}}}}\n  telemetry:\n    metrics:\n      \
         readers: [{{pull: {{exporter: {{prometheus: {{host: 127.0.0.1, port: {port}}}}}}}}}]\n",
        logs.display()
    );
    fs::write(&config, text).context("write the collector's configuration")?;
    let log = folder.join(format!("{name}.log"));
    let argument = format!("--config={}", config.display());
    let mut program = Program::start_path(&[], "collector", collector, &[&argument], &[], &log)?;
    let (client, url) = (reqwest::Client::new(), format!("http://127.0.0.1:{port}"));
    let mut peak = 0;
    wait_for("all lines in the collector", async || {
        ensure!(!program.has_ended()?, "the collector ended: {}", program.tail());
        peak = peak.max(resident_bytes(program.pid())?);
        let Ok(page) = Page::read(&client, &url).await else { return Ok(Err(program.tail())) };
        let accepted = page.sum(ACCEPTED, &[]).max(page.sum(&format!("{ACCEPTED}_total"), &[]));
        Ok(if accepted >= work.lines as f64 {
            Ok(())
        } else {
            Err(format!("{accepted} of {} lines", work.lines))
        })
    })
    .await?;
    let used = Cpu::of(program.pid())?.seconds();
    work.report("collector", used, peak);
    Ok(used)
}

/// Files in which nothing happens.
async fn watch(folder: &Path, brokers: &str, files: u32, seconds: u64) -> Result<()> {
    let quiet = folder.join(format!("quiet-{files}"));
    write_logs(&quiet, files, 1_000)?;
    let edge = start(folder, brokers, &format!("quiet-{files}"), &quiet, &[]).await?;
    wait_for("all files open", async || {
        let page = edge.metrics().await?;
        let (open, lag) = (page.sum("edge_filelog_open_files", &[]), page.sum("edge_filelog_lag_bytes", &[]));
        Ok(if open >= f64::from(files) && lag == 0.0 {
            Ok(())
        } else {
            Err(format!("{open} open, {lag} bytes"))
        })
    })
    .await?;
    let pid = edge.program()?.pid();
    let before = Cpu::of(pid)?;
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    let used = Cpu::of(pid)?.since(before);
    println!(
        "{files:>5} quiet files       {:>6.2} % of a core, {} MiB resident",
        100.0 * used / seconds as f64,
        resident_bytes(pid)? >> 20
    );
    Ok(())
}

async fn start(
    folder: &Path,
    brokers: &str,
    name: &str,
    logs: &Path,
    settings: &[(&str, String)],
) -> Result<Edge> {
    let include = format!("{}/*/*/*.log", logs.display());
    let mut env = vec![("EDGE__FILELOG__INCLUDE".to_owned(), include)];
    env.extend(settings.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    let directory = folder.join(name);
    fs::create_dir_all(&directory).context("make a folder")?;
    let mut edge = Edge::new(EdgeOptions {
        name: name.to_owned(),
        brokers: brokers.to_owned(),
        spool: Some(directory.join("spool")),
        directory,
        env,
        prefix: Vec::new(),
    })?;
    let topic = edge.topic(Signal::Logs);
    let topics = [TopicSpec::new(&topic, 12), TopicSpec::new(dead_letter_topic(&topic), 1)];
    admin::create_topics(&ConnectionConfig::plaintext(&[brokers], "bench"), &topics)
        .await
        .context("create the topics")?;
    edge.start().await?;
    Ok(edge)
}

fn log(folder: &Path, file: u32) -> PathBuf {
    folder.join(format!("production_menu-{file}_0000-{file}")).join("app").join("0.log")
}

/// Logs of the Menu API as containerd writes them, so many bytes in each; all bytes.
fn write_logs(folder: &Path, files: u32, bytes: u64) -> Result<u64> {
    let mut all = 0;
    for file in 0..files {
        let path = log(folder, file);
        fs::create_dir_all(path.parent().context("a log is in a folder")?).context("make a folder")?;
        let mut out = BufWriter::new(File::create(&path).context("make a log")?);
        let (mut line, mut written) = (String::new(), 0);
        for number in 0.. {
            if written >= bytes {
                break;
            }
            line.clear();
            // Writing to a String cannot fail.
            let _ = writeln!(
                line,
                "2026-01-02T03:04:{:02}.{:09}Z stdout F {{\"timestamp\":\"2026-01-02T03:04:05Z\",\"level\":\"INFO\",\"method\":\"GET\",\
                 \"path\":\"/api/menu/{}\",\"status_code\":200,\"duration_ms\":0.{:06},\"message\":\"Retrieved menu item: Margherita Pizza \
                 from Tony's Pizza\",\"menu_item_id\":\"{}\"}}",
                number / 1_000_000 % 60,
                number % 1_000_000 * 1_000 + u64::from(file),
                number % 5 + 1,
                number * 7919 % 1_000_000,
                number % 5 + 1,
            );
            out.write_all(line.as_bytes()).context("write a log")?;
            written += line.len() as u64;
        }
        out.flush().context("write a log")?;
        all += written;
    }
    Ok(all)
}
