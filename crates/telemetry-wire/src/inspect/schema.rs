//! The OTLP schema as tables: what each field number of each message may hold. Field numbers of
//! opentelemetry-proto 1.10; a number that is not listed is an unknown field and skipped.

use crate::Signal;

/// What a field may hold.
#[derive(Debug, Clone, Copy)]
pub(super) enum Kind {
    /// Anything; skipped.
    Unknown,
    /// A varint: integers, booleans, enums.
    Varint,
    /// Eight bytes.
    Fixed64,
    /// Four bytes.
    Fixed32,
    /// A string or opaque bytes.
    Bytes,
    /// A sub-message.
    Message(&'static Schema),
    /// Repeated varints, packed or one by one.
    PackedVarint,
    /// Repeated eight-byte values, packed or one by one.
    PackedFixed64,
}

/// What a message is in the request: which count it adds to, or that most of its kind look alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Other,
    ResourceGroup,
    ScopeGroup,
    Item,
    Metric,
    Attribute,
    Value,
}

/// The fields of a message by number.
#[derive(Debug)]
pub(super) struct Schema {
    pub(super) part: Part,
    fields: [Kind; FIELDS],
}

impl Schema {
    #[inline]
    pub(super) fn kind(&self, number: u32) -> Kind {
        self.fields.get(number as usize).copied().unwrap_or(Kind::Unknown)
    }
}

pub(super) fn request(signal: Signal) -> &'static Schema {
    match signal {
        Signal::Logs => &LOGS_REQUEST,
        Signal::Traces => &TRACES_REQUEST,
        Signal::Metrics => &METRICS_REQUEST,
    }
}

/// One more than the largest known field number (`Span.flags`).
const FIELDS: usize = 17;

const fn schema(part: Part, known: &[(usize, Kind)]) -> Schema {
    let mut fields = [Kind::Unknown; FIELDS];
    let mut index = 0;
    while index < known.len() {
        fields[known[index].0] = known[index].1;
        index += 1;
    }
    Schema { part, fields }
}

const fn message(known: &[(usize, Kind)]) -> Schema {
    schema(Part::Other, known)
}

use Kind::{Bytes, Fixed32, Fixed64, Message, PackedFixed64, PackedVarint, Varint};

static LOGS_REQUEST: Schema = message(&[(1, Message(&RESOURCE_LOGS))]);
static TRACES_REQUEST: Schema = message(&[(1, Message(&RESOURCE_SPANS))]);
static METRICS_REQUEST: Schema = message(&[(1, Message(&RESOURCE_METRICS))]);

const fn group(scopes: &'static Schema) -> Schema {
    schema(Part::ResourceGroup, &[(1, Message(&RESOURCE)), (2, Message(scopes)), (3, Bytes)])
}

static RESOURCE_LOGS: Schema = group(&SCOPE_LOGS);
static RESOURCE_SPANS: Schema = group(&SCOPE_SPANS);
static RESOURCE_METRICS: Schema = group(&SCOPE_METRICS);

const fn scope_group(items: &'static Schema) -> Schema {
    schema(Part::ScopeGroup, &[(1, Message(&SCOPE)), (2, Message(items)), (3, Bytes)])
}

static SCOPE_LOGS: Schema = scope_group(&LOG_RECORD);
static SCOPE_SPANS: Schema = scope_group(&SPAN);
static SCOPE_METRICS: Schema = scope_group(&METRIC);

static RESOURCE: Schema = message(&[(1, Message(&KEY_VALUE)), (2, Varint), (3, Message(&ENTITY_REF))]);
static ENTITY_REF: Schema = message(&[(1, Bytes), (2, Bytes), (3, Bytes), (4, Bytes)]);
static SCOPE: Schema = message(&[(1, Bytes), (2, Bytes), (3, Message(&KEY_VALUE)), (4, Varint)]);
static KEY_VALUE: Schema = schema(Part::Attribute, &[(1, Bytes), (2, Message(&ANY_VALUE)), (3, Varint)]);
static ANY_VALUE: Schema = schema(
    Part::Value,
    &[
        (1, Bytes),
        (2, Varint),
        (3, Varint),
        (4, Fixed64),
        (5, Message(&ARRAY_VALUE)),
        (6, Message(&KEY_VALUE_LIST)),
        (7, Bytes),
        (8, Varint),
    ],
);
static ARRAY_VALUE: Schema = message(&[(1, Message(&ANY_VALUE))]);
static KEY_VALUE_LIST: Schema = message(&[(1, Message(&KEY_VALUE))]);

