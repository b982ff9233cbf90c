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
//!
//! What bodies hold that have not come to their end is bounded besides for each connection and each peer, and the slowest of them
//! give way when it becomes scarce: see `bodies`.

mod bodies;

use std::{
    fmt,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use thiserror::Error;

use bodies::Bodies;
pub(crate) use bodies::{Body, Holder, Share};

/// A counted number of bytes shared by all requests. Cloning shares the count.
#[derive(Debug, Clone)]
pub struct MemoryBudget {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    limit: usize,
    used: AtomicUsize,
    bodies: Bodies,
}

/// The budget has no room for the bytes asked for; some will come back when other requests are answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the memory budget of {limit} bytes for {scope} is in use")]
pub struct BudgetExhausted {
    /// In bytes: `memory.max_bytes`, or the part of it that one connection or peer may hold.
    pub limit: usize,
    /// Whose requests hold it.
    pub scope: Scope,
}

/// Whose memory it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All requests of the process.
    Process,
    /// The bodies that come over one connection.
    Connection,
    /// The bodies that come from one address.
    Peer,
}

impl fmt::Display for Scope {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Scope::Process => "all requests",
            Scope::Connection => "the requests of one connection",
            Scope::Peer => "the requests of one peer",
        })
    }
}

/// Bytes taken from the budget; given back on drop.
#[derive(Debug)]
pub struct Reservation {
    budget: MemoryBudget,
    bytes: usize,
    /// The body that it is for, until that has come to its end.
    body: Option<Arc<Body>>,
}

impl MemoryBudget {
    /// A budget of `limit` bytes, all of them free.
    pub fn new(limit: usize) -> MemoryBudget {
        MemoryBudget {
            inner: Arc::new(Inner { limit, used: AtomicUsize::new(0), bodies: Bodies::default() }),
        }
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
        Reservation { budget: self.clone(), bytes: 0, body: None }
    }

    /// A body that begins to come. It counts for its connection and peer until [`Reservation::settle`].
    pub(crate) fn body(&self, holder: &Holder) -> Arc<Body> {
        self.inner.bodies.begin(holder)
    }

    /// A reservation of nothing, to grow with the body.
    pub(crate) fn reservation_for(&self, body: &Arc<Body>) -> Reservation {
        Reservation { budget: self.clone(), bytes: 0, body: Some(Arc::clone(body)) }
    }
}

impl Reservation {
    /// Takes `bytes` more, all or nothing.
    pub fn grow(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        let inner = &self.budget.inner;
        let grown = match &self.body {
            None => inner.grow(bytes),
            Some(body) => {
                body.grow(bytes).and_then(|()| inner.grow(bytes).inspect_err(|_| body.shrink(bytes)))
            }
        };
        if let Some(body) = &self.body {
            inner.bodies.make_room(body, inner.used.load(Ordering::Relaxed), inner.limit);
        }
        grown?;
        self.bytes += bytes;
        Ok(())
    }

    /// The body has come to its end: what is held is no longer its connection's.
    pub(crate) fn settle(&mut self) {
        if let Some(body) = self.body.take() {
            body.shrink(self.bytes);
        }
    }

    /// Gives `bytes` back, at most what is held.
    pub fn shrink(&mut self, bytes: usize) {
        let bytes = bytes.min(self.bytes);
        self.budget.inner.used.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(body) = &self.body {
            body.shrink(bytes);
        }
        self.bytes -= bytes;
    }

    /// Bytes held.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl Inner {
    fn grow(&self, bytes: usize) -> Result<(), BudgetExhausted> {
        take(&self.used, bytes, self.limit)
            .ok_or(BudgetExhausted { limit: self.limit, scope: Scope::Process })
    }
}

/// Adds to what is used, all or nothing.
fn take(used: &AtomicUsize, bytes: usize, limit: usize) -> Option<()> {
    let within = |used: usize| used.checked_add(bytes).filter(|sum| *sum <= limit);
    used.fetch_update(Ordering::Relaxed, Ordering::Relaxed, within).ok().map(drop)
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
        assert_eq!(second.grow(41), Err(BudgetExhausted { limit: 100, scope: Scope::Process }));
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
