//! A member of a group in a test: its consumer, its events, and what it has seen.

use std::{collections::BTreeMap, sync::Arc};

use kafka_client::{
    AckGuard, AssignedPartition, CommitError, CommitOffset, Consumer, ConsumerConfig, ConsumerEvent, Record,
    RevokedPartition,
};
use tokio::sync::mpsc;

use crate::cluster::within;

pub(crate) struct Member {
    pub(crate) consumer: Consumer,
    pub(crate) events: mpsc::Receiver<ConsumerEvent>,
}

impl Member {
    pub(crate) fn join(config: &ConsumerConfig, topic: &str) -> Member {
        let (consumer, events) = Consumer::start(config, &[topic]).unwrap();
        Member { consumer, events }
    }

    pub(crate) async fn next(&mut self) -> ConsumerEvent {
        within(self.events.recv()).await.expect("the consumer goes on")
    }

    /// The next assignment that gives something, acknowledged. Errors of the client pass by.
    pub(crate) async fn assigned(&mut self) -> (u64, Vec<AssignedPartition>) {
        let (generation, partitions, ack) = self.assigned_unacknowledged().await;
        ack.ack();
        (generation, partitions)
    }

    pub(crate) async fn assigned_unacknowledged(&mut self) -> (u64, Vec<AssignedPartition>, AckGuard) {
        loop {
            match self.next().await {
                ConsumerEvent::Assigned { partitions, .. } if partitions.is_empty() => {}
                ConsumerEvent::Assigned { generation, partitions, ack } => {
                    return (generation, partitions, ack);
                }
                ConsumerEvent::Error(error) => assert!(!error.is_fatal(), "{error:?}"),
                other => panic!("{other:?} before an assignment"),
            }
        }
    }

    /// The next revocation; records before it are dropped.
    pub(crate) async fn revoked(&mut self) -> (Vec<RevokedPartition>, bool, AckGuard) {
        loop {
            match self.next().await {
                ConsumerEvent::Revoked { partitions, lost, ack, .. } => return (partitions, lost, ack),
                ConsumerEvent::Record(_) | ConsumerEvent::Error(_) => {}
                other => panic!("{other:?} instead of a revocation"),
            }
        }
    }

    pub(crate) async fn record(&mut self) -> Record {
        loop {
            match self.next().await {
                ConsumerEvent::Record(record) => return record,
                ConsumerEvent::Error(error) => assert!(!error.is_fatal(), "{error:?}"),
                other => panic!("{other:?} instead of a record"),
            }
        }
    }

    pub(crate) async fn records(&mut self, count: usize) -> Vec<Record> {
        let mut records = Vec::with_capacity(count);
        while records.len() < count {
            records.push(self.record().await);
        }
        records
    }

    pub(crate) async fn commit(
        &self,
        generation: u64,
        topic: &str,
        partition: i32,
        offset: i64,
        metadata: &str,
    ) -> Result<(), CommitError> {
        let topic = Arc::from(topic);
        let commit = CommitOffset { topic, partition, offset, metadata: metadata.to_owned() };
        within(self.consumer.commit(generation, vec![commit])).await
    }
}

/// Asserts that the records of each partition are the offsets from 0 on, in order, without gap or repetition.
#[track_caller]
pub(crate) fn assert_contiguous(records: &[Record]) {
    let mut next = BTreeMap::new();
    for record in records {
        let expected = next.entry(record.partition).or_insert(0);
        assert_eq!(record.offset, *expected, "partition {}", record.partition);
        *expected += 1;
    }
}
