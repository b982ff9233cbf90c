//! One OTLP metrics endpoint: a post, and what its answer means.

use std::{
    io::{self, Write as _},
    time::Duration,
};

use bytes::Bytes;
use flate2::write::GzEncoder;
use jiff::Timestamp;
use reqwest::{
    Response,
    header::{CONTENT_ENCODING, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER},
};
use service_runtime::{
    error_chain::ErrorChain,
    http_client::{HttpClient, HttpClientError},
};

use super::{
    config::{Compression, MimirConfig},
    reply::{self, Asked, Reply},
};
use crate::sink::Verdict;

/// Compared as a string by Mimir; parameters would be refused.
const PROTOBUF: HeaderValue = HeaderValue::from_static("application/x-protobuf");
/// Mimir's own delays grow with this number, which counts from 1 at the first repetition.
const RETRY_ATTEMPT: HeaderName = HeaderName::from_static("retry-attempt");
/// Read of an answer at most; the rest is not needed to classify it.
const MAX_ANSWER_BYTES: usize = 64 * 1024;

/// Posts to one endpoint, as one tenant.
#[derive(Debug)]
pub(crate) struct Endpoint {
    client: HttpClient,
    path: String,
    tenant: Option<(HeaderName, HeaderValue)>,
    compression: Compression,
    burst: u64,
}

impl Endpoint {
    /// The configured endpoint; nothing is connected yet.
    ///
    /// # Errors
    /// The TLS files cannot be read or used.
    pub(crate) fn new(config: &MimirConfig) -> Result<Self, HttpClientError> {
        let tenant = config.tenant.clone().map(|tenant| (config.tenant_header.clone(), tenant));
        Ok(Endpoint {
            client: config.http.build()?,
            path: config.path.clone(),
            tenant,
            compression: config.compression,
            burst: config.burst_points.get(),
        })
    }

    /// Asks it to store nothing.
    pub(crate) async fn probe(&self) -> Verdict {
        match self.post(&Bytes::new(), 1, None).await {
            // An empty request is accepted or refused as one; either way the endpoint is there and lets us in.
            Ok(Reply { status: 400, .. }) => Verdict::Stored { refused: None },
            Ok(answer) => reply::verdict(&answer, self.asked(0, 1)),
            Err(failure) => no_answer(failure),
        }
    }

    /// Requests behind one another, which are one request, as [`Endpoint::send`] takes it.
    pub(crate) fn compress(&self, requests: &[Bytes]) -> Bytes {
        self.compression.compress(requests).expect("writing to memory cannot fail").into()
    }

    /// Sends a compressed request of so many points once. `attempt` counts from 1.
    pub(crate) async fn send(&self, body: &Bytes, points: u64, attempt: u32) -> Verdict {
        match self.post(body, attempt, self.compression.header()).await {
            Ok(answer) => reply::verdict(&answer, self.asked(points, attempt)),
            Err(failure) => no_answer(failure),
        }
    }

    async fn post(
        &self,
        body: &Bytes,
        attempt: u32,
        encoding: Option<HeaderValue>,
    ) -> Result<Reply, reqwest::Error> {
        let mut post = self.client.post(&self.path).header(CONTENT_TYPE, PROTOBUF);
        if let Some(encoding) = encoding {
            post = post.header(CONTENT_ENCODING, encoding);
        }
        if let Some((name, tenant)) = &self.tenant {
            post = post.header(name, tenant);
        }
        if attempt > 1 {
            post = post.header(RETRY_ATTEMPT, HeaderValue::from(attempt - 1));
        }
        let response = post.body(body.clone()).send().await?;
        let status = response.status().as_u16();
        let asked_delay = response.headers().get(RETRY_AFTER).and_then(|value| value.to_str().ok());
        let retry_after = asked_delay.and_then(|value| reply::retry_after(value, Timestamp::now()));
        Ok(Reply { status, retry_after, body: beginning(response).await? })
    }

    fn asked(&self, points: u64, attempt: u32) -> Asked {
        Asked { points, attempt, burst: self.burst }
    }
}

impl Compression {
    fn header(self) -> Option<HeaderValue> {
        match self {
            Compression::None => None,
            Compression::Gzip => Some(HeaderValue::from_static("gzip")),
            Compression::Zstd => Some(HeaderValue::from_static("zstd")),
        }
    }

    /// The requests behind one another, compressed.
    fn compress(self, requests: &[Bytes]) -> io::Result<Vec<u8>> {
        match self {
            Compression::None => Ok(requests.concat()),
            Compression::Gzip => {
                // Level 1: a third more CPU per level buys single per cents on this data.
                let mut encoder = GzEncoder::new(Vec::new(), flate2::Compression::fast());
                for request in requests {
                    encoder.write_all(request)?;
                }
                encoder.finish()
            }
            Compression::Zstd => {
                let mut encoder = zstd::Encoder::new(Vec::new(), 1)?;
                for request in requests {
                    encoder.write_all(request)?;
                }
                encoder.finish()
            }
        }
    }
}

/// No answer came: the server may have stored everything, and is sent the same again.
fn no_answer(failure: reqwest::Error) -> Verdict {
    let detail = ErrorChain(&failure.without_url()).to_string();
    Verdict::Wait { reason: "no_answer", detail, at_least: None::<Duration> }
}

async fn beginning(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < MAX_ANSWER_BYTES {
        let Some(chunk) = response.chunk().await? else { break };
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}
