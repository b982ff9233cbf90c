//! Requests to ClickHouse's HTTP interface, and what an answer says.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_ENCODING;
use reqwest::{RequestBuilder, Response};
use service_runtime::http_client::{HttpClient, HttpClientConfig, HttpClientError};

/// An error's text is for a person; the server may repeat the whole query in it.
const MAX_MESSAGE_BYTES: usize = 2_000;

/// A ClickHouse server. Clones share its connections.
#[derive(Clone, Debug)]
pub struct Client {
    http: HttpClient,
}

/// A request that did not end well.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// No connection: the server has not seen the request.
    #[error("cannot connect to ClickHouse")]
    Connect(#[source] reqwest::Error),
    /// The connection broke or the answer took too long: the server may have done anything.
    #[error("no answer from ClickHouse")]
    NoAnswer(#[source] reqwest::Error),
    /// The server answered with an exception.
    #[error("ClickHouse answered with code {code}: {message}")]
    Server {
        /// ClickHouse's error code.
        code: i32,
        /// Its text, shortened.
        message: String,
    },
    /// Something between us and the server answered, or the server in a way we do not know.
    #[error("unexpected answer with HTTP status {status}: {message}")]
    Unexpected {
        /// The HTTP status.
        status: u16,
        /// The answer's body, shortened.
        message: String,
    },
}

impl Client {
    /// A client for the configured server; nothing is connected yet.
    ///
    /// # Errors
    /// When the TLS files cannot be read or used.
    pub fn new(config: &HttpClientConfig) -> Result<Client, HttpClientError> {
        Ok(Client { http: config.build()? })
    }

    /// Runs one statement and returns what it prints. `parameters` are settings, or values for `{name:Type}` as `param_name`.
    ///
    /// # Errors
    /// When it does not run to its end.
    pub async fn query(&self, sql: &str, parameters: &[(&str, &str)]) -> Result<String, QueryError> {
        let request = self.http.post("/").query(parameters).body(sql.to_owned());
        read_answer(send(request).await?).await
    }

    /// The same for a question that may take longer than a request usually does.
    ///
    /// # Errors
    /// When it does not run to its end in this time.
    pub async fn query_within(
        &self,
        sql: &str,
        parameters: &[(&str, &str)],
        timeout: Duration,
    ) -> Result<String, QueryError> {
        let request = self.http.post("/").query(parameters).timeout(timeout).body(sql.to_owned());
        read_answer(send(request).await?).await
    }

    /// Sends `body` as the data of `sql`.
    ///
    /// # Errors
    /// When the server does not say that it took all of it.
    pub(super) async fn send_data(
        &self,
        sql: &str,
        parameters: &[(&str, &str)],
        body: Bytes,
        content_encoding: Option<&'static str>,
        timeout: Duration,
    ) -> Result<(), QueryError> {
        let mut request =
            self.http.post("/").query(&[("query", sql)]).query(parameters).timeout(timeout).body(body);
        if let Some(encoding) = content_encoding {
            request = request.header(CONTENT_ENCODING, encoding);
        }
        let printed = read_answer(send(request).await?).await?;
        if printed.is_empty() {
            Ok(())
        } else {
            // An insert prints nothing; text after status 200 is an exception that came late.
            Err(server_error(None, &printed)
                .unwrap_or(QueryError::Unexpected { status: 200, message: printed }))
        }
    }
}

impl QueryError {
    /// ClickHouse's error code, when it is ClickHouse that answered.
    pub fn code(&self) -> Option<i32> {
        match self {
            QueryError::Server { code, .. } => Some(*code),
            QueryError::Connect(_) | QueryError::NoAnswer(_) | QueryError::Unexpected { .. } => None,
        }
    }
}

/// A name as it stands in SQL.
pub(crate) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('\\', "\\\\").replace('`', "\\`"))
}

/// A text as it stands in SQL.
pub(crate) fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "\\'"))
}

async fn send(request: RequestBuilder) -> Result<Response, QueryError> {
    request.send().await.map_err(|error| {
        let error = error.without_url();
        if error.is_connect() { QueryError::Connect(error) } else { QueryError::NoAnswer(error) }
    })
}

async fn read_answer(response: Response) -> Result<String, QueryError> {
    let status = response.status();
    let code = response.headers().get("X-ClickHouse-Exception-Code");
    let code = code.and_then(|code| code.to_str().ok()?.parse().ok());
    let body = response.bytes().await.map_err(|error| QueryError::NoAnswer(error.without_url()))?;
    let text = String::from_utf8_lossy(&body);
    if status.is_success() && code.is_none() {
        return Ok(text.into_owned());
    }
    Err(server_error(code, &text)
        .unwrap_or_else(|| QueryError::Unexpected { status: status.as_u16(), message: shortened(&text) }))
}

/// The exception in a text such as `Code: 252. DB::Exception: Too many parts …`; the header's code is preferred.
fn server_error(header_code: Option<i32>, text: &str) -> Option<QueryError> {
    let printed_code = text.split_once("Code: ").and_then(|(_, rest)| {
        let digits = rest.split(|character: char| !character.is_ascii_digit()).next()?;
        digits.parse().ok()
    });
    let code = header_code.or(printed_code)?;
    Some(QueryError::Server { code, message: shortened(text) })
}

fn shortened(text: &str) -> String {
    let text = text.trim();
    match text.char_indices().nth(MAX_MESSAGE_BYTES) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}
