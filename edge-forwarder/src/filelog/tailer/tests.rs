//! Whole tailers on real files: what is written comes out, once, through rotations and crashes.

use std::{
    collections::BTreeMap,
    fs::OpenOptions,
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use flate2::{Compression, write::GzEncoder};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value,
};
use proptest::prelude::*;
use prost::Message as _;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};

use super::*;
use crate::{
    budget::MemoryBudget,
    filelog::{
        filter::Filter,
        join::JoinRules,
        parse::ParseRules,
        work::{Limits, Rules},
    },
    metrics::FilelogMetrics,
};

/// A directory with a log in it, a tailer, and a store that never forgets what was made durable.
struct Scene {
    root: tempfile::TempDir,
    running: Option<Running>,
    /// Every record that is durable.
    stored: Vec<Vec<u8>>,
    /// What the topic and the spool would say after a crash.
    durable: Vec<(FileId, Position)>,
    metrics: FilelogMetrics,
    written: Vec<Vec<u8>>,
    rotations: usize,
    limits: Limits,
}

struct Running {
    tailer: Tailer,
    output: UnboundedReceiver<Handover>,
    waiting: VecDeque<Handover>,
    /// Durable, and the tailer has not heard of it.
    untold: Vec<Ticket>,
}

impl Scene {
    fn new() -> Scene {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("app")).unwrap();
        let mut scene = Scene {
            root,
            running: None,
            stored: Vec::new(),
            durable: Vec::new(),
            metrics: FilelogMetrics::default(),
            written: Vec::new(),
            rotations: 0,
            limits: Limits::new(64 * 1024, 4096, 256 * 1024),
        };
        scene.start();
        scene
    }

    fn log(&self) -> PathBuf {
        self.root.path().join("app/0.log")
    }

    fn start(&mut self) {
        let store = CheckpointStore::open(&self.root.path().join("positions")).unwrap();
        let checkpoint = store.load();
        let (sender, output) = unbounded_channel();
        let include = self.root.path().join("*/*.log");
        let instantly = Duration::from_millis(1);
        let plan = Plan {
            include: vec![PathPattern::new(include.to_str().unwrap()).unwrap()],
            exclude: Vec::new(),
            is_from_end: false,
            waits: Waits {
                linger: instantly,
                next_line: instantly,
                rest_of_line: Duration::from_secs(3600),
                rotated: instantly,
            },
            scan_interval: instantly,
            blind_interval: instantly,
            room: self.root.path().join("positions"),
        };
        let rules = Rules {
            join: JoinRules { lines: None, max_bytes: self.limits.line_bytes },
            parse: ParseRules::default(),
            bare: ParseRules::bare(),
            filter: Filter::default(),
            rate_limit: None,
        };
        let work = Work::new(rules, self.limits, MemoryBudget::new(1 << 20), self.metrics.clone());
        let sources = Sources::new(&BTreeMap::new());
        let mark = Box::new(Vec::new);
        let tailer = Tailer::new(plan, work, sources, store, checkpoint.as_ref(), mark, sender).unwrap();
        let is_clean = checkpoint.is_some_and(|checkpoint| checkpoint.is_clean);
        tailer.line().tell(Message::Begin(if is_clean { Vec::new() } else { self.durable.clone() }));
        self.running = Some(Running { tailer, output, waiting: VecDeque::new(), untold: Vec::new() });
    }

    /// Turns, and takes what is handed over without making it durable.
    fn turn(&mut self) {
        let running = self.running.as_mut().unwrap();
        running.tailer.turn(Instant::now());
        while let Ok(handover) = running.output.try_recv() {
            running.waiting.push_back(handover);
        }
    }

    /// Makes what was handed over durable. `is_told`: the tailer hears of it.
    fn store(&mut self, is_told: bool) {
        let running = self.running.as_mut().unwrap();
        for Handover { ticket, file, batch } in running.waiting.drain(..) {
            self.stored.extend(bodies(&batch));
            self.durable
                .push((file.to_string().parse().unwrap(), batch.position.to_string().parse().unwrap()));
            running.untold.push(ticket);
        }
        if is_told {
            let line = running.tailer.line();
            running.untold.drain(..).for_each(|ticket| line.tell(Message::Durable(ticket, None)));
        }
    }

    /// The process is killed.
    fn crash(&mut self) {
        self.running = None;
        self.start();
    }

    /// The process stops in order.
    fn stop(&mut self) {
        self.running.as_ref().unwrap().tailer.line().tell(Message::Finish);
        for _ in 0..1000 {
            self.turn();
            self.store(true);
            if self.running.as_ref().unwrap().tailer.is_finished() {
                break;
            }
        }
        let mut running = self.running.take().unwrap();
        assert!(running.tailer.is_finished());
        running.tailer.save_checkpoint(true);
    }

    fn write(&mut self, text: &[u8]) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        file.write_all(text).unwrap();
    }

    fn write_line(&mut self, line: &[u8]) {
        self.write(&[line, b"\n"].concat());
        self.written.push(line.to_vec());
    }

    /// As kubelet does: under another name with a time in it.
    fn rotate(&mut self) -> PathBuf {
        self.rotations += 1;
        let to = self.root.path().join(format!("app/0.log.2026{:04}", self.rotations));
        fs::rename(self.log(), &to).unwrap();
        to
    }

    fn compress(&self, path: &Path) {
        let packed = PathBuf::from(format!("{}.gz", path.display()));
        let temporary = PathBuf::from(format!("{}.tmp", path.display()));
        let mut encoder = GzEncoder::new(fs::File::create(&temporary).unwrap(), Compression::fast());
        encoder.write_all(&fs::read(path).unwrap()).unwrap();
        encoder.finish().unwrap();
        fs::rename(temporary, packed).unwrap();
        fs::remove_file(path).unwrap();
    }

    /// Turns until everything that was written is stored.
    #[track_caller]
    fn settle(&mut self) {
        for _ in 0..2000 {
            if self.stored.len() >= self.written.len() {
                break;
            }
            self.turn();
            self.store(true);
        }
        // What is doubled comes now.
        for _ in 0..20 {
            self.turn();
            self.store(true);
        }
        assert_same(&self.stored, &self.written);
    }
}

