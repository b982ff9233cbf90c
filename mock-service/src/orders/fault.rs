//! The faults, and the switch that says which of them hits which order.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

/// Why an order that was charged never reaches its restaurant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The consumer acks, the insert fails, and the failure is caught and logged.
    AckBeforeStore,
    /// The record goes to a topic that nobody is bound to; the broker confirms and drops it.
    PublishToNowhere,
    /// A second member of the group takes and acks the record.
    ForeignReader,
    /// The record is lost in a buffer of the producer.
    LostBeforeBroker,
    /// The filter of duplicates takes a new order for a known one.
    DedupPoisoned,
}

impl Fault {
    /// All of them.
    pub const ALL: [Fault; 5] = [
        Fault::AckBeforeStore,
        Fault::PublishToNowhere,
        Fault::ForeignReader,
        Fault::LostBeforeBroker,
        Fault::DedupPoisoned,
    ];

    /// As options and requests name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Fault::AckBeforeStore => "ack-before-store",
            Fault::PublishToNowhere => "publish-to-nowhere",
            Fault::ForeignReader => "foreign-reader",
            Fault::LostBeforeBroker => "lost-before-broker",
            Fault::DedupPoisoned => "dedup-poisoned",
        }
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Fault::ALL.into_iter().find(|fault| fault.as_str() == text).ok_or_else(|| {
            format!("there is no fault `{text}`; known are {}", Fault::ALL.map(Fault::as_str).join(", "))
        })
    }
}

/// What is switched on: by market and fault the share of the orders that it hits.
#[derive(Debug)]
pub(super) struct Switch(Mutex<Switched>);

#[derive(Debug)]
struct Switched {
    shares: BTreeMap<(String, Fault), f64>,
    draws: StdRng,
}

impl Switch {
    pub(super) fn new(seed: u64) -> Self {
        Self(Mutex::new(Switched { shares: BTreeMap::new(), draws: StdRng::seed_from_u64(seed) }))
    }

    /// A share of 0 ends the fault.
    pub(super) fn set(&self, market: &str, fault: Fault, share: f64) {
        let mut switched = self.lock();
        match share > 0.0 {
            true => switched.shares.insert((market.to_owned(), fault), share),
            false => switched.shares.remove(&(market.to_owned(), fault)),
        };
    }

    /// Whether the fault hits the next order of this market.
    pub(super) fn hits(&self, market: &str, fault: Fault) -> bool {
        let mut switched = self.lock();
        let share = switched.shares.get(&(market.to_owned(), fault)).copied();
        share.is_some_and(|share| switched.draws.random::<f64>() < share)
    }

    /// Market, fault and share of all that is on.
    pub(super) fn list(&self) -> Vec<(String, Fault, f64)> {
        let shares = &self.lock().shares;
        shares.iter().map(|((market, fault), share)| (market.clone(), *fault, *share)).collect()
    }

    fn lock(&self) -> MutexGuard<'_, Switched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_hits_its_share_of_its_market_until_it_is_switched_off() {
        let switch = Switch::new(1);
        switch.set("at", Fault::ForeignReader, 0.05);
        let hits = (0..20_000).filter(|_| switch.hits("at", Fault::ForeignReader)).count();
        assert!((800..1200).contains(&hits), "{hits} of 20000");
        assert!(!(0..1000).any(|_| switch.hits("de", Fault::ForeignReader)));
        assert!(!(0..1000).any(|_| switch.hits("at", Fault::DedupPoisoned)));
        switch.set("at", Fault::ForeignReader, 1.0);
        assert!((0..1000).all(|_| switch.hits("at", Fault::ForeignReader)));
        switch.set("at", Fault::ForeignReader, 0.0);
        assert!(!switch.hits("at", Fault::ForeignReader) && switch.list().is_empty());
    }

    #[test]
    fn an_unknown_fault_is_refused_with_those_that_are_known() {
        let refused = "gremlins".parse::<Fault>().unwrap_err();
        assert!(refused.contains("`gremlins`") && refused.contains("ack-before-store"), "{refused}");
        assert!(Fault::ALL.iter().all(|fault| fault.as_str().parse() == Ok(*fault)));
    }
}
