//! Takes the records of one block to a settled end: every one stored, or dead-lettered. It does not give up.
//!
//! ```text
//!   seal ──► send ──► Stored ─────────────────────────────► settled
//!             ▲  ├──► Wait, Alert: the same bytes later ──┐
//!             └──┼────────────────────────────────────────┘
//!                └──► Divide: each half on its own ... until one fragment is left alone ──► dead letter ──► settled
//! ```
//!
//! Dividing costs at most 2·log2(n) requests more than the one that failed, for one bad record among n. Halves are
//! sent in order, one at a time, so a partition never has two requests in flight.
//!
//! A delivery can be dropped at any await: what it had not settled is then *abandoned*, its offsets stay uncommitted,
//! and the next owner of the partition reads the records again. A request that was under way at that moment is
//! ambiguous, which the sink's own rule for repeated data must make harmless.

pub mod pinned;
#[cfg(test)]
mod tests;

use std::{
    collections::BTreeSet,
    panic::resume_unwind,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use service_runtime::{
    Condition,
    backoff::{Backoff, BackoffConfig},
};
use tokio::sync::Semaphore;
use tracing::{error, info, warn};

use crate::{
    dead_letter::DeadLetter,
    metrics::SignalMetrics,
    sink::{Alone, Fragment, Sealed, Sink, Verdict},
};

/// Between two attempts while an operator's help is needed: often enough that the help shows at once, rare enough not
/// to bury the log of the sink.
const ALERT_INTERVAL: Duration = Duration::from_secs(15);
/// A sink's own wish for a delay is honoured up to this; a longer one would outlive most outages.
const LONGEST_WISH: Duration = Duration::from_secs(300);

/// Delivers blocks to one sink; shared by all partitions of a pipeline.
#[derive(Debug)]
pub struct Delivery<S> {
    /// Where to.
    pub sink: Arc<S>,
    /// Takes what the sink can never store.
    pub dead_letter: DeadLetter,
    /// One permit per request that is being encoded or under way: bounds memory and the load on the sink.
    pub slots: Arc<Semaphore>,
    /// Delays between attempts.
    pub backoff: BackoffConfig,
    /// Holds while the sink stores what it is sent.
    pub health: Condition,
    /// Counters of the signal.
    pub metrics: SignalMetrics,
    /// Requests the sink has stored since the start.
    pub stored: AtomicU64,
}

/// The end of a delivery.
#[derive(Debug)]
pub struct Delivered<B> {
    /// The emptied block.
    pub block: B,
    /// Offsets of records that are in the dead-letter topic, wholly or in part; all others are stored.
    pub dead_lettered: BTreeSet<i64>,
    /// Nothing is settled: the block has to be delivered as these two, one after the other.
    pub divided: Option<[Vec<Fragment>; 2]>,
}

/// Fragments that become one request.
struct Task {
    fragments: Vec<Fragment>,
    /// Set for a lone fragment at which the sink failed without blaming it: the count of stored requests at that
    /// moment. Once the sink has stored more, the fragment is to blame.
    suspect_since: Option<u64>,
}

enum Settled {
    Stored,
    Stale,
    Divided,
    Suspect,
    Refused { reason: &'static str, detail: String },
}

impl<S: Sink> Delivery<S> {
    /// Delivers the fragments, which `block` already holds decoded. Returns when all of them are settled.
    pub async fn deliver(&self, mut block: S::Block, fragments: Vec<Fragment>) -> Delivered<S::Block> {
        let mut dead_lettered = BTreeSet::new();
        let mut is_decoded = true;
        // The last task is the next one: the first half of a divided task stays ahead of the second.
        let mut tasks = vec![Task { fragments, suspect_since: None }];
        while let Some(mut task) = tasks.pop() {
            if !is_decoded {
                self.decode(&mut block, &mut task, &mut dead_lettered).await;
            }
            is_decoded = false;
            let (emptied, settled) = self.settle(block, &task).await;
            block = emptied;
            match settled {
                Settled::Stored => {}
                Settled::Stale => tasks.push(task),
                Settled::Divided => {
                    let [first, second] = self.divide(task.fragments);
                    tasks.extend([second, first]);
                }
                Settled::Suspect => {
                    // Waits without a slot: only when others get one can they show that the sink works.
                    if task.suspect_since.is_some() {
                        tokio::time::sleep(ALERT_INTERVAL).await;
                    }
                    task.suspect_since.get_or_insert_with(|| self.stored.load(Ordering::Relaxed));
                    tasks.insert(0, task);
                }
                Settled::Refused { reason, detail } => {
                    for fragment in &task.fragments {
                        self.dead_letter.write(fragment, reason, &detail).await;
                        dead_lettered.insert(fragment.origin.offset);
                    }
                }
            }
        }
        Delivered { block, dead_lettered, divided: None }
    }

    /// Fills the emptied block with the fragments of a divided task.
    async fn decode(&self, block: &mut S::Block, task: &mut Task, dead_lettered: &mut BTreeSet<i64>) {
        let mut unreadable = Vec::new();
        task.fragments.retain(|fragment| match self.sink.add(block, fragment) {
            Ok(()) => true,
            Err(error) => {
                unreadable.push((fragment.clone(), error));
                false
            }
        });
        for (fragment, error) in unreadable {
            self.dead_letter.write_unreadable(&fragment, &error).await;
            dead_lettered.insert(fragment.origin.offset);
        }
    }

    /// Encodes the block and sends it until the answer settles it.
    async fn settle(&self, block: S::Block, task: &Task) -> (S::Block, Settled) {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let (block, sealed) = self.seal(block, &task.fragments, 0).await;
        let Some(sealed) = sealed else { return (block, Settled::Stored) };
        let mut backoff = Backoff::new(&self.backoff);
        let mut attempt = 0;
        loop {
            attempt += 1;
            let verdict = self.send(&sealed, attempt).await;
            if let Some(settled) = self.judge(&verdict, task, attempt) {
                return (block, settled);
            }
            let pause = match verdict {
                Verdict::Alert { .. } => ALERT_INTERVAL,
                Verdict::Wait { at_least: Some(wish), .. } => {
                    backoff.next_delay().max(wish.min(LONGEST_WISH))
                }
                _ => backoff.next_delay(),
            };
            tokio::time::sleep(pause).await;
        }
    }

    async fn seal(
        &self,
        mut block: S::Block,
        fragments: &[Fragment],
        announced_at: u64,
    ) -> (S::Block, Option<Sealed<S::Request>>) {
        let sink = Arc::clone(&self.sink);
        let fragments = fragments.to_vec();
        let sealing = tokio::task::spawn_blocking(move || {
            let sealed = sink.seal(&mut block, &fragments, announced_at);
            (block, sealed)
        });
        match sealing.await {
            Ok(done) => done,
            // A blocking task is never cancelled once it runs; a panic in it is a bug and must end this task too.
            Err(failure) => resume_unwind(failure.into_panic()),
        }
    }

    async fn send(&self, sealed: &Sealed<S::Request>, attempt: u32) -> Verdict {
        let started = Instant::now();
        let verdict = self.sink.send(&sealed.request, attempt).await;
        self.metrics.request_sent(sealed.items, started.elapsed().as_secs_f64());
        if let Verdict::Stored { refused } = &verdict {
            self.stored.fetch_add(1, Ordering::Relaxed);
            let refused_items = refused.as_ref().map_or(0, |refused| refused.items);
            self.metrics.items_stored(sealed.items.saturating_sub(refused_items));
        }
        verdict
    }

    /// What the verdict means for the task: `None` to try again.
    fn judge(&self, verdict: &Verdict, task: &Task, attempt: u32) -> Option<Settled> {
        match verdict {
            Verdict::Stored { refused } => {
                self.health.ready();
                if attempt > 1 {
                    info!(attempt, "sink stores again");
                }
                if let Some(refused) = refused {
                    self.metrics.items_rejected(refused.reason, refused.items);
                    let (reason, detail) = (refused.reason, refused.detail.as_str());
                    warn!(reason, items = refused.items, detail, "sink refused items for good");
                }
                Some(Settled::Stored)
            }
            Verdict::Wait { reason, detail, .. } | Verdict::Unknown { reason, detail } => {
                self.report_wait(reason, detail, attempt);
                None
            }
            Verdict::Alert { reason, detail } => {
                self.metrics.request_failed(reason);
                self.health.not_ready(*reason);
                if attempt.is_power_of_two() {
                    error!(reason, detail, attempt, "sink needs an operator; records wait");
                }
                None
            }
            Verdict::Stale => {
                info!("sink has changed; records are encoded anew");
                Some(Settled::Stale)
            }
            Verdict::Divide { reason, detail, alone } => {
                if self.can_divide(&task.fragments) {
                    warn!(reason, detail, fragments = task.fragments.len(), "request is divided");
                    return Some(Settled::Divided);
                }
                self.judge_alone(*alone, task, reason, detail, attempt)
            }
        }
    }

    fn judge_alone(
        &self,
        alone: Alone,
        task: &Task,
        reason: &'static str,
        detail: &str,
        attempt: u32,
    ) -> Option<Settled> {
        let others_passed =
            || task.suspect_since.is_some_and(|stored| self.stored.load(Ordering::Relaxed) > stored);
        let is_to_blame = match alone {
            Alone::DeadLetter => true,
            Alone::DeadLetterOnceOthersPass => others_passed(),
            Alone::Wait => false,
        };
        if is_to_blame {
            return Some(Settled::Refused { reason, detail: detail.to_owned() });
        }
        self.report_wait(reason, detail, attempt);
        (alone == Alone::DeadLetterOnceOthersPass).then_some(Settled::Suspect)
    }

    /// One line for the first failure and then ever fewer, so that a long outage does not bury the log.
    fn report_wait(&self, reason: &'static str, detail: &str, attempt: u32) {
        self.metrics.request_failed(reason);
        self.health.not_ready(reason);
        if attempt.is_power_of_two() {
            warn!(reason, detail, attempt, "sink did not store the request; the same bytes are sent again");
        }
    }

    fn can_divide(&self, fragments: &[Fragment]) -> bool {
        match fragments {
            [] => false,
            [alone] => self.sink.halve(alone).is_some(),
            _ => true,
        }
    }

    fn divide(&self, mut fragments: Vec<Fragment>) -> [Task; 2] {
        let halves = if fragments.len() > 1 {
            let second = fragments.split_off(fragments.len() / 2);
            [fragments, second]
        } else {
            let alone = fragments.pop().expect("a divided task has fragments");
            let halves = self.sink.halve(&alone).expect("only a fragment that can be halved is divided");
            halves.map(|value| vec![alone.part(value)])
        };
        halves.map(|fragments| Task { fragments, suspect_since: None })
    }
}
