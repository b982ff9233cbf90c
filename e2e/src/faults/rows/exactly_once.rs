//! Hubs and ClickHouse are killed, frozen and held up while records flow; afterwards the table has each record once.
//!
//! Three members share the groups. The judge is the table itself, by the id that every item bears, and `hub-consumer audit`,
//! which has to find nothing.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use devstack::{Endpoints, Part, Stack, StackOptions};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use telemetry_wire::Signal;

use crate::faults::arena::Arena;
use crate::faults::ledger::Ledger;
use crate::faults::load::{Load, LoadOptions};
use crate::faults::outcome::Outcome;
use crate::line::wait_for;
use crate::process::{PATIENCE, Program};
use crate::{Line, LineOptions};

/// Members of the groups.
const MEMBERS: usize = 3;
/// The shortest that brokers allow without being asked.
const SESSION_TIMEOUT: Duration = Duration::from_secs(6);

/// A line with several hubs, under load.
struct Hubs {
    line: Line,
    stores: Stack,
    members: Vec<Program>,
    ledger: Arc<Ledger>,
    load: Load,
}

impl Hubs {
    async fn start(arena: &mut Arena, row: &str) -> Result<Hubs> {
        let cluster = arena.solo().await?;
        let stores =
            tokio::task::spawn_blocking(|| Stack::up(StackOptions::own(&[Part::Clickhouse, Part::Mimir])));
        let stores = stores.await.context("start the stores")?.context("start the stores")?;
        let endpoints =
            Endpoints { kafka_brokers: cluster.brokers().to_owned(), ..stores.endpoints().clone() };
        let name = arena.name(row);
        let mut options = LineOptions::new(&name, &arena.folder.join(&name));
        // Many small blocks, so that faults find something under way.
        options.hub_env = vec![
            ("HUB__BLOCKS__MAX_AGE", "50ms".to_owned()),
            ("HUB__KAFKA__CONSUMER__SESSION_TIMEOUT", format!("{}s", SESSION_TIMEOUT.as_secs())),
            ("HUB__CLICKHOUSE__INSERT_TIMEOUT", "5s".to_owned()),
        ];
        let mut line = Line::start(&endpoints, options).await?;
        // Its members are started by name, so that each can be killed and come back.
        line.stop_hub().await?;
        let members =
            (0..MEMBERS).map(|member| line.start_member(&member_name(member))).collect::<Result<_>>()?;
        let ledger = Arc::new(Ledger::default());
        let load = Load::start(&line.sender()?, &ledger, 1, &LoadOptions::mixed(arena.seed));
        load.acked(50, PATIENCE).await?;
        Ok(Hubs { line, stores, members, ledger, load })
    }

    /// Kills a member where it is, and starts it again.
    async fn kill_member(&mut self, member: usize) -> Result<()> {
        self.members[member].signal("KILL")?;
        self.members[member].wait().await?;
        self.members[member] = self.line.start_member(&member_name(member))?;
        Ok(())
    }

    /// Lets everything come to rest, and looks at the table.
    async fn judge(self, mut outcome: Outcome) -> Result<Outcome> {
        let Hubs { mut line, stores, mut members, ledger, load } = self;
        load.stop().await?;
        let counts = ledger.counts();
        outcome.check(
            counts.unknown + counts.refused == 0,
            format!("the edge is healthy: {:?}", ledger.words()),
        );
        line.edge.take().context("the edge runs")?.stop().await?;
        wait_for("everything committed", async || {
            let uncommitted = line.uncommitted().await?;
            Ok(if uncommitted == 0 { Ok(()) } else { Err(format!("{uncommitted} records are not")) })
        })
        .await?;
        if let Err(error) = line.audit().await {
            outcome.check(false, format!("{error:#}"));
        }
        for (signal, table, attributes) in
            [(Signal::Logs, "otel_logs", "LogAttributes"), (Signal::Traces, "otel_traces", "SpanAttributes")]
        {
            let of_signal =
                ledger.requests().into_iter().filter(|sent| sent.is_acked() && sent.signal == signal);
            let acked: u64 = of_signal.map(|sent| u64::from(sent.count)).sum();
            let rows = line.clickhouse().count(table).await?;
            let sql = format!("SELECT uniqExact({attributes}['fault.id']) FROM {table}");
            let items = line.clickhouse().number(&sql).await?;
            outcome.verdict.acked += acked;
            outcome.verdict.delivered += items;
            outcome.verdict.lost += acked.saturating_sub(items);
            outcome.verdict.doubled += rows.saturating_sub(items);
        }
        outcome.check(outcome.verdict.acked > 0, "something was acked");
        for member in &mut members {
            member.stop().await?;
        }
        drop(stores);
        Ok(outcome)
    }
}

fn member_name(member: usize) -> String {
    format!("member-{member}")
}

/// H01: a hub is killed at a random moment, again and again.
pub(in crate::faults) async fn hub_killed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut hubs = Hubs::start(arena, "H01").await?;
    let mut random = StdRng::seed_from_u64(arena.seed);
    for _ in 0..repeats {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..700))).await;
        hubs.kill_member(random.random_range(0..MEMBERS)).await?;
    }
    hubs.judge(Outcome::of(repeats)).await
}

/// H02: a hub is stopped for longer than its session lasts, and wakes up when another has its partitions.
pub(in crate::faults) async fn hub_frozen(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut hubs = Hubs::start(arena, "H02").await?;
    let mut random = StdRng::seed_from_u64(arena.seed);
    for _ in 0..repeats {
        let member = random.random_range(0..MEMBERS);
        tokio::time::sleep(Duration::from_millis(random.random_range(0..1500))).await;
        hubs.members[member].signal("STOP")?;
        tokio::time::sleep(SESSION_TIMEOUT + Duration::from_millis(random.random_range(500..4000))).await;
        hubs.members[member].signal("CONT")?;
        // One that was thrown out of its group by static membership ends, as its supervisor would find it.
        tokio::time::sleep(Duration::from_millis(500)).await;
        if hubs.members[member].has_ended()? {
            hubs.members[member] = hubs.line.start_member(&member_name(member))?;
        }
    }
    hubs.judge(Outcome::of(repeats)).await
}

/// C01: ClickHouse is killed while it inserts, and comes back.
pub(in crate::faults) async fn clickhouse_killed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let hubs = Hubs::start(arena, "C01").await?;
    let mut random = StdRng::seed_from_u64(arena.seed);
    for _ in 0..repeats {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..1500))).await;
        restart(&hubs.stores).await?;
    }
    hubs.judge(Outcome::of(repeats)).await
}

/// C02: hubs and ClickHouse are killed together.
pub(in crate::faults) async fn both_killed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut hubs = Hubs::start(arena, "C02").await?;
    let mut random = StdRng::seed_from_u64(arena.seed);
    for _ in 0..repeats {
        tokio::time::sleep(Duration::from_millis(random.random_range(200..1500))).await;
        let member = random.random_range(0..MEMBERS);
        hubs.members[member].signal("KILL")?;
        restart(&hubs.stores).await?;
        hubs.members[member].wait().await?;
        hubs.members[member] = hubs.line.start_member(&member_name(member))?;
    }
    hubs.judge(Outcome::of(repeats)).await
}

/// Kills ClickHouse and starts it on what its disk has.
async fn restart(stores: &Stack) -> Result<()> {
    let clickhouse = stores.clickhouse().clone();
    let restarted = tokio::task::spawn_blocking(move || clickhouse.kill().and_then(|()| clickhouse.start()));
    restarted.await.context("restart ClickHouse")?.context("restart ClickHouse")
}
