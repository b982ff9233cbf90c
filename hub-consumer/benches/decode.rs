//! What a record costs from its protobuf bytes to a sorted Native block, and to the compressed body of an insert.
//! Divide the time by the rows, 50,000: the goal is 0.5 us per log record of 336 bytes, decoded and encoded.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hub_consumer::clickhouse::columns::ColumnSet;
use hub_consumer::clickhouse::compression::Compression;
use hub_consumer::decode::{Block, DecodeSettings, LogRows, Rows, Source, SpanRows};
use prost::Message;
use telemetry_wire::fixtures::{ITEMS, Load, RESOURCES, START_UNIX_NANO};

/// Rows of a full block.
const ROWS: usize = 50_000;

fn benches(criterion: &mut Criterion) {
    let mut load = Load::new(1);
    let requests = ROWS / (RESOURCES * ITEMS);
    let logs: Vec<Vec<u8>> = (0..requests).map(|_| load.logs().encode_to_vec()).collect();
    let traces: Vec<Vec<u8>> = (0..requests).map(|_| load.traces().encode_to_vec()).collect();
    block::<LogRows>(criterion, "logs", &logs);
    block::<SpanRows>(criterion, "spans", &traces);
}

#[expect(clippy::print_stderr, reason = "sizes are part of the result")]
fn block<R: Rows>(criterion: &mut Criterion, name: &str, records: &[Vec<u8>]) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(20);
    let mut block = empty::<R>();
    let mut out = Vec::new();
    group.bench_function("decode", |bencher| bencher.iter(|| fill(&mut block, records)));
    group.bench_function("decode and encode", |bencher| {
        bencher.iter(|| {
            fill(&mut block, records);
            out.clear();
            block.encode(ColumnSet::all(R::COLUMNS), &mut out);
            black_box(out.len())
        });
    });
    let input: usize = records.iter().map(Vec::len).sum();
    for compression in [Compression::Lz4, Compression::Zstd] {
        let body = compression.compress(&out).expect("memory suffices");
        eprintln!(
            "{name} {compression:?}: {} B of OTLP, {} B of block, {} B of body per row",
            input / ROWS,
            out.len() / ROWS,
            body.len() / ROWS
        );
        group.bench_function(format!("compress {compression:?}"), |bencher| {
            bencher.iter(|| compression.compress(black_box(&out)));
        });
    }
    group.finish();
}

fn fill<R: Rows>(block: &mut Block<R>, records: &[Vec<u8>]) {
    block.clear();
    for (offset, record) in records.iter().enumerate() {
        let timestamp_ms = Some((START_UNIX_NANO / 1_000_000) as i64);
        let source = Source { partition: 3, offset: offset as i64, timestamp_ms };
        block.push(black_box(record), source).expect("the load is well formed");
    }
    assert_eq!(block.rows(), ROWS);
}

fn empty<R: Rows>() -> Block<R> {
    Block::new(DecodeSettings {
        topic: "otlp".to_owned(),
        retention: Duration::from_secs(365 * 24 * 3600),
        max_record_bytes: 256 << 20,
    })
}

criterion_group!(all, benches);
criterion_main!(all);
