//! Promises while the owner does not resolve what it has been given.

use kafka_client::{ConsumerConfig, ConsumerEvent, EVENT_CHANNEL_CAPACITY, OutgoingRecord, Producer, Record};

use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::{
    cluster::{consumer_config, fill, mock, producer_config, record, until, within},
    member::{Member, assert_contiguous},
};

const TOPIC: &str = "otlp_logs";
const MARK: u64 = 100_000;
/// What a record of these tests is charged beside its value.
const OVERHEAD: u64 = 256;

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_pauses_at_its_mark_while_others_flow_and_resumes_without_gap() {
    let cluster = mock(1, &[(TOPIC, 2)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    fill(&producer, TOPIC, 0, 400, 1000).await;
    let config = ConsumerConfig { partition_buffer_bytes: MARK, ..consumer_config(&cluster, "hub") };
    let mut member = Member::join(&config, TOPIC);
    member.assigned().await;

    let mut held: Vec<Record> = Vec::new();
    until(|| {
        while let Ok(event) = member.events.try_recv() {
            match event {
                ConsumerEvent::Record(record) => held.push(record),
                other => panic!("{other:?}"),
            }
        }
        member.consumer.paused_partitions() == 1
    })
    .await;
    fill(&producer, TOPIC, 1, 20, 1000).await;
    let flowing = member.records(20).await;
    assert!(flowing.iter().all(|record| record.partition == 1), "a paused partition delivered");
    let outstanding = member.consumer.outstanding_bytes();
    let of_flowing = 20 * (1000 + OVERHEAD);
    assert!(outstanding <= MARK + 1000 + OVERHEAD + of_flowing, "{outstanding} bytes are outstanding");
    drop(flowing);

    // Resolved one by one, the rest comes in order; each pause and resume must neither skip nor repeat.
    let mut seen = 0;
    while seen < 400 {
        if held.is_empty() {
            held.push(member.record().await);
        }
        let record = held.remove(0);
        assert_eq!((record.partition, record.offset), (0, seen));
        seen += 1;
    }
    until(|| member.consumer.outstanding_bytes() == 0 && member.consumer.paused_partitions() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn records_of_many_short_headers_are_charged_what_the_headers_take() {
    const RECORDS: u64 = 20;
    let headers: Vec<(&str, &[u8])> = vec![("k", b""); 1000];
    let cluster = mock(1, &[(TOPIC, 1)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    for _ in 0..RECORDS {
        let record = OutgoingRecord { headers: &headers, ..record(TOPIC, 0, b"") };
        within(producer.send(record).unwrap()).await.unwrap();
    }
    let mut member = Member::join(&consumer_config(&cluster, "hub"), TOPIC);
    member.assigned().await;
    let records = member.records(20).await;
    let in_slots: usize = records.iter().map(|record| size_of_val(&record.headers[..])).sum();
    let outstanding = member.consumer.outstanding_bytes();
    assert!(outstanding > in_slots as u64, "{outstanding} bytes are counted, the slots alone are {in_slots}");
    assert_eq!(outstanding, RECORDS * (OVERHEAD + 1000 * (1 + 120)));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_total_mark_pauses_all_partitions() {
    let cluster = mock(1, &[(TOPIC, 4)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    for partition in 0..4 {
        fill(&producer, TOPIC, partition, 100, 1000).await;
    }
    let config = ConsumerConfig { buffer_bytes: MARK, ..consumer_config(&cluster, "hub") };
    let mut member = Member::join(&config, TOPIC);
    member.assigned().await;
    until(|| member.consumer.paused_partitions() == 4).await;
    let outstanding = member.consumer.outstanding_bytes();
    assert!(outstanding <= MARK + 1000 + OVERHEAD, "{outstanding} bytes are outstanding");
    let records = member.records(1).await;
    assert!(member.consumer.outstanding_bytes() >= MARK / 2);
    drop(records);
    let mut counts = [1_usize, 0];
    within(async {
        while counts[0] < 400 {
            member.record().await;
            counts[0] += 1;
            counts[1] = counts[1].max(member.consumer.paused_partitions());
        }
    })
    .await;
    assert!(counts[1] <= 4);
    until(|| member.consumer.outstanding_bytes() == 0 && member.consumer.paused_partitions() == 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_owner_that_does_not_receive_neither_stops_the_polling_nor_loses_anything() {
    let records = u64::try_from(EVENT_CHANNEL_CAPACITY).unwrap() * 3;
    let cluster = mock(1, &[(TOPIC, 2)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    fill(&producer, TOPIC, 0, records, 20).await;
    fill(&producer, TOPIC, 1, 10, 20).await;
    let config = consumer_config(&cluster, "hub");
    let mut one = Member::join(&config, TOPIC);
    let (generation, _) = one.assigned().await;
    let charged = (records + 10) * (20 + OVERHEAD);
    until(|| one.consumer.outstanding_bytes() == charged).await;
    one.commit(generation, TOPIC, 0, 0, "polling goes on").await.unwrap();
    let all = one.records(usize::try_from(records).unwrap() + 10).await;
    assert_contiguous(&all);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_that_was_paused_when_it_was_lost_flows_when_it_comes_back() {
    let cluster = mock(1, &[(TOPIC, 1)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    fill(&producer, TOPIC, 0, 400, 1000).await;
    let config = ConsumerConfig { partition_buffer_bytes: MARK, ..consumer_config(&cluster, "hub") };
    let mut member = Member::join(&config, TOPIC);
    member.assigned().await;
    until(|| member.consumer.paused_partitions() == 1).await;
    cluster.request_errors(RDKafkaApiKey::Heartbeat, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID]);
    // Held, so that the partition is still paused when it is taken away.
    let mut held = Vec::new();
    let ack = loop {
        match member.next().await {
            ConsumerEvent::Record(record) => held.push(record),
            ConsumerEvent::Revoked { lost: true, ack, .. } => break ack,
            other => panic!("{other:?}"),
        }
    };
    ack.ack();
    member.assigned().await;
    drop(held);
    let mut next = 0;
    while next < 400 {
        assert_eq!(member.record().await.offset, next, "from the start, since nothing was committed");
        next += 1;
    }
}
