//! The table `order_outcomes`: an order is in it once, with its outcome, from when it is decided.

use std::{
    collections::{BTreeMap, HashMap},
    time::Duration,
};

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::json;
use xxhash_rust::xxh3::xxh3_128;

use super::{
    book::{Decision, Owed},
    order::{Millis, Outcome, Point, millis},
};
use crate::clickhouse::client::{Client, QueryError, literal, quoted};

/// Orders of one question or one insert.
const BATCH: usize = 1000;

/// The table, and its sums.
#[derive(Debug)]
pub(super) struct Outcomes {
    client: Client,
    table: String,
    sums: BTreeMap<Sums, u64>,
    points: BTreeMap<At, u64>,
}

/// What outcomes are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Sums {
    pub(super) market: String,
    pub(super) restaurant: String,
    pub(super) outcome: Outcome,
}

/// What orders at a point are counted by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct At {
    pub(super) market: String,
    pub(super) restaurant: String,
    pub(super) partition: String,
    pub(super) point: Point,
}

impl Outcomes {
    pub(super) fn new(client: Client, database: &str) -> Self {
        let table = format!("{}.order_outcomes", quoted(database));
        Self { client, table, sums: BTreeMap::new(), points: BTreeMap::new() }
    }

    /// Reads the sums anew.
    pub(super) async fn load(&mut self) -> anyhow::Result<()> {
        let sql = format!(
            "SELECT market, restaurant, partition, outcome, points, count() FROM {} GROUP BY ALL FORMAT JSONCompactEachRow \
             SETTINGS output_format_json_quote_64bit_integers = 0",
            self.table
        );
        let printed = self.ask(&sql, &[]).await?;
        (self.sums, self.points) = Default::default();
        for line in printed.lines() {
            let (market, restaurant, partition, outcome, points, orders): (
                String,
                String,
                String,
                String,
                u8,
                u64,
            ) = serde_json::from_str(line).context("read a sum of outcomes")?;
            let outcome = Outcome::of(&outcome).with_context(|| format!("`{outcome}` is no outcome"))?;
            self.add([market, restaurant, partition], outcome, points, orders);
        }
        Ok(())
    }

    /// Orders since `now` − `lookback` that were decided to be unconfirmed.
    pub(super) async fn unconfirmed(&self, now: Timestamp, lookback: Duration) -> anyhow::Result<Vec<Owed>> {
        let since = now.as_millisecond() - millis(lookback);
        let sql = format!(
            "SELECT order_id, market, restaurant, toUnixTimestamp64Milli(captured_at) FROM {} WHERE outcome = {} \
             AND captured_at >= fromUnixTimestamp64Milli({since}) FORMAT JSONCompactEachRow \
             SETTINGS output_format_json_quote_64bit_integers = 0",
            self.table,
            literal(Outcome::Unconfirmed.as_str()),
        );
        let printed = self.ask(&sql, &[]).await?;
        let read = |line: &str| {
            let (order_id, market, restaurant, captured_at): (String, String, String, Millis) =
                serde_json::from_str(line).context("read an order that is owed")?;
            Ok(Owed { order_id, market, restaurant, captured_at })
        };
        printed.lines().map(read).collect()
    }

    /// Those of the orders that are decided already, with their outcome.
    pub(super) async fn known(&self, orders: &[Decision]) -> anyhow::Result<HashMap<String, Outcome>> {
        let mut known = HashMap::new();
        for batch in orders.chunks(BATCH) {
            let ids: Vec<String> = batch.iter().map(|order| literal(&order.order_id)).collect();
            let sql = format!(
                "SELECT order_id, outcome FROM {} WHERE order_id IN ({}) FORMAT JSONCompactEachRow",
                self.table,
                ids.join(", ")
            );
            for line in self.ask(&sql, &[]).await?.lines() {
                let (id, outcome): (String, String) =
                    serde_json::from_str(line).context("read a decided order")?;
                known.extend(Outcome::of(&outcome).map(|outcome| (id, outcome)));
            }
        }
        Ok(known)
    }

    /// Inserts what is decided, and counts it when it is stored.
    pub(super) async fn insert(&mut self, decisions: &[Decision]) -> anyhow::Result<()> {
        for batch in decisions.chunks(BATCH) {
            let rows: String = batch.iter().map(row).collect();
            // Sent again after an answer that was lost, the same rows are taken once.
            let token = format!("{:032x}", xxh3_128(rows.as_bytes()));
            let sql = format!(
                "INSERT INTO {} (order_id, market, restaurant, partition, outcome, points, amount, trace_id, captured_at) \
                 FORMAT JSONEachRow\n{rows}",
                self.table
            );
            let settings = [
                ("async_insert", "0"),
                ("insert_deduplicate", "1"),
                ("insert_deduplication_token", token.as_str()),
                ("session_timezone", "UTC"),
            ];
            self.ask(&sql, &settings).await?;
            for decision in batch {
                let Decision { market, restaurant, partition, outcome, points, .. } = decision;
                let place = [market, restaurant, partition].map(Clone::clone);
                self.add(place, *outcome, *points, 1);
            }
        }
        Ok(())
    }

    /// Orders by market, restaurant and outcome.
    pub(super) fn sums(&self) -> impl Iterator<Item = (&Sums, u64)> {
        self.sums.iter().map(|(sums, orders)| (sums, *orders))
    }

    /// Orders that should be at a restaurant, by where they go and the points that have seen them.
    pub(super) fn points(&self) -> impl Iterator<Item = (&At, u64)> {
        self.points.iter().map(|(at, orders)| (at, *orders))
    }

    fn add(
        &mut self,
        [market, restaurant, partition]: [String; 3],
        outcome: Outcome,
        points: u8,
        orders: u64,
    ) {
        for point in Point::ALL.into_iter().filter(|point| outcome.is_for_restaurant() && point.is_in(points))
        {
            let (market, restaurant) = (market.clone(), restaurant.clone());
            let at = At { market, restaurant, partition: partition.clone(), point };
            *self.points.entry(at).or_default() += orders;
        }
        *self.sums.entry(Sums { market, restaurant, outcome }).or_default() += orders;
    }

    async fn ask(&self, sql: &str, settings: &[(&str, &str)]) -> anyhow::Result<String> {
        self.client.query(sql, settings).await.map_err(|failure| match failure {
            QueryError::Server { code: 60, .. } => {
                anyhow::anyhow!("there is no table {}: run `hub-consumer migrate` first", self.table)
            }
            failure => anyhow::Error::new(failure).context("ask ClickHouse about outcomes"),
        })
    }
}

fn row(decision: &Decision) -> String {
    // What was received is of this century; a clock that says otherwise makes it the epoch.
    let captured_at = Timestamp::from_millisecond(decision.captured_at).unwrap_or_default();
    let row = json!({
        "order_id": decision.order_id,
        "market": decision.market,
        "restaurant": decision.restaurant,
        "partition": decision.partition,
        "outcome": decision.outcome.as_str(),
        "points": decision.points,
        "amount": decision.amount,
        "trace_id": decision.trace_id,
        "captured_at": captured_at.strftime("%Y-%m-%d %H:%M:%S%.3f").to_string(),
    });
    format!("{row}\n")
}
