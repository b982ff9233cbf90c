//! The thread that polls: one step after another, none of which waits for anything but the doorbell.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::Ordering,
        mpsc::{Receiver, channel},
    },
    thread,
    time::{Duration, Instant},
};

use bytes::Bytes;
use rdkafka::{
    Message,
    consumer::{BaseConsumer, Consumer},
    error::{KafkaError, RDKafkaErrorCode},
    message::{BorrowedMessage, Headers},
    topic_partition_list::Offset,
};
use tokio::sync::{mpsc, oneshot};
use tracing::{debug, info, warn};

use super::{
    Command, CommitReply, Inbox, LEAVE_TIMEOUT, Shared,
    commits::PendingCommits,
    context::{Context, code_of},
    lookup::{Answer, Lookups, Owned, Question},
    outlet::Outlet,
    partitions::Partitions,
    rebalance::{Rebalancer, Surroundings},
};
use crate::{
    config::ConsumerConfig,
    connection::ConnectionStatus,
    credit::record_cost,
    doorbell::Listener,
    error::{ClientError, CommitError, ConsumerError},
    event::{CommitOffset, ConsumerEvent, Record},
};

/// Longest wait for the doorbell. Everything of interest rings it; this covers deadlines, and events that librdkafka
/// had queued behind one that it handled by itself.
const IDLE_WAIT: Duration = Duration::from_millis(250);
/// Wait while the owner's channel is full, since nothing rings when it has room again.
const BACKLOG_WAIT: Duration = Duration::from_millis(5);
/// Records polled before commands and acknowledgements are looked at again.
const RECORDS_PER_STEP: usize = 256;
/// Long enough for librdkafka to hand out the event behind a log line, short enough not to delay anything.
const POLL_TIMEOUT: Duration = Duration::from_millis(1);
/// Between two questions whether a broker answers, while none does.
const PROBE_INTERVAL: Duration = Duration::from_secs(1);

pub(super) struct PollLoop {
    client: Arc<BaseConsumer<Context>>,
    inbox: Inbox,
    lookups: Lookups,
    answers: Receiver<Answer>,
    partitions: Partitions,
    rebalancer: Rebalancer,
    commits: PendingCommits,
    outlet: Outlet,
    status: Arc<ConnectionStatus>,
    range_check: RangeCheck,
    probe_at: Option<Instant>,
}

/// librdkafka says *that* a position is not in the log, not which one; the lookup finds out.
#[derive(Clone, Copy, PartialEq)]
enum RangeCheck {
    None,
    Wanted,
    Asked,
}

impl PollLoop {
    pub(super) fn new(
        config: &ConsumerConfig,
        topics: Vec<String>,
        client: Arc<BaseConsumer<Context>>,
        inbox: Inbox,
        events: mpsc::Sender<ConsumerEvent>,
        shared: Shared,
    ) -> Result<PollLoop, ClientError> {
        let Shared { doorbell, status, account } = shared;
        let (answer_sender, answers) = channel();
        let lookups =
            Lookups::start(Arc::clone(&client), config.initial_offset, answer_sender, doorbell.clone())?;
        Ok(PollLoop {
            client,
            inbox,
            lookups,
            answers,
            partitions: Partitions::new(account),
            rebalancer: Rebalancer::new(topics, config.rebalance_timeout, doorbell),
            commits: PendingCommits::default(),
            outlet: Outlet::new(events),
            status,
            range_check: RangeCheck::None,
            probe_at: Some(Instant::now()),
        })
    }

    pub(super) fn spawn(self, listener: Listener, finish: oneshot::Sender<()>) -> Result<(), ClientError> {
        let run = move || {
            self.run(&listener);
            // Nobody may be waiting.
            let _ = finish.send(());
        };
        thread::Builder::new()
            .name("kafka-consumer".to_owned())
            .spawn(run)
            .map(drop)
            .map_err(ClientError::Thread)
    }

    fn run(mut self, listener: &Listener) {
        while !self.inbox.leaving.load(Ordering::Acquire) && !self.outlet.is_closed() {
            self.step(listener);
        }
        self.leave(listener);
    }

    fn step(&mut self, listener: &Listener) {
        let more = self.poll_records();
        self.take_commands();
        self.take_answers();
        let now = Instant::now();
        let (rebalancer, mut around) = self.rebalancer_and_surroundings();
        rebalancer.step(&mut around, now);
        self.ask_questions(now);
        self.commits.expire(now);
        self.outlet.drain();
        self.apply_marks();
        if !more {
            listener.wait(if self.outlet.has_backlog() { BACKLOG_WAIT } else { IDLE_WAIT });
        }
    }

