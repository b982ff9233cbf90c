//! What deriving costs: decoding a block with it and without, of the Menu API's lines and spans, and of services that no rule is
//! for. Divide the time by the rows, 50,000: the goal is 0.1 us per line that five rules look at, a tenth of what the whole hub
//! takes for a row.
//!
//! The times are processor seconds of this thread, so that a busy machine does not tell in them.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hub_consumer::{
    decode::{Block, DecodeSettings, LogRows, Rows, Source, SpanRows},
    derive::{Deriving, Program, metrics::DeriveMetrics, rules},
};
use prost::Message;
use rustix::time::{ClockId, clock_gettime};
use telemetry_wire::{
    Signal,
    fixtures::{ITEMS, Load, RESOURCES, START_UNIX_NANO, menu},
};

/// Rows of a full block.
const ROWS: usize = 50_000;
/// Lines of one record, as an edge puts them together under load, and one by one.
const LINES: usize = 200;

fn benches(criterion: &mut Criterion) {
    let rules = rules::read(rules::SHIPPED).expect("the shipped rules are right");
    let deriving = Deriving::new(&rules, DeriveMetrics::default());
    let program = |signal| deriving.program(signal).expect("the signal has rules");
    let (logs, traces) = (program(Signal::Logs), program(Signal::Traces));
    let mut load = menu::Menu::new(1);
    let lines: Vec<_> = (0..ROWS / LINES).map(|_| load.lines(LINES).encode_to_vec()).collect();
    compare::<LogRows>(criterion, "menu lines", &lines, &logs);
    let single: Vec<_> = (0..ROWS).map(|_| load.lines(1).encode_to_vec()).collect();
    compare::<LogRows>(criterion, "menu lines, one a record", &single, &logs);
    let spans: Vec<_> = (0..ROWS / LINES).map(|_| load.spans(LINES).encode_to_vec()).collect();
    compare::<SpanRows>(criterion, "menu spans", &spans, &traces);
    let mut load = Load::new(1);
    let others: Vec<_> = (0..ROWS / (RESOURCES * ITEMS)).map(|_| load.logs().encode_to_vec()).collect();
    compare::<LogRows>(criterion, "logs of others", &others, &logs);
}

fn compare<R: Rows>(criterion: &mut Criterion, name: &str, records: &[Vec<u8>], program: &Arc<Program>) {
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(ROWS as u64)).sample_size(40);
    let (mut plain, mut counted) = (empty::<R>(), empty::<R>().counted_by(program));
    let mut off = || processor_time(|| fill(&mut plain, records));
    let mut on = || {
        processor_time(|| {
            fill(&mut counted, records);
            counted.take_tally().expect("it is counted").count();
        })
    };
    group.bench_function("without", |bencher| {
        bencher.iter_custom(|times| (0..times).map(|_| off()).sum());
    });
    // In turns, so that neither has the better times of the machine.
    group.bench_function("deriving adds", |bencher| {
        bencher.iter_custom(|times| {
            let (mut with, mut without) = (Duration::ZERO, Duration::ZERO);
            for _ in 0..times {
                without += off();
                with += on();
            }
            // Criterion takes no times of 0 or less.
            with.saturating_sub(without).max(Duration::from_nanos(times))
        });
    });
    group.finish();
}

fn processor_time(work: impl FnOnce()) -> Duration {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("it counts from 0");
    let before = now();
    work();
    now() - before
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
