//! Builds a pipeline for every enabled signal and sees all of them through to their end.
//!
//! A pipeline joins its group only when its sink has answered once: a member that cannot store anything would hold
//! partitions that another one could. Until then readiness says what is missing, and it keeps trying.
//!
//! Memory of the process: the sum over the enabled signals of what [`crate::pipeline`] states, plus the dead-letter
//! producer's queue, and what [`crate::derive`] states.

use std::{
    error::Error,
    sync::{Arc, atomic::AtomicU64},
    time::Duration,
};

use anyhow::Context as _;
use kafka_client::{
    ConnectionConfig, Consumer, Producer,
    admin::{self, cluster_id},
};
use service_runtime::{Condition, Runtime, backoff::Backoff, error_chain::ErrorChain};
use telemetry_wire::Signal;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;
use tracing::{error, info, warn};

use crate::{
    clickhouse::{
        ClickHouseConfig,
        insert::InsertClient,
        migrate::{Migrator, Plan},
    },
    config::{HubConfig, SignalConfig},
    dead_letter::{DeadLetter, Pace},
    decode::{DecodeSettings, LogRows, Rows, SpanRows},
    delivery::Delivery,
    derive::{Deriving, Pusher, metrics::DeriveMetrics},
    lag::{LagProbe, orphans},
    metrics::{Metrics, SignalMetrics},
    mimir::MimirSink,
    pipeline::{Pipeline, Wiring},
    sink::{
        Sink, Verdict,
        clickhouse::{TableSink, TableSinkConfig},
    },
};

/// A pipeline's loop goes round ten times a second, while it waits for blocks under way too. It stands still only while
/// it leaves the group, for some seconds.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// Reads, stores and commits until shutdown.
///
/// # Errors
/// A pipeline cannot be built, or cannot go on. The others are drained first.
pub async fn run(config: HubConfig, runtime: Runtime) -> anyhow::Result<()> {
    let mut hub = Hub::new(config, runtime.clone())?;
    let ended = CancellationToken::new();
    let pusher = hub.derive()?.map(|pusher| runtime.spawn("derive", pusher.run(ended.clone())));
    let hub = Arc::new(hub);
    let mut pipelines = Vec::new();
    for signal in &hub.config.signals {
        let (hub, signal) = (Arc::clone(&hub), signal.clone());
        pipelines.push(runtime.spawn(signal.signal.as_str(), async move {
            let ended = hub.run_signal(&signal).await;
            // One that cannot go on ends the process: it is started again as a whole, in a known state.
            hub.runtime.shutdown().cancel();
            ended.with_context(|| format!("run the {} pipeline", signal.signal))
        }));
    }
    let mut outcome = Ok(());
    for pipeline in pipelines {
        let ended = pipeline.await.context("a pipeline panicked").flatten();
        outcome = outcome.and(ended);
    }
    // Nothing is counted any more.
    ended.cancel();
    if let Some(pusher) = pusher {
        pusher.await.context("the pusher of derived metrics panicked")?;
    }
    outcome
}

/// Applies the schema, or prints what would be applied.
///
/// # Errors
/// ClickHouse is not configured, or the schema cannot be brought to its version.
pub async fn migrate(
    config: HubConfig,
    runtime: Runtime,
    dry_run: bool,
    rebuild_rollups: bool,
) -> anyhow::Result<()> {
    let clickhouse = config.clickhouse.context("clickhouse is not configured")?;
    let migrator = Migrator::new(&clickhouse).context("set up the ClickHouse client")?;
    if dry_run {
        let plan = migrator.plan().await.context("read the schema's state")?;
        print_plan(&plan);
        return Ok(());
    }
    let applying = migrator.apply();
    let Some(applied) = runtime.shutdown().run_until_cancelled(applying).await else {
        // Every step is recorded by itself, and the lock of a process that is gone expires.
        anyhow::bail!("migration was interrupted; run it again to continue");
    };
    print_applied(&applied.context("apply the schema")?, &clickhouse.database);
    if rebuild_rollups {
        let rebuilding = migrator.rebuild_rollups(print_waiting);
        let Some(rebuilt) = runtime.shutdown().run_until_cancelled(rebuilding).await else {
            anyhow::bail!("interrupted; the server goes on by itself, and running it again waits for it");
        };
        rebuilt.context("rebuild rollups")?;
    }
    Ok(())
}

#[allow(clippy::print_stdout, reason = "what was done is the answer of the command")]
fn print_applied(applied: &Plan, database: &str) {
    for step in &applied.steps {
        println!("applied migration {} ({})", step.version, step.name);
    }
    println!("the schema of database {database} is up to date");
}

#[allow(clippy::print_stdout, reason = "progress of a command that may take long")]
fn print_waiting(parts: u64) {
    println!("{parts} parts wait for their rollup");
}

#[allow(clippy::print_stdout, reason = "the answer to --dry-run is for a person or a file, not for the log")]
fn print_plan(plan: &Plan) {
    println!("{plan}");
}

