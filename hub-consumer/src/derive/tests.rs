//! Rules applied to records: by blocks of the real decoder, compared with plain counting.

use std::{collections::BTreeMap, time::Duration};

use opentelemetry_proto::tonic::{
    collector::{logs::v1::ExportLogsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, KeyValue, any_value::Value},
    logs::v1::{LogRecord, ResourceLogs, ScopeLogs},
    resource::v1::Resource,
    trace::v1::{ResourceSpans, ScopeSpans, Span, Status},
};
use prost::Message as _;

use super::*;
use crate::decode::{Block, DecodeSettings, LogRows, Rows, Source, SpanRows};

mod totals;

/// By name and labels, the count of every bucket.
type Counted = BTreeMap<String, Vec<u64>>;

fn deriving(yaml: &str) -> Deriving {
    let rules = rules::read(yaml).unwrap_or_else(|problems| panic!("{problems:?}"));
    Deriving::new(&rules, DeriveMetrics::default())
}

fn shipped() -> Deriving {
    deriving(rules::SHIPPED)
}

fn block<R: Rows>(deriving: &Deriving, signal: Signal) -> Block<R> {
    let settings = DecodeSettings {
        topic: "otlp".to_owned(),
        retention: Duration::from_secs(3600 * 24 * 3650),
        max_record_bytes: 64 << 20,
    };
    Block::new(settings).counted_by(&deriving.program(signal).unwrap())
}

fn source(offset: usize) -> Source {
    Source { partition: 0, offset: offset as i64, timestamp_ms: Some(1_767_225_600_000) }
}

/// Counts requests as one block.
fn count<R: Rows>(deriving: &Deriving, signal: Signal, requests: &[Vec<u8>]) {
    let mut block = block::<R>(deriving, signal);
    for (offset, request) in requests.iter().enumerate() {
        block.push(request, source(offset)).unwrap();
    }
    block.take_tally().unwrap().count();
}

/// What the series are now.
fn counted(deriving: &Deriving) -> Counted {
    let copy = deriving.series.copy();
    let mut counted = Counted::new();
    for rule in &copy.rules {
        for series in &rule.list {
            let labels: Vec<_> =
                series.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
            let name = format!("{}{{{}}}", rule.plan.rule.name, labels.join(","));
            assert!(counted.insert(name, series.buckets.clone()).is_none(), "a series is there twice");
        }
    }
    counted
}

/// The totals of one metric, over all its series.
fn total(deriving: &Deriving, metric: &str) -> u64 {
    let of_metric =
        counted(deriving).into_iter().filter(|(name, _)| name.starts_with(&format!("{metric}{{")));
    of_metric.map(|(_, buckets)| buckets.iter().sum::<u64>()).sum()
}

fn some(value: Value) -> Option<AnyValue> {
    Some(AnyValue { value: Some(value) })
}

fn text(text: &str) -> Value {
    Value::StringValue(text.to_owned())
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: some(value), ..KeyValue::default() }
}

fn log(attributes: Vec<KeyValue>) -> LogRecord {
    LogRecord { body: some(text("{}")), attributes, ..LogRecord::default() }
}

fn logs_of(service: &str, log_records: Vec<LogRecord>) -> Vec<u8> {
    let resource =
        Resource { attributes: vec![attribute("service.name", text(service))], ..Resource::default() };
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    let group = ResourceLogs { resource: Some(resource), scope_logs, ..ResourceLogs::default() };
    ExportLogsServiceRequest { resource_logs: vec![group] }.encode_to_vec()
}

fn spans_of(service: &str, spans: Vec<Span>) -> Vec<u8> {
    let resource =
        Resource { attributes: vec![attribute("service.name", text(service))], ..Resource::default() };
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let group = ResourceSpans { resource: Some(resource), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![group] }.encode_to_vec()
}

/// A line of the Menu API with these values of `path` and `status_code`.
fn line(path: &str, status: Value) -> LogRecord {
    log(vec![
        attribute("path", text(path)),
        attribute("status_code", status),
        attribute("duration_ms", Value::DoubleValue(0.2)),
        attribute("log.iostream", text("stdout")),
    ])
}

#[track_caller]
fn check_logs(yaml: &str, records: Vec<LogRecord>, expected: &[(&str, u64)]) -> Deriving {
    let deriving = deriving(yaml);
    count::<LogRows>(&deriving, Signal::Logs, &[logs_of("mock-service", records)]);
    let found: BTreeMap<String, u64> =
        counted(&deriving).into_iter().map(|(name, buckets)| (name, buckets.iter().sum())).collect();
    let expected = expected.iter().map(|(name, count)| ((*name).to_owned(), *count)).collect();
    assert_eq!(found, expected);
    deriving
}

/// A rule that counts logs, with these further fields.
fn counter(fields: &str) -> String {
    format!("rules: [{{name: n_total, help: Counts., from: logs, kind: counter, {fields}}}]")
}

