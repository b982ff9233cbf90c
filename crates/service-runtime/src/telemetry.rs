//! The metrics of the process itself, pushed by OTLP to a store, for places where nobody scrapes them.
//!
//! A push is what a scraper of `/metrics` would have read at that moment: the same names, labels and values, with the labels
//! `job` (name of the program) and `instance`. A series that the page no longer has is ended as a scraper ends it, and with an
//! orderly end of the process all of them are, after their last values.
//!
//! - What counts begins with a zero, which is stored before anything else of it: of the process's start, and for labels that come
//!   later of the push before. So whatever was counted before the first push that is taken is an increase, and so is what a
//!   process counts after a restart. A scraper does not have these zeros.
//! - The push goes straight to the store, never through the pipeline that the metrics describe: `telemetry.otlp_endpoint` is the
//!   store's address and no edge's.
//! - It runs on the thread of the admin server, and goes on while the data path is busy or stuck.
//! - One push at a time, each given up when the next is due, but not before five seconds. What was not taken is not sent again: the next push tells all of it.
//! - Times grow strictly. Should the clock be set back they stand almost still until it has caught up.

mod config;
mod metrics;
mod page;
mod push;
mod request;

use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest, resource::v1::Resource,
};
use tokio::time::{Instant, MissedTickBehavior, interval_at, timeout};

use self::{
    metrics::PushMetrics,
    page::Page,
    push::{Endpoint, EndpointState},
    request::{Series, Times},
};
use crate::{Runtime, Service, error_chain::ErrorChain, http_client::HttpClientError};

pub use self::{config::TelemetryConfig, page::Unreadable, push::PushError};

/// Until the first push: by then the parts of a program have registered their metrics, and hardly counted anything.
const FIRST_PUSH: Duration = Duration::from_secs(1);
/// For what a process tells at its end, so that an endpoint that hangs does not keep it.
const LAST_PUSH_TIMEOUT: Duration = Duration::from_secs(2);
/// An endpoint may take so long however short the interval is.
const PATIENCE: Duration = Duration::from_secs(5);
/// Stores refuse what is much older than what they have; a zero that is still not stored then moves on.
const OLDEST_ZERO: Duration = Duration::from_secs(30 * 60);
/// Stores keep milliseconds.
const RESOLUTION: u64 = 1_000_000;

/// Pushes the metrics of one process.
#[derive(Debug)]
pub struct Telemetry {
    endpoint: Endpoint,
    interval: Duration,
    resource: Resource,
    runtime: Runtime,
    metrics: PushMetrics,
    /// Of the last push, in nanoseconds since the epoch.
    times: Times,
    /// What the store may hold as current.
    series: Series,
    /// What has begun with a zero, and was on the page since.
    begun: Series,
    /// When all that has not begun was 0: at the process's start, and then at the last push that was taken.
    zero_at: u64,
    state: EndpointState,
    /// Only metrics whose names begin so; all when it is empty.
    prefix: &'static str,
}

impl Telemetry {
    /// Reads the metrics of `runtime`, and adds to them those of the pushes; `None` when no endpoint is configured. Nothing is
    /// connected yet. The admin port names the instance unless the configuration does.
    ///
    /// # Errors
    /// The TLS files cannot be read or used.
    pub fn new(
        config: &TelemetryConfig,
        service: &Service,
        admin_port: u16,
        runtime: &Runtime,
    ) -> Result<Option<Self>, HttpClientError> {
        let Some(http) = &config.http else { return Ok(None) };
        let instance = config.instance.clone().unwrap_or_else(|| format!("{}:{admin_port}", host_name()));
        let now = nanoseconds_now();
        Ok(Some(Self {
            endpoint: Endpoint::new(http)?,
            interval: config.interval,
            resource: request::resource(service.name, &instance),
            runtime: runtime.clone(),
            metrics: runtime.register_metrics(PushMetrics::register),
            times: Times { start: now, now },
            series: Series::default(),
            begun: Series::default(),
            zero_at: now,
            state: EndpointState::default(),
            prefix: "",
        }))
    }

