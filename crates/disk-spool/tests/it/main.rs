//! The promises of the spool, one file for each.

mod balance;
mod bounds;
mod crash_points;
mod durability;
mod faults;
mod model;
mod offline;
mod recovery;
mod support;
