//! `hub-consumer replay`: brings back what ClickHouse lacks of a range of the topic, and nothing else.
//!
//! 1. Take the lock on replays in the database, which another replay cannot have, and keep it young.
//! 2. Wait until the server works on no insert of the range: one that a killed replay left behind may still come.
//! 3. Audit the range, up to what the group has committed: what lies behind, the running hubs will store.
//! 4. Read the records that are missing, form blocks of them, and store these as a hub does ([`crate::delivery`]): each under a
//!    token of this replay, and read back whenever its outcome is not known. Of a record of which only some rows are there
//!    only the others are inserted.
//! 5. Audit the same range again; that is the result.
//!
//! Killed anywhere, the next replay begins with 1 and finds what the killed one has stored. The lock is the lease of every
//! insert: a replay that was stopped and lost it inserts nothing any more. One that is told to end sees the blocks through that
//! are under way, and gives the lock back.
//!
//! Metrics have no such memory and no lock: see [`metrics`].
//!
//! Memory: that of an audit, [`READ_AHEAD`] records and a block for each of `--parallel` partitions.

pub(crate) mod feed;
pub mod metrics;

use std::{
    ops::{Add, AddAssign},
    time::Duration,
};

use anyhow::{Context as _, bail, ensure};
use futures::{StreamExt as _, stream};
use jiff::Timestamp;
use kafka_client::{IsolationLevel, OffsetRange, RangeReader};
use serde::Serialize;
use service_runtime::Runtime;
use telemetry_wire::Signal;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    app::Hub,
    audit::{self, AuditArgs, Outcome, Partition, Position, Reading, Report, Span},
    clickhouse::{
        ClickHouseConfig,
        client::Client,
        migrate::{
            Migrator,
            lock::{Lock, LockError, Patience, REPLAYS},
        },
    },
    config::{HubConfig, SignalConfig},
    decode::{LogRows, Rows, SpanRows},
    intent::Insertion,
    lease::{BootTime, Lease},
    resend::{self, Limit, Resender, Settled},
    sink::clickhouse::TableSink,
};

/// Records that are read while a block is stored, for each partition.
const READ_AHEAD: usize = 256;
/// How often the lock is made young.
const RENEW: Duration = Duration::from_secs(10);
/// For how long a lock that was seen to be ours lets inserts be sent.
pub(crate) const LEASE: Duration = Duration::from_secs(45);
/// A lock of this age has nobody who makes it young.
const STALE: Duration = Duration::from_secs(120);
/// How often it is asked whether the server still inserts into the range.
const QUIET_LOOK: Duration = Duration::from_millis(500);

/// What `replay` is asked. The range is chosen as for `audit`.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct ReplayArgs {
    /// The range, and where the configuration is.
    #[command(flatten)]
    pub range: AuditArgs,
    /// Say what would be stored, and store nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Store at most so many log records or spans a second.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub rate: Option<u32>,
    /// Partitions that are worked on at once.
    #[arg(long, value_name = "N", default_value = "2", value_parser = clap::value_parser!(u16).range(1..=64))]
    pub parallel: u16,
    /// Store into the tables of this database, which are made if they are not there, instead of the configured one's: a copy
    /// beside the tables in use.
    #[arg(long, value_name = "DATABASE")]
    pub into: Option<String>,
    /// Replay what is left of a range that retention has removed in part.
    #[arg(long)]
    pub allow_gone: bool,
}

/// What a replay did.
#[derive(Debug, Serialize)]
pub struct Replayed {
    /// Whether nothing was to be changed.
    pub dry_run: bool,
    /// Kafka records that were stored.
    pub records: u64,
    /// Log records and spans that these hold, those among them that were there before.
    pub rows: u64,
    /// Kafka records that went to the dead letters.
    pub dead_lettered: u64,
    /// Records that were missing or incomplete before.
    pub lacking_before: u64,
    /// What the audit says now; of a dry run what it says of the range as it is.
    pub audit: Report,
}

