//! The partitions this member owns, and what it holds of each.
//!
//! A partition lives from its assignment to its revocation, under one generation. [`Assignment::get_mut`] asks for the
//! generation: a record, a delivery or a commit that began under another one finds nothing and is dropped. That is what
//! keeps a late result from moving the offset of a partition that was taken away and came back.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use kafka_client::{CommitOffset, CommittedOffset};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    offsets::{CommitPoint, OffsetTracker},
    sink::{Fragment, Sink, Unreadable},
};

/// Names a partition of one assignment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionId {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Generation of the assignment.
    pub generation: u64,
}

/// The owned partitions of one signal; `B` is the sink's block.
#[derive(Debug)]
pub struct Assignment<B> {
    partitions: BTreeMap<(Arc<str>, i32), Partition<B>>,
}

/// What is held of one partition.
#[derive(Debug)]
pub struct Partition<B> {
    /// Which offset may be committed.
    pub tracker: OffsetTracker,
    /// The block that records are decoded into.
    pub open: Option<OpenBlock<B>>,
    /// Records that wait because a block is full and another is under way; bounded by the consumer's credit marks.
    pub waiting: VecDeque<Fragment>,
    /// A block of this partition is being delivered. Never two, so that their order is the log's.
    pub is_delivering: bool,
    /// Dead letters of this partition that are under way.
    pub dead_letters: usize,
    /// The position is not in the log any more; nothing is read until an operator decides.
    pub is_stalled: bool,
    /// The partition is going away or the process stops: nothing new is taken.
    pub is_closed: bool,
    /// Ends the delivery and the dead letters of this partition.
    pub cancel: CancellationToken,
}

/// A block that takes records.
#[derive(Debug)]
pub struct OpenBlock<B> {
    /// The decoded items.
    pub block: B,
    /// The records they came from: their bytes, for bisecting, and their credits.
    pub fragments: Vec<Fragment>,
    /// When the first record came.
    pub opened_at: Instant,
}

/// What [`Partition::decode_next`] did.
#[derive(Debug)]
pub enum Decoded {
    /// The record is in the open block.
    Added,
    /// The record is no request of its signal.
    Unreadable(Fragment, Unreadable),
    /// The open block must be delivered first.
    Full,
    /// No record waits.
    Idle,
}

impl<B> OpenBlock<B> {
    /// Whether it has waited for more records long enough.
    pub fn is_due(&self, max_age: Duration) -> bool {
        self.opened_at.elapsed() >= max_age
    }
}

impl<B> Partition<B> {
    fn new(generation: u64, committed: Option<CommitPoint>) -> Self {
        Partition {
            tracker: OffsetTracker::new(generation, committed),
            open: None,
            waiting: VecDeque::new(),
            is_delivering: false,
            dead_letters: 0,
            is_stalled: false,
            is_closed: false,
            cancel: CancellationToken::new(),
        }
    }

    /// Moves the record that waited longest into the open block.
    pub fn decode_next<S: Sink<Block = B>>(&mut self, sink: &S, spare: &mut Vec<B>) -> Decoded {
        let Some(fragment) = self.waiting.front() else {
            let is_full = self.open.as_ref().is_some_and(|open| !sink.has_room(&open.block, 0));
            return if is_full { Decoded::Full } else { Decoded::Idle };
        };
        let open = self.open.get_or_insert_with(|| OpenBlock {
            block: spare.pop().unwrap_or_else(|| sink.new_block()),
            fragments: Vec::new(),
            opened_at: Instant::now(),
        });
        if !open.fragments.is_empty() && !sink.has_room(&open.block, fragment.value.len()) {
            return Decoded::Full;
        }
        let fragment = self.waiting.pop_front().expect("the front was looked at");
        match sink.add(&mut open.block, &fragment) {
            Ok(()) => {
                open.fragments.push(fragment);
                Decoded::Added
            }
            Err(error) => Decoded::Unreadable(fragment, error),
        }
    }

    /// Whether something that was decoded is not yet settled and committed.
    pub fn is_busy(&self) -> bool {
        let is_open = self.open.as_ref().is_some_and(|open| !open.fragments.is_empty());
        is_open || self.is_delivering || self.dead_letters > 0 || self.tracker.is_commit_pending()
    }

    /// Takes nothing new and forgets what is not under way. Forgotten records stay unresolved: whoever owns the
    /// partition next reads them again.
    pub fn close(&mut self) {
        self.is_closed = true;
        self.open = None;
        self.waiting.clear();
    }
}

impl<B> Default for Assignment<B> {
    fn default() -> Self {
        Assignment { partitions: BTreeMap::new() }
    }
}

