//! Byte accounting of consumed records: the back-pressure of a consumer.
//!
//! A [`Credit`] counts its record's bytes against the partition and against the whole consumer until it is dropped.
//! The poll thread pauses a partition whose bytes reach the high mark and resumes it at the low mark; when the
//! consumer's total reaches its mark, every partition is paused until the total is down to its low mark. The
//! distance between the marks matters: a pause throws away what librdkafka has prefetched for the partition, so
//! pausing must be rare (low mark = half of the high mark).
//!
//! An owner that needs certain records before it can release any may let their partition pass: it is read up to an offset
//! whatever the marks say ([`Credit::let_partition_pass`]).

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering},
    },
};

use bytes::Bytes;

use crate::doorbell::Doorbell;

/// Fixed cost charged to a record beside its bytes, so that empty records are bounded too: the event slot and the
/// allocations of key, value and header vector.
const RECORD_OVERHEAD_BYTES: usize = 256;

/// Fixed cost charged to each header beside its name and value: its slot in the vector, and for either an allocation,
/// at most 32 bytes more than what it holds. Without it a record of thousands of short headers would take dozens of times
/// what it counts.
const HEADER_OVERHEAD_BYTES: usize = size_of::<(String, Bytes)>() + 2 * 32;

/// What a record takes in memory, in bytes; `payload_bytes` is its key and value.
pub(crate) fn record_cost(payload_bytes: usize, headers: &[(String, Bytes)]) -> u64 {
    let cost = |(name, value): &(String, Bytes)| name.len() + value.len() + HEADER_OVERHEAD_BYTES;
    (RECORD_OVERHEAD_BYTES + payload_bytes + headers.iter().map(cost).sum::<usize>()) as u64
}

/// Counts a record's bytes until dropped.
pub struct Credit {
    bytes: u64,
    account: Arc<PartitionAccount>,
}

impl Credit {
    /// Bytes this credit counts: key, value and headers, and a fixed overhead for the record and for each header.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Whether the record's partition holds as many bytes as it may: nothing more of it comes until some are released.
    pub fn is_partition_full(&self) -> bool {
        self.account.paused.load(Ordering::Acquire)
    }

    /// Whether the partitions of the consumer hold as many bytes together as they may.
    pub fn is_consumer_full(&self) -> bool {
        self.account.total.paused.load(Ordering::Acquire)
    }

    /// From now on the record's partition is read whatever the marks say, up to the record before the offset `below`; with
    /// `None`, only as far as the marks allow. What it reads counts beyond the marks: the owner has to bound it.
    pub fn let_partition_pass(&self, below: Option<i64>) {
        self.account.passes_below.store(below.unwrap_or(i64::MIN), Ordering::Release);
        self.account.total.doorbell.ring();
    }
}

impl Drop for Credit {
    fn drop(&mut self) {
        let account = &self.account;
        let partition = account.outstanding.fetch_sub(self.bytes, Ordering::AcqRel) - self.bytes;
        let total = account.total.outstanding.fetch_sub(self.bytes, Ordering::AcqRel) - self.bytes;
        // The flags are set before the poll thread compares the counts again, so one of the two sides sees the
        // other; the poll thread also looks by itself every second.
        let partition_may_resume =
            account.paused.load(Ordering::Acquire) && partition <= account.total.marks.partition_low;
        let all_may_resume =
            account.total.paused.load(Ordering::Acquire) && total <= account.total.marks.total_low;
        if partition_may_resume || all_may_resume {
            account.total.doorbell.ring();
        }
    }
}

impl fmt::Debug for Credit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Credit").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// The marks, in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Marks {
    pub(crate) partition_high: u64,
    pub(crate) partition_low: u64,
    pub(crate) total_high: u64,
    pub(crate) total_low: u64,
}

impl Marks {
    pub(crate) fn new(partition_high: u64, total_high: u64) -> Marks {
        Marks { partition_high, partition_low: partition_high / 2, total_high, total_low: total_high / 2 }
    }
}

