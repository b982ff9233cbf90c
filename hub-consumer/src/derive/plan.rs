//! Rules made ready to be applied: attributes have numbers, each question is asked once, and the values of labels have codes, so
//! that a label set is one number.

use std::sync::Arc;

use telemetry_wire::Signal;

use super::{
    classes::Classes,
    item::Item,
    keys::{Keys, Seen},
    question::{Answer, Pick, Question, code_of, slot_of},
    rules::{Choice, Field, Kind, OTHER, Rule, Source, SpanKind, Value, Values},
    scalar::{self, Condition},
    series::{Code, Series},
    signature::Signature,
};

/// A value must not be so large that a sum with it forgets what it had.
const MAX_VALUE: f64 = 1e15;

/// The rules of one signal.
#[derive(Debug)]
pub struct Program {
    pub(super) signal: Signal,
    pub(super) plans: Vec<Arc<Plan>>,
    /// What is asked of the values of each attribute, by its number.
    pub(super) questions: Vec<Vec<Question>>,
    /// Bits of the attributes that are measured.
    pub(super) measured: u32,
    /// Bits of the kinds of spans that any rule is for.
    pub(super) span_kinds: u32,
    /// Attributes of records that are looked at.
    pub(super) keys: Keys,
    /// The same of resources.
    pub(super) resource_keys: Keys,
    /// Where the counts go.
    pub(super) series: Arc<Series>,
}

/// All rules, ready to be applied.
#[derive(Debug)]
pub(super) struct Plans {
    /// In the order of the rules.
    pub(super) all: Vec<Arc<Plan>>,
    logs: Parts,
    traces: Parts,
}

/// What the rules of a signal have in common.
#[derive(Debug)]
struct Parts {
    keys: Keys,
    resource_keys: Keys,
    questions: Vec<Vec<Question>>,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rule: Rule,
    /// Among the rules of all signals.
    pub(super) number: usize,
    pub(super) labels: Vec<LabelPlan>,
    pub(super) measure: Option<Measure>,
    pub(super) has_exemplars: bool,
    resource: Vec<(usize, Condition)>,
    conditions: Vec<Wanted>,
    span_kinds: u32,
}

/// What has to be so of a record, for a rule to be for it.
#[derive(Debug)]
enum Wanted {
    /// The answer to this question about this attribute is [`Answer::Yes`].
    Yes(usize, usize),
    /// This attribute is there, or is not.
    Present(usize, bool),
    /// One of these attributes is there.
    AnyOf(Vec<usize>),
    /// The severity is within these.
    Severity(u8, u8),
    /// A field has the value with this number.
    Field(Field, usize),
}

/// One label of a rule.
#[derive(Debug)]
pub(super) struct LabelPlan {
    pub(super) name: String,
    /// The values by code, those aside that come from a resource as they are. The first is [`OTHER`].
    pub(super) words: Vec<String>,
    /// How many more may come from a resource.
    pub(super) cap: usize,
    /// Where its code stands in the number of a label set, and how wide it is.
    shift: u32,
    bits: u32,
    code: CodeOf,
}

/// Where the code of a label comes from.
#[derive(Debug)]
enum CodeOf {
    /// From the first of these attributes that the resource has.
    Resource(Vec<(usize, Pick)>),
    /// From the record.
    Record(Vec<Step>),
}

/// Where to look in a record for the code of a label: the first that is there has it.
#[derive(Debug)]
enum Step {
    /// It is the answer to this question about this attribute.
    Answer(usize, usize),
    /// By the number of a field's value.
    Field(Field, Vec<u32>),
    /// Nothing is there.
    Otherwise(u32),
}

/// What a histogram measures.
#[derive(Debug)]
pub(super) struct Measure {
    /// Number of the attribute; a span's duration has none.
    slot: Option<usize>,
    scale: f64,
    bounds: Box<[f64]>,
}

/// What is there to be measured cannot be counted.
#[derive(Debug)]
pub(super) struct BadValue;

/// A label set: the codes of its values, each in its own bits. 0 is [`OTHER`] in every label.
pub(super) type Key = u64;

/// What log records or spans of a signature add to a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Outcome {
    /// Nothing: they are not for this rule.
    None,
    /// Nothing, because a number is wanted and something else is there.
    Bad,
    /// One each, under this label set.
    Add(Key),
}

impl Plans {
    /// Of these rules.
    pub(super) fn new(rules: &[Rule]) -> Plans {
        let (mut logs, mut traces) = (Parts::new(rules, Signal::Logs), Parts::new(rules, Signal::Traces));
        let plan = |(number, rule): (usize, &Rule)| {
            let parts = if rule.from == Signal::Logs { &mut logs } else { &mut traces };
            Arc::new(Plan::new(number, rule, parts))
        };
        let all = rules.iter().enumerate().map(plan).collect();
        Plans { all, logs, traces }
    }