impl<B> Assignment<B> {
    /// Starts to own a partition that is read from `committed`. State of an older generation, which was never given
    /// back, comes out.
    pub fn insert(&mut self, id: &PartitionId, committed: Option<CommittedOffset>) -> Option<Partition<B>> {
        let point =
            committed.map(|position| CommitPoint { offset: position.offset, metadata: position.metadata });
        let state = Partition::new(id.generation, point);
        let stale = self.partitions.insert((Arc::clone(&id.topic), id.partition), state)?;
        stale.cancel.cancel();
        Some(stale)
    }

    /// The partition, if it is owned under this very generation.
    pub fn get_mut(&mut self, id: &PartitionId) -> Option<&mut Partition<B>> {
        let key = (Arc::clone(&id.topic), id.partition);
        self.partitions.get_mut(&key).filter(|state| state.tracker.generation() == id.generation)
    }

    /// Stops owning a partition and ends what is under way for it.
    pub fn remove(&mut self, id: &PartitionId) -> Option<Partition<B>> {
        self.get_mut(id)?;
        let state = self.partitions.remove(&(Arc::clone(&id.topic), id.partition))?;
        state.cancel.cancel();
        Some(state)
    }

    /// Every owned partition.
    pub fn iter(&self) -> impl Iterator<Item = (PartitionId, &Partition<B>)> {
        self.partitions.iter().map(|((topic, partition), state)| (id_of(topic, *partition, state), state))
    }

    /// Every owned partition, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (PartitionId, &mut Partition<B>)> {
        self.partitions.iter_mut().map(|((topic, partition), state)| (id_of(topic, *partition, state), state))
    }

    /// Takes the commits that are due and marks them as under way, by generation: one commit request each.
    pub fn start_commits(&mut self) -> BTreeMap<u64, Vec<CommitOffset>> {
        let mut due: BTreeMap<u64, Vec<CommitOffset>> = BTreeMap::new();
        for (id, state) in self.iter_mut() {
            if let Some(point) = state.tracker.commit_due() {
                state.tracker.commit_started(point.clone());
                let CommitPoint { offset, metadata } = point;
                let commit = CommitOffset { topic: id.topic, partition: id.partition, offset, metadata };
                due.entry(id.generation).or_default().push(commit);
            }
        }
        due
    }

    /// Records that are owned and not resolved.
    pub fn unresolved(&self) -> usize {
        self.partitions.values().map(|state| state.tracker.unresolved()).sum()
    }
}

fn id_of<B>(topic: &Arc<str>, partition: i32, state: &Partition<B>) -> PartitionId {
    PartitionId { topic: Arc::clone(topic), partition, generation: state.tracker.generation() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Assigns a partition whose committed offset is 10.
    fn assign(assignment: &mut Assignment<()>, generation: u64, partition: i32) -> PartitionId {
        let id = PartitionId { topic: "otlp_logs".into(), partition, generation };
        assignment.insert(&id, Some(CommittedOffset { offset: 10, metadata: String::new() }));
        id
    }

    #[test]
    fn result_of_an_older_generation_cannot_touch_a_partition_that_came_back() {
        let mut assignment = Assignment::default();
        let before = assign(&mut assignment, 1, 0);
        assert!(assignment.get_mut(&before).unwrap().tracker.receive(10, None));
        assert!(assignment.remove(&before).is_some());
        let after = assign(&mut assignment, 2, 0);
        assert!(assignment.get_mut(&before).is_none());
        assert!(assignment.remove(&before).is_none());
        assert!(assignment.start_commits().is_empty());
        assert_eq!(assignment.get_mut(&after).unwrap().tracker.position(), Some(10));
    }

    #[test]
    fn assignment_without_revocation_cancels_what_the_older_generation_has_under_way() {
        let mut assignment = Assignment::default();
        let before = assign(&mut assignment, 1, 0);
        let cancel = assignment.get_mut(&before).unwrap().cancel.clone();
        assign(&mut assignment, 2, 0);
        assert!(cancel.is_cancelled());
    }

    #[test]
    fn commits_are_grouped_by_the_generation_of_their_partition() {
        let mut assignment = Assignment::default();
        for (generation, partition) in [(1, 0), (2, 1), (2, 2)] {
            let id = assign(&mut assignment, generation, partition);
            let tracker = &mut assignment.get_mut(&id).unwrap().tracker;
            assert!(tracker.receive(10, None) && tracker.resolve(10));
        }
        let due = assignment.start_commits();
        let sizes: Vec<_> = due.iter().map(|(generation, commits)| (*generation, commits.len())).collect();
        assert_eq!(sizes, [(1, 1), (2, 2)]);
        assert!(due.values().flatten().all(|commit| commit.offset == 11));
        assert!(assignment.start_commits().is_empty(), "one commit in flight per partition");
    }
}
