//! What Alertmanager pages: a webhook on loopback that keeps what was delivered, for tests to ask and for a person to read.
//!
//! `POST /` takes the webhook format of Alertmanager, `GET /` answers with a page of plain text, the newest first. A delivery
//! may tell of several alerts, and each is kept by itself.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write as _;
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use jiff::Timestamp;
use service_runtime::CancellationToken;
use service_runtime::http_server::{self, HttpServerConfig};
use tokio::sync::watch;

/// The shipped rules, by the names of their files: what a real ruler is given.
pub const RULES: [(&str, &str); 2] = [
    ("menu.yaml", include_str!("../../dashboards/rules/menu.yaml")),
    ("pipeline.yaml", include_str!("../../dashboards/rules/pipeline.yaml")),
];

/// The rules that watch the order flow. They are loaded only where it runs: elsewhere its absence would page for ever.
pub const ORDER_RULES: &str = include_str!("../../dashboards/rules/orders.yaml");

/// How much is kept: a demo that runs for days may page for as long.
const KEPT: usize = 1000;

/// A running webhook. It ends when this is dropped.
#[derive(Debug)]
pub struct Pages {
    url: String,
    delivered: watch::Receiver<VecDeque<Page>>,
    stop: CancellationToken,
    /// Taken when it ends.
    thread: Option<JoinHandle<()>>,
}

/// One alert, as one delivery told of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Its label `alertname`.
    pub alert: String,
    /// Whether it fires or no longer does.
    pub status: Status,
    /// All labels, `alertname` among them.
    pub labels: BTreeMap<String, String>,
    /// What the rule says of it, such as `summary` and `runbook_url`.
    pub annotations: BTreeMap<String, String>,
    /// Since when it fires.
    pub starts_at: Timestamp,
    /// When the delivery arrived.
    pub received_at: Timestamp,
}

/// What a page says of its alert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// It fires.
    Firing,
    /// It does not fire any more.
    Resolved,
}

/// The part of Alertmanager's webhook format that is kept.
#[derive(Debug, serde::Deserialize)]
struct Delivery {
    alerts: Vec<Alert>,
}

#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "camelCase")]
struct Alert {
    status: Status,
    labels: BTreeMap<String, String>,
    annotations: BTreeMap<String, String>,
    starts_at: Timestamp,
}

type Sender = watch::Sender<VecDeque<Page>>;

impl Pages {
    /// Starts the webhook on a free port and a thread of its own, so that it takes deliveries while the caller blocks.
    ///
    /// # Errors
    /// There is no port or no thread to be had.
    pub fn start() -> Result<Self> {
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0)).context("bind the webhook's port")?;
        listener.set_nonblocking(true).context("prepare the webhook's port")?;
        let url = format!("http://{}/", listener.local_addr().context("read the webhook's address")?);
        let (sender, delivered) = watch::channel(VecDeque::new());
        let router = Router::new().route("/", get(list).post(deliver)).with_state(sender);
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.context("build the webhook's runtime")?;
        let stop = CancellationToken::new();
        let stopped = stop.clone();
        let serve = async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    // Whoever still waits for an answer would have to be told that it is over anyway.
                    let config =
                        HttpServerConfig { drain_timeout: Duration::ZERO, ..HttpServerConfig::default() };
                    http_server::serve(listener, router, &config, stopped).await;
                }
                // Whoever waits for a page will say that there was none.
                Err(_) => stopped.cancelled().await,
            }
        };
        let thread = std::thread::Builder::new().name("pages".to_owned());
        let thread = thread.spawn(move || runtime.block_on(serve)).context("start the webhook's thread")?;
        Ok(Self { url, delivered, stop, thread: Some(thread) })
    }

    /// Where Alertmanager delivers, and where a browser shows what it has delivered.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Everything delivered, the oldest first; the last thousand at most.
    #[must_use]
    pub fn delivered(&self) -> Vec<Page> {
        self.delivered.borrow().iter().cloned().collect()
    }

    /// Waits for a page that `fits`, which may have come already; the oldest of them.
    ///
    /// # Errors
    /// None comes within `patience`; what did come is in the error.
    pub async fn wait_for(&self, patience: Duration, fits: impl Fn(&Page) -> bool) -> Result<Page> {
        let mut changes = self.delivered.clone();
        let come = changes.wait_for(|pages| pages.iter().any(&fits));
        let found = match tokio::time::timeout(patience, come).await {
            Ok(Ok(pages)) => pages.iter().find(|page| fits(page)).cloned(),
            Ok(Err(_)) | Err(_) => None,
        };
        let Some(page) = found else {
            bail!("no such page within {patience:?}; delivered:\n{}", text(&self.delivered.borrow()));
        };
        Ok(page)
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        self.stop.cancel();
        if let Some(thread) = self.thread.take() {
            // It cannot panic, and if it did, the webhook is over all the same.
            let _ = thread.join();
        }
    }
}

