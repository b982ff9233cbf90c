//! The part of the examination that asks ClickHouse and Mimir.

use std::collections::BTreeMap;

use jiff::{Timestamp, fmt::rfc2822};
use reqwest::header::DATE;
use service_runtime::error_chain::ErrorChain;
use telemetry_wire::Signal;

use super::{Finding, Level, clock};
use crate::{
    app::Hub,
    clickhouse::{
        ClickHouseConfig,
        client::{Client, quoted},
        migrate::Migrator,
    },
    config::SignalConfig,
    decode::{LogRows, SpanRows},
    mimir::{MimirSink, config::MimirConfig},
    resend,
    sink::Verdict,
};

/// A disk with less free than this share will soon take no more parts.
const LEAST_FREE: f64 = 0.1;

const CLICKHOUSE: &str = "clickhouse";
const METRICS: &str = "metrics";

pub(super) async fn clickhouse(hub: &Hub) -> Vec<Finding> {
    let Some(config) = &hub.config.clickhouse else { return Vec::new() };
    let tables: Vec<_> = hub.config.signals.iter().filter(|of| of.signal != Signal::Metrics).collect();
    if tables.is_empty() {
        return Vec::new();
    }
    let url = config.http.url();
    let asked_from = now_ms();
    let Ok(client) = Client::new(&config.http) else {
        return vec![Finding::problem(CLICKHOUSE, "its TLS files cannot be used", "check clickhouse.tls")];
    };
    let answer = client.query("SELECT version(), toUnixTimestamp64Milli(now64(3))", &[]).await;
    let asked = (asked_from, now_ms());
    let (version, theirs) = match answer {
        Ok(answer) => match answer.trim().split_once('\t') {
            Some((version, millis)) => (version.to_owned(), millis.parse().unwrap_or(0)),
            None => (answer.trim().to_owned(), 0),
        },
        Err(failure) => {
            let found = format!("{url} does not answer as hoped: {}", ErrorChain(&failure));
            return vec![Finding::problem(CLICKHOUSE, found, "check clickhouse.url and its credentials")];
        }
    };
    let mut findings = vec![
        Finding::fine(CLICKHOUSE, format!("{url} answers; version {version}")),
        clock(CLICKHOUSE, CLICKHOUSE, theirs, asked, 0),
    ];
    let schema = schema(config).await;
    // What a migration makes is not told of a second time.
    let is_made = schema.as_ref().is_none_or(|finding| finding.level == Level::Fine);
    findings.extend(schema);
    for signal in tables.into_iter().filter(|_| is_made) {
        findings.push(Box::pin(table(hub, config, signal)).await);
    }
    findings.extend(disks(&client).await);
    findings.extend(replays(&client, config).await);
    findings
}

async fn schema(config: &ClickHouseConfig) -> Option<Finding> {
    let migrator = Migrator::new(config).ok()?;
    Some(match migrator.plan().await {
        Ok(plan) if plan.steps.is_empty() => {
            Finding::fine(CLICKHOUSE, format!("schema of database {} is up to date", config.database))
        }
        Ok(plan) => Finding::problem(
            CLICKHOUSE,
            format!("schema of database {} lacks {} steps", config.database, plan.steps.len()),
            "run `hub-consumer migrate`",
        ),
        Err(failure) => Finding::problem(
            CLICKHOUSE,
            ErrorChain(&failure).to_string(),
            "run `hub-consumer migrate --dry-run` of the version that is to be used, and compare",
        ),
    })
}

/// What `run` does before its first insert: the table's columns, its windows, and the proof on a scratch table.
async fn table(hub: &Hub, config: &ClickHouseConfig, signal: &SignalConfig) -> Finding {
    let opened = match signal.signal {
        // Nothing is inserted, so that no name of a cluster is needed: the brokers may be away.
        Signal::Logs => resend::open_table_in::<LogRows>(hub, config, signal, String::new()).await.map(drop),
        Signal::Traces | Signal::Metrics => {
            resend::open_table_in::<SpanRows>(hub, config, signal, String::new()).await.map(drop)
        }
    };
    let name = config.table_of(signal.signal);
    match opened {
        Ok(()) => Finding::fine(
            CLICKHOUSE,
            format!("table {name} takes our rows, and stores a block once that is sent twice"),
        ),
        Err(failure) => Finding::problem(
            CLICKHOUSE,
            ErrorChain(failure.as_ref()).to_string(),
            format!("mend it; until then nothing of {} is read", signal.topic),
        ),
    }
}

async fn disks(client: &Client) -> Vec<Finding> {
    // Disks without an end, as object stores, say so by a number that is none.
    let sql =
        "SELECT name, free_space / total_space FROM system.disks WHERE total_space BETWEEN 1 AND pow(2, 62)";
    let Ok(answer) = client.query(sql, &[]).await else { return Vec::new() };
    let disks = answer.lines().filter_map(|line| {
        let (name, free) = line.split_once('\t')?;
        Some((name, free.parse::<f64>().ok()?))
    });
    let finding = |(name, free): (&str, f64)| {
        let found = format!("disk {name} has {:.0} % free", 100.0 * free);
        if free >= LEAST_FREE {
            return Finding::fine(CLICKHOUSE, found);
        }
        Finding::warning(
            CLICKHOUSE,
            found,
            "give it room: parts that cannot be written make every insert fail",
        )
    };
    disks.map(finding).collect()
}

