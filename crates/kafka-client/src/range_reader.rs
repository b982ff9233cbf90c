//! Reads a range of one partition beside any group: for whoever wants to know what is in the log already.
//!
//! It joins no group and commits nothing, and ends at the offset it was given. Whether it sees records of transactions
//! that are open or were aborted is its maker's choice.

use std::time::{Duration, Instant};

use rdkafka::{
    Message,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::Headers,
    topic_partition_list::{Offset, TopicPartitionList},
};

use crate::{
    admin::refused,
    config::{ConnectionConfig, IsolationLevel},
    error::LookupError,
};

/// A question about where the log begins and ends.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);
/// One wait for records; what has come is looked at in between.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A broker that sends nothing for so long has gone away; the caller tries again later.
const SILENCE: Duration = Duration::from_secs(30);
/// Fetched and not yet looked at. Small: ranges are short, and the reader lives beside other work.
const FETCH_QUEUE_KBYTES: &str = "4096";

/// A range of a partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OffsetRange {
    /// Topic name.
    pub topic: String,
    /// Partition number.
    pub partition: i32,
    /// First offset to read.
    pub from: i64,
    /// The offset to stop before.
    pub to: i64,
}

/// A record as a reader of ranges sees it.
#[derive(Debug)]
pub struct RangeRecord<'a> {
    /// Its offset.
    pub offset: i64,
    /// The broker's timestamp, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Its key, if any.
    pub key: Option<&'a [u8]>,
    /// Its value; a record without one reads as empty.
    pub value: &'a [u8],
    /// Its headers in order; one without a value reads as empty.
    pub headers: Vec<(&'a str, &'a [u8])>,
}

/// What was read of a range.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RangeRead {
    /// Records seen.
    pub records: u64,
    /// Their keys, values and headers, in bytes.
    pub bytes: u64,
    /// Offsets at the beginning of the range that retention has removed.
    pub missing: i64,
}

/// A client that reads ranges, one after the other. All calls block.
pub struct RangeReader {
    client: BaseConsumer,
}

