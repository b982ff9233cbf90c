//! Reads topics and their dead-letter topics from the start to the end, as any consumer would.

use std::collections::HashMap;

use anyhow::{Context, Result, bail};
use kafka_client::{ConnectionConfig, Consumer, ConsumerConfig, ConsumerEvent, Record, admin};
use telemetry_wire::headers::{self, dead_letter};
use telemetry_wire::{Signal, dead_letter_topic};
use tokio::sync::mpsc::Receiver;
use tokio::time::{Instant, timeout_at};

use super::item::{self, Id, Reading};
use super::verdict::Holdings;
use crate::process::PATIENCE;

/// What a record's position says about the order of its sender: topic, partition, sender.
type Lane = (String, i32, u32);

/// A consumer of all topics of a scene that remembers what it has read.
#[derive(Debug)]
pub struct Reader {
    connection: ConnectionConfig,
    topics: Vec<(String, Signal, bool)>,
    consumer: Consumer,
    events: Receiver<ConsumerEvent>,
    next: HashMap<(String, i32), i64>,
    last: HashMap<Lane, u64>,
    holdings: Holdings,
}

impl Reader {
    /// Starts to read the topics of `topic_of` and their dead-letter topics; the group is used once.
    ///
    /// # Errors
    /// The consumer cannot be started.
    pub fn start(brokers: &str, group: &str, topic_of: impl Fn(Signal) -> String) -> Result<Self> {
        let brokers: Vec<&str> = brokers.split(',').collect();
        let connection = ConnectionConfig::plaintext(&brokers, "oracle");
        let topics: Vec<_> = Signal::ALL
            .into_iter()
            .flat_map(|signal| {
                let topic = topic_of(signal);
                [(dead_letter_topic(&topic), signal, true), (topic, signal, false)]
            })
            .collect();
        let names: Vec<&str> = topics.iter().map(|(name, ..)| name.as_str()).collect();
        let config = ConsumerConfig::new(connection.clone(), group);
        let (consumer, events) = Consumer::start(&config, &names).context("start the oracle's consumer")?;
        let (next, last, holdings) = (HashMap::new(), HashMap::new(), Holdings::default());
        Ok(Self { connection, topics, consumer, events, next, last, holdings })
    }

    /// Reads everything that is in the topics at the time of the call; what has been read so far, all in all.
    ///
    /// # Errors
    /// The brokers do not answer, or the end is not reached within [`PATIENCE`].
    pub async fn read_to_the_end(&mut self) -> Result<&Holdings> {
        let mut ends = HashMap::new();
        for (topic, ..) in &self.topics {
            let marks = admin::watermarks(&self.connection, topic).await;
            for mark in marks.with_context(|| format!("ask where {topic} ends"))? {
                if mark.high > mark.low {
                    ends.insert((topic.clone(), mark.partition), mark.high);
                }
            }
        }
        let deadline = Instant::now() + PATIENCE;
        while ends.iter().any(|(place, end)| self.next.get(place).copied().unwrap_or(0) < *end) {
            let event = timeout_at(deadline, self.events.recv()).await;
            match event.context("the topics were not read to their end in time")? {
                Some(ConsumerEvent::Record(record)) => self.take(&record),
                Some(ConsumerEvent::OffsetOutOfRange { topic, .. }) => bail!("{topic} was cut"),
                // Rebalances acknowledge themselves; errors heal or end in the timeout.
                Some(_) => {}
                None => bail!("the oracle's consumer has ended"),
            }
        }
        Ok(&self.holdings)
    }

    /// Leaves the group.
    pub async fn close(self) -> Holdings {
        let Self { consumer, mut events, holdings, .. } = self;
        // Somebody has to receive meanwhile, or leaving takes all of its time.
        let drain = async { while events.recv().await.is_some() {} };
        tokio::join!(consumer.shutdown(), drain);
        holdings
    }

    fn take(&mut self, record: &Record) {
        let topic = record.topic.to_string();
        self.next.insert((topic.clone(), record.partition), record.offset + 1);
        let Some((_, signal, is_dead)) = self.topics.iter().find(|(name, ..)| *name == topic) else { return };
        let (signal, is_dead) = (*signal, *is_dead);
        if header(record, dead_letter::REDRIVEN).is_some() {
            return;
        }
        self.holdings.records += 1;
        if is_dead {
            let reason = header(record, dead_letter::REASON).unwrap_or_default();
            *self.holdings.reasons.entry(reason).or_default() += 1;
            if header(record, dead_letter::ORIGINAL_BYTES).is_some() {
                // Only the head is there; what can be seen of it must do.
                for id in item::ids_in_head(&record.value) {
                    self.holdings.copies.entry(id).or_default().dead += 1;
                }
                return;
            }
        }
        let place = || format!("{topic} {}@{}", record.partition, record.offset);
        match item::read(signal, &record.value) {
            Ok(readings) => {
                self.check_count(record, readings.len(), &place());
                for reading in readings {
                    self.note(reading, (&topic, record.partition), is_dead, &place());
                }
            }
            Err(_) => self.holdings.unreadable.push(record.value.to_vec()),
        }
    }

    fn note(&mut self, reading: Reading, place: (&str, i32), is_dead: bool, words: &str) {
        let id = match reading {
            Reading::Stranger => return self.holdings.bent.push(format!("{words}: an item without id")),
            Reading::Bent(id) => {
                self.holdings.bent.push(format!("{words}: {id}"));
                id
            }
            Reading::Intact(id) => id,
        };
        let copies = self.holdings.copies.entry(id).or_default();
        if is_dead {
            copies.dead += 1;
            return;
        }
        copies.topic += 1;
        self.note_order(id, place);
    }

    /// Counts a first appearance that comes after a later one.
    fn note_order(&mut self, id: Id, (topic, partition): (&str, i32)) {
        let last = self.last.entry((topic.to_owned(), partition, id.sender)).or_insert(id.number);
        if id.number < *last {
            self.holdings.steps_back += 1;
        }
        *last = id.number.max(*last);
    }

    /// The header that hubs count by must be right.
    fn check_count(&mut self, record: &Record, items: usize, place: &str) {
        if let Some(said) = header(record, headers::ITEM_COUNT)
            && said != items.to_string()
        {
            self.holdings.bent.push(format!("{place}: the header says {said} items, there are {items}"));
        }
    }
}

fn header(record: &Record, name: &str) -> Option<String> {
    let (_, value) = record.headers.iter().find(|(key, _)| key == name)?;
    Some(String::from_utf8_lossy(value).into_owned())
}
