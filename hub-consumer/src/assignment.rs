//! The partitions this member owns, and what it holds of each.
//!
//! A partition lives from its assignment to its revocation, under one generation. [`Assignment::get_mut`] asks for the
//! generation: a record, a delivery or a commit that began under another one finds nothing and is dropped. That is what
//! keeps a late result from moving the offset of a partition that was taken away and came back.

pub mod pass;

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
    time::Duration,
};

use kafka_client::{CommitOffset, CommittedOffset};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use tracing::{error, warn};

use self::pass::Pass;
use crate::{
    delivery::pinned::Claim,
    intent::{Insertion, Intent},
    lease::Lease,
    metrics::SignalMetrics,
    offsets::{CommitPoint, OffsetTracker},
    sink::{Fragment, Rebuilt, Sink, Unreadable},
};

/// For how long a server surely remembers a token, in nanoseconds: half of the window that our tables state.
const TOKEN_TRUST: u64 = 604_800 / 2 * 1_000_000_000;

/// Dead letters of one partition that are written at once. A topic full of poison then keeps some hundred of them in
/// memory over all partitions, and some thousand go out in a second.
const DEAD_LETTERS_AT_ONCE: usize = 16;

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
    /// Which of them is read beyond the marks.
    pass: Option<Pass>,
}

/// What is held of one partition.
#[derive(Debug)]
pub struct Partition<B> {
    /// When the partition came.
    pub owned_since: Instant,
    /// Which offset may be committed.
    pub tracker: OffsetTracker,
    /// The block that records are decoded into.
    pub open: Option<OpenBlock<B>>,
    /// Records that wait because a block is full and another is under way; bounded by the consumer's credit marks.
    pub waiting: VecDeque<Fragment>,
    /// A block of this partition is being delivered. Never two, so that their order is the log's.
    pub is_delivering: bool,
    /// When the last block was settled.
    pub settled_at: Option<Instant>,
    /// What is known of blocks before they are sent.
    pub pin: Pin<B>,
    /// Records that are to be dead-lettered; bounded by the consumer's credit marks.
    pub unreadable: VecDeque<(Fragment, Unreadable)>,
    /// Dead letters of this partition that are under way, at most `DEAD_LETTERS_AT_ONCE`.
    pub dead_letters: usize,
    /// The position is not in the log any more, and nothing is read.
    pub is_stalled: bool,
    /// What is to be gone over, once nothing that was read before it can be committed any more.
    pub gap: Option<Gap>,
    /// The partition is going away or the process stops: nothing new is taken.
    pub is_closed: bool,
    /// Ends the delivery and the dead letters of this partition.
    pub cancel: CancellationToken,
}

/// What the intent protocol keeps of one partition; nothing, for a sink that announces nothing.
#[derive(Debug)]
pub struct Pin<B> {
    /// What another owner announced and may have inserted: its records are one block again.
    pub pending: Option<Intent>,
    /// The block that waits for its announcement to be committed.
    pub announced: Option<(OpenBlock<B>, Claim)>,
    /// Halves of a block in which a value was refused, to be delivered before all others.
    pub divided: VecDeque<Vec<Fragment>>,
    /// Records below this were in the log when the partition was taken over, and may be stored by somebody else; all may be
    /// until the broker has said it.
    pub doubtful_below: Option<i64>,
    /// Records below this are of a block in which something was refused, and may have been stored in part.
    pub refused_below: i64,
    /// How long the partition is ours.
    pub lease: Lease,
}

/// Records that were removed from the log before they were read.
#[derive(Debug, Clone, Copy)]
pub struct Gap {
    /// How many.
    pub lost: u64,
    /// The first offset behind them.
    pub end: i64,
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
    /// It takes no more records.
    pub is_complete: bool,
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
    /// One of these fragments, which were decoded before, and no others.
    fn of<S: Sink<Block = B>>(fragments: Vec<Fragment>, sink: &S, spare: &mut Vec<B>) -> OpenBlock<B> {
        let mut block = spare.pop().unwrap_or_else(|| sink.new_block());
        let fragments = fragments.into_iter().filter(|fragment| sink.add(&mut block, fragment).is_ok());
        OpenBlock { fragments: fragments.collect(), block, opened_at: Instant::now(), is_complete: true }
    }

    fn first_offset(&self) -> Option<i64> {
        self.fragments.first().map(|fragment| fragment.origin.offset)
    }

    /// Whether it has waited for more records long enough.
    pub fn is_due(&self, max_age: Duration) -> bool {
        self.opened_at.elapsed() >= max_age
    }

    /// Whether nothing more can come to it before something is delivered: the records that are held fill what may be held, and
    /// nothing else is under way (`is_idle`) that would make room.
    fn is_held_up(&self, is_idle: bool) -> bool {
        let credit = self.fragments.first().and_then(|fragment| fragment.origin.credit.as_ref());
        credit.is_some_and(|credit| credit.is_partition_full() || is_idle && credit.is_consumer_full())
    }
}

