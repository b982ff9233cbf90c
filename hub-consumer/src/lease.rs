//! For how long a member may believe that a partition is its own.
//!
//! A commit that the broker acknowledges proves that the member owned the partition when the commit was issued. A member that
//! was stopped, or cut off, may have lost it since without knowing; so whoever is about to insert looks at the age of the last
//! proof, on a clock that counts suspended time, and asks for a new one when it is too old. The pipeline answers by
//! committing the same point again.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::Duration,
};

use rustix::time::{ClockId, clock_gettime};

/// How often somebody who waits for a new proof looks for it.
const LOOK: Duration = Duration::from_millis(20);

/// A moment on the clock that goes on while the machine is suspended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(u64);

impl BootTime {
    /// Now.
    pub fn now() -> BootTime {
        let now = clock_gettime(ClockId::Boottime);
        BootTime(now.tv_sec as u64 * 1000 + now.tv_nsec as u64 / 1_000_000)
    }
}

/// The lease on one partition in one assignment; clones are the same one.
#[derive(Debug, Clone)]
pub struct Lease {
    shared: Arc<Shared>,
    lasts: Duration,
}

#[derive(Debug, Default)]
struct Shared {
    /// Milliseconds of [`BootTime`]; 0 before the first proof.
    proven_at: AtomicU64,
    is_wanted: AtomicBool,
}

impl Lease {
    /// One that nothing has proven yet. `lasts` has to be well below the session timeout of the group.
    pub fn new(lasts: Duration) -> Lease {
        Lease { shared: Arc::default(), lasts }
    }

    /// A commit that was issued at `since` was acknowledged.
    pub fn prove(&self, since: BootTime) {
        self.shared.proven_at.fetch_max(since.0, Ordering::AcqRel);
    }

    /// Whether somebody waits for a proof; asked once for each wish.
    pub fn take_wish(&self) -> bool {
        self.shared.is_wanted.swap(false, Ordering::AcqRel)
    }

    /// Whether an insert may be sent at `now`.
    pub fn holds(&self, now: BootTime) -> bool {
        let proven_at = self.shared.proven_at.load(Ordering::Acquire);
        proven_at > 0 && now.0.saturating_sub(proven_at) < self.lasts.as_millis() as u64
    }

    /// Returns once an insert may be sent. The last thing before it is sent, since only then it says something.
    pub async fn hold(&self) {
        while !self.holds(BootTime::now()) {
            self.shared.is_wanted.store(true, Ordering::Release);
            tokio::time::sleep(LOOK).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_holds_from_the_issue_of_a_commit_that_was_acknowledged() {
        let lease = Lease::new(Duration::from_secs(10));
        assert!(!lease.holds(BootTime(5)), "nothing is proven");
        lease.prove(BootTime(1000));
        assert!(lease.holds(BootTime(10_999)) && !lease.holds(BootTime(11_000)));
        lease.prove(BootTime(500));
        assert!(lease.holds(BootTime(10_999)), "an older proof takes nothing away");
    }

    #[tokio::test]
    async fn who_holds_it_waits_for_a_proof_and_says_so() {
        let lease = Lease::new(Duration::from_secs(3600));
        let holding = tokio::spawn({
            let lease = lease.clone();
            async move { lease.hold().await }
        });
        while !lease.take_wish() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert!(!holding.is_finished());
        lease.prove(BootTime::now());
        holding.await.unwrap();
    }
}
