//! Which rules are for the records of a resource: looked up once for each resource of a block.

use std::{collections::HashMap, sync::Arc};

use telemetry_wire::{Malformed, logs::ResourceLogs};

use super::{
    keys::Seen,
    plan::{Key, Plan, Program},
    scalar::Scalar,
};

/// Sets of rules that resources of one block have.
#[derive(Debug, Default)]
pub(super) struct RuleSets {
    list: Vec<Vec<Active>>,
    known: HashMap<Vec<Active>, u32>,
    /// By the block's number of a resource; `None` where no rule is for it.
    of_resource: Vec<Option<u32>>,
    /// Of these, how many the Kafka records before the one at hand have.
    kept: usize,
}

/// A rule that applies, with what the resource says of the label set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Active {
    /// Its number in the program.
    pub(super) plan: u32,
    /// The codes of the labels that the resource has.
    pub(super) base: Key,
    /// One of them is [`super::rules::OTHER`] only because a bound was met.
    pub(super) is_capped: bool,
}

impl RuleSets {
    /// The set for the resource with this number in the block; `None` when no rule is for it.
    pub(super) fn of(
        &mut self,
        program: &Program,
        number: u32,
        group: &ResourceLogs<'_>,
    ) -> Result<Option<u32>, Malformed> {
        if number as usize == self.of_resource.len() {
            let set = self.find(program, group)?;
            self.of_resource.push(set);
        }
        Ok(self.of_resource[number as usize])
    }

    /// The rules of a set.
    pub(super) fn rules(&self, set: u32) -> &[Active] {
        &self.list[set as usize]
    }

    /// Resources that came are the block's.
    pub(super) fn keep(&mut self) {
        self.kept = self.of_resource.len();
    }

    /// The block gives the numbers of the last ones to others.
    pub(super) fn forget(&mut self) {
        self.of_resource.truncate(self.kept);
    }

    fn find(&mut self, program: &Program, group: &ResourceLogs<'_>) -> Result<Option<u32>, Malformed> {
        let mut seen = Seen::nothing();
        for attribute in group.resource.attributes() {
            let attribute = attribute?;
            if let Some(slot) = program.resource_keys.find(attribute.key) {
                seen.note(slot, Scalar::of(&attribute.value));
            }
        }
        let active = |(plan, of): (usize, &Arc<Plan>)| {
            let (base, is_capped) = of.of_resource(&seen, &program.series)?;
            Some(Active { plan: plan as u32, base, is_capped })
        };
        let active: Vec<Active> = program.plans.iter().enumerate().filter_map(active).collect();
        if active.is_empty() {
            return Ok(None);
        }
        let next = self.list.len() as u32;
        let set = *self.known.entry(active.clone()).or_insert(next);
        if set == next {
            self.list.push(active);
        }
        Ok(Some(set))
    }
}
