//! Readiness: a server is ready when it answers a real request, not when its port is open.

use std::sync::LazyLock;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::{Endpoints, Part, kafka};

/// The request whose answer tells that a server works.
#[derive(Debug, Clone)]
pub(crate) enum Question {
    /// Which brokers are there, and which is the controller?
    Kafka { brokers: String },
    /// What is `SELECT 1`?
    Clickhouse { url: String },
    /// Are all modules up, and what is `vector(1)`?
    Mimir { url: String },
    /// Does it serve?
    Prometheus { url: String },
    /// Is everything there that the API serves?
    KubernetesApi { url: String },
}

impl Question {
    /// The question for the server of `part` that `endpoints` names.
    pub(crate) fn about(part: Part, endpoints: &Endpoints) -> Self {
        match part {
            Part::Kafka => Self::Kafka { brokers: endpoints.kafka_brokers.clone() },
            Part::Clickhouse => Self::Clickhouse { url: endpoints.clickhouse_url.clone() },
            Part::Mimir => Self::Mimir { url: endpoints.mimir_url.clone() },
        }
    }

    /// Asks once, for at most `patience`; the error says what came instead of the right answer.
    pub(crate) fn ask(&self, patience: Duration) -> Result<(), String> {
        match self {
            Self::Kafka { brokers } => kafka::metadata::ask(brokers, patience),
            Self::Clickhouse { url } => {
                let answer = get(format!("{}/?query=SELECT%201", url.trim_end_matches('/')), patience)?;
                if answer.trim() == "1" { Ok(()) } else { Err(format!("SELECT 1 gives {answer:?}")) }
            }
            Self::Prometheus { url } => get(format!("{url}/-/ready"), patience).map(drop),
            Self::KubernetesApi { url } => get(format!("{url}/readyz"), patience).map(drop),
            Self::Mimir { url } => {
                let url = url.trim_end_matches('/');
                get(format!("{url}/ready"), patience)?;
                let answer = get(format!("{url}/prometheus/api/v1/query?query=vector(1)"), patience)?;
                if answer.contains(r#""success""#) {
                    Ok(())
                } else {
                    Err(format!("vector(1) gives {answer:?}"))
                }
            }
        }
    }
}

/// A GET that works inside and outside of an async runtime, blocking the caller.
fn get(url: String, patience: Duration) -> Result<String, String> {
    static RUNTIME: LazyLock<Result<Runtime, String>> = LazyLock::new(|| {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        builder.worker_threads(1).thread_name("devstack-http").enable_all();
        builder.build().map_err(|error| error.to_string())
    });
    static CLIENT: LazyLock<Result<reqwest::Client, String>> = LazyLock::new(|| {
        // A kept connection could belong to the server that was killed a moment ago.
        let builder = reqwest::Client::builder().no_proxy().pool_max_idle_per_host(0);
        // Whether it is up is asked, on loopback; whoever uses it checks the certificate.
        let builder = builder.tls_danger_accept_invalid_certs(true);
        builder.build().map_err(|error| error.to_string())
    });
    let client = CLIENT.as_ref().map_err(Clone::clone)?.clone();
    let (reply, answer) = sync_channel(1);
    RUNTIME.as_ref().map_err(Clone::clone)?.spawn(async move {
        let outcome = fetch(&client, url, patience).await;
        // The one who asked waits below.
        let _ = reply.send(outcome);
    });
    answer.recv().unwrap_or_else(|_| Err("the request was abandoned".into()))
}

async fn fetch(client: &reqwest::Client, url: String, patience: Duration) -> Result<String, String> {
    // Mimir keeps tenants apart, so that tests do; the others do not look at it.
    let response = client
        .get(url)
        .header("X-Scope-OrgID", "devstack")
        .timeout(patience)
        .send()
        .await
        .map_err(|error| chain(&error))?;
    let status = response.status();
    let body = response.text().await.map_err(|error| chain(&error))?;
    if status.is_success() { Ok(body) } else { Err(format!("{status}: {}", body.trim())) }
}

fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}
