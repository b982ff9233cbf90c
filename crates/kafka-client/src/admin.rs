//! Questions and orders to the cluster outside of the data path: topics, watermarks, committed offsets.
//!
//! For tests, the demo, the operator's commands and what a hub tells of partitions that nobody owns. Nothing here is on the path
//! of a record.

mod view;

use std::{
    collections::BTreeMap,
    panic::AssertUnwindSafe,
    time::{Duration, Instant},
};

use rdkafka::{
    Message, TopicPartitionList,
    admin::{AdminClient, AdminOptions, NewTopic, ResourceSpecifier, TopicReplication, TopicResult},
    client::{Client, ClientContext, DefaultClientContext},
    config::FromClientConfig,
    consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext},
    error::{KafkaError, RDKafkaErrorCode},
    topic_partition_list::Offset,
};

pub use self::view::{GroupPlaces, GroupView};
use crate::{
    config::ConnectionConfig,
    consumer::commit_list,
    error::LookupError,
    event::{CommitOffset, CommittedOffset},
};

/// Records of a partition whose size is looked at.
const SAMPLE: usize = 16;
/// One request to the cluster; a few times the time of a leader election.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// First and next offset of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Watermarks {
    /// Partition number.
    pub partition: i32,
    /// First offset that the log still has.
    pub low: i64,
    /// Offset that the next record will get.
    pub high: i64,
}

/// A topic to create.
#[derive(Clone, Debug)]
pub struct TopicSpec {
    /// Name.
    pub name: String,
    /// Number of partitions.
    pub partitions: i32,
    /// Copies of each partition; at most the number of brokers.
    pub replication: i32,
    /// Topic settings by the broker's names, like `("retention.ms", "3600000")`.
    pub config: Vec<(String, String)>,
}

impl TopicSpec {
    /// A topic with one copy and the broker's default settings.
    pub fn new(name: impl Into<String>, partitions: i32) -> TopicSpec {
        TopicSpec { name: name.into(), partitions, replication: 1, config: Vec::new() }
    }
}

/// Creates topics and waits until the cluster knows them. A topic that exists already is left as it is.
///
/// # Errors
/// No broker answers in time, or one of the topics is refused.
pub async fn create_topics(connection: &ConnectionConfig, topics: &[TopicSpec]) -> Result<(), LookupError> {
    let client = admin_client(connection)?;
    let wanted: Vec<NewTopic<'_>> = topics
        .iter()
        .map(|spec| {
            let topic = NewTopic::new(&spec.name, spec.partitions, TopicReplication::Fixed(spec.replication));
            spec.config.iter().fold(topic, |topic, (key, value)| topic.set(key, value))
        })
        .collect();
    let results = client.create_topics(&wanted, &admin_options()).await.map_err(refused)?;
    check_topics(results, RDKafkaErrorCode::TopicAlreadyExists)
}

/// Deletes topics with all their records. A topic that does not exist is no error.
///
/// # Errors
/// No broker answers in time, or one of the deletions is refused.
pub async fn delete_topics(connection: &ConnectionConfig, topics: &[&str]) -> Result<(), LookupError> {
    let client = admin_client(connection)?;
    let results = client.delete_topics(topics, &admin_options()).await.map_err(refused)?;
    check_topics(results, RDKafkaErrorCode::UnknownTopicOrPartition)
}

/// Deletes the records of a partition before `offset`, as retention does; for tests of what happens then.
///
/// # Errors
/// No broker answers in time, or the deletion is refused.
pub async fn delete_records(
    connection: &ConnectionConfig,
    topic: &str,
    partition: i32,
    offset: i64,
) -> Result<(), LookupError> {
    let client = admin_client(connection)?;
    let mut list = TopicPartitionList::new();
    list.add_partition_offset(topic, partition, Offset::Offset(offset)).map_err(refused)?;
    let answer = client.delete_records(&list, &admin_options()).await.map_err(refused)?;
    answer.elements().iter().try_for_each(|element| element.error()).map_err(refused)
}

/// First and next offset of every partition of a topic, in order.
///
/// # Errors
/// No broker answers in time, or the topic does not exist.
pub async fn watermarks(connection: &ConnectionConfig, topic: &str) -> Result<Vec<Watermarks>, LookupError> {
    let topic = topic.to_owned();
    blocking(connection.clone(), None, move |client| watermarks_of(client, &topic)).await
}

