//! The push of own metrics, against an endpoint that keeps what it is sent.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU16, Ordering},
    },
    time::{Duration, SystemTime},
};

use axum::{Router, body::Bytes, extract::State, http::HeaderMap, http::StatusCode, routing::post};
use opentelemetry_proto::tonic::{
    collector::metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
    },
    common::v1::{KeyValue, any_value},
    metrics::v1::{NumberDataPoint, metric::Data, number_data_point::Value},
};
use prost::Message as _;
use rustix::process::Signal;
use service_runtime::{
    Runtime, Service, Settings,
    http_server::{self},
    prometheus_client::metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    telemetry::{PushError, Telemetry, TelemetryConfig},
};
use tokio::{net::TcpListener, sync::watch};

use crate::process::Process;

const SERVICE: Service = Service { name: "edge-forwarder", env_prefix: "EDGE", version: "1.2.3" };

/// Long enough for any machine.
const FAILSAFE: Duration = Duration::from_secs(60);

/// An OTLP endpoint that answers with the status it is told.
struct Endpoint {
    url: String,
    status: Arc<AtomicU16>,
    received: watch::Receiver<Vec<ExportMetricsServiceRequest>>,
}

type Keep = (Arc<AtomicU16>, watch::Sender<Vec<ExportMetricsServiceRequest>>);

/// The status by which points are rejected in a good answer.
const PARTLY: u16 = 299;

impl Endpoint {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/otlp/v1/metrics", listener.local_addr().unwrap());
        let (status, (sender, received)) = (Arc::new(AtomicU16::new(200)), watch::channel(Vec::new()));
        let router = Router::new().route("/otlp/v1/metrics", post(take)).with_state((status.clone(), sender));
        let stop = service_runtime::CancellationToken::new();
        tokio::spawn(async move { http_server::serve(listener, router, &Default::default(), stop).await });
        Self { url, status, received }
    }

    fn answer(&self, status: u16) {
        self.status.store(status, Ordering::Relaxed);
    }

    /// The lines of every push so far, without the zeros before it.
    fn pushes(&self) -> Vec<Vec<String>> {
        self.received.borrow().iter().filter(|request| is_whole(request)).map(lines).collect()
    }

    /// Every request of zeros so far: their lines, and their time in milliseconds.
    fn zeros(&self) -> Vec<(Vec<String>, u64)> {
        let received = self.received.borrow();
        received
            .iter()
            .filter(|request| !is_whole(request))
            .map(|zeros| (lines(zeros), time_of(zeros)))
            .collect()
    }

    /// The times of pushes so far in milliseconds.
    fn times(&self) -> Vec<u64> {
        self.received.borrow().iter().filter(|request| is_whole(request)).map(time_of).collect()
    }

    /// Waits for this many pushes.
    async fn wait_for(&mut self, count: usize) {
        let is_there =
            |received: &Vec<_>| received.iter().filter(|request| is_whole(request)).count() >= count;
        let wait = self.received.wait_for(is_there);
        tokio::time::timeout(FAILSAFE, wait).await.expect("pushes come").unwrap();
    }

    /// Waits for this many requests of whatever kind.
    async fn wait_for_requests(&mut self, count: usize) {
        let wait = self.received.wait_for(|received| received.len() >= count);
        tokio::time::timeout(FAILSAFE, wait).await.expect("requests come").unwrap();
    }
}

/// Whether a request is more than zeros: the time of the last push never is one of them.
fn is_whole(request: &ExportMetricsServiceRequest) -> bool {
    points(request).iter().any(|(name, ..)| *name == "telemetry_last_push_timestamp_seconds")
}

/// The one time of a request's points, in milliseconds.
fn time_of(request: &ExportMetricsServiceRequest) -> u64 {
    let times: Vec<_> =
        points(request).iter().map(|(_, _, point)| point.time_unix_nano / 1_000_000).collect();
    assert!(times.iter().all(|time| *time == times[0]), "one request, one time: {times:?}");
    times[0]
}

