//! What one block adds, kept beside it until it is known to be stored.
//!
//! A Kafka record that cannot be decoded must leave nothing behind, so what it adds is *staged* until it is whole.
//!
//! Memory, for each block: of every rule at most `max_series` + 1 label sets with as many cells as the histogram has buckets, of
//! some 40 bytes, and an exemplar of some 56 bytes for each cell at most. In practice it is the label sets that the block
//! has, a few dozen.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
    sync::Arc,
};

use telemetry_wire::{Malformed, logs::ResourceLogs};

use super::{
    item::Item,
    keys::Seen,
    plan::{Codes, Key, Outcome, Plan, Program},
    scalar::Scalar,
};

/// What the records of one block add to the series.
#[derive(Debug)]
pub struct Tally {
    pub(super) program: Arc<Program>,
    /// By the program's rules.
    pub(super) counts: Vec<Counts>,
    pub(super) exemplars: Vec<Sampled>,
    /// Log records or spans.
    pub(super) items: u64,
    sets: Sets,
    /// By the number of a key in the block, the number of the attribute that is looked at; only of keys that were seen.
    slots: Vec<u8>,
    /// The labels of the record at hand.
    codes: Codes,
    /// Something was left out or sent to `other` in the record at hand.
    is_marked: bool,
    /// Cells that hold something staged.
    touched: Vec<At>,
    /// Of these, what the records before the last one have.
    kept_exemplars: usize,
    kept_resources: usize,
}

/// The counts of one rule.
#[derive(Debug, Default)]
pub(super) struct Counts {
    /// Label sets in the order they came, each with its first cell.
    pub(super) keys: Vec<Key>,
    pub(super) cells: Vec<Cell>,
    /// Values that are no numbers.
    pub(super) bad: Staged,
    /// Records that a bound has sent to `other`.
    pub(super) overflowed: Staged,
    index: HashMap<Key, u32, BuildHasherDefault<KeyHasher>>,
}

/// A count with what the record at hand adds to it.
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

/// Where a cell is.
#[derive(Debug, Clone, Copy)]
struct At {
    plan: u32,
    cell: u32,
}

/// An exemplar and the cell that it is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sampled {
    at: At,
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

/// The rules that apply to the records of a resource.
#[derive(Debug, Default)]
struct Sets {
    list: Vec<Vec<Active>>,
    known: HashMap<Vec<Active>, u32>,
    /// By the block's number of a resource.
    of_resource: Vec<u32>,
}

/// A rule that applies, with what the resource says of the label set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Active {
    plan: u32,
    base: Key,
    is_capped: bool,
}