    /// The programs of logs and of traces.
    pub(super) fn programs(self, series: &Arc<Series>) -> (Program, Program) {
        let Plans { all, logs, traces } = self;
        let program = |signal, Parts { keys, resource_keys, questions }| {
            let plans: Vec<_> = all.iter().filter(|plan| plan.rule.from == signal).map(Arc::clone).collect();
            let measured = plans.iter().filter_map(|plan| plan.measure.as_ref()?.slot);
            Program {
                signal,
                questions,
                measured: measured.fold(0, |bits, slot| bits | 1 << slot),
                span_kinds: plans.iter().fold(0, |bits, plan| bits | plan.span_kinds),
                plans,
                keys,
                resource_keys,
                series: Arc::clone(series),
            }
        };
        (program(Signal::Logs, logs), program(Signal::Traces, traces))
    }
}

impl Parts {
    fn new(rules: &[Rule], signal: Signal) -> Parts {
        let of_signal = || rules.iter().filter(move |rule| rule.from == signal);
        let keys = Keys::new(of_signal().flat_map(Rule::attribute_keys));
        let resource_keys = Keys::new(of_signal().flat_map(Rule::resource_keys));
        let questions = (0..keys.len()).map(|_| Vec::new()).collect();
        Parts { keys, resource_keys, questions }
    }

    /// The number of a question about an attribute, which is asked once.
    fn ask(&mut self, slot: usize, question: Question) -> usize {
        let questions = &mut self.questions[slot];
        let known = questions.iter().position(|known| *known == question);
        known.unwrap_or_else(|| {
            questions.push(question);
            questions.len() - 1
        })
    }

    /// How the code of a record's label is found.
    fn steps(&mut self, choice: &Choice, words: &mut Vec<String>) -> Vec<Step> {
        let mut steps = Vec::new();
        for choice in choice.with_absent() {
            if let Source::Field(field) = choice.source {
                let codes = field.words().iter().map(|word| code_of(words, word));
                steps.push(Step::Field(field, codes.collect()));
                continue;
            }
            let slot = slot_of(choice, &self.keys).expect("it is an attribute");
            let pick = Pick::new(choice, words);
            let otherwise = pick.otherwise;
            steps.push(Step::Answer(slot, self.ask(slot, Question::Code(pick))));
            if choice.absent.is_none() {
                steps.push(Step::Otherwise(otherwise));
            }
        }
        steps
    }

    /// The same of a resource's.
    fn picks(&self, choice: &Choice, words: &mut Vec<String>) -> Vec<(usize, Pick)> {
        let slot = |choice| slot_of(choice, &self.resource_keys).expect("it is an attribute");
        choice.with_absent().map(|choice| (slot(choice), Pick::new(choice, words))).collect()
    }

    /// The conditions of a rule on records.
    fn conditions(&mut self, rule: &Rule) -> Vec<Wanted> {
        let matching = &rule.matching;
        let mut conditions = Vec::new();
        for (key, condition) in &matching.attributes {
            let slot = self.keys.slot(key);
            conditions.push(match condition {
                Condition::Present(is_present) => Wanted::Present(slot, *is_present),
                condition => Wanted::Yes(slot, self.ask(slot, Question::Holds(condition.clone()))),
            });
        }
        if !matching.any_present.is_empty() {
            let slots = matching.any_present.iter().map(|key| self.keys.slot(key));
            conditions.push(Wanted::AnyOf(slots.collect()));
        }
        conditions.extend(matching.severity.map(|(from, to)| Wanted::Severity(from, to)));
        for (field, wanted) in [(Field::Parsed, matching.parsed), (Field::SpanStatus, matching.is_error)] {
            conditions.extend(wanted.map(|wanted| Wanted::Field(field, usize::from(wanted))));
        }
        conditions
    }
}

impl Plan {
    fn new(number: usize, rule: &Rule, parts: &mut Parts) -> Plan {
        let (mut shift, mut labels) = (0, Vec::new());
        for label in &rule.labels {
            let mut words = vec![OTHER.to_owned()];
            let code = match label.choice.source {
                Source::Resource(_) => CodeOf::Resource(parts.picks(&label.choice, &mut words)),
                Source::Attribute(_) | Source::Field(_) => {
                    CodeOf::Record(parts.steps(&label.choice, &mut words))
                }
            };
            let cap = if let Values::Capped(max) = label.choice.values { usize::from(max) } else { 0 };
            let bits = usize::BITS - (words.len() + cap).leading_zeros();
            labels.push(LabelPlan { name: label.name.clone(), words, cap, shift, bits, code });
            shift += bits;
        }
        assert!(shift <= Key::BITS, "labels and their values are bounded when rules are read");
        let resource = rule.matching.resource.iter();
        let resource = resource.map(|(key, asked)| (parts.resource_keys.slot(key), asked.clone()));
        Plan {
            number,
            labels,
            measure: Measure::of(&rule.kind, &parts.keys),
            has_exemplars: rule.has_exemplars(),
            resource: resource.collect(),
            conditions: parts.conditions(rule),
            span_kinds: bits_of(&rule.matching.span_kinds),
            rule: rule.clone(),
        }
    }

