//! The bound in bytes that several spools share.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A bound in bytes that several spools share, each with a part that the others cannot take.
///
/// A lane may grow by n bytes while it stays within its reserve, or while the sum of max(used, reserve) over all lanes,
/// plus what it takes beyond its own reserve, stays within the bound.
#[derive(Debug, Clone)]
pub struct Quota {
    shared: Arc<Mutex<Account>>,
}

#[derive(Debug)]
struct Account {
    max: u64,
    /// By the number of the lane; `None` where a lane is gone.
    lanes: Vec<Option<Share>>,
}

#[derive(Debug, Clone, Copy)]
struct Share {
    used: u64,
    reserve: u64,
}

impl Share {
    fn claim(self) -> u64 {
        self.used.max(self.reserve)
    }
}

/// One spool's share of a [`Quota`]; given back when dropped.
#[derive(Debug)]
pub struct Lane {
    quota: Quota,
    number: usize,
}

impl Quota {
    /// A bound of `max_bytes`, counted in bytes of files.
    pub fn new(max_bytes: u64) -> Quota {
        Quota { shared: Arc::new(Mutex::new(Account { max: max_bytes, lanes: Vec::new() })) }
    }

    /// A share with `reserved_bytes` of its own. The reserves together must not exceed the bound: a reserve is cut to
    /// what the others have left.
    pub fn lane(&self, reserved_bytes: u64) -> Lane {
        let mut account = self.lock();
        let reserved: u64 = account.lanes.iter().flatten().map(|share| share.reserve).sum();
        let reserve = reserved_bytes.min(account.max.saturating_sub(reserved));
        account.lanes.push(Some(Share { used: 0, reserve }));
        Lane { quota: self.clone(), number: account.lanes.len() - 1 }
    }

    fn lock(&self) -> MutexGuard<'_, Account> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Account {
    fn claimed_by_others(&self, number: usize) -> u64 {
        let others = self.lanes.iter().enumerate().filter(|(other, _)| *other != number);
        others.filter_map(|(_, share)| *share).map(Share::claim).fold(0, u64::saturating_add)
    }
}

impl Lane {
    /// Takes `bytes` more if they are there.
    pub(crate) fn try_grow(&self, bytes: u64) -> bool {
        let mut account = self.quota.lock();
        let others = account.claimed_by_others(self.number);
        let max = account.max;
        let Some(share) = account.lanes[self.number].as_mut() else { return false };
        let grown = Share { used: share.used.saturating_add(bytes), reserve: share.reserve };
        let is_allowed = grown.used <= share.reserve || others.saturating_add(grown.claim()) <= max;
        if is_allowed {
            *share = grown;
        }
        is_allowed
    }

    /// Counts `bytes` that are on the disk already, allowed or not.
    pub(crate) fn grow(&self, bytes: u64) {
        if let Some(share) = self.quota.lock().lanes[self.number].as_mut() {
            share.used = share.used.saturating_add(bytes);
        }
    }

    /// Gives `bytes` back.
    pub(crate) fn shrink(&self, bytes: u64) {
        if let Some(share) = self.quota.lock().lanes[self.number].as_mut() {
            debug_assert!(share.used >= bytes, "{bytes} bytes of {} are given back", share.used);
            share.used = share.used.saturating_sub(bytes);
        }
    }

    /// Bytes that it has.
    #[cfg(test)]
    pub(crate) fn used(&self) -> u64 {
        self.quota.lock().lanes[self.number].map_or(0, |share| share.used)
    }

    /// Bytes that it could have now.
    pub(crate) fn ceiling(&self) -> u64 {
        let account = self.quota.lock();
        let reserve = account.lanes[self.number].map_or(0, |share| share.reserve);
        account.max.saturating_sub(account.claimed_by_others(self.number)).max(reserve)
    }
}

impl Drop for Lane {
    fn drop(&mut self) {
        self.quota.lock().lanes[self.number] = None;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_flood_in_one_lane_leaves_the_others_their_reserves() {
        let quota = Quota::new(100);
        let (flood, small) = (quota.lane(20), quota.lane(30));
        assert!(flood.try_grow(70), "all but the other's reserve");
        assert!(!flood.try_grow(1));
        assert!(small.try_grow(30));
        assert!(!small.try_grow(1), "beyond its reserve there is nothing left");
        flood.shrink(10);
        assert!(small.try_grow(10));
        assert_eq!((flood.used(), flood.ceiling()), (60, 60));
    }

    #[test]
    fn bytes_that_are_there_already_count_and_a_dropped_lane_frees_its_share() {
        let quota = Quota::new(100);
        let (one, other) = (quota.lane(0), quota.lane(10));
        one.grow(150);
        assert!(!one.try_grow(1));
        assert!(other.try_grow(10), "a reserve holds even where another lane is above the bound");
        drop(one);
        assert!(other.try_grow(90));
        let greedy = quota.lane(1000);
        assert!(!greedy.try_grow(95), "its reserve was cut to what was left");
    }

    proptest! {
        #[test]
        fn lanes_that_only_ask_never_exceed_the_bound(
            reserves in proptest::collection::vec(0u64..60, 1..5),
            steps in proptest::collection::vec((0usize..5, 0u64..50, any::<bool>()), 0..60),
        ) {
            let quota = Quota::new(100);
            let lanes: Vec<_> = reserves.iter().map(|reserve| quota.lane(*reserve)).collect();
            for (lane, bytes, grow) in steps {
                let lane = &lanes[lane % lanes.len()];
                if grow {
                    lane.try_grow(bytes);
                } else {
                    lane.shrink(bytes.min(lane.used()));
                }
                let used: u64 = lanes.iter().map(Lane::used).sum();
                prop_assert!(used <= 100);
            }
        }
    }
}
