//! What rules look at of a log record or span, beside its attributes.

use super::rules::{Field, SpanKind};

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
}

/// Those that conditions and labels look at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Fields {
    /// 0 to 24; what is above is [`Fields::NO_SEVERITY`].
    severity: u8,
    /// 0 to 5; 0 for one that is not known.
    span_kind: u8,
    is_error: bool,
    is_parsed: bool,
}

impl Item<'_> {
    /// The fields, of a record that has the attribute `parse_error` or not.
    #[inline]
    pub(super) fn fields(&self, has_parse_error: bool) -> Fields {
        let is_like_json = || self.text.iter().find(|byte| !byte.is_ascii_whitespace()) == Some(&b'{');
        Fields {
            severity: self.severity.min(Fields::NO_SEVERITY),
            span_kind: if self.span_kind <= SpanKind::Consumer as u8 { self.span_kind } else { 0 },
            is_error: self.is_error,
            is_parsed: !has_parse_error && is_like_json(),
        }
    }
}

impl Fields {
    const NO_SEVERITY: u8 = 25;

    #[inline]
    pub(super) fn pack(self) -> u32 {
        let Fields { severity, span_kind, is_error, is_parsed } = self;
        u32::from_le_bytes([severity, span_kind, u8::from(is_error), u8::from(is_parsed)])
    }

    pub(super) fn unpack(packed: u32) -> Fields {
        let [severity, span_kind, is_error, is_parsed] = packed.to_le_bytes();
        Fields { severity, span_kind, is_error: is_error == 1, is_parsed: is_parsed == 1 }
    }

    /// The number of a field's value among [`Field::words`].
    pub(super) fn word_of(self, field: Field) -> usize {
        match field {
            Field::Severity if self.severity == Self::NO_SEVERITY => 0,
            // Four numbers to a word.
            Field::Severity => usize::from(self.severity.div_ceil(4)),
            Field::Parsed => usize::from(self.is_parsed),
            Field::SpanKind => usize::from(self.span_kind),
            Field::SpanStatus => usize::from(self.is_error),
        }
    }

    /// Whether the severity is from the first to the second.
    pub(super) fn is_severe(self, from: u8, to: u8) -> bool {
        (from..=to).contains(&self.severity)
    }

    /// The kind of span, by its number.
    pub(super) fn span_kind(self) -> u8 {
        self.span_kind
    }
}
