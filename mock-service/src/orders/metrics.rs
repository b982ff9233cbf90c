//! The instruments of the five services. What can be told beforehand begins at 0, so that the first order is an increase.

use std::sync::Arc;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, UpDownCounter};
use rand::RngExt as _;

use super::Services;
use super::broker::{Broker, group, topic};
use super::order::{Kind, Order};
use super::service::Role;

/// What an HTTP client reads in `route`.
const ROUTE: &str = "/orders";

/// The counters that orders pass.
#[derive(Debug)]
pub(super) struct Metrics {
    requests: Counter<u64>,
    charged: Counter<u64>,
    stored: Counter<u64>,
    tablet_acked: Counter<u64>,
    rows: Counter<u64>,
    confirmed: Counter<u64>,
    fetched: Counter<u64>,
    settled: Counter<u64>,
    in_flight: UpDownCounter<i64>,
}

/// What the consumer has done with a record, where it says so.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Settled {
    Stored,
    Deduplicated,
    Skipped,
    DeadLettered,
}

impl Settled {
    const ALL: [Settled; 4] =
        [Settled::Stored, Settled::Deduplicated, Settled::Skipped, Settled::DeadLettered];

    fn as_str(self) -> &'static str {
        match self {
            Settled::Stored => "stored",
            Settled::Deduplicated => "deduplicated",
            Settled::Skipped => "skipped",
            Settled::DeadLettered => "dead_lettered",
        }
    }
}

impl Metrics {
    /// The instruments, with a first 0 of everything in these markets.
    pub(super) fn new(services: &Services, markets: &[String], restaurants: u16) -> Self {
        let counter = |role, name, description| {
            services.of(role).meter.u64_counter(name).with_description(description).build()
        };
        let metrics = Self {
            requests: counter(Role::Gateway, "gateway_requests_total", "Answers of the gateway"),
            charged: counter(Role::PaymentProvider, "orders_charged_total", "Orders that were charged"),
            stored: counter(
                Role::OrderService,
                "orders_stored_total",
                "Orders with a row in the order service",
            ),
            tablet_acked: counter(
                Role::RestaurantService,
                "orders_restaurant_acked_total",
                "Orders that a tablet has acknowledged",
            ),
            rows: counter(Role::OrderService, "order_producer_rows_total", "Rows that ask to be published"),
            confirmed: counter(
                Role::OrderService,
                "order_producer_confirmed_total",
                "Records that the broker has confirmed",
            ),
            fetched: counter(
                Role::RestaurantService,
                "order_consumer_fetched_total",
                "Records that the consumer has taken",
            ),
            settled: counter(
                Role::RestaurantService,
                "order_consumer_settled_total",
                "Records that the consumer says to be done with",
            ),
            in_flight: services
                .of(Role::RestaurantService)
                .meter
                .i64_up_down_counter("order_consumer_in_flight")
                .with_description("Records that are taken and not done with")
                .build(),
        };
        for market in markets {
            metrics.begin(market, restaurants);
        }
        metrics
    }

    fn begin(&self, market: &str, restaurants: u16) {
        self.requests.add(0, &answer(market, 201));
        for number in 1..=restaurants {
            let labels = [label("market", market), label("restaurant", &format!("{market}-r{number}"))];
            for counter in [&self.charged, &self.stored, &self.tablet_acked] {
                counter.add(0, &labels);
            }
        }
        self.rows.add(0, &[label("market", market)]);
        self.confirmed.add(0, &of_topic(market));
        self.fetched.add(0, &of_group(market));
        self.in_flight.add(0, &of_group(market));
        for result in Settled::ALL {
            self.settled.add(0, &result_of(market, result));
        }
    }

    pub(super) fn answered(&self, market: &str, status: u16) {
        self.requests.add(1, &answer(market, status));
    }

    pub(super) fn charged(&self, order: &Order) {
        business(&self.charged, order);
    }

    pub(super) fn stored(&self, order: &Order) {
        business(&self.stored, order);
    }

    pub(super) fn tablet_acked(&self, order: &Order) {
        business(&self.tablet_acked, order);
    }

    /// A row that asks to be published.
    pub(super) fn row(&self, market: &str) {
        self.rows.add(1, &[label("market", market)]);
    }

    pub(super) fn confirmed(&self, market: &str) {
        self.confirmed.add(1, &of_topic(market));
    }

    pub(super) fn fetched(&self, market: &str) {
        self.fetched.add(1, &of_group(market));
        self.in_flight.add(1, &of_group(market));
    }

    /// The consumer has let go of a record; `None` when it does not say how.
    pub(super) fn let_go(&self, market: &str, result: Option<Settled>) {
        if let Some(result) = result {
            self.settled.add(1, &result_of(market, result));
        }
        self.in_flight.add(-1, &of_group(market));
    }
}

