//! Untrusted bytes as a request of each signal: judged as prost judges them, cut and rewritten without losing an item,
//! and nothing panics.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::{DecodeError, Message};
use telemetry_wire::common::{AnyValue, Attributes};
use telemetry_wire::key::KeyRule;
use telemetry_wire::metrics::rewrite;
use telemetry_wire::split::{Grouping, SplitOptions};
use telemetry_wire::{InspectLimits, Malformed, Signal, envelope, inspect, logs, split, traces};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, bytes)) = data.split_first() else { return };
    let signal = Signal::ALL[usize::from(choice) % 3];
    let inspected = inspect(signal, bytes, &InspectLimits::default());
    match decode(signal, bytes) {
        Ok(()) => assert!(inspected.is_ok(), "prost accepts it: {inspected:?}"),
        Err(error) if error.to_string().contains("UTF-8") => {}
        Err(error) => assert!(inspected.is_err(), "prost refuses it: {error}"),
    }
    let visited = visit(signal, bytes);
    if let Ok(summary) = inspected {
        visited.expect("the cursors read what is accepted");
        check_cuts(signal, bytes, summary.items, usize::from(choice / 3) * 8);
    }
});

fn decode(signal: Signal, bytes: &[u8]) -> Result<(), DecodeError> {
    match signal {
        Signal::Logs => ExportLogsServiceRequest::decode(bytes).map(drop),
        Signal::Traces => ExportTraceServiceRequest::decode(bytes).map(drop),
        Signal::Metrics => ExportMetricsServiceRequest::decode(bytes).map(drop),
    }
}

fn check_cuts(signal: Signal, bytes: &[u8], items: u64, max_bytes: usize) {
    let request = Bytes::copy_from_slice(bytes);
    let bucket = |hash: &[u8; 16]| i32::from(hash[0] % 2);
    let rules = [KeyRule::TraceId, KeyRule::Resource];
    for grouping in [Grouping::Whole, Grouping::Key(&rules[0]), Grouping::Key(&rules[1]), Grouping::Bucket(&bucket)] {
        let options = SplitOptions { grouping, max_bytes, head_bytes: 16 };
        let cut = split(signal, &request, &options).expect("accepted requests are cut");
        let given_up: u64 = cut.oversize.iter().map(|oversize| oversize.items).sum();
        let mut published = 0;
        for piece in cut.pieces {
            assert!(piece.value.len() <= max_bytes);
            let summary = inspect(signal, &piece.value, &InspectLimits::default()).expect("pieces are well-formed");
            assert_eq!(summary.items, piece.items);
            published += piece.items;
        }
        assert_eq!(published + given_up, items);
    }
}

/// Visits everything the hub reads.
fn visit(signal: Signal, bytes: &[u8]) -> Result<(), Malformed> {
    if signal == Signal::Metrics {
        rewrite::halve(bytes)?;
        return rewrite::retain(bytes, |_| true, |_, point| visit_attributes(point.attributes()).is_ok()).map(drop);
    }
    for group in envelope::Request::new(bytes).resources() {
        let group = group?;
        visit_attributes(group.resource.attributes())?;
        for scope in group.scopes() {
            let scope = scope?;
            visit_attributes(scope.scope.attributes())?;
            for item in scope.items() {
                match signal {
                    Signal::Logs => visit_log(&logs::LogRecord::parse(item?)?)?,
                    _ => visit_span(&traces::Span::parse(item?)?)?,
                }
            }
        }
    }
    Ok(())
}

fn visit_log(record: &logs::LogRecord<'_>) -> Result<(), Malformed> {
    visit_value(&record.body)?;
    visit_attributes(record.attributes())
}

fn visit_span(span: &traces::Span<'_>) -> Result<(), Malformed> {
    for event in span.events() {
        visit_attributes(event?.attributes())?;
    }
    for link in span.links() {
        visit_attributes(link?.attributes())?;
    }
    visit_attributes(span.attributes())
}

fn visit_attributes(mut attributes: Attributes<'_>) -> Result<(), Malformed> {
    attributes.try_for_each(|attribute| visit_value(&attribute?.value))
}

fn visit_value(value: &AnyValue<'_>) -> Result<(), Malformed> {
    match value {
        AnyValue::Array(array) => array.iter().try_for_each(|value| visit_value(&value?)),
        AnyValue::KeyValueList(list) => visit_attributes(list.iter()),
        _ => Ok(()),
    }
}
