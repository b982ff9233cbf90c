//! How derived series are pushed: against an endpoint that answers by script and keeps what it was sent.

use std::{
    num::NonZeroU64,
    sync::{Arc, Mutex},
    time::Duration,
};

use axum::{
    Router,
    body::Bytes,
    extract::State,
    http::StatusCode,
    response::{IntoResponse, Response},
    routing::post,
};
use hub_consumer::{
    decode::{Block, LogRows},
    derive::{DeriveConfig, Deriving, FLUSH, metrics::DeriveMetrics, rules},
    mimir::config::MimirConfig,
};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    common::v1::any_value,
    metrics::v1::{HistogramDataPoint, metric, number_data_point},
};
use prost::Message as _;
use service_runtime::{Condition, Readiness, Runtime, backoff::BackoffConfig, http_client::HttpClientConfig};
use telemetry_wire::{
    Signal,
    fixtures::menu::{Menu, request_of},
};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use crate::{
    blocks::{settings, source},
    line::eventually,
};

/// A counter as it was sent.
#[derive(Debug, Clone, PartialEq)]
struct Sent {
    name: String,
    labels: Vec<String>,
    at: u64,
    count: u64,
}

/// One request: its points, and the status that it was answered with.
#[derive(Debug, Clone)]
struct Request {
    status: u16,
    points: Vec<Sent>,
    exemplars: usize,
    samples: usize,
    instance: String,
}

type Script = dyn Fn(usize) -> StatusCode + Send + Sync;

#[derive(Clone)]
struct Stub {
    script: Arc<Script>,
    requests: Arc<Mutex<Vec<Request>>>,
}

/// A pusher at work, and what it pushes to.
struct Pushing {
    deriving: Deriving,
    menu: Menu,
    stub: Stub,
    runtime: Runtime,
    ended: CancellationToken,
    task: JoinHandle<()>,
}

async fn answer(State(stub): State<Stub>, body: Bytes) -> Response {
    let mut request = Vec::new();
    std::io::Read::read_to_end(&mut flate2::read::GzDecoder::new(&body[..]), &mut request).unwrap();
    let request = ExportMetricsServiceRequest::decode(&request[..]).unwrap();
    let mut requests = stub.requests.lock().unwrap();
    let status = (stub.script)(requests.len());
    requests.push(read(&request, status.as_u16()));
    status.into_response()
}

fn read(request: &ExportMetricsServiceRequest, status: u16) -> Request {
    let text = |value: &Option<opentelemetry_proto::tonic::common::v1::AnyValue>| match &value
        .as_ref()
        .unwrap()
        .value
    {
        Some(any_value::Value::StringValue(text)) => text.clone(),
        other => panic!("{other:?}"),
    };
    let [resource] = request.resource_metrics.as_slice() else { panic!("one resource") };
    let attributes = &resource.resource.as_ref().unwrap().attributes;
    let instance = attributes.iter().find(|one| one.key == "service.instance.id").unwrap();
    let mut read =
        Request { status, points: Vec::new(), exemplars: 0, samples: 0, instance: text(&instance.value) };
    for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
        let mut add =
            |attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue], at, count, samples| {
                let labels = attributes.iter().map(|one| text(&one.value)).collect();
                read.points.push(Sent { name: metric.name.clone(), labels, at, count });
                read.samples += samples;
            };
        match metric.data.as_ref().unwrap() {
            metric::Data::Sum(sum) => {
                assert!(sum.is_monotonic && sum.aggregation_temporality == 2);
                for point in &sum.data_points {
                    let Some(number_data_point::Value::AsInt(count)) = point.value else {
                        panic!("{point:?}")
                    };
                    add(&point.attributes, point.time_unix_nano, count as u64, 1);
                }
            }
            metric::Data::Histogram(histogram) => {
                assert_eq!(histogram.aggregation_temporality, 2);
                for point in &histogram.data_points {
                    let HistogramDataPoint { bucket_counts, explicit_bounds, count, .. } = point;
                    assert_eq!(
                        (bucket_counts.len(), bucket_counts.iter().sum::<u64>()),
                        (explicit_bounds.len() + 1, *count)
                    );
                    add(&point.attributes, point.time_unix_nano, *count, bucket_counts.len() + 2);
                    read.exemplars += point.exemplars.len();
                }
            }
            other => panic!("{other:?}"),
        }
    }
    read
}