#[track_caller]
fn assert_same(stored: &[Vec<u8>], written: &[Vec<u8>]) {
    let counted = |lines: &[Vec<u8>]| {
        let mut counts: BTreeMap<Vec<u8>, i64> = BTreeMap::new();
        lines.iter().for_each(|line| *counts.entry(line.clone()).or_default() += 1);
        counts
    };
    let (stored, mut difference) = (counted(stored), counted(written));
    stored.into_iter().for_each(|(line, count)| *difference.entry(line).or_default() -= count);
    difference.retain(|_, count| *count != 0);
    let shown: Vec<_> =
        difference.iter().map(|(line, count)| (String::from_utf8_lossy(line), *count)).collect();
    assert!(shown.is_empty(), "positive is missing, negative is too many: {shown:?}");
}

fn bodies(batch: &Batch) -> Vec<Vec<u8>> {
    let request = ExportLogsServiceRequest::decode(&*batch.request).unwrap();
    let records =
        request.resource_logs.into_iter().flat_map(|of| of.scope_logs).flat_map(|of| of.log_records);
    let body = |value| match value {
        Value::StringValue(text) => text.into_bytes(),
        Value::BytesValue(bytes) => bytes,
        other => panic!("{other:?}"),
    };
    records.map(|record| body(record.body.unwrap().value.unwrap())).collect()
}

fn line() -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("line {}", NEXT.fetch_add(1, Ordering::Relaxed)).into_bytes()
}

#[test]
fn lines_come_out_once_and_a_clean_stop_needs_nobody_to_be_asked() {
    let mut scene = Scene::new();
    (0..100).for_each(|_| scene.write_line(&line()));
    scene.settle();
    scene.stop();
    (0..100).for_each(|_| scene.write_line(&line()));
    scene.durable.clear();
    scene.start();
    scene.settle();
}

#[test]
fn a_renamed_file_is_read_to_its_end() {
    let mut scene = Scene::new();
    scene.write_line(&line());
    scene.settle();
    scene.write_line(&line());
    let old = scene.rotate();
    scene.write_line(&line());
    scene.settle();
    // The writer held on to it.
    OpenOptions::new().append(true).open(old).unwrap().write_all(b"late\n").unwrap();
    scene.written.push(b"late".to_vec());
    scene.settle();
}

#[test]
fn files_rotated_while_nobody_looked_are_read_compressed_or_not() {
    let mut scene = Scene::new();
    scene.write_line(&line());
    scene.settle();
    scene.stop();
    for _ in 0..3 {
        scene.write_line(&line());
        let old = scene.rotate();
        if scene.rotations < 3 {
            scene.compress(&old);
        }
    }
    scene.write_line(&line());
    scene.start();
    scene.settle();
}

