//! A mock cluster, and what tests put into it.

use std::time::Duration;

use kafka_client::{ConnectionConfig, ConsumerConfig, Delivered, OutgoingRecord, Producer, ProducerConfig};
use rdkafka::{mocking::MockCluster, producer::DefaultProducerContext};

pub(crate) type Mock = MockCluster<'static, DefaultProducerContext>;

/// Far beyond what any step of a test takes; reached only when the promise under test is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) fn mock(brokers: i32, topics: &[(&str, i32)]) -> Mock {
    let cluster = MockCluster::new(brokers).unwrap();
    for (topic, partitions) in topics {
        cluster.create_topic(topic, *partitions, brokers.min(3)).unwrap();
    }
    cluster
}

pub(crate) fn connection(cluster: &Mock) -> ConnectionConfig {
    let servers = cluster.bootstrap_servers();
    ConnectionConfig::plaintext(&servers.split(',').collect::<Vec<_>>(), "test")
}

pub(crate) fn producer_config(cluster: &Mock) -> ProducerConfig {
    ProducerConfig { linger: Duration::ZERO, ..ProducerConfig::new(connection(cluster)) }
}

pub(crate) fn consumer_config(cluster: &Mock, group: &str) -> ConsumerConfig {
    quick(ConsumerConfig::new(connection(cluster), group))
}

/// Short sessions and fetches, so that tests are quick.
pub(crate) fn quick(config: ConsumerConfig) -> ConsumerConfig {
    ConsumerConfig {
        session_timeout: Duration::from_secs(6),
        fetch_wait: Duration::from_millis(50),
        ..config
    }
}

pub(crate) fn record<'a>(topic: &'a str, partition: i32, value: &'a [u8]) -> OutgoingRecord<'a> {
    OutgoingRecord { topic, partition: Some(partition), key: None, value, headers: &[] }
}

/// Sends `count` records of `bytes` bytes to a partition; each begins with its number in it.
pub(crate) async fn fill(
    producer: &Producer,
    topic: &str,
    partition: i32,
    count: u64,
    bytes: usize,
) -> Vec<Delivered> {
    let mut deliveries = Vec::new();
    for number in 0..count {
        let mut value = vec![b'.'; bytes.max(8)];
        value[..8].copy_from_slice(&number.to_be_bytes());
        deliveries.push(producer.send(record(topic, partition, &value)).unwrap());
    }
    let mut delivered = Vec::new();
    for delivery in deliveries {
        delivered.push(within(delivery).await.unwrap());
    }
    delivered
}

/// The outcome, or a failed test.
#[track_caller]
pub(crate) fn within<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let caller = std::panic::Location::caller();
    async move {
        match tokio::time::timeout(PATIENCE, future).await {
            Ok(output) => output,
            Err(_elapsed) => panic!("nothing happened in {PATIENCE:?} at {caller}"),
        }
    }
}

/// Waits until `holds` does.
#[track_caller]
pub(crate) fn until(mut holds: impl FnMut() -> bool) -> impl Future<Output = ()> {
    within(async move {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
}

/// Sends until a record goes through: a cluster that recovers is believed only after its next metadata.
pub(crate) async fn until_delivered(producer: &Producer, topic: &str, partition: i32) {
    let attempts = async {
        loop {
            let delivered = match producer.send(record(topic, partition, b"again")) {
                Ok(delivery) => delivery.await.is_ok(),
                Err(error) => {
                    assert!(!error.is_permanent(), "{error:?}");
                    false
                }
            };
            if delivered {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    within(attempts).await;
}
