//! The thread that asks the cluster what the poll thread must not wait for.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, SyncSender, sync_channel},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, KafkaResult},
    topic_partition_list::TopicPartitionList,
};

use super::context::Context;
use crate::{
    admin::committed_offset,
    config::InitialOffset,
    doorbell::Doorbell,
    error::ClientError,
    event::{AssignedPartition, CommittedOffset},
};

/// One question; the poll thread asks again when it fails.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(5);

/// The poll thread asks one question of each kind at a time.
const QUESTIONS: usize = 4;

/// What the poll thread wants to know.
pub(super) enum Question {
    /// Where to start the partitions of an assignment.
    StartPositions(TopicPartitionList),
    /// Where the logs of these begin and end.
    Ranges(Vec<Owned>),
    /// Whether a broker answers.
    Probe,
}

/// An owned partition.
#[derive(Clone, Debug)]
pub(super) struct Owned {
    pub(super) topic: Arc<str>,
    pub(super) partition: i32,
    pub(super) generation: u64,
}

pub(super) enum Answer {
    StartPositions(KafkaResult<Vec<StartPosition>>),
    /// Each with its low and high watermark, where those could be had.
    Ranges(Vec<(Owned, KafkaResult<(i64, i64)>)>),
    Probe(bool),
}

/// A partition of an assignment, and the offset to read first.
pub(super) struct StartPosition {
    pub(super) assigned: AssignedPartition,
    pub(super) offset: i64,
}

/// The asking side. Dropping it ends the thread after the question under way.
pub(super) struct Lookups {
    questions: SyncSender<Question>,
    thread: JoinHandle<()>,
}

impl Lookups {
    pub(super) fn start(
        client: Arc<BaseConsumer<Context>>,
        initial: InitialOffset,
        answers: Sender<Answer>,
        doorbell: Doorbell,
    ) -> Result<Lookups, ClientError> {
        let (questions, receiver) = sync_channel(QUESTIONS);
        let thread = thread::Builder::new()
            .name("kafka-lookup".to_owned())
            .spawn(move || answer_all(&client, initial, &receiver, &answers, &doorbell))
            .map_err(ClientError::Thread)?;
        Ok(Lookups { questions, thread })
    }

    /// False when the thread is busy; ask again later.
    pub(super) fn ask(&self, question: Question) -> bool {
        self.questions.try_send(question).is_ok()
    }

    /// Waits for the question under way.
    pub(super) fn finish(self) {
        drop(self.questions);
        // A panic there has nothing left to harm.
        let _ = self.thread.join();
    }
}

fn answer_all(
    client: &BaseConsumer<Context>,
    initial: InitialOffset,
    questions: &Receiver<Question>,
    answers: &Sender<Answer>,
    doorbell: &Doorbell,
) {
    while let Ok(question) = questions.recv() {
        let answer = match question {
            Question::StartPositions(list) => Answer::StartPositions(start_positions(client, initial, &list)),
            Question::Ranges(partitions) => {
                let ranges = partitions.into_iter().map(|owned| {
                    let range = client.fetch_watermarks(&owned.topic, owned.partition, LOOKUP_TIMEOUT);
                    (owned, range)
                });
                Answer::Ranges(ranges.collect())
            }
            Question::Probe => Answer::Probe(client.fetch_metadata(None, LOOKUP_TIMEOUT).is_ok()),
        };
        if answers.send(answer).is_err() {
            return;
        }
        doorbell.ring();
    }
}

/// The committed offset of each partition, or else the end of the log that the settings name, as a number: from then
/// on a position that is not in the log is an error and never a jump.
fn start_positions(
    client: &BaseConsumer<Context>,
    initial: InitialOffset,
    list: &TopicPartitionList,
) -> Result<Vec<StartPosition>, KafkaError> {
    let mut asked = TopicPartitionList::with_capacity(list.count());
    for element in list.elements() {
        asked.add_partition(element.topic(), element.partition());
    }
    let answer = client.committed_offsets(asked, LOOKUP_TIMEOUT)?;
    let mut positions = Vec::with_capacity(answer.count());
    for element in answer.elements() {
        element.error()?;
        let (topic, partition) = (element.topic(), element.partition());
        let committed: Option<CommittedOffset> =
            committed_offset(element.offset(), || element.metadata().to_owned());
        let offset = match &committed {
            Some(committed) => committed.offset,
            None => {
                let (low, high) = client.fetch_watermarks(topic, partition, LOOKUP_TIMEOUT)?;
                match initial {
                    InitialOffset::Earliest => low,
                    InitialOffset::Latest => high,
                }
            }
        };
        let assigned = AssignedPartition { topic: Arc::from(topic), partition, committed };
        positions.push(StartPosition { assigned, offset });
    }
    Ok(positions)
}
