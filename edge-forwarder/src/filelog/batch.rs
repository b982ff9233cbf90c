//! A batch on its way: the log records of one file, and the request that they become.

use std::time::Instant;

use bytes::Bytes;
use telemetry_wire::pb;

use super::position::Position;
use crate::budget::{BudgetExhausted, MemoryBudget, Reservation};

/// Fields of `ExportLogsServiceRequest`, `ResourceLogs`, `ScopeLogs`.
const RESOURCE_LOGS: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPE_LOGS: u32 = 2;

/// What the levels above the records can take, in bytes, beside the resource.
const ENVELOPE_BYTES: usize = 3 * 6;

/// Log records that are collected.
#[derive(Debug)]
pub(super) struct Builder {
    /// `ScopeLogs.log_records` fields.
    pub(super) records: Vec<u8>,
    pub(super) items: u64,
    pub(super) since: Instant,
    reservation: Reservation,
}

/// A batch to be made durable.
#[derive(Debug)]
pub(super) struct Batch {
    /// An `ExportLogsServiceRequest`.
    pub(super) request: Bytes,
    pub(super) items: u64,
    pub(super) reservation: Reservation,
    /// Where the file stands after it.
    pub(super) position: Position,
}

impl Builder {
    pub(super) fn new(budget: &MemoryBudget, now: Instant) -> Builder {
        Builder { records: Vec::new(), items: 0, since: now, reservation: budget.reservation() }
    }

    /// Makes sure that the records may grow by `bytes`.
    pub(super) fn reserve(&mut self, bytes: usize) -> Result<(), BudgetExhausted> {
        let needed = (self.records.len() + bytes).saturating_sub(self.reservation.bytes());
        self.reservation.grow(needed)
    }

    /// The request, for a resource given as an encoded `Resource`.
    pub(super) fn seal(self, resource: &[u8], position: Position) -> Batch {
        let Builder { records, items, mut reservation, .. } = self;
        let scope_logs = records.len();
        let resource_logs =
            pb::len_field_size(RESOURCE, resource.len()) + pb::len_field_size(SCOPE_LOGS, scope_logs);
        let mut request = Vec::with_capacity(resource_logs + ENVELOPE_BYTES);
        pb::put_len_header(&mut request, RESOURCE_LOGS, resource_logs);
        pb::put_len_field(&mut request, RESOURCE, resource);
        pb::put_len_field(&mut request, SCOPE_LOGS, &records);
        drop(records);
        // What was reserved for growth is not needed any more; what is missing for the envelope is not worth a refusal.
        reservation.shrink(reservation.bytes().saturating_sub(request.len()));
        Batch { request: request.into(), items, reservation, position }
    }
}
