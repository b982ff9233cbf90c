//! What can never succeed is refused for good, with a status and a message that name what was wrong; nothing of it is published, and
//! nothing of it stays in memory.

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use edge_forwarder::Config;
use prost::Message;
use reqwest::{Client, Method};
use service_runtime::Settings;
use telemetry_wire::Signal;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    requests::{few_logs, framed, gzip, logs, metrics, small, zstd},
    support::{Answer, Edge, until, within},
};

/// A limit that tests can go over quickly.
const LIMIT: usize = 1 << 20;
const SMALL_LIMIT: &str =
    "{receivers: {max_request_bytes: 1MiB, body_timeout: 2s}, memory: {max_bytes: 8MiB}}";

/// `google.rpc.Status` as the specification writes it, read by types of the test's own.
#[derive(Clone, PartialEq, Message)]
struct Status {
    #[prost(int32, tag = "1")]
    code: i32,
    #[prost(string, tag = "2")]
    message: String,
    #[prost(message, repeated, tag = "3")]
    details: Vec<Any>,
}

#[derive(Clone, PartialEq, Message)]
struct Any {
    #[prost(string, tag = "1")]
    type_url: String,
    #[prost(bytes = "vec", tag = "2")]
    value: Vec<u8>,
}

/// Headers, body, and what must come: status and a part of the message.
type HttpRow<'a> = (Vec<(&'a str, &'a str)>, Vec<u8>, u16, &'a str);

/// Nothing was published for any signal, and all memory is back.
async fn assert_nothing_stays(edge: &Edge) {
    until("an empty budget", async || edge.budget.used() == 0).await;
    for signal in Signal::ALL {
        assert_eq!(edge.topics.count(&edge.topics.of(signal)).await, 0, "{signal}");
    }
    edge.assert_conserved();
}

