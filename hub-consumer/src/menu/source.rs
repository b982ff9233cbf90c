//! Where the menu comes from, and what it has to look like.

use std::{collections::BTreeSet, fmt, io::Read as _, time::Duration};

use anyhow::{Context as _, bail};
use serde::Deserialize;
use service_runtime::{
    CancellationToken,
    backoff::{Backoff, BackoffConfig},
    error_chain::ErrorChain,
    http_client::HttpClientConfig,
};
use tracing::warn;

/// The Menu API fails one call in ten by design.
const ATTEMPTS: u32 = 10;

/// The longest id that the rollup keeps; see the migration `menu`.
const MAX_ID: usize = 32;

/// An item of the menu, as far as numbers are made of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Id in the Menu API.
    pub id: String,
    /// What it is called.
    pub name: String,
    /// Who cooks it.
    pub restaurant: String,
    /// What kind of food it is.
    pub category: String,
    /// In hundredths of the platform's one currency.
    pub price_cents: i64,
    /// Whether it can be ordered.
    pub available: bool,
}

/// The text is no menu; every problem is named.
#[derive(Debug, thiserror::Error)]
pub enum MenuError {
    /// It is no JSON of the expected shape.
    #[error("it is not what GET /api/menu answers, an object with `menu_items`")]
    Shape(#[source] serde_json::Error),
    /// Items that cannot be used.
    #[error("{}", .0.join("; "))]
    Items(Vec<String>),
}

#[derive(Debug, Deserialize)]
struct Answer {
    menu_items: Vec<RawItem>,
}

#[derive(Debug, Deserialize)]
struct RawItem {
    id: String,
    name: String,
    restaurant: String,
    category: String,
    price: f64,
    available: bool,
}

/// Reads what `GET /api/menu` answers.
///
/// # Errors
/// The text is something else, or items in it cannot be used.
pub fn parse(text: &str) -> Result<Vec<Item>, MenuError> {
    let Answer { menu_items } = serde_json::from_str(text).map_err(MenuError::Shape)?;
    let mut problems = Vec::new();
    let mut ids = BTreeSet::new();
    if menu_items.is_empty() {
        problems.push("the menu is empty: all items would be gone".to_owned());
    }
    for item in &menu_items {
        let RawItem { id, price, .. } = item;
        if id.is_empty() || id.len() > MAX_ID {
            problems.push(format!("item id `{id}` has to have 1 to {MAX_ID} bytes"));
        }
        if !ids.insert(id) {
            problems.push(format!("item id `{id}` is there twice"));
        }
        if !(0.0..1e7).contains(price) {
            problems.push(format!("price {price} of item `{id}` is no amount from 0 to 10,000,000"));
        }
    }
    if problems.is_empty() {
        Ok(menu_items.into_iter().map(Item::from).collect())
    } else {
        Err(MenuError::Items(problems))
    }
}

/// The text of a URL, a file, or standard input.
pub(super) async fn read(source: &str, shutdown: &CancellationToken) -> anyhow::Result<String> {
    if source == "-" {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).context("read the menu from standard input")?;
        return Ok(text);
    }
    if !source.starts_with("http://") && !source.starts_with("https://") {
        return std::fs::read_to_string(source).with_context(|| format!("read the menu from {source}"));
    }
    fetch(source, shutdown).await
}

async fn fetch(source: &str, shutdown: &CancellationToken) -> anyhow::Result<String> {
    let url: reqwest::Url = source.parse().with_context(|| format!("`{source}` is no URL"))?;
    let base = url.join("/").with_context(|| format!("`{source}` is no URL of a server"))?;
    let client = HttpClientConfig::plain(base).build().context("set up the HTTP client")?;
    let delays =
        BackoffConfig::between(Duration::from_millis(200), Duration::from_secs(5)).unwrap_or_default();
    let mut backoff = Backoff::new(&delays);
    for attempt in 1..=ATTEMPTS {
        let problem = match client.get(url.path()).send().await {
            Ok(answer) if answer.status().is_success() => {
                return answer.text().await.with_context(|| format!("read the menu from {source}"));
            }
            Ok(answer) if answer.status().is_server_error() => format!("status {}", answer.status()),
            Ok(answer) => bail!(
                "{source} answers {}: give the URL of the menu, which ends in /api/menu",
                answer.status()
            ),
            Err(failure) => ErrorChain(&failure.without_url()).to_string(),
        };
        warn!(attempt, problem, "menu was not answered");
        if !backoff.wait(shutdown).await {
            break;
        }
    }
    bail!("{source} did not answer with the menu")
}

impl From<RawItem> for Item {
    fn from(raw: RawItem) -> Item {
        let RawItem { id, name, restaurant, category, price, available } = raw;
        #[allow(clippy::cast_possible_truncation, reason = "prices are checked to be below ten million")]
        let price_cents = (price * 100.0).round() as i64;
        Item { id, name, restaurant, category, price_cents, available }
    }
}

impl Item {
    /// The price with its two decimals.
    pub(super) fn price(&self) -> String {
        format!("{}.{:02}", self.price_cents / 100, self.price_cents % 100)
    }
}

impl fmt::Display for Item {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Item { id, name, restaurant, category, available, .. } = self;
        let state = if *available { "available" } else { "unavailable" };
        write!(out, "{id}: {name}, {restaurant}, {category}, {}, {state}", self.price())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn menu(items: &str) -> String {
        format!(r#"{{"menu_items":[{items}],"count":1}}"#)
    }

    fn one(id: &str, price: &str) -> String {
        format!(
            r#"{{"id":"{id}","name":"N","price":{price},"available":false,"description":"d","restaurant":"R","category":"C","prep_time_minutes":5}}"#
        )
    }

    #[tokio::test]
    async fn a_menu_that_fails_now_and_then_is_asked_again_and_a_wrong_address_is_not() {
        static FAILURES: AtomicU32 = AtomicU32::new(2);
        let menu = || async {
            let is_failing = FAILURES
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(1))
                .is_ok();
            if is_failing { Err(axum::http::StatusCode::INTERNAL_SERVER_ERROR) } else { Ok("the menu") }
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let router = axum::Router::new().route("/api/menu", axum::routing::get(menu));
        tokio::spawn(async move { axum::serve(listener, router).await });
        let shutdown = CancellationToken::new();
        assert_eq!(read(&format!("http://{address}/api/menu"), &shutdown).await.unwrap(), "the menu");
        let refused = read(&format!("http://{address}/menu"), &shutdown).await.unwrap_err().to_string();
        assert!(refused.contains("404") && refused.contains("/api/menu"), "{refused}");
    }

    #[test]
    fn prices_are_exact_to_the_hundredth() {
        for (price, text) in
            [("12.99", "12.99"), ("8.1", "8.10"), ("0.29", "0.29"), ("1.005", "1.00"), ("24", "24.00")]
        {
            assert_eq!(parse(&menu(&one("1", price))).unwrap()[0].price(), text, "{price}");
        }
    }

    #[test]
    fn every_problem_is_named_at_once() {
        let items = [one("", "1"), one("7", "-1"), one("7", "2")].join(",");
        let problems = parse(&menu(&items)).unwrap_err().to_string();
        for part in ["item id `` has to have", "`7` is there twice", "price -1 of item `7`"] {
            assert!(problems.contains(part), "{part} is not in: {problems}");
        }
        assert!(parse(&menu("")).unwrap_err().to_string().contains("the menu is empty"));
        assert!(matches!(parse(r#"{"error":"Internal Server Error"}"#), Err(MenuError::Shape(_))));
    }
}
