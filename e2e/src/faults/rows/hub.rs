//! The hub is cut off, the edge is not.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use devstack::{Endpoints, Link, Part, Stack, StackOptions};

use crate::faults::arena::Arena;
use crate::faults::ledger::Ledger;
use crate::faults::load::{Load, LoadOptions};
use crate::faults::outcome::Outcome;
use crate::faults::reader::Reader;
use crate::faults::verdict::Verdict;
use crate::line::wait_for;
use crate::process::PATIENCE;
use crate::{Line, LineOptions};

/// N04, the edge's part: it keeps its promise while the hub cannot reach the brokers, and the hub catches up.
pub(in crate::faults) async fn hub_cut_off(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let cluster = arena.solo().await?;
    let stores =
        tokio::task::spawn_blocking(|| Stack::up(StackOptions::own(&[Part::Clickhouse, Part::Mimir])));
    let stores = stores.await.context("start the stores")?.context("start the stores")?;
    let endpoints = Endpoints { kafka_brokers: cluster.door(0).brokers(), ..stores.endpoints().clone() };
    let name = arena.name("N04");
    let mut options = LineOptions::new(&name, &arena.folder.join(&name));
    options.hub_brokers = Some(cluster.door(1).brokers());
    let mut line = Line::start(&endpoints, options).await?;
    let ledger = Arc::new(Ledger::default());
    let load = Load::start(&line.sender()?, &ledger, 1, &LoadOptions::mixed(arena.seed));
    for round in 0..repeats {
        load.acked(100, PATIENCE).await?;
        cluster.door(1).set([Link::Cut, Link::Held, Link::HalfOpen][round as usize % 3]);
        tokio::time::sleep(Duration::from_secs(5)).await;
        load.acked(200, PATIENCE).await.context("the edge does not need the hub")?;
        cluster.door(1).set(Link::Open);
    }
    load.stop().await?;
    let counts = ledger.counts();
    outcome.check(counts.acked > 0 && counts.unknown + counts.refused == 0, format!("{:?}", ledger.words()));
    catches_up(&line, &ledger).await?;
    // The edge ends before the topics are judged: it could still publish.
    line.edge.take().context("the edge runs")?.stop().await?;
    let mut reader =
        Reader::start(cluster.brokers(), &format!("{name}-oracle"), |signal| line.topic(signal))?;
    reader.read_to_the_end().await?;
    outcome.verdict.add(Verdict::of(&ledger, &reader.close().await));
    // The hub needs the stores until it has ended.
    line.stop_hub().await?;
    Ok(outcome)
}

/// Waits until the store has every acked log record; what a hub does twice is not this row's question.
async fn catches_up(line: &Line, ledger: &Ledger) -> Result<()> {
    let acked: u64 = ledger
        .requests()
        .iter()
        .filter(|sent| sent.is_acked() && sent.signal == telemetry_wire::Signal::Logs)
        .map(|sent| u64::from(sent.count))
        .sum();
    let clickhouse = line.clickhouse();
    wait_for("everything acked in the store", async || {
        let sql = "SELECT uniqExact(LogAttributes['fault.id']) FROM otel_logs";
        let stored = clickhouse.number(sql).await?;
        Ok(if stored >= acked { Ok(()) } else { Err(format!("{stored} of {acked}")) })
    })
    .await
}
