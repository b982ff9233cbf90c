//! Scenes that dashboards are tested with: the whole line under named traffic, and the truth of it beside the stores.
//!
//! ```text
//!  mock-service load ──► mock-service serve ──prints──► pod's log ──► edge ──► Kafka ──► hub ──┬─► ClickHouse  rows
//!                              │ traces ────────────────────────────► edge                    ├─► Mimir       derived series
//!                              └─ the same lines ──► Facts ◄── the menu                        └─► Mimir       own metrics
//! ```
//!
//! A [`Stage`] drives the traffic and waits until every store has all of it; then [`Facts`] hold what was printed and what the
//! menu was. The tests in `boards/test` know nothing else: they calculate from these what every panel has to show.
//!
//! Rules are evaluated every second instead of every ten, by a Mimir that has to be ours: [`devstack::Stack::put_mimir_rules`].

mod facts;
mod names;
mod node;
pub mod scenes;
mod stage;
mod written;

pub use facts::{Facts, Service};
pub use names::exported;
pub use node::{environment, node};
pub use stage::{Stage, StageOptions};
pub use written::{CALM, OTHER, calm_lines, hostile_item, other_lines};
