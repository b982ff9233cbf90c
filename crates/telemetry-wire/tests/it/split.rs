//! Requests cut into records: every item is in exactly one piece or reported, no piece is too large, keys are right.

use crate::{oracle, wire_gen};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use std::collections::HashSet;
use telemetry_wire::key::{self, KeyRule};
use telemetry_wire::split::{Grouping, OversizeReason, Split, SplitOptions};
use telemetry_wire::{Signal, envelope, fixtures, split};

fn cut(signal: Signal, bytes: &[u8], grouping: Grouping<'_>, max_bytes: usize) -> Split {
    let options = SplitOptions { grouping, max_bytes, head_bytes: 16 };
    split(signal, &Bytes::copy_from_slice(bytes), &options).expect("well-formed")
}

/// The promises that hold for every cut.
fn check(signal: Signal, bytes: &[u8], grouping: Grouping<'_>, max_bytes: usize) -> Split {
    let split = cut(signal, bytes, grouping, max_bytes);
    let before = oracle::items(signal, bytes);
    let mut after = Vec::new();
    for piece in &split.pieces {
        assert!(piece.value.len() <= max_bytes, "a piece of {} bytes", piece.value.len());
        let items = oracle::items(signal, &piece.value);
        assert_eq!(piece.items, items.len() as u64);
        after.extend(items);
    }
    after.sort();
    let given_up: u64 = split.oversize.iter().map(|oversize| oversize.items).sum();
    assert_eq!(after.len() as u64 + given_up, before.len() as u64);
    if given_up == 0 {
        assert!(after == before, "the pieces hold other items than the request");
    } else {
        let mut rest = before.iter();
        assert!(after.iter().all(|item| rest.any(|candidate| candidate == item)));
    }
    for oversize in &split.oversize {
        assert_eq!(oversize.head.len(), oversize.size.min(16));
    }
    split
}

fn any_request() -> impl Strategy<Value = (Signal, Vec<u8>)> {
    prop::sample::select(&Signal::ALL[..]).prop_flat_map(|signal| (Just(signal), wire_gen::request(signal)))
}

/// The hash of every resource in the request.
fn resource_hashes(bytes: &[u8]) -> HashSet<[u8; 16]> {
    let groups = envelope::Request::new(bytes).resources();
    groups
        .map(|group| key::resource_hash(group?.resource.attributes()))
        .collect::<Result<_, _>>()
        .expect("well-formed")
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1500))]

    #[test]
    fn pieces_by_size_hold_every_item_once((signal, bytes) in any_request(), max_bytes in 0..2000usize) {
        check(signal, &bytes, Grouping::Whole, max_bytes);
    }

    #[test]
    fn pieces_by_resource_hold_one_resource_each((signal, bytes) in any_request(), max_bytes in 100..100_000usize) {
        let rule = KeyRule::Resource;
        for piece in check(signal, &bytes, Grouping::Key(&rule), max_bytes).pieces {
            let hashes: Vec<_> = resource_hashes(&piece.value).into_iter().collect();
            prop_assert_eq!(hashes.as_slice(), &[piece.key.as_deref().expect("keyed")]);
        }
    }

    #[test]
    fn pieces_by_bucket_hold_their_bucket((signal, bytes) in any_request(), max_bytes in 100..100_000usize) {
        let bucket = |hash: &[u8; 16]| i32::from(hash[0] % 3);
        let split = check(signal, &bytes, Grouping::Bucket(&bucket), max_bytes);
        for piece in &split.pieces {
            prop_assert!(resource_hashes(&piece.value).iter().all(|hash| Some(bucket(hash)) == piece.bucket));
        }
    }

    #[test]
    fn pieces_by_trace_hold_every_item_once((signal, bytes) in any_request(), max_bytes in 100..100_000usize) {
        let rule = KeyRule::TraceId;
        check(signal, &bytes, Grouping::Key(&rule), max_bytes);
    }
}

#[test]
fn a_request_within_the_limit_is_published_as_it_came() {
    let bytes = Bytes::from(fixtures::Load::new(1).logs().encode_to_vec());
    let options = SplitOptions { grouping: Grouping::Whole, max_bytes: bytes.len(), head_bytes: 16 };
    let split = split(Signal::Logs, &bytes, &options).expect("well-formed");
    assert_eq!(split.pieces.len(), 1);
    assert_eq!(split.pieces[0].value.as_ptr(), bytes.as_ptr(), "the bytes were copied");
    assert_eq!(split.pieces[0].items, 200);
}

#[test]
fn whole_resource_groups_are_slices_of_the_request() {
    let bytes = Bytes::from(fixtures::Load::new(2).logs().encode_to_vec());
    let options = SplitOptions { grouping: Grouping::Whole, max_bytes: bytes.len() / 3, head_bytes: 16 };
    let split = split(Signal::Logs, &bytes, &options).expect("well-formed");
    assert_eq!(split.pieces.len(), 4);
    let request = bytes.as_ptr_range();
    for piece in &split.pieces {
        assert!(request.contains(&piece.value.as_ptr()), "the bytes were copied");
    }
    assert_eq!(split.pieces.iter().map(|piece| piece.value.to_vec()).collect::<Vec<_>>().concat(), bytes);
}

