//! Where the records of a signal go: topic, key, partition; and whether they can go there now.
//!
//! A series must not cross partitions, so metrics are cut by resource and placed by its hash. Logs and traces have no such
//! tie and spread evenly, unless a key is configured.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use bytes::Bytes;
use kafka_client::Producer;
use telemetry_wire::{Signal, dead_letter_topic, key::KeyRule, partition::Partitioner, split::Grouping};

use super::{
    Unpublished, backlog::Backlog, overdue::Overdue, record::Record, topic::Topic, unanswered::Unanswered,
};

/// Records without a key stay with one partition for so many bytes: enough for the producer to form batches, little
/// enough that partitions fill alike.
const SPREAD_BYTES: u64 = 256 * 1024;

/// The route of one signal.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) signal: Signal,
    pub(super) topic: Topic,
    pub(super) dead_letter_topic: Topic,
    /// What waits on the disk; `None` without a spool.
    pub(super) backlog: Option<Backlog>,
    /// Records that the broker is late with.
    pub(super) overdue: Overdue,
    /// Without a spool: refused requests that the producer has.
    pub(super) unanswered: Arc<Unanswered>,
    key: KeyRule,
    partitioner: Partitioner,
    spread: AtomicU64,
}

/// Why a record cannot be handed to the producer now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Closed {
    /// No broker answers.
    NoBroker,
    /// The broker does not know the topic.
    UnknownTopic,
    /// The broker has refused the topic a moment ago.
    BlockedTopic,
    /// The partition's leader is late with records that it has.
    Stalled,
}

impl Route {
    pub(super) fn new(
        signal: Signal,
        topic: &str,
        key: &KeyRule,
        partitioner: Partitioner,
        backlog: Option<Backlog>,
    ) -> Route {
        let dead_letter_topic = Topic::new(dead_letter_topic(topic));
        Route {
            signal,
            topic: Topic::new(topic.to_owned()),
            dead_letter_topic,
            backlog,
            overdue: Overdue::default(),
            unanswered: Arc::default(),
            key: key.clone(),
            partitioner,
            spread: AtomicU64::new(0),
        }
    }

    /// The topic that a record is meant for.
    pub(super) fn topic_of(&self, record: &Record) -> &Topic {
        self.topic_for(record.letter.is_some())
    }

    /// The dead-letter topic or the other one.
    pub(super) fn topic_for(&self, is_letter: bool) -> &Topic {
        if is_letter { &self.dead_letter_topic } else { &self.topic }
    }

    /// What the sender is told when the broker does not take records for one of the two topics.
    pub(super) fn blocked(&self, topic: &Topic) -> Unpublished {
        let signal = self.signal.as_str();
        if topic.name() == self.dead_letter_topic.name() {
            Unpublished::DeadLetterTopicBlocked { signal }
        } else {
            Unpublished::TopicBlocked { signal }
        }
    }

    /// What the sender is told when a record cannot be sent and there is no spool.
    pub(super) fn closed(&self, topic: &Topic, closed: Closed) -> Unpublished {
        match closed {
            Closed::NoBroker => Unpublished::NoBroker,
            Closed::UnknownTopic => {
                // Of the other topic readiness tells from the start.
                if topic.name() == self.dead_letter_topic.name() {
                    topic.note_missed();
                }
                self.blocked(topic)
            }
            Closed::BlockedTopic => self.blocked(topic),
            Closed::Stalled => Unpublished::NotAcknowledged,
        }
    }

    /// The partition to send a record to, if it can be sent now.
    pub(super) fn gate(&self, producer: &Producer, record: &Record) -> Result<i32, Closed> {
        let is_letter = record.letter.is_some();
        let partitions = self.partitions_now(producer, is_letter)?;
        let partition = self.place(record, partitions);
        // Without a spool a late broker is all that there is to wait for.
        if self.backlog.is_none() || !self.overdue.is_late(is_letter, partition) {
            return Ok(partition);
        }
        let is_free = record.partition.is_none() && record.hash.is_none() && record.key.is_none();
        let others = (1..partitions).map(|step| (partition + step) % partitions);
        let on_time = |partition: &i32| !self.overdue.is_late(is_letter, *partition);
        if is_free { others.into_iter().find(on_time).ok_or(Closed::Stalled) } else { Err(Closed::Stalled) }
    }

    /// How many partitions a topic has, if records for it can be sent now.
    pub(super) fn partitions_now(&self, producer: &Producer, is_letter: bool) -> Result<i32, Closed> {
        if !producer.is_connected() {
            return Err(Closed::NoBroker);
        }
        let topic = self.topic_for(is_letter);
        let partitions = topic.partitions(producer).ok_or(Closed::UnknownTopic)?;
        // Without a spool every request asks again.
        if self.backlog.is_some() && topic.has_refused_just_now() {
            return Err(Closed::BlockedTopic);
        }
        Ok(partitions)
    }