/// What is read when metrics are sent: the broker's state, and processors that are never busy.
pub(super) fn observe(services: &Services, broker: &Arc<Broker>, markets: &[String]) {
    let markets: Arc<[String]> = markets.into();
    for role in Role::ALL {
        let meter = &services.of(role).meter;
        meter
            .f64_observable_gauge("service_cpu_utilization_ratio")
            .with_description("Simulated: no fault makes a processor busier")
            .with_callback(|observer| observer.observe(rand::rng().random_range(0.22..0.28), &[]))
            .build();
    }
    let meter = &services.of(Role::OrderBroker).meter;
    let (of, all) = (Arc::clone(broker), Arc::clone(&markets));
    meter
        .u64_observable_gauge("broker_log_end_offset")
        .with_description("Offset of the next record")
        .with_callback(move |observer| {
            for market in all.iter() {
                for (partition, end) in of.state(market).ends.iter().enumerate() {
                    let [market, topic] = of_topic(market);
                    observer.observe(*end, &[market, topic, label("partition", &partition.to_string())]);
                }
            }
        })
        .build();
    let (of, all) = (Arc::clone(broker), Arc::clone(&markets));
    meter
        .u64_observable_counter("broker_unroutable_total")
        .with_description("Records for a topic without a binding, confirmed and dropped")
        .with_callback(move |observer| {
            for market in all.iter() {
                observer.observe(of.state(market).unroutable, &[label("market", market)]);
            }
        })
        .build();
    observe_group(services, broker, &markets);
    observe_dead_letters(services, &markets);
}

fn observe_group(services: &Services, broker: &Arc<Broker>, markets: &Arc<[String]>) {
    let meter = &services.of(Role::OrderBroker).meter;
    let (of, all) = (Arc::clone(broker), Arc::clone(markets));
    meter
        .u64_observable_counter("broker_delivered_total")
        .with_description("Records that a member has taken and acked")
        .with_callback(move |observer| {
            for market in all.iter() {
                for (client, records) in of.state(market).delivered {
                    let [market, topic] = of_topic(market);
                    let group = label("group", &group_of(&market));
                    observer.observe(records, &[market, topic, group, label("client", client)]);
                }
            }
        })
        .build();
    let (of, all) = (Arc::clone(broker), Arc::clone(markets));
    meter
        .u64_observable_gauge("broker_pending_messages")
        .with_description("Records that are appended and not acked")
        .with_callback(move |observer| {
            for market in all.iter() {
                let [name, topic] = of_topic(market);
                observer.observe(of.state(market).pending(), &[name, topic, label("group", &group(market))]);
            }
        })
        .build();
    let (of, all) = (Arc::clone(broker), Arc::clone(markets));
    meter
        .u64_observable_gauge("broker_group_members")
        .with_description("Whether a client is a member of the group")
        .with_callback(move |observer| {
            for market in all.iter() {
                for (client, is_member) in of.state(market).members {
                    let [market, group] = of_group(market);
                    observer.observe(is_member.into(), &[market, group, label("client", client)]);
                }
            }
        })
        .build();
}

/// No scene writes dead letters; that there are none is told all the same.
fn observe_dead_letters(services: &Services, markets: &Arc<[String]>) {
    let meter = &services.of(Role::OrderBroker).meter;
    let all = Arc::clone(markets);
    meter
        .u64_observable_counter("broker_dead_letters_total")
        .with_description("Records in the dead-letter topic")
        .with_callback(move |observer| all.iter().for_each(|market| observer.observe(0, &of_topic(market))))
        .build();
    let all = Arc::clone(markets);
    meter
        .f64_observable_gauge("broker_dead_letters_oldest_age_seconds")
        .with_description("Age of the oldest dead letter, 0 when there is none")
        .with_callback(move |observer| all.iter().for_each(|market| observer.observe(0.0, &of_topic(market))))
        .build();
}

fn business(counter: &Counter<u64>, order: &Order) {
    if order.kind == Kind::Business {
        counter.add(1, &[label("market", &order.market), label("restaurant", &order.restaurant)]);
    }
}

fn label(name: &'static str, value: &str) -> KeyValue {
    KeyValue::new(name, value.to_owned())
}

fn answer(market: &str, status: u16) -> [KeyValue; 3] {
    [label("market", market), label("route", ROUTE), label("status_code", &status.to_string())]
}

fn of_topic(market: &str) -> [KeyValue; 2] {
    [label("market", market), label("topic", &topic(market))]
}

fn of_group(market: &str) -> [KeyValue; 2] {
    [label("market", market), label("group", &group(market))]
}

fn group_of(market: &KeyValue) -> String {
    group(&market.value.as_str())
}

fn result_of(market: &str, result: Settled) -> [KeyValue; 3] {
    let [market, group] = of_group(market);
    [market, group, label("result", result.as_str())]
}