static LOG_RECORD: Schema = schema(
    Part::Item,
    &[
        (1, Fixed64),
        (2, Varint),
        (3, Bytes),
        (5, Message(&ANY_VALUE)),
        (6, Message(&KEY_VALUE)),
        (7, Varint),
        (8, Fixed32),
        (9, Bytes),
        (10, Bytes),
        (11, Fixed64),
        (12, Bytes),
    ],
);

static SPAN: Schema = schema(
    Part::Item,
    &[
        (1, Bytes),
        (2, Bytes),
        (3, Bytes),
        (4, Bytes),
        (5, Bytes),
        (6, Varint),
        (7, Fixed64),
        (8, Fixed64),
        (9, Message(&KEY_VALUE)),
        (10, Varint),
        (11, Message(&SPAN_EVENT)),
        (12, Varint),
        (13, Message(&SPAN_LINK)),
        (14, Varint),
        (15, Message(&STATUS)),
        (16, Fixed32),
    ],
);
static SPAN_EVENT: Schema = message(&[(1, Fixed64), (2, Bytes), (3, Message(&KEY_VALUE)), (4, Varint)]);
static SPAN_LINK: Schema =
    message(&[(1, Bytes), (2, Bytes), (3, Bytes), (4, Message(&KEY_VALUE)), (5, Varint), (6, Fixed32)]);
static STATUS: Schema = message(&[(2, Bytes), (3, Varint)]);

static METRIC: Schema = schema(
    Part::Metric,
    &[
        (1, Bytes),
        (2, Bytes),
        (3, Bytes),
        (5, Message(&GAUGE)),
        (7, Message(&SUM)),
        (9, Message(&HISTOGRAM)),
        (10, Message(&EXPONENTIAL_HISTOGRAM)),
        (11, Message(&SUMMARY)),
        (12, Message(&KEY_VALUE)),
    ],
);
static GAUGE: Schema = message(&[(1, Message(&NUMBER_POINT))]);
static SUM: Schema = message(&[(1, Message(&NUMBER_POINT)), (2, Varint), (3, Varint)]);
static HISTOGRAM: Schema = message(&[(1, Message(&HISTOGRAM_POINT)), (2, Varint)]);
static EXPONENTIAL_HISTOGRAM: Schema = message(&[(1, Message(&EXPONENTIAL_POINT)), (2, Varint)]);
static SUMMARY: Schema = message(&[(1, Message(&SUMMARY_POINT))]);

static NUMBER_POINT: Schema = message(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Message(&EXEMPLAR)),
    (6, Fixed64),
    (7, Message(&KEY_VALUE)),
    (8, Varint),
]);
static HISTOGRAM_POINT: Schema = message(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, PackedFixed64),
    (7, PackedFixed64),
    (8, Message(&EXEMPLAR)),
    (9, Message(&KEY_VALUE)),
    (10, Varint),
    (11, Fixed64),
    (12, Fixed64),
]);
static EXPONENTIAL_POINT: Schema = message(&[
    (1, Message(&KEY_VALUE)),
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Varint),
    (7, Fixed64),
    (8, Message(&BUCKETS)),
    (9, Message(&BUCKETS)),
    (10, Varint),
    (11, Message(&EXEMPLAR)),
    (12, Fixed64),
    (13, Fixed64),
    (14, Fixed64),
]);
static BUCKETS: Schema = message(&[(1, Varint), (2, PackedVarint)]);
static SUMMARY_POINT: Schema = message(&[
    (2, Fixed64),
    (3, Fixed64),
    (4, Fixed64),
    (5, Fixed64),
    (6, Message(&QUANTILE)),
    (7, Message(&KEY_VALUE)),
    (8, Varint),
]);
static QUANTILE: Schema = message(&[(1, Fixed64), (2, Fixed64)]);
static EXEMPLAR: Schema =
    message(&[(2, Fixed64), (3, Fixed64), (4, Bytes), (5, Bytes), (6, Fixed64), (7, Message(&KEY_VALUE))]);
