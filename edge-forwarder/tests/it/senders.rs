//! What the specification and the ecosystem let senders do: encodings and paths in every spelling, browsers, and requests in which
//! nothing is found.

use opentelemetry_proto::tonic::collector::logs::v1::{
    ExportLogsServiceRequest, ExportLogsServiceResponse, logs_service_client::LogsServiceClient,
};
use prost::Message;
use reqwest::{Client, Method};
use telemetry_wire::Signal;

use crate::{
    requests::{encoded, few_logs, framed, small},
    support::{Answer, Edge, within},
};

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

#[tokio::test(flavor = "multi_thread")]
async fn an_encoding_is_known_in_every_spelling() {
    let edge = Edge::ready("").await;
    let rows: [(&[&str], &str); 12] = [
        (&["GZIP"], "gzip"),
        (&["Gzip"], "gzip"),
        (&["x-gzip"], "gzip"),
        (&["X-GZIP"], "gzip"),
        (&["ZSTD"], "zstd"),
        (&["Identity"], "identity"),
        (&[""], "identity"),
        (&["identity, gzip"], "gzip"),
        (&["gzip ,"], "gzip"),
        (&["identity", "zstd"], "zstd"),
        (&["\tgzip "], "gzip"),
        (&["identity,identity"], "identity"),
    ];
    for (names, encoding) in rows {
        let mut request = edge.http_post(Signal::Logs, JSON);
        for name in names {
            request = request.header("content-encoding", *name);
        }
        let answer = Answer::of(request.body(encoded(encoding, &small(Signal::Logs).1))).await;
        assert_eq!(answer.status, 200, "{names:?}: {}", String::from_utf8_lossy(&answer.body));
    }
    for name in ["GZIP", "x-gzip"] {
        let body = framed(true, &encoded("gzip", &few_logs().encode_to_vec()));
        let answer = edge.grpc_raw(Signal::Logs.grpc_path(), Some(name), body).await;
        assert_eq!(answer.header("grpc-status"), None, "{name}: {:?}", answer.header("grpc-message"));
    }
    assert_eq!(edge.topics.count(&edge.topics.of(Signal::Logs)).await, 14);
    for names in ["gzip, zstd", "br", "gzip;q=1"] {
        let request = edge.http_post(Signal::Logs, JSON).header("content-encoding", names);
        let answer = Answer::of(request.body(small(Signal::Logs).1)).await;
        assert_eq!(answer.status, 415, "{names}");
        let told = String::from_utf8_lossy(&answer.body).into_owned();
        assert!(told.contains(names) && told.contains("identity, gzip or zstd"), "{told}");
    }
    edge.assert_conserved();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_path_is_known_however_its_slashes_are_joined() {
    let edge = Edge::ready("").await;
    let client = Client::new();
    for signal in Signal::ALL {
        let (protobuf, _, _) = small(signal);
        let paths = [
            format!("/v1/{signal}/"),
            format!("//v1/{signal}"),
            format!("/v1//{signal}//"),
            format!("/v1/{signal}/?tenant=a"),
        ];
        for path in &paths {
            let request = client.post(edge.url(path)).header("content-type", PROTOBUF);
            let answer = Answer::of(request.body(protobuf.clone())).await;
            assert_eq!(answer.status, 200, "{path}");
        }
        let sent = i64::try_from(paths.len()).unwrap();
        assert_eq!(edge.topics.count(&edge.topics.of(signal)).await, sent, "{signal}");
    }
    for path in ["/v1/log/s", "/v1", "/v1/logs/x", "/x/v1/logs", "/V1/logs"] {
        assert_eq!(Answer::of(client.post(edge.url(path)).body("{}")).await.status, 404, "{path}");
    }
    edge.stop().await;
}

/// Sends `body` for `signal`, which must be answered with success and, when `named` holds something, a warning with all of it.
async fn check_warned(edge: &Edge, signal: Signal, content_type: &str, body: Vec<u8>, named: &[&str]) {
    let shown = String::from_utf8_lossy(&body).into_owned();
    let answer = Answer::of(edge.http_post(signal, content_type).body(body)).await;
    assert_eq!(answer.status, 200, "{shown}");
    let warning = if content_type == JSON {
        let answer: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        let partial = &answer["partialSuccess"];
        assert!(partial["rejectedLogRecords"].is_null(), "0 rejected: {answer}");
        partial["errorMessage"].as_str().unwrap_or_default().to_owned()
    } else {
        // Every signal's response has the same shape.
        let partial = ExportLogsServiceResponse::decode(&*answer.body).unwrap().partial_success;
        assert_eq!(partial.as_ref().map_or(0, |partial| partial.rejected_log_records), 0);
        partial.map_or_else(String::new, |partial| partial.error_message)
    };
    assert_eq!(warning.is_empty(), named.is_empty(), "{shown}: {warning}");
    for part in named {
        assert!(warning.contains(part), "{shown}: {warning}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_in_which_nothing_is_found_succeeds_with_a_warning() {
    let edge = Edge::ready("").await;
    let json = |text: &str| text.as_bytes().to_vec();
    let (logs, traces, metrics) = (Signal::Logs, Signal::Traces, Signal::Metrics);
    // A misspelled name at each level, and another signal's request.
    let rows: [(Signal, Vec<u8>, &[&str]); 8] = [
        (logs, json(r#"{"resourceLog":[]}"#), &["no log record", "ExportLogsServiceRequest.resourceLog"]),
        (logs, json(r#"{"resourceLogs":[{"scopeLog":[]}]}"#), &["ResourceLogs.scopeLog"]),
        (logs, json(r#"{"resourceLogs":[{"scopeLogs":[{"records":[{}]}]}]}"#), &["ScopeLogs.records"]),
        (logs, small(traces).1, &["ExportLogsServiceRequest.resourceSpans", "/v1/traces"]),
        (logs, small(metrics).1, &["/v1/metrics"]),
        (traces, small(logs).1, &["no span", "/v1/logs"]),
        (
            metrics,
            json(r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"gauge":{"points":[]}}]}]}]}"#),
            &["no data point", "Gauge.points"],
        ),
        (metrics, small(traces).1, &["/v1/traces"]),
    ];
    let warned = rows.len();
    for (signal, body, named) in rows {
        check_warned(&edge, signal, JSON, body, named).await;
    }
    // Nothing in it, and nothing unknown: there is nothing to say.
    for text in ["{}", r#"{"resourceLogs":[]}"#, r#"{"resourceLogs":[{"scopeLogs":[{}]}]}"#] {
        check_warned(&edge, logs, JSON, json(text), &[]).await;
    }
    // Protobuf has numbers for names: field 9 with a text, at the top and in a scope.
    check_warned(&edge, logs, PROTOBUF, b"\x4a\x01x".to_vec(), &["no log record", "number 9"]).await;
    check_warned(&edge, logs, PROTOBUF, b"\x0a\x05\x12\x03\x4a\x01x".to_vec(), &["number 9"]).await;
    check_warned(&edge, logs, PROTOBUF, Vec::new(), &[]).await;
    let mut client = LogsServiceClient::connect(format!("http://{}", edge.grpc)).await.unwrap();
    let empty = within("an answer", client.export(ExportLogsServiceRequest::default())).await.unwrap();
    assert_eq!(empty.into_inner(), ExportLogsServiceResponse::default());
    let answer = edge.grpc_raw(Signal::Logs.grpc_path(), None, framed(false, b"\x4a\x01x")).await;
    let partial = ExportLogsServiceResponse::decode(&answer.body[5..]).unwrap().partial_success.unwrap();
    assert!(partial.rejected_log_records == 0 && partial.error_message.contains("number 9"), "{partial:?}");
    for signal in Signal::ALL {
        assert_eq!(edge.topics.count(&edge.topics.of(signal)).await, 0, "{signal}");
    }
    assert_eq!(edge.metric("edge_receiver_unrecognized_total", ""), (warned + 3) as f64);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unknown_field_beside_items_is_a_newer_senders_and_costs_no_word() {
    let edge = Edge::ready("").await;
    let body =
        br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":{"stringValue":"x"},"mood":"good"}]}]}]}"#;
    check_warned(&edge, Signal::Logs, JSON, body.to_vec(), &[]).await;
    assert_eq!(edge.topics.count(&edge.topics.of(Signal::Logs)).await, 1);
    edge.stop().await;
}

const CORS: &str = "{receivers: {http: {cors: {allowed_origins: ['https://shop.example', 'http://*.lab.example:8080'], \
                    allowed_headers: [x-tenant], max_age: 20m}}}}";

/// Asks as a browser does before it sends telemetry from a page of `origin`.
async fn preflight(edge: &Edge, path: &str, origin: &str) -> Answer {
    let request = Client::new()
        .request(Method::OPTIONS, edge.url(path))
        .header("origin", origin)
        .header("access-control-request-method", "POST")
        .header("access-control-request-headers", "content-type,x-tenant");
    Answer::of(request).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_an_allowed_origin_may_send() {
    let edge = Edge::ready(CORS).await;
    for origin in ["https://shop.example", "http://a.lab.example:8080", "http://a.b.lab.example:8080"] {
        for path in ["/v1/logs", "/v1/traces/", "/v1/metrics"] {
            let answer = preflight(&edge, path, origin).await;
            assert!(answer.status == 200 || answer.status == 204, "{path}: {}", answer.status);
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
            assert_eq!(answer.header("access-control-allow-methods"), Some("POST"));
            assert_eq!(answer.header("access-control-max-age"), Some("1200"));
            assert_eq!(answer.header("access-control-allow-credentials"), Some("true"), "beacons send them");
            let headers = answer.header("access-control-allow-headers").unwrap().to_lowercase();
            for name in ["content-type", "content-encoding", "x-tenant"] {
                assert!(headers.split(',').any(|header| header.trim() == name), "{name}: {headers}");
            }
        }
        // Also when it is refused: a page that may not read an answer cannot know that it should try again.
        for (body, status) in [(small(Signal::Logs).1, 200), (b"no json".to_vec(), 400)] {
            let request = edge.http_post(Signal::Logs, JSON).header("origin", origin);
            let answer = Answer::of(request.body(body)).await;
            assert_eq!(answer.status, status);
            assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
            let exposed = answer.header("access-control-expose-headers").unwrap_or_default();
            assert!(exposed.to_lowercase().contains("retry-after"), "{exposed}");
            assert!(answer.header("vary").unwrap().to_lowercase().contains("origin"));
        }
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_of_another_origin_may_not_and_other_senders_notice_nothing() {
    let edge = Edge::ready(CORS).await;
    for origin in [
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil.example",
        "http://evil.example/.lab.example:8080",
        "http://lab.example:8080",
        "http://.lab.example:8080",
        "null",
    ] {
        let answer = preflight(&edge, "/v1/logs", origin).await;
        assert_eq!(answer.header("access-control-allow-origin"), None, "{origin}");
    }
    let answer = Answer::of(edge.http_post(Signal::Logs, JSON).body(small(Signal::Logs).1)).await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (200, None));
    edge.stop().await;
    let closed = Edge::without_broker("").await;
    let answer = preflight(&closed, "/v1/logs", "https://shop.example").await;
    assert_eq!((answer.status, answer.header("access-control-allow-origin")), (405, None), "not configured");
    closed.stop().await;
}
