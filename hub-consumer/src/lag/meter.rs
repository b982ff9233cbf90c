//! Measures the lag of a group from outside: everything is asked of the brokers.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;
use kafka_client::admin::{self, FirstRecords, GroupPlaces, GroupView};
use serde::Serialize;
use tokio::time::{Instant, sleep};

use super::trend::{Rates, Trend};
use crate::{config::SignalConfig, metrics::PartitionLag};

/// Between the two looks that the first rates are worked out from.
const APART: Duration = Duration::from_millis(400);
/// How long the first uncommitted records are waited for.
const READING: Duration = Duration::from_secs(5);

/// The lag of one partition. The gauges `hub_lag_…` of a running hub have the same names.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PartitionState {
    /// The group.
    pub group: String,
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// The group's committed offset; `None` when it has never committed.
    pub committed: Option<i64>,
    /// First offset that the log still has.
    pub log_start: i64,
    /// Offset that the next record will get.
    pub log_end: i64,
    /// Records that are not committed.
    pub records: i64,
    /// About how many bytes they have, by the size of the first ones; `None` when these could not be read in time.
    pub bytes: Option<u64>,
    /// Age of the first of them by the broker's timestamp; 0 without any, `None` when it could not be read in time.
    pub seconds: Option<f64>,
    /// Records a second that came in, over half a minute or as long as it was looked.
    pub records_in: f64,
    /// Records a second that were committed meanwhile.
    pub records_out: f64,
    /// Seconds until there is no lag at these rates; `None` when there is no end to it.
    pub drain_seconds: Option<f64>,
    /// Records between the beginning of the log and the committed offset: when it is 0, retention deletes unread records.
    pub head_room_records: i64,
    /// The member that has the partition.
    pub owner: Option<String>,
    /// What is wrong with it.
    pub state: State,
}

/// What is wrong with a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Nothing.
    Fine,
    /// It is behind, and nothing has been committed for half a minute.
    Stuck,
    /// It is behind, and no member has it.
    Orphaned,
    /// Retention has removed records that the group has not read.
    Overrun,
}

/// Which partitions are looked at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// All.
    All,
    /// Those that no member has.
    Orphans,
}

/// Measures one signal's group again and again.
#[derive(Debug)]
pub struct Meter<'a> {
    config: &'a SignalConfig,
    scope: Scope,
    /// Made by the first look.
    view: Option<GroupView>,
    trends: BTreeMap<i32, Trend>,
}

/// Where the group and the log stand.
#[derive(Debug, Clone, Copy)]
struct Place {
    committed: Option<i64>,
    log_start: i64,
    log_end: i64,
}

impl Place {
    /// Where the group would begin to read.
    fn position(&self) -> i64 {
        self.committed.unwrap_or(self.log_start)
    }

    fn records(&self) -> i64 {
        (self.log_end - self.position()).max(0)
    }
}

