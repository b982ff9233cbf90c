//! Series that a hub derives, on a real broker, a real ClickHouse and a real Mimir: PromQL says what SQL says.

use std::{
    collections::BTreeMap,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use devstack::{Part, Stack, StackOptions};
use hub_consumer::config::HubConfig;
use prost::Message as _;
use rustix::process::{Pid, Signal as ProcessSignal, kill_process};
use telemetry_wire::{Signal, fixtures::menu::Menu};
use tokio::time::sleep;

use crate::{
    database::Database,
    line::{Hub, Line, eventually},
};

const ROUTE_OF_LINE: &str = "multiIf(LogAttributes['path'] = '/api/menu', '/api/menu', \
     startsWith(LogAttributes['path'], '/api/menu/'), '/api/menu/{id}', LogAttributes['path'] = '/health', '/health', 'other')";
const IS_REQUEST: &str = "ServiceName = 'mock-service' AND mapContains(LogAttributes, 'path') AND \
     toFloat64OrNull(LogAttributes['status_code']) >= 1";
const CLASS: &str = "concat(substring(LogAttributes['status_code'], 1, 1), 'xx')";

/// A tenant that no other test has.
fn tenant() -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("derive-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos() as u64
}

/// Telemetry of the last minute.
fn menu(seed: u64) -> Menu {
    Menu::new(seed).starting_at(now() - 60_000_000_000)
}

/// Settings under which a hub pushes to this Mimir every second.
fn settings(mimir: &str, tenant: &str) -> String {
    format!(
        "mimir: {{url: '{mimir}', tenant: {tenant}}}\nderive: {{enabled: true, interval: 1s}}\nblocks: {{max_age: 50ms, max_rows: 50}}\n"
    )
}

/// One Mimir and one of its tenants.
struct Asked {
    url: String,
    tenant: String,
}

impl Asked {
    async fn get(&self, path: &str, query: &[(&str, String)]) -> serde_json::Value {
        let url = format!("{}/prometheus/api/v1/{path}", self.url);
        let request = reqwest::Client::new().get(url).query(query).header("X-Scope-OrgID", &self.tenant);
        let text = request.send().await.unwrap().text().await.unwrap();
        serde_json::from_str(&text).unwrap_or_else(|_| panic!("{text}"))
    }

    /// The values of an instant query, by the values of its labels in the order of their names.
    async fn ask(&self, query: &str) -> BTreeMap<String, f64> {
        let answer = self.get("query", &[("query", query.to_owned())]).await;
        let series = answer["data"]["result"].as_array().unwrap_or_else(|| panic!("{answer}"));
        let key = |labels: &serde_json::Value| {
            let values = labels.as_object().unwrap().values().map(|value| value.as_str().unwrap());
            values.collect::<Vec<_>>().join(" ")
        };
        let value = |series: &serde_json::Value| series["value"][1].as_str().unwrap().parse().unwrap();
        series.iter().map(|series| (key(&series["metric"]), value(series))).collect()
    }

    /// Waits until a query answers so, and says what it answered at last.
    async fn wait_for(&self, query: &str, expected: &BTreeMap<String, f64>) {
        let mut last = BTreeMap::new();
        for _ in 0..300 {
            last = self.ask(query).await;
            if last == *expected {
                return;
            }
            sleep(Duration::from_millis(200)).await;
        }
        assert_eq!(last, *expected, "{query}");
    }
}

/// The counts of a statement, by its first column.
async fn by_sql(database: &Database, sql: &str) -> BTreeMap<String, f64> {
    let rows = database.query(&format!("{sql} FORMAT TSV")).await;
    let row = |line: &str| {
        let (key, count) = line.rsplit_once('\t').unwrap();
        (key.to_owned(), count.parse().unwrap())
    };
    rows.lines().map(row).collect()
}

/// Lines and spans of the Menu API with what is unusual in them, stored by one hub that counts both.
struct Stored {
    logs: Line,
    traces: Line,
    database: Database,
    mimir: Asked,
}

impl Stored {
    async fn new() -> Stored {
        let (logs, traces) = (Line::new(Signal::Logs, 2).await, Line::new(Signal::Traces, 2).await);
        let database = Database::migrated().await;
        let mimir = Asked { url: devstack::shared().mimir_url.clone(), tenant: tenant() };
        Stored { logs, traces, database, mimir }
    }

    /// A hub of both lines.
    fn config(&self, settings: &str) -> HubConfig {
        let mut config = self.logs.table_config(&self.database.config, settings);
        config.signals.extend(self.traces.table_config(&self.database.config, settings).signals);
        config
    }

    fn settings(&self) -> String {
        settings(&self.mimir.url, &self.mimir.tenant)
    }

    /// So many requests of 7 lines and of 5 spans, and one of 4 unusual lines.
    async fn send(&self, menu: &mut Menu, requests: usize) {
        self.logs.send(0, &unusual(menu), &[]).await;
        for number in 0..requests {
            let partition = number as i32 % 2;
            self.logs.send(partition, &menu.lines(7).encode_to_vec(), &[]).await;
            self.traces.send(partition, &menu.spans(5).encode_to_vec(), &[]).await;
        }
    }

    async fn wait_until_stored(&self) {
        self.logs.wait_until_committed().await;
        self.traces.wait_until_committed().await;
    }

    /// Every metric is what SQL says it is.
    async fn compare(&self) {
        for (promql, sql) in [
            (
                "sum by (route, status, status_class) (menu_requests_total)".to_owned(),
                format!(
                    "SELECT concat({ROUTE_OF_LINE}, ' ', LogAttributes['status_code'], ' ', {CLASS}) AS k, count() \
                     FROM {{db}}.otel_logs WHERE {IS_REQUEST} GROUP BY k"
                ),
            ),
            (
                "sum by (route, service, status_class) (menu_request_duration_seconds_count)".to_owned(),
                format!(
                    "SELECT concat({ROUTE_OF_LINE}, ' ', ServiceName, ' ', {CLASS}) AS k, count() \
                     FROM {{db}}.otel_logs WHERE {IS_REQUEST} GROUP BY k"
                ),
            ),
            (
                "sum by (le) (menu_request_duration_seconds_bucket{le=\"0.001\"})".to_owned(),
                format!(
                    "SELECT '0.001', countIf(toFloat64(LogAttributes['duration_ms']) * 0.001 <= 0.001) \
                     FROM {{db}}.otel_logs WHERE {IS_REQUEST}"
                ),
            ),
            (
                "sum by (error, route) (menu_failures_total)".to_owned(),
                format!(
                    "SELECT concat(LogAttributes['error'], ' ', {ROUTE_OF_LINE}) AS k, count() FROM {{db}}.otel_logs \
                     WHERE {IS_REQUEST} AND mapContains(LogAttributes, 'error') GROUP BY k"
                ),
            ),
            (
                "sum by (service) (menu_service_starts_total)".to_owned(),
                "SELECT ServiceName, count() FROM {db}.otel_logs WHERE ServiceName = 'mock-service' AND \
                 toFloat64OrNull(LogAttributes['status_code']) = 0 AND startsWith(LogAttributes['message'], 'Starting server') \
                 GROUP BY ServiceName"
                    .to_owned(),
            ),
            (
                "sum by (parsed) (menu_log_lines_total)".to_owned(),
                "SELECT if(startsWith(trimLeft(Body), '{') AND NOT mapContains(LogAttributes, 'parse_error'), 'true', 'false') AS k, \
                 count() FROM {db}.otel_logs WHERE ServiceName = 'mock-service' AND mapContains(LogAttributes, 'log.iostream') \
                 GROUP BY k"
                    .to_owned(),
            ),
            (
                "sum by (route, span_kind, status_class) (span_duration_seconds_count)".to_owned(),
                "SELECT concat(SpanAttributes['http.route'], ' ', lower(SpanKind), ' ', \
                 substring(SpanAttributes['http.response.status_code'], 1, 1), 'xx') AS k, count() FROM {db}.otel_traces \
                 WHERE SpanKind IN ('Server', 'Consumer') GROUP BY k"
                    .to_owned(),
            ),
        ] {
            let expected = by_sql(&self.database, &sql).await;
            assert!(!expected.is_empty(), "{sql}");
            self.mimir.wait_for(&promql, &expected).await;
        }
        let seconds = |sums: BTreeMap<String, f64>| sums.into_values().sum::<f64>();
        let by_promql = seconds(self.mimir.ask("sum(span_duration_seconds_sum)").await);
        let by_sql = seconds(
            by_sql(
                &self.database,
                "SELECT '', sum(Duration) / 1e9 FROM {db}.otel_traces WHERE SpanKind = 'Server'",
            )
            .await,
        );
        assert!((by_promql - by_sql).abs() < 1e-9 * by_sql, "{by_promql} {by_sql}");
    }
}

/// A start, a line that is no JSON, one that is half of one, and one whose status is no number.
fn unusual(menu: &mut Menu) -> Vec<u8> {
    use opentelemetry_proto::tonic::common::v1::{AnyValue, any_value::Value};
    let text = |text: &str| Some(AnyValue { value: Some(Value::StringValue(text.to_owned())) });
    let answer = menu.answer();
    let mut lines: Vec<_> = (0..4).map(|_| menu.line(&answer)).collect();
    for attribute in &mut lines[0].attributes {
        match attribute.key.as_str() {
            "status_code" => attribute.value = Some(AnyValue { value: Some(Value::IntValue(0)) }),
            "message" => attribute.value = text("Starting server on :8080"),
            "path" => attribute.value = text(""),
            _ => {}
        }
    }
    for (line, body) in [(1, "panic: \"oh\"})) {{"), (2, "{\"half")] {
        lines[line].body = text(body);
        lines[line].attributes.retain(|attribute| attribute.key == "log.iostream");
    }
    lines[2].attributes.push(opentelemetry_proto::tonic::common::v1::KeyValue {
        key: "parse_error".to_owned(),
        value: text("EOF"),
        ..Default::default()
    });
    let status = lines[3].attributes.iter_mut().find(|attribute| attribute.key == "status_code").unwrap();
    status.value = text("unknown");
    telemetry_wire::fixtures::menu::request_of(lines).encode_to_vec()
}

#[tokio::test(flavor = "multi_thread")]
async fn promql_says_what_sql_says_and_exemplars_lead_to_stored_traces() {
    let stored = Stored::new().await;
    let mut menu = menu(1);
    let hub = Hub::ready(stored.config(&stored.settings())).await;
    stored.send(&mut menu, 40).await;
    stored.wait_until_stored().await;
    stored.compare().await;
    assert_eq!(hub.metric("hub_derive_bad_values_total", "menu_requests_total"), 1.0);
    assert_eq!(hub.metric("hub_derive_overflow_total", ""), 0.0);
    assert_eq!(hub.metric("hub_derive_counted_records_total", "logs"), 284.0);
    assert_eq!(hub.metric("hub_derive_counted_records_total", "traces"), 200.0);
    assert!(hub.metric("hub_derive_pushes_total", "stored") >= 1.0);
    assert_eq!(hub.metric("hub_derive_pushes_total", "partial"), 0.0, "no sample is refused");
    assert!(now() as f64 / 1e9 - hub.metric("hub_derive_last_push_timestamp_seconds", "") < 30.0);

    // More of the same: totals grow, and exemplars that are older than those sent do no harm.
    stored.send(&mut menu, 10).await;
    stored.wait_until_stored().await;
    stored.compare().await;
    hub.stop().await;

    for (metric, table) in
        [("menu_request_duration_seconds", "otel_logs"), ("span_duration_seconds", "otel_traces")]
    {
        let start = (now() / 1_000_000_000 - 600).to_string();
        let end = (now() / 1_000_000_000 + 600).to_string();
        let query = [("query", format!("{metric}_bucket")), ("start", start), ("end", end)];
        let answer = stored.mimir.get("query_exemplars", &query).await;
        let exemplars: Vec<_> = answer["data"]
            .as_array()
            .unwrap_or_else(|| panic!("{answer}"))
            .iter()
            .flat_map(|series| series["exemplars"].as_array().unwrap())
            .collect();
        assert!(!exemplars.is_empty(), "{metric}: {answer}");
        let ids: Vec<_> = exemplars
            .iter()
            .map(|one| format!("'{}'", one["labels"]["trace_id"].as_str().unwrap()))
            .collect();
        let known =
            format!("SELECT uniqExact(TraceId) FROM {{db}}.{table} WHERE TraceId IN ({})", ids.join(", "));
        let different: std::collections::BTreeSet<_> = ids.iter().collect();
        assert_eq!(stored.database.query(&known).await.trim(), different.len().to_string(), "{metric}");
        assert_eq!(exemplars[0]["labels"]["span_id"].as_str().unwrap().len(), 16);
    }
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_sees_the_first_increment_and_a_hub_that_ends_pushes_once_more() {
    let stored = Stored::new().await;
    // Nothing but the last push can have brought it.
    let rarely = stored.settings().replace("interval: 1s", "interval: 2m");
    let hub = Hub::ready(stored.config(&rarely)).await;
    stored.send(&mut menu(2), 20).await;
    stored.wait_until_stored().await;
    hub.stop().await;
    stored.compare().await;
    let lines = BTreeMap::from([(String::new(), 144.0)]);
    stored.mimir.wait_for("sum(menu_log_lines_total)", &lines).await;
    stored
        .mimir
        .wait_for("sum(min_over_time(menu_log_lines_total[10m]))", &BTreeMap::from([(String::new(), 0.0)]))
        .await;
    // The difference, without extrapolation.
    let grown = "sum(max_over_time(menu_log_lines_total[10m]) - min_over_time(menu_log_lines_total[10m]))";
    stored.mimir.wait_for(grown, &lines).await;
    let service = stored.mimir.ask("count by (job) (menu_log_lines_total)").await;
    assert_eq!(service.into_keys().collect::<Vec<_>>(), ["hub-consumer"]);
    stored.database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn while_mimir_is_away_everything_is_stored_and_no_increment_is_lost() {
    let stack = tokio::task::spawn_blocking(|| Stack::up(StackOptions::own(&[Part::Mimir])));
    let stack = stack.await.unwrap().unwrap();
    let mut stored = Stored::new().await;
    stored.mimir = Asked { url: stack.endpoints().mimir_url.clone(), tenant: tenant() };
    let hub = Hub::ready(stored.config(&stored.settings())).await;
    let mut menu = menu(3);
    // Most label sets are new when Mimir is away.
    stored.logs.send(0, &unusual(&mut menu), &[]).await;
    stored.mimir.wait_for("sum(menu_log_lines_total)", &BTreeMap::from([(String::new(), 4.0)])).await;

    let server = stack.mimir().clone();
    tokio::task::spawn_blocking(move || server.stop()).await.unwrap().unwrap();
    eventually("a push fails", async || hub.metric("hub_derive_pushes_total", "failed") >= 2.0).await;
    stored.send(&mut menu, 20).await;
    stored.wait_until_stored().await;
    assert!(hub.runtime.readiness().is_ready(), "nothing else is the worse for it");
    let degraded = hub.runtime.readiness().report().into_iter().find(|state| state.name == "derive").unwrap();
    assert_eq!(degraded.holding.to_string(), "degraded: derived metrics are not stored");

    let server = stack.mimir().clone();
    tokio::task::spawn_blocking(move || server.start()).await.unwrap().unwrap();
    stored.compare().await;
    assert_eq!(hub.metric("hub_derive_pushes_total", "partial"), 0.0, "no sample is refused");
    hub.stop().await;
    stored.database.drop().await;
}

/// The program with a configuration of its own.
fn program(folder: &std::path::Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_hub-consumer"));
    command.args(["run", "--config", "hub.yaml"]).current_dir(folder);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn hubs_that_are_killed_count_nothing_twice() {
    let (line, database) = (Line::new(Signal::Logs, 2).await, Database::migrated().await);
    let mimir = Asked { url: devstack::shared().mimir_url.clone(), tenant: tenant() };
    let folder = tempfile::tempdir().unwrap();
    let more = settings(&mimir.url, &mimir.tenant) + "admin: {listen: '127.0.0.1:0'}\n";
    // A killed hub's partitions are given away soon.
    let consumer = "kafka: {consumer: {session_timeout: 6s}, brokers";
    let yaml = line.yaml(&database.config, &more).replace("kafka: {brokers", consumer);
    std::fs::write(folder.path().join("hub.yaml"), yaml).unwrap();
    let mut menu = menu(4);
    let mut sent = 0;
    for _ in 0..2 {
        let mut hub = program(folder.path()).spawn().unwrap();
        let rows = async || -> usize {
            database.query("SELECT count() FROM {db}.otel_logs").await.trim().parse().unwrap()
        };
        // Always in the middle of something: blocks are small, and records come all the time.
        let until = rows().await + 1500;
        while rows().await < until {
            line.send(sent % 2, &menu.lines(10).encode_to_vec(), &[]).await;
            sent += 1;
        }
        hub.kill().unwrap();
        hub.wait().unwrap();
    }
    let mut hub = program(folder.path()).spawn().unwrap();
    line.wait_until_committed().await;
    kill_process(Pid::from_child(&hub), ProcessSignal::TERM).unwrap();
    assert!(hub.wait().unwrap().success());

    let sql = format!(
        "SELECT concat({ROUTE_OF_LINE}, ' ', LogAttributes['status_code']) AS k, count() FROM {{db}}.otel_logs WHERE {IS_REQUEST} GROUP BY k"
    );
    let rows = by_sql(&database, &sql).await;
    let stored: f64 = rows.values().sum();
    assert_eq!(stored, f64::from(sent) * 10.0, "every line is stored once");
    let counted = mimir.ask("sum by (route, status) (last_over_time(menu_requests_total[1h]))").await;
    for (labels, count) in &counted {
        assert!(*count <= rows[labels], "{labels}: {count} of {}", rows[labels]);
    }
    let counted: f64 = counted.values().sum();
    eprintln!("{counted} of {stored} lines are counted after two kills");
    assert!(counted > 0.0);
    let hubs = mimir.ask("count(count by (instance) (last_over_time(menu_requests_total[1h])))").await;
    assert!(hubs[""] >= 2.0, "each process has an identity of its own: {hubs:?}");
    database.drop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rule_file_with_mistakes_is_refused_with_all_of_them() {
    let (line, database) = (Line::without_topics(Signal::Logs), Database::unused());
    let folder = tempfile::tempdir().unwrap();
    let rules = "
rules:
  - {name: a_total, help: Counts., from: logs, kind: counter, labels: {item: {attribute: menu_item_id}}}
  - {name: b, help: Counts., from: logs, kind: counter, color: red}
  - {name: a_total, help: Counts., from: logs, kind: counter}
";
    std::fs::write(folder.path().join("rules.yaml"), rules).unwrap();
    let more = "derive: {enabled: true, rules_file: rules.yaml, interval: 1h}\n";
    std::fs::write(folder.path().join("hub.yaml"), line.yaml(&database.config, more)).unwrap();
    let check = || program(folder.path()).arg("--check-config").stderr(Stdio::piped()).output().unwrap();
    let refused = check();
    let told = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(64), "{told}");
    for line in [
        "derive.interval: is out of range; give 1s to 2m",
        "derive.rules_file: rules.yaml: rules[0].labels.item: has no bound; give `one_of`, `map` or `class`",
        "derive.rules_file: rules.yaml: rules[1].name: is a counter whose name does not end in `_total`; name it `b_total`",
        "derive.rules_file: rules.yaml: rules[1].color: is an unknown field; known here: ",
        "derive.rules_file: rules.yaml: rules[2].name: makes the series `a_total`, which rules[0] makes too; give it a name of its own",
        "mimir.url: is required and missing",
    ] {
        assert!(told.lines().any(|found| found.starts_with(line)), "`{line}` is not among\n{told}");
    }
    assert_eq!(told.lines().count(), 6, "{told}");
    std::fs::write(folder.path().join("rules.yaml"), hub_consumer::derive::rules::SHIPPED).unwrap();
    let more = "mimir: {url: 'http://127.0.0.1:1'}\nderive: {enabled: true, rules_file: rules.yaml}\n";
    std::fs::write(folder.path().join("hub.yaml"), line.yaml(&database.config, more)).unwrap();
    assert_eq!(check().status.code(), Some(0));
}
