//! The flags against a real client, which answers for each partition.

use rdkafka::{
    ClientConfig,
    config::FromClientConfig,
    consumer::{BaseConsumer, Consumer},
    topic_partition_list::Offset,
};

use super::*;
use crate::{credit::Marks, doorbell::doorbell};

#[test]
fn a_pause_that_the_client_has_passed_over_is_asked_for_again() {
    // Nobody needs to answer: pausing is the client's own affair.
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", "127.0.0.1:1").set("group.id", "hub");
    let client = BaseConsumer::from_config(&settings).unwrap();
    let (bell, _listener) = doorbell();
    let mut partitions = Partitions::new(TotalAccount::new(Marks::new(100, 1000), bell));
    let topic: Arc<str> = Arc::from("otlp_logs");
    partitions.insert(&topic, 3, 1, 0);
    let _credit = partitions.get(&topic, 3).unwrap().account.charge(100);
    let mut apply = || {
        partitions.apply_marks(|list| client.pause(list), |list| client.resume(list));
        partitions.get(&topic, 3).unwrap().is_paused()
    };

    assert!(!apply(), "the client does not know the partition");
    let mut assignment = TopicPartitionList::new();
    assignment.add_partition_offset(&topic, 3, Offset::Offset(0)).unwrap();
    client.assign(&assignment).unwrap();
    assert!(apply(), "the client knows the partition now");
}
