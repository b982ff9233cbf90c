//! Tracing of the service: what the spans say, that the log lines name them, and that the account is exact.

use std::net::TcpListener;

use opentelemetry_proto::tonic::trace::v1::Span;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use serde_json::{Value, json};

use crate::program::{Service, Stopped, without_measures};
use crate::receiver::{Behaviour, Receiver, attribute, hex};

const TRACE_ID: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const PARENT_ID: &str = "00f067aa0ba902b7";

/// A service that exports once, when it is stopped.
fn start(endpoint: &str, protocol: &str, args: &[&str]) -> Service {
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", protocol),
        ("OTEL_BSP_SCHEDULE_DELAY", "3600000"),
    ];
    Service::start_with(args, &environment)
}

/// The export report: the last line of stderr.
fn report(stopped: &Stopped) -> Value {
    serde_json::from_str(stopped.stderr.lines().last().expect("a report on stderr"))
        .expect("the report is JSON")
}

fn server_spans(receiver: &Receiver) -> Vec<Span> {
    receiver.spans().into_iter().filter(|span| span.kind() == SpanKind::Server).collect()
}

fn check_attributes(span: &Span, expected: &[(&str, Option<&str>)]) {
    for (key, value) in expected {
        assert_eq!(attribute(&span.attributes, key).as_deref(), *value, "{key} of {}", span.name);
    }
}

#[test]
fn requests_become_server_spans_by_the_http_conventions() {
    for protocol in ["http/protobuf", "grpc"] {
        let receiver = Receiver::start(Behaviour::Accept);
        let service = start(&receiver.endpoint(), protocol, &[]);
        service.ask_with("GET", "/api/menu/%34%32?x=1", "User-Agent: test/1\r\n");
        service.ask("BREW", "/health");
        service.get("/nowhere");
        assert_eq!(service.stop().code, Some(0));

        let spans = server_spans(&receiver);
        let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
        assert_eq!(names, ["GET /api/menu/{id}", "_OTHER /health", "GET"], "{protocol}");
        check_attributes(
            &spans[0],
            &[
                ("http.request.method", Some("GET")),
                ("http.route", Some("/api/menu/{id}")),
                ("url.path", Some("/api/menu/%34%32")),
                ("url.query", Some("x=1")),
                ("url.scheme", Some("http")),
                ("http.response.status_code", Some("404")),
                ("error.type", None),
                ("server.address", Some("menu.test")),
                ("server.port", Some("8080")),
                ("client.address", Some("127.0.0.1")),
                ("network.protocol.version", Some("1.1")),
                ("user_agent.original", Some("test/1")),
            ],
        );
        check_attributes(
            &spans[1],
            &[("http.request.method", Some("_OTHER")), ("http.request.method_original", Some("BREW"))],
        );
        check_attributes(&spans[2], &[("http.route", None), ("http.response.status_code", Some("404"))]);
        let resource = &receiver.resources()[0].attributes;
        assert_eq!(attribute(resource, "service.name").as_deref(), Some("menu-api"));
        assert!(attribute(resource, "service.instance.id").is_some_and(|id| id.len() == 32));
    }
}

#[test]
fn each_step_is_a_child_of_the_server_span() {
    let receiver = Receiver::start(Behaviour::Accept);
    let service = start(&receiver.endpoint(), "http/protobuf", &[]);
    service.get("/api/menu/1");
    service.stop();

    let server = server_spans(&receiver).remove(0);
    assert!(server.parent_span_id.is_empty(), "no caller sent a context");
    let children: Vec<_> =
        receiver.spans().into_iter().filter(|span| span.kind() != SpanKind::Server).collect();
    let names: Vec<_> = children.iter().map(|span| (span.name.as_str(), span.kind())).collect();
    let expected = [
        ("read menu item id", SpanKind::Internal),
        ("SELECT menu_items", SpanKind::Client),
        ("encode answer", SpanKind::Internal),
    ];
    assert_eq!(names, expected);
    for child in &children {
        assert_eq!((&child.trace_id, &child.parent_span_id), (&server.trace_id, &server.span_id));
        assert!(child.start_time_unix_nano >= server.start_time_unix_nano);
        assert!(child.end_time_unix_nano <= server.end_time_unix_nano);
    }
    check_attributes(&children[1], &[("db.response.returned_rows", Some("1"))]);
}

#[test]
fn a_failed_call_marks_its_span_and_the_request() {
    let receiver = Receiver::start(Behaviour::Accept);
    let service = start(&receiver.endpoint(), "http/protobuf", &["--failure-rate", "1"]);
    service.get("/api/menu");
    service.stop();

    let server = server_spans(&receiver).remove(0);
    check_attributes(&server, &[("http.response.status_code", Some("500")), ("error.type", Some("500"))]);
    assert_eq!(server.status.as_ref().unwrap().code(), StatusCode::Error);
    let call = receiver.spans().into_iter().find(|span| span.kind() == SpanKind::Client).unwrap();
    check_attributes(&call, &[("error.type", Some("timeout"))]);
    assert_eq!(call.status.as_ref().unwrap().message, "restaurant service timeout");
    assert_eq!(call.events[0].name, "exception");
}

