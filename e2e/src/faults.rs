//! The campaign of faults: each row of the catalogue does one thing to a real edge on real brokers, and an oracle that knows
//! only what senders were answered and what the topics hold says what came of it.
//!
//! ```text
//!   senders ── requests, each once ──► edge (killed, frozen, full …) ──► door ──► brokers
//!      │                                                                (cut …)     │
//!      └── answers ──► ledger ──► verdict ◄── holdings ◄── reader, past the door ◄──┘
//! ```
//!
//! - [`item`] makes telemetry that can be told from its id; [`load`] sends it; [`ledger`] keeps the answers.
//! - [`reader`] reads topics and dead-letter topics to the end; [`verdict`] compares both.
//! - [`edge`] is the program under test; [`scene`] is one edge with topics of its own; [`arena`] keeps the brokers.
//! - [`catalogue`] lists the rows; `rows/` has one function for each; [`report`] writes `docs/faults.md`.
//!
//! What is deliberately not here: anything that looks inside of the edge. What it says of itself (readiness, counts) is
//! checked as an answer, never used to find out what is true.

pub mod arena;
pub mod catalogue;
pub mod clock;
pub mod container;
pub mod edge;
pub mod hubs;
pub mod injection;
pub mod item;
pub mod ledger;
pub mod load;
pub mod outcome;
pub mod raw;
pub mod reader;
pub mod report;
mod rows;
pub mod scene;
pub mod verdict;
