//! Builds the stages from the configuration, runs them until the shutdown token, and drains them in order: first no more requests,
//! then every request that was taken is settled.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use service_runtime::{
    Condition, Runtime,
    http_server::{self, Closings},
    liveness::Heartbeat,
};
use tokio::{
    net::TcpListener,
    time::{MissedTickBehavior, interval},
};

use crate::{
    budget::MemoryBudget,
    config::Config,
    filelog::Filelog,
    metrics::Metrics,
    publisher::{Obstacles, Publisher},
    receiver::Receiver,
    spool::Backlogs,
};

/// How often readiness follows the state of broker and spool.
const READINESS_INTERVAL: Duration = Duration::from_millis(500);

/// A runtime in which a task that asks for half a second gets no turn for so long does nothing else either.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// The edge with its ports bound.
#[derive(Debug)]
pub struct App {
    config: Config,
    runtime: Runtime,
    budget: MemoryBudget,
    publisher: Publisher,
    receiver: Receiver,
    condition: Condition,
    filelog: Option<Filelog>,
    closings: Closings,
    grpc: TcpListener,
    http: TcpListener,
}

impl App {
    /// Binds the ports and starts the producer; a broker that is down is no error.
    pub async fn build(config: Config, runtime: Runtime) -> anyhow::Result<App> {
        let budget = MemoryBudget::new(config.memory_max_bytes);
        let metrics = runtime.register_metrics(|registry| Metrics::register(registry, &budget));
        let backlogs = open_spools(&config, &metrics).await?;
        let publisher = Publisher::start(&config.publisher, backlogs, &budget, &metrics, &runtime)?;
        let (filelog_metrics, closings) = (metrics.filelog(), metrics.closings());
        let receiver = Receiver::new(config.receivers.clone(), budget.clone(), publisher.clone(), metrics);
        let condition = runtime.readiness().condition("publisher");
        let max_value_bytes = config.publisher.max_value_bytes();
        let filelog = match &config.filelog {
            Some(filelog) => {
                Some(Filelog::start(filelog, max_value_bytes, &publisher, filelog_metrics, &runtime).await?)
            }
            None => None,
        };
        let grpc = bind(config.receivers.grpc_listen).await?;
        let http = bind(config.receivers.http_listen).await?;
        Ok(App { config, runtime, budget, publisher, receiver, condition, filelog, closings, grpc, http })
    }

    /// Where OTLP/gRPC is served.
    pub fn grpc_address(&self) -> anyhow::Result<SocketAddr> {
        self.grpc.local_addr().context("read the address of the gRPC port")
    }

    /// Where OTLP/HTTP is served.
    pub fn http_address(&self) -> anyhow::Result<SocketAddr> {
        self.http.local_addr().context("read the address of the HTTP port")
    }

    /// The bound on request bytes, to watch.
    pub fn budget(&self) -> MemoryBudget {
        self.budget.clone()
    }

    /// Serves until the shutdown token, then drains.
    pub async fn run(self) -> anyhow::Result<()> {
        tracing::info!(grpc = %self.grpc_address()?, http = %self.http_address()?, "receivers listen");
        let App { config, runtime, publisher, receiver, condition, filelog, closings, grpc, http, .. } = self;
        let heartbeat = runtime.heartbeat("readiness", LONGEST_SILENCE);
        let watching = tokio::spawn(watch_publisher(condition, publisher.clone(), heartbeat));
        let server = &config.receivers.server;
        let shutdown = runtime.shutdown();
        // Each part of the end has a name, told when it is late.
        let serving = runtime.guard("requests of senders");
        tokio::join!(
            http_server::serve_counted(grpc, receiver.router(), server, &closings, shutdown.clone()),
            http_server::serve_counted(http, receiver.router(), server, &closings, shutdown),
        );
        drop(serving);
        if let Some(filelog) = filelog {
            filelog.stop().await;
        }
        let publishing = runtime.guard("records on their way to the brokers");
        publisher.drain().await;
        drop(publishing);
        watching.abort();
        Ok(())
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
}

/// Opens the spools where blocking is allowed: what an active segment holds is read first.
async fn open_spools(config: &Config, metrics: &Metrics) -> anyhow::Result<Backlogs> {
    let (spool, metrics) = (config.spool.clone(), metrics.clone());
    let max_frame_bytes = config.publisher.max_frame_bytes();
    let open = move || Backlogs::open(&spool, max_frame_bytes, &metrics);
    tokio::task::spawn_blocking(open).await.context("open the spools")?
}

/// Keeps the condition `publisher` true to what the broker and the spool last said; ends with the process.
async fn watch_publisher(condition: Condition, publisher: Publisher, heartbeat: Heartbeat) {
    let mut ticks = interval(READINESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        heartbeat.beat();
        let Obstacles { refusing, degrading } = publisher.obstacles();
        match (refusing.is_empty(), degrading.is_empty()) {
            (false, _) => condition.not_ready(refusing.join(", ")),
            (true, false) => condition.degraded(degrading.join(", ")),
            (true, true) => condition.ready(),
        }
    }
}
