//! Which keys of a JSON line are read into fields of the record.

use service_runtime::Section;

/// Enough for what loggers write; more is a body, not attributes.
const MAX_ATTRIBUTES: usize = 128;

const TIME_KEYS: [&str; 8] = ["timestamp", "time", "ts", "@timestamp", "@t", "datetime", "date", "eventTime"];
const SEVERITY_KEYS: [&str; 9] =
    ["level", "severity", "levelname", "log.level", "loglevel", "lvl", "@l", "Level", "severityText"];
const TRACE_ID_KEYS: [&str; 6] = ["trace_id", "traceId", "traceid", "trace.id", "TraceId", "@tr"];
const SPAN_ID_KEYS: [&str; 6] = ["span_id", "spanId", "spanid", "span.id", "SpanId", "@sp"];
const FLAGS_KEYS: [&str; 3] = ["trace_flags", "traceFlags", "flags"];

/// How texts are read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ParseRules {
    /// Texts are read at all.
    pub(super) is_parsing: bool,
    pub(super) max_attributes: usize,
    keys: Vec<KnownKey>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct KnownKey {
    name: String,
    field: Field,
    /// Of several keys for one field the lowest counts.
    rank: u8,
}

/// A field of the record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Time,
    Severity,
    TraceId,
    SpanId,
    Flags,
}

impl Default for ParseRules {
    fn default() -> ParseRules {
        let keys = [
            (Field::Time, TIME_KEYS.map(str::to_owned).to_vec()),
            (Field::Severity, SEVERITY_KEYS.map(str::to_owned).to_vec()),
            (Field::TraceId, TRACE_ID_KEYS.map(str::to_owned).to_vec()),
            (Field::SpanId, SPAN_ID_KEYS.map(str::to_owned).to_vec()),
            (Field::Flags, FLAGS_KEYS.map(str::to_owned).to_vec()),
        ];
        ParseRules { is_parsing: true, max_attributes: MAX_ATTRIBUTES, keys: known_keys(keys) }
    }
}

impl ParseRules {
    /// Reads them.
    pub(crate) fn read(section: &mut Section<'_>) -> ParseRules {
        let is_parsing = section.value(
            "json",
            true,
            "Read lines that are JSON objects: well-known keys become fields of the record, the others attributes. The line itself is kept in any case.",
        );
        let max_attributes: usize = section.value(
            "max_attributes",
            MAX_ATTRIBUTES,
            "Attributes read from one line; more are left in its text.",
        );
        let mut keys = |key, default: &[&str], doc| {
            section.value(key, default.iter().map(|name| (*name).to_owned()).collect::<Vec<String>>(), doc)
        };
        let keys = [
            (Field::Time, keys("time_keys", &TIME_KEYS, "Keys of the time; the first one present counts.")),
            (Field::Severity, keys("severity_keys", &SEVERITY_KEYS, "Keys of the severity.")),
            (Field::TraceId, keys("trace_id_keys", &TRACE_ID_KEYS, "Keys of the trace id.")),
            (Field::SpanId, keys("span_id_keys", &SPAN_ID_KEYS, "Keys of the span id.")),
            (Field::Flags, keys("trace_flags_keys", &FLAGS_KEYS, "Keys of the trace flags.")),
        ];
        ParseRules { is_parsing, max_attributes, keys: known_keys(keys) }
    }

    /// Rules that read nothing: records of texts alone.
    pub(crate) fn bare() -> ParseRules {
        ParseRules { is_parsing: false, max_attributes: 0, keys: Vec::new() }
    }

    /// The field that a key is for, with its rank.
    pub(super) fn field(&self, key: &str) -> Option<(Field, u8)> {
        let known = self.keys.iter().find(|known| known.name == key)?;
        Some((known.field, known.rank))
    }
}

fn known_keys(keys: [(Field, Vec<String>); 5]) -> Vec<KnownKey> {
    let of_field = |(field, names): (Field, Vec<String>)| {
        let known = move |(rank, name)| KnownKey { name, field, rank: u8::try_from(rank).unwrap_or(u8::MAX) };
        names.into_iter().enumerate().map(known)
    };
    keys.into_iter().flat_map(of_field).collect()
}
