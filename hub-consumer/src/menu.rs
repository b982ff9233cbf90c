//! `hub-consumer menu`: writes what the Menu API offers into the dimension that dashboards join, with the time from which it is so.
//!
//! ```text
//!   GET /api/menu, or a file ──► items ──┬─ as the table has them: nothing
//!                                        ├─ new: valid from the beginning of time, or from now when the id was there before
//!                                        ├─ changed: the old state ends a second ago, the new one begins now
//!                                        └─ gone: ends a second ago
//! ```
//!
//! A request is judged by the menu of its own minute, so a new price changes no number of yesterday. Running it again changes
//! nothing.

mod source;
mod table;

use std::fmt;

use anyhow::Context as _;
use service_runtime::{RunArgs, Runtime};

use crate::{
    clickhouse::{ClickHouseConfig, client::Client},
    config::HubConfig,
};
use table::MenuTable;

pub use source::{Item, MenuError, parse};

/// What `menu` is asked.
#[derive(Debug, Clone, clap::Args)]
pub struct MenuArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub run: RunArgs,
    /// The menu: a URL such as http://mock-service:8080/api/menu, a file with what that URL answers, or `-` for standard input.
    #[arg(value_name = "URL|FILE")]
    pub source: String,
    /// Say what would change, and change nothing.
    #[arg(long)]
    pub dry_run: bool,
}

/// What becomes of one item.
#[derive(Debug, Clone, PartialEq)]
pub enum Change {
    /// The id is new to the table.
    Added(Item),
    /// It was there before, ended, and is back.
    Returned(Item),
    /// Something of it is new.
    Changed {
        /// As the table has it.
        from: Item,
        /// As the menu has it.
        to: Item,
    },
    /// The menu has it no more.
    Gone(Item),
}

/// Brings the table to the menu and prints what changed.
///
/// # Errors
/// The menu cannot be had or read, ClickHouse is not configured or refuses.
#[allow(clippy::print_stdout, reason = "what changed is the answer of the command")]
pub async fn run(config: HubConfig, runtime: Runtime, args: &MenuArgs) -> anyhow::Result<()> {
    let clickhouse = config.clickhouse.context("clickhouse is not configured")?;
    let text = source::read(&args.source, &runtime.shutdown()).await?;
    let items = parse(&text).with_context(|| format!("read the menu of {}", args.source))?;
    let changes = apply(&clickhouse, &items, args.dry_run).await?;
    for change in &changes {
        println!("{change}");
    }
    if changes.is_empty() {
        println!("{} items, nothing has changed", items.len());
    }
    Ok(())
}

/// Brings the table to these items, or with `dry_run` only says what would change.
///
/// # Errors
/// ClickHouse does not answer, refuses, or lacks the table.
pub async fn apply(config: &ClickHouseConfig, items: &[Item], dry_run: bool) -> anyhow::Result<Vec<Change>> {
    let client = Client::new(&config.http).context("set up the ClickHouse client")?;
    let table = MenuTable::new(client, &config.database);
    let changes = compare(&table.current().await?, &table.known_ids().await?, items);
    if !changes.is_empty() && !dry_run {
        table.apply(&changes).await.context("write the menu")?;
    }
    Ok(changes)
}

/// What has to change for `current`, the items that the table says are on the menu, to become `wanted`.
pub fn compare(current: &[Item], known_ids: &[String], wanted: &[Item]) -> Vec<Change> {
    let find = |items: &[Item], id: &str| items.iter().find(|item| item.id == id).cloned();
    let mut changes = Vec::new();
    for item in wanted {
        match find(current, &item.id) {
            Some(from) if from == *item => {}
            Some(from) => changes.push(Change::Changed { from, to: item.clone() }),
            None if known_ids.contains(&item.id) => changes.push(Change::Returned(item.clone())),
            None => changes.push(Change::Added(item.clone())),
        }
    }
    let gone = current.iter().filter(|item| find(wanted, &item.id).is_none());
    changes.extend(gone.cloned().map(Change::Gone));
    changes
}

impl fmt::Display for Change {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Change::Added(item) => write!(out, "added    {item}"),
            Change::Returned(item) => write!(out, "returned {item}"),
            Change::Changed { from, to } => write!(out, "changed  {from}\n      to {to}"),
            Change::Gone(item) => write!(out, "gone     {item}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(id: &str, cents: i64) -> Item {
        let (name, restaurant, category) = ("n".to_owned(), "r".to_owned(), "c".to_owned());
        Item { id: id.to_owned(), name, restaurant, category, price_cents: cents, available: true }
    }

    #[test]
    fn only_what_differs_changes() {
        let current = [item("1", 100), item("2", 200), item("3", 300)];
        let wanted = [item("1", 100), item("2", 250), item("4", 400), item("5", 500)];
        let known = ["1", "2", "3", "4"].map(str::to_owned);
        let expected = [
            Change::Changed { from: item("2", 200), to: item("2", 250) },
            Change::Returned(item("4", 400)),
            Change::Added(item("5", 500)),
            Change::Gone(item("3", 300)),
        ];
        assert_eq!(compare(&current, &known, &wanted), expected);
        assert!(compare(&current, &known, &current).is_empty());
    }
}
