//! The orders that are open, the watermark, and what is due to be decided. Pure: time comes with the events.

use std::collections::HashMap;
use std::time::Duration;

use super::order::{Kind, Millis, Order, Outcome, Seen, millis};

/// So long an order that is settled is remembered: events that come again find that it is.
const REMEMBERED: Duration = Duration::from_secs(15 * 60);
/// Ages follow the clock for so long after the watermark has stopped.
const AHEAD: Duration = Duration::from_secs(30);

/// What is decided by.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rules {
    pub(super) confirm_within: Duration,
    pub(super) silence: Duration,
    pub(super) grace: Duration,
    pub(super) lookback: Duration,
}

/// One event of a service.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Event {
    pub(super) service: String,
    pub(super) seen: Seen,
    /// `None` of a heartbeat.
    pub(super) of: Option<OrderEvent>,
}

/// What an event says of an order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct OrderEvent {
    pub(super) order_id: String,
    pub(super) kind: Kind,
    pub(super) market: String,
    pub(super) restaurant: String,
    pub(super) partition: String,
    pub(super) trace_id: String,
    pub(super) amount: f64,
    pub(super) due_at: Option<Millis>,
}

/// An order that was decided before this process, and is owed still.
#[derive(Debug, Clone)]
pub(super) struct Owed {
    pub(super) order_id: String,
    pub(super) market: String,
    pub(super) restaurant: String,
    pub(super) captured_at: Millis,
}

/// An order with its outcome.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Decision {
    pub(super) order_id: String,
    pub(super) market: String,
    pub(super) restaurant: String,
    pub(super) partition: String,
    pub(super) trace_id: String,
    pub(super) amount: f64,
    pub(super) captured_at: Millis,
    pub(super) points: u8,
    pub(super) outcome: Outcome,
}

/// What is open in a market.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Open {
    /// Age of the oldest order that is due, unsettled and charged.
    pub(super) oldest: Millis,
    /// Charged, unsettled and older than T.
    pub(super) residual: i64,
    /// Charged, unsettled and younger.
    pub(super) in_flight: i64,
    /// Charged and not due.
    pub(super) scheduled: i64,
}

/// The orders.
#[derive(Debug)]
pub(super) struct Book {
    rules: Rules,
    orders: HashMap<String, Order>,
    /// Settled orders, with the watermark at which they were.
    closed: HashMap<String, Millis>,
    /// By service, when its last event was received.
    heard: HashMap<String, Millis>,
    confirmed_later: HashMap<String, u64>,
}

impl Book {
    pub(super) fn new(rules: Rules) -> Self {
        Self {
            rules,
            orders: HashMap::new(),
            closed: HashMap::new(),
            heard: HashMap::new(),
            confirmed_later: HashMap::new(),
        }
    }

    pub(super) fn rules(&self) -> Rules {
        self.rules
    }

    /// Orders that are known to be unconfirmed from before.
    pub(super) fn owe(&mut self, owed: Vec<Owed>) {
        for Owed { order_id, market, restaurant, captured_at } in owed {
            let order = self.orders.entry(order_id).or_default();
            (order.market, order.restaurant, order.outcome) =
                (market, restaurant, Some(Outcome::Unconfirmed));
            let captured = Kind::At(super::Point::Captured);
            order.note(captured, Seen { own: captured_at, received: captured_at });
        }
    }

    /// Takes an event, in whatever order they come and however often.
    pub(super) fn note(&mut self, Event { service, seen, of }: Event) {
        let heard = self.heard.entry(service).or_insert(seen.received);
        *heard = seen.received.max(*heard);
        let Some(of) = of else { return };
        if self.closed.contains_key(&of.order_id) {
            return;
        }
        let order = self.orders.entry(of.order_id).or_default();
        order.market = of.market;
        order.restaurant = of.restaurant;
        for (known, told) in [(&mut order.partition, of.partition), (&mut order.trace_id, of.trace_id)] {
            if known.is_empty() {
                *known = told;
            }
        }
        order.due_at = order.due_at.or(of.due_at);
        if of.kind == Kind::At(super::Point::Captured) {
            order.amount = of.amount;
        }
        order.note(of.kind, seen);
    }

