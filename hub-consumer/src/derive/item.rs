//! What rules look at of a log record or span, beside its attributes.

use super::{
    keys::Seen,
    rules::{Field, SpanKind},
};

/// A log record or span as it is being decoded; what the other kind has is 0, false or empty.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Item<'r> {
    /// As sent.
    pub(crate) trace_id: &'r [u8],
    /// As sent.
    pub(crate) span_id: &'r [u8],
    /// The time it is stored under, in nanoseconds since the epoch.
    pub(crate) unix_nano: i64,
    /// Of a log record, its number.
    pub(crate) severity: u8,
    /// Of a log record, its body if that is a text.
    pub(crate) text: &'r [u8],
    /// Of a span, its number.
    pub(crate) span_kind: u8,
    /// Of a span: its status is an error.
    pub(crate) is_error: bool,
    /// Of a span.
    pub(crate) duration_nanos: u64,
    /// The number of the attribute that says that a text is no JSON, if rules look at it.
    pub(crate) parse_error: Option<usize>,
}

impl Item<'_> {
    /// Whether a log record is a line that is a JSON object, and was read as one.
    #[inline]
    pub(super) fn is_parsed(&self, seen: &Seen<'_>) -> bool {
        let is_like_json = self.text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        is_like_json && self.parse_error.is_none_or(|number| seen.get(number).is_none())
    }

    /// The number of a field's value among [`Field::words`].
    #[inline]
    pub(super) fn word_of(&self, field: Field, seen: &Seen<'_>) -> usize {
        match field {
            // Four numbers to a word.
            Field::Severity if self.severity <= 24 => usize::from(self.severity.div_ceil(4)),
            Field::Severity => 0,
            Field::Parsed => usize::from(self.is_parsed(seen)),
            Field::SpanKind if self.span_kind <= SpanKind::Consumer as u8 => usize::from(self.span_kind),
            Field::SpanKind => 0,
            Field::SpanStatus => usize::from(self.is_error),
        }
    }
}
