//! One order: who ordered what where, and what its customer or restaurant will do with it.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rand::RngExt as _;
use rand::rngs::StdRng;

use super::args::Oddities;

/// Prices in cents, before the tip.
const BASKETS: std::ops::Range<u32> = 900..6000;

/// An order as the flow carries it.
#[derive(Debug)]
pub(super) struct Order {
    pub(super) id: String,
    pub(super) kind: Kind,
    pub(super) market: String,
    pub(super) restaurant: String,
    pub(super) partition: u16,
    /// In the platform's currency.
    pub(super) amount: f64,
    /// When it is due, of an order for later.
    pub(super) due_at: Option<SystemTime>,
    pub(super) fate: Fate,
}

/// What an order is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Somebody is hungry.
    Business,
    /// The canary wants to know whether orders arrive.
    Canary,
}

/// What becomes of an order in a healthy flow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// The tablet acknowledges it.
    Cooked,
    /// Its customer cancels before the restaurant has it.
    Cancelled,
    /// It is refunded before the restaurant has it.
    Refunded,
    /// The restaurant does not want it.
    Rejected,
}

impl Kind {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Kind::Business => "business",
            Kind::Canary => "canary",
        }
    }
}

/// Makes orders. Their ids are unique for ever: no two runs have the same word in them, whatever their seed.
#[derive(Debug)]
pub(super) struct Maker {
    run: u64,
    made: u64,
    draws: StdRng,
    restaurants: u16,
    partitions: u16,
    oddities: Oddities,
}

impl Maker {
    pub(super) fn new(draws: StdRng, restaurants: u16, partitions: u16, oddities: Oddities) -> Self {
        Self { run: rand::random(), made: 0, draws, restaurants, partitions, oddities }
    }

    /// The next order of a market.
    pub(super) fn order(&mut self, market: &str) -> Arc<Order> {
        let number = self.draws.random_range(1..=self.restaurants);
        let fate = self.fate();
        let is_scheduled = fate == Fate::Cooked && self.is_drawn(self.oddities.scheduled_share);
        let ahead = self.oddities.scheduled_ahead;
        self.make(Kind::Business, market, format!("{market}-r{number}"), is_scheduled.then_some(ahead), fate)
    }

    /// The next order of the canary in a market.
    pub(super) fn canary(&mut self, market: &str) -> Arc<Order> {
        self.make(Kind::Canary, market, format!("{market}-canary"), None, Fate::Cooked)
    }

    fn make(
        &mut self,
        kind: Kind,
        market: &str,
        restaurant: String,
        ahead: Option<Duration>,
        fate: Fate,
    ) -> Arc<Order> {
        self.made += 1;
        let id = format!("{:016x}-{:06}", self.run, self.made);
        let partition = u16::try_from(fnv1a(&id) % u64::from(self.partitions)).expect("partitions are a u16");
        let amount = f64::from(self.draws.random_range(BASKETS)) / 100.0;
        let due_at = ahead.map(|ahead| SystemTime::now() + ahead);
        Arc::new(Order { id, kind, market: market.to_owned(), restaurant, partition, amount, due_at, fate })
    }

    fn fate(&mut self) -> Fate {
        let Oddities { cancelled_share, refunded_share, rejected_share, .. } = self.oddities;
        match self.draws.random::<f64>() {
            drawn if drawn < cancelled_share => Fate::Cancelled,
            drawn if drawn < cancelled_share + refunded_share => Fate::Refunded,
            drawn if drawn < cancelled_share + refunded_share + rejected_share => Fate::Rejected,
            _ => Fate::Cooked,
        }
    }

    fn is_drawn(&mut self, share: f64) -> bool {
        self.draws.random::<f64>() < share
    }
}

/// The partition of an order is told before it is published, so any spread will do that all can compute.
fn fnv1a(text: &str) -> u64 {
    text.bytes()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3))
}
