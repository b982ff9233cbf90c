//! A directory with a log, and a tailer on it that can be killed.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    io::Write,
    sync::atomic::{AtomicU64, Ordering},
};

use flate2::{Compression, write::GzEncoder};
use opentelemetry_proto::tonic::{
    collector::logs::v1::ExportLogsServiceRequest, common::v1::any_value::Value,
};
use prost::Message as _;
use tokio::sync::mpsc::{Receiver, channel};

use super::*;
use crate::{
    budget::MemoryBudget,
    filelog::{
        filter::Filter,
        join::JoinRules,
        parse::ParseRules,
        select::Selection,
        work::{Limits, Rules},
    },
    metrics::FilelogMetrics,
};

/// A directory with a log in it, a tailer, and a store that never forgets what was made durable.
pub(super) struct Scene {
    pub(super) root: tempfile::TempDir,
    pub(super) running: Option<Running>,
    /// Every record that is durable.
    pub(super) stored: Vec<Vec<u8>>,
    /// What the topic and the spool would say after a crash.
    pub(super) durable: Vec<(FileId, Position)>,
    pub(super) metrics: FilelogMetrics,
    pub(super) written: Vec<Vec<u8>>,
    pub(super) rotations: usize,
    pub(super) limits: Limits,
    pub(super) rest_of_line: Duration,
    pub(super) selection: Selection,
    /// Patterns below the root.
    pub(super) include: String,
    pub(super) exclude: Vec<String>,
    pub(super) scan_interval: Duration,
}

pub(super) struct Running {
    pub(super) tailer: Tailer,
    pub(super) output: Receiver<Handover>,
    pub(super) waiting: VecDeque<Handover>,
    /// Durable, and the tailer has not heard of it.
    pub(super) untold: Vec<Ticket>,
}

impl Scene {
    pub(super) fn new() -> Scene {
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
            rest_of_line: Duration::from_secs(3600),
            selection: Selection::default(),
            include: "*/*.log".to_owned(),
            exclude: Vec::new(),
            scan_interval: Duration::from_millis(1),
        };
        scene.start();
        scene
    }

    pub(super) fn log(&self) -> PathBuf {
        self.root.path().join("app/0.log")
    }

    pub(super) fn start(&mut self) {
        let store = CheckpointStore::open(&self.root.path().join("positions")).unwrap();
        let checkpoint = store.load();
        let (sender, output) = channel(1000);
        let pattern = |of: &String| PathPattern::new(self.root.path().join(of).to_str().unwrap()).unwrap();
        let instantly = Duration::from_millis(1);
        let plan = Plan {
            include: vec![pattern(&self.include)],
            exclude: self.exclude.iter().map(pattern).collect(),
            is_from_end: false,
            waits: Waits {
                linger: instantly,
                next_line: instantly,
                rest_of_line: self.rest_of_line,
                rotated: instantly,
            },
            scan_interval: self.scan_interval,
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
        let sources = Sources::new(&BTreeMap::new(), self.selection.clone());
        let mark = Box::new(Vec::new);
        let tailer = Tailer::new(plan, work, sources, store, checkpoint.as_ref(), mark, sender).unwrap();
        let is_clean = checkpoint.is_some_and(|checkpoint| checkpoint.is_clean);
        tailer.line().tell(Message::Begin(if is_clean { Vec::new() } else { self.durable.clone() }));
        self.running = Some(Running { tailer, output, waiting: VecDeque::new(), untold: Vec::new() });
    }

    /// Turns, and takes what is handed over without making it durable.
    pub(super) fn turn(&mut self) {
        let running = self.running.as_mut().unwrap();
        running.tailer.turn(Instant::now());
        while let Ok(handover) = running.output.try_recv() {
            running.waiting.push_back(handover);
        }
    }

    /// Makes what was handed over durable. `is_told`: the tailer hears of it.
    pub(super) fn store(&mut self, is_told: bool) {
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

    /// Turns until so many records are stored.
    pub(super) fn store_until(&mut self, records: usize) {
        let started = Instant::now();
        while self.stored.len() < records {
            assert!(started.elapsed() < Duration::from_secs(30), "{:?}", self.stored);
            self.turn();
            self.store(true);
        }
    }

    /// The process is killed.
    pub(super) fn crash(&mut self) {
        self.running = None;
        self.start();
    }

    /// The process stops in order.
    pub(super) fn stop(&mut self) {
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

    pub(super) fn write(&mut self, text: &[u8]) {
        let mut file = OpenOptions::new().create(true).append(true).open(self.log()).unwrap();
        file.write_all(text).unwrap();
    }

    pub(super) fn write_line(&mut self, line: &[u8]) {
        self.write(&[line, b"\n"].concat());
        self.written.push(line.to_vec());
    }

    /// As kubelet does: under another name with a time in it.
    pub(super) fn rotate(&mut self) -> PathBuf {
        self.rotations += 1;
        let to = self.root.path().join(format!("app/0.log.2026{:04}", self.rotations));
        fs::rename(self.log(), &to).unwrap();
        to
    }

    pub(super) fn compress(&self, path: &Path) {
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
    pub(super) fn settle(&mut self) {
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
pub(super) fn assert_same(stored: &[Vec<u8>], written: &[Vec<u8>]) {
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

pub(super) fn bodies(batch: &Batch) -> Vec<Vec<u8>> {
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

pub(super) fn line() -> Vec<u8> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("line {}", NEXT.fetch_add(1, Ordering::Relaxed)).into_bytes()
}