impl<B> Pin<B> {
    fn is_doubtful(&self, offset: i64) -> bool {
        self.doubtful_below.is_none_or(|end| offset < end) || offset < self.refused_below
    }

    /// The halves of the block that was under way are delivered next.
    pub fn divide(&mut self, halves: [Vec<Fragment>; 2]) {
        let last = halves[1].last().map(|fragment| fragment.origin.offset);
        self.refused_below = last.map_or(self.refused_below, |last| self.refused_below.max(last + 1));
        self.divided.extend(halves);
    }
}

impl<B> Partition<B> {
    /// A block is being filled, or may be in a moment, whose announcement will also say what is resolved; and no commit is
    /// wished for its own sake.
    fn is_next_announcement_near(&self, patience: Duration) -> bool {
        // The end of a block lets the partition be read on.
        let is_block_near = self.open.is_some() || self.settled_at.is_some_and(|at| at.elapsed() < patience);
        is_block_near && !self.is_delivering && !self.is_closed && !self.tracker.is_commit_wished()
    }

    fn new(generation: u64, committed: Option<CommitPoint>, lease: Lease) -> Self {
        let metadata = committed.as_ref().map_or("", |point| point.metadata.as_str());
        let pending = Intent::parse(metadata).unwrap_or_else(|unknown| {
            warn!(%unknown, "metadata of the committed offset cannot be read; what is stored is looked up instead");
            None
        });
        let (announced, divided) = (None, VecDeque::new());
        let pin = Pin { pending, announced, divided, doubtful_below: None, refused_below: i64::MIN, lease };
        Partition {
            owned_since: Instant::now(),
            tracker: OffsetTracker::new(generation, committed),
            open: None,
            waiting: VecDeque::new(),
            is_delivering: false,
            settled_at: None,
            pin,
            unreadable: VecDeque::new(),
            dead_letters: 0,
            is_stalled: false,
            gap: None,
            is_closed: false,
            cancel: CancellationToken::new(),
        }
    }

    /// Moves the record that waited longest into the open block.
    pub fn decode_next<S: Sink<Block = B>>(&mut self, sink: &S, spare: &mut Vec<B>) -> Decoded {
        if self.open.is_none()
            && let Some(half) = self.pin.divided.pop_front()
        {
            self.open = Some(OpenBlock::of(half, sink, spare));
        }
        let open = self.open.as_ref();
        let Some(fragment) = self.waiting.front() else {
            let is_full = open.is_some_and(|open| open.is_complete || !sink.has_room(&open.block, 0));
            return if is_full && !self.is_forming_again() { Decoded::Full } else { Decoded::Idle };
        };
        let (offset, bytes) = (fragment.origin.offset, fragment.value.len());
        if open.is_some_and(|open| !open.fragments.is_empty() && self.ends_before(open, offset, bytes, sink))
        {
            return Decoded::Full;
        }
        let open = self.open.get_or_insert_with(|| OpenBlock {
            block: spare.pop().unwrap_or_else(|| sink.new_block()),
            fragments: Vec::new(),
            opened_at: Instant::now(),
            is_complete: false,
        });
        let fragment = self.waiting.pop_front().expect("the front was looked at");
        open.is_complete = self.pin.pending.is_some_and(|pending| offset == pending.last);
        match sink.add(&mut open.block, &fragment) {
            Ok(()) => {
                open.fragments.push(fragment);
                Decoded::Added
            }
            Err(error) => Decoded::Unreadable(fragment, error),
        }
    }

    /// Whether an open block has to be cut before a record can be taken.
    fn ends_before<S: Sink<Block = B>>(
        &self,
        open: &OpenBlock<B>,
        offset: i64,
        bytes: usize,
        sink: &S,
    ) -> bool {
        if open.is_complete {
            return true;
        }
        match self.pin.pending {
            // Of what was announced nothing is left out, and nothing else is put to it.
            Some(pending) if open.first_offset() >= Some(pending.first) => offset > pending.last,
            Some(pending) if offset >= pending.first => true,
            _ => !sink.has_room(&open.block, bytes),
        }
    }

    /// Whether the open block is one that was announced before, and not all of it is there yet.
    pub fn is_forming_again(&self) -> bool {
        let Some((open, pending)) = self.open.as_ref().zip(self.pin.pending) else { return false };
        let is_of_range = open.first_offset().is_some_and(|first| first >= pending.first);
        is_of_range && !open.is_complete && self.tracker.next().is_none_or(|next| next <= pending.last)
    }

