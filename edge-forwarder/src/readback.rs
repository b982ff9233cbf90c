//! Asks the topics which of this edge's records they have, or what they say of the log files that they hold lines of.
//!
//! A record that was with a producer when that ended, with its process or with its session, is in its topic or it is not, and
//! only the topic knows. So before such a record is sent again, its partition is read from the floor that was noted for it to
//! the end, and every record of this spool in that range is remembered by its number.
//!
//! **Where it ends.** The end that a broker tells is what all replicas have; a record may lie behind it and show later. So a
//! *barrier* is put into the partition, a record without items, and its acknowledgement says that everything before it can be
//! seen. What the dead process or the broken session had given to the network may still be under way; the barrier waits for it,
//! from the first answer of the partition's leader on (`spool.settling`).
//!
//! A tailer asks in the same way after a crash, from the floors of its own checkpoint on: which positions do the records of this
//! spool have that came later?
//!
//! **What is read.** For each partition in question: from the lowest floor of the records in doubt, which is never older than
//! the last note plus the time for which the edge was away, to the barrier. Each offset is read once: a later question extends
//! the range. Headers are kept, values are not. The log line at the end of each reading and `edge_readback_bytes_total` say how
//! much it was.
//!
//! **What cannot be told.** Where retention has passed the floor, a record may have come and gone. It is sent again, and
//! `edge_readback_unverifiable_total` counts the offsets: at least once is what is left then.

use std::{
    collections::{HashMap, HashSet},
    fmt,
    hash::Hash,
    sync::Arc,
    time::Duration,
};

use kafka_client::{
    ConnectionConfig, DeliveryError, LookupError, OffsetRange, OutgoingRecord, Producer, RangeRead,
    RangeReader, RangeRecord, SendError,
};
use telemetry_wire::headers::{Encoding, RecordHeaders};
use thiserror::Error;
use tokio::time::{Instant, sleep};

use crate::{
    metrics::Metrics,
    publisher::{Mark, Origin, RecordId},
};

/// A record in doubt.
#[derive(Debug, Clone)]
pub(crate) struct Doubt {
    /// The topic it was meant for.
    pub(crate) topic: Arc<str>,
    /// The partition it was sent to.
    pub(crate) partition: i32,
    /// It did not land below this.
    pub(crate) floor: i64,
    /// Nothing was sent to the partition for it after this.
    pub(crate) since: Instant,
}

