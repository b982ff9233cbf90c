//! A short choice of the faults that `make test-faults` makes by the thousand, and the proof that the oracle sees.

use std::path::{Path, PathBuf};
use std::time::Duration;

use e2e::faults::arena::Arena;
use e2e::faults::catalogue::ROWS;
use e2e::faults::item;
use e2e::faults::load::LoadOptions;
use e2e::faults::outcome::Outcome;
use e2e::faults::report;
use e2e::faults::scene::Scene;
use e2e::faults::verdict::Verdict;
use e2e::process::PATIENCE;
use kafka_client::{OutgoingRecord, Producer, ProducerConfig};
use telemetry_wire::Signal;

/// Logs of the edges stay here, for whoever has to look into a failure.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    // The last run's would be read as this one's.
    let _ = std::fs::remove_dir_all(&folder);
    folder
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acked_is_lost_or_doubled_by_any_kind_of_fault() {
    let mut arena = Arena::new(&folder("faults"), 1).unwrap();
    let mut failed = Vec::new();
    for row in ROWS.iter().filter(|row| row.light > 0) {
        if !row.is_possible() {
            eprintln!("{} skipped: it needs root", row.id);
            continue;
        }
        let finished = row.run(&mut arena, row.light).await;
        eprintln!("{}", report::lines(&finished));
        if !finished.is_passed() {
            failed.push(report::lines(&finished));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
}

/// A guard that has never been seen to fail guards nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_sees_what_is_lost_doubled_and_bent() {
    let mut arena = Arena::new(&folder("oracle"), 1).unwrap();
    let mut scene = Scene::solo(&mut arena, "oracle").await.unwrap();
    scene.edge.start_ready().await.unwrap();
    let load = scene.load(&LoadOptions::mixed(1)).unwrap();
    load.acked(50, PATIENCE).await.unwrap();
    load.stop().await.unwrap();
    let mut clean = Outcome::of(1);
    scene.settle(&mut clean).await.unwrap();
    assert!(clean.is_passed() && clean.verdict.acked >= 50, "{clean:?}");

    // A request's record once more, as an edge would publish it that had forgotten what it had done.
    let sent = scene.ledger.requests().into_iter().find(|sent| sent.signal == Signal::Logs).unwrap();
    let ids: Vec<_> = sent.ids().collect();
    let mut value = item::request(Signal::Logs, &ids);
    publish(&scene, &value).await;
    let doubled = judge(&mut scene).await;
    assert_eq!((doubled.doubled, doubled.lost, doubled.bent), (ids.len() as u64, 0, 0), "{doubled:?}");

    // The same with one letter changed.
    let at = value.windows(7).position(|window| window == b"sender-").unwrap();
    value[at] = b'S';
    publish(&scene, &value).await;
    assert_eq!(judge(&mut scene).await.bent, ids.len() as u64);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_oracle_sees_a_segment_that_was_taken_away() {
    let mut arena = Arena::new(&folder("segment"), 1).unwrap();
    let mut scene = Scene::solo(&mut arena, "segment").await.unwrap();
    scene.door().set(devstack::Link::Cut);
    scene.edge.start_ready().await.unwrap();
    let load = scene.load(&LoadOptions::mixed(1)).unwrap();
    load.acked(50, PATIENCE).await.unwrap();
    load.stop().await.unwrap();
    scene.edge.kill().await.unwrap();
    assert!(scene.remove_segments().unwrap() > 0);
    scene.edge.start().await.unwrap();
    let mut outcome = Outcome::of(1);
    scene.settle_within(Duration::from_secs(5), &mut outcome).await.unwrap();
    assert!(outcome.verdict.lost > 0 && outcome.verdict.doubled == 0, "{outcome:?}");
}

async fn publish(scene: &Scene, value: &[u8]) {
    let producer = Producer::new(&ProducerConfig::new(scene.connection())).unwrap();
    let topic = scene.edge.topic(Signal::Logs);
    // A record for a topic that a new producer has not heard of yet waits for it.
    let record = OutgoingRecord { topic: &topic, partition: None, key: None, value, headers: &[] };
    producer.send(record).unwrap().await.unwrap();
}

async fn judge(scene: &mut Scene) -> Verdict {
    let mut outcome = Outcome::of(1);
    scene.judge(&mut outcome).await.unwrap();
    outcome.verdict
}
