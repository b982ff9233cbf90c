//! Whatever is in the directory, there is a running spool, a count, and a copy of what was damaged.

use bytes::Bytes;
use disk_spool::{Finding, OpenError, Quota, Spool, SpoolOptions, simulation::SimulatedDisk};
use proptest::{prelude::*, test_runner::FileFailurePersistence};

use crate::support::{Deaf, append, open, open_on, options, segment, simulated, take_all};

#[path = "../../fuzz/script.rs"]
mod script;

/// Fields of a frame before its payload.
const PREFIX: usize = 41;
const HEADER: usize = 56;

/// Three frames of the same length, each a group of its own.
fn three_frames(bytes: usize) -> (SimulatedDisk, SpoolOptions, Vec<u8>) {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..3, bytes);
    disk.kill();
    spool.close();
    let whole = disk.read(&segment(&options, 0)).expect("it is there");
    assert_eq!(whole.len(), HEADER + 3 * (PREFIX + 8 + bytes));
    (disk, options, whole)
}

/// Puts the segment there, alone, and opens.
fn reopen(whole: &[u8], options: &SpoolOptions) -> (SimulatedDisk, Spool, disk_spool::Recovery) {
    let disk = SimulatedDisk::new(1);
    disk.mount().make_directory(&options.directory).expect("a folder can be made");
    disk.put(&segment(options, 0), whole);
    let (spool, recovery) = open_on(&disk, options);
    (disk, spool, recovery)
}

#[test]
fn last_frame_cut_at_any_byte_is_dropped_alone_and_its_number_is_not_given_again() {
    let (_, options, whole) = three_frames(60);
    let last = whole.len() - (PREFIX + 68);
    for length in last..whole.len() {
        let (disk, spool, recovery) = reopen(&whole[..length], &options);
        assert_eq!(recovery.pending.frames, 2, "cut to {length}");
        let torn = Finding::TornTail {
            file: format!("{:020}.seg", 0),
            offset: last as u64,
            bytes: (length - last) as u64,
        };
        let expected = if length == last { vec![] } else { vec![torn] };
        assert_eq!(recovery.findings, expected);
        // Fewer bytes than a prefix cannot have been a frame that anybody was told of.
        assert_eq!(recovery.next_sequence >= 3, length >= last + PREFIX);
        assert_eq!(take_all(&spool), [0, 1]);
        append(&spool, 9..10, 60);
        assert_eq!(take_all(&spool).len(), 1);
        disk.kill();
        spool.close();
        let (spool, recovery) = open_on(&disk, &options);
        assert!(recovery.findings.is_empty(), "it is mended: {:?}", recovery.findings);
        assert_eq!(take_all(&spool).len(), 3);
        spool.close();
    }
}

#[test]
fn one_flipped_bit_anywhere_in_a_middle_frame_costs_that_frame_and_no_other() {
    let (_, options, whole) = three_frames(40);
    let middle = HEADER + PREFIX + 48..HEADER + 2 * (PREFIX + 48);
    for place in middle.clone() {
        for bit in [0, 3, 7] {
            let mut damaged = whole.clone();
            damaged[place] ^= 1 << bit;
            let (disk, spool, recovery) = reopen(&damaged, &options);
            assert_eq!(take_all(&spool), [0, 2], "bit {bit} of byte {place}");
            assert_eq!(spool.usage().corrupt.frames, 1);
            assert_eq!(recovery.pending.frames, 2);
            let copy =
                options.directory.join(format!("quarantine/{:020}.seg.{}-{}", 0, middle.start, middle.end));
            assert_eq!(disk.read(&copy).as_deref(), Some(&damaged[middle.clone()]));
            spool.close();
        }
    }
}

#[test]
fn damage_in_a_sealed_segment_is_skipped_while_reading_and_counted_with_its_items() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..12, 1000);
    disk.kill();
    spool.close();
    let path = segment(&options, 0);
    let mut bytes = disk.read(&path).unwrap();
    let frame = PREFIX + 1008;
    // The length of the second frame: where it leads there is no frame.
    bytes[HEADER + frame + 1] ^= 1;
    disk.put(&path, &bytes);
    let (spool, recovery) = open_on(&disk, &options);
    assert!(recovery.findings.is_empty(), "only its seal was read");
    assert_eq!((recovery.pending.frames, spool.usage().corrupt.frames), (12, 0));
    assert_eq!(take_all(&spool), [vec![0], (2..12).collect::<Vec<_>>()].concat());
    assert_eq!(spool.usage().corrupt.frames, 1);
    let copies =
        disk.files().into_iter().filter(|path| path.starts_with(options.directory.join("quarantine")));
    let copies: Vec<_> = copies.map(|path| disk.read(&path).unwrap()).collect();
    assert_eq!(copies, [&bytes[HEADER + frame..HEADER + 2 * frame]]);
    (0..12).for_each(|sequence| spool.resolve(sequence));
    let usage = spool.usage();
    assert_eq!((usage.corrupt.items, usage.corrupt.bytes, usage.pending.frames), (1, 1008, 0));
    spool.checkpoint(Bytes::new()).wait().unwrap();
    assert_eq!(disk.read(&path), None, "damage does not keep a segment");
    spool.close();
}

