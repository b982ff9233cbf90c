//! Promises while partitions move between members.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use kafka_client::{AssignmentStrategy, CommitError, ConsumerConfig, ConsumerEvent, Producer};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::{
    broker::Topic,
    cluster::{Mock, PATIENCE, consumer_config, fill, mock, producer_config, until, within},
    member::Member,
};

const TOPIC: &str = "otlp_logs";
const PARTITIONS: i32 = 4;

/// Follows a member for a while: which partitions it owns, and that every event fits what it was told before.
#[derive(Default)]
struct Follower {
    owned: BTreeMap<i32, u64>,
    /// Offsets seen, per partition.
    seen: BTreeMap<i32, BTreeSet<i64>>,
    newest: u64,
}

impl Follower {
    /// Takes one event in; commits what it has when partitions go.
    async fn take(&mut self, member: &Member, event: ConsumerEvent) {
        match event {
            ConsumerEvent::Assigned { generation, partitions, ack } => {
                assert!(generation > self.newest, "generations only grow");
                self.newest = generation;
                for assigned in partitions {
                    let before = self.owned.insert(assigned.partition, generation);
                    assert_eq!(before, None, "given twice");
                }
                ack.ack();
            }
            ConsumerEvent::Revoked { partitions, lost, ack, .. } => {
                for revoked in partitions {
                    assert_eq!(self.owned.remove(&revoked.partition), Some(revoked.generation));
                    let last = self.seen.get(&revoked.partition).and_then(|seen| seen.last());
                    if let (false, Some(last)) = (lost, last) {
                        let (generation, id) = (revoked.generation, revoked.partition);
                        member.commit(generation, &revoked.topic, id, last + 1, "").await.unwrap();
                    }
                }
                ack.ack();
            }
            ConsumerEvent::Record(record) => {
                assert_eq!(
                    self.owned.get(&record.partition),
                    Some(&record.generation),
                    "a record of a partition that this member does not own in that generation"
                );
                assert!(self.seen.entry(record.partition).or_default().insert(record.offset), "seen twice");
            }
            ConsumerEvent::Error(error) => assert!(!error.is_fatal(), "{error:?}"),
            other => panic!("{other:?}"),
        }
    }
}

