//! What the platform itself knows of orders that are on their way: what the customer is shown, and who is owed money.
//!
//! Memory: about half a kilobyte for each order that is charged and not settled, and for each canary of the last ten minutes.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use opentelemetry::Context;
use tokio::time::Instant;

use super::order::{Kind, Order};

/// So long a canary can ask for its order.
const KEPT: Duration = Duration::from_secs(600);

/// What the customer is shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Status {
    Received,
    Confirmed,
    Rejected,
    Cancelled,
    Refunded,
}

impl Status {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Status::Received => "received",
            Status::Confirmed => "confirmed",
            Status::Rejected => "rejected",
            Status::Cancelled => "cancelled",
            Status::Refunded => "refunded",
        }
    }
}

/// The orders.
#[derive(Debug, Default)]
pub(super) struct Ledger(Mutex<HashMap<String, Entry>>);

#[derive(Debug)]
struct Entry {
    order: Arc<Order>,
    status: Status,
    since: Instant,
    /// Of the last span that had the order.
    context: Context,
}

impl Ledger {
    pub(super) fn open(&self, order: &Arc<Order>, context: &Context) {
        let entry = Entry {
            order: Arc::clone(order),
            status: Status::Received,
            since: Instant::now(),
            context: context.clone(),
        };
        self.lock().insert(order.id.clone(), entry);
    }

    /// What the consumer continues.
    pub(super) fn published(&self, order: &Order, context: &Context) {
        if let Some(entry) = self.lock().get_mut(&order.id) {
            entry.context = context.clone();
        }
    }

    pub(super) fn context_of(&self, order: &Order) -> Context {
        self.lock().get(&order.id).map(|entry| entry.context.clone()).unwrap_or_default()
    }

    /// What is settled is forgotten, except what a canary may ask for.
    pub(super) fn set(&self, order: &Order, status: Status) {
        let mut entries = self.lock();
        match (order.kind, status) {
            (Kind::Business, Status::Confirmed | Status::Refunded) => {
                entries.remove(&order.id);
            }
            _ => {
                if let Some(entry) = entries.get_mut(&order.id) {
                    entry.status = status;
                }
            }
        }
    }

    pub(super) fn status(&self, id: &str) -> Option<Status> {
        self.lock().get(id).map(|entry| entry.status)
    }

    /// Orders of a market, or of all, that were charged so long ago and are as they were then; they are owed.
    pub(super) fn owed(&self, market: Option<&str>, older_than: Duration) -> Vec<(Arc<Order>, Context)> {
        let entries = self.lock();
        let is_owed = |entry: &&Entry| {
            entry.status == Status::Received
                && entry.since.elapsed() >= older_than
                && entry.order.due_at.is_none()
                && market.is_none_or(|market| entry.order.market == market)
        };
        entries
            .values()
            .filter(is_owed)
            .map(|entry| (Arc::clone(&entry.order), entry.context.clone()))
            .collect()
    }

    /// Orders that were charged and are as they were then, those for later among them.
    pub(super) fn unsettled(&self) -> Vec<(Arc<Order>, Context)> {
        let entries = self.lock();
        let open = entries.values().filter(|entry| entry.status == Status::Received);
        open.map(|entry| (Arc::clone(&entry.order), entry.context.clone())).collect()
    }

    /// Forgets canaries that nobody asks for any more.
    pub(super) fn forget_old_canaries(&self) {
        self.lock().retain(|_, entry| entry.order.kind == Kind::Business || entry.since.elapsed() < KEPT);
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Entry>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
