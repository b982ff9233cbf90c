//! Metrics that are sent a second time: a real Mimir counts what it has, and says what it takes no more.

use std::{
    collections::BTreeMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use axum::{http::StatusCode, response::IntoResponse as _};
use hub_consumer::{
    audit::{AuditArgs, Position, audit},
    config::HubConfig,
    redrive::{Fates, RedriveArgs, redrive},
    replay::{ReplayArgs, metrics, metrics::Posted},
};
use kafka_client::admin;
use opentelemetry_proto::tonic::metrics::v1::{Metric, metric, number_data_point};
use service_runtime::Runtime;
use telemetry_wire::Signal;

use crate::{
    line::{Hub, Line, eventually},
    metrics_sink::{Stub, ask, gauge, has, ok, request},
};

async fn replay(config: &HubConfig, args: ReplayArgs) -> Posted {
    let args = ReplayArgs { parallel: 2, ..args };
    let replayed = metrics::replay(config.clone(), Runtime::detached(), &config.signals[0], &args).await;
    replayed.unwrap_or_else(|error| panic!("{error:#}"))
}

/// The same gauge, every sample with another value.
fn changed(metric: &Metric) -> Metric {
    let mut metric = metric.clone();
    if let Some(metric::Data::Gauge(gauge)) = &mut metric.data {
        for point in &mut gauge.data_points {
            point.value = Some(number_data_point::Value::AsInt(1_000_000));
        }
    }
    metric
}

/// The same gauge, every sample so many seconds older.
fn older(metric: &Metric, seconds: u64) -> Metric {
    let mut metric = metric.clone();
    if let Some(metric::Data::Gauge(gauge)) = &mut metric.data {
        gauge.data_points.iter_mut().for_each(|point| point.time_unix_nano -= seconds * 1_000_000_000);
    }
    metric
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_changes_nothing_in_mimir_and_says_what_it_takes_no_more() {
    let line = Line::new(Signal::Metrics, 2).await;
    let name = format!("it_{}_again", std::process::id());
    let first = gauge(&format!("{name}_0"), 3);
    line.send(0, &request(vec![first.clone()]), &[]).await;
    line.send(1, &request(vec![gauge(&format!("{name}_1"), 3)]), &[]).await;
    let mimir = &devstack::shared().mimir_url;
    let config = line.config(&format!("mimir: {{url: '{mimir}', tenant: anonymous}}\n"));
    let hub = Hub::ready(config.clone()).await;
    line.wait_until_committed().await;
    let count = |number| format!("count_over_time({name}_{number}[5m])");
    let samples = format!("{} + {} or vector(0)", count(0), count(1));
    eventually("Mimir has them", async || ask(mimir, &samples).await == 6.0).await;

    let dry = replay(&config, ReplayArgs { dry_run: true, ..ReplayArgs::default() }).await;
    assert_eq!(dry, Posted { dry_run: true, records: 2, ..Posted::default() });
    let all = Posted { records: 2, accepted: 6, ..Posted::default() };
    assert_eq!(replay(&config, ReplayArgs::default()).await, all);
    let part = AuditArgs { partitions: vec![1], from: Some(Position::Offset(0)), ..AuditArgs::default() };
    let part = replay(&config, ReplayArgs { range: part, ..ReplayArgs::default() }).await;
    assert_eq!(part, Posted { records: 1, accepted: 3, ..Posted::default() });
    assert_eq!(ask(mimir, &samples).await, 6.0);

    // What the hub was refused is refused again, by what is wrong with it, and the rest of the range is there.
    line.send(0, &request(vec![changed(&first)]), &[]).await;
    line.send(0, &request(vec![older(&first, 30 * 86_400)]), &[]).await;
    line.wait_until_committed().await;
    hub.stop().await;
    let refused = replay(&config, ReplayArgs::default()).await;
    assert!(!refused.is_complete());
    // Another value at a time it has a value for, out of its order, is passed over without a word.
    assert_eq!((refused.records, refused.accepted), (4, 9));
    assert_eq!(refused.refused, BTreeMap::from([("too_old", 3)]));
    assert_eq!(ask(mimir, &samples).await, 6.0);
}

#[tokio::test(flavor = "multi_thread")]
async fn audit_says_why_it_does_not_judge_metrics() {
    let line = Line::new(Signal::Metrics, 1).await;
    for args in [
        AuditArgs { signal: Some(Signal::Metrics), ..AuditArgs::default() },
        AuditArgs { topic: Some(line.topic.clone()), ..AuditArgs::default() },
    ] {
        let refused =
            audit(&line.config("mimir: {url: 'http://nowhere'}"), &args).await.unwrap_err().to_string();
        assert!(refused.contains("metrics go to Mimir"), "{refused}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn parts_of_a_record_are_redriven_each_by_itself() {
    let line = Line::new(Signal::Metrics, 1).await;
    let names = ["good", "bad_1", "bad_2"];
    line.send(0, &request(names.map(|name| gauge(name, 1)).to_vec()), &[]).await;
    let mended = [Arc::new(AtomicBool::new(false)), Arc::new(AtomicBool::new(false))];
    let is_mended = mended.clone();
    let (stub, url) = Stub::start(move |seen| {
        let refused = (1..=2)
            .any(|bad| has(seen, &format!("bad_{bad}")) && !is_mended[bad - 1].load(Ordering::Relaxed));
        if refused { (StatusCode::BAD_REQUEST, "out of bounds").into_response() } else { ok() }
    })
    .await;
    let config = line.config(&format!("mimir: {{url: '{url}', tenant: menu}}\n"));
    let hub = Hub::ready(config.clone()).await;
    line.wait_until_committed().await;
    hub.stop().await;
    let letters = async || admin::watermarks(&line.connection, &line.dead_letters).await.unwrap()[0].high;
    assert_eq!(letters().await, 2);

    let args = RedriveArgs { max_attempts: 2, ..RedriveArgs::default() };
    let run =
        async || redrive(config.clone(), Runtime::detached(), &args).await.unwrap().remove("bad_request");
    // One of two is mended: the other comes back. They are settled together, so both are counted as failed.
    mended[0].store(true, Ordering::Relaxed);
    assert_eq!(run().await, Some(Fates { chosen: 2, failed: 2, ..Fates::default() }));
    assert_eq!(letters().await, 3 + 2, "a new letter, and notes about the old ones");
    mended[1].store(true, Ordering::Relaxed);
    assert_eq!(run().await, Some(Fates { chosen: 1, stored: 1, ..Fates::default() }));
    assert_eq!(letters().await, 5 + 1);
    assert_eq!(run().await, None);
    assert!(names.iter().all(|name| stub.stored().contains_key(*name)), "{:?}", stub.stored());

    // What never passes is given up.
    mended[1].store(false, Ordering::Relaxed);
    line.send(0, &request(vec![gauge("bad_2", 1)]), &[]).await;
    let hub = Hub::ready(config.clone()).await;
    line.wait_until_committed().await;
    hub.stop().await;
    for _ in 0..args.max_attempts {
        assert_eq!(run().await, Some(Fates { chosen: 1, failed: 1, ..Fates::default() }));
    }
    assert_eq!(run().await, Some(Fates { given_up: 1, ..Fates::default() }));
    assert_eq!(letters().await, 6 + 1 + 2 * 2);
}
