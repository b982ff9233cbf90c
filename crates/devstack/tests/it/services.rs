//! What the other crates' tests count on in the servers.

use devstack::{Cache, Progress, clickhouse, shared};

use crate::{get, post, request, run};

#[test]
fn clickhouse_has_a_hot_and_a_cold_volume_and_moves_rows_by_ttl() {
    let url = &shared().clickhouse_url;
    let policy = clickhouse::STORAGE_POLICY;
    let (status, error) = post(
        url,
        &format!(
            "CREATE TABLE ttl_test (t DateTime) ENGINE = MergeTree ORDER BY t \
             TTL t + INTERVAL 1 DAY TO VOLUME 'cold' SETTINGS storage_policy = '{policy}'"
        ),
    );
    assert_eq!((status, error.as_str()), (200, ""));
    assert_eq!(post(url, "INSERT INTO ttl_test VALUES (now()), (now() - INTERVAL 2 DAY)").0, 200);
    post(url, "INSERT INTO ttl_test VALUES (now() - INTERVAL 2 DAY)");
    let disks = "SELECT DISTINCT disk_name FROM system.parts WHERE table = 'ttl_test' AND active \
                 ORDER BY disk_name";
    assert_eq!(post(url, disks), (200, "cold\nhot\n".to_owned()));
    post(url, "DROP TABLE ttl_test SYNC");
}

#[test]
fn clickhouse_checks_passwords() {
    let url = &shared().clickhouse_url;
    let ask = |password: &str| {
        let user = clickhouse::PASSWORD_USER;
        request(|client| client.post(url).basic_auth(user, Some(password)).body("SELECT currentUser()"))
    };
    assert_eq!(ask(clickhouse::PASSWORD), (200, format!("{}\n", clickhouse::PASSWORD_USER)));
    let (status, text) = ask("wrong");
    assert!((400..500).contains(&status) && text.contains("AUTHENTICATION_FAILED"), "{status} {text}");
}

#[test]
fn clickhouse_logs_queries_and_serves_metrics_and_its_native_port() {
    let endpoints = shared();
    assert_eq!(post(&endpoints.clickhouse_url, "SELECT 'a query to find'").0, 200);
    post(&endpoints.clickhouse_url, "SYSTEM FLUSH LOGS");
    let count = "SELECT count() > 0 FROM system.query_log WHERE query LIKE 'SELECT \\'a query to find%'";
    assert_eq!(post(&endpoints.clickhouse_url, count), (200, "1\n".to_owned()));
    let (status, metrics) = get(&format!("{}/metrics", endpoints.clickhouse_url));
    assert!(status == 200 && metrics.contains("ClickHouseMetrics_Query"), "{status}");
    std::net::TcpStream::connect(&endpoints.clickhouse_native).unwrap();
}

#[test]
fn mimir_takes_otlp_and_answers_promql_and_keeps_tenants_apart() {
    let url = &shared().mimir_url;
    // One gauge, in the JSON form of OTLP.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let point = format!(r#"{{"asDouble":42,"timeUnixNano":"{now}"}}"#);
    let metric = format!(r#"{{"name":"devstack_test_gauge","gauge":{{"dataPoints":[{point}]}}}}"#);
    let body = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#);
    let (status, text) = request(|client| {
        let post = client.post(format!("{url}/otlp/v1/metrics"));
        post.header("content-type", "application/json").header("X-Scope-OrgID", "one").body(body)
    });
    assert_eq!(status, 200, "{text}");
    let ask = |tenant: &str| {
        let query = format!("{url}/prometheus/api/v1/query?query=devstack_test_gauge");
        request(|client| client.get(query).header("X-Scope-OrgID", tenant))
    };
    let (status, answer) = ask("one");
    assert!(status == 200 && answer.contains(r#""42""#), "{answer}");
    let (status, answer) = ask("another");
    assert!(status == 200 && !answer.contains(r#""42""#), "{answer}");
}

#[tokio::test]
async fn shared_servers_can_be_asked_for_in_async_code() {
    assert!(!shared().kafka_brokers.is_empty());
}

#[test]
fn mimir_keeps_exemplars() {
    let url = &shared().mimir_url;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    let nanos = now.as_nanos();
    let trace_id = "0102030405060708090a0b0c0d0e0f10";
    let exemplar = format!(r#"{{"asDouble":1,"timeUnixNano":"{nanos}","traceId":"{trace_id}"}}"#);
    let point = format!(r#"{{"asDouble":1,"timeUnixNano":"{nanos}","exemplars":[{exemplar}]}}"#);
    let sum = format!(r#"{{"dataPoints":[{point}],"aggregationTemporality":2,"isMonotonic":true}}"#);
    let metric = format!(r#"{{"name":"devstack_test_total","sum":{sum}}}"#);
    let body = format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{metric}]}}]}}]}}"#);
    let (status, text) = request(|client| {
        let post = client.post(format!("{url}/otlp/v1/metrics"));
        post.header("content-type", "application/json").header("X-Scope-OrgID", "exemplars").body(body)
    });
    assert_eq!(status, 200, "{text}");
    let (start, end) = (now.as_secs() - 60, now.as_secs() + 60);
    let query = format!("query=devstack_test_total&start={start}&end={end}");
    let (status, answer) = request(|client| {
        let get = client.get(format!("{url}/prometheus/api/v1/query_exemplars?{query}"));
        get.header("X-Scope-OrgID", "exemplars")
    });
    assert!(status == 200 && answer.contains(trace_id), "{answer}");
}

#[test]
fn promtool_tells_right_rules_from_wrong_ones() {
    let promtool = devstack::promtool(&Cache::from_env(), &Progress::silent()).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let check = |expression: &str| {
        let file = folder.path().join("rules.yaml");
        let rule = format!("groups: [{{name: g, rules: [{{alert: A, expr: '{expression}'}}]}}]");
        std::fs::write(&file, rule).unwrap();
        run(std::process::Command::new(&promtool).args(["check", "rules"]).arg(file))
    };
    let (ok, text, complaints) = check("up == 0");
    assert!(ok && text.contains("1 rules found"), "{text}{complaints}");
    let (ok, text, complaints) = check("up ==");
    assert!(!ok && complaints.contains("unexpected end of input"), "{text}{complaints}");
}