/// What all pipelines are built from.
pub(crate) struct Hub {
    pub(crate) config: HubConfig,
    pub(crate) runtime: Runtime,
    metrics: Metrics,
    producer: Producer,
    /// What is counted of stored records; only a running hub counts, no command does.
    deriving: Option<Deriving>,
}

impl Hub {
    pub(crate) fn new(config: HubConfig, runtime: Runtime) -> anyhow::Result<Hub> {
        let metrics = runtime.register_metrics(Metrics::register);
        let producer = Producer::new(&config.dead_letter).context("start the dead-letter producer")?;
        Ok(Hub { config, runtime, metrics, producer, deriving: None })
    }

    /// Counts from now on what is configured to be; what pushes the counts.
    fn derive(&mut self) -> anyhow::Result<Option<Pusher>> {
        let Some(config) = &self.config.derive else { return Ok(None) };
        let metrics = self.runtime.register_metrics(DeriveMetrics::register);
        let health = self.runtime.readiness().condition("derive");
        let deriving = Deriving::new(&config.rules, metrics);
        let pusher = deriving.pusher(config, self.config.retry, health);
        self.deriving = Some(deriving);
        pusher.map(Some).context("set up the client of derived metrics")
    }

    async fn run_signal(&self, signal: &SignalConfig) -> anyhow::Result<()> {
        let metrics = self.signal_metrics(signal);
        tokio::select! {
            ended = self.run_pipeline_of(signal) => ended,
            never = orphans::tell(signal, &metrics) => match never {},
        }
    }

    async fn run_pipeline_of(&self, signal: &SignalConfig) -> anyhow::Result<()> {
        match signal.signal {
            Signal::Logs => self.run_table::<LogRows>(signal).await,
            Signal::Traces => self.run_table::<SpanRows>(signal).await,
            Signal::Metrics => self.run_mimir(signal).await,
        }
    }

    async fn run_table<R: Rows>(&self, signal: &SignalConfig) -> anyhow::Result<()> {
        let clickhouse = self.config.clickhouse.as_ref().context("clickhouse is not configured")?;
        let client = InsertClient::new(clickhouse).context("set up the ClickHouse client")?;
        let kafka = self.runtime.readiness().condition(names_of(signal.signal).0);
        let connection = &signal.consumer.connection;
        let ask = || async { cluster_id(connection).await.map_err(|failure| Unavailable::for_now(&failure)) };
        let Some(cluster) = self.keep_trying(ask, &kafka).await else { return Ok(()) };
        let ask = || async { refuse_compacted(connection, &signal.topic).await };
        let Some(()) = self.keep_trying(ask, &kafka).await else { return Ok(()) };
        let derive = self.deriving.as_ref().and_then(|deriving| deriving.program(signal.signal));
        let config = TableSinkConfig { derive, ..table_config(&self.config, clickhouse, signal, cluster) };
        let health = self.runtime.readiness().condition(match signal.signal {
            Signal::Logs => "clickhouse_logs",
            Signal::Traces | Signal::Metrics => "clickhouse_traces",
        });
        let open = || async {
            TableSink::<R>::open(client.clone(), config.clone()).await.map_err(|failure| {
                let cause = ErrorChain(&failure).to_string();
                Unavailable { needs_operator: failure.needs_operator(), cause }
            })
        };
        let Some(sink) = self.keep_trying(open, &health).await else {
            return Ok(());
        };
        health.ready();
        self.run_pipeline(signal, sink, kafka, health).await
    }

    async fn run_mimir(&self, signal: &SignalConfig) -> anyhow::Result<()> {
        let mimir = self.config.mimir.clone().context("mimir is not configured")?;
        let health = self.runtime.readiness().condition("mimir");
        let sink = MimirSink::new(mimir, self.signal_metrics(signal)).context("set up the Mimir client")?;
        let probe = || async {
            match sink.probe().await {
                Verdict::Wait { reason, detail, .. } | Verdict::Unknown { reason, detail } => {
                    Err(Unavailable { needs_operator: false, cause: format!("{reason}: {detail}") })
                }
                Verdict::Alert { reason, detail } => {
                    Err(Unavailable { needs_operator: true, cause: format!("{reason}: {detail}") })
                }
                Verdict::Stored { .. } | Verdict::Divide { .. } | Verdict::Stale => Ok(()),
            }
        };
        let Some(()) = self.keep_trying(probe, &health).await else {
            return Ok(());
        };
        health.ready();
        let kafka = self.runtime.readiness().condition(names_of(signal.signal).0);
        self.run_pipeline(signal, sink, kafka, health).await
    }

