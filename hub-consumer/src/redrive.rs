//! `hub-consumer redrive`: sends dead letters of logs and traces through the pipeline again, once what was wrong is mended.
//!
//! A letter is stored as the record it was, under its old place in the topic: what is there already is found and not stored
//! twice, and an audit counts the record as stored. What fails again becomes a new letter with a count of its attempts, and of
//! several letters of one record the latest speaks. A run ends at the letters that there were at its beginning, so a record
//! that can never be stored comes back once for each run, and not at all after `--max-attempts`.
//!
//! It works under the lock of [`crate::replay`], as a lease of every insert.
//!
//! Memory: 24 bytes for each letter of the topic, and [`CHUNK_BYTES`] of letters with their blocks.

mod letters;

use std::collections::BTreeMap;

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use service_runtime::{RunArgs, Runtime};
use telemetry_wire::Signal;

use self::letters::{Letter, Letters};
use crate::{
    app::{Hub, table_config},
    audit::{Outcome, Position},
    clickhouse::{ClickHouseConfig, client::Client, insert::InsertClient},
    config::{HubConfig, SignalConfig},
    decode::{LogRows, Rows, SpanRows},
    delivery::{Delivery, pinned::Claim},
    intake,
    intent::Insertion,
    lease::{BootTime, Lease},
    replay,
    sink::{Fragment, Rebuilt, Sink as _, clickhouse::TableSink},
};

/// Letters that are in memory at once.
const CHUNK_BYTES: usize = 16 << 20;

/// What `redrive` is asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RedriveArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub run: RunArgs,
    /// Only this signal: `logs` or `traces`; both when not given.
    #[arg(long, value_parser = crate::audit::stored_signal)]
    pub signal: Option<Signal>,
    /// Only letters with this reason, such as `malformed`, `too_large` or `data`; may be given several times.
    #[arg(long = "reason", value_name = "WORD")]
    pub reasons: Vec<String>,
    /// Only records of this partition of the topic; may be given several times.
    #[arg(long = "partition", value_name = "P")]
    pub partitions: Vec<i32>,
    /// Only letters written at this time or later (RFC 3339 or a UTC date).
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub from: Option<Timestamp>,
    /// Only letters written before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub to: Option<Timestamp>,
    /// Leave out records that have come back so often.
    #[arg(long, value_name = "N", default_value = "5")]
    pub max_attempts: u32,
    /// Say what would be sent, and send nothing.
    #[arg(long)]
    pub dry_run: bool,
    /// Print JSON instead of the table.
    #[arg(long)]
    pub json: bool,
}

fn time(text: &str) -> Result<Timestamp, String> {
    match text.parse::<Position>()? {
        Position::Time(time) => Ok(time),
        Position::Offset(_) => {
            Err("give a time like 2026-01-31T08:00:00Z or a date like 2026-01-31".to_owned())
        }
    }
}

/// What became of the letters with one reason.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Fates {
    /// Records that were chosen.
    pub chosen: u64,
    /// Of them, those that are stored now.
    pub stored: u64,
    /// Those that failed again, and are letters again.
    pub failed: u64,
    /// Those of which the letter has only the head, and that have left the topic.
    pub gone: u64,
    /// Those that have come back too often, and were not tried.
    pub given_up: u64,
}

/// By the reason of the letter.
pub type Summary = BTreeMap<String, Fates>;

/// Redrives and prints the summary.
///
/// # Errors
/// It cannot be done, or not to its end; doing it again is safe.
#[allow(clippy::print_stdout, reason = "the summary is the answer of the command")]
pub async fn run(config: HubConfig, runtime: Runtime, args: &RedriveArgs) -> anyhow::Result<Outcome> {
    let shutdown = runtime.shutdown();
    let redriving = Box::pin(redrive(config, runtime, args));
    let interrupted = "redrive was interrupted; run it again, what is stored is found";
    let summary = shutdown.run_until_cancelled(redriving).await.context(interrupted)??;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&summary).context("write JSON")?);
    } else {
        println!(
            "{:<20}{:>10}{:>10}{:>10}{:>10}{:>10}",
            "reason", "chosen", "stored", "failed", "gone", "given up"
        );
        for (reason, Fates { chosen, stored, failed, gone, given_up }) in &summary {
            println!("{reason:<20}{chosen:>10}{stored:>10}{failed:>10}{gone:>10}{given_up:>10}");
        }
        if args.dry_run {
            println!("nothing was sent");
        }
    }
    let is_done = args.dry_run || summary.values().all(|of| of.failed + of.gone == 0);
    Ok(if is_done { Outcome::Complete } else { Outcome::Incomplete })
}

