//! Replays metrics: every record of the range is posted again, since nobody can ask Mimir where a sample came from.
//!
//! Samples that it has already it passes over without a word; they count as accepted. Those that it takes no more, because they
//! are older than its out-of-order window, are counted by what it says of them. A partition
//! is sent in its order with one request at a time, as `run` does it.

use std::{collections::BTreeMap, fmt};

use anyhow::{Context as _, ensure};
use futures::{StreamExt as _, stream};
use serde::Serialize;
use service_runtime::Runtime;

use super::{LEASE, ReplayArgs, committed_ranges, feed};
use crate::{
    app::Hub,
    audit::Reading,
    config::{HubConfig, SignalConfig},
    intent::Insertion,
    lease::Lease,
    mimir::MimirSink,
    resend::{Limit, Resender},
};

/// What a replay of metrics did.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Posted {
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// Kafka records of the range.
    pub records: u64,
    /// Samples that the sink has: those that are new, and those that it had.
    pub accepted: u64,
    /// Samples that it refused, by reason.
    pub refused: BTreeMap<&'static str, u64>,
    /// Samples that were not sent, by reason: policy takes them out of every request.
    pub dropped: BTreeMap<&'static str, u64>,
    /// Kafka records that went to the dead letters, wholly or in part.
    pub dead_lettered: u64,
}

impl Posted {
    /// Whether the sink has everything that was sent.
    pub fn is_complete(&self) -> bool {
        self.dead_lettered == 0 && self.refused.is_empty()
    }
}

impl fmt::Display for Posted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Posted { dry_run, records, accepted, refused, dropped, dead_lettered } = self;
        if *dry_run {
            return write!(out, "would send the samples of {records} records; nothing was sent");
        }
        write!(out, "{records} records: accepted {accepted} samples, those that it had among them")?;
        for (what, counts) in [("refused", refused), ("not sent", dropped)] {
            for (reason, count) in counts {
                write!(out, "\n{what} {count}: {reason}")?;
            }
        }
        match dead_lettered {
            0 => Ok(()),
            _ => write!(out, "\ndead-lettered {dead_lettered} records"),
        }
    }
}

/// Posts the range again.
///
/// # Errors
/// Something does not answer, or the replay was interrupted; doing it again is safe.
pub async fn replay(
    config: HubConfig,
    runtime: Runtime,
    signal: &SignalConfig,
    args: &ReplayArgs,
) -> anyhow::Result<Posted> {
    ensure!(!args.range.deep && args.into.is_none(), "--deep and --into are for logs and traces");
    let mimir = config.mimir.clone().context("mimir is not configured; set mimir.url")?;
    let spans = committed_ranges(signal, args).await?;
    let records: u64 = spans.iter().map(|span| (span.to - span.from).unsigned_abs()).sum();
    if args.dry_run {
        return Ok(Posted { dry_run: true, records, ..Posted::default() });
    }
    let (shutdown, health) = (runtime.shutdown(), runtime.readiness().condition("replay"));
    let hub = Hub::new(config, runtime)?;
    let metrics = hub.signal_metrics(signal);
    let sink = MimirSink::new(mimir, metrics.clone()).context("set up the Mimir client")?;
    let (limit, lease) = (Limit::new(args.rate), Lease::new(LEASE));
    let resender = Resender {
        delivery: hub.delivery(signal, sink, health),
        signal: signal.signal,
        limit: &limit,
        lease: &lease,
        shutdown,
    };
    let progress = Reading::new(&signal.topic, "sent", records);
    let (resender, progress) = (&resender, &progress);
    let sent: Vec<anyhow::Result<u64>> = stream::iter(spans.into_iter().filter(|span| span.from < span.to))
        .map(|span| async move {
            let mut dead_lettered = 0;
            let runs = [[span.from, span.to - 1]];
            feed::resend(resender, signal, span.partition, &runs, Insertion::new(), |settled| {
                dead_lettered += settled.dead_lettered.len() as u64;
                progress.add((settled.stored.len() + settled.dead_lettered.len()) as u64);
            })
            .await?;
            Ok(dead_lettered)
        })
        .buffer_unordered(usize::from(args.parallel))
        .collect()
        .await;
    let dead_lettered = sent.into_iter().sum::<anyhow::Result<u64>>();
    let dead_lettered = dead_lettered.with_context(|| format!("replay topic `{}`", signal.topic))?;
    progress.end();
    let (accepted, refused, dropped) = (metrics.stored(), metrics.rejected(), metrics.dropped());
    Ok(Posted { dry_run: false, records, accepted, refused, dropped, dead_lettered })
}