    async fn run_pipeline<S: Sink>(
        &self,
        signal: &SignalConfig,
        sink: S,
        kafka_health: Condition,
        sink_health: Condition,
    ) -> anyhow::Result<()> {
        let (_, _, loop_name) = names_of(signal.signal);
        let metrics = self.signal_metrics(signal);
        let delivery = self.delivery(signal, sink, sink_health);
        let (consumer, events) =
            Consumer::start(&signal.consumer, &[&signal.topic]).context("start the consumer")?;
        let pipeline = Pipeline::new(Wiring {
            signal: signal.signal,
            consumer,
            events,
            delivery: Arc::new(delivery),
            lag: LagProbe::new(&signal.topic),
            health: kafka_health,
            heartbeat: self.runtime.heartbeat(loop_name, LONGEST_SILENCE),
            metrics,
            config: self.config.pipeline.clone(),
        });
        info!(signal = %signal.signal, topic = signal.topic, group = signal.consumer.group_id, "pipeline starts");
        pipeline.run(self.runtime.shutdown()).await?;
        Ok(())
    }

    /// What stores blocks of a signal in its sink, or writes them to its dead letters.
    pub(crate) fn delivery<S: Sink>(
        &self,
        signal: &SignalConfig,
        sink: S,
        sink_health: Condition,
    ) -> Delivery<S> {
        let metrics = self.signal_metrics(signal);
        let health = self.runtime.readiness().condition(names_of(signal.signal).1);
        // Nothing is known against the topic until it has to be written.
        health.ready();
        let dead_letter = DeadLetter {
            producer: self.producer.clone(),
            topic: signal.dead_letter_topic.as_str().into(),
            backoff: self.config.retry,
            health,
            metrics: metrics.clone(),
            written: Pace::default(),
            failed: Pace::default(),
        };
        Delivery {
            sink: Arc::new(sink),
            dead_letter,
            slots: Arc::new(Semaphore::new(self.config.pipeline.write_concurrency.get())),
            backoff: self.config.retry,
            health: sink_health,
            metrics,
            stored: AtomicU64::new(0),
        }
    }

    /// Asks until there is an answer, saying why not. `None` when the process is to end before that.
    async fn keep_trying<T, F>(&self, ask: impl Fn() -> F, health: &Condition) -> Option<T>
    where
        F: Future<Output = Result<T, Unavailable>>,
    {
        let shutdown = self.runtime.shutdown();
        let mut backoff = Backoff::new(&self.config.retry);
        let mut attempt: u32 = 0;
        loop {
            attempt += 1;
            let Unavailable { needs_operator, cause } = match shutdown.run_until_cancelled(ask()).await? {
                Ok(answer) => return Some(answer),
                Err(unavailable) => unavailable,
            };
            health.not_ready(if needs_operator { "needs an operator" } else { "does not answer" });
            if attempt.is_power_of_two() {
                if needs_operator {
                    error!(cause, attempt, "an operator is needed before anything is read");
                } else {
                    warn!(cause, attempt, "no answer; nothing is read until there is one");
                }
            }
            if !backoff.wait(&shutdown).await {
                return None;
            }
        }
    }

    pub(crate) fn signal_metrics(&self, signal: &SignalConfig) -> SignalMetrics {
        self.metrics.of(signal.signal)
    }
}

/// What the sink of a signal's table is opened with.
pub(crate) fn table_config(
    config: &HubConfig,
    clickhouse: &ClickHouseConfig,
    signal: &SignalConfig,
    cluster: String,
) -> TableSinkConfig {
    TableSinkConfig {
        table: clickhouse.table_of(signal.signal).to_owned(),
        cluster,
        decode: DecodeSettings {
            topic: signal.topic.clone(),
            retention: clickhouse.retention(),
            max_record_bytes: config.max_record_bytes.as_usize(),
        },
        derive: None,
        limits: config.blocks,
    }
}

/// A server that did not answer as hoped.
struct Unavailable {
    needs_operator: bool,
    cause: String,
}

impl Unavailable {
    fn for_now(failure: &(dyn Error + 'static)) -> Self {
        Unavailable { needs_operator: false, cause: ErrorChain(failure).to_string() }
    }
}

/// A compacted topic loses records between two that were announced together, and nobody could tell that from loss.
async fn refuse_compacted(connection: &ConnectionConfig, topic: &str) -> Result<(), Unavailable> {
    match admin::topic_setting(connection, topic, "cleanup.policy").await {
        Ok(Some(policy)) if policy.contains("compact") => Err(Unavailable {
            needs_operator: true,
            cause: format!(
                "topic `{topic}` is compacted, which removes records; set its cleanup.policy to delete"
            ),
        }),
        Ok(_) => Ok(()),
        // A topic that is not there yet, or settings that may not be read: neither speaks against it.
        Err(failure) => {
            warn!(topic, error = %ErrorChain(&failure), "whether the topic is compacted cannot be asked");
            Ok(())
        }
    }
}

/// Names of the readiness conditions for Kafka and the dead letters, and of the heartbeat.
fn names_of(signal: Signal) -> (&'static str, &'static str, &'static str) {
    match signal {
        Signal::Logs => ("kafka_logs", "dead_letter_logs", "pipeline_logs"),
        Signal::Traces => ("kafka_traces", "dead_letter_traces", "pipeline_traces"),
        Signal::Metrics => ("kafka_metrics", "dead_letter_metrics", "pipeline_metrics"),
    }
}
