//! The cursors yield field by field what prost decodes, whatever the order and repetition on the wire.

use crate::{read, read::Reduce, wire_gen};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use proptest::prelude::*;
use prost::Message;
use telemetry_wire::{Malformed, Signal, fixtures};

/// Encodings are compared, since a NaN is not equal to itself.
fn check<M: Message + Default + Reduce + std::fmt::Debug>(
    bytes: &[u8],
    read: fn(&[u8]) -> Result<M, Malformed>,
) {
    let mut expected = M::decode(bytes).expect("well-formed");
    expected.reduce();
    let actual = read(bytes).expect("well-formed");
    assert!(actual.encode_to_vec() == expected.encode_to_vec(), "read {actual:#?}, prost {expected:#?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2000))]

    #[test]
    fn log_cursors_read_what_prost_reads(bytes in wire_gen::request(Signal::Logs)) {
        check::<ExportLogsServiceRequest>(&bytes, read::logs);
    }

    #[test]
    fn span_cursors_read_what_prost_reads(bytes in wire_gen::request(Signal::Traces)) {
        check::<ExportTraceServiceRequest>(&bytes, read::traces);
    }
}

#[test]
fn realistic_requests_are_read_as_prost_reads_them() {
    let mut load = fixtures::Load::new(7);
    for _ in 0..10 {
        check::<ExportLogsServiceRequest>(&load.logs().encode_to_vec(), read::logs);
        check::<ExportTraceServiceRequest>(&load.traces().encode_to_vec(), read::traces);
    }
}

#[test]
fn concatenated_requests_read_as_one() {
    let mut load = fixtures::Load::new(8);
    let (first, second) = (load.logs(), load.logs());
    let mut bytes = first.encode_to_vec();
    bytes.extend(second.encode_to_vec());
    let read = read::logs(&bytes).expect("well-formed");
    assert_eq!(read.resource_logs.len(), first.resource_logs.len() + second.resource_logs.len());
    check::<ExportLogsServiceRequest>(&bytes, read::logs);
}
