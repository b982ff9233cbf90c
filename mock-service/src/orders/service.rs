//! The five services of the flow: each tells its own telemetry, by a clock of its own.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::{Meter, MeterProvider as _};
use opentelemetry::trace::{SpanBuilder, SpanContext, SpanKind, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, Key, KeyValue};
use opentelemetry_sdk::logs::SdkLogger;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use tokio::runtime::Handle;
use tokio::sync::watch;

use super::args::{Oddities, Skew};
use super::order::Order;
use crate::spans::Tracing;
use crate::telemetry::Telemetry;

/// Who takes part in an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// Takes the customer's request.
    Gateway,
    /// Charges, stores and publishes.
    OrderService,
    /// Charges the card.
    PaymentProvider,
    /// Carries the order to its restaurant.
    OrderBroker,
    /// Stores the order and shows it on the tablet.
    RestaurantService,
}

impl Role {
    /// All of them, as orders meet them.
    pub const ALL: [Role; 5] = [
        Role::Gateway,
        Role::OrderService,
        Role::PaymentProvider,
        Role::OrderBroker,
        Role::RestaurantService,
    ];

    /// The name of the service.
    pub fn as_str(self) -> &'static str {
        match self {
            Role::Gateway => "gateway",
            Role::OrderService => "order-service",
            Role::PaymentProvider => "payment-provider",
            Role::OrderBroker => "order-broker",
            Role::RestaurantService => "restaurant-service",
        }
    }
}

/// One service.
#[derive(Debug)]
pub(super) struct Service {
    tracing: Tracing,
    logger: Option<SdkLogger>,
    pub(super) meter: Meter,
    clock: Clock,
    disorder: Disorder,
    /// True once nothing may be late any more.
    hurry: watch::Receiver<bool>,
}

/// What goes wrong with what is told.
#[derive(Debug)]
struct Disorder {
    late_share: f64,
    late_by: Duration,
    duplicated_share: f64,
    draws: Mutex<StdRng>,
}

/// A clock that may be wrong.
#[derive(Debug, Clone, Copy)]
enum Clock {
    Right,
    Ahead(Duration),
    Behind(Duration),
}

impl Clock {
    fn now(self) -> SystemTime {
        match self {
            Clock::Right => SystemTime::now(),
            Clock::Ahead(by) => SystemTime::now() + by,
            Clock::Behind(by) => SystemTime::now() - by,
        }
    }
}

/// A span by the clock of its service; ends when dropped.
#[derive(Debug)]
pub(super) struct OrderSpan {
    context: Option<Context>,
    clock: Clock,
}

impl OrderSpan {
    /// What its children and its log records belong to.
    pub(super) fn context(&self) -> Context {
        self.context.clone().unwrap_or_default()
    }

    pub(super) fn set(&self, attribute: KeyValue) {
        if let Some(context) = &self.context {
            context.span().set_attribute(attribute);
        }
    }
}

impl Drop for OrderSpan {
    fn drop(&mut self) {
        if let Some(context) = &self.context {
            context.span().end_with_timestamp(self.clock.now());
        }
    }
}

/// A line of a service's log.
#[derive(Debug)]
struct Line {
    at: SystemTime,
    event: Option<&'static str>,
    severity: Severity,
    body: String,
    attributes: Vec<(Key, AnyValue)>,
    context: SpanContext,
}

impl Service {
    /// What `oddities` make late is told at once when `hurry` turns true.
    pub(super) fn new(
        role: Role,
        telemetry: &Telemetry,
        oddities: &Oddities,
        seed: u64,
        hurry: watch::Receiver<bool>,
    ) -> Self {
        let clock = match oddities.skews.iter().rev().find(|skew| skew.role == role) {
            None => Clock::Right,
            Some(Skew { by, is_behind: false, .. }) => Clock::Ahead(*by),
            Some(Skew { by, is_behind: true, .. }) => Clock::Behind(*by),
        };
        Self {
            tracing: telemetry.tracing(),
            logger: telemetry.loggers().map(|provider| provider.logger(env!("CARGO_PKG_NAME"))),
            meter: telemetry.meters().meter(env!("CARGO_PKG_NAME")),
            clock,
            disorder: Disorder {
                late_share: oddities.late_share,
                late_by: oddities.late_by,
                duplicated_share: oddities.duplicated_share,
                draws: Mutex::new(StdRng::seed_from_u64(seed)),
            },
            hurry,
        }
    }

