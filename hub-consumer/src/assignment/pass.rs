//! How an announced block is formed again when the memory for records is full.
//!
//! A block that was announced is formed again as it was, whole. Its records hold their memory until it is stored, and what was
//! announced of all partitions may be more than one member may hold: another member's share came to it, or its buffers were
//! made smaller. Then every partition is paused and no block is complete. So one partition at a time is read beyond the marks,
//! to the end of what was announced; stored, it gives back more than it took. At most one announced block is held beyond the
//! marks, unless brokers stop in the middle of several.

use std::time::Duration;

use tokio::time::Instant;

use super::{Assignment, Partition, PartitionId, id_of};

/// How long a partition that is read beyond the marks may get nothing before another one has its turn.
pub const PASS_PATIENCE: Duration = Duration::from_secs(5);

/// Which partition is read beyond the marks.
#[derive(Debug)]
pub(super) struct Pass {
    id: PartitionId,
    /// What came next of it, and since when.
    next: Option<i64>,
    since: Instant,
}

#[cfg(test)]
impl Pass {
    /// Whose turn it is.
    pub(super) fn partition(&self) -> i32 {
        self.id.partition
    }
}

impl<B> Partition<B> {
    /// Lets the partition be read to the end of what was announced, or (`is_let` is false) only as far as the marks allow.
    fn let_pass(&self, is_let: bool) {
        let credit = self.open.as_ref().and_then(|open| open.fragments.first()?.origin.credit.as_ref());
        if let Some((credit, pending)) = credit.zip(self.pin.pending) {
            credit.let_partition_pass(is_let.then_some(pending.last.saturating_add(1)));
        }
    }

    /// Whether the rest of an announced block does not come, since as many records are held as may be.
    fn is_kept_from_forming(&self) -> bool {
        let credit = self.open.as_ref().and_then(|open| open.fragments.first()?.origin.credit.as_ref());
        self.is_forming_again()
            && credit.is_some_and(|credit| credit.is_partition_full() || credit.is_consumer_full())
    }
}

impl<B> Assignment<B> {
    /// Lets one partition be read beyond the marks, if an announced block needs it. The one that has its turn keeps it until
    /// its block is complete, or until nothing has come of it for `patience`.
    pub fn let_one_pass(&mut self, patience: Duration) {
        let last = self.pass.take().and_then(|mut pass| {
            let state = self.get_mut(&pass.id).filter(|state| state.is_forming_again());
            let Some(state) = state else { return Some(pass.id) };
            if state.tracker.next() != pass.next {
                (pass.next, pass.since) = (state.tracker.next(), Instant::now());
            }
            if pass.since.elapsed() < patience {
                self.pass = Some(pass);
                return None;
            }
            state.let_pass(false);
            Some(pass.id)
        });
        if self.pass.is_some() {
            return;
        }
        let is_later = |topic: &str, partition: i32| {
            last.as_ref().is_some_and(|last| (topic, partition) > (&*last.topic, last.partition))
        };
        let kept = self.partitions.iter().filter(|(_, state)| state.is_kept_from_forming());
        // In turn: those behind the last one first.
        let next = kept.min_by_key(|((topic, partition), _)| !is_later(topic, *partition));
        if let Some(((topic, partition), state)) = next {
            state.let_pass(true);
            let id = id_of(topic, *partition, state);
            self.pass = Some(Pass { id, next: state.tracker.next(), since: Instant::now() });
        }
    }
}
