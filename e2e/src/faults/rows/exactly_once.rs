//! Hubs are killed, frozen, moved about and moved back while records flow; afterwards the table has each record once.

use std::time::Duration;

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use telemetry_wire::Signal;

use crate::faults::arena::Arena;
use crate::faults::hubs::{Hubs, MEMBERS, SESSION_TIMEOUT};
use crate::faults::outcome::Outcome;
use crate::line::wait_for;
use crate::process::PATIENCE;

/// C01: a hub is killed at a random moment, again and again.
pub(in crate::faults) async fn killed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut hubs = Hubs::start(arena, "C01").await?;
    let mut random = StdRng::seed_from_u64(arena.seed);
    for _ in 0..repeats {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..700))).await;
        hubs.kill_member(random.random_range(0..MEMBERS)).await?;
    }
    hubs.judge(Outcome::of(repeats)).await
}

/// A step of the protocol, and what a hub logs when it takes it.
const STEPS: [(&str, &str); 7] = [
    ("a block is announced", r#""step":"Announce""#),
    ("the announcement is committed", "commit is answered"),
    ("an insert is sent", r#""step":"Insert""#),
    ("an insert is confirmed", r#""step":"Settled""#),
    ("the table is read back", r#""step":"ReadBack""#),
    ("missing rows are inserted", r#""step":"Repair""#),
    ("a dead letter is written", r#""step":"DeadLetter""#),
];

/// C02: a hub is killed at every step that it takes for a block.
pub(in crate::faults) async fn killed_at_steps(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut hubs = Hubs::start(arena, "C02").await?;
    let mut random = StdRng::seed_from_u64(arena.seed);
    let mut struck = [0; STEPS.len()];
    for round in 0..repeats as usize {
        let step = round % STEPS.len();
        let member = random.random_range(0..MEMBERS);
        match STEPS[step].0 {
            // Who takes over reads back.
            "the table is read back" => hubs.kill_member(member).await?,
            "missing rows are inserted" => lose_rows_behind_positions(&mut hubs).await?,
            "a dead letter is written" => {
                for partition in 0..4 {
                    hubs.produce(Signal::Logs, partition, &[b"\xffpoison".to_vec()]).await?;
                }
            }
            _ => {}
        }
        let is_reached = hubs.members[member].logs(STEPS[step].1, Duration::from_secs(12)).await?;
        hubs.kill_member(member).await?;
        struck[step] += u32::from(is_reached);
    }
    let counts: Vec<String> =
        STEPS.iter().zip(struck).map(|((name, _), times)| format!("{name}: {times}")).collect();
    outcome.check(
        repeats < STEPS.len() as u32 || struck.iter().all(|times| *times > 0),
        format!("every step is struck: {}", counts.join(", ")),
    );
    outcome.note(format!("killed when {}", counts.join(", ")));
    hubs.judge(outcome).await
}

/// Moves the groups back, and deletes some of the rows that they will read again.
async fn lose_rows_behind_positions(hubs: &mut Hubs) -> Result<()> {
    hubs.stop_members().await?;
    for (signal, table) in [(Signal::Logs, "otel_logs"), (Signal::Traces, "otel_traces")] {
        for (partition, offset) in hubs.line.committed(signal).await? {
            let from = (offset - 20).max(0);
            hubs.line.set_committed(signal, partition, from, "").await?;
            let sql = format!(
                "ALTER TABLE {table} DELETE WHERE source_partition = {partition} AND source_offset >= {from} \
                 AND source_offset % 3 = 0 SETTINGS mutations_sync = 1"
            );
            hubs.line.clickhouse().query(&sql).await?;
        }
    }
    hubs.start_members()
}

/// C03: members come, go and die, faster than the groups come to rest.
pub(in crate::faults) async fn rebalances(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut hubs = Hubs::start(arena, "C03").await?;
    let mut random = StdRng::seed_from_u64(arena.seed);
    let mut guests = Vec::new();
    for round in 0..repeats {
        tokio::time::sleep(Duration::from_millis(random.random_range(0..900))).await;
        let member = random.random_range(0..MEMBERS);
        match random.random_range(0..4) {
            0 => hubs.kill_member(member).await?,
            1 => {
                hubs.members[member].stop().await?;
                hubs.restart_member(member)?;
            }
            // Under a name of its own, so that partitions move to it, and from it when it ends.
            2 => guests.push(hubs.line.start_member(&format!("guest-{round}"))?),
            _ if guests.is_empty() => {}
            _ => {
                let mut guest = guests.swap_remove(random.random_range(0..guests.len()));
                if random.random_bool(0.5) {
                    guest.kill()?
                } else {
                    guest.signal("TERM")?
                }
                guest.wait().await?;
            }
        }
        if guests.len() > 2 {
            guests.remove(0).stop().await?;
        }
    }
    for mut guest in guests {
        guest.stop().await?;
    }
    hubs.judge(Outcome::of(repeats)).await
}

/// C04: a hub is stopped for longer than its session lasts, and wakes up when another has its partitions.
pub(in crate::faults) async fn frozen(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut hubs = Hubs::start(arena, "C04").await?;
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
            hubs.restart_member(member)?;
        }
    }
    hubs.judge(Outcome::of(repeats)).await
}

/// X13: somebody moves the groups back and erases what was announced.
pub(in crate::faults) async fn positions_moved(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut hubs = Hubs::start(arena, "X13").await?;
    let mut random = StdRng::seed_from_u64(arena.seed);
    for round in 0..repeats {
        hubs.acked(60).await?;
        if round % 2 == 0 {
            hubs.stop_members().await?;
        } else {
            for member in &mut hubs.members {
                member.kill()?;
                member.wait().await?;
            }
            // Members that were killed are in the group until their session is over.
            tokio::time::sleep(SESSION_TIMEOUT + Duration::from_secs(2)).await;
        }
        for signal in [Signal::Logs, Signal::Traces] {
            for (partition, offset) in hubs.line.committed(signal).await? {
                let back = random.random_range(0..40);
                let metadata = ["", "", "somebody else's"][random.random_range(0..3)];
                hubs.line.set_committed(signal, partition, (offset - back).max(0), metadata).await?;
            }
        }
        hubs.start_members()?;
    }
    hubs.judge(Outcome::of(repeats)).await
}

/// X14: the topics are deleted and made anew: the same offsets hold other records.
pub(in crate::faults) async fn topics_made_anew(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut hubs = Hubs::start(arena, "X14").await?;
    for _ in 0..repeats {
        hubs.acked(300).await?;
        hubs.pause().await?;
        // Nothing may wait at the edge: it would go to the new topic, as it should, and so it does.
        hubs.settled().await?;
        hubs.stop_members().await?;
        for signal in [Signal::Logs, Signal::Traces] {
            hubs.line.delete_topic(&hubs.line.topic(signal)).await?;
        }
        hubs.line.create_topics().await?;
        for signal in [Signal::Logs, Signal::Traces] {
            wait_for("the group to have forgotten the topic", async || {
                let left = hubs.line.committed(signal).await?;
                Ok(if left.iter().all(|(_, offset)| *offset == 0) {
                    Ok(())
                } else {
                    Err(format!("{left:?}"))
                })
            })
            .await?;
        }
        hubs.start_members()?;
        hubs.resume().await?;
    }
    hubs.judge_by_table(Outcome::of(repeats)).await
}

/// C10: retention removes records before they were read.
pub(in crate::faults) async fn retention_passes(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut hubs = Hubs::idle(arena, "C10").await?;
    for round in 0..repeats {
        hubs.start_members()?;
        hubs.resume().await?;
        hubs.pause().await?;
        hubs.settled().await?;
        hubs.stop_members().await?;
        // Records that no edge has acked: what is lost here is nobody's promise, and is counted all the same.
        let before = hubs.line.committed(Signal::Logs).await?;
        let position = before.iter().find(|(partition, _)| *partition == 0).map_or(0, |(_, offset)| *offset);
        let empty = vec![Vec::new(); 30];
        let offsets = hubs.produce(Signal::Logs, 0, &empty).await?;
        let first_left = offsets[20];
        let topic = hubs.line.topic(Signal::Logs);
        let deleted =
            kafka_client::admin::delete_records(&hubs.line.connection(), &topic, 0, first_left).await;
        deleted.context("delete records")?;

        // It stops and says so, and the position stays.
        hubs.line.start_hub_unready().await?;
        let sees = format!("\"lost\":{}", first_left - position);
        let hub = hubs.line.hub.as_ref().context("the hub runs")?;
        outcome.check(hub.has_logged(&sees, PATIENCE).await?, format!("round {round}: the hub says {sees}"));
        wait_for("the hub to say that it is not ready", async || {
            let answer = hubs.line.hub_answer("/readyz").await?;
            Ok(if answer.contains("not in the log any more") { Ok(()) } else { Err(answer) })
        })
        .await?;
        let still = hubs.line.committed(Signal::Logs).await?;
        outcome.check(still.contains(&(0, position)), format!("round {round}: {still:?}, not {position}"));
        hubs.line.stop_hub().await?;

        // Told to go on, it counts the loss.
        hubs.line.set_hub_env("HUB__PIPELINE__LOST_RANGE", "resume");
        hubs.line.start_hub().await?;
        hubs.settled().await?;
        let lost = hubs.line.hub_metric("hub_records_lost_total").await?;
        outcome.check(
            lost == (first_left - position) as f64,
            format!("round {round}: {lost} counted, {} deleted", first_left - position),
        );
        hubs.line.stop_hub().await?;
        hubs.line.set_hub_env("HUB__PIPELINE__LOST_RANGE", "stop");
    }
    hubs.judge(outcome).await
}
