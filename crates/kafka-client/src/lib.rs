//! The one crate that names rdkafka: settings, producer, poll loop, offsets, and the table of errors.
//!
//! ```text
//!   edge ──► Producer ──► librdkafka ──► broker ──► librdkafka ──► poll thread ──► mpsc<ConsumerEvent> ──► hub
//!              ▲  Delivery (oneshot)                                  ▲  Credit, AckGuard, commit
//!              └── delivery reports                                   └──────────────────────────────── hub
//! ```
//!
//! What a user can rely on:
//!
//! * [`Producer::send`] never blocks. Its [`Delivery`] says "delivered" only after every in-sync replica has the
//!   record (`acks=all`, idempotent). Whatever else happens is an error whose [`DeliveryErrorKind`] says what to do.
//! * A [`Consumer`] hands everything over as one closed [`ConsumerEvent`] in one order. Its poll thread never
//!   stops polling: back-pressure is [`Credit`], which pauses partitions.
//! * Offsets are committed only by [`Consumer::commit`], as an explicit list, and only by the holder of the
//!   partition's current generation.
//! * Nothing jumps: a position that fell out of the log becomes [`ConsumerEvent::OffsetOutOfRange`].
//!
//! # Memory
//!
//! | client | at most |
//! |---|---|
//! | producer | `queue_bytes` (payloads waiting or in flight), one batch of `max_message_bytes` being compressed for each broker, about 200 bytes for each waiting record |
//! | consumer | `buffer_bytes` (records handed out, counted by [`Credit`]: key, value, headers, 256 bytes for each record and 120 for each header) and one record of overshoot, `fetch_queue_bytes` (fetched, not yet polled), one response of `fetch_max_bytes` for each broker (more when it decompresses to more), [`EVENT_CHANNEL_CAPACITY`] event slots |
//!
//! Deliberately absent: OTLP, signals, dead-letter rules, retries of refused records. This crate knows nothing of
//! what a record's bytes mean.

pub mod admin;
pub mod config;
mod connection;
mod consumer;
mod credit;
mod delivery;
mod doorbell;
mod error;
mod event;
mod producer;
mod range_reader;

pub use admin::Watermarks;
pub use config::{
    AssignmentStrategy, Compression, ConnectionConfig, ConsumerConfig, InitialOffset, IsolationLevel,
    ProducerConfig, SaslConfig, SaslMechanism,
};
pub use consumer::{Consumer, EVENT_CHANNEL_CAPACITY};
pub use credit::{Credit, PartitionAccount, TotalAccount};
pub use delivery::{Delivered, Delivery, DeliveryError, DeliveryErrorKind};
pub use error::{Cause, ClientError, CommitError, ConsumerError, LookupError, SendError};
pub use event::{
    AckGuard, AssignedPartition, CommitOffset, CommittedOffset, ConsumerEvent, Record, RevokedPartition,
};
pub use producer::{OutgoingRecord, Producer};
pub use range_reader::{OffsetRange, RangeRead, RangeReader, RangeRecord};