    /// What is known of a block that is about to be announced.
    pub fn claim(&mut self, intent: &Intent, metrics: &SignalMetrics) -> Claim {
        let is_of_range = |pending: &mut Intent| intent.first >= pending.first;
        let pending = self.pin.pending.take_if(is_of_range);
        let pending_encoder =
            pending.filter(|pending| pending.is_of_same_records(intent)).map(|pending| pending.encoder);
        let is_alike = pending_encoder.is_none_or(|encoder| encoder == intent.encoder);
        let rebuilt = if is_alike { Rebuilt::Alike } else { Rebuilt::Otherwise };
        let insertion = match pending {
            Some(pending) if pending.is_of_same_records(intent) => {
                let age = intent.announced_at.saturating_sub(pending.announced_at);
                if age < TOKEN_TRUST { Insertion::announced_before() } else { Insertion::of_unknown_past() }
            }
            Some(pending) => {
                metrics.intent_mismatched();
                error!(%pending, found = %intent, "the topic does not hold what was announced; what the table has of it is looked up");
                Insertion::of_unknown_past()
            }
            None if self.pin.is_doubtful(intent.first) => Insertion::of_unknown_past(),
            None => Insertion::new(),
        };
        let is_announced_before = insertion == Insertion::announced_before();
        let announced_at = pending
            .filter(|_| is_announced_before)
            .map_or(intent.announced_at, |pending| pending.announced_at);
        Claim { insertion, rebuilt, announced_at, lease: self.pin.lease.clone() }
    }

    /// The block that waits, once what was announced of it is committed.
    pub fn take_announced(&mut self) -> Option<(OpenBlock<B>, Claim)> {
        if self.tracker.is_announcement_committed() { self.pin.announced.take() } else { None }
    }

    /// The next dead letter to write now.
    pub fn start_dead_letter(&mut self) -> Option<(Fragment, Unreadable)> {
        if self.dead_letters >= DEAD_LETTERS_AT_ONCE {
            return None;
        }
        let next = self.unreadable.pop_front()?;
        self.dead_letters += 1;
        Some(next)
    }

    /// Whether something that was decoded is not yet settled and committed.
    pub fn is_busy(&self) -> bool {
        let is_open = self.open.as_ref().is_some_and(|open| !open.fragments.is_empty());
        let is_dead_lettering = self.dead_letters > 0 || !self.unreadable.is_empty();
        let is_open = is_open || !self.pin.divided.is_empty();
        is_open || self.is_delivering || is_dead_lettering || self.tracker.is_commit_pending()
    }

    /// The gap to go over now: everything that was read before it is settled and committed. A commit that came later
    /// would move the group back in front of the gap, and records that are dropped could not be read again.
    pub fn take_gap(&mut self) -> Option<Gap> {
        let is_settled = self.tracker.unresolved() == 0 && !self.tracker.is_commit_pending();
        if is_settled { self.gap.take() } else { None }
    }

    /// Takes nothing new, and forgets what is not decoded. Forgotten records stay unresolved: whoever owns the partition
    /// next reads them again.
    pub fn stop_taking(&mut self) {
        self.is_closed = true;
        self.waiting.clear();
    }

    /// [`Partition::stop_taking`], and forgets what is not under way. Dead letters that wait are kept: those before a block
    /// that is under way hold back its commit.
    pub fn close(&mut self) {
        self.stop_taking();
        self.open = None;
        self.pin.divided.clear();
    }
}

impl<B> Default for Assignment<B> {
    fn default() -> Self {
        Assignment { partitions: BTreeMap::new(), pass: None }
    }
}

impl<B> Assignment<B> {
    /// Starts to own a partition that is read from `committed`. State of an older generation, which was never given
    /// back, comes out.
    pub fn insert(
        &mut self,
        id: &PartitionId,
        committed: Option<CommittedOffset>,
        lease: Lease,
    ) -> Option<Partition<B>> {
        let point =
            committed.map(|position| CommitPoint { offset: position.offset, metadata: position.metadata });
        let state = Partition::new(id.generation, point, lease);
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

    /// Partitions whose open block gains nothing by waiting any longer.
    pub fn due(&self, max_age: Duration) -> Vec<PartitionId> {
        let is_idle = !self.partitions.values().any(|state| state.is_delivering);
        let is_due = |open: &OpenBlock<B>| open.is_due(max_age) || open.is_held_up(is_idle);
        let due = self
            .partitions
            .iter()
            .filter(|(_, state)| !state.is_forming_again() && state.open.as_ref().is_some_and(is_due));
        due.map(|((topic, partition), state)| id_of(topic, *partition, state)).collect()
    }

    /// Takes the commits that are due and marks them as under way, by generation: one commit request each. The end of a block
    /// goes with the announcement of the next, if that is being filled, or is begun within `patience`.
    pub fn start_commits(&mut self, patience: Duration) -> BTreeMap<u64, Vec<CommitOffset>> {
        let mut due: BTreeMap<u64, Vec<CommitOffset>> = BTreeMap::new();
        for (id, state) in self.iter_mut() {
            if state.is_next_announcement_near(patience) {
                continue;
            }
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
mod model;
#[cfg(test)]
mod tests;
