//! Rebalances as a state machine that the poll loop steps: notice → (lookup) → event → acknowledgement → answer.
//!
//! One rebalance is under way at a time; further notices wait. While it is, polling, commits and other partitions go
//! on. The order of steps is what the promises rest on:
//!
//! * assign: start positions are known → the new generation exists → the owner is told → *acknowledged* → fetching
//!   starts, so no record of a generation precedes its `Assigned`;
//! * revoke: records stop → the owner is told → *acknowledged* → the generation ends (later commits are stale) →
//!   the group is answered, and librdkafka resolves outstanding commits before it rejoins;
//! * lost: the generation ends first, so nothing is committed for partitions that may be someone else's.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::{BaseConsumer, Consumer},
    error::KafkaResult,
    topic_partition_list::{Offset, TopicPartitionList},
};
use tracing::{debug, info, warn};

use super::{
    context::{self, Context, RebalanceNotice},
    lookup::{Lookups, Question, StartPosition},
    outlet::Outlet,
    partitions::Partitions,
};
use crate::{
    doorbell::Doorbell,
    error::ConsumerError,
    event::{AckGuard, AckSignal, ConsumerEvent, RevokedPartition},
};

/// Between two attempts to learn the start positions.
const LOOKUP_RETRY: Duration = Duration::from_secs(1);

pub(super) struct Rebalancer {
    topics: Vec<String>,
    waiting: VecDeque<RebalanceNotice>,
    phase: Phase,
    rejoin: bool,
    generation: u64,
    ack_timeout: Duration,
    doorbell: Doorbell,
}

enum Phase {
    Idle,
    /// The positions have to be asked for (again) at `ask_at`.
    Positions {
        list: TopicPartitionList,
        ask_at: Option<Instant>,
    },
    /// The owner was told of an assignment.
    Assigning {
        list: TopicPartitionList,
        ack: Ack,
    },
    /// The owner was told of a revocation.
    Revoking {
        list: TopicPartitionList,
        ack: Ack,
    },
}

struct Ack {
    signal: Arc<AckSignal>,
    deadline: Instant,
}

/// What a step of the machine works on.
pub(super) struct Surroundings<'a> {
    pub(super) client: &'a BaseConsumer<Context>,
    pub(super) lookups: &'a Lookups,
    pub(super) partitions: &'a mut Partitions,
    pub(super) outlet: &'a mut Outlet,
}

impl Rebalancer {
    pub(super) fn new(topics: Vec<String>, ack_timeout: Duration, doorbell: Doorbell) -> Rebalancer {
        Rebalancer {
            topics,
            waiting: VecDeque::new(),
            phase: Phase::Idle,
            rejoin: false,
            generation: 0,
            ack_timeout,
            doorbell,
        }
    }

    /// Leave the group and join it again as soon as no rebalance is under way, which makes librdkafka start every
    /// partition anew at its committed offset. It is the only safe way to move a partition that librdkafka has
    /// stopped for its position: such a one ignores seeks, and assigning it anew by hand would be taken for the
    /// answer to a rebalance that is just beginning.
    pub(super) fn want_rejoin(&mut self) {
        self.rejoin = true;
    }

    pub(super) fn cancel_rejoin(&mut self) {
        self.rejoin = false;
    }

    pub(super) fn notice(&mut self, notice: RebalanceNotice) {
        self.waiting.push_back(notice);
    }

    pub(super) fn is_idle(&self) -> bool {
        matches!(self.phase, Phase::Idle) && self.waiting.is_empty()
    }

    /// Goes on as far as it can without waiting.
    pub(super) fn step(&mut self, around: &mut Surroundings<'_>, now: Instant) {
        loop {
            self.phase = match std::mem::replace(&mut self.phase, Phase::Idle) {
                Phase::Idle => match self.waiting.pop_front() {
                    Some(RebalanceNotice::Assign(list)) => Phase::Positions { list, ask_at: Some(now) },
                    Some(RebalanceNotice::Revoke(list)) => self.begin_revoke(list, around, now),
                    None => {
                        self.rejoin_if_wanted(around.client);
                        return;
                    }
                },
                Phase::Positions { list, ask_at } => {
                    if list.count() == 0 {
                        self.begin_assign(list, Vec::new(), around, now)
                    } else {
                        self.phase = ask_positions(list, ask_at, around.lookups, now);
                        return;
                    }
                }
                Phase::Assigning { list, ack } if ack.is_due(now, "assignment") => {
                    report(context::assign(around.client, &list), "assignment");
                    Phase::Idle
                }
                Phase::Revoking { list, ack } if ack.is_due(now, "revocation") => {
                    end_generation(&list, around);
                    report(context::unassign(around.client, &list), "revocation");
                    Phase::Idle
                }
                waiting => {
                    self.phase = waiting;
                    return;
                }
            };
        }
    }

    /// The answer to [`Question::StartPositions`].
    pub(super) fn positions(
        &mut self,
        answer: KafkaResult<Vec<StartPosition>>,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) {
        let Phase::Positions { list, .. } = std::mem::replace(&mut self.phase, Phase::Idle) else {
            debug!("start positions came when nobody waited for them");
            return;
        };
        self.phase = match answer {
            Ok(positions) => self.begin_assign(list, positions, around, now),
            Err(error) => {
                warn!(error = %error, "committed offsets could not be read, trying again");
                around.outlet.offer(ConsumerEvent::Error(ConsumerError::CommittedOffsets(error.into())));
                Phase::Positions { list, ask_at: Some(now + LOOKUP_RETRY) }
            }
        };
    }

