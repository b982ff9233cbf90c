//! One request: sent with the trace context, timed from when it was due, and told to all three signals.
//!
//! - a client span by the HTTP semantic conventions, whose context travels to the server in `traceparent`;
//! - `http.client.request.duration` (histogram, seconds from the due time), `menu_load.requests` (counter by route and
//!   outcome) and `menu_load.in_flight` (up-down counter);
//! - a log record for each request that failed or was answered with an error status, tied to the span.

use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use http::HeaderMap;
use opentelemetry::logs::{AnyValue, LogRecord as _, Logger as _, LoggerProvider as _, Severity};
use opentelemetry::metrics::{Counter, Histogram, MeterProvider as _, UpDownCounter};
use opentelemetry::propagation::{Injector, TextMapPropagator as _};
use opentelemetry::trace::{SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::logs::SdkLogger;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_semantic_conventions::attribute as semconv;
use reqwest::{StatusCode, Url, redirect};
use tokio::time::Instant;

use super::Route;
use crate::spans::Tracing;
use crate::telemetry::Telemetry;

/// The conventions' name for it; the constant is behind their "experimental" feature.
const URL_TEMPLATE: &str = "url.template";

/// Bucket bounds in seconds, as the conventions advise for HTTP durations.
const BOUNDS: [f64; 14] = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];

/// Idle connections are dropped before a server does it, so that none is reused in the moment it is being closed.
const POOL_IDLE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
pub(super) struct Client {
    http: reqwest::Client,
    target: Url,
    tracing: Tracing,
    logger: Option<SdkLogger>,
    duration: Histogram<f64>,
    requests: Counter<u64>,
    in_flight: UpDownCounter<i64>,
}

/// What became of one request.
#[derive(Debug)]
pub(super) struct Observation {
    pub(super) route: Route,
    pub(super) outcome: Result<StatusCode, Failure>,
    /// From the time the request was due to the last byte of its answer.
    pub(super) latency: Duration,
}

/// Why a request has no answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Failure {
    Connect,
    Timeout,
    /// The connection broke or the answer was no HTTP.
    Exchange,
}

impl Failure {
    pub(super) fn as_str(self) -> &'static str {
        match self {
            Failure::Connect => "connect",
            Failure::Timeout => "timeout",
            Failure::Exchange => "exchange",
        }
    }

    fn of(error: &reqwest::Error) -> Self {
        match error {
            error if error.is_timeout() => Failure::Timeout,
            error if error.is_connect() => Failure::Connect,
            _ => Failure::Exchange,
        }
    }
}