impl Pushing {
    async fn start(
        interval: Duration,
        most: u64,
        script: impl Fn(usize) -> StatusCode + Send + Sync + 'static,
    ) -> Pushing {
        let stub = Stub { script: Arc::new(script), requests: Arc::default() };
        let router = Router::new().route("/otlp/v1/metrics", post(answer)).with_state(stub.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move { axum::serve(listener, router).await });
        let http = HttpClientConfig::plain(url.parse().unwrap());
        let endpoint =
            MimirConfig { max_request_points: NonZeroU64::new(most).unwrap(), ..MimirConfig::plain(http) };
        let rules = rules::read(rules::SHIPPED).unwrap();
        let config = DeriveConfig { interval, instance: Some("hub-1".to_owned()), endpoint, rules };
        let runtime = Runtime::detached();
        let deriving = Deriving::new(&config.rules, runtime.register_metrics(DeriveMetrics::register));
        let health: Condition = Readiness::new().condition("derive");
        let backoff = BackoffConfig::between(Duration::from_millis(50), Duration::from_millis(100)).unwrap();
        let ended = CancellationToken::new();
        let pusher = deriving.pusher(&config, backoff, health).unwrap();
        let task = tokio::spawn(pusher.run(ended.clone()));
        Pushing { deriving, menu: Menu::new(1), stub, runtime, ended, task }
    }

    /// Counts so many lines of requests to one route.
    fn count(&mut self, path: &str, lines: usize) {
        let mut answer = self.menu.answer();
        (answer.path, answer.status, answer.error) = (path.to_owned(), 200, None);
        answer.duration_ms = 0.2;
        let records = (0..lines).map(|_| self.menu.line(&answer)).collect();
        let mut block =
            Block::<LogRows>::new(settings()).counted_by(&self.deriving.program(Signal::Logs).unwrap());
        block.push(&request_of(records).encode_to_vec(), source(0)).unwrap();
        block.take_tally().unwrap().count();
    }

    fn requests(&self) -> Vec<Request> {
        self.stub.requests.lock().unwrap().clone()
    }

    async fn wait_for(&self, requests: usize) {
        eventually("so many requests", async || self.requests().len() >= requests).await;
    }

    fn metric(&self, line: &str) -> f64 {
        let page = self.runtime.encode_metrics().unwrap();
        page.lines().find_map(|found| found.strip_prefix(line)?.trim().parse().ok()).unwrap_or(0.0)
    }
}

/// The counts of a metric in a request, by route.
fn counts(request: &Request, name: &str) -> Vec<(String, u64)> {
    let of_metric = request.points.iter().filter(|point| point.name == name);
    of_metric.map(|point| (point.labels[0].clone(), point.count)).collect()
}

const REQUESTS: &str = "menu_requests_total";