#[test]
fn requests_over_the_limit_are_filled_well() {
    let mut load = fixtures::Load::new(3);
    let requests = [
        (Signal::Logs, load.logs().encode_to_vec()),
        (Signal::Traces, load.traces().encode_to_vec()),
        (Signal::Metrics, load.metrics().encode_to_vec()),
    ];
    for (signal, bytes) in requests {
        let split = check(signal, &bytes, Grouping::Whole, 4096);
        assert_eq!(split.oversize, []);
        // A piece is closed only when the next item did not fit, or its group ended.
        let least = bytes.len() / 4096;
        assert!(
            split.pieces.len() <= 2 * least + 4,
            "{signal}: {} pieces where {least} would do",
            split.pieces.len()
        );
    }
}

#[test]
fn one_item_too_large_is_reported_and_the_others_are_published() {
    let mut request = fixtures::Load::new(4).logs();
    request.resource_logs[2].scope_logs[0].log_records[7].severity_text = "x".repeat(100_000);
    let split = check(Signal::Logs, &request.encode_to_vec(), Grouping::Whole, 50_000);
    assert_eq!(split.oversize.len(), 1);
    let oversize = &split.oversize[0];
    assert_eq!((oversize.items, oversize.reason), (1, OversizeReason::Item));
    assert!(oversize.size > 100_000);
    assert_eq!(split.pieces.iter().map(|piece| piece.items).sum::<u64>(), 199);
}

#[test]
fn a_metric_too_large_is_cut_between_its_points() {
    let mut request = fixtures::Load::new(5).metrics();
    let metric = request.resource_metrics[0].scope_metrics[0].metrics[0].clone();
    request.resource_metrics.truncate(1);
    request.resource_metrics[0].scope_metrics[0].metrics = vec![metric];
    let bytes = request.encode_to_vec();
    let split = check(Signal::Metrics, &bytes, Grouping::Whole, bytes.len() - 1);
    assert_eq!(split.pieces.len(), 2);
    assert_eq!(split.oversize, []);
}

#[test]
fn a_resource_too_large_to_repeat_is_reported_not_multiplied() {
    let mut request = fixtures::Load::new(6).logs();
    request.resource_logs[0].schema_url = "x".repeat(40_000);
    let bytes = request.encode_to_vec();
    let split = check(Signal::Logs, &bytes, Grouping::Whole, 45_000);
    assert_eq!(split.oversize.len(), 1);
    assert_eq!((split.oversize[0].items, split.oversize[0].reason), (50, OversizeReason::Header));
    let written: usize = split.pieces.iter().map(|piece| piece.value.len()).sum();
    assert!(written <= 2 * bytes.len());
}

#[test]
fn traces_are_keyed_by_hex_trace_id_and_never_torn_apart() {
    let request = fixtures::Load::new(7).traces();
    let bytes = request.encode_to_vec();
    let rule = KeyRule::TraceId;
    let split = check(Signal::Traces, &bytes, Grouping::Key(&rule), 1 << 20);
    let mut seen = HashSet::new();
    for piece in &split.pieces {
        let request = ExportTraceServiceRequest::decode(piece.value.as_ref()).expect("well-formed");
        let spans =
            request.resource_spans.iter().flat_map(|group| &group.scope_spans).flat_map(|scope| &scope.spans);
        let ids: HashSet<String> =
            spans.map(|span| span.trace_id.iter().map(|byte| format!("{byte:02x}")).collect()).collect();
        let key = String::from_utf8(piece.key.as_deref().expect("keyed").to_vec()).expect("hex");
        assert_eq!(ids, HashSet::from([key.clone()]));
        assert!(seen.insert(key), "a trace is in two pieces");
    }
    assert_eq!(seen.len(), 40);
}

#[test]
fn items_without_a_trace_id_have_no_key() {
    let rule = KeyRule::TraceId;
    let bytes = fixtures::Load::new(8).logs().encode_to_vec();
    let split = check(Signal::Logs, &bytes, Grouping::Key(&rule), 1 << 20);
    let unkeyed: Vec<_> = split.pieces.iter().filter(|piece| piece.key.is_none()).collect();
    assert_eq!(unkeyed.len(), 1);
    assert!(unkeyed[0].items > 50, "about 40 % of the records have none");
}

#[test]
fn a_heavy_resource_over_many_traces_is_not_multiplied() {
    let mut request = fixtures::Load::new(9).traces();
    request.resource_spans.truncate(1);
    request.resource_spans[0].schema_url = "x".repeat(100_000);
    let bytes = request.encode_to_vec();
    let rule = KeyRule::TraceId;
    let split = check(Signal::Traces, &bytes, Grouping::Key(&rule), 1 << 20);
    assert_eq!(split.pieces.len(), 1);
    assert_eq!((split.pieces[0].key.as_ref(), split.pieces[0].value.as_ref()), (None, bytes.as_slice()));
}

#[test]
fn chosen_attributes_make_the_key() {
    let bytes = fixtures::Load::new(10).metrics().encode_to_vec();
    let rule = KeyRule::Attributes(vec!["k8s.cluster.name".into()]);
    let split = check(Signal::Metrics, &bytes, Grouping::Key(&rule), 1 << 20);
    assert_eq!(split.pieces.len(), 1, "all resources are of one cluster");
    assert_eq!(split.pieces[0].key.as_ref().map(Bytes::len), Some(16));
    assert_eq!(split.pieces[0].value, bytes);
}
