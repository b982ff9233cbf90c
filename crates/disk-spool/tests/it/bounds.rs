//! Quota, reserves, sizes, age: what is beyond them is refused or dropped as declared, and counted.

use std::time::Duration;

use bytes::Bytes;
use disk_spool::{Frame, Quota, Refusal, Spool, SpoolOptions, WhenFull, simulation::SimulatedDisk};

use crate::support::{append, frame, open_lane, open_on, segment, simulated, take_all, wait_until};

fn fill(spool: &Spool, bytes: usize) -> u64 {
    (0..)
        .find(|number| {
            let appended = spool.append(vec![frame(*number, bytes)]).and_then(|appending| appending.wait());
            assert!(matches!(appended, Ok(_) | Err(Refusal::Full)), "{appended:?}");
            appended.is_err()
        })
        .expect("a quota ends")
}

fn segment_bytes(disk: &SimulatedDisk) -> u64 {
    let files = disk.files().into_iter().filter(|path| path.extension().is_some_and(|name| name == "seg"));
    files.map(|path| disk.read(&path).expect("it is there").len() as u64).sum()
}

#[test]
fn files_never_exceed_the_quota_and_room_comes_back_when_frames_are_resolved() {
    let (disk, options) = simulated();
    let quota = Quota::new(20_000);
    let (spool, _) = open_lane(&disk, &options, quota.lane(0));
    let stored = fill(&spool, 1000);
    assert!((15..20).contains(&stored), "{stored} frames of 1049 bytes");
    assert!(segment_bytes(&disk) <= 20_000);
    assert!(spool.usage().disk_bytes <= 20_000 && spool.usage().quota_bytes == 20_000);
    assert_eq!(take_all(&spool).len() as u64, stored);
    (0..stored).for_each(|sequence| spool.resolve(sequence));
    spool.checkpoint(Bytes::new()).wait().unwrap();
    wait_until("it has room", || {
        spool.append(vec![frame(0, 1000)]).and_then(|appending| appending.wait()).is_ok()
    });
    spool.close();
}

#[test]
fn occupancy_after_a_restart_is_that_of_the_files() {
    let (disk, options) = simulated();
    let (spool, _) = open_lane(&disk, &options, Quota::new(20_000).lane(0));
    let stored = fill(&spool, 1000);
    let before = spool.usage().disk_bytes;
    disk.kill();
    spool.close();
    let (spool, _) = open_lane(&disk, &options, Quota::new(20_000).lane(0));
    assert_eq!(spool.usage().disk_bytes, before);
    assert_eq!(fill(&spool, 1000), 0, "it is as full as it was");
    assert_eq!(take_all(&spool).len() as u64, stored);
    spool.close();
}

#[test]
fn a_flood_in_one_spool_leaves_the_other_its_reserve() {
    let (disk, options) = simulated();
    let other = SpoolOptions { directory: "/other".into(), ..simulated().1 };
    let quota = Quota::new(40_000);
    let (flood, _) = open_lane(&disk, &options, quota.lane(5_000));
    let (small, _) = open_lane(&disk, &other, quota.lane(15_000));
    assert!(fill(&flood, 1000) >= 20);
    assert!(fill(&small, 1000) >= 12, "its reserve is there");
    assert!(segment_bytes(&disk) <= 40_000);
    flood.close();
    small.close();
}

#[test]
fn drop_oldest_takes_whole_segments_without_taken_frames_and_counts_them() {
    let (disk, mut options) = simulated();
    options.when_full = WhenFull::DropOldest;
    let (spool, _) = open_lane(&disk, &options, Quota::new(16_000).lane(0));
    append(&spool, 0..2, 1000);
    assert_eq!(spool.take(1).len(), 1, "the first segment has a taken frame");
    append(&spool, 2..40, 1000);
    let usage = spool.usage();
    assert!(usage.disk_bytes <= 16_000);
    assert_eq!(usage.pending.frames + usage.dropped_full.frames, 40);
    assert!(usage.dropped_full.frames > 20 && usage.dropped_full.bytes == usage.dropped_full.frames * 1008);
    assert!(disk.read(&segment(&options, 0)).is_some() && disk.read(&segment(&options, 3)).is_none());
    let left = take_all(&spool);
    assert_eq!(left[..2], [1, 2]);
    assert_eq!(left.last(), Some(&39));
    disk.power_cut();
    spool.close();
    let (spool, recovery) = open_lane(&disk, &options, Quota::new(16_000).lane(0));
    assert!(!recovery.findings.iter().any(disk_spool::Finding::is_loss), "{:?}", recovery.findings);
    assert_eq!(recovery.pending.frames, usage.pending.frames, "what was dropped stays so");
    spool.close();
}

