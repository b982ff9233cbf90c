//! The metrics sink: request bytes as they came, several records at once, posted to an OTLP endpoint.
//!
//! Metrics are not decoded. A walker looks at every metric once and takes out what the sink would refuse: metrics
//! without points (Prometheus answers the whole request with an error) and, by policy, delta temporality and samples
//! that are too old. When nothing has to go the bytes are sent unchanged; concatenated requests are one request.
//!
//! Order is what keeps samples: a series must not overtake itself. The producer keeps a series in one partition, and
//! a partition has one request in flight ([`crate::pipeline`]). There are no tokens: sending identical samples again
//! is harmless as long as they are not older than the sink's out-of-order window, and refused softly beyond it.
//!
//! [`reply`] holds the table of answers. Mimir, Prometheus 3 and VictoriaMetrics differ only in path and headers.

pub mod config;
pub mod reply;

use std::{
    io::{self, Write as _},
    time::Duration,
};

use bytes::Bytes;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use reqwest::{
    Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use service_runtime::{
    error_chain::ErrorChain,
    http_client::{HttpClient, HttpClientError},
};
use telemetry_wire::metrics::{Metric, Point, Temporality, rewrite};

use self::{
    config::{Compression, DeltaPolicy, MimirConfig},
    reply::{Asked, Reply},
};
use crate::{
    metrics::SignalMetrics,
    sink::{Fragment, Sealed, Sink, Unreadable, Verdict},
};

/// Compared as a string by Mimir; parameters would be refused.
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
/// Mimir's own delays grow with this number, which counts from 1 at the first repetition.
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");
/// Reasons for which metrics and samples are not sent.
pub const DROPS: [&str; 3] = ["empty_metric", "delta_temporality", "too_old"];
/// Read of an answer at most; the rest is not needed to classify it.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Posts metrics to one endpoint.
#[derive(Debug)]
pub struct MimirSink {
    client: HttpClient,
    tenant: Option<(HeaderName, HeaderValue)>,
    config: MimirConfig,
    metrics: SignalMetrics,
}

/// Requests on their way into one post.
#[derive(Debug, Default)]
pub struct MetricsBlock {
    requests: Vec<Bytes>,
    bytes: usize,
    points: u64,
    dropped: Dropped,
}

/// What policy took out of the requests of a block. Counted when the block is stored, so that building it again from
/// the same records counts once.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Dropped {
    empty_metrics: u64,
    delta_points: u64,
    old_points: u64,
}

/// A post, ready to be sent any number of times.
#[derive(Debug)]
pub struct MetricsRequest {
    body: Bytes,
    points: u64,
    dropped: Dropped,
}

impl MimirSink {
    /// A sink for the configured endpoint; nothing is connected yet.
    ///
    /// # Errors
    /// The TLS files cannot be read or used.
    pub fn new(config: MimirConfig, metrics: SignalMetrics) -> Result<Self, HttpClientError> {
        let client = config.http.build()?;
        let tenant = config.tenant.clone().map(|tenant| (config.tenant_header.clone(), tenant));
        Ok(MimirSink { client, tenant, config, metrics })
    }

    /// Asks the endpoint to store nothing.
    pub async fn probe(&self) -> Verdict {
        let nothing = MetricsRequest { body: Bytes::new(), points: 0, dropped: Dropped::default() };
        match self.post(&nothing, 1, None).await {
            // An empty request is accepted or refused as one; either way the endpoint is there and lets us in.
            Ok(Reply { status: 400, .. }) => Verdict::Stored { refused: None },
            Ok(answer) => reply::verdict(&answer, self.asked(&nothing, 1)),
            Err(failure) => no_answer(failure),
        }
    }

    async fn post(
        &self,
        request: &MetricsRequest,
        attempt: u32,
        encoding: Option<HeaderValue>,
    ) -> Result<Reply, reqwest::Error> {
        let mut post = self.client.post(&self.config.path).header(CONTENT_TYPE, PROTOBUF);
        if let Some(encoding) = encoding {
            post = post.header(CONTENT_ENCODING, encoding);
        }
        if let Some((name, tenant)) = &self.tenant {
            post = post.header(name, tenant);
        }
        if attempt > 1 {
            post = post.header(RETRY_ATTEMPT, HeaderValue::from(attempt - 1));
        }
        let response = post.body(request.body.clone()).send().await?;
        let status = response.status().as_u16();
        let asked_delay = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked_delay.and_then(|value| reply::retry_after(value, Timestamp::now()));
        Ok(Reply { status, retry_after, body: beginning(response).await? })
    }

    fn asked(&self, request: &MetricsRequest, attempt: u32) -> Asked {
        Asked { points: request.points, attempt, burst: self.config.burst_points.get() }
    }

