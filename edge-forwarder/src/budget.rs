//! The process-wide bound on request bytes held in memory.
//!
//! Every buffer that grows with what a sender sends takes its capacity from one [`MemoryBudget`] *before* it allocates,
//! and gives it back when it is dropped; a request that finds the budget empty is refused as retryable.
//! What a request holds stays reserved from its first byte until its answer, so that
//!
//! ```text
//! resident memory ≤ base                              ≈ 15 MiB: code, runtime, librdkafka
//!                 + memory.max_bytes                  request bodies, decompressed and encoded, and what decodes them; cut copies
//!                 + kafka.producer.queue_bytes        librdkafka's own copy of the records in flight; once a broker refused a
//!                                                     batch, a few records more, which have producers of their own
//!                 + 2 × max_connections × 1 MiB       HTTP/2 flow-control windows that nobody reads; usually nothing
//!                 + concurrent zstd requests × 8 MiB  the window step zstd takes before it can be counted
//!                 + worker_threads × 192 KiB          the step a gzip header takes before it can be counted
//!                 + worker_threads × 7 × receivers.max_request_bytes
//!                                                     resources and scopes repeated in the records of a request while it
//!                                                     is cut; counted with the cut, usually nothing. × 27 for a hostile
//!                                                     request where the key is the trace id
//! ```
//!
//! The 7 is an upper bound of what `telemetry_wire::split` can repeat: a header takes at most half of a record, and a record is
//! only ended early by a field that does not fit, at each of three levels. Cutting by trace id first multiplies by up to 4.
//!
//! `edge_memory_budget_bytes` and `edge_memory_budget_used_bytes` show the second line.

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use thiserror::Error;

/// A counted number of bytes shared by all requests. Cloning shares the count.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
}

/// The budget has no room for the bytes asked for; some will come back when other requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the memory budget of {limit} bytes is in use")]
pub struct BudgetExhausted {
    /// `memory.max_bytes`.
    pub limit: usize,
}

/// Bytes taken from the budget; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    bytes: usize,
}

impl MemoryBudget {
    /// A budget of `limit` bytes, all of them free.
    pub fn new(limit: usize) -> MemoryBudget {
        MemoryBudget { inner: Arc::new(Inner { limit, used: AtomicUsize::new(0) }) }
    }

    /// The bound in bytes.
    pub fn limit(&self) -> usize {
        self.inner.limit
    }

    /// Bytes reserved now.
    pub fn used(&self) -> usize {
        self.inner.used.load(Ordering::Relaxed)
    }

    /// A reservation of nothing, to grow.
    pub fn reservation(&self) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0 }
    }
}

impl Reservation {
    /// Takes `bytes` more, all or nothing.
    pub fn grow(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        let inner = &self.budget.inner;
        let within = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= inner.limit);
        match inner.used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within) {
            Ok(_) => {
                self.bytes += bytes;
                Ok(())
            }
            Err(_) => Err(BudgetExhausted { limit: inner.limit }),
        }
    }

    /// Gives `bytes` back, at most what is held.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.budget.inner.used.fetch_sub(bytes, Ordering::Relaxed);
        self.bytes -= bytes;
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.shrink(self.bytes);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn growth_beyond_the_limit_takes_nothing_and_drop_gives_all_back() {
        let budget = MemoryBudget::new(100);
        let mut first = budget.reservation();
        first.grow(60).unwrap();
        let mut second = budget.reservation();
        assert_eq!(second.grow(41), Err(BudgetExhausted { limit: 100 }));
        assert_eq!((budget.used(), second.bytes()), (60, 0));
        second.grow(40).unwrap();
        first.shrink(10);
        assert_eq!((budget.used(), first.bytes()), (90, 50));
        drop((first, second));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_size_that_overflows_is_refused() {
        let budget = MemoryBudget::new(usize::MAX);
        let mut reservation = budget.reservation();
        reservation.grow(10).unwrap();
        assert!(reservation.grow(usize::MAX).is_err());
    }
}
