//! `hub-consumer reconcile` on a recorded flow in a real table: what is late, doubled, out of order, told by a wrong clock, cancelled,
//! refunded, rejected or for tomorrow is not lost, and what is lost is, once, across restarts.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::process::{Command, Output};

use jiff::Timestamp;

use crate::database::Database;

const POINTS: [&str; 6] = ["captured", "stored", "appended", "acked", "saved", "tablet_acked"];

/// Rows of the table of log records, as the hub writes them.
#[derive(Default)]
struct Recorded {
    rows: Vec<serde_json::Value>,
    now: i64,
}

impl Recorded {
    fn new() -> Self {
        Self { rows: Vec::new(), now: Timestamp::now().as_second() }
    }

    /// An event that its service says to have happened so many seconds ago, and that Kafka had so many seconds ago.
    fn event(&mut self, id: &str, event: &str, own_ago: i64, received_ago: i64) {
        self.event_with(id, event, own_ago, received_ago, &[("order.kind", "business")]);
    }

    fn event_with(&mut self, id: &str, event: &str, own_ago: i64, received_ago: i64, more: &[(&str, &str)]) {
        let service = match event {
            "captured" => "payment-provider",
            "stored" | "cancelled" | "refunded" => "order-service",
            "appended" => "order-broker",
            _ => "restaurant-service",
        };
        let mut attributes = BTreeMap::from([
            ("order.id", id),
            ("order.market", "at"),
            ("order.restaurant", "at-r1"),
            ("messaging.destination.partition.id", "3"),
        ]);
        attributes.extend(more.iter().copied());
        self.row(service, &format!("order.{event}"), own_ago, received_ago, &attributes);
    }

    fn row(
        &mut self,
        service: &str,
        event: &str,
        own_ago: i64,
        received_ago: i64,
        attributes: &BTreeMap<&str, &str>,
    ) {
        let number = self.rows.len();
        self.rows.push(serde_json::json!({
            "Timestamp": self.now - own_ago,
            "ServiceName": service,
            "EventName": event,
            "LogAttributes": attributes,
            "source_topic": "telemetry.logs",
            // Partitions in turn, so that what belongs together does not come together.
            "source_partition": number % 3,
            "source_offset": number / 3 + 1_000_000,
            "received_at": self.now - received_ago,
        }));
    }

    /// The way of an order, a second for each point, as far as this many points.
    fn order(&mut self, id: &str, captured_ago: i64, points: usize) {
        for (step, point) in (0..).zip(&POINTS[..points]) {
            self.event(id, point, captured_ago - step, captured_ago - step);
        }
    }

    /// Every service is there until so many seconds ago.
    fn heartbeats(&mut self, ago: i64) {
        for service in ["gateway", "order-service", "payment-provider", "order-broker", "restaurant-service"]
        {
            self.row(service, "order.heartbeat", ago, ago, &BTreeMap::new());
        }
    }

    /// Inserts what was recorded since the last time.
    async fn insert(&mut self, database: &Database, from: usize) -> usize {
        let mut rows = String::new();
        for row in &self.rows[from..] {
            writeln!(rows, "{row}").unwrap();
        }
        database.query(&format!("INSERT INTO {{db}}.otel_logs FORMAT JSONEachRow\n{rows}")).await;
        self.rows.len()
    }
}