/// What is outstanding over all partitions of a consumer.
#[derive(Debug)]
pub struct TotalAccount {
    outstanding: AtomicU64,
    /// Over the mark, with hysteresis.
    paused: AtomicBool,
    /// For the owner's metrics only.
    paused_partitions: AtomicUsize,
    marks: Marks,
    doorbell: Doorbell,
}

/// What is outstanding of one partition in one generation.
#[derive(Debug)]
pub struct PartitionAccount {
    outstanding: AtomicU64,
    /// Over its own mark, with hysteresis.
    paused: AtomicBool,
    /// Records below this offset are read whatever the marks say.
    passes_below: AtomicI64,
    total: Arc<TotalAccount>,
}

impl TotalAccount {
    pub(crate) fn new(marks: Marks, doorbell: Doorbell) -> Arc<TotalAccount> {
        Arc::new(TotalAccount {
            outstanding: AtomicU64::new(0),
            paused: AtomicBool::new(false),
            paused_partitions: AtomicUsize::new(0),
            marks,
            doorbell,
        })
    }

    pub(crate) fn outstanding(&self) -> u64 {
        self.outstanding.load(Ordering::Acquire)
    }

    pub(crate) fn paused_partitions(&self) -> usize {
        self.paused_partitions.load(Ordering::Relaxed)
    }

    pub(crate) fn set_paused_partitions(&self, count: usize) {
        self.paused_partitions.store(count, Ordering::Relaxed);
    }

    /// Accounts that no consumer looks after, with these marks: for a model of an owner, which applies them itself.
    pub fn detached(partition_bytes: u64, total_bytes: u64) -> Arc<TotalAccount> {
        TotalAccount::new(Marks::new(partition_bytes, total_bytes), crate::doorbell::doorbell().0)
    }

    /// Whether the mark has just been reached.
    pub(crate) fn is_newly_full(&self) -> bool {
        !self.paused.load(Ordering::Acquire) && self.must_pause(false)
    }

    /// Compares what is outstanding with the mark; whether all partitions must be paused.
    pub fn apply_mark(&self) -> bool {
        let must_pause = self.must_pause(self.paused.load(Ordering::Acquire));
        self.paused.store(must_pause, Ordering::Release);
        must_pause
    }

    fn must_pause(&self, paused: bool) -> bool {
        must_pause(self.outstanding(), paused, self.marks.total_low, self.marks.total_high)
    }
}

impl PartitionAccount {
    /// An account of nothing.
    pub fn new(total: Arc<TotalAccount>) -> Arc<PartitionAccount> {
        let (outstanding, paused) = (AtomicU64::new(0), AtomicBool::new(false));
        Arc::new(PartitionAccount { outstanding, paused, passes_below: AtomicI64::new(i64::MIN), total })
    }

    /// Counts the bytes of a record.
    pub fn charge(self: &Arc<Self>, bytes: u64) -> Credit {
        self.outstanding.fetch_add(bytes, Ordering::AcqRel);
        self.total.outstanding.fetch_add(bytes, Ordering::AcqRel);
        Credit { bytes, account: Arc::clone(self) }
    }

    /// Whether the partition's own mark has just been reached.
    pub(crate) fn is_newly_full(&self) -> bool {
        !self.paused.load(Ordering::Acquire) && self.must_pause(false)
    }

    /// Whether the pass ends between two positions.
    pub(crate) fn is_pass_over(&self, before: i64, after: i64) -> bool {
        let below = self.passes_below.load(Ordering::Acquire);
        before < below && below <= after
    }

    /// Compares what is outstanding with the partition's own mark; whether the partition, of which the record at `position`
    /// comes next, must be paused. `is_total_full` is the answer of [`TotalAccount::apply_mark`].
    pub fn apply_mark(&self, position: i64, is_total_full: bool) -> bool {
        let is_full = self.must_pause(self.paused.load(Ordering::Acquire));
        self.paused.store(is_full, Ordering::Release);
        (is_full || is_total_full) && position >= self.passes_below.load(Ordering::Acquire)
    }

