//! hub-consumer against the real servers, and against stubs where a reply must be scripted.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails as the test does, by panicking")]

mod audit;
mod blocks;
mod clickhouse_faults;
mod database;
mod decode;
mod derive;
mod derive_counting;
mod derive_push;
mod doctor;
mod exactly_once;
mod insert;
mod lag;
mod line;
mod menu;
mod metrics_again;
mod metrics_sink;
mod migrate;
mod native_block;
mod operate;
mod oracle;
mod pipeline;
mod prometheus;
mod reconcile;
mod redrive;
mod replay;
mod runbook;
