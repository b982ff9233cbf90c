//! `mock-service orders`: the way of an order from the gateway to the restaurant's tablet, and the faults that lose it there.
//!
//! ```text
//!   gateway ► order-service ─ charge ─► payment-provider
//!                  │ publish
//!                  ▼
//!            order-broker ► restaurant-service ► tablet
//! ```
//!
//! Five services in one process, each with telemetry, a name and a clock of its own. Whatever fault is on, answers are 201, no
//! record stays in the broker and no processor is busy: those three are what stays green in the incident. What each event, span
//! and metric is called is fixed in `docs/orders.md`, which rules, boards and the reconciler are made from.
//!
//! When it is told to stop it takes no more orders, lets those on their way arrive, and refunds what is left.
//!
//! [`canary`] is a program of its own that orders over HTTP.

pub(crate) mod args;
mod broker;
pub(crate) mod canary;
mod fault;
mod flow;
mod gateway;
mod ledger;
mod metrics;
mod order;
mod service;

use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Context as _;
use opentelemetry::Context;
use rand::SeedableRng as _;
use rand::rngs::StdRng;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep, sleep_until};

pub use self::args::{CanaryArgs, MarketName, Oddities, OrdersArgs, Skew};
use self::broker::Broker;
pub use self::fault::Fault;
use self::fault::Switch;
use self::flow::Flow;
use self::gateway::Gateway;
use self::ledger::Ledger;
use self::metrics::Metrics;
use self::order::Maker;
pub use self::service::Role;
use self::service::Service;
use crate::server;
use crate::telemetry::Telemetry;

/// Time between two heartbeats of a service.
const HEARTBEAT: Duration = Duration::from_secs(5);

/// Time that orders on their way have at the end: the longest way of a healthy one, and some more.
const WIND_UP: Duration = Duration::from_secs(8);
/// Time for what is told late to be told after all.
const LAST_LINES: Duration = Duration::from_millis(200);

/// The services by their role.
#[derive(Debug)]
struct Services([Service; Role::ALL.len()]);

impl Services {
    fn of(&self, role: Role) -> &Service {
        &self.0[role as usize]
    }
}

/// Plays the flow until its time is over or it is told to stop, and says on stderr what became of the telemetry.
pub(crate) fn run(args: &OrdersArgs) -> anyhow::Result<ExitCode> {
    let runtime = crate::runtime()?;
    let telemetry = Telemetry::of_services(&Role::ALL.map(Role::as_str), runtime.handle())?;
    let played = runtime.block_on(play(args, &telemetry));
    // Here, not inside: flushing blocks this thread while the exporters use the runtime. All share one account.
    let report = telemetry.into_iter().filter_map(Telemetry::finish).last();
    if let Some(report) = report {
        crate::complain(&serde_json::to_string(&report).context("encode the export report")?);
    }
    played?;
    Ok(ExitCode::SUCCESS)
}

async fn play(args: &OrdersArgs, telemetry: &[Telemetry]) -> anyhow::Result<()> {
    let stop = crate::termination()?;
    let markets: Arc<[String]> = args.markets.iter().map(|market| market.0.clone()).collect();
    if let Some(market) = &args.fault_market {
        let known = markets.join(", ");
        anyhow::ensure!(
            markets.contains(&market.0),
            "--fault-market names no market of --markets: `{}`; those are {known}",
            market.0
        );
    }
    let candidates = args.listen.candidates();
    let listener = TcpListener::bind(candidates.as_slice())
        .await
        .with_context(|| format!("listen on {candidates:?}"))?;
    let bound = listener.local_addr().context("read the bound address")?;
    let seed = args.seed.unwrap_or_else(rand::random);
    let (broker, consumers) = Broker::new(&markets, args.partitions);
    let broker = Arc::new(broker);
    let (hurry, hurried) = watch::channel(false);
    let service = |role: Role| {
        let seed = seed.wrapping_add(role as u64);
        Service::new(role, &telemetry[role as usize], &args.oddities, seed, hurried.clone())
    };
    let services = Services(Role::ALL.map(service));
    let metrics = Metrics::new(&services, &markets, args.restaurants);
    metrics::observe(&services, &broker, &markets);
    let flow =
        Arc::new(Flow { services, broker, switch: Switch::new(seed), metrics, ledger: Ledger::default() });
    for (market, taken) in consumers {
        tokio::spawn(Arc::clone(&flow).consume(market, taken));
    }
    let draws = StdRng::seed_from_u64(seed);
    let maker =
        Arc::new(Mutex::new(Maker::new(draws, args.restaurants, args.partitions, args.oddities.clone())));
    let gateway =
        Gateway { flow: Arc::clone(&flow), maker: Arc::clone(&maker), markets: Arc::clone(&markets) };
    crate::complain(&format!("orders: seed {seed}, gateway on {}", args.listen.display(bound)));
    let playing = async {
        tokio::select! {
            () = order(&flow, &maker, &markets, args.rate) => {}
            () = beat(&flow) => {}
            () = schedule_fault(args, &flow, &markets) => {}
            () = end(args.duration) => {}
            () = stop => {}
        }
    };
    // Whoever is connected has nothing to lose.
    let _ = server::serve(listener, gateway::router(gateway), playing, || {}).await;
    wind_up(&flow).await;
    hurry.send_replace(true);
    sleep(LAST_LINES).await;
    Ok(())
}

/// What is on its way arrives, and what does not is refunded: a flow that has ended owes nobody.
async fn wind_up(flow: &Flow) {
    let deadline = Instant::now() + WIND_UP;
    while Instant::now() < deadline && !flow.ledger.owed(None, Duration::ZERO).is_empty() {
        sleep(LAST_LINES).await;
    }
    for (order, context) in flow.ledger.unsettled() {
        flow.refund(&order, &context);
    }
}

/// Orders in every market at the rate, for ever.
async fn order(flow: &Arc<Flow>, maker: &Mutex<Maker>, markets: &[String], rate: f64) {
    let mut ticks = interval(Duration::from_secs_f64(1.0 / rate));
    loop {
        ticks.tick().await;
        for market in markets {
            let order = maker.lock().unwrap_or_else(PoisonError::into_inner).order(market);
            let flow = Arc::clone(flow);
            tokio::spawn(async move { flow.place(order, Context::new()).await });
        }
    }
}

async fn beat(flow: &Flow) {
    let mut ticks = interval(HEARTBEAT);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        flow.heartbeat();
        flow.ledger.forget_old_canaries();
    }
}

/// Switches the fault of the command line on and off; never returns.
async fn schedule_fault(args: &OrdersArgs, flow: &Arc<Flow>, markets: &[String]) {
    if let Some(fault) = args.fault {
        let start = Instant::now();
        let hit = |market: &&String| args.fault_market.as_ref().is_none_or(|only| only.0 == **market);
        let set = |share| markets.iter().filter(hit).for_each(|market| flow.set_fault(market, fault, share));
        sleep_until(start + args.fault_at).await;
        set(args.fault_share);
        if let Some(time) = args.fault_for {
            sleep(time).await;
            set(0.0);
        }
    }
    std::future::pending().await
}

async fn end(after: Option<Duration>) {
    match after {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}
