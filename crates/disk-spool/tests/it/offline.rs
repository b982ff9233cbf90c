//! A directory can be looked at beside its daemon, and mended without it.

use std::ops::ControlFlow;

use bytes::Bytes;
use disk_spool::{
    Finding, OpenError,
    offline::{self, Stored},
};

use crate::support::{append, frame, open, options, payload, take_all};

#[test]
fn listing_and_dump_beside_a_running_spool_show_what_is_pending_and_change_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, recovery) = open(options(directory.path()));
    append(&spool, 0..9, 1000);
    take_all(&spool);
    (0..4).for_each(|sequence| spool.resolve(sequence));
    spool.checkpoint(Bytes::from_static(b"note")).wait().unwrap();
    for listing in [offline::list(directory.path()).unwrap(), offline::verify(directory.path()).unwrap()] {
        assert!(listing.findings.is_empty(), "{:?}", listing.findings);
        assert_eq!((listing.incarnation, listing.watermark, listing.end), (Some(recovery.incarnation), 4, 9));
        assert_eq!(listing.pending, spool.usage().pending);
        assert_eq!(listing.segments.len(), 2, "the wholly resolved one is deleted");
        assert_eq!(listing.note.as_ref(), b"note");
    }
    assert!(offline::verify(directory.path()).unwrap().segments.iter().all(|segment| segment.is_verified));
    let mut seen = Vec::new();
    offline::frames(directory.path(), &mut |stored| {
        match stored {
            Stored::Frame { sequence, is_resolved, payload: found, .. } => {
                assert_eq!(found, payload(&frame(sequence, 1000)));
                seen.push((sequence, is_resolved));
            }
            Stored::Damage { .. } => panic!("there is none: {stored:?}"),
        }
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(seen, (3..9).map(|sequence| (sequence, sequence < 4)).collect::<Vec<_>>());
    assert!(matches!(offline::repair(directory.path()), Err(OpenError::Locked { .. })));
    append(&spool, 9..10, 10);
    spool.close();
}

#[test]
fn frames_from_a_sequence_on_need_no_older_segments() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(options(directory.path()));
    append(&spool, 0..9, 1000);
    let sequences_from = |from| {
        let mut seen = Vec::new();
        let mut note = |stored| {
            match stored {
                Stored::Frame { sequence, .. } => seen.push(sequence),
                Stored::Damage { .. } => seen.push(u64::MAX),
            }
            ControlFlow::Continue(())
        };
        offline::frames_from(directory.path(), from, &mut note).unwrap();
        seen
    };
    assert_eq!(sequences_from(7), [7, 8]);
    // Three frames are a segment. The damage of the first one shows only where it is read.
    let first = directory.path().join(format!("{:020}.seg", 0));
    let mut bytes = std::fs::read(&first).unwrap();
    bytes[1300] ^= 1;
    std::fs::write(&first, &bytes).unwrap();
    assert_eq!(sequences_from(3), (3..9).collect::<Vec<_>>());
    assert_eq!(sequences_from(2), [u64::MAX].into_iter().chain(2..9).collect::<Vec<_>>());
    assert_eq!(sequences_from(9), []);
    spool.close();
}

#[test]
fn no_later_frame_has_a_number_below_the_next_sequence() {
    let directory = tempfile::tempdir().unwrap();
    for run in 0..3 {
        let (spool, recovery) = open(options(directory.path()));
        let next = spool.next_sequence();
        assert_eq!((next, recovery.next_sequence), (run * 4, run * 4));
        append(&spool, 0..4, 1000);
        assert_eq!(spool.next_sequence(), next + 4);
        // Wholly resolved segments are deleted with the checkpoint; their numbers stay taken.
        take_all(&spool);
        (next..next + 4).for_each(|sequence| spool.resolve(sequence));
        spool.checkpoint(Bytes::new()).wait().unwrap();
        assert_eq!(spool.next_sequence(), next + 4);
        spool.close();
    }
}

#[test]
fn repair_cuts_puts_away_and_says_so_and_a_second_one_finds_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(options(directory.path()));
    append(&spool, 0..5, 1000);
    spool.close();
    let last = directory.path().join(format!("{:020}.seg", 3));
    let mut bytes = std::fs::read(&last).unwrap();
    bytes.extend_from_slice(b"torn");
    std::fs::write(&last, &bytes).unwrap();
    let sealed = directory.path().join(format!("{:020}.seg", 0));
    let mut bytes = std::fs::read(&sealed).unwrap();
    bytes[1300] ^= 1;
    std::fs::write(&sealed, &bytes).unwrap();
    let verified = offline::verify(directory.path()).unwrap();
    assert_eq!((verified.lost, verified.findings.len(), verified.segments[1].tail_bytes), (1, 1, 4));
    let recovery = offline::repair(directory.path()).unwrap();
    assert!(matches!(recovery.findings[..], [Finding::TornTail { bytes: 4, .. }]), "{:?}", recovery.findings);
    assert!(offline::repair(directory.path()).unwrap().findings.is_empty());
    let mut damage = 0;
    offline::frames(directory.path(), &mut |stored| {
        damage += u64::from(matches!(stored, Stored::Damage { .. }));
        ControlFlow::Continue(())
    })
    .unwrap();
    assert_eq!(damage, 1);
    assert!(matches!(offline::repair(&directory.path().join("none")), Err(OpenError::Read { .. })));
}