#[test]
fn bytes_that_were_deleted_unread_are_counted() {
    let mut scene = Scene::new();
    scene.write_line(b"0123456789");
    scene.settle();
    // Read, and never durable.
    scene.write_line(b"lost");
    (0..100).for_each(|_| scene.turn());
    scene.running.as_mut().unwrap().tailer.save_checkpoint(false);
    scene.running = None;
    let old = scene.rotate();
    fs::remove_file(old).unwrap();
    scene.written.pop();
    scene.write_line(&line());
    scene.start();
    scene.settle();
    assert_eq!(scene.metrics.lost(), 5);
}

#[test]
fn a_copied_and_truncated_file_goes_on_in_its_copy() {
    let mut scene = Scene::new();
    (0..3).for_each(|_| scene.write_line(&line()));
    scene.settle();
    (0..3).for_each(|_| scene.write_line(&line()));
    fs::copy(scene.log(), scene.root.path().join("app/0.log.1")).unwrap();
    fs::File::options().write(true).open(scene.log()).unwrap().set_len(0).unwrap();
    (0..9).for_each(|_| scene.write_line(&line()));
    scene.settle();
    assert_eq!(scene.metrics.lost(), 0);
}

#[test]
fn a_truncated_file_without_a_copy_begins_anew_and_its_unread_bytes_are_counted() {
    let mut scene = Scene::new();
    scene.limits = Limits::new(1, 4096, 256 * 1024);
    scene.crash();
    scene.write_line(&line());
    scene.settle();
    for line in [b"aaa", b"bbb", b"ccc", b"ddd"] {
        scene.write_line(line);
    }
    // One batch is out and one is full: the others are not read.
    (0..100).for_each(|_| scene.turn());
    fs::File::options().write(true).open(scene.log()).unwrap().set_len(0).unwrap();
    let unread = scene.metrics.lost();
    assert_eq!(unread, 0);
    scene.written.truncate(scene.written.len() - 2);
    scene.write_line(&line());
    scene.settle();
    assert_eq!(scene.metrics.lost(), 8);
}

#[test]
fn an_inode_that_comes_back_with_another_file_is_another_file() {
    let mut scene = Scene::new();
    scene.write_line(b"one of seventeen");
    scene.settle();
    scene.stop();
    // The same inode, the same length.
    fs::write(scene.log(), b"").unwrap();
    scene.write_line(b"two of seventeen");
    scene.start();
    scene.settle();
}

#[test]
fn a_line_cut_by_a_rotation_is_one_record() {
    let mut scene = Scene::new();
    let time = "2026-11-26T00:00:00.000000001Z";
    scene.write(format!("{time} stdout P one \n{time} stderr F other\n").as_bytes());
    scene.written.push(b"other".to_vec());
    scene.settle();
    scene.rotate();
    scene.write(format!("{time} stdout P record \n").as_bytes());
    (0..50).for_each(|_| scene.turn());
    scene.store(true);
    scene.crash();
    scene.rotate();
    scene.write(format!("{time} stdout F here\n").as_bytes());
    scene.written.push(b"one record here".to_vec());
    scene.settle();
}

#[test]
fn bytes_that_are_no_text_and_lines_without_an_end_come_as_they_are() {
    let mut scene = Scene::new();
    scene.write_line(b"\xff\xfe\x00 not text");
    scene.write_line(b"");
    scene.write(b"no end");
    (0..50).for_each(|_| scene.turn());
    scene.settle();
    scene.rotate();
    scene.write_line(&line());
    scene.written.push(b"no end".to_vec());
    scene.settle();
}

#[test]
fn a_line_longer_than_a_record_may_be_comes_in_parts() {
    let mut scene = Scene::new();
    let long = vec![b'x'; 10 * 1024 * 1024];
    scene.write(&[&long[..], b"\n"].concat());
    scene.write(b"short\n");
    let started = Instant::now();
    let mut bytes = 0;
    while bytes < long.len() + 5 && started.elapsed() < Duration::from_secs(30) {
        scene.turn();
        scene.store(true);
        bytes = scene.stored.iter().map(Vec::len).sum();
    }
    assert_eq!(bytes, long.len() + 5);
    assert_eq!(scene.stored.last().unwrap(), b"short");
    assert!(scene.stored.iter().all(|record| record.len() <= scene.limits.line_bytes));
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Write(u8),
    /// A fragment; the line ends with the next write.
    Begin,
    Rotate,
    /// The oldest file that is not yet compressed.
    Compress,
    Turn(u8),
    Store {
        is_told: bool,
    },
    Checkpoint,
    Crash,
    Stop,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => (1..6u8).prop_map(Step::Write),
        1 => Just(Step::Begin),
        2 => Just(Step::Rotate),
        1 => Just(Step::Compress),
        4 => (1..4u8).prop_map(Step::Turn),
        3 => any::<bool>().prop_map(|is_told| Step::Store { is_told }),
        1 => Just(Step::Checkpoint),
        2 => Just(Step::Crash),
        1 => Just(Step::Stop),
    ];
    proptest::collection::vec(step, 1..60)
}

