//! Random actions, faults and crashes against a spool and against a plain model of it.
//!
//! The model knows which frames are certain to be handed out (acknowledged, not resolved), and which may be or not: those
//! resolved since the last checkpoint before a crash, and those that were refused and may have reached the disk anyway.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::PathBuf,
};

use bytes::Bytes;
use disk_spool::{
    Finding, Refusal, Spool, SpoolOptions,
    simulation::{Fault, Operation, SimulatedDisk, errno},
};
use proptest::{prelude::*, test_runner::FileFailurePersistence};

use crate::support::{frame, open_on, options, payload, wait_until};

#[derive(Debug, Clone)]
enum Action {
    Append { sizes: Vec<usize>, is_taken: bool },
    Take { max_bytes: usize },
    Resolve { index: usize },
    ResolveAll,
    ResolveUnread { index: usize },
    ResolveUnknown { sequence: u64 },
    GiveBack { index: usize },
    Checkpoint,
    Restart(Restart),
    Fail { operation: Operation, name: &'static str, after: u64, times: u64, errno: i32 },
    ReadOnly,
    Full { room: u64 },
    Heal,
}

#[derive(Debug, Clone, Copy)]
enum Restart {
    Close,
    Kill,
    PowerCut,
}

fn action() -> impl Strategy<Value = Action> {
    let operation = prop_oneof![
        Just(Operation::Write),
        Just(Operation::Sync),
        Just(Operation::Truncate),
        Just(Operation::Rename),
        Just(Operation::Create),
        Just(Operation::SyncDirectory),
        Just(Operation::Remove),
    ];
    let name = prop_oneof![Just(".seg"), Just("segment"), Just("cursor"), Just("reserve"), Just("")];
    let errno = prop_oneof![Just(errno::EIO), Just(errno::ENOSPC)];
    prop_oneof![
        8 => (proptest::collection::vec(0usize..1500, 1..4), any::<bool>())
            .prop_map(|(sizes, is_taken)| Action::Append { sizes, is_taken }),
        4 => (0usize..5000).prop_map(|max_bytes| Action::Take { max_bytes }),
        6 => (0usize..64).prop_map(|index| Action::Resolve { index }),
        1 => Just(Action::ResolveAll),
        1 => (0usize..64).prop_map(|index| Action::ResolveUnread { index }),
        1 => (0u64..100).prop_map(|sequence| Action::ResolveUnknown { sequence }),
        3 => (0usize..64).prop_map(|index| Action::GiveBack { index }),
        3 => Just(Action::Checkpoint),
        3 => prop_oneof![Just(Restart::Close), Just(Restart::Kill), Just(Restart::PowerCut)].prop_map(Action::Restart),
        3 => (operation, name, 0u64..4, 1u64..4, errno).prop_map(|(operation, name, after, times, errno)| {
            Action::Fail { operation, name, after, times, errno }
        }),
        1 => Just(Action::ReadOnly),
        1 => (0u64..4000).prop_map(|room| Action::Full { room }),
        3 => Just(Action::Heal),
    ]
}

/// What is true of a spool, as far as its owner can know.
#[derive(Default)]
struct Model {
    /// Every frame that got a number, whatever became of it.
    known: BTreeMap<u64, (Bytes, u64)>,
    /// Refused frames, which may be on the disk nevertheless and show after a restart.
    refused: Vec<(Bytes, u64)>,
    /// Those of them that were refused before this opening.
    may_show: Vec<(Bytes, u64)>,
    /// Acknowledged or seen, and neither resolved nor taken.
    certain: BTreeSet<u64>,
    /// Resolved before the last crash, and not certainly written down.
    uncertain: BTreeSet<u64>,
    taken: BTreeSet<u64>,
    resolved: BTreeSet<u64>,
    checkpointed: BTreeSet<u64>,
    /// A frame was resolved that was not read, so that items and bytes are not known.
    has_unmeasured: bool,
    /// Pending frames at the opening, plus those appended, less those resolved.
    pending: u64,
}

struct Bench {
    disk: SimulatedDisk,
    options: SpoolOptions,
    spool: Spool,
    model: Model,
    appended: u64,
}

impl Bench {
    fn new(seed: u64) -> Bench {
        let disk = SimulatedDisk::new(seed);
        let options = options(&PathBuf::from("/spool"));
        let (spool, _) = open_on(&disk, &options);
        Bench { disk, options, spool, model: Model::default(), appended: 0 }
    }

