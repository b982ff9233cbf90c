//! The traffic generator against the real service: the report is what the service saw, the telemetry what arrived.

use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpListener;

use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, metric};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use serde_json::{Value, json};

use crate::program::{Service, command, run};
use crate::receiver::{Behaviour, Receiver, attribute, hex, text};

fn load(target: &str, args: &[&str], environment: &[(&str, &str)]) -> (Option<i32>, Value) {
    let mut command = command(&["load", "--target", target, "--json", "--seed", "5"]);
    command.args(args).envs(environment.iter().copied());
    let output = run(command);
    let stdout = String::from_utf8(output.stdout).unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    (
        output.status.code(),
        serde_json::from_str(&stdout).unwrap_or_else(|_| panic!("JSON: {stdout} {stderr}")),
    )
}

#[test]
fn the_report_is_what_the_service_saw() {
    let service = Service::start(&["--failure-rate", "0.5", "--seed", "3"]);
    let target = format!("http://{}/", service.address);
    let mix = "list=5,item=5,unknown=5,empty=1,health=1,missing=1";
    let (code, report) = load(&target, &["--rate", "200/s", "--duration", "1s", "--mix", mix], &[]);
    assert_eq!(code, Some(0));
    assert_eq!(
        (&report["sent"], &report["answered"], &report["skipped"]),
        (&json!(200), &json!(200), &json!(0))
    );
    assert!(report.get("telemetry").is_none(), "nothing is exported");

    let mut seen: BTreeMap<String, u64> = BTreeMap::new();
    for line in service.stop().lines {
        let line: Value = serde_json::from_str(&line).unwrap();
        if line["status_code"] != json!(0) {
            let route = match line["path"].as_str().unwrap() {
                "/health" => "health",
                "/api/menu" => "list",
                "/api/menu/" => "empty",
                _ if line["status_code"] == json!(404) => "unknown",
                _ => "item",
            };
            *seen.entry(format!("{route} {}", line["status_code"])).or_default() += 1;
        }
    }
    let mut reported: BTreeMap<String, u64> = BTreeMap::new();
    for (route, of_route) in report["routes"].as_object().unwrap() {
        for (status, count) in of_route["statuses"].as_object().unwrap() {
            reported.insert(format!("{route} {status}"), count.as_u64().unwrap());
        }
    }
    assert!(
        reported.remove("missing 404").is_some_and(|count| count > 0),
        "a path without route leaves no line"
    );
    assert_eq!(reported, seen);
    assert_eq!(seen.len(), 6, "{seen:?}");
}

#[test]
fn all_three_signals_arrive_and_are_counted() {
    for protocol in ["http/protobuf", "grpc"] {
        let (client, server) = (Receiver::start(Behaviour::Accept), Receiver::start(Behaviour::Accept));
        let protocol = ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol);
        let (to_client, to_server) = (client.endpoint(), server.endpoint());
        let service = Service::start_with(
            &["--failure-rate", "0.3", "--seed", "3"],
            &[("OTEL_EXPORTER_OTLP_ENDPOINT", &to_server), protocol],
        );
        let target = format!("http://{}", service.address);
        let args = ["--rate", "150", "--duration", "1s", "--mix", "list=2,unknown=1"];
        let (_, report) = load(&target, &args, &[("OTEL_EXPORTER_OTLP_ENDPOINT", &to_client), protocol]);
        let exported = json!({
            "traces": client.spans().len(),
            "metrics": client.data_points(),
            "logs": client.log_records().len(),
        });
        let none = json!({"traces": 0, "metrics": 0, "logs": 0});
        assert_eq!(report["telemetry"], json!({"exported": exported, "failed": none, "dropped": none}));
        assert_eq!(client.spans().len(), 150);
        service.stop();
        check_context_travels(&client, &server);
        check_failures_are_logged(&client, &report);
        check_metrics(&client);
    }
}