#[test]
fn numbers_are_taken_as_integers_doubles_and_texts() {
    let lines =
        [Value::IntValue(200), Value::DoubleValue(200.0), text("200"), Value::IntValue(404), text("599")];
    let lines = lines.map(|status| line("/api/menu", status)).to_vec();
    let rule = counter(
        "match: {attributes: {status_code: {from: 1}}}, \
         labels: {class: {attribute: status_code, class: http_status}, status: {attribute: status_code, one_of: [200, 404]}}",
    );
    check_logs(
        &rule,
        lines,
        &[
            ("n_total{class=2xx,status=200}", 3),
            ("n_total{class=4xx,status=404}", 1),
            ("n_total{class=5xx,status=other}", 1),
        ],
    );
}

#[test]
fn what_is_no_number_is_counted_as_such_and_left_out() {
    let bad = [
        text("two hundred"),
        text(""),
        Value::BoolValue(true),
        Value::DoubleValue(f64::NAN),
        Value::BytesValue(vec![1]),
    ];
    let mut lines = bad.map(|status| line("/api/menu", status)).to_vec();
    lines.push(line("/api/menu", Value::IntValue(200)));
    // It is not for the rule in any case.
    lines.push(log(vec![attribute("status_code", text("none"))]));
    let deriving = shipped();
    count::<LogRows>(&deriving, Signal::Logs, &[logs_of("mock-service", lines)]);
    assert_eq!(total(&deriving, "menu_requests_total"), 1);
    assert_eq!(deriving.metrics.bad_values_of("menu_requests_total"), 5);
    assert_eq!(deriving.metrics.bad_values_of("menu_failures_total"), 0, "they have no `error`");
}

#[test]
fn a_value_that_would_spoil_a_sum_is_left_out() {
    let durations = [
        Value::DoubleValue(f64::INFINITY),
        Value::DoubleValue(-1.0),
        Value::DoubleValue(1e300),
        text("fast"),
        text("250"),
        Value::IntValue(0),
    ];
    let line = |duration| {
        let mut line = line("/api/menu", Value::IntValue(200));
        line.attributes[2] = attribute("duration_ms", duration);
        line
    };
    let mut lines = durations.map(line).to_vec();
    // Nothing was measured.
    lines.push(log(vec![
        attribute("path", text("/api/menu")),
        attribute("status_code", Value::IntValue(200)),
    ]));
    let deriving = shipped();
    count::<LogRows>(&deriving, Signal::Logs, &[logs_of("mock-service", lines)]);
    assert_eq!(deriving.metrics.bad_values_of("menu_request_duration_seconds"), 4);
    let copy = deriving.series.copy();
    let duration = &copy.rules[1].list[0];
    assert_eq!(
        (duration.sum, duration.buckets[0], duration.buckets[13]),
        (0.25, 1, 1),
        "0.25 s is within its bound"
    );
    assert_eq!(total(&deriving, "menu_requests_total"), 7);
}

#[test]
fn hostile_paths_are_one_of_few_routes_and_never_a_label() {
    let long = format!("/api/menu/{}", "x".repeat(10_000));
    let paths = [
        "/api/menu",
        "/api/menu/",
        &long,
        "/api/menu/1' OR '1'='1",
        "/api/menu/\"})) by (x) {{id}}",
        "/api/menu/\n\u{0}",
        "/api/menus",
        "/API/MENU",
        "",
        "/health",
    ];
    let lines = paths.map(|path| line(path, Value::IntValue(200))).to_vec();
    check_logs(
        &counter(
            "labels: {route: {attribute: path, map: [{equals: /api/menu, value: /api/menu}, \
             {prefix: /api/menu/, value: '/api/menu/{id}'}, {equals: /health, value: /health}]}}",
        ),
        lines,
        &[
            ("n_total{route=/api/menu}", 1),
            ("n_total{route=/api/menu/{id}}", 5),
            ("n_total{route=/health}", 1),
            ("n_total{route=other}", 3),
        ],
    );
}

#[test]
fn the_last_of_equal_attributes_counts_as_it_is_stored() {
    let mut twice = line("/api/menu", Value::IntValue(200));
    twice.attributes.push(attribute("status_code", Value::IntValue(503)));
    check_logs(
        &counter("labels: {status: {attribute: status_code, one_of: [200, 503]}}"),
        vec![twice],
        &[("n_total{status=503}", 1)],
    );
}

#[test]
fn conditions_hold_all_at_once() {
    let rule = counter(
        "match: {any_present: [a, b], severity: {from: 17}, attributes: {c: {one_of: [x, 2, true]}, d: {present: false}}}",
    );
    let record = |keys: &[&str], severity, c: Value| LogRecord {
        severity_number: severity,
        ..log(keys.iter().map(|key| attribute(key, text("1"))).chain([attribute("c", c)]).collect())
    };
    let records = vec![
        record(&["a"], 17, text("x")),
        record(&["b"], 20, Value::DoubleValue(2.0)),
        record(&["a", "b"], 24, text("true")),
        record(&[], 17, text("x")),
        record(&["a"], 16, text("x")),
        record(&["a"], 17, text("y")),
        record(&["a", "d"], 17, text("x")),
    ];
    check_logs(&rule, records, &[("n_total{}", 3)]);
}

