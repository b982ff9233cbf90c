//! The text of values against what the Collector's own data model makes of them, in Go.

use super::*;
use proptest::prelude::*;
use telemetry_wire::logs;

/// One value in the first log record's body, as pdata marshals it, and pdata's `AsString` of it.
#[derive(serde::Deserialize)]
struct GoVector {
    name: String,
    request: String,
    text: String,
}

fn body_text(request: &[u8]) -> String {
    let group = logs::Request::new(request).resources().next().unwrap().unwrap();
    let scope = group.scopes().next().unwrap().unwrap();
    let record = logs::LogRecord::parse(scope.items().next().unwrap().unwrap()).unwrap();
    let mut out = Vec::new();
    put_text(&mut out, &record.body).unwrap();
    String::from_utf8(out).unwrap()
}

fn unhex(hex: &str) -> Vec<u8> {
    (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
}

#[test]
fn every_value_reads_as_the_collector_prints_it() {
    let vectors: Vec<GoVector> = serde_json::from_str(include_str!("../go_as_string.json")).unwrap();
    assert!(vectors.len() > 140, "{} vectors", vectors.len());
    for vector in vectors {
        assert_eq!(body_text(&unhex(&vector.request)), vector.text, "{}", vector.name);
    }
}

/// The text of an `AnyValue` given as protobuf bytes.
fn text(value: &[u8]) -> String {
    let mut out = Vec::new();
    put_text(&mut out, &AnyValue::parse(value, 90).unwrap()).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn the_last_of_equal_keys_counts_inside_a_map() {
    // {"a": "1"}, {"b": "2"}, {"a": "3"}
    let map = b"\x32\x20\x0a\x08\x0a\x01a\x12\x03\x0a\x011\x0a\x08\x0a\x01b\x12\x03\x0a\x012\x0a\x08\x0a\x01a\x12\x03\x0a\x013";
    let map = [&map[..1], &[30], &map[2..]].concat();
    assert_eq!(text(&map), r#"{"a":"3","b":"2"}"#);
}

#[test]
fn numbers_that_json_cannot_hold_keep_the_rest_of_the_map() {
    let nan = [&[0x2a, 11, 0x0a, 9, 0x21][..], &f64::NAN.to_le_bytes()].concat();
    assert_eq!(text(&nan), r#"["NaN"]"#);
}

proptest! {
    /// The shortcut for numbers of few decimals gives what the general algorithm gives.
    #[test]
    fn short_doubles_read_as_all_others(thousandths in -10_i64.pow(15)..10_i64.pow(15), wild in any::<f64>()) {
        for value in [thousandths as f64 / 1e3, (thousandths % 100_000) as f64 / 1e3, thousandths as f64 / 1e4, wild] {
            let mut out = Vec::new();
            put_double(&mut out, value);
            if value == 0.0 || (1e-6..1e21).contains(&value.abs()) {
                prop_assert_eq!(String::from_utf8(out).unwrap(), value.to_string());
            }
        }
    }
}

#[test]
fn invalid_utf8_is_replaced_and_valid_text_is_not_copied() {
    assert_eq!(text(b"\x0a\x03a\xffb"), "a\u{fffd}b");
    assert!(matches!(clean("gr\u{fc}n".as_bytes()), Cow::Borrowed(_)));
}

#[test]
fn ids_are_lower_case_hex_or_nothing() {
    let mut out = Vec::new();
    put_id(&mut out, &[0; 16]);
    put_id(&mut out, &[]);
    assert!(out.is_empty());
    put_id(&mut out, &[0xAB, 0x00, 0x1f]);
    assert_eq!(out, b"ab001f");
}
