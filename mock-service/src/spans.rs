//! The spans of one request: a server span by the HTTP semantic conventions, and a child span for each step.
//!
//! With tracing disabled every type here is empty and every call returns at once.
//! A request whose `traceparent` header is well formed continues that trace; any other starts its own.

use std::net::SocketAddr;

use axum::extract::{MatchedPath, Request};
use http::uri::Authority;
use http::{HeaderMap, Method, StatusCode, header};
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue, Value};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span};
use opentelemetry_semantic_conventions::attribute as semconv;

/// Whether requests are traced, and by what.
#[derive(Debug, Clone)]
pub(crate) enum Tracing {
    Disabled,
    Enabled(SdkTracer),
}

/// The peer of the connection a request came over.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Peer(pub(crate) SocketAddr);

impl Tracing {
    /// Starts the server span of `request`, which has been routed already.
    pub(crate) fn server_span(&self, request: &Request) -> RequestSpan {
        let Tracing::Enabled(tracer) = self else { return RequestSpan(None) };
        let route = request.extensions().get::<MatchedPath>().map(|matched| route(matched.as_str()));
        let method = method_name(request.method());
        let name = match route {
            Some(route) => format!("{method} {route}"),
            None => method.to_owned(),
        };
        let parent =
            TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(request.headers()));
        let builder = SpanBuilder::from_name(name)
            .with_kind(SpanKind::Server)
            .with_attributes(request_attributes(request, route));
        let span = tracer.build_with_context(builder, &parent);
        RequestSpan(Some((tracer.clone(), parent.with_span(span))))
    }
}

/// The server span of one request. Cheap to clone; all clones are the same span.
#[derive(Debug, Clone)]
pub(crate) struct RequestSpan(Option<(SdkTracer, Context)>);

impl RequestSpan {
    /// The identity to write into the log line, while tracing is on.
    pub(crate) fn context(&self) -> Option<SpanContext> {
        self.0.as_ref().map(|(_, context)| context.span().span_context().clone())
    }

    /// Starts a child span inside the service; it ends when dropped.
    pub(crate) fn step(&self, name: &'static str) -> Step {
        self.child(SpanBuilder::from_name(name).with_kind(SpanKind::Internal))
    }

    /// Starts the child span of a call to the restaurant database; it ends when dropped.
    pub(crate) fn database_call(&self) -> Step {
        self.child(SpanBuilder::from_name("SELECT menu_items").with_kind(SpanKind::Client).with_attributes([
            KeyValue::new(semconv::DB_SYSTEM_NAME, "other_sql"),
            KeyValue::new(semconv::DB_OPERATION_NAME, "SELECT"),
            KeyValue::new(semconv::DB_COLLECTION_NAME, "menu_items"),
            KeyValue::new(semconv::SERVER_ADDRESS, "restaurant-database"),
        ]))
    }

    /// Ends the span with the answer's status. By the conventions only 5xx is an error on the server's side.
    pub(crate) fn end(&self, status: StatusCode) {
        let Some((_, context)) = &self.0 else { return };
        let span = context.span();
        span.set_attribute(KeyValue::new(semconv::HTTP_RESPONSE_STATUS_CODE, i64::from(status.as_u16())));
        if status.is_server_error() {
            span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, status.as_str().to_owned()));
            span.set_status(Status::error(""));
        }
        span.end();
    }

    fn child(&self, builder: SpanBuilder) -> Step {
        Step(self.0.as_ref().map(|(tracer, parent)| tracer.build_with_context(builder, parent)))
    }
}

/// The span of one step; ends when dropped.
#[derive(Debug)]
pub(crate) struct Step(Option<Span>);

impl Step {
    pub(crate) fn record(&mut self, key: &'static str, value: impl Into<Value>) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(key, value));
        }
    }

    pub(crate) fn fail(&mut self, error_type: &'static str, error: &dyn std::error::Error) {
        if let Some(span) = &mut self.0 {
            span.set_attribute(KeyValue::new(semconv::ERROR_TYPE, error_type));
            span.record_error(error);
            span.set_status(Status::error(error.to_string()));
        }
    }
}

/// The headers that a trace context may come in.
pub(crate) struct Headers<'a>(pub(crate) &'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        text(self.0, key)
    }

    fn keys(&self) -> Vec<&str> {
        self.0.keys().map(|name| name.as_str()).collect()
    }
}

fn request_attributes(request: &Request, route: Option<&'static str>) -> Vec<KeyValue> {
    let (uri, headers) = (request.uri(), request.headers());
    let mut attributes = vec![
        KeyValue::new(semconv::HTTP_REQUEST_METHOD, method_name(request.method()).to_owned()),
        KeyValue::new(semconv::URL_SCHEME, "http"),
        KeyValue::new(semconv::URL_PATH, uri.path().to_owned()),
        KeyValue::new(semconv::NETWORK_PROTOCOL_VERSION, protocol_version(request)),
    ];
    let mut add = |key: &'static str, value: Option<Value>| {
        attributes.extend(value.map(|value| KeyValue::new(key, value)));
    };
    if method_name(request.method()) == OTHER_METHOD {
        add(semconv::HTTP_REQUEST_METHOD_ORIGINAL, Some(request.method().to_string().into()));
    }
    add(semconv::HTTP_ROUTE, route.map(Value::from));
    add(semconv::URL_QUERY, uri.query().map(|query| query.to_owned().into()));
    add(
        semconv::USER_AGENT_ORIGINAL,
        text(headers, header::USER_AGENT.as_str()).map(|agent| agent.to_owned().into()),
    );
    let host =
        uri.authority().cloned().or_else(|| text(headers, header::HOST.as_str())?.parse::<Authority>().ok());
    if let Some(host) = host {
        add(semconv::SERVER_ADDRESS, Some(host.host().to_owned().into()));
        add(semconv::SERVER_PORT, host.port_u16().map(|port| i64::from(port).into()));
    }
    if let Some(Peer(peer)) = request.extensions().get() {
        add(semconv::CLIENT_ADDRESS, Some(peer.ip().to_string().into()));
        add(semconv::NETWORK_PEER_ADDRESS, Some(peer.ip().to_string().into()));
        add(semconv::NETWORK_PEER_PORT, Some(i64::from(peer.port()).into()));
    }
    attributes
}

/// The low-cardinality route: the two patterns under `/api/menu/` are one resource to a reader of traces.
fn route(matched: &str) -> &'static str {
    match matched {
        "/health" => "/health",
        "/api/menu" => "/api/menu",
        _ => "/api/menu/{id}",
    }
}

const OTHER_METHOD: &str = "_OTHER";

/// The method, or `_OTHER` for one the conventions do not know: anyone can invent methods, span names must be few.
fn method_name(method: &Method) -> &str {
    match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "DELETE" | "CONNECT" | "OPTIONS" | "TRACE" | "PATCH") => {
            known
        }
        _ => OTHER_METHOD,
    }
}

fn protocol_version(request: &Request) -> &'static str {
    match request.version() {
        http::Version::HTTP_10 => "1.0",
        _ => "1.1",
    }
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}
