//! Reads a rule file: all rules, or all that is wrong.

use std::collections::BTreeSet;

use serde_json::Value as Yaml;
use service_runtime::settings::Problem;
use telemetry_wire::Signal;

use super::{
    Field, Kind, Rule, Source, Value, labels,
    matching::{self, bytes},
    names::{check_metric, check_overlaps},
    yaml::{Found, Mapping, problem},
};

/// Rules in one file.
const MOST_RULES: usize = 64;
/// Buckets of one histogram.
const MOST_BUCKETS: usize = 64;
/// Label sets of one rule, when it does not say.
const MAX_SERIES: usize = 2_000;
/// Label sets that one rule may ask for.
const MOST_SERIES: usize = 100_000;
/// Attributes of records, or of resources, that all rules of a signal look at: what is kept of one while it is read.
pub(in crate::derive) const MOST_ATTRIBUTES: usize = 32;

/// Reads rules.
///
/// # Errors
/// Every problem, with the path of its field.
pub fn read(yaml: &str) -> Result<Vec<Rule>, Vec<Problem>> {
    let found = Found::default();
    let rules = match parse(yaml) {
        Ok(tree) => read_file(&tree, &found),
        Err(problem) => return Err(vec![problem]),
    };
    check_overlaps(&rules, &found);
    check_attributes(&rules, &found);
    let problems = found.into_inner();
    if problems.is_empty() { Ok(rules.into_iter().map(|(_, rule)| rule).collect()) } else { Err(problems) }
}

fn parse(yaml: &str) -> Result<Yaml, Problem> {
    // One line, as every problem.
    let options = serde_saphyr::options! { with_snippet: false };
    serde_saphyr::from_str_with_options(yaml, options).map_err(|error| Problem {
        path: "rules".to_owned(),
        what: format!("the file is not valid YAML: {error}"),
        remedy: "give a mapping with the list `rules`, in which every field stands once".to_owned(),
    })
}

fn read_file(tree: &Yaml, found: &Found) -> Vec<(String, Rule)> {
    let Some(mut file) = Mapping::of(String::new(), tree, found) else { return Vec::new() };
    let items = file.list("rules");
    if items.is_empty() || items.len() > MOST_RULES {
        file.problem("rules", format!("holds {} rules", items.len()), format!("give 1 to {MOST_RULES}"));
    }
    file.finish();
    let read = |(path, item): (String, &Yaml)| {
        let mut rule = Mapping::of(path.clone(), item, found)?;
        let read = read_rule(&mut rule);
        rule.finish();
        Some((path, read?))
    };
    // What is wrong in a rule does not stop the reading of others, nor of its own other fields.
    items.into_iter().filter_map(read).collect()
}

fn read_rule(rule: &mut Mapping<'_>) -> Option<Rule> {
    let name: Option<String> = rule.required("name", "name the metric, such as `menu_requests_total`");
    let help: Option<String> = rule.required("help", "say in a sentence what it counts");
    let unit: String = rule.optional("unit").unwrap_or_default();
    let from = read_from(rule);
    // Without a signal the rest is read as if of logs, for what else may be wrong in it.
    let signal = from.unwrap_or(Signal::Logs);
    let kind = read_kind(rule, signal, &unit);
    let matching = matching::read(rule, signal);
    let labels = labels::read(rule, signal);
    let max_series = rule.optional("max_series").unwrap_or(MAX_SERIES);
    if !(1..=MOST_SERIES).contains(&max_series) {
        rule.problem("max_series", "is out of range", format!("give a number from 1 to {MOST_SERIES}"));
    }
    let (name, kind) = (name?, kind?);
    if let Some((what, remedy)) = check_metric(&name, kind == Kind::Counter, &unit) {
        rule.problem("name", what, remedy);
    }
    Some(Rule { name, help: help?, unit, from: from?, kind, max_series, matching, labels })
}

fn read_from(rule: &mut Mapping<'_>) -> Option<Signal> {
    const SIGNALS: [(&str, Signal); 2] = [("logs", Signal::Logs), ("traces", Signal::Traces)];
    if !rule.has("from") {
        let _ = rule.raw("from");
        rule.problem("from", "is required and missing", "give `logs` or `traces`");
        return None;
    }
    rule.named("from", &SIGNALS)
}

fn read_kind(rule: &mut Mapping<'_>, from: Signal, unit: &str) -> Option<Kind> {
    if !rule.has("kind") {
        rule.problem("kind", "is required and missing", "give `counter` or `histogram`");
    }
    let is_histogram = rule.named("kind", &[("counter", false), ("histogram", true)]);
    let has_exemplars = rule.optional("exemplars").unwrap_or(false);
    if is_histogram == Some(false) {
        for key in ["value", "buckets", "exemplars"] {
            let _ = rule.raw(key);
            if rule.has(key) {
                rule.problem(key, "is a matter of histograms", "remove it, or make it a histogram");
            }
        }
        return Some(Kind::Counter);
    }
    let value = read_value(rule, from, unit);
    let bounds = read_bounds(rule);
    is_histogram?;
    Some(Kind::Histogram { bounds: bounds?, has_exemplars, value: value? })
}