/// A group's committed position of every partition of a topic, in order; `None` where it has none.
///
/// # Errors
/// No broker answers in time, or the topic does not exist.
pub async fn committed(
    connection: &ConnectionConfig,
    group_id: &str,
    topic: &str,
) -> Result<Vec<(i32, Option<CommittedOffset>)>, LookupError> {
    let topic = topic.to_owned();
    blocking(connection.clone(), Some(group_id.to_owned()), move |client| committed_of(client, &topic)).await
}

/// Commits positions of a group from outside of it, with the metadata given.
///
/// # Errors
/// No broker answers in time, or one refuses: while the group has members, only they may commit.
pub async fn set_committed(
    connection: &ConnectionConfig,
    group_id: &str,
    positions: Vec<CommitOffset>,
) -> Result<(), LookupError> {
    blocking(connection.clone(), Some(group_id.to_owned()), move |client| {
        let list = commit_list(&positions).map_err(refused)?;
        client.commit(&list, CommitMode::Sync).map_err(refused)
    })
    .await
}

/// Of every partition of a topic, in order, the first offset whose record is as old as `timestamp_ms` or younger; `None`
/// where there is no such record.
///
/// # Errors
/// No broker answers in time, or the topic does not exist.
pub async fn offsets_at(
    connection: &ConnectionConfig,
    topic: &str,
    timestamp_ms: i64,
) -> Result<Vec<(i32, Option<i64>)>, LookupError> {
    let topic = topic.to_owned();
    blocking(connection.clone(), None, move |client| {
        let mut list = TopicPartitionList::new();
        for partition in partitions_of(client.client(), &topic)? {
            let time = Offset::Offset(timestamp_ms);
            list.add_partition_offset(&topic, partition, time).map_err(refused)?;
        }
        let answer = client.offsets_for_times(list, REQUEST_TIMEOUT).map_err(refused)?;
        let found = answer.elements().into_iter().map(|element| {
            element.error().map_err(refused)?;
            let Offset::Offset(offset) = element.offset() else { return Ok((element.partition(), None)) };
            Ok((element.partition(), Some(offset)))
        });
        found.collect()
    })
    .await
}

/// What the first records at a position say.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FirstRecords {
    /// The broker's timestamp of the very first, in milliseconds since the epoch.
    pub timestamp_ms: i64,
    /// Bytes of a record, key and value, in the mean over those that were looked at.
    pub mean_bytes: f64,
}

/// The first records at or behind each of these positions; of partitions without such a record, and of those that say nothing
/// within `patience`, nothing.
///
/// # Errors
/// The positions cannot be read at all.
pub async fn first_records(
    connection: &ConnectionConfig,
    topic: &str,
    positions: &[(i32, i64)],
    patience: Duration,
) -> Result<BTreeMap<i32, FirstRecords>, LookupError> {
    let (connection, topic, positions) = (connection.clone(), topic.to_owned(), positions.to_vec());
    let looking = tokio::task::spawn_blocking(move || {
        let mut settings = connection.client_config();
        settings
            // A name is required; no group of that name is ever joined.
            .set("group.id", "eventline-admin")
            .set("enable.auto.commit", "false")
            .set("auto.offset.reset", "earliest")
            // One batch of each partition is all that is wanted.
            .set("max.partition.fetch.bytes", "16384")
            .set("fetch.wait.max.ms", "10")
            .set("queued.min.messages", "1");
        let client: BaseConsumer = settings.create().map_err(refused)?;
        let mut list = TopicPartitionList::with_capacity(positions.len());
        for (partition, offset) in &positions {
            list.add_partition_offset(&topic, *partition, Offset::Offset(*offset)).map_err(refused)?;
        }
        client.assign(&list).map_err(refused)?;
        // Of each partition: the first timestamp, records and their bytes.
        let mut found: BTreeMap<i32, (i64, usize, usize)> = BTreeMap::new();
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            // When each partition has said something, what they said in the same breath still counts.
            let is_complete = found.len() == positions.len();
            let wait = if is_complete { Duration::ZERO } else { Duration::from_millis(20) };
            let message = match client.poll(wait) {
                Some(Ok(message)) => message,
                _ if is_complete => break,
                _ => continue,
            };
            let Some(timestamp) = message.timestamp().to_millis() else { continue };
            let bytes = message.payload_len() + message.key_len();
            let (_, records, sum) = found.entry(message.partition()).or_insert((timestamp, 0, 0));
            (*records, *sum) = (*records + 1, *sum + bytes);
            if *records == SAMPLE {
                let mut done = TopicPartitionList::with_capacity(1);
                done.add_partition(&topic, message.partition());
                client.pause(&done).map_err(refused)?;
            }
        }
        let first = |(timestamp_ms, records, bytes)| FirstRecords {
            timestamp_ms,
            mean_bytes: bytes as f64 / records as f64,
        };
        Ok(found.into_iter().map(|(partition, found)| (partition, first(found))).collect())
    });
    looking.await.unwrap_or(Err(LookupError::Closed))
}

