//! What one block adds, kept beside it until it is known to be stored.
//!
//! A Kafka record that cannot be decoded must leave nothing behind, so what it adds is *staged* until it is whole.
//!
//! Memory, for each block: of every rule at most `max_series` + 2 label sets with as many cells as the histogram has buckets, of
//! some 40 bytes, and an exemplar of some 70 bytes for each cell at most; 4,096 signatures of some 100 bytes; and the classes of
//! values that rules tell apart. In practice it is the label sets that the block has, a few dozen.

use std::{collections::HashMap, sync::Arc};

use telemetry_wire::{Malformed, common::AnyValue, logs::ResourceLogs};

use super::{
    classes::{Class, Classes},
    item::Item,
    plan::{Key, Outcome, Plan, Program},
    rule_sets::RuleSets,
    scalar::Scalar,
    signature::{Signature, Signatures},
};

/// Signatures that are remembered at once. Rules of few labels make some hundred; more are worked out again.
const MOST_SIGNATURES: usize = 4096;

/// What the records of one block add to the series.
#[derive(Debug)]
pub struct Tally {
    pub(super) program: Arc<Program>,
    /// By the program's rules.
    pub(super) counts: Vec<Counts>,
    /// Of all rules; each label set has as many behind one another as its rule has buckets.
    pub(super) cells: Vec<Cell>,
    pub(super) exemplars: Vec<Sampled>,
    /// Log records or spans.
    pub(super) items: u64,
    sets: RuleSets,
    /// By the number of a key in the block.
    slots: Vec<Slot>,
    /// By the number of an attribute that is looked at.
    classes: Vec<Classes>,
    /// Of the log record or span at hand.
    signature: Signature,
    /// What came before, each with a number; and by that what it does, from and to where in `actions`.
    signatures: Signatures,
    ranges: Vec<(u32, u32)>,
    actions: Vec<Action>,
    /// Something was left out or sent to `other` in the Kafka record at hand.
    is_marked: bool,
    /// Cells that hold something staged.
    touched: Vec<u32>,
    /// Exemplars of the Kafka records before the one at hand.
    kept_exemplars: usize,
}

/// What is known of an attribute's key.
#[derive(Debug, Clone, Copy)]
enum Slot {
    /// It was not looked for yet.
    Unknown,
    /// No rule looks at it.
    Ignored,
    /// It is looked at under this number.
    At(u8),
}

/// What a log record or span does.
#[derive(Debug, Clone, Copy)]
enum Action {
    /// It counts in this cell.
    Count { cell: u32 },
    /// Its value counts in one of the cells from here on; maybe only because a bound sends it there.
    Measure { plan: u32, label_set: u32, first: u32, is_bounded: bool },
    /// It counts under `other` because of a bound.
    Bounded { plan: u32 },
    /// It is left out: a value in it is no number.
    Leave { plan: u32 },
}

/// The counts of one rule.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Label sets in the order they came, each with its first cell.
    pub(super) label_sets: Vec<(Key, u32)>,
    /// Records with values that are no numbers.
    pub(super) bad: Staged,
    /// Records that a bound has sent to `other`.
    pub(super) overflowed: Staged,
    index: HashMap<Key, u32>,
}

/// A count with what the Kafka record at hand adds to it.
#[derive(Debug, Default)]
pub(super) struct Staged {
    pub(super) count: u64,
    staged: u64,
}

/// One bucket of one label set; of a counter there is one.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Cell {
    pub(super) count: u64,
    pub(super) sum: f64,
    staged_sum: f64,
    staged: u32,
    has_exemplar: bool,
}

/// An exemplar and what it is of: number of the rule in the program, of the label set in the rule, and bucket.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampled {
    pub(super) plan: u32,
    pub(super) label_set: u32,
    pub(super) bucket: u32,
    cell: u32,
    pub(super) exemplar: Exemplar,
}

/// One record out of those of a bucket.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exemplar {
    pub(super) value: f64,
    pub(super) unix_nano: i64,
    pub(super) trace_id: [u8; 16],
    /// All zero when the record has none.
    pub(super) span_id: [u8; 8],
}

impl Tally {
    /// Nothing, to be counted by these rules.
    pub fn new(program: Arc<Program>) -> Tally {
        Tally {
            counts: program.plans.iter().map(|_| Counts::default()).collect(),
            cells: Vec::new(),
            exemplars: Vec::new(),
            items: 0,
            sets: RuleSets::default(),
            slots: Vec::new(),
            classes: program.questions.iter().map(|questions| Classes::new(questions.len())).collect(),
            signature: Signature::new(program.questions.len()),
            signatures: Signatures::new(),
            ranges: Vec::new(),
            actions: Vec::new(),
            is_marked: false,
            touched: Vec::new(),
            kept_exemplars: 0,
            program,
        }
    }

