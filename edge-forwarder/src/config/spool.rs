//! The settings of the spool.

use std::{path::PathBuf, time::Duration};

use disk_spool::WhenFull;
use service_runtime::{
    Section, Setting,
    settings::{ByteSize, choice},
};
use telemetry_wire::Signal;

use super::{PublisherConfig, name_of, positive};
use crate::spool::SpoolConfig;

/// An hour of 2.9 MB/s; see docs/spool.md for the sizing.
const MAX_BYTES: ByteSize = ByteSize::gib(10);

/// Space comes back in such steps, and a start reads at most so much.
const SEGMENT_BYTES: ByteSize = ByteSize::mib(64);

/// Twenty requests share a sync at 2,000 requests a second; a sender hardly notices it.
const GROUP_WINDOW: Duration = Duration::from_millis(10);

/// Some groups; beyond it the disk is slower than what comes in.
const QUEUE_BYTES: ByteSize = ByteSize::mib(16);

/// A broker that is well answers in milliseconds and elects a leader in seconds; most senders wait for ten.
pub(super) const AFTER: Duration = Duration::from_secs(1);

/// A kernel goes on sending for a process that was killed; on a network without losses that takes milliseconds.
pub(super) const SETTLING: Duration = Duration::from_secs(3);

/// Half of Kafka's `producer.id.expiration.ms`.
pub(super) const SESSION_TRUST: Duration = Duration::from_secs(12 * 60 * 60);

/// A full default spool is sent in about five minutes.
pub(super) const DRAIN_BYTES_PER_SECOND: ByteSize = ByteSize::mib(32);

/// A fifth of the quota for each signal, and two fifths for whoever needs it.
const RESERVED_PERCENT: u32 = 20;

/// Largest record and its head must fit, and the smallest quota must hold some segments of each signal.
const MIN_SEGMENTS: u64 = 8;

/// Reads the spool's settings, and those of the publisher that stand beside them.
pub(super) fn read(section: &mut Section<'_>, publisher: PublisherConfig) -> (SpoolConfig, PublisherConfig) {
    let directory: Option<PathBuf> = section.optional(
            "directory",
            "The folder. Without one there is no spool: senders are refused as retryable while the brokers are away.",
        );
    if let Some(directory) = &directory {
        section.require_directory("directory", directory);
    }
    let max_bytes = section.value(
        "max_bytes",
        MAX_BYTES,
        "Bytes of all its files; beyond them senders are refused as retryable.",
    );
    let segment_bytes = section.value("segment_bytes", SEGMENT_BYTES, "Bytes of one file.");
    let group_window = positive(
        section,
        "group_window",
        GROUP_WINDOW,
        "How long the first record of a group waits for others before all are synced together.",
    );
    let queue_bytes =
        section.value("queue_bytes", QUEUE_BYTES, "Bytes of each signal that may wait for the disk.");
    let when_full = section.value(
        "when_full",
        WhenFullSetting(WhenFull::Refuse),
        "At the quota: `refuse` new records, or `drop_oldest` ones, counted.",
    );
    let max_age =
        section.optional("max_age", "Records that are older are dropped, counted; unset keeps them.");
    let after = positive(
        section,
        "after",
        AFTER,
        "How long a request waits for the brokers before the spool gets it too and its sender is answered.",
    );
    let settling = section.value(
            "settling",
            SETTLING,
            "After a crash or a broken session: how long what was on its way to a broker may take to arrive, before the topics are \
             read back to find out what did.",
        );
    let session_trust = positive(
        section,
        "session_trust",
        SESSION_TRUST,
        "How long brokers that do not answer are trusted to remember what they were sent. Must be below their \
         `producer.id.expiration.ms`; then the topics are read back instead.",
    );
    let drain = section.value(
        "drain_bytes_per_second",
        DRAIN_BYTES_PER_SECOND,
        "How fast each signal's backlog is sent after an outage, beside fresh data.",
    );
    let reserved_percent = reserves(section);
    let largest = u64::from(publisher.producer.max_message_bytes);
    check(section, segment_bytes, max_bytes, queue_bytes, drain, largest);
    let config = SpoolConfig {
        directory,
        max_bytes: max_bytes.as_u64(),
        segment_bytes: segment_bytes.as_u64(),
        group_window,
        when_full: when_full.0,
        max_age,
        queue_bytes: queue_bytes.as_usize(),
        reserved_percent,
    };
    let publisher = PublisherConfig {
        spool_after: after,
        settling,
        session_trust,
        drain_bytes_per_second: drain.as_u64(),
        ..publisher
    };
    (config, publisher)
}

fn reserves(section: &mut Section<'_>) -> [u32; 3] {
    let mut reserved = section.section(
        "reserved_percent",
        "The part of `max_bytes` that is kept for a signal, so that a flood of one does not keep the others out.",
    );
    let percents = Signal::ALL.map(|signal| {
        let doc = "Percent of `max_bytes`.";
        reserved.value(signal.as_str(), RESERVED_PERCENT, doc)
    });
    let sum = percents.iter().fold(0, |sum: u32, percent| sum.saturating_add(*percent));
    if sum > 100 {
        section.problem("reserved_percent", format!("the parts are {sum} percent together"), "at most 100");
    }
    percents
}

fn check(
    section: &mut Section<'_>,
    segment_bytes: ByteSize,
    max_bytes: ByteSize,
    queue_bytes: ByteSize,
    drain: ByteSize,
    largest_record: u64,
) {
    if segment_bytes.as_u64() < 2 * largest_record || segment_bytes > ByteSize::gib(1) {
        section.problem(
            "segment_bytes",
            format!("{segment_bytes} is out of bounds"),
            "at least twice kafka.producer.max_message_bytes, at most 1GiB",
        );
    }
    if max_bytes.as_u64() / MIN_SEGMENTS < segment_bytes.as_u64() {
        section.problem(
            "max_bytes",
            format!("{max_bytes} is too little for segments of {segment_bytes}"),
            format!("at least {MIN_SEGMENTS} × segment_bytes"),
        );
    }
    if queue_bytes.as_u64() < 2 * largest_record {
        section.problem(
            "queue_bytes",
            format!("{queue_bytes} is too little"),
            "at least twice kafka.producer.max_message_bytes",
        );
    }
    if drain < ByteSize::kib(1) {
        section.problem("drain_bytes_per_second", format!("{drain} is too little"), "at least 1KiB");
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct WhenFullSetting(WhenFull);

const WHEN_FULL: [(&str, WhenFullSetting); 2] =
    [("refuse", WhenFullSetting(WhenFull::Refuse)), ("drop_oldest", WhenFullSetting(WhenFull::DropOldest))];

impl Setting for WhenFullSetting {
    fn expected() -> String {
        "one of `refuse`, `drop_oldest`".to_owned()
    }

    fn from_text(text: &str) -> Result<WhenFullSetting, String> {
        choice(text, &WHEN_FULL)
    }

    fn to_text(&self) -> String {
        name_of(&WHEN_FULL, *self)
    }
}