    /// Answers what the group waits for, without the owner. A client with an unanswered rebalance never closes, since
    /// the answer is ours to give.
    pub(super) fn abandon(&mut self, around: &mut Surroundings<'_>) {
        let begun = match std::mem::replace(&mut self.phase, Phase::Idle) {
            Phase::Idle => None,
            Phase::Positions { list, .. } | Phase::Assigning { list, .. } => {
                Some(RebalanceNotice::Assign(list))
            }
            Phase::Revoking { list, .. } => Some(RebalanceNotice::Revoke(list)),
        };
        for notice in begun.into_iter().chain(self.waiting.drain(..)) {
            match notice {
                RebalanceNotice::Assign(list) => report(context::assign(around.client, &list), "assignment"),
                RebalanceNotice::Revoke(list) => {
                    end_generation(&list, around);
                    report(context::unassign(around.client, &list), "revocation");
                }
            }
        }
    }

    fn begin_assign(
        &mut self,
        mut list: TopicPartitionList,
        positions: Vec<StartPosition>,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Phase {
        self.generation += 1;
        let generation = self.generation;
        let mut partitions = Vec::with_capacity(positions.len());
        for StartPosition { assigned, offset } in positions {
            around.partitions.insert(&assigned.topic, assigned.partition, generation, offset);
            let set = list.set_partition_offset(&assigned.topic, assigned.partition, Offset::Offset(offset));
            report(set, "start position");
            partitions.push(assigned);
        }
        info!(generation, partitions = partitions.len(), "partitions assigned");
        let (guard, ack) = self.ack(now);
        let is_empty = partitions.is_empty();
        around.outlet.push(ConsumerEvent::Assigned { generation, partitions, ack: guard });
        if is_empty {
            // Nothing can be fetched too early, and the group waits for the answer.
            report(context::assign(around.client, &list), "assignment");
            return Phase::Idle;
        }
        Phase::Assigning { list, ack }
    }

    fn begin_revoke(
        &mut self,
        list: TopicPartitionList,
        around: &mut Surroundings<'_>,
        now: Instant,
    ) -> Phase {
        let lost = around.client.assignment_lost();
        let mut revoked = Vec::with_capacity(list.count());
        for element in list.elements() {
            let (id, name) = (element.partition(), element.topic());
            let Some((topic, owned)) = around.partitions.get_mut(name, id) else { continue };
            owned.revoking = true;
            revoked.push(RevokedPartition {
                topic: Arc::clone(&topic),
                partition: id,
                generation: owned.generation,
            });
            around.outlet.forget_records(&topic, id);
        }
        if lost {
            end_generation(&list, around);
        }
        info!(generation = self.generation, partitions = revoked.len(), lost, "partitions revoked");
        let (guard, ack) = self.ack(now);
        let generation = self.generation;
        around.outlet.push(ConsumerEvent::Revoked { generation, partitions: revoked, lost, ack: guard });
        Phase::Revoking { list, ack }
    }

    fn rejoin_if_wanted(&mut self, client: &BaseConsumer<Context>) {
        if !std::mem::take(&mut self.rejoin) {
            return;
        }
        info!("joining the group anew");
        client.unsubscribe();
        let topics: Vec<&str> = self.topics.iter().map(String::as_str).collect();
        report(client.subscribe(&topics), "subscription");
    }

    fn ack(&self, now: Instant) -> (AckGuard, Ack) {
        let (guard, signal) = AckGuard::new(self.doorbell.clone());
        (guard, Ack { signal, deadline: now + self.ack_timeout })
    }
}

impl Ack {
    fn is_due(&self, now: Instant, what: &'static str) -> bool {
        if self.signal.is_acknowledged() {
            return true;
        }
        let overdue = now >= self.deadline;
        if overdue {
            warn!(what, "owner did not acknowledge in time, the group goes on without");
        }
        overdue
    }
}

/// Forgets the partitions. Those that were paused are resumed, since librdkafka remembers a pause beyond the
/// assignment: the partition would come back paused, and stay so.
fn end_generation(list: &TopicPartitionList, around: &mut Surroundings<'_>) {
    let mut paused = TopicPartitionList::new();
    for element in list.elements() {
        let removed = around.partitions.remove(element.topic(), element.partition());
        if removed.is_some_and(|partition| partition.is_paused()) {
            paused.add_partition(element.topic(), element.partition());
        }
    }
    if paused.count() > 0 {
        report(around.client.resume(&paused), "resume");
    }
}

fn ask_positions(
    list: TopicPartitionList,
    ask_at: Option<Instant>,
    lookups: &Lookups,
    now: Instant,
) -> Phase {
    let due = ask_at.is_some_and(|at| at <= now);
    if due && lookups.ask(Question::StartPositions(list.clone())) {
        return Phase::Positions { list, ask_at: None };
    }
    Phase::Positions { list, ask_at }
}

fn report(result: KafkaResult<()>, what: &'static str) {
    // The client refuses only when it is being closed or has failed for good, which it reports by itself.
    if let Err(error) = result {
        warn!(what, error = %error, "kafka client refused a rebalance step");
    }
}
