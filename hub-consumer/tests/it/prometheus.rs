//! The metrics sink against a real Prometheus with its OTLP receiver, by the same configuration but for the path.

use devstack::{Cache, Progress, Prometheus};
use hub_consumer::{
    dead_letter::PART,
    replay::{ReplayArgs, metrics, metrics::Posted},
};
use opentelemetry_proto::tonic::metrics::v1::metric;
use service_runtime::Runtime;
use telemetry_wire::{Signal, headers::dead_letter};

use crate::{
    line::{Hub, Line, eventually},
    metrics_sink::{ask_at, gauge, request},
};

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_queried_from_prometheus_and_one_bad_sample_spoils_no_other() {
    let up = || Prometheus::up(&Cache::from_env(), &Progress::silent());
    let prometheus = tokio::task::spawn_blocking(up).await.unwrap().unwrap();
    let url = prometheus.url();
    let line = Line::new(Signal::Metrics, 2).await;
    for partition in 0..2 {
        let metrics = (0..50).map(|number| gauge(&format!("p{partition}_{number}"), 3));
        line.send(partition, &request(metrics.collect()), &[]).await;
    }
    // One sample that is out of bounds makes Prometheus refuse the whole request.
    let mut old = gauge("old", 2);
    if let Some(metric::Data::Gauge(gauge)) = &mut old.data {
        gauge.data_points[0].time_unix_nano -= 30 * 86_400 * 1_000_000_000;
    }
    line.send(0, &request(vec![gauge("beside", 3), old, gauge("empty", 0)]), &[]).await;
    line.send(1, b"\x0a\xff poison", &[]).await;
    let config = line.config(&format!(
        "mimir: {{url: '{url}', path: /api/v1/otlp/v1/metrics, max_request_points: 100}}\n"
    ));
    let hub = Hub::ready(config.clone()).await;
    line.wait_until_committed().await;

    let letters = line.read_dead_letters(2).await;
    let header = |letter: &kafka_client::Record, name: &str| {
        letter.headers.iter().find(|(given, _)| given == name).map(|(_, value)| value.clone())
    };
    let mut reasons: Vec<_> = letters
        .iter()
        .map(|letter| (header(letter, dead_letter::REASON).unwrap(), header(letter, PART).is_some()))
        .collect();
    reasons.sort();
    assert_eq!(reasons, [("bad_request".into(), true), ("malformed".into(), false)]);
    let count = async |query: &str| ask_at(&format!("{url}/api/v1/query"), query).await;
    let all = "count({__name__=~\"p[01]_.*\"}) or vector(0)";
    eventually("every series can be queried", async || count(all).await == 100.0).await;
    assert_eq!(count("count_over_time(p1_49[5m])").await, 3.0);
    assert_eq!(count("count_over_time(beside[5m]) + count_over_time(old[5m])").await, 4.0);
    assert_eq!(hub.metric("hub_items_stored_total", ""), 304.0);
    assert_eq!(hub.metric("hub_items_dropped_total", "empty_metric"), 1.0);
    hub.stop().await;

    // The sample that is refused is a dead letter again, and nothing else changes.
    let args = ReplayArgs { parallel: 2, ..ReplayArgs::default() };
    let replayed = metrics::replay(config.clone(), Runtime::detached(), &config.signals[0], &args).await;
    let Posted { records, accepted, dead_lettered, .. } = replayed.unwrap();
    assert_eq!((records, accepted, dead_lettered), (4, 304, 2));
    assert_eq!(count("count_over_time(p1_49[5m])").await, 3.0);
}
