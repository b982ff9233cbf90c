//! Builds the stages from the configuration, runs them until the shutdown token, and drains them in order: first no more requests,
//! then every request that was taken is settled.

use std::{net::SocketAddr, time::Duration};

use anyhow::Context;
use service_runtime::{Condition, Runtime, http_server};
use tokio::{
    net::TcpListener,
    time::{MissedTickBehavior, interval},
};

use crate::{
    budget::MemoryBudget, config::Config, metrics::Metrics, publisher::Publisher, receiver::Receiver,
};

/// How often readiness follows the state of the broker.
const READINESS_INTERVAL: Duration = Duration::from_millis(500);

/// The edge with its ports bound.
#[derive(Debug)]
pub struct App {
    config: Config,
    runtime: Runtime,
    budget: MemoryBudget,
    publisher: Publisher,
    receiver: Receiver,
    kafka: Condition,
    grpc: TcpListener,
    http: TcpListener,
}

impl App {
    /// Binds the ports and starts the producer; a broker that is down is no error.
    pub async fn build(config: Config, runtime: Runtime) -> anyhow::Result<App> {
        let budget = MemoryBudget::new(config.memory_max_bytes);
        let metrics = runtime.register_metrics(|registry| Metrics::register(registry, &budget));
        let publisher = Publisher::start(&config.publisher, &metrics).context("start the kafka producer")?;
        let receiver = Receiver::new(config.receivers.clone(), budget.clone(), publisher.clone(), metrics);
        let kafka = runtime.readiness().condition("kafka");
        let grpc = bind(config.receivers.grpc_listen).await?;
        let http = bind(config.receivers.http_listen).await?;
        Ok(App { config, runtime, budget, publisher, receiver, kafka, grpc, http })
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
        let App { config, runtime, publisher, receiver, kafka, grpc, http, .. } = self;
        let watching = tokio::spawn(watch_kafka(kafka, publisher.clone()));
        let server = &config.receivers.server;
        let shutdown = runtime.shutdown();
        tokio::join!(
            http_server::serve(grpc, receiver.router(), server, shutdown.clone()),
            http_server::serve(http, receiver.router(), server, shutdown),
        );
        publisher.drain().await;
        watching.abort();
        Ok(())
    }
}

async fn bind(address: SocketAddr) -> anyhow::Result<TcpListener> {
    TcpListener::bind(address).await.with_context(|| format!("listen on {address}"))
}

/// Keeps the condition `kafka` true to what the broker last said; ends with the process.
async fn watch_kafka(condition: Condition, publisher: Publisher) {
    let mut ticks = interval(READINESS_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        match publisher.obstacles().join(", ") {
            obstacles if obstacles.is_empty() => condition.ready(),
            obstacles => condition.not_ready(obstacles),
        }
    }
}