    /// The same for a command that tells one thing and leaves: only metrics whose names begin with `prefix` are pushed, under an
    /// instance that every run of the command shares, so that each tells the same series anew.
    pub fn of_command(mut self, service: &Service, instance: &str, prefix: &'static str) -> Self {
        self.resource = request::resource(service.name, instance);
        self.prefix = prefix;
        self
    }

    /// Pushes all metrics as they stand.
    ///
    /// # Errors
    /// Why the endpoint did not take them; also counted, and logged when the first of several.
    pub async fn push(&mut self) -> Result<(), PushError> {
        let pushed = self.try_push().await;
        self.state.note(&self.endpoint, &pushed);
        self.metrics.count(&pushed);
        pushed
    }

    /// Pushes at every interval until `stop`, then for the last time if `is_orderly` says so.
    pub(crate) async fn run(mut self, stop: impl Future<Output = End>) {
        let first = Instant::now() + FIRST_PUSH.min(self.interval);
        let mut ticks = interval_at(first, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let pushing = async {
            loop {
                ticks.tick().await;
                // It is counted and logged where it fails.
                let _ = self.push().await;
            }
        };
        let end = tokio::select! {
            end = stop => end,
            never = pushing => match never {},
        };
        if matches!(end, End::Orderly) {
            // Whatever becomes of it, the process ends.
            let _ = timeout(LAST_PUSH_TIMEOUT, self.push_last()).await;
        }
    }

    async fn push_last(&mut self) -> Result<(), PushError> {
        self.push().await?;
        let (series, times) = (std::mem::take(&mut self.series), self.next_times());
        self.endpoint.post(&request::request(&self.resource, &Page::default(), &series, times)).await
    }

    async fn try_push(&mut self) -> Result<(), PushError> {
        let next = self.next()?;
        let patience = self.interval.max(PATIENCE);
        timeout(patience, self.send(next)).await.unwrap_or(Err(PushError::Late))
    }

    async fn send(&mut self, next: Next) -> Result<(), PushError> {
        if let Some(beginnings) = &next.beginnings {
            match self.endpoint.post(beginnings).await {
                // The store has something newer of these series, and will never take their zeros.
                Err(error) if !error.is_retryable() => {
                    tracing::debug!(error = %ErrorChain(&error), "zeros of own metrics are refused");
                }
                posted => posted?,
            }
        }
        self.begun = next.counting;
        // Until it is answered the store may hold those of this push, and those that it ends.
        self.series.extend(next.series.clone());
        self.endpoint.post(&next.whole).await?;
        self.series = next.series;
        self.zero_at = self.times.now;
        Ok(())
    }

    fn next(&mut self) -> Result<Next, PushError> {
        let text = self.runtime.encode_metrics().map_err(PushError::Encode)?;
        let page = Page::read(&text)?.with_prefix(self.prefix);
        let (series, counting) = (Series::of(&page), Series::counting(&page));
        let (gone, new) = (self.series.without(&series), counting.without(&self.begun));
        let times = self.next_times();
        let oldest = times.now.saturating_sub(nanoseconds(OLDEST_ZERO));
        let zero = Times { now: oldest.max(self.zero_at + RESOLUTION), ..times };
        let beginnings = request::beginnings(&self.resource, &page, &new, zero);
        let whole = request::request(&self.resource, &page, &gone, times);
        Ok(Next { beginnings, whole, series, counting })
    }

    fn next_times(&mut self) -> Times {
        // A zero may lie between two pushes.
        self.times.now = nanoseconds_now().max(self.times.now + 2 * RESOLUTION);
        self.times
    }
}

/// What the next push sends.
#[derive(Debug)]
struct Next {
    /// Zeros of what is new.
    beginnings: Option<ExportMetricsServiceRequest>,
    whole: ExportMetricsServiceRequest,
    /// What it tells of.
    series: Series,
    /// What of that counts from 0.
    counting: Series,
}

/// How the process comes to its end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// All work is done: the last values count.
    Orderly,
    /// There is no time to lose.
    Cut,
}

fn nanoseconds_now() -> u64 {
    nanoseconds(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default())
}

fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "localhost".to_owned(),
        name => name.to_owned(),
    }
}
