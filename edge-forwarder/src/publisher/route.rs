//! Where the records of a signal go: topic, key, partition.
//!
//! A series must not cross partitions, so metrics are cut by resource and placed by its hash. Logs and traces have no such
//! tie and spread evenly, unless a key is configured.

use std::sync::atomic::{AtomicU64, Ordering};

use telemetry_wire::{
    Signal, dead_letter_topic,
    key::KeyRule,
    partition::Partitioner,
    split::{Grouping, Piece},
};

use super::{Unpublished, topic::Topic};

/// Records without a key stay with one partition for so many bytes: enough for the producer to form batches, little
/// enough that partitions fill alike.
const SPREAD_BYTES: u64 = 256 * 1024;

/// The route of one signal.
#[derive(Debug)]
pub(super) struct Route {
    pub(super) signal: Signal,
    pub(super) topic: Topic,
    pub(super) dead_letter_topic: Topic,
    key: KeyRule,
    partitioner: Partitioner,
    spread: AtomicU64,
}

impl Route {
    pub(super) fn new(signal: Signal, topic: &str, key: &KeyRule, partitioner: Partitioner) -> Route {
        let dead_letter_topic = Topic::new(dead_letter_topic(topic));
        let topic = Topic::new(topic.to_owned());
        Route { signal, topic, dead_letter_topic, key: key.clone(), partitioner, spread: AtomicU64::new(0) }
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

    /// What has to stay together; `bucket` is [`Route::bucket`] for the topic's partition count.
    pub(super) fn grouping<'a>(&'a self, bucket: &'a dyn Fn(&[u8; 16]) -> i32) -> Grouping<'a> {
        match (self.signal, &self.key) {
            (Signal::Metrics, KeyRule::None) => Grouping::Bucket(bucket),
            (_, KeyRule::None) => Grouping::Whole,
            (_, rule) => Grouping::Key(rule),
        }
    }

    /// The partition of a resource.
    pub(super) fn bucket(&self, resource_hash: &[u8; 16], partitions: i32) -> i32 {
        self.partitioner.partition(resource_hash, partitions)
    }

    /// The partition of a piece: its bucket's, its key's, or the one whose turn it is.
    pub(super) fn partition(&self, piece: &Piece, partitions: i32) -> i32 {
        if let Some(bucket) = piece.bucket {
            return bucket;
        }
        match &piece.key {
            Some(key) => self.partitioner.partition(key, partitions),
            None => self.next_partition(piece.value.len(), partitions),
        }
    }

    fn next_partition(&self, bytes: usize, partitions: i32) -> i32 {
        let turn = self.spread.fetch_add(bytes as u64, Ordering::Relaxed) / SPREAD_BYTES;
        let count = u64::from(partitions.max(1).unsigned_abs());
        i32::try_from(turn % count).expect("a remainder is below the count, which is an i32")
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    #[test]
    fn pieces_without_a_key_fill_the_partitions_alike() {
        let route = Route::new(Signal::Logs, "logs", &KeyRule::None, Partitioner::default());
        let piece = Piece { value: Bytes::from(vec![0; 10_000]), items: 1, key: None, bucket: None };
        let mut filled = [0u64; 7];
        for _ in 0..10_000 {
            filled[route.partition(&piece, 7) as usize] += piece.value.len() as u64;
        }
        let (min, max) = (filled.iter().min().unwrap(), filled.iter().max().unwrap());
        assert!(max - min <= 4 * SPREAD_BYTES, "{filled:?}");
    }

    #[test]
    fn a_key_decides_the_partition_whatever_came_before() {
        let route = Route::new(Signal::Traces, "spans", &KeyRule::TraceId, Partitioner::Murmur2);
        let key = Bytes::from_static(b"4bf92f3577b34da6a3ce929d0e0e4736");
        let keyed =
            Piece { value: Bytes::from(vec![0; 300_000]), items: 1, key: Some(key.clone()), bucket: None };
        let expected = Partitioner::Murmur2.partition(&key, 12);
        for _ in 0..5 {
            assert_eq!(route.partition(&keyed, 12), expected);
        }
    }
}
