//! Promises of the producer.

use std::time::Duration;

use kafka_client::{
    Compression, ConsumerConfig, DeliveryError, DeliveryErrorKind, OutgoingRecord, Producer, ProducerConfig,
    SendError,
};
use rdkafka::types::{RDKafkaApiKey, RDKafkaRespErr};

use crate::{
    cluster::{
        connection, consumer_config, fill, mock, producer_config, record, until, until_delivered, within,
    },
    member::{Member, assert_contiguous},
};

#[tokio::test(flavor = "multi_thread")]
async fn a_record_arrives_with_its_key_value_headers_and_offset() {
    let cluster = mock(1, &[("otlp_logs", 4)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    let headers: [(&str, &[u8]); 3] = [("edge.id", b"edge-1"), ("edge.id", b"again"), ("empty", b"")];
    let outgoing = OutgoingRecord {
        topic: "otlp_logs",
        partition: Some(2),
        key: Some(b"trace"),
        value: b"\x0a\x00bytes",
        headers: &headers,
    };
    let delivered = within(producer.send(outgoing).unwrap()).await.unwrap();
    assert_eq!((delivered.partition, delivered.offset), (2, 0));
    assert!(producer.is_connected());

    let mut member = Member::join(&consumer_config(&cluster, "hub"), "otlp_logs");
    member.assigned().await;
    let record = member.record().await;
    assert_eq!((&*record.topic, record.partition, record.offset), ("otlp_logs", 2, 0));
    assert_eq!(record.key.as_deref(), Some(&b"trace"[..]));
    assert_eq!(record.value, &b"\x0a\x00bytes"[..]);
    let read: Vec<(&str, &[u8])> = record.headers.iter().map(|(name, value)| (&**name, &**value)).collect();
    assert_eq!(read, headers);
    assert!(record.timestamp_ms.is_some_and(|timestamp| timestamp > 1_600_000_000_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_codec_is_read_back() {
    let codecs =
        [Compression::None, Compression::Gzip, Compression::Lz4, Compression::Snappy, Compression::Zstd];
    let partitions = i32::try_from(codecs.len()).unwrap();
    let cluster = mock(1, &[("otlp_logs", partitions)]);
    for (partition, compression) in codecs.into_iter().enumerate() {
        let config = ProducerConfig { compression, ..producer_config(&cluster) };
        let producer = Producer::new(&config).unwrap();
        fill(&producer, "otlp_logs", i32::try_from(partition).unwrap(), 10, 10_000).await;
    }
    let config: ConsumerConfig = consumer_config(&cluster, "hub");
    let mut member = Member::join(&config, "otlp_logs");
    member.assigned().await;
    let records = member.records(10 * codecs.len()).await;
    assert_contiguous(&records);
    assert!(records.iter().all(|record| record.value.len() == 10_000 && record.value[9_999] == b'.'));
}

/// What the delivery says when the broker answers a produce request with `code`.
async fn refusal(code: RDKafkaRespErr) -> DeliveryError {
    let cluster = mock(1, &[("otlp_logs", 1)]);
    let config =
        ProducerConfig { delivery_timeout: Some(Duration::from_secs(2)), ..producer_config(&cluster) };
    let producer = Producer::new(&config).unwrap();
    fill(&producer, "otlp_logs", 0, 1, 10).await;
    cluster.request_errors(RDKafkaApiKey::Produce, &[code; 64]);
    let refused = within(producer.send(record("otlp_logs", 0, b"refused")).unwrap()).await.unwrap_err();
    cluster.clear_request_errors(RDKafkaApiKey::Produce);
    until_delivered(&producer, "otlp_logs", 0).await;
    refused
}

#[tokio::test(flavor = "multi_thread")]
async fn refusals_of_the_broker_come_back_as_their_kind() {
    use RDKafkaRespErr as Code;
    let cases = [
        (Code::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE, DeliveryErrorKind::Record, false),
        (Code::RD_KAFKA_RESP_ERR_INVALID_RECORD, DeliveryErrorKind::Record, false),
        (Code::RD_KAFKA_RESP_ERR_TOPIC_AUTHORIZATION_FAILED, DeliveryErrorKind::Topic, true),
        (Code::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS, DeliveryErrorKind::Retryable, true),
    ];
    for (code, kind, ambiguous) in cases {
        let error = refusal(code).await;
        assert_eq!((error.kind(), error.is_ambiguous()), (kind, ambiguous), "{code:?}: {error:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_passing_refusal_is_retried_inside_and_never_seen() {
    let cluster = mock(1, &[("otlp_logs", 1)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_ENOUGH_REPLICAS,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR_NOT_LEADER_FOR_PARTITION,
            RDKafkaRespErr::RD_KAFKA_RESP_ERR__TRANSPORT,
        ],
    );
    let delivered = fill(&producer, "otlp_logs", 0, 20, 100).await;
    let offsets: Vec<i64> = delivered.iter().map(|delivered| delivered.offset).collect();
    assert_eq!(offsets, (0..20).collect::<Vec<i64>>(), "in order and once each");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_session_is_replaced_and_the_next_record_goes_through() {
    let cluster = mock(1, &[("otlp_logs", 1)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    fill(&producer, "otlp_logs", 0, 1, 10).await;
    cluster.request_errors(
        RDKafkaApiKey::Produce,
        &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_OUT_OF_ORDER_SEQUENCE_NUMBER],
    );
    let broken = within(producer.send(record("otlp_logs", 0, b"broken")).unwrap()).await.unwrap_err();
    assert_eq!(broken.kind(), DeliveryErrorKind::Fatal, "{broken:?}");
    assert!(broken.is_retryable() && broken.is_ambiguous());
    let delivered = within(producer.send(record("otlp_logs", 0, b"after")).unwrap()).await.unwrap();
    assert_eq!(delivered.offset, 1);
    assert!(!producer.is_fatal());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_record_ends_the_session_so_that_nothing_else_is_sent_again_under_another() {
    let cluster = mock(1, &[("otlp_logs", 1)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    fill(&producer, "otlp_logs", 0, 1, 10).await;
    cluster.request_errors(RDKafkaApiKey::Produce, &[RDKafkaRespErr::RD_KAFKA_RESP_ERR_MSG_SIZE_TOO_LARGE]);
    let refused = within(producer.send(record("otlp_logs", 0, b"refused")).unwrap()).await.unwrap_err();
    assert_eq!(refused.kind(), DeliveryErrorKind::Record, "{refused:?}");
    until(|| producer.is_fatal()).await;
    let delivered = within(producer.send(record("otlp_logs", 0, b"after")).unwrap()).await.unwrap();
    assert_eq!(delivered.offset, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn while_no_broker_answers_records_are_given_up_as_retryable_and_later_ones_go_through() {
    let cluster = mock(1, &[("otlp_logs", 1)]);
    let config =
        ProducerConfig { delivery_timeout: Some(Duration::from_secs(4)), ..producer_config(&cluster) };
    let producer = Producer::new(&config).unwrap();
    fill(&producer, "otlp_logs", 0, 1, 10).await;
    assert!(producer.is_connected());

    cluster.broker_down(-1).unwrap();
    let lost = within(producer.send(record("otlp_logs", 0, b"down")).unwrap()).await.unwrap_err();
    assert_eq!(lost.kind(), DeliveryErrorKind::Retryable, "{lost:?}");
    until(|| !producer.is_connected()).await;

    cluster.broker_up(-1).unwrap();
    until(|| producer.is_connected()).await;
    until_delivered(&producer, "otlp_logs", 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broker_that_was_never_there_fails_no_start_and_blocks_no_send() {
    let cluster = mock(1, &[]);
    cluster.broker_down(-1).unwrap();
    let config =
        ProducerConfig { delivery_timeout: Some(Duration::from_secs(1)), ..producer_config(&cluster) };
    let producer = Producer::new(&config).unwrap();
    assert!(!producer.is_connected());
    assert_eq!(producer.partition_count("otlp_logs"), None);
    let error = within(producer.send(record("otlp_logs", 0, b"early")).unwrap()).await.unwrap_err();
    assert_eq!(error.kind(), DeliveryErrorKind::Retryable, "{error:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_leader_may_move_without_loss_doubling_or_reordering() {
    let cluster = mock(3, &[("otlp_logs", 1)]);
    let producer = Producer::new(&producer_config(&cluster)).unwrap();
    let mut deliveries = Vec::new();
    for number in 0..300_u64 {
        if number % 30 == 0 {
            let leader = 1 + i32::try_from(number / 30 % 3).unwrap();
            cluster.partition_leader("otlp_logs", 0, Some(leader)).unwrap();
        }
        deliveries.push(producer.send(record("otlp_logs", 0, &number.to_be_bytes())).unwrap());
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    for delivery in deliveries {
        within(delivery).await.unwrap();
    }
    let mut member = Member::join(&consumer_config(&cluster, "hub"), "otlp_logs");
    member.assigned().await;
    for number in 0..300_u64 {
        assert_eq!(*member.record().await.value, number.to_be_bytes());
    }
    let watermarks = within(member.consumer.watermarks("otlp_logs")).await.unwrap();
    assert_eq!(watermarks[0].high, 300);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_is_backpressure_and_the_queue_is_bounded_by_bytes() {
    let cluster = mock(1, &[("otlp_logs", 1)]);
    cluster.broker_down(-1).unwrap();
    let config = ProducerConfig { queue_bytes: 1 << 20, ..producer_config(&cluster) };
    let producer = Producer::new(&config).unwrap();
    let value = vec![0; 64 * 1024];
    let mut accepted = Vec::new();
    let refused = loop {
        match producer.send(record("otlp_logs", 0, &value)) {
            Ok(delivery) => accepted.push(delivery),
            Err(error) => break error,
        }
        assert!(accepted.len() <= 17, "more than the queue may hold");
    };
    assert!(refused.is_queue_full() && !refused.is_permanent(), "{refused:?}");
    assert_eq!(producer.in_flight(), accepted.len());

    cluster.broker_up(-1).unwrap();
    for delivery in accepted {
        within(delivery).await.unwrap();
    }
    assert_eq!(producer.flush(Duration::from_secs(10)).await, 0);
    within(producer.send(record("otlp_logs", 0, &value)).unwrap()).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_can_never_be_sent_is_refused_at_once() {
    let cluster = mock(1, &[("otlp_logs", 1)]);
    let config = ProducerConfig { max_message_bytes: 10_000, ..producer_config(&cluster) };
    let producer = Producer::new(&config).unwrap();
    let large = producer.send(record("otlp_logs", 0, &[0; 10_001])).unwrap_err();
    assert!(matches!(large, SendError::RecordTooLarge { bytes: 10_001 }), "{large:?}");
    assert!(large.is_permanent());
    let topic = producer.send(record("otlp\0logs", 0, b"x")).unwrap_err();
    assert!(matches!(topic, SendError::InvalidTopic), "{topic:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn partition_counts_are_learned_in_the_background() {
    let cluster = mock(1, &[("otlp_logs", 7)]);
    let producer = Producer::new(&ProducerConfig::new(connection(&cluster))).unwrap();
    assert_eq!(producer.partition_count("otlp_logs"), None);
    until(|| producer.partition_count("otlp_logs") == Some(7)).await;
    assert!(producer.is_connected());
}