/// Who is in a group: the partitions of `topic` that each member has, by the member's host and id. Of members whose
/// assignment is in a form that is not known, nothing.
///
/// # Errors
/// No broker answers in time.
pub async fn owners(
    connection: &ConnectionConfig,
    group_id: &str,
    topic: &str,
) -> Result<BTreeMap<i32, String>, LookupError> {
    let (group_id, topic) = (group_id.to_owned(), topic.to_owned());
    blocking(connection.clone(), None, move |client| owners_of(client, &group_id, &topic)).await
}

fn owners_of(
    client: &BaseConsumer,
    group_id: &str,
    topic: &str,
) -> Result<BTreeMap<i32, String>, LookupError> {
    let groups = client.client().fetch_group_list(Some(group_id), REQUEST_TIMEOUT).map_err(refused)?;
    let members = groups.groups().iter().flat_map(|group| group.members());
    let mut owners = BTreeMap::new();
    for member in members {
        let assignment = member.assignment().unwrap_or_default();
        for partition in assigned(assignment, topic).unwrap_or_default() {
            owners.insert(partition, format!("{} {}", member.client_host(), member.id()));
        }
    }
    Ok(owners)
}

/// The partitions of a topic in an assignment of the consumer protocol: `version: i16, topics: i32 × (name: string, partitions:
/// i32 × i32)`, numbers big-endian, strings with an `i16` length.
fn assigned(bytes: &[u8], topic: &str) -> Option<Vec<i32>> {
    let mut rest = bytes.get(2..)?;
    let mut partitions = Vec::new();
    for _ in 0..take_i32(&mut rest)? {
        let (length, after) = rest.split_first_chunk::<2>()?;
        let length = usize::try_from(i16::from_be_bytes(*length)).ok()?;
        let name = after.get(..length)?;
        rest = after.get(length..)?;
        for _ in 0..take_i32(&mut rest)? {
            let partition = take_i32(&mut rest)?;
            if name == topic.as_bytes() {
                partitions.push(partition);
            }
        }
    }
    Some(partitions)
}

fn take_i32(bytes: &mut &[u8]) -> Option<i32> {
    let (number, rest) = bytes.split_first_chunk::<4>()?;
    *bytes = rest;
    Some(i32::from_be_bytes(*number))
}

/// The cluster's own id, which changes when the cluster is made anew; part of a record's identity beside topic,
/// partition and offset.
///
/// # Errors
/// No broker answers in time.
pub async fn cluster_id(connection: &ConnectionConfig) -> Result<String, LookupError> {
    blocking(connection.clone(), None, |client| {
        let timed_out = KafkaError::MetadataFetch(RDKafkaErrorCode::OperationTimedOut);
        client.client().fetch_cluster_id(REQUEST_TIMEOUT).ok_or_else(|| refused(timed_out))
    })
    .await
}

/// How many brokers the cluster has; a partition can have no more copies.
///
/// # Errors
/// No broker answers in time.
pub async fn broker_count(connection: &ConnectionConfig) -> Result<usize, LookupError> {
    blocking(connection.clone(), None, |client| {
        let metadata = client.client().fetch_metadata(None, REQUEST_TIMEOUT).map_err(refused)?;
        Ok(metadata.brokers().len())
    })
    .await
}

/// One setting of a topic, by the broker's name of it; `None` when the broker does not know it.
///
/// # Errors
/// No broker answers in time, the topic does not exist, or its settings may not be read.
pub async fn topic_setting(
    connection: &ConnectionConfig,
    topic: &str,
    name: &str,
) -> Result<Option<String>, LookupError> {
    let client = admin_client(connection)?;
    let asked = [ResourceSpecifier::Topic(topic)];
    let answers = client.describe_configs(&asked, &admin_options()).await.map_err(refused)?;
    let Some(answer) = answers.into_iter().next() else { return Ok(None) };
    let found = answer.map_err(|code| element_error(topic, code))?;
    Ok(found.get(name).and_then(|entry| entry.value.clone()))
}

