//! Looks on while the records of one request are decoded: the walker sees every attribute anyhow.

use telemetry_wire::{Malformed, common::AnyValue, logs::ResourceLogs};

use super::{item::Item, keys::Seen, scalar::Scalar, tally::Tally};

/// What is looked at of one request. Without a tally, and for resources that no rule is for, it does nothing.
#[derive(Debug)]
pub(crate) struct Watch<'t, 'r> {
    tally: Option<&'t mut Tally>,
    /// The rules for the resource at hand.
    set: Option<u32>,
    seen: Seen<'r>,
}

impl<'t, 'r> Watch<'t, 'r> {
    /// Looks on for a tally, if there is one.
    pub(crate) fn new(tally: Option<&'t mut Tally>) -> Watch<'t, 'r> {
        Watch { tally, set: None, seen: Seen::nothing() }
    }

    /// What follows is of the resource of this group, which has this number in the block. Must be told of every group.
    pub(crate) fn enter(&mut self, number: u32, group: &ResourceLogs<'_>) -> Result<(), Malformed> {
        if let Some(tally) = &mut self.tally {
            self.set = tally.set_of(number, group)?;
        }
        Ok(())
    }

    /// An attribute of the record at hand, and the number of its key in the block.
    #[inline]
    pub(crate) fn see(&mut self, number: u32, key: &[u8], value: &AnyValue<'r>) {
        if self.set.is_some()
            && let Some(tally) = &mut self.tally
            && let Some(slot) = tally.slot_of(number, key)
        {
            self.seen.note(slot, Scalar::of(value));
        }
    }

    /// Its attributes come once more.
    #[inline]
    pub(crate) fn restart(&mut self) {
        self.seen.clear();
    }

    /// The record at hand is read.
    #[inline]
    pub(crate) fn item(&mut self, item: Item<'r>) {
        if let (Some(tally), Some(set)) = (&mut self.tally, self.set) {
            let parse_error = tally.program.keys.parse_error;
            tally.item(set, &self.seen, &Item { parse_error, ..item });
            self.seen.clear();
        }
    }
}