impl Tally {
    /// Nothing, to be counted by these rules.
    pub fn new(program: Arc<Program>) -> Tally {
        let counts = program.plans.iter().map(|_| Counts::default()).collect();
        Tally {
            program,
            counts,
            exemplars: Vec::new(),
            items: 0,
            sets: Sets::default(),
            slots: Vec::new(),
            codes: Codes::default(),
            is_marked: false,
            touched: Vec::new(),
            kept_exemplars: 0,
            kept_resources: 0,
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

    /// The record at hand is part of the block, with so many log records or spans.
    pub(crate) fn keep(&mut self, items: usize) {
        for At { plan, cell } in self.touched.drain(..) {
            self.counts[plan as usize].cells[cell as usize].keep();
        }
        if std::mem::take(&mut self.is_marked) {
            for counts in &mut self.counts {
                counts.bad.keep();
                counts.overflowed.keep();
            }
        }
        self.items += items as u64;
        self.kept_exemplars = self.exemplars.len();
        self.kept_resources = self.sets.of_resource.len();
    }

    /// The record at hand is none: what it added goes away.
    pub(crate) fn forget(&mut self) {
        for At { plan, cell } in self.touched.drain(..) {
            self.counts[plan as usize].cells[cell as usize].forget();
        }
        for Sampled { at, .. } in self.exemplars.drain(self.kept_exemplars..) {
            self.counts[at.plan as usize].cells[at.cell as usize].has_exemplar = false;
        }
        for counts in &mut self.counts {
            counts.bad.staged = 0;
            counts.overflowed.staged = 0;
        }
        self.is_marked = false;
        self.sets.of_resource.truncate(self.kept_resources);
        // The block gives the numbers of its keys to others.
        self.slots.clear();
    }

    /// The number by which an attribute is looked at, if it is. `number` is that of its key in the block.
    #[inline]
    pub(super) fn slot_of(&mut self, number: u32, key: &[u8]) -> Option<usize> {
        let slot = match self.slots.get(number as usize) {
            Some(slot) if *slot != Self::UNSEEN => *slot,
            _ => self.find_slot(number as usize, key),
        };
        (slot != Self::OTHER).then_some(usize::from(slot))
    }

    #[cold]
    fn find_slot(&mut self, number: usize, key: &[u8]) -> u8 {
        if self.slots.len() <= number {
            self.slots.resize(number + 1, Self::UNSEEN);
        }
        let slot = self.program.keys.find(key).map_or(Self::OTHER, |slot| slot as u8);
        self.slots[number] = slot;
        slot
    }

    /// In [`Tally::slots`]: no rule looks at the key.
    const OTHER: u8 = u8::MAX;
    /// In [`Tally::slots`]: the key was not looked for yet.
    const UNSEEN: u8 = u8::MAX - 1;

    /// The set of rules for the resource with this number in the block; `None` when there are none.
    pub(super) fn set_of(&mut self, number: u32, group: &ResourceLogs<'_>) -> Result<Option<u32>, Malformed> {
        if number as usize == self.sets.of_resource.len() {
            let set = self.find_set(group)?;
            self.sets.of_resource.push(set);
        }
        let set = self.sets.of_resource[number as usize];
        Ok((set != Sets::NONE).then_some(set))
    }

    fn find_set(&mut self, group: &ResourceLogs<'_>) -> Result<u32, Malformed> {
        let Tally { program, sets, .. } = self;
        let mut seen = Seen::nothing();
        for attribute in group.resource.attributes() {
            let attribute = attribute?;
            if let Some(number) = program.resource_keys.find(attribute.key) {
                seen.note(number, Scalar::of(&attribute.value));
            }
        }
        let active = |(number, plan): (usize, &Arc<Plan>)| {
            let (base, is_capped) = plan.of_resource(&seen, &program.series)?;
            Some(Active { plan: number as u32, base, is_capped })
        };
        let active: Vec<Active> = program.plans.iter().enumerate().filter_map(active).collect();
        if active.is_empty() {
            return Ok(Sets::NONE);
        }
        let next = sets.list.len() as u32;
        let set = *sets.known.entry(active.clone()).or_insert(next);
        if set == next {
            sets.list.push(active);
        }
        Ok(set)
    }

    /// Counts a log record or span of a resource with these rules.
    #[inline]
    pub(super) fn item(&mut self, set: u32, seen: &Seen<'_>, item: &Item<'_>) {
        let Tally { program, counts, exemplars, touched, sets, codes, is_marked, .. } = self;
        codes.clear();
        for active in &sets.list[set as usize] {
            let (plan, counts) = (&program.plans[active.plan as usize], &mut counts[active.plan as usize]);
            match plan.apply(active.base, seen, item, &program.picks, codes) {
                Outcome::None => {}
                Outcome::Bad => {
                    counts.bad.staged += 1;
                    *is_marked = true;
                }
                Outcome::Add { key, bucket, value } => {
                    let (first, is_own) = counts.first_cell(key, plan);
                    if active.is_capped || !is_own {
                        counts.overflowed.staged += 1;
                        *is_marked = true;
                    }
                    let at = At { plan: active.plan, cell: first + bucket as u32 };
                    let cell = &mut counts.cells[at.cell as usize];
                    if cell.staged == 0 {
                        touched.push(at);
                    }
                    cell.staged += 1;
                    cell.staged_sum += value;
                    if plan.rule.has_exemplars()
                        && !cell.has_exemplar
                        && let Some(exemplar) = Exemplar::of(item, value)
                    {
                        cell.has_exemplar = true;
                        exemplars.push(Sampled { at, exemplar });
                    }
                }
            }
        }
    }
}

impl Counts {
    /// The first cell of a label set, and whether it is its own and not that of all others.
    #[inline]
    fn first_cell(&mut self, key: Key, plan: &Plan) -> (u32, bool) {
        match self.index.get(&key) {
            Some(first) => (*first, true),
            None => self.add_cells(key, plan),
        }
    }

    #[cold]
    fn add_cells(&mut self, key: Key, plan: &Plan) -> (u32, bool) {
        if key != 0 && self.index.len() > plan.rule.max_series {
            return (self.first_cell(0, plan).0, false);
        }
        let first = self.cells.len() as u32;
        self.keys.push(key);
        self.cells.resize(self.cells.len() + plan.rule.width(), Cell::default());
        self.index.insert(key, first);
        (first, true)
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

impl Sampled {
    /// The number of its rule in the program, and of its cell.
    pub(super) fn place(&self) -> (usize, usize) {
        (self.at.plan as usize, self.at.cell as usize)
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

impl Sets {
    /// No rule applies.
    const NONE: u32 = u32::MAX;
}

/// Label sets are numbers of a few bits: both halves of a product with an odd number of many bits tell them apart.
#[derive(Debug, Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write_u64(&mut self, key: u64) {
        let product = u128::from(key ^ 0x9e37_79b9_7f4a_7c15) * 0xd6e8_feb8_6659_fd93;
        self.0 = product as u64 ^ (product >> 64) as u64;
    }

    fn write(&mut self, _: &[u8]) {
        unreachable!("only numbers are hashed")
    }
}
