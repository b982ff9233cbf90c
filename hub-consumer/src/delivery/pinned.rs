//! Takes an announced block to a settled end, by the steps of [`crate::intent`].
//!
//! ```text
//!   lease ──► insert ──► confirmed ────────────────────► settled
//!               ▲  └───► unknown ──► read back ──► whole ─┘
//!               └────────────────────────┴──► repair (only what is missing)
//! ```
//!
//! A block in which a value is refused is not divided here: its halves go back to the pipeline and are announced one by one,
//! so that every insert that was ever sent is one that was announced.

#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, time::Duration};

use service_runtime::backoff::Backoff;
use tracing::{debug, warn};

use super::{ALERT_INTERVAL, Delivered, Delivery, LONGEST_WISH, Settled, Task};
use crate::{
    derive::Tally,
    intent::{Insertion, Outcome, Step},
    lease::Lease,
    sink::{Fragment, Missing, Rebuilt, Sink, Verdict},
};

/// How often it is asked whether the server still works on an earlier insert.
const QUIET_LOOK: Duration = Duration::from_millis(500);

/// What is known of a block before it is sent.
#[derive(Debug)]
pub struct Claim {
    /// What may have become of it before.
    pub insertion: Insertion,
    /// How its rows compare with those of whoever announced it before.
    pub rebuilt: Rebuilt,
    /// When it was announced first, which names its tokens.
    pub announced_at: u64,
    /// How long the partition is ours.
    pub lease: Lease,
}

/// What of a block was brought by inserts of this delivery. A repair of what an insert of ours has brought adds nothing.
#[derive(Debug)]
enum Ours {
    /// Nothing: another owner had stored it.
    Nothing,
    /// All of it.
    Block,
    /// What was missing when it was first looked for, with what that adds to the derived metrics.
    Missing(Option<Box<Tally>>),
}

impl Ours {
    /// What is to be counted, where the whole block adds `whole`.
    fn tally(self, whole: Option<Box<Tally>>) -> Option<Box<Tally>> {
        match self {
            Ours::Nothing => None,
            Ours::Block => whole,
            Ours::Missing(tally) => tally,
        }
    }
}