    /// What the resource says of the label set, if the rule is for its records; and whether a bound was met.
    pub(super) fn of_resource(&self, seen: &Seen<'_>, series: &Series) -> Option<(Key, bool)> {
        let holds =
            |(slot, condition): &(usize, Condition)| condition.ask(seen.get(*slot)) == scalar::Answer::Yes;
        if !self.resource.iter().all(holds) {
            return None;
        }
        let (mut key, mut is_capped) = (0, false);
        for (number, label) in self.labels.iter().enumerate() {
            let CodeOf::Resource(picks) = &label.code else { continue };
            let there = picks.iter().find_map(|(slot, pick)| Some((pick, seen.get(*slot)?)));
            let code = match there {
                Some((pick, value)) if pick.is_as_it_comes() => {
                    let code = series.code_of(self.number, number, value);
                    is_capped |= code == Code::Full;
                    code.or(pick.otherwise)
                }
                Some((pick, value)) => pick.code(value).unwrap_or(pick.otherwise),
                None => picks.last().map_or(0, |(_, pick)| pick.otherwise),
            };
            key |= Key::from(code) << label.shift;
        }
        Some((key, is_capped))
    }

    /// What log records or spans of a signature add. `base` is what their resource says of the label set, `classes` are those of
    /// the attributes.
    pub(super) fn resolve(&self, base: Key, signature: &Signature, classes: &[Classes]) -> Outcome {
        let fields = signature.fields();
        if self.measure.as_ref().is_some_and(|measure| !measure.is_in(signature)) {
            return Outcome::None;
        }
        if self.span_kinds >> fields.span_kind() & 1 == 0 {
            return Outcome::None;
        }
        let answer = |slot: usize, question| classes[slot].answer(signature.class(slot), question);
        let mut is_bad = false;
        for wanted in &self.conditions {
            let holds = match wanted {
                Wanted::Yes(slot, question) => match answer(*slot, *question) {
                    // It only matters when all else holds.
                    Some(Answer::NotANumber) => {
                        is_bad = true;
                        true
                    }
                    answer => answer == Some(Answer::Yes),
                },
                Wanted::Present(slot, is_present) => signature.has(*slot) == *is_present,
                Wanted::AnyOf(slots) => slots.iter().any(|slot| signature.has(*slot)),
                Wanted::Severity(from, to) => fields.is_severe(*from, *to),
                Wanted::Field(field, word) => fields.word_of(*field) == *word,
            };
            if !holds {
                return Outcome::None;
            }
        }
        let mut key = base;
        for label in &self.labels {
            let CodeOf::Record(steps) = &label.code else { continue };
            let code = steps.iter().find_map(|step| match step {
                Step::Answer(slot, question) => answer(*slot, *question),
                Step::Field(field, codes) => Some(Answer::Code(codes[fields.word_of(*field)])),
                Step::Otherwise(code) => Some(Answer::Code(*code)),
            });
            match code {
                Some(Answer::Code(code)) => key |= Key::from(code) << label.shift,
                _ => is_bad = true,
            }
        }
        if is_bad { Outcome::Bad } else { Outcome::Add(key) }
    }
}

/// Bits of the kinds, all of them for none.
fn bits_of(kinds: &[SpanKind]) -> u32 {
    match kinds {
        [] => u32::MAX,
        kinds => kinds.iter().fold(0, |bits, kind| bits | 1 << *kind as u32),
    }
}

impl LabelPlan {
    /// The code of its value in a label set.
    pub(super) fn code_in(&self, key: Key) -> usize {
        (key >> self.shift & ((1 << self.bits) - 1)) as usize
    }
}

impl Measure {
    fn of(kind: &Kind, keys: &Keys) -> Option<Measure> {
        let Kind::Histogram { bounds, value, .. } = kind else { return None };
        let bounds = bounds.clone().into();
        Some(match value {
            Value::Attribute { key, scale } => Measure { slot: Some(keys.slot(key)), scale: *scale, bounds },
            Value::Duration => Measure { slot: None, scale: 1e-9, bounds },
        })
    }

    /// Whether there is anything to measure.
    fn is_in(&self, signature: &Signature) -> bool {
        self.slot.is_none_or(|slot| signature.has(slot))
    }

    /// The bucket of the value that is there, and the value.
    #[inline]
    pub(super) fn value(&self, signature: &Signature, item: &Item<'_>) -> Result<(usize, f64), BadValue> {
        let number = self.slot.map_or(item.duration_nanos as f64, |slot| signature.number(slot));
        let value = number * self.scale;
        if !(0.0..=MAX_VALUE).contains(&value) {
            return Err(BadValue);
        }
        Ok((self.bounds.partition_point(|bound| *bound < value), value))
    }
}
