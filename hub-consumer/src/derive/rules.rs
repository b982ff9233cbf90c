//! The rules by which stored log records and spans become series. What stands here was checked: it can be applied as it is.
//!
//! Every label is bounded by what it is made of: a list of values, a mapping, a class, a field of the record, or so many values
//! of a resource attribute as they come. Nothing that a visitor writes becomes a label's value.

mod labels;
mod matching;
mod names;
mod read;
mod yaml;

use telemetry_wire::Signal;

use super::scalar::{Condition, Literal};

pub use self::read::read;
pub(super) use self::read::{MOST_ATTRIBUTES, PARSE_ERROR};

/// The rules that are shipped: the Menu API's.
pub const SHIPPED: &str = include_str!("../../derive/menu.yaml");
/// What the shipped rules are called in a problem.
pub const SHIPPED_NAME: &str = "the shipped rules";

/// What becomes of a label when a bound is reached, and by default of a value that no list names.
pub(super) const OTHER: &str = "other";

/// One metric.
#[derive(Debug, Clone, PartialEq)]
pub struct Rule {
    /// As Mimir keeps it.
    pub name: String,
    /// One sentence.
    pub help: String,
    /// UCUM; empty for none.
    pub unit: String,
    /// Logs or traces.
    pub from: Signal,
    /// What is counted.
    pub kind: Kind,
    /// Label sets that are kept apart; all others are counted under [`OTHER`].
    pub max_series: usize,
    pub(super) matching: Match,
    pub(super) labels: Vec<Label>,
}

/// What is counted.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// Records.
    Counter,
    /// Values of records.
    Histogram {
        /// Upper bounds of the buckets, growing; one more bucket has no bound.
        bounds: Vec<f64>,
        /// Whether it names traces.
        has_exemplars: bool,
        /// Where the value comes from.
        #[doc(hidden)]
        value: Value,
    },
}

/// Where the value of a histogram comes from.
#[derive(Debug, Clone, PartialEq)]
pub enum Value {
    /// An attribute, multiplied.
    Attribute {
        /// Its key.
        key: Box<[u8]>,
        /// The factor.
        scale: f64,
    },
    /// From a span's start to its end, in seconds.
    Duration,
}

/// Which records a rule is for: all of it holds.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct Match {
    pub(super) resource: Vec<(Box<[u8]>, Condition)>,
    pub(super) attributes: Vec<(Box<[u8]>, Condition)>,
    /// At least one of these is there; none are asked for when it is empty.
    pub(super) any_present: Vec<Box<[u8]>>,
    /// Of a log record, from and to.
    pub(super) severity: Option<(u8, u8)>,
    /// Of a log record: its text is a JSON object, and was read.
    pub(super) parsed: Option<bool>,
    /// Of a span; any when it is empty.
    pub(super) span_kinds: Vec<SpanKind>,
    /// Of a span: it failed.
    pub(super) is_error: Option<bool>,
}

/// The kind of a span, by its number on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum SpanKind {
    Internal = 1,
    Server = 2,
    Client = 3,
    Producer = 4,
    Consumer = 5,
}

/// One label.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Label {
    pub(super) name: String,
    pub(super) choice: Choice,
}

/// How the value of a label is found.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Choice {
    pub(super) source: Source,
    pub(super) values: Values,
    /// For a value that the rule does not name, and for an attribute that is absent.
    pub(super) otherwise: String,
    /// Tried when the attribute is absent.
    pub(super) absent: Option<Box<Choice>>,
}

/// What a label looks at.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Source {
    Resource(Box<[u8]>),
    Attribute(Box<[u8]>),
    Field(Field),
}

/// A field of the record, which has few values by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Severity,
    Parsed,
    SpanKind,
    SpanStatus,
}

/// Which values a label may have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Values {
    /// Those of a field.
    OfField,
    /// These, as they are.
    Listed(Vec<Literal>),
    /// What stands beside the first condition that holds.
    Mapped(Vec<(Condition, String)>),
    /// `2xx` to `5xx`.
    HttpStatus,
    /// So many different ones of a resource attribute, as they come.
    Capped(u16),
}

impl Choice {
    /// Itself, and where to look when the attribute is absent.
    pub(super) fn with_absent(&self) -> impl Iterator<Item = &Choice> {
        std::iter::successors(Some(self), |choice| choice.absent.as_deref())
    }
}

impl Field {
    /// Its values, by the number that a record has of them.
    pub(super) fn words(self) -> &'static [&'static str] {
        match self {
            Field::Severity => &["unspecified", "trace", "debug", "info", "warn", "error", "fatal"],
            Field::Parsed => &["false", "true"],
            Field::SpanKind => &["unspecified", "internal", "server", "client", "producer", "consumer"],
            Field::SpanStatus => &["ok", "error"],
        }
    }
}

impl Values {
    /// The words that they make.
    pub(super) fn words(&self, source: &Source) -> Vec<String> {
        match self {
            Values::OfField => match source {
                Source::Field(field) => field.words().iter().map(|word| (*word).to_owned()).collect(),
                Source::Resource(_) | Source::Attribute(_) => Vec::new(),
            },
            Values::Listed(literals) => literals.iter().map(Literal::word).collect(),
            Values::Mapped(cases) => cases.iter().map(|(_, word)| word.clone()).collect(),
            Values::HttpStatus => HTTP_CLASSES.map(str::to_owned).to_vec(),
            Values::Capped(_) => Vec::new(),
        }
    }
}

/// The classes of HTTP statuses that are kept apart, from 200 on.
pub(super) const HTTP_CLASSES: [&str; 4] = ["2xx", "3xx", "4xx", "5xx"];

impl Rule {
    /// Buckets of a histogram, the last one included that has no bound; 1 for a counter.
    pub fn width(&self) -> usize {
        match &self.kind {
            Kind::Counter => 1,
            Kind::Histogram { bounds, .. } => bounds.len() + 1,
        }
    }

    /// Whether its series name traces.
    pub(super) fn has_exemplars(&self) -> bool {
        matches!(self.kind, Kind::Histogram { has_exemplars: true, .. })
    }
}