    /// Up to when the events of every service that is not silent are taken to be complete; `None` before the first event.
    pub(super) fn watermark(&self) -> Option<Millis> {
        let newest = *self.heard.values().max()?;
        let is_speaking = |heard: &&Millis| newest - **heard <= millis(self.rules.silence);
        let slowest = self.heard.values().filter(is_speaking).min()?;
        Some(slowest - millis(self.rules.grace))
    }

    /// Orders whose time is over and that are not decided.
    pub(super) fn due(&self) -> Vec<Decision> {
        let Some(watermark) = self.watermark() else { return Vec::new() };
        let within = millis(self.rules.confirm_within);
        let is_due = |order: &Order| {
            order.outcome.is_none() && order.base().is_some_and(|base| base + within <= watermark)
        };
        let due = self.orders.iter().filter(|(_, order)| is_due(order));
        due.map(|(id, order)| Decision {
            order_id: id.clone(),
            market: order.market.clone(),
            restaurant: order.restaurant.clone(),
            partition: order.partition.clone(),
            trace_id: order.trace_id.clone(),
            amount: order.amount,
            captured_at: order.captured().unwrap_or_default(),
            points: order.points(),
            outcome: order.judge(self.rules.confirm_within),
        })
        .collect()
    }

    /// An order is decided, here or before.
    pub(super) fn decided(&mut self, order_id: &str, outcome: Outcome) {
        if let Some(order) = self.orders.get_mut(order_id) {
            order.outcome = Some(outcome);
        }
        if outcome != Outcome::Unconfirmed {
            self.orders.remove(order_id);
            self.closed.insert(order_id.to_owned(), self.watermark().unwrap_or_default());
        }
    }

    /// Lets go of what is settled, and of what is too old to matter.
    pub(super) fn forget(&mut self) {
        let Some(watermark) = self.watermark() else { return };
        let oldest = watermark - millis(self.rules.lookback);
        let (closed, later) = (&mut self.closed, &mut self.confirmed_later);
        self.orders.retain(|id, order| {
            let is_over = order.outcome.is_some() && order.is_settled();
            if is_over {
                closed.insert(id.clone(), watermark);
                if order.is_tablet_acked() {
                    *later.entry(order.market.clone()).or_default() += 1;
                }
            }
            !is_over && order.base().unwrap_or_else(|| order.last_received()) > oldest
        });
        self.closed.retain(|_, at| *at > watermark - millis(REMEMBERED));
    }

    /// By market, what is open at `now`.
    pub(super) fn open(&self, now: Millis) -> HashMap<String, Open> {
        let mut markets: HashMap<String, Open> = HashMap::new();
        let Some(watermark) = self.watermark() else { return markets };
        let now = now.min(watermark + millis(AHEAD));
        for order in self.orders.values() {
            let open = markets.entry(order.market.clone()).or_default();
            let Some(base) = order.base().filter(|_| !order.is_settled()) else { continue };
            if order.due_at.is_some_and(|due_at| due_at > now) {
                open.scheduled += 1;
                continue;
            }
            // What came after the watermark may have been followed by more.
            if base <= watermark {
                open.oldest = open.oldest.max(now - base);
            }
            match watermark - base >= millis(self.rules.confirm_within) {
                true => open.residual += 1,
                false => open.in_flight += 1,
            }
        }
        markets
    }

    /// By market, orders that were confirmed after they were decided to be unconfirmed.
    pub(super) fn confirmed_later(&self) -> &HashMap<String, u64> {
        &self.confirmed_later
    }

    /// Market, restaurant and partition of every order that is not settled and forgotten.
    pub(super) fn places(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        let orders = self.orders.values();
        orders.map(|order| (order.market.as_str(), order.restaurant.as_str(), order.partition.as_str()))
    }
}

#[cfg(test)]
mod tests;
