//! A byte buffer with two bounds: the limit of one request, and the budget of the process.
//!
//! Capacity doubles from [`FIRST_STEP`] and is reserved before it is allocated. While a buffer moves to a larger
//! allocation both are reserved, since both exist.
//!
//! From [`MAPPED_FROM`] bytes on the memory is mapped for the buffer alone and goes back to the system with it. From the heap
//! it would stay with the thread's arena: measured, a flood of 16 MiB requests left resident half as much again as the budget allows.

use std::{io, sync::Arc};

use bytes::Bytes;
use memmap2::MmapMut;
use telemetry_wire::json::{Full, Output};
use thiserror::Error;

use crate::budget::{Body, BudgetExhausted, MemoryBudget, Reservation};

/// The first allocation, in bytes: most requests of an SDK's batch processor fit in two steps.
const FIRST_STEP: usize = 16 * 1024;

/// Where the cost of mapping, a page fault each 4 KiB, is small beside a request that size, and usual requests are below it.
const MAPPED_FROM: usize = 1024 * 1024;

/// Why a buffer refused to grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum Overflow {
    /// The request itself is too large; sending it again cannot help.
    #[error("the request is larger than {limit} bytes after decompression")]
    Limit { limit: usize },
    /// Other requests hold the memory; sending it again later can help.
    #[error(transparent)]
    Budget(#[from] BudgetExhausted),
}

/// A growing buffer; see the module.
#[derive(Debug)]
pub(crate) struct BudgetBuffer {
    storage: Storage,
    len: usize,
    limit: usize,
    reservation: Reservation,
    overflow: Option<Overflow>,
}

/// Zeroed memory of a fixed size.
#[derive(Debug)]
enum Storage {
    Heap(Vec<u8>),
    Mapped(MmapMut),
}

/// The finished bytes of one request with the budget they hold.
#[derive(Debug)]
pub(crate) struct RequestBytes {
    pub(crate) bytes: Bytes,
    pub(crate) reservation: Reservation,
}

impl BudgetBuffer {
    pub(crate) fn new(limit: usize, budget: &MemoryBudget) -> BudgetBuffer {
        BudgetBuffer::with(limit, budget.reservation())
    }

    /// One that a body fills; until [`BudgetBuffer::into_request`] it counts for the body's connection and peer too.
    pub(crate) fn of_body(limit: usize, budget: &MemoryBudget, body: &Arc<Body>) -> BudgetBuffer {
        BudgetBuffer::with(limit, budget.reservation_for(body))
    }

    fn with(limit: usize, reservation: Reservation) -> BudgetBuffer {
        BudgetBuffer { storage: Storage::Heap(Vec::new()), len: 0, limit, reservation, overflow: None }
    }

    /// Makes room for `additional` bytes. A failure is remembered: see [`BudgetBuffer::overflow`].
    pub(crate) fn reserve(&mut self, additional: usize) -> Result<(), Overflow> {
        let Some(needed) = self.len.checked_add(additional).filter(|needed| *needed <= self.limit) else {
            return Err(*self.overflow.insert(Overflow::Limit { limit: self.limit }));
        };
        let held = self.capacity();
        if needed <= held {
            return Ok(());
        }
        let wanted = needed.max(held * 2).max(FIRST_STEP).min(self.limit);
        self.reservation
            .grow(wanted)
            .map_err(|exhausted| *self.overflow.insert(Overflow::Budget(exhausted)))?;
        let mut larger = Storage::zeroed(wanted);
        larger.as_mut()[..self.len].copy_from_slice(&self.storage.as_ref()[..self.len]);
        self.storage = larger;
        self.reservation.shrink(held);
        Ok(())
    }

    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result<(), Overflow> {
        self.reserve(bytes.len())?;
        self.spare()[..bytes.len()].copy_from_slice(bytes);
        self.advance(bytes.len());
        Ok(())
    }

    /// The room made by [`reserve`](BudgetBuffer::reserve), for decoders that write by themselves; then [`advance`](BudgetBuffer::advance).
    pub(crate) fn spare(&mut self) -> &mut [u8] {
        &mut self.storage.as_mut()[self.len..]
    }

    /// The first `count` bytes of the spare room are written.
    pub(crate) fn advance(&mut self, count: usize) {
        debug_assert!(
            count <= self.capacity() - self.len,
            "only what there was room for can have been written"
        );
        self.len += count;
    }

    fn capacity(&self) -> usize {
        self.storage.as_ref().len()
    }

