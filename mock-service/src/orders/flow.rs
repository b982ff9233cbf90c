//! The way of an order: charged, stored, published, taken, stored again, shown on the tablet. Each fault is one branch here.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use opentelemetry::logs::{AnyValue, Severity};
use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};
use opentelemetry_semantic_conventions::attribute as semconv;
use rand::RngExt as _;
use tokio::sync::mpsc;

use super::Services;
use super::broker::{Broker, Delivery, FOREIGN, OURS, group, topic};
use super::fault::{Fault, Switch};
use super::ledger::{Ledger, Status};
use super::metrics::{Metrics, Settled};
use super::order::{Fate, Order};
use super::service::{OrderSpan, Role, Service};

/// Names of the conventions that are behind their "experimental" feature.
const MESSAGING_SYSTEM: &str = "messaging.system";
const OPERATION: &str = "messaging.operation.type";
const DESTINATION: &str = "messaging.destination.name";
const PARTITION: &str = "messaging.destination.partition.id";
const OFFSET: &str = "messaging.kafka.offset";
const GROUP: &str = "messaging.consumer.group.name";
const CLIENT: &str = "messaging.client.id";

/// All that an order meets.
#[derive(Debug)]
pub(super) struct Flow {
    pub(super) services: Services,
    pub(super) broker: Arc<Broker>,
    pub(super) switch: Switch,
    pub(super) metrics: Metrics,
    pub(super) ledger: Ledger,
}

impl Flow {
    /// Takes an order, as the gateway does: when this returns the customer reads "order received".
    pub(super) async fn place(self: &Arc<Self>, order: Arc<Order>, parent: Context) {
        let gateway = self.of(Role::Gateway).span("POST /orders", SpanKind::Server, &parent, &order, http());
        let service = self.of(Role::OrderService);
        let handling = service.span("POST /orders", SpanKind::Server, &gateway.context(), &order, http());
        self.ledger.open(&order, &handling.context());
        self.charge(&order, &handling).await;
        {
            let insert = database_call(service, "orders", &order, &handling.context());
            pause(2..8).await;
            service.event(
                "order.stored",
                &order,
                &insert.context(),
                due(&order).into_iter().chain(record(&order)),
            );
            self.metrics.stored(&order);
        }
        let context = handling.context();
        match (order.fate, order.due_at) {
            (Fate::Cooked | Fate::Rejected, None) => self.publish(&order, &context).await,
            (Fate::Cooked | Fate::Rejected, Some(due_at)) => {
                let (flow, order, context) = (Arc::clone(self), Arc::clone(&order), context.clone());
                tokio::spawn(async move {
                    tokio::time::sleep(due_at.duration_since(SystemTime::now()).unwrap_or_default()).await;
                    flow.publish(&order, &context).await;
                });
            }
            (Fate::Cancelled | Fate::Refunded, _) => {
                let (flow, order, context) = (Arc::clone(self), Arc::clone(&order), context.clone());
                tokio::spawn(async move { flow.take_back(&order, &context).await });
            }
        }
        for span in [&handling, &gateway] {
            span.set(KeyValue::new(semconv::HTTP_RESPONSE_STATUS_CODE, 201));
        }
        self.metrics.answered(&order.market, 201);
    }

    async fn charge(&self, order: &Order, handling: &OrderSpan) {
        let server = KeyValue::new(semconv::SERVER_ADDRESS, Role::PaymentProvider.as_str());
        let call = self.of(Role::OrderService).span(
            "charge",
            SpanKind::Client,
            &handling.context(),
            order,
            [server],
        );
        let provider = self.of(Role::PaymentProvider);
        let amount = KeyValue::new("order.amount", order.amount);
        let capture = provider.span("capture", SpanKind::Server, &call.context(), order, [amount]);
        pause(20..60).await;
        let amount = ("order.amount", AnyValue::from(order.amount));
        provider.event("order.captured", order, &capture.context(), due(order).into_iter().chain([amount]));
        self.metrics.charged(order);
    }

