//! A line with several hubs under load, and the judgement of what its stores hold.
//!
//! The judge is the table itself, by the id that every item bears, and `hub-consumer audit`, which has to find nothing.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use devstack::{Endpoints, Part, Proxy, Server, Stack, StackOptions};
use kafka_client::{OffsetRange, OutgoingRecord, Producer, ProducerConfig, RangeReader, Watermarks, admin};
use telemetry_wire::{Signal, dead_letter_topic, headers::dead_letter};

use super::arena::Arena;
use super::ledger::Ledger;
use super::load::{Load, LoadOptions};
use super::outcome::Outcome;
use crate::pages::{Pages, RULES};
use crate::process::{PATIENCE, Program};
use crate::{Line, LineOptions};

/// Members of the groups.
pub const MEMBERS: usize = 3;
/// The shortest that brokers allow without being asked.
pub const SESSION_TIMEOUT: Duration = Duration::from_secs(6);
/// After hundreds of deaths a group waits for the rebalance timeouts of members that are gone, one after the other.
const SETTLING: Duration = Duration::from_secs(240);
/// How often edge and hubs push their own metrics in rows that wait for a page.
const OWN_METRICS: Duration = Duration::from_secs(2);
/// How long an insert may take.
pub const INSERT_TIMEOUT: Duration = Duration::from_secs(5);

/// A line with several hubs, under load.
#[derive(Debug)]
pub struct Hubs {
    /// Its own hub is stopped; the members are.
    pub line: Line,
    /// ClickHouse and Mimir, this scene's own.
    pub stores: Stack,
    /// Between all of us and ClickHouse.
    pub door: Proxy,
    /// The hubs.
    pub members: Vec<Program>,
    /// What was sent.
    pub ledger: Arc<Ledger>,
    load: Option<Load>,
    loads: u32,
    seed: u64,
}

impl Hubs {
    /// Three members and a load of all signals.
    ///
    /// # Errors
    /// Something cannot be started.
    pub async fn start(arena: &mut Arena, row: &str) -> Result<Hubs> {
        let mut hubs = Self::idle(arena, row).await?;
        hubs.start_members()?;
        hubs.resume().await?;
        Ok(hubs)
    }

    /// The same without members and without load.
    ///
    /// # Errors
    /// Something cannot be started.
    pub async fn idle(arena: &mut Arena, row: &str) -> Result<Hubs> {
        Self::set_up(arena, row, None).await
    }

    /// The same with the shipped rules in Mimir, which page to this webhook by what edge and hubs push of themselves.
    ///
    /// # Errors
    /// Something cannot be started.
    pub async fn paging(arena: &mut Arena, row: &str, pages: &Pages) -> Result<Hubs> {
        Self::set_up(arena, row, Some(pages)).await
    }

    async fn set_up(arena: &mut Arena, row: &str, pages: Option<&Pages>) -> Result<Hubs> {
        let cluster = arena.solo().await?;
        let options = StackOptions {
            alert_webhook: pages.map(|pages| pages.url().to_owned()),
            ..StackOptions::own(&[Part::Clickhouse, Part::Mimir])
        };
        let stores = tokio::task::spawn_blocking(|| Stack::up(options));
        let stores = stores.await.context("start the stores")?.context("start the stores")?;
        let address = stores.endpoints().clickhouse_url.trim_start_matches("http://").parse();
        let door = Proxy::to(address.context("ClickHouse has an address")?).context("make a door")?;
        let endpoints = Endpoints {
            kafka_brokers: cluster.brokers().to_owned(),
            clickhouse_url: format!("http://{}", door.address()),
            ..stores.endpoints().clone()
        };
        let name = arena.name(row);
        let mut options = LineOptions::new(&name, &arena.folder.join(&name));
        if pages.is_some() {
            options.own_metrics = Some(OWN_METRICS);
            for (file, yaml) in RULES {
                stores.put_mimir_rules(&name, file, yaml).context("give Mimir its rules")?;
            }
        }
        // Many small blocks, so that faults find something under way.
        options.hub_env = vec![
            ("HUB__BLOCKS__MAX_AGE", "50ms".to_owned()),
            ("HUB__KAFKA__CONSUMER__SESSION_TIMEOUT", format!("{}s", SESSION_TIMEOUT.as_secs())),
            ("HUB__CLICKHOUSE__INSERT_TIMEOUT", format!("{}s", INSERT_TIMEOUT.as_secs())),
            // The steps of each block, for rows that strike at one of them.
            ("HUB__LOG__LEVEL", "info,hub_consumer=debug".to_owned()),
        ];
        let mut line = Line::start(&endpoints, options).await?;
        // Its members are started by name, so that each can be killed and come back.
        line.stop_hub().await?;
        let (members, ledger) = (Vec::new(), Arc::new(Ledger::default()));
        Ok(Hubs { line, stores, door, members, ledger, load: None, loads: 0, seed: arena.seed })
    }

