//! The series as OTLP: cumulative sums and histograms of one resource, in requests of a bounded number of samples.
//!
//! A series that is new has no sample before its first value, and whoever asks for a rate would not see that first value. So
//! every series begins with a zero, in a request of its own that has to be stored first.

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value},
    metrics::v1::{
        AggregationTemporality, Exemplar as OtlpExemplar, Histogram, HistogramDataPoint, Metric,
        NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, exemplar, metric, number_data_point,
    },
    resource::v1::Resource,
};
use prost::Message as _;

use super::{
    rules::{Kind, Rule},
    series::{Copied, CopiedRule, Copy},
    tally::Exemplar,
};
use crate::SERVICE;

/// Whose series they are.
#[derive(Debug, Clone)]
pub(super) struct Identity {
    /// `service.instance.id`.
    pub(super) instance: String,
    /// When counting began, in nanoseconds since the epoch.
    pub(super) started_at: u64,
}

/// A request, and how many samples a store makes of it.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) body: Vec<u8>,
    pub(super) samples: u64,
}

/// What of the series goes into a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Zeros of those that were never pushed.
    Beginnings,
    /// All.
    Whole,
}

/// The requests of a copy, all of one time in nanoseconds since the epoch; none when there is nothing.
pub(super) fn requests(
    copy: &Copy,
    part: Part,
    at: u64,
    identity: &Identity,
    max_samples: u64,
) -> Vec<Request> {
    let (mut requests, mut metrics, mut samples) = (Vec::new(), Vec::new(), 0);
    for rule in &copy.rules {
        let per_point = samples_of(&rule.plan.rule);
        let mut points = match part {
            Part::Beginnings => &rule.list[rule.begun..],
            Part::Whole => &rule.list[..],
        };
        while !points.is_empty() {
            let room = usize::try_from((max_samples - samples) / per_point).unwrap_or(usize::MAX);
            if room == 0 && samples > 0 {
                requests.push(request(std::mem::take(&mut metrics), samples, identity));
                samples = 0;
                continue;
            }
            let (now, later) = points.split_at(room.clamp(1, points.len()));
            metrics.push(metric_of(rule, now, part, at, identity));
            samples += now.len() as u64 * per_point;
            points = later;
        }
    }
    if samples > 0 {
        requests.push(request(metrics, samples, identity));
    }
    requests
}

/// Samples that a store keeps of one point: of a histogram one for each bucket, the sum and the count.
fn samples_of(rule: &Rule) -> u64 {
    match rule.kind {
        Kind::Counter => 1,
        Kind::Histogram { .. } => rule.width() as u64 + 2,
    }
}

fn request(metrics: Vec<Metric>, samples: u64, identity: &Identity) -> Request {
    let text = |key: &str, value: &str| attribute(key, value);
    let resource = Resource {
        attributes: vec![
            text("service.name", SERVICE.name),
            text("service.instance.id", &identity.instance),
            text("service.version", SERVICE.version),
        ],
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: concat!(env!("CARGO_PKG_NAME"), "/derive").to_owned(),
        ..Default::default()
    };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let resource_metrics =
        vec![ResourceMetrics { resource: Some(resource), scope_metrics, ..ResourceMetrics::default() }];
    Request { body: ExportMetricsServiceRequest { resource_metrics }.encode_to_vec(), samples }
}

fn metric_of(rule: &CopiedRule, list: &[Copied], part: Part, at: u64, identity: &Identity) -> Metric {
    let aggregation_temporality = AggregationTemporality::Cumulative as i32;
    let of = &rule.plan.rule;
    let data = match &of.kind {
        Kind::Counter => metric::Data::Sum(Sum {
            data_points: list.iter().map(|series| counter_point(series, part, at, identity)).collect(),
            aggregation_temporality,
            is_monotonic: true,
        }),
        Kind::Histogram { bounds, .. } => metric::Data::Histogram(Histogram {
            data_points: list
                .iter()
                .map(|series| histogram_point(series, bounds, part, at, identity))
                .collect(),
            aggregation_temporality,
        }),
    };
    Metric {
        name: of.name.clone(),
        description: of.help.clone(),
        unit: of.unit.clone(),
        data: Some(data),
        ..Metric::default()
    }
}

fn counter_point(series: &Copied, part: Part, at: u64, identity: &Identity) -> NumberDataPoint {
    let count = if part == Part::Beginnings { 0 } else { series.buckets[0] };
    NumberDataPoint {
        attributes: attributes(series),
        start_time_unix_nano: identity.started_at,
        time_unix_nano: at,
        value: Some(number_data_point::Value::AsInt(i64::try_from(count).unwrap_or(i64::MAX))),
        ..NumberDataPoint::default()
    }
}

fn histogram_point(
    series: &Copied,
    bounds: &[f64],
    part: Part,
    at: u64,
    identity: &Identity,
) -> HistogramDataPoint {
    let is_beginning = part == Part::Beginnings;
    let bucket_counts = if is_beginning { vec![0; series.buckets.len()] } else { series.buckets.clone() };
    HistogramDataPoint {
        attributes: attributes(series),
        start_time_unix_nano: identity.started_at,
        time_unix_nano: at,
        count: bucket_counts.iter().sum(),
        sum: Some(if is_beginning { 0.0 } else { series.sum }),
        bucket_counts,
        explicit_bounds: bounds.to_vec(),
        exemplars: if is_beginning { Vec::new() } else { series.exemplars.iter().map(otlp).collect() },
        ..HistogramDataPoint::default()
    }
}

fn otlp(exemplar: &Exemplar) -> OtlpExemplar {
    let has_span = exemplar.span_id != [0; 8];
    OtlpExemplar {
        time_unix_nano: u64::try_from(exemplar.unix_nano).unwrap_or(0),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
        trace_id: exemplar.trace_id.to_vec(),
        span_id: if has_span { exemplar.span_id.to_vec() } else { Vec::new() },
        ..OtlpExemplar::default()
    }
}

fn attributes(series: &Copied) -> Vec<KeyValue> {
    series.labels.iter().map(|(name, value)| attribute(name, value)).collect()
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}
