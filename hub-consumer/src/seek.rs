//! `hub-consumer seek`: moves a group to another place in its topic, so that nothing is stored twice by it.
//!
//! Three things make it safe. The broker takes the positions only while the group has no members, so no hub can commit over
//! them. They carry no announcement, so the next owners look up what is stored of everything they read
//! ([`crate::intent`], 7). And no replay may be at work, which stores what it does not find.

use anyhow::{Context as _, bail, ensure};
use kafka_client::{CommitOffset, admin};
use service_runtime::RunArgs;
use telemetry_wire::Signal;

use crate::{
    audit::{AuditArgs, Position},
    clickhouse::client::Client,
    config::HubConfig,
    replay,
};

/// What `seek` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct SeekArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub run: RunArgs,
    /// The signal whose group is moved: `logs`, `traces` or `metrics`.
    #[arg(long, value_parser = crate::lag::command::signal)]
    pub signal: Signal,
    /// Only this partition; may be given several times.
    #[arg(long = "partition", value_name = "P")]
    pub partitions: Vec<i32>,
    /// The offset, or the time (RFC 3339 or a UTC date), of the first record to be read next; `0` is the beginning of what is
    /// left of the log.
    #[arg(long, value_name = "TIME|OFFSET")]
    pub to: Position,
    /// Say what would be done, and do nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// One partition's move.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Move {
    /// The partition.
    pub partition: i32,
    /// Where the group stands; `None` when it has never committed.
    pub from: Option<i64>,
    /// Where it is to stand.
    pub to: i64,
}

/// Moves the group and prints from where to where.
///
/// # Errors
/// The group has members, a replay is at work, or the brokers do not answer; nothing is changed then.
#[allow(clippy::print_stdout, reason = "the moves are the answer of the command")]
pub async fn run(config: HubConfig, args: &SeekArgs) -> anyhow::Result<()> {
    let signal = args.signal;
    for Move { partition, from, to } in seek(config, args).await? {
        let from = from.map_or("nowhere".to_owned(), |offset| offset.to_string());
        let moved = if args.dry_run { "would be moved" } else { "moved" };
        println!("{signal}/{partition}: {moved} from {from} to {to}");
    }
    Ok(())
}

/// Moves the group.
///
/// # Errors
/// As [`run`].
pub async fn seek(config: HubConfig, args: &SeekArgs) -> anyhow::Result<Vec<Move>> {
    let known = config.signals.iter().find(|config| config.signal == args.signal);
    let signal =
        known.with_context(|| format!("signal {} is not enabled in the configuration", args.signal))?;
    let (connection, topic, group) =
        (&signal.consumer.connection, signal.topic.as_str(), signal.consumer.group_id.as_str());
    let unknown =
        || format!("ask the brokers about topic `{topic}`; check kafka.brokers and the topic's name");
    let owners = admin::owners(connection, group, topic).await.with_context(unknown)?;
    if let Some((partition, owner)) = owners.first_key_value() {
        bail!(
            "group `{group}` has members, {owner} reads partition {partition}; stop its hubs first, then seek, then start them"
        );
    }
    let ends = admin::watermarks(connection, topic).await.with_context(unknown)?;
    for wanted in &args.partitions {
        let is_there = ends.iter().any(|end| end.partition == *wanted);
        ensure!(is_there, "topic `{topic}` has no partition {wanted}; it has {}", ends.len());
    }
    let committed = admin::committed(connection, group, topic).await.with_context(unknown)?;
    let wanted = AuditArgs::resolve(signal, Some(args.to), &ends).await?.unwrap_or_default();
    let moves: Vec<Move> = ends
        .iter()
        .filter(|end| args.partitions.is_empty() || args.partitions.contains(&end.partition))
        .map(|end| Move {
            partition: end.partition,
            from: committed
                .iter()
                .find(|(partition, _)| *partition == end.partition)
                .and_then(|(_, found)| Some(found.as_ref()?.offset)),
            to: wanted.get(&end.partition).copied().unwrap_or(end.high).clamp(end.low, end.high),
        })
        .collect();
    if args.dry_run {
        return Ok(moves);
    }
    let positions = moves.iter().map(|of| CommitOffset {
        topic: topic.into(),
        partition: of.partition,
        offset: of.to,
        metadata: String::new(),
    });
    let moving = async {
        let moved = admin::set_committed(connection, group, positions.collect()).await;
        moved.with_context(|| format!("move group `{group}`; is one of its hubs still running?"))
    };
    match config.clickhouse.as_ref().filter(|_| args.signal != Signal::Metrics) {
        Some(clickhouse) => {
            let client = Client::new(&clickhouse.http).context("set up the ClickHouse client")?;
            let on_cluster = clickhouse.schema.on_cluster();
            let lock = replay::lock(&client, clickhouse, &on_cluster).await?;
            let moved = moving.await;
            lock.release().await.context("give the lock back")?;
            moved?;
        }
        None => moving.await?,
    }
    Ok(moves)
}
