//! Reads the conditions of a rule.

use serde_json::Value;
use telemetry_wire::Signal;

use super::{
    Match, SpanKind,
    yaml::{Found, Mapping, problem},
};
use crate::derive::scalar::{Condition, Literal};

pub(super) const SPAN_KINDS: [(&str, SpanKind); 5] = [
    ("internal", SpanKind::Internal),
    ("server", SpanKind::Server),
    ("client", SpanKind::Client),
    ("producer", SpanKind::Producer),
    ("consumer", SpanKind::Consumer),
];
/// OpenTelemetry's numbers of severities.
const SEVERITIES: std::ops::RangeInclusive<u64> = 0..=24;
/// Integers beyond are no doubles.
const EXACT: i64 = 1 << 53;

const CONDITION: &str =
    "give a value, or a mapping with one of `one_of`, `prefix`, `present`, or `from` and `to`";

/// The conditions under `match`; without it all records are meant.
pub(super) fn read(rule: &mut Mapping<'_>, from: Signal) -> Match {
    let Some(mut section) = rule.section("match") else { return Match::default() };
    let mut matching = Match::default();
    for (key, conditions) in [("resource", &mut matching.resource), ("attributes", &mut matching.attributes)]
    {
        let Some(named) = section.section(key) else { continue };
        for (path, name, value) in named.all() {
            conditions.extend(condition(&path, value, named.found()).map(|asked| (bytes(name), asked)));
        }
    }
    for (path, key) in section.list("any_present") {
        match key {
            Value::String(key) => matching.any_present.push(bytes(key)),
            _ => problem(section.found(), &path, "is no text", "give the key of an attribute"),
        }
    }
    let only = |section: &Mapping<'_>, key: &str, of: Signal| {
        if section.has(key) && from != of {
            section.problem(key, format!("is a matter of {of}"), "remove it");
        }
    };
    for (key, of) in [
        ("severity", Signal::Logs),
        ("parsed", Signal::Logs),
        ("span_kind", Signal::Traces),
        ("span_status", Signal::Traces),
    ] {
        only(&section, key, of);
    }
    matching.severity = severity(&mut section);
    matching.parsed = section.optional("parsed");
    matching.span_kinds = span_kinds(&mut section);
    matching.is_error = section.named("span_status", &[("error", true), ("ok", false)]);
    section.finish();
    matching
}

fn severity(section: &mut Mapping<'_>) -> Option<(u8, u8)> {
    let mut range = section.section("severity")?;
    let (from, to) = (range.optional("from").unwrap_or(0), range.optional("to").unwrap_or(24));
    if from > to || !SEVERITIES.contains(&to) {
        range.problem_here("is no range of severities", "give numbers from 0 to 24, `from` not above `to`");
    }
    range.finish();
    Some((u8::try_from(from).unwrap_or(u8::MAX), u8::try_from(to).unwrap_or(u8::MAX)))
}

fn span_kinds(section: &mut Mapping<'_>) -> Vec<SpanKind> {
    let mut kinds = Vec::new();
    for (path, kind) in section.list("span_kind") {
        let text = kind.as_str().unwrap_or_default();
        match SPAN_KINDS.iter().find(|(name, _)| *name == text) {
            Some((_, kind)) => kinds.push(*kind),
            None => problem(
                section.found(),
                &path,
                "is no kind of spans",
                "give `internal`, `server`, `client`, `producer` or `consumer`",
            ),
        }
    }
    kinds
}

/// A condition: a value, or a mapping that says what is asked.
pub(super) fn condition(path: &str, value: &Value, found: &Found) -> Option<Condition> {
    if let Some(literal) = literal(value) {
        return Some(Condition::OneOf(vec![literal]));
    }
    if !value.is_object() {
        problem(found, path, "is no condition", CONDITION);
        return None;
    }
    let mut asked = Mapping::of(path.to_owned(), value, found)?;
    let condition = asked_of(&mut asked);
    asked.finish();
    condition
}

/// The condition that stands in the fields of a mapping, which may hold others beside.
pub(super) fn asked_of(asked: &mut Mapping<'_>) -> Option<Condition> {
    let forms = asked.present(&["equals", "one_of", "prefix", "present", "from", "to"]);
    let condition = match forms.as_slice() {
        ["equals"] => {
            let value = asked.raw("equals").and_then(literal);
            if value.is_none() {
                asked.problem("equals", "is no value", "give a text, a number, or a truth value");
            }
            value.map(|value| Condition::OneOf(vec![value]))
        }
        ["one_of"] => Some(Condition::OneOf(literals(asked, "one_of"))),
        ["prefix"] => asked.optional::<String>("prefix").map(|prefix| Condition::Prefix(bytes(&prefix))),
        ["present"] => asked.optional("present").map(Condition::Present),
        ["from", "to"] | ["from"] | ["to"] => range(asked),
        _ => {
            asked.problem_here("is no condition", CONDITION);
            None
        }
    };
    for key in ["equals", "one_of", "prefix", "present", "from", "to"] {
        // All are known, also those that were not asked for.
        let _ = asked.raw(key);
    }
    condition
}

/// The values under a list.
pub(super) fn literals(mapping: &mut Mapping<'_>, key: &'static str) -> Vec<Literal> {
    let mut literals = Vec::new();
    let items = mapping.list(key);
    if items.is_empty() {
        mapping.problem(key, "is empty", "give at least one value");
    }
    for (path, item) in items {
        match literal(item) {
            Some(literal) => literals.push(literal),
            None => {
                problem(mapping.found(), &path, "is no value", "give a text, a number, or a truth value");
            }
        }
    }
    literals
}

fn range(asked: &mut Mapping<'_>) -> Option<Condition> {
    let (from, to): (Option<i64>, Option<i64>) = (asked.optional("from"), asked.optional("to"));
    let (first, last) = (from.unwrap_or(-EXACT), to.unwrap_or(EXACT));
    if first > last || first < -EXACT || last > EXACT {
        asked.problem_here("is no range", "give whole numbers, `from` not above `to`");
        return None;
    }
    let open = |given: Option<i64>, end: f64| given.map_or(end, |given| given as f64);
    Some(Condition::Range(open(from, f64::MIN), open(to, f64::MAX)))
}

fn literal(value: &Value) -> Option<Literal> {
    match value {
        Value::String(text) => Some(Literal::Text(bytes(text))),
        Value::Number(number) => number.as_f64().map(Literal::Number),
        Value::Bool(truth) => Some(Literal::Truth(*truth)),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}

/// A key or text as it stands in a request.
pub(super) fn bytes(text: &str) -> Box<[u8]> {
    text.as_bytes().into()
}
