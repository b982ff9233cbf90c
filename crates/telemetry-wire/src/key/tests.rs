//! The hash against values computed by the Collector's own code (contrib pkg/pdatautil v0.161.0, `MapHash`), and against
//! a second, plain implementation of the encoding.

use super::*;
use crate::envelope::Request;
use crate::{fixtures, pb};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{self, ArrayValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

fn entry(key: &str, value: Option<Value>) -> v1::KeyValue {
    v1::KeyValue { key: key.into(), value: Some(v1::AnyValue { value }), ..Default::default() }
}

fn text(key: &str, text: &str) -> v1::KeyValue {
    entry(key, Some(Value::StringValue(text.into())))
}

fn list(values: Vec<v1::KeyValue>) -> Option<Value> {
    Some(Value::KvlistValue(KeyValueList { values }))
}

/// Every type of value, in no order.
fn full() -> Vec<v1::KeyValue> {
    let values = [Some(Value::StringValue("x".into())), Some(Value::IntValue(7)), None];
    let values = values.map(|value| v1::AnyValue { value }).to_vec();
    vec![
        text("service.name", "menu"),
        text("a", ""),
        entry("true", Some(Value::BoolValue(true))),
        entry("false", Some(Value::BoolValue(false))),
        entry("int", Some(Value::IntValue(-5))),
        entry("double", Some(Value::DoubleValue(1.5))),
        entry("empty", None),
        entry("bytes", Some(Value::BytesValue(vec![0, 255, 16]))),
        entry("slice", Some(Value::ArrayValue(ArrayValue { values }))),
        entry(
            "map",
            list(vec![
                text("z", "1"),
                text("y", "2"),
                entry("n", list(vec![entry("k", Some(Value::IntValue(1)))])),
            ]),
        ),
    ]
}

fn hash(attributes: Vec<v1::KeyValue>) -> [u8; 16] {
    let resource = Resource { attributes, ..Default::default() }.encode_to_vec();
    resource_hash(Attributes::new(&resource, 1, 50)).expect("well-formed")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn resource_hash_is_the_collectors() {
    assert_eq!(hex(&hash(Vec::new())), "00000000000000000000000000000000");
    assert_eq!(hex(&hash(vec![text("service.name", "menu")])), "269111c3ac1c96e79f20db62e79ee416");
    assert_eq!(hex(&hash(full())), "4c0f6c886b0c81e79aac2989e33198c4");
}

#[test]
fn order_on_the_wire_does_not_matter() {
    let mut reversed = full();
    reversed.reverse();
    assert_eq!(hash(reversed), hash(full()));
}

#[test]
fn a_repeated_key_contributes_its_first_value_each_time_as_in_the_collector() {
    let repeated = vec![text("k", "first"), text("k", "secon")];
    assert_eq!(hex(&hash(repeated)), "dfd0787cf75732e5859f8a5d580678b9");
}

/// Encodes what a sender has made long by repetition: the encoding stops at the limit, and both rules hash the received
/// bytes. `name` is an attribute of the resource.
#[track_caller]
fn check_given_up(received: &[u8], name: &str) {
    let attributes = || Attributes::new(received, 1, 98);
    let entries = attributes().collect::<Result<Vec<_>, _>>().expect("well-formed");
    let mut encoder = Encoder::new(received.len());
    let end = encoder.put_map(entries);
    assert!(
        matches!(end, Err(Abandoned::TooLong)),
        "{} bytes are no reason to give up",
        encoder.encoded.len()
    );
    let limit = 4 * received.len() + 65_536;
    assert!(encoder.encoded.len() <= limit, "{} bytes of {limit}", encoder.encoded.len());
    let low = xxh64(received, 0).to_le_bytes();
    let high = xxh64(&[received, &[0xf3]].concat(), 0).to_le_bytes();
    let expected = [low, high].concat();
    assert_eq!(resource_hash(attributes()).expect("well-formed").as_slice(), expected);
    let selected = selected_hash(attributes(), &vec![name.to_owned(); 100]).expect("well-formed");
    assert_eq!(selected.as_slice(), expected);
}

/// A resource with one key `times` times, the first with a value of `bytes` bytes.
fn repeated_key(times: usize, bytes: usize) -> Vec<u8> {
    let mut attributes = vec![entry("k", None); times];
    attributes[0] = text("k", &"v".repeat(bytes));
    Resource { attributes, ..Default::default() }.encode_to_vec()
}

/// A resource with `depth` maps in one another, each with one key twice.
fn nested_repeats(depth: u32) -> Vec<u8> {
    let innermost = vec![text("k", "v"), entry("k", None)];
    let attributes = (1..depth).fold(innermost, |inner, _| vec![entry("k", list(inner)), entry("k", None)]);
    Resource { attributes, ..Default::default() }.encode_to_vec()
}

#[test]
fn a_large_value_under_a_key_repeated_100_000_times_is_not_written_100_000_times() {
    check_given_up(&repeated_key(100_000, 1 << 20), "k");
}

#[test]
fn keys_repeated_in_nested_maps_do_not_double_the_encoding_at_every_level() {
    check_given_up(&nested_repeats(30), "k");
}

#[test]
fn repetition_within_the_limit_is_still_the_collectors() {
    let once = [b"\xf4k\xf7".as_slice(), &[b'v'; 1000]].concat();
    let fits = |times: &usize| once.len() * times <= 4 * repeated_key(*times, 1000).len() + 65_536;
    let longest = (1..).take_while(fits).last().expect("one occurrence fits");
    let received = repeated_key(longest, 1000);
    let hash = resource_hash(Attributes::new(&received, 1, 98)).expect("well-formed");
    assert_eq!(hash, sum(once.repeat(longest)));
    check_given_up(&repeated_key(longest + 1, 1000), "k");
}

#[test]
fn a_repeated_value_that_takes_long_to_read_is_read_once() {
    // A map of one megabyte of unknown fields, under a key 100,000 times: read each time it would be 100 gigabytes.
    let mut value = Vec::new();
    pb::put_len_field(&mut value, 6, &[0x78, 0].repeat(1 << 19));
    let mut attribute = b"\x0a\x01k".to_vec();
    pb::put_len_field(&mut attribute, 2, &value);
    let mut received = Vec::new();
    pb::put_len_field(&mut received, 1, &attribute);
    received.extend(repeated_key(99_999, 0));
    let hash = resource_hash(Attributes::new(&received, 1, 98)).expect("well-formed");
    assert_eq!(hash, sum(b"\xf4k\xfc\xfd".repeat(100_000)));
}

/// Writes the encoding out of prost's types, the straightforward way.
fn plain_encoding(attributes: &[v1::KeyValue]) -> Vec<u8> {
    let mut sorted: Vec<&v1::KeyValue> = attributes.iter().collect();
    sorted.sort_by(|one, other| one.key.as_bytes().cmp(other.key.as_bytes()));
    let mut out = Vec::new();
    for entry in sorted {
        out.extend([&[0xf4], entry.key.as_bytes()].concat());
        out.extend(plain_value(entry.value.as_ref()));
    }
    out
}

fn plain_value(value: Option<&v1::AnyValue>) -> Vec<u8> {
    match value.and_then(|value| value.value.as_ref()) {
        None | Some(Value::StringValueStrindex(_)) => vec![0xf5],
        Some(Value::BytesValue(bytes)) => [&[0xf6], bytes.as_slice()].concat(),
        Some(Value::StringValue(text)) => [&[0xf7], text.as_bytes()].concat(),
        Some(Value::BoolValue(true)) => vec![0xf8],
        Some(Value::BoolValue(false)) => vec![0xf9],
        Some(Value::IntValue(number)) => [&[0xfa], number.to_le_bytes().as_slice()].concat(),
        Some(Value::DoubleValue(number)) => [&[0xfb], number.to_le_bytes().as_slice()].concat(),
        Some(Value::KvlistValue(list)) => {
            [&[0xfc], plain_encoding(&list.values).as_slice(), &[0xfd]].concat()
        }
        Some(Value::ArrayValue(array)) => {
            let values: Vec<u8> = array.values.iter().flat_map(|value| plain_value(Some(value))).collect();
            [&[0xfe], values.as_slice(), &[0xff]].concat()
        }
    }
}

#[test]
fn the_encoding_is_the_plain_one() {
    let mut load = fixtures::Load::new(11);
    for _ in 0..20 {
        let request = load.logs();
        let bytes = request.encode_to_vec();
        for (group, plain) in Request::new(&bytes).resources().zip(&request.resource_logs) {
            let hash = resource_hash(group.expect("well-formed").resource.attributes()).expect("well-formed");
            let plain = plain_encoding(&plain.resource.as_ref().expect("set").attributes);
            assert_eq!(hash, sum(plain));
        }
    }
}

#[test]
fn selected_attributes_hash_their_values_in_the_rules_order() {
    let resource = Resource { attributes: full(), ..Default::default() }.encode_to_vec();
    let selected = |names: &[&str]| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        selected_hash(Attributes::new(&resource, 1, 50), &names).expect("well-formed")
    };
    let menu_then_int = [&[0xf7], b"menu".as_slice(), &[0xfa], &(-5i64).to_le_bytes()].concat();
    assert_eq!(selected(&["service.name", "absent", "int"]), sum(menu_then_int.clone()));
    assert_ne!(selected(&["int", "service.name"]), sum(menu_then_int));
    assert_eq!(selected(&[]), [0; 16]);
}

#[test]
fn trace_keys_are_lower_case_hex_and_absent_for_no_id() {
    let id: [u8; 16] = std::array::from_fn(|index| 0xf0 | index as u8);
    assert_eq!(trace_key(&id).as_ref(), Some(b"f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"));
    assert_eq!(trace_key(&[]), None);
    assert_eq!(trace_key(&[0; 16]), None);
    assert_eq!(trace_key(&[1; 8]), None);
}
