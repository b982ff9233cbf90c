//! Rows are taken out of the tables by hand, and replays bring them back while records flow: twice, killed, two at once, beside
//! rebalances, without a broker. Afterwards the table has each record once.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use devstack::Server;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use telemetry_wire::Signal;

use crate::faults::arena::Arena;
use crate::faults::hubs::{Hubs, MEMBERS, on};
use crate::faults::outcome::Outcome;
use crate::line::wait_for;
use crate::process::Program;

const TABLES: [&str; 2] = ["otel_logs", "otel_traces"];
/// How long a replay may take beside the load and the faults.
const REPLAY: Duration = Duration::from_secs(300);
/// How often a replay that something came in the way of is run again.
const ATTEMPTS: usize = 20;

/// D01: a range is replayed twice, and every time what is there is left alone.
pub(in crate::faults) async fn twice(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let (mut outcome, hubs) = (Outcome::of(repeats), Hubs::start(arena, "D01").await?);
    let mut random = StdRng::seed_from_u64(arena.seed);
    let mut lost = 0;
    for round in 0..repeats {
        hubs.acked(300).await?;
        lost += take_rows(&hubs, &mut random).await?;
        for time in ["first", "second"] {
            let code = replay(&hubs, &[])?.wait_within(REPLAY).await?.code();
            outcome.check(code == Some(0), format!("round {round}: the {time} replay ends with {code:?}"));
        }
    }
    outcome.note(format!("{lost} rows were deleted by hand and brought back"));
    hubs.judge(outcome).await
}

/// X18: a replay is killed at a random moment, and the next one goes on at once.
pub(in crate::faults) async fn killed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let (mut outcome, hubs) = (Outcome::of(repeats), Hubs::start(arena, "X18").await?);
    let mut random = StdRng::seed_from_u64(arena.seed);
    let (mut lost, mut cut_off) = (0, 0);
    hubs.acked(500).await?;
    for _ in 0..repeats {
        lost += take_rows(&hubs, &mut random).await?;
        let mut victim = replay(&hubs, &["--rate", "2000"])?;
        tokio::time::sleep(Duration::from_millis(random.random_range(100..1500))).await;
        cut_off += u32::from(!victim.has_ended()?);
        victim.kill()?;
        victim.wait().await?;
        // As the runbook says, by one who knows that it is dead.
        hubs.line.clickhouse().query("DROP TABLE IF EXISTS replay_lock SYNC").await?;
    }
    outcome.check(cut_off > repeats / 2, format!("replays were cut off: {cut_off}"));
    outcome.note(format!("{lost} rows were deleted by hand; {cut_off} replays were cut off"));
    replay_to_the_end(&hubs).await?;
    hubs.judge(outcome).await
}

/// X19: hubs die, come and go while a replay is at work.
pub(in crate::faults) async fn beside_rebalances(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let (mut outcome, mut hubs) = (Outcome::of(repeats), Hubs::start(arena, "X19").await?);
    let mut random = StdRng::seed_from_u64(arena.seed);
    for round in 0..repeats {
        hubs.acked(200).await?;
        take_rows(&hubs, &mut random).await?;
        let mut replaying = replay(&hubs, &["--rate", "1000"])?;
        while !replaying.has_ended()? {
            tokio::time::sleep(Duration::from_millis(random.random_range(100..900))).await;
            let member = random.random_range(0..MEMBERS);
            hubs.kill_member(member).await?;
        }
        let code = replaying.wait_within(REPLAY).await?.code();
        outcome.check(code == Some(0), format!("round {round}: the replay ends with {code:?}"));
    }
    hubs.judge(outcome).await
}

/// X20: two replays of one range at once: one of them is refused, and the range is whole.
pub(in crate::faults) async fn two_at_once(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let (mut outcome, hubs) = (Outcome::of(repeats), Hubs::start(arena, "X20").await?);
    let mut random = StdRng::seed_from_u64(arena.seed);
    let mut refused = 0;
    for round in 0..repeats {
        hubs.acked(200).await?;
        take_rows(&hubs, &mut random).await?;
        let (mut one, mut other) = (replay(&hubs, &[])?, replay(&hubs, &[])?);
        let codes = [one.wait_within(REPLAY).await?.code(), other.wait_within(REPLAY).await?.code()];
        refused += codes.iter().filter(|code| **code == Some(2)).count();
        // The second may come when the first is through.
        outcome.check(codes.contains(&Some(0)), format!("round {round}: they end with {codes:?}"));
    }
    outcome.check(refused > 0, format!("replays were refused beside another: {refused}"));
    hubs.judge(outcome).await
}

/// X21: a partition is detached and attached, then one is dropped; each time a replay follows.
pub(in crate::faults) async fn partitions_lost(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let (mut outcome, hubs) = (Outcome::of(repeats), Hubs::start(arena, "X21").await?);
    for round in 0..repeats {
        hubs.acked(300).await?;
        for table in TABLES {
            let clickhouse = hubs.line.clickhouse();
            let active = "active AND database = currentDatabase() AND table";
            let of = format!("SELECT any(partition_id) FROM system.parts WHERE {active} = '{table}'");
            let id = wait_for("a part of the table", async || {
                let id = clickhouse.query(&of).await?.trim().to_owned();
                Ok(if id.is_empty() { Err("there is none".to_owned()) } else { Ok(id) })
            })
            .await?;
            let alter = async |what: &str| {
                clickhouse.query(&format!("ALTER TABLE {table} {what} PARTITION ID '{id}'")).await
            };
            alter("DETACH").await?;
            alter("ATTACH").await?;
            let code = replay(&hubs, &[])?.wait_within(REPLAY).await?.code();
            outcome.check(code == Some(0), format!("round {round}: after ATTACH it ends with {code:?}"));
            alter("DROP").await?;
            let code = replay(&hubs, &[])?.wait_within(REPLAY).await?.code();
            outcome.check(code == Some(0), format!("round {round}: after DROP it ends with {code:?}"));
        }
    }
    // What was stored and not yet committed when a partition was dropped.
    hubs.acked(100).await?;
    replay_to_the_end(&hubs).await?;
    hubs.judge(outcome).await
}

