//! What ClickHouse pays for our inserts, beside the same rows as `RowBinary`, the format of most clients.
//!
//! The rows are sent in turns, block by block, into two tables of the hub's own schema on one server. The cost is the
//! processor time of the insert queries as the server logs it; merging afterwards is the same for both.
#![allow(clippy::print_stdout, reason = "a bench reports on the terminal")]

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use devstack::{Part, Stack, StackOptions};
use e2e::clickhouse::ClickHouse;
use hub_consumer::clickhouse::ClickHouseConfig;
use hub_consumer::clickhouse::compression::Compression;
use hub_consumer::clickhouse::insert::InsertClient;
use hub_consumer::clickhouse::migrate::Migrator;
use hub_consumer::decode::{Block, DecodeSettings, LogRows, Rows, Source, SpanRows};
use prost::Message;
use telemetry_wire::fixtures::{ITEMS, Load, RESOURCES, START_UNIX_NANO};

/// Rows of a full block.
const ROWS: usize = 50_000;
/// One database for each format.
const NATIVE: &str = "native";
const ROW_BINARY: &str = "row_binary";

/// Compares the server's cost of Native and RowBinary inserts.
#[derive(Debug, Parser)]
struct Arguments {
    /// Blocks of 50,000 rows in each format
    #[arg(long, default_value = "20")]
    blocks: usize,
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
    let stack = Stack::up(StackOptions::own(&[Part::Clickhouse])).context("start ClickHouse")?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().context("build the runtime")?;
    runtime.block_on(async {
        let url = &stack.endpoints().clickhouse_url;
        for database in [NATIVE, ROW_BINARY] {
            let migrator = Migrator::new(&config(url, database)?).context("build a client")?;
            migrator.apply().await.context("make the tables")?;
        }
        let mut load = Load::new(1);
        let requests = ROWS / (RESOURCES * ITEMS);
        let logs: Vec<Vec<u8>> = (0..requests).map(|_| load.logs().encode_to_vec()).collect();
        let traces: Vec<Vec<u8>> = (0..requests).map(|_| load.traces().encode_to_vec()).collect();
        compare::<LogRows>(arguments, url, "otel_logs", &logs).await?;
        compare::<SpanRows>(arguments, url, "otel_traces", &traces).await
    })
}

async fn compare<R: Rows>(arguments: &Arguments, url: &str, table: &str, records: &[Vec<u8>]) -> Result<()> {
    let inserts = InsertClient::new(&config(url, NATIVE)?).context("build a client")?;
    let target = inserts.open(table, R::COLUMNS).await.context("open the table")?;
    let mut block = empty::<R>();
    for (offset, record) in records.iter().enumerate() {
        let timestamp_ms = Some((START_UNIX_NANO / 1_000_000) as i64);
        block
            .push(record, Source { partition: 0, offset: offset as i64, timestamp_ms })
            .context("decode a record")?;
    }
    let rows = block.rows() as u64;
    let native = inserts.compression().compress_with(block.bytes(), |to| block.encode(target.columns(), to));
    let native = native.context("compress")?;
    inserts.insert(&target, &native, "first").await.context("insert")?;

    // The same rows in the order in which the records came, as a client that decodes and sends them has them.
    let columns: Vec<&str> = R::COLUMNS.iter().map(|column| column.name).collect();
    let columns = columns.join(", ");
    let client = reqwest::Client::new();
    let order = "ORDER BY source_offset FORMAT RowBinary";
    let select = format!("SELECT {columns} FROM {NATIVE}.{table} {order}");
    let answer = client.post(url).body(select).send().await.context("read the rows")?;
    let row_binary = answer.error_for_status().context("read the rows")?.bytes().await.context("read")?;
    let row_binary = Compression::Lz4.compress(&row_binary).context("compress")?;

    for number in 0..arguments.blocks {
        inserts.insert(&target, &native, &format!("block {number}")).await.context("insert Native")?;
        let sql = format!("INSERT INTO {ROW_BINARY}.{table} ({columns}) FORMAT RowBinary");
        let token = format!("block {number}");
        let query = [("query", sql.as_str()), ("insert_deduplication_token", &token), ("async_insert", "0")];
        let answer = client
            .post(url)
            .query(&query)
            .header("Content-Encoding", "lz4")
            .body(row_binary.bytes.clone())
            .send()
            .await
            .context("insert RowBinary")?;
        answer.error_for_status().context("insert RowBinary")?;
    }
    let stored = |database| async move { ClickHouse::new(url, database).count(table).await };
    let blocks = arguments.blocks as u64;
    ensure!(stored(NATIVE).await? == (blocks + 1) * rows, "every Native block is stored");
    ensure!(stored(ROW_BINARY).await? == blocks * rows, "every RowBinary block is stored");

    let (ours, theirs) = (cost(url, NATIVE, table).await?, cost(url, ROW_BINARY, table).await?);
    println!(
        "{table}: server CPU us a row: Native {:.2}, RowBinary {:.2}; ours is {:.2} of it; bytes on the wire a row: {} and {}",
        ours / rows as f64,
        theirs / rows as f64,
        ours / theirs,
        native.len() as u64 / rows,
        row_binary.len() as u64 / rows
    );
    Ok(())
}

/// Processor microseconds that the server spent on an insert into the table, the median.
async fn cost(url: &str, database: &str, table: &str) -> Result<f64> {
    let clickhouse = ClickHouse::new(url, "system");
    clickhouse.query("SYSTEM FLUSH LOGS").await?;
    let sql = format!(
        "SELECT median(ProfileEvents['OSCPUVirtualTimeMicroseconds']) FROM system.query_log \
         WHERE type = 'QueryFinish' AND query_kind = 'Insert' AND has(tables, '{database}.{table}')"
    );
    let text = clickhouse.query(&sql).await?;
    text.trim().parse().with_context(|| format!("`{}` is no time", text.trim()))
}

fn empty<R: Rows>() -> Block<R> {
    let retention = Duration::from_secs(365 * 24 * 3600);
    Block::new(DecodeSettings { topic: "otlp_logs".to_owned(), retention, max_record_bytes: 128 << 20 })
}

fn config(url: &str, database: &str) -> Result<ClickHouseConfig> {
    let yaml =
        format!("clickhouse:\n  url: {url}\n  database: {database}\n  schema:\n    retention_days: 7300\n");
    let mut settings = service_runtime::Settings::from_yaml("HUB", &yaml, []);
    let config = ClickHouseConfig::read(&mut settings.root().section("clickhouse", ""));
    settings.finish().context("read the configuration")?;
    Ok(config)
}
