//! The series of this process: totals since its start, by rule and label set.
//!
//! Shared as metrics are: whoever settles a block adds to it, and the pusher takes a copy. The lock is held for a block's few
//! dozen label sets, or for the copy, and never across an await.
//!
//! Memory: Σ over the rules of (`max_series` + 1) × (8 bytes × buckets, and 72 bytes × buckets more where exemplars are
//! kept, and the label set's text), and `max` texts of 128 bytes for each label that has one.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    metrics::DeriveMetrics,
    plan::{Key, Plan},
    scalar::Scalar,
    tally::{Cell, Counts, Exemplar, Sampled, Tally},
};

/// A value that is longer is not kept as a label.
const LONGEST_VALUE: usize = 128;

/// All series.
#[derive(Debug)]
pub(super) struct Series {
    plans: Vec<Arc<Plan>>,
    state: Mutex<State>,
    metrics: DeriveMetrics,
}

#[derive(Debug)]
struct State {
    /// By rule.
    rules: Vec<Totals>,
    /// Copies that were taken.
    copies: u64,
}

/// The series of one rule.
#[derive(Debug, Default)]
struct Totals {
    list: Vec<Total>,
    index: HashMap<Key, usize>,
    /// Buckets of each.
    width: usize,
    /// Values that came from resources, by label.
    values: Vec<Vec<String>>,
    /// Series before this one have been pushed.
    begun: usize,
}

#[derive(Debug)]
struct Total {
    labels: LabelSet,
    buckets: Vec<u64>,
    sum: f64,
    /// By bucket, the latest, with the number of copies that had been taken when it came.
    exemplars: Vec<Option<(Exemplar, u64)>>,
}

/// Names and values.
pub(super) type LabelSet = Arc<[(String, String)]>;

/// The code of a value of a resource attribute.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    Known(u32),
    /// It cannot be a label.
    None,
    /// There are as many as there may be.
    Full,
}

impl Code {
    /// The code, or that of what is counted as `otherwise`.
    pub(super) fn or(self, otherwise: u32) -> u32 {
        match self {
            Code::Known(code) => code,
            Code::None => otherwise,
            Code::Full => 0,
        }
    }
}

/// A copy of the series.
#[derive(Debug)]
pub(super) struct Copy {
    pub(super) rules: Vec<CopiedRule>,
    number: u64,
}

/// The series of one rule, copied.
#[derive(Debug)]
pub(super) struct CopiedRule {
    pub(super) plan: Arc<Plan>,
    pub(super) list: Vec<Copied>,
    /// Series before this one have been pushed.
    pub(super) begun: usize,
}

/// One series, copied.
#[derive(Debug)]
pub(super) struct Copied {
    pub(super) labels: LabelSet,
    pub(super) buckets: Vec<u64>,
    pub(super) sum: f64,
    pub(super) exemplars: Vec<Exemplar>,
}

impl Series {
    /// The series of these rules: none yet.
    pub(super) fn new(plans: Vec<Arc<Plan>>, metrics: DeriveMetrics) -> Series {
        let totals = |plan: &Arc<Plan>| Totals {
            width: plan.rule.width(),
            values: vec![Vec::new(); plan.labels.len()],
            ..Totals::default()
        };
        let state = Mutex::new(State { rules: plans.iter().map(totals).collect(), copies: 0 });
        Series { plans, state, metrics }
    }

    /// Adds what a block has.
    pub(super) fn add(&self, tally: &Tally) {
        let plans = &tally.program.plans;
        let mut state = self.state();
        let State { rules, copies } = &mut *state;
        let (mut places, mut added) = (Vec::new(), Vec::new());
        for (plan, counts) in plans.iter().zip(&tally.counts) {
            let totals = &mut rules[plan.number];
            let (of_rule, others) = totals.add(counts, &tally.cells, plan);
            places.push(of_rule);
            added.push((totals.list.len(), counts.overflowed.count + others));
        }
        for Sampled { plan, label_set, bucket, exemplar, .. } in &tally.exemplars {
            let plan = *plan as usize;
            if let Some(place) = places[plan][*label_set as usize] {
                let total = &mut rules[plans[plan].number].list[place];
                total.exemplars[*bucket as usize] = Some((*exemplar, *copies));
            }
        }
        drop(state);
        for (plan, ((size, overflowed), counts)) in plans.iter().zip(added.into_iter().zip(&tally.counts)) {
            self.metrics.counted(&plan.rule.name, size, overflowed, counts.bad.count);
        }
        self.metrics.records_counted(tally.program.signal.as_str(), tally.items);
    }

