//! What is pushed is what a scraper would have: the same page goes to a real Prometheus by scrapes and to a real Mimir by
//! pushes, and each has every series of the other.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use devstack::{Cache, Progress, Prometheus, ScrapeTarget};
use e2e::line::wait_for;
use e2e::mimir::Mimir;
use e2e::sender::Answer;
use prost::Message as _;
use service_runtime::http_server::{self, HttpServerConfig};
use service_runtime::prometheus_client::metrics::{
    counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info,
};
use service_runtime::prometheus_client::registry::{Registry, Unit};
use service_runtime::telemetry::{Telemetry, TelemetryConfig};
use service_runtime::{CancellationToken, Runtime, Service, Settings, admin};
use telemetry_wire::Signal;

use crate::generate::Generator;
use crate::{assert_no_errors, line_with, servers, unique};

/// Labels with the name among them, and the last value as text: NaN is then equal to itself.
type Held = BTreeMap<BTreeMap<String, String>, String>;

/// Everything that a store holds as current of a job.
async fn held(store: &Mimir, job: &str) -> Held {
    // What a scraper adds of its own.
    let selector = format!(r#"{{job="{job}", __name__!~"up|scrape_.*"}}"#);
    let series = store.vector(&selector).await.unwrap().into_iter();
    series.map(|series| (series.labels, series.samples[0].1.to_string())).collect()
}

async fn scraping(targets: Vec<ScrapeTarget>) -> (Prometheus, Mimir) {
    let up = move || Prometheus::scraping(&targets, &Cache::from_env(), &Progress::silent());
    let prometheus = tokio::task::spawn_blocking(up).await.unwrap().unwrap();
    let store = Mimir::prometheus(prometheus.url());
    (prometheus, store)
}

/// Metrics of every kind, with labels and values that a text format may stumble over.
fn register(registry: &mut Registry) {
    type Labels = [(&'static str, &'static str); 2];
    let counters = Family::<Labels, Counter>::default();
    counters.get_or_create(&[("path", "a\\b\"c\nd"), ("empty", "")]).inc_by(7);
    counters.get_or_create(&[("path", "{x=\"y\"} 1 # é"), ("empty", "no")]).inc_by(u64::MAX);
    registry.register("requests", "Requests \\ with \"quotes\"", counters);
    registry.register("idle", "Never counted", Counter::<u64>::default());

    let gauges = Family::<[(&'static str, String); 1], Gauge<f64, std::sync::atomic::AtomicU64>>::default();
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 0.1, 1e-300, 5e300, f64::MIN_POSITIVE] {
        gauges.get_or_create(&[("of", value.to_string())]).set(value);
    }
    registry.register("reading", "Readings", gauges);
    let bytes = Gauge::<i64>::default();
    bytes.set(i64::MIN);
    registry.register_with_unit("memory", "Memory", Unit::Bytes, bytes);

    let histogram = Histogram::new([1e-9, 0.005, 0.25, 1.0, 2.5, 10.0, 1e6, 1e21]);
    for value in [0.0, 0.25, 0.3, 1.0, 7.0, 1e30] {
        histogram.observe(value);
    }
    registry.register_with_unit("wait", "Waiting", Unit::Seconds, histogram);
    let plain = Family::<Labels, Histogram>::new_with_constructor(|| Histogram::new([1.0, 2.0]));
    plain.get_or_create(&[("le_not", "1"), ("x", "y")]).observe(2.0);
    registry.register("sizes", "Sizes", plain);
    registry.register("release", "What runs", Info::new([("version", "1.2.3")]));
    let inner = registry.sub_registry_with_prefix("inner");
    let labelled = inner.sub_registry_with_label(("part".into(), "a".into()));
    labelled.register("things", "Things", Counter::<u64>::default());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pushed_page_is_stored_as_the_scraped_page_is() {
    const SERVICE: Service = Service { name: "own-metrics", env_prefix: "OWN", version: "1.2.3" };
    let (runtime, tenant) = (Runtime::detached(), unique("own"));
    runtime.register_metrics(register);
    runtime.readiness().condition("kafka").ready();
    let url = format!("{}/otlp/v1/metrics", servers().await.mimir_url);
    let yaml = format!(
        "telemetry: {{otlp_endpoint: '{url}', headers: {{X-Scope-OrgID: '{tenant}'}}, instance: here}}"
    );
    let mut settings = Settings::from_yaml("OWN", &yaml, []);
    let config = TelemetryConfig::read(&mut settings.root().section("telemetry", "Push."));
    settings.finish().unwrap();
    let mut telemetry = Telemetry::new(&config, &SERVICE, 0, &runtime).unwrap().unwrap();

    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let (router, stop) = (admin::router(&SERVICE, &runtime), CancellationToken::new());
    tokio::spawn(
        async move { http_server::serve(listener, router, &HttpServerConfig::default(), stop).await },
    );
    let (job, instance) = (SERVICE.name.to_owned(), "here".to_owned());
    let (_prometheus, scraped) = scraping(vec![ScrapeTarget { address, job, instance }]).await;
    let expected = wait_for("the first scrape", async || {
        let held = held(&scraped, SERVICE.name).await;
        Ok(if held.is_empty() { Err("nothing is there".to_owned()) } else { Ok(held) })
    })
    .await
    .unwrap();

    telemetry.push().await.unwrap();
    let pushed = held(&Mimir::new(&servers().await.mimir_url, &tenant), SERVICE.name).await;
    assert_eq!(differences(&expected, &pushed), [""; 0]);
    // Counters, readings and memory, two histograms, the release, a condition, and what is told of the push.
    assert_eq!(pushed.len(), 4 + 8 + (2 + 9) + (2 + 3) + 1 + 2 + 5);
}

/// Metrics that move though nothing is done.
const MOVING: [&str; 5] = [
    "process_cpu_seconds_total",
    "process_open_fds",
    "process_resident_memory_bytes",
    "telemetry_last_push_timestamp_seconds",
    "telemetry_pushes_total",
];

/// What the two differ in, apart from the values of what moves.
fn differences(scraped: &Held, pushed: &Held) -> Vec<String> {
    let all: BTreeSet<_> = scraped.keys().chain(pushed.keys()).collect();
    let differ = all.into_iter().filter_map(|series| {
        let (scraped, pushed) = (scraped.get(series), pushed.get(series));
        let may_move = MOVING.contains(&series["__name__"].as_str());
        let is_right = scraped == pushed || may_move && scraped.is_some() && pushed.is_some();
        (!is_right).then(|| format!("{series:?}: scraped {scraped:?}, pushed {pushed:?}"))
    });
    differ.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn edge_and_hub_push_what_a_scraper_has_of_them() {
    let often = |options: &mut e2e::LineOptions| options.own_metrics = Some(Duration::from_secs(1));
    let (mut line, _directory) = line_with(servers().await, "pushed", often).await;
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    let target = |job: &str, url: String| {
        let address = url.trim_start_matches("http://").to_owned();
        let instance = address.replace("127.0.0.1", host.trim());
        ScrapeTarget { address, job: job.to_owned(), instance }
    };
    let targets =
        vec![target("edge-forwarder", line.edge_admin_url()), target("hub-consumer", line.hub_admin_url())];
    let (_prometheus, scraped) = scraping(targets).await;

    let (sender, mut generator) = (line.sender().unwrap(), Generator::new("pushed", 1));
    for (signal, request) in [
        (Signal::Logs, generator.logs(100).encode_to_vec()),
        (Signal::Traces, generator.spans(100).encode_to_vec()),
        (Signal::Metrics, generator.metrics(100, 0).encode_to_vec()),
    ] {
        assert_eq!(sender.send_http(signal, request).await, Answer::Acked);
    }
    line.wait_for_rows("otel_traces", 100).await.unwrap();
    line.wait_for_rows("otel_logs", 100).await.unwrap();

    let pushed = line.mimir();
    for (job, least, sign) in [
        ("edge-forwarder", 100, r#"edge_receiver_items_total{job="edge-forwarder"}"#),
        ("hub-consumer", 100, r#"hub_records_resolved_total{job="hub-consumer", outcome="stored"}"#),
    ] {
        let series = wait_for("both stores to agree", async || {
            let (scraped, pushed) = (held(&scraped, job).await, held(&pushed, job).await);
            let differences = differences(&scraped, &pushed);
            let agree = differences.is_empty() && scraped.len() >= least;
            Ok(if agree { Ok(scraped.len()) } else { Err(format!("{}: {differences:#?}", scraped.len())) })
        })
        .await
        .unwrap();
        assert!(
            pushed.number(&format!("sum({sign})")).await.unwrap() > 0.0,
            "{job}: {series} series without {sign}"
        );
    }

    // An orderly end leaves the last values behind, and nothing that is current.
    line.stop_hub().await.unwrap();
    assert_eq!(held(&pushed, "hub-consumer").await, Held::new());
    let last = pushed
        .samples(r#"hub_records_resolved_total{job="hub-consumer", signal="traces"}[5m]"#)
        .await
        .unwrap();
    assert!(!last.is_empty());
    assert_no_errors(line.edge.as_ref().unwrap().log());
}