/// Replays and prints the result.
///
/// # Errors
/// It cannot be done, or not to its end: what is stored until then is found by the next replay.
pub async fn run(config: HubConfig, runtime: Runtime, args: &ReplayArgs) -> anyhow::Result<Outcome> {
    let is_json = args.range.json;
    if let Some(signal) = args.range.metrics(&config.signals).cloned() {
        let posted = Box::pin(metrics::replay(config, runtime, &signal, args)).await?;
        print(if is_json { json(&posted) } else { posted.to_string() });
        return Ok(if posted.is_complete() { Outcome::Complete } else { Outcome::Incomplete });
    }
    let replayed = Box::pin(replay(config, runtime, args)).await?;
    // What was put aside instead is accounted for, and not stored.
    let is_complete = replayed.audit.complete && replayed.dead_lettered == 0;
    print(if is_json { json(&replayed) } else { text(&replayed) });
    Ok(if is_complete { Outcome::Complete } else { Outcome::Incomplete })
}

/// Replays what is asked for of logs and traces.
///
/// # Errors
/// As [`run`].
pub async fn replay(mut config: HubConfig, runtime: Runtime, args: &ReplayArgs) -> anyhow::Result<Replayed> {
    let clickhouse =
        config.clickhouse.as_mut().context("clickhouse is not configured; set clickhouse.url")?;
    if let Some(database) = &args.into {
        clickhouse.database.clone_from(database);
        if !args.dry_run {
            let migrator = Migrator::new(clickhouse).context("set up the ClickHouse client")?;
            migrator.apply().await.with_context(|| format!("make the tables of {database}"))?;
        }
    }
    let clickhouse = clickhouse.clone();
    let mut ranges = Vec::new();
    for signal in args.range.chosen(&config.signals)? {
        ranges.push((signal.clone(), committed_ranges(signal, args).await?));
    }
    let shutdown = runtime.shutdown();
    if args.dry_run {
        let mut partitions = Vec::new();
        for (signal, spans) in &ranges {
            let auditing = audit::audit_spans(&config, signal, spans, args.range.deep, usize::MAX);
            partitions.extend(Box::pin(unless_told_to_end(&shutdown, auditing)).await?);
        }
        let lacking_before = partitions.iter().map(lacking).sum();
        let audit = Report::new(partitions, args.range.deep);
        return Ok(Replayed { dry_run: true, records: 0, rows: 0, dead_lettered: 0, lacking_before, audit });
    }
    let hub = Hub::new(config, runtime)?;
    let client = Client::new(&clickhouse.http).context("set up the ClickHouse client")?;
    let on_cluster = clickhouse.schema.on_cluster();
    let lock = lock(&client, &clickhouse, &on_cluster).await?;
    let lease = Lease::new(LEASE);
    lease.prove(BootTime::now());
    let done = tokio::select! {
        done = Box::pin(replay_all(&hub, &clickhouse, &ranges, args, &lease)) => done,
        lost = keep(&lock, &lease) => Err(lost).context("the lock on replays is lost; run it again"),
    };
    lock.release().await.context("give the lock back")?;
    done
}

/// The ranges that are asked for, up to what the group has committed: what is not committed is on its way.
async fn committed_ranges(signal: &SignalConfig, args: &ReplayArgs) -> anyhow::Result<Vec<Span>> {
    let mut spans = args.range.spans(signal).await?;
    refuse_gone(signal, &spans, args)?;
    refuse_begun(signal, &spans, args).await?;
    for span in &mut spans {
        span.to = span.to.min(span.committed.unwrap_or(span.log_start)).max(span.from);
    }
    Ok(spans)
}

/// Ends what changes nothing at once when the process is told to end.
async fn unless_told_to_end<T>(
    shutdown: &CancellationToken,
    work: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let done = shutdown.run_until_cancelled(work).await;
    done.context("it was interrupted; run it again, it goes on where this one stopped")?
}

/// The lock on replays in the configured database.
///
/// # Errors
/// A replay is at work, or the server cannot be asked.
pub(crate) async fn lock<'c>(
    client: &'c Client,
    clickhouse: &'c ClickHouseConfig,
    on_cluster: &'c str,
) -> anyhow::Result<Lock<'c>> {
    let patience = Patience { stale_after: STALE, wait: Duration::ZERO };
    let lock = Lock::acquire(client, &clickhouse.database, on_cluster, REPLAYS, patience).await;
    lock.map_err(|error| {
        let context = match &error {
            LockError::Query(_) => "ask ClickHouse (clickhouse.url) for the lock on replays",
            LockError::Held { .. } | LockError::Lost => {
                "another replay is at work in this database, or a redrive; wait for its end"
            }
        };
        anyhow::Error::new(error).context(context)
    })
}