    fn count_dropped(&self, dropped: Dropped) {
        let counts = [dropped.empty_metrics, dropped.delta_points, dropped.old_points];
        for (reason, count) in DROPS.into_iter().zip(counts) {
            self.metrics.items_dropped(reason, count);
        }
    }

    /// Samples before this, in nanoseconds since the epoch, are not sent.
    fn oldest_sample(&self) -> u64 {
        let Some(max_age) = self.config.max_sample_age else { return 0 };
        let now = u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0);
        now.saturating_sub(u64::try_from(max_age.as_nanos()).unwrap_or(u64::MAX))
    }
}

impl Sink for MimirSink {
    type Block = MetricsBlock;
    type Request = MetricsRequest;

    fn new_block(&self) -> MetricsBlock {
        MetricsBlock::default()
    }

    fn add(&self, block: &mut MetricsBlock, fragment: &Fragment) -> Result<(), Unreadable> {
        let oldest = self.oldest_sample();
        let mut dropped = Dropped::default();
        let mut old_points = 0;
        let keep_metric = |metric: &Metric<'_>| {
            if metric.point_count == 0 {
                dropped.empty_metrics += 1;
                return false;
            }
            let is_refused =
                metric.temporality == Temporality::Delta && self.config.delta == DeltaPolicy::Reject;
            if is_refused {
                dropped.delta_points += metric.point_count;
            }
            !is_refused
        };
        let keep_point = |_: &Metric<'_>, point: &Point<'_>| {
            // A sample without a time is the sink's to judge.
            let is_old = point.time_unix_nano != 0 && point.time_unix_nano < oldest;
            old_points += u64::from(is_old);
            !is_old
        };
        let retained = rewrite::retain(&fragment.value, keep_metric, keep_point)
            .map_err(|malformed| Unreadable::new("malformed", malformed))?;
        let request = retained.rewritten.map_or_else(|| fragment.value.clone(), Bytes::from);
        block.bytes += request.len();
        block.points += retained.kept_points;
        block.dropped.empty_metrics += dropped.empty_metrics;
        block.dropped.delta_points += dropped.delta_points;
        block.dropped.old_points += old_points;
        block.requests.push(request);
        Ok(())
    }

    fn has_room(&self, block: &MetricsBlock, bytes: usize) -> bool {
        let is_empty = block.requests.is_empty();
        let fits = block.bytes + bytes <= self.config.max_request_bytes.as_usize();
        is_empty || (fits && block.points < self.config.max_request_points.get())
    }

    fn items(&self, block: &MetricsBlock) -> u64 {
        block.points
    }

    fn seal(&self, block: &mut MetricsBlock, _: &[Fragment], _: u64) -> Option<Sealed<MetricsRequest>> {
        let MetricsBlock { requests, points, dropped, .. } = std::mem::take(block);
        if points == 0 {
            self.count_dropped(dropped);
            return None;
        }
        let body = self.config.compression.compress(&requests).expect("writing to memory cannot fail");
        Some(Sealed { request: MetricsRequest { body: Bytes::from(body), points, dropped }, items: points })
    }

    async fn send(&self, request: &MetricsRequest, attempt: u32) -> Verdict {
        let verdict = match self.post(request, attempt, self.config.compression.header()).await {
            Ok(answer) => reply::verdict(&answer, self.asked(request, attempt)),
            Err(failure) => no_answer(failure),
        };
        if matches!(verdict, Verdict::Stored { .. }) {
            self.count_dropped(request.dropped);
        }
        verdict
    }

    fn halve(&self, fragment: &Fragment) -> Option<[Bytes; 2]> {
        // Malformed bytes never get as far as being divided.
        let (first, second) = rewrite::halve(&fragment.value).ok()??;
        Some([Bytes::from(first), Bytes::from(second)])
    }
}

impl Compression {
    fn header(self) -> Option<HeaderValue> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some(HeaderValue::from_static("gzip")),
            Compression::Zstd => Some(HeaderValue::from_static("zstd")),
        }
    }

    /// The requests behind one another, compressed.
    fn compress(self, requests: &[Bytes]) -> io::Result<Vec<u8>> {
        match self {
            Compression::None => Ok(requests.concat()),
            Compression::Gzip => {
                // Level 1: a third more CPU per level buys single per cents on this data.
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                for request in requests {
                    encoder.write_all(request)?;
                }
                encoder.finish()
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), 1)?;
                for request in requests {
                    encoder.write_all(request)?;
                }
                encoder.finish()
            }
        }
    }
}

/// No answer came: the server may have stored everything, and is sent the same again.
fn no_answer(failure: reqwest::Error) -> Verdict {
    let detail = ErrorChain(&failure.without_url()).to_string();
    Verdict::Wait { reason: "no_answer", detail, at_least: None::<Duration> }
}

async fn beginning(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER_BYTES {
        let Some(chunk) = response.chunk().await? else { break };
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
