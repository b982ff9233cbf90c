//! Telemetry with every kind of value in it, from a seed; each item carries an id of its own.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
    metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};

/// The attribute that names a record.
pub(crate) const ID: &str = "record.id";

/// A source of requests; the same seed gives the same telemetry, but for the start time.
pub(crate) struct Generator {
    rng: StdRng,
    start_nanos: u64,
    name: String,
    made: u64,
}

impl Generator {
    pub(crate) fn new(name: &str, seed: u64) -> Self {
        let now = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .expect("the clock is after 1970");
        let start = now - std::time::Duration::from_secs(600);
        Self {
            rng: StdRng::seed_from_u64(seed),
            start_nanos: u64::try_from(start.as_nanos()).expect("nanoseconds fit until 2554"),
            name: name.to_owned(),
            made: 0,
        }
    }

    /// One request with `count` log records in up to four resources.
    pub(crate) fn logs(&mut self, count: usize) -> ExportLogsServiceRequest {
        let resource_logs = self.in_resources(count, |this, resource, schema_url, count| ResourceLogs {
            resource: Some(resource),
            schema_url,
            scope_logs: vec![ScopeLogs {
                scope: Some(this.scope()),
                schema_url: "https://opentelemetry.io/schemas/1.30.0".into(),
                log_records: (0..count).map(|_| this.log_record()).collect(),
            }],
        });
        ExportLogsServiceRequest { resource_logs }
    }

    /// One request with `count` spans in up to four resources.
    pub(crate) fn spans(&mut self, count: usize) -> ExportTraceServiceRequest {
        let resource_spans = self.in_resources(count, |this, resource, schema_url, count| ResourceSpans {
            resource: Some(resource),
            schema_url,
            scope_spans: vec![ScopeSpans {
                scope: Some(this.scope()),
                schema_url: String::new(),
                spans: (0..count).map(|_| this.span()).collect(),
            }],
        });
        ExportTraceServiceRequest { resource_spans }
    }

    /// One request of `series` points at the time of `step`, one second apart: gauges, and one sum and one histogram in ten.
    pub(crate) fn metrics(&mut self, series: usize, step: u64) -> ExportMetricsServiceRequest {
        let time = self.start_nanos + step * 1_000_000_000;
        let (mut gauges, mut sums, mut histograms) = (Vec::new(), Vec::new(), Vec::new());
        for number in 0..series {
            let attributes = vec![text("series", &number.to_string())];
            let value = f64::from(self.rng.random_range(0..10_000)) / 4.0;
            match number % 10 {
                0 => histograms.push(histogram_point(attributes, time, step)),
                1 => sums.push(number_point(
                    attributes,
                    time,
                    number_data_point::Value::AsInt(i64::try_from(step).expect("few steps") * 3),
                )),
                _ => gauges.push(number_point(attributes, time, number_data_point::Value::AsDouble(value))),
            }
        }
        let cumulative = 2;
        let metrics = vec![
            named("menu.load", metric::Data::Gauge(Gauge { data_points: gauges })),
            named(
                "menu.views",
                metric::Data::Sum(Sum {
                    data_points: sums,
                    aggregation_temporality: cumulative,
                    is_monotonic: true,
                }),
            ),
            named(
                "menu.latency",
                metric::Data::Histogram(Histogram {
                    data_points: histograms,
                    aggregation_temporality: cumulative,
                }),
            ),
        ];
        ExportMetricsServiceRequest {
            resource_metrics: vec![ResourceMetrics {
                resource: Some(Resource {
                    attributes: vec![text("service.name", &self.name)],
                    ..Default::default()
                }),
                scope_metrics: vec![ScopeMetrics { scope: None, metrics, schema_url: String::new() }],
                schema_url: String::new(),
            }],
        }
    }

    fn in_resources<T>(
        &mut self,
        count: usize,
        mut make: impl FnMut(&mut Self, Resource, String, usize) -> T,
    ) -> Vec<T> {
        let resources = self.rng.random_range(1..=4usize).min(count);
        (0..resources)
            .map(|index| {
                let share = count / resources + usize::from(index < count % resources);
                let resource = self.resource();
                let schema = if self.rng.random_bool(0.5) {
                    "https://opentelemetry.io/schemas/1.28.0".into()
                } else {
                    String::new()
                };
                make(self, resource, schema, share)
            })
            .collect()
    }

    fn resource(&mut self) -> Resource {
        let service = self.rng.random_range(0..24);
        let mut attributes = vec![
            text("service.name", &format!("service-{service}")),
            text("k8s.namespace.name", "production"),
            text("k8s.pod.name", &format!("pod-{service}-{}", self.rng.random_range(0..3))),
        ];
        if self.rng.random_bool(0.2) {
            attributes.push(KeyValue {
                key: "host.cores".into(),
                value: Some(self.value(1)),
                ..Default::default()
            });
        }
        if self.rng.random_bool(0.05) {
            attributes.remove(0);
        }
        Resource { attributes, ..Default::default() }
    }

    fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: ["menu", "orders", ""][self.rng.random_range(0..3)].into(),
            version: ["1.0", "2.1.3", ""][self.rng.random_range(0..3)].into(),
            attributes: if self.rng.random_bool(0.3) { vec![text("team", "menu")] } else { Vec::new() },
            ..Default::default()
        }
    }

    fn log_record(&mut self) -> LogRecord {
        let time = self.time();
        let traced = self.rng.random_bool(0.6);
        let only_observed = self.rng.random_bool(0.1);
        let severity = self.rng.random_range(0..=24);
        LogRecord {
            time_unix_nano: if only_observed { 0 } else { time },
            observed_time_unix_nano: time + 1_000,
            severity_number: severity,
            severity_text: ["", "INFO", "WARN", "Erreur ⚠"][self.rng.random_range(0..4)].into(),
            body: if self.rng.random_bool(0.9) { Some(self.value(2)) } else { None },
            attributes: self.attributes(),
            flags: if traced { 1 } else { 0 },
            trace_id: if traced { self.bytes(16) } else { Vec::new() },
            span_id: if traced { self.bytes(8) } else { Vec::new() },
            event_name: if self.rng.random_bool(0.2) { "menu.viewed".into() } else { String::new() },
            ..Default::default()
        }
    }

    fn span(&mut self) -> Span {
        let start = self.time();
        let events = (0..self.rng.random_range(0..3))
            .map(|index| span::Event {
                time_unix_nano: start + index,
                name: format!("event {index}"),
                attributes: vec![text("n", &index.to_string())],
                ..Default::default()
            })
            .collect();
        let links = (0..self.rng.random_range(0..2))
            .map(|_| span::Link {
                trace_id: self.bytes(16),
                span_id: self.bytes(8),
                trace_state: "a=b".into(),
                attributes: vec![text("why", "batch")],
                ..Default::default()
            })
            .collect();
        let root = self.rng.random_bool(0.3);
        Span {
            trace_id: self.bytes(16),
            span_id: self.bytes(8),
            parent_span_id: if root { Vec::new() } else { self.bytes(8) },
            trace_state: if root { String::new() } else { "vendor=1".into() },
            name: ["GET /api/menu", "SELECT menu", "encode"][self.rng.random_range(0..3)].into(),
            kind: self.rng.random_range(0..=5),
            start_time_unix_nano: start,
            end_time_unix_nano: start + self.rng.random_range(0..5_000_000_000u64),
            attributes: self.attributes(),
            events,
            links,
            status: if self.rng.random_bool(0.8) {
                Some(Status {
                    code: self.rng.random_range(0..=2),
                    message: ["", "sold out"][self.rng.random_range(0..2)].into(),
                })
            } else {
                None
            },
            ..Default::default()
        }
    }

    fn attributes(&mut self) -> Vec<KeyValue> {
        self.made += 1;
        let mut attributes = vec![text(ID, &format!("{}-{}", self.name, self.made))];
        for index in 0..self.rng.random_range(2..6) {
            attributes.push(KeyValue {
                key: format!("key.{index}"),
                value: Some(self.value(2)),
                ..Default::default()
            });
        }
        if self.rng.random_bool(0.1) {
            attributes.push(text("key.0", "the last one counts"));
        }
        attributes
    }

    fn value(&mut self, depth: u32) -> AnyValue {
        let kinds = if depth == 0 { 5 } else { 7 };
        let value = match self.rng.random_range(0..kinds) {
            0 => any_value::Value::StringValue(format!("Margherita — {}", self.rng.next_u32())),
            1 => any_value::Value::BoolValue(self.rng.random_bool(0.5)),
            2 => any_value::Value::IntValue(self.rng.random_range(i64::MIN..i64::MAX)),
            3 => any_value::Value::DoubleValue(f64::from(self.rng.random_range(-4_000..4_000)) / 8.0),
            4 => any_value::Value::BytesValue(self.bytes(5)),
            5 => any_value::Value::ArrayValue(ArrayValue {
                values: (0..3).map(|_| self.value(depth - 1)).collect(),
            }),
            _ => any_value::Value::KvlistValue(KeyValueList {
                values: (0..3)
                    .map(|index| KeyValue {
                        key: format!("inner{index}"),
                        value: Some(self.value(depth - 1)),
                        ..Default::default()
                    })
                    .collect(),
            }),
        };
        AnyValue { value: Some(value) }
    }

    fn time(&mut self) -> u64 {
        self.start_nanos + self.rng.random_range(0..500_000_000_000u64)
    }

    fn bytes(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.rng.fill_bytes(&mut bytes);
        bytes[0] |= 1;
        bytes
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    KeyValue {
        key: key.into(),
        value: Some(AnyValue { value: Some(any_value::Value::StringValue(value.into())) }),
        ..Default::default()
    }
}

fn named(name: &str, data: metric::Data) -> Metric {
    Metric { name: name.into(), data: Some(data), ..Default::default() }
}

fn number_point(attributes: Vec<KeyValue>, time: u64, value: number_data_point::Value) -> NumberDataPoint {
    NumberDataPoint {
        attributes,
        start_time_unix_nano: time - time % 1_000_000_000_000,
        time_unix_nano: time,
        value: Some(value),
        ..Default::default()
    }
}

fn histogram_point(attributes: Vec<KeyValue>, time: u64, step: u64) -> HistogramDataPoint {
    HistogramDataPoint {
        attributes,
        time_unix_nano: time,
        count: step * 3,
        #[allow(clippy::cast_precision_loss, reason = "few steps")]
        sum: Some(step as f64 * 4.5),
        bucket_counts: vec![step, step, step],
        explicit_bounds: vec![1.0, 2.0],
        ..Default::default()
    }
}
