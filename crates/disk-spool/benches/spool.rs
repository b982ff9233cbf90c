//! Throughput, latency, opening and memory of a spool, each beside what the disk itself does in the same run.
//!
//! `cargo bench -p disk-spool`; `SPOOL_BENCH_DIR` names the folder (default: `target/spool-bench` of the workspace),
//! `SPOOL_BENCH_MIB` the bytes written for throughput (default 4096), `SPOOL_BENCH_BACKLOG_MIB` the large backlog (default
//! 10240), `SPOOL_BENCH_SECONDS` the length of the steady load (default 5). The folder is removed afterwards.

use std::{
    fs,
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use disk_spool::{Frame, Observer, Quota, Recovery, Spool, SpoolOptions, WhenFull};

const MIB: u64 = 1 << 20;
const LARGE_FRAME: usize = 400 << 10;
const SMALL_FRAME: usize = 10 << 10;

/// Counts syncs and keeps how long each took.
#[derive(Debug, Default)]
struct Meter {
    syncs: AtomicU64,
    took: Mutex<Vec<Duration>>,
}

impl Observer for Meter {
    fn synced(&self, _: usize, _: usize, took: Duration) {
        self.syncs.fetch_add(1, Ordering::Relaxed);
        self.took.lock().expect("no thread panics").push(took);
    }

    fn disk_error(&self, operation: &'static str, error: &io::Error) {
        print(&format!("disk error: {operation}: {error}"));
    }
}

fn main() {
    let folder = std::env::var_os("SPOOL_BENCH_DIR").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../target/spool-bench"),
        PathBuf::from,
    );
    fs::create_dir_all(&folder).expect("the folder can be made");
    throughput(&folder, number("SPOOL_BENCH_MIB", 4096) * MIB);
    steady(&folder, number("SPOOL_BENCH_SECONDS", 5));
    for mib in [1024, number("SPOOL_BENCH_BACKLOG_MIB", 10240)] {
        opening(&folder, mib * MIB);
    }
    fs::remove_dir_all(&folder).expect("the folder can be removed");
}

/// Large frames from several threads against the disk's own sequential rate.
fn throughput(folder: &Path, bytes: u64) {
    let plain = || {
        let path = folder.join("plain");
        let block: Vec<u8> = body(MIB as usize).to_vec();
        let started = Instant::now();
        let mut file = fs::File::create(&path).expect("a file");
        for _ in 0..bytes / MIB {
            file.write_all(&block).expect("room");
        }
        file.sync_data().expect("synced");
        rate(bytes, started.elapsed())
    };
    let dd = || {
        let path = folder.join("dd");
        // The same bytes, from memory: a disk may make light of zeros.
        let source = format!("if={}", folder.join("plain").display());
        let target = format!("of={}", path.display());
        let started = Instant::now();
        let status = Command::new("dd")
            .args([source.as_str(), &target, "bs=1M", "conv=fdatasync", "status=none"])
            .status();
        let rate = rate(bytes, started.elapsed());
        let _ = fs::remove_file(path);
        status.is_ok_and(|status| status.success()).then_some(rate)
    };
    let before = plain();
    let dd = dd();
    let directory = folder.join("spool");
    let (spool, _, meter) = open(&directory);
    let cpu = cpu_seconds();
    let started = Instant::now();
    fill(&spool, bytes, LARGE_FRAME);
    let spooled = rate(bytes, started.elapsed());
    let append_cpu = (cpu_seconds() - cpu) / (bytes as f64 / 1e9);
    let after = plain();
    let _ = fs::remove_file(folder.join("plain"));
    let disk = (before + after) / 2.0;
    row("plain writes, MB/s, before and after", &format!("{before:.0} {after:.0}"));
    row("dd conv=fdatasync, MB/s", &dd.map_or("no dd".to_owned(), |rate| format!("{rate:.0}")));
    row("spool, 400 KiB frames, MB/s", &format!("{spooled:.0}"));
    row("of the disk's rate", &format!("{:.0} % (goal 60 %)", spooled / disk * 100.0));
    row("group syncs", &format!("{}, {}", meter.syncs.load(Ordering::Relaxed), spread(&meter.took)));
    row("append, CPU s per GB", &format!("{append_cpu:.2}"));
    let cpu = cpu_seconds();
    let started = Instant::now();
    let mut taken = 0;
    loop {
        let frames = spool.take(8 << 20);
        if frames.is_empty() {
            break;
        }
        for frame in frames {
            taken += frame.payload.len() as u64;
            spool.resolve(frame.sequence);
        }
    }
    row("take, MB/s", &format!("{:.0}", rate(taken, started.elapsed())));
    row("take, CPU s per GB", &format!("{:.2}", (cpu_seconds() - cpu) / (taken as f64 / 1e9)));
    spool.close();
    fs::remove_dir_all(directory).expect("removed");
}

