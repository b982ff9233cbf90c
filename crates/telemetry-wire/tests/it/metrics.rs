//! The metrics cursor against prost, and requests rewritten: what is kept is kept byte for byte, halves add up.

use crate::{oracle, read, wire_gen};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric::Data};
use proptest::prelude::*;
use prost::Message;
use telemetry_wire::metrics::{self, DataKind, Temporality, rewrite};
use telemetry_wire::{Signal, envelope, fixtures};

/// What both readings are reduced to: name, unit, kind, temporality, monotonic, points.
type Reading = (String, String, Option<DataKind>, Temporality, bool, Vec<PointReading>);
/// Start, time, flags, attributes encoded by prost.
type PointReading = (u64, u64, u32, Vec<Vec<u8>>);

fn by_cursor(bytes: &[u8]) -> Vec<Reading> {
    let mut readings = Vec::new();
    for group in envelope::Request::new(bytes).resources() {
        for scope in group.expect("well-formed").scopes() {
            for item in scope.expect("well-formed").items() {
                readings.push(read_metric(item.expect("well-formed")));
            }
        }
    }
    readings
}

fn read_metric(bytes: &[u8]) -> Reading {
    let metric = metrics::Metric::parse(bytes).expect("well-formed");
    let points: Vec<PointReading> = metric
        .points()
        .map(|point| {
            let point = point.expect("well-formed");
            let attributes = read::attributes(point.attributes()).expect("well-formed");
            (point.start_time_unix_nano, point.time_unix_nano, point.flags, encode(&attributes))
        })
        .collect();
    assert_eq!(metric.point_count, points.len() as u64);
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).expect("generated text");
    (text(metric.name), text(metric.unit), metric.kind, metric.temporality, metric.is_monotonic, points)
}

fn by_prost(bytes: &[u8]) -> Vec<Reading> {
    let request = ExportMetricsServiceRequest::decode(bytes).expect("well-formed");
    let scopes = request.resource_metrics.into_iter().flat_map(|group| group.scope_metrics);
    scopes.flat_map(|scope| scope.metrics).map(reading_of).collect()
}

fn reading_of(metric: Metric) -> Reading {
    macro_rules! points {
        ($data:expr) => {
            $data
                .data_points
                .iter()
                .map(|point| {
                    let mut attributes = point.attributes.clone();
                    read::reduce_attributes(&mut attributes);
                    (point.start_time_unix_nano, point.time_unix_nano, point.flags, encode(&attributes))
                })
                .collect()
        };
    }
    let (kind, temporality, is_monotonic, points) = match metric.data {
        None => (None, 0, false, Vec::new()),
        Some(Data::Gauge(data)) => (Some(DataKind::Gauge), 0, false, points!(data)),
        Some(Data::Sum(data)) => {
            (Some(DataKind::Sum), data.aggregation_temporality, data.is_monotonic, points!(data))
        }
        Some(Data::Histogram(data)) => {
            (Some(DataKind::Histogram), data.aggregation_temporality, false, points!(data))
        }
        Some(Data::ExponentialHistogram(data)) => {
            (Some(DataKind::ExponentialHistogram), data.aggregation_temporality, false, points!(data))
        }
        Some(Data::Summary(data)) => (Some(DataKind::Summary), 0, false, points!(data)),
    };
    let temporality = match temporality {
        1 => Temporality::Delta,
        2 => Temporality::Cumulative,
        _ => Temporality::Unspecified,
    };
    (metric.name, metric.unit, kind, temporality, is_monotonic, points)
}

fn encode(attributes: &[KeyValue]) -> Vec<Vec<u8>> {
    attributes.iter().map(Message::encode_to_vec).collect()
}