fn reconcile(database: &Database, args: &[&str]) -> Output {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hub.yaml");
    let (url, name) = (database.config.http.url(), &database.config.database);
    std::fs::write(&path, format!("clickhouse: {{url: '{url}', database: {name}}}\n")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_hub-consumer"));
    command.args(["reconcile", "--config"]).arg(&path).args(args).output().unwrap()
}

/// What `--once` prints: orders by outcome.
fn sums(database: &Database) -> BTreeMap<String, u64> {
    let output = reconcile(database, &["--once"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}\n{}", String::from_utf8_lossy(&output.stderr));
    let lines = text.lines().filter(|line| line.starts_with("at\tat-r1\t"));
    let fields = lines.map(|line| line.rsplit('\t').collect::<Vec<_>>());
    fields.map(|fields| (fields[1].to_owned(), fields[0].parse().unwrap())).collect()
}

fn expected(sums: &[(&str, u64)]) -> BTreeMap<String, u64> {
    sums.iter().map(|(outcome, orders)| ((*outcome).to_owned(), *orders)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn none_of_what_is_odd_is_lost_and_what_is_lost_is_counted_once() {
    let database = Database::migrated().await;
    let mut flow = Recorded::new();
    // Well: a plain one, one that comes twice and backwards, one whose acknowledgement is told 90 s late.
    flow.order("plain", 600, 6);
    for (step, point) in (0..).zip(POINTS.iter().rev()) {
        flow.event("backwards", point, 595 + step, 595 + step);
        flow.event("backwards", point, 595 + step, 595 + step);
    }
    flow.order("told-late", 600, 5);
    flow.event("told-late", "tablet_acked", 595, 505);
    // A clock that is a minute ahead, one that is a minute behind, and both with an acknowledgement after 100 s.
    for (id, skew) in [("ahead", -60), ("behind", 60)] {
        flow.order(id, 600, 5);
        flow.event(id, "tablet_acked", 500 + skew, 500);
        let charger = if skew < 0 { "charger-ahead" } else { "charger-behind" };
        flow.event(charger, "captured", 600 + skew, 600);
        flow.event(charger, "tablet_acked", 500, 500);
    }
    for (id, event) in [("cancelled", "cancelled"), ("refunded", "refunded"), ("rejected", "rejected")] {
        flow.order(id, 600, 2);
        flow.event(id, event, 590, 590);
    }
    flow.event("cancelled", "refunded", 580, 580);
    flow.event("rejected", "refunded", 580, 580);
    let tomorrow = (Timestamp::now() + jiff::SignedDuration::from_hours(24)).to_string();
    flow.event_with(
        "tomorrow",
        "captured",
        600,
        600,
        &[("order.kind", "business"), ("order.due_at", &tomorrow)],
    );
    // Lost, at every point.
    for points in 1..=5 {
        flow.order(&format!("lost-{points}"), 600, points);
    }
    // Late: the tablet acknowledged after T, and after the outcome was due.
    flow.order("late", 600, 5);
    flow.event("late", "tablet_acked", 470, 470);
    // None of the business, not of an order, not to be read, and not due yet.
    flow.event_with("canary", "captured", 600, 600, &[("order.kind", "canary")]);
    flow.event("", "captured", 600, 600);
    flow.event_with(
        "when",
        "captured",
        600,
        600,
        &[("order.kind", "business"), ("order.due_at", "tomorrow")],
    );
    flow.order("young", 60, 1);
    flow.heartbeats(0);
    let told = flow.insert(&database, 0).await;
    let first = expected(&[
        ("restaurant_acked_in_time", 7),
        ("restaurant_acked_late", 1),
        ("cancelled", 1),
        ("refunded", 1),
        ("rejected", 1),
        ("unconfirmed", 5),
    ]);
    assert_eq!(sums(&database), first);
    let points = "SELECT groupArray(points) FROM (SELECT points FROM {db}.order_outcomes WHERE outcome = 'unconfirmed' ORDER BY order_id)";
    assert_eq!(database.query(points).await.trim(), "[1,3,7,15,31]");

    // A restart counts nothing twice, whatever comes again, and goes on with what is new.
    assert_eq!(sums(&database), first);
    flow.order("plain", 600, 6);
    flow.order("lost-1", 600, 1);
    flow.event("lost-2", "refunded", 30, 30);
    flow.order("young", 60, 1);
    flow.order("another", 200, 1);
    flow.heartbeats(0);
    flow.insert(&database, told).await;
    let mut second = first.clone();
    *second.get_mut("unconfirmed").unwrap() += 1;
    assert_eq!(sums(&database), second);
    let twice = "SELECT count() - uniqExact(order_id) FROM {db}.order_outcomes";
    assert_eq!(database.query(twice).await.trim(), "0");
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_events_are_missing_nothing_is_decided() {
    let database = Database::migrated().await;
    let mut flow = Recorded::new();
    flow.order("lost", 600, 3);
    // The pipeline has stood still since 400 s ago: whether it was lost is not known then.
    flow.heartbeats(590);
    let told = flow.insert(&database, 0).await;
    assert_eq!(sums(&database), BTreeMap::new());
    flow.heartbeats(400);
    flow.insert(&database, told).await;
    assert_eq!(sums(&database), expected(&[("unconfirmed", 1)]));
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_reconciled_says_why() {
    let words = |output: Output| {
        assert!(!output.status.success());
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let database = Database::empty().await;
    let said = words(reconcile(&database, &["--once"]));
    assert!(said.contains("run `hub-consumer migrate` first"), "{said}");
    let said = words(reconcile(&database, &[]));
    assert!(said.contains("set telemetry.otlp_endpoint"), "{said}");
    let said = words(reconcile(&database, &["--once", "--lookback", "60s"]));
    assert!(said.contains("--lookback is not longer than --confirm-within"), "{said}");
    let said = words(reconcile(&database, &["--once", "--every", "soon"]));
    assert!(said.contains("give a time such as"), "{said}");
    database.drop().await;
}
