//! The partitions a consumer owns: generation, next position, and whether each must be paused.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use rdkafka::{error::KafkaError, topic_partition_list::TopicPartitionList};
use tracing::{debug, warn};

use crate::credit::{PartitionAccount, TotalAccount};

/// One owned partition.
pub(super) struct Partition {
    pub(super) generation: u64,
    pub(super) account: Arc<PartitionAccount>,
    /// Offset of the next record to hand over.
    pub(super) position: i64,
    /// Its position is not in the log; librdkafka has stopped fetching it until a seek.
    pub(super) out_of_range: bool,
    /// Being revoked: nothing more is handed over, but it can still be committed.
    pub(super) revoking: bool,
    /// What librdkafka was told last, and has carried out.
    paused: bool,
}

impl Partition {
    /// Whether the partition has just reached its own mark.
    pub(super) fn is_full(&self) -> bool {
        self.account.is_newly_full()
    }

    /// Whether librdkafka has paused it.
    pub(super) fn is_paused(&self) -> bool {
        self.paused
    }
}

/// All owned partitions.
pub(super) struct Partitions {
    topics: HashMap<Arc<str>, BTreeMap<i32, Partition>>,
    total: Arc<TotalAccount>,
}

impl Partitions {
    pub(super) fn new(total: Arc<TotalAccount>) -> Partitions {
        Partitions { topics: HashMap::new(), total }
    }

    pub(super) fn insert(&mut self, topic: &Arc<str>, partition: i32, generation: u64, position: i64) {
        let owned = Partition {
            generation,
            account: PartitionAccount::new(Arc::clone(&self.total)),
            position,
            out_of_range: false,
            revoking: false,
            paused: false,
        };
        self.topics.entry(Arc::clone(topic)).or_default().insert(partition, owned);
    }

    pub(super) fn remove(&mut self, topic: &str, partition: i32) -> Option<Partition> {
        self.topics.get_mut(topic)?.remove(&partition)
    }

    pub(super) fn get(&self, topic: &str, partition: i32) -> Option<&Partition> {
        self.topics.get(topic)?.get(&partition)
    }

    /// The partition and the shared form of its topic's name.
    pub(super) fn get_mut(&mut self, topic: &str, partition: i32) -> Option<(Arc<str>, &mut Partition)> {
        let name = Arc::clone(self.topics.get_key_value(topic)?.0);
        Some((name, self.topics.get_mut(topic)?.get_mut(&partition)?))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.topics.values().all(BTreeMap::is_empty)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&Arc<str>, i32, &Partition)> {
        self.topics
            .iter()
            .flat_map(|(topic, owned)| owned.iter().map(move |(id, partition)| (topic, *id, partition)))
    }

    /// Whether the consumer's total has just reached its mark.
    pub(super) fn total_is_full(&self) -> bool {
        self.total.is_newly_full()
    }

    /// Pauses and resumes what the outstanding bytes ask for, by two calls to the client at most. What the client does
    /// not carry out is asked for again by the next call.
    pub(super) fn apply_marks(
        &mut self,
        pause: impl FnOnce(&TopicPartitionList) -> Result<(), KafkaError>,
        resume: impl FnOnce(&TopicPartitionList) -> Result<(), KafkaError>,
    ) {
        let is_total_full = self.total.apply_mark();
        let mut silent = 0;
        let (mut to_pause, mut to_resume) = (Vec::new(), Vec::new());
        for (topic, owned) in &mut self.topics {
            for (id, partition) in owned {
                let must_pause = partition.account.apply_mark(partition.position, is_total_full);
                silent += usize::from(must_pause || partition.out_of_range);
                if partition.paused == must_pause || partition.out_of_range || partition.revoking {
                    continue;
                }
                if must_pause { &mut to_pause } else { &mut to_resume }.push((Arc::clone(topic), *id));
            }
        }
        self.total.set_paused_partitions(silent);
        self.apply(&to_pause, true, pause);
        self.apply(&to_resume, false, resume);
    }

    /// The client answers for each partition in the list itself. It skips one that it does not know, such as one whose
    /// assignment the owner has not acknowledged yet, and calls that a success.
    fn apply(
        &mut self,
        partitions: &[(Arc<str>, i32)],
        paused: bool,
        call: impl FnOnce(&TopicPartitionList) -> Result<(), KafkaError>,
    ) {
        if partitions.is_empty() {
            return;
        }
        let mut list = TopicPartitionList::with_capacity(partitions.len());
        for (topic, partition) in partitions {
            list.add_partition(topic, *partition);
        }
        if let Err(error) = call(&list) {
            warn!(paused, error = %error, "partitions could not be paused or resumed");
            return;
        }
        for element in list.elements() {
            let (topic, id) = (element.topic(), element.partition());
            match element.error() {
                Ok(()) => {
                    if let Some((_, partition)) = self.get_mut(topic, id) {
                        partition.paused = paused;
                    }
                }
                Err(error) => {
                    debug!(topic, partition = id, paused, error = %error, "partition was passed over");
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