/// Drops every metric and point whose turn it is, and compares with what prost says is left.
fn check_retain(bytes: &[u8], metric_step: usize, point_step: usize) {
    let (mut metrics_seen, mut points_seen) = (0, 0);
    let mut kept_items = Vec::new();
    let retained = rewrite::retain(
        bytes,
        |_| {
            metrics_seen += 1;
            metrics_seen % metric_step != 0
        },
        |metric, point| {
            points_seen += 1;
            let keep = points_seen % point_step != 0;
            if keep {
                kept_items.push((metric.name.to_vec(), point.time_unix_nano));
            }
            keep
        },
    )
    .expect("well-formed");
    let before = oracle::items(Signal::Metrics, bytes);
    let after = oracle::items(Signal::Metrics, retained.rewritten.as_deref().unwrap_or(bytes));
    assert_eq!(retained.kept_points, after.len() as u64);
    assert_eq!(retained.kept_points + retained.dropped_points, before.len() as u64);
    assert!(is_sub_multiset(&after, &before));
    let mut left = Vec::new();
    for (name, _, _, _, _, points) in by_cursor(retained.rewritten.as_deref().unwrap_or(bytes)) {
        left.extend(points.into_iter().map(|point| (name.clone().into_bytes(), point.1)));
    }
    assert_eq!(left, kept_items);
}

/// Whether every element of the sorted `part` is in the sorted `whole`, as often.
fn is_sub_multiset<T: Ord>(part: &[T], whole: &[T]) -> bool {
    let mut whole = whole.iter();
    part.iter().all(|element| whole.any(|candidate| candidate == element))
}

fn check_halves(bytes: &[u8]) {
    let before = oracle::items(Signal::Metrics, bytes);
    let Some((first, second)) = rewrite::halve(bytes).expect("well-formed") else {
        assert!(before.len() <= 1, "{} points were not cut", before.len());
        return;
    };
    let mut after = oracle::items(Signal::Metrics, &first);
    after.extend(oracle::items(Signal::Metrics, &second));
    after.sort();
    assert!(after == before, "{} points became {}", before.len(), after.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn metric_cursor_reads_what_prost_reads(bytes in wire_gen::request(Signal::Metrics)) {
        prop_assert!(by_cursor(&bytes) == by_prost(&bytes));
    }

    #[test]
    fn retain_drops_what_is_not_wanted_and_nothing_else(
        bytes in wire_gen::request(Signal::Metrics),
        metric_step in 1..5usize,
        point_step in 1..5usize,
    ) {
        check_retain(&bytes, metric_step, point_step);
    }

    #[test]
    fn halves_hold_every_point_once(bytes in wire_gen::request(Signal::Metrics)) {
        check_halves(&bytes);
    }
}

#[test]
fn a_request_that_needs_no_fix_is_not_rewritten() {
    let bytes = fixtures::Load::new(3).metrics().encode_to_vec();
    let retained = rewrite::retain(&bytes, |_| true, |_, _| true).expect("well-formed");
    assert_eq!(retained.rewritten, None);
    assert_eq!(retained.kept_points, (fixtures::RESOURCES * fixtures::ITEMS) as u64);
}

#[test]
fn metrics_without_points_can_be_dropped_and_groups_left_empty_go_too() {
    let mut request = fixtures::Load::new(4).metrics();
    for metric in &mut request.resource_metrics[1].scope_metrics[0].metrics {
        metric.data = None;
    }
    let retained = rewrite::retain(&request.encode_to_vec(), |metric| metric.point_count > 0, |_, _| true)
        .expect("well-formed");
    request.resource_metrics.remove(1);
    let rewritten = retained.rewritten.expect("changed");
    assert_eq!(ExportMetricsServiceRequest::decode(rewritten.as_slice()).expect("well-formed"), request);
    assert_eq!((retained.dropped_metrics, retained.dropped_points), (5, 0));
}

#[test]
fn halving_isolates_a_single_point() {
    let bytes = fixtures::Load::new(5).metrics().encode_to_vec();
    let wanted = oracle::items(Signal::Metrics, &bytes)[77].clone();
    let mut part = bytes;
    let mut steps = 0;
    while let Some((first, second)) = rewrite::halve(&part).expect("well-formed") {
        part = if oracle::items(Signal::Metrics, &first).contains(&wanted) { first } else { second };
        steps += 1;
    }
    assert_eq!(oracle::items(Signal::Metrics, &part), [wanted]);
    assert!(steps <= 10, "200 points took {steps} cuts");
}