    /// Its customer cancels, or it is refunded for another reason, before the restaurant has it.
    async fn take_back(&self, order: &Order, context: &Context) {
        pause(1_000..15_000).await;
        if order.fate == Fate::Cancelled {
            self.of(Role::OrderService).event("order.cancelled", order, context, []);
            self.ledger.set(order, Status::Cancelled);
            pause(1_000..3_000).await;
        }
        self.refund(order, context);
    }

    /// The money goes back.
    pub(super) fn refund(&self, order: &Order, context: &Context) {
        let amount = ("order.amount", AnyValue::from(order.amount));
        self.of(Role::OrderService).event("order.refunded", order, context, [amount]);
        self.ledger.set(order, Status::Refunded);
    }

    async fn publish(&self, order: &Arc<Order>, context: &Context) {
        let market = &order.market;
        let service = self.of(Role::OrderService);
        let attributes = messaging(order, "send");
        let span = service.span(
            format!("publish {}", topic(market)),
            SpanKind::Producer,
            context,
            order,
            attributes,
        );
        self.metrics.row(market);
        pause(1..5).await;
        if self.switch.hits(market, Fault::LostBeforeBroker) {
            return;
        }
        if self.switch.hits(market, Fault::PublishToNowhere) {
            self.broker.drop_unroutable(order);
            self.metrics.confirmed(market);
            return;
        }
        let is_for_foreign = self.switch.hits(market, Fault::ForeignReader);
        // Told before it is taken, or the consumer would be ahead of the broker.
        self.ledger.published(order, &span.context());
        let offset = self.broker.append(order, is_for_foreign).await;
        let told = record(order).into_iter().chain([(OFFSET, number(offset))]);
        self.of(Role::OrderBroker).event("order.appended", order, &span.context(), told);
        self.metrics.confirmed(market);
    }

    /// Our consumer: takes every record of a market that is for it.
    pub(super) async fn consume(self: Arc<Self>, market: String, mut taken: mpsc::Receiver<Delivery>) {
        while let Some(delivery) = taken.recv().await {
            self.metrics.fetched(&market);
            let flow = Arc::clone(&self);
            tokio::spawn(async move { flow.process(&delivery).await });
        }
    }

    /// The member that nobody knows: takes and acks what it is given until it leaves.
    pub(super) async fn take_away(self: Arc<Self>, market: String, mut taken: mpsc::Receiver<Delivery>) {
        while taken.recv().await.is_some() {
            self.broker.ack(&market, FOREIGN);
        }
    }

    async fn process(&self, delivery: &Delivery) {
        let (order, market) = (&delivery.order, &delivery.order.market);
        let service = self.of(Role::RestaurantService);
        let attributes = messaging(order, "process").into_iter().chain([KeyValue::new(GROUP, group(market))]);
        let name = format!("process {}", topic(market));
        let parent = self.ledger.context_of(order);
        let span = service.span(name, SpanKind::Consumer, &parent, order, attributes);
        let context = span.context();
        if self.switch.hits(market, Fault::DedupPoisoned) {
            self.ack(delivery, &context);
            service.log(Severity::Info, "order is known, skipped", order, &context, "duplicate");
            self.metrics.let_go(market, Some(Settled::Deduplicated));
            return;
        }
        if self.switch.hits(market, Fault::AckBeforeStore) {
            self.ack(delivery, &context);
            drop(database_call(service, "restaurant_orders", order, &context));
            let reason = "database token expired";
            service.log(Severity::Warn, "order not stored, skipped", order, &context, reason);
            self.metrics.let_go(market, None);
            return;
        }
        {
            let insert = database_call(service, "restaurant_orders", order, &context);
            pause(3..15).await;
            service.event("order.saved", order, &insert.context(), []);
        }
        self.ack(delivery, &context);
        self.metrics.let_go(market, Some(Settled::Stored));
        self.show(order, &context).await;
    }