/// A partition cannot be read back now.
#[derive(Debug, Error)]
pub(crate) enum ReadBackError {
    /// It cannot be read.
    #[error("the partition cannot be read")]
    Read(#[from] LookupError),
    /// The producer does not take the barrier.
    #[error("no barrier can be sent")]
    Send(#[from] SendError),
    /// The barrier was not acknowledged.
    #[error("the barrier was not acknowledged")]
    Barrier(#[from] DeliveryError),
    /// The topic is not known any more.
    #[error("the topic is not known")]
    UnknownTopic,
    /// The barrier was acknowledged without its offset.
    #[error("the broker did not say where the barrier lies")]
    NoPlace,
}

/// Reads partitions, and remembers what it found there: one `T` of each record that is of interest.
pub(crate) struct ReadBack<T> {
    connection: ConnectionConfig,
    producer: Producer,
    settling: Duration,
    metrics: Metrics,
    find: Find<T>,
    reader: Option<Arc<RangeReader>>,
    known: HashMap<(Arc<str>, i32), Known<T>>,
}

/// What is of interest in a record with these headers.
type Find<T> = Arc<dyn Fn(RecordHeaders) -> Option<T> + Send + Sync>;

/// A range of a partition that was read.
struct Known<T> {
    from: i64,
    to: i64,
    /// When the last barrier was put, at `to`.
    barrier_at: Instant,
    found: HashSet<T>,
}

impl<T> Known<T> {
    /// Whether a record in doubt was found if it is there.
    fn is_enough_for(&self, doubt: &Doubt) -> bool {
        self.from <= doubt.floor && self.barrier_at >= doubt.since
    }
}

/// How partitions are read back.
#[derive(Debug, Clone)]
pub(crate) struct ReadBackConfig {
    pub(crate) connection: ConnectionConfig,
    /// How long what was sent over a connection that has ended may be under way.
    pub(crate) settling: Duration,
}

impl ReadBack<RecordId> {
    /// For the numbers of the records that may have been through the spool of this mark. `producer` puts the barriers.
    pub(crate) fn of_records(
        config: &ReadBackConfig,
        producer: &Producer,
        metrics: &Metrics,
        mark: Mark,
    ) -> ReadBack<RecordId> {
        let find = move |headers: RecordHeaders| {
            let (incarnation, sequence) = (headers.incarnation?, headers.sequence?);
            let id = RecordId { incarnation, sequence, part: headers.part.unwrap_or_default() };
            mark.is_on(incarnation).then_some(id)
        };
        ReadBack::new(config, producer, metrics, find)
    }

    /// Whether the topic has the record; only records that were looked for can be found.
    pub(crate) fn has(&self, topic: &str, record: &RecordId) -> bool {
        self.known.iter().any(|((name, _), known)| &**name == topic && known.found.contains(record))
    }
}

impl ReadBack<Origin> {
    /// For the positions in log files that records of the spools of these marks have.
    pub(crate) fn of_origins(
        config: &ReadBackConfig,
        producer: &Producer,
        metrics: &Metrics,
        marks: Vec<Mark>,
    ) -> ReadBack<Origin> {
        let find = move |headers: RecordHeaders| {
            let incarnation = headers.incarnation?;
            let (file, position) = (headers.file?.into(), headers.file_position?);
            marks.iter().any(|mark| mark.is_on(incarnation)).then_some(Origin { file, position })
        };
        ReadBack::new(config, producer, metrics, find)
    }

    /// All that was found.
    pub(crate) fn into_found(self) -> impl Iterator<Item = Origin> {
        self.known.into_values().flat_map(|known| known.found)
    }
}

impl<T: Eq + Hash + Send + 'static> ReadBack<T> {
    fn new(
        config: &ReadBackConfig,
        producer: &Producer,
        metrics: &Metrics,
        find: impl Fn(RecordHeaders) -> Option<T> + Send + Sync + 'static,
    ) -> ReadBack<T> {
        ReadBack {
            connection: config.connection.clone(),
            producer: producer.clone(),
            settling: config.settling,
            metrics: metrics.clone(),
            find: Arc::new(find),
            reader: None,
            known: HashMap::new(),
        }
    }

    /// How many partitions a topic has; `None` when there is no such topic.
    ///
    /// # Errors
    /// A broker does not answer.
    pub(crate) async fn partition_count(&mut self, topic: &str) -> Result<Option<i32>, ReadBackError> {
        let (reader, topic) = (self.reader()?, topic.to_owned());
        blocking(move || reader.partition_count(&topic)).await
    }

    /// Reads whatever there is to find of these.
    ///
    /// # Errors
    /// A broker does not answer. What was read stays known; the question may be asked again.
    pub(crate) async fn look_for(&mut self, doubts: &[Doubt]) -> Result<(), ReadBackError> {
        let mut wanted: HashMap<(Arc<str>, i32), Doubt> = HashMap::new();
        for doubt in doubts {
            let of_partition =
                wanted.entry((Arc::clone(&doubt.topic), doubt.partition)).or_insert_with(|| doubt.clone());
            of_partition.floor = of_partition.floor.min(doubt.floor);
            of_partition.since = of_partition.since.max(doubt.since);
        }
        wanted.retain(|place, doubt| !self.known.get(place).is_some_and(|known| known.is_enough_for(doubt)));
        if wanted.is_empty() {
            return Ok(());
        }
        for (topic, partition) in wanted.keys() {
            self.end(topic, *partition).await?;
        }
        sleep(self.settling).await;
        for doubt in wanted.into_values() {
            self.look(doubt).await?;
        }
        Ok(())
    }

    /// Forgets what was found: nothing is in doubt any more.
    pub(crate) fn forget(&mut self) {
        self.known.clear();
        self.reader = None;
    }

    async fn look(&mut self, doubt: Doubt) -> Result<(), ReadBackError> {
        let Doubt { topic, partition, floor, .. } = doubt;
        let barrier_at = Instant::now();
        let end = self.barrier(&topic, partition).await?;
        let place = (topic, partition);
        let (from, to) = self.known.get(&place).map_or((end, end), |known| (known.from, known.to));
        let mut found = HashSet::new();
        // Below what is known, and above it.
        for (from, to) in [(floor, from), (to, end)] {
            if from < to {
                found.extend(self.read(&place, from, to).await?);
            }
        }
        if let Some(known) = self.known.remove(&place) {
            found.extend(known.found);
        }
        self.known.insert(place, Known { from: from.min(floor), to: to.max(end), barrier_at, found });
        Ok(())
    }

    /// Puts a record without items into the partition, and says where it lies: all before it is there to be read.
    async fn barrier(&self, topic: &str, partition: i32) -> Result<i64, ReadBackError> {
        let headers =
            RecordHeaders { item_count: Some(0), encoding: Some(Encoding::OtlpProto), ..Default::default() };
        let headers = headers.encode();
        let headers: Vec<_> = headers.iter().map(|(name, value)| (*name, value.as_slice())).collect();
        let record =
            OutgoingRecord { topic, partition: Some(partition), key: None, value: &[], headers: &headers };
        let delivered = self.producer.send(record)?.await?;
        // A broker that recognises a repetition need not say where the record lies.
        usize::try_from(delivered.offset).map_err(|_| ReadBackError::NoPlace)?;
        Ok(delivered.offset)
    }

    /// The end of a partition's log now.
    async fn end(&mut self, topic: &Arc<str>, partition: i32) -> Result<i64, ReadBackError> {
        let (reader, topic) = (self.reader()?, Arc::clone(topic));
        blocking(move || reader.end(&topic, partition)).await
    }

    async fn read(
        &mut self,
        (topic, partition): &(Arc<str>, i32),
        from: i64,
        to: i64,
    ) -> Result<HashSet<T>, ReadBackError> {
        tracing::info!(%topic, partition, from, to, "reading back");
        let range = OffsetRange { topic: topic.to_string(), partition: *partition, from, to };
        let (reader, find) = (self.reader()?, Arc::clone(&self.find));
        let (found, read) = blocking(move || read_range(&reader, &range, find.as_ref())).await?;
        let RangeRead { records, bytes, missing } = read;
        tracing::info!(%topic, partition, records, bytes, own = found.len(), missing, "read back");
        self.metrics.count_read_back(&read);
        Ok(found)
    }

    fn reader(&mut self) -> Result<Arc<RangeReader>, ReadBackError> {
        let reader = match &self.reader {
            Some(reader) => Arc::clone(reader),
            None => Arc::new(RangeReader::new(&self.connection)?),
        };
        Ok(Arc::clone(self.reader.insert(reader)))
    }
}

/// What is of interest in the records of the range.
fn read_range<T: Eq + Hash>(
    reader: &RangeReader,
    range: &OffsetRange,
    find: &dyn Fn(RecordHeaders) -> Option<T>,
) -> Result<(HashSet<T>, RangeRead), LookupError> {
    let mut found = HashSet::new();
    let see = |record: &RangeRecord<'_>| {
        found.extend(find(RecordHeaders::decode(record.headers.iter().copied())));
    };
    let read = reader.read(range, see)?;
    Ok((found, read))
}

impl<T> fmt::Debug for ReadBack<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let known: Vec<_> = self.known.keys().collect();
        formatter.debug_struct("ReadBack").field("known", &known).finish_non_exhaustive()
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LookupError> + Send + 'static,
) -> Result<T, ReadBackError> {
    Ok(tokio::task::spawn_blocking(work).await.unwrap_or(Err(LookupError::Closed))?)
}
