//! `hub-consumer doctor` finds nothing where nothing is wrong, and of each thing that is wrong what helps.

use hub_consumer::{
    config::HubConfig,
    doctor::{Finding, Level, examine},
};
use service_runtime::Runtime;
use telemetry_wire::Signal;

use crate::{
    database::Database,
    line::{Hub, Line, logs_request},
};

async fn wrong(config: &HubConfig) -> Vec<String> {
    let findings = examine(config.clone(), Runtime::detached()).await.unwrap();
    // How full this machine's disks are is no matter of the test.
    let is_meant = |finding: &&Finding| finding.level > Level::Fine && !finding.found.starts_with("disk ");
    let found = findings.iter().filter(is_meant).map(Finding::to_string);
    found.map(|text| text.split_whitespace().collect::<Vec<_>>().join(" ")).collect()
}

/// Asserts that exactly these things are wrong, each told with these words.
async fn check(config: &HubConfig, expected: &[&[&str]]) {
    let found = wrong(config).await;
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (text, words) in found.iter().zip(expected) {
        assert!(words.iter().all(|word| text.contains(word)), "{text} does not say {words:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_wrong_is_told_with_what_helps() {
    let (line, database) = (Line::without_topics(Signal::Logs), Database::empty().await);
    let config = line.table_config(&database.config, "blocks: {max_age: 50ms}");
    let (topic, letters) = (line.topic.as_str(), line.dead_letters.as_str());
    let migrate = "hub-consumer migrate";
    let missing: [&[&str]; 3] = [
        &["PROBLEM brokers", topic, "is not there", "hub-consumer topics"],
        &["PROBLEM brokers", letters, "is not there"],
        &["PROBLEM clickhouse", "lacks 8 steps", migrate],
    ];
    check(&config, &missing).await;

    line.create_topic(2).await;
    line.create_dead_letters().await;
    database.migrator().apply().await.unwrap();
    check(&config, &[]).await;

    line.send(1, &logs_request("record", 2), &[]).await;
    let orphaned: &[&str] = &["PROBLEM groups", "nobody reads partitions 1", "start a hub"];
    check(&config, &[orphaned]).await;
    let hub = Hub::ready(config.clone()).await;
    line.wait_until_committed().await;
    check(&config, &[]).await;
    hub.stop().await;

    // Another program's table.
    database.query("ALTER TABLE {db}.otel_logs MODIFY SETTING non_replicated_deduplication_window = 0").await;
    let window: &[&str] = &["PROBLEM clickhouse", "non_replicated_deduplication_window"];
    check(&config, &[window]).await;
    database.query("CREATE TABLE {db}.replay_lock (n UInt8) ENGINE = MergeTree ORDER BY n").await;
    check(&config, &[window, &["warning clickhouse", "replay", "two minutes", "DROP TABLE"]]).await;
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_answer_is_one_problem_each() {
    let line = Line::without_topics(Signal::Metrics);
    // Of the reserved ports; nothing listens there.
    let nobody = "127.0.0.1:1";
    let mut config = line.config(&format!("mimir: {{url: 'http://{nobody}', tenant: menu}}\n"));
    config.signals[0].consumer.connection.brokers = vec![nobody.to_string()];
    let problems: [&[&str]; 2] = [
        &["PROBLEM brokers", "do not answer", "check kafka.brokers"],
        &["PROBLEM metrics", "does not take requests", "check mimir.url"],
    ];
    check(&config, &problems).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_problem_is_blamed_on_what_has_it() {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    let mut config = line.table_config(&database.config, "");
    config.signals[0].consumer.connection.brokers = vec!["127.0.0.1:1".to_owned()];
    check(&config, &[&["PROBLEM brokers", "do not answer"]]).await;
    database.drop().await;

    // A hub of metrics alone needs no table.
    let (line, nothing) = (Line::new(Signal::Metrics, 1).await, Database::empty().await);
    let mimir = &devstack::shared().mimir_url;
    let with = |more: &str| line.table_config(&nothing.config, &format!("mimir: {{url: '{mimir}'{more}}}\n"));
    check(&with(", tenant: anonymous"), &[]).await;
    nothing.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_mimir_are_compared_with_what_we_send() {
    let line = Line::new(Signal::Metrics, 1).await;
    let mimir = &devstack::shared().mimir_url;
    let with = |more: &str| line.config(&format!("mimir: {{url: '{mimir}', tenant: anonymous{more}}}\n"));
    check(&with(""), &[]).await;
    let burst = "ingestion_burst_size is 20000000";
    check(&with(", burst_points: 30000000"), &[&["warning metrics", burst, "set mimir.burst_points"]]).await;
    let larger = ", burst_points: 30000000, max_request_points: 25000000";
    check(&with(larger), &[&["PROBLEM metrics", burst, "lower mimir.max_request_points"]]).await;
    check(&with(", path: /nowhere"), &[&["PROBLEM metrics", "refuses us", "mimir.path"]]).await;
}
