//! The edge-forwarder: takes OTLP from senders and acknowledges it once Kafka has it, and reads log files.
//!
//! ```text
//!   OTLP/gRPC ─┐                ┌──────────────── memory budget ────────────────┐
//!              ├─ read, decompress ─ (JSON: to protobuf) ─ inspect ─ cut ─ send ─┼─► otlp_logs, otlp_spans, otlp_metrics
//!   OTLP/HTTP ─┘                └──────────────────────────────────────────┬────┘    and <topic>.dlq
//!        ▲                                                         late, or no broker      ▲
//!        │                                                                 ▼               │
//!        └── success, refusal for good, or "try again later" ◄── acks ── spool ── drain ───┘
//! ```
//!
//! Promises: a sender is told "success" only after the broker has acknowledged every record made of its request, or the disk has
//! synced it; what was acked reaches its topic once, also when the process is killed at any moment; whatever can be neither
//! acknowledged nor synced is refused as retryable, never dropped; only what can never succeed is refused for good; and memory
//! is bounded by configuration (see [`budget`]).
//!
//! Lines of log files come another way ([`filelog`]): nobody can be told to send them again, so each file's position moves only
//! past what is in the topic or on the disk.
//!
//! The protobuf bytes of a request are published as they came: this crate knows nothing of what is inside an item and has
//! no object model of OTLP. Log records of lines are written as protobuf directly.

pub mod app;
pub mod budget;
pub mod config;
pub mod filelog;
pub mod metrics;
mod offline;
pub mod publisher;
mod readback;
pub mod receiver;
pub mod spool;

pub use app::App;
pub use config::Config;
pub use offline::SpoolCommand;

/// What the program is called, in its logs, its environment variables and its reference page.
pub const SERVICE: service_runtime::Service = service_runtime::Service {
    name: "edge-forwarder",
    env_prefix: "EDGE",
    version: env!("CARGO_PKG_VERSION"),
};