#[test]
fn a_payload_full_of_frames_is_no_frame() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..1, 40);
    append(&spool, 1..2, 40);
    spool.close();
    let frames = disk.read(&segment(&options, 0)).unwrap()[HEADER..].to_vec();
    let (other, options) = simulated();
    let (spool, _) = open_on(&other, &options);
    let trap = disk_spool::Frame { head: Bytes::new(), body: frames.into(), items: 1, is_taken: false };
    spool.append(vec![trap]).unwrap().wait().unwrap();
    append(&spool, 7..8, 40);
    other.kill();
    spool.close();
    let mut bytes = other.read(&segment(&options, 0)).unwrap();
    bytes[HEADER + 2] ^= 1;
    other.put(&segment(&options, 0), &bytes);
    let (spool, _) = open_on(&other, &options);
    assert_eq!(take_all(&spool), [1], "frames of another spool do not pass for ours");
    spool.close();
}

#[test]
fn a_damaged_header_costs_no_frame_where_the_cursor_knows_the_spool() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..3, 100);
    spool.close();
    let mut bytes = disk.read(&segment(&options, 0)).unwrap();
    bytes[20] ^= 1;
    disk.put(&segment(&options, 0), &bytes);
    let (spool, recovery) = open_on(&disk, &options);
    assert_eq!(recovery.findings.len(), 1, "{:?}", recovery.findings);
    assert_eq!(take_all(&spool), [0, 1, 2]);
    append(&spool, 3..4, 100);
    spool.close();
}

#[test]
fn segment_of_another_spool_and_things_named_like_ours_are_put_away() {
    let directory = tempfile::tempdir().unwrap();
    let other = tempfile::tempdir().unwrap();
    for (folder, frames) in [(&directory, 0..3), (&other, 0..9)] {
        let (spool, _) = open(options(folder.path()));
        append(&spool, frames, 900);
        spool.close();
    }
    let name = format!("{:020}.seg", 4);
    std::fs::copy(other.path().join(&name), directory.path().join(&name)).unwrap();
    std::fs::create_dir(directory.path().join(format!("{:020}.seg", 50))).unwrap();
    std::os::unix::fs::symlink("/dev/zero", directory.path().join(format!("{:020}.seg", 51))).unwrap();
    std::fs::write(directory.path().join(format!("{:020}.seg", 52)), b"").unwrap();
    std::fs::write(directory.path().join("notes.txt"), b"mine").unwrap();
    let (spool, recovery) = open(options(directory.path()));
    assert_eq!(recovery.findings.len(), 5, "{:?}", recovery.findings);
    assert_eq!(take_all(&spool), [0, 1, 2]);
    append(&spool, 3..60, 100);
    assert_eq!(take_all(&spool).len(), 57, "their names are free again");
    assert!(directory.path().join("quarantine").join(&name).exists());
    assert!(directory.path().join("notes.txt").exists());
    spool.close();
}

#[test]
fn a_checkpoint_that_points_to_a_missing_segment_moves_on_and_counts() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..12, 1000);
    assert_eq!(take_all(&spool).len(), 12);
    spool.resolve(0);
    spool.checkpoint(Bytes::new()).wait().unwrap();
    disk.kill();
    spool.close();
    disk.take_away(&segment(&options, 0));
    let (spool, recovery) = open_on(&disk, &options);
    let missing = Finding::MissingFrames { frames: 2, before: format!("{:020}.seg", 3) };
    assert_eq!(recovery.findings, [missing]);
    assert_eq!(take_all(&spool), (3..12).collect::<Vec<_>>());
    assert_eq!(spool.usage().corrupt.frames, 2);
    spool.close();
}

#[test]
fn acknowledged_frames_that_are_cut_off_are_raised_and_their_numbers_not_given_again() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..3, 100);
    spool.close();
    let bytes = disk.read(&segment(&options, 0)).unwrap();
    disk.put(&segment(&options, 0), &bytes[..bytes.len() - 200]);
    let (spool, recovery) = open_on(&disk, &options);
    let lost = Finding::LostTail { file: format!("{:020}.seg", 0), frames: 2 };
    assert!(recovery.findings.contains(&lost), "{:?}", recovery.findings);
    assert_eq!(spool.usage().corrupt.frames, 2);
    assert!(recovery.next_sequence >= 3);
    assert_eq!(take_all(&spool), [0]);
    spool.close();
}

#[test]
fn losing_both_cursors_costs_repeats_and_nothing_else() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..3, 100);
    take_all(&spool);
    spool.resolve(1);
    spool.close();
    for file in disk.files() {
        if file.to_string_lossy().contains("cursor") {
            disk.put(&file, b"no cursor");
        }
    }
    let (spool, recovery) = open_on(&disk, &options);
    assert!(recovery.findings.iter().all(|finding| matches!(finding, Finding::NotACursor { .. })));
    assert_eq!(take_all(&spool), [0, 1, 2]);
    assert_eq!(spool.usage().corrupt.frames, 0);
    spool.close();
}

