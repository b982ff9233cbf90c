//! Requests whose bytes are the caller's own, over both transports.

use std::time::Duration;

use anyhow::{Context, Result};
use telemetry_wire::Signal;

use super::edge::Edge;

/// Speaks to one edge without any knowledge of OTLP.
#[derive(Debug, Clone)]
pub struct Raw {
    http: reqwest::Client,
    http2: reqwest::Client,
    http_url: String,
    grpc_url: String,
}

/// What came back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reply {
    /// The HTTP status.
    pub status: u16,
    /// gRPC's status, when it is in the headers, as that of every refusal is.
    pub grpc_status: Option<u32>,
    /// Whether gRPC's details are there, which hold what a sender may retry.
    pub has_details: bool,
    /// How long the sender is asked to wait.
    pub retry_after: Option<String>,
}

impl Raw {
    /// Addresses an edge.
    ///
    /// # Errors
    /// The clients cannot be built.
    pub fn new(edge: &Edge) -> Result<Self> {
        let builder = || reqwest::Client::builder().timeout(Duration::from_secs(60));
        Ok(Self {
            http: builder().build().context("build the HTTP client")?,
            http2: builder().http2_prior_knowledge().build().context("build the HTTP/2 client")?,
            http_url: edge.http_url(),
            grpc_url: format!("http://127.0.0.1:{}", edge.grpc_port()),
        })
    }

    /// OTLP/HTTP with a body that is said to be protobuf.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn http(&self, signal: Signal, headers: &[(&str, &str)], body: Vec<u8>) -> Result<Reply> {
        self.post(signal, "application/x-protobuf", headers, body).await
    }

    /// OTLP/HTTP with a body that is said to be JSON.
    ///
    /// # Errors
    /// There is no answer.
    pub async fn json(&self, signal: Signal, body: Vec<u8>) -> Result<Reply> {
        self.post(signal, "application/json", &[], body).await
    }

    /// OTLP/gRPC with one message of these bytes.
    ///
    /// # Errors
    /// There is no answer, or the body has more than 4 GiB.
    pub async fn grpc(&self, signal: Signal, message: Vec<u8>) -> Result<Reply> {
        let length = u32::try_from(message.len()).context("a message has a length of four bytes")?;
        let mut body = vec![0];
        body.extend(length.to_be_bytes());
        body.extend(message);
        let request = self.http2.post(format!("{}{}", self.grpc_url, signal.grpc_path()));
        let request = request.header("content-type", "application/grpc").header("te", "trailers").body(body);
        Ok(reply(&request.send().await.context("send over gRPC")?))
    }

    async fn post(
        &self,
        signal: Signal,
        content_type: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Reply> {
        let mut request = self.http.post(format!("{}{}", self.http_url, signal.http_path()));
        request = request.header("content-type", content_type);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        Ok(reply(&request.body(body).send().await.context("send over HTTP")?))
    }
}

fn reply(response: &reqwest::Response) -> Reply {
    let header = |name| response.headers().get(name).and_then(|value| value.to_str().ok());
    Reply {
        status: response.status().as_u16(),
        grpc_status: header("grpc-status").and_then(|text| text.parse().ok()),
        has_details: header("grpc-status-details-bin").is_some(),
        retry_after: header("retry-after").map(str::to_owned),
    }
}