    fn run(&mut self, action: Action) {
        match action {
            Action::Append { sizes, is_taken } => self.append(&sizes, is_taken),
            Action::Take { max_bytes } => {
                self.take(max_bytes);
            }
            Action::Resolve { index } => {
                self.pick(index).into_iter().for_each(|sequence| self.resolve(sequence))
            }
            Action::ResolveAll => {
                self.model.taken.clone().into_iter().for_each(|sequence| self.resolve(sequence))
            }
            Action::ResolveUnread { index } => {
                let certain = &self.model.certain;
                if let Some(sequence) = certain.iter().nth(index % certain.len().max(1)).copied() {
                    self.model.certain.remove(&sequence);
                    self.model.has_unmeasured = true;
                    self.resolve(sequence);
                }
            }
            Action::ResolveUnknown { sequence } => {
                // Repeated or never given.
                let is_known = self.model.resolved.contains(&sequence);
                self.spool.resolve(if is_known { sequence } else { sequence + (1 << 40) });
            }
            Action::GiveBack { index } => {
                if let Some(sequence) = self.pick(index) {
                    self.spool.give_back(sequence);
                    self.model.taken.remove(&sequence);
                    self.model.certain.insert(sequence);
                }
            }
            Action::Checkpoint => {
                if self.spool.checkpoint(Bytes::from_static(b"note")).wait().is_ok() {
                    self.model.checkpointed = self.model.resolved.clone();
                }
            }
            Action::Restart(restart) => self.restart(restart),
            Action::Fail { operation, name, after, times, errno } => {
                self.disk.fail(Fault { operation, name: name.to_owned(), after, times, errno });
            }
            Action::ReadOnly => self.disk.set_read_only(true),
            Action::Full { room } => self.disk.set_capacity(self.disk.used() + room),
            Action::Heal => self.heal(),
        }
        let usage = self.spool.usage();
        assert_eq!(usage.pending.frames, self.model.pending, "appended = resolved + pending");
        assert_eq!(usage.taken.frames, self.model.taken.len() as u64);
        assert_eq!(usage.corrupt.frames, 0, "nothing is lost to damage where there is none");
    }

    fn append(&mut self, sizes: &[usize], is_taken: bool) {
        let mut frames = Vec::new();
        for bytes in sizes {
            let mut frame = frame(self.appended, *bytes);
            frame.is_taken = is_taken;
            self.appended += 1;
            frames.push(frame);
        }
        let described: Vec<_> = frames.iter().map(|frame| (payload(frame), frame.items)).collect();
        match self.spool.append(frames).and_then(|appending| appending.wait()) {
            Ok(range) => {
                self.model.pending += described.len() as u64;
                assert_eq!(range.clone().count(), described.len());
                for (sequence, described) in range.zip(described) {
                    let before = self.model.known.insert(sequence, described);
                    assert!(before.is_none(), "the number {sequence} is given twice");
                    let set = if is_taken { &mut self.model.taken } else { &mut self.model.certain };
                    set.insert(sequence);
                }
            }
            Err(Refusal::Disk { .. }) => self.model.refused.extend(described),
            Err(refusal) => panic!("refused: {refusal}"),
        }
    }

