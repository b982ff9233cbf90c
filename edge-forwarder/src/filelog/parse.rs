//! A line's text becomes a log record: the text as it is, and what can be read in it.
//!
//! **The text is always kept**, byte for byte, as the record's body. A text that is a JSON object has its well-known keys read
//! into the record's own fields (time, severity, trace and span id), and all others become attributes with their types. What
//! cannot be read is no reason to lose anything: a field whose value makes no sense stays an attribute, a text that begins like
//! JSON and is none has the attribute `parse_error`.
//!
//! Everything is written straight into protobuf, without a tree in between: `json` reads, `rules` says which keys are known,
//! `severity` which words. `OTLP: LogRecord` in `opentelemetry/proto/logs/v1/logs.proto`.

use telemetry_wire::pb;

use super::cri::Stream;
use attributes::Attributes;
use json::{Known, read_object};

mod attributes;
mod json;
mod rules;
mod severity;

pub(crate) use rules::ParseRules;

/// Fields of `ScopeLogs` and `LogRecord`.
const LOG_RECORDS: u32 = 2;
const TIME_UNIX_NANO: u32 = 1;
const SEVERITY_NUMBER: u32 = 2;
const SEVERITY_TEXT: u32 = 3;
const BODY: u32 = 5;
const FLAGS: u32 = 8;
const TRACE_ID: u32 = 9;
const SPAN_ID: u32 = 10;
const OBSERVED_TIME_UNIX_NANO: u32 = 11;

/// Fields of `AnyValue`.
const STRING_VALUE: u32 = 1;
const BYTES_VALUE: u32 = 7;

/// Which part a piece is of a line that was too long for one record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PartOf {
    pub(super) index: u32,
    pub(super) is_last: bool,
}

/// What is known of a line besides what is in it.
#[derive(Debug, Clone, Copy)]
pub(super) struct LineRecord<'a> {
    pub(super) body: &'a [u8],
    /// When it was written; 0 when that is not known.
    pub(super) time_unix_nano: u64,
    pub(super) observed_unix_nano: u64,
    pub(super) stream: Stream,
    pub(super) part: Option<PartOf>,
    /// Encoded `LogRecord.attributes` of all records of the file.
    pub(super) attributes: &'a [u8],
}

/// What became of a line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Encoded {
    /// OpenTelemetry's severity, 0 when none is known.
    pub(super) severity_number: u8,
    pub(super) outcome: Outcome,
}

/// How its text was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Outcome {
    Json,
    Plain,
    /// It begins like JSON.
    ParseError,
}

/// Makes log records; its buffers are used again.
#[derive(Debug, Default)]
pub(super) struct RecordEncoder {
    attributes: Attributes,
    fields: Vec<u8>,
}

impl RecordEncoder {
    /// Appends a field `ScopeLogs.log_records` to `out`.
    pub(super) fn append(&mut self, rules: &ParseRules, line: &LineRecord<'_>, out: &mut Vec<u8>) -> Encoded {
        self.attributes.clear();
        let (known, outcome) = self.read(rules, line);
        self.put_line_attributes(line);
        let time = known.time_unix_nano().unwrap_or(line.time_unix_nano);
        let (severity_number, severity_text) = known.severity().unwrap_or((0, &[]));
        self.fields.clear();
        let fields = &mut self.fields;
        if time > 0 {
            pb::put_fixed64_field(fields, TIME_UNIX_NANO, time);
        }
        pb::put_fixed64_field(fields, OBSERVED_TIME_UNIX_NANO, line.observed_unix_nano);
        if severity_number > 0 {
            pb::put_varint_field(fields, SEVERITY_NUMBER, severity_number.into());
            pb::put_len_field(fields, SEVERITY_TEXT, severity_text);
        }
        put_ids(fields, &known);
        let kind = if std::str::from_utf8(line.body).is_ok() { STRING_VALUE } else { BYTES_VALUE };
        let body = pb::len_field_size(kind, line.body.len());
        let bytes = fields.len()
            + pb::len_field_size(BODY, body)
            + line.attributes.len()
            + self.attributes.kept_bytes();
        out.reserve(bytes + 8);
        pb::put_len_header(out, LOG_RECORDS, bytes);
        out.extend_from_slice(fields);
        pb::put_len_header(out, BODY, body);
        pb::put_len_field(out, kind, line.body);
        out.extend_from_slice(line.attributes);
        self.attributes.put_kept(out);
        Encoded { severity_number, outcome }
    }

    fn read<'a>(&mut self, rules: &ParseRules, line: &LineRecord<'a>) -> (Known<'a>, Outcome) {
        if !rules.is_parsing {
            return (Known::default(), Outcome::Plain);
        }
        if !is_like_json(line.body) {
            return (Known::guessed(line.body), Outcome::Plain);
        }
        match read_object(rules, line.body, &mut self.attributes) {
            Ok(known) => (known, Outcome::Json),
            Err(error) => {
                self.attributes.clear();
                self.attributes.put_string("parse_error", &error.to_string());
                (Known::default(), Outcome::ParseError)
            }
        }
    }

    fn put_line_attributes(&mut self, line: &LineRecord<'_>) {
        if let Some(stream) = line.stream.name() {
            self.attributes.put_string("log.iostream", stream);
        }
        if let Some(PartOf { index, is_last }) = line.part {
            self.attributes.put_int("log.part.index", index.into());
            if is_last {
                self.attributes.put_bool("log.part.last", true);
            }
        }
    }
}

/// Whether a text can only be meant as a JSON object.
pub(super) fn is_like_json(text: &[u8]) -> bool {
    text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{')
}

fn put_ids(fields: &mut Vec<u8>, known: &Known<'_>) {
    if let Some(trace_id) = known.trace_id() {
        pb::put_len_field(fields, TRACE_ID, &trace_id);
    }
    if let Some(span_id) = known.span_id() {
        pb::put_len_field(fields, SPAN_ID, &span_id);
    }
    if let Some(flags) = known.flags() {
        pb::put_fixed32_field(fields, FLAGS, flags.into());
    }
}

#[cfg(test)]
mod tests;
