//! Stores records that were read a second time, block by block: what `replay` and `redrive` have in common.
//!
//! They go the pipeline's way, from the decoder through a block to [`Delivery`], but without a group: nothing is committed, and
//! an insert is sent only while the command's own lease holds. Between two blocks it is looked whether the command is to end.
//!
//! Memory: one block for each [`Batch`], and what its sink makes of it.

use std::{
    collections::VecDeque,
    sync::{Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context as _, ensure};
use jiff::Timestamp;
use kafka_client::admin;
use telemetry_wire::Signal;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::{
    app::{Hub, table_config},
    clickhouse::{ClickHouseConfig, insert::InsertClient},
    config::SignalConfig,
    decode::Rows,
    delivery::{Delivered, Delivery, pinned::Claim},
    intake,
    intent::Insertion,
    lease::Lease,
    sink::{Fragment, Rebuilt, Sink, clickhouse::TableSink},
};

/// Items a second over all partitions of a command, stored in blocks of a second's worth at most.
#[derive(Debug)]
pub(crate) struct Limit {
    rate: Option<u32>,
    /// When the next block may be stored.
    free_at: Mutex<Instant>,
}

impl Limit {
    pub(crate) fn new(rate: Option<u32>) -> Limit {
        Limit { rate, free_at: Mutex::new(Instant::now()) }
    }

    /// Whether these items are a second's worth: more of them at once would be a burst.
    fn is_reached(&self, items: u64) -> bool {
        self.rate.is_some_and(|rate| items >= u64::from(rate))
    }

    /// Waits until so many items may be stored.
    async fn pass(&self, items: u64) {
        let Some(rate) = self.rate else { return };
        let starts_at = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let starts_at = (*free_at).max(Instant::now());
            *free_at = starts_at + Duration::from_secs_f64(items as f64 / f64::from(rate));
            starts_at
        };
        tokio::time::sleep_until(starts_at).await;
    }
}

/// What became of the records of one block.
#[derive(Debug, Default)]
pub(crate) struct Settled {
    /// Items of the block, if all of its records are stored.
    pub(crate) items: u64,
    /// Of every fragment whose record is stored, the offset.
    pub(crate) stored: Vec<i64>,
    /// The same of records that are dead letters, wholly or in part.
    pub(crate) dead_lettered: Vec<i64>,
}

/// Where a command stores the records of one signal.
#[derive(Debug)]
pub(crate) struct Resender<'a, S> {
    pub(crate) delivery: Delivery<S>,
    pub(crate) signal: Signal,
    pub(crate) limit: &'a Limit,
    pub(crate) lease: &'a Lease,
    /// Says that the command is to end.
    pub(crate) shutdown: CancellationToken,
}

impl<S: Sink> Resender<'_, S> {
    /// A batch of records of one partition, of which the sink may have so much.
    pub(crate) fn batch<F: FnMut(Settled)>(&self, past: Insertion, settled: F) -> Batch<'_, S, F> {
        let block = self.delivery.sink.new_block();
        Batch { resender: self, past, block, fragments: Vec::new(), settled }
    }
}

/// Records of one partition on their way, in the order of their offsets.
pub(crate) struct Batch<'r, S: Sink, F> {
    resender: &'r Resender<'r, S>,
    past: Insertion,
    block: S::Block,
    fragments: Vec<Fragment>,
    /// Is told of every block.
    settled: F,
}