    fn take(&mut self, max_bytes: usize) -> bool {
        let taken = self.spool.take(max_bytes);
        let bytes: usize = taken.iter().map(|taken| taken.payload.len()).sum();
        assert!(taken.len() <= 1 || bytes <= max_bytes);
        if taken.is_empty() {
            assert!(self.model.certain.is_empty(), "{:?} are not handed out", self.model.certain);
        }
        let is_some = !taken.is_empty();
        for taken in taken {
            let sequence = taken.sequence;
            let found = (taken.payload, taken.items);
            if let Some(known) = self.model.known.get(&sequence) {
                assert_eq!(*known, found, "frame {sequence} is not what was appended");
                let is_due = self.model.certain.remove(&sequence) || self.model.uncertain.remove(&sequence);
                assert!(is_due, "frame {sequence} is handed out again");
            } else {
                let place = self.model.may_show.iter().position(|refused| *refused == found);
                self.model.may_show.swap_remove(place.expect("nothing appears that was not appended"));
                self.model.known.insert(sequence, found);
            }
            let passed = self.model.certain.range(..sequence).next();
            assert_eq!(passed, None, "frame {sequence} comes before an older one");
            self.model.taken.insert(sequence);
        }
        is_some
    }

    fn pick(&self, index: usize) -> Option<u64> {
        let taken = &self.model.taken;
        taken.iter().nth(index % taken.len().max(1)).copied()
    }

    fn resolve(&mut self, sequence: u64) {
        self.spool.resolve(sequence);
        self.model.taken.remove(&sequence);
        self.model.resolved.insert(sequence);
        self.model.pending -= 1;
    }

    fn heal(&mut self) {
        self.disk.heal();
        wait_until("the disk takes appends again", || self.spool.usage().obstacle.is_none());
    }

    fn restart(&mut self, restart: Restart) {
        match restart {
            Restart::Close => {}
            Restart::Kill => self.disk.kill(),
            Restart::PowerCut => self.disk.power_cut(),
        }
        self.spool.close();
        let (spool, recovery) = open_on(&self.disk, &self.options);
        assert!(!recovery.findings.iter().any(Finding::is_loss), "{:?}", recovery.findings);
        self.spool = spool;
        let model = &mut self.model;
        assert!(model.known.last_key_value().is_none_or(|(last, _)| *last < recovery.next_sequence));
        model.certain.append(&mut model.taken);
        model.uncertain.extend(model.resolved.difference(&model.checkpointed));
        model.resolved = model.checkpointed.clone();
        model.may_show.append(&mut model.refused);
        model.pending = recovery.pending.frames;
        let most = (model.certain.len() + model.uncertain.len() + model.may_show.len()) as u64;
        let least = model.certain.len() as u64;
        assert!((least..=most).contains(&model.pending), "{} of {least} to {most}", model.pending);
    }

    /// Everything comes out, what it counted is what was counted, and nothing is left of it.
    fn finish(&mut self) {
        self.heal();
        self.restart(Restart::PowerCut);
        let pending = self.spool.usage().pending;
        let mut items = 0;
        while self.take(3000) {}
        let taken = self.spool.usage().taken;
        assert_eq!(taken.frames, pending.frames, "what is pending is what can be taken");
        assert!(taken == pending || self.model.has_unmeasured, "{taken:?} of {pending:?}");
        for sequence in self.model.taken.clone() {
            items += self.model.known[&sequence].1;
            self.resolve(sequence);
        }
        assert!(items == pending.items || self.model.has_unmeasured);
        assert!(self.model.certain.is_empty(), "{:?} were not handed out", self.model.certain);
        assert_eq!(self.spool.usage().pending, Default::default());
        self.spool.checkpoint(Bytes::new()).wait().expect("the disk is well");
        self.model.checkpointed = self.model.resolved.clone();
        self.restart(Restart::PowerCut);
        assert_eq!(self.model.pending, 0, "what is resolved and checkpointed never comes back");
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 200,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/model.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn it_behaves_like_the_model(
        seed in any::<u64>(),
        has_short_writes in any::<bool>(),
        actions in proptest::collection::vec(action(), 1..60),
    ) {
        let mut bench = Bench::new(seed);
        bench.disk.set_short_writes(has_short_writes);
        for action in actions {
            bench.run(action);
        }
        bench.finish();
        bench.spool.close();
    }
}
