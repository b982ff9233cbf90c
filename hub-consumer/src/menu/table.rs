//! The table `menu_items`, where each row is an item from one second to another, and its dictionary.

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use super::{Change, Item};
use crate::clickhouse::client::{Client, QueryError, literal, quoted};

/// The last second of what has no end yet: near the end of ClickHouse's `DateTime`.
const NO_END: &str = "2106-01-01 00:00:00";

/// The table of one database.
pub(super) struct MenuTable {
    client: Client,
    database: String,
}

impl MenuTable {
    pub(super) fn new(client: Client, database: &str) -> Self {
        MenuTable { client, database: database.to_owned() }
    }

    /// The items that have no end yet.
    pub(super) async fn current(&self) -> anyhow::Result<Vec<Item>> {
        let latest = |column: &str| format!("argMax({column}, written_at)");
        let sql = format!(
            "SELECT item_id, {}, {}, {}, toInt64({} * 100), {} FROM {} GROUP BY item_id, valid_from \
             HAVING {} = toDateTime('{NO_END}', 'UTC') ORDER BY item_id FORMAT JSONCompactEachRow \
             SETTINGS output_format_json_quote_64bit_integers = 0",
            latest("name"),
            latest("restaurant"),
            latest("category"),
            latest("price"),
            latest("available"),
            self.name(),
            latest("valid_to"),
        );
        let printed = self.ask(&sql).await?;
        printed.lines().map(read_item).collect()
    }

    /// Every id that was ever there.
    pub(super) async fn known_ids(&self) -> anyhow::Result<Vec<String>> {
        let printed = self
            .ask(&format!("SELECT DISTINCT item_id FROM {} FORMAT JSONCompactEachRow", self.name()))
            .await?;
        printed
            .lines()
            .map(|line| {
                let [id]: [String; 1] = serde_json::from_str(line).context("read an id of the menu")?;
                Ok(id)
            })
            .collect()
    }

    /// Writes the changes as of now, and lets the dictionary have them at once.
    pub(super) async fn apply(&self, changes: &[Change]) -> anyhow::Result<()> {
        // One clock for both ends, and the server's: what ended and what follows must not leave a second out.
        let now = self.ask("SELECT toUnixTimestamp(now()) FORMAT TSV").await?;
        let now: u64 = now.trim().parse().context("read the server's time")?;
        let mut rows = String::new();
        for change in changes {
            match change {
                Change::Added(item) => rows += &row(item, &json!(0), &json!(NO_END)),
                Change::Returned(item) => rows += &row(item, &json!(now), &json!(NO_END)),
                Change::Changed { from, to } => {
                    rows += &row(from, &self.begin_of(from).await?, &json!(now - 1));
                    rows += &row(to, &json!(now), &json!(NO_END));
                }
                Change::Gone(item) => rows += &row(item, &self.begin_of(item).await?, &json!(now - 1)),
            }
        }
        let sql = format!(
            "INSERT INTO {} (item_id, valid_from, valid_to, name, restaurant, category, price, available) FORMAT JSONEachRow\n{rows}",
            self.name()
        );
        let settings = [("async_insert", "0"), ("session_timezone", "UTC")];
        self.client.query(&sql, &settings).await.context("insert the items")?;
        self.ask(&format!("SYSTEM RELOAD DICTIONARY {}.menu", quoted(&self.database))).await?;
        Ok(())
    }

    /// When the item's current state began.
    async fn begin_of(&self, item: &Item) -> anyhow::Result<Value> {
        let sql = format!(
            "SELECT toUnixTimestamp(max(valid_from)) FROM {} WHERE item_id = {} FORMAT TSV",
            self.name(),
            literal(&item.id)
        );
        let seconds: u64 = self.ask(&sql).await?.trim().parse().context("read when an item began")?;
        Ok(json!(seconds))
    }

    async fn ask(&self, sql: &str) -> anyhow::Result<String> {
        self.client.query(sql, &[]).await.map_err(|failure| match failure {
            QueryError::Server { code: 60, .. } => {
                anyhow::anyhow!("there is no table {}: run `hub-consumer migrate` first", self.name())
            }
            failure => anyhow::Error::new(failure).context("ask ClickHouse about the menu"),
        })
    }

    fn name(&self) -> String {
        format!("{}.menu_items", quoted(&self.database))
    }
}

fn row(item: &Item, valid_from: &Value, valid_to: &Value) -> String {
    let row = json!({
        "item_id": item.id,
        "valid_from": valid_from,
        "valid_to": valid_to,
        "name": item.name,
        "restaurant": item.restaurant,
        "category": item.category,
        "price": item.price(),
        "available": item.available,
    });
    format!("{row}\n")
}

fn read_item(line: &str) -> anyhow::Result<Item> {
    let fields: Vec<Value> = serde_json::from_str(line).context("read an item of the menu")?;
    ensure!(fields.len() == 6, "an item of the menu has six fields");
    let text = |index: usize| fields[index].as_str().map(str::to_owned).context("an item's field is no text");
    Ok(Item {
        id: text(0)?,
        name: text(1)?,
        restaurant: text(2)?,
        category: text(3)?,
        price_cents: fields[4].as_i64().context("a price is no number")?,
        available: fields[5].as_bool().context("availability is no truth value")?,
    })
}