/// X22: the broker is killed in the middle of a replay.
pub(in crate::faults) async fn without_a_broker(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let (mut outcome, hubs) = (Outcome::of(repeats), Hubs::start(arena, "X22").await?);
    let cluster = arena.solo().await?;
    let mut random = StdRng::seed_from_u64(arena.seed);
    let mut under_way = 0;
    for _ in 0..repeats {
        hubs.acked(300).await?;
        take_rows(&hubs, &mut random).await?;
        let mut replaying = replay(&hubs, &["--rate", "500"])?;
        tokio::time::sleep(Duration::from_millis(random.random_range(300..1500))).await;
        under_way += u32::from(!replaying.has_ended()?);
        on(&cluster.servers()[0], Server::kill).await?;
        tokio::time::sleep(Duration::from_secs(2)).await;
        on(&cluster.servers()[0], Server::start).await?;
        // It goes on, or ends with an error and leaves the rest to the next.
        replaying.wait_within(REPLAY).await?;
        replay_to_the_end(&hubs).await?;
    }
    outcome.check(under_way > 0, format!("the broker went away in the middle: {under_way} times"));
    outcome.note(format!("{under_way} of {repeats} replays lost the broker in the middle"));
    hubs.judge(outcome).await
}

/// X23: poison is redriven again and again: it comes back as often as it may, and no more.
pub(in crate::faults) async fn poison_redriven(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    const POISON: usize = 5;
    const MOST_ATTEMPTS: i64 = 5;
    let (mut outcome, hubs) = (Outcome::of(repeats), Hubs::start(arena, "X23").await?);
    hubs.produce(Signal::Logs, 0, &vec![b"\xffpoison".to_vec(); POISON]).await?;
    hubs.acked(100).await?;
    let poison = i64::try_from(POISON)?;
    wait_for("the poison in the dead letters", async || {
        let (records, _) = hubs.dead_letters(Signal::Logs).await?;
        Ok(if records == poison { Ok(()) } else { Err(format!("{records} records")) })
    })
    .await?;
    for round in 0..repeats {
        let code = hubs.line.hub_command("redrive", &["--signal", "logs"])?.wait().await?.code();
        // What comes back, and what is given up, is not stored.
        outcome.check(code == Some(1), format!("redrive {round} ends with {code:?}"));
    }
    let (records, letters) = hubs.dead_letters(Signal::Logs).await?;
    let most = poison * (1 + MOST_ATTEMPTS.min(i64::from(repeats)));
    // A letter of the hub itself may be there twice, when its partition moved.
    outcome.check(
        records == poison && (most..=most + poison).contains(&letters),
        format!("{letters} letters of {records} records after {repeats} redrives"),
    );
    outcome.note(format!("{letters} letters of {records} poisoned records after {repeats} redrives"));
    hubs.judge(outcome).await
}

/// Deletes a random part of what the tables have, whole records; how many rows.
async fn take_rows(hubs: &Hubs, random: &mut StdRng) -> Result<u64> {
    let clickhouse = hubs.line.clickhouse();
    let (salt, share) = (random.random_range(0..1000), random.random_range(2..6));
    let mut rows = 0;
    for (table, signal) in TABLES.into_iter().zip([Signal::Logs, Signal::Traces]) {
        // What is not committed is the hubs' to store.
        let committed = wait_for("something committed", async || {
            let committed = hubs.line.committed(signal).await?;
            Ok(if committed.is_empty() { Err("nothing yet".to_owned()) } else { Ok(committed) })
        });
        let below = committed.await?.into_iter().map(|(partition, offset)| {
            format!("source_partition = {partition} AND source_offset < {offset}")
        });
        let below = below.collect::<Vec<_>>().join(" OR ");
        let of_records = "intHash32(source_partition * 65536 + source_offset";
        let which = format!("({below}) AND {of_records} + {salt}) % {share} = 0");
        rows += clickhouse.number(&format!("SELECT count() FROM {table} WHERE {which}")).await?;
        let sql = format!("ALTER TABLE {table} DELETE WHERE {which} SETTINGS mutations_sync = 1");
        clickhouse.query(&sql).await?;
    }
    Ok(rows)
}

fn replay(hubs: &Hubs, args: &[&str]) -> Result<Program> {
    hubs.line.hub_command("replay", args)
}

/// Replays until nothing is missing.
async fn replay_to_the_end(hubs: &Hubs) -> Result<()> {
    let mut last = None;
    for _ in 0..ATTEMPTS {
        let mut replaying = replay(hubs, &[])?;
        let status = replaying.wait_within(REPLAY).await?;
        if status.success() {
            return Ok(());
        }
        last = Some(replaying.tail());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    ensure!(last.is_none(), "no replay came to its end: {}", last.context("the last one said something")?);
    Ok(())
}
