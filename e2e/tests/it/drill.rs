//! A short drill: what was deleted comes back under load, and the lag tells the truth while ClickHouse is away.

use std::time::Duration;

use devstack::{Part, Stack, StackOptions};
use e2e::drill::{DrillOptions, Transcript, drill};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_hour_comes_back_and_the_lag_is_true() {
    let up = || Stack::up(StackOptions::own(&Part::ALL)).unwrap();
    let stack = tokio::task::spawn_blocking(up).await.unwrap();
    let directory = tempfile::tempdir().unwrap();
    let options = DrillOptions {
        history: 400,
        rate: 20,
        outage: Duration::from_secs(15),
        look: Duration::from_secs(4),
        calm: Duration::from_secs(3),
    };
    let mut transcript = Transcript::default();
    let drilled = drill(&stack, directory.path(), options, &mut transcript).await;
    drilled.unwrap_or_else(|error| panic!("{error:#}\n{}", transcript.text()));
}
