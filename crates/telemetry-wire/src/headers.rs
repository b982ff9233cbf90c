//! Record headers. All are additive: a record that has none of them is just as good, and a reader never requires one.
//! Numbers are decimal text, so that any tool can show them.

use std::convert::Infallible;
use std::str::FromStr;

/// The edge that wrote the record: its configured id or host name.
pub const EDGE_ID: &str = "eventline-edge-id";
/// A random number chosen when the edge's numbering began; with the sequence it names the record for ever.
pub const INCARNATION: &str = "eventline-incarnation";
/// The record's number within the incarnation.
pub const SEQUENCE: &str = "eventline-sequence";
/// Which part of the numbered record this is, where one had to be cut after it had got its number: the way from the
/// whole, a number a cut, joined by dots. Absent for the whole.
pub const PART: &str = "eventline-part";
/// Log records, spans or data points in the record.
pub const ITEM_COUNT: &str = "eventline-item-count";
/// When the edge had received the request, in nanoseconds since the epoch.
pub const RECEIVED_AT: &str = "eventline-received-at";
/// Names the log file that the record's lines were read from: text that means something to its writer only.
pub const FILE: &str = "eventline-file";
/// Where that file's reader stood after the record's lines; its writer's own text too.
pub const FILE_POSITION: &str = "eventline-file-position";
/// How the value is encoded; absent means `otlp_proto`.
pub const ENCODING: &str = "eventline-encoding";

/// The headers that a dead-lettered record carries besides the original ones.
pub mod dead_letter {
    /// Why the record was given up: one word of a fixed list, fit for a metric label.
    pub const REASON: &str = "eventline-dlq-reason";
    /// What was wrong, in words.
    pub const DETAIL: &str = "eventline-dlq-detail";
    /// The topic the record was read from or meant for.
    pub const SOURCE_TOPIC: &str = "eventline-dlq-source-topic";
    /// The partition it was read from.
    pub const SOURCE_PARTITION: &str = "eventline-dlq-source-partition";
    /// The offset it was read at.
    pub const SOURCE_OFFSET: &str = "eventline-dlq-source-offset";
    /// The broker's timestamp of the source record, in milliseconds since the epoch.
    pub const SOURCE_TIMESTAMP: &str = "eventline-dlq-source-timestamp";
    /// The encoded size of what was given up, in bytes, when the value holds only its head.
    pub const ORIGINAL_BYTES: &str = "eventline-dlq-original-bytes";
    /// How often the record was sent through the pipeline again and came back; absent for 0.
    pub const ATTEMPTS: &str = "eventline-dlq-attempts";
    /// This is no letter but a note: these letters were sent again, and what was refused of them again is in letters of its
    /// own. They are named as `partition:offset` in the dead-letter topic, joined by commas.
    pub const REDRIVEN: &str = "eventline-dlq-redriven";
    /// What all of these begin with.
    pub const PREFIX: &str = "eventline-dlq-";
}

/// How a record's value is encoded.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Encoding {
    /// `Export*ServiceRequest` protobuf.
    OtlpProto,
    /// `Export*ServiceRequest` in the OTLP JSON mapping.
    OtlpJson,
    /// Something this version does not know; such a record is dead-lettered, not guessed at.
    Other(String),
}

/// What our headers say about a record.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RecordHeaders {
    /// See [`EDGE_ID`].
    pub edge_id: Option<String>,
    /// See [`INCARNATION`].
    pub incarnation: Option<u64>,
    /// See [`SEQUENCE`].
    pub sequence: Option<u64>,
    /// See [`PART`].
    pub part: Option<String>,
    /// See [`ITEM_COUNT`].
    pub item_count: Option<u64>,
    /// See [`RECEIVED_AT`].
    pub received_at_unix_nano: Option<u64>,
    /// See [`FILE`].
    pub file: Option<String>,
    /// See [`FILE_POSITION`].
    pub file_position: Option<String>,
    /// See [`ENCODING`].
    pub encoding: Option<Encoding>,
}

