//! Pushes the series: all of them at every interval, one push at a time, each later than the one before.
//!
//! Totals only grow, so a push that fails takes nothing with it: the next one brings what it would have. When nobody knows what
//! became of a push, the next one is right whether it was stored or not. While the store is away nothing else waits; there is one
//! line in the log, attempts become rare, and what was counted meanwhile comes with the first that passes.

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use jiff::Timestamp;
use service_runtime::{
    Condition,
    backoff::{Backoff, BackoffConfig},
};
use tokio::time::{Instant, sleep, timeout_at};
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use super::{
    export::{Identity, Part, Request, requests},
    metrics::{DeriveMetrics, FAILED, PARTIAL, PUSHED, REFUSED},
    series::{Copy, Series},
};
use crate::{mimir::endpoint::Endpoint, sink::Verdict};

/// How long the last push may take, after the pipelines have ended.
pub const FLUSH: Duration = Duration::from_secs(3);
/// A store's own wish for a delay is honoured up to this.
const LONGEST_WISH: Duration = Duration::from_secs(300);
/// Milliseconds are what stores tell samples apart by.
const MILLISECOND: u64 = 1_000_000;

/// Pushes the series of this process.
#[derive(Debug)]
pub struct Pusher {
    pub(super) series: Arc<Series>,
    pub(super) endpoint: Endpoint,
    pub(super) identity: Identity,
    pub(super) interval: Duration,
    pub(super) max_samples: u64,
    pub(super) backoff: BackoffConfig,
    pub(super) metrics: DeriveMetrics,
    /// Degraded while nothing can be pushed.
    pub(super) health: Condition,
    /// The time of the last push, in nanoseconds since the epoch.
    pub(super) last_at: u64,
}

/// Why not everything is stored.
#[derive(Debug)]
struct Unstored {
    outcome: &'static str,
    reason: &'static str,
    detail: String,
    at_least: Option<Duration>,
}

impl Pusher {
    /// Pushes until `ended`, and then once more, within [`FLUSH`].
    pub async fn run(mut self, ended: CancellationToken) {
        let mut backoff = Backoff::new(&self.backoff);
        let mut failure: Option<Unstored> = None;
        self.health.ready();
        loop {
            let pause = match &failure {
                None => self.interval,
                Some(unstored) => backoff.next_delay().max(unstored.at_least.unwrap_or_default()),
            };
            if ended.run_until_cancelled(sleep(pause)).await.is_none() {
                break;
            }
            // One that is cut off may be stored or not; the last one is later.
            let Some(pushed) = ended.run_until_cancelled(self.push()).await else { break };
            failure = self.report(pushed, failure.is_some());
            if failure.is_none() {
                backoff = Backoff::new(&self.backoff);
            }
        }
        self.flush(Instant::now() + FLUSH, failure.is_some()).await;
    }

    async fn flush(&mut self, deadline: Instant, mut is_failing: bool) {
        let mut backoff = Backoff::new(&self.backoff);
        while let Ok(pushed) = timeout_at(deadline, self.push()).await {
            is_failing = self.report(pushed, is_failing).is_some();
            if !is_failing || timeout_at(deadline, sleep(backoff.next_delay())).await.is_err() {
                break;
            }
        }
        if is_failing {
            warn!("what was counted since the last push is lost with this process");
        }
    }

    /// Tells how a push has ended, once for each outage, and passes on why it failed.
    fn report(&self, pushed: Result<Option<&'static str>, Unstored>, was_failing: bool) -> Option<Unstored> {
        match pushed {
            Ok(outcome) => {
                if let Some(outcome) = outcome {
                    self.metrics.pushed(outcome);
                    self.metrics.stored_at(Timestamp::now().as_millisecond() as f64 / 1000.0);
                }
                if was_failing {
                    info!("derived metrics are pushed again");
                }
                self.health.ready();
                None
            }
            Err(unstored) => {
                let Unstored { outcome, reason, detail, .. } = &unstored;
                self.metrics.pushed(outcome);
                if !was_failing && *outcome == REFUSED {
                    error!(reason, detail, "derived metrics are refused; they wait for an operator");
                } else if !was_failing {
                    warn!(reason, detail, "derived metrics are not stored; they wait");
                }
                self.health.degraded("derived metrics are not stored");
                Some(unstored)
            }
        }
    }

    /// Pushes everything once. `None` when there is nothing yet.
    async fn push(&mut self) -> Result<Option<&'static str>, Unstored> {
        let copy = self.series.copy();
        let before = self.last_at;
        let now = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0) * MILLISECOND;
        self.last_at = now.max(before + MILLISECOND);
        let (copy, beginnings, whole) = self.encode(copy, before).await;
        if whole.is_empty() {
            return Ok(None);
        }
        let mut outcome = PUSHED;
        for request in beginnings {
            self.send(request, &mut outcome).await?;
        }
        self.series.begun(&copy);
        for request in whole {
            self.send(request, &mut outcome).await?;
        }
        self.series.pushed(&copy);
        Ok(Some(outcome))
    }

    /// The requests of a copy: zeros of what is new, of the time of the last push, and everything, of this one's.
    async fn encode(&self, copy: Copy, before: u64) -> (Copy, Vec<Request>, Vec<Request>) {
        let (identity, at, most) = (self.identity.clone(), self.last_at, self.max_samples);
        let encoding = tokio::task::spawn_blocking(move || {
            let beginnings = requests(&copy, Part::Beginnings, before, &identity, most);
            let whole = requests(&copy, Part::Whole, at, &identity, most);
            (copy, beginnings, whole)
        });
        match encoding.await {
            Ok(encoded) => encoded,
            // A blocking task is never cancelled once it runs; a panic in it is a bug and must end this task too.
            Err(failure) => std::panic::resume_unwind(failure.into_panic()),
        }
    }

    async fn send(&self, request: Request, outcome: &mut &'static str) -> Result<(), Unstored> {
        let body = self.endpoint.compress(&[Bytes::from(request.body)]);
        let unstored =
            |outcome, reason, detail, at_least| Err(Unstored { outcome, reason, detail, at_least });
        match self.endpoint.send(&body, request.samples, 1).await {
            Verdict::Stored { refused: None } => Ok(()),
            Verdict::Stored { refused: Some(refused) } => {
                let (reason, items, detail) = (refused.reason, refused.items, refused.detail);
                warn!(reason, items, detail, "samples of derived metrics are refused for good");
                *outcome = PARTIAL;
                Ok(())
            }
            Verdict::Wait { reason, detail, at_least } => {
                unstored(FAILED, reason, detail, at_least.map(|wish| wish.min(LONGEST_WISH)))
            }
            Verdict::Unknown { reason, detail } => unstored(FAILED, reason, detail, None),
            Verdict::Alert { reason, detail } | Verdict::Divide { reason, detail, .. } => {
                unstored(REFUSED, reason, detail, None)
            }
            Verdict::Stale => unstored(FAILED, "stale", String::new(), None),
        }
    }
}
