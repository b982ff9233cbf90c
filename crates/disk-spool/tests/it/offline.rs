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
