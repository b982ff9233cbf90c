//! Partitions whose broker is late: records that it has and has not acknowledged in time.
//!
//! While a partition is late, further records for it go to the spool, so that no sender waits for a broker that is silent.
//! The records that are late are the probe: the first answer to the last of them opens the partition again.

use std::{
    collections::HashMap,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

/// The late partitions of a route's two topics.
#[derive(Debug, Default)]
pub(super) struct Overdue {
    /// So that a route without late records pays one load.
    records: AtomicUsize,
    by_partition: Mutex<HashMap<Place, usize>>,
}

/// A partition of the topic, or of the dead-letter topic.
type Place = (bool, i32);

impl Overdue {
    /// A record is late.
    pub(super) fn enter(&self, is_letter: bool, partition: i32) {
        let mut late = self.by_partition.lock().unwrap_or_else(PoisonError::into_inner);
        *late.entry((is_letter, partition)).or_default() += 1;
        self.records.fetch_add(1, Ordering::Release);
    }

    /// A late record has its report.
    pub(super) fn leave(&self, is_letter: bool, partition: i32) {
        let mut late = self.by_partition.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = late.get_mut(&(is_letter, partition)) {
            *count -= 1;
            if *count == 0 {
                late.remove(&(is_letter, partition));
            }
            self.records.fetch_sub(1, Ordering::Release);
        }
    }

    /// Whether the partition is late.
    pub(super) fn is_late(&self, is_letter: bool, partition: i32) -> bool {
        self.records.load(Ordering::Acquire) > 0
            && self
                .by_partition
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .contains_key(&(is_letter, partition))
    }

    /// Late records of all partitions.
    pub(super) fn records(&self) -> usize {
        self.records.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_late_until_the_last_late_record_has_its_report() {
        let overdue = Overdue::default();
        overdue.enter(false, 3);
        overdue.enter(false, 3);
        overdue.leave(false, 3);
        assert!(overdue.is_late(false, 3) && !overdue.is_late(true, 3) && !overdue.is_late(false, 4));
        overdue.leave(false, 3);
        overdue.leave(false, 3);
        assert_eq!((overdue.is_late(false, 3), overdue.records()), (false, 0));
    }
}
