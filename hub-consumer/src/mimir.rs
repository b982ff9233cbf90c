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
pub(crate) mod endpoint;
pub mod reply;

use bytes::Bytes;
use jiff::Timestamp;
use service_runtime::http_client::HttpClientError;
use telemetry_wire::{
    Signal,
    metrics::{Metric, Point, Temporality, rewrite},
};

use self::{
    config::{DeltaPolicy, MimirConfig},
    endpoint::Endpoint,
};
use crate::{
    decode,
    metrics::SignalMetrics,
    sink::{Fragment, Sealed, Sink, Unreadable, Verdict},
};

/// Reasons for which metrics and samples are not sent.
pub const DROPS: [&str; 3] = ["empty_metric", "delta_temporality", "too_old"];

/// Posts metrics to one endpoint.
#[derive(Debug)]
pub struct MimirSink {
    endpoint: Endpoint,
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
        Ok(MimirSink { endpoint: Endpoint::new(&config)?, config, metrics })
    }

    /// Asks the endpoint to store nothing.
    pub async fn probe(&self) -> Verdict {
        self.endpoint.probe().await
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
        if retained.kept_points == 0 {
            decode::refuse_unknown(Signal::Metrics, &fragment.value)
                .map_err(|undecodable| Unreadable::new(undecodable.reason(), undecodable))?;
        }
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
        let body = self.endpoint.compress(&requests);
        Some(Sealed { request: MetricsRequest { body, points, dropped }, items: points, tally: None })
    }

    async fn send(&self, request: &MetricsRequest, attempt: u32) -> Verdict {
        let verdict = self.endpoint.send(&request.body, request.points, attempt).await;
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
