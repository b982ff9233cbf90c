//! `mock-service orders-canary`: places synthetic orders and tells whether the restaurant's tablet acknowledges them.
//!
//! It knows only the gateway's HTTP. An order of a canary is none of the business: nobody cooks it, and no count of orders has it.

use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use anyhow::Context as _;
use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Gauge, MeterProvider as _};
use reqwest::{StatusCode, Url};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::{Instant, interval, sleep};

use super::args::CanaryArgs;
use crate::telemetry::{Signal, Telemetry};

/// Time between two questions for one order.
const LOOK: Duration = Duration::from_secs(1);

/// Why an order is not confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Failure {
    /// The gateway does not take it.
    Refused,
    /// The gateway does not answer.
    Unanswered,
    /// The tablet has not acknowledged in time.
    Unconfirmed,
}

impl Failure {
    const ALL: [Failure; 3] = [Failure::Refused, Failure::Unanswered, Failure::Unconfirmed];

    fn as_str(self) -> &'static str {
        match self {
            Failure::Refused => "refused",
            Failure::Unanswered => "unanswered",
            Failure::Unconfirmed => "unconfirmed",
        }
    }
}

/// Orders until it is told to stop.
pub(crate) fn run(args: &CanaryArgs) -> anyhow::Result<ExitCode> {
    let runtime = crate::runtime()?;
    let telemetry = Telemetry::from_env("order-canary", &[Signal::Metrics], runtime.handle())?;
    let canary = Canary::new(args, &telemetry)?;
    runtime.block_on(async {
        let stop = crate::termination()?;
        tokio::select! {
            () = canary.sing() => {}
            () = stop => {}
        }
        anyhow::Ok(())
    })?;
    if let Some(report) = telemetry.finish() {
        crate::complain(&serde_json::to_string(&report).context("encode the export report")?);
    }
    Ok(ExitCode::SUCCESS)
}

#[derive(Debug, Clone)]
struct Canary {
    http: reqwest::Client,
    target: Url,
    markets: Vec<String>,
    every: Duration,
    confirm_within: Duration,
    placed: Counter<u64>,
    confirmed: Counter<u64>,
    failed: Counter<u64>,
    last_success: Gauge<f64>,
    round_trip: Gauge<f64>,
}

impl Canary {
    fn new(args: &CanaryArgs, telemetry: &Telemetry) -> anyhow::Result<Self> {
        anyhow::ensure!(args.target.has_host(), "the target `{}` names no host", args.target);
        let http = reqwest::Client::builder()
            .timeout(args.timeout)
            .no_proxy()
            .user_agent(concat!("orders-canary/", env!("CARGO_PKG_VERSION")))
            .build()
            .context("build the HTTP client")?;
        let meter = telemetry.meters().meter(env!("CARGO_PKG_NAME"));
        let counter = |name, description| meter.u64_counter(name).with_description(description).build();
        let gauge = |name, description| meter.f64_gauge(name).with_description(description).build();
        Ok(Self {
            http,
            target: args.target.clone(),
            markets: args.markets.iter().map(|market| market.0.clone()).collect(),
            every: args.every,
            confirm_within: args.confirm_within,
            placed: counter("canary_order_placed_total", "Synthetic orders that were sent"),
            confirmed: counter(
                "canary_order_confirmed_total",
                "Synthetic orders that the tablet acknowledged in time",
            ),
            failed: counter("canary_order_failed_total", "The other synthetic orders"),
            last_success: gauge(
                "canary_order_last_success_timestamp_seconds",
                "When a synthetic order was last confirmed",
            ),
            round_trip: gauge("canary_order_round_trip_seconds", "Time of the last one that was confirmed"),
        })
    }

    async fn sing(&self) {
        let mut singing = JoinSet::new();
        for market in &self.markets {
            self.begin(market);
            let (canary, market) = (self.clone(), market.clone());
            singing.spawn(async move { canary.sing_in(market).await });
        }
        while singing.join_next().await.is_some() {}
    }

    fn begin(&self, market: &str) {
        self.placed.add(0, &labels(market));
        self.confirmed.add(0, &labels(market));
        for failure in Failure::ALL {
            self.failed.add(0, &labels_of(market, failure));
        }
    }

    /// An order at every interval, whatever became of those before.
    async fn sing_in(&self, market: String) {
        let mut ticks = interval(self.every);
        loop {
            ticks.tick().await;
            let (canary, market) = (self.clone(), market.clone());
            tokio::spawn(async move { canary.order(&market).await });
        }
    }

    async fn order(&self, market: &str) {
        self.placed.add(1, &labels(market));
        let start = Instant::now();
        match self.confirm(market, start).await {
            Ok(()) => {
                self.confirmed.add(1, &labels(market));
                self.round_trip.record(start.elapsed().as_secs_f64(), &labels(market));
                let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
                self.last_success.record(now.as_secs_f64(), &labels(market));
            }
            Err(failure) => self.failed.add(1, &labels_of(market, failure)),
        }
    }

    async fn confirm(&self, market: &str, start: Instant) -> Result<(), Failure> {
        let base = self.target.as_str().trim_end_matches('/');
        let body = json!({ "market": market, "kind": "canary" }).to_string();
        let answer = self.http.post(format!("{base}/orders")).body(body).send().await;
        let answer = answer.map_err(|_| Failure::Unanswered)?;
        if answer.status() != StatusCode::CREATED {
            return Err(Failure::Refused);
        }
        let text = answer.text().await.map_err(|_| Failure::Unanswered)?;
        let placed: Value = serde_json::from_str(&text).map_err(|_| Failure::Refused)?;
        let url = format!("{base}/orders/{}", placed["order_id"].as_str().ok_or(Failure::Refused)?);
        while start.elapsed() < self.confirm_within {
            sleep(LOOK).await;
            // A question without an answer says nothing about the order.
            let Ok(answer) = self.http.get(&url).send().await else { continue };
            let Ok(text) = answer.text().await else { continue };
            let is_confirmed = |order: &Value| order["status"] == "confirmed";
            if serde_json::from_str(&text).is_ok_and(|order| is_confirmed(&order)) {
                return Ok(());
            }
        }
        Err(Failure::Unconfirmed)
    }
}

fn labels(market: &str) -> [KeyValue; 1] {
    [KeyValue::new("market", market.to_owned())]
}

fn labels_of(market: &str, failure: Failure) -> [KeyValue; 2] {
    [KeyValue::new("market", market.to_owned()), KeyValue::new("reason", failure.as_str())]
}
