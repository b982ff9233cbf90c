//! The ClickHouse sink: blocks in its own format, one insert per block, and the schema they go into.
//!
//! `block` knows the format, `insert` the request and `errors` what a refusal means; `migrate` owns the tables. What the rows
//! mean is [`crate::decode`]'s business.

pub mod block;
pub mod client;
pub mod columns;
pub mod compression;
pub mod dictionary;
pub mod errors;
pub mod insert;
pub mod migrate;
pub mod safety;

use std::num::NonZeroU32;
use std::time::Duration;

use service_runtime::Section;
use service_runtime::http_client::HttpClientConfig;
use telemetry_wire::Signal;

use compression::Compression;
use migrate::SchemaConfig;

/// How long one insert may take. Afterwards its outcome is unknown and the same block is sent again, so this is well above
/// what a healthy server under merge pressure needs.
const INSERT_TIMEOUT: Duration = Duration::from_secs(60);

/// One ClickHouse server, or a load balancer in front of several, and the tables we write there.
#[derive(Clone, Debug)]
pub struct ClickHouseConfig {
    /// Address, credentials, TLS.
    pub http: HttpClientConfig,
    /// The database of all tables.
    pub database: String,
    /// The table of log records.
    pub logs_table: String,
    /// The table of spans.
    pub traces_table: String,
    /// How blocks are compressed on the way.
    pub compression: Compression,
    /// How long one insert may take; the server gives up after it as well.
    pub insert_timeout: Duration,
    /// How many replicas must have a part before an insert counts; `None` leaves it to the server.
    pub insert_quorum: Option<String>,
    /// How the tables are made.
    pub schema: SchemaConfig,
}

impl ClickHouseConfig {
    /// The table of a signal; metrics have none and are not asked about.
    pub fn table_of(&self, signal: Signal) -> &str {
        match signal {
            Signal::Logs => &self.logs_table,
            Signal::Traces | Signal::Metrics => &self.traces_table,
        }
    }

    /// Reads the section of the ClickHouse sink.
    pub fn read(section: &mut Section<'_>) -> ClickHouseConfig {
        let http = HttpClientConfig::read(section, "http://clickhouse:8123");
        let database = identifier(section, "database", "otel", "Database of all tables.");
        let logs_table = identifier(section, "logs_table", "otel_logs", "Table of log records.");
        let traces_table = identifier(section, "traces_table", "otel_traces", "Table of spans.");
        ClickHouseConfig {
            http,
            database,
            logs_table,
            traces_table,
            compression: section.value(
                "compression",
                Compression::Lz4,
                "Compression of blocks on the way: `lz4` is the cheapest, `zstd` halves the bytes between zones, `none`.",
            ),
            insert_timeout: section.value(
                "insert_timeout",
                INSERT_TIMEOUT,
                "Longest time an insert may take before its outcome counts as unknown and it is sent again.",
            ),
            insert_quorum: section.optional(
                "insert_quorum",
                "Replicas that must have the rows before an insert counts: a number or `auto`. Only for replicated tables.",
            ),
            schema: SchemaConfig::read(&mut section.section("schema", "How `hub-consumer migrate` makes the tables.")),
        }
    }

    /// How long rows are kept; see [`SchemaConfig::retention_days`].
    pub fn retention(&self) -> Duration {
        days(self.schema.retention_days)
    }
}

fn days(days: NonZeroU32) -> Duration {
    Duration::from_secs(u64::from(days.get()) * 24 * 60 * 60)
}

/// A name that needs no quoting anywhere, so that it can also stand in paths and comments.
fn identifier(section: &mut Section<'_>, key: &'static str, default: &str, doc: &'static str) -> String {
    let name = section.value(key, default.to_owned(), doc);
    let first = name.bytes().next().unwrap_or(b'0');
    if first.is_ascii_digit() || !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
        section.problem(
            key,
            format!("`{name}` is not a plain name"),
            "use letters, digits and underscores, and no digit first",
        );
    }
    name
}
