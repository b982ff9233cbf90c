//! `hub-consumer lag` against a real broker: every partition counts, and the seconds are those of the first record that waits.

use std::time::{Duration, Instant};

use hub_consumer::lag::{
    command::Table,
    meter::{Meter, PartitionState, Scope, State},
};
use kafka_client::admin;
use telemetry_wire::Signal;
use tokio::time::sleep;

use crate::{
    database::Database,
    line::{Hub, Line, eventually, logs_request},
};

async fn states(line: &Line, database: &Database) -> Vec<PartitionState> {
    let config = line.table_config(&database.config, "");
    Meter::new(&config.signals[0], Scope::All).look().await.unwrap_or_else(|error| panic!("{error:#}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_waits_is_as_old_as_its_first_record_whether_somebody_reads_it_or_not() {
    let (line, database) = (Line::new(Signal::Logs, 3).await, Database::migrated().await);
    let hub = Hub::ready(line.table_config(&database.config, "blocks: {max_age: 50ms}")).await;
    line.send(1, &logs_request("first", 2), &[]).await;
    line.wait_until_committed().await;
    let fine = states(&line, &database).await;
    assert!(fine.iter().all(|of| of.records == 0 && of.seconds == Some(0.0) && of.state == State::Fine));
    assert!(fine.iter().all(|of| of.owner.is_some()), "{fine:?}");
    hub.stop().await;

    let waits_since = Instant::now();
    line.send(1, &logs_request("second", 2), &[]).await;
    let sent = waits_since.elapsed();
    sleep(Duration::from_secs(2)).await;
    line.send(1, &logs_request("third", 2), &[]).await;
    line.send(2, &logs_request("fourth", 2), &[]).await;
    let before = waits_since.elapsed();
    let states = states(&line, &database).await;
    let after = waits_since.elapsed();
    let of = &states[1];
    assert_eq!((of.records, of.committed, of.log_end, of.head_room_records), (2, Some(1), 3, 1));
    // The broker's clock is this machine's, by the millisecond.
    let truth = (before - sent).as_secs_f64() - 0.01..=after.as_secs_f64() + 0.01;
    assert!(truth.contains(&of.seconds.unwrap()), "{:?} is not within {truth:?}", of.seconds);
    let bytes = logs_request("second", 2).len() + logs_request("third", 2).len();
    assert!(of.bytes.unwrap().abs_diff(bytes as u64) <= 1, "{:?} is not {bytes}", of.bytes);
    assert_eq!((of.state, of.drain_seconds), (State::Orphaned, None));
    assert_eq!((states[0].records, states[2].records), (0, 1));
    assert!(states[2].seconds.unwrap() < of.seconds.unwrap());
    let table = Table(&states).to_string();
    assert!(table.contains("has no owner") && table.contains("3 records behind"), "{table}");
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_retention_has_passed_is_said_to_have_lost() {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    for number in 0..5 {
        line.send(0, &logs_request(&format!("{number}"), 1), &[]).await;
    }
    line.set_committed(0, 1).await;
    admin::delete_records(&line.connection, &line.topic, 0, 3).await.unwrap();
    let states = states(&line, &database).await;
    assert_eq!((states[0].state, states[0].head_room_records), (State::Overrun, 0));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lag_that_is_worked_off_has_an_end() {
    let (line, database) = (Line::new(Signal::Logs, 1).await, Database::migrated().await);
    for number in 0..60 {
        line.send(0, &logs_request(&format!("{number}"), 1), &[]).await;
    }
    // Blocks of one record, so that it takes its time.
    let hub = Hub::start(line.table_config(&database.config, "blocks: {max_age: 50ms, max_rows: 1}"));
    eventually("an end is in sight", async || {
        let states = states(&line, &database).await;
        assert!(states[0].records > 0 || states[0].committed == Some(60), "{states:?}");
        states[0].records > 0 && states[0].drain_seconds.is_some_and(|seconds| seconds > 0.0)
    })
    .await;
    line.wait_until_committed().await;
    hub.stop().await;
    database.drop().await;
}
