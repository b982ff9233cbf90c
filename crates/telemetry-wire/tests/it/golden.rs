//! Names and bytes that other programs rely on; a change here is a change of the contract in docs/wire.md.

use telemetry_wire::headers::{self, Encoding, RecordHeaders, dead_letter};
use telemetry_wire::{Signal, dead_letter_topic};

#[test]
fn topics_and_paths_are_those_of_the_contract() {
    let names = Signal::ALL.map(|signal| (signal.as_str(), signal.default_topic(), signal.http_path()));
    assert_eq!(
        names,
        [
            ("logs", "otlp_logs", "/v1/logs"),
            ("traces", "otlp_spans", "/v1/traces"),
            ("metrics", "otlp_metrics", "/v1/metrics"),
        ]
    );
    assert_eq!(dead_letter_topic(Signal::Traces.default_topic()), "otlp_spans.dlq");
    for signal in Signal::ALL {
        assert_eq!(signal.as_str().parse(), Ok(signal));
    }
    assert!("Logs".parse::<Signal>().is_err());
}

#[test]
fn record_headers_are_those_of_the_contract() {
    let written = RecordHeaders {
        edge_id: Some("edge-1".into()),
        incarnation: Some(7),
        sequence: Some(42),
        part: Some("1.0".into()),
        item_count: Some(200),
        received_at_unix_nano: Some(1_767_225_600_000_000_000),
        file: Some("803-2a-77".into()),
        file_position: Some("4096".into()),
        encoding: Some(Encoding::OtlpProto),
    };
    let text: Vec<(&str, String)> = written
        .encode()
        .into_iter()
        .map(|(name, value)| (name, String::from_utf8(value).expect("headers are text")))
        .collect();
    let expected = [
        ("eventline-edge-id", "edge-1"),
        ("eventline-incarnation", "7"),
        ("eventline-sequence", "42"),
        ("eventline-part", "1.0"),
        ("eventline-item-count", "200"),
        ("eventline-received-at", "1767225600000000000"),
        ("eventline-file", "803-2a-77"),
        ("eventline-file-position", "4096"),
        ("eventline-encoding", "otlp_proto"),
    ];
    assert_eq!(text, expected.map(|(name, value)| (name, value.to_owned())));
}

#[test]
fn header_names_are_written_down_in_the_contract() {
    let contract = include_str!("../../../../docs/wire.md");
    let names = [
        headers::EDGE_ID,
        headers::INCARNATION,
        headers::SEQUENCE,
        headers::PART,
        headers::ITEM_COUNT,
        headers::RECEIVED_AT,
        headers::FILE,
        headers::FILE_POSITION,
        headers::ENCODING,
        dead_letter::REASON,
        dead_letter::DETAIL,
        dead_letter::SOURCE_TOPIC,
        dead_letter::SOURCE_PARTITION,
        dead_letter::SOURCE_OFFSET,
        dead_letter::SOURCE_TIMESTAMP,
        dead_letter::ORIGINAL_BYTES,
        dead_letter::ATTEMPTS,
        dead_letter::REDRIVEN,
    ];
    for name in names {
        assert!(contract.contains(&format!("`{name}`")), "docs/wire.md does not name {name}");
    }
}
