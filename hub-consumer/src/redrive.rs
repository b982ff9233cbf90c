//! `hub-consumer redrive`: sends dead letters through the pipeline again, once what was wrong is mended.
//!
//! A letter is stored as the record it was, under its old place in the topic: what is there already is found and not stored
//! twice, and an audit counts the record as stored. A sample that Mimir has it takes again without a word. What fails again
//! becomes a new letter with a count of its attempts. Then a note in the dead-letter topic says that the old letters were sent
//! ([`crate::dead_letter::DeadLetter::write_redriven`]): no later run sends them, and no audit takes them for an excuse.
//! A run ends at the letters that there were at its beginning, so a record that can never be stored comes back once for each
//! run, and not at all after `--max-attempts`. Killed before the note, it sends them once more, and finds what is stored.
//!
//! Of logs and traces it works under the lock of [`crate::replay`], as a lease of every insert.
//!
//! Memory: 24 bytes for each letter of the topic, and [`CHUNK_BYTES`] of letters with their blocks.

mod letters;

use std::collections::{BTreeMap, VecDeque};

use anyhow::Context as _;
use jiff::Timestamp;
use serde::Serialize;
use service_runtime::{RunArgs, Runtime};
use telemetry_wire::Signal;

use self::letters::{Letter, Letters};
use crate::{
    app::Hub,
    audit::{LetterPlace, Outcome, Position},
    clickhouse::client::Client,
    config::{HubConfig, SignalConfig},
    dead_letter::Place,
    decode::{LogRows, SpanRows},
    intent::Insertion,
    lease::{BootTime, Lease},
    mimir::MimirSink,
    replay,
    resend::{self, Limit, Resender, Settled},
    sink::{Fragment, Sink},
};

/// Letters that are in memory at once.
const CHUNK_BYTES: usize = 16 << 20;

/// What `redrive` is asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct RedriveArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub run: RunArgs,
    /// Only this signal: `logs`, `traces` or `metrics`; all when not given.
    #[arg(long, value_parser = crate::lag::command::signal)]
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
    /// Those that have come back too often, and were not tried; they are in no table.
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
    let summary = Box::pin(redrive(config, runtime, args)).await?;
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
        let given_up: u64 = summary.values().map(|of| of.given_up).sum();
        if given_up > 0 {
            println!(
                "{given_up} records were not sent: they have come back {} times; mend the cause, then give a higher --max-attempts",
                args.max_attempts
            );
        }
        if args.dry_run {
            println!("nothing was sent");
        }
    }
    let is_done = args.dry_run || summary.values().all(|of| of.failed + of.gone + of.given_up == 0);
    Ok(if is_done { Outcome::Complete } else { Outcome::Incomplete })
}

/// Redrives what is asked for.
///
/// # Errors
/// As [`run`].
pub async fn redrive(config: HubConfig, runtime: Runtime, args: &RedriveArgs) -> anyhow::Result<Summary> {
    let chosen = |of: &&SignalConfig| args.signal.is_none_or(|signal| signal == of.signal);
    let signals: Vec<SignalConfig> = config.signals.iter().filter(chosen).cloned().collect();
    let mut summary = Summary::new();
    let mut all = Vec::new();
    for signal in signals {
        let letters = Letters::find(&signal, args).await;
        let letters =
            letters.with_context(|| format!("read the dead letters in `{}`", signal.dead_letter_topic))?;
        letters.count_into(&mut summary);
        all.push((signal, letters));
    }
    if args.dry_run {
        return Ok(summary);
    }
    let (metrics, rows): (Vec<_>, Vec<_>) =
        all.into_iter().partition(|(signal, _)| signal.signal == Signal::Metrics);
    let hub = Hub::new(config, runtime)?;
    if !rows.is_empty() {
        redrive_rows(&hub, rows, &mut summary).await?;
    }
    for (signal, letters) in metrics {
        let mimir = hub.config.mimir.clone().context("mimir is not configured; set mimir.url")?;
        let sink = MimirSink::new(mimir, hub.signal_metrics(&signal)).context("set up the Mimir client")?;
        // Samples need no lock: sent twice, they are there once.
        redrive_topic(&hub, &signal, sink, letters, &Lease::new(replay::LEASE), &mut summary).await?;
    }
    Ok(summary)
}

