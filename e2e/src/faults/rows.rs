//! The rows of the catalogue, by what is faulty.

pub(super) mod broker;
pub(super) mod connections;
pub(super) mod crash;
pub(super) mod disk;
pub(super) mod exactly_once;
pub(super) mod hub;
pub(super) mod intake;
pub(super) mod poison;
pub(super) mod replays;
pub(super) mod segments;
pub(super) mod stores;
pub(super) mod tail;
pub(super) mod time;
