//! The order flow as the contract in `docs/orders.md` has it: the events of each order, what each fault takes away, and that what is
//! usually watched stays green in all of them.

#![allow(clippy::disallowed_methods, reason = "no runtime's thread waits here")]

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Child;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::logs::v1::LogRecord;
use opentelemetry_proto::tonic::metrics::v1::{metric, number_data_point};
use serde_json::{Value, json};

use crate::program::{command, run};
use crate::receiver::{Behaviour, Receiver, attribute};

const PATIENCE: Duration = Duration::from_secs(30);
const POINTS: [&str; 6] =
    ["order.captured", "order.stored", "order.appended", "order.acked", "order.saved", "order.tablet_acked"];
/// Nothing but what the fault does.
const PLAIN: [&str; 12] = [
    "--cancelled-share",
    "0",
    "--refunded-share",
    "0",
    "--rejected-share",
    "0",
    "--scheduled-share",
    "0",
    "--late-share",
    "0",
    "--duplicated-share",
    "0",
];

/// A running `orders`, killed when dropped.
struct Flow {
    child: Child,
    address: SocketAddr,
    receiver: Receiver,
}

impl Flow {
    fn start(args: &[&str]) -> Self {
        let receiver = Receiver::start(Behaviour::Accept);
        let mut command = command(&["orders", "--listen", "127.0.0.1:0"]);
        command.args(args).env("OTEL_EXPORTER_OTLP_ENDPOINT", receiver.endpoint());
        command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf").env("OTEL_METRIC_EXPORT_INTERVAL", "200");
        let mut child = command.spawn().unwrap();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        let address = line.trim().rsplit_once(' ').unwrap().1.parse().unwrap_or_else(|_| panic!("{line}"));
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Self { child, address, receiver }
    }

    fn ask(&self, method: &str, path: &str, body: &str) -> (u16, Value) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        let length = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: orders\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
        )
        .unwrap();
        let mut text = String::new();
        stream.read_to_string(&mut text).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), serde_json::from_str(body).unwrap())
    }

    /// The program to its end, in order.
    fn stop(&mut self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        assert!(self.child.wait().unwrap().success());
    }

    /// By order, the events that came of it.
    fn orders(&self) -> BTreeMap<String, Vec<LogRecord>> {
        let mut orders: BTreeMap<String, Vec<LogRecord>> = BTreeMap::new();
        for (_, record) in self.receiver.service_records() {
            if let Some(id) = attribute(&record.attributes, "order.id") {
                orders.entry(id).or_default().push(record);
            }
        }
        orders
    }

    /// The last value of the sum of a metric's series whose labels have these.
    fn metric(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut metrics = self.receiver.metrics().into_iter().filter(|metric| metric.name == name);
        let points = metrics.next_back().map(|metric| match metric.data.unwrap() {
            metric::Data::Gauge(gauge) => gauge.data_points,
            metric::Data::Sum(sum) => sum.data_points,
            other => panic!("{other:?}"),
        })?;
        let fits = points.iter().filter(|point| {
            labels.iter().all(|(key, value)| attribute(&point.attributes, key).as_deref() == Some(value))
        });
        let values = fits.map(|point| match point.value.unwrap() {
            number_data_point::Value::AsDouble(value) => value,
            number_data_point::Value::AsInt(value) => value as f64,
        });
        Some(values.sum())
    }
}