async fn take(
    State((status, sender)): State<Keep>,
    headers: HeaderMap,
    body: Bytes,
) -> (StatusCode, Vec<u8>) {
    assert_eq!(headers["content-type"], "application/x-protobuf");
    assert_eq!(headers["x-scope-orgid"], "shop");
    let request = ExportMetricsServiceRequest::decode(body).expect("a push is a request of OTLP");
    // Read first: whoever has seen the request may change it.
    let status = status.load(Ordering::Relaxed);
    sender.send_modify(|received| received.push(request));
    match status {
        PARTLY => {
            let partial =
                ExportMetricsPartialSuccess { rejected_data_points: 2, error_message: "too old".to_owned() };
            let answer = ExportMetricsServiceResponse { partial_success: Some(partial) };
            (StatusCode::OK, answer.encode_to_vec())
        }
        status => (StatusCode::from_u16(status).unwrap(), b"no, not now".to_vec()),
    }
}

fn text_of(attribute: &KeyValue) -> (&str, &str) {
    let value = attribute.value.as_ref().and_then(|value| value.value.as_ref());
    let Some(any_value::Value::StringValue(value)) = value else { panic!("{attribute:?} is no text") };
    (&attribute.key, value)
}

/// Every point as a store keeps it: `counter name{labels} value` or `gauge …`, and `end of …` without a value.
fn lines(request: &ExportMetricsServiceRequest) -> Vec<String> {
    let mut lines = Vec::new();
    for metric in points(request) {
        let (name, kind, point) = metric;
        let is_counted_since = (1..point.time_unix_nano).contains(&point.start_time_unix_nano);
        assert_eq!(is_counted_since, kind == "counter", "{name} starts at {}", point.start_time_unix_nano);
        let labels: Vec<_> = point.attributes.iter().map(text_of).collect();
        let labels: Vec<_> = labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let series = format!("{name}{{{}}}", labels.join(","));
        lines.push(match &point.value {
            Some(Value::AsDouble(value)) if point.flags == 0 => format!("{kind} {series} {value}"),
            None if point.flags == 1 => format!("end of {kind} {series}"),
            other => panic!("{series} has the value {other:?} and the flags {}", point.flags),
        });
    }
    lines
}

fn points(request: &ExportMetricsServiceRequest) -> Vec<(&str, &'static str, &NumberDataPoint)> {
    let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
    let metrics = scopes.flat_map(|scope| &scope.metrics);
    metrics
        .flat_map(|metric| {
            assert_eq!(metric.unit, "", "stores append a unit to the name");
            let (kind, points) = match metric.data.as_ref().unwrap() {
                Data::Sum(sum) if sum.is_monotonic => ("counter", &sum.data_points),
                Data::Gauge(gauge) => ("gauge", &gauge.data_points),
                other => panic!("{other:?}"),
            };
            points.iter().map(move |point| (metric.name.as_str(), kind, point))
        })
        .collect()
}

fn sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort();
    lines
}

fn config(url: &str) -> TelemetryConfig {
    let yaml = format!(
        "telemetry: {{otlp_endpoint: '{url}', interval: 1s, instance: 'a:1', headers: {{X-Scope-OrgID: shop}}}}"
    );
    let mut settings = Settings::from_yaml("EDGE", &yaml, []);
    let config = TelemetryConfig::read(&mut settings.root().section("telemetry", "Push."));
    settings.finish().unwrap();
    config
}

fn telemetry(endpoint: &Endpoint, runtime: &Runtime) -> Telemetry {
    Telemetry::new(&config(&endpoint.url), &SERVICE, 9464, runtime).unwrap().unwrap()
}

