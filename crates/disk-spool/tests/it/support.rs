//! A spool in a temporary directory, and what the tests say to it.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use disk_spool::{
    Frame, Lane, Observer, Quota, Recovery, Spool, SpoolOptions, WhenFull, simulation::SimulatedDisk,
};

/// Hears nothing.
#[derive(Debug)]
pub(crate) struct Deaf;

impl Observer for Deaf {
    fn synced(&self, _: usize, _: usize, _: Duration) {}
    fn disk_error(&self, _: &'static str, _: &io::Error) {}
}

pub(crate) fn options(directory: &Path) -> SpoolOptions {
    SpoolOptions {
        directory: directory.to_owned(),
        segment_bytes: 4096,
        group_window: Duration::ZERO,
        group_bytes: 1 << 20,
        queue_bytes: 1 << 20,
        max_frame_bytes: 2048,
        when_full: WhenFull::Refuse,
        max_age: None,
    }
}

pub(crate) fn open(options: SpoolOptions) -> (Spool, Recovery) {
    Spool::open(options, Quota::new(1 << 30).lane(0), Arc::new(Deaf)).expect("it opens")
}

/// A frame whose payload is known by its number.
pub(crate) fn frame(number: u64, bytes: usize) -> Frame {
    let body: Vec<u8> = (0..bytes).map(|place| (number as usize * 31 + place) as u8).collect();
    Frame {
        head: Bytes::from(number.to_le_bytes().to_vec()),
        body: Bytes::from(body),
        items: number % 7,
        is_taken: false,
    }
}

pub(crate) fn payload(frame: &Frame) -> Bytes {
    Bytes::from([frame.head.as_ref(), frame.body.as_ref()].concat())
}

pub(crate) fn append(spool: &Spool, numbers: std::ops::Range<u64>, bytes: usize) {
    for number in numbers {
        let frames = vec![frame(number, bytes)];
        spool.append(frames).expect("it is queued").wait().expect("it is stored");
    }
}

/// Waits for a condition, and gives up only when there is no hope.
pub(crate) fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let given_up = std::time::Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(std::time::Instant::now() < given_up, "waited in vain until {what}");
        std::thread::yield_now();
    }
}

pub(crate) fn open_on(disk: &SimulatedDisk, options: &SpoolOptions) -> (Spool, Recovery) {
    open_lane(disk, options, Quota::new(1 << 30).lane(0))
}

pub(crate) fn open_lane(disk: &SimulatedDisk, options: &SpoolOptions, lane: Lane) -> (Spool, Recovery) {
    Spool::open_with(options.clone(), lane, Arc::new(Deaf), disk.mount()).expect("it opens")
}

/// A spool's directory on a simulated disk.
pub(crate) fn simulated() -> (SimulatedDisk, SpoolOptions) {
    (SimulatedDisk::new(7), options(Path::new("/spool")))
}

pub(crate) fn segment(options: &SpoolOptions, first: u64) -> PathBuf {
    options.directory.join(format!("{first:020}.seg"))
}

/// Takes everything, and compares it with what was appended under these numbers.
pub(crate) fn take_all(spool: &Spool) -> Vec<u64> {
    let taken = spool.take(usize::MAX);
    for taken in &taken {
        let number = u64::from_le_bytes(taken.payload[..8].try_into().expect("eight bytes"));
        assert_eq!(
            taken.payload,
            payload(&frame(number, taken.payload.len() - 8)),
            "it is as it was appended"
        );
    }
    taken.iter().map(|taken| taken.sequence).collect()
}
