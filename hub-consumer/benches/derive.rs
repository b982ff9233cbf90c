//! What deriving adds to the work of a hub, with the shipped rules: of the Menu API's lines and spans, and of services that no rule
//! is for. The goal is a tenth.
//!
//! Work is what a block takes from the bytes of its records to the compressed body of its insert: decode, sort, encode, LZ4, and,
//! with rules, adding the block's tally to the series. Network, Kafka's client and commits are left out, so that a whole hub's
//! share is smaller. Blocks with and without rules come in turns, in processor seconds of this thread, so that a busy machine does
//! not tell in their ratio.

use std::{hint::black_box, sync::Arc, time::Duration};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use hub_consumer::{
    clickhouse::{columns::ColumnSet, compression::Compression},
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
/// Lines of one record, as an edge puts them together under load.
const LINES: usize = 200;

fn benches(criterion: &mut Criterion) {
    let rules = rules::read(rules::SHIPPED).expect("the shipped rules are right");
    let deriving = Deriving::new(&rules, DeriveMetrics::default());
    let program = |signal| deriving.program(signal).expect("the signal has rules");
    let (logs, traces) = (program(Signal::Logs), program(Signal::Traces));
    let (mut menu, mut load) = (menu::Menu::new(1), Load::new(1));
    let lines: Vec<_> = (0..ROWS / LINES).map(|_| menu.lines(LINES).encode_to_vec()).collect();
    let single: Vec<_> = (0..ROWS).map(|_| menu.lines(1).encode_to_vec()).collect();
    let spans: Vec<_> = (0..ROWS / LINES).map(|_| menu.spans(LINES).encode_to_vec()).collect();
    let others: Vec<_> = (0..ROWS / (RESOURCES * ITEMS)).map(|_| load.logs().encode_to_vec()).collect();

    compare(criterion, "menu lines", &mut [&mut Pair::<LogRows>::new(&lines, &logs)]);
    compare(criterion, "menu lines, one a record", &mut [&mut Pair::<LogRows>::new(&single, &logs)]);
    compare(criterion, "menu spans", &mut [&mut Pair::<SpanRows>::new(&spans, &traces)]);
    compare(criterion, "logs of others", &mut [&mut Pair::<LogRows>::new(&others, &logs)]);
    let (mut lines, mut spans) =
        (Pair::<LogRows>::new(&lines, &logs), Pair::<SpanRows>::new(&spans, &traces));
    let mut others = Pair::<LogRows>::new(&others, &logs);
    compare(criterion, "a third each", &mut [&mut lines, &mut spans, &mut others]);
}

/// The same records with rules and without.
struct Pair<'r, R: Rows> {
    records: &'r [Vec<u8>],
    plain: Block<R>,
    counted: Block<R>,
    encoded: Vec<u8>,
}

/// One block's work: with rules, or without.
trait Work {
    fn plain(&mut self);
    fn counted(&mut self);
}

impl<'r, R: Rows> Pair<'r, R> {
    fn new(records: &'r [Vec<u8>], program: &Arc<Program>) -> Pair<'r, R> {
        let block = || {
            Block::new(DecodeSettings {
                topic: "otlp".to_owned(),
                retention: Duration::from_secs(365 * 24 * 3600),
                max_record_bytes: 256 << 20,
            })
        };
        Pair { records, plain: block(), counted: block().counted_by(program), encoded: Vec::new() }
    }
}

impl<R: Rows> Work for Pair<'_, R> {
    fn plain(&mut self) {
        work(&mut self.plain, self.records, &mut self.encoded);
    }

    fn counted(&mut self) {
        work(&mut self.counted, self.records, &mut self.encoded);
        self.counted.take_tally().expect("it is counted").count();
    }
}

fn work<R: Rows>(block: &mut Block<R>, records: &[Vec<u8>], encoded: &mut Vec<u8>) {
    block.clear();
    for (offset, record) in records.iter().enumerate() {
        let timestamp_ms = Some((START_UNIX_NANO / 1_000_000) as i64);
        let source = Source { partition: 3, offset: offset as i64, timestamp_ms };
        block.push(black_box(record), source).expect("the load is well formed");
    }
    assert_eq!(block.rows(), ROWS);
    encoded.clear();
    block.encode(ColumnSet::all(R::COLUMNS), encoded);
    black_box(Compression::Lz4.compress(encoded).expect("memory suffices"));
}

#[expect(clippy::print_stderr, reason = "the share is the result")]
fn compare(criterion: &mut Criterion, name: &str, blocks: &mut [&mut dyn Work]) {
    let rows = (ROWS * blocks.len()) as u64;
    let mut group = criterion.benchmark_group(name);
    group.throughput(Throughput::Elements(rows)).sample_size(20);
    let (mut without, mut with) = (Vec::new(), Vec::new());
    group.bench_function("with rules", |bencher| {
        bencher.iter_custom(|times| {
            let mut sum = Duration::ZERO;
            for _ in 0..times {
                without.push(processor_time(|| blocks.iter_mut().for_each(|block| block.plain())));
                with.push(processor_time(|| blocks.iter_mut().for_each(|block| block.counted())));
                sum += with[with.len() - 1];
            }
            sum
        });
    });
    group.finish();
    if with.is_empty() {
        return;
    }
    let (without, with) = (median(without), median(with));
    let adds = with.as_secs_f64() - without.as_secs_f64();
    let nanos_a_row = |seconds: f64| seconds * 1e9 / rows as f64;
    eprintln!(
        "{name}: deriving adds {:.0} ns to {:.0} ns a row, {:.1} %",
        nanos_a_row(adds),
        nanos_a_row(without.as_secs_f64()),
        100.0 * adds / without.as_secs_f64()
    );
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort_unstable();
    times[times.len() / 2]
}

fn processor_time(work: impl FnOnce()) -> Duration {
    let now = || Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).expect("it counts from 0");
    let before = now();
    work();
    now() - before
}

criterion_group!(all, benches);
criterion_main!(all);