/// Keeps the lock young for as long as it is waited for.
pub(crate) async fn keep(lock: &Lock<'_>, lease: &Lease) -> LockError {
    loop {
        tokio::time::sleep(RENEW).await;
        let since = BootTime::now();
        match lock.renew().await {
            Ok(()) => lease.prove(since),
            Err(LockError::Query(error)) => {
                warn!(%error, "the lock on replays is not renewed; nothing is sent meanwhile")
            }
            Err(lost) => return lost,
        }
    }
}

async fn replay_all(
    hub: &Hub,
    clickhouse: &ClickHouseConfig,
    ranges: &[(SignalConfig, Vec<Span>)],
    args: &ReplayArgs,
    lease: &Lease,
) -> anyhow::Result<Replayed> {
    let limit = Limit::new(args.rate);
    let (mut stored, mut lacking_before, mut after) = (Stored::default(), 0, Vec::new());
    for (signal, spans) in ranges {
        let context = || format!("replay topic `{}`", signal.topic);
        let replayed = match signal.signal {
            Signal::Logs => {
                replay_topic::<LogRows>(hub, clickhouse, signal, spans, args, &limit, lease).await
            }
            Signal::Traces | Signal::Metrics => {
                replay_topic::<SpanRows>(hub, clickhouse, signal, spans, args, &limit, lease).await
            }
        };
        let (of_topic, lacked) = replayed.with_context(context)?;
        stored += of_topic;
        lacking_before += lacked;
        let auditing = audit::audit_spans(&hub.config, signal, spans, args.range.deep, 10);
        let audited = unless_told_to_end(&hub.runtime.shutdown(), auditing).await;
        after.extend(audited.with_context(context)?);
    }
    let Stored { records, rows, dead_lettered } = stored;
    let audit = Report::new(after, args.range.deep);
    Ok(Replayed { dry_run: false, records, rows, dead_lettered, lacking_before, audit })
}

/// Replays one topic; what was stored, and how many records were lacking.
async fn replay_topic<R: Rows>(
    hub: &Hub,
    clickhouse: &ClickHouseConfig,
    signal: &SignalConfig,
    spans: &[Span],
    args: &ReplayArgs,
    limit: &Limit,
    lease: &Lease,
) -> anyhow::Result<(Stored, u64)> {
    let sink = resend::open_table::<R>(hub, clickhouse, signal).await?;
    let shutdown = hub.runtime.shutdown();
    for span in spans.iter().filter(|span| span.from < span.to) {
        let offsets = span.from..=span.to - 1;
        while sink
            .is_inserting(&signal.topic, span.partition, offsets.clone())
            .await
            .context("ask ClickHouse")?
        {
            info!(partition = span.partition, "the server still works on an insert of the range");
            unless_told_to_end(&shutdown, async {
                tokio::time::sleep(QUIET_LOOK).await;
                Ok(())
            })
            .await?;
        }
    }
    let auditing = audit::audit_spans(&hub.config, signal, spans, args.range.deep, usize::MAX);
    let before = unless_told_to_end(&shutdown, auditing).await?;
    let lacked: u64 = before.iter().map(lacking).sum();
    let health = hub.runtime.readiness().condition("replay");
    let resender = Resender {
        delivery: hub.delivery(signal, sink, health),
        signal: signal.signal,
        limit,
        lease,
        shutdown,
    };
    let progress = Reading::new(&signal.topic, "stored", lacked);
    // All are seen through, also when one of them ends early: an insert that is cut off might still come to the table.
    let stored: Vec<anyhow::Result<Stored>> =
        stream::iter(before.iter().filter(|partition| lacking(partition) > 0))
            .map(|partition| store(&resender, signal, partition, &progress))
            .buffer_unordered(usize::from(args.parallel))
            .collect()
            .await;
    let stored = stored.into_iter().try_fold(Stored::default(), |sum, more| anyhow::Ok(sum + more?))?;
    progress.end();
    Ok((stored, lacked))
}

/// What a replay has stored.
#[derive(Debug, Clone, Copy, Default)]
struct Stored {
    records: u64,
    rows: u64,
    dead_lettered: u64,
}

impl Add for Stored {
    type Output = Stored;

    fn add(self, more: Stored) -> Stored {
        Stored {
            records: self.records + more.records,
            rows: self.rows + more.rows,
            dead_lettered: self.dead_lettered + more.dead_lettered,
        }
    }
}