    fn ack(&self, delivery: &Delivery, context: &Context) {
        let order = &delivery.order;
        self.broker.ack(&order.market, OURS);
        let told = record(order).into_iter().chain([
            (OFFSET, number(delivery.offset)),
            (GROUP, AnyValue::from(group(&order.market))),
            (CLIENT, AnyValue::from(OURS)),
        ]);
        self.of(Role::RestaurantService).event("order.acked", order, context, told);
    }

    /// The tablet shows the order, and somebody looks at it.
    async fn show(&self, order: &Order, context: &Context) {
        let service = self.of(Role::RestaurantService);
        let push = service.span("push to tablet", SpanKind::Client, context, order, []);
        pause(300..4_000).await;
        if order.fate == Fate::Rejected {
            service.event("order.rejected", order, &push.context(), [("reason", "kitchen closed".into())]);
            self.ledger.set(order, Status::Rejected);
            drop(push);
            pause(2_000..5_000).await;
            self.refund(order, context);
            return;
        }
        service.event("order.tablet_acked", order, &push.context(), []);
        self.metrics.tablet_acked(order);
        self.ledger.set(order, Status::Confirmed);
    }

    /// Switches a fault of a market; a foreign reader joins the group and leaves it.
    pub(super) fn set_fault(self: &Arc<Self>, market: &str, fault: Fault, share: f64) {
        self.switch.set(market, fault, share);
        if fault != Fault::ForeignReader {
            return;
        }
        match share > 0.0 {
            true => {
                if let Some(taken) = self.broker.join_foreign(market) {
                    tokio::spawn(Arc::clone(self).take_away(market.to_owned(), taken));
                }
            }
            false => self.broker.leave_foreign(market),
        }
    }

    /// Every service says that it is there.
    pub(super) fn heartbeat(&self) {
        Role::ALL.into_iter().for_each(|role| self.of(role).heartbeat());
    }

    fn of(&self, role: Role) -> &Service {
        self.services.of(role)
    }
}

fn http() -> [KeyValue; 2] {
    [KeyValue::new(semconv::HTTP_REQUEST_METHOD, "POST"), KeyValue::new(semconv::HTTP_ROUTE, "/orders")]
}

fn messaging(order: &Order, operation: &'static str) -> [KeyValue; 4] {
    [
        KeyValue::new(MESSAGING_SYSTEM, Role::OrderBroker.as_str()),
        KeyValue::new(OPERATION, operation),
        KeyValue::new(DESTINATION, topic(&order.market)),
        KeyValue::new(PARTITION, order.partition.to_string()),
    ]
}

fn database_call(service: &Service, table: &'static str, order: &Order, parent: &Context) -> OrderSpan {
    let attributes = [
        KeyValue::new(semconv::DB_SYSTEM_NAME, "other_sql"),
        KeyValue::new(semconv::DB_OPERATION_NAME, "INSERT"),
        KeyValue::new(semconv::DB_COLLECTION_NAME, table),
    ];
    service.span(format!("INSERT {table}"), SpanKind::Client, parent, order, attributes)
}

/// Where the record of an order goes.
fn record(order: &Order) -> [(&'static str, AnyValue); 2] {
    [(DESTINATION, topic(&order.market).into()), (PARTITION, order.partition.to_string().into())]
}

fn due(order: &Order) -> Option<(&'static str, AnyValue)> {
    let due_at = Timestamp::try_from(order.due_at?).ok()?;
    Some(("order.due_at", due_at.strftime("%Y-%m-%dT%H:%M:%SZ").to_string().into()))
}

fn number(value: u64) -> AnyValue {
    AnyValue::Int(i64::try_from(value).unwrap_or(i64::MAX))
}

async fn pause(milliseconds: std::ops::Range<u64>) {
    let milliseconds = rand::rng().random_range(milliseconds);
    tokio::time::sleep(Duration::from_millis(milliseconds)).await;
}
