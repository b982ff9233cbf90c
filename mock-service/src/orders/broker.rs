//! The broker between the order service and the restaurants: a topic for each market, partitions with offsets, one group of
//! members that take records and ack them.
//!
//! A record goes to one member of the group; which one is decided when it is appended. A record for a topic without a binding is
//! confirmed and dropped, as brokers do. Once a record is acked nothing is left of it but its offset: pending is what is
//! appended and not acked.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::mpsc;

use super::order::Order;

/// The client id of our consumer.
pub(super) const OURS: &str = "restaurant-service-1";
/// The client id of the member that nobody knows.
pub(super) const FOREIGN: &str = "orders-debug";

/// Records that may wait for a member; past it the producer waits.
const WAITING: usize = 10_000;

/// The topics.
#[derive(Debug)]
pub(super) struct Broker {
    topics: BTreeMap<String, Mutex<Topic>>,
}

/// What the broker knows of one market's topic.
#[derive(Debug, Default, Clone)]
pub(super) struct State {
    /// By partition, the offset of the next record.
    pub(super) ends: Vec<u64>,
    pub(super) acked: u64,
    /// Records for the topic that nobody is bound to.
    pub(super) unroutable: u64,
    /// By client id, records taken and acked.
    pub(super) delivered: BTreeMap<&'static str, u64>,
    /// By client id, whether it is a member now.
    pub(super) members: BTreeMap<&'static str, bool>,
}

#[derive(Debug)]
struct Topic {
    state: State,
    ours: mpsc::Sender<Delivery>,
    foreign: Option<mpsc::Sender<Delivery>>,
}

/// A record on its way to a member.
#[derive(Debug)]
pub(super) struct Delivery {
    pub(super) order: Arc<Order>,
    pub(super) offset: u64,
}

impl Broker {
    /// Topics of these markets with so many partitions, and what our consumer of each takes.
    pub(super) fn new(
        markets: &[String],
        partitions: u16,
    ) -> (Self, Vec<(String, mpsc::Receiver<Delivery>)>) {
        let (mut topics, mut consumers) = (BTreeMap::new(), Vec::new());
        for market in markets {
            let (ours, taken) = mpsc::channel(WAITING);
            let state = State {
                ends: vec![0; usize::from(partitions)],
                members: BTreeMap::from([(OURS, true)]),
                delivered: BTreeMap::from([(OURS, 0)]),
                ..State::default()
            };
            topics.insert(market.clone(), Mutex::new(Topic { state, ours, foreign: None }));
            consumers.push((market.clone(), taken));
        }
        (Self { topics }, consumers)
    }

    /// Appends the record for the foreign member or ours, and tells its offset.
    pub(super) async fn append(&self, order: &Arc<Order>, is_for_foreign: bool) -> u64 {
        let (offset, member) = {
            let mut topic = self.topic(&order.market);
            let end = &mut topic.state.ends[usize::from(order.partition)];
            let offset = *end;
            *end += 1;
            let member = match (&topic.foreign, is_for_foreign) {
                (Some(foreign), true) => foreign.clone(),
                _ => topic.ours.clone(),
            };
            (offset, member)
        };
        // A member that leaves in this moment takes its last record along, as one that crashes would.
        let _ = member.send(Delivery { order: Arc::clone(order), offset }).await;
        offset
    }

    /// Confirms a record for a topic without a binding, and drops it.
    pub(super) fn drop_unroutable(&self, order: &Order) {
        self.topic(&order.market).state.unroutable += 1;
    }

    /// A member has taken this record and acks it.
    pub(super) fn ack(&self, market: &str, client: &'static str) {
        let mut topic = self.topic(market);
        topic.state.acked += 1;
        *topic.state.delivered.entry(client).or_default() += 1;
    }

    /// The foreign member joins; what it takes comes out here until it leaves. `None` when it is there.
    pub(super) fn join_foreign(&self, market: &str) -> Option<mpsc::Receiver<Delivery>> {
        let mut topic = self.topic(market);
        if topic.foreign.is_some() {
            return None;
        }
        let (foreign, taken) = mpsc::channel(WAITING);
        topic.foreign = Some(foreign);
        topic.state.members.insert(FOREIGN, true);
        Some(taken)
    }

    /// The foreign member leaves.
    pub(super) fn leave_foreign(&self, market: &str) {
        let mut topic = self.topic(market);
        topic.foreign = None;
        if let Some(is_member) = topic.state.members.get_mut(FOREIGN) {
            *is_member = false;
        }
    }

    /// What it knows of a market's topic.
    pub(super) fn state(&self, market: &str) -> State {
        self.topic(market).state.clone()
    }

    fn topic(&self, market: &str) -> MutexGuard<'_, Topic> {
        let topic = self.topics.get(market).expect("orders are made for known markets only");
        topic.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Appended and not acked.
    pub(super) fn pending(&self) -> u64 {
        self.ends.iter().sum::<u64>() - self.acked
    }
}

/// The topic of a market.
pub(super) fn topic(market: &str) -> String {
    format!("orders.{market}")
}

/// The group that reads it.
pub(super) fn group(market: &str) -> String {
    format!("restaurant-service.{market}")
}