#[tokio::test]
async fn a_push_tells_every_sample_of_the_page_by_its_own_name() {
    let (endpoint, runtime) = (Endpoint::start().await, Runtime::detached());
    let mut telemetry = telemetry(&endpoint, &runtime);
    runtime.readiness().condition("kafka").ready();
    runtime.register_metrics(|registry| {
        let counter = Family::<[(&'static str, &'static str); 1], Counter>::default();
        counter.get_or_create(&[("path", "a\"b\\\n{},")]).inc_by(5);
        registry.register("requests", "Requests", counter);
        let histogram = Histogram::new([0.5, 1.0]);
        histogram.observe(0.75);
        registry.register("wait_seconds", "Waiting", histogram);
    });
    telemetry.push().await.unwrap();
    let expected = [
        "counter requests_total{path=a\"b\\\n{},} 5",
        "gauge wait_seconds_sum{} 0.75",
        "gauge wait_seconds_count{} 1",
        "gauge wait_seconds_bucket{le=0.5} 0",
        "gauge wait_seconds_bucket{le=1.0} 1",
        "gauge wait_seconds_bucket{le=+Inf} 1",
        "gauge ready_condition{condition=kafka} 1",
        "gauge degraded_condition{condition=kafka} 0",
        "counter telemetry_pushes_total{outcome=taken} 0",
        "counter telemetry_pushes_total{outcome=refused} 0",
        "counter telemetry_pushes_total{outcome=unavailable} 0",
        "counter telemetry_pushes_total{outcome=unreadable} 0",
        "gauge telemetry_last_push_timestamp_seconds{} 0",
    ]
    .map(str::to_owned);
    assert_eq!(sorted(endpoint.pushes().remove(0)), sorted(expected.to_vec()));
    let received = endpoint.received.borrow();
    assert!(!is_whole(&received[0]) && is_whole(&received[1]));
    let resource = received[1].resource_metrics[0].resource.as_ref().unwrap();
    let attributes: Vec<_> = resource.attributes.iter().map(text_of).collect();
    assert_eq!(attributes, [("service.name", "edge-forwarder"), ("service.instance.id", "a:1")]);
}

#[tokio::test]
async fn times_grow_by_what_a_store_can_tell_apart() {
    let (endpoint, runtime) = (Endpoint::start().await, Runtime::detached());
    let mut telemetry = telemetry(&endpoint, &runtime);
    for _ in 0..20 {
        telemetry.push().await.unwrap();
    }
    let received = endpoint.received.borrow();
    assert_eq!(received.len(), 21, "the zeros, and the pushes");
    assert!(received.is_sorted_by(|earlier, later| time_of(earlier) < time_of(later)));
}

#[tokio::test]
async fn what_counts_begins_with_a_zero_of_the_time_when_it_was_zero() {
    let (endpoint, runtime) = (Endpoint::start().await, Runtime::detached());
    let before = now_in_milliseconds();
    let mut telemetry = telemetry(&endpoint, &runtime);
    let started = before..=now_in_milliseconds() + 1;
    let (counts, waits) =
        (Family::<[(&'static str, &'static str); 1], Counter>::default(), Histogram::new([1.0]));
    runtime.register_metrics(|registry| {
        registry.register("orders", "Orders", counts.clone());
        registry.register("wait_seconds", "Waiting", waits.clone());
        registry.register("queue", "Queue", Gauge::<i64>::default());
    });
    let of_ours = |lines: &[String]| -> Vec<String> {
        let is_ours = |line: &&String| ["orders", "wait", "queue"].iter().any(|name| line.contains(name));
        sorted(lines.iter().filter(is_ours).cloned().collect())
    };
    counts.get_or_create(&[("kind", "a")]).inc_by(5);
    waits.observe(2.5);
    // However late the first push is taken.
    endpoint.answer(503);
    telemetry.push().await.unwrap_err();
    telemetry.push().await.unwrap_err();
    assert_eq!(endpoint.pushes(), [[""; 0]; 0], "what has no zero yet is not told");
    endpoint.answer(200);
    telemetry.push().await.unwrap();
    let zeros = endpoint.zeros();
    let expected = [
        "counter orders_total{kind=a} 0",
        "gauge wait_seconds_bucket{le=+Inf} 0",
        "gauge wait_seconds_bucket{le=1.0} 0",
        "gauge wait_seconds_count{} 0",
        "gauge wait_seconds_sum{} 0",
    ];
    assert_eq!(of_ours(&zeros[2].0), expected);
    assert_eq!(zeros.iter().map(|(_, time)| time).collect::<Vec<_>>(), [&zeros[0].1; 3]);
    assert!(started.contains(&zeros[0].1), "{} is not within {started:?}", zeros[0].1);
    telemetry.push().await.unwrap();
    assert_eq!(endpoint.zeros().len(), 3, "nothing is new");

    // What comes later was 0 at the push before, also when it was there already and had gone.
    counts.get_or_create(&[("kind", "b")]).inc_by(7);
    counts.remove(&[("kind", "a")]);
    telemetry.push().await.unwrap();
    counts.get_or_create(&[("kind", "a")]).inc_by(2);
    // A store that has something newer refuses zeros. The push goes on.
    endpoint.answer(400);
    telemetry.push().await.unwrap_err();
    endpoint.answer(200);
    telemetry.push().await.unwrap();
    let (zeros, times) = (endpoint.zeros(), endpoint.times());
    let later: Vec<_> = zeros[3..].iter().map(|(lines, time)| (of_ours(lines), *time)).collect();
    assert_eq!(later[0], (vec!["counter orders_total{kind=b} 0".to_owned()], times[1] + 1));
    assert_eq!(later[1], (vec!["counter orders_total{kind=a} 0".to_owned()], times[2] + 1));
    assert_eq!(later.len(), 2, "what is refused is not sent again");
    let last = endpoint.pushes().pop().unwrap();
    assert_eq!(of_ours(&last)[..2], ["counter orders_total{kind=a} 2", "counter orders_total{kind=b} 7"]);
}

