//! A page as an OTLP request, such that a store which translates OTLP to Prometheus keeps each sample under the very name and
//! labels that a scrape would give it.
//!
//! - A sample is a data point of its own. A histogram is not sent as one: the store would write `le="1"` where a scraper
//!   writes `le="1.0"`, or keep it as another kind of histogram.
//! - What is no counter's `_total` is a gauge, the parts of histograms too: a store that adds suffixes would append `_total` to
//!   a sum. Nothing has a unit, for the same reason: the names hold theirs.
//! - What counts begins with a zero, in a request of its own: a series that began with its first count would hide that count
//!   from whoever asks how much was counted.
//! - The resource has `service.name` and `service.instance.id` and no more: they become `job` and `instance`, and whatever else
//!   stood there a `target_info` that no scrape has.

use std::collections::{BTreeMap, BTreeSet};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::{AnyValue, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, DataPointFlags, Gauge, Metric, NumberDataPoint, ResourceMetrics,
        ScopeMetrics, Sum, metric::Data, number_data_point,
    },
    resource::v1::Resource,
};

use super::page::{self, Kind, Page};

/// Names and labels of series that a store may hold as current, as they stand on the page.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Series(BTreeMap<String, BTreeSet<String>>);

/// When a point was taken, in nanoseconds since the epoch.
#[derive(Debug, Clone, Copy)]
pub(super) struct Times {
    /// When the process began to count.
    pub(super) start: u64,
    pub(super) now: u64,
}

impl Series {
    pub(super) fn of(page: &Page<'_>) -> Self {
        Self::those(page, |_| true)
    }

    /// Those of a page that count from 0.
    pub(super) fn counting(page: &Page<'_>) -> Self {
        Self::those(page, |kind| kind != Kind::Gauge)
    }

    fn those(page: &Page<'_>, are_meant: fn(Kind) -> bool) -> Self {
        let labels = |metric: &page::Metric<'_>| {
            metric.samples.iter().map(|sample| sample.labels.to_owned()).collect()
        };
        let metrics = page.0.iter().filter(|(_, metric)| are_meant(metric.kind));
        Self(metrics.map(|(name, metric)| ((*name).to_owned(), labels(metric))).collect())
    }

    /// Adds those of `other`.
    pub(super) fn extend(&mut self, other: Self) {
        for (name, labels) in other.0 {
            self.0.entry(name).or_default().extend(labels);
        }
    }

    /// Those that `other` does not have.
    pub(super) fn without(&self, other: &Self) -> Self {
        let rest = self.0.iter().filter_map(|(name, labels)| {
            let rest: BTreeSet<_> = match other.0.get(name) {
                Some(others) => labels.difference(others).cloned().collect(),
                None => labels.clone(),
            };
            (!rest.is_empty()).then(|| (name.clone(), rest))
        });
        Self(rest.collect())
    }
}

/// The samples of a page, and the end of the series that are `gone`.
pub(super) fn request(
    resource: &Resource,
    page: &Page<'_>,
    gone: &Series,
    times: Times,
) -> ExportMetricsServiceRequest {
    let samples = page.0.iter().map(|(name, metric)| {
        let points = metric.samples.iter();
        let points = points.map(|sample| point(name, sample.labels, times.now, Some(sample.value))).collect();
        otlp_metric(name, metric.help, metric.counts_since(times), points)
    });
    let ends = gone.0.iter().map(|(name, series)| {
        let points = series.iter().map(|labels| point(name, labels, times.now, None)).collect();
        otlp_metric(name, "", name.ends_with("_total").then_some(times.start), points)
    });
    request_of(resource, samples.chain(ends).collect())
}

/// A zero for each series of a page that is in `new`, of `times.now`; none when there is no such series.
pub(super) fn beginnings(
    resource: &Resource,
    page: &Page<'_>,
    new: &Series,
    times: Times,
) -> Option<ExportMetricsServiceRequest> {
    let zeros = new.0.iter().filter_map(|(name, series)| {
        let metric = page.0.get(name.as_str())?;
        let points = series.iter().map(|labels| point(name, labels, times.now, Some(0.0))).collect();
        Some(otlp_metric(name, metric.help, metric.counts_since(times), points))
    });
    let zeros: Vec<_> = zeros.collect();
    (!zeros.is_empty()).then(|| request_of(resource, zeros))
}

