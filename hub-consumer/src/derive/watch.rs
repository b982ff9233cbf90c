//! Looks on while the records of one request are decoded: the walker sees every attribute anyhow.

use telemetry_wire::{Malformed, common::AnyValue, logs::ResourceLogs};

use super::{item::Item, tally::Tally};

/// What is looked at of one request. Without a tally, and for resources that no rule is for, it does nothing.
#[derive(Debug)]
pub(crate) struct Watch<'t> {
    tally: Option<&'t mut Tally>,
    /// The rules for the resource at hand.
    set: Option<u32>,
    /// The record at hand is looked at.
    is_on: bool,
}

impl<'t> Watch<'t> {
    /// Looks on for a tally, if there is one.
    pub(crate) fn new(tally: Option<&'t mut Tally>) -> Watch<'t> {
        Watch { tally, set: None, is_on: false }
    }

    /// What follows is of the resource of this group, which has this number in the block. Must be told of every group.
    pub(crate) fn enter(&mut self, number: u32, group: &ResourceLogs<'_>) -> Result<(), Malformed> {
        if let Some(tally) = &mut self.tally {
            self.set = tally.enter(number, group)?;
            self.is_on = self.set.is_some();
        }
        Ok(())
    }

    /// A span of this kind begins.
    #[inline]
    pub(crate) fn span(&mut self, kind: u8) {
        if let Some(tally) = &self.tally {
            self.is_on = self.set.is_some() && tally.wants(kind);
        }
    }

    /// An attribute of the record at hand, and the number of its key in the block.
    #[allow(clippy::inline_always, reason = "a call for each attribute is a twentieth of decoding it")]
    #[inline(always)]
    pub(crate) fn see(&mut self, number: u32, key: &[u8], value: &AnyValue<'_>) {
        if self.is_on
            && let Some(tally) = &mut self.tally
            && tally.may_look_at(number)
        {
            tally.see(number, key, value);
        }
    }

    /// Its attributes come once more.
    pub(crate) fn restart(&mut self) {
        if let Some(tally) = &mut self.tally {
            tally.restart();
        }
    }

    /// The record at hand is read.
    #[inline]
    pub(crate) fn item(&mut self, item: &Item<'_>) {
        if self.is_on
            && let (Some(tally), Some(set)) = (&mut self.tally, self.set)
        {
            tally.item(set, item);
        }
    }
}
