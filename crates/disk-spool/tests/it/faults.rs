//! What the disk refuses: callers are told, nothing acknowledged is lost, nothing comes twice, and it goes on by itself.

use std::time::Duration;

use bytes::Bytes;
use disk_spool::{
    Refusal, Spool,
    simulation::{Fault, Operation, SimulatedDisk, errno},
};

use crate::support::{append, frame, open_on, segment, simulated, take_all, wait_until};

fn fault(operation: Operation, name: &str, times: u64, errno: i32) -> Fault {
    Fault { operation, name: name.to_owned(), after: 0, times, errno }
}

fn try_append(spool: &Spool, number: u64, bytes: usize) -> Result<std::ops::Range<u64>, Refusal> {
    spool.append(vec![frame(number, bytes)]).and_then(|appending| appending.wait())
}

fn wait_for_room(spool: &Spool) {
    wait_until("the obstacle is gone", || spool.usage().obstacle.is_none());
}

fn reopen_after_power_cut(disk: &SimulatedDisk, spool: &Spool, options: &disk_spool::SpoolOptions) -> Spool {
    disk.power_cut();
    spool.close();
    let (spool, recovery) = open_on(disk, options);
    assert!(!recovery.findings.iter().any(disk_spool::Finding::is_loss), "{:?}", recovery.findings);
    spool
}

#[test]
fn one_failed_sync_writes_the_group_again_in_a_fresh_segment_and_nobody_gets_it_twice() {
    for seed in 0..20 {
        let (_, options) = simulated();
        let disk = SimulatedDisk::new(seed);
        let (spool, _) = open_on(&disk, &options);
        append(&spool, 0..2, 100);
        let synced = disk.calls(Operation::Sync, &format!("{:020}.seg", 0));
        disk.fail(fault(Operation::Sync, "0.seg", 1, errno::EIO));
        append(&spool, 2..3, 100);
        append(&spool, 3..4, 100);
        assert_eq!(disk.calls(Operation::Sync, &format!("{:020}.seg", 0)), synced + 1, "never synced again");
        assert!(disk.read(&segment(&options, 2)).is_some());
        assert_eq!(take_all(&spool), [0, 1, 2, 3]);
        let spool = reopen_after_power_cut(&disk, &spool, &options);
        assert_eq!(take_all(&spool), [0, 1, 2, 3]);
        spool.close();
    }
}

#[test]
fn two_failed_syncs_refuse_the_group_and_appends_until_the_disk_is_well() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..2, 100);
    disk.fail(fault(Operation::Sync, "", u64::MAX, errno::EIO));
    assert!(matches!(try_append(&spool, 2, 100), Err(Refusal::Disk { .. })));
    assert!(spool.usage().obstacle.is_some());
    assert!(matches!(try_append(&spool, 3, 100), Err(Refusal::Disk { .. })));
    assert_eq!(take_all(&spool), [0, 1], "draining goes on");
    disk.heal();
    wait_for_room(&spool);
    let range = try_append(&spool, 4, 100).unwrap();
    assert!(range.start > 2, "no number of a refused frame is given again");
    assert_eq!(take_all(&spool), [range.start]);
    let spool = reopen_after_power_cut(&disk, &spool, &options);
    let again = spool.take(usize::MAX);
    let numbers: Vec<u8> = again.iter().map(|taken| taken.payload[0]).collect();
    assert_eq!(numbers, [0, 1, 4], "the refused frame is void");
    spool.close();
}

#[test]
fn disk_full_half_way_through_a_frame_rolls_it_back_and_goes_on_when_there_is_room() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..1, 100);
    wait_until("the reserve is made", || disk.used() > 1 << 20);
    let length = disk.read(&segment(&options, 0)).unwrap().len();
    disk.set_capacity(disk.used() + 300);
    assert!(matches!(try_append(&spool, 1, 1000), Err(Refusal::Disk { .. })));
    assert_eq!(disk.read(&segment(&options, 0)).unwrap().len(), length, "the half frame is gone");
    assert!(matches!(try_append(&spool, 2, 10), Err(Refusal::Disk { .. })));
    disk.heal();
    wait_for_room(&spool);
    assert_eq!(try_append(&spool, 3, 1000), Ok(1..2));
    assert_eq!(take_all(&spool), [0, 1]);
    let spool = reopen_after_power_cut(&disk, &spool, &options);
    assert_eq!(take_all(&spool), [0, 1]);
    spool.close();
}

#[test]
fn checkpoint_on_a_disk_without_a_byte_left_uses_the_reserve_which_is_made_again() {
    let (disk, options) = simulated();
    let reserve = options.directory.join("reserve");
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..1, 100);
    take_all(&spool);
    wait_until("the reserve is made", || disk.read(&reserve).is_some_and(|bytes| bytes.len() == 1 << 20));
    disk.set_capacity(disk.used());
    spool.resolve(0);
    spool.checkpoint(Bytes::from_static(b"written")).wait().unwrap();
    assert!(disk.read(&reserve).is_none_or(|bytes| bytes.len() < 1 << 20));
    disk.heal();
    wait_until("the reserve is there again", || {
        disk.read(&reserve).is_some_and(|bytes| bytes.len() == 1 << 20)
    });
    disk.power_cut();
    spool.close();
    let (spool, recovery) = open_on(&disk, &options);
    assert_eq!((recovery.note.as_ref(), recovery.pending.frames), (b"written".as_ref(), 0));
    spool.close();
}