    /// Whether a partition takes records now.
    pub(super) fn is_open(&self, producer: &Producer, is_letter: bool, partition: Option<i32>) -> bool {
        let is_late = |partition| self.overdue.is_late(is_letter, partition);
        self.partitions_now(producer, is_letter).is_ok() && !partition.is_some_and(is_late)
    }

    /// What has to stay together; `bucket` is [`Route::bucket`] for the topic's partition count.
    pub(super) fn grouping<'a>(&'a self, bucket: &'a dyn Fn(&[u8; 16]) -> i32) -> Grouping<'a> {
        match &self.key {
            KeyRule::None if self.places_by_resource() => Grouping::Bucket(bucket),
            KeyRule::None => Grouping::Whole,
            rule => Grouping::Key(rule),
        }
    }

    /// What has to stay together whatever the count of partitions will be.
    pub(super) fn grouping_without_partitions(&self) -> Grouping<'_> {
        match &self.key {
            KeyRule::None if self.places_by_resource() => Grouping::Key(&KeyRule::Resource),
            KeyRule::None => Grouping::Whole,
            rule => Grouping::Key(rule),
        }
    }

    /// The rule for the key of a request that stays whole: one that only looks at its resource, if there is such a rule.
    pub(super) fn key_of_resources(&self) -> Option<&KeyRule> {
        match &self.key {
            KeyRule::None | KeyRule::TraceId => None,
            rule @ (KeyRule::Resource | KeyRule::Attributes(_)) => Some(rule),
        }
    }

    /// Whether records have no key and yet are placed by their resource.
    pub(super) fn places_by_resource(&self) -> bool {
        self.signal == Signal::Metrics && self.key == KeyRule::None
    }

    /// The partition of a resource.
    pub(super) fn bucket(&self, resource_hash: &[u8; 16], partitions: i32) -> i32 {
        self.partitioner.partition(resource_hash, partitions)
    }

    /// The partition of a record: the one it has, its resource's, its key's, or the one whose turn it is.
    fn place(&self, record: &Record, partitions: i32) -> i32 {
        let by_hash = |hash: &Bytes| self.partitioner.partition(hash, partitions);
        // A topic that was made anew may have fewer.
        let chosen = record.partition.filter(|partition| (0..partitions).contains(partition));
        chosen
            .or_else(|| record.hash.as_ref().or(record.key.as_ref()).map(by_hash))
            .unwrap_or_else(|| self.next_partition(record.value.len(), partitions))
    }

    fn next_partition(&self, bytes: usize, partitions: i32) -> i32 {
        let turn = self.spread.fetch_add(bytes as u64, Ordering::Relaxed) / SPREAD_BYTES;
        let count = u64::from(partitions.max(1).unsigned_abs());
        i32::try_from(turn % count).expect("a remainder is below the count, which is an i32")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::publisher::record::RecordId;

    fn record(value: usize, key: Option<&'static [u8]>) -> Record {
        Record {
            id: RecordId { incarnation: 1, sequence: 1, part: String::new() },
            received_at: 0,
            items: 1,
            key: key.map(Bytes::from_static),
            hash: None,
            partition: None,
            value: vec![0; value].into(),
            letter: None,
            origin: None,
        }
    }

    #[test]
    fn records_without_a_key_fill_the_partitions_alike() {
        let route = Route::new(Signal::Logs, "logs", &KeyRule::None, Partitioner::default(), None);
        let record = record(10_000, None);
        let mut filled = [0u64; 7];
        for _ in 0..10_000 {
            filled[route.place(&record, 7) as usize] += record.value.len() as u64;
        }
        let (min, max) = (filled.iter().min().unwrap(), filled.iter().max().unwrap());
        assert!(max - min <= 4 * SPREAD_BYTES, "{filled:?}");
    }

    #[test]
    fn a_key_decides_the_partition_whatever_came_before() {
        let route = Route::new(Signal::Traces, "spans", &KeyRule::TraceId, Partitioner::Murmur2, None);
        let key = b"4bf92f3577b34da6a3ce929d0e0e4736";
        let keyed = record(300_000, Some(key));
        let expected = Partitioner::Murmur2.partition(key, 12);
        for _ in 0..5 {
            assert_eq!(route.place(&keyed, 12), expected);
        }
    }

    #[test]
    fn a_chosen_partition_stays_while_the_topic_has_it() {
        let route = Route::new(Signal::Logs, "logs", &KeyRule::None, Partitioner::default(), None);
        let chosen = Record { partition: Some(5), ..record(10, None) };
        assert_eq!(route.place(&chosen, 12), 5);
        assert!((0..3).contains(&route.place(&chosen, 3)));
    }

    #[test]
    fn metrics_that_are_cut_before_the_partitions_are_known_go_where_they_would_have_gone() {
        let route = Route::new(Signal::Metrics, "metrics", &KeyRule::None, Partitioner::default(), None);
        assert!(matches!(route.grouping_without_partitions(), Grouping::Key(KeyRule::Resource)));
        let hash = [7; 16];
        let later = Record { hash: Some(Bytes::copy_from_slice(&hash)), ..record(10, None) };
        assert_eq!(route.place(&later, 12), route.bucket(&hash, 12));
    }
}