#[test]
fn lines_are_told_from_other_logs_and_parsed_ones_from_the_rest() {
    let with_body =
        |body: &str, attributes: Vec<KeyValue>| LogRecord { body: some(text(body)), ..log(attributes) };
    let stream = || attribute("log.iostream", text("stderr"));
    let records = vec![
        line("/health", Value::IntValue(200)),
        with_body(" {\"message\":\"x\"}", vec![attribute("message", text("x")), stream()]),
        with_body("{\"half", vec![attribute("parse_error", text("EOF")), stream()]),
        with_body("panic: oh", vec![stream()]),
        with_body("", vec![attribute("log.file.path", text("/var/log/menu.log"))]),
        LogRecord { body: some(Value::BytesValue(vec![b'{', 0xff])), ..log(vec![stream()]) },
        // An SDK sent it.
        with_body("{}", vec![attribute("message", text("x"))]),
    ];
    let deriving = shipped();
    count::<LogRows>(&deriving, Signal::Logs, &[logs_of("mock-service", records)]);
    let lines: Vec<_> =
        counted(&deriving).into_iter().filter(|(name, _)| name.starts_with("menu_log_lines")).collect();
    let series = |parsed: &str, count| {
        (format!("menu_log_lines_total{{parsed={parsed},service=mock-service}}"), vec![count])
    };
    assert_eq!(lines, [series("false", 4), series("true", 2)]);
}

#[test]
fn starts_are_told_from_requests() {
    let lifecycle = |message: &str| {
        let mut start = line("", Value::IntValue(0));
        start.attributes.push(attribute("message", text(message)));
        start
    };
    let records = vec![
        lifecycle("Starting server on :8080"),
        lifecycle("Shutting down server..."),
        lifecycle("Server exited gracefully"),
        line("/health", Value::IntValue(200)),
    ];
    let deriving = shipped();
    count::<LogRows>(&deriving, Signal::Logs, &[logs_of("mock-service", records)]);
    assert_eq!(total(&deriving, "menu_service_starts_total"), 1);
    assert_eq!(total(&deriving, "menu_requests_total"), 1);
    assert_eq!(total(&deriving, "menu_log_lines_total"), 4);
}

#[test]
fn records_of_other_services_are_not_looked_at() {
    let deriving = shipped();
    let other = logs_of("checkout", vec![line("/api/menu", Value::IntValue(200))]);
    let nobody = ExportLogsServiceRequest {
        resource_logs: vec![ResourceLogs {
            scope_logs: vec![ScopeLogs {
                log_records: vec![line("/api/menu", Value::IntValue(200))],
                ..ScopeLogs::default()
            }],
            ..ResourceLogs::default()
        }],
    };
    let menu = logs_of("menu-api", vec![line("/api/menu", Value::IntValue(200))]);
    count::<LogRows>(&deriving, Signal::Logs, &[other.clone(), nobody.encode_to_vec(), menu, other]);
    assert_eq!(total(&deriving, "menu_requests_total"), 1);
}

#[test]
fn spans_are_measured_by_kind_route_and_status() {
    let span = |kind: i32, attributes: Vec<KeyValue>, code: i32, nanos: u64| Span {
        kind,
        attributes,
        status: Some(Status { code, ..Status::default() }),
        start_time_unix_nano: 1_767_225_600_000_000_000,
        end_time_unix_nano: 1_767_225_600_000_000_000 + nanos,
        trace_id: vec![7; 16],
        span_id: vec![9; 8],
        ..Span::default()
    };
    let http = |route: &str, status: i64| {
        vec![
            attribute("http.route", text(route)),
            attribute("http.response.status_code", Value::IntValue(status)),
        ]
    };
    let spans = vec![
        span(2, http("/api/menu", 200), 0, 1_000_000),
        span(2, http("/api/menu", 500), 2, 20_000_000_000),
        span(2, http("/unknown/{x}", 404), 0, 5),
        span(5, Vec::new(), 0, 5),
        span(5, Vec::new(), 2, 5),
        span(3, http("/api/menu", 200), 0, 5),
        span(9, http("/api/menu", 200), 0, 5),
    ];
    let deriving = shipped();
    count::<SpanRows>(&deriving, Signal::Traces, &[spans_of("any", spans)]);
    let names: Vec<_> = counted(&deriving).into_keys().collect();
    let series = |route: &str, kind: &str, class: &str| {
        format!("span_duration_seconds{{route={route},service=any,span_kind={kind},status_class={class}}}")
    };
    assert_eq!(
        names,
        [
            series("/api/menu", "server", "2xx"),
            series("/api/menu", "server", "5xx"),
            series("other", "consumer", "error"),
            series("other", "consumer", "ok"),
            series("other", "server", "4xx"),
        ]
    );
    let copy = deriving.series.copy();
    let slow =
        copy.rules[5].list.iter().find(|series| series.buckets[19] == 1).expect("20 s is above all bounds");
    assert_eq!((slow.sum, slow.exemplars[0].value), (20.0, 20.0));
    assert_eq!((slow.exemplars[0].trace_id, slow.exemplars[0].span_id), ([7; 16], [9; 8]));
}
