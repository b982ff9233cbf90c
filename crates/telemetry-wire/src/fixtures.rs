//! Realistic telemetry for tests and benches (feature `fixtures`): seeded, so that a run can be repeated.
//!
//! Logs follow the shape the project's numbers are quoted for: 24 services, 12 resource attributes, 4 to 7 log
//! attributes, bodies of about 100 bytes, 60 % of records with a trace id of their own, 200 records a request under 4
//! resources — about 336 bytes of protobuf a record.

pub mod menu;

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// Services the data comes from.
pub const SERVICES: usize = 24;
/// Resources in one request.
pub const RESOURCES: usize = 4;
/// Log records, spans or data points under one resource.
pub const ITEMS: usize = 50;
/// The time of the first item, in nanoseconds since the epoch.
pub const START_UNIX_NANO: u64 = 1_767_225_600_000_000_000;

/// A source of requests.
#[derive(Debug)]
pub struct Load {
    rng: StdRng,
    clock_unix_nano: u64,
}

impl Load {
    /// A source that yields the same requests for the same seed.
    pub fn new(seed: u64) -> Self {
        Self { rng: StdRng::seed_from_u64(seed), clock_unix_nano: START_UNIX_NANO }
    }

    /// The same from another time on, in nanoseconds since the epoch: stores drop what is older than their retention.
    #[must_use]
    pub fn starting_at(self, unix_nano: u64) -> Self {
        Self { clock_unix_nano: unix_nano, ..self }
    }

    /// The next logs request: [`RESOURCES`] × [`ITEMS`] records.
    pub fn logs(&mut self) -> ExportLogsServiceRequest {
        let resource_logs = (0..RESOURCES)
            .map(|_| ResourceLogs {
                resource: Some(self.resource()),
                scope_logs: vec![ScopeLogs {
                    scope: Some(scope()),
                    log_records: (0..ITEMS).map(|_| self.log_record()).collect(),
                    schema_url: String::new(),
                }],
                schema_url: SCHEMA_URL.into(),
            })
            .collect();
        ExportLogsServiceRequest { resource_logs }
    }

    /// The next traces request: [`RESOURCES`] × [`ITEMS`] spans in traces of five.
    pub fn traces(&mut self) -> ExportTraceServiceRequest {
        let resource_spans = (0..RESOURCES)
            .map(|_| ResourceSpans {
                resource: Some(self.resource()),
                scope_spans: vec![ScopeSpans {
                    scope: Some(scope()),
                    spans: (0..ITEMS / 5).flat_map(|_| self.trace()).collect(),
                    schema_url: String::new(),
                }],
                schema_url: SCHEMA_URL.into(),
            })
            .collect();
        ExportTraceServiceRequest { resource_spans }
    }

    /// The next metrics request: [`RESOURCES`] × [`ITEMS`] points in sums, gauges and histograms, all cumulative.
    pub fn metrics(&mut self) -> ExportMetricsServiceRequest {
        let resource_metrics = (0..RESOURCES)
            .map(|_| ResourceMetrics {
                resource: Some(self.resource()),
                scope_metrics: vec![ScopeMetrics {
                    scope: Some(scope()),
                    metrics: (0..ITEMS / 10).map(|index| self.metric(index)).collect(),
                    schema_url: String::new(),
                }],
                schema_url: SCHEMA_URL.into(),
            })
            .collect();
        ExportMetricsServiceRequest { resource_metrics }
    }

    fn resource(&mut self) -> Resource {
        let service = self.rng.random_range(0..SERVICES);
        let pod = self.rng.random_range(0..8u32);
        let node = self.rng.random_range(0..16u32);
        let attributes = vec![
            text("service.name", format!("menu-service-{service:02}")),
            text("service.version", format!("1.{}.0", service % 5)),
            text("service.instance.id", format!("menu-service-{service:02}-{pod}")),
            text("deployment.environment.name", "production".into()),
            text("k8s.cluster.name", "prod-eu-1".into()),
            text("k8s.namespace.name", format!("team-{}", service % 6)),
            text("k8s.deployment.name", format!("menu-service-{service:02}")),
            text("k8s.pod.name", format!("menu-service-{service:02}-6f7d8-{pod:05}")),
            text("k8s.pod.uid", format!("7c9e6679-7425-40de-944b-{:012x}", service * 8 + pod as usize)),
            text("k8s.container.name", "app".into()),
            text("k8s.node.name", format!("node-{node:02}.prod-eu-1.internal")),
            text("host.name", format!("node-{node:02}")),
        ];
        Resource { attributes, ..Resource::default() }
    }

    fn log_record(&mut self) -> LogRecord {
        let time = self.tick();
        let with_trace = self.rng.random_bool(0.6);
        let severity = [5, 9, 9, 9, 9, 9, 13, 17][self.rng.random_range(0..8)];
        let (item, latency) = (self.rng.random_range(0..5_000u32), self.rng.random_range(1..900u32));
        let route = ROUTES[self.rng.random_range(0..ROUTES.len())];
        let body = format!(
            "GET {route}{item} completed for customer {:08x} in {latency} ms with {} menu entries from the regional cache tier",
            self.rng.random::<u32>(),
            item % 40,
        );
        LogRecord {
            time_unix_nano: time,
            observed_time_unix_nano: time + 1_000_000,
            severity_number: severity,
            severity_text: if severity < 13 { "INFO" } else { "WARN" }.into(),
            body: Some(AnyValue { value: Some(Value::StringValue(body)) }),
            attributes: self.log_attributes(route, latency),
            trace_id: if with_trace { self.id(16) } else { Vec::new() },
            span_id: if with_trace { self.id(8) } else { Vec::new() },
            flags: u32::from(with_trace),
            ..LogRecord::default()
        }
    }