async fn deliver(State(sender): State<Sender>, body: Bytes) -> (StatusCode, String) {
    let received_at = Timestamp::now();
    let delivery: Delivery = match serde_json::from_slice(&body) {
        Ok(delivery) => delivery,
        Err(error) => return (StatusCode::BAD_REQUEST, format!("no delivery of Alertmanager: {error}\n")),
    };
    sender.send_modify(|pages| {
        for Alert { status, labels, annotations, starts_at } in delivery.alerts {
            let alert = labels.get("alertname").cloned().unwrap_or_default();
            pages.push_back(Page { alert, status, labels, annotations, starts_at, received_at });
        }
        pages.drain(..pages.len().saturating_sub(KEPT));
    });
    (StatusCode::OK, String::new())
}

async fn list(State(sender): State<Sender>) -> impl IntoResponse {
    let text = text(&sender.borrow());
    ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text)
}

/// What a person reads, the newest first.
fn text(pages: &VecDeque<Page>) -> String {
    if pages.is_empty() {
        return "nothing was paged\n".to_owned();
    }
    let mut text = String::new();
    for page in pages.iter().rev() {
        let status = match page.status {
            Status::Firing => "FIRING  ",
            Status::Resolved => "RESOLVED",
        };
        let (alert, since, received) = (&page.alert, seconds(page.starts_at), seconds(page.received_at));
        let _ = writeln!(text, "{received}  {status}  {alert}  since {since}");
        for (name, value) in page.labels.iter().filter(|(name, _)| *name != "alertname") {
            let _ = writeln!(text, "    {name}={value:?}");
        }
        for (name, value) in &page.annotations {
            let _ = writeln!(text, "    {name}: {value}");
        }
        text.push('\n');
    }
    text
}

/// The time without what nobody reads.
fn seconds(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    const DELIVERY: &str = r#"{"version": "4", "status": "firing", "receiver": "webhook", "alerts": [
        {"status": "firing", "labels": {"alertname": "MenuDown", "severity": "page"},
         "annotations": {"summary": "the menu is \"down\"\nfor all"},
         "startsAt": "2026-01-02T03:04:05.678Z", "endsAt": "0001-01-01T00:00:00Z", "fingerprint": "a"},
        {"status": "resolved", "labels": {"alertname": "LagHigh"}, "annotations": {},
         "startsAt": "2026-01-02T03:04:06Z", "endsAt": "2026-01-02T03:05:06Z", "fingerprint": "b"}]}"#;

    async fn post(pages: &Pages, body: &str) -> StatusCode {
        let post = reqwest::Client::new().post(pages.url()).body(body.to_owned());
        StatusCode::from_u16(post.send().await.unwrap().status().as_u16()).unwrap()
    }

    #[tokio::test]
    async fn every_alert_of_a_delivery_is_kept_and_shown() {
        let pages = Pages::start().unwrap();
        assert_eq!(post(&pages, DELIVERY).await, StatusCode::OK);
        let is_resolved = |page: &Page| page.status == Status::Resolved;
        let resolved = pages.wait_for(Duration::from_secs(10), is_resolved).await.unwrap();
        assert_eq!(resolved.alert, "LagHigh");
        let delivered = pages.delivered();
        assert_eq!(delivered.len(), 2);
        assert_eq!(delivered[0].alert, "MenuDown");
        assert_eq!(delivered[0].labels["severity"], "page");
        assert_eq!(delivered[0].starts_at.to_string(), "2026-01-02T03:04:05.678Z");
        assert!(delivered[0].received_at > delivered[0].starts_at);

        let shown = reqwest::get(pages.url()).await.unwrap().text().await.unwrap();
        let (newest, oldest) = (shown.find("RESOLVED  LagHigh"), shown.find("FIRING    MenuDown"));
        assert!(newest < oldest && newest.is_some(), "{shown}");
        assert!(shown.contains("severity=\"page\""), "{shown}");
    }

    #[tokio::test]
    async fn what_is_no_delivery_is_refused_and_a_page_that_does_not_come_is_an_error() {
        let pages = Pages::start().unwrap();
        assert_eq!(post(&pages, "{}").await, StatusCode::BAD_REQUEST);
        let error = pages.wait_for(Duration::ZERO, |_| true).await.unwrap_err();
        assert!(error.to_string().contains("nothing was paged"), "{error}");
    }

    #[tokio::test]
    async fn the_oldest_pages_make_room() {
        let pages = Pages::start().unwrap();
        let alert = |number: usize| {
            serde_json::json!({"status": "firing", "labels": {"alertname": format!("a{number}")}, "annotations": {},
                "startsAt": "2026-01-02T03:04:05Z"})
        };
        let alerts: Vec<_> = (0..KEPT + 3).map(alert).collect();
        post(&pages, &serde_json::json!({ "alerts": alerts }).to_string()).await;
        let delivered = pages.delivered();
        assert_eq!((delivered.len(), delivered[0].alert.as_str()), (KEPT, "a3"));
    }
}
