//! Partition counts of the topics a producer writes to, kept fresh by a thread of their own.
//!
//! A topic is looked up when it is first asked for, again each second until it is found, then each minute, so that
//! added partitions are used without a restart. The same thread notices that a broker answers again.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock, Weak},
    thread,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::Shared;
use crate::{
    doorbell::{Doorbell, Listener},
    error::ClientError,
};

const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// Topic names come from the configuration, or from an operator's command; more than this is a programming error, and
/// further ones are simply never known.
const MAX_TOPICS: usize = 1024;

/// Topic → what is known of it.
#[derive(Debug, Default)]
pub(super) struct TopicDirectory(RwLock<HashMap<Arc<str>, Entry>>);

#[derive(Clone, Copy, Debug)]
struct Entry {
    partitions: Option<i32>,
    due: Instant,
}

impl TopicDirectory {
    pub(super) fn partition_count(&self, topic: &str, doorbell: &Doorbell) -> Option<i32> {
        if let Some(entry) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(topic) {
            return entry.partitions;
        }
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() < MAX_TOPICS {
            entries.entry(Arc::from(topic)).or_insert(Entry { partitions: None, due: Instant::now() });
            doorbell.ring();
        }
        None
    }

    fn due(&self, now: Instant) -> Vec<Arc<str>> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.iter().filter(|(_, entry)| entry.due <= now).map(|(topic, _)| Arc::clone(topic)).collect()
    }

    fn next_due(&self) -> Option<Instant> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().map(|entry| entry.due).min()
    }

    /// Notes an answer (`Ok(None)`: there is no such topic). Without an answer the last known count stays.
    fn note(&self, topic: &str, answer: Result<Option<i32>, ()>, now: Instant) {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get_mut(topic) else { return };
        if let Ok(partitions) = answer {
            if entry.partitions != partitions {
                match partitions {
                    Some(partitions) => info!(topic, partitions, "topic found"),
                    None => warn!(topic, "topic is gone"),
                }
            }
            entry.partitions = partitions;
        }
        let known = answer.is_ok_and(|partitions| partitions.is_some());
        entry.due = now + if known { REFRESH_INTERVAL } else { RETRY_INTERVAL };
    }
}

/// Runs until the last clone of the producer is gone.
pub(super) fn spawn_refresh(shared: Weak<Shared>, listener: Listener) -> Result<(), ClientError> {
    let refresh = move || {
        let mut wait = Duration::ZERO;
        while listener.wait(wait) {
            let Some(shared) = shared.upgrade() else { return };
            wait = shared.refresh_topics();
        }
    };
    thread::Builder::new()
        .name("kafka-metadata".to_owned())
        .spawn(refresh)
        .map(drop)
        .map_err(ClientError::Thread)
}

impl Shared {
    /// Looks up what is due and returns how long there is nothing to do.
    fn refresh_topics(&self) -> Duration {
        let instance = self.read_instance();
        let due = self.topics.due(Instant::now());
        if due.is_empty() && !self.status.is_connected() && instance.probe(LOOKUP_TIMEOUT) {
            self.status.answered();
        }
        for topic in due {
            let answer = instance.fetch_partition_count(&topic, LOOKUP_TIMEOUT).map_err(drop);
            if answer.is_ok() {
                self.status.answered();
            }
            self.topics.note(&topic, answer, Instant::now());
        }
        let idle = if self.status.is_connected() { REFRESH_INTERVAL } else { RETRY_INTERVAL };
        let until_due = self.topics.next_due().map(|due| due.saturating_duration_since(Instant::now()));
        until_due.map_or(idle, |until_due| until_due.min(idle))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell::doorbell;

    #[test]
    fn known_count_survives_a_lookup_without_answer_and_dies_with_the_topic() {
        let (bell, listener) = doorbell();
        let directory = TopicDirectory::default();
        assert_eq!(directory.partition_count("otlp_logs", &bell), None);
        assert!(listener.wait(Duration::ZERO), "the first question rings");
        let now = Instant::now();
        assert_eq!(directory.due(now), [Arc::from("otlp_logs")]);
        directory.note("otlp_logs", Ok(Some(12)), now);
        assert_eq!(directory.partition_count("otlp_logs", &bell), Some(12));
        assert!(directory.due(now + RETRY_INTERVAL).is_empty(), "known topics wait a minute");
        directory.note("otlp_logs", Err(()), now);
        assert_eq!(directory.partition_count("otlp_logs", &bell), Some(12));
        assert_eq!(directory.due(now + RETRY_INTERVAL).len(), 1, "a failed lookup is repeated soon");
        directory.note("otlp_logs", Ok(None), now);
        assert_eq!(directory.partition_count("otlp_logs", &bell), None);
    }
}
