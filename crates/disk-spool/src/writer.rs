//! The writer: one thread that owns everything which changes the directory.
//!
//! It collects appends into groups, stores a group, publishes it, answers its callers, in this order; writes checkpoints;
//! and looks after the directory with each tick. While it syncs one group the next one collects.

mod checkpoint;
mod group;
mod segments;
mod upkeep;

use std::{
    collections::VecDeque,
    sync::{Arc, PoisonError},
    time::{Duration, Instant},
};

use tokio::sync::oneshot;

pub(crate) use checkpoint::{CURSORS, RESERVE, RESERVE_BYTES};

use crate::{
    Refusal,
    filesystem::{File, Guard},
    format::Seal,
    shared::{Append, Queue, Shared},
};

/// A longer window is cut to this; it only keeps the clock from overflowing.
const LONGEST_WINDOW: Duration = Duration::from_secs(24 * 3600);

/// The state of the thread.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) shared: Arc<Shared>,
    /// The directory is ours while this lives.
    pub(crate) _guard: Box<dyn Guard>,
    /// What is appended to; the next append begins a segment when there is none.
    pub(crate) active: Option<Active>,
    /// The sequence of the next frame.
    pub(crate) next: u64,
    /// The sequence after the last durable frame. Those from here to `next` were given to frames that failed.
    pub(crate) durable_end: u64,
    /// Of the last checkpoint.
    pub(crate) generation: u64,
    /// Version of what was resolved at the last checkpoint.
    pub(crate) checkpointed: u64,
    /// A checkpoint is due with the next tick, if anything was resolved since the last.
    pub(crate) is_checkpoint_due: bool,
    /// The reserve file is there.
    pub(crate) has_reserve: bool,
    /// The reserve is not tried again before so many ticks.
    pub(crate) ticks_to_reserve: u32,
    pub(crate) next_tick: Instant,
    /// Bytes of the last group; when it failed, the probe tries as many.
    pub(crate) group_bytes: u64,
}

/// The segment that is appended to.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) first: u64,
    pub(crate) file: Box<dyn File>,
    /// Up to the end of the last durable frame.
    pub(crate) length: u64,
    /// What its seal would say.
    pub(crate) sum: Seal,
}

/// What there is to do.
#[derive(Debug, Default)]
struct Work {
    appends: VecDeque<Append>,
    checkpoints: Vec<oneshot::Sender<Result<(), Refusal>>>,
    is_tick: bool,
    is_closing: bool,
}

impl Writer {
    /// Works until the spool is closed.
    pub(crate) fn run(mut self) {
        loop {
            let work = self.wait();
            if !work.appends.is_empty() {
                self.store_group(work.appends);
            }
            if work.is_closing || !work.checkpoints.is_empty() {
                let outcome = self.checkpoint().map_err(|error| Refusal::Disk { reason: error.to_string() });
                for reply in work.checkpoints {
                    // Whoever asked may have stopped waiting.
                    let _ = reply.send(outcome.clone());
                }
            }
            if work.is_closing {
                return;
            }
            if work.is_tick {
                self.next_tick = Instant::now() + self.shared.files.tick();
                self.look_after();
            }
        }
    }

    /// Waits for a group to be complete, a checkpoint to be asked for, the tick, or the end.
    fn wait(&self) -> Work {
        let shared = &self.shared;
        let mut queue = shared.queue();
        loop {
            let now = Instant::now();
            let group_at = self.group_at(&queue);
            let mut work = Work {
                is_tick: now >= self.next_tick,
                is_closing: queue.is_closed,
                checkpoints: std::mem::take(&mut queue.checkpoints),
                ..Work::default()
            };
            if work.is_closing || group_at.is_some_and(|at| now >= at) {
                work.appends = std::mem::take(&mut queue.appends);
            }
            if work.is_closing || work.is_tick || !work.appends.is_empty() || !work.checkpoints.is_empty() {
                return work;
            }
            let until = group_at.map_or(self.next_tick, |at| at.min(self.next_tick));
            let waited = shared.writer_bell.wait_timeout(queue, until - now);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// When the group that is collecting is to be stored.
    fn group_at(&self, queue: &Queue) -> Option<Instant> {
        let first = queue.appends.front()?;
        let options = &self.shared.options;
        let is_complete = queue.bytes >= options.group_bytes;
        let window = if is_complete { Duration::ZERO } else { options.group_window.min(LONGEST_WINDOW) };
        Some(first.since + window)
    }
}

impl Drop for Writer {
    /// Also when the thread panics, nobody is left waiting for it.
    fn drop(&mut self) {
        let mut queue = self.shared.queue();
        queue.is_closed = true;
        queue.appends.clear();
        queue.checkpoints.clear();
    }
}
