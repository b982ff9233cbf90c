//! Promises of the consumer towards its owner: positions, commits, generations.

use std::sync::Arc;

use kafka_client::{
    CommitError, CommitOffset, CommittedOffset, ConsumerConfig, ConsumerEvent, InitialOffset, Producer,
};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::{
    cluster::{connection, consumer_config, fill, mock, producer_config, until, within},
    member::{Member, assert_contiguous},
};

const TOPIC: &str = "otlp_logs";

#[tokio::test(flavor = "multi_thread")]
async fn a_new_group_reads_everything_once_in_order_under_its_generation() {
    let cluster = mock(1, &[(TOPIC, 3)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    for partition in 0..3 {
        fill(&producer, TOPIC, partition, 500, 200).await;
    }
    let mut member = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    let (generation, partitions) = member.assigned().await;
    let mut ids: Vec<i32> = partitions.iter().map(|assigned| assigned.partition).collect();
    ids.sort_unstable();
    assert_eq!(ids, [0, 1, 2]);
    assert!(partitions.iter().all(|assigned| assigned.committed.is_none()));
    let records = member.records(1500).await;
    assert_contiguous(&records);
    assert!(records.iter().all(|record| record.generation == generation));
    assert!(member.consumer.is_connected());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_starts_at_the_end_sees_only_what_comes_later() {
    let cluster = mock(1, &[(TOPIC, 1)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    fill(&producer, TOPIC, 0, 10, 10).await;
    let config = ConsumerConfig { initial_offset: InitialOffset::Latest, ..consumer_config(&cluster, "hub") };
    let mut member = Member::join(&config, TOPIC);
    member.assigned().await;
    fill(&producer, TOPIC, 0, 1, 10).await;
    assert_eq!(member.record().await.offset, 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn position_and_metadata_come_back_to_the_next_owner() {
    let cluster = mock(1, &[(TOPIC, 2)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    fill(&producer, TOPIC, 1, 10, 10).await;
    let metadata = "v1;last=6;rows=4;fp=0123456789abcdef ~";
    let mut first = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    let (generation, _) = first.assigned().await;
    first.commit(generation, TOPIC, 1, 4, metadata).await.unwrap();
    let seen = within(first.consumer.committed(TOPIC)).await.unwrap();
    let committed = CommittedOffset { offset: 4, metadata: metadata.to_owned() };
    assert_eq!(seen, [(0, None), (1, Some(committed.clone()))]);
    let Member { consumer, events } = first;
    drop(events);
    within(consumer.shutdown()).await;

    let mut second = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    let (_, partitions) = second.assigned().await;
    let one = partitions.iter().find(|assigned| assigned.partition == 1).unwrap();
    assert_eq!(one.committed.as_ref(), Some(&committed));
    assert_eq!(second.record().await.offset, 4, "exactly the committed offset");
    let from_outside =
        within(kafka_client::admin::committed(&connection(&cluster), "hub", TOPIC)).await.unwrap();
    assert_eq!(from_outside[1], (1, Some(committed)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_of_another_generation_or_of_a_foreign_partition_is_refused_unsent() {
    let cluster = mock(1, &[(TOPIC, 1)]);
    let mut member = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    let (generation, _) = member.assigned().await;
    for (generation, partition) in [(generation + 1, 0), (generation - 1, 0), (generation, 1)] {
        let refused = member.commit(generation, TOPIC, partition, 7, "").await.unwrap_err();
        assert!(matches!(refused, CommitError::Stale { .. }) && refused.is_stale(), "{refused:?}");
    }
    let malformed = member.commit(generation, TOPIC, 0, 7, "caf\u{e9}").await.unwrap_err();
    assert!(matches!(malformed, CommitError::Malformed { .. }), "{malformed:?}");
    let committed = within(member.consumer.committed(TOPIC)).await.unwrap();
    assert_eq!(committed, [(0, None)], "nothing reached the group");
}

#[tokio::test(flavor = "multi_thread")]
async fn each_commit_gets_its_own_answer() {
    let cluster = mock(1, &[(TOPIC, 1)]);
    let mut member = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    let (generation, _) = member.assigned().await;
    cluster.request_errors(
        RDKafkaApiKey::OffsetCommit,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED],
    );
    let topic: Arc<str> = Arc::from(TOPIC);
    let mut commits: Vec<_> = (2..50)
        .map(|offset| {
            let metadata = format!("block {offset}");
            member.consumer.commit(
                generation,
                vec![CommitOffset { topic: Arc::clone(&topic), partition: 0, offset, metadata }],
            )
        })
        .collect();
    // All are under way at once; the broker refuses the first of them.
    let refused = within(commits.remove(0)).await.unwrap_err();
    assert!(refused.is_retryable() && !refused.is_stale(), "{refused:?}");
    for commit in commits {
        within(commit).await.unwrap();
    }
    let committed = within(member.consumer.committed(TOPIC)).await.unwrap();
    let last = CommittedOffset { offset: 49, metadata: "block 49".to_owned() };
    assert_eq!(committed, [(0, Some(last))], "in the order of the calls");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_that_the_group_refuses_because_the_member_is_unknown_is_stale() {
    let cluster = mock(1, &[(TOPIC, 1)]);
    let mut member = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    let (generation, _) = member.assigned().await;
    cluster
        .request_errors(RDKafkaApiKey::OffsetCommit, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    let fenced = member.commit(generation, TOPIC, 0, 1, "").await.unwrap_err();
    assert!(fenced.is_stale() && !fenced.is_retryable(), "{fenced:?}");
}

/// Commits `offset` for a partition that holds `0..10`, then joins anew.
async fn join_at(offset: i64) -> (crate::cluster::Mock, Member) {
    let cluster = mock(1, &[(TOPIC, 2)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    fill(&producer, TOPIC, 0, 10, 10).await;
    fill(&producer, TOPIC, 1, 10, 10).await;
    let mut first = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    let (generation, _) = first.assigned().await;
    first.commit(generation, TOPIC, 0, offset, "").await.unwrap();
    let Member { consumer, events } = first;
    drop(events);
    within(consumer.shutdown()).await;
    let member = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    (cluster, member)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_position_that_left_the_log_is_an_event_and_never_a_jump() {
    let (_cluster, mut member) = join_at(1000).await;
    let (generation, _) = member.assigned().await;
    let mut others = 0;
    let out_of_range = loop {
        match member.next().await {
            ConsumerEvent::Record(record) => {
                assert_eq!((record.partition, record.offset), (1, others));
                others += 1;
            }
            event @ ConsumerEvent::OffsetOutOfRange { .. } => break event,
            other => panic!("{other:?}"),
        }
    };
    let ConsumerEvent::OffsetOutOfRange { generation: of, topic, partition, position, low, high } =
        out_of_range
    else {
        unreachable!("the loop ends with it");
    };
    assert_eq!((of, partition, position, low, high), (generation, 0, 1000, 0, 10));
    until(|| member.consumer.paused_partitions() == 1).await;
    while others < 10 {
        let record = member.record().await;
        assert_eq!((record.partition, record.offset), (1, others), "the other partition goes on");
        others += 1;
    }

    let stale = within(member.consumer.seek(generation + 1, &topic, 0, 5)).await.unwrap_err();
    assert!(stale.is_stale());
    within(member.consumer.seek(generation, &topic, 0, 5)).await.unwrap();
    let (revoked, lost, ack) = member.revoked().await;
    assert_eq!((revoked.len(), lost), (2, false));
    member.commit(generation, TOPIC, 1, 10, "").await.unwrap();
    ack.ack();
    let (_, partitions) = member.assigned().await;
    let start = |partition| {
        let assigned = partitions.iter().find(|assigned| assigned.partition == partition).unwrap();
        assigned.committed.as_ref().unwrap().offset
    };
    assert_eq!((start(0), start(1)), (5, 10));
    for offset in 5..10 {
        let record = member.record().await;
        assert_eq!((record.partition, record.offset), (0, offset), "after the operator's decision");
    }
    until(|| member.consumer.paused_partitions() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_step_back_repeats_from_there_in_order() {
    let cluster = mock(1, &[(TOPIC, 1)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    fill(&producer, TOPIC, 0, 10, 10).await;
    let mut member = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    let (generation, partitions) = member.assigned().await;
    assert_contiguous(&member.records(10).await);
    within(member.consumer.seek(generation, &partitions[0].topic, 0, 4)).await.unwrap();
    for offset in 4..10 {
        assert_eq!(member.record().await.offset, offset);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_consumer_waits_for_a_broker_and_goes_on_after_an_outage() {
    let cluster = mock(1, &[(TOPIC, 1)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    fill(&producer, TOPIC, 0, 5, 10).await;
    cluster.broker_down(-1).unwrap();
    let mut member = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    assert!(!member.consumer.is_connected());
    cluster.broker_up(-1).unwrap();
    member.assigned().await;
    assert_contiguous(&member.records(5).await);

    cluster.broker_down(-1).unwrap();
    until(|| !member.consumer.is_connected()).await;
    cluster.broker_up(-1).unwrap();
    until(|| member.consumer.is_connected()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leaving_gives_a_last_chance_to_commit_and_then_closes_the_events() {
    let cluster = mock(1, &[(TOPIC, 1)]);
    let mut member = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    let (generation, _) = member.assigned().await;
    member.consumer.leave();
    let (partitions, lost, ack) = member.revoked().await;
    assert_eq!((partitions.len(), partitions[0].generation, lost), (1, generation, false));
    member.commit(generation, TOPIC, 0, 3, "last").await.unwrap();
    ack.ack();
    assert!(within(member.events.recv()).await.is_none(), "nothing follows");
    let closed = member.commit(generation, TOPIC, 0, 4, "too late").await.unwrap_err();
    assert!(matches!(closed, CommitError::Closed), "{closed:?}");
    let committed =
        within(kafka_client::admin::committed(&connection(&cluster), "hub", TOPIC)).await.unwrap();
    assert_eq!(committed, [(0, Some(CommittedOffset { offset: 3, metadata: "last".to_owned() }))]);
}
