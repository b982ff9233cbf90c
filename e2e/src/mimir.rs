//! Questions to Mimir's query API.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// The query API of one tenant.
#[derive(Debug, Clone)]
pub struct Mimir {
    client: reqwest::Client,
    /// Where the paths of the API begin.
    url: String,
    tenant: String,
}

/// One raw series: its labels and its samples, each a time in milliseconds and a value.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Label names to values, `__name__` among them.
    pub labels: BTreeMap<String, String>,
    /// Samples in order of time.
    pub samples: Vec<(i64, f64)>,
}

/// An alert that is pending or fires.
#[derive(Debug, Clone, PartialEq, Eq, serde::Deserialize)]
pub struct Alert {
    /// `pending` or `firing`.
    pub state: String,
    /// Its labels, `alertname` among them.
    pub labels: BTreeMap<String, String>,
    /// What the rule says of it.
    pub annotations: BTreeMap<String, String>,
}

impl Mimir {
    /// Addresses `tenant` on the server at `url`; nothing is sent yet.
    #[must_use]
    pub fn new(url: &str, tenant: &str) -> Self {
        Self { tenant: tenant.to_owned(), ..Self::prometheus(&format!("{url}/prometheus")) }
    }

    /// A Prometheus at `url`, which is asked likewise and has no tenants.
    #[must_use]
    pub fn prometheus(url: &str) -> Self {
        Self { client: reqwest::Client::new(), url: url.to_owned(), tenant: String::new() }
    }

    /// The value of an instant query that yields one sample; 0 when it yields none.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the expression.
    pub async fn number(&self, promql: &str) -> Result<f64> {
        self.number_of(promql, None).await
    }

    /// The same at a moment, in seconds since the epoch.
    ///
    /// # Errors
    /// Those of [`Mimir::number`].
    pub async fn number_at(&self, promql: &str, seconds: f64) -> Result<f64> {
        self.number_of(promql, Some(seconds)).await
    }

    async fn number_of(&self, promql: &str, seconds: Option<f64>) -> Result<f64> {
        let result = self.query(promql, seconds).await?;
        let Some(first) = result.first() else { return Ok(0.0) };
        first["value"][1].as_str().and_then(|text| text.parse().ok()).context("a sample has a value")
    }

    /// The raw samples of a range selector such as `up[1h]`.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the expression.
    pub async fn samples(&self, selector: &str) -> Result<Vec<Series>> {
        self.query(selector, None).await?.iter().map(series).collect()
    }

    /// What is pending or fires, by the ruler; sorted by name.
    ///
    /// # Errors
    /// The server cannot be reached, or runs no ruler.
    pub async fn alerts(&self) -> Result<Vec<Alert>> {
        #[derive(serde::Deserialize)]
        struct Answer {
            data: Data,
        }
        #[derive(serde::Deserialize)]
        struct Data {
            alerts: Vec<Alert>,
        }
        let url = format!("{}/api/v1/alerts", self.url);
        let reply = self.client.get(&url).header("X-Scope-OrgID", &self.tenant).send().await;
        let reply =
            reply.and_then(reqwest::Response::error_for_status).with_context(|| format!("ask {url}"))?;
        let text = reply.text().await.context("read the alerts")?;
        let Answer { data: Data { mut alerts } } = serde_json::from_str(&text).context("read the alerts")?;
        alerts.sort_by(|a, b| a.labels.get("alertname").cmp(&b.labels.get("alertname")));
        Ok(alerts)
    }

    /// The type of every metric that was sent, by its name; what rules record is none of them.
    ///
    /// # Errors
    /// The server cannot be reached.
    pub async fn types(&self) -> Result<BTreeMap<String, String>> {
        let url = format!("{}/api/v1/metadata", self.url);
        let reply = self.client.get(&url).header("X-Scope-OrgID", &self.tenant).send().await;
        let reply =
            reply.and_then(reqwest::Response::error_for_status).with_context(|| format!("ask {url}"))?;
        let body: Value = serde_json::from_str(&reply.text().await.context("read the metadata")?)
            .context("read the metadata as JSON")?;
        let metrics = body["data"].as_object().context("metadata is of metrics")?;
        let kind = |told: &Value| told[0]["type"].as_str().unwrap_or("unknown").to_owned();
        Ok(metrics.iter().map(|(name, told)| (name.clone(), kind(told))).collect())
    }

    /// The series that an instant query yields, each with one sample.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the expression.
    pub async fn vector(&self, promql: &str) -> Result<Vec<Series>> {
        self.query(promql, None).await?.iter().map(series).collect()
    }

    async fn query(&self, promql: &str, seconds: Option<f64>) -> Result<Vec<Value>> {
        let at = seconds.map(|seconds| format!("&time={seconds:.3}")).unwrap_or_default();
        let reply = self
            .client
            .post(format!("{}/api/v1/query", self.url))
            .header("X-Scope-OrgID", &self.tenant)
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("query={}{at}", percent_encoded(promql)))
            .send()
            .await
            .with_context(|| format!("ask {}", self.url))?;
        let status = reply.status();
        let body = reply.text().await.context("read the answer")?;
        if !status.is_success() {
            bail!("{promql}: {status}: {}", body.trim());
        }
        let mut body: Value = serde_json::from_str(&body).context("read the answer as JSON")?;
        match body["data"]["result"].take() {
            Value::Array(result) => Ok(result),
            other => bail!("{promql}: the answer holds no list: {other}"),
        }
    }
}

fn series(value: &Value) -> Result<Series> {
    let labels = value["metric"].as_object().context("a series has labels")?;
    // A range selector yields values, an instant query a value.
    let one = std::slice::from_ref(&value["value"]);
    let samples = value["values"].as_array().map_or(one, Vec::as_slice);
    Ok(Series {
        labels: labels
            .iter()
            .map(|(key, value)| (key.clone(), value.as_str().unwrap_or_default().to_owned()))
            .collect(),
        samples: samples.iter().map(sample).collect::<Result<_>>()?,
    })
}

fn sample(pair: &Value) -> Result<(i64, f64)> {
    let seconds = pair[0].as_f64().context("a sample has a time")?;
    let value = pair[1].as_str().and_then(|text| text.parse().ok()).context("a sample has a value")?;
    #[allow(clippy::cast_possible_truncation, reason = "milliseconds since 1970 fit in 53 bits")]
    Ok(((seconds * 1000.0).round() as i64, value))
}

fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len() * 3);
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() {
            encoded.push(char::from(byte));
        } else {
            encoded.push_str(&format!("%{byte:02X}"));
        }
    }
    encoded
}