    /// Another one by the same rules, with nothing in it.
    pub(crate) fn fresh(&self) -> Tally {
        Tally::new(Arc::clone(&self.program))
    }

    /// Adds it to the series: its block is stored, by an insert of ours.
    pub fn count(self) {
        self.program.series.add(&self);
    }

    /// The Kafka record at hand is part of the block, with so many log records or spans.
    pub(crate) fn keep(&mut self, items: usize) {
        for cell in self.touched.drain(..) {
            self.cells[cell as usize].keep();
        }
        if std::mem::take(&mut self.is_marked) {
            for counts in &mut self.counts {
                counts.bad.keep();
                counts.overflowed.keep();
            }
        }
        self.items += items as u64;
        self.kept_exemplars = self.exemplars.len();
        self.sets.keep();
    }

    /// The Kafka record at hand is none: what it added goes away.
    pub(crate) fn forget(&mut self) {
        for cell in self.touched.drain(..) {
            self.cells[cell as usize].forget();
        }
        for Sampled { cell, .. } in self.exemplars.drain(self.kept_exemplars..) {
            self.cells[cell as usize].has_exemplar = false;
        }
        if std::mem::take(&mut self.is_marked) {
            for counts in &mut self.counts {
                counts.bad.staged = 0;
                counts.overflowed.staged = 0;
            }
        }
        self.sets.forget();
        // The block gives the numbers of its keys to others.
        self.slots.clear();
        self.signature.clear();
    }

    /// The rules for the resource with this number in the block; `None` when there are none.
    pub(super) fn enter(&mut self, number: u32, group: &ResourceLogs<'_>) -> Result<Option<u32>, Malformed> {
        self.sets.of(&self.program, number, group)
    }

    /// Whether any rule is for spans of this kind.
    #[inline]
    pub(super) fn wants(&self, span_kind: u8) -> bool {
        self.program.span_kinds >> span_kind & 1 == 1
    }

    /// Whether an attribute may be looked at, by the number of its key in the block.
    #[inline]
    pub(super) fn may_look_at(&self, number: u32) -> bool {
        !matches!(self.slots.get(number as usize), Some(Slot::Ignored))
    }

    /// An attribute of the log record or span at hand, and the number of its key in the block.
    #[inline(never)]
    pub(super) fn see(&mut self, number: u32, key: &[u8], value: &AnyValue<'_>) {
        let slot = match self.slots.get(number as usize) {
            None | Some(Slot::Unknown) => self.find_slot(number as usize, key),
            Some(slot) => *slot,
        };
        let Slot::At(slot) = slot else { return };
        let (slot, value) = (usize::from(slot), Scalar::of(value));
        let class = match self.classes[slot].find(&self.program.questions[slot], &value) {
            Some(class) => class,
            None => self.add_class(slot, &value),
        };
        self.signature.note(slot, class);
        if self.program.measured >> slot & 1 == 1 {
            self.signature.note_number(slot, &value);
        }
    }

    #[cold]
    fn find_slot(&mut self, number: usize, key: &[u8]) -> Slot {
        if self.slots.len() <= number {
            self.slots.resize(number + 1, Slot::Unknown);
        }
        let slot = self.program.keys.find(key).map_or(Slot::Ignored, |slot| Slot::At(slot as u8));
        self.slots[number] = slot;
        slot
    }

    #[cold]
    fn add_class(&mut self, slot: usize, value: &Scalar<'_>) -> Class {
        let Tally { program, classes, .. } = self;
        if let Some(class) = classes[slot].add(&program.questions[slot], value) {
            return class;
        }
        // They begin anew, and signatures of the old ones are void.
        classes[slot].clear();
        let class = classes[slot].add(&program.questions[slot], value).expect("there is room for one");
        self.forget_signatures();
        class
    }

    fn forget_signatures(&mut self) {
        self.signatures.clear();
        self.ranges.clear();
        self.actions.clear();
    }

    /// The attributes of the log record or span at hand come once more.
    pub(super) fn restart(&mut self) {
        self.signature.clear();
    }

    /// Counts the log record or span at hand, whose resource has these rules.
    pub(super) fn item(&mut self, set: u32, item: &Item<'_>) {
        let has_parse_error = self.program.keys.parse_error.is_some_and(|slot| self.signature.has(slot));
        self.signature.finish(set, item.fields(has_parse_error));
        let (start, end) = match self.signatures.find(&self.signature) {
            Some(number) => self.ranges[number as usize],
            None => self.resolve(set),
        };
        for index in start..end {
            match self.actions[index as usize] {
                Action::Count { cell } => self.add(cell, 0.0),
                Action::Measure { plan, label_set, first, is_bounded } => {
                    self.measure(plan, label_set, first, is_bounded, item);
                }
                Action::Bounded { plan } => self.bounded(plan),
                Action::Leave { plan } => self.leave(plan),
            }
        }
        self.signature.clear();
    }

