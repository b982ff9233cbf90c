//! One scene: topics, an edge with a spool, senders and a ledger of its own, on brokers that are shared.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use devstack::{Cluster, Door, Link};
use kafka_client::ConnectionConfig;
use kafka_client::admin::{self, TopicSpec};
use telemetry_wire::{Signal, dead_letter_topic};

use super::arena::Arena;
use super::edge::{Edge, EdgeOptions};
use super::ledger::Ledger;
use super::load::{Load, LoadOptions};
use super::outcome::Outcome;
use super::reader::Reader;
use super::verdict::Verdict;
use crate::line::wait_for;

/// Partitions of each topic.
pub const PARTITIONS: i32 = 3;

/// How long everything acked may take to be in the topics once no fault holds it up any more. Generous: it is a promise
/// to recover by itself, not one of speed.
const SETTLE_PATIENCE: Duration = Duration::from_secs(90);

/// What an edge may keep resident whatever happens: 256 MiB of requests, 64 MiB with the producer, three times 16 MiB on
/// their way to the disk, and what code, librdkafka and the allocator take.
const MOST_MEMORY: u64 = 512 << 20;

/// A scene; its edge is killed when it is dropped.
#[derive(Debug)]
pub struct Scene {
    /// The edge under test.
    pub edge: Edge,
    /// What was sent.
    pub ledger: Arc<Ledger>,
    /// The brokers.
    pub cluster: Arc<Cluster>,
    /// Where configuration, log and, unless it is elsewhere, the spool are.
    pub folder: PathBuf,
    /// Steps back in senders' numbers that the oracle saw.
    pub steps_back: u64,
    /// Dead letters by reason that the oracle saw.
    pub reasons: std::collections::HashMap<String, u64>,
    next_sender: AtomicU32,
    readings: u32,
}

impl Scene {
    /// On the arena's one broker, with its topics made.
    ///
    /// # Errors
    /// The broker cannot be had or refuses.
    pub async fn solo(arena: &mut Arena, row: &str) -> Result<Self> {
        let cluster = arena.solo().await?;
        let scene = Self::without_topics(arena, row, cluster)?;
        scene.create_topics(&Signal::ALL, &[]).await?;
        Ok(scene)
    }

    /// On the arena's three brokers, with its topics made.
    ///
    /// # Errors
    /// The brokers cannot be had or refuse.
    pub async fn trio(arena: &mut Arena, row: &str) -> Result<Self> {
        let cluster = arena.trio().await?;
        let scene = Self::without_topics(arena, row, cluster)?;
        scene.create_topics(&Signal::ALL, &[]).await?;
        Ok(scene)
    }

    /// With no topic made.
    ///
    /// # Errors
    /// There is no folder or no port for it.
    pub fn without_topics(arena: &mut Arena, row: &str, cluster: Arc<Cluster>) -> Result<Self> {
        let name = arena.name(row);
        let folder = arena.folder.join(&name);
        std::fs::create_dir_all(&folder).context("make the scene's folder")?;
        let edge = Edge::new(EdgeOptions {
            brokers: cluster.door(0).brokers(),
            spool: Some(folder.join("spool")),
            env: Vec::new(),
            prefix: Vec::new(),
            directory: folder.clone(),
            name,
        })?;
        Ok(Self {
            edge,
            ledger: Arc::default(),
            cluster,
            folder,
            steps_back: 0,
            reasons: std::collections::HashMap::new(),
            next_sender: AtomicU32::new(1),
            readings: 0,
        })
    }

    /// Adds a setting of the edge; for its next start.
    pub fn set(&mut self, variable: &str, value: impl Into<String>) {
        self.edge.options.env.push((variable.to_owned(), value.into()));
    }

    /// Makes the topics of `signals` and their dead-letter topics, with Kafka's topic settings for the first.
    ///
    /// # Errors
    /// The brokers refuse.
    pub async fn create_topics(&self, signals: &[Signal], config: &[(&str, &str)]) -> Result<()> {
        let replication = i32::try_from(self.cluster.servers().len()).unwrap_or(1);
        let mut topics = Vec::new();
        for signal in signals {
            let name = self.edge.topic(*signal);
            let dead = dead_letter_topic(&name);
            topics.push(TopicSpec { replication, ..TopicSpec::new(dead, 1) });
            let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            topics.push(TopicSpec { replication, config, ..TopicSpec::new(name, PARTITIONS) });
        }
        admin::create_topics(&self.connection(), &topics).await.context("create the scene's topics")
    }

    /// Records in a signal's topic now.
    ///
    /// # Errors
    /// The brokers do not answer.
    pub async fn records(&self, signal: Signal) -> Result<i64> {
        let marks = admin::watermarks(&self.connection(), &self.edge.topic(signal)).await?;
        Ok(marks.iter().map(|mark| mark.high - mark.low).sum())
    }

    /// The edge's way to the brokers.
    #[must_use]
    pub fn door(&self) -> &Door {
        self.cluster.door(0)
    }

    /// Starts senders beside those that there may be.
    ///
    /// # Errors
    /// Never in practice.
    pub fn load(&self, options: &LoadOptions) -> Result<Load> {
        let count = u32::try_from(options.senders.len()).unwrap_or(u32::MAX);
        let first = self.next_sender.fetch_add(count, Ordering::Relaxed);
        Ok(Load::start(&self.edge.sender()?, &self.ledger, first, options))
    }