fn now_in_milliseconds() -> u64 {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
    u64::try_from(since_epoch.as_millis()).unwrap()
}

#[tokio::test]
async fn a_series_that_left_the_page_is_ended_once_it_is_taken() {
    let (endpoint, runtime) = (Endpoint::start().await, Runtime::detached());
    let lag = Family::<[(&'static str, &'static str); 1], Gauge>::default();
    runtime.register_metrics(|registry| registry.register("lag", "Lag", lag.clone()));
    let mut telemetry = telemetry(&endpoint, &runtime);
    lag.get_or_create(&[("partition", "0")]).set(7);
    lag.get_or_create(&[("partition", "1")]).set(8);
    telemetry.push().await.unwrap();
    lag.remove(&[("partition", "0")]);
    lag.get_or_create(&[("partition", "2")]).set(9);
    endpoint.answer(503);
    telemetry.push().await.unwrap_err();
    lag.remove(&[("partition", "2")]);
    endpoint.answer(200);
    telemetry.push().await.unwrap();
    telemetry.push().await.unwrap();
    let of_lag = |lines: &Vec<String>| -> Vec<String> {
        lines.iter().filter(|line| line.contains("lag{")).cloned().collect()
    };
    let told: Vec<_> = endpoint.pushes().iter().map(|lines| sorted(of_lag(lines))).collect();
    let (one, two) = ("gauge lag{partition=1} 8", "gauge lag{partition=2} 9");
    let ends = ["end of gauge lag{partition=0}", "end of gauge lag{partition=2}"];
    assert_eq!(told[0], ["gauge lag{partition=0} 7", one]);
    assert_eq!(told[1], [ends[0], one, two]);
    // The failed one may have been stored or not: its end is told again, and the end of what only it had.
    assert_eq!(told[2], [ends[0], ends[1], one]);
    assert_eq!(told[3], [one]);
}

#[tokio::test]
async fn what_is_not_taken_is_told_by_its_kind_and_counted() {
    let (endpoint, runtime) = (Endpoint::start().await, Runtime::detached());
    let mut telemetry = telemetry(&endpoint, &runtime);
    for (status, text, is_refused) in [
        (400, "refused with 400 Bad Request: no, not now", true),
        (302, "refused with 302 Found: no, not now", true),
        (PARTLY, "2 points were rejected: too old", true),
        (429, "answered with 429 Too Many Requests: no, not now", false),
        (503, "answered with 503 Service Unavailable: no, not now", false),
    ] {
        endpoint.answer(status);
        let error = telemetry.push().await.unwrap_err();
        assert_eq!(error.to_string(), text);
        assert_eq!(matches!(error, PushError::Refused { .. } | PushError::Rejected { .. }), is_refused);
    }
    let page = runtime.encode_metrics().unwrap();
    assert!(page.contains("telemetry_pushes_total{outcome=\"refused\"} 3\n"), "{page}");
    assert!(page.contains("telemetry_pushes_total{outcome=\"unavailable\"} 2\n"), "{page}");
    assert!(page.contains("telemetry_last_push_timestamp_seconds 0.0\n"), "{page}");
}