#[test]
fn only_an_active_segment_is_dropped_too_when_there_is_no_other() {
    let (disk, mut options) = simulated();
    options.when_full = WhenFull::DropOldest;
    let (spool, _) = open_lane(&disk, &options, Quota::new(3_000).lane(0));
    append(&spool, 0..10, 1000);
    let usage = spool.usage();
    assert_eq!(usage.pending.frames + usage.dropped_full.frames, 10);
    assert_eq!(take_all(&spool).last(), Some(&9));
    spool.close();
}

#[test]
fn frames_beyond_their_age_are_dropped_and_counted_and_taken_ones_are_left() {
    let (disk, mut options) = simulated();
    options.max_age = Some(Duration::from_secs(60));
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..3, 1000);
    append(&spool, 3..4, 1000);
    assert_eq!(spool.take(1)[0].sequence, 0);
    disk.advance(Duration::from_secs(40));
    append(&spool, 4..5, 1000);
    disk.advance(Duration::from_secs(40));
    // Segments that hold taken or younger frames are not dropped whole: their old frames are passed over.
    assert_eq!(take_all(&spool), [4]);
    let usage = spool.usage();
    assert_eq!((usage.dropped_aged.frames, usage.pending.frames, usage.taken.frames), (3, 2, 2));
    assert_eq!(usage.dropped_aged.bytes, 3 * 1008);
    spool.resolve(0);
    spool.resolve(4);
    wait_until("the aged segment is deleted", || disk.read(&segment(&options, 0)).is_none());
    spool.close();
}

#[test]
fn an_untouched_backlog_ages_by_itself() {
    let (disk, mut options) = simulated();
    options.max_age = Some(Duration::from_secs(60));
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..9, 1000);
    disk.advance(Duration::from_secs(61));
    wait_until("all are dropped", || spool.usage().dropped_aged.frames == 9);
    assert_eq!(spool.usage().pending, Default::default());
    spool.close();
}

#[test]
fn what_is_too_large_or_too_much_is_refused_at_once_and_frames_at_the_limit_are_not() {
    let (disk, options) = simulated();
    let options = SpoolOptions { queue_bytes: 4000, group_window: Duration::from_secs(3600), ..options };
    let (spool, _) = open_on(&disk, &options);
    let sized = |bytes| Frame { head: Bytes::new(), body: vec![1; bytes].into(), items: 1, is_taken: false };
    assert_eq!(spool.append(vec![sized(2049)]).unwrap_err(), Refusal::TooLarge { bytes: 2049 });
    let fits = spool.append(vec![sized(2048)]).unwrap();
    assert_eq!(spool.append(vec![sized(1900)]).unwrap_err(), Refusal::Busy);
    let also = spool.append(vec![sized(1000)]).unwrap();
    assert_eq!(disk.calls(disk_spool::simulation::Operation::Write, "seg"), 0, "the group still collects");
    spool.close();
    assert_eq!((fits.wait(), also.wait()), (Ok(0..1), Ok(1..2)), "closing stores what waits");
    assert_eq!(spool.append(vec![sized(1)]).unwrap_err(), Refusal::Closed);
}

#[test]
fn segments_keep_to_their_size() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..30, 700);
    let frames: Vec<Frame> = (30..50).map(|number| frame(number, 150)).collect();
    assert_eq!(spool.append(frames).unwrap().wait(), Ok(30..50));
    for path in disk.files().iter().filter(|path| path.extension().is_some_and(|name| name == "seg")) {
        assert!(disk.read(path).unwrap().len() as u64 <= options.segment_bytes, "{}", path.display());
    }
    assert_eq!(take_all(&spool), (0..50).collect::<Vec<_>>());
    spool.close();
}