#[test]
fn second_process_is_told_who_has_the_directory_and_a_dead_one_does_not_block() {
    let directory = tempfile::tempdir().unwrap();
    let (spool, _) = open(options(directory.path()));
    let second = Spool::open(options(directory.path()), Quota::new(1).lane(0), std::sync::Arc::new(Deaf));
    match second {
        Err(OpenError::Locked { owner, .. }) => assert_eq!(owner, format!("pid {}", std::process::id())),
        other => panic!("{other:?}"),
    }
    append(&spool, 0..1, 10);
    spool.close();
    std::fs::write(directory.path().join("lock"), "pid 1\n").unwrap();
    let (spool, _) = open(options(directory.path()));
    std::fs::remove_file(directory.path().join("lock")).unwrap();
    let second = Spool::open(options(directory.path()), Quota::new(1).lane(0), std::sync::Arc::new(Deaf));
    assert!(matches!(second, Err(OpenError::Locked { .. })), "nor does a deleted lock file let another in");
    spool.close();
}

#[test]
fn a_file_in_place_of_the_directory_is_an_error_that_says_what_to_do() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let opened = Spool::open(options(file.path()), Quota::new(1).lane(0), std::sync::Arc::new(Deaf));
    assert!(matches!(opened, Err(OpenError::Make { .. } | OpenError::Read { .. })), "{opened:?}");
}

#[test]
fn a_hole_in_a_group_that_was_never_synced_is_no_loss_and_is_not_forgotten() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    let group = (0..3).map(|number| crate::support::frame(number, 40)).collect();
    spool.append(group).unwrap().wait().unwrap();
    disk.kill();
    spool.close();
    let mut bytes = disk.read(&segment(&options, 0)).unwrap();
    bytes[HEADER + 2 * PREFIX + 60] ^= 1;
    disk.put(&segment(&options, 0), &bytes);
    for findings in [1, 0] {
        let (spool, recovery) = open_on(&disk, &options);
        assert_eq!(recovery.findings.len(), findings, "{:?}", recovery.findings);
        assert!(!recovery.findings.iter().any(Finding::is_loss));
        assert_eq!(recovery.pending.frames, 2);
        assert_eq!(take_all(&spool), [0, 2]);
        assert_eq!(spool.usage().corrupt.frames, 0);
        disk.kill();
        spool.close();
    }
}

#[test]
fn pending_counts_are_exact_when_a_segment_grows_after_the_checkpoint_and_is_sealed() {
    let (disk, options) = simulated();
    let (spool, _) = open_on(&disk, &options);
    append(&spool, 0..1, 100);
    take_all(&spool);
    spool.resolve(0);
    spool.checkpoint(Bytes::new()).wait().unwrap();
    append(&spool, 1..9, 1000);
    let pending = spool.usage().pending;
    disk.kill();
    spool.close();
    let (spool, recovery) = open_on(&disk, &options);
    assert_eq!(recovery.pending, pending);
    spool.close();
}

/// A file of a directory that anybody may have written.
fn any_file() -> impl Strategy<Value = (String, Vec<u8>)> {
    let name = prop_oneof![
        (0u64..20).prop_map(|first| format!("{first:020}.seg")),
        Just(format!("{:020}.seg", u64::MAX)),
        Just("cursor.0".to_owned()),
        Just("cursor.1".to_owned()),
        Just("reserve".to_owned()),
        "[a-z]{1,6}(\\.tmp)?",
    ];
    (name, proptest::collection::vec(any::<u8>(), 0..400))
}

proptest! {
    #![proptest_config(ProptestConfig {
        max_shrink_iters: 500,
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct("proptest-regressions/recovery.txt"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn any_changes_to_a_real_directory_lead_to_a_running_spool(data in proptest::collection::vec(any::<u8>(), 0..120)) {
        script::run(&data);
    }

    #[test]
    fn any_directory_leads_to_a_running_spool(
        files in proptest::collection::vec(any_file(), 0..6),
        damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), any::<u8>()), 0..12),
    ) {
        let (disk, options) = simulated();
        let (spool, _) = open_on(&disk, &options);
        append(&spool, 0..8, 700);
        take_all(&spool);
        spool.resolve(2);
        spool.close();
        // Bytes of a real directory are changed, and other files are added to it.
        for (file, place, byte) in damage {
            let paths = disk.files();
            let path = file.get(&paths);
            let mut bytes = disk.read(path).unwrap();
            if !bytes.is_empty() {
                let place = place.index(bytes.len());
                bytes[place] = byte;
                disk.put(path, &bytes);
            }
        }
        for (name, bytes) in files {
            disk.put(&options.directory.join(name), &bytes);
        }
        for round in 0..2 {
            let (spool, recovery) = open_on(&disk, &options);
            let taken = spool.take(usize::MAX).len();
            append(&spool, 100..101, 50);
            prop_assert_eq!(spool.take(usize::MAX).len(), 1);
            let usage = spool.usage();
            prop_assert_eq!(usage.pending.frames, taken as u64 + 1, "round {}", round);
            prop_assert!(recovery.pending.frames >= taken as u64);
            disk.power_cut();
            spool.close();
        }
    }
}
