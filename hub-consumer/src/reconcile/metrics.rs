//! What the reconciler tells: the sums of the table, and what is open now.

use std::{
    collections::{BTreeSet, HashMap},
    sync::atomic::AtomicU64,
};

use jiff::Timestamp;
use service_runtime::prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::{
    book::Book,
    order::{Outcome, Point},
    table::Outcomes,
};

/// Restaurants of a market, and markets, that have labels of their own; the rest is `other`.
const MOST_RESTAURANTS: usize = 50;
const MOST_MARKETS: usize = 32;
/// Partitions that have labels of their own.
const MOST_PARTITIONS: usize = 16;
const OTHER: &str = "other";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct MarketLabels {
    market: String,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    market: String,
    restaurant: String,
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PointLabels {
    market: String,
    restaurant: String,
    partition: String,
    point: &'static str,
}

type Seconds = Gauge<f64, AtomicU64>;

/// The metrics, whose names all begin with `order_`.
#[derive(Debug, Default, Clone)]
pub(super) struct Metrics {
    outcomes: Family<OutcomeLabels, Counter>,
    points: Family<PointLabels, Counter>,
    confirmed_later: Family<MarketLabels, Counter>,
    oldest: Family<MarketLabels, Seconds>,
    residual: Family<MarketLabels, Gauge>,
    in_flight: Family<MarketLabels, Gauge>,
    scheduled: Family<MarketLabels, Gauge>,
    last_success: Seconds,
    watermark: Seconds,
    refused: Counter,
    names: Names,
}

/// The words that labels may have, as they came.
#[derive(Debug, Default, Clone)]
struct Names {
    restaurants: HashMap<String, BTreeSet<String>>,
    partitions: BTreeSet<String>,
}

impl Names {
    fn market(&mut self, market: &str) -> String {
        if !self.restaurants.contains_key(market) && self.restaurants.len() >= MOST_MARKETS {
            return OTHER.to_owned();
        }
        self.restaurants.entry(market.to_owned()).or_default();
        market.to_owned()
    }

    fn place(&mut self, market: &str, restaurant: &str) -> (String, String) {
        let market = self.market(market);
        let known = self.restaurants.entry(market.clone()).or_default();
        (market, bounded(known, restaurant, MOST_RESTAURANTS))
    }

    fn partition(&mut self, partition: &str) -> String {
        match partition {
            "" => "unknown".to_owned(),
            partition => bounded(&mut self.partitions, partition, MOST_PARTITIONS),
        }
    }
}

fn bounded(known: &mut BTreeSet<String>, name: &str, most: usize) -> String {
    if !known.contains(name) && known.len() >= most {
        return OTHER.to_owned();
    }
    known.insert(name.to_owned());
    name.to_owned()
}

impl Metrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { outcomes, points, confirmed_later, oldest, residual, in_flight, scheduled, .. } = &metrics;
        registry.register(
            "order_outcome",
            "Charged orders whose outcome is decided, each once",
            outcomes.clone(),
        );
        registry.register(
            "order_points",
            "Of the orders that should be at a restaurant, those that a point has seen",
            points.clone(),
        );
        registry.register(
            "order_confirmed_after_decision",
            "Orders whose tablet acknowledged after they were decided to be unconfirmed",
            confirmed_later.clone(),
        );
        registry.register(
            "order_oldest_unreconciled_age_seconds",
            "Age of the oldest charged order that is neither confirmed, refunded, cancelled nor rejected",
            oldest.clone(),
        );
        registry.register(
            "order_conservation_residual",
            "Orders charged, less those confirmed, refunded, cancelled, rejected, not due or younger than T",
            residual.clone(),
        );
        registry.register(
            "order_in_flight",
            "Orders charged, not settled and younger than T",
            in_flight.clone(),
        );
        registry.register("order_scheduled", "Orders charged and not due", scheduled.clone());
        registry.register(
            "order_reconciler_last_success_timestamp_seconds",
            "When the last look at the stored events ended well",
            metrics.last_success.clone(),
        );
        registry.register(
            "order_reconciler_watermark_timestamp_seconds",
            "Up to when the stored events are taken to be complete",
            metrics.watermark.clone(),
        );
        registry.register(
            "order_events_refused",
            "Rows that call themselves events of an order and do not say of which, or when it is due",
            metrics.refused.clone(),
        );
        metrics
    }

    pub(super) fn refused(&self, rows: u64) {
        self.refused.inc_by(rows);
    }

    /// Sets everything to what the book and the table have.
    pub(super) fn tell(&mut self, book: &Book, outcomes: &Outcomes, now: Timestamp) {
        self.begin(book);
        self.tell_sums(outcomes);
        for (market, orders) in book.confirmed_later() {
            let market = self.names.market(market);
            raise(&self.confirmed_later.get_or_create(&MarketLabels { market }), *orders);
        }
        self.tell_open(book, now);
        self.last_success.set(seconds(now.as_millisecond()));
        if let Some(watermark) = book.watermark() {
            self.watermark.set(seconds(watermark));
        }
    }

    /// Everything of a market and a restaurant begins at 0, T before the first order there is decided.
    fn begin(&mut self, book: &Book) {
        let places: BTreeSet<_> = book.places().collect();
        for (market, restaurant, partition) in places {
            let (market, restaurant) = self.names.place(market, restaurant);
            for outcome in Outcome::ALL.map(Outcome::as_str) {
                let (market, restaurant) = (market.clone(), restaurant.clone());
                drop(self.outcomes.get_or_create(&OutcomeLabels { market, restaurant, outcome }));
            }
            if !partition.is_empty() {
                let partition = self.names.partition(partition);
                for point in Point::ALL.map(Point::as_str) {
                    let (market, restaurant) = (market.clone(), restaurant.clone());
                    let labels = PointLabels { market, restaurant, partition: partition.clone(), point };
                    drop(self.points.get_or_create(&labels));
                }
            }
            drop(self.confirmed_later.get_or_create(&MarketLabels { market }));
        }
    }

    fn tell_sums(&mut self, outcomes: &Outcomes) {
        // Several restaurants may be `other`, so sums come first.
        let mut sums: HashMap<OutcomeLabels, u64> = HashMap::new();
        for (of, orders) in outcomes.sums() {
            let (market, restaurant) = self.names.place(&of.market, &of.restaurant);
            *sums.entry(OutcomeLabels { market, restaurant, outcome: of.outcome.as_str() }).or_default() +=
                orders;
        }
        for (labels, orders) in sums {
            raise(&self.outcomes.get_or_create(&labels), orders);
        }
        let mut points: HashMap<PointLabels, u64> = HashMap::new();
        for (at, orders) in outcomes.points() {
            let (market, restaurant) = self.names.place(&at.market, &at.restaurant);
            let partition = self.names.partition(&at.partition);
            let labels = PointLabels { market, restaurant, partition, point: at.point.as_str() };
            *points.entry(labels).or_default() += orders;
        }
        for (labels, orders) in points {
            raise(&self.points.get_or_create(&labels), orders);
        }
    }

    fn tell_open(&mut self, book: &Book, now: Timestamp) {
        let mut markets = book.open(now.as_millisecond());
        // A market with no open order has one that is 0 s old.
        for market in self.names.restaurants.keys() {
            markets.entry(market.clone()).or_default();
        }
        for (market, open) in markets {
            let labels = MarketLabels { market: self.names.market(&market) };
            self.oldest.get_or_create(&labels).set(seconds(open.oldest));
            self.residual.get_or_create(&labels).set(open.residual);
            self.in_flight.get_or_create(&labels).set(open.in_flight);
            self.scheduled.get_or_create(&labels).set(open.scheduled);
        }
    }
}

/// Counters only grow: what the table has lost to its retention is not taken off.
fn raise(counter: &Counter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn seconds(milliseconds: i64) -> f64 {
    milliseconds as f64 / 1000.0
}
