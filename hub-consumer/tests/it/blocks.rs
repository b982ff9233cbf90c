//! Blocks with the settings that all tests use.

use std::time::Duration;

use hub_consumer::decode::{Block, DecodeSettings, LogRows, Rows, Source};
use telemetry_wire::fixtures::START_UNIX_NANO;

/// The broker's timestamp of every record, milliseconds since the epoch.
pub(crate) const BROKER_MS: i64 = (START_UNIX_NANO / 1_000_000) as i64;
pub(crate) const PARTITION: i32 = 7;

pub(crate) fn settings() -> DecodeSettings {
    DecodeSettings {
        topic: "otlp_test".to_owned(),
        retention: Duration::from_secs(365 * 24 * 3600),
        max_record_bytes: 64 << 20,
    }
}

pub(crate) fn block<R: Rows>() -> Block<R> {
    Block::new(settings())
}

pub(crate) fn logs_block() -> Block<LogRows> {
    block()
}

pub(crate) fn source(offset: i64) -> Source {
    Source { partition: PARTITION, offset, timestamp_ms: Some(BROKER_MS) }
}
