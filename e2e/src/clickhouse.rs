//! Questions to ClickHouse over HTTP.

use anyhow::{Context, Result, bail};
use serde_json::Value;

/// One database of one server.
#[derive(Debug, Clone)]
pub struct ClickHouse {
    client: reqwest::Client,
    url: String,
    database: String,
}

impl ClickHouse {
    /// Addresses `database` on the server at `url`; nothing is sent yet.
    #[must_use]
    pub fn new(url: &str, database: &str) -> Self {
        Self { client: reqwest::Client::new(), url: url.to_owned(), database: database.to_owned() }
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> &str {
        &self.database
    }

    /// Sends one statement and returns the body of the answer.
    ///
    /// # Errors
    /// The server cannot be reached or refuses the statement; its text is in the error.
    pub async fn query(&self, sql: &str) -> Result<String> {
        let settings = [
            ("database", self.database.as_str()),
            ("output_format_json_quote_64bit_integers", "1"),
            ("wait_end_of_query", "1"),
        ];
        let query = settings.map(|(key, value)| format!("{key}={value}")).join("&");
        let reply = self
            .client
            .post(format!("{}/?{query}", self.url))
            .body(sql.to_owned())
            .send()
            .await
            .with_context(|| format!("ask {}", self.url))?;
        let status = reply.status();
        let body = reply.text().await.context("read the answer")?;
        if !status.is_success() {
            bail!("{sql}: {status}: {}", body.trim());
        }
        Ok(body)
    }

    /// One number.
    ///
    /// # Errors
    /// As [`ClickHouse::query`], or the answer is no number.
    pub async fn number(&self, sql: &str) -> Result<u64> {
        let text = self.query(sql).await?;
        text.trim().parse().with_context(|| format!("{sql}: `{}` is no number", text.trim()))
    }

    /// The rows of a SELECT, each one a JSON object; 64-bit integers come as strings.
    ///
    /// # Errors
    /// As [`ClickHouse::query`].
    pub async fn rows(&self, select: &str) -> Result<Vec<Value>> {
        let text = self.query(&format!("{select} FORMAT JSONEachRow")).await?;
        text.lines().map(|line| serde_json::from_str(line).context("read a row")).collect()
    }

    /// Rows of `table`, 0 while it does not exist.
    ///
    /// # Errors
    /// As [`ClickHouse::query`].
    pub async fn count(&self, table: &str) -> Result<u64> {
        self.number(&format!("SELECT count() FROM {table}")).await
    }
}
