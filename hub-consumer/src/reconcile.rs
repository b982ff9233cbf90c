//! `hub-consumer reconcile`: says of every charged order whether its restaurant has it, from what is stored and from nothing else.
//!
//! ```text
//!   log records of the flow (events.rs) ──► orders, each with the events that came (order.rs, book.rs)
//!                                              │ watermark ≥ capture + T
//!                                              ▼
//!                          order_outcomes (table.rs) ──► sums ──► counters, and gauges of what is open (metrics.rs) ──► Mimir
//! ```
//!
//! - **Once.** What is decided is inserted before it is counted, and an order that the table has is not decided again. The counters are
//!   the table's sums: after a restart they go on where they were.
//! - **By the platform's clock.** T counts from when Kafka had the capture. Services' clocks may be wrong by minutes.
//! - **Absence counts only where presence would have been seen.** The watermark is what every service's events are stored up to;
//!   while the pipeline stands still nothing is decided and no age grows.
//! - It reads on behind the last offset of each partition. What a replay stores behind that is read at the next start.
//!
//! What each event and each metric is called is fixed in `docs/orders.md`. One reconciler runs at a time: two would decide no order
//! twice, but tell the same series twice.
//!
//! Memory: about half a kilobyte for each order that is not settled or was settled in the last quarter of an hour, and one page of
//! events.

mod book;
mod events;
mod metrics;
mod order;
mod table;

use std::time::Duration;

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use service_runtime::{RunArgs, Runtime, error_chain::ErrorChain, telemetry::Telemetry};
use tokio::time::{MissedTickBehavior, interval};
use tracing::{info, warn};

pub use self::order::{Outcome, Point};
use self::{
    book::{Book, Rules},
    events::Events,
    metrics::Metrics,
    table::Outcomes,
};
use crate::{SERVICE, clickhouse::client::Client, config::HubConfig};

/// The instance of every reconciler: the next one goes on with the same series.
const INSTANCE: &str = "reconcile";
/// What the names of its metrics begin with.
const PREFIX: &str = "order_";

/// What `reconcile` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct ReconcileArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub run: RunArgs,
    /// Time in which the restaurant's tablet must acknowledge, as in `120s`. An order is decided when it is over.
    #[arg(long, default_value = "120s", value_parser = duration)]
    pub confirm_within: Duration,
    /// Time between two looks at what is stored; each ends with a push.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub every: Duration,
    /// How far back events are read at the start: longer than an order can be scheduled ahead.
    #[arg(long, default_value = "2d", value_parser = duration)]
    pub lookback: Duration,
    /// A service that is silent for so long while others speak is not waited for.
    #[arg(long, default_value = "60s", value_parser = duration)]
    pub silence: Duration,
    /// What of the newest events may still be on their way to the store.
    #[arg(long, default_value = "5s", value_parser = duration)]
    pub grace: Duration,
    /// Look once, push if an endpoint is configured, print the sums, and leave.
    #[arg(long)]
    pub once: bool,
}

fn duration(text: &str) -> Result<Duration, String> {
    let time = humantime::parse_duration(text).ok().filter(|time| !time.is_zero());
    time.ok_or_else(|| "give a time such as `5s`, `2m` or `1d`".to_owned())
}

