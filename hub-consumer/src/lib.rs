//! hub-consumer: reads OTLP requests from Kafka and stores them, logs and traces in ClickHouse, metrics in Mimir.
//!
//! ```text
//!            one per signal
//!  Kafka ──► pipeline ──► block of a partition ──► delivery ──► ClickHouse | Mimir
//!   ▲           │  │                                  │
//!   │ commit    │  └── undecodable record ──► dead letter ◄── refused by the sink
//!   └── offsets ◄──────────── resolved ◄──────────────┘
//! ```
//!
//! Start reading at [`pipeline`]: one task owns the state of one signal, from the record to the commit.
//! An offset is committed when every record before it is stored, or dead-lettered and acked there; never before.
//!
//! What this crate deliberately does not do: it speaks neither the Kafka protocol (kafka-client does) nor protobuf by
//! hand (telemetry-wire does), and it keeps no state on disk: what it knows after a restart is what Kafka and the
//! sinks know.

pub mod app;
pub mod assignment;
pub mod audit;
pub mod clickhouse;
pub mod config;
pub mod dead_letter;
pub mod decode;
pub mod delivery;
pub mod derive;
pub mod doctor;
pub mod heap;
pub mod intake;
pub mod intent;
pub mod lag;
pub mod lease;
pub mod menu;
pub mod metrics;
pub mod mimir;
pub mod offsets;
pub mod pipeline;
pub mod reconcile;
pub mod redrive;
pub mod replay;
mod resend;
pub mod seek;
pub mod sink;
pub mod topics;

/// What the program is called, in its logs, its environment variables and its reference page.
pub const SERVICE: service_runtime::Service =
    service_runtime::Service { name: "hub-consumer", env_prefix: "HUB", version: env!("CARGO_PKG_VERSION") };
