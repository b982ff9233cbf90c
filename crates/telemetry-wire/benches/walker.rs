//! What reading costs at the edge and, without writing anything, at the hub. Times are CPU time of the thread, so that
//! the numbers hold on a machine with other work.

use bytes::Bytes;
use criterion::measurement::{Measurement, ValueFormatter, WallTime};
use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use prost::Message;
use rustix::time::{ClockId, clock_gettime};
use std::hint::black_box;
use std::time::Duration;
use telemetry_wire::split::{Grouping, SplitOptions};
use telemetry_wire::{InspectLimits, Signal, fixtures, inspect, logs, partition::Partitioner, split};

criterion_group!(name = benches; config = Criterion::default().with_measurement(CpuTime); targets = walker);
criterion_main!(benches);

fn walker(criterion: &mut Criterion<CpuTime>) {
    let mut load = fixtures::Load::new(1);
    let mut requests: Vec<(Signal, Bytes)> = Vec::new();
    for _ in 0..32 {
        requests.push((Signal::Logs, load.logs().encode_to_vec().into()));
        requests.push((Signal::Traces, load.traces().encode_to_vec().into()));
        requests.push((Signal::Metrics, load.metrics().encode_to_vec().into()));
    }
    let limits = InspectLimits::default();
    for signal in Signal::ALL {
        let bytes: Vec<&Bytes> =
            requests.iter().filter(|request| request.0 == signal).map(|request| &request.1).collect();
        let items: u64 =
            bytes.iter().map(|bytes| inspect(signal, bytes, &limits).expect("well-formed").items).sum();
        let total: usize = bytes.iter().map(|bytes| bytes.len()).sum();
        let mut group = criterion.benchmark_group(format!("{signal} of {} bytes", total as u64 / items));
        group.throughput(Throughput::Elements(items));
        group.bench_function("inspect", |bencher| {
            bencher.iter(|| {
                for bytes in &bytes {
                    black_box(inspect(signal, black_box(bytes), &limits)).expect("well-formed");
                }
            });
        });
        let to_partition = |hash: &[u8; 16]| Partitioner::SaramaCompat.partition(hash, 12);
        let options =
            SplitOptions { grouping: Grouping::Bucket(&to_partition), max_bytes: 1 << 20, head_bytes: 1024 };
        group.bench_function("split_by_partition", |bencher| {
            bencher.iter_batched(
                || bytes.clone(),
                |bytes| bytes.iter().map(|bytes| split(signal, bytes, &options)).collect::<Vec<_>>(),
                BatchSize::SmallInput,
            );
        });
        if signal == Signal::Logs {
            group.bench_function("visit_every_field", |bencher| {
                bencher.iter(|| {
                    bytes.iter().map(|bytes| visit(black_box(bytes)).expect("well-formed")).sum::<usize>()
                });
            });
        }
        group.finish();
    }
}

/// Touches every field the hub writes; the sum keeps the reading from being optimized away.
fn visit(bytes: &[u8]) -> Result<usize, telemetry_wire::Malformed> {
    let mut sum = 0;
    for group in logs::Request::new(bytes).resources() {
        let group = group?;
        for attribute in group.resource.attributes() {
            sum += attribute?.key.len();
        }
        for scope in group.scopes() {
            for item in scope?.items() {
                let record = logs::LogRecord::parse(item?)?;
                sum += record.time_unix_nano as usize + record.trace_id.len() + record.severity_text.len();
                if let telemetry_wire::common::AnyValue::String(body) = record.body {
                    sum += body.len();
                }
                for attribute in record.attributes() {
                    sum += black_box(attribute?).key.len();
                }
            }
        }
    }
    Ok(sum)
}

/// CPU time of the calling thread.
struct CpuTime;

impl Measurement for CpuTime {
    type Intermediate = Duration;
    type Value = Duration;

    fn start(&self) -> Duration {
        let now = clock_gettime(ClockId::ThreadCPUTime);
        Duration::try_from(now).expect("CPU time is never negative")
    }

    fn end(&self, start: Duration) -> Duration {
        self.start() - start
    }

    fn add(&self, one: &Duration, other: &Duration) -> Duration {
        *one + *other
    }

    fn zero(&self) -> Duration {
        Duration::ZERO
    }

    fn to_f64(&self, value: &Duration) -> f64 {
        WallTime.to_f64(value)
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        WallTime.formatter()
    }
}