async fn two_members_share_without_overlap(assignment: AssignmentStrategy) {
    let topic = Topic::create(PARTITIONS).await;
    let producer = topic.producer();
    for partition in 0..PARTITIONS {
        fill(&producer, &topic.name, partition, 200, 100).await;
    }
    let config = ConsumerConfig { assignment, ..topic.group() };
    let (mut one, mut two) = (Member::join(&config, &topic.name), None::<Member>);
    let (mut follow_one, mut follow_two) = (Follower::default(), Follower::default());
    let balanced = |one: &Follower, two: &Follower| one.owned.len() == 2 && two.owned.len() == 2;
    within(async {
        while !balanced(&follow_one, &follow_two) {
            if follow_one.owned.len() == 4 && two.is_none() {
                two = Some(Member::join(&config, &topic.name));
            }
            let event_of_two = async {
                match &mut two {
                    Some(two) => two.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                event = one.next() => follow_one.take(&one, event).await,
                event = event_of_two => follow_two.take(two.as_ref().unwrap(), event).await,
            }
        }
    })
    .await;
    let mut two = two.unwrap();
    for partition in 0..PARTITIONS {
        fill(&producer, &topic.name, partition, 100, 100).await;
    }
    let all_seen = |one: &Follower, two: &Follower| {
        let total = |partition| {
            let count = |follower: &Follower| follower.seen.get(&partition).map_or(0, BTreeSet::len);
            count(one) + count(two)
        };
        (0..PARTITIONS).all(|partition| total(partition) >= 300)
    };
    within(async {
        while !all_seen(&follow_one, &follow_two) {
            tokio::select! {
                event = one.next() => follow_one.take(&one, event).await,
                event = two.next() => follow_two.take(&two, event).await,
            }
        }
    })
    .await;
    for partition in 0..PARTITIONS {
        let none = BTreeSet::new();
        let (a, b) = (
            follow_one.seen.get(&partition).unwrap_or(&none),
            follow_two.seen.get(&partition).unwrap_or(&none),
        );
        assert!(a.is_disjoint(b), "partition {partition}: both members have seen the same record");
        assert_eq!(a.union(b).copied().collect::<Vec<_>>(), (0..300).collect::<Vec<i64>>());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_one_by_one_without_loss_or_overlap() {
    two_members_share_without_overlap(AssignmentStrategy::CooperativeSticky).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn partitions_move_all_at_once_without_loss_or_overlap() {
    two_members_share_without_overlap(AssignmentStrategy::Range).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_fetched_before_the_owner_has_acknowledged_the_assignment() {
    let cluster = mock(1, &[(TOPIC, 1)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    fill(&producer, TOPIC, 0, 5, 10).await;
    let mut member = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    let (generation, _, ack) = member.assigned_unacknowledged().await;
    // A commit goes the same way as records do, so its answer shows that the client had time to deliver.
    for offset in 0..20 {
        member.commit(generation, TOPIC, 0, offset, "").await.unwrap();
    }
    assert!(member.events.try_recv().is_err(), "a record before the acknowledgement");
    ack.ack();
    assert_eq!(member.record().await.offset, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_the_acknowledged_revocation_its_commits_are_stale_and_those_of_kept_partitions_are_not() {
    let topic = Topic::create(PARTITIONS).await;
    let mut one = Member::join(&topic.group(), &topic.name);
    let (generation, _) = one.assigned().await;
    let mut two = Member::join(&topic.group(), &topic.name);
    let (partitions, lost, ack) = one.revoked().await;
    assert!(!lost && !partitions.is_empty());
    let moved = partitions[0].partition;
    one.commit(generation, &topic.name, moved, 1, "").await.unwrap();
    ack.ack();
    let (_, given) = two.assigned().await;
    let committed = given.iter().find(|assigned| assigned.partition == moved).unwrap().committed.as_ref();
    assert_eq!(committed.unwrap().offset, 1, "the last commit reached the new owner");
    for generation in generation..generation + 3 {
        let stale = one.commit(generation, &topic.name, moved, 2, "").await.unwrap_err();
        assert!(matches!(stale, CommitError::Stale { .. }), "{stale:?}");
    }
    let kept = (0..PARTITIONS).find(|id| partitions.iter().all(|revoked| revoked.partition != *id)).unwrap();
    let kept_commit = async {
        loop {
            match one.commit(generation, &topic.name, kept, 1, "").await {
                Err(error) if error.is_retryable() => tokio::time::sleep(Duration::from_millis(50)).await,
                result => return result,
            }
        }
    };
    within(kept_commit).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_never_acknowledges_does_not_hold_the_group_up_for_ever() {
    let cluster = mock(1, &[(TOPIC, PARTITIONS)]);
    let config =
        ConsumerConfig { rebalance_timeout: Duration::from_secs(1), ..consumer_config(&cluster, "hub") };
    let mut one = Member::join(&config, TOPIC);
    let (generation, _) = one.assigned().await;
    let mut two = Member::join(&config, TOPIC);
    let (partitions, _, ack) = one.revoked().await;
    let (_, given) = two.assigned().await;
    assert!(given.iter().any(|assigned| assigned.partition == partitions[0].partition));
    let stale = one.commit(generation, TOPIC, partitions[0].partition, 1, "").await.unwrap_err();
    assert!(stale.is_stale(), "{stale:?}");
    drop(ack);
}

/// The settings of a group in which leaving may not take as long as a rebalance: longer than a test has patience for.
fn patient_group(cluster: &Mock) -> ConsumerConfig {
    ConsumerConfig { rebalance_timeout: PATIENCE * 4, ..consumer_config(cluster, "hub") }
}

/// Shuts the consumer down; then its events are over, and its partitions go to the next member.
async fn check_left(cluster: &Mock, member: Member, mut next: Option<Member>) {
    let Member { consumer, mut events } = member;
    assert!(within(consumer.shutdown()).await, "the group was not left");
    within(async { while events.recv().await.is_some() {} }).await;
    let next = next.get_or_insert_with(|| Member::join(&patient_group(cluster), TOPIC));
    let mut owned = 0;
    while owned < PARTITIONS {
        owned += i32::try_from(next.assigned().await.1.len()).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_although_nobody_receives_the_last_revocation() {
    let cluster = mock(1, &[(TOPIC, PARTITIONS)]);
    let mut one = Member::join(&patient_group(&cluster), TOPIC);
    one.assigned().await;
    check_left(&cluster, one, None).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_although_an_assignment_is_not_acknowledged() {
    let cluster = mock(1, &[(TOPIC, PARTITIONS)]);
    let mut one = Member::join(&patient_group(&cluster), TOPIC);
    let (_, _, ack) = one.assigned_unacknowledged().await;
    check_left(&cluster, one, None).await;
    drop(ack);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_although_nobody_receives_the_revocation_of_a_rebalance() {
    let cluster = mock(1, &[(TOPIC, PARTITIONS)]);
    let mut one = Member::join(&patient_group(&cluster), TOPIC);
    one.assigned().await;
    let two = Member::join(&patient_group(&cluster), TOPIC);
    until(|| !one.events.is_empty()).await;
    check_left(&cluster, one, Some(two)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shutdown_ends_although_the_broker_has_stopped_answering() {
    let cluster = mock(1, &[(TOPIC, PARTITIONS)]);
    let mut one = Member::join(&patient_group(&cluster), TOPIC);
    one.assigned().await;
    cluster.broker_round_trip_time(-1, PATIENCE * 4).unwrap();
    let Member { consumer, mut events } = one;
    within(consumer.shutdown()).await;
    within(async { while events.recv().await.is_some() {} }).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_partitions_cannot_be_committed_even_before_the_acknowledgement() {
    let cluster = mock(1, &[(TOPIC, 1)]);
    let mut member = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    let (generation, _) = member.assigned().await;
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    let (partitions, lost, ack) = member.revoked().await;
    assert!(lost, "the group has forgotten the member");
    assert_eq!(partitions.len(), 1);
    let stale = member.commit(generation, TOPIC, 0, 1, "").await.unwrap_err();
    assert!(matches!(stale, CommitError::Stale { .. }), "refused unsent: {stale:?}");
    ack.ack();
    let (again, _) = member.assigned().await;
    assert!(again > generation, "it joins anew, under a new generation");
    member.commit(again, TOPIC, 0, 1, "").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_assignment_waits_for_the_committed_offsets_rather_than_guess() {
    let cluster = mock(1, &[(TOPIC, 1)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    fill(&producer, TOPIC, 0, 3, 10).await;
    cluster.request_errors(
        RDKafkaApiKey::OffsetFetch,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED; 2],
    );
    let mut member = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    member.assigned().await;
    assert_eq!(member.record().await.offset, 0);
    until(|| member.consumer.is_connected()).await;
}
