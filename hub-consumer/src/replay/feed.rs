//! Reads the records of a partition that are lacking, and stores them block by block.

use std::{
    collections::VecDeque,
    ops::{Add, AddAssign},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::Context as _;
use bytes::Bytes;
use jiff::Timestamp;
use kafka_client::{OffsetRange, RangeReader, RangeRecord};
use tokio::{sync::mpsc, time::Instant};

use super::READ_AHEAD;
use crate::{
    audit::{Partition, Reading},
    config::SignalConfig,
    decode::Rows,
    delivery::{Delivery, pinned::Claim},
    intake,
    intent::Insertion,
    lease::Lease,
    sink::{Fragment, Origin, Rebuilt, Sink as _, clickhouse::TableSink},
};

/// What a replay has stored.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Stored {
    pub(super) records: u64,
    pub(super) rows: u64,
    pub(super) dead_lettered: u64,
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

/// Rows a second over all partitions of a replay.
#[derive(Debug)]
pub(super) struct Limit {
    rate: Option<u32>,
    /// When the next block may be stored.
    free_at: Mutex<Instant>,
}

impl Limit {
    pub(super) fn new(rate: Option<u32>) -> Limit {
        Limit { rate, free_at: Mutex::new(Instant::now()) }
    }

    /// Waits until these rows may be stored.
    async fn pass(&self, rows: u64) {
        let Some(rate) = self.rate else { return };
        let starts_at = {
            let mut free_at = self.free_at.lock().unwrap_or_else(PoisonError::into_inner);
            let starts_at = (*free_at).max(Instant::now());
            *free_at = starts_at + Duration::from_secs_f64(rows as f64 / f64::from(rate));
            starts_at
        };
        tokio::time::sleep_until(starts_at).await;
    }
}

/// Stores what is lacking of one topic.
pub(super) struct Feed<'a, R: Rows> {
    pub(super) delivery: Delivery<TableSink<R>>,
    pub(super) signal: SignalConfig,
    pub(super) progress: Reading,
    pub(super) limit: &'a Limit,
    pub(super) lease: &'a Lease,
}

impl<R: Rows> Feed<'_, R> {
    /// Stores what a partition lacks.
    pub(super) async fn partition(&self, lacking: &Partition) -> anyhow::Result<Stored> {
        let absent = self.ranges(lacking.partition, &lacking.missing.ranges, false).await?;
        let in_part = self.ranges(lacking.partition, &lacking.incomplete.ranges, true).await?;
        Ok(absent + in_part)
    }

    /// Stores the records of these runs of offsets. Of those that are there `in_part` only the missing rows are inserted.
    async fn ranges(&self, partition: i32, runs: &[[i64; 2]], in_part: bool) -> anyhow::Result<Stored> {
        let (sender, mut records) = mpsc::channel(READ_AHEAD);
        let (signal, runs) = (self.signal.clone(), runs.to_vec());
        let reading = tokio::task::spawn_blocking(move || read(&signal, partition, &runs, &sender));
        let sink = &*self.delivery.sink;
        let (mut stored, mut fragments, mut block) = (Stored::default(), Vec::new(), sink.new_block());
        while let Some(origin) = records.recv().await {
            let origin = Arc::new(origin);
            let headers = origin.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
            let fragment = match intake::protobuf(self.signal.signal, &origin.value, headers) {
                Ok(value) => Fragment::whole(Arc::clone(&origin), value),
                Err(unreadable) => {
                    let fragment = Fragment::whole(Arc::clone(&origin), origin.value.clone());
                    self.delivery.dead_letter.write_unreadable(&fragment, &unreadable).await;
                    stored.dead_lettered += 1;
                    continue;
                }
            };
            if !sink.has_room(&block, fragment.value.len()) {
                let full = std::mem::replace(&mut block, sink.new_block());
                stored += self.store(full, std::mem::take(&mut fragments), in_part).await;
            }
            match sink.add(&mut block, &fragment) {
                Ok(()) => fragments.push(fragment),
                Err(unreadable) => {
                    self.delivery.dead_letter.write_unreadable(&fragment, &unreadable).await;
                    stored.dead_lettered += 1;
                }
            }
        }
        reading.await.context("read the topic")?.context("read the topic")?;
        stored += self.store(block, fragments, in_part).await;
        Ok(stored)
    }

    /// Stores a block as the hub does, and its halves when something in it is refused.
    async fn store(
        &self,
        block: <TableSink<R> as crate::sink::Sink>::Block,
        fragments: Vec<Fragment>,
        in_part: bool,
    ) -> Stored {
        let mut stored = Stored::default();
        let mut queue = VecDeque::from([(block, fragments)]);
        while let Some((block, fragments)) = queue.pop_front() {
            if fragments.is_empty() {
                continue;
            }
            let (records, rows) = (fragments.len() as u64, block.rows() as u64);
            self.limit.pass(rows).await;
            let claim = Claim {
                // Nobody else can have stored what the audit did not find, while the lock is ours.
                insertion: if in_part { Insertion::of_unknown_past() } else { Insertion::new() },
                rebuilt: Rebuilt::Alike,
                announced_at: u64::try_from(Timestamp::now().as_nanosecond()).unwrap_or(0),
                lease: self.lease.clone(),
            };
            let delivered = self.delivery.deliver_pinned(block, fragments, claim).await;
            if let Some(halves) = delivered.divided {
                for half in halves.into_iter().rev() {
                    queue.push_front((self.decoded(&half), half));
                }
                continue;
            }
            let refused = delivered.dead_lettered.len() as u64;
            self.progress.add(records);
            stored += Stored {
                records: records - refused,
                rows: if refused > 0 { 0 } else { rows },
                dead_lettered: refused,
            };
        }
        stored
    }

    fn decoded(&self, fragments: &[Fragment]) -> <TableSink<R> as crate::sink::Sink>::Block {
        let mut block = self.delivery.sink.new_block();
        for fragment in fragments {
            // They were decoded before, by the same decoder.
            let _ = self.delivery.sink.add(&mut block, fragment);
        }
        block
    }
}

/// Sends the records of these runs on. Ends early when nobody takes them any more.
fn read(
    signal: &SignalConfig,
    partition: i32,
    runs: &[[i64; 2]],
    sender: &mpsc::Sender<Origin>,
) -> anyhow::Result<()> {
    let reader = RangeReader::isolated(&signal.consumer.connection, signal.consumer.isolation)?;
    let topic: Arc<str> = signal.topic.as_str().into();
    for [first, last] in runs {
        if sender.is_closed() {
            return Ok(());
        }
        let range = OffsetRange { topic: signal.topic.clone(), partition, from: *first, to: last + 1 };
        reader.read(&range, |record| {
            // Nobody takes them when the replay was ended.
            let _ = sender.blocking_send(origin(&topic, partition, record));
        })?;
    }
    Ok(())
}

pub(crate) fn origin(topic: &Arc<str>, partition: i32, record: &RangeRecord<'_>) -> Origin {
    let headers = record.headers.iter();
    Origin {
        topic: Arc::clone(topic),
        partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key.map(Bytes::copy_from_slice),
        value: Bytes::copy_from_slice(record.value),
        headers: headers.map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value))).collect(),
        credit: None,
    }
}
