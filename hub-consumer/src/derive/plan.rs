//! Rules made ready to be applied: attributes have numbers, and the values of labels have codes, so that a label set is one
//! number.

use std::sync::Arc;

use telemetry_wire::Signal;

use super::{
    item::Item,
    keys::{Keys, Seen},
    rules::{Choice, Field, HTTP_CLASSES, Kind, OTHER, Rule, Source, Value, Values},
    scalar::{Answer, Condition, Literal, position},
    series::{Code, Series},
};

/// A value must not be so large that a sum with it forgets what it had.
const MAX_VALUE: f64 = 1e15;

/// The rules of one signal.
#[derive(Debug)]
pub struct Program {
    pub(super) signal: Signal,
    pub(super) plans: Vec<Arc<Plan>>,
    /// How the labels of records are found, each once, however many rules have it.
    pub(super) picks: Vec<Pick>,
    /// Attributes of records that are looked at.
    pub(super) keys: Keys,
    /// The same of resources.
    pub(super) resource_keys: Keys,
    /// Where the counts go.
    pub(super) series: Arc<Series>,
}

/// One rule.
#[derive(Debug)]
pub(super) struct Plan {
    pub(super) rule: Rule,
    /// Among the rules of all signals.
    pub(super) number: usize,
    pub(super) labels: Vec<LabelPlan>,
    resource: Vec<(usize, Condition)>,
    attributes: Vec<(usize, Condition)>,
    any_present: u32,
    /// Kinds of spans as bits; all of them when there is no condition.
    span_kinds: u32,
    value: Option<Measure>,
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
    pick: Found,
}

/// How a label is found.
#[derive(Debug)]
enum Found {
    /// Once for each resource.
    OfResource(Pick),
    /// For each record, by the program's pick of this number.
    Shared(usize),
}

/// Codes of the record at hand that were found already: rules share labels.
#[derive(Debug, Default)]
pub(super) struct Codes {
    known: u32,
    codes: [u32; Self::MOST],
}

/// How a code is found.
#[derive(Debug)]
pub(super) struct Pick {
    /// Number of the attribute; a field has none.
    slot: usize,
    choose: Choose,
    otherwise: u64,
    absent: Option<Box<Pick>>,
}

#[derive(Debug)]
enum Choose {
    OfField(Field, Vec<u64>),
    Listed(Vec<Literal>, Vec<u64>),
    Numbers(Vec<f64>, Vec<u64>),
    Mapped(Vec<(Condition, u64)>),
    HttpStatus([u64; HTTP_CLASSES.len()]),
    Capped,
}

#[derive(Debug)]
struct Measure {
    /// Of the attribute; a span's duration has none.
    slot: Option<usize>,
    scale: f64,
    bounds: Box<[f64]>,
}

/// A label set: the codes of its values, each in its own bits. 0 is [`OTHER`] in every label.
pub(super) type Key = u64;

/// A number is wanted, and something else is there.
struct NotANumber;

/// What a record adds to a rule.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Outcome {
    /// Nothing: it is not for this rule.
    None,
    /// Nothing, because a number is wanted and something else is there.
    Bad,
    /// One, under this label set; for a histogram with this value, in this bucket.
    Add { key: Key, bucket: usize, value: f64 },
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
    /// How labels are found, with what they were made of.
    picks: Vec<(Choice, Pick)>,
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
        let program = |signal, Parts { keys, resource_keys, picks }| Program {
            signal,
            plans: all.iter().filter(|plan| plan.rule.from == signal).map(Arc::clone).collect(),
            picks: picks.into_iter().map(|(_, pick)| pick).collect(),
            keys,
            resource_keys,
            series: Arc::clone(series),
        };
        (program(Signal::Logs, logs), program(Signal::Traces, traces))
    }
}

impl Parts {
    fn new(rules: &[Rule], signal: Signal) -> Parts {
        let of_signal = || rules.iter().filter(move |rule| rule.from == signal);
        let keys = Keys::new(of_signal().flat_map(Rule::attribute_keys));
        Parts { keys, resource_keys: Keys::new(of_signal().flat_map(Rule::resource_keys)), picks: Vec::new() }
    }

    /// The number of a label's way to be found. Equal ones have equal codes.
    fn share(&mut self, choice: &Choice, pick: Pick) -> usize {
        let known = self.picks.iter().position(|(known, _)| known == choice);
        known.unwrap_or_else(|| {
            self.picks.push((choice.clone(), pick));
            self.picks.len() - 1
        })
    }
}

