//! Every frame has one end: resolved, dropped or corrupt; until then it is pending. Over restarts too.

use std::{collections::BTreeSet, path::PathBuf, time::Duration};

use disk_spool::{Quota, Spool, Tally, Usage, WhenFull, simulation::SimulatedDisk};
use proptest::{prelude::*, test_runner::FileFailurePersistence};

use crate::support::{frame, open_lane, simulated};

const QUOTA: u64 = 16_000;

#[derive(Debug, Clone)]
enum Action {
    Append { bytes: usize, is_taken: bool },
    Take { max_bytes: usize },
    Resolve { index: usize },
    GiveBack { index: usize },
    Wait { seconds: u64 },
    Damage { file: usize, place: usize },
    Restart,
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        10 => (0usize..1500, prop::bool::weighted(0.2)).prop_map(|(bytes, is_taken)| Action::Append { bytes, is_taken }),
        4 => (0usize..4000).prop_map(|max_bytes| Action::Take { max_bytes }),
        5 => (0usize..64).prop_map(|index| Action::Resolve { index }),
        3 => (0usize..64).prop_map(|index| Action::GiveBack { index }),
        1 => (1u64..40).prop_map(|seconds| Action::Wait { seconds }),
        1 => (0usize..8, 60usize..4000).prop_map(|(file, place)| Action::Damage { file, place }),
        1 => Just(Action::Restart),
    ]
}

/// Counts that begin anew with each opening, added up.
#[derive(Default)]
struct Ends {
    appended: u64,
    resolved: u64,
    before: u64,
    /// Copies of damage may exceed the quota.
    is_damaged: bool,
}

fn ends(usage: &Usage) -> u64 {
    usage.corrupt.frames + usage.dropped_full.frames + usage.dropped_aged.frames
}

fn rot(disk: &SimulatedDisk, file: usize, place: usize) {
    let is_segment = |path: &PathBuf| path.extension().is_some_and(|name| name == "seg");
    let segments: Vec<_> = disk.files().into_iter().filter(is_segment).collect();
    // The last one is left alone: what is damaged at its end looks as if it had never been acknowledged.
    let Some(path) = segments.get(file % segments.len().max(1)).filter(|path| Some(*path) != segments.last())
    else {
        return;
    };
    // The spool may delete it meanwhile.
    disk.rot(path, place);
}

fn check(spool: &Spool, ends_before: &Ends, taken: &BTreeSet<u64>) {
    let usage = spool.usage();
    let counted = ends_before.resolved + ends_before.before + usage.pending.frames + ends(&usage);
    assert_eq!(counted, ends_before.appended, "resolved + dropped + corrupt + pending = appended: {usage:?}");
    assert_eq!(usage.taken.frames, taken.len() as u64);
    assert!(usage.disk_bytes <= QUOTA || ends_before.is_damaged, "{} bytes", usage.disk_bytes);
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 300,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/balance.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn appended_is_resolved_and_pending_and_corrupt_and_dropped(
        drops in any::<bool>(),
        actions in proptest::collection::vec(action(), 1..80),
    ) {
        let (disk, mut options) = simulated();
        options.when_full = if drops { WhenFull::DropOldest } else { WhenFull::Refuse };
        options.max_age = Some(Duration::from_secs(60));
        let (mut spool, _) = open_lane(&disk, &options, Quota::new(QUOTA).lane(0));
        let (mut counts, mut taken) = (Ends::default(), BTreeSet::new());
        for action in actions {
            let pick = |index: usize| taken.iter().nth(index % taken.len().max(1)).copied();
            match action {
                Action::Append { bytes, is_taken } => {
                    let mut frame = frame(counts.appended, bytes);
                    frame.is_taken = is_taken;
                    if let Ok(range) = spool.append(vec![frame]).and_then(|appending| appending.wait()) {
                        counts.appended += 1;
                        taken.extend(range.filter(|_| is_taken));
                    }
                }
                Action::Take { max_bytes } => {
                    for frame in spool.take(max_bytes) {
                        prop_assert!(taken.insert(frame.sequence), "{} is taken already", frame.sequence);
                    }
                }
                Action::Resolve { index } => if let Some(sequence) = pick(index) {
                    spool.resolve(sequence);
                    taken.remove(&sequence);
                    counts.resolved += 1;
                },
                Action::GiveBack { index } => if let Some(sequence) = pick(index) {
                    spool.give_back(sequence);
                    taken.remove(&sequence);
                },
                Action::Wait { seconds } => disk.advance(Duration::from_secs(seconds)),
                Action::Damage { file, place } => {
                    rot(&disk, file, place);
                    counts.is_damaged = true;
                }
                Action::Restart => {
                    spool.close();
                    counts.before += ends(&spool.usage());
                    let pending = spool.usage().pending;
                    let opened = open_lane(&disk, &options, Quota::new(QUOTA).lane(0));
                    let lost = opened.0.usage().corrupt.frames;
                    prop_assert!(opened.1.pending.frames + lost <= pending.frames);
                    spool = opened.0;
                    taken.clear();
                }
            }
            check(&spool, &counts, &taken);
        }
        while !spool.take(usize::MAX).is_empty() {}
        let usage = spool.usage();
        prop_assert_eq!(usage.pending.frames, usage.taken.frames, "all of it can be had");
        prop_assert!(usage.taken != Tally::default() || usage.pending == Tally::default());
        spool.close();
    }
}