    /// What the signature at hand does, which is new.
    #[cold]
    fn resolve(&mut self, set: u32) -> (u32, u32) {
        if self.signatures.len() >= MOST_SIGNATURES {
            self.forget_signatures();
        }
        self.signatures.add(&self.signature);
        let Tally { program, counts, cells, sets, signature, classes, actions, .. } = self;
        let start = actions.len() as u32;
        for active in sets.rules(set) {
            let plan = active.plan;
            let (of, counts) = (&program.plans[plan as usize], &mut counts[plan as usize]);
            match of.resolve(active.base, signature, classes) {
                Outcome::None => {}
                Outcome::Bad => actions.push(Action::Leave { plan }),
                Outcome::Add(key) => {
                    let (label_set, is_own) = counts.label_set(key, of, cells);
                    let (_, first) = counts.label_sets[label_set as usize];
                    let is_bounded = active.is_capped || !is_own;
                    match of.measure {
                        Some(_) => actions.push(Action::Measure { plan, label_set, first, is_bounded }),
                        None => {
                            actions.extend(is_bounded.then_some(Action::Bounded { plan }));
                            actions.push(Action::Count { cell: first });
                        }
                    }
                }
            }
        }
        let range = (start, actions.len() as u32);
        self.ranges.push(range);
        range
    }

    #[inline]
    fn add(&mut self, at: u32, value: f64) {
        let cell = &mut self.cells[at as usize];
        if cell.staged == 0 {
            self.touched.push(at);
        }
        cell.staged += 1;
        cell.staged_sum += value;
    }

    #[inline]
    fn measure(&mut self, plan: u32, label_set: u32, first: u32, is_bounded: bool, item: &Item<'_>) {
        let of = &self.program.plans[plan as usize];
        let Some(measure) = &of.measure else { return };
        let Ok((bucket, value)) = measure.value(&self.signature, item) else { return self.leave(plan) };
        let (has_exemplars, bucket) = (of.has_exemplars, bucket as u32);
        let cell = first + bucket;
        self.add(cell, value);
        if is_bounded {
            self.bounded(plan);
        }
        if has_exemplars
            && !self.cells[cell as usize].has_exemplar
            && let Some(exemplar) = Exemplar::of(item, value)
        {
            self.cells[cell as usize].has_exemplar = true;
            self.exemplars.push(Sampled { plan, label_set, bucket, cell, exemplar });
        }
    }

    #[cold]
    fn bounded(&mut self, plan: u32) {
        self.counts[plan as usize].overflowed.staged += 1;
        self.is_marked = true;
    }

    #[cold]
    fn leave(&mut self, plan: u32) {
        self.counts[plan as usize].bad.staged += 1;
        self.is_marked = true;
    }
}

impl Counts {
    /// The number of a label set, and whether it is its own and not that of all others.
    fn label_set(&mut self, key: Key, plan: &Plan, cells: &mut Vec<Cell>) -> (u32, bool) {
        if let Some(number) = self.index.get(&key) {
            return (*number, true);
        }
        if key != 0 && self.index.len() > plan.rule.max_series {
            return (self.label_set(0, plan, cells).0, false);
        }
        let number = self.label_sets.len() as u32;
        self.label_sets.push((key, cells.len() as u32));
        cells.resize(cells.len() + plan.rule.width(), Cell::default());
        self.index.insert(key, number);
        (number, true)
    }
}

impl Staged {
    fn keep(&mut self) {
        self.count += std::mem::take(&mut self.staged);
    }
}

impl Cell {
    fn keep(&mut self) {
        self.count += u64::from(std::mem::take(&mut self.staged));
        self.sum += std::mem::take(&mut self.staged_sum);
    }

    fn forget(&mut self) {
        (self.staged, self.staged_sum) = (0, 0.0);
    }
}

impl Exemplar {
    /// Of a record that is part of a trace.
    fn of(item: &Item<'_>, value: f64) -> Option<Exemplar> {
        let trace_id = <[u8; 16]>::try_from(item.trace_id).ok().filter(|id| *id != [0; 16])?;
        let span_id = item.span_id.try_into().unwrap_or_default();
        Some(Exemplar { value, unix_nano: item.unix_nano, trace_id, span_id })
    }
}