/// Two requests for each broker, however many partitions there are.
pub(crate) fn watermarks_of<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
) -> Result<Vec<Watermarks>, LookupError> {
    let partitions = partitions_of(client.client(), topic)?;
    let ends = |which: Offset| {
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for partition in &partitions {
            list.add_partition_offset(topic, *partition, which).map_err(refused)?;
        }
        // The protocol asks for the ends of a log by two times that cannot be.
        let answer = client.offsets_for_times(list, REQUEST_TIMEOUT).map_err(refused)?;
        let mut found = BTreeMap::new();
        for element in answer.elements() {
            element.error().map_err(refused)?;
            found.insert(element.partition(), element.offset().to_raw().unwrap_or(0).max(0));
        }
        Ok(found)
    };
    let (lows, highs) = (ends(Offset::Beginning)?, ends(Offset::End)?);
    let at = |found: &BTreeMap<i32, i64>, partition| found.get(partition).copied().unwrap_or(0);
    let all = partitions.iter().map(|partition| Watermarks {
        partition: *partition,
        low: at(&lows, partition),
        high: at(&highs, partition),
    });
    Ok(all.collect())
}

pub(crate) fn committed_of<C: ConsumerContext>(
    client: &BaseConsumer<C>,
    topic: &str,
) -> Result<Vec<(i32, Option<CommittedOffset>)>, LookupError> {
    let mut list = TopicPartitionList::new();
    for partition in partitions_of(client.client(), topic)? {
        list.add_partition(topic, partition);
    }
    let answer = client.committed_offsets(list, REQUEST_TIMEOUT).map_err(refused)?;
    let committed = answer.elements().into_iter().map(|element| {
        element.error().map_err(refused)?;
        let metadata = || element.metadata().to_owned();
        Ok((element.partition(), committed_offset(element.offset(), metadata)))
    });
    committed.collect()
}

/// Reads one element of an offset answer.
///
/// The binding panics on metadata that is not UTF-8, which any tool may have committed, and gives no other way to
/// read it. Such metadata is not ours and reads as empty.
pub(crate) fn committed_offset(offset: Offset, metadata: impl FnOnce() -> String) -> Option<CommittedOffset> {
    let Offset::Offset(offset) = offset else { return None };
    let metadata = std::panic::catch_unwind(AssertUnwindSafe(metadata)).unwrap_or_else(|_panic| {
        tracing::warn!(offset, "committed metadata is not utf-8 and is ignored");
        String::new()
    });
    Some(CommittedOffset { offset, metadata })
}

fn partitions_of<C: ClientContext>(client: &Client<C>, topic: &str) -> Result<Vec<i32>, LookupError> {
    let metadata = client.fetch_metadata(Some(topic), REQUEST_TIMEOUT).map_err(refused)?;
    let Some(found) = metadata.topics().iter().find(|candidate| candidate.name() == topic) else {
        return Err(element_error(topic, RDKafkaErrorCode::UnknownTopicOrPartition));
    };
    if let Some(code) = found.error() {
        return Err(element_error(topic, code.into()));
    }
    let mut partitions: Vec<i32> = found.partitions().iter().map(|partition| partition.id()).collect();
    partitions.sort_unstable();
    Ok(partitions)
}

fn admin_client(connection: &ConnectionConfig) -> Result<AdminClient<DefaultClientContext>, LookupError> {
    AdminClient::from_config(&connection.client_config()).map_err(refused)
}

fn admin_options() -> AdminOptions {
    AdminOptions::new().operation_timeout(Some(REQUEST_TIMEOUT)).request_timeout(Some(REQUEST_TIMEOUT))
}

fn check_topics(results: Vec<TopicResult>, accepted: RDKafkaErrorCode) -> Result<(), LookupError> {
    for result in results {
        match result {
            Err((topic, code)) if code != accepted => return Err(element_error(&topic, code)),
            _ => {}
        }
    }
    Ok(())
}

/// Runs `ask` with a consumer that never joins its group, on a thread that may block.
async fn blocking<T: Send + 'static>(
    connection: ConnectionConfig,
    group_id: Option<String>,
    ask: impl FnOnce(&BaseConsumer) -> Result<T, LookupError> + Send + 'static,
) -> Result<T, LookupError> {
    let answer = tokio::task::spawn_blocking(move || {
        let client = client_of(&connection, group_id.as_deref())?;
        ask(&client)
    });
    answer.await.unwrap_or(Err(LookupError::Closed))
}

fn client_of(connection: &ConnectionConfig, group_id: Option<&str>) -> Result<BaseConsumer, LookupError> {
    let mut settings = connection.client_config();
    settings.set("group.id", group_id.unwrap_or("eventline-admin"));
    settings.set("enable.auto.commit", "false");
    settings.create().map_err(refused)
}

pub(crate) fn refused(error: KafkaError) -> LookupError {
    LookupError::Refused(error.into())
}

fn element_error(element: &str, code: RDKafkaErrorCode) -> LookupError {
    LookupError::Element { element: element.to_owned(), source: code.into() }
}
