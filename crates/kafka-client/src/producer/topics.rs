//! Partition counts and floors of the topics a producer writes to, kept fresh by a thread of their own.
//!
//! A topic is looked up when it is first asked for, again each second until it is found, then each minute, so that
//! added partitions are used without a restart. The same thread notices that a broker answers again.
//!
//! A partition's *floor* is an offset below which no record that is sent from now on can land: the end of the log when
//! the topic was found, or one past the last acknowledged record. Whoever may have to look for a record later starts
//! reading there. A partition that acknowledges nothing for a minute is asked for its end, so that others' records do
//! not make the way long.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError, RwLock, Weak,
        atomic::{AtomicBool, AtomicI64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use tracing::{info, warn};

use super::{Instance, Shared};
use crate::{
    doorbell::{Doorbell, Listener},
    error::ClientError,
};

const REFRESH_INTERVAL: Duration = Duration::from_secs(60);
/// Well below what whoever watches the thread allows.
const LONGEST_WAIT: Duration = Duration::from_secs(15);
const RETRY_INTERVAL: Duration = Duration::from_secs(1);
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);
/// For the end of one partition, which a broker knows at once; a partition without a leader must not hold the others up.
const END_TIMEOUT: Duration = Duration::from_secs(1);
/// Topic names come from the configuration, or from an operator's command; more than this is a programming error, and
/// further ones are simply never known.
const MAX_TOPICS: usize = 1024;

/// Topic → what is known of it.
#[derive(Debug, Default)]
pub(super) struct TopicDirectory(RwLock<HashMap<Arc<str>, Entry>>);

#[derive(Clone, Debug)]
struct Entry {
    /// One for each partition; `None` while the topic is not known.
    floors: Option<Arc<[Floor]>>,
    due: Instant,
}

#[derive(Debug, Default)]
struct Floor {
    offset: AtomicI64,
    /// A record was acknowledged since the last refresh.
    has_moved: AtomicBool,
}

impl Floor {
    fn raise(&self, offset: i64) {
        self.offset.fetch_max(offset, Ordering::AcqRel);
    }
}

impl TopicDirectory {
    pub(super) fn partition_count(&self, topic: &str, doorbell: &Doorbell) -> Option<i32> {
        if let Some(entry) = self.0.read().unwrap_or_else(PoisonError::into_inner).get(topic) {
            return entry.floors.as_deref().map(count_of);
        }
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() < MAX_TOPICS {
            entries.entry(Arc::from(topic)).or_insert(Entry { floors: None, due: Instant::now() });
            doorbell.ring();
        }
        None
    }

    pub(super) fn floor(&self, topic: &str, partition: i32) -> i64 {
        self.with_floor(topic, partition, |floor| floor.offset.load(Ordering::Acquire)).unwrap_or(0)
    }

    /// A record lies at `offset`; negative when the broker did not say where.
    pub(super) fn acked(&self, topic: &str, partition: i32, offset: i64) {
        if offset >= 0 {
            self.with_floor(topic, partition, |floor| {
                floor.raise(offset + 1);
                floor.has_moved.store(true, Ordering::Relaxed);
            });
        }
    }

    fn with_floor<T>(&self, topic: &str, partition: i32, work: impl FnOnce(&Floor) -> T) -> Option<T> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let floors = entries.get(topic)?.floors.as_ref()?;
        floors.get(usize::try_from(partition).ok()?).map(work)
    }

    fn floors(&self, topic: &str) -> Option<Arc<[Floor]>> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(topic)?.floors.clone()
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
    fn note(&self, topic: &str, answer: Result<Option<Arc<[Floor]>>, ()>, now: Instant) {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let Some(entry) = entries.get_mut(topic) else { return };
        let is_known = matches!(answer, Ok(Some(_)));
        if let Ok(floors) = answer {
            let (before, after) = (entry.floors.as_deref().map(count_of), floors.as_deref().map(count_of));
            if before != after {
                match after {
                    Some(partitions) => info!(topic, partitions, "topic found"),
                    None => warn!(topic, "topic is gone"),
                }
            }
            entry.floors = floors;
        }
        entry.due = now + if is_known { REFRESH_INTERVAL } else { RETRY_INTERVAL };
    }
}

fn count_of(floors: &[Floor]) -> i32 {
    i32::try_from(floors.len()).expect("partition counts come from the broker as i32")
}

