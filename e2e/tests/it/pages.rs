//! An alert reaches the webhook when it fires, and once more when it is over.

use std::time::Duration;

use devstack::{Part, Stack, StackOptions};
use e2e::line::wait_for;
use e2e::pages::{Page, Pages, Status};

/// Far more than the two seconds each that rules, alert and page may take.
const PATIENCE: Duration = Duration::from_secs(60);

const RULES: &str = r#"
groups:
  - name: pages
    interval: 1s
    rules:
      - alert: GaugeHigh
        expr: pages_test_gauge > 1
        labels: {severity: page}
        annotations: {summary: 'it is {{ $value }}'}
      - alert: GaugeLow
        expr: pages_test_gauge < 0
"#;

/// Stores one sample of `pages_test_gauge`, of this moment.
async fn set_gauge(url: &str, tenant: &str, value: i32) {
    let now = jiff::Timestamp::now().as_nanosecond();
    let point = serde_json::json!({"asInt": value.to_string(), "timeUnixNano": now.to_string()});
    let metric = serde_json::json!({"name": "pages_test_gauge", "gauge": {"dataPoints": [point]}});
    let body = serde_json::json!({"resourceMetrics": [{"scopeMetrics": [{"metrics": [metric]}]}]});
    let post = reqwest::Client::new().post(format!("{url}/otlp/v1/metrics")).header("X-Scope-OrgID", tenant);
    let reply = post.header("content-type", "application/json").body(body.to_string()).send().await.unwrap();
    assert!(reply.status().is_success(), "{}", reply.text().await.unwrap());
}

#[tokio::test]
async fn an_alert_pages_when_it_fires_and_when_it_is_resolved() {
    let pages = Pages::start().unwrap();
    let options =
        StackOptions { alert_webhook: Some(pages.url().to_owned()), ..StackOptions::own(&[Part::Mimir]) };
    let stack = tokio::task::spawn_blocking(|| Stack::up(options)).await.unwrap().unwrap();
    let url = &stack.endpoints().mimir_url;
    stack.put_mimir_rules("shop", "alerts.yaml", RULES).unwrap();

    set_gauge(url, "shop", 7).await;
    let fired = pages.wait_for(PATIENCE, |page| page.status == Status::Firing).await.unwrap();
    assert_eq!((fired.alert.as_str(), fired.labels["severity"].as_str()), ("GaugeHigh", "page"));
    assert_eq!(fired.annotations["summary"], "it is 7");
    assert!(fired.received_at > fired.starts_at, "{fired:?}");

    // A file that is wrong is complained of, and the rules that were there go on.
    stack.put_mimir_rules("shop", "wrong.yaml", &RULES.replace("< 0", "<")).unwrap();
    let log = stack.mimir().log().unwrap();
    wait_for("Mimir to complain", async || {
        let text = std::fs::read_to_string(log).unwrap();
        Ok(text.contains("wrong.yaml").then_some(()).ok_or(text))
    })
    .await
    .unwrap();

    set_gauge(url, "shop", 1).await;
    let is_over = |page: &Page| page.status == Status::Resolved && page.alert == "GaugeHigh";
    let resolved = pages.wait_for(PATIENCE, is_over).await.unwrap();
    assert_eq!(resolved.starts_at, fired.starts_at);

    // The other rule never held.
    let delivered = pages.delivered();
    assert!(delivered.iter().all(|page| page.alert == "GaugeHigh"), "{delivered:#?}");
}