    /// Starts the members.
    ///
    /// # Errors
    /// One cannot be started.
    pub fn start_members(&mut self) -> Result<()> {
        self.members =
            (0..MEMBERS).map(|member| self.line.start_member(&name_of(member))).collect::<Result<_>>()?;
        Ok(())
    }

    /// Stops the members in order.
    ///
    /// # Errors
    /// One does not end.
    pub async fn stop_members(&mut self) -> Result<()> {
        for mut member in std::mem::take(&mut self.members) {
            member.stop().await?;
        }
        Ok(())
    }

    /// Kills a member where it is, and starts it again.
    ///
    /// # Errors
    /// It cannot be started.
    pub async fn kill_member(&mut self, member: usize) -> Result<()> {
        self.members[member].kill()?;
        self.members[member].wait().await?;
        self.restart_member(member)
    }

    /// Starts a member that has ended.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn restart_member(&mut self, member: usize) -> Result<()> {
        self.members[member] = self.line.start_member(&name_of(member))?;
        Ok(())
    }

    /// Sends again, after [`Hubs::pause`].
    ///
    /// # Errors
    /// Nothing is acked.
    pub async fn resume(&mut self) -> Result<()> {
        let options = LoadOptions::mixed(self.seed);
        let first = 1 + self.loads * u32::try_from(options.senders.len()).unwrap_or(u32::MAX);
        self.loads += 1;
        let load = Load::start(&self.line.sender()?, &self.ledger, first, &options);
        load.acked(50, PATIENCE).await?;
        self.load = Some(load);
        Ok(())
    }

    /// Sends nothing any more.
    ///
    /// # Errors
    /// A sender failed.
    pub async fn pause(&mut self) -> Result<()> {
        match self.load.take() {
            Some(load) => load.stop().await,
            None => Ok(()),
        }
    }

    /// Waits until so many more items have been acked than now.
    ///
    /// # Errors
    /// They are not.
    pub async fn acked(&self, more: u64) -> Result<()> {
        self.load.as_ref().context("the load runs")?.acked(more, PATIENCE).await
    }

    /// Kills ClickHouse and starts it on what its disk has.
    ///
    /// # Errors
    /// It does not come back.
    pub async fn restart_clickhouse(&self) -> Result<()> {
        on(self.stores.clickhouse(), |server| server.kill().and_then(|()| server.start())).await
    }

    /// Puts records into the topic of a signal, past the edge, and returns their offsets.
    ///
    /// # Errors
    /// The broker does not take one.
    pub async fn produce(&self, signal: Signal, partition: i32, values: &[Vec<u8>]) -> Result<Vec<i64>> {
        let producer =
            Producer::new(&ProducerConfig::new(self.line.connection())).context("make a producer")?;
        let (topic, mut offsets) = (self.line.topic(signal), Vec::new());
        for value in values {
            let record =
                OutgoingRecord { topic: &topic, partition: Some(partition), key: None, value, headers: &[] };
            let sent = producer.send(record).map_err(|refused| anyhow::anyhow!("{refused}"))?;
            offsets.push(sent.await.context("produce a record")?.offset);
        }
        Ok(offsets)
    }

    /// Records of a signal that are in its dead letters, and the letters there are: one may be written twice when its partition
    /// moves before it is committed.
    ///
    /// # Errors
    /// The broker does not answer.
    pub async fn dead_letters(&self, signal: Signal) -> Result<(i64, i64)> {
        let (connection, topic) = (self.line.connection(), dead_letter_topic(&self.line.topic(signal)));
        let ends = admin::watermarks(&connection, &topic).await.context("ask for watermarks")?;
        let reading = tokio::task::spawn_blocking(move || {
            let reader = RangeReader::new(&connection)?;
            let (mut records, mut letters) = (BTreeSet::new(), 0);
            for Watermarks { partition, low, high } in ends {
                let range = OffsetRange { topic: topic.clone(), partition, from: low, to: high };
                reader.read(&range, |letter| {
                    let of = |name| {
                        letter
                            .headers
                            .iter()
                            .find(|(given, _)| *given == name)
                            .map(|(_, value)| value.to_vec())
                    };
                    // A note about letters that were sent again is none itself.
                    if of(dead_letter::REDRIVEN).is_some() {
                        return;
                    }
                    letters += 1;
                    records.insert((of(dead_letter::SOURCE_PARTITION), of(dead_letter::SOURCE_OFFSET)));
                })?;
            }
            anyhow::Ok((i64::try_from(records.len())?, letters))
        });
        reading.await.context("read the dead letters")?
    }

    /// Waits until the groups have committed everything.
    ///
    /// # Errors
    /// They do not.
    pub async fn settled(&self) -> Result<()> {
        let deadline = tokio::time::Instant::now() + SETTLING;
        loop {
            match self.line.uncommitted().await? {
                0 => return Ok(()),
                left if tokio::time::Instant::now() > deadline => {
                    bail!("waited {SETTLING:?} for everything committed: {left} records are not")
                }
                _ => tokio::time::sleep(Duration::from_millis(100)).await,
            }
        }
    }

    /// Ends the load and the edge, lets everything come to rest, looks at the table, and asks the audit.
    ///
    /// # Errors
    /// It does not come to rest, or cannot be looked at.
    pub async fn judge(mut self, mut outcome: Outcome) -> Result<Outcome> {
        self.rest(&mut outcome).await?;
        if let Err(error) = self.line.audit().await {
            outcome.check(false, format!("{error:#}"));
        }
        self.count(&mut outcome).await?;
        Ok(outcome)
    }

    /// The same for a table whose rows are of more than the topic holds, which the audit cannot know.
    ///
    /// # Errors
    /// As [`Hubs::judge`].
    pub async fn judge_by_table(mut self, mut outcome: Outcome) -> Result<Outcome> {
        self.rest(&mut outcome).await?;
        self.count(&mut outcome).await?;
        Ok(outcome)
    }

    async fn rest(&mut self, outcome: &mut Outcome) -> Result<()> {
        self.pause().await?;
        let (counts, words) = (self.ledger.counts(), self.ledger.words());
        outcome.check(counts.unknown + counts.refused == 0, format!("the edge is healthy: {words:?}"));
        self.line.edge.take().context("the edge runs")?.stop().await?;
        self.settled().await
    }

    async fn count(&mut self, outcome: &mut Outcome) -> Result<()> {
        for (signal, table, attributes) in
            [(Signal::Logs, "otel_logs", "LogAttributes"), (Signal::Traces, "otel_traces", "SpanAttributes")]
        {
            let requests = self.ledger.requests();
            let acked: BTreeSet<String> = requests
                .iter()
                .filter(|sent| sent.is_acked() && sent.signal == signal)
                .flat_map(|sent| sent.ids().map(|id| id.to_string()).collect::<Vec<_>>())
                .collect();
            let sql = format!("SELECT {attributes}['fault.id'], count() FROM {table} GROUP BY 1 FORMAT TSV");
            let text = self.line.clickhouse().query(&sql).await?;
            let mut delivered = 0;
            for line in text.lines() {
                let (id, rows) = line.split_once('\t').context("an id and its rows")?;
                delivered += u64::from(acked.contains(id));
                outcome.verdict.doubled += rows.parse::<u64>().context("rows")? - 1;
            }
            outcome.verdict.acked += acked.len() as u64;
            outcome.verdict.delivered += delivered;
            outcome.verdict.lost += acked.len() as u64 - delivered;
        }
        outcome.check(outcome.verdict.acked > 0, "something was acked");
        self.stop_members().await
    }
}

/// The name of a member.
#[must_use]
pub fn name_of(member: usize) -> String {
    format!("member-{member}")
}

/// Does something to a server that takes its time.
///
/// # Errors
/// It fails.
pub async fn on(
    server: &Server,
    act: impl FnOnce(&Server) -> devstack::Result<()> + Send + 'static,
) -> Result<()> {
    let server = server.clone();
    let acted = tokio::task::spawn_blocking(move || act(&server));
    acted.await.context("act on a server")?.context("act on a server")
}