/// Redrives logs and traces, while nobody else replays.
async fn redrive_rows(
    hub: &Hub,
    all: Vec<(SignalConfig, Letters)>,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let clickhouse = hub.config.clickhouse.as_ref();
    let clickhouse = clickhouse.context("clickhouse is not configured; set clickhouse.url")?;
    let client = Client::new(&clickhouse.http).context("set up the ClickHouse client")?;
    let on_cluster = clickhouse.schema.on_cluster();
    let lock = replay::lock(&client, clickhouse, &on_cluster).await?;
    let lease = Lease::new(replay::LEASE);
    lease.prove(BootTime::now());
    let redriving = Box::pin(async {
        for (signal, letters) in all {
            if signal.signal == Signal::Logs {
                let sink = resend::open_table::<LogRows>(hub, clickhouse, &signal).await?;
                Box::pin(redrive_topic(hub, &signal, sink, letters, &lease, summary)).await?;
            } else {
                let sink = resend::open_table::<SpanRows>(hub, clickhouse, &signal).await?;
                Box::pin(redrive_topic(hub, &signal, sink, letters, &lease, summary)).await?;
            }
        }
        Ok(())
    });
    let done = tokio::select! {
        done = redriving => done,
        lost = replay::keep(&lock, &lease) => Err(lost).context("the lock on replays is lost; run it again"),
    };
    lock.release().await.context("give the lock back")?;
    done
}

async fn redrive_topic<S: Sink>(
    hub: &Hub,
    signal: &SignalConfig,
    sink: S,
    mut letters: Letters,
    lease: &Lease,
    summary: &mut Summary,
) -> anyhow::Result<()> {
    let (health, limit) = (hub.runtime.readiness().condition("redrive"), Limit::new(None));
    let resender = Resender {
        delivery: hub.delivery(signal, sink, health),
        signal: signal.signal,
        limit: &limit,
        lease,
        shutdown: hub.runtime.shutdown(),
    };
    let context = || format!("redrive the dead letters of `{}`", signal.topic);
    while let Some(chunk) = letters.next_chunk(CHUNK_BYTES).await.with_context(context)? {
        let mut by_partition: BTreeMap<i32, Vec<Sent>> = BTreeMap::new();
        for Letter { reason, record, places } in chunk {
            match record {
                Some(record) => by_partition.entry(record.origin.partition).or_default().push(Sent {
                    record,
                    reason,
                    places,
                }),
                None => summary.entry(reason).or_default().gone += 1,
            }
        }
        for (partition, mut letters) in by_partition {
            letters.sort_by_key(|of| of.record.origin.offset);
            let settled = store(&resender, letters, summary).await.with_context(context)?;
            for (offset, letters) in settled {
                let place = Place { topic: &signal.topic, partition, offset };
                let noting = resender.delivery.dead_letter.write_redriven(place, &letters);
                noting.await.context("note that dead letters were sent; run it again")?;
            }
        }
    }
    Ok(())
}

/// A letter on its way.
struct Sent {
    record: Fragment,
    reason: String,
    places: Vec<LetterPlace>,
}

/// Stores letters of one partition, in the order of their offsets. The sink may have any of their items. Gives the letters
/// whose outcome is known, by the offset of their record.
async fn store<S: Sink>(
    resender: &Resender<'_, S>,
    letters: Vec<Sent>,
    summary: &mut Summary,
) -> anyhow::Result<Vec<(i64, Vec<LetterPlace>)>> {
    // A record of metrics may have several letters, each with a part of it.
    let mut on_their_way: BTreeMap<i64, VecDeque<(String, Vec<LetterPlace>)>> = BTreeMap::new();
    let mut records = Vec::with_capacity(letters.len());
    for Sent { record, reason, places } in letters {
        on_their_way.entry(record.origin.offset).or_default().push_back((reason, places));
        records.push(record);
    }
    let mut settled = Vec::new();
    let mut batch =
        resender.batch(Insertion::of_unknown_past(), |Settled { stored, dead_lettered, .. }| {
            let stored = stored.into_iter().map(|offset| (offset, true));
            for (offset, is_stored) in stored.chain(dead_lettered.into_iter().map(|offset| (offset, false))) {
                let of_record = on_their_way.get_mut(&offset);
                let (reason, places) = of_record.and_then(VecDeque::pop_front).unwrap_or_default();
                let fates = summary.entry(reason).or_default();
                *if is_stored { &mut fates.stored } else { &mut fates.failed } += 1;
                settled.push((offset, places));
            }
        });
    for record in records {
        batch.add(record).await?;
    }
    batch.end().await?;
    Ok(settled)
}
