//! What concurrent senders were acked is stored once, field by field.

use std::collections::BTreeMap;
use std::sync::Arc;

use e2e::mimir::Series;
use e2e::sender::{Answer, Sender};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value};
use prost::Message;
use telemetry_wire::Signal;

use crate::expected::{self, Rows};
use crate::generate::Generator;
use crate::{assert_no_errors, line, servers};

/// Items of each signal.
const ITEMS: usize = 100_000;
const SENDERS: usize = 8;
const ITEMS_A_REQUEST: usize = 500;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_log_records_are_stored_once_field_by_field() {
    let (line, _directory) = line(servers().await, "logs").await;
    let sender = line.sender().unwrap();
    let expected = send_all(&sender, Signal::Logs, |generator, expected| {
        let request = generator.logs(ITEMS_A_REQUEST);
        expected::logs(&request, expected);
        request.encode_to_vec()
    })
    .await;
    line.wait_for_rows("otel_logs", ITEMS as u64).await.unwrap();
    let rows =
        line.clickhouse().rows(&format!("SELECT {} FROM otel_logs", expected::LOG_COLUMNS)).await.unwrap();
    expected::compare(rows, "LogAttributes", &expected);
    assert_no_errors(line.hub.as_ref().unwrap().log());
    assert_no_errors(line.edge.as_ref().unwrap().log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_spans_are_stored_once_field_by_field() {
    let (line, _directory) = line(servers().await, "spans").await;
    let sender = line.sender().unwrap();
    let expected = send_all(&sender, Signal::Traces, |generator, expected| {
        let request = generator.spans(ITEMS_A_REQUEST);
        expected::spans(&request, expected);
        request.encode_to_vec()
    })
    .await;
    line.wait_for_rows("otel_traces", ITEMS as u64).await.unwrap();
    let rows =
        line.clickhouse().rows(&format!("SELECT {} FROM otel_traces", expected::SPAN_COLUMNS)).await.unwrap();
    expected::compare(rows, "SpanAttributes", &expected);
    assert_no_errors(line.hub.as_ref().unwrap().log());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_thousand_data_points_are_stored_once_value_by_value() {
    const SERIES: usize = 250;
    let (line, _directory) = line(servers().await, "points").await;
    let sender = Arc::new(line.sender().unwrap());
    let mut tasks = Vec::new();
    for number in 0..SENDERS {
        let sender = Arc::clone(&sender);
        tasks.push(tokio::spawn(async move {
            let mut generator = Generator::new(&format!("points-{number}"), number as u64);
            let mut expected = Samples::new();
            for step in 0..(ITEMS / SENDERS / SERIES) as u64 {
                let request = generator.metrics(SERIES, step);
                samples_of(&request, &mut expected);
                send(&sender, Signal::Metrics, request.encode_to_vec(), step).await;
            }
            expected
        }));
    }
    let mut expected = Samples::new();
    for task in tasks {
        expected.extend(task.await.unwrap());
    }
    let points: usize = expected.values().map(Vec::len).sum();
    let mimir = line.mimir();
    let one_a_point = r#"{__name__=~"menu_load|menu_views|menu_latency_count"}"#;
    e2e::line::wait_for("every point in Mimir", async || {
        let stored = mimir.number(&format!("sum(count_over_time({one_a_point}[1h]))")).await?;
        #[allow(clippy::cast_precision_loss, reason = "small")]
        Ok(if stored >= points as f64 { Ok(()) } else { Err(format!("{stored} of {points}")) })
    })
    .await
    .unwrap();
    assert_eq!(points, ITEMS);
    let mut stored = Samples::new();
    for metric in ["menu_load", "menu_views", "menu_latency_count", "menu_latency_sum"] {
        for Series { labels, samples } in mimir.samples(&format!("{metric}[1h]")).await.unwrap() {
            let label = |name: &str| labels.get(name).unwrap_or_else(|| panic!("{labels:?}")).clone();
            stored.insert((metric.to_owned(), label("job"), label("series")), samples);
        }
    }
    let sums = stored.extract_if(.., |(metric, _, _), _| metric == "menu_latency_sum").count();
    assert_eq!(sums, SENDERS * SERIES / 10, "each histogram has its sum");
    for (series, samples) in &expected {
        assert_eq!(stored.get(series), Some(samples), "{series:?}");
    }
    assert_eq!(stored.len(), expected.len(), "nothing was invented");
    assert_no_errors(line.hub.as_ref().unwrap().log());
}

/// Metric, job and series to times in milliseconds and values.
type Samples = BTreeMap<(String, String, String), Vec<(i64, f64)>>;

/// What Mimir must hold for a request, by prost's reading of it.
fn samples_of(request: &ExportMetricsServiceRequest, samples: &mut Samples) {
    let resource = &request.resource_metrics[0];
    let job = text(&resource.resource.as_ref().unwrap().attributes);
    let mut add = |name: &str, attributes: &[_], nanos: u64, value: f64| {
        let series = samples.entry((name.to_owned(), job.clone(), text(attributes))).or_default();
        series.push((i64::try_from(nanos / 1_000_000).unwrap(), value));
    };
    for metric in &resource.scope_metrics[0].metrics {
        let points = match metric.data.as_ref().unwrap() {
            Data::Gauge(gauge) => &gauge.data_points,
            Data::Sum(sum) => &sum.data_points,
            Data::Histogram(histogram) => {
                for point in &histogram.data_points {
                    #[allow(clippy::cast_precision_loss, reason = "small")]
                    add("menu_latency_count", &point.attributes, point.time_unix_nano, point.count as f64);
                }
                continue;
            }
            other => unreachable!("not generated: {other:?}"),
        };
        for point in points {
            #[allow(clippy::cast_precision_loss, reason = "small")]
            let value = match point.value.unwrap() {
                Value::AsDouble(value) => value,
                Value::AsInt(value) => value as f64,
            };
            add(&metric.name.replace('.', "_"), &point.attributes, point.time_unix_nano, value);
        }
    }
}

fn text(attributes: &[opentelemetry_proto::tonic::common::v1::KeyValue]) -> String {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    match attributes[0].value.as_ref().unwrap().value.as_ref().unwrap() {
        Value::StringValue(text) => text.clone(),
        other => unreachable!("not generated: {other:?}"),
    }
}

/// [`SENDERS`] tasks send until there are [`ITEMS`], half of the requests over gRPC and half over HTTP.
async fn send_all(sender: &Sender, signal: Signal, make: fn(&mut Generator, &mut Rows) -> Vec<u8>) -> Rows {
    let mut tasks = Vec::new();
    for number in 0..SENDERS {
        let sender = sender.clone();
        tasks.push(tokio::spawn(async move {
            let mut generator = Generator::new(&format!("{}-{number}", signal.as_str()), number as u64);
            let mut expected = Rows::new();
            for turn in 0..ITEMS / SENDERS / ITEMS_A_REQUEST {
                let body = make(&mut generator, &mut expected);
                send(&sender, signal, body, turn as u64).await;
            }
            expected
        }));
    }
    let mut expected = Rows::new();
    for task in tasks {
        expected.extend(task.await.unwrap());
    }
    assert_eq!(expected.len(), ITEMS);
    expected
}

/// Nothing is wrong with the line here, so every request is acked at the first try.
async fn send(sender: &Sender, signal: Signal, body: Vec<u8>, turn: u64) {
    let answer = if turn.is_multiple_of(2) {
        sender.send_http(signal, body).await
    } else {
        sender.send_grpc(signal, &body).await.unwrap()
    };
    assert_eq!(answer, Answer::Acked);
}