    fn must_pause(&self, paused: bool) -> bool {
        let marks = &self.total.marks;
        must_pause(
            self.outstanding.load(Ordering::Acquire),
            paused,
            marks.partition_low,
            marks.partition_high,
        )
    }
}

fn must_pause(outstanding: u64, paused: bool, low: u64, high: u64) -> bool {
    if paused { outstanding > low } else { outstanding >= high }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::doorbell::doorbell;

    #[test]
    fn a_record_costs_its_bytes_and_a_fixed_overhead_for_itself_and_for_each_header() {
        assert_eq!(record_cost(0, &[]), 256);
        assert_eq!(record_cost(1000, &[]), 1256);
        let header = ("name".to_owned(), Bytes::from_static(b"value"));
        assert_eq!(record_cost(1000, &[header.clone(), header]), 1256 + 2 * (9 + 120));
    }

    #[test]
    fn partition_pauses_at_the_high_mark_and_resumes_only_at_the_low_mark() {
        let (bell, _listener) = doorbell();
        let account = PartitionAccount::new(TotalAccount::new(Marks::new(100, 1000), bell));
        let first = account.charge(40);
        let second = account.charge(59);
        assert!(!account.must_pause(false), "99 of 100 bytes leave room");
        let third = account.charge(1);
        assert!(account.must_pause(false));
        drop(first);
        assert!(account.must_pause(true), "60 bytes are above the low mark of 50");
        drop((second, third));
        assert!(!account.must_pause(true));
        assert_eq!(account.total.outstanding(), 0);
    }

    #[test]
    fn total_mark_pauses_although_no_partition_reached_its_own() {
        let (bell, _listener) = doorbell();
        let total = TotalAccount::new(Marks::new(100, 150), bell);
        let (one, two) =
            (PartitionAccount::new(Arc::clone(&total)), PartitionAccount::new(Arc::clone(&total)));
        let held = (one.charge(75), two.charge(75));
        assert!(!one.must_pause(false) && !two.must_pause(false));
        assert!(total.must_pause(false));
        drop(held.0);
        assert!(!total.must_pause(true));
    }

    #[test]
    fn a_partition_that_may_pass_is_read_up_to_an_offset_whatever_the_marks_say() {
        let total = TotalAccount::detached(10, 10);
        let (one, other) =
            (PartitionAccount::new(Arc::clone(&total)), PartitionAccount::new(Arc::clone(&total)));
        let credit = one.charge(10);
        let is_full = total.apply_mark();
        assert!(is_full && one.apply_mark(3, is_full));
        credit.let_partition_pass(Some(5));
        assert!(!one.apply_mark(3, is_full) && !one.apply_mark(4, is_full));
        assert!(other.apply_mark(3, is_full), "another partition does not pass");
        assert!(!one.is_pass_over(3, 4) && one.is_pass_over(4, 5) && !one.is_pass_over(5, 6));
        assert!(one.apply_mark(5, is_full), "the record before 5 was the last one");
        credit.let_partition_pass(None);
        assert!(one.apply_mark(3, is_full), "it was taken back");
    }

    #[test]
    fn credit_dropped_below_the_low_mark_wakes_the_poll_thread_only_when_paused() {
        let (bell, listener) = doorbell();
        let account = PartitionAccount::new(TotalAccount::new(Marks::new(100, 1000), bell));
        drop(account.charge(10));
        assert!(listener.0.try_recv().is_err(), "nothing was paused, nobody is woken");
        let full = account.charge(100);
        assert!(account.apply_mark(0, false));
        drop(full);
        assert!(listener.wait(Duration::ZERO) && listener.0.try_recv().is_err(), "one ring");
    }
}
