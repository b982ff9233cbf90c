//! What the sections accept, and what they say about the rest.

use service_runtime::Settings;

use super::*;

#[track_caller]
fn check<C>(yaml: &str, read: impl FnOnce(&mut Section<'_>) -> C, problems: &[&str]) -> C {
    let mut settings = Settings::from_yaml("TEST", yaml, []);
    let config = read(&mut settings.root());
    let found = settings.finish().err().map(|problems| problems.to_string()).unwrap_or_default();
    assert_eq!(found.lines().count(), problems.len(), "{found}");
    for problem in problems {
        assert!(found.contains(problem), "`{problem}` is not in:\n{found}");
    }
    config
}

fn connection() -> ConnectionConfig {
    ConnectionConfig::plaintext(&["127.0.0.1:9092"], "test")
}

#[test]
fn connection_takes_brokers_tls_and_no_credentials() {
    let read = check(
        "brokers: [kafka-0:9092, kafka-1:9092]\ntls: {enabled: true}",
        |section| ConnectionConfig::read(section, "edge"),
        &[],
    );
    let client = read.client_config();
    assert_eq!(client.get("bootstrap.servers"), Some("kafka-0:9092,kafka-1:9092"));
    assert_eq!(client.get("security.protocol"), Some("ssl"));
    assert_eq!(client.get("client.id"), Some("edge"));
    assert_eq!(client.get("allow.auto.create.topics"), Some("false"));
}

#[test]
fn every_problem_of_a_connection_is_named_at_once() {
    check(
        "brokers: [kafka-0, 'kafka-1:port']\nauth: {sasl: {username: edge}}",
        |section| ConnectionConfig::read(section, "edge"),
        &["`kafka-0` is not `host:port`", "`kafka-1:port`", "auth.sasl.mechanism", "auth.sasl.password"],
    );
}

#[test]
fn producer_is_idempotent_whatever_the_settings() {
    let read = check(
        "compression: zstd\ncompression_level: 3\nmax_message_bytes: 4MiB\nqueue_bytes: 32MiB\nlinger: 20ms",
        |section| ProducerConfig::read(section, connection()),
        &[],
    );
    let client = read.client_config();
    let settings = [
        ("acks", "all"),
        ("enable.idempotence", "true"),
        ("max.in.flight.requests.per.connection", "5"),
        ("compression.type", "zstd"),
        ("compression.level", "3"),
        ("message.max.bytes", "4194304"),
        ("queue.buffering.max.kbytes", "32768"),
        ("linger.ms", "20"),
        ("message.timeout.ms", "30000"),
    ];
    for (key, value) in settings {
        assert_eq!(client.get(key), Some(value), "{key}");
    }
}

#[test]
fn producer_settings_that_contradict_each_other_are_refused() {
    check(
        "compression: none\ncompression_level: 3\nmax_message_bytes: 8MiB\nqueue_bytes: 4MiB\ndelivery_timeout: 10ms",
        |section| ProducerConfig::read(section, connection()),
        &["compression_level", "queue_bytes", "delivery_timeout"],
    );
    check("compression: lz5", |section| ProducerConfig::read(section, connection()), &["did you mean `lz4`"]);
}

#[test]
fn consumer_never_jumps_and_never_commits_by_itself() {
    let read = check(
        "initial_offset: latest\nassignment: range\nsession_timeout: 10s\nfetch_queue_bytes: 8MiB",
        |section| ConsumerConfig::read(section, connection(), "hub-logs"),
        &[],
    );
    assert_eq!(read.initial_offset, InitialOffset::Latest);
    let client = read.client_config();
    let settings = [
        ("auto.offset.reset", "error"),
        ("enable.auto.commit", "false"),
        ("enable.auto.offset.store", "false"),
        ("check.crcs", "true"),
        ("partition.assignment.strategy", "range"),
        ("isolation.level", "read_committed"),
        ("queued.max.messages.kbytes", "8192"),
        ("session.timeout.ms", "10000"),
    ];
    for (key, value) in settings {
        assert_eq!(client.get(key), Some(value), "{key}");
    }
}

#[test]
fn consumer_bounds_that_contradict_each_other_are_refused() {
    check(
        "buffer_bytes: 8MiB\npartition_buffer_bytes: 16MiB\nfetch_max_bytes: 1MiB\npartition_fetch_bytes: 2MiB\nsession_timeout: 1h",
        |section| ConsumerConfig::read(section, connection(), "hub-logs"),
        &["partition_buffer_bytes", "partition_fetch_bytes", "session_timeout"],
    );
}
