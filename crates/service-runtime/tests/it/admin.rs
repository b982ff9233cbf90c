//! The admin endpoints, over a real port.

use std::time::Duration;

use reqwest::{Client, StatusCode};
use rustix::process::Signal;
use service_runtime::{CancellationToken, Runtime, Service, admin, http_server};
use tokio::net::TcpListener;

use crate::process::Process;

const SERVICE: Service = Service { name: "edge-forwarder", env_prefix: "EDGE", version: "1.2.3" };

/// Serves the endpoints of a runtime; the token ends it.
async fn serve(runtime: &Runtime) -> (String, CancellationToken) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let stop = CancellationToken::new();
    let (router, stopped) = (admin::router(&SERVICE, runtime), stop.clone());
    tokio::spawn(async move { http_server::serve(listener, router, &Default::default(), stopped).await });
    (url, stop)
}

async fn get(url: &str, path: &str) -> (StatusCode, String) {
    let client = Client::builder().no_proxy().build().unwrap();
    let answer = client.get(format!("{url}{path}")).send().await.unwrap();
    (answer.status(), answer.text().await.unwrap())
}

#[tokio::test]
async fn ready_answers_503_with_each_condition_until_all_hold() {
    let runtime = Runtime::detached();
    let (kafka, sink) = (runtime.readiness().condition("kafka"), runtime.readiness().condition("clickhouse"));
    let (url, stop) = serve(&runtime).await;
    let starting = "not ready\nkafka: starting\nclickhouse: starting\n".to_owned();
    assert_eq!(get(&url, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, starting));
    kafka.ready();
    sink.not_ready("connection refused");
    let refused = "not ready\nkafka: ok\nclickhouse: connection refused\n".to_owned();
    assert_eq!(get(&url, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, refused));
    sink.ready();
    assert_eq!(get(&url, "/readyz").await, (StatusCode::OK, "ready\nkafka: ok\nclickhouse: ok\n".to_owned()));
    stop.cancel();
}

#[tokio::test]
async fn live_answers_503_only_while_a_loop_is_silent_past_its_bound() {
    let runtime = Runtime::detached();
    let (url, stop) = serve(&runtime).await;
    assert_eq!(get(&url, "/livez").await, (StatusCode::OK, "ok\n".to_owned()));
    let _steady = runtime.heartbeat("steady", Duration::from_secs(3600));
    assert_eq!(get(&url, "/livez").await.0, StatusCode::OK);
    let stuck = runtime.heartbeat("kafka poll", Duration::ZERO);
    while runtime.liveness().silent().is_empty() {
        tokio::task::yield_now().await;
    }
    let (status, text) = get(&url, "/livez").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(text.starts_with("kafka poll: silent for ") && text.ends_with(", at most 0ns\n"), "{text}");
    assert_eq!(text.lines().count(), 1, "the steady loop is not named: {text}");
    drop(stuck);
    assert_eq!(get(&url, "/livez").await.0, StatusCode::OK);
    stop.cancel();
}

#[tokio::test]
async fn version_tells_what_is_running() {
    let (url, stop) = serve(&Runtime::detached()).await;
    let (status, text) = get(&url, "/version").await;
    assert_eq!(status, StatusCode::OK);
    let version: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!(
        (version["name"].as_str(), version["version"].as_str()),
        (Some("edge-forwarder"), Some("1.2.3"))
    );
    assert!(version["rustc"].as_str().unwrap().starts_with("rustc 1."), "{text}");
    assert!(version["commit"].is_string(), "{text}");
    assert_eq!(get(&url, "/nothing").await.0, StatusCode::NOT_FOUND);
    stop.cancel();
}

#[tokio::test]
async fn a_process_serves_its_metrics_and_is_not_ready_while_it_drains() {
    let mut process = Process::start(&[]);
    let url = process.admin_url();
    process.wait_for("condition holds");
    assert_eq!(get(&url, "/readyz").await, (StatusCode::OK, "ready\nprocess: ok\n".to_owned()));

    let answer =
        Client::builder().no_proxy().build().unwrap().get(format!("{url}/metrics")).send().await.unwrap();
    let content_type = answer.headers()["content-type"].to_str().unwrap().to_owned();
    assert_eq!(content_type, "application/openmetrics-text; version=1.0.0; charset=utf-8");
    let text = answer.text().await.unwrap();
    for start in [
        "build_info{name=\"process\",version=\"0.1.0\",commit=\"",
        "process_cpu_seconds_total ",
        "process_resident_memory_bytes ",
        "process_open_fds ",
        "process_start_time_seconds ",
        "ready_condition{condition=\"process\"} 1",
        "# EOF",
    ] {
        assert!(text.lines().any(|line| line.starts_with(start)), "{start} is missing in:\n{text}");
    }

    process.signal(Signal::TERM);
    process.wait_for("condition does not hold");
    let draining = "not ready\nprocess: shutting down\n".to_owned();
    assert_eq!(get(&url, "/readyz").await, (StatusCode::SERVICE_UNAVAILABLE, draining));
    assert_eq!(get(&url, "/livez").await.0, StatusCode::OK, "draining is not being stuck");
    process.release();
    assert_eq!(process.end().0, Some(0));
}