/// A lock on replays: a replay is at work, or was killed.
async fn replays(client: &Client, config: &ClickHouseConfig) -> Option<Finding> {
    let sql = "SELECT count() FROM system.tables WHERE database = {database:String} AND name = 'replay_lock'";
    let answer = client.query(sql, &[("param_database", &config.database)]).await.ok()?;
    let table = format!("{}.replay_lock", quoted(&config.database));
    (answer.trim() != "0").then(|| {
        Finding::warning(
            CLICKHOUSE,
            format!("a replay or redrive is at work in database {}, or was killed", config.database),
            format!("if none is at work, wait two minutes, or DROP TABLE {table}"),
        )
    })
}

pub(super) async fn metrics(hub: &Hub) -> Vec<Finding> {
    let signal = hub.config.signals.iter().find(|of| of.signal == Signal::Metrics);
    let (Some(config), Some(signal)) = (&hub.config.mimir, signal) else { return Vec::new() };
    let url = config.http.url();
    let Ok(sink) = MimirSink::new(config.clone(), hub.signal_metrics(signal)) else {
        return vec![Finding::problem(METRICS, "its TLS files cannot be used", "check mimir.tls")];
    };
    let mut findings = match sink.probe().await {
        Verdict::Wait { detail, .. } | Verdict::Unknown { detail, .. } => {
            let found = format!("{url} does not take requests: {detail}");
            return vec![Finding::problem(METRICS, found, "check mimir.url, and that it is up")];
        }
        Verdict::Alert { detail, .. } => {
            let found = format!("{url} refuses us: {detail}");
            let remedy = match &config.tenant {
                Some(_) => "check mimir.url, mimir.path, mimir.tenant and the credentials",
                None => "set mimir.tenant (none is sent), or check mimir.url, mimir.path and the credentials",
            };
            return vec![Finding::problem(METRICS, found, remedy)];
        }
        Verdict::Stored { .. } | Verdict::Divide { .. } | Verdict::Stale => {
            vec![Finding::fine(METRICS, format!("{url} takes requests"))]
        }
    };
    findings.extend(limits(config).await);
    findings
}

/// Mimir's limits against what we send. Other endpoints have no such page, and nothing is said.
async fn limits(config: &MimirConfig) -> Vec<Finding> {
    let Ok(client) = config.http.build() else { return Vec::new() };
    let asked_from = now_ms();
    let Ok(answer) = client.get("/config").send().await else { return Vec::new() };
    let asked = (asked_from, now_ms());
    let mut findings = Vec::new();
    let date = answer.headers().get(DATE).and_then(|date| date.to_str().ok());
    if let Some(date) = date.and_then(|date| rfc2822::parse(date).ok()) {
        findings.push(clock(METRICS, "the metrics endpoint", date.timestamp().as_millisecond(), asked, 1000));
    }
    let is_there = answer.status().is_success();
    let text = answer.text().await.unwrap_or_default();
    let limits = if is_there { section(&text, "limits") } else { BTreeMap::new() };
    let Some(burst) = limits.get("ingestion_burst_size").and_then(|text| text.parse::<u64>().ok()) else {
        return findings;
    };
    let points = config.max_request_points.get();
    let of_tenants = "these are the defaults; a tenant may have its own";
    findings.push(if burst < points {
        Finding::problem(
            METRICS,
            format!("ingestion_burst_size is {burst}, and our requests have up to {points} points"),
            "raise it, or lower mimir.max_request_points: every larger request is refused and sent in halves",
        )
    } else if burst < config.burst_points.get() {
        Finding::warning(
            METRICS,
            format!("ingestion_burst_size is {burst}, and mimir.burst_points is {}", config.burst_points),
            format!("set mimir.burst_points to it ({of_tenants})"),
        )
    } else {
        Finding::fine(METRICS, format!("ingestion_burst_size is {burst}"))
    });
    if let Some(window) = limits.get("out_of_order_time_window") {
        findings.push(
            if window.trim_start_matches('0').starts_with(|unit: char| unit.is_ascii_alphabetic()) {
                Finding::problem(
                    METRICS,
                    "out_of_order_time_window is 0: what is late is refused",
                    "set it above the longest outage that is to be survived",
                )
            } else {
                Finding::fine(METRICS, format!("samples may be late by {window} (out_of_order_time_window)"))
            },
        );
    }
    findings
}

/// The plain values of a top-level section of a YAML page that was written by a program.
fn section<'a>(yaml: &'a str, name: &str) -> BTreeMap<&'a str, &'a str> {
    let begin = format!("{name}:");
    let lines = yaml.lines().skip_while(|line| *line != begin).skip(1);
    let inside = lines.take_while(|line| line.starts_with(' '));
    let direct = inside.filter_map(|line| line.strip_prefix("    ")).filter(|line| !line.starts_with(' '));
    direct.filter_map(|line| line.split_once(": ")).collect()
}

fn now_ms() -> i64 {
    Timestamp::now().as_millisecond()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_values_directly_in_the_section_are_read() {
        let page = "server:\n    rate: 1\nlimits:\n    rate: 2\n    nested:\n        rate: 3\n    burst: 4\nother:\n    rate: 5\n";
        assert_eq!(section(page, "limits"), BTreeMap::from([("rate", "2"), ("burst", "4")]));
        assert_eq!(section(page, "missing"), BTreeMap::new());
    }
}
