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

/// Arrays within arrays in the body of a log record; the request is the outermost message, at depth 0.
fn nested_body(depth: u32) -> Vec<u8> {
    let mut value = Vec::new();
    let mut at = depth;
    while at > 4 {
        let mut outer = Vec::new();
        // An AnyValue stands at every even depth from 4 on, an ArrayValue at every odd one.
        pb::put_len_field(&mut outer, if at % 2 == 0 { 1 } else { 5 }, &value);
        value = outer;
        at -= 1;
    }
    for number in [5, 2, 2, 1] {
        let mut outer = Vec::new();
        pb::put_len_field(&mut outer, number, &value);
        value = outer;
    }
    value
}

#[test]
fn nesting_is_accepted_to_prosts_limit_and_refused_beyond() {
    for depth in [4, 5, 99, 100, 101, 102, 1000] {
        let bytes = nested_body(depth);
        check(Signal::Logs, &bytes);
        let judged = inspect(Signal::Logs, &bytes, &InspectLimits::default());
        assert_eq!(judged.is_ok(), depth <= pb::MAX_DEPTH, "depth {depth}: {judged:?}");
        assert_eq!(read::logs(&bytes).is_ok(), depth <= pb::MAX_DEPTH, "depth {depth}");
    }
}

#[test]
fn a_lower_depth_limit_is_kept_and_a_higher_one_is_not_believed() {
    let judge = |depth, max_depth| inspect(Signal::Logs, &nested_body(depth), &InspectLimits { max_depth });
    judge(10, 10).expect("within the limit");
    assert_eq!(judge(11, 10).expect_err("beyond the limit").kind, MalformedKind::TooDeep);
    assert_eq!(judge(101, 1000).expect_err("beyond what the hub reads").kind, MalformedKind::TooDeep);
}

#[test]
fn nested_groups_count_as_nesting() {
    for depth in [1usize, 98, 99, 100, 101, 5000] {
        let mut bytes = vec![0x4b; depth];
        bytes.extend(vec![0x4c; depth]);
        check(Signal::Logs, &bytes);
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