impl<S: Sink, F: FnMut(Settled)> Batch<'_, S, F> {
    /// Takes a record, with the bytes as they were read. Stores the block when it is full.
    ///
    /// # Errors
    /// The command is to end; the record is not taken then.
    pub(crate) async fn add(&mut self, mut fragment: Fragment) -> anyhow::Result<()> {
        let Delivery { sink, dead_letter, .. } = &self.resender.delivery;
        let headers = fragment.origin.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
        let decoded = match intake::protobuf(self.resender.signal, &fragment.value, headers) {
            Ok(value) => {
                fragment.value = value;
                let is_enough = self.resender.limit.is_reached(sink.items(&self.block));
                if is_enough || !sink.has_room(&self.block, fragment.value.len()) {
                    self.store().await?;
                }
                sink.add(&mut self.block, &fragment)
            }
            Err(unreadable) => Err(unreadable),
        };
        match decoded {
            Ok(()) => self.fragments.push(fragment),
            Err(unreadable) => {
                dead_letter.write_unreadable(&fragment, &unreadable).await;
                let dead_lettered = vec![fragment.origin.offset];
                (self.settled)(Settled { dead_lettered, ..Settled::default() });
            }
        }
        Ok(())
    }

    /// Stores what is left.
    ///
    /// # Errors
    /// As [`Batch::add`].
    pub(crate) async fn end(mut self) -> anyhow::Result<()> {
        self.store().await
    }

    /// Stores the block as a pipeline does, and its halves when something in it is refused.
    async fn store(&mut self) -> anyhow::Result<()> {
        let sink = &*self.resender.delivery.sink;
        let block = std::mem::replace(&mut self.block, sink.new_block());
        let mut queue = VecDeque::from([(block, std::mem::take(&mut self.fragments))]);
        while let Some((block, fragments)) = queue.pop_front() {
            if fragments.is_empty() {
                continue;
            }
            let items = sink.items(&block);
            self.resender.limit.pass(items).await;
            ensure!(!self.resender.shutdown.is_cancelled(), "it was interrupted");
            let offsets: Vec<i64> = fragments.iter().map(|fragment| fragment.origin.offset).collect();
            let Delivered { dead_lettered, divided, .. } = self.deliver(block, fragments).await;
            if let Some(halves) = divided {
                for half in halves.into_iter().rev() {
                    let mut block = sink.new_block();
                    for fragment in &half {
                        // They were decoded before, by the same decoder.
                        let _ = sink.add(&mut block, fragment);
                    }
                    queue.push_front((block, half));
                }
                continue;
            }
            let items = if dead_lettered.is_empty() { items } else { 0 };
            let (dead_lettered, stored) =
                offsets.into_iter().partition(|offset| dead_lettered.contains(offset));
            (self.settled)(Settled { items, stored, dead_lettered });
        }
        Ok(())
    }

    async fn deliver(&self, block: S::Block, fragments: Vec<Fragment>) -> Delivered<S::Block> {
        let Resender { delivery, lease, .. } = self.resender;
        if delivery.sink.intent(&block).is_none() {
            return delivery.deliver(block, fragments).await;
        }
        let claim = Claim {
            insertion: self.past,
            rebuilt: Rebuilt::Alike,
            announced_at: u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0),
            lease: (*lease).clone(),
        };
        delivery.deliver_pinned(block, fragments, claim).await
    }
}

/// The table of a signal, ready to be inserted into.
pub(crate) async fn open_table<R: Rows>(
    hub: &Hub,
    clickhouse: &ClickHouseConfig,
    signal: &SignalConfig,
) -> anyhow::Result<TableSink<R>> {
    let cluster = admin::cluster_id(&signal.consumer.connection).await;
    let cluster = cluster.context("ask the brokers for the cluster's id; check kafka.brokers")?;
    open_table_in(hub, clickhouse, signal, cluster).await
}

/// The same, when the cluster's id is known or does not matter.
pub(crate) async fn open_table_in<R: Rows>(
    hub: &Hub,
    clickhouse: &ClickHouseConfig,
    signal: &SignalConfig,
    cluster: String,
) -> anyhow::Result<TableSink<R>> {
    let client = InsertClient::new(clickhouse).context("set up the ClickHouse client")?;
    let sink = TableSink::<R>::open(client, table_config(&hub.config, clickhouse, signal, cluster));
    sink.await.context("open the table")
}
