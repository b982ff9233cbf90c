//! The inputs that the fuzzer starts from: requests that once cost more than they should.

use bytes::Bytes;
use prost::Message;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, KeyValueList, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use telemetry_wire::split::{Grouping, SplitOptions};
use telemetry_wire::{Signal, split};

/// Metrics, and pieces of up to 672 bytes; see the fuzz target.
const CHOICE: u8 = 254;

fn entry(key: &str, value: Option<Value>) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value }), ..Default::default() }
}

/// One point of a resource with these attributes, as the fuzz target reads it.
fn seed(attributes: Vec<KeyValue>) -> Vec<u8> {
    let gauge = Gauge { data_points: vec![NumberDataPoint::default()] };
    let metric = Metric { data: Some(metric::Data::Gauge(gauge)), ..Default::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..Default::default() }];
    let resource = Some(Resource { attributes, ..Default::default() });
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..Default::default() }];
    let mut seed = vec![CHOICE];
    ExportMetricsServiceRequest { resource_metrics }.encode(&mut seed).expect("a vector grows");
    seed
}

/// `stored` is the seed of `attributes`, and cutting it by resource accounts for its point.
#[track_caller]
fn check(stored: &[u8], attributes: Vec<KeyValue>) {
    assert!(stored == seed(attributes), "the stored seed is another one");
    let request = Bytes::copy_from_slice(&stored[1..]);
    let bucket = |hash: &[u8; 16]| i32::from(hash[0] % 2);
    let options = SplitOptions { grouping: Grouping::Bucket(&bucket), max_bytes: 1 << 20, head_bytes: 16 };
    let cut = split(Signal::Metrics, &request, &options).expect("well-formed");
    assert_eq!(cut.pieces.len(), 1);
    assert_eq!((cut.pieces[0].items, &cut.pieces[0].value), (1, &request));
}

#[test]
fn a_large_value_under_a_repeated_key_is_a_seed() {
    let mut attributes = vec![entry("", None); 2000];
    attributes[0] = entry("", Some(Value::StringValue("v".repeat(4096))));
    check(include_bytes!("../../fuzz/seeds/walker/repeated_key"), attributes);
}

#[test]
fn nested_maps_with_repeated_keys_are_a_seed() {
    let innermost = vec![entry("k", Some(Value::BoolValue(true))), entry("k", None)];
    let attributes = (1..30).fold(innermost, |values, _| {
        vec![entry("k", Some(Value::KvlistValue(KeyValueList { values }))), entry("k", None)]
    });
    check(include_bytes!("../../fuzz/seeds/walker/nested_repeated_keys"), attributes);
}