impl Plan {
    fn new(number: usize, rule: &Rule, parts: &mut Parts) -> Plan {
        let matching = &rule.matching;
        let asked = |conditions: &[(Box<[u8]>, Condition)], keys: &Keys| {
            conditions.iter().map(|(key, condition)| (keys.slot(key), condition.clone())).collect()
        };
        let mut shift = 0;
        let mut labels = Vec::new();
        for label in &rule.labels {
            let is_of_resource = matches!(label.choice.source, Source::Resource(_));
            let mut words = vec![OTHER.to_owned()];
            let keys = if is_of_resource { &parts.resource_keys } else { &parts.keys };
            let pick = Pick::new(&label.choice, keys, &mut words);
            let pick = match is_of_resource {
                true => Found::OfResource(pick),
                false => Found::Shared(parts.share(&label.choice, pick)),
            };
            let cap = if let Values::Capped(max) = label.choice.values { usize::from(max) } else { 0 };
            let bits = usize::BITS - (words.len() + cap).leading_zeros();
            labels.push(LabelPlan { name: label.name.clone(), words, cap, shift, bits, pick });
            shift += bits;
        }
        assert!(shift <= Key::BITS, "labels and their values are bounded when rules are read");
        let Parts { keys, resource_keys, .. } = parts;
        let any_present = matching.any_present.iter().fold(0, |mask, key| mask | 1 << keys.slot(key));
        let span_kinds = matching.span_kinds.iter().fold(0, |mask, kind| mask | 1 << *kind as u32);
        Plan {
            number,
            labels,
            resource: asked(&matching.resource, resource_keys),
            attributes: asked(&matching.attributes, keys),
            any_present,
            span_kinds: if span_kinds == 0 { u32::MAX } else { span_kinds },
            value: Measure::of(&rule.kind, keys),
            rule: rule.clone(),
        }
    }

    /// What the resource says of the label set, if the rule is for its records; and whether a bound was met.
    pub(super) fn of_resource(&self, seen: &Seen<'_>, series: &Series) -> Option<(Key, bool)> {
        let holds = |(slot, condition): &(usize, Condition)| condition.ask(seen.get(*slot)) == Answer::Yes;
        if !self.resource.iter().all(holds) {
            return None;
        }
        let (mut key, mut is_capped) = (0, false);
        for (number, label) in self.labels.iter().enumerate() {
            let Found::OfResource(pick) = &label.pick else { continue };
            let code = match (&pick.choose, seen.get(pick.slot)) {
                (Choose::Capped, Some(value)) => {
                    let code = series.code_of(self.number, number, value);
                    is_capped |= code == Code::Full;
                    code.or(pick.otherwise)
                }
                _ => pick.code(seen, &Item::default()).unwrap_or(pick.otherwise),
            };
            key |= code << label.shift;
        }
        Some((key, is_capped))
    }

    /// What a record adds. `base` is what its resource says of the label set.
    #[inline]
    pub(super) fn apply(
        &self,
        base: Key,
        seen: &Seen<'_>,
        item: &Item<'_>,
        picks: &[Pick],
        codes: &mut Codes,
    ) -> Outcome {
        let is_number = match self.admits(seen, item) {
            Answer::No => return Outcome::None,
            answer => answer == Answer::Yes,
        };
        let measured =
            self.value.as_ref().map_or(Ok(Some((0, 0.0))), |measure| measure.of_record(seen, item));
        let (bucket, value) = match measured {
            Ok(Some(measured)) if is_number => measured,
            Ok(Some(_)) | Err(NotANumber) => return Outcome::Bad,
            // Nothing was measured.
            Ok(None) => return Outcome::None,
        };
        let mut key = base;
        for label in &self.labels {
            let Found::Shared(number) = label.pick else { continue };
            match codes.find(number, || picks[number].code(seen, item)) {
                Ok(code) => key |= code << label.shift,
                Err(NotANumber) => return Outcome::Bad,
            }
        }
        Outcome::Add { key, bucket, value }
    }

    /// Whether the rule is for the record; what is no number only matters when all else holds.
    #[inline]
    fn admits(&self, seen: &Seen<'_>, item: &Item<'_>) -> Answer {
        if self.span_kinds != u32::MAX && self.span_kinds >> item.span_kind & 1 == 0 {
            return Answer::No;
        }
        if self.any_present != 0 && !seen.has_any(self.any_present) {
            return Answer::No;
        }
        let mut answer = Answer::Yes;
        for (slot, condition) in &self.attributes {
            match condition.ask(seen.get(*slot)) {
                Answer::Yes => {}
                Answer::No => return Answer::No,
                Answer::NotANumber => answer = Answer::NotANumber,
            }
        }
        let matching = &self.rule.matching;
        let is_severe = matching.severity.is_none_or(|(from, to)| (from..=to).contains(&item.severity));
        let is_parsed = matching.parsed.is_none_or(|parsed| item.is_parsed(seen) == parsed);
        let is_error = matching.is_error.is_none_or(|is_error| item.is_error == is_error);
        if is_severe && is_parsed && is_error { answer } else { Answer::No }
    }
}