fn run(steps: &[Step]) {
    let mut scene = Scene::new();
    // From here on it has been there.
    scene.turn();
    let mut unpacked: VecDeque<PathBuf> = VecDeque::new();
    let mut begun: Option<Vec<u8>> = None;
    let time = "2026-11-26T00:00:00.000000001Z";
    for step in steps {
        match step {
            Step::Write(lines) => {
                for _ in 0..*lines {
                    let text = line();
                    scene.write(format!("{time} stdout F {}\n", String::from_utf8_lossy(&text)).as_bytes());
                    let whole = [begun.take().unwrap_or_default(), text].concat();
                    scene.written.push(whole);
                    let other = line();
                    scene.write(format!("{time} stderr F {}\n", String::from_utf8_lossy(&other)).as_bytes());
                    scene.written.push(other);
                }
            }
            Step::Begin => {
                let text = line();
                scene.write(format!("{time} stdout P {}\n", String::from_utf8_lossy(&text)).as_bytes());
                begun.get_or_insert_default().extend(text);
            }
            Step::Rotate if scene.log().exists() => unpacked.push_back(scene.rotate()),
            Step::Rotate => {}
            Step::Compress => {
                if let Some(path) = unpacked.pop_front() {
                    scene.compress(&path);
                }
            }
            Step::Turn(turns) => (0..*turns).for_each(|_| scene.turn()),
            Step::Store { is_told } => scene.store(*is_told),
            Step::Checkpoint => {
                let tailer = &mut scene.running.as_mut().unwrap().tailer;
                if tailer.phase != Phase::Opening {
                    tailer.save_checkpoint(false);
                }
            }
            Step::Crash => scene.crash(),
            Step::Stop => {
                (0..3).for_each(|_| scene.turn());
                scene.stop();
                scene.start();
            }
        }
    }
    scene.write(format!("{time} stdout F end\n").as_bytes());
    scene.written.push([begun.unwrap_or_default(), b"end".to_vec()].concat());
    scene.crash();
    scene.settle();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, max_shrink_iters: 200, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order, every line comes out once.
    #[test]
    fn every_line_once(steps in steps()) {
        run(&steps);
    }
}

#[test]
fn a_compressed_file_leaves_its_inode_to_the_next() {
    use Step::{Begin, Compress, Crash, Rotate, Stop, Store, Turn, Write};
    run(&[Begin, Rotate, Begin, Rotate, Write(1), Crash, Turn(2), Crash, Rotate, Compress, Write(1)]);
    let told = Store { is_told: true };
    run(&[
        Write(1),
        Rotate,
        Write(1),
        Crash,
        Rotate,
        Write(1),
        Turn(3),
        Write(1),
        Rotate,
        told,
        Turn(2),
        Compress,
        Compress,
        Stop,
    ]);
}

#[test]
fn a_file_that_was_found_empty_is_the_one_that_was_compressed_unread() {
    let mut scene = Scene::new();
    scene.turn();
    scene.running = None;
    scene.write(b"");
    scene.start();
    // The topic is still being asked, and files are only opened.
    let running = scene.running.as_mut().unwrap();
    let line = running.tailer.line();
    let held_back = line.take();
    (0..5).for_each(|_| scene.turn());
    scene.write_line(&line_of(7));
    let old = scene.rotate();
    scene.write_line(&line_of(8));
    (0..5).for_each(|_| scene.turn());
    scene.compress(&old);
    (0..5).for_each(|_| scene.turn());
    held_back.into_iter().for_each(|message| line.tell(message));
    scene.settle();
}

fn line_of(number: u64) -> Vec<u8> {
    format!("a line of its own, {number}").into_bytes()
}

#[test]
fn a_log_that_is_only_there_under_another_name_is_known_again_when_it_comes_back() {
    let mut scene = Scene::new();
    scene.turn();
    scene.write_line(&line());
    (0..50).for_each(|_| scene.turn());
    scene.store(true);
    scene.rotate();
    scene.crash();
    (0..50).for_each(|_| scene.turn());
    scene.stop();
    scene.start();
    (0..50).for_each(|_| scene.turn());
    scene.write_line(&line());
    scene.settle();
}