#[tokio::test(flavor = "multi_thread")]
async fn every_series_begins_with_a_zero_that_is_stored_before_its_value() {
    let mut pushing = Pushing::start(Duration::from_millis(300), 20_000, |_| StatusCode::OK).await;
    pushing.count("/api/menu", 3);
    pushing.wait_for(2).await;
    let requests = pushing.requests();
    let list = |count| ("/api/menu".to_owned(), count);
    assert_eq!(counts(&requests[0], REQUESTS), [list(0)]);
    assert_eq!(counts(&requests[1], REQUESTS), [list(3)]);
    assert!(requests[0].points[0].at < requests[1].points[0].at);
    assert_eq!((requests[0].exemplars, requests[1].exemplars), (0, 1));
    assert_eq!(requests[0].instance, "hub-1");

    let health = |count| ("/health".to_owned(), count);
    pushing.wait_for(3).await;
    pushing.count("/health", 1);
    pushing.count("/api/menu", 2);
    eventually("it is pushed", async || {
        pushing.requests().last().is_some_and(|last| counts(last, REQUESTS).contains(&health(1)))
    })
    .await;
    let requests = pushing.requests();
    let [zeros, last] = &requests[requests.len() - 2..] else { panic!("two requests") };
    assert_eq!(counts(zeros, REQUESTS), [health(0)], "only what is new begins");
    assert_eq!(counts(last, REQUESTS), [list(5), health(1)]);
    assert_eq!(requests[2].exemplars, 0, "what was stored is not sent again");
    pushing.ended.cancel();
    pushing.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_stored_comes_with_the_next_push_and_no_time_comes_twice() {
    // Zeros pass; then values fail three times, once without an answer that says so.
    let script = |number| match number {
        1..=3 => StatusCode::SERVICE_UNAVAILABLE,
        _ => StatusCode::OK,
    };
    let mut pushing = Pushing::start(Duration::from_millis(100), 20_000, script).await;
    pushing.count("/api/menu", 1);
    pushing.wait_for(2).await;
    pushing.count("/api/menu", 1);
    pushing.wait_for(6).await;
    let requests = pushing.requests();
    assert_eq!(
        requests.iter().take(5).map(|request| request.status).collect::<Vec<_>>(),
        [200, 503, 503, 503, 200]
    );
    let values: Vec<_> = requests[1..5].iter().map(|request| request.points[0].count).collect();
    assert!(values[0] == 1 && values[3] == 2 && values.is_sorted(), "totals: {values:?}");
    let times: Vec<u64> = requests.iter().map(|request| request.points[0].at / 1_000_000).collect();
    assert!(times.is_sorted_by(|one, next| one < next), "{times:?}");
    assert_eq!((requests[4].exemplars, requests[5].exemplars), (1, 0), "kept until they are stored");
    assert_eq!(pushing.metric("hub_derive_pushes_total{outcome=\"failed\"}"), 3.0);
    eventually("they pass", async || pushing.metric("hub_derive_pushes_total{outcome=\"stored\"}") >= 2.0)
        .await;
    pushing.ended.cancel();
    pushing.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_push_is_cut_into_requests_of_so_many_samples() {
    let mut pushing = Pushing::start(Duration::from_millis(100), 30, |_| StatusCode::OK).await;
    for path in ["/api/menu", "/api/menu/1", "/health", "/"] {
        pushing.count(path, 1);
    }
    // Of four routes a counter and a histogram of 22 samples, and the lines: 93 samples.
    pushing.wait_for(10).await;
    let requests = pushing.requests();
    let zeros: Vec<_> =
        requests.iter().take_while(|request| request.points.iter().all(|point| point.count == 0)).collect();
    assert_eq!(zeros.iter().map(|request| request.samples).sum::<usize>(), 93);
    assert!(requests.iter().all(|request| request.samples <= 30), "{requests:?}");
    pushing.ended.cancel();
    pushing.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_refuses_us_is_asked_again_and_what_is_counted_waits() {
    let script = |number| if number < 2 { StatusCode::UNAUTHORIZED } else { StatusCode::OK };
    let mut pushing = Pushing::start(Duration::from_millis(50), 20_000, script).await;
    pushing.count("/api/menu", 7);
    eventually("it passes", async || pushing.metric("hub_derive_pushes_total{outcome=\"stored\"}") >= 1.0)
        .await;
    assert_eq!(pushing.metric("hub_derive_pushes_total{outcome=\"refused\"}"), 2.0);
    assert_eq!(counts(&pushing.requests()[3], REQUESTS), [("/api/menu".to_owned(), 7)]);
    pushing.ended.cancel();
    pushing.task.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_last_push_is_tried_until_it_passes_or_its_time_is_over() {
    let hour = Duration::from_secs(3600);
    let passes_at_last = |number| if number < 3 { StatusCode::SERVICE_UNAVAILABLE } else { StatusCode::OK };
    let mut pushing = Pushing::start(hour, 20_000, passes_at_last).await;
    pushing.count("/api/menu", 7);
    pushing.ended.cancel();
    let Pushing { task, stub, .. } = pushing;
    task.await.unwrap();
    assert_eq!(
        counts(stub.requests.lock().unwrap().last().unwrap(), REQUESTS),
        [("/api/menu".to_owned(), 7)]
    );

    let mut pushing = Pushing::start(hour, 20_000, |_| StatusCode::SERVICE_UNAVAILABLE).await;
    pushing.count("/api/menu", 7);
    let begun = Instant::now();
    pushing.ended.cancel();
    pushing.task.await.unwrap();
    assert!(begun.elapsed() < FLUSH + Duration::from_secs(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_pushed_before_something_is_counted() {
    let pushing = Pushing::start(Duration::from_millis(20), 20_000, |_| StatusCode::OK).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    pushing.ended.cancel();
    pushing.task.await.unwrap();
    assert!(pushing.stub.requests.lock().unwrap().is_empty());
}
