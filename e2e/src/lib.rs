//! The whole line on real servers: mock-service → edge-forwarder → Kafka → hub-consumer → ClickHouse and Mimir.
//!
//! [`Line`] starts the three programs as processes of their own against servers that `devstack` gives, with topics,
//! consumer groups and a database of its own, so that many lines can share one set of servers. The tests, the demo and the
//! whole-line bench stand on it.
//!
//! What is deliberately not here: anything that looks inside a program. A line is judged from outside, by what its
//! senders were answered and by what the stores hold.

pub mod boards;
pub mod clickhouse;
pub mod drill;
pub mod faults;
pub mod incident;
pub mod line;
pub mod mimir;
pub mod pages;
pub mod process;
pub mod runtime;
pub mod scrape;
pub mod sender;

pub use line::{Line, LineOptions};