/// Runs until the last clone of the producer is gone, or a thread of a higher number has taken its place.
pub(super) fn spawn_refresh(
    shared: Weak<Shared>,
    listener: Arc<Mutex<Listener>>,
    number: usize,
) -> Result<(), ClientError> {
    let refresh = move || {
        let mut wait = Duration::ZERO;
        loop {
            let is_heard = listener.lock().unwrap_or_else(PoisonError::into_inner).wait(wait);
            let Some(shared) = shared.upgrade().filter(|_| is_heard) else { return };
            if shared.refreshing.load(Ordering::Acquire) != number {
                // The ring may have been meant for the other.
                return shared.doorbell.ring();
            }
            wait = shared.refresh_topics().min(LONGEST_WAIT);
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
        self.metadata_turns();
        for topic in due {
            let answer = instance.fetch_partition_count(&topic, LOOKUP_TIMEOUT).map_err(drop);
            if answer.is_ok() {
                self.status.answered();
            }
            let floors = answer.map(|count| count.map(|count| self.fresh_floors(&instance, &topic, count)));
            self.topics.note(&topic, floors, Instant::now());
            self.metadata_turns();
        }
        let idle = if self.status.is_connected() { REFRESH_INTERVAL } else { RETRY_INTERVAL };
        let until_due = self.topics.next_due().map(|due| due.saturating_duration_since(Instant::now()));
        until_due.map_or(idle, |until_due| until_due.min(idle))
    }

    fn metadata_turns(&self) {
        if let Some(heartbeats) = self.heartbeats.get() {
            heartbeats.metadata.beat();
        }
    }

    /// The floors of a topic with `count` partitions: those that are known, raised where nothing was acknowledged lately.
    fn fresh_floors(&self, instance: &Instance, topic: &str, count: i32) -> Arc<[Floor]> {
        let known = self.topics.floors(topic).filter(|floors| count_of(floors) == count);
        // Another count is another topic, or has new partitions: whatever is known of the old ones is asked again.
        let floors = known.unwrap_or_else(|| (0..count).map(|_| Floor::default()).collect());
        for (partition, floor) in (0..count).zip(floors.iter()) {
            self.metadata_turns();
            if !floor.has_moved.swap(false, Ordering::Relaxed)
                && let Some(end) = instance.fetch_end(topic, partition, END_TIMEOUT)
            {
                // Also when that is lower: then the topic was made anew.
                floor.offset.store(end, Ordering::Release);
            }
        }
        floors
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doorbell::doorbell;

    fn floors(count: usize) -> Option<Arc<[Floor]>> {
        Some((0..count).map(|_| Floor::default()).collect())
    }

    #[test]
    fn known_count_survives_a_lookup_without_answer_and_dies_with_the_topic() {
        let (bell, listener) = doorbell();
        let directory = TopicDirectory::default();
        assert_eq!(directory.partition_count("otlp_logs", &bell), None);
        assert!(listener.wait(Duration::ZERO), "the first question rings");
        let now = Instant::now();
        assert_eq!(directory.due(now), [Arc::from("otlp_logs")]);
        directory.note("otlp_logs", Ok(floors(12)), now);
        assert_eq!(directory.partition_count("otlp_logs", &bell), Some(12));
        assert!(directory.due(now + RETRY_INTERVAL).is_empty(), "known topics wait a minute");
        directory.note("otlp_logs", Err(()), now);
        assert_eq!(directory.partition_count("otlp_logs", &bell), Some(12));
        assert_eq!(directory.due(now + RETRY_INTERVAL).len(), 1, "a failed lookup is repeated soon");
        directory.note("otlp_logs", Ok(None), now);
        assert_eq!(directory.partition_count("otlp_logs", &bell), None);
    }

    #[test]
    fn floor_follows_the_acknowledged_records_and_never_falls() {
        let (bell, _listener) = doorbell();
        let directory = TopicDirectory::default();
        directory.partition_count("otlp_logs", &bell);
        assert_eq!(directory.floor("otlp_logs", 1), 0, "nothing is known: the whole log");
        directory.note("otlp_logs", Ok(floors(2)), Instant::now());
        directory.acked("otlp_logs", 1, 41);
        directory.acked("otlp_logs", 1, 40);
        directory.acked("otlp_logs", 1, -1);
        directory.acked("otlp_logs", 7, 99);
        assert_eq!((directory.floor("otlp_logs", 0), directory.floor("otlp_logs", 1)), (0, 42));
    }
}