impl Drop for Flow {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The names of an order's events, in time.
fn names(records: &[LogRecord]) -> Vec<&str> {
    let mut records: Vec<_> = records.iter().filter(|record| !record.event_name.is_empty()).collect();
    records.sort_by_key(|record| record.time_unix_nano);
    records.iter().map(|record| record.event_name.as_str()).collect()
}

fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_healthy_order_is_seen_at_all_six_points_by_its_services() {
    let args = ["--markets", "at,de", "--rate", "20", "--duration", "2s"];
    let mut flow = Flow::start(&[&args[..], &PLAIN].concat());
    assert!(flow.child.wait().unwrap().success());
    let orders = flow.orders();
    assert!(orders.len() > 40, "{}", orders.len());
    for (id, records) in &orders {
        assert_eq!(BTreeSet::from_iter(names(records)), BTreeSet::from(POINTS), "{id}");
        let traces: BTreeSet<_> = records.iter().map(|record| record.trace_id.clone()).collect();
        assert_eq!(traces.len(), 1, "one trace for {id}");
        for record in records {
            assert_eq!(attribute(&record.attributes, "order.kind").as_deref(), Some("business"));
            let market = attribute(&record.attributes, "order.market").unwrap();
            assert!(attribute(&record.attributes, "order.restaurant").unwrap().starts_with(&market));
        }
        let of = |event: &str, key: &str| {
            let record = records.iter().find(|record| record.event_name == event).unwrap();
            attribute(&record.attributes, key)
        };
        let partition = "messaging.destination.partition.id";
        assert!(of("order.stored", partition).is_some());
        assert_eq!(of("order.stored", partition), of("order.acked", partition));
        assert!(of("order.captured", "order.amount").unwrap().parse::<f64>().unwrap() > 0.0);
    }
    let mut services = BTreeMap::new();
    for (service, record) in flow.receiver.service_records() {
        services.entry(record.event_name).or_insert_with(BTreeSet::new).insert(service);
    }
    let told = |event: &str| services[event].iter().map(String::as_str).collect::<Vec<_>>();
    assert_eq!(told("order.captured"), ["payment-provider"]);
    assert_eq!(told("order.stored"), ["order-service"]);
    assert_eq!(told("order.appended"), ["order-broker"]);
    assert_eq!(told("order.tablet_acked"), ["restaurant-service"]);
    assert_eq!(services["order.heartbeat"].len(), 5);
    // Counts, spans and events are of the same orders.
    for name in ["orders_charged_total", "orders_stored_total", "orders_restaurant_acked_total"] {
        assert_eq!(flow.metric(name, &[]), Some(orders.len() as f64), "{name}");
    }
    let spans = flow.receiver.spans();
    for (name, each) in [("POST /orders", 2), ("charge", 1), ("capture", 1), ("push to tablet", 1)] {
        assert_eq!(spans.iter().filter(|span| span.name == name).count(), each * orders.len(), "{name}");
    }
}

#[test]
fn each_fault_takes_orders_away_behind_its_point_and_all_that_is_watched_stays_green() {
    let sums = |flow: &Flow, name: &str, labels: &[(&str, &str)]| flow.metric(name, labels).unwrap();
    for (fault, last_point) in [
        ("ack-before-store", 4),
        ("publish-to-nowhere", 2),
        ("foreign-reader", 3),
        ("lost-before-broker", 2),
        ("dedup-poisoned", 4),
    ] {
        let args = ["--markets", "at,de", "--rate", "40", "--fault", fault, "--fault-market", "at"];
        let mut flow = Flow::start(&[&args[..], &PLAIN].concat());
        let charged = |flow: &Flow| flow.metric("orders_charged_total", &[("market", "at")]).unwrap_or(0.0);
        until("orders are charged", || charged(&flow) >= 40.0);
        // Right in the middle of it.
        let pending = sums(&flow, "broker_pending_messages", &[("market", "at")]);
        assert!(pending <= 3.0, "{fault}: {pending} messages are pending");
        assert!(sums(&flow, "service_cpu_utilization_ratio", &[]) < 0.5);
        flow.stop();
        let mut lost = 0;
        for (id, records) in flow.orders() {
            let names = names(&records);
            let is_hit = attribute(&records[0].attributes, "order.market").as_deref() == Some("at");
            let seen = if is_hit { last_point } else { 6 };
            let points: BTreeSet<_> = names.iter().copied().filter(|name| POINTS.contains(name)).collect();
            assert_eq!(points, BTreeSet::from_iter(POINTS[..seen].iter().copied()), "{fault}: {id}");
            // A flow that has ended owes nobody.
            assert_eq!(names.contains(&"order.refunded"), is_hit, "{fault}: {id}");
            lost += usize::from(is_hit);
        }
        assert!(lost >= 40, "{fault}: {lost}");
        assert_eq!(
            sums(&flow, "gateway_requests_total", &[]),
            sums(&flow, "gateway_requests_total", &[("status_code", "201")]),
            "{fault}: every answer is 201"
        );
        let at = [("market", "at")];
        let lost = lost as f64;
        let fetched = sums(&flow, "order_consumer_fetched_total", &at);
        let settled = sums(&flow, "order_consumer_settled_total", &at);
        let rows = sums(&flow, "order_producer_rows_total", &at);
        let confirmed = sums(&flow, "order_producer_confirmed_total", &at);
        let ends = sums(&flow, "broker_log_end_offset", &at);
        let signs = [
            fetched - settled,
            sums(&flow, "broker_unroutable_total", &at),
            sums(&flow, "broker_delivered_total", &[("market", "at"), ("client", "orders-debug")]),
            rows - confirmed,
            sums(&flow, "order_consumer_settled_total", &[("market", "at"), ("result", "deduplicated")]),
        ];
        let faults = [
            "ack-before-store",
            "publish-to-nowhere",
            "foreign-reader",
            "lost-before-broker",
            "dedup-poisoned",
        ];
        assert_eq!(
            signs,
            faults.map(|of| if of == fault { lost } else { 0.0 }),
            "{fault}: its own sign, no other"
        );
        assert_eq!(confirmed - ends, if fault == "publish-to-nowhere" { lost } else { 0.0 }, "{fault}");
    }
}

#[test]
fn a_share_is_switched_while_it_runs_and_a_refund_settles_what_is_lost() {
    let mut flow = Flow::start(&[&["--markets", "at", "--rate", "100"], &PLAIN[..]].concat());
    let (status, answer) = flow.ask("POST", "/admin/fault", r#"{"fault":"lost-before-broker","share":0.5}"#);
    let on = json!({"faults": [{"market": "at", "fault": "lost-before-broker", "share": 0.5}]});
    assert_eq!((status, &answer), (200, &on));
    std::thread::sleep(Duration::from_secs(3));
    let (status, answer) = flow.ask("POST", "/admin/fault", r#"{"fault":"lost-before-broker","share":0}"#);
    assert_eq!((status, answer), (200, json!({"faults": []})));
    std::thread::sleep(Duration::from_secs(5));
    let (status, answer) = flow.ask("POST", "/admin/refund", r#"{"market":"at","older_than_seconds":5}"#);
    assert_eq!(status, 200);
    let refunded = answer["refunded"].as_u64().unwrap();
    flow.stop();
    let orders = flow.orders();
    let lost: Vec<_> =
        orders.values().filter(|records| !names(records).contains(&"order.appended")).collect();
    assert!((60..300).contains(&lost.len()), "{} of about 300", lost.len());
    assert!(lost.iter().all(|records| names(records).contains(&"order.refunded")));
    // On a busy machine some that are only slow are old enough as well, and are told as refunded too.
    let told = orders.values().filter(|records| names(records).contains(&"order.refunded")).count();
    assert!(
        (lost.len()..=told).contains(&(refunded as usize)),
        "{refunded} of {} lost, {told} told",
        lost.len()
    );
}

#[test]
fn what_happens_to_orders_and_to_what_is_told_of_them_happens() {
    let args = [
        "--markets",
        "at",
        "--rate",
        "100",
        "--duration",
        "3s",
        "--cancelled-share",
        "0.1",
        "--refunded-share",
        "0.1",
        "--rejected-share",
        "0.1",
        "--scheduled-share",
        "0.2",
        "--late-share",
        "0.2",
        "--late-by",
        "1h",
        "--duplicated-share",
        "0.2",
        "--skew",
        "restaurant-service=60s",
        "--skew",
        "payment-provider=-60s",
    ];
    let mut flow = Flow::start(&args);
    assert!(flow.child.wait().unwrap().success());
    let orders = flow.orders();
    let count = |event: &str| orders.values().filter(|records| names(records).contains(&event)).count();
    for event in ["order.cancelled", "order.rejected", "order.refunded", "order.captured", "order.stored"] {
        assert!(count(event) > 10, "{event}: {}", count(event));
    }
    let has_due = |records: &&Vec<LogRecord>| {
        records.iter().any(|record| attribute(&record.attributes, "order.due_at").is_some())
    };
    assert!(orders.values().filter(has_due).count() > 20);
    let is_twice = |records: &&Vec<LogRecord>| {
        let names = names(records);
        names.len() > BTreeSet::from_iter(&names).len()
    };
    assert!(orders.values().filter(is_twice).count() > 20);
    // What would be told in an hour is told at the end, with the time at which it was.
    assert_eq!(count("order.captured"), orders.len());
    for records in orders.values() {
        let at = |event: &str| {
            records
                .iter()
                .find(|record| record.event_name == event)
                .map(|record| record.time_unix_nano / 1_000_000_000)
        };
        let (Some(captured), Some(acked)) = (at("order.captured"), at("order.acked")) else { continue };
        assert!(
            (119..140).contains(&(acked - captured)),
            "both clocks are a minute wrong: {}",
            acked - captured
        );
    }
}

#[test]
fn a_canary_is_confirmed_and_no_business() {
    let flow = Flow::start(&[&["--markets", "at", "--rate", "0.001"], &PLAIN[..]].concat());
    let target = format!("http://{}", flow.address);
    let mut canary = command(&["orders-canary", "--target", &target, "--markets", "at", "--every", "500ms"]);
    canary
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", flow.receiver.endpoint())
        .env("OTEL_METRIC_EXPORT_INTERVAL", "200");
    let mut canary = canary.spawn().unwrap();
    let confirmed = || flow.metric("canary_order_confirmed_total", &[("market", "at")]).unwrap_or(0.0);
    until("a canary is confirmed", || confirmed() > 0.0);
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    let last = flow.metric("canary_order_last_success_timestamp_seconds", &[]).unwrap();
    assert!((now - last).abs() < 60.0, "{last}");
    canary.kill().unwrap();
    canary.wait().unwrap();
    assert!(
        flow.metric("orders_charged_total", &[]).unwrap() <= 1.0,
        "nothing but the first order is business"
    );
    let (status, _) = flow.ask("GET", "/orders/none", "");
    assert_eq!(status, 404);
}

#[test]
fn what_cannot_be_done_is_refused_with_the_remedy() {
    let flow = Flow::start(&["--markets", "at", "--rate", "0.001"]);
    for (path, body, words) in [
        ("/orders", r#"{"market":"mars"}"#, "there is no market `mars`; known are at"),
        ("/orders", "hello", "the body cannot be used"),
        ("/admin/fault", r#"{"fault":"gremlins","share":1}"#, "there is no fault `gremlins`; known are"),
        ("/admin/fault", r#"{"fault":"dedup-poisoned","share":5}"#, "share 5 is not between 0 and 1"),
        ("/admin/refund", r#"{"market":"at"}"#, "missing field `older_than_seconds`"),
    ] {
        let (status, answer) = flow.ask("POST", path, body);
        assert_eq!(status, 400, "{body}");
        assert!(answer["error"].as_str().unwrap().contains(words), "{answer}");
    }
    for (args, words) in [
        (&["orders", "--markets", "AT"][..], "`AT` is no market"),
        (&["orders", "--fault", "gremlins"], "there is no fault `gremlins`"),
        (&["orders", "--partitions", "17"], "17"),
        (&["orders", "--fault-share", "0.5"], "--fault"),
        (
            &["orders", "--listen", "127.0.0.1:0", "--fault", "dedup-poisoned", "--fault-market", "mars"],
            "`mars`",
        ),
    ] {
        let output = run(command(args));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(words), "{args:?}: {text}");
    }
}
