//! Reads bytes as changes to a spool's directory, makes them, and opens it. Used by the fuzz target and by a property.

use std::{
    io,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use bytes::Bytes;
use disk_spool::{
    Frame, Observer, Quota, Spool, SpoolOptions, WhenFull,
    simulation::{Fault, Operation, SimulatedDisk, errno},
};

const DIRECTORY: &str = "/spool";

#[derive(Debug)]
struct Deaf;

impl Observer for Deaf {
    fn synced(&self, _: usize, _: usize, _: Duration) {}
    fn disk_error(&self, _: &'static str, _: &io::Error) {}
}

/// Makes the changes, and asserts what holds whatever they were.
pub(crate) fn run(data: &[u8]) {
    let disk = SimulatedDisk::new(1);
    disk.mount().make_directory(DIRECTORY.as_ref()).expect("a folder can be made");
    for (path, bytes) in plain_directory() {
        disk.put(path, bytes);
    }
    let mut input = data.iter().copied();
    while let Some(choice) = input.next() {
        change(&disk, choice, &mut input);
    }
    for _ in 0..2 {
        let spool = open(&disk);
        let mut handed_out = std::collections::BTreeSet::new();
        loop {
            let taken = spool.take(1000);
            if taken.is_empty() {
                break;
            }
            assert!(taken.iter().all(|taken| handed_out.insert(taken.sequence)), "none is handed out twice");
        }
        let usage = spool.usage();
        assert_eq!(
            usage.pending.frames, usage.taken.frames,
            "whatever is pending was handed out or counted as lost"
        );
        disk.heal();
        let range = append(&spool, 40);
        assert!(handed_out.last().is_none_or(|last| *last < range.start), "numbers grow");
        let again = spool.take(1000);
        assert_eq!(again.iter().map(|taken| taken.sequence).collect::<Vec<_>>(), [range.start]);
        disk.power_cut();
        spool.close();
    }
}

fn change(disk: &SimulatedDisk, choice: u8, input: &mut impl Iterator<Item = u8>) {
    let mut next = || usize::from(input.next().unwrap_or(0));
    let files = disk.files();
    let Some(path) = files.get(next() % files.len().max(1)) else { return };
    let mut bytes = disk.read(path).unwrap_or_default();
    let place = (next() << 8 | next()) % (bytes.len() + 1);
    match choice % 8 {
        0 => bytes.iter_mut().skip(place).take(1).for_each(|byte| *byte ^= next() as u8),
        1 => bytes.truncate(place),
        2 => bytes.extend((0..next()).map(|_| next() as u8)),
        3 => {
            let other = disk.read(&files[next() % files.len()]).unwrap_or_default();
            let from = (next() << 8 | next()) % (other.len() + 1);
            bytes.splice(place..place, other[from..].iter().copied().take(2000));
        }
        4 => return disk.put(&segment(next() as u64), &bytes),
        5 => return disk.take_away(path),
        6 => {
            let name = ["cursor.0", "cursor.1", "reserve", "lock", "x.tmp", "other"][next() % 6];
            return disk.put(&PathBuf::from(DIRECTORY).join(name), &bytes);
        }
        _ => {
            let operation =
                [Operation::Open, Operation::Read, Operation::Rename, Operation::Truncate][next() % 4];
            let name = ["seg", "cursor"][next() % 2].to_owned();
            let (after, times) = (next() as u64, next() as u64 + 1);
            return disk.fail(Fault { operation, name, after, times, errno: errno::EIO });
        }
    }
    disk.put(path, &bytes);
}

/// The files of a spool with three segments, a cursor with a hole, and an unfinished end.
fn plain_directory() -> &'static Vec<(PathBuf, Vec<u8>)> {
    static FILES: OnceLock<Vec<(PathBuf, Vec<u8>)>> = OnceLock::new();
    FILES.get_or_init(|| {
        let disk = SimulatedDisk::new(1);
        let spool = open(&disk);
        for _ in 0..7 {
            append(&spool, 500);
        }
        spool.take(usize::MAX);
        [0, 2].into_iter().for_each(|sequence| spool.resolve(sequence));
        spool.close();
        let files = disk.files().into_iter().filter(|path| !path.ends_with("reserve"));
        files.map(|path| (path.clone(), disk.read(&path).unwrap_or_default())).collect()
    })
}

fn open(disk: &SimulatedDisk) -> Spool {
    let options = SpoolOptions {
        directory: DIRECTORY.into(),
        segment_bytes: 2048,
        group_window: Duration::ZERO,
        group_bytes: 1 << 20,
        queue_bytes: 1 << 20,
        max_frame_bytes: 1024,
        when_full: WhenFull::Refuse,
        max_age: None,
    };
    let lane = Quota::new(1 << 30).lane(0);
    Spool::open_with(options, lane, Arc::new(Deaf), disk.mount()).expect("it opens, whatever is there").0
}

/// Appends one frame, as soon as the disk takes it.
fn append(spool: &Spool, bytes: usize) -> std::ops::Range<u64> {
    loop {
        let frame = Frame { head: Bytes::new(), body: vec![7; bytes].into(), items: 1, is_taken: false };
        match spool.append(vec![frame]).and_then(|appending| appending.wait()) {
            Ok(range) => return range,
            Err(_) => std::thread::yield_now(),
        }
    }
}

fn segment(first: u64) -> PathBuf {
    PathBuf::from(DIRECTORY).join(format!("{first:020}.seg"))
}