fn read_value(rule: &mut Mapping<'_>, from: Signal, unit: &str) -> Option<Value> {
    let Some(mut value) = rule.section("value") else {
        if !rule.has("value") {
            rule.problem("value", "is required and missing", "say what is measured: `{attribute: …}`");
        }
        return None;
    };
    let read = match value.present(&["attribute", "field"]).as_slice() {
        ["attribute"] => {
            let scale = value.optional("scale").unwrap_or(1.0);
            if scale <= 0.0 {
                value.problem("scale", "is not above 0", "give the factor between both units");
            }
            value.optional::<String>("attribute").map(|key| Value::Attribute { key: bytes(&key), scale })
        }
        ["field"] => value.named("field", &[("duration", ())]).map(|()| {
            if from != Signal::Traces {
                value.problem("field", "is a field of traces", "name an attribute");
            }
            if unit != "s" {
                rule.problem("unit", "is not that of a span's duration", "give `s`");
            }
            Value::Duration
        }),
        _ => {
            value.problem_here("names no source", "give one of `attribute` or `field`");
            None
        }
    };
    for key in ["attribute", "field", "scale"] {
        let _ = value.raw(key);
    }
    value.finish();
    read
}

fn read_bounds(rule: &mut Mapping<'_>) -> Option<Vec<f64>> {
    let bounds: Vec<f64> = rule.required("buckets", "give upper bounds, such as `[0.1, 1, 10]`")?;
    if bounds.is_empty() || bounds.len() > MOST_BUCKETS {
        let what = format!("holds {} bounds", bounds.len());
        rule.problem("buckets", what, format!("give 1 to {MOST_BUCKETS}"));
        return None;
    }
    if bounds.iter().any(|bound| *bound < 0.0) || !bounds.is_sorted_by(|one, next| one < next) {
        rule.problem("buckets", "do not grow", "give bounds of 0 or more, each above the one before it");
        return None;
    }
    Some(bounds)
}

/// What is kept of a record while it is read has a bound.
fn check_attributes(rules: &[(String, Rule)], found: &Found) {
    for signal in [Signal::Logs, Signal::Traces] {
        let of_signal = rules.iter().filter(|(_, rule)| rule.from == signal);
        let (mut of_records, mut of_resources) = (BTreeSet::new(), BTreeSet::new());
        for (_, rule) in of_signal {
            of_records.extend(rule.attribute_keys());
            of_resources.extend(rule.resource_keys());
        }
        let looked_at = of_records.len().max(of_resources.len());
        if looked_at > MOST_ATTRIBUTES {
            let what = format!("those of {signal} look at {looked_at} attributes");
            problem(found, "rules", what, format!("look at {MOST_ATTRIBUTES} at most"));
        }
    }
}

impl Rule {
    /// Every attribute of a record that it looks at.
    pub(in crate::derive) fn attribute_keys(&self) -> Vec<&[u8]> {
        let mut keys: Vec<&[u8]> = self.matching.attributes.iter().map(|(key, _)| &**key).collect();
        keys.extend(self.matching.any_present.iter().map(|key| &**key));
        if let Kind::Histogram { value: Value::Attribute { key, .. }, .. } = &self.kind {
            keys.push(key);
        }
        let is_parsed = |source: &Source| *source == Source::Field(Field::Parsed);
        if self.matching.parsed.is_some() || self.sources().any(is_parsed) {
            keys.push(PARSE_ERROR);
        }
        keys.extend(self.sources().filter_map(|source| match source {
            Source::Attribute(key) => Some(&**key),
            Source::Resource(_) | Source::Field(_) => None,
        }));
        keys
    }

    /// The same of a resource.
    pub(in crate::derive) fn resource_keys(&self) -> Vec<&[u8]> {
        let mut keys: Vec<&[u8]> = self.matching.resource.iter().map(|(key, _)| &**key).collect();
        keys.extend(self.sources().filter_map(|source| match source {
            Source::Resource(key) => Some(&**key),
            Source::Attribute(_) | Source::Field(_) => None,
        }));
        keys
    }

    /// What its labels look at.
    fn sources(&self) -> impl Iterator<Item = &Source> {
        self.labels.iter().flat_map(|label| label.choice.with_absent()).map(|choice| &choice.source)
    }
}

/// The attribute of a line that begins like JSON and is none.
pub(in crate::derive) const PARSE_ERROR: &[u8] = b"parse_error";

#[cfg(test)]
mod tests;