impl RangeReader {
    /// Prepares a client that sees records of open and aborted transactions too; it connects with the first question.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn new(connection: &ConnectionConfig) -> Result<RangeReader, LookupError> {
        RangeReader::isolated(connection, IsolationLevel::ReadUncommitted)
    }

    /// The same for what a consumer of this isolation level sees.
    ///
    /// # Errors
    /// The settings contradict each other.
    pub fn isolated(
        connection: &ConnectionConfig,
        isolation: IsolationLevel,
    ) -> Result<RangeReader, LookupError> {
        let mut settings = connection.client_config();
        settings
            // A name is required; no group of that name is ever joined.
            .set("group.id", "eventline-range-reader")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "error")
            .set("isolation.level", isolation.as_str())
            .set("check.crcs", "true")
            .set("enable.partition.eof", "true")
            .set("fetch.wait.max.ms", "50")
            .set("queued.max.messages.kbytes", FETCH_QUEUE_KBYTES);
        Ok(RangeReader { client: settings.create().map_err(refused)? })
    }

    /// How many partitions a topic has; `None` when there is no such topic.
    ///
    /// # Errors
    /// No broker answers in time, or the topic may not be looked at.
    pub fn partition_count(&self, topic: &str) -> Result<Option<i32>, LookupError> {
        let metadata = self.client.fetch_metadata(Some(topic), LOOKUP_TIMEOUT).map_err(refused)?;
        let Some(found) = metadata.topics().iter().find(|candidate| candidate.name() == topic) else {
            return Ok(None);
        };
        match found.error().map(RDKafkaErrorCode::from) {
            None => Ok(i32::try_from(found.partitions().len()).ok()),
            Some(RDKafkaErrorCode::UnknownTopic | RDKafkaErrorCode::UnknownTopicOrPartition) => Ok(None),
            Some(code) => Err(LookupError::Refused(code.into())),
        }
    }

    /// The offset that the next record of the partition gets.
    ///
    /// # Errors
    /// The partition's leader does not answer in time.
    pub fn end(&self, topic: &str, partition: i32) -> Result<i64, LookupError> {
        let (_, end) = self.client.fetch_watermarks(topic, partition, LOOKUP_TIMEOUT).map_err(refused)?;
        Ok(end)
    }

    /// Shows every record of the range to `see`, in order.
    ///
    /// # Errors
    /// The broker refuses, or sends nothing for half a minute; what was seen until then was seen.
    pub fn read(
        &self,
        range: &OffsetRange,
        mut see: impl FnMut(&RangeRecord<'_>),
    ) -> Result<RangeRead, LookupError> {
        let OffsetRange { topic, partition, from, to } = range;
        let (low, _) = self.client.fetch_watermarks(topic, *partition, LOOKUP_TIMEOUT).map_err(refused)?;
        let start = low.max(*from);
        let mut read = RangeRead { missing: (start.min(*to) - from).max(0), ..RangeRead::default() };
        if start >= *to {
            return Ok(read);
        }
        let mut list = TopicPartitionList::new();
        list.add_partition_offset(topic, *partition, Offset::Offset(start)).map_err(refused)?;
        self.client.assign(&list).map_err(refused)?;
        let outcome = self.read_assigned(*to, &mut read, &mut see);
        self.client.unassign().map_err(refused)?;
        outcome.map(|()| read)
    }

    fn read_assigned(
        &self,
        to: i64,
        read: &mut RangeRead,
        see: &mut impl FnMut(&RangeRecord<'_>),
    ) -> Result<(), LookupError> {
        let mut last_sign = Instant::now();
        loop {
            match self.client.poll(POLL_INTERVAL) {
                Some(Ok(message)) => {
                    last_sign = Instant::now();
                    if message.offset() >= to {
                        return Ok(());
                    }
                    let headers: Vec<_> = message.headers().map_or_else(Vec::new, |headers| {
                        headers.iter().map(|header| (header.key, header.value.unwrap_or_default())).collect()
                    });
                    read.records += 1;
                    let of_headers: usize =
                        headers.iter().map(|(name, value)| name.len() + value.len()).sum();
                    read.bytes += (message.payload_len() + message.key_len() + of_headers) as u64;
                    see(&RangeRecord {
                        offset: message.offset(),
                        timestamp_ms: message.timestamp().to_millis(),
                        key: message.key(),
                        value: message.payload().unwrap_or_default(),
                        headers,
                    });
                    if message.offset() + 1 >= to {
                        return Ok(());
                    }
                }
                // The end of the log as it is now; the range ended at or before it when it was asked for, and what lies between the
                // last record and that end are a transaction's marks or offsets that compaction took.
                Some(Err(KafkaError::PartitionEOF(_))) => return Ok(()),
                Some(Err(error)) if is_permanent(&error) => return Err(refused(error)),
                Some(Err(_)) | None if last_sign.elapsed() > SILENCE => {
                    let timed_out = KafkaError::MessageConsumption(RDKafkaErrorCode::OperationTimedOut);
                    return Err(refused(timed_out));
                }
                // Connections that break are made again by the client.
                Some(Err(_)) | None => {}
            }
        }
    }
}

impl std::fmt::Debug for RangeReader {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("RangeReader").finish_non_exhaustive()
    }
}

/// Whether waiting longer cannot help.
fn is_permanent(error: &KafkaError) -> bool {
    matches!(
        error.rdkafka_error_code(),
        Some(
            RDKafkaErrorCode::UnknownTopic
                | RDKafkaErrorCode::UnknownTopicOrPartition
                | RDKafkaErrorCode::UnknownPartition
                | RDKafkaErrorCode::TopicAuthorizationFailed
                | RDKafkaErrorCode::OffsetOutOfRange
                | RDKafkaErrorCode::AutoOffsetReset
                | RDKafkaErrorCode::Fatal
        )
    )
}
