//! Settings of the metrics sink.

use std::{num::NonZeroU64, time::Duration};

use reqwest::header::{HeaderName, HeaderValue};
use service_runtime::{
    Section, Setting,
    http_client::HttpClientConfig,
    settings::{ByteSize, choice},
};

/// Mimir's path; Prometheus 3 has `/api/v1/otlp/v1/metrics`, VictoriaMetrics `/opentelemetry/v1/metrics`.
const PATH: &str = "/otlp/v1/metrics";
/// Far below the 100 MiB that Mimir takes and the 64 MB of VictoriaMetrics, large enough to amortise a request.
const MAX_REQUEST_BYTES: ByteSize = ByteSize::mib(8);
/// A tenth of Mimir's default burst, so that several partitions fit into one second of it.
const MAX_REQUEST_POINTS: u64 = 20_000;
/// Mimir's default `-distributor.ingestion-burst-size`.
const BURST_POINTS: u64 = 200_000;

/// One OTLP metrics endpoint.
#[derive(Debug, Clone)]
pub struct MimirConfig {
    /// Address, credentials, TLS.
    pub http: HttpClientConfig,
    /// Path of the endpoint below the base URL.
    pub path: String,
    /// Header that names the tenant.
    pub tenant_header: HeaderName,
    /// The tenant; `None` sends no such header.
    pub tenant: Option<HeaderValue>,
    /// How bodies are compressed.
    pub compression: Compression,
    /// A request is cut before it grows beyond this, uncompressed; a single larger record goes alone.
    pub max_request_bytes: ByteSize,
    /// A request is cut when it has this many data points.
    pub max_request_points: NonZeroU64,
    /// A refused request of more points than this is divided at once.
    pub burst_points: NonZeroU64,
    /// What becomes of metrics with delta temporality.
    pub delta: DeltaPolicy,
    /// Samples older than this are dropped and counted instead of being sent to be refused.
    pub max_sample_age: Option<Duration>,
}

/// How request bodies are compressed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// As they are.
    None,
    /// Understood by every endpoint.
    Gzip,
    /// Understood by recent versions of Mimir.
    Zstd,
}

/// What becomes of metrics with delta temporality.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeltaPolicy {
    /// Dropped and counted: Mimir refuses them unless told otherwise.
    Reject,
    /// Sent, for an endpoint that takes them.
    Pass,
}

const COMPRESSIONS: [(&str, Compression); 3] =
    [("none", Compression::None), ("gzip", Compression::Gzip), ("zstd", Compression::Zstd)];
const DELTA_POLICIES: [(&str, DeltaPolicy); 2] =
    [("reject", DeltaPolicy::Reject), ("pass", DeltaPolicy::Pass)];

impl MimirConfig {
    /// Reads the section of the metrics sink.
    pub fn read(section: &mut Section<'_>) -> Self {
        let http = HttpClientConfig::read(section, "http://mimir:8080");
        let path = section.value("path", PATH.to_owned(), "Path of the OTLP endpoint below the URL.");
        let tenant_header =
            section.value("tenant_header", "X-Scope-OrgID".to_owned(), "Header that names the tenant.");
        let tenant: Option<String> =
            section.optional("tenant", "Tenant of all metrics; without it no header is sent.");
        let tenant_header = header(section, "tenant_header", &tenant_header)
            .unwrap_or(HeaderName::from_static("x-scope-orgid"));
        let tenant = tenant.and_then(|tenant| header(section, "tenant", &tenant));
        MimirConfig {
            http,
            path,
            tenant_header,
            tenant,
            compression: section.value("compression", Compression::Gzip, "Compression of requests."),
            max_request_bytes: section.value(
                "max_request_bytes",
                MAX_REQUEST_BYTES,
                "A request is cut before it grows beyond this size, uncompressed.",
            ),
            max_request_points: section.value(
                "max_request_points",
                NonZeroU64::new(MAX_REQUEST_POINTS).expect("not zero"),
                "A request is cut when it holds this many data points.",
            ),
            burst_points: section.value(
                "burst_points",
                NonZeroU64::new(BURST_POINTS).expect("not zero"),
                "The tenant's burst size: a larger request that is rate limited is divided instead of repeated.",
            ),
            delta: section.value(
                "delta_temporality",
                DeltaPolicy::Reject,
                "Metrics with delta temporality are dropped and counted (`reject`) or sent (`pass`).",
            ),
            max_sample_age: section
                .optional("max_sample_age", "Samples older than this are dropped and counted; unset sends all."),
        }
    }

    /// An endpoint without credentials, with the defaults: for tests and tools.
    pub fn plain(http: HttpClientConfig) -> Self {
        MimirConfig {
            http,
            path: PATH.to_owned(),
            tenant_header: HeaderName::from_static("x-scope-orgid"),
            tenant: None,
            compression: Compression::Gzip,
            max_request_bytes: MAX_REQUEST_BYTES,
            max_request_points: NonZeroU64::new(MAX_REQUEST_POINTS).expect("not zero"),
            burst_points: NonZeroU64::new(BURST_POINTS).expect("not zero"),
            delta: DeltaPolicy::Reject,
            max_sample_age: None,
        }
    }
}

impl Setting for Compression {
    fn expected() -> String {
        "one of `none`, `gzip`, `zstd`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        choice(text, &COMPRESSIONS)
    }

    fn to_text(&self) -> String {
        name_of(*self, &COMPRESSIONS)
    }
}

impl Setting for DeltaPolicy {
    fn expected() -> String {
        "one of `reject`, `pass`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        choice(text, &DELTA_POLICIES)
    }

    fn to_text(&self) -> String {
        name_of(*self, &DELTA_POLICIES)
    }
}

fn name_of<T: Copy + PartialEq>(value: T, names: &[(&'static str, T)]) -> String {
    let found = names.iter().find(|(_, named)| *named == value);
    found.expect("every variant is named").0.to_owned()
}

/// A part of a header, or a problem under `key`.
fn header<T: for<'a> TryFrom<&'a str>>(section: &mut Section<'_>, key: &str, text: &str) -> Option<T> {
    let parsed = T::try_from(text).ok();
    if parsed.is_none() {
        section.problem(key, "cannot stand in an HTTP header", "use visible ASCII characters");
    }
    parsed
}
