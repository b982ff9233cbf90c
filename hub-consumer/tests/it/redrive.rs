//! `hub-consumer redrive` stores what was refused once what was wrong is mended, and never goes round in circles.

use hub_consumer::{
    audit::{AuditArgs, audit},
    redrive::{Fates, RedriveArgs, Summary, redrive},
    replay::{ReplayArgs, replay},
};
use kafka_client::admin;
use service_runtime::Runtime;
use telemetry_wire::Signal;

use crate::{
    database::Database,
    line::{Hub, Line, logs_request},
};

fn args() -> RedriveArgs {
    RedriveArgs { max_attempts: 5, ..RedriveArgs::default() }
}

async fn run(line: &Line, database: &Database, args: &RedriveArgs) -> Summary {
    let config = line.table_config(&database.config, "blocks: {max_rows: 8}");
    redrive(config, Runtime::detached(), args).await.unwrap_or_else(|error| panic!("{error:#}"))
}

async fn letters(line: &Line) -> i64 {
    let ends = admin::watermarks(&line.connection, &line.dead_letters).await.unwrap();
    ends.iter().map(|end| end.high).sum()
}

async fn count(database: &Database) -> String {
    let counts =
        "SELECT count(), uniqExact(Body), uniqExact(source_partition, source_offset) FROM {db}.otel_logs";
    database.query(counts).await.trim().replace('\t', " ")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_table_refused_is_stored_once_it_takes_it_and_twice_is_once() {
    let (line, database) = (Line::new(Signal::Logs, 2).await, Database::migrated().await);
    database
        .query("ALTER TABLE {db}.otel_logs ADD CONSTRAINT wrong CHECK NOT startsWith(Body, 'refused')")
        .await;
    for number in 0..30 {
        let name = if number % 3 == 0 { "refused" } else { "fine" };
        line.send(number % 2, &logs_request(&format!("{name} {number}"), 2), &[]).await;
    }
    let config = line.table_config(&database.config, "blocks: {max_age: 50ms}");
    let hub = Hub::ready(config.clone()).await;
    line.wait_until_committed().await;
    hub.stop().await;
    assert_eq!((count(&database).await.as_str(), letters(&line).await), ("40 40 20", 10));

    // Nothing is mended: they come back, each once.
    let summary = run(&line, &database, &args()).await;
    assert_eq!(summary["data"], Fates { chosen: 10, failed: 10, ..Fates::default() });
    assert_eq!(letters(&line).await, 10 + 10 + 10, "new letters, and notes about the old ones");

    database.query("ALTER TABLE {db}.otel_logs DROP CONSTRAINT wrong").await;
    let dry = run(&line, &database, &RedriveArgs { dry_run: true, ..args() }).await;
    assert_eq!(dry["data"], Fates { chosen: 10, ..Fates::default() });
    assert_eq!(count(&database).await, "40 40 20", "a dry run changes nothing");
    let one = RedriveArgs { partitions: vec![1], ..args() };
    assert_eq!(run(&line, &database, &one).await["data"].stored, 5);
    // What is stored is noted, and not sent again.
    let summary = run(&line, &database, &args()).await;
    assert_eq!(summary["data"], Fates { chosen: 5, stored: 5, ..Fates::default() });
    assert_eq!((count(&database).await.as_str(), letters(&line).await), ("60 60 30", 30 + 10));
    assert!(run(&line, &database, &args()).await.is_empty(), "nothing is left to send");
    let report = audit(&config, &AuditArgs::default()).await.unwrap();
    assert!(report.complete, "{report}");
    assert_eq!(report.partitions.iter().map(|of| of.dead_lettered).sum::<u64>(), 0, "{report}");

    // A letter that is done with is no excuse when the rows are gone.
    database.query("DELETE FROM {db}.otel_logs WHERE startsWith(Body, 'refused')").await;
    let report = audit(&config, &AuditArgs::default()).await.unwrap();
    assert_eq!(report.partitions.iter().map(|of| of.missing.records).sum::<u64>(), 10, "{report}");
    let replayed =
        replay(config, Runtime::detached(), &ReplayArgs { parallel: 1, ..ReplayArgs::default() }).await;
    let replayed = replayed.unwrap_or_else(|error| panic!("{error:#}"));
    assert!(replayed.records == 10 && replayed.audit.complete, "{replayed:?}");
    assert_eq!(count(&database).await, "60 60 30");
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_record_that_can_never_be_stored_is_given_up_after_some_attempts() {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    line.send(0, b"\x0a\xff poison", &[("kept", b"as it was")]).await;
    line.send(0, &logs_request("fine", 2), &[]).await;
    let hub = Hub::ready(line.table_config(&database.config, "blocks: {max_age: 50ms}")).await;
    line.wait_until_committed().await;
    hub.stop().await;
    for attempt in 0..10 {
        let summary = run(&line, &database, &args()).await;
        let expected = if attempt < 5 {
            Fates { chosen: 1, failed: 1, ..Fates::default() }
        } else {
            Fates { given_up: 1, ..Fates::default() }
        };
        assert_eq!(summary["malformed"], expected, "attempt {attempt}");
        assert_eq!(
            letters(&line).await,
            1 + 2 * (attempt + 1).min(5),
            "a letter and a note for each attempt"
        );
    }
    let mut letters = line.read_dead_letters(11).await;
    letters.retain(|letter| letter.headers.iter().all(|(name, _)| name != "eventline-dlq-redriven"));
    assert_eq!(letters.len(), 6);
    for (attempts, letter) in letters.iter().enumerate() {
        let header = |name: &str| {
            let found = letter.headers.iter().find(|(given, _)| given == name);
            found.map(|(_, value)| String::from_utf8(value.to_vec()).unwrap())
        };
        assert_eq!(letter.value, b"\x0a\xff poison".as_slice());
        assert_eq!(header("kept").as_deref(), Some("as it was"));
        let counted = header("eventline-dlq-attempts").map_or(0, |text| text.parse().unwrap());
        assert_eq!((counted, header("eventline-dlq-source-offset").as_deref()), (attempts, Some("0")));
    }
    assert_eq!(count(&database).await, "2 2 1");
    database.drop().await;
}
