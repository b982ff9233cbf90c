//! What an operator does by hand: moving a group, and making topics.

use hub_consumer::{
    audit::Position,
    replay::{ReplayArgs, replay},
    seek::{Move, SeekArgs, seek},
    topics::{Found, TopicsArgs, apply},
};
use kafka_client::admin::{self, TopicSpec};
use service_runtime::{RunArgs, Runtime};
use telemetry_wire::Signal;

use crate::{
    database::Database,
    line::{Hub, Line, logs_request},
};

fn seeking(to: i64) -> SeekArgs {
    let to = Position::Offset(to);
    SeekArgs { run: RunArgs::default(), signal: Signal::Logs, partitions: Vec::new(), to, dry_run: false }
}

async fn count(database: &Database) -> (String, String) {
    let text = database.query("SELECT count(), uniqExact(Body) FROM {db}.otel_logs").await;
    let (rows, different) = text.trim().split_once('\t').unwrap();
    (rows.to_owned(), different.to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_moved_back_while_its_hubs_are_stopped_and_nothing_is_doubled() {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    for number in 0..20 {
        line.send(0, &logs_request(&format!("record {number}"), 2), &[]).await;
    }
    let config = line.table_config(&database.config, "blocks: {max_age: 50ms, max_rows: 8}");
    let hub = Hub::ready(config.clone()).await;
    line.wait_until_committed().await;
    let refused = format!("{:#}", seek(config.clone(), &seeking(5)).await.unwrap_err());
    assert!(refused.contains("has members") && refused.contains("stop its hubs first"), "{refused}");
    hub.stop().await;

    let moved = [Move { partition: 0, from: Some(20), to: 5 }];
    let dry = SeekArgs { dry_run: true, ..seeking(5) };
    assert_eq!(seek(config.clone(), &dry).await.unwrap(), moved);
    assert_eq!(line.committed().await[&0], 20, "a dry run changes nothing");
    assert_eq!(seek(config.clone(), &seeking(5)).await.unwrap(), moved);
    assert_eq!(line.committed().await[&0], 5);
    // Offsets that the log does not have are its ends.
    assert_eq!(seek(config.clone(), &seeking(1_000)).await.unwrap()[0].to, 20);
    seek(config.clone(), &seeking(3)).await.unwrap();

    let hub = Hub::ready(config).await;
    line.wait_until_committed().await;
    hub.stop().await;
    assert_eq!(count(&database).await, ("40".to_owned(), "40".to_owned()));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_is_not_moved_while_a_replay_is_at_work() {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    for number in 0..20 {
        line.send(0, &logs_request(&format!("record {number}"), 2), &[]).await;
    }
    let config = line.table_config(&database.config, "blocks: {max_age: 50ms, max_rows: 8}");
    let hub = Hub::ready(config.clone()).await;
    line.wait_until_committed().await;
    hub.stop().await;
    database.query("ALTER TABLE {db}.otel_logs DELETE WHERE 1 SETTINGS mutations_sync = 2").await;
    let slowly = ReplayArgs { rate: Some(10), parallel: 1, ..ReplayArgs::default() };
    let moving = async {
        let is_locked = "SELECT count() FROM system.tables WHERE database = '{db}' AND name = 'replay_lock'";
        crate::line::eventually("the lock is taken", async || database.query(is_locked).await.trim() == "1")
            .await;
        format!("{:#}", seek(config.clone(), &seeking(5)).await.unwrap_err())
    };
    let (replayed, refused) = tokio::join!(replay(config.clone(), Runtime::detached(), &slowly), moving);
    assert_eq!(replayed.unwrap().records, 20);
    assert!(refused.contains("another replay is at work"), "{refused}");
    assert_eq!(count(&database).await, ("40".to_owned(), "40".to_owned()));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn topics_are_made_once_and_compared_afterwards() {
    let (line, database) = (Line::without_topics(Signal::Logs), Database::unused());
    let config = line.table_config(&database.config, "");
    let args = TopicsArgs {
        run: RunArgs::default(),
        partitions: 2,
        replication: 1,
        settings: vec![("retention.ms".to_owned(), "3600000".to_owned())],
        dry_run: false,
    };
    let found = async |args: &TopicsArgs| -> Vec<Found> {
        apply(&config, args).await.unwrap().into_iter().map(|(_, found)| found).collect()
    };
    let dry = TopicsArgs { dry_run: true, ..args.clone() };
    // A dry run does not promise what the brokers would refuse.
    for dry_run in [true, false] {
        let three = TopicsArgs { replication: 3, dry_run, ..args.clone() };
        let refused = format!("{:#}", apply(&config, &three).await.unwrap_err());
        assert!(
            refused.contains("the cluster has 1 brokers") && refused.contains("--replication 1"),
            "{refused}"
        );
    }
    assert_eq!(found(&dry).await, [Found::Created, Found::Created]);
    assert!(admin::watermarks(&line.connection, &line.topic).await.is_err(), "a dry run makes nothing");
    assert_eq!(found(&args).await, [Found::Created, Found::Created]);
    assert_eq!(admin::watermarks(&line.connection, &line.topic).await.unwrap().len(), 2);
    assert_eq!(found(&args).await, [Found::AsAsked, Found::AsAsked]);
    let other = TopicsArgs { partitions: 3, settings: Vec::new(), ..args };
    let differing = found(&other).await;
    let Found::Differs(differences) = &differing[0] else { panic!("{differing:?}") };
    assert!(differences[0].contains("has 2 partitions, not 3"), "{differences:?}");
    assert!(differences[1].contains("retention.ms is 3600000, not 31536000000"), "{differences:?}");
    // Somebody else's topic of that name.
    let compacted = Line::without_topics(Signal::Logs);
    let spec = TopicSpec {
        config: vec![("cleanup.policy".to_owned(), "compact".to_owned())],
        ..TopicSpec::new(&compacted.topic, 2)
    };
    admin::create_topics(&compacted.connection, &[spec]).await.unwrap();
    let config = compacted.table_config(&database.config, "");
    let all = apply(&config, &dry).await.unwrap();
    assert!(
        matches!(&all[0].1, Found::Differs(what) if what[0].contains("cleanup.policy is compact")),
        "{all:?}"
    );
}
