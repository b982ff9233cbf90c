//! The check a request passes before it is published: well-formed as prost sees it, and what it holds.
//!
//! One walk over the bytes, driven by tables of the OTLP schema: every known field has its wire type, every sub-message
//! is entered, unknown fields and groups are skipped, nesting is bounded. Nothing is decoded and nothing allocated.
//! What prost accepts this accepts, except that strings need not be UTF-8 (the hub replaces invalid sequences).

mod schema;

use crate::common::{plain_attribute, plain_text};
use crate::pb::{self, MAX_DEPTH, Malformed, MalformedKind, Reader};
use crate::{Signal, metrics};
use schema::{Kind, Part, Schema};

/// Bounds a request has to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct InspectLimits {
    /// How deep messages may nest below the request; at most [`MAX_DEPTH`], which is what the hub can read.
    pub max_depth: u32,
}

impl Default for InspectLimits {
    fn default() -> Self {
        Self { max_depth: MAX_DEPTH }
    }
}

/// What a request holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Log records, spans or data points.
    pub items: u64,
    /// Resource groups.
    pub resources: u32,
    /// Scope groups.
    pub scopes: u32,
    /// Metrics, with or without data points; 0 for the other signals.
    pub metrics: u64,
    /// The encoded size of the largest log record, span or metric (a metric with all its points), in bytes.
    pub max_item_bytes: usize,
    /// Fields that the schema does not have: a newer sender's, or the request is another thing than it is taken for.
    pub unknown_fields: u64,
    /// The number of the first of them, in whatever message it stood.
    pub unknown_field: Option<u32>,
}

/// Checks `request` and counts what it holds.
///
/// # Errors
/// [`Malformed`] with the offset from the start of the request; the same bytes are malformed for ever.
pub fn inspect(signal: Signal, request: &[u8], limits: &InspectLimits) -> Result<Summary, Malformed> {
    let mut summary = Summary::default();
    check(request, schema::request(signal), limits.max_depth.min(MAX_DEPTH), &mut summary)?;
    Ok(summary)
}

/// Checks one message; offsets of errors are from its own start.
fn check(message: &[u8], schema: &Schema, depth_left: u32, summary: &mut Summary) -> Result<(), Malformed> {
    let mut reader = Reader::nested(message, depth_left);
    while !reader.is_at_end() {
        let start = reader.offset();
        let (number, wire_type) = reader.key()?;
        let kind = schema.kind(number);
        if wire_type != pb::WIRE_LEN {
            if matches!(kind, Kind::Unknown) {
                note_unknown(number, summary);
            }
            check_scalar(&mut reader, kind, number, wire_type, start)?;
            continue;
        }
        let value = reader.len_prefixed()?;
        match kind {
            Kind::Bytes => {}
            Kind::Message(inner) => {
                let depth_left = reader.enter()?;
                if !is_plain(value, inner.part, depth_left) {
                    let base = reader.offset() - value.len();
                    check(value, inner, depth_left, summary).map_err(|malformed| malformed.shifted(base))?;
                }
            }
            Kind::Unknown => {
                note_unknown(number, summary);
                reader.accept_unknown()?;
            }
            Kind::PackedVarint => {
                check_packed_varints(value).map_err(|kind| Malformed { offset: start, kind })?
            }
            Kind::PackedFixed64 if value.len() % 8 == 0 => {}
            Kind::PackedFixed64 => return Err(Malformed { offset: start, kind: MalformedKind::Truncated }),
            Kind::Varint | Kind::Fixed64 | Kind::Fixed32 => return Err(Malformed::wire_type(start, number)),
        }
    }
    count(message, schema.part, summary)
}

/// Whether the message is text, or an attribute with a text, as encoders write them: well-formed at a glance.
#[inline]
fn is_plain(message: &[u8], part: Part, depth_left: u32) -> bool {
    match part {
        Part::Value => plain_text(message).is_some(),
        Part::Attribute => {
            depth_left > 0 && plain_attribute(message).is_some_and(|(_, value)| plain_text(value).is_some())
        }
        _ => false,
    }
}

/// Reads past a field that is not length-delimited.
#[inline]
fn check_scalar(
    reader: &mut Reader<'_>,
    kind: Kind,
    number: u32,
    wire_type: u8,
    start: usize,
) -> Result<(), Malformed> {
    match (wire_type, kind) {
        (pb::WIRE_VARINT, Kind::Varint | Kind::PackedVarint)
        | (pb::WIRE_FIXED64, Kind::Fixed64 | Kind::PackedFixed64)
        | (pb::WIRE_FIXED32, Kind::Fixed32) => {}
        (_, Kind::Unknown) => reader.accept_unknown()?,
        _ if wire_type > pb::WIRE_FIXED32 => {}
        _ => return Err(Malformed::wire_type(start, number)),
    }
    reader.skip(number, wire_type)
}

#[cold]
fn note_unknown(number: u32, summary: &mut Summary) {
    summary.unknown_fields += 1;
    summary.unknown_field.get_or_insert(number);
}

fn check_packed_varints(mut packed: &[u8]) -> Result<(), MalformedKind> {
    while !packed.is_empty() {
        let (_, length) = pb::read_varint(packed)?;
        packed = &packed[length..];
    }
    Ok(())
}

#[inline]
fn count(message: &[u8], part: Part, summary: &mut Summary) -> Result<(), Malformed> {
    match part {
        Part::Other | Part::Attribute | Part::Value => return Ok(()),
        Part::ResourceGroup => summary.resources += 1,
        Part::ScopeGroup => summary.scopes += 1,
        Part::Item => summary.items += 1,
        Part::Metric => {
            summary.metrics += 1;
            summary.items += metrics::count_points(message)?;
        }
    }
    if matches!(part, Part::Item | Part::Metric) {
        summary.max_item_bytes = summary.max_item_bytes.max(message.len());
    }
    Ok(())
}