    fn log_attributes(&mut self, route: &str, latency: u32) -> Vec<KeyValue> {
        let mut attributes = vec![
            text("http.route", route.into()),
            text("http.request.method", "GET".into()),
            int("http.response.status_code", [200, 200, 200, 404, 500][self.rng.random_range(0..5)]),
            double("latency_ms", f64::from(latency) + 0.25),
        ];
        let optional = [
            text("user.id", format!("u-{:06}", self.rng.random_range(0..100_000u32))),
            text("thread.name", format!("worker-{}", self.rng.random_range(0..16u32))),
            KeyValue { value: value(Value::BoolValue(true)), ..text("cache.hit", String::new()) },
        ];
        attributes.extend(optional.into_iter().take(self.rng.random_range(0..=3)));
        attributes
    }

    fn trace(&mut self) -> Vec<Span> {
        let (trace_id, root) = (self.id(16), self.id(8));
        (0..5)
            .map(|index| {
                let start = self.tick();
                let failed = self.rng.random_bool(0.1);
                Span {
                    trace_id: trace_id.clone(),
                    span_id: if index == 0 { root.clone() } else { self.id(8) },
                    parent_span_id: if index == 0 { Vec::new() } else { root.clone() },
                    name: format!("GET {}", ROUTES[index % ROUTES.len()]),
                    kind: if index == 0 { 2 } else { 1 },
                    start_time_unix_nano: start,
                    end_time_unix_nano: start + self.rng.random_range(10_000..90_000_000),
                    attributes: self.log_attributes(ROUTES[index % ROUTES.len()], 12),
                    events: if failed { vec![exception(start)] } else { Vec::new() },
                    links: if index == 4 { vec![self.link()] } else { Vec::new() },
                    status: failed.then(|| Status { code: 2, message: "upstream timed out".into() }),
                    flags: 1,
                    ..Span::default()
                }
            })
            .collect()
    }

    fn link(&mut self) -> span::Link {
        span::Link {
            trace_id: self.id(16),
            span_id: self.id(8),
            attributes: vec![text("link.kind", "retry".into())],
            ..span::Link::default()
        }
    }

    fn metric(&mut self, index: usize) -> Metric {
        let data = match index % 3 {
            0 => metric::Data::Sum(Sum {
                data_points: (0..10).map(|point| self.number_point(point)).collect(),
                aggregation_temporality: 2,
                is_monotonic: true,
            }),
            1 => metric::Data::Gauge(Gauge {
                data_points: (0..10).map(|point| self.number_point(point)).collect(),
            }),
            _ => metric::Data::Histogram(Histogram {
                data_points: (0..10).map(|point| self.histogram_point(point)).collect(),
                aggregation_temporality: 2,
            }),
        };
        Metric {
            name: format!("menu.metric.{index}"),
            description: "Requests by route".into(),
            unit: "{request}".into(),
            data: Some(data),
            ..Metric::default()
        }
    }

    fn number_point(&mut self, point: i64) -> NumberDataPoint {
        NumberDataPoint {
            attributes: vec![int("point", point), text("http.route", ROUTES[0].into())],
            start_time_unix_nano: START_UNIX_NANO,
            time_unix_nano: self.tick(),
            value: Some(number_data_point::Value::AsInt(self.rng.random_range(0..1_000_000))),
            ..NumberDataPoint::default()
        }
    }

    fn histogram_point(&mut self, point: i64) -> HistogramDataPoint {
        let bucket_counts: Vec<u64> = (0..6).map(|_| self.rng.random_range(0..1_000)).collect();
        HistogramDataPoint {
            attributes: vec![int("point", point)],
            start_time_unix_nano: START_UNIX_NANO,
            time_unix_nano: self.tick(),
            count: bucket_counts.iter().sum(),
            sum: Some(self.rng.random_range(0.0..1e6)),
            bucket_counts,
            explicit_bounds: vec![0.005, 0.05, 0.1, 0.5, 1.0],
            ..HistogramDataPoint::default()
        }
    }

    fn tick(&mut self) -> u64 {
        self.clock_unix_nano += self.rng.random_range(1_000..20_000_000);
        self.clock_unix_nano
    }

    fn id(&mut self, bytes: usize) -> Vec<u8> {
        (0..bytes).map(|_| self.rng.random()).collect()
    }
}

const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";
const ROUTES: [&str; 4] = ["/api/menu/", "/api/menu/search/", "/api/orders/", "/api/restaurants/"];

fn scope() -> InstrumentationScope {
    InstrumentationScope {
        name: "menu.http".into(),
        version: "0.4.1".into(),
        ..InstrumentationScope::default()
    }
}

fn exception(time: u64) -> span::Event {
    span::Event {
        time_unix_nano: time,
        name: "exception".into(),
        attributes: vec![text("exception.type", "TimeoutError".into())],
        ..span::Event::default()
    }
}

fn value(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn attribute(key: &str, with: Value) -> KeyValue {
    KeyValue { key: key.into(), value: value(with), ..KeyValue::default() }
}

fn text(key: &str, text: String) -> KeyValue {
    attribute(key, Value::StringValue(text))
}

fn int(key: &str, number: i64) -> KeyValue {
    attribute(key, Value::IntValue(number))
}

fn double(key: &str, number: f64) -> KeyValue {
    attribute(key, Value::DoubleValue(number))
}