    /// The code of a value that a label takes as it comes.
    pub(super) fn code_of(&self, plan: usize, label: usize, value: &Scalar<'_>) -> Code {
        let Some(text) = text_of(value).filter(|text| !text.is_empty()) else { return Code::None };
        let of = &self.plans[plan].labels[label];
        // A value that is also a word of ours is that word: no label set may be there twice.
        if let Some(word) = of.words.iter().position(|word| *word == text) {
            return Code::Known(word as u32);
        }
        let mut state = self.state();
        let values = &mut state.rules[plan].values[label];
        let number = values.iter().position(|known| *known == text).unwrap_or(values.len());
        if number == values.len() {
            if number == of.cap || text.len() > LONGEST_VALUE {
                return Code::Full;
            }
            values.push(text);
        }
        Code::Known((of.words.len() + number) as u32)
    }

    /// A copy of everything.
    pub(super) fn copy(&self) -> Copy {
        let mut state = self.state();
        let rules = self.plans.iter().zip(&state.rules);
        let rules = rules.map(|(plan, totals)| CopiedRule {
            plan: Arc::clone(plan),
            list: totals.list.iter().map(Total::copy).collect(),
            begun: totals.begun,
        });
        let copy = Copy { rules: rules.collect(), number: state.copies };
        state.copies += 1;
        copy
    }

    /// The zeros that precede the new series of a copy are stored.
    pub(super) fn begun(&self, copy: &Copy) {
        let mut state = self.state();
        for (totals, copied) in state.rules.iter_mut().zip(&copy.rules) {
            totals.begun = copied.list.len();
        }
    }

    /// A copy is stored: its exemplars need not be sent again.
    pub(super) fn pushed(&self, copy: &Copy) {
        let mut state = self.state();
        for total in state.rules.iter_mut().flat_map(|totals| &mut totals.list) {
            for exemplar in &mut total.exemplars {
                exemplar.take_if(|(_, came_at)| *came_at <= copy.number);
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Totals {
    /// Adds the counts of a block: the place of each of its label sets, and how many records had to go to that of all others.
    fn add(&mut self, counts: &Counts, cells: &[Cell], plan: &Plan) -> (Vec<Option<usize>>, u64) {
        let (mut places, mut others) = (Vec::new(), 0);
        for (key, first) in &counts.label_sets {
            let cells = &cells[*first as usize..][..self.width];
            let count: u64 = cells.iter().map(|cell| cell.count).sum();
            // A Kafka record that was none may have left a label set behind.
            let place = (count > 0).then(|| self.place(*key, plan));
            places.push(place.map(|(place, _)| place));
            let Some((place, is_own)) = place else { continue };
            others += if is_own { 0 } else { count };
            let total = &mut self.list[place];
            for (bucket, cell) in total.buckets.iter_mut().zip(cells) {
                *bucket += cell.count;
                total.sum += cell.sum;
            }
        }
        (places, others)
    }

    /// The place of a label set, and whether it is its own and not that of all others.
    fn place(&mut self, key: Key, plan: &Plan) -> (usize, bool) {
        if let Some(place) = self.index.get(&key) {
            return (*place, true);
        }
        let others = self.index.contains_key(&0);
        let is_full = self.list.len() - usize::from(others) >= plan.rule.max_series;
        if key != 0 && is_full {
            return (self.place(0, plan).0, false);
        }
        let exemplars = if plan.rule.has_exemplars() { self.width } else { 0 };
        self.index.insert(key, self.list.len());
        self.list.push(Total {
            labels: self.labels(key, plan),
            buckets: vec![0; self.width],
            sum: 0.0,
            exemplars: vec![None; exemplars],
        });
        (self.list.len() - 1, true)
    }

    fn labels(&self, key: Key, plan: &Plan) -> LabelSet {
        let text = |(label, values): (&super::plan::LabelPlan, &Vec<String>)| {
            let code = label.code_in(key);
            let word = label.words.get(code).or_else(|| values.get(code - label.words.len()));
            (label.name.clone(), word.cloned().unwrap_or_default())
        };
        plan.labels.iter().zip(&self.values).map(text).collect()
    }
}

impl Total {
    fn copy(&self) -> Copied {
        Copied {
            labels: Arc::clone(&self.labels),
            buckets: self.buckets.clone(),
            sum: self.sum,
            exemplars: self.exemplars.iter().flatten().map(|(exemplar, _)| *exemplar).collect(),
        }
    }
}

fn text_of(value: &Scalar<'_>) -> Option<String> {
    match value {
        Scalar::Text(text) => Some(String::from_utf8_lossy(text).into_owned()),
        Scalar::Int(number) => Some(number.to_string()),
        Scalar::Double(number) => Some(number.to_string()),
        Scalar::Truth(truth) => Some(truth.to_string()),
        Scalar::Other => None,
    }
}