/// 2,000 appends of 10 KiB a second.
fn steady(folder: &Path, seconds: u64) {
    let directory = folder.join("spool");
    let (spool, _, meter) = open(&directory);
    let (sender, receiver) = mpsc::sync_channel::<(Instant, disk_spool::Appending)>(4096);
    let waiter = thread::spawn(move || {
        receiver
            .into_iter()
            .map(|(since, appending)| {
                appending.wait().expect("stored");
                since.elapsed()
            })
            .collect::<Vec<_>>()
    });
    let payload = body(SMALL_FRAME);
    let requests = seconds * 2000;
    let started = Instant::now();
    for number in 0..requests {
        let at = started + Duration::from_micros(500) * number as u32;
        // A pause that may end early, so the loop looks again.
        while let Some(left) = at.checked_duration_since(Instant::now()) {
            thread::park_timeout(left);
        }
        let appending = spool.append(vec![frame(payload.clone())]).expect("queued");
        sender.send((Instant::now(), appending)).expect("the waiter lives");
    }
    drop(sender);
    let acks = waiter.join().expect("the waiter lives");
    let syncs = meter.syncs.load(Ordering::Relaxed);
    row(
        "2,000 appends/s of 10 KiB: requests per sync",
        &format!("{:.1} (goal 20)", requests as f64 / syncs as f64),
    );
    row("ack latency", &spread(&Mutex::new(acks)));
    row("sync latency (the group window is 10 ms)", &spread(&meter.took));
    spool.close();
    fs::remove_dir_all(directory).expect("removed");
}

/// Opening with a backlog, and what memory it takes.
fn opening(folder: &Path, bytes: u64) {
    let directory = folder.join("spool");
    let (spool, ..) = open(&directory);
    fill(&spool, bytes, LARGE_FRAME);
    spool.close();
    drop(spool);
    let is_cold = Command::new("sync").status().is_ok() && fs::write("/proc/sys/vm/drop_caches", "3").is_ok();
    let before = resident_mib();
    let (spool, recovery, _) = open(&directory);
    let after = resident_mib();
    assert_eq!(recovery.pending.bytes, bytes / LARGE_FRAME as u64 * LARGE_FRAME as u64);
    let cache = if is_cold { "page cache dropped" } else { "page cache could not be dropped" };
    row(
        &format!("opening, {} GiB backlog", bytes >> 30),
        &format!("{:.3} s (goal 1 s), {cache}", recovery.took.as_secs_f64()),
    );
    row("resident before and after, MiB", &format!("{before:.1} {after:.1}"));
    let taken = spool.take(1);
    row("resident after the first take, MiB", &format!("{:.1}, {} frame", resident_mib(), taken.len()));
    spool.close();
    fs::remove_dir_all(directory).expect("removed");
}

fn open(directory: &Path) -> (Spool, Recovery, Arc<Meter>) {
    let options = SpoolOptions {
        directory: directory.to_owned(),
        segment_bytes: 64 << 20,
        group_window: Duration::from_millis(10),
        group_bytes: 8 << 20,
        queue_bytes: 64 << 20,
        max_frame_bytes: 16 << 20,
        when_full: WhenFull::Refuse,
        max_age: None,
    };
    let meter = Arc::new(Meter::default());
    let lane = Quota::new(1 << 40).lane(0);
    let (spool, recovery) =
        Spool::open(options, lane, Arc::clone(&meter) as Arc<dyn Observer>).expect("it opens");
    (spool, recovery, meter)
}

/// Appends from eight threads, each with eight requests under way.
fn fill(spool: &Spool, bytes: u64, frame_bytes: usize) {
    let payload = body(frame_bytes);
    let frames = bytes / frame_bytes as u64;
    let next = AtomicU64::new(0);
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let mut under_way = std::collections::VecDeque::new();
                while next.fetch_add(1, Ordering::Relaxed) < frames {
                    under_way.push_back(spool.append(vec![frame(payload.clone())]).expect("queued"));
                    if under_way.len() == 8 {
                        under_way.pop_front().map(|appending| appending.wait().expect("stored"));
                    }
                }
                for appending in under_way {
                    appending.wait().expect("stored");
                }
            });
        }
    });
}

fn frame(body: Bytes) -> Frame {
    Frame { head: Bytes::from_static(b""), body, items: 1, is_taken: false }
}

fn body(bytes: usize) -> Bytes {
    (0..bytes as u32).map(|place| (place.wrapping_mul(2_654_435_761) >> 24) as u8).collect::<Vec<_>>().into()
}

fn rate(bytes: u64, took: Duration) -> f64 {
    bytes as f64 / 1e6 / took.as_secs_f64()
}

fn spread(took: &Mutex<Vec<Duration>>) -> String {
    let mut took = took.lock().expect("no thread panics").clone();
    took.sort();
    let at = |part: f64| took.get((took.len() as f64 * part) as usize).copied().unwrap_or_default();
    format!("p50 {:.1} ms, p99 {:.1} ms", at(0.5).as_secs_f64() * 1e3, at(0.99).as_secs_f64() * 1e3)
}

/// Of this process, to a hundredth.
fn cpu_seconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |field: usize| fields.get(field).and_then(|ticks| ticks.parse::<f64>().ok()).unwrap_or(0.0);
    (ticks(11) + ticks(12)) / 100.0
}

fn resident_mib() -> f64 {
    let rollup = fs::read_to_string("/proc/self/smaps_rollup").unwrap_or_default();
    let line = rollup.lines().find_map(|line| line.strip_prefix("Rss:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<f64>().ok());
    kib.unwrap_or(0.0) / 1024.0
}

fn number(name: &str, default: u64) -> u64 {
    std::env::var(name).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn row(what: &str, value: &str) {
    print(&format!("{what:<48} {value}"));
}

#[allow(clippy::print_stdout, reason = "a bench prints its table")]
fn print(line: &str) {
    println!("{line}");
}
