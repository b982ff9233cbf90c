//! stub
use super::cri::Stream;
use telemetry_wire::pb;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartOf {
    pub(super) index: u32,
    pub(super) is_last: bool,
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Plain,
    ParseError,
}
#[derive(Debug)]
pub(super) struct Encoded {
    pub(super) severity_number: u8,
    pub(super) outcome: Outcome,
}
#[derive(Debug)]
pub(super) struct LineRecord<'a> {
    pub(super) body: &'a [u8],
    pub(super) time_unix_nano: u64,
    pub(super) observed_unix_nano: u64,
    pub(super) stream: Stream,
    pub(super) part: Option<PartOf>,
    pub(super) attributes: &'a [u8],
}
#[derive(Debug, Clone, Default)]
pub(super) struct ParseRules;
#[derive(Debug, Default)]
pub(super) struct RecordEncoder;
impl RecordEncoder {
    pub(super) fn append(&mut self, _: &ParseRules, line: &LineRecord<'_>, out: &mut Vec<u8>) -> Encoded {
        let mut record = Vec::new();
        let mut body = Vec::new();
        pb::put_len_field(&mut body, if std::str::from_utf8(line.body).is_ok() { 1 } else { 7 }, line.body);
        pb::put_len_field(&mut record, 5, &body);
        record.extend_from_slice(line.attributes);
        pb::put_len_field(out, 2, &record);
        Encoded { severity_number: 0, outcome: Outcome::Plain }
    }
}