impl Client {
    pub(super) fn new(target: Url, timeout: Duration, telemetry: &Telemetry) -> anyhow::Result<Self> {
        anyhow::ensure!(target.has_host(), "the target `{target}` names no host");
        let http = reqwest::Client::builder()
            .timeout(timeout)
            .pool_idle_timeout(POOL_IDLE_TIMEOUT)
            .redirect(redirect::Policy::none())
            .no_proxy()
            .user_agent(concat!("menu-load/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("build the HTTP client")?;
        let meter = telemetry.meters().meter(env!("CARGO_PKG_NAME"));
        Ok(Self {
            http,
            target,
            tracing: telemetry.tracing(),
            logger: telemetry.loggers().map(|provider| provider.logger(env!("CARGO_PKG_NAME"))),
            duration: meter
                .f64_histogram("http.client.request.duration")
                .with_unit("s")
                .with_description("Duration of HTTP client requests, from the time they were due")
                .with_boundaries(BOUNDS.to_vec())
                .build(),
            requests: meter
                .u64_counter("menu_load.requests")
                .with_unit("{request}")
                .with_description("Requests of the traffic generator by route and outcome")
                .build(),
            in_flight: meter
                .i64_up_down_counter("menu_load.in_flight")
                .with_unit("{request}")
                .with_description("Requests sent and not answered yet")
                .build(),
        })
    }

    /// Sends a GET for `path` (percent-encoded) that was due at `due`.
    pub(super) async fn request(&self, route: Route, path: &str, due: Instant) -> Observation {
        let url = format!("{}{path}", self.target.as_str().trim_end_matches('/'));
        let span = self.span(route, &url);
        let mut headers = HeaderMap::new();
        TraceContextPropagator::new().inject_context(&span, &mut Headers(&mut headers));
        self.in_flight.add(1, &[]);
        let outcome = self.exchange(&url, headers).await;
        self.in_flight.add(-1, &[]);
        let observation = Observation { route, outcome, latency: due.elapsed() };
        self.measure(&observation);
        self.report_failure(&observation, path, &span);
        end(&span, &observation);
        observation
    }

    /// Counts a request that was due while too many were in flight.
    pub(super) fn skipped(&self, route: Route) {
        self.requests.add(1, &[KeyValue::new("route", route.as_str()), KeyValue::new("outcome", "skipped")]);
    }

    async fn exchange(&self, url: &str, headers: HeaderMap) -> Result<StatusCode, Failure> {
        let sent = self.http.get(url).headers(headers).send().await;
        let mut response = sent.map_err(|error| Failure::of(&error))?;
        // Read to the end, so that the connection can be used again; nothing of it is kept.
        while response.chunk().await.map_err(|error| Failure::of(&error))?.is_some() {}
        Ok(response.status())
    }

    fn span(&self, route: Route, url: &str) -> Context {
        let Tracing::Enabled(tracer) = &self.tracing else { return Context::new() };
        let mut attributes = self.server();
        attributes.extend([
            KeyValue::new(semconv::HTTP_REQUEST_METHOD, "GET"),
            KeyValue::new(semconv::URL_FULL, url.to_owned()),
            KeyValue::new(URL_TEMPLATE, route.template()),
        ]);
        let builder = SpanBuilder::from_name(format!("GET {}", route.template()))
            .with_kind(SpanKind::Client)
            .with_attributes(attributes);
        let root = Context::new();
        let span = tracer.build_with_context(builder, &root);
        root.with_span(span)
    }

    fn measure(&self, observation: &Observation) {
        let mut attributes = self.server();
        attributes.push(KeyValue::new(semconv::HTTP_REQUEST_METHOD, "GET"));
        attributes.push(KeyValue::new(URL_TEMPLATE, observation.route.template()));
        attributes.extend(observation.attributes());
        self.duration.record(observation.latency.as_secs_f64(), &attributes);
        let outcome = match observation.outcome {
            Ok(_) => "answered",
            Err(failure) => failure.as_str(),
        };
        let route = KeyValue::new("route", observation.route.as_str());
        self.requests.add(1, &[route, KeyValue::new("outcome", outcome)]);
    }

    fn report_failure(&self, observation: &Observation, path: &str, span: &Context) {
        let (Some(logger), Some(error)) = (&self.logger, observation.error_type()) else { return };
        let (severity, text) = match observation.outcome {
            Ok(status) if status.is_client_error() => (Severity::Warn, "WARN"),
            _ => (Severity::Error, "ERROR"),
        };
        let body = match observation.outcome {
            Ok(status) => format!("GET {} was answered {status}", observation.route.template()),
            Err(failure) => {
                format!("GET {} was not answered: {}", observation.route.template(), failure.as_str())
            }
        };
        let mut record = logger.create_log_record();
        record.set_event_name("menu_load.request_failed");
        record.set_timestamp(SystemTime::now());
        record.set_severity_number(severity);
        record.set_severity_text(text);
        record.set_body(AnyValue::from(body));
        record.add_attribute(semconv::HTTP_REQUEST_METHOD, "GET");
        record.add_attribute(semconv::URL_PATH, path.to_owned());
        record.add_attribute(semconv::ERROR_TYPE, error);
        record.add_attribute("route", observation.route.as_str());
        if let Ok(status) = observation.outcome {
            record.add_attribute(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16()));
        }
        let parent = span.span().span_context().clone();
        if parent.is_valid() {
            record.set_trace_context(parent.trace_id(), parent.span_id(), Some(parent.trace_flags()));
        }
        logger.emit(record);
    }

    fn server(&self) -> Vec<KeyValue> {
        let host = self.target.host_str().unwrap_or_default().to_owned();
        let port = self.target.port_or_known_default().unwrap_or_default();
        vec![
            KeyValue::new(semconv::SERVER_ADDRESS, host),
            KeyValue::new(semconv::SERVER_PORT, i64::from(port)),
        ]
    }
}

impl Observation {
    /// By the conventions, a client sees every status from 400 up as an error.
    fn error_type(&self) -> Option<String> {
        match self.outcome {
            Ok(status) if status.as_u16() < 400 => None,
            Ok(status) => Some(status.as_str().to_owned()),
            Err(failure) => Some(failure.as_str().to_owned()),
        }
    }

    fn attributes(&self) -> Vec<KeyValue> {
        let status = self.outcome.ok().map(|status| i64::from(status.as_u16()));
        let status = status.map(|status| KeyValue::new(semconv::HTTP_RESPONSE_STATUS_CODE, status));
        let error = self.error_type().map(|error| KeyValue::new(semconv::ERROR_TYPE, error));
        status.into_iter().chain(error).collect()
    }
}

fn end(span: &Context, observation: &Observation) {
    let span = span.span();
    for attribute in observation.attributes() {
        span.set_attribute(attribute);
    }
    if observation.error_type().is_some() {
        span.set_status(Status::error(""));
    }
    span.end();
}

struct Headers<'a>(&'a mut HeaderMap);

impl Injector for Headers<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(key), http::HeaderValue::try_from(value)) {
            self.0.insert(name, value);
        }
    }
}