/// Redrives what is asked for.
///
/// # Errors
/// As [`run`].
pub async fn redrive(config: HubConfig, runtime: Runtime, args: &RedriveArgs) -> anyhow::Result<Summary> {
    let clickhouse = config.clickhouse.clone().context("clickhouse is not configured; set clickhouse.url")?;
    let signals: Vec<SignalConfig> = config
        .signals
        .iter()
        .filter(|of| of.signal != Signal::Metrics && args.signal.is_none_or(|signal| signal == of.signal))
        .cloned()
        .collect();
    let hub = Hub::new(config, runtime)?;
    let client = Client::new(&clickhouse.http).context("set up the ClickHouse client")?;
    let on_cluster = clickhouse.schema.on_cluster();
    let lease = Lease::new(replay::LEASE);
    let all = Box::pin(async {
        let mut summary = Summary::new();
        for signal in &signals {
            let letters = Letters::find(signal, args).await;
            let letters = letters
                .with_context(|| format!("read the dead letters in `{}`", signal.dead_letter_topic))?;
            letters.count_into(&mut summary);
            if args.dry_run {
                continue;
            }
            let (hub, clickhouse, summary) = (&hub, &clickhouse, &mut summary);
            let redriven = match signal.signal {
                Signal::Logs => {
                    let table = &clickhouse.logs_table;
                    Box::pin(redrive_topic::<LogRows>(hub, clickhouse, table, letters, &lease, summary)).await
                }
                Signal::Traces | Signal::Metrics => {
                    let table = &clickhouse.traces_table;
                    Box::pin(redrive_topic::<SpanRows>(hub, clickhouse, table, letters, &lease, summary))
                        .await
                }
            };
            redriven.with_context(|| format!("redrive the dead letters of `{}`", signal.topic))?;
        }
        Ok(summary)
    });
    if args.dry_run {
        return all.await;
    }
    let lock = replay::lock(&client, &clickhouse, &on_cluster).await?;
    lease.prove(BootTime::now());
    let done = tokio::select! {
        done = all => done,
        lost = replay::keep(&lock, &lease) => Err(lost).context("the lock on replays is lost; run it again"),
    };
    lock.release().await.context("give the lock back")?;
    done
}

async fn redrive_topic<R: Rows>(
    hub: &Hub,
    clickhouse: &ClickHouseConfig,
    table: &str,
    mut letters: Letters,
    lease: &Lease,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let signal = letters.signal().clone();
    let cluster = kafka_client::admin::cluster_id(&signal.consumer.connection).await;
    let cluster = cluster.context("ask the brokers for the cluster's id")?;
    let client = InsertClient::new(clickhouse).context("set up the ClickHouse client")?;
    let sink =
        TableSink::<R>::open(client, table_config(&hub.config, clickhouse, &signal, table, cluster)).await;
    let health = hub.runtime.readiness().condition("redrive");
    let delivery = hub.delivery(&signal, sink.context("open the table")?, health);
    while let Some(chunk) = letters.next_chunk(CHUNK_BYTES).await? {
        let mut by_partition: BTreeMap<i32, Vec<Letter>> = BTreeMap::new();
        for letter in chunk {
            match &letter.origin {
                Some(origin) => by_partition.entry(origin.partition).or_default().push(letter),
                None => summary.entry(letter.reason).or_default().gone += 1,
            }
        }
        for mut letters in by_partition.into_values() {
            letters.sort_by_key(|letter| letter.origin.as_ref().map(|origin| origin.offset));
            store(&delivery, &signal, letters, lease, summary).await;
        }
    }
    Ok(())
}

/// Stores letters of one partition, in the order of their offsets, block by block.
async fn store<R: Rows>(
    delivery: &Delivery<TableSink<R>>,
    signal: &SignalConfig,
    letters: Vec<Letter>,
    lease: &Lease,
    summary: &mut Summary,
) {
    let sink = &*delivery.sink;
    let (mut fragments, mut reasons, mut block) = (Vec::new(), BTreeMap::new(), sink.new_block());
    for letter in letters {
        let Letter { reason, origin: Some(origin) } = letter else { continue };
        let headers = origin.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
        let fragment = match intake::protobuf(signal.signal, &origin.value, headers) {
            Ok(value) => Fragment::whole(origin, value),
            Err(unreadable) => {
                let value = origin.value.clone();
                delivery.dead_letter.write_unreadable(&Fragment::whole(origin, value), &unreadable).await;
                summary.entry(reason).or_default().failed += 1;
                continue;
            }
        };
        if !sink.has_room(&block, fragment.value.len()) {
            let full = std::mem::replace(&mut block, sink.new_block());
            deliver(delivery, full, std::mem::take(&mut fragments), &mut reasons, lease, summary).await;
        }
        match sink.add(&mut block, &fragment) {
            Ok(()) => {
                reasons.insert(fragment.origin.offset, reason);
                fragments.push(fragment);
            }
            Err(unreadable) => {
                delivery.dead_letter.write_unreadable(&fragment, &unreadable).await;
                summary.entry(reason).or_default().failed += 1;
            }
        }
    }
    deliver(delivery, block, fragments, &mut reasons, lease, summary).await;
}

/// Stores a block of which the table may have any row, and its halves when something in it is refused.
async fn deliver<R: Rows>(
    delivery: &Delivery<TableSink<R>>,
    block: crate::decode::Block<R>,
    fragments: Vec<Fragment>,
    reasons: &mut BTreeMap<i64, String>,
    lease: &Lease,
    summary: &mut Summary,
) {
    let mut queue = vec![(block, fragments)];
    while let Some((block, fragments)) = queue.pop() {
        if fragments.is_empty() {
            continue;
        }
        let offsets: Vec<i64> = fragments.iter().map(|fragment| fragment.origin.offset).collect();
        let claim = Claim {
            insertion: Insertion::of_unknown_past(),
            rebuilt: Rebuilt::Alike,
            announced_at: u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0),
            lease: lease.clone(),
        };
        let delivered = delivery.deliver_pinned(block, fragments, claim).await;
        if let Some(halves) = delivered.divided {
            for half in halves.into_iter().rev() {
                let mut block = delivery.sink.new_block();
                for fragment in &half {
                    // They were decoded before, by the same decoder.
                    let _ = delivery.sink.add(&mut block, fragment);
                }
                queue.push((block, half));
            }
            continue;
        }
        for offset in offsets {
            let fates = summary.entry(reasons.remove(&offset).unwrap_or_default()).or_default();
            if delivered.dead_lettered.contains(&offset) { fates.failed += 1 } else { fates.stored += 1 }
        }
    }
}
