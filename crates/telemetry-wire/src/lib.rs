//! telemetry-wire: the contract between edge and hub, and the code that reads it in place.
//!
//! ```text
//!   Export*ServiceRequest bytes ── inspect ── split ──► records (value, key, headers) ──► topic
//!                                                                                          │
//!   columns / sanitized request ◄── logs | traces | metrics cursors ◄──────────────────────┘
//! ```
//!
//! Everything works on borrowed protobuf bytes: a request is checked, counted and cut without being decoded, and the
//! hub reads records through cursors that allocate nothing in the common case. `docs/wire.md` is the normative text.
//!
//! This crate does no I/O, keeps no state between calls, and knows nothing of Kafka clients or sinks.

pub mod common;
pub mod envelope;
#[cfg(feature = "fixtures")]
pub mod fixtures;
pub mod headers;
pub mod inspect;
pub mod json;
pub mod key;
pub mod logs;
pub mod metrics;
pub mod partition;
pub mod pb;
mod signal;
pub mod split;
pub mod traces;

pub use inspect::{InspectLimits, Summary, inspect};
pub use pb::{Malformed, MalformedKind};
pub use signal::{Signal, dead_letter_topic};
pub use split::split;