    /// Whether the buffer holds as much as one request may.
    pub(crate) fn is_at_limit(&self) -> bool {
        self.len >= self.limit
    }

    /// Counts memory that belongs to this request but lies outside this buffer, such as a decoder's window.
    pub(crate) fn account(&mut self, bytes: usize) -> Result<(), Overflow> {
        self.reservation.grow(bytes).map_err(|exhausted| *self.overflow.insert(Overflow::Budget(exhausted)))
    }

    /// Takes back what [`account`](BudgetBuffer::account) counted.
    pub(crate) fn unaccount(&mut self, bytes: usize) {
        self.reservation.shrink(bytes);
    }

    /// Why the last growth failed, for callers that reach the buffer through a foreign error type.
    pub(crate) fn overflow(&self) -> Option<Overflow> {
        self.overflow
    }

    pub(crate) fn into_request(self) -> RequestBytes {
        let BudgetBuffer { storage, len, mut reservation, .. } = self;
        reservation.settle();
        RequestBytes { bytes: Bytes::from_owner(storage).slice(..len), reservation }
    }
}

impl Storage {
    fn zeroed(size: usize) -> Storage {
        if size < MAPPED_FROM {
            return Storage::Heap(vec![0; size]);
        }
        // The kernel may have no mapping left to give; the heap can still have room.
        MmapMut::map_anon(size).map_or_else(|_| Storage::Heap(vec![0; size]), Storage::Mapped)
    }
}

impl AsRef<[u8]> for Storage {
    fn as_ref(&self) -> &[u8] {
        match self {
            Storage::Heap(bytes) => bytes,
            Storage::Mapped(bytes) => bytes,
        }
    }
}

impl AsMut<[u8]> for Storage {
    fn as_mut(&mut self) -> &mut [u8] {
        match self {
            Storage::Heap(bytes) => bytes,
            Storage::Mapped(bytes) => bytes,
        }
    }
}

/// For the JSON reader; the cause of a growth that failed is in [`BudgetBuffer::overflow`].
impl Output for BudgetBuffer {
    fn grow(&mut self, count: usize) -> Result<&mut [u8], Full> {
        self.reserve(count).map_err(|_| Full)?;
        let start = self.len;
        self.advance(count);
        Ok(&mut self.storage.as_mut()[start..start + count])
    }

    fn written(&mut self) -> &mut [u8] {
        &mut self.storage.as_mut()[..self.len]
    }
}

/// For push decoders; the cause of a failed write is in [`BudgetBuffer::overflow`].
impl io::Write for BudgetBuffer {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes).map_err(io::Error::other)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::Scope;

    #[test]
    fn capacity_is_reserved_and_given_back() {
        let budget = MemoryBudget::new(1 << 20);
        let mut buffer = BudgetBuffer::new(100_000, &budget);
        for _ in 0..100 {
            buffer.put(&[7; 1000]).unwrap();
            assert_eq!(budget.used(), buffer.capacity());
        }
        assert_eq!(buffer.put(&[7]), Err(Overflow::Limit { limit: 100_000 }));
        let request = buffer.into_request();
        assert_eq!(request.bytes.len(), 100_000);
        assert_eq!(budget.used(), request.reservation.bytes());
        drop(request);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn bytes_stay_the_same_as_the_buffer_moves_from_the_heap_to_a_mapping() {
        let budget = MemoryBudget::new(16 << 20);
        let mut buffer = BudgetBuffer::new(3 * MAPPED_FROM, &budget);
        let written: Vec<u8> = (0..2 * MAPPED_FROM + 1).map(|index| (index % 251) as u8).collect();
        for chunk in written.chunks(100_000) {
            buffer.put(chunk).unwrap();
        }
        assert!(matches!(buffer.storage, Storage::Mapped(_)));
        let request = buffer.into_request();
        assert!(request.bytes == written);
        drop(request);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn an_empty_budget_is_told_apart_from_a_large_request() {
        let budget = MemoryBudget::new(FIRST_STEP);
        let mut buffer = BudgetBuffer::new(1 << 20, &budget);
        buffer.put(&[1; FIRST_STEP]).unwrap();
        let exhausted = Overflow::Budget(BudgetExhausted { limit: FIRST_STEP, scope: Scope::Process });
        assert_eq!(buffer.put(&[1]), Err(exhausted));
        assert_eq!(buffer.overflow(), Some(exhausted));
        assert_eq!(buffer.len, FIRST_STEP, "what was there stays");
    }
}
