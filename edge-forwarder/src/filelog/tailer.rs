//! The one thread that reads all logs.
//!
//! ```text
//!   hints, clock ─► look ─► logs with something to read ─► a quantum of one ─► batch full or due ─► handed over
//!                                  ▲                  └── next log, round and round ──┘                  │
//!                                  └──────────────── the position moves ◄── durable ◄───────────────────┘
//! ```
//!
//! A log has one batch under way for each of its files, so the batches of a file are durable in the order of its lines, and
//! after a crash one position says it all. A log whose batch is not durable yet is not read further than one more batch: the
//! file is the buffer. Logs take turns of [`QUANTUM_BYTES`](super::work::QUANTUM_BYTES), so that a noisy one does not starve
//! the others.
//!
//! Memory: the scratch buffer, what `filelog.memory_max_bytes` grants to batches and unfinished records, and about a kilobyte
//! for each open file.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use tokio::sync::mpsc::Sender;

use super::{
    batch::Batch,
    checkpoint::{Checkpoint, CheckpointStore},
    discover::PathPattern,
    family::Candidate,
    generation::Progress,
    identity::FileId,
    log::{Log, Sealed, Waits},
    position::Position,
    sources::{Sources, Verdict},
    watch::{Bell, Hint, Watcher},
    work::Work,
};
use crate::publisher::{Landed, unix_nanos};

mod look;

/// Whoever watches the thread sees it turn so often.
const LONGEST_IDLE: Duration = Duration::from_secs(10);

/// Bytes read in turns before anything else is looked at.
const ROUND_TURNS: usize = 16;

/// How often a checkpoint follows the positions.
const CHECKPOINT_INTERVAL: Duration = Duration::from_secs(1);

/// Positions that are kept of files that are not found.
const MAX_UNPLACED: usize = 10_000;

/// How long a log waits whose memory others hold.
const NO_ROOM_PAUSE: Duration = Duration::from_millis(20);

/// What is looked for, and how.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) include: Vec<PathPattern>,
    pub(super) exclude: Vec<PathPattern>,
    /// Files that are there at the first start are read from their end.
    pub(super) is_from_end: bool,
    pub(super) waits: Waits,
    /// How often everything is looked at, in case that a change was not told.
    pub(super) scan_interval: Duration,
    /// The same where changes are not told at all.
    pub(super) blind_interval: Duration,
    /// Where archives are unpacked.
    pub(super) room: PathBuf,
}

/// A batch to be made durable.
#[derive(Debug)]
pub(super) struct Handover {
    pub(super) ticket: Ticket,
    pub(super) file: FileId,
    pub(super) batch: Batch,
}

/// Whose batch it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Ticket {
    log: u64,
    generation: u64,
}

/// How the tailer is spoken to; clones speak to the same.
#[derive(Debug, Clone)]
pub(super) struct Line {
    inbox: Arc<Mutex<Vec<Message>>>,
    bell: Bell,
}

/// What it is told.
#[derive(Debug)]
pub(super) enum Message {
    /// Nothing was read before this: these batches of files became durable after the checkpoint.
    Begin(Vec<(FileId, Position)>),
    /// The batch is durable; marks lead to it until its position has moved.
    Durable(Ticket, Option<Landed>),
    /// It may be another matter now which logs are read.
    PodsChanged,
    /// Read nothing more, hand over what there is.
    Finish,
}

/// Where to look after a crash for what is handed over from now on.
pub(super) type TakeMark = Box<dyn Fn() -> Vec<u8> + Send>;

/// Reads logs.
pub(super) struct Tailer {
    plan: Plan,
    work: Work,
    sources: Sources,
    store: CheckpointStore,
    take_mark: TakeMark,
    output: Sender<Handover>,
    watcher: Watcher,
    line: Line,
    logs: HashMap<u64, Log>,
    by_path: HashMap<PathBuf, u64>,
    by_directory: HashMap<PathBuf, HashSet<u64>>,
    ready: VecDeque<u64>,
    is_ready: HashSet<u64>,
    /// Logs whose pods are not known yet.
    unknown: HashSet<u64>,
    next_number: u64,
    first_start_ms: i64,
    /// Positions of files that have not been found yet: a log may show only later.
    durable: Vec<(FileId, Position)>,
    /// Nothing was known of any file at the start.
    is_first_start: bool,
    phase: Phase,
    has_begun: bool,
    scan_at: Instant,
    tick_at: Instant,
    checkpoint_at: Instant,
    is_dirty: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    /// Files are opened and not read: it is not known yet what of them is durable.
    Opening,
    /// It is known, and a checkpoint has to say so before anything is read.
    Noting,
    Reading,
    /// What was read is handed over, nothing more is read.
    Finishing,
}

