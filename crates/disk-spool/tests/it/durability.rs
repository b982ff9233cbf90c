//! What is acknowledged is handed out again, as it was, until it is resolved and that is written down.

use bytes::Bytes;

use disk_spool::simulation::{Fault, Operation, errno};

use crate::support::{append, frame, open, open_on, options, payload, simulated, take_all};

#[test]
fn acknowledged_frames_come_back_in_order_after_a_restart_until_a_checkpoint_has_them() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, recovery) = open(options(directory.path()));
    assert_eq!(recovery.next_sequence, 0);
    append(&spool, 0..40, 300);
    let taken = spool.take(usize::MAX);
    assert_eq!(taken.len(), 40);
    for (number, taken) in (0..40).zip(&taken) {
        assert_eq!((taken.sequence, &taken.payload), (number, &payload(&frame(number, 300))));
    }
    for number in 0..25 {
        spool.resolve(number);
    }
    spool.resolve(30);
    spool.checkpoint(Bytes::from_static(b"note")).wait().unwrap();
    spool.close();
    let (spool, recovery) = open(options(directory.path()));
    assert!(recovery.findings.is_empty(), "{:?}", recovery.findings);
    assert_eq!((recovery.next_sequence, recovery.note.as_ref()), (40, b"note".as_ref()));
    let again: Vec<u64> = spool.take(usize::MAX).iter().map(|taken| taken.sequence).collect();
    assert_eq!(again, (25..30).chain(31..40).collect::<Vec<_>>());
    assert_eq!(recovery.pending.frames, 14);
    spool.give_back(27);
    spool.give_back(26);
    assert_eq!(spool.take(1).iter().map(|taken| taken.sequence).collect::<Vec<_>>(), [26]);
    assert_eq!(spool.take(1).iter().map(|taken| taken.sequence).collect::<Vec<_>>(), [27]);
    spool.close();
}

#[test]
fn nothing_is_answered_or_handed_out_before_it_is_synced() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..1, 100);
    let syncs = disk.calls(Operation::Sync, ".seg");
    disk.fail(Fault {
        operation: Operation::Sync,
        name: "seg".into(),
        after: 0,
        times: u64::MAX,
        errno: errno::EIO,
    });
    disk.fail(Fault {
        operation: Operation::Truncate,
        name: "seg".into(),
        after: 0,
        times: u64::MAX,
        errno: errno::EIO,
    });
    assert!(spool.append(vec![frame(1, 100)]).unwrap().wait().is_err());
    assert!(disk.calls(Operation::Sync, ".seg") > syncs);
    assert_eq!(take_all(&spool), [0], "what is written and not synced is not handed out");
    spool.close();
}

#[test]
fn frames_of_one_append_share_a_sync_and_get_numbers_in_a_row() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..1, 100);
    let syncs = disk.calls(Operation::Sync, ".seg");
    let frames = (1..6).map(|number| frame(number, 100)).collect();
    assert_eq!(spool.append(frames).unwrap().wait(), Ok(1..6));
    assert_eq!(disk.calls(Operation::Sync, ".seg"), syncs + 1);
    spool.close();
}

#[test]
fn a_frame_that_is_under_way_is_handed_out_only_when_it_is_given_back() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    let mut under_way = frame(0, 100);
    under_way.is_taken = true;
    spool.append(vec![under_way.clone(), frame(1, 100)]).unwrap().wait().unwrap();
    spool.append(vec![under_way]).unwrap().wait().unwrap();
    assert_eq!(take_all(&spool), [1]);
    assert_eq!(spool.usage().taken.frames, 3);
    spool.give_back(2);
    spool.give_back(0);
    assert_eq!(take_all(&spool), [0, 2]);
    spool.resolve(0);
    spool.resolve(0);
    spool.give_back(0);
    spool.resolve(77);
    assert_eq!((spool.usage().pending.frames, take_all(&spool).len()), (2, 0));
    append(&spool, 3..5, 100);
    spool.resolve(3);
    assert_eq!(take_all(&spool), [4], "what is resolved is not handed out, read or not");
    spool.close();
}

#[test]
fn a_late_answer_resolves_a_frame_that_was_given_back() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..2, 100);
    take_all(&spool);
    spool.give_back(0);
    spool.resolve(0);
    assert_eq!(take_all(&spool), [0; 0]);
    assert_eq!(spool.usage().pending.frames, 1);
    spool.close();
}

#[test]
fn pending_never_misses_a_frame() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    let reader = spool.clone();
    let drained = runtime.spawn(async move {
        let mut taken = 0;
        while taken < 300 {
            reader.pending().await;
            for frame in reader.take(1) {
                reader.resolve(frame.sequence);
                taken += 1;
            }
        }
    });
    append(&spool, 0..300, 20);
    let limit = std::time::Duration::from_secs(60);
    runtime
        .block_on(async { tokio::time::timeout(limit, drained).await })
        .expect("no wake-up is missed")
        .unwrap();
    assert_eq!(spool.usage().pending.frames, 0);
    spool.close();
}

#[test]
fn counts_balance_over_restarts_and_the_oldest_pending_frame_is_known() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..10, 900);
    let first = spool.usage().oldest_pending_ms;
    disk.advance(std::time::Duration::from_secs(5));
    append(&spool, 10..20, 900);
    take_all(&spool);
    (0..10).for_each(|sequence| spool.resolve(sequence));
    let usage = spool.usage();
    assert_eq!((usage.pending.frames, usage.pending.bytes), (10, 10 * 908));
    assert_eq!(usage.pending.items, (10..20).map(|number| number % 7).sum::<u64>());
    assert_eq!(usage.oldest_pending_ms.unwrap() - first.unwrap(), 5000);
    spool.close();
    let (spool, recovery) = open_on(&disk, &options);
    assert_eq!(recovery.pending, usage.pending);
    // Before anything of it is read, it is known to what a segment spans.
    assert!(spool.usage().oldest_pending_ms <= usage.oldest_pending_ms);
    assert!(spool.usage().oldest_pending_ms >= first);
    take_all(&spool);
    (10..20).for_each(|sequence| spool.resolve(sequence));
    assert_eq!((spool.usage().pending, spool.usage().oldest_pending_ms), (Default::default(), None));
    spool.close();
}

#[test]
fn memory_of_what_is_resolved_is_written_down_up_to_a_bound_and_costs_only_repeats_beyond() {
    let (disk, mut options) = simulated();
    options.segment_bytes = 64 << 10;
    let (spool, _) = open_on(&disk, &options);
    for chunk in 0..100 {
        let frames = (0..100).map(|place| frame(chunk * 100 + place, 10)).collect();
        spool.append(frames).unwrap().wait().unwrap();
    }
    take_all(&spool);
    (0..10_000).filter(|sequence| sequence % 2 == 1).for_each(|sequence| spool.resolve(sequence));
    spool.checkpoint(Bytes::new()).wait().unwrap();
    disk.kill();
    spool.close();
    let (spool, recovery) = open_on(&disk, &options);
    assert!(recovery.findings.is_empty(), "{:?}", recovery.findings);
    let again = spool.take(usize::MAX);
    assert_eq!(again.len() as u64, 10_000 - 4096);
    assert_eq!(spool.usage().pending, spool.usage().taken, "the counts are exact all the same");
    spool.close();
}