fn request_of(resource: &Resource, metrics: Vec<Metric>) -> ExportMetricsServiceRequest {
    let scope = ScopeMetrics { metrics, ..ScopeMetrics::default() };
    let resource = ResourceMetrics {
        resource: Some(resource.clone()),
        scope_metrics: vec![scope],
        ..ResourceMetrics::default()
    };
    ExportMetricsServiceRequest { resource_metrics: vec![resource] }
}

impl page::Metric<'_> {
    /// For what is sent as a counter, since when it counts.
    fn counts_since(&self, times: Times) -> Option<u64> {
        (self.kind == Kind::Counter).then_some(times.start)
    }
}

/// The resource that becomes the labels `job` and `instance`.
pub(super) fn resource(job: &str, instance: &str) -> Resource {
    let attributes = vec![attribute("service.name", job), attribute("service.instance.id", instance)];
    Resource { attributes, ..Resource::default() }
}

/// A counter that counts since `counts_since`, or else a gauge.
fn otlp_metric(
    name: &str,
    help: &str,
    counts_since: Option<u64>,
    mut points: Vec<NumberDataPoint>,
) -> Metric {
    let data = match counts_since {
        Some(start) => {
            points.iter_mut().for_each(|point| point.start_time_unix_nano = start);
            let aggregation_temporality = AggregationTemporality::Cumulative.into();
            Data::Sum(Sum { data_points: points, aggregation_temporality, is_monotonic: true })
        }
        None => Data::Gauge(Gauge { data_points: points }),
    };
    Metric { name: name.to_owned(), description: help.to_owned(), data: Some(data), ..Metric::default() }
}

/// Without a value it is the end of its series, which a scraper notes likewise.
fn point(name: &str, labels: &str, now: u64, value: Option<f64>) -> NumberDataPoint {
    let flags = if value.is_none() { DataPointFlags::NoRecordedValueMask } else { DataPointFlags::DoNotUse };
    NumberDataPoint {
        attributes: attributes(name, labels),
        time_unix_nano: now,
        flags: flags as u32,
        value: value.map(number_data_point::Value::AsDouble),
        ..NumberDataPoint::default()
    }
}

fn attributes(name: &str, labels: &str) -> Vec<KeyValue> {
    let is_bucket = name.ends_with("_bucket");
    let attribute = |label: page::Label<'_>| match label.value.parse() {
        Ok(bound) if is_bucket && label.name == "le" => attribute("le", &text_of_bound(bound)),
        _ => attribute(label.name, &label.value),
    };
    page::labels(labels).flatten().map(attribute).collect()
}

/// The bound of a bucket as scrapers write it, whatever the page has: `1.0`, `1e+06`, `+Inf`.
fn text_of_bound(bound: f64) -> String {
    if bound == f64::INFINITY {
        return "+Inf".to_owned();
    }
    let scientific = format!("{bound:e}");
    let exponent =
        scientific.split_once('e').and_then(|(digits, exponent)| Some((digits, exponent.parse().ok()?)));
    match exponent {
        Some((digits, exponent @ (..-4 | 6..))) => {
            format!("{digits}e{}{:02}", sign(exponent), exponent.abs())
        }
        _ => format!("{bound:?}"),
    }
}

fn sign(exponent: i32) -> char {
    if exponent < 0 { '-' } else { '+' }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(any_value::Value::StringValue(value.to_owned())) };
    KeyValue { key: key.to_owned(), value: Some(value), ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_written_as_scrapers_write_them() {
        for (bound, text) in [
            (0.0, "0.0"),
            (1.0, "1.0"),
            (0.005, "0.005"),
            (0.0001, "0.0001"),
            (0.000_012_5, "1.25e-05"),
            (262_144.0, "262144.0"),
            (1_048_576.0, "1.048576e+06"),
            (1e21, "1e+21"),
            (1e100, "1e+100"),
            (-2.5, "-2.5"),
            (f64::INFINITY, "+Inf"),
        ] {
            assert_eq!(text_of_bound(bound), text);
        }
    }
}