impl Line {
    pub(super) fn tell(&self, message: Message) {
        self.inbox.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        self.bell.ring();
    }

    /// Makes the tailer look at what has changed around it.
    pub(super) fn wake(&self) {
        self.bell.ring();
    }

    fn take(&self) -> Vec<Message> {
        std::mem::take(&mut *self.inbox.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Tailer {
    /// One that knows what the checkpoint knows.
    pub(super) fn new(
        plan: Plan,
        work: Work,
        sources: Sources,
        store: CheckpointStore,
        checkpoint: Option<&Checkpoint>,
        take_mark: TakeMark,
        output: Sender<Handover>,
    ) -> io::Result<Tailer> {
        let watcher = Watcher::new()?;
        let line = Line { inbox: Arc::default(), bell: watcher.bell() };
        let now = Instant::now();
        let mut tailer = Tailer {
            plan,
            work,
            sources,
            store,
            take_mark,
            output,
            watcher,
            line,
            logs: HashMap::new(),
            by_path: HashMap::new(),
            by_directory: HashMap::new(),
            ready: VecDeque::new(),
            is_ready: HashSet::new(),
            unknown: HashSet::new(),
            next_number: 0,
            first_start_ms: checkpoint.map_or_else(first_start_now, |checkpoint| checkpoint.first_start_ms),
            durable: checkpoint.map_or_else(Vec::new, |checkpoint| checkpoint.unplaced.clone()),
            is_first_start: checkpoint.is_none(),
            phase: Phase::Opening,
            has_begun: false,
            scan_at: now,
            tick_at: now,
            checkpoint_at: now,
            is_dirty: true,
        };
        for state in checkpoint.iter().flat_map(|checkpoint| &checkpoint.files) {
            let number = tailer.number();
            let log = tailer.log_at(&state.log);
            tailer.logs.entry(log).and_modify(|log| log.restore(state, number, now));
        }
        Ok(tailer)
    }

    pub(super) fn line(&self) -> Line {
        self.line.clone()
    }

    /// Reads until it is told to finish, and everything that was read is durable, or the line's other end gives up.
    pub(super) fn run(mut self, is_given_up: &dyn Fn() -> bool) {
        while !(self.is_finished() || is_given_up()) {
            self.turn(Instant::now());
        }
        // Of what was never read the old checkpoint knows more.
        if self.has_begun {
            self.save_checkpoint(self.is_finished());
        }
    }

    fn is_finished(&self) -> bool {
        let is_idle = |log: &Log| log.generations.iter().all(|one| !one.is_outstanding() && !one.may_seal());
        self.phase == Phase::Finishing && self.logs.values().all(is_idle)
    }

    /// Does what is due, reads for a while if there is something to read, else waits for something to happen.
    pub(super) fn turn(&mut self, now: Instant) {
        for message in self.line.take() {
            self.told(message, now);
        }
        let timeout =
            if self.ready.is_empty() || !self.has_begun { self.idle_time(now) } else { Duration::ZERO };
        for hint in self.watcher.wait(timeout) {
            self.follow(&hint, Instant::now());
        }
        let now = Instant::now();
        if now >= self.scan_at {
            self.scan(now);
        }
        if self.phase == Phase::Reading {
            self.read_round();
        }
        if now >= self.tick_at {
            self.tick(now);
        }
        if now >= self.checkpoint_at && self.phase == Phase::Noting {
            self.note_beginning(now);
        }
        if now >= self.checkpoint_at && self.has_begun {
            self.checkpoint_at = now + CHECKPOINT_INTERVAL;
            if self.is_dirty {
                self.save_checkpoint(false);
            }
        }
    }

    fn told(&mut self, message: Message, now: Instant) {
        match message {
            Message::Begin(durable) => self.begin(durable, now),
            Message::Durable(Ticket { log, generation }, landed) => {
                let Some(of) = self.logs.get_mut(&log) else { return };
                if let Some(one) = of.generations.iter_mut().find(|one| one.number == generation) {
                    one.settled();
                    self.is_dirty = true;
                    landed.into_iter().for_each(Landed::position_moved);
                }
                self.hand_over(log, now);
                self.wake(log);
            }
            Message::PodsChanged => {
                self.scan_at = self.scan_at.min(now + self.plan.blind_interval);
                self.wake_unknown();
            }
            Message::Finish => {
                self.phase = Phase::Finishing;
                let logs: Vec<u64> = self.logs.keys().copied().collect();
                logs.into_iter().for_each(|log| self.hand_over(log, now));
            }
        }
    }

    /// Now it is known what is durable: reading begins, once a checkpoint says that it has. Before that nothing may be handed
    /// over, since the last checkpoint may say that there is nobody to ask.
    fn begin(&mut self, durable: Vec<(FileId, Position)>, now: Instant) {
        self.scan(now);
        self.durable.extend(durable);
        for log in self.logs.values_mut() {
            log.resume(&mut self.durable);
        }
        self.durable.truncate(MAX_UNPLACED);
        self.phase = Phase::Noting;
        self.note_beginning(now);
    }

    fn note_beginning(&mut self, now: Instant) {
        self.checkpoint_at = now + CHECKPOINT_INTERVAL;
        if !self.save_checkpoint(false) {
            return;
        }
        (self.phase, self.has_begun) = (Phase::Reading, true);
        self.is_first_start = false;
        self.scan(now);
        // What is there is shown at once, also when nothing of it is to be read.
        self.work.sink.metrics.set_state(self.logs.values().map(Log::seen).collect());
    }

    fn follow(&mut self, hint: &Hint, now: Instant) {
        match hint {
            Hint::Everything => self.scan_at = now,
            Hint::Grown(path) => match self.by_path.get(path) {
                Some(log) => self.wake(*log),
                None => self.wake_owner(path),
            },
            Hint::Directory(directory) => {
                if self.by_directory.contains_key(directory) {
                    self.look_in(directory, now);
                }
                // A pattern may lead through it, or a new file may be in it.
                self.scan_at = self.scan_at.min(now + self.plan.blind_interval);
            }
        }
    }

    /// A file grew that is not at its log's path any more.
    fn wake_owner(&mut self, path: &Path) {
        let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else { return };
        let Some(logs) = self.by_directory.get(directory) else { return };
        let owns = |log: &&u64| {
            let own = self.logs.get(log).and_then(|log| log.path.file_name());
            own.is_some_and(|own| Candidate::is_of(&name.to_string_lossy(), &own.to_string_lossy()))
        };
        let owners: Vec<u64> = logs.iter().filter(owns).copied().collect();
        owners.into_iter().for_each(|log| self.wake(log));
    }

    fn wake(&mut self, log: u64) {
        if self.is_ready.insert(log) {
            self.ready.push_back(log);
        }
    }

    /// Reads from the logs that have something, in turns.
    fn read_round(&mut self) {
        for _ in 0..ROUND_TURNS {
            let Some(number) = self.ready.pop_front() else { return };
            self.is_ready.remove(&number);
            self.read_turn(number, Instant::now());
        }
    }

    fn wake_unknown(&mut self) {
        let unknown = std::mem::take(&mut self.unknown);
        unknown.into_iter().for_each(|log| self.wake(log));
    }

    /// Makes ready for the lines of a log; false when none are to be read now.
    fn turn_to(&mut self, number: u64, now: Instant) -> bool {
        let Some(log) = self.logs.get(&number) else { return false };
        let verdict = self.verdict(log, now);
        if verdict == Verdict::Leave && log.is_untouched() {
            // Should it be selected one day, it is a new log.
            self.forget(number);
            return false;
        }
        self.work.sink.is_left_out = verdict == Verdict::Leave;
        self.work.sink.observed_unix_nano = unix_nanos();
        self.sources.attributes_of(&log.path, &mut self.work.sink.attributes);
        if verdict == Verdict::Wait {
            self.unknown.insert(number);
        }
        verdict != Verdict::Wait
    }

    fn read_turn(&mut self, number: u64, now: Instant) {
        if !self.turn_to(number, now) {
            return;
        }
        let Some(log) = self.logs.get_mut(&number) else { return };
        self.work.allow(&mut log.allowance, now);
        let progress = log.read_some(&mut self.work, now);
        log.allowance = self.work.sink.allowance;
        self.is_dirty |= !matches!(progress, Ok(Progress::End));
        self.hand_over(number, now);
        match progress {
            Ok(Progress::Read) => self.wake(number),
            Ok(Progress::End | Progress::Full) => {}
            Ok(Progress::NoRoom) => self.tick_at = self.tick_at.min(now + NO_ROOM_PAUSE),
            Ok(Progress::Replaced) => {
                self.work.sink.metrics.count_truncated();
                if let Some(directory) =
                    self.logs.get(&number).and_then(|log| Some(log.path.parent()?.to_owned()))
                {
                    self.look_in(&directory, now);
                }
            }
            Err(error) => {
                self.work.sink.metrics.count_file_error();
                let path = self.logs.get(&number).map(|log| log.path.display().to_string());
                tracing::warn!(path, %error, "a log file cannot be read; it is tried again");
            }
        }
    }

    /// Hands over the batches of a log that are due.
    fn hand_over(&mut self, number: u64, now: Instant) {
        let Tailer { logs, work, plan, sources, output, phase, .. } = self;
        let Some(log) = logs.get_mut(&number) else { return };
        if !log.generations.iter().any(|one| one.may_seal()) {
            return;
        }
        let resource = sources.resource_of(&log.path);
        let is_last = *phase == Phase::Finishing;
        let sealed = log.seal(plan.waits.linger, &resource, work, now, is_last);
        let is_any = !sealed.is_empty();
        for Sealed { number: generation, file, batch } in sealed {
            tracing::debug!(generation, id = %file, position = %batch.position, items = batch.items, "a batch is handed over");
            // It fails when the other end is gone, and then this one is told to finish.
            let _ =
                output.blocking_send(Handover { ticket: Ticket { log: number, generation }, file, batch });
        }
        if is_any && *phase == Phase::Reading {
            self.wake(number);
        }
    }

    /// What the clock brings: batches that are due, records whose rest does not come, files that are done with.
    fn tick(&mut self, now: Instant) {
        self.tick_at = now + self.plan.waits.linger;
        if !self.has_begun {
            return;
        }
        self.wake_unknown();
        let numbers: Vec<u64> =
            self.logs.iter().filter(|(_, log)| log.waits_for_time()).map(|(number, _)| *number).collect();
        for number in numbers {
            if !self.turn_to(number, now) {
                continue;
            }
            let Some(log) = self.logs.get_mut(&number) else { continue };
            if let Err(error) = log.expire(&self.plan.waits, &mut self.work, now) {
                tracing::warn!(path = %log.path.display(), %error, "a log file cannot be read; it is tried again");
            }
            log.close_finished(&self.plan.waits, now);
            self.hand_over(number, now);
            self.wake(number);
        }
        self.work.sink.metrics.set_state(self.logs.values().map(Log::seen).collect());
    }

    /// How long nothing is due.
    fn idle_time(&self, now: Instant) -> Duration {
        let waits = !self.unknown.is_empty() || self.logs.values().any(Log::waits_for_time);
        let mut until = self.scan_at;
        if waits {
            until = until.min(self.tick_at);
        }
        if self.is_dirty && self.phase != Phase::Opening {
            until = until.min(self.checkpoint_at);
        }
        until.saturating_duration_since(now).min(LONGEST_IDLE)
    }

    /// False when it cannot be written.
    fn save_checkpoint(&mut self, is_clean: bool) -> bool {
        // First the mark: what is handed over after it is found from there, what was durable before it is in the positions.
        let mark = (self.take_mark)();
        let files = self.logs.values().flat_map(Log::states).collect();
        let unplaced = self.durable.clone();
        let checkpoint = Checkpoint { first_start_ms: self.first_start_ms, is_clean, mark, files, unplaced };
        let saved = self.store.save(&checkpoint);
        if let Err(error) = &saved {
            self.work.sink.metrics.count_file_error();
            tracing::error!(%error, "the positions of log files cannot be written; it is tried again, and after a crash more is read back");
        }
        self.is_dirty = saved.is_err();
        saved.is_ok()
    }
}

/// Files tell time less exactly than the clock, so a second before counts as now.
fn first_start_now() -> i64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64);
    now - 1000
}

#[cfg(test)]
mod tests;
