//! What only a real broker shows: its own rebalances, retention, limits and topic administration.

use std::{
    sync::{
        LazyLock,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use devstack::{Part, Stack, StackOptions};
use kafka_client::{
    ConnectionConfig, ConsumerConfig, ConsumerEvent, DeliveryErrorKind, OffsetRange, OutgoingRecord,
    Producer, ProducerConfig, RangeReader, Watermarks,
    admin::{self, TopicSpec},
};

use crate::{
    cluster::{fill, quick, record, until, until_delivered, within},
    member::{Member, assert_contiguous},
};

/// A topic of one test at the broker of this run: the one named by `KAFKA_BROKERS`, else one that ends with this
/// process.
pub(crate) struct Topic {
    pub(crate) connection: ConnectionConfig,
    pub(crate) name: String,
}

impl Topic {
    pub(crate) async fn create(partitions: i32) -> Topic {
        Topic::with(partitions, &[]).await
    }

    async fn with(partitions: i32, config: &[(&str, &str)]) -> Topic {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let connection = tokio::task::spawn_blocking(broker).await.unwrap();
        let name = format!("kafka-client-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let config = config.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let spec = TopicSpec { config, ..TopicSpec::new(&name, partitions) };
        within(admin::create_topics(&connection, &[spec])).await.unwrap();
        Topic { connection, name }
    }

    pub(crate) fn producer(&self) -> Producer {
        Producer::new(&ProducerConfig {
            linger: Duration::ZERO,
            ..ProducerConfig::new(self.connection.clone())
        })
        .unwrap()
    }

    pub(crate) fn group(&self) -> ConsumerConfig {
        quick(ConsumerConfig::new(self.connection.clone(), &format!("{}-group", self.name)))
    }
}

fn broker() -> ConnectionConfig {
    static BROKER: LazyLock<Stack> = LazyLock::new(|| {
        Stack::up(StackOptions { parts: vec![Part::Kafka], ..StackOptions::default() }).unwrap()
    });
    let brokers: Vec<&str> = BROKER.endpoints().kafka_brokers.split(',').collect();
    ConnectionConfig::plaintext(&brokers, "kafka-client-test")
}

#[tokio::test(flavor = "multi_thread")]
async fn records_that_retention_took_are_an_event_with_their_number() {
    let topic = Topic::create(1).await;
    let producer = topic.producer();
    fill(&producer, &topic.name, 0, 100, 100).await;
    let mut first = Member::join(&topic.group(), &topic.name);
    let (generation, _) = first.assigned().await;
    first.commit(generation, &topic.name, 0, 10, "v1;last=19").await.unwrap();
    let Member { consumer, events } = first;
    drop(events);
    within(consumer.shutdown()).await;

    within(admin::delete_records(&topic.connection, &topic.name, 0, 60)).await.unwrap();
    let watermarks = within(admin::watermarks(&topic.connection, &topic.name)).await.unwrap();
    assert_eq!(watermarks, [Watermarks { partition: 0, low: 60, high: 100 }]);

    let mut second = Member::join(&topic.group(), &topic.name);
    let (generation, partitions) = second.assigned().await;
    assert_eq!(partitions[0].committed.as_ref().unwrap().metadata, "v1;last=19");
    match second.next().await {
        ConsumerEvent::OffsetOutOfRange { position, low, high, .. } => {
            assert_eq!((position, low, high), (10, 60, 100))
        }
        other => panic!("{other:?}"),
    }
    within(second.consumer.seek(generation, &partitions[0].topic, 0, 60)).await.unwrap();
    let (_, _, ack) = second.revoked().await;
    ack.ack();
    second.assigned().await;
    for offset in 60..100 {
        assert_eq!(second.record().await.offset, offset);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_topic_is_the_topics_fault_and_heals_when_it_is_created() {
    let topic = Topic::create(1).await;
    let missing = format!("{}-missing", topic.name);
    let config = ProducerConfig {
        delivery_timeout: Some(Duration::from_secs(2)),
        ..ProducerConfig::new(topic.connection.clone())
    };
    let producer = Producer::new(&config).unwrap();
    assert_eq!(producer.partition_count(&missing), None);
    let error = within(producer.send(record(&missing, 0, b"x")).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), DeliveryErrorKind::Topic, "{error:?}");

    within(admin::create_topics(&topic.connection, &[TopicSpec::new(&missing, 3)])).await.unwrap();
    until(|| producer.partition_count(&missing) == Some(3)).await;
    until_delivered(&producer, &missing, 2).await;
    within(admin::delete_topics(&topic.connection, &[&missing])).await.unwrap();
    within(admin::delete_topics(&topic.connection, &[&missing])).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_above_the_topics_limit_is_the_records_fault() {
    let topic = Topic::with(1, &[("max.message.bytes", "20000")]).await;
    let producer = topic.producer();
    let error =
        within(producer.send(record(&topic.name, 0, &incompressible(30_000))).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), DeliveryErrorKind::Record, "{error:?}");
    within(producer.send(record(&topic.name, 0, &incompressible(10_000))).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_pauses_neither_skip_nor_repeat_a_record() {
    const RECORDS: u64 = 20_000;
    let topic = Topic::create(2).await;
    let producer = topic.producer();
    for partition in 0..2 {
        fill(&producer, &topic.name, partition, RECORDS, 500).await;
    }
    let config = ConsumerConfig { partition_buffer_bytes: 100_000, buffer_bytes: 150_000, ..topic.group() };
    let mut member = Member::join(&config, &topic.name);
    member.assigned().await;
    let (mut next, mut pauses, mut was_paused) = ([0_i64; 2], 0, false);
    let mut held = Vec::new();
    while next != [i64::try_from(RECORDS).unwrap(); 2] {
        let record = member.record().await;
        let expected = &mut next[usize::try_from(record.partition).unwrap()];
        assert_eq!(record.offset, *expected, "partition {}", record.partition);
        *expected += 1;
        held.push(record);
        let paused = member.consumer.paused_partitions() > 0;
        pauses += usize::from(paused && !was_paused);
        was_paused = paused;
        // Resolve in lumps, as blocks are; with less the marks would not be reached, with more nothing would flow.
        if held.len() == 120 || paused {
            held.clear();
        }
    }
    // Hundreds on a quiet machine; on a busy one what is held is resolved before more comes.
    assert!(pauses > 5, "the marks were reached {pauses} times only");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_cluster_tells_its_id() {
    let topic = Topic::create(1).await;
    let id = within(admin::cluster_id(&topic.connection)).await.unwrap();
    assert!(!id.is_empty());
    assert_eq!(within(admin::cluster_id(&topic.connection)).await.unwrap(), id, "it does not change");
    let none = within(admin::committed(&topic.connection, "nobody", &topic.name)).await.unwrap();
    assert_eq!(none, [(0, None)]);
    assert!(within(admin::watermarks(&topic.connection, "no-such-topic")).await.is_err());
}

#[tokio::test(flavor = "multi_thread")]
async fn large_records_pass_when_all_limits_agree() {
    let topic = Topic::with(1, &[("max.message.bytes", "10485760")]).await;
    let config =
        ProducerConfig { max_message_bytes: 8 << 20, ..ProducerConfig::new(topic.connection.clone()) };
    let producer = Producer::new(&config).unwrap();
    let value = incompressible(6 << 20);
    let deliveries: Vec<_> = (0..5).map(|_| producer.send(record(&topic.name, 0, &value)).unwrap()).collect();
    for delivery in deliveries {
        within(delivery).await.unwrap();
    }
    let mut member = Member::join(&topic.group(), &topic.name);
    member.assigned().await;
    let records = member.records(5).await;
    assert_contiguous(&records);
    assert!(records.iter().all(|record| record.value == value));
}

fn incompressible(bytes: usize) -> Vec<u8> {
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()[0]
    };
    std::iter::repeat_with(next).take(bytes).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_range_is_read_with_its_headers_and_says_what_retention_took() {
    let topic = Topic::create(2).await;
    let producer = topic.producer();
    for number in 0..50 {
        let number = format!("{number}");
        let headers: [(&str, &[u8]); 1] = [("number", number.as_bytes())];
        let outgoing = OutgoingRecord { headers: &headers, ..record(&topic.name, 1, b"value") };
        within(producer.send(outgoing).unwrap()).await.unwrap();
    }
    within(admin::delete_records(&topic.connection, &topic.name, 1, 10)).await.unwrap();
    let (connection, name) = (topic.connection.clone(), topic.name.clone());
    let read = move |from, to| {
        let reader = RangeReader::new(&connection).unwrap();
        assert_eq!((reader.end(&name, 0).unwrap(), reader.end(&name, 1).unwrap()), (0, 50));
        assert_eq!(reader.partition_count(&name).unwrap(), Some(2));
        assert_eq!(reader.partition_count(&format!("{name}-none")).unwrap(), None);
        let mut numbers = Vec::new();
        let range = OffsetRange { topic: name.clone(), partition: 1, from, to };
        let outcome = reader.read(&range, |record| {
            let number: i64 = std::str::from_utf8(record.headers[0].1).unwrap().parse().unwrap();
            assert_eq!(number, record.offset);
            numbers.push(number);
        });
        (outcome.unwrap(), numbers)
    };
    tokio::task::spawn_blocking(move || {
        let (outcome, numbers) = read(20, 30);
        assert_eq!(numbers, (20..30).collect::<Vec<_>>());
        assert_eq!((outcome.records, outcome.missing), (10, 0));
        let (outcome, numbers) = read(3, 50);
        assert_eq!(numbers, (10..50).collect::<Vec<_>>());
        assert_eq!((outcome.missing, outcome.bytes > 40 * 5), (7, true));
        assert_eq!(read(0, 5).0.missing, 5, "all of it is gone");
        assert_eq!(read(50, 50).0.records, 0);
    })
    .await
    .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_floor_is_the_end_of_the_log_and_follows_what_is_acknowledged() {
    let topic = Topic::create(2).await;
    let other = topic.producer();
    fill(&other, &topic.name, 0, 5, 10).await;
    let producer = topic.producer();
    until(|| producer.partition_count(&topic.name) == Some(2)).await;
    assert_eq!((producer.floor(&topic.name, 0), producer.floor(&topic.name, 1)), (5, 0));
    let delivered = fill(&producer, &topic.name, 1, 3, 10).await;
    assert_eq!(delivered.last().unwrap().offset, 2);
    assert_eq!(producer.floor(&topic.name, 1), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_records_of_each_partition_have_one_mean_whichever_comes_first() {
    let topic = Topic::create(2).await;
    let producer = topic.producer();
    for partition in 0..2 {
        fill(&producer, &topic.name, partition, 1, 10).await;
        fill(&producer, &topic.name, partition, 1, 1000).await;
    }
    let patience = Duration::from_secs(10);
    let first = within(admin::first_records(&topic.connection, &topic.name, &[(0, 0), (1, 0)], patience));
    let means: Vec<_> =
        first.await.unwrap().into_iter().map(|(partition, of)| (partition, of.mean_bytes)).collect();
    assert_eq!(means, [(0, 505.0), (1, 505.0)]);
    let later = within(admin::first_records(&topic.connection, &topic.name, &[(0, 1)], patience));
    assert_eq!(later.await.unwrap()[&0].mean_bytes, 1000.0);
    let none = within(admin::first_records(&topic.connection, &topic.name, &[], patience));
    assert!(none.await.unwrap().is_empty());
}
