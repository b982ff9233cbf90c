//! A power cut at each point of the orders that matter: nothing acknowledged is lost, nothing checkpointed comes again.

use bytes::Bytes;
use disk_spool::simulation::{Fault, Operation, SimulatedDisk, errno};

use crate::support::{append, frame, open_on, segment, simulated, take_all, wait_until};

#[test]
fn power_cut_after_any_append_loses_nothing_acknowledged() {
    for seed in 0..60 {
        let (_, options) = simulated();
        let disk = SimulatedDisk::new(seed);
        let (spool, _) = open_on(&disk, &options);
        append(&spool, 0..seed % 9 + 1, 900);
        // Not waited for: it may be there or not.
        let _ = spool.append(vec![frame(50, 900)]);
        disk.power_cut();
        spool.close();
        let (spool, recovery) = open_on(&disk, &options);
        assert!(!recovery.findings.iter().any(disk_spool::Finding::is_loss), "{:?}", recovery.findings);
        let taken = take_all(&spool);
        assert_eq!(taken[..seed as usize % 9 + 1], (0..seed % 9 + 1).collect::<Vec<_>>());
        spool.close();
    }
}

#[test]
fn power_cut_between_the_rename_of_a_segment_and_the_sync_of_its_directory() {
    for seed in 0..30 {
        let (_, options) = simulated();
        let disk = SimulatedDisk::new(seed);
        let (spool, _) = open_on(&disk, &options);
        append(&spool, 0..3, 1200);
        disk.fail(Fault {
            operation: Operation::SyncDirectory,
            name: String::new(),
            after: 0,
            times: u64::MAX,
            errno: errno::EIO,
        });
        let refused = spool.append(vec![frame(3, 1200)]).unwrap().wait();
        assert!(refused.is_err(), "its name is not durable");
        disk.power_cut();
        disk.heal();
        spool.close();
        let (spool, _) = open_on(&disk, &options);
        assert_eq!(take_all(&spool), [0, 1, 2]);
        append(&spool, 4..5, 1200);
        spool.close();
    }
}

#[test]
fn power_cut_while_a_checkpoint_is_written_leaves_the_old_one_or_the_new_one() {
    for (seed, operation) in
        (0..40).flat_map(|seed| [Operation::Sync, Operation::Rename].map(|op| (seed, op)))
    {
        let (_, options) = simulated();
        let disk = SimulatedDisk::new(seed);
        let (spool, _) = open_on(&disk, &options);
        append(&spool, 0..3, 100);
        take_all(&spool);
        spool.resolve(0);
        spool.checkpoint(Bytes::from_static(b"old")).wait().unwrap();
        spool.resolve(1);
        disk.fail(Fault { operation, name: "cursor".into(), after: 0, times: u64::MAX, errno: errno::EIO });
        assert!(spool.checkpoint(Bytes::from_static(b"new")).wait().is_err());
        disk.power_cut();
        disk.heal();
        spool.close();
        let (spool, recovery) = open_on(&disk, &options);
        assert_eq!(recovery.note.as_ref(), b"old");
        assert_eq!(take_all(&spool), [1, 2]);
        spool.close();
    }
}

#[test]
fn crash_between_checkpoint_and_deletion_deletes_at_the_next_start_and_sends_nothing_again() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..9, 1200);
    take_all(&spool);
    disk.fail(Fault {
        operation: Operation::Remove,
        name: ".seg".into(),
        after: 0,
        times: u64::MAX,
        errno: errno::EIO,
    });
    (0..9).for_each(|sequence| spool.resolve(sequence));
    spool.checkpoint(Bytes::new()).wait().unwrap();
    assert!(disk.read(&segment(&options, 0)).is_some());
    disk.power_cut();
    disk.heal();
    spool.close();
    let (spool, recovery) = open_on(&disk, &options);
    assert_eq!((recovery.pending.frames, recovery.findings.len()), (0, 0));
    wait_until("it is deleted", || disk.read(&segment(&options, 0)).is_none());
    spool.close();
}

#[test]
fn a_segment_is_deleted_only_after_the_checkpoint_that_resolves_it() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..9, 1200);
    take_all(&spool);
    disk.fail(Fault {
        operation: Operation::Sync,
        name: "cursor".into(),
        after: 0,
        times: u64::MAX,
        errno: errno::EIO,
    });
    (0..9).for_each(|sequence| spool.resolve(sequence));
    assert!(spool.checkpoint(Bytes::new()).wait().is_err());
    assert!(disk.read(&segment(&options, 0)).is_some(), "no checkpoint, no deletion");
    disk.power_cut();
    disk.heal();
    spool.close();
    let (spool, _) = open_on(&disk, &options);
    assert_eq!(take_all(&spool), (0..9).collect::<Vec<_>>(), "repeats, and nothing lost");
    spool.close();
}

#[test]
fn a_deleted_segment_that_comes_back_after_a_power_cut_is_known_as_resolved() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..9, 1200);
    let bytes = disk.read(&segment(&options, 0)).unwrap();
    take_all(&spool);
    (0..9).for_each(|sequence| spool.resolve(sequence));
    spool.close();
    assert!(disk.read(&segment(&options, 0)).is_none());
    disk.put(&segment(&options, 0), &bytes);
    let (spool, recovery) = open_on(&disk, &options);
    assert_eq!((recovery.pending.frames, recovery.findings.len()), (0, 0));
    wait_until("it is deleted again", || disk.read(&segment(&options, 0)).is_none());
    spool.close();
}
