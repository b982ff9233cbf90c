//! Parts that go away and come back: nothing acked is lost, and nothing is acked that was not taken.

use std::time::Duration;

use devstack::{Endpoints, Part, Stack, StackOptions};
use e2e::sender::{Answer, Sender};
use prost::Message;
use telemetry_wire::Signal;

use crate::expected::{self, Rows};
use crate::generate::Generator;
use crate::{assert_no_errors, line, line_with, servers};

/// How long the hub stays away: long enough for several requests of every sender, or as `E2E_OUTAGE_SECONDS` says.
fn hub_outage() -> Duration {
    let seconds = std::env::var("E2E_OUTAGE_SECONDS").ok().and_then(|text| text.parse().ok());
    Duration::from_secs(seconds.unwrap_or(5))
}

/// How long the broker stays away. Within the hub's session timeout: beyond it the hub loses its assignment, reads again
/// what it had stored and not committed, and stores it twice; only pinned blocks will close that.
const BROKER_OUTAGE: Duration = Duration::from_secs(5);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hub_that_was_away_under_load_loses_nothing() {
    let (mut line, _directory) = line(servers().await, "hub_away").await;
    let load = Load::start(&line.sender().unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    line.stop_hub().await.unwrap();
    tokio::time::sleep(hub_outage()).await;
    line.start_hub().await.unwrap();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let Sent { acked, answers } = load.stop().await;
    assert!(answers.iter().all(|answer| *answer == Answer::Acked), "the edge does not need the hub");
    line.wait_for_rows("otel_logs", acked.len() as u64).await.unwrap();
    let rows =
        line.clickhouse().rows(&format!("SELECT {} FROM otel_logs", expected::LOG_COLUMNS)).await.unwrap();
    expected::compare(rows, "LogAttributes", &acked);
    assert_no_errors(line.hub.as_ref().unwrap().log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_spool_a_broker_that_was_away_refuses_as_retryable_and_takes_again() {
    let shared = servers().await;
    let stack =
        tokio::task::spawn_blocking(|| Stack::up(StackOptions::own(&[Part::Kafka]))).await.unwrap().unwrap();
    let endpoints = Endpoints { kafka_brokers: stack.endpoints().kafka_brokers.clone(), ..shared.clone() };
    // Shorter than the outage, so that also requests which were under way when it began are refused in it.
    let give_up = ("EDGE__KAFKA__PRODUCER__DELIVERY_TIMEOUT", "2s");
    let (line, _directory) = line_with(&endpoints, "broker_away", |options| {
        options.has_spool = false;
        options.edge_env.push((give_up.0, give_up.1.to_owned()));
    })
    .await;
    let load = Load::start(&line.sender().unwrap());
    tokio::time::sleep(Duration::from_secs(1)).await;
    tokio::task::block_in_place(|| stack.kafka().stop()).unwrap();
    // An ack may still be on its way to its sender.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let acked_before = load.acked();
    tokio::time::sleep(BROKER_OUTAGE).await;
    assert_eq!(load.acked(), acked_before, "nothing is acked without a broker");
    tokio::task::block_in_place(|| stack.kafka().start()).unwrap();
    // The first request that is acked again ends the outage for its sender.
    load.run_until_acked().await;
    let Sent { acked, answers } = load.stop().await;
    let refused = answers.iter().filter(|answer| matches!(answer, Answer::Retryable(_))).count();
    assert!(refused > 0, "senders were refused while the broker was away");
    let strange: Vec<_> =
        answers.iter().filter(|answer| !matches!(answer, Answer::Acked | Answer::Retryable(_))).collect();
    assert!(strange.is_empty(), "{strange:?}");

    // A request refused after its records were handed to the client may be stored all the same, but what was acked must be.
    let clickhouse = line.clickhouse();
    let ids = format!(
        "SELECT LogAttributes['{}'] AS id, count() AS copies FROM otel_logs GROUP BY id",
        crate::generate::ID
    );
    let stored = e2e::line::wait_for("everything acked", async || {
        let stored = clickhouse.rows(&ids).await?;
        let stored: std::collections::BTreeMap<String, String> = stored
            .iter()
            .map(|row| (row["id"].as_str().unwrap_or_default().to_owned(), row["copies"].to_string()))
            .collect();
        let missing = acked.keys().filter(|id| !stored.contains_key(*id)).count();
        Ok(if missing == 0 { Ok(stored) } else { Err(format!("{missing} of {} are missing", acked.len())) })
    })
    .await
    .unwrap();
    let doubled: Vec<_> = stored.iter().filter(|(_, copies)| copies.as_str() != "\"1\"").take(5).collect();
    assert!(doubled.is_empty(), "{doubled:?}");
}

/// Two senders that never send a request twice, whatever they are answered.
struct Load {
    stop: tokio::sync::watch::Sender<bool>,
    acked: tokio::sync::watch::Receiver<u64>,
    tasks: Vec<tokio::task::JoinHandle<Sent>>,
}

/// What the senders know at the end.
#[derive(Default)]
struct Sent {
    acked: Rows,
    answers: Vec<Answer>,
}

impl Load {
    fn start(sender: &Sender) -> Self {
        let (stop, stopped) = tokio::sync::watch::channel(false);
        let (count, acked) = tokio::sync::watch::channel(0);
        let tasks = (0..2u64)
            .map(|number| tokio::spawn(send_until(sender.clone(), number, stopped.clone(), count.clone())))
            .collect();
        Self { stop, acked, tasks }
    }

    /// Requests acked so far.
    fn acked(&self) -> u64 {
        *self.acked.borrow()
    }

    /// Returns once a few more requests have been acked than now.
    async fn run_until_acked(&self) {
        let mut acked = self.acked.clone();
        let target = *acked.borrow() + 10;
        let reached =
            tokio::time::timeout(e2e::process::PATIENCE, acked.wait_for(|count| *count >= target)).await;
        reached.expect("requests are acked again").expect("the senders run");
    }

    async fn stop(self) -> Sent {
        self.stop.send(true).expect("the senders run");
        let mut all = Sent::default();
        for task in self.tasks {
            let sent = task.await.unwrap();
            all.acked.extend(sent.acked);
            all.answers.extend(sent.answers);
        }
        all
    }
}

async fn send_until(
    sender: Sender,
    number: u64,
    stopped: tokio::sync::watch::Receiver<bool>,
    count: tokio::sync::watch::Sender<u64>,
) -> Sent {
    let mut generator = Generator::new(&format!("load-{number}"), number);
    let mut sent = Sent::default();
    while !*stopped.borrow() {
        let request = generator.logs(50);
        let body = request.encode_to_vec();
        let answer = if number == 0 {
            sender.send_http(Signal::Logs, body).await
        } else {
            sender.send_grpc(Signal::Logs, &body).await.unwrap()
        };
        if answer == Answer::Acked {
            expected::logs(&request, &mut sent.acked);
            count.send_modify(|count| *count += 1);
        }
        sent.answers.push(answer);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    sent
}