/// Reconciles until it is told to stop.
///
/// # Errors
/// There is nothing to read from or to push to, or with `--once` a look fails.
pub async fn run(config: HubConfig, runtime: Runtime, args: &ReconcileArgs) -> anyhow::Result<()> {
    ensure!(
        args.lookback > args.confirm_within,
        "--lookback is not longer than --confirm-within: orders would be forgotten before they are decided"
    );
    let mut reconciler = Reconciler::new(&config, args, &runtime)?;
    let telemetry = Telemetry::new(&config.telemetry, &SERVICE, 0, &runtime).context("set up the push")?;
    let mut telemetry = telemetry.map(|telemetry| telemetry.of_command(&SERVICE, INSTANCE, PREFIX));
    if args.once {
        reconciler.look(Timestamp::now()).await?;
        if let Some(telemetry) = &mut telemetry {
            telemetry.push().await.context("push the outcomes")?;
        }
        print(&reconciler.outcomes);
        return Ok(());
    }
    let mut telemetry =
        telemetry.context("there is nowhere to push to; set telemetry.otlp_endpoint, or look --once")?;
    let (shutdown, mut is_failing) = (runtime.shutdown(), false);
    let mut ticks = interval(args.every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while shutdown.run_until_cancelled(ticks.tick()).await.is_some() {
        let Some(looked) = shutdown.run_until_cancelled(reconciler.look(Timestamp::now())).await else {
            break;
        };
        match &looked {
            Err(error) if !is_failing => {
                warn!(error = %ErrorChain(error.as_ref()), "orders cannot be reconciled; trying again");
            }
            Ok(()) if is_failing => info!("orders are reconciled again"),
            Err(_) | Ok(()) => {}
        }
        is_failing = looked.is_err();
        // How long ago the last look ended well is told also while none does. A push that fails is logged where it fails, and
        // the next one brings what it would have.
        if reconciler.has_looked {
            let _ = telemetry.push().await;
        }
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "the sums are the answer of the command")]
fn print(outcomes: &Outcomes) {
    for (sums, orders) in outcomes.sums() {
        println!("{}\t{}\t{}\t{orders}", sums.market, sums.restaurant, sums.outcome.as_str());
    }
}

struct Reconciler {
    events: Events,
    book: Book,
    outcomes: Outcomes,
    metrics: Metrics,
    /// Whether a look has ended well: before it there is nothing to tell.
    has_looked: bool,
}

impl Reconciler {
    fn new(config: &HubConfig, args: &ReconcileArgs, runtime: &Runtime) -> anyhow::Result<Self> {
        let clickhouse =
            config.clickhouse.as_ref().context("ClickHouse is not configured; set clickhouse.url")?;
        let client = Client::new(&clickhouse.http).context("set up the ClickHouse client")?;
        let rules = Rules {
            confirm_within: args.confirm_within,
            silence: args.silence,
            grace: args.grace,
            lookback: args.lookback,
        };
        Ok(Self {
            events: Events::new(client.clone(), clickhouse, args.lookback),
            book: Book::new(rules),
            outcomes: Outcomes::new(client, &clickhouse.database),
            metrics: runtime.register_metrics(Metrics::register),
            has_looked: false,
        })
    }

    /// Reads what is new, decides what is due, and sets the metrics.
    async fn look(&mut self, now: Timestamp) -> anyhow::Result<()> {
        if !self.has_looked {
            self.outcomes.load().await?;
            self.book.owe(self.outcomes.unconfirmed(now, self.book.rules().lookback).await?);
        }
        while let Some(page) = self.events.next_page().await? {
            self.metrics.refused(page.refused);
            page.events.into_iter().for_each(|event| self.book.note(event));
        }
        let due = self.book.due();
        let decided = self.outcomes.known(&due).await?;
        let (known, new): (Vec<_>, Vec<_>) =
            due.into_iter().partition(|due| decided.contains_key(&due.order_id));
        self.outcomes.insert(&new).await?;
        if !known.is_empty() {
            // Somebody else has counted them: an earlier process, or an insert of ours whose answer was lost.
            self.outcomes.load().await?;
        }
        for due in known {
            let outcome = decided.get(&due.order_id).copied().unwrap_or(due.outcome);
            self.book.decided(&due.order_id, outcome);
        }
        let lost = new.iter().filter(|decided| decided.outcome == Outcome::Unconfirmed).count();
        if let Some(example) = new.iter().find(|decided| decided.outcome == Outcome::Unconfirmed) {
            warn!(
                orders = lost,
                of = new.len(),
                example = example.order_id,
                "charged orders are unconfirmed"
            );
        }
        for decided in &new {
            self.book.decided(&decided.order_id, decided.outcome);
        }
        self.book.forget();
        self.metrics.tell(&self.book, &self.outcomes, now);
        self.has_looked = true;
        Ok(())
    }
}
