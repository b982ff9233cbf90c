//! One test for every rule that a hand-written reader gets wrong first. Each builds the bytes by hand, says what must be
//! read, and lets prost confirm it.

use crate::read::{self, Reduce};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{ArrayValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use telemetry_wire::common::{AnyValue, find};
use telemetry_wire::{InspectLimits, Signal, envelope, inspect, logs, metrics, pb};

/// A message of the given length-delimited fields.
fn message(fields: &[(u32, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (number, value) in fields {
        pb::put_len_field(&mut out, *number, value);
    }
    out
}

fn string(text: &str) -> Vec<u8> {
    message(&[(1, text.as_bytes())])
}

fn attribute(key: &str, value: &str) -> Vec<u8> {
    message(&[(1, key.as_bytes()), (2, &string(value))])
}

/// A logs request around one encoded record.
fn around(record: &[u8]) -> Vec<u8> {
    message(&[(1, &message(&[(2, &message(&[(2, record)]))]))])
}

/// Reads through the cursors, with prost and the inspection agreeing.
fn read(request: &[u8]) -> ExportLogsServiceRequest {
    inspect(Signal::Logs, request, &InspectLimits::default()).expect("well-formed");
    let read = read::logs(request).expect("well-formed");
    let mut expected = ExportLogsServiceRequest::decode(request).expect("well-formed");
    expected.reduce();
    assert_eq!(read, expected);
    read
}

fn read_record(record: &[u8]) -> LogRecord {
    read(&around(record)).resource_logs.remove(0).scope_logs.remove(0).log_records.remove(0)
}

fn body(record: &[u8]) -> Option<Value> {
    read_record(record).body.and_then(|body| body.value)
}

fn text(text: &str) -> Option<Value> {
    Some(Value::StringValue(text.into()))
}

#[test]
fn repeated_resource_merges() {
    let (first, second) = (message(&[(1, &attribute("a", "1"))]), message(&[(1, &attribute("b", "2"))]));
    let group = message(&[(1, &first), (2, &[]), (1, &second)]);
    let read = read(&message(&[(1, &group)]));
    let resource = read.resource_logs[0].resource.as_ref().expect("present");
    let keys: Vec<&str> = resource.attributes.iter().map(|attribute| attribute.key.as_str()).collect();
    assert_eq!(keys, ["a", "b"]);
}

#[test]
fn repeated_scope_merges_attributes_and_keeps_the_last_name() {
    let first = message(&[(1, b"first"), (2, b"1.0"), (3, &attribute("a", "1"))]);
    let second = message(&[(1, b"second"), (3, &attribute("b", "2"))]);
    let scope_group = message(&[(1, &first), (1, &second)]);
    let read = read(&message(&[(1, &message(&[(2, &scope_group)]))]));
    let scope = read.resource_logs[0].scope_logs[0].scope.as_ref().expect("present");
    assert_eq!((scope.name.as_str(), scope.version.as_str(), scope.attributes.len()), ("second", "1.0", 2));
}

#[test]
fn repeated_body_merges() {
    let array = |value: &str| message(&[(5, &message(&[(1, &string(value))]))]);
    let merged = body(&message(&[(5, &array("x")), (5, &array("y"))]));
    let Some(Value::ArrayValue(ArrayValue { values })) = merged else { panic!("not an array: {merged:?}") };
    assert_eq!(values.len(), 2);
}

#[test]
fn scalars_keep_their_last_occurrence() {
    let mut record = Vec::new();
    for (time, severity) in [(1, 9), (2, 17)] {
        pb::put_fixed64_field(&mut record, 1, time);
        pb::put_varint_field(&mut record, 2, severity);
        pb::put_len_field(&mut record, 12, format!("event-{time}").as_bytes());
    }
    let record = read_record(&record);
    assert_eq!(
        (record.time_unix_nano, record.severity_number, record.event_name.as_str()),
        (2, 17, "event-2")
    );
}

#[test]
fn oneof_keeps_its_last_variant() {
    let mut value = string("text");
    pb::put_varint_field(&mut value, 3, 42);
    assert_eq!(body(&message(&[(5, &value)])), Some(Value::IntValue(42)));
    value.extend(string("again"));
    assert_eq!(body(&message(&[(5, &value)])), text("again"));
}

#[test]
fn oneof_message_variant_merges_only_with_its_own_run() {
    let array = |value: &str| message(&[(5, &message(&[(1, &string(value))]))]);
    let value = [array("gone"), string("between"), array("x"), array("y")].concat();
    let merged = body(&message(&[(5, &value)]));
    let Some(Value::ArrayValue(ArrayValue { values })) = merged else { panic!("not an array: {merged:?}") };
    assert_eq!(values.iter().map(|value| value.value.clone()).collect::<Vec<_>>(), [text("x"), text("y")]);
}

#[test]
fn unknown_fields_and_groups_are_skipped() {
    let mut record = vec![0x83, 0x7d]; // start group 2000
    pb::put_len_field(&mut record, 5, &[0xff; 3]);
    record.extend([0x84, 0x7d]); // end group 2000
    pb::put_varint_field(&mut record, 500, 7);
    pb::put_len_field(&mut record, 5, &string("body"));
    assert_eq!(body(&record), text("body"));
}

#[test]
fn a_group_under_a_known_number_is_malformed() {
    let request = around(&[0x2b, 0x2c]);
    assert!(ExportLogsServiceRequest::decode(request.as_slice()).is_err());
    assert!(inspect(Signal::Logs, &request, &InspectLimits::default()).is_err());
    assert!(read::logs(&request).is_err());
}

#[test]
fn repeated_scalars_are_read_packed_and_unpacked() {
    let mut point = Vec::new();
    pb::put_len_field(&mut point, 6, &[1, 0, 0, 0, 0, 0, 0, 0]);
    pb::put_fixed64_field(&mut point, 6, 2);
    pb::put_len_field(&mut point, 7, &1.5f64.to_le_bytes());
    let around = |point: &[u8]| {
        let metric = message(&[(9, &message(&[(1, point)]))]);
        message(&[(1, &message(&[(2, &message(&[(2, &metric)]))]))])
    };
    let request = around(&point);
    ExportMetricsServiceRequest::decode(request.as_slice()).expect("prost takes both");
    assert_eq!(inspect(Signal::Metrics, &request, &InspectLimits::default()).expect("so do we").items, 1);
    let torn = around(&message(&[(6, &[1, 2, 3])]));
    assert!(ExportMetricsServiceRequest::decode(torn.as_slice()).is_err());
    assert!(inspect(Signal::Metrics, &torn, &InspectLimits::default()).is_err());
}

#[test]
fn resource_and_scope_may_come_after_their_records() {
    let scope_group = message(&[(2, &message(&[(5, &string("b"))])), (1, &message(&[(1, b"late-scope")]))]);
    let group = message(&[(2, &scope_group), (1, &message(&[(1, &attribute("service.name", "late"))]))]);
    let read = read(&message(&[(1, &group)]));
    assert_eq!(read.resource_logs[0].resource.as_ref().expect("present").attributes[0].key, "service.name");
    let scope = &read.resource_logs[0].scope_logs[0];
    assert_eq!(
        (scope.scope.as_ref().expect("present").name.as_str(), scope.log_records.len()),
        ("late-scope", 1)
    );
}

#[test]
fn value_may_come_before_its_key() {
    let entry = message(&[(2, &string("v")), (1, b"k")]);
    let record = read_record(&message(&[(6, &entry)]));
    let expected = KeyValue { key: "k".into(), ..record.attributes[0].clone() };
    assert_eq!(record.attributes, [expected]);
}

#[test]
fn attributes_apart_from_each_other_are_all_read() {
    let record =
        message(&[(6, &attribute("a", "1")), (5, &string("b")), (3, b"INFO"), (6, &attribute("c", "2"))]);
    assert_eq!(read_record(&record).attributes.len(), 2);
}

#[test]
fn lengths_past_the_end_are_malformed_at_every_level() {
    let record = message(&[(5, &string("body")), (6, &attribute("k", "v"))]);
    let request = around(&record);
    // Cutting the innermost text short makes some length, at whatever level, run past its message.
    for cut in 1..request.len() {
        let torn = &request[..request.len() - cut];
        let judged = inspect(Signal::Logs, torn, &InspectLimits::default()).is_ok();
        assert_eq!(judged, ExportLogsServiceRequest::decode(torn).is_ok(), "cut by {cut}");
    }
}

#[test]
fn invalid_utf8_is_read_and_replaced_not_refused() {
    let record = message(&[(5, &message(&[(1, &[b'a', 0xff, b'b'])])), (6, &message(&[(1, &[0xc3])]))]);
    let request = around(&record);
    assert!(ExportLogsServiceRequest::decode(request.as_slice()).is_err(), "prost refuses it");
    inspect(Signal::Logs, &request, &InspectLimits::default()).expect("the edge takes it");
    let read = read::logs(&request).expect("the hub reads it");
    let record = &read.resource_logs[0].scope_logs[0].log_records[0];
    assert_eq!(record.body.as_ref().and_then(|body| body.value.clone()), text("a\u{fffd}b"));
    assert_eq!(record.attributes[0].key, "\u{fffd}");
}

#[test]
fn zero_length_messages_are_read_as_empty() {
    assert_eq!(read(&[]), ExportLogsServiceRequest::default());
    assert_eq!(read(&message(&[(1, &[])])).resource_logs.len(), 1);
    assert_eq!(read_record(&[]), LogRecord::default());
    assert_eq!(body(&message(&[(5, &[])])), None);
    assert_eq!(read_record(&message(&[(6, &[])])).attributes, [KeyValue::default()]);
}

#[test]
fn ten_byte_varints_are_read_and_longer_ones_refused() {
    let varint_body = |bytes: &[u8]| message(&[(5, &[&[0x18], bytes].concat())]);
    let minus_one = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
    assert_eq!(body(&varint_body(&minus_one)), Some(Value::IntValue(-1)));
    let padded_one = [0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x00];
    assert_eq!(body(&varint_body(&padded_one)), Some(Value::IntValue(1)));
    let mut overflow = minus_one;
    overflow[9] = 0x02;
    let eleven = [&[0x80; 10][..], &[0]].concat();
    for refused in [&overflow[..], &eleven] {
        let request = around(&varint_body(refused));
        assert!(ExportLogsServiceRequest::decode(request.as_slice()).is_err());
        assert!(inspect(Signal::Logs, &request, &InspectLimits::default()).is_err());
        assert!(read::logs(&request).is_err());
    }
}

#[test]
fn enums_and_32_bit_integers_take_the_low_32_bits() {
    let mut record = Vec::new();
    pb::put_varint_field(&mut record, 2, u64::MAX);
    pb::put_varint_field(&mut record, 7, 0x1_0000_0007);
    let record = read_record(&record);
    assert_eq!((record.severity_number, record.dropped_attributes_count), (-1, 7));
}

#[test]
fn duplicate_keys_are_all_yielded_and_the_last_is_found() {
    let record = message(&[(6, &attribute("k", "first")), (6, &attribute("k", "last"))]);
    assert_eq!(read_record(&record).attributes.len(), 2);
    let record = logs::LogRecord::parse(&record).expect("well-formed");
    assert_eq!(find(record.attributes(), b"k"), Ok(Some(AnyValue::String(b"last"))));
    assert_eq!(find(record.attributes(), b"absent"), Ok(None));
}

#[test]
fn equal_resources_have_equal_bytes() {
    let resource = message(&[(1, &attribute("a", "1"))]);
    let group = message(&[(1, &resource), (2, &[])]);
    let request = message(&[(1, &group), (1, &group)]);
    let groups: Vec<_> =
        envelope::Request::new(&request).resources().collect::<Result<_, _>>().expect("well-formed");
    assert_eq!(groups[0].resource.as_bytes(), resource);
    assert_eq!(groups[0].resource.as_bytes(), groups[1].resource.as_bytes());
}

#[test]
fn metric_data_of_another_kind_replaces_and_of_the_same_kind_adds() {
    let points = |count: usize| message(&vec![(1, [].as_slice()); count]);
    let replaced = message(&[(5, &points(3)), (7, &points(2))]);
    let metric = metrics::Metric::parse(&replaced).expect("well-formed");
    assert_eq!((metric.kind, metric.point_count), (Some(metrics::DataKind::Sum), 2));
    let mut delta = points(1);
    pb::put_varint_field(&mut delta, 2, 1);
    let added = message(&[(7, &delta), (7, &points(2))]);
    let metric = metrics::Metric::parse(&added).expect("well-formed");
    assert_eq!((metric.temporality, metric.point_count), (metrics::Temporality::Delta, 3));
}