    /// A sender's number that no load uses.
    #[must_use]
    pub fn sender_number(&self) -> u32 {
        self.next_sender.fetch_add(1, Ordering::Relaxed)
    }

    /// Ends the scene: opens the door, waits until everything acked is there and the edge holds nothing back, stops the
    /// edge, reads everything to the end, and adds what the oracle says to `outcome`.
    ///
    /// # Errors
    /// The edge does not run or does not end, or the topics cannot be read.
    pub async fn settle(&mut self, outcome: &mut Outcome) -> Result<()> {
        self.settle_within(SETTLE_PATIENCE, outcome).await
    }

    /// The same with another patience.
    ///
    /// # Errors
    /// Those of [`Scene::settle`].
    pub async fn settle_within(&mut self, patience: Duration, outcome: &mut Outcome) -> Result<()> {
        self.door().set(Link::Open);
        if !self.edge.is_running() {
            self.edge.start().await?;
        }
        let mut reader = self.reader()?;
        let deadline = tokio::time::Instant::now() + patience;
        loop {
            let verdict = Verdict::of(&self.ledger, reader.read_to_the_end().await?);
            let held_back = self.held_back().await?;
            if verdict.lost == 0 && held_back == 0 {
                break;
            }
            if tokio::time::Instant::now() > deadline {
                let text =
                    format!("after {patience:?}: {}, {held_back} records in the spool", verdict.summary());
                outcome.check(held_back == 0, text);
                break;
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
        let peak = self.edge.peak_memory();
        outcome.check(peak <= MOST_MEMORY, format!("{} MiB resident", peak >> 20));
        let status = self.edge.stop().await?;
        outcome.check(status.success(), format!("the edge ends with {status}"));
        self.finish(reader, outcome).await
    }

    /// Waits until the edge says that its spool is empty.
    ///
    /// # Errors
    /// It is not within [`PATIENCE`](crate::process::PATIENCE).
    pub async fn drained(&self) -> Result<()> {
        wait_for("an empty spool", async || {
            let held_back = self.held_back().await?;
            Ok(if held_back == 0 { Ok(()) } else { Err(format!("{held_back} records")) })
        })
        .await
    }

    /// Reads the topics as they are, with no edge running, and adds what the oracle says.
    ///
    /// # Errors
    /// The topics cannot be read.
    pub async fn judge(&mut self, outcome: &mut Outcome) -> Result<()> {
        if self.edge.is_running() {
            bail!("an edge that runs may still publish");
        }
        let reader = self.reader()?;
        self.finish(reader, outcome).await
    }

    /// All segments of the spool, by signal and then oldest first.
    ///
    /// # Errors
    /// There is no spool, or it cannot be listed.
    pub fn segments(&self) -> Result<Vec<PathBuf>> {
        let spool = self.edge.options.spool.as_deref().context("the scene has a spool")?;
        let mut found = Vec::new();
        for signal in Signal::ALL {
            found.extend(segments_in(&spool.join(signal.as_str()))?);
        }
        Ok(found)
    }

    /// Removes them; how many there were. Only while the edge does not run.
    ///
    /// # Errors
    /// One cannot be removed.
    pub fn remove_segments(&self) -> Result<usize> {
        let segments = self.segments()?;
        for segment in &segments {
            std::fs::remove_file(segment).context("remove a segment")?;
        }
        Ok(segments.len())
    }

    async fn finish(&mut self, mut reader: Reader, outcome: &mut Outcome) -> Result<()> {
        reader.read_to_the_end().await?;
        let holdings = reader.close().await;
        let verdict = Verdict::of(&self.ledger, &holdings);
        self.steps_back += holdings.steps_back;
        self.reasons.extend(holdings.reasons);
        if !verdict.is_clean() {
            let (name, log) = (&self.edge.options.name, self.folder.display());
            outcome.note(format!("scene {name}, logs in {log}: {}", verdict.examples.join("; ")));
        }
        outcome.verdict.add(verdict);
        Ok(())
    }

    /// Records in the edge's spool that are not in the topic yet, as it says itself.
    async fn held_back(&self) -> Result<u64> {
        let page = self.edge.metrics().await?;
        let frames = page.sum("edge_spool_pending_records", &[]);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of records")]
        Ok(frames as u64)
    }

    fn reader(&mut self) -> Result<Reader> {
        self.readings += 1;
        let group = format!("{}-oracle-{}", self.edge.options.name, self.readings);
        Reader::start(self.cluster.brokers(), &group, |signal| self.edge.topic(signal))
    }

    /// Past all doors.
    #[must_use]
    pub fn connection(&self) -> ConnectionConfig {
        let brokers: Vec<&str> = self.cluster.brokers().split(',').collect();
        ConnectionConfig::plaintext(&brokers, "e2e")
    }
}

/// The segments of one signal, oldest first; none when the folder is not there yet.
///
/// # Errors
/// The folder cannot be listed.
pub fn segments_in(folder: &Path) -> Result<Vec<PathBuf>> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Ok(Vec::new()) };
    let mut found = Vec::new();
    for entry in entries {
        let path = entry.context("list the spool")?.path();
        if path.extension().is_some_and(|extension| extension == "seg") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
