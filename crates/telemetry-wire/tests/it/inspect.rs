//! `inspect` accepts exactly what prost accepts, apart from UTF-8, and counts what prost counts.

use crate::{oracle, read, wire_gen};
use proptest::prelude::*;
use telemetry_wire::{InspectLimits, MalformedKind, Signal, inspect, pb};

fn check(signal: Signal, bytes: &[u8]) {
    let inspected = inspect(signal, bytes, &InspectLimits::default());
    match oracle::decode(signal, bytes) {
        Ok(_) => {
            let summary = inspected.expect("prost accepts it");
            assert_eq!(summary.items, oracle::items(signal, bytes).len() as u64);
        }
        Err(error) if oracle::is_about_utf8(&error) => {}
        Err(error) => {
            assert!(inspected.is_err(), "prost refuses it: {error}");
        }
    }
}

/// The cursors read what prost accepts, and refuse nothing else than prost refuses.
fn check_cursors(signal: Signal, bytes: &[u8]) {
    let read = match signal {
        Signal::Logs => read::logs(bytes).map(drop),
        Signal::Traces => read::traces(bytes).map(drop),
        Signal::Metrics => telemetry_wire::metrics::rewrite::retain(
            bytes,
            |_| true,
            |_, point| point.attributes().all(|a| a.is_ok()),
        )
        .map(drop),
    };
    if oracle::decode(signal, bytes).is_ok() {
        read.expect("prost accepts it");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn well_formed_requests_are_accepted_and_counted(
        (signal, bytes) in prop::sample::select(&Signal::ALL[..])
            .prop_flat_map(|signal| (Just(signal), wire_gen::request(signal)))
    ) {
        inspect(signal, &bytes, &InspectLimits::default()).expect("well-formed");
        check(signal, &bytes);
    }

    #[test]
    fn damaged_requests_are_judged_as_prost_judges_them(
        (signal, bytes) in prop::sample::select(&Signal::ALL[..])
            .prop_flat_map(|signal| (Just(signal), wire_gen::damaged(signal)))
    ) {
        check(signal, &bytes);
        check_cursors(signal, &bytes);
    }

    #[test]
    fn one_signals_request_on_anothers_path_is_judged_as_prost_judges_it(
        (sent, bytes) in prop::sample::select(&Signal::ALL[..])
            .prop_flat_map(|signal| (Just(signal), wire_gen::request(signal)))
    ) {
        for signal in Signal::ALL.into_iter().filter(|&signal| signal != sent) {
            check(signal, &bytes);
        }
    }
}

/// Arrays within arrays in the body of a log record, the message at `depth` holding `leaf`; the request is at depth 0.
fn nested_body(depth: u32, leaf: &[u8]) -> Vec<u8> {
    let mut value = leaf.to_vec();
    let mut at = depth;
    while at > 4 {
        // An AnyValue stands at every even depth from 4 on, an ArrayValue at every odd one.
        value = wrap(if at.is_multiple_of(2) { 1 } else { 5 }, &value);
        at -= 1;
    }
    in_record(&wrap(5, &value))
}

/// Maps within maps in an attribute of a log record: `levels` attributes, the first at depth 4, each three below the
/// one around it, and the text of the innermost one deeper.
fn nested_attributes(levels: u32) -> Vec<u8> {
    let mut value = wrap(1, b"text");
    for level in 0..levels {
        let attribute = [wrap(1, b"k"), wrap(2, &value)].concat();
        value = if level + 1 < levels { wrap(6, &wrap(1, &attribute)) } else { attribute };
    }
    in_record(&wrap(6, &value))
}

fn in_record(fields: &[u8]) -> Vec<u8> {
    wrap(1, &wrap(2, &wrap(2, fields)))
}

fn wrap(number: u32, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    pb::put_len_field(&mut out, number, value);
    out
}

/// The inspection, the cursors and prost agree, and do what is expected.
fn check_depth(bytes: &[u8], is_accepted: bool) {
    check(Signal::Logs, bytes);
    assert_eq!(
        inspect(Signal::Logs, bytes, &InspectLimits::default()).is_ok(),
        is_accepted,
        "{} bytes",
        bytes.len()
    );
    assert_eq!(read::logs(bytes).is_ok(), is_accepted, "{} bytes", bytes.len());
}

#[test]
fn nesting_is_accepted_to_prosts_limit_and_refused_beyond() {
    for depth in [4, 5, 99, 100, 101, 102, 1000] {
        check_depth(&nested_body(depth, &[]), depth <= pb::MAX_DEPTH);
    }
}

#[test]
fn skipping_an_unknown_field_counts_as_a_level() {
    let (varint, text, group): (&[u8], &[u8], &[u8]) =
        (&[0xc0, 0x3e, 1], &[0xc2, 0x3e, 1, b'x'], &[0xc3, 0x3e, 0xc4, 0x3e]);
    for depth in [98, 99, 100] {
        for unknown in [varint, text, group] {
            check_depth(&nested_body(depth, unknown), depth < pb::MAX_DEPTH);
        }
    }
}

#[test]
fn a_plain_attribute_counts_as_the_two_levels_it_is() {
    // The innermost attribute stands at depth 4 + 3 * (levels - 1), its value one below: 97 and 98, then 100 and 101.
    check_depth(&nested_attributes(32), true);
    check_depth(&nested_attributes(33), false);
}

#[test]
fn a_lower_depth_limit_is_kept_and_a_higher_one_is_not_believed() {
    let judge =
        |depth, max_depth| inspect(Signal::Logs, &nested_body(depth, &[]), &InspectLimits { max_depth });
    judge(10, 10).expect("within the limit");
    assert_eq!(judge(11, 10).expect_err("beyond the limit").kind, MalformedKind::TooDeep);
    assert_eq!(judge(101, 1000).expect_err("beyond what the hub reads").kind, MalformedKind::TooDeep);
}

#[test]
fn nested_groups_count_as_nesting() {
    for depth in [1usize, 98, 99, 100, 101, 5000] {
        for leaf in [&[][..], &[0x48, 1]] {
            let bytes = [&vec![0x4b; depth][..], leaf, &vec![0x4c; depth]].concat();
            check_depth(&bytes, depth + leaf.len().min(1) <= pb::MAX_DEPTH as usize);
        }
    }
}

#[test]
fn errors_point_into_the_request() {
    // ResourceLogs { ScopeLogs { LogRecord { time: wrong wire type } } }
    let bytes = [0x0a, 6, 0x12, 4, 0x12, 2, 0x08, 1];
    let malformed = inspect(Signal::Logs, &bytes, &InspectLimits::default()).expect_err("field 1 is fixed64");
    assert_eq!((malformed.offset, malformed.kind), (6, MalformedKind::WireTypeMismatch(1)));
    assert_eq!(malformed.to_string(), "malformed protobuf at byte 6: field 1 has the wrong wire type");
}

#[test]
fn the_largest_item_and_the_groups_are_reported() {
    let mut scope = Vec::new();
    pb::put_len_field(&mut scope, 2, &[]);
    pb::put_len_field(&mut scope, 2, &[0x1a, 1, b'w']);
    let mut group = Vec::new();
    pb::put_len_field(&mut group, 2, &scope);
    pb::put_len_field(&mut group, 2, &[]);
    let mut request = Vec::new();
    pb::put_len_field(&mut request, 1, &group);
    pb::put_len_field(&mut request, 1, &[]);
    let summary = inspect(Signal::Logs, &request, &InspectLimits::default()).expect("well-formed");
    assert_eq!((summary.items, summary.resources, summary.scopes, summary.max_item_bytes), (2, 2, 2, 3));
}