    /// Starts a span of `order`.
    pub(super) fn span(
        &self,
        name: impl Into<std::borrow::Cow<'static, str>>,
        kind: SpanKind,
        parent: &Context,
        order: &Order,
        attributes: impl IntoIterator<Item = KeyValue>,
    ) -> OrderSpan {
        let Tracing::Enabled(tracer) = &self.tracing else {
            return OrderSpan { context: None, clock: self.clock };
        };
        let own = [
            KeyValue::new("order.id", order.id.clone()),
            KeyValue::new("order.market", order.market.clone()),
            KeyValue::new("order.restaurant", order.restaurant.clone()),
        ];
        let builder = SpanBuilder::from_name(name)
            .with_kind(kind)
            .with_start_time(self.clock.now())
            .with_attributes(own.into_iter().chain(attributes));
        let span = tracer.build_with_context(builder, parent);
        OrderSpan { context: Some(parent.with_span(span)), clock: self.clock }
    }

    /// Tells an event of `order`: usually once and at once.
    pub(super) fn event(
        &self,
        event: &'static str,
        order: &Order,
        context: &Context,
        attributes: impl IntoIterator<Item = (&'static str, AnyValue)>,
    ) {
        self.tell(self.line(Some(event), Severity::Info, event, order, context, attributes));
    }

    /// A line that is no event.
    pub(super) fn log(
        &self,
        severity: Severity,
        body: &str,
        order: &Order,
        context: &Context,
        reason: &'static str,
    ) {
        self.tell(self.line(None, severity, body, order, context, [("reason", reason.into())]));
    }

    /// Tells that this service is there, so that its silence can be told from telemetry that is late.
    pub(super) fn heartbeat(&self) {
        self.emit(&Line {
            at: self.clock.now(),
            event: Some("order.heartbeat"),
            severity: Severity::Info,
            body: "alive".to_owned(),
            attributes: Vec::new(),
            context: SpanContext::NONE,
        });
    }

    fn line(
        &self,
        event: Option<&'static str>,
        severity: Severity,
        body: &str,
        order: &Order,
        context: &Context,
        attributes: impl IntoIterator<Item = (&'static str, AnyValue)>,
    ) -> Line {
        let own = [
            ("order.id", AnyValue::from(order.id.clone())),
            ("order.kind", AnyValue::from(order.kind.as_str())),
            ("order.market", AnyValue::from(order.market.clone())),
            ("order.restaurant", AnyValue::from(order.restaurant.clone())),
        ];
        Line {
            at: self.clock.now(),
            event,
            severity,
            body: body.to_owned(),
            attributes: own.into_iter().chain(attributes).map(|(key, value)| (key.into(), value)).collect(),
            context: context.span().span_context().clone(),
        }
    }

    fn tell(&self, line: Line) {
        let (is_late, is_twice) = {
            let mut draws = self.disorder.draws.lock().unwrap_or_else(PoisonError::into_inner);
            let mut is_drawn = |share| draws.random::<f64>() < share;
            (is_drawn(self.disorder.late_share), is_drawn(self.disorder.duplicated_share))
        };
        if is_twice {
            self.emit(&line);
        }
        match (is_late, &self.logger) {
            (true, Some(logger)) => {
                let (logger, late_by) = (logger.clone(), self.disorder.late_by);
                let mut hurry = self.hurry.clone();
                Handle::current().spawn(async move {
                    // Who could hurry it is there, or the program has ended.
                    let _ = tokio::time::timeout(late_by, hurry.wait_for(|is_hurried| *is_hurried)).await;
                    emit(&logger, &line);
                });
            }
            _ => self.emit(&line),
        }
    }

    fn emit(&self, line: &Line) {
        if let Some(logger) = &self.logger {
            emit(logger, line);
        }
    }
}

fn emit(logger: &SdkLogger, line: &Line) {
    let mut record = logger.create_log_record();
    if let Some(event) = line.event {
        record.set_event_name(event);
    }
    record.set_timestamp(line.at);
    record.set_severity_number(line.severity);
    record.set_severity_text(line.severity.name());
    record.set_body(AnyValue::from(line.body.clone()));
    record.add_attributes(line.attributes.iter().cloned());
    if line.context.is_valid() {
        let flags = line.context.trace_flags();
        record.set_trace_context(line.context.trace_id(), line.context.span_id(), Some(flags));
    }
    logger.emit(record);
}
