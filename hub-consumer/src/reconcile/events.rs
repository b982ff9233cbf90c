//! The events of the flow as the table of log records has them, page by page.

use std::{collections::BTreeMap, time::Duration};

use anyhow::Context as _;
use jiff::Timestamp;

use super::{
    book::{Event, OrderEvent},
    order::{Kind, Millis, Seen},
};
use crate::clickhouse::{
    ClickHouseConfig,
    client::{Client, QueryError, literal, quoted},
};

/// Rows of a page; those of its last record are all in it.
const PAGE: usize = 50_000;
/// A page may read two days.
const TIMEOUT: Duration = Duration::from_secs(60);
/// The name of a market, a restaurant or a partition is not longer; it becomes a label.
const LONGEST_NAME: usize = 64;
const LONGEST_ID: usize = 128;

/// Reads on behind the last offset of each partition.
#[derive(Debug)]
pub(super) struct Events {
    client: Client,
    table: String,
    lookback: Duration,
    /// By topic and partition, the last offset that was read.
    read: BTreeMap<(String, u64), u64>,
    /// Whether the last page was the last one there is.
    is_at_end: bool,
}

/// Events of one page, and how many rows of it were none.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Page {
    pub(super) events: Vec<Event>,
    pub(super) refused: u64,
}

impl Events {
    pub(super) fn new(client: Client, config: &ClickHouseConfig, lookback: Duration) -> Self {
        let table = format!("{}.{}", quoted(&config.database), quoted(&config.logs_table));
        Self { client, table, lookback, read: BTreeMap::new(), is_at_end: false }
    }

    /// The next page; `None` once all that is stored is read, for this time.
    pub(super) async fn next_page(&mut self) -> anyhow::Result<Option<Page>> {
        if std::mem::take(&mut self.is_at_end) {
            return Ok(None);
        }
        let printed = self.client.query_within(&self.sql(), &[("session_timezone", "UTC")], TIMEOUT).await;
        let printed = printed.map_err(|failure| match failure {
            QueryError::Server { code: 60, .. } => {
                anyhow::anyhow!("there is no table {}: run `hub-consumer migrate` first", self.table)
            }
            failure => anyhow::Error::new(failure).context("read the events of orders"),
        })?;
        let rows: Result<Vec<Row>, _> = printed.lines().map(serde_json::from_str).collect();
        let rows = rows.context("read a row of events")?;
        self.is_at_end = rows.len() < PAGE;
        let mut page = Page::default();
        for row in rows {
            self.read.insert((row.0.clone(), row.1), row.2);
            match row.event() {
                Ok(Some(event)) => page.events.push(event),
                Ok(None) => {}
                Err(Unusable) => page.refused += 1,
            }
        }
        Ok(Some(page))
    }

    fn sql(&self) -> String {
        let attribute = |key: &str| format!("LogAttributes[{}]", literal(key));
        let known = self.read.iter().map(|((topic, partition), offset)| {
            let topic = literal(topic);
            format!("NOT (source_topic = {topic} AND source_partition = {partition} AND source_offset <= {offset})")
        });
        let known: Vec<String> = known.collect();
        let behind = if known.is_empty() { String::new() } else { format!(" AND {}", known.join(" AND ")) };
        format!(
            "SELECT source_topic, source_partition, source_offset, toUnixTimestamp64Milli(Timestamp), \
             toInt64(toUnixTimestamp(received_at)) * 1000, ServiceName, EventName, TraceId, {}, {}, {}, {}, {}, {}, {} \
             FROM {} WHERE startsWith(EventName, 'order.') AND Timestamp >= now() - INTERVAL {} SECOND{behind} \
             ORDER BY source_topic, source_partition, source_offset LIMIT {PAGE} WITH TIES FORMAT JSONCompactEachRow \
             SETTINGS output_format_json_quote_64bit_integers = 0",
            attribute("order.id"),
            attribute("order.kind"),
            attribute("order.market"),
            attribute("order.restaurant"),
            attribute("messaging.destination.partition.id"),
            attribute("order.amount"),
            attribute("order.due_at"),
            self.table,
            self.lookback.as_secs(),
        )
    }
}

/// Topic, partition, offset, time by the service, time by Kafka, service, event, trace, and the attributes: id, kind, market,
/// restaurant, partition, amount, due.
#[derive(Debug, serde::Deserialize)]
struct Row(
    String,
    u64,
    u64,
    Millis,
    Millis,
    String,
    String,
    String,
    String,
    String,
    String,
    String,
    String,
    String,
    String,
);

/// A row that calls itself an event of an order and says not of which.
#[derive(Debug, PartialEq)]
struct Unusable;

impl Row {
    /// `None` of a canary and of an event that says nothing about the outcome.
    fn event(self) -> Result<Option<Event>, Unusable> {
        let Row(
            _,
            _,
            _,
            own,
            received,
            service,
            event,
            trace_id,
            id,
            kind,
            market,
            restaurant,
            partition,
            amount,
            due,
        ) = self;
        // The broker did not say.
        let received = if received == 0 { own } else { received };
        let seen = Seen { own, received };
        if event == "order.heartbeat" {
            return Ok(Some(Event { service, seen, of: None }));
        }
        let (Some(known), "business") = (Kind::of(&event), kind.as_str()) else { return Ok(None) };
        let is_name = |name: &str| !name.is_empty() && name.len() <= LONGEST_NAME;
        if id.is_empty() || id.len() > LONGEST_ID || !is_name(&market) || !is_name(&restaurant) {
            return Err(Unusable);
        }
        let due_at = match due.as_str() {
            "" => None,
            text => Some(text.parse::<Timestamp>().map_err(|_| Unusable)?.as_millisecond()),
        };
        let of = OrderEvent {
            order_id: id,
            kind: known,
            market,
            restaurant,
            partition: if partition.len() <= LONGEST_NAME { partition } else { String::new() },
            trace_id,
            amount: amount.parse().unwrap_or_default(),
            due_at,
        };
        Ok(Some(Event { service, seen, of: Some(of) }))
    }
}

/// A row as the server prints it, to an event.
#[cfg(test)]
fn read(row: &serde_json::Value) -> Result<Option<Event>, Unusable> {
    serde_json::from_value::<Row>(row.clone()).expect("a row has its columns").event()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn row(event: &str, id: &str, kind: &str, due: &str) -> Value {
        json!([
            "t",
            0,
            7,
            2000,
            1000,
            "payment-provider",
            event,
            "",
            id,
            kind,
            "at",
            "at-r1",
            "3",
            "12.5",
            due
        ])
    }

    #[test]
    fn an_event_is_of_an_order_a_service_or_nothing_that_counts() {
        let event = read(&row("order.captured", "o-1", "business", "1970-01-02T00:00:00Z")).unwrap().unwrap();
        assert_eq!(event.seen, Seen { own: 2000, received: 1000 });
        let of = event.of.unwrap();
        assert_eq!((of.order_id.as_str(), of.amount, of.due_at), ("o-1", 12.5, Some(86_400_000)));
        assert_eq!(read(&row("order.heartbeat", "", "", "")).unwrap().unwrap().of, None);
        assert_eq!(read(&row("order.captured", "o-1", "canary", "")), Ok(None));
        assert_eq!(read(&row("order.sung", "o-1", "business", "")), Ok(None));
    }

    #[test]
    fn what_says_not_of_which_order_it_is_is_refused() {
        for (id, due) in [("", ""), (&"x".repeat(200) as &str, ""), ("o-1", "tomorrow")] {
            assert_eq!(read(&row("order.captured", id, "business", due)), Err(Unusable), "{id} {due}");
        }
    }
}