#[test]
fn read_only_disk_is_drained_and_takes_appends_again_when_it_is_writable() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..2, 100);
    disk.set_read_only(true);
    assert!(matches!(try_append(&spool, 2, 100), Err(Refusal::Disk { .. })));
    spool.close();
    let (spool, recovery) = open_on(&disk, &options);
    assert_eq!(recovery.pending.frames, 2);
    assert!(spool.usage().obstacle.unwrap().contains("Read-only"));
    assert!(matches!(try_append(&spool, 3, 100), Err(Refusal::Disk { .. })));
    assert_eq!(take_all(&spool)[..2], [0, 1]);
    spool.resolve(0);
    assert!(matches!(spool.checkpoint(Bytes::new()).wait(), Err(Refusal::Disk { .. })));
    disk.set_read_only(false);
    wait_for_room(&spool);
    try_append(&spool, 4, 100).unwrap();
    spool.checkpoint(Bytes::new()).wait().unwrap();
    spool.close();
}

#[test]
fn unreadable_block_is_damage_and_an_error_that_passes_is_not() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..3, 100);
    disk.fail(fault(Operation::Open, "0.seg", 3, errno::EACCES));
    assert_eq!(take_all(&spool), [0; 0], "nothing is given up for it");
    wait_until("it is readable again", || !take_all(&spool).is_empty());
    assert_eq!(spool.usage().corrupt.frames, 0);
    disk.kill();
    spool.close();
    disk.fail(fault(Operation::Read, "0.seg", u64::MAX, errno::EIO));
    let (spool, _) = open_on(&disk, &options);
    disk.heal();
    append(&spool, 3..4, 100);
    assert!(!spool.take(usize::MAX).is_empty(), "it goes on with what is readable");
    spool.close();
}

#[test]
fn failed_rename_of_a_new_segment_refuses_and_the_next_try_succeeds() {
    for operation in [Operation::Create, Operation::Rename, Operation::SyncDirectory, Operation::Write] {
        let (disk, options) = simulated();
        let (spool, _) = open_on(&disk, &options);
        let name = if operation == Operation::SyncDirectory { "spool" } else { "seg" };
        disk.fail(fault(operation, name, 1, errno::ENOSPC));
        assert!(matches!(try_append(&spool, 0, 100), Err(Refusal::Disk { .. })), "{operation:?}");
        wait_for_room(&spool);
        try_append(&spool, 1, 100).unwrap();
        assert_eq!(take_all(&spool).len(), 1);
        let spool = reopen_after_power_cut(&disk, &spool, &options);
        assert_eq!(take_all(&spool).len(), 1, "{operation:?}");
        spool.close();
    }
}

#[test]
fn directory_that_vanishes_is_waited_for() {
    let directory = tempfile::tempdir().unwrap();
    let inside = directory.path().join("spool");
    let (spool, _) = crate::support::open(crate::support::options(&inside));
    append(&spool, 0..2, 1500);
    append(&spool, 2..4, 1500);
    std::fs::rename(&inside, directory.path().join("away")).unwrap();
    assert!(spool.checkpoint(Bytes::new()).wait().is_err());
    assert_eq!(spool.take(usize::MAX).len(), 0, "out of reach is not lost");
    assert_eq!(spool.usage().corrupt.frames, 0);
    std::fs::rename(directory.path().join("away"), &inside).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
    let come_back =
        runtime.block_on(async { tokio::time::timeout(Duration::from_secs(60), spool.pending()).await });
    come_back.unwrap();
    assert_eq!(take_all(&spool), [0, 1, 2, 3]);
    spool.close();
}

#[test]
fn an_opening_that_cannot_read_for_want_of_files_says_so_and_judges_nothing() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..9, 1000);
    spool.close();
    for name in ["cursor", "0.seg", "6.seg"] {
        disk.fail(fault(Operation::Open, name, 1, errno::EMFILE));
        let lane = disk_spool::Quota::new(1 << 30).lane(0);
        let deaf = std::sync::Arc::new(crate::support::Deaf);
        let opened = Spool::open_with(options.clone(), lane, deaf, disk.mount());
        assert!(matches!(opened, Err(disk_spool::OpenError::Read { .. })), "{name}");
    }
    let (spool, recovery) = open_on(&disk, &options);
    assert_eq!((recovery.pending.frames, recovery.findings.len()), (9, 0));
    spool.close();
}

#[test]
fn a_last_segment_that_cannot_be_read_while_opening_is_read_later_and_none_of_its_frames_is_lost() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..5, 1000);
    disk.kill();
    spool.close();
    disk.fail(fault(Operation::Open, "3.seg", 1, errno::EACCES));
    let (spool, recovery) = open_on(&disk, &options);
    assert_eq!(recovery.findings.len(), 1, "{:?}", recovery.findings);
    assert!(recovery.next_sequence >= 5);
    append(&spool, 5..6, 1000);
    let taken = take_all(&spool);
    assert_eq!(taken[..5], [0, 1, 2, 3, 4]);
    assert_eq!(taken.len(), 6);
    spool.close();
}