/// The example process, pushing to `url` every second.
fn pushing(url: &str, more: &[(&str, &str)]) -> Process {
    let mut env = vec![
        ("DEMO__TELEMETRY__OTLP_ENDPOINT", url),
        ("DEMO__TELEMETRY__INTERVAL", "1s"),
        ("DEMO__TELEMETRY__HEADERS", "X-Scope-OrgID=shop"),
    ];
    env.extend(more);
    Process::start(&env)
}

#[tokio::test(flavor = "multi_thread")]
async fn an_outage_is_logged_when_it_begins_and_when_it_is_over() {
    let mut endpoint = Endpoint::start().await;
    endpoint.answer(503);
    let mut process = pushing(&endpoint.url, &[]);
    let begun = process.wait_for("own metrics are not taken");
    assert_eq!((&begun["level"], &begun["endpoint"]), (&"WARN".into(), &endpoint.url.as_str().into()));
    assert_eq!(begun["error"], "answered with 503 Service Unavailable: no, not now");
    endpoint.wait_for_requests(3).await;
    endpoint.answer(200);
    let over = process.wait_for("own metrics are taken again");
    assert_eq!(over["level"], "INFO");
    assert!(over["failed"].as_u64() >= Some(3), "{over}");
    process.signal(Signal::TERM);
    process.release();
    let (code, events) = process.end();
    let begins = events.iter().filter(|event| event["message"] == "own metrics are not taken").count();
    assert_eq!((code, begins), (Some(0), 1), "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_orderly_end_pushes_the_last_values_and_then_the_end_of_every_series() {
    let mut endpoint = Endpoint::start().await;
    let mut process = pushing(&endpoint.url, &[]);
    process.admin_url();
    endpoint.wait_for(1).await;
    process.signal(Signal::TERM);
    process.wait_for("stopping");
    process.release();
    assert_eq!(process.end().0, Some(0));
    let pushes = endpoint.pushes();
    let [.., last, ends] = pushes.as_slice() else { panic!("{pushes:?}") };
    assert!(last.contains(&"gauge ready_condition{condition=process} 0".to_owned()), "{last:?}");
    assert!(last.iter().any(|line| line.starts_with("gauge build_info{name=process,")), "{last:?}");
    assert!(last.iter().any(|line| line.starts_with("counter process_cpu_seconds_total{} ")), "{last:?}");
    let end_of = |line: &String| format!("end of {}", line.rsplit_once(' ').unwrap().0);
    assert_eq!(sorted(last.iter().map(end_of).collect()), sorted(ends.clone()));
    let received = endpoint.received.borrow();
    let attributes = &received[0].resource_metrics[0].resource.as_ref().unwrap().attributes;
    let (_, instance) = text_of(&attributes[1]);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap();
    assert!(instance.starts_with(&format!("{}:", host.trim())) && !instance.ends_with(":0"), "{instance}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_cut_short_pushes_nothing_more() {
    let mut endpoint = Endpoint::start().await;
    let mut process = pushing(&endpoint.url, &[("DEMO__TELEMETRY__INTERVAL", "90s")]);
    endpoint.wait_for(1).await;
    process.signal(Signal::TERM);
    process.wait_for("stopping");
    process.signal(Signal::TERM);
    assert_eq!(process.end().0, Some(1));
    assert_eq!(endpoint.pushes().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_never_answers_does_not_disturb_the_process() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let mut process = pushing(&url, &[]);
    let admin = process.admin_url();
    let late = process.wait_for("own metrics are not taken");
    assert_eq!(late["error"], "no answer in time");
    let answer = reqwest::get(format!("{admin}/readyz")).await.unwrap();
    assert!(answer.status().is_success());
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_never_answers_does_not_keep_the_process() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap());
    let patient = [("DEMO__TELEMETRY__INTERVAL", "90s"), ("DEMO__TELEMETRY__REQUEST_TIMEOUT", "10m")];
    let mut process = pushing(&url, &patient);
    let (_connection, _) = listener.accept().await.unwrap();
    process.signal(Signal::TERM);
    process.release();
    // Were it kept, it would be killed by the failsafe.
    assert_eq!(process.end().0, Some(0));
}
