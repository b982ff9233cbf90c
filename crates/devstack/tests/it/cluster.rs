//! Brokers behind doors: clients go through them, and are cut off with them.

use devstack::{Cluster, ClusterOptions, Error, Link};

const TOPICS: &str = "org.apache.kafka.tools.TopicCommand";

fn create(cluster: &Cluster, brokers: &str, topic: &str, partitions: &str) -> Result<(), Error> {
    let create = ["--create", "--topic", topic, "--partitions", partitions];
    cluster.tool(&[&[TOPICS, "--bootstrap-server", brokers], create.as_slice()].concat())
}

fn produce(cluster: &Cluster, brokers: &str, topic: &str) -> Result<(), Error> {
    let bootstrap = format!("bootstrap.servers={brokers}");
    cluster.tool(&[
        "org.apache.kafka.tools.ProducerPerformance",
        "--topic",
        topic,
        "--num-records",
        "100",
        "--record-size",
        "100",
        "--throughput",
        "-1",
        "--producer-props",
        &bootstrap,
        "acks=all",
        "delivery.timeout.ms=4000",
        "request.timeout.ms=2000",
        "linger.ms=0",
        "max.block.ms=4000",
    ])
}

#[test]
fn clients_of_a_door_stay_behind_it() {
    let mut options = ClusterOptions::new(1);
    options.doors = 2;
    let cluster = Cluster::up(options).unwrap();
    create(&cluster, cluster.brokers(), "t", "1").unwrap();
    let passed = |number: usize| cluster.door(number).proxies()[0].passed_bytes();
    cluster.door(1).set(Link::Cut);
    produce(&cluster, &cluster.door(0).brokers(), "t").unwrap();
    // A client that was told the broker's own address would only have bootstrapped here.
    assert!(passed(0) > 100 * 100, "{} bytes", passed(0));
    assert_eq!(passed(1), 0);

    cluster.door(0).set(Link::Cut);
    cluster.door(1).set(Link::Open);
    let before = passed(0);
    produce(&cluster, &cluster.door(1).brokers(), "t").unwrap();
    assert_eq!(passed(0), before);
    assert!(passed(1) > 100 * 100, "{} bytes", passed(1));
}

#[test]
fn three_brokers_outlive_one_and_move_their_leaders() {
    let cluster = Cluster::up(ClusterOptions::new(3)).unwrap();
    create(&cluster, cluster.brokers(), "t", "2").unwrap();
    let door = cluster.door(0).brokers();
    produce(&cluster, &door, "t").unwrap();
    for turn in 1..=2 {
        cluster.move_leaders("t", 2, turn).unwrap();
        produce(&cluster, &door, "t").unwrap();
    }
    let [first, ..] = cluster.servers() else { panic!("three brokers were asked for") };
    first.kill().unwrap();
    assert!(!first.is_ready());
    first.start().unwrap();
    produce(&cluster, &door, "t").unwrap();
}