impl AddAssign for Stored {
    fn add_assign(&mut self, more: Stored) {
        *self = *self + more;
    }
}

/// Stores what a partition lacks.
async fn store<R: Rows>(
    resender: &Resender<'_, TableSink<R>>,
    signal: &SignalConfig,
    lacking: &Partition,
    progress: &Reading,
) -> anyhow::Result<Stored> {
    let mut stored = Stored::default();
    // Nobody else can have stored what the audit did not find, while the lock is ours.
    let absent = (&lacking.missing.ranges, Insertion::new());
    let in_part = (&lacking.incomplete.ranges, Insertion::of_unknown_past());
    for (runs, past) in [absent, in_part] {
        let settled = |settled: Settled| {
            let (records, refused) = (settled.stored.len() as u64, settled.dead_lettered.len() as u64);
            progress.add(records + refused);
            stored += Stored { records, rows: settled.items, dead_lettered: refused };
        };
        feed::resend(resender, signal, lacking.partition, runs, past, settled).await?;
    }
    Ok(stored)
}

fn lacking(partition: &Partition) -> u64 {
    partition.missing.records + partition.incomplete.records
}

/// Offsets that were asked for and are gone are no silent matter.
fn refuse_gone(signal: &SignalConfig, spans: &[Span], args: &ReplayArgs) -> anyhow::Result<()> {
    let gone: Vec<String> = spans
        .iter()
        .filter(|span| span.gone > 0)
        .map(|span| {
            format!("{} of partition {}, which begins at {}", span.gone, span.partition, span.log_start)
        })
        .collect();
    ensure!(
        gone.is_empty() || args.allow_gone,
        "retention has removed offsets that were asked for from topic `{}`: {}; give a later --from, or --allow-gone for what is left",
        signal.topic,
        gone.join("; ")
    );
    Ok(())
}

/// The same for a time: it is not known how many records came before the first that is left, but when that one came is.
async fn refuse_begun(signal: &SignalConfig, spans: &[Span], args: &ReplayArgs) -> anyhow::Result<()> {
    let from = match (args.range.from, args.range.last) {
        (Some(Position::Time(time)), _) => time,
        (None, Some(last)) => Timestamp::now() - last,
        _ => return Ok(()),
    };
    if args.allow_gone {
        return Ok(());
    }
    let cut: Vec<Span> =
        spans.iter().filter(|span| span.log_start > 0 && span.from == span.log_start).copied().collect();
    let (connection, topic) = (signal.consumer.connection.clone(), signal.topic.clone());
    let firsts = tokio::task::spawn_blocking(move || {
        let reader = RangeReader::isolated(&connection, IsolationLevel::ReadCommitted)?;
        let mut firsts = Vec::new();
        for Span { partition, from, .. } in cut {
            let first = OffsetRange { topic: topic.clone(), partition, from, to: from + 1 };
            reader.read(&first, |record| firsts.push((partition, record.timestamp_ms)))?;
        }
        anyhow::Ok(firsts)
    });
    for (partition, timestamp_ms) in firsts.await.context("look at the beginning of the topic")?? {
        let begins = timestamp_ms.and_then(|millis| Timestamp::from_millisecond(millis).ok());
        if let Some(begins) = begins.filter(|begins| *begins > from) {
            bail!(
                "retention has removed what was asked for from topic `{}`: partition {partition} begins at {begins}, {} after {from}; \
                 give a later --from, or --allow-gone for what is left",
                signal.topic,
                humantime::format_duration(Duration::from_secs(
                    u64::try_from(begins.as_second() - from.as_second()).unwrap_or(0)
                ))
            );
        }
    }
    Ok(())
}

fn json(replayed: &impl Serialize) -> String {
    serde_json::to_string_pretty(replayed).expect("plain structures can be written as JSON")
}

fn text(replayed: &Replayed) -> String {
    let Replayed { dry_run, records, rows, dead_lettered, lacking_before, audit } = replayed;
    if *dry_run {
        return format!("{audit}\n\nwould store {lacking_before} records; nothing was changed");
    }
    format!(
        "{audit}\n\n{lacking_before} records were lacking; stored {records} records of {rows} rows, dead-lettered {dead_lettered}"
    )
}

#[allow(clippy::print_stdout, reason = "the result is the answer of the command")]
#[allow(clippy::needless_pass_by_value, reason = "it is at its end")]
fn print(result: String) {
    println!("{result}");
}