impl<S: Sink> Delivery<S> {
    /// Delivers a block whose intent is committed. Returns when it is settled, or has to be divided.
    pub async fn deliver_pinned(
        &self,
        block: S::Block,
        fragments: Vec<Fragment>,
        mut claim: Claim,
    ) -> Delivered<S::Block> {
        let _slot = self.slots.acquire().await.expect("the semaphore is never closed");
        let mut task = Task { fragments, suspect_since: None };
        let mut dead_lettered = BTreeSet::new();
        let (mut block, mut sealed) = self.seal(block, &task.fragments, claim.announced_at).await;
        let mut backoff = Backoff::new(&self.backoff);
        let (mut tries, mut missing, mut is_counted) = (0, None, false);
        let mut ours = Ours::Nothing;
        while let Some(insert) = &sealed {
            debug!(step = ?claim.insertion.step(), "block");
            let verdict = match claim.insertion.step() {
                Step::Settled => break,
                Step::ReadBack => match self.look(&task.fragments, &insert.request, &claim).await {
                    Ok(Some(found)) => {
                        tries = 0;
                        self.metrics.read_back(found.stored());
                        claim.insertion.read_back(found.stored());
                        missing = Some(found);
                        continue;
                    }
                    Ok(None) => {
                        tokio::time::sleep(QUIET_LOOK).await;
                        continue;
                    }
                    Err(verdict) => verdict,
                },
                Step::Insert => {
                    claim.lease.hold().await;
                    ours = Ours::Block;
                    let verdict = self.send(insert, tries + 1).await;
                    is_counted |= matches!(verdict, Verdict::Stored { .. });
                    claim.insertion.inserted(outcome_of(&verdict));
                    verdict
                }
                Step::Repair => match self.repair(&task.fragments, missing.as_ref(), &claim, &mut ours).await
                {
                    Some(verdict) => {
                        claim.insertion.repaired(outcome_of(&verdict));
                        verdict
                    }
                    None => {
                        tokio::time::sleep(QUIET_LOOK).await;
                        continue;
                    }
                },
            };
            tries += 1;
            let is_repaired = claim.insertion.step() == Step::ReadBack && missing.is_some();
            let pause = match &verdict {
                Verdict::Stored { .. } if is_repaired => backoff.next_delay(),
                Verdict::Alert { .. } => ALERT_INTERVAL,
                Verdict::Wait { at_least: Some(wish), .. } => {
                    (*wish).min(LONGEST_WISH).max(backoff.next_delay())
                }
                Verdict::Wait { .. } | Verdict::Unknown { .. } | Verdict::Divide { .. } => {
                    backoff.next_delay()
                }
                Verdict::Stored { .. } | Verdict::Stale => Duration::ZERO,
            };
            match self.judge(&verdict, &task, tries) {
                Some(Settled::Divided) => {
                    let divided = Some(self.divide(task.fragments).map(|half| half.fragments));
                    return Delivered { block, dead_lettered, divided };
                }
                Some(Settled::Refused { reason, detail }) => {
                    for fragment in &task.fragments {
                        self.dead_letter.write(fragment, reason, &detail).await;
                        dead_lettered.insert(fragment.origin.offset);
                    }
                    break;
                }
                Some(Settled::Stale) => {
                    self.decode(&mut block, &mut task, &mut dead_lettered).await;
                    (block, sealed) = self.seal(block, &task.fragments, claim.announced_at).await;
                }
                Some(Settled::Stored | Settled::Suspect) | None => tokio::time::sleep(pause).await,
            }
        }
        if let Some(insert) = sealed
            && claim.insertion.step() == Step::Settled
        {
            // The table has it, even if no answer ever said so.
            self.health.ready();
            if !is_counted {
                self.metrics.items_stored(insert.items);
            }
            if let Some(tally) = ours.tally(insert.tally) {
                // Whoever owned the partition after us found the rows, and does not count them; who did before us had not stored
                // them. So it has to be ours now, with the rows in the table.
                claim.lease.hold().await;
                tally.count();
            }
        }
        Delivered { block, dead_lettered, divided: None }
    }

    /// What the table lacks. `None` while something that is not known here may still come to it.
    async fn look(
        &self,
        fragments: &[Fragment],
        insert: &S::Request,
        claim: &Claim,
    ) -> Result<Option<Missing>, Verdict> {
        if claim.insertion.needs_quiet() && !self.sink.is_quiet(fragments).await? {
            return Ok(None);
        }
        self.sink.read_back(fragments, insert, claim.rebuilt).await.map(Some)
    }

    /// Inserts what is missing. `None` while the server works on an earlier insert for the partition, which may yet bring it.
    async fn repair(
        &self,
        fragments: &[Fragment],
        missing: Option<&Missing>,
        claim: &Claim,
        ours: &mut Ours,
    ) -> Option<Verdict> {
        match self.sink.is_quiet(fragments).await {
            Ok(true) => {}
            Ok(false) => return None,
            Err(verdict) => return Some(verdict),
        }
        let repairs = claim.insertion.repairs();
        let seal =
            |missing: &Missing| self.sink.seal_missing(fragments, missing, claim.announced_at, repairs);
        let Some(mut repair) = missing.and_then(seal) else { return Some(Verdict::Stored { refused: None }) };
        warn!(rows = repair.items, "rows that may have been stored before are missing; they are inserted");
        claim.lease.hold().await;
        if let Ours::Nothing = ours {
            *ours = Ours::Missing(repair.tally.take());
        }
        Some(self.send(&repair, 1).await)
    }
}

fn outcome_of(verdict: &Verdict) -> Outcome {
    match verdict {
        Verdict::Stored { .. } => Outcome::Confirmed,
        Verdict::Unknown { .. } => Outcome::Unknown,
        // The sink says so only when nothing is stored.
        Verdict::Wait { .. } | Verdict::Alert { .. } | Verdict::Stale | Verdict::Divide { .. } => {
            Outcome::NotStored
        }
    }
}