#[test]
fn the_callers_trace_is_continued_and_named_in_the_log_line() {
    let receiver = Receiver::start(Behaviour::Accept);
    let service = start(&receiver.endpoint(), "http/protobuf", &[]);
    service.ask_with("GET", "/health", &format!("traceparent: 00-{TRACE_ID}-{PARENT_ID}-01\r\n"));
    let line = service.line();
    service.ask_with("GET", "/health", "traceparent: 00-not-a-context\r\n");
    let fresh: Value = serde_json::from_str(&service.line()).unwrap();
    service.stop();

    let spans = server_spans(&receiver);
    assert_eq!((hex(&spans[0].trace_id), hex(&spans[0].parent_span_id)), (TRACE_ID.into(), PARENT_ID.into()));
    let expected = format!(
        r#"{{"timestamp":"T","level":"INFO","method":"GET","path":"/health","status_code":200,"duration_ms":D,"message":"Health check successful","trace_id":"{TRACE_ID}","span_id":"{}"}}"#,
        hex(&spans[0].span_id)
    );
    assert_eq!(without_measures(&line), expected);
    assert_eq!(fresh["trace_id"], hex(&spans[1].trace_id));
    assert!(spans[1].parent_span_id.is_empty(), "a malformed context starts a new trace");
}

#[test]
fn the_account_says_what_the_receiver_holds() {
    for protocol in ["http/protobuf", "grpc"] {
        let receiver = Receiver::start(Behaviour::Accept);
        let service = start(&receiver.endpoint(), protocol, &[]);
        for _ in 0..200 {
            service.get("/api/menu");
        }
        let stopped = service.stop();
        let held = receiver.spans().len();
        assert_eq!(held, 600, "three spans for each request");
        let none = json!({"traces": 0, "metrics": 0, "logs": 0});
        let expected =
            json!({"exported": {"traces": held, "metrics": 0, "logs": 0}, "failed": none, "dropped": none});
        assert_eq!(report(&stopped), expected, "{protocol}");
    }
}

#[test]
fn what_is_refused_or_rejected_is_failed_and_never_sent_twice() {
    for protocol in ["http/protobuf", "grpc"] {
        for (behaviour, exported, failed) in [(Behaviour::Refuse, 0, 3), (Behaviour::RejectOne, 2, 1)] {
            let receiver = Receiver::start(behaviour);
            let service = start(&receiver.endpoint(), protocol, &[]);
            service.get("/api/menu");
            let report = report(&service.stop());
            let counts = (&report["exported"]["traces"], &report["failed"]["traces"]);
            assert_eq!(counts, (&json!(exported), &json!(failed)), "{protocol} {behaviour:?}");
            assert_eq!(receiver.requests(), 1, "{protocol} {behaviour:?}");
        }
    }
}

#[test]
fn an_unreachable_receiver_costs_spans_but_no_request() {
    for protocol in ["http/protobuf", "grpc"] {
        let service = start("http://127.0.0.1:1", protocol, &[]);
        assert_eq!(service.get("/api/menu").status, 200);
        let stopped = service.stop();
        assert_eq!(stopped.code, Some(0));
        assert_eq!(report(&stopped)["failed"]["traces"], json!(3), "{protocol}");
        assert!(stopped.stderr.contains("WARN"), "the SDK's complaint is shown: {}", stopped.stderr);
    }
}

#[test]
fn what_a_full_queue_loses_is_accounted_for() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint.as_str()),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "1000"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "4"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4"),
    ];
    let service = Service::start_with(&[], &environment);
    for _ in 0..50 {
        service.get("/api/menu");
    }
    let report = report(&service.stop());
    let count = |what: &str| report[what]["traces"].as_u64().unwrap();
    assert_eq!((count("exported"), count("failed") + count("dropped")), (0, 150));
    assert!(count("failed") > 0 && count("dropped") > 0, "{report}");
}

#[test]
fn without_an_endpoint_nothing_is_added() {
    let receiver = Receiver::start(Behaviour::Accept);
    let endpoint = receiver.endpoint();
    for environment in [
        vec![],
        vec![("OTEL_SERVICE_NAME", "named"), ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")],
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT", "")],
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_SDK_DISABLED", "true")],
        vec![("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint), ("OTEL_TRACES_EXPORTER", "none")],
        vec![("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", &endpoint)],
    ] {
        let service = Service::start_with(&[], &environment);
        service.ask_with("GET", "/health", &format!("traceparent: 00-{TRACE_ID}-{PARENT_ID}-01\r\n"));
        let line = service.line();
        assert!(!line.contains("trace_id") && !line.contains("span_id"), "{environment:?}: {line}");
        assert_eq!(service.stop().stderr, "", "{environment:?}");
    }
    assert!(receiver.spans().is_empty());
}

#[test]
fn the_environment_names_the_service() {
    let receiver = Receiver::start(Behaviour::Accept);
    let traces = format!("{}/v1/traces", receiver.endpoint());
    let environment = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", traces.as_str()),
        (
            "OTEL_RESOURCE_ATTRIBUTES",
            "service.name=menu,service.instance.id=one,deployment.environment.name=test",
        ),
    ];
    let service = Service::start_with(&[], &environment);
    service.get("/health");
    service.stop();
    let resource = &receiver.resources()[0].attributes;
    for (key, value) in
        [("service.name", "menu"), ("service.instance.id", "one"), ("deployment.environment.name", "test")]
    {
        assert_eq!(attribute(resource, key).as_deref(), Some(value), "{key}");
    }
}