impl<'a> Meter<'a> {
    /// Has not looked yet.
    pub fn new(config: &'a SignalConfig, scope: Scope) -> Meter<'a> {
        Meter { config, scope, view: None, trends: BTreeMap::new() }
    }

    /// The lag of every partition in scope. The first look takes a moment longer, so that it has rates.
    ///
    /// # Errors
    /// The brokers do not answer, or the topic does not exist.
    pub async fn look(&mut self) -> anyhow::Result<Vec<PartitionState>> {
        let topic = &self.config.topic;
        let looking = self.look_at_brokers().await;
        looking.with_context(|| {
            format!("ask the brokers about topic `{topic}`; check kafka.brokers and the topic's name")
        })
    }

    async fn look_at_brokers(&mut self) -> anyhow::Result<Vec<PartitionState>> {
        let (connection, topic) = (&self.config.consumer.connection, self.config.topic.as_str());
        let is_first = self.trends.is_empty();
        let view = match &self.view {
            Some(view) => view.clone(),
            None => {
                let view = GroupView::new(connection, &self.config.consumer.group_id, topic)?;
                self.view.insert(view).clone()
            }
        };
        let (mut places, owners) = (places_of(&view).await?, view.owners().await?);
        if self.scope == Scope::Orphans {
            places.retain(|partition, _| !owners.contains_key(partition));
            self.trends.retain(|partition, _| places.contains_key(partition));
        }
        if places.is_empty() {
            return Ok(Vec::new());
        }
        self.note(&places);
        if is_first {
            sleep(APART).await;
            let again = places_of(&view).await?;
            places = again.into_iter().filter(|(partition, _)| places.contains_key(partition)).collect();
            self.note(&places);
        }
        let behind = places.iter().filter(|(_, place)| place.records() > 0);
        let behind: Vec<_> =
            behind.map(|(partition, place)| (*partition, place.position().max(place.log_start))).collect();
        let first = admin::first_records(connection, topic, &behind, READING).await?;
        let states = places.iter().map(|(partition, place)| {
            self.state(*partition, place, first.get(partition), owners.get(partition))
        });
        Ok(states.collect())
    }

    fn note(&mut self, places: &BTreeMap<i32, Place>) {
        let now = Instant::now();
        for (partition, place) in places {
            let trend = self.trends.entry(*partition).or_insert_with(|| Trend::new(now));
            trend.saw(now, place.log_end, place.position());
        }
    }

    fn state(
        &self,
        partition: i32,
        place: &Place,
        first: Option<&FirstRecords>,
        owner: Option<&String>,
    ) -> PartitionState {
        let Place { committed, log_start, log_end } = *place;
        let records = place.records();
        let trend = self.trends.get(&partition);
        let Rates { records_in, records_out } = trend.map(Trend::rates).unwrap_or_default();
        let age = |first: &FirstRecords| {
            (Timestamp::now().as_millisecond() - first.timestamp_ms).max(0) as f64 / 1000.0
        };
        let state = match (records, owner) {
            _ if committed.is_some_and(|at| at < log_start) => State::Overrun,
            (1.., None) => State::Orphaned,
            _ if trend.is_some_and(|trend| trend.is_stuck(Instant::now())) => State::Stuck,
            _ => State::Fine,
        };
        PartitionState {
            group: self.config.consumer.group_id.clone(),
            topic: self.config.topic.clone(),
            partition,
            committed,
            log_start,
            log_end,
            records,
            bytes: if records == 0 {
                Some(0)
            } else {
                first.map(|of| (of.mean_bytes * records as f64) as u64)
            },
            seconds: if records == 0 { Some(0.0) } else { first.map(age) },
            records_in,
            records_out,
            drain_seconds: trend.and_then(Trend::drain_seconds),
            head_room_records: (place.position() - log_start).max(0),
            owner: owner.cloned(),
            state,
        }
    }
}

async fn places_of(view: &GroupView) -> anyhow::Result<BTreeMap<i32, Place>> {
    let GroupPlaces { ends, committed } = view.places().await?;
    let committed: BTreeMap<i32, i64> =
        committed.into_iter().filter_map(|(partition, found)| Some((partition, found?.offset))).collect();
    let place = |end: admin::Watermarks| Place {
        committed: committed.get(&end.partition).copied(),
        log_start: end.low,
        log_end: end.high,
    };
    Ok(ends.into_iter().map(|end| (end.partition, place(end))).collect())
}

impl From<&PartitionState> for PartitionLag {
    fn from(of: &PartitionState) -> PartitionLag {
        PartitionLag {
            committed: of.committed,
            log_start: Some(of.log_start),
            log_end: Some(of.log_end),
            seconds: of.seconds,
            bytes: of.bytes,
            drain_seconds: of.drain_seconds,
            is_stuck: of.state == State::Stuck,
            is_orphaned: of.owner.is_none(),
        }
    }
}