impl Encoding {
    /// The header's value.
    pub fn as_str(&self) -> &str {
        match self {
            Encoding::OtlpProto => "otlp_proto",
            Encoding::OtlpJson => "otlp_json",
            Encoding::Other(name) => name,
        }
    }
}

impl FromStr for Encoding {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text {
            "otlp_proto" => Encoding::OtlpProto,
            "otlp_json" => Encoding::OtlpJson,
            other => Encoding::Other(other.to_owned()),
        })
    }
}

impl RecordHeaders {
    /// The headers to write, without those that are unset.
    pub fn encode(&self) -> Vec<(&'static str, Vec<u8>)> {
        let number = |value: Option<u64>| value.map(|value| value.to_string().into_bytes());
        let text = |value: &Option<String>| value.as_ref().map(|value| value.clone().into_bytes());
        [
            (EDGE_ID, text(&self.edge_id)),
            (INCARNATION, number(self.incarnation)),
            (SEQUENCE, number(self.sequence)),
            (PART, text(&self.part)),
            (ITEM_COUNT, number(self.item_count)),
            (RECEIVED_AT, number(self.received_at_unix_nano)),
            (FILE, text(&self.file)),
            (FILE_POSITION, text(&self.file_position)),
            (ENCODING, self.encoding.as_ref().map(|encoding| encoding.as_str().as_bytes().to_vec())),
        ]
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)))
        .collect()
    }

    /// Reads our headers among a record's. Foreign ones are passed over, a number that does not parse counts as absent,
    /// and of a repeated header the last counts.
    pub fn decode<'a>(headers: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> Self {
        let mut decoded = RecordHeaders::default();
        for (name, value) in headers {
            let text = String::from_utf8_lossy(value);
            match name {
                EDGE_ID => decoded.edge_id = Some(text.into_owned()),
                INCARNATION => decoded.incarnation = text.parse().ok(),
                SEQUENCE => decoded.sequence = text.parse().ok(),
                PART => decoded.part = Some(text.into_owned()),
                ITEM_COUNT => decoded.item_count = text.parse().ok(),
                RECEIVED_AT => decoded.received_at_unix_nano = text.parse().ok(),
                FILE => decoded.file = Some(text.into_owned()),
                FILE_POSITION => decoded.file_position = Some(text.into_owned()),
                ENCODING => decoded.encoding = text.parse().ok(),
                _ => {}
            }
        }
        decoded
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn full() -> RecordHeaders {
        RecordHeaders {
            edge_id: Some("edge-7".into()),
            incarnation: Some(u64::MAX),
            sequence: Some(0),
            part: Some("1.0".into()),
            item_count: Some(200),
            received_at_unix_nano: Some(1_700_000_000_000_000_001),
            file: Some("fe00-12".into()),
            file_position: Some("4096".into()),
            encoding: Some(Encoding::OtlpJson),
        }
    }

    fn decode(encoded: &[(&str, Vec<u8>)]) -> RecordHeaders {
        RecordHeaders::decode(encoded.iter().map(|(name, value)| (*name, value.as_slice())))
    }

    #[test]
    fn what_is_written_is_read_back() {
        assert_eq!(decode(&full().encode()), full());
        assert_eq!(RecordHeaders::default().encode(), []);
    }

    #[test]
    fn a_collectors_record_without_our_headers_is_read() {
        let foreign = [("traceparent", b"00-1".to_vec()), ("content-type", b"x".to_vec())];
        assert_eq!(decode(&foreign), RecordHeaders::default());
    }

    #[test]
    fn damaged_numbers_count_as_absent_and_an_unknown_encoding_is_kept_by_name() {
        let damaged = [(SEQUENCE, b"-1".to_vec()), (EDGE_ID, vec![0xff]), (ENCODING, b"otap".to_vec())];
        let decoded = decode(&damaged);
        assert_eq!(decoded.sequence, None);
        assert_eq!(decoded.edge_id.as_deref(), Some("\u{fffd}"));
        assert_eq!(decoded.encoding, Some(Encoding::Other("otap".into())));
    }
}