impl Codes {
    /// What is kept; further labels are looked for each time.
    const MOST: usize = 32;
    /// Stands for what is no number.
    const BAD: u32 = u32::MAX;

    #[inline]
    pub(super) fn clear(&mut self) {
        self.known = 0;
    }

    #[inline]
    fn find(
        &mut self,
        number: usize,
        find: impl FnOnce() -> Result<u64, NotANumber>,
    ) -> Result<u64, NotANumber> {
        if number >= Self::MOST {
            return find();
        }
        if self.known >> number & 1 == 0 {
            self.codes[number] = find().map_or(Self::BAD, |code| code as u32);
            self.known |= 1 << number;
        }
        match self.codes[number] {
            Self::BAD => Err(NotANumber),
            code => Ok(u64::from(code)),
        }
    }
}

impl LabelPlan {
    /// The code of its value in a label set.
    pub(super) fn code_in(&self, key: Key) -> usize {
        (key >> self.shift & ((1 << self.bits) - 1)) as usize
    }
}

impl Pick {
    fn new(choice: &Choice, keys: &Keys, words: &mut Vec<String>) -> Pick {
        let slot = match &choice.source {
            Source::Resource(key) | Source::Attribute(key) => keys.slot(key),
            Source::Field(_) => 0,
        };
        let mut codes = |of: &[String]| -> Vec<u64> { of.iter().map(|word| code(words, word)).collect() };
        let named = codes(&choice.values.words(&choice.source));
        let otherwise = codes(std::slice::from_ref(&choice.otherwise))[0];
        let choose = match &choice.values {
            Values::OfField => match choice.source {
                Source::Field(field) => Choose::OfField(field, named),
                Source::Resource(_) | Source::Attribute(_) => Choose::Listed(Vec::new(), named),
            },
            Values::Listed(literals) => match literals.iter().map(Literal::number).collect() {
                Some(numbers) => Choose::Numbers(numbers, named),
                None => Choose::Listed(literals.clone(), named),
            },
            Values::Mapped(cases) => {
                let cases = cases.iter().zip(named);
                Choose::Mapped(cases.map(|((condition, _), code)| (condition.clone(), code)).collect())
            }
            Values::HttpStatus => Choose::HttpStatus(named.try_into().expect("the words are the classes")),
            Values::Capped(_) => Choose::Capped,
        };
        let absent = choice.absent.as_ref().map(|absent| Box::new(Pick::new(absent, keys, words)));
        Pick { slot, choose, otherwise, absent }
    }

    /// The code of the label's value.
    #[inline]
    fn code(&self, seen: &Seen<'_>, item: &Item<'_>) -> Result<u64, NotANumber> {
        if let Choose::OfField(field, codes) = &self.choose {
            return Ok(codes[item.word_of(*field, seen)]);
        }
        let Some(value) = seen.get(self.slot) else {
            return self.absent.as_ref().map_or(Ok(self.otherwise), |absent| absent.code(seen, item));
        };
        let found = match &self.choose {
            Choose::Listed(literals, codes) => position(literals, value).map(|index| codes[index]),
            Choose::Numbers(numbers, codes) => value.number().and_then(|given| {
                numbers.iter().position(|number| *number == given).map(|index| codes[index])
            }),
            Choose::Mapped(cases) => {
                let holds = |(condition, _): &&(Condition, u64)| condition.ask(Some(value)) == Answer::Yes;
                cases.iter().find(holds).map(|(_, code)| *code)
            }
            Choose::HttpStatus(codes) => {
                let class = (value.number().ok_or(NotANumber)? / 100.0).floor() - 2.0;
                // A conversion stays within its type: what is too large has no code either.
                if class < 0.0 { None } else { codes.get(class as usize).copied() }
            }
            Choose::OfField(..) | Choose::Capped => None,
        };
        Ok(found.unwrap_or(self.otherwise))
    }
}

/// The code of a word, which is put to the others if it is new.
fn code(words: &mut Vec<String>, word: &str) -> u64 {
    let known = words.iter().position(|known| known == word);
    let code = known.unwrap_or_else(|| {
        words.push(word.to_owned());
        words.len() - 1
    });
    code as u64
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

    /// The bucket of the record's value, and the value, if it has one.
    #[inline]
    fn of_record(&self, seen: &Seen<'_>, item: &Item<'_>) -> Result<Option<(usize, f64)>, NotANumber> {
        let number = match self.slot {
            None => item.duration_nanos as f64,
            Some(slot) => match seen.get(slot) {
                Some(value) => value.number().ok_or(NotANumber)?,
                None => return Ok(None),
            },
        };
        let value = number * self.scale;
        if !(0.0..=MAX_VALUE).contains(&value) {
            return Err(NotANumber);
        }
        Ok(Some((self.bounds.partition_point(|bound| *bound < value), value)))
    }
}
