//! Which timestamp a row is stored under.
//!
//! The table is partitioned by day and rows expire by their timestamp, so a sender with a broken clock could open
//! thousands of partitions or see its rows vanish on arrival. A timestamp more than the table's retention before the broker's
//! timestamp of the record, or more than a day after it, is therefore replaced by the broker's, and the original kept in
//! the attribute [`ORIGINAL_TIMESTAMP`]. A missing timestamp is the broker's as well. The broker's timestamp is part of the record, so
//! that a record decodes to the same rows whenever it is read again; without one (no broker since 2016) nothing is replaced.

use std::time::Duration;

/// The attribute that holds a replaced timestamp, in nanoseconds since the epoch, as the sender wrote it.
pub const ORIGINAL_TIMESTAMP: &str = "eventline.original_timestamp_unix_nano";

/// What one part of the table spans at most.
const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// The day of a time in nanoseconds since the epoch, in UTC.
pub(crate) fn day_of(time: i64) -> i64 {
    time.div_euclid(DAY.as_nanos() as i64)
}

/// The timestamps that rows of one record may have.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clamp {
    /// The broker's timestamp and the bounds around it, in nanoseconds since the epoch.
    broker: Option<(i64, i64, i64)>,
}

/// A timestamp to store, in nanoseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Clamped {
    pub(super) timestamp: i64,
    /// What the sender wrote, when something else is stored.
    pub(super) original: Option<u64>,
}

impl Clamp {
    /// Bounds around the broker's timestamp, given in milliseconds since the epoch.
    pub(super) fn around(broker_ms: Option<i64>, retention: Duration) -> Clamp {
        let broker = broker_ms.filter(|ms| *ms > 0).map(|ms| {
            let broker = ms.saturating_mul(1_000_000);
            (broker.saturating_sub(nanos(retention)), broker, broker.saturating_add(nanos(DAY)))
        });
        Clamp { broker }
    }

    /// The timestamp to store for what the sender wrote, 0 being "none".
    #[inline]
    pub(super) fn apply(&self, unix_nano: u64) -> Clamped {
        let written = i64::try_from(unix_nano).unwrap_or(i64::MAX);
        match self.broker {
            Some((_, broker, _)) if unix_nano == 0 => Clamped { timestamp: broker, original: None },
            Some((earliest, broker, latest)) if written < earliest || written > latest => {
                Clamped { timestamp: broker, original: Some(unix_nano) }
            }
            _ => Clamped { timestamp: written, original: None },
        }
    }
}

fn nanos(duration: Duration) -> i64 {
    i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BROKER_MS: i64 = 1_790_000_000_000;
    const BROKER: u64 = BROKER_MS as u64 * 1_000_000;
    const DAY_NANOS: u64 = DAY.as_nanos() as u64;

    fn check(written: u64, timestamp: u64, original: Option<u64>) {
        let clamp = Clamp::around(Some(BROKER_MS), 10 * DAY);
        assert_eq!(clamp.apply(written), Clamped { timestamp: timestamp as i64, original });
    }

    #[test]
    fn timestamps_within_the_bounds_stay() {
        for written in [BROKER, BROKER + DAY_NANOS, BROKER - 10 * DAY_NANOS, BROKER - 1] {
            check(written, written, None);
        }
    }

    #[test]
    fn timestamps_outside_become_the_brokers_and_the_original_is_kept() {
        for written in [1, BROKER + DAY_NANOS + 1, BROKER - 10 * DAY_NANOS - 1, i64::MAX as u64, u64::MAX] {
            check(written, BROKER, Some(written));
        }
    }

    #[test]
    fn a_missing_timestamp_is_the_brokers() {
        check(0, BROKER, None);
    }

    #[test]
    fn without_a_broker_timestamp_only_what_cannot_be_stored_changes() {
        for broker in [None, Some(-1), Some(0)] {
            let clamp = Clamp::around(broker, DAY);
            assert_eq!(clamp.apply(5).timestamp, 5);
            assert_eq!(clamp.apply(u64::MAX).timestamp, i64::MAX);
        }
    }
}
