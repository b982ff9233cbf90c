//! Counters and histograms that the hub makes of the log records and spans it stores, pushed to Mimir as series of its own.
//!
//! ```text
//!  decode ──► Watch ──► Tally of a block ──► (its insert settles it) ──► Series ──► Pusher ──► Mimir
//!             rules     kept beside it        delivery::pinned           totals     every interval
//! ```
//!
//! - [`rules`] are read and checked once, at the start; [`plan`] makes numbers of their attributes and label sets, and collects
//!   each [`question`] that they ask of an attribute, once.
//! - While a log record or span is decoded, [`watch`] sees its attributes. Of those that rules look at, [`classes`] says which of
//!   few kinds the value is of: values of one class get the same answers to all questions. The classes together are its
//!   [`signature`].
//! - The block's [`Tally`] works out once what a signature adds to which series, when the first one comes; later ones of the same
//!   signature only add. Nothing is allocated for them, and attributes of resources that no rule is for ([`rule_sets`]) cost one
//!   look at a flag.
//! - A tally goes with its block's request, and is added to [`series`] when that request has settled the block.
//! - [`push`] sends all totals at every interval; [`export`] writes them.
//!
//! # What is counted, and how often
//!
//! **A log record or span is counted when an insert of this hub has brought it into the table**: confirmed by the answer, found by
//! reading back after an answer that never came, or brought by a repair. *Not* counted are
//! - a block that a takeover finds whole: whoever inserted it had counted it, or died before;
//! - of a block that is found in part and has other bounds than what was announced, the records that are there;
//! - dead letters, and what `replay` and `redrive` store: these know no rules.
//!
//! **Nothing is counted twice.** A hub counts a block once, at its settled end, and only after it has seen, with the rows already
//! in the table, that the partition is its own: a lease that is proven by a commit ([`crate::lease`]). Whoever takes the
//! partition over later asks the table first and finds those rows. Whoever was stopped in the middle and lost the partition
//! gets no proof, and does not count. This holds as long as the store keeps what it has confirmed, and nobody deletes rows and
//! moves the group back: then the records come again as if new, and are counted again.
//!
//! **What one `kill -9` leaves uncounted**: what was counted since the last push, at most [`DeriveConfig::interval`] old while
//! the store answers, and the blocks that were under way, one of each partition, if their rows are found whole. A hub that ends
//! in order settles its blocks and pushes once more. A partition that is taken away before its block is settled
//! (`pipeline.revoke_wait`), or lost, leaves that block as `kill -9` does.
//!
//! A restart is a counter that begins again at 0, under a name of its own unless `derive.instance` gives one.
//!
//! # Memory
//!
//! What [`series`] states, once; what [`tally`] states, for each block; and one copy of the series while they are pushed, some
//! 400 bytes and 16 × buckets bytes for each.

mod classes;
pub(crate) mod config;
mod export;
pub(crate) mod item;
mod keys;
pub mod metrics;
mod plan;
mod push;
mod question;
mod rule_sets;
pub mod rules;
mod scalar;
mod series;
mod signature;
mod tally;
pub(crate) mod watch;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::Arc,
};

use jiff::Timestamp;
use service_runtime::{Condition, backoff::BackoffConfig, http_client::HttpClientError};
use telemetry_wire::Signal;

pub use self::{
    config::DeriveConfig,
    plan::Program,
    push::{FLUSH, Pusher},
    tally::Tally,
};
use self::{export::Identity, metrics::DeriveMetrics, plan::Plans, rules::Rule, series::Series};
use crate::mimir::endpoint::Endpoint;

/// The rules at work: what the blocks of each signal are counted by, and the series that they have made.
#[derive(Debug, Clone)]
pub struct Deriving {
    logs: Arc<Program>,
    traces: Arc<Program>,
    series: Arc<Series>,
    metrics: DeriveMetrics,
}

impl Deriving {
    /// Rules at work; nothing is counted yet.
    pub fn new(rules: &[Rule], metrics: DeriveMetrics) -> Deriving {
        let plans = Plans::new(rules);
        let series = Arc::new(Series::new(plans.all.clone(), metrics.clone()));
        let (logs, traces) = plans.programs(&series);
        Deriving { logs: Arc::new(logs), traces: Arc::new(traces), series, metrics }
    }

    /// What pushes the series.
    ///
    /// # Errors
    /// The TLS files of the endpoint cannot be read or used.
    pub fn pusher(
        &self,
        config: &DeriveConfig,
        backoff: BackoffConfig,
        health: Condition,
    ) -> Result<Pusher, HttpClientError> {
        let started_at = u64::try_from(Timestamp::now().as_millisecond()).unwrap_or(0) * 1_000_000;
        let instance = config.instance.clone().unwrap_or_else(instance);
        Ok(Pusher {
            series: Arc::clone(&self.series),
            endpoint: Endpoint::new(&config.endpoint)?,
            identity: Identity { instance, started_at },
            interval: config.interval,
            max_samples: config.endpoint.max_request_points.get(),
            backoff,
            metrics: self.metrics.clone(),
            health,
            last_at: started_at,
        })
    }

    /// The rules for a signal; metrics have none.
    pub fn program(&self, signal: Signal) -> Option<Arc<Program>> {
        match signal {
            Signal::Logs => Some(Arc::clone(&self.logs)),
            Signal::Traces => Some(Arc::clone(&self.traces)),
            Signal::Metrics => None,
        }
    }
}

/// The host's name, and a number: containers of one host may share its name and their process number.
fn instance() -> String {
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let host = if host.trim().is_empty() { "unknown-host" } else { host.trim() };
    format!("{host}-{:08x}", RandomState::new().hash_one(std::process::id()) as u32)
}

#[cfg(test)]
mod tests;
