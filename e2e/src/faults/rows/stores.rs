//! The stores fail while hubs write: killed, gone for long, silent, and with renames that take their time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use devstack::{Direction, Link, Server};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use prost::Message as _;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use telemetry_wire::Signal;

use crate::faults::arena::Arena;
use crate::faults::hubs::{Hubs, INSERT_TIMEOUT, MEMBERS, on};
use crate::faults::injection::Injection;
use crate::faults::outcome::Outcome;
use crate::line::wait_for;
use crate::process::resident_bytes;
use crate::sender::Answer;

/// A hub that waits for its store holds no more than this: three signals' windows, and what it is itself.
const MOST_BYTES_WAITING: u64 = 512 << 20;

/// X15: ClickHouse is killed while it inserts, and comes back.
pub(in crate::faults) async fn clickhouse_killed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let hubs = Hubs::start(arena, "X15").await?;
    let mut random = StdRng::seed_from_u64(arena.seed);
    for _ in 0..repeats {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..1500))).await;
        hubs.restart_clickhouse().await?;
    }
    hubs.judge(Outcome::of(repeats)).await
}

/// X16: hubs and ClickHouse are killed together.
pub(in crate::faults) async fn both_killed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut hubs = Hubs::start(arena, "X16").await?;
    let mut random = StdRng::seed_from_u64(arena.seed);
    for _ in 0..repeats {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..1500))).await;
        let member = random.random_range(0..MEMBERS);
        hubs.members[member].kill()?;
        hubs.restart_clickhouse().await?;
        hubs.members[member].wait().await?;
        hubs.restart_member(member)?;
    }
    hubs.judge(Outcome::of(repeats)).await
}

/// X17: as X15, and each rename takes its time: ClickHouse keeps a token before the part has its name.
pub(in crate::faults) async fn renames_delayed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let hubs = Hubs::start(arena, "X17").await?;
    let mut random = StdRng::seed_from_u64(arena.seed);
    let mut delayed = 0;
    for round in 0..repeats {
        let pid = hubs.stores.clickhouse().pid().and_then(|pid| u32::try_from(pid).ok());
        let log = arena.folder.join(format!("renames-{round}.log"));
        let injection = Injection::all("rename,renameat,renameat2", "delay_enter=300000");
        let attached = injection.attach(pid.context("ClickHouse runs")?, log)?;
        tokio::time::sleep(Duration::from_millis(random.random_range(700..2500))).await;
        hubs.restart_clickhouse().await?;
        delayed += attached.injected();
    }
    outcome.check(delayed > repeats as usize, format!("renames were delayed: {delayed}"));
    outcome.note(format!("{delayed} renames delayed by 0.3 s"));
    hubs.judge(outcome).await
}

/// H01: ClickHouse is gone for long. Metrics go on, memory stays bounded, and nothing is missing afterwards.
pub(in crate::faults) async fn clickhouse_away(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let hubs = Hubs::start(arena, "H01").await?;
    for round in 0..repeats {
        on(hubs.stores.clickhouse(), Server::kill).await?;
        let before = metrics_committed(&hubs).await?;
        tokio::time::sleep(Duration::from_secs(20)).await;
        let passed = metrics_committed(&hubs).await? - before;
        outcome.check(passed > 0, format!("round {round}: metrics go on meanwhile, {passed} records"));
        for member in &hubs.members {
            let bytes = resident_bytes(member.pid())?;
            outcome.check(bytes < MOST_BYTES_WAITING, format!("round {round}: a hub holds {bytes} bytes"));
        }
        on(hubs.stores.clickhouse(), Server::start).await?;
        hubs.acked(50).await?;
    }
    hubs.judge(outcome).await
}

async fn metrics_committed(hubs: &Hubs) -> Result<i64> {
    Ok(hubs.line.committed(Signal::Metrics).await?.iter().map(|(_, offset)| offset).sum())
}

/// H02: ClickHouse does what it is asked, and its answers come after the hub has stopped waiting, or never.
pub(in crate::faults) async fn answers_lost(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let hubs = Hubs::start(arena, "H02").await?;
    for round in 0..repeats {
        let silence = [Link::Lossy(Direction::ToClient), Link::Held][round as usize % 2];
        hubs.door.set(silence);
        tokio::time::sleep(INSERT_TIMEOUT + Duration::from_secs(2)).await;
        hubs.door.set(Link::Open);
        hubs.acked(100).await?;
    }
    hubs.judge(Outcome::of(repeats)).await
}

/// M01: Mimir is killed and comes back while points flow; each is there.
pub(in crate::faults) async fn mimir_killed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let hubs = Hubs::start(arena, "M01").await?;
    let sender = hubs.line.sender()?;
    let mut sent = 0_u64;
    for _ in 0..repeats {
        for phase in 0..3 {
            match phase {
                1 => on(hubs.stores.mimir(), Server::kill).await?,
                2 => on(hubs.stores.mimir(), Server::start).await?,
                _ => {}
            }
            for _ in 0..50 {
                let answer = sender.send_http(Signal::Metrics, point(sent)).await;
                ensure!(answer == Answer::Acked, "the edge takes points: {answer:?}");
                sent += 1;
            }
        }
    }
    wait_for("every point in Mimir", async || {
        let found = hubs.line.mimir().number("count(count_over_time(m01_point[1h]))").await? as u64;
        Ok(if found == sent { Ok(()) } else { Err(format!("{found} of {sent}")) })
    })
    .await?;
    outcome.note(format!("{sent} points, each a series of its own, all in Mimir"));
    outcome.verdict.acked += sent;
    outcome.verdict.delivered += sent;
    hubs.judge(outcome).await
}

/// A request of one point of now, whose series nobody else has.
fn point(number: u64) -> Vec<u8> {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(format!("p{number}"))) });
    let attributes = vec![KeyValue { key: "point".to_owned(), value, ..KeyValue::default() }];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let data_points = vec![NumberDataPoint {
        attributes,
        time_unix_nano: u64::try_from(now.as_nanos()).unwrap_or(u64::MAX),
        value: Some(number_data_point::Value::AsInt(1)),
        ..NumberDataPoint::default()
    }];
    let data = Some(metric::Data::Gauge(Gauge { data_points }));
    let metrics = vec![Metric { name: "m01.point".to_owned(), data, ..Metric::default() }];
    let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}
