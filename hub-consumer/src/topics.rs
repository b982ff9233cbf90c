//! `hub-consumer topics`: creates the topics of the configuration, or says how those that are there differ.

use anyhow::{Context as _, ensure};
use kafka_client::{
    ConnectionConfig,
    admin::{self, TopicSpec},
};
use service_runtime::RunArgs;

use crate::{audit::Outcome, config::HubConfig};

/// A year: as long as telemetry is kept to be replayed.
const RETENTION: &str = "31536000000";
/// Records of this size are dead-lettered as a head only; larger ones no edge makes.
const MAX_RECORD: &str = "16777216";

/// What `topics` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct TopicsArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub run: RunArgs,
    /// Partitions of each topic; dead-letter topics have one.
    #[arg(long, value_name = "N", default_value = "12", value_parser = clap::value_parser!(i32).range(1..))]
    pub partitions: i32,
    /// Copies of each partition.
    #[arg(long, value_name = "N", default_value = "3", value_parser = clap::value_parser!(i32).range(1..))]
    pub replication: i32,
    /// A setting of the topics by the broker's names, instead of or beside ours: `retention.ms=604800000`,
    /// `redpanda.remote.write=true`.
    #[arg(long = "set", value_name = "KEY=VALUE", value_parser = setting)]
    pub settings: Vec<(String, String)>,
    /// Say what would be created, and create nothing.
    #[arg(long)]
    pub dry_run: bool,
}

fn setting(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("give KEY=VALUE, such as retention.ms=604800000")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// What was found of a topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// It was not there, and is now, or would be.
    Created,
    /// It is as it should be.
    AsAsked,
    /// It differs: what, and what to do about it.
    Differs(Vec<String>),
}

/// Creates or checks, and prints what was found.
///
/// # Errors
/// The brokers do not answer, or refuse.
#[allow(clippy::print_stdout, reason = "what was found is the answer of the command")]
pub async fn run(config: HubConfig, args: &TopicsArgs) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Complete;
    for (name, found) in apply(&config, args).await? {
        match found {
            Found::Created if args.dry_run => println!("{name}: would be created"),
            Found::Created => println!("{name}: created"),
            Found::AsAsked => println!("{name}: is as it should be"),
            Found::Differs(differences) => {
                outcome = Outcome::Incomplete;
                differences.iter().for_each(|difference| println!("{name}: {difference}"));
            }
        }
    }
    Ok(outcome)
}

/// Creates the topics that are not there, and compares the others.
///
/// # Errors
/// As [`run`].
pub async fn apply(config: &HubConfig, args: &TopicsArgs) -> anyhow::Result<Vec<(String, Found)>> {
    let mut all = Vec::new();
    for signal in &config.signals {
        let connection = &signal.consumer.connection;
        for (name, partitions) in [(&signal.topic, args.partitions), (&signal.dead_letter_topic, 1)] {
            let spec = spec(name, partitions, args);
            all.push((name.clone(), apply_one(connection, spec, args.dry_run).await?));
        }
    }
    Ok(all)
}

fn spec(name: &str, partitions: i32, args: &TopicsArgs) -> TopicSpec {
    let in_sync = (args.replication / 2 + 1).to_string();
    let ours = [
        ("cleanup.policy", "delete"),
        ("retention.ms", RETENTION),
        ("max.message.bytes", MAX_RECORD),
        ("min.insync.replicas", in_sync.as_str()),
    ];
    let mut config: Vec<(String, String)> =
        ours.into_iter().map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    config.retain(|(key, _)| args.settings.iter().all(|(given, _)| given != key));
    config.extend(args.settings.iter().cloned());
    TopicSpec { name: name.to_owned(), partitions, replication: args.replication, config }
}

async fn apply_one(connection: &ConnectionConfig, spec: TopicSpec, dry_run: bool) -> anyhow::Result<Found> {
    let name = spec.name.clone();
    let Ok(ends) = admin::watermarks(connection, &name).await else {
        // Not there, or no answer; the next question tells which.
        let brokers =
            admin::broker_count(connection).await.context("ask the brokers; check kafka.brokers")?;
        ensure!(
            spec.replication as usize <= brokers,
            "topic `{name}` is to have {} copies, and the cluster has {brokers} brokers; start more, or give --replication {brokers}: \
             with fewer copies a record is lost with fewer brokers",
            spec.replication
        );
        if !dry_run {
            let created = admin::create_topics(connection, &[spec]).await;
            created.with_context(|| format!("create topic `{name}`"))?;
        }
        return Ok(Found::Created);
    };
    ensure!(!ends.is_empty(), "topic `{name}` has no partitions");
    let mut differences = Vec::new();
    if ends.len() < spec.partitions as usize {
        differences.push(format!(
            "has {} partitions, not {}; add some with your broker's tool (order is kept by key, within a partition)",
            ends.len(),
            spec.partitions
        ));
    }
    for (key, wanted) in &spec.config {
        let found = admin::topic_setting(connection, &name, key).await;
        match found.with_context(|| format!("ask for the settings of topic `{name}`"))? {
            Some(found) if found != *wanted => {
                differences.push(format!("{key} is {found}, not {wanted}; alter it with your broker's tool, or give --set {key}={found}"));
            }
            _ => {}
        }
    }
    Ok(if differences.is_empty() { Found::AsAsked } else { Found::Differs(differences) })
}
