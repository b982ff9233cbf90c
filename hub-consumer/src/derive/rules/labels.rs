//! Reads the labels of a rule, each with its bound.

use serde_json::Value;
use telemetry_wire::Signal;

use super::{
    Choice, Field, Label, OTHER, Source, Values,
    matching::{asked_of, bytes, literals},
    names::check_label,
    yaml::{Found, Mapping, problem},
};

/// More dimensions are a table, not a metric.
const MOST_LABELS: usize = 6;
/// Values of one label. With six labels of so many a label set is a number of 60 bits.
const MOST_VALUES: usize = 1000;
/// A text that stands in a label.
const LONGEST_WORD: usize = 128;

const FIELDS: [(&str, (Field, Signal)); 4] = [
    ("severity", (Field::Severity, Signal::Logs)),
    ("parsed", (Field::Parsed, Signal::Logs)),
    ("span_kind", (Field::SpanKind, Signal::Traces)),
    ("span_status", (Field::SpanStatus, Signal::Traces)),
];

/// The labels under `labels`.
pub(super) fn read(rule: &mut Mapping<'_>, from: Signal) -> Vec<Label> {
    let Some(section) = rule.section("labels") else { return Vec::new() };
    let mut labels = Vec::new();
    for (path, name, value) in section.all() {
        if let Some((what, remedy)) = check_label(name) {
            problem(section.found(), &path, what, remedy);
        }
        let Some(choice) = choice(path.clone(), value, section.found(), from) else { continue };
        if choice.values_at_most() > MOST_VALUES {
            let what = format!("has more than {MOST_VALUES} values");
            problem(section.found(), &path, what, "name fewer");
        }
        labels.push(Label { name: name.to_owned(), choice });
    }
    if section.all().count() > MOST_LABELS {
        section.problem_here(
            format!("has more than {MOST_LABELS} labels"),
            "leave out what no panel or alert asks for",
        );
    }
    labels
}

fn choice(path: String, value: &Value, found: &Found, from: Signal) -> Option<Choice> {
    let mut label = Mapping::of(path, value, found)?;
    let source = source(&mut label, from);
    let values = values(&mut label, source.as_ref());
    let otherwise = label.optional("otherwise").unwrap_or_else(|| OTHER.to_owned());
    check_word(&label, "otherwise", &otherwise);
    let absent = match (label.raw("absent"), &source) {
        (None, _) => None,
        (Some(_), Some(Source::Field(_))) => {
            label.problem("absent", "is said of a field, which is never absent", "remove it");
            None
        }
        (Some(value), _) => choice(label.path_of("absent"), value, found, from).map(Box::new),
    };
    if let (Some(source), Some(absent)) = (&source, &absent) {
        check_absent(&label, source, absent);
    }
    label.finish();
    Some(Choice { source: source?, values: values?, otherwise, absent })
}

/// What a resource says is looked up once, and what a record says for each record.
fn check_absent(label: &Mapping<'_>, source: &Source, absent: &Choice) {
    let is_of_resource = |source: &Source| matches!(source, Source::Resource(_));
    if is_of_resource(source) != is_of_resource(&absent.source) {
        let remedy = "look at resources in both, or in none";
        label.problem("absent", "mixes a resource with what its records say", remedy);
    }
    if let Values::Capped(_) = absent.values {
        label.problem("absent", "has a `max` of its own", "give `one_of`, `map` or `class`");
    }
}

fn source(label: &mut Mapping<'_>, from: Signal) -> Option<Source> {
    let forms = label.present(&["resource", "attribute", "field"]);
    let source = match forms.as_slice() {
        ["resource"] => label.optional::<String>("resource").map(|key| Source::Resource(bytes(&key))),
        ["attribute"] => label.optional::<String>("attribute").map(|key| Source::Attribute(bytes(&key))),
        ["field"] => label.named("field", &FIELDS).map(|(field, of)| {
            if of != from {
                label.problem("field", format!("is a field of {of}"), format!("name one of {from}"));
            }
            Source::Field(field)
        }),
        _ => {
            label.problem_here("names no source", "give one of `resource`, `attribute` or `field`");
            None
        }
    };
    for key in ["resource", "attribute", "field"] {
        let _ = label.raw(key);
    }
    source
}

/// The bound of a label.
fn values(label: &mut Mapping<'_>, source: Option<&Source>) -> Option<Values> {
    let bounds = label.present(&["one_of", "map", "class", "max"]);
    let values = match (bounds.as_slice(), source) {
        ([], Some(Source::Field(_))) => Some(Values::OfField),
        (_, Some(Source::Field(_))) => {
            label.problem_here("bounds a field, which has few values by itself", "remove the bound");
            None
        }
        (["one_of"], _) => Some(Values::Listed(literals(label, "one_of"))),
        (["map"], _) => Some(Values::Mapped(cases(label))),
        (["class"], _) => label.named("class", &[("http_status", ())]).map(|()| Values::HttpStatus),
        (["max"], Some(Source::Attribute(_))) => {
            label.problem(
                "max",
                "takes values of an attribute as they come, and a visitor may choose those",
                "name the values by `one_of`, `map` or `class`",
            );
            None
        }
        (["max"], _) => capped(label),
        ([], Some(Source::Resource(_))) => {
            label.problem_here("has no bound", "give `one_of`, `map`, `class`, or `max`");
            None
        }
        ([], Some(Source::Attribute(_))) => {
            label.problem_here("has no bound", "give `one_of`, `map` or `class`");
            None
        }
        ([], None) => None,
        _ => {
            label.problem_here(format!("has {} bounds", bounds.len()), "give one");
            None
        }
    };
    for key in ["one_of", "map", "class", "max"] {
        let _ = label.raw(key);
    }
    if let (Some(values), Some(source)) = (&values, source) {
        check_words(label, &values.words(source));
    }
    values
}

fn capped(label: &mut Mapping<'_>) -> Option<Values> {
    let max: u64 = label.optional("max")?;
    if !(1..=MOST_VALUES as u64).contains(&max) {
        label.problem("max", "is out of range", format!("give a number from 1 to {MOST_VALUES}"));
        return None;
    }
    u16::try_from(max).ok().map(Values::Capped)
}

fn cases(label: &mut Mapping<'_>) -> Vec<(super::Condition, String)> {
    let mut cases = Vec::new();
    let found = label.found();
    let items = label.list("map");
    if items.is_empty() {
        label.problem("map", "is empty", "give at least one case");
    }
    for (path, item) in items {
        let Some(mut case) = Mapping::of(path, item, found) else { continue };
        let condition = asked_of(&mut case);
        let word: Option<String> = case.required("value", "give the label's value");
        case.finish();
        cases.extend(condition.zip(word));
    }
    cases
}

fn check_words(label: &Mapping<'_>, words: &[String]) {
    for word in words {
        check_word(label, "", word);
    }
}

fn check_word(label: &Mapping<'_>, key: &str, word: &str) {
    if word.is_empty() || word.len() > LONGEST_WORD || word.chars().any(char::is_control) {
        let what = "is no value for a label: empty, too long, or with control characters";
        let remedy = format!("give 1 to {LONGEST_WORD} bytes of text");
        if key.is_empty() { label.problem_here(what, remedy) } else { label.problem(key, what, remedy) }
    }
}

impl Choice {
    /// How many values it may give.
    fn values_at_most(&self) -> usize {
        let own = match self.values {
            Values::Capped(max) => usize::from(max),
            _ => self.values.words(&self.source).len(),
        };
        own + self.absent.as_ref().map_or(0, |absent| absent.values_at_most())
    }
}