    /// Gives everything back in order, then closes the client.
    fn leave(mut self, listener: &Listener) {
        info!("leaving the consumer group");
        self.client.unsubscribe();
        let deadline = Instant::now() + LEAVE_TIMEOUT;
        let given_back = |this: &PollLoop| {
            this.rebalancer.is_idle() && this.partitions.is_empty() && this.commits.is_empty()
        };
        while !given_back(&self) && Instant::now() < deadline {
            self.rebalancer.cancel_rejoin();
            self.step(listener);
        }
        if !given_back(&self) {
            warn!("leaving although not everything was acknowledged or committed");
        }
        self.client.context().begin_closing();
        self.take_notices();
        let (rebalancer, mut around) = self.rebalancer_and_surroundings();
        rebalancer.abandon(&mut around);
        // The owner's ends close first: what follows waits for brokers, and nothing more can come of it.
        drop((self.inbox, self.commits, self.outlet));
        self.lookups.finish();
        // The last reference, unless a lookup of the owner is under way: dropping it leaves the group.
        drop(self.client);
    }

    /// Polls until the queue is empty or the step is full. True when there may be more.
    fn poll_records(&mut self) -> bool {
        let client = Arc::clone(&self.client);
        for _ in 0..RECORDS_PER_STEP {
            match client.poll(POLL_TIMEOUT) {
                Some(Ok(message)) => self.take_record(&message),
                Some(Err(error)) => self.take_error(&error),
                // Either the queue is empty, or a callback has noted something.
                None if self.take_notices() => {}
                None => return false,
            }
        }
        true
    }

    fn take_record(&mut self, message: &BorrowedMessage<'_>) {
        self.status.answered();
        let (offset, id) = (message.offset(), message.partition());
        let Some((topic, partition)) = self.partitions.get_mut(message.topic(), id) else {
            debug!(
                topic = message.topic(),
                partition = id,
                offset,
                "record of a partition that is not owned"
            );
            return;
        };
        if partition.revoking || offset < partition.position {
            debug!(%topic, partition = id, offset, "record that was not asked for");
            return;
        }
        let is_pass_over = partition.account.is_pass_over(partition.position, offset + 1);
        partition.position = offset + 1;
        let headers = owned_headers(message);
        let bytes = record_cost(message.key_len() + message.payload_len(), &headers);
        let credit = partition.account.charge(bytes);
        let partition_is_full = partition.is_full();
        let record = Record {
            topic,
            partition: id,
            offset,
            timestamp_ms: message.timestamp().to_millis(),
            key: message.key().map(Bytes::copy_from_slice),
            value: message.payload().map(Bytes::copy_from_slice).unwrap_or_default(),
            headers,
            generation: partition.generation,
            credit,
        };
        self.outlet.push(ConsumerEvent::Record(record));
        if is_pass_over || partition_is_full || self.partitions.total_is_full() {
            self.apply_marks();
        }
    }

    fn apply_marks(&mut self) {
        let client = &self.client;
        self.partitions.apply_marks(|list| client.pause(list), |list| client.resume(list));
    }

    fn take_error(&mut self, error: &KafkaError) {
        use RDKafkaErrorCode as Code;
        let code = code_of(error);
        let event = match code {
            Code::AutoOffsetReset => {
                self.range_check = RangeCheck::Wanted;
                return;
            }
            _ if matches!(error, KafkaError::MessageConsumptionFatal(_)) || code == Code::Fatal => {
                self.outlet.push(ConsumerEvent::Error(ConsumerError::Fatal(code.into())));
                return;
            }
            // The connection's state, which the log and readiness tell.
            Code::AllBrokersDown | Code::BrokerTransportFailure | Code::Resolve | Code::OperationTimedOut => {
                return;
            }
            Code::UnknownTopic
            | Code::UnknownTopicOrPartition
            | Code::UnknownPartition
            | Code::TopicAuthorizationFailed => ConsumerError::Topic(code.into()),
            Code::GroupAuthorizationFailed | Code::InvalidGroupId => ConsumerError::Group(code.into()),
            _ => ConsumerError::Other(code.into()),
        };
        self.outlet.offer(ConsumerEvent::Error(event));
    }

    /// What the callbacks noted during the last poll. False when nothing.
    fn take_notices(&mut self) -> bool {
        let mut any = false;
        while let Ok(notice) = self.inbox.notices.rebalances.try_recv() {
            self.status.answered();
            self.rebalancer.notice(notice);
            any = true;
        }
        while let Ok(report) = self.inbox.notices.commits.try_recv() {
            self.commits.settle(report);
            any = true;
        }
        any
    }

    fn take_commands(&mut self) {
        while let Ok(command) = self.inbox.commands.try_recv() {
            match command {
                Command::Commit { generation, offsets, reply } => self.commit(generation, &offsets, reply),
                Command::Seek { generation, target, reply } => self.seek(generation, target, reply),
            }
        }
    }

    fn commit(&mut self, generation: u64, offsets: &[CommitOffset], reply: CommitReply) {
        let foreign = offsets.iter().find(|commit| {
            let owned = self.partitions.get(&commit.topic, commit.partition);
            owned.is_none_or(|owned| owned.generation != generation)
        });
        if let Some(foreign) = foreign {
            let stale = CommitError::Stale { topic: foreign.topic.to_string(), partition: foreign.partition };
            let _ = reply.send(Err(stale));
        } else if offsets.is_empty() {
            let _ = reply.send(Ok(()));
        } else {
            self.commits.issue(&self.client, offsets, reply);
        }
    }