fn check_context_travels(client: &Receiver, server: &Receiver) {
    let sent: BTreeSet<_> =
        client.spans().iter().map(|span| (hex(&span.trace_id), hex(&span.span_id))).collect();
    let served: BTreeSet<_> = server
        .spans()
        .iter()
        .filter(|span| span.kind() == SpanKind::Server)
        .map(|span| (hex(&span.trace_id), hex(&span.parent_span_id)))
        .collect();
    assert_eq!(sent, served, "each server span is the child of one client span");
}

fn check_failures_are_logged(client: &Receiver, report: &Value) {
    let failed = |route: &str, status: &str| report["routes"][route]["statuses"][status].as_u64().unwrap();
    let logs = client.log_records();
    assert_eq!(logs.len() as u64, failed("list", "500") + failed("unknown", "404"));
    let spans: BTreeMap<_, _> = client.spans().into_iter().map(|span| (span.span_id.clone(), span)).collect();
    for log in logs {
        let span = &spans[&log.span_id];
        assert_eq!(span.trace_id, log.trace_id);
        let status = attribute(&log.attributes, "http.response.status_code").unwrap();
        assert_eq!(attribute(&span.attributes, "http.response.status_code"), Some(status.clone()));
        let (severity, answered) = match status.as_str() {
            "404" => ("WARN", "GET /api/menu/{id} was answered 404 Not Found"),
            _ => ("ERROR", "GET /api/menu was answered 500 Internal Server Error"),
        };
        assert_eq!((log.severity_text.as_str(), text(&log.body.unwrap()).as_str()), (severity, answered));
    }
}

fn check_metrics(client: &Receiver) {
    let metrics = client.metrics();
    let last = |name: &str| -> &Metric { metrics.iter().rfind(|metric| metric.name == name).expect(name) };
    let Some(metric::Data::Sum(requests)) = &last("menu_load.requests").data else { panic!("a counter") };
    assert!(requests.is_monotonic);
    assert_eq!(requests.aggregation_temporality(), AggregationTemporality::Cumulative);
    let counted: i64 = requests
        .data_points
        .iter()
        .map(|point| match point.value {
            Some(opentelemetry_proto::tonic::metrics::v1::number_data_point::Value::AsInt(count)) => count,
            other => panic!("a whole number: {other:?}"),
        })
        .sum();
    assert_eq!(counted, 150);
    let Some(metric::Data::Histogram(duration)) = &last("http.client.request.duration").data else {
        panic!("a histogram")
    };
    assert_eq!(duration.aggregation_temporality(), AggregationTemporality::Cumulative);
    assert_eq!(duration.data_points.iter().map(|point| point.count).sum::<u64>(), 150);
    assert_eq!(last("http.client.request.duration").unit, "s");
}

#[test]
fn an_unreachable_target_is_reported_and_fails_the_run() {
    let (code, report) = load("http://127.0.0.1:1", &["--rate", "20", "--duration", "500ms"], &[]);
    assert_eq!(code, Some(1));
    assert_eq!((&report["answered"], &report["errors"]), (&json!(0), &json!({"connect": 10})));
}

#[test]
fn a_target_that_never_answers_costs_skipped_requests_not_memory() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let target = format!("http://{}", silent.local_addr().unwrap());
    let args = ["--rate", "100", "--duration", "500ms", "--timeout", "1s", "--max-in-flight", "4"];
    let (code, report) = load(&target, &args, &[]);
    assert_eq!(code, Some(1));
    assert_eq!((&report["errors"], &report["skipped"]), (&json!({"timeout": 4}), &json!(46)));
}

#[test]
fn the_table_names_every_route_and_a_signal_ends_the_run_early() {
    let service = Service::start(&[]);
    let target = format!("http://{}", service.address);
    let args = ["load", "--target", &target, "--rate", "100", "--duration", "1h", "--mix", "item=1,health=1"];
    let child = command(&args).spawn().unwrap();
    service.line(); // requests are flowing
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(output.status.success());
    let table = String::from_utf8(output.stdout).unwrap();
    let rows: Vec<_> = table.lines().skip(2).map(|row| row.split_whitespace().next().unwrap()).collect();
    assert_eq!((rows.first(), rows.last()), (Some(&"route"), Some(&"all")), "{table}");
    assert!(rows.contains(&"item") || rows.contains(&"health"), "{table}");
}