/// One row: what is sent to `/v1/logs`, and what the answer must be.
async fn check_http(edge: &Edge, headers: &[(&str, &str)], body: Vec<u8>, status: u16, message: &str) {
    let mut request = Client::new().post(edge.url("/v1/logs"));
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let answer = Answer::of(request.body(body)).await;
    let is_protobuf = headers.contains(&("content-type", "application/x-protobuf"));
    let told = if is_protobuf {
        assert_eq!(answer.header("content-type"), Some("application/x-protobuf"));
        Status::decode(&*answer.body).unwrap().message
    } else {
        let json: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
        json["message"].as_str().unwrap().to_owned()
    };
    assert_eq!(answer.status, status, "{headers:?}: {told}");
    assert!(told.contains(message), "{headers:?}: {told}");
    assert_eq!(answer.header("retry-after"), None, "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_http_requests_are_refused_for_good() {
    let edge = Edge::ready(SMALL_LIMIT).await;
    let protobuf = ("content-type", "application/x-protobuf");
    let json = ("content-type", "application/json");
    let (good, good_json, _) = small(Signal::Logs);
    let deep = [
        br#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":"#.to_vec(),
        br#"{"arrayValue":{"values":["#.repeat(9000),
    ]
    .concat();
    let rows: Vec<HttpRow> = vec![
        (vec![protobuf], good[..good.len() - 1].to_vec(), 400, "not a valid logs request"),
        (vec![protobuf], vec![0xff; 1000], 400, "not a valid logs request"),
        (vec![protobuf], good_json.clone(), 400, "not a valid logs request"),
        (vec![json], good.clone(), 400, "OTLP/JSON"),
        (vec![json], br#"{"resourceLogs": [{"scopeLogs": 7}]}"#.to_vec(), 400, "scopeLogs"),
        (vec![json], br#"{"resourceLogs": [{"schemaUrl": "\ud8"}]}"#.to_vec(), 400, "invalid escape"),
        (vec![json], deep, 400, "recursion limit"),
        (vec![protobuf], nested_too_deep(), 400, "not a valid logs request"),
        (vec![protobuf, ("content-encoding", "gzip")], good.clone(), 400, "not valid gzip"),
        (
            vec![protobuf, ("content-encoding", "gzip")],
            gzip(&good)[..20].to_vec(),
            400,
            "ends inside a member",
        ),
        (vec![protobuf, ("content-encoding", "zstd")], good.clone(), 400, "not valid zstd"),
        (vec![json, ("content-encoding", "br")], good_json.clone(), 415, "encoding \"br\""),
        (vec![("content-type", "text/plain")], good.clone(), 415, "content type \"text/plain\""),
        (vec![], good.clone(), 415, "content type \"\""),
        (vec![protobuf], vec![0; LIMIT + 1], 413, "larger than 1048576 bytes"),
        (
            vec![protobuf, ("content-encoding", "gzip")],
            gzip(&vec![0; 200 * LIMIT]),
            413,
            "larger than 1048576 bytes",
        ),
        (
            vec![json, ("content-encoding", "zstd")],
            zstd(&vec![b' '; 500 * LIMIT]),
            413,
            "larger than 1048576 bytes",
        ),
        (
            vec![protobuf, ("content-encoding", "gzip")],
            gzip(&gzip(&vec![0; LIMIT])),
            400,
            "not a valid logs request",
        ),
    ];
    for (headers, body, status, message) in rows {
        check_http(&edge, &headers, body, status, message).await;
    }
    assert_nothing_stays(&edge).await;
    edge.stop().await;
}

/// A log record whose body nests deeper than any reader of ours goes.
fn nested_too_deep() -> Vec<u8> {
    // AnyValue { array_value (5): ArrayValue { values (1): AnyValue … } }, innermost first.
    let wrap = |tag: u8, inner: &[u8]| {
        let mut bytes = vec![tag << 3 | 2];
        prost::encoding::encode_varint(inner.len() as u64, &mut bytes);
        bytes.extend_from_slice(inner);
        bytes
    };
    let body = (0..500).fold(Vec::new(), |inner, _| wrap(5, &wrap(1, &inner)));
    wrap(1, &wrap(2, &wrap(2, &wrap(5, &body))))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_of_another_signal_is_refused_when_it_cannot_be_read_as_this_one() {
    let edge = Edge::ready("").await;
    let points = metrics(&["menu"]).encode_to_vec();
    check_http(&edge, &[("content-type", "application/x-protobuf")], points, 400, "not a valid logs request")
        .await;
    assert_nothing_stays(&edge).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_paths_and_methods_are_named() {
    let edge = Edge::without_broker("").await;
    let client = Client::new();
    for path in ["/", "/v1/log", "/v1/profiles"] {
        let answer = Answer::of(client.post(edge.url(path)).body("{}")).await;
        assert_eq!(answer.status, 404, "{path}");
        assert!(String::from_utf8_lossy(&answer.body).contains("/v1/logs"), "{path}");
    }
    for method in [Method::GET, Method::PUT, Method::DELETE, Method::OPTIONS] {
        let answer = Answer::of(client.request(method.clone(), edge.url("/v1/logs"))).await;
        assert_eq!((answer.status, answer.header("allow")), (405, Some("POST")), "{method}");
    }
    edge.stop().await;
}

/// One row of gRPC: the frame that is sent, and the code and message that must come.
async fn check_grpc(edge: &Edge, encoding: Option<&str>, body: Vec<u8>, code: &str, message: &str) {
    let answer = edge.grpc_raw(Signal::Logs.grpc_path(), encoding, body).await;
    assert_eq!((answer.status, answer.header("content-type")), (200, Some("application/grpc")));
    let told = answer.header("grpc-message").unwrap_or_default();
    assert_eq!(answer.header("grpc-status"), Some(code), "{told}");
    assert!(told.contains(message), "{told}");
    assert_eq!(answer.header("grpc-status-details-bin"), None, "no RetryInfo: {told}");
    assert_eq!(answer.header("grpc-accept-encoding"), Some("identity,gzip,zstd"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_grpc_requests_are_refused_for_good() {
    const INVALID_ARGUMENT: &str = "3";
    const RESOURCE_EXHAUSTED: &str = "8";
    const UNIMPLEMENTED: &str = "12";
    const INTERNAL: &str = "13";
    let edge = Edge::ready(SMALL_LIMIT).await;
    let good = few_logs().encode_to_vec();
    let rows: Vec<(Option<&str>, Vec<u8>, &str, &str)> = vec![
        (None, framed(false, &good[..good.len() - 1]), INVALID_ARGUMENT, "not a valid logs request"),
        (None, framed(false, &nested_too_deep()), INVALID_ARGUMENT, "not a valid logs request"),
        (Some("gzip"), framed(true, &good), INVALID_ARGUMENT, "not valid gzip"),
        (Some("zstd"), framed(true, &zstd(&good)[..9]), INVALID_ARGUMENT, "ends inside a frame"),
        (None, framed(false, &vec![0; LIMIT + 1]), RESOURCE_EXHAUSTED, "larger than 1048576 bytes"),
        (None, vec![0, 0xff, 0xff, 0xff, 0xff], RESOURCE_EXHAUSTED, "larger than 1048576 bytes"),
        (
            Some("gzip"),
            framed(true, &gzip(&vec![0; 200 * LIMIT])),
            RESOURCE_EXHAUSTED,
            "larger than 1048576 bytes",
        ),
        (
            Some("zstd"),
            framed(true, &zstd(&vec![0; 500 * LIMIT])),
            RESOURCE_EXHAUSTED,
            "larger than 1048576 bytes",
        ),
        (Some("snappy"), framed(true, &good), UNIMPLEMENTED, "encoding \"snappy\""),
        (None, framed(true, &good), INTERNAL, "names no encoding"),
        (None, [framed(false, &good), framed(false, &good)].concat(), INTERNAL, "has one message"),
        (None, framed(false, &good)[..20].to_vec(), INTERNAL, "before the message did"),
        (None, Vec::new(), INTERNAL, "before a message began"),
    ];
    for (encoding, body, code, message) in rows {
        check_grpc(&edge, encoding, body, code, message).await;
    }
    let unknown = edge.grpc_raw(
        "/opentelemetry.proto.collector.logs.v1.LogsService/Import",
        None,
        framed(false, &good),
    );
    assert_eq!(unknown.await.header("grpc-status"), Some(UNIMPLEMENTED));
    assert_nothing_stays(&edge).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_broker_every_request_may_be_retried() {
    let edge = Edge::without_broker("receivers: {retry_delay: 1500ms}").await;
    assert!(!edge.runtime.readiness().is_ready());
    for (content_type, body) in
        [("application/x-protobuf", small(Signal::Logs).0), ("application/json", small(Signal::Logs).1)]
    {
        let answer = Answer::of(edge.http_post(Signal::Logs, content_type).body(body)).await;
        assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
    }
    let answer = edge.grpc_raw(Signal::Logs.grpc_path(), None, framed(false, &small(Signal::Logs).0)).await;
    assert_eq!(answer.header("grpc-status"), Some("14"), "UNAVAILABLE");
    let details = STANDARD_NO_PAD.decode(answer.header("grpc-status-details-bin").unwrap()).unwrap();
    let status = Status::decode(&*details).unwrap();
    assert_eq!((status.code, status.message.contains("broker")), (14, true));
    assert_eq!(status.details[0].type_url, "type.googleapis.com/google.rpc.RetryInfo");
    // RetryInfo { retry_delay (1): Duration { seconds (1): 1, nanos (2): 500000000 } }
    assert_eq!(status.details[0].value, [10, 8, 8, 1, 16, 0x80, 0xca, 0xb5, 0xee, 1]);
    assert_eq!(edge.metric("edge_publisher_refused_items_total", "reason=\"no_broker\""), 9.0);
    edge.assert_conserved();
    edge.stop().await;
}

/// Opens a request to the edge by hand and sends only a part of its body.
async fn begin_request(edge: &Edge, body_sent: &[u8], body_length: usize) -> TcpStream {
    let mut stream = TcpStream::connect(edge.http).await.unwrap();
    let head = format!(
        "POST /v1/logs HTTP/1.1\r\nhost: edge\r\ncontent-type: application/x-protobuf\r\ncontent-length: {body_length}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body_sent).await.unwrap();
    stream
}

async fn read_answer(stream: &mut TcpStream) -> String {
    let mut answer = Vec::new();
    within("an answer and the end", stream.read_to_end(&mut answer)).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_writes_all_of_a_refused_body_before_it_reads_still_gets_the_answer() {
    let edge =
        Edge::without_broker("{receivers: {max_request_bytes: 4MiB}, memory: {max_bytes: 20MiB}}").await;
    for path in ["/v1/logs", "/v1/unknown"] {
        let mut stream = TcpStream::connect(edge.http).await.unwrap();
        // More than the kernel's buffers take.
        let body = vec![0; 15 << 20];
        let head = format!(
            "POST {path} HTTP/1.1\r\nhost: edge\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        within("the request to be written", stream.write_all(&[head.as_bytes(), &body].concat()))
            .await
            .unwrap();
        let answer = read_answer(&mut stream).await;
        assert!(answer.starts_with("HTTP/1.1 4"), "{answer}");
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_does_not_come_is_given_up_as_retryable() {
    let edge = Edge::ready(SMALL_LIMIT).await;
    let good = few_logs().encode_to_vec();
    let mut stream = begin_request(&edge, &good[..10], good.len()).await;
    until("the part to be held", async || edge.budget.used() > 0).await;
    let answer = read_answer(&mut stream).await;
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("did not arrive within 2s"), "{answer}");
    assert!(answer.contains("retry-after: 2"), "{answer}");
    assert_nothing_stays(&edge).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sender_that_leaves_inside_its_body_leaves_nothing_behind() {
    let edge = Edge::ready("").await;
    let big = logs((0..1000).map(|index| format!("{index} {}", "z".repeat(500)))).encode_to_vec();
    let streams = [
        begin_request(&edge, &big[..big.len() / 2], big.len()).await,
        begin_request(&edge, &big[..big.len() - 1], big.len()).await,
    ];
    until("the parts to be held", async || edge.budget.used() > big.len()).await;
    drop(streams);
    assert_nothing_stays(&edge).await;
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_the_budget_is_used_up_others_are_told_to_come_back() {
    let edge = Edge::ready("{receivers: {max_request_bytes: 1MiB}, memory: {max_bytes: 5MiB}}").await;
    // As requests do that have come and wait for the broker.
    let mut holders = edge.budget.reservation();
    holders.grow(4 * LIMIT + LIMIT / 2).unwrap();
    let big = logs((0..1500).map(|index| format!("{index} {}", "m".repeat(500)))).encode_to_vec();
    let answer = Answer::of(edge.http_post(Signal::Logs, "application/x-protobuf").body(big.clone())).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("2")));
    assert!(Status::decode(&*answer.body).unwrap().message.contains("memory"));
    drop(holders);
    until("an empty budget", async || edge.budget.used() == 0).await;
    let answer = Answer::of(edge.http_post(Signal::Logs, "application/x-protobuf").body(big)).await;
    assert_eq!(answer.status, 200, "the same request, later");
    edge.stop().await;
}

#[test]
fn a_wrong_configuration_is_refused_with_every_problem() {
    let yaml =
        "receivers: {max_requests_bytes: 1MiB}\npublisher: {logs: {topic: ''}}\nmemory: {max_bytes: 1MiB}";
    let mut settings = Settings::from_yaml("EDGE", yaml, []);
    Config::read(&mut settings.root());
    let problems = settings.finish().unwrap_err().to_string();
    for part in [
        "kafka.brokers",
        "receivers.max_requests_bytes",
        "max_request_bytes",
        "publisher.logs.topic",
        "memory.max_bytes",
    ] {
        assert!(problems.contains(part), "{part}: {problems}");
    }
}