    fn seek(&mut self, generation: u64, target: CommitOffset, reply: CommitReply) {
        let (id, offset) = (target.partition, target.offset);
        let owned = self.partitions.get_mut(&target.topic, id);
        let owned = owned.filter(|(_, owned)| owned.generation == generation && !owned.revoking);
        let result = match owned {
            None => Err(CommitError::Stale { topic: target.topic.to_string(), partition: id }),
            Some((_, owned)) if owned.out_of_range => {
                self.commits.issue(&self.client, &[target], reply);
                self.rebalancer.want_rejoin();
                return;
            }
            // Without a time limit of its own the call only queues the seek.
            Some((topic, owned)) => {
                let queued = self.client.seek(&topic, id, Offset::Offset(offset), Duration::ZERO);
                if queued.is_ok() {
                    owned.position = offset;
                    self.outlet.forget_records(&topic, id);
                }
                queued.map_err(|error| CommitError::Failed(error.into()))
            }
        };
        // The owner may have stopped waiting.
        let _ = reply.send(result);
    }

    fn take_answers(&mut self) {
        while let Ok(answer) = self.answers.try_recv() {
            match answer {
                Answer::StartPositions(answer) => {
                    if answer.is_ok() {
                        self.status.answered();
                    }
                    let (rebalancer, mut around) = self.rebalancer_and_surroundings();
                    rebalancer.positions(answer, &mut around, Instant::now());
                }
                Answer::Ranges(ranges) => {
                    self.range_check = RangeCheck::None;
                    let known = ranges.into_iter().map(|(owned, range)| self.judge_range(&owned, range));
                    if known.fold(false, |any, found| any | found) || self.range_check == RangeCheck::Wanted {
                        continue;
                    }
                    warn!("a partition was stopped for its position, yet all positions are in their logs");
                    self.rebalancer.want_rejoin();
                }
                Answer::Probe(answered) => {
                    if answered {
                        self.status.answered();
                    }
                    self.probe_at = Some(Instant::now() + PROBE_INTERVAL);
                }
            }
        }
    }

    /// librdkafka has stopped fetching one of its partitions for its position. Tells the owner if it is this one, and
    /// returns whether it is.
    fn judge_range(&mut self, owned: &Owned, range: Result<(i64, i64), KafkaError>) -> bool {
        let Some((topic, partition)) = self.partitions.get_mut(&owned.topic, owned.partition) else {
            return false;
        };
        if partition.generation != owned.generation || partition.revoking {
            return false;
        }
        let (low, high) = match range {
            Ok(range) => range,
            Err(error) => {
                warn!(%topic, partition = owned.partition, error = %error, "watermarks could not be read");
                self.range_check = RangeCheck::Wanted;
                return false;
            }
        };
        let (generation, position) = (owned.generation, partition.position);
        if (low..=high).contains(&position) {
            return false;
        }
        partition.out_of_range = true;
        let partition = owned.partition;
        self.outlet.push(ConsumerEvent::OffsetOutOfRange {
            generation,
            topic,
            partition,
            position,
            low,
            high,
        });
        true
    }

    fn ask_questions(&mut self, now: Instant) {
        if self.range_check == RangeCheck::Wanted {
            let positions =
                self.partitions.iter().filter(|(_, _, owned)| !owned.out_of_range && !owned.revoking);
            let positions = positions.map(|(topic, partition, owned)| Owned {
                topic: Arc::clone(topic),
                partition,
                generation: owned.generation,
            });
            if self.lookups.ask(Question::Ranges(positions.collect())) {
                self.range_check = RangeCheck::Asked;
            }
        }
        let probe_due = self.probe_at.is_some_and(|at| at <= now);
        if probe_due && !self.status.is_connected() && self.lookups.ask(Question::Probe) {
            self.probe_at = None;
        }
    }

    fn rebalancer_and_surroundings(&mut self) -> (&mut Rebalancer, Surroundings<'_>) {
        let around = Surroundings {
            client: &self.client,
            lookups: &self.lookups,
            partitions: &mut self.partitions,
            outlet: &mut self.outlet,
        };
        (&mut self.rebalancer, around)
    }
}

/// The binding panics on a header name that is not UTF-8, which any producer may send, and gives no other way to read
/// it. Such a header is left out: a poison record must not end the thread.
fn owned_headers(message: &BorrowedMessage<'_>) -> Vec<(String, Bytes)> {
    let Some(headers) = message.headers() else { return Vec::new() };
    let read = |index| {
        let header = headers.get(index);
        (header.key.to_owned(), header.value.map(Bytes::copy_from_slice).unwrap_or_default())
    };
    let readable = (0..headers.count()).filter_map(|index| {
        let header = catch_unwind(AssertUnwindSafe(|| read(index)));
        if header.is_err() {
            warn!(
                topic = message.topic(),
                offset = message.offset(),
                "header without a utf-8 name is left out"
            );
        }
        header.ok()
    });
    // Of the exact size, since its slots are charged: one that grows has up to twice as many.
    let mut owned = Vec::with_capacity(headers.count());
    owned.extend(readable);
    owned
}
