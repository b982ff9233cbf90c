//! What is accepted is in the topic: as it came, once, where it belongs, and named.

use std::collections::{BTreeMap, HashSet};

use kafka_client::Record;
use opentelemetry_proto::tonic::{
    collector::{
        logs::v1::{
            ExportLogsServiceRequest, ExportLogsServiceResponse, logs_service_client::LogsServiceClient,
        },
        metrics::v1::metrics_service_client::MetricsServiceClient,
        trace::v1::trace_service_client::TraceServiceClient,
    },
    common::v1::any_value::Value,
};
use prost::Message;
use telemetry_wire::{
    Signal, dead_letter_topic,
    headers::{Encoding, RecordHeaders, dead_letter},
};
use tonic::codec::CompressionEncoding;

use crate::{
    requests::{assert_same, encoded, few_logs, logs, metrics, small, spans},
    support::{Answer, Edge, within},
};

fn headers_of(record: &Record) -> RecordHeaders {
    RecordHeaders::decode(record.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref())))
}

/// The text bodies of all log records in the topic.
fn bodies(records: &[Record]) -> Vec<String> {
    let mut bodies = Vec::new();
    for record in records {
        let request = ExportLogsServiceRequest::decode(record.value.clone()).unwrap();
        for log in request
            .resource_logs
            .iter()
            .flat_map(|group| &group.scope_logs)
            .flat_map(|scope| &scope.log_records)
        {
            match log.body.as_ref().and_then(|body| body.value.as_ref()) {
                Some(Value::StringValue(body)) => bodies.push(body.clone()),
                other => panic!("{other:?}"),
            }
        }
    }
    bodies.sort();
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn http_requests_in_both_formats_and_all_encodings_are_published() {
    let edge = Edge::ready("").await;
    for signal in Signal::ALL {
        let (protobuf, json, items) = small(signal);
        let mut sent = 0;
        for encoding in ["identity", "gzip", "zstd"] {
            for (content_type, body) in [("application/x-protobuf", &protobuf), ("application/json", &json)] {
                let request = edge.http_post(signal, content_type).header("content-encoding", encoding);
                let answer = Answer::of(request.body(encoded(encoding, body))).await;
                assert_eq!((answer.status, answer.header("content-type")), (200, Some(content_type)));
                let expected: &[u8] = if content_type == "application/json" { b"{}" } else { b"" };
                assert_eq!(answer.body, expected);
                sent += 1;
            }
        }
        let records = edge.topics.read(&edge.topics.of(signal)).await;
        assert_eq!(records.len(), sent);
        for record in &records {
            assert_same(signal, &record.value, &protobuf);
            assert_eq!(headers_of(record).item_count, Some(items));
        }
        let verbatim = records.iter().filter(|record| record.value == protobuf).count();
        assert!(verbatim >= 3, "protobuf is published byte by byte, {verbatim} records were");
    }
    edge.assert_conserved();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_requests_of_an_unmodified_client_are_published() {
    let edge = Edge::ready("").await;
    let address = format!("http://{}", edge.grpc);
    for encoding in [None, Some(CompressionEncoding::Gzip), Some(CompressionEncoding::Zstd)] {
        let mut logs = LogsServiceClient::connect(address.clone()).await.unwrap();
        let mut traces = TraceServiceClient::connect(address.clone()).await.unwrap();
        let mut metrics_client = MetricsServiceClient::connect(address.clone()).await.unwrap();
        if let Some(encoding) = encoding {
            logs = logs.send_compressed(encoding);
            traces = traces.send_compressed(encoding);
            metrics_client = metrics_client.send_compressed(encoding);
        }
        let answer = within("an answer", logs.export(few_logs())).await.unwrap().into_inner();
        assert_eq!(answer, ExportLogsServiceResponse::default());
        within("an answer", traces.export(spans())).await.unwrap();
        within("an answer", metrics_client.export(metrics(&["menu"]))).await.unwrap();
    }
    for signal in Signal::ALL {
        let records = edge.topics.read(&edge.topics.of(signal)).await;
        assert_eq!(records.len(), 3, "{signal}");
        records.iter().for_each(|record| assert_same(signal, &record.value, &small(signal).0));
    }
    let ok = edge.metric("edge_receiver_requests_total", "transport=\"grpc\",code=\"0\"");
    assert_eq!(ok, 9.0);
    edge.assert_conserved();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn either_port_takes_both_protocols() {
    let edge = Edge::ready("").await;
    let mut client = LogsServiceClient::connect(format!("http://{}", edge.http)).await.unwrap();
    within("an answer", client.export(few_logs())).await.unwrap();
    let url = format!("http://{}/v1/logs", edge.grpc);
    let request = reqwest::Client::new().post(url).header("content-type", "application/json");
    assert_eq!(Answer::of(request.body(small(Signal::Logs).1)).await.status, 200);
    assert_eq!(edge.topics.count(&edge.topics.of(Signal::Logs)).await, 2);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_record_is_named_and_numbered() {
    let edge = Edge::ready("").await;
    for _ in 0..5 {
        let request = edge.http_post(Signal::Logs, "application/x-protobuf");
        assert_eq!(Answer::of(request.body(small(Signal::Logs).0)).await.status, 200);
    }
    let records = edge.topics.read(&edge.topics.of(Signal::Logs)).await;
    let headers: Vec<_> = records.iter().map(headers_of).collect();
    let sequences: HashSet<_> = headers.iter().map(|headers| headers.sequence.unwrap()).collect();
    assert_eq!(sequences.len(), 5, "no sequence twice");
    let incarnations: HashSet<_> = headers.iter().map(|headers| headers.incarnation.unwrap()).collect();
    assert_eq!(incarnations.len(), 1);
    for headers in headers {
        assert_eq!(headers.edge_id.as_deref(), Some("edge-under-test"));
        assert_eq!(headers.encoding, Some(Encoding::OtlpProto));
        assert!(headers.received_at_unix_nano.unwrap() > 1_700_000_000_000_000_000);
    }
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_request_succeeds_and_publishes_nothing() {
    let edge = Edge::ready("").await;
    for (content_type, body) in [("application/x-protobuf", ""), ("application/json", "{}")] {
        let answer = Answer::of(edge.http_post(Signal::Logs, content_type).body(body)).await;
        assert_eq!((answer.status, answer.body), (200, body.as_bytes().to_vec()));
    }
    let mut client = LogsServiceClient::connect(format!("http://{}", edge.grpc)).await.unwrap();
    within("an answer", client.export(ExportLogsServiceRequest::default())).await.unwrap();
    assert_eq!(edge.topics.count(&edge.topics.of(Signal::Logs)).await, 0);
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_request_above_the_record_limit_is_cut_and_nothing_is_lost() {
    let edge = Edge::ready("kafka: {producer: {max_message_bytes: 20kB}}").await;
    let sent: Vec<_> = (0..500).map(|index| format!("{index:05} {}", "x".repeat(200))).collect();
    let request =
        edge.http_post(Signal::Logs, "application/x-protobuf").body(logs(sent.clone()).encode_to_vec());
    assert_eq!(Answer::of(request).await.status, 200);
    let records = edge.topics.read(&edge.topics.of(Signal::Logs)).await;
    assert!(records.len() > 5 && records.iter().all(|record| record.value.len() <= 20_000));
    assert_eq!(bodies(&records), sent);
    edge.assert_conserved();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_item_that_no_record_can_hold_is_dead_lettered_and_the_others_pass() {
    let edge = Edge::ready("").await;
    let huge = "y".repeat(2_000_000);
    let request = logs(["before".into(), huge, "after".into()]);
    let request =
        edge.http_post(Signal::Logs, "application/json").body(serde_json::to_vec(&request).unwrap());
    let answer = Answer::of(request).await;
    let text = String::from_utf8(answer.body).unwrap();
    assert_eq!(answer.status, 200);
    assert!(text.contains("partialSuccess") && text.contains("1 items are too large"), "{text}");
    let topic = edge.topics.of(Signal::Logs);
    assert_eq!(bodies(&edge.topics.read(&topic).await), ["after", "before"]);
    let letters = edge.topics.read(&dead_letter_topic(&topic)).await;
    assert_eq!(letters.len(), 1);
    assert!(
        letters[0].value.len() <= 64 * 1024 && letters[0].value.ends_with(b"yyyy"),
        "the head of the item"
    );
    let header = |name: &str| {
        let (_, value) = letters[0].headers.iter().find(|(header, _)| header == name).unwrap();
        String::from_utf8(value.to_vec()).unwrap()
    };
    assert_eq!(header(dead_letter::REASON), "item_too_large");
    assert_eq!(header(dead_letter::SOURCE_TOPIC), topic);
    assert!(header(dead_letter::ORIGINAL_BYTES).parse::<usize>().unwrap() > 2_000_000);
    assert_eq!(headers_of(&letters[0]).item_count, Some(1));
    edge.assert_conserved();
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_points_of_a_resource_stay_in_one_partition() {
    let edge = Edge::ready("").await;
    let services: Vec<_> = (0..20).map(|index| format!("service-{index}")).collect();
    let services: Vec<_> = services.iter().map(String::as_str).collect();
    for _ in 0..3 {
        let request = edge.http_post(Signal::Metrics, "application/x-protobuf");
        assert_eq!(Answer::of(request.body(metrics(&services).encode_to_vec())).await.status, 200);
    }
    let mut partitions: BTreeMap<String, HashSet<i32>> = BTreeMap::new();
    for record in edge.topics.read(&edge.topics.of(Signal::Metrics)).await {
        let request = opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest::decode(
            record.value.clone(),
        );
        for group in request.unwrap().resource_metrics {
            let name = format!("{:?}", group.resource.unwrap().attributes[0].value);
            partitions.entry(name).or_default().insert(record.partition);
        }
    }
    assert_eq!(partitions.len(), 20);
    assert!(partitions.values().all(|of_service| of_service.len() == 1), "{partitions:?}");
    let used: HashSet<_> = partitions.values().flatten().collect();
    assert_eq!(used.len(), 3, "twenty services use all three partitions");
    edge.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trace_has_its_id_as_key_when_configured() {
    let edge = Edge::ready("publisher: {traces: {key: trace_id}}").await;
    let request = edge.http_post(Signal::Traces, "application/x-protobuf").body(spans().encode_to_vec());
    assert_eq!(Answer::of(request).await.status, 200);
    let records = edge.topics.read(&edge.topics.of(Signal::Traces)).await;
    let keys: HashSet<_> = records.iter().map(|record| record.key.clone().unwrap()).collect();
    let expected: HashSet<_> = (1..=4).map(|id: u8| format!("{id:02x}").repeat(16).into()).collect();
    assert_eq!(keys, expected);
    edge.assert_conserved();
    edge.stop().await;
}
