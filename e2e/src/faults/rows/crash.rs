//! The edge dies: at random moments, and at chosen ones.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use devstack::{Direction, Link, Proxy};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use telemetry_wire::Signal;

use crate::faults::arena::Arena;
use crate::faults::injection::Injection;
use crate::faults::load::LoadOptions;
use crate::faults::outcome::Outcome;
use crate::faults::scene::Scene;
use crate::line::wait_for;
use crate::process::PATIENCE;

/// Requests wait so long for the broker before they are spooled: short, so that a kill meets every state.
const AFTER: &str = "100ms";

/// What the broker's link does while the edge is killed again and again.
const WEATHER: [Link; 5] = [
    Link::Cut,
    Link::Held,
    Link::Reset,
    Link::HalfOpen,
    Link::Slow { delay: Duration::from_millis(150), bytes_per_second: None },
];

/// S01: killed at random moments under load, while the broker comes and goes.
pub(in crate::faults) async fn random_kills(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut random = StdRng::seed_from_u64(arena.seed);
    let mut scene = Scene::solo(arena, "S01").await?;
    scene.set("EDGE__SPOOL__AFTER", AFTER);
    // Less than an edge lives here, or none would ever come to send what the one before it has left.
    scene.set("EDGE__SPOOL__SETTLING", "200ms");
    scene.set("EDGE__KAFKA__PRODUCER__DELIVERY_TIMEOUT", "3s");
    scene.edge.start_ready().await?;
    let load = scene.load(&LoadOptions::mixed(arena.seed))?;
    let mut slowest = Duration::ZERO;
    for round in 0..repeats {
        match round % 10 {
            3 => scene.door().set(*WEATHER.choose(&mut random).context("there is weather")?),
            7 => scene.door().set(Link::Open),
            _ => {}
        }
        // The moment is the fault; there is nothing to wait for.
        tokio::time::sleep(Duration::from_millis(random.random_range(5..700))).await;
        scene.edge.kill().await?;
        if round % 5 == 0 {
            // Also while it starts and reads back what it had sent.
            scene.edge.spawn()?;
            tokio::time::sleep(Duration::from_millis(random.random_range(0..150))).await;
            scene.edge.kill().await?;
        }
        match round % 50 {
            25 => on_broker(&scene, devstack::Server::kill).await?,
            28 => on_broker(&scene, devstack::Server::start).await?,
            _ => {}
        }
        let start = std::time::Instant::now();
        scene.edge.start().await?;
        slowest = slowest.max(start.elapsed());
    }
    on_broker(&scene, devstack::Server::start).await?;
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    outcome.note(format!("slowest start {:.1} s", slowest.as_secs_f64()));
    Ok(outcome)
}

async fn on_broker(scene: &Scene, act: fn(&devstack::Server) -> devstack::Result<()>) -> Result<()> {
    let cluster = Arc::clone(&scene.cluster);
    let acted = tokio::task::spawn_blocking(move || act(&cluster.servers()[0]));
    acted.await.context("act on the broker")?.context("act on the broker")
}

/// S04: killed when the topic has spooled records and the cursor does not say so yet.
pub(in crate::faults) async fn acked_before_checkpoint(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "S04").await?;
    scene.set("EDGE__SPOOL__AFTER", AFTER);
    scene.edge.start_ready().await?;
    for round in 0..repeats {
        scene.door().set(Link::Cut);
        let load = scene.load(&LoadOptions::logs(2, arena.seed + u64::from(round)))?;
        load.acked(100, PATIENCE).await?;
        load.stop().await?;
        let before = scene.records(Signal::Logs).await?;
        scene.door().set(Link::Open);
        wait_for("a record of the backlog in the topic", async || {
            let records = scene.records(Signal::Logs).await?;
            Ok(if records > before { Ok(()) } else { Err(format!("{records} records")) })
        })
        .await?;
        scene.edge.kill().await?;
        scene.edge.start().await?;
    }
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// S05: killed at the moment in which it removes a segment whose records are all delivered.
pub(in crate::faults) async fn killed_at_unlink(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    killed_in(arena, repeats, "S05", &["unlink,unlinkat"]).await
}

/// X01: killed on entry to each kind of system call that a spool makes, at its n-th occurrence.
pub(in crate::faults) async fn killed_in_system_calls(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let calls = [
        "fdatasync,fsync",
        "rename,renameat,renameat2",
        "unlink,unlinkat",
        "pwrite64,pwritev,writev,write",
        "ftruncate,fallocate",
        "openat",
    ];
    killed_in(arena, repeats, "X01", &calls).await
}

async fn killed_in(arena: &mut Arena, repeats: u32, row: &str, calls: &[&'static str]) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut random = StdRng::seed_from_u64(arena.seed);
    let mut scene = Scene::solo(arena, row).await?;
    scene.set("EDGE__SPOOL__AFTER", "20ms");
    // Small segments: they are made and removed all the time.
    scene.set("EDGE__SPOOL__SEGMENT_BYTES", "256KiB");
    scene.set("EDGE__KAFKA__PRODUCER__MAX_MESSAGE_BYTES", "64KiB");
    scene.set("EDGE__RECEIVERS__MAX_REQUEST_BYTES", "128KiB");
    scene.edge.start_ready().await?;
    let mut hits = 0;
    for round in 0..repeats {
        let mut load = LoadOptions::mixed(arena.seed + u64::from(round));
        (load.max_padding, load.pause) = (2000, Duration::from_millis(2));
        let injection = Injection {
            when: random.random_range(1..8).to_string(),
            ..Injection::all(calls[round as usize % calls.len()], "signal=KILL")
        };
        scene.door().set(Link::Cut);
        let log = scene.folder.join(format!("strace-{round}.log"));
        let attached = injection.attach(scene.edge.program()?.pid(), log)?;
        let load = scene.load(&load)?;
        // The broker comes back in the middle, so that segments are also drained and removed.
        tokio::time::sleep(Duration::from_millis(random.random_range(100..600))).await;
        scene.door().set(Link::Open);
        let died = scene.edge.ends_within(Duration::from_secs(4)).await?;
        hits += u32::from(died);
        if !died {
            scene.edge.kill().await?;
        }
        drop(attached);
        load.stop().await?;
        scene.edge.start().await?;
    }
    scene.settle(&mut outcome).await?;
    // What is delivered goes, also when an earlier process died over it: a segment or two of each signal are left.
    let left = scene.segments()?.len();
    outcome.check(left <= 6, format!("{left} segments are left of a spool that is empty"));
    outcome.check(hits > 0, "no system call was met: the fault did not happen");
    outcome.note(format!("died in the call {hits} of {repeats} times"));
    Ok(outcome)
}

/// P01: SIGTERM under load, with the broker there and with the broker away.
pub(in crate::faults) async fn terminated(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "P01").await?;
    scene.set("EDGE__SPOOL__AFTER", AFTER);
    scene.edge.start_ready().await?;
    for round in 0..repeats {
        let load = scene.load(&LoadOptions::mixed(arena.seed + u64::from(round)))?;
        load.acked(200, PATIENCE).await?;
        let away = round % 2 == 1;
        if away {
            scene.door().set(Link::Held);
            load.acked(50, PATIENCE).await?;
        }
        let status = scene.edge.stop().await?;
        outcome.check(status.success(), format!("round {round}: SIGTERM under load ends with {status}"));
        scene.door().set(Link::Open);
        load.stop().await?;
        scene.edge.start_ready().await?;
    }
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// X02: the ack of a produce request is lost on its way, and then the edge is killed: it must find its own records.
pub(in crate::faults) async fn ack_lost_then_killed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    ack_lost(arena, repeats, "X02", |_, _| ()).await
}

/// X04: the same, and the edge has another id when it comes back, as after a change of the host's name.
pub(in crate::faults) async fn renamed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    ack_lost(arena, repeats, "X04", |scene, round| {
        scene.set("EDGE__PUBLISHER__EDGE_ID", format!("renamed-{round}"));
    })
    .await
}

async fn ack_lost(
    arena: &mut Arena,
    repeats: u32,
    row: &str,
    change: impl Fn(&mut Scene, u32),
) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, row).await?;
    scene.set("EDGE__SPOOL__AFTER", "50ms");
    scene.edge.start_ready().await?;
    for round in 0..repeats {
        // Before it has met a broker the edge sends nothing whose ack could be lost.
        scene.edge.becomes_well().await?;
        let load = scene.load(&LoadOptions::logs(3, arena.seed + u64::from(round)))?;
        load.acked(50, PATIENCE).await?;
        let swallowed = || scene.door().proxies().iter().map(Proxy::swallowed_bytes).sum::<u64>();
        let (records, bytes) = (scene.records(Signal::Logs).await?, swallowed());
        scene.door().set(Link::Lossy(Direction::ToClient));
        // Answers are swallowed; what is sent still arrives, and what is acked now comes from the spool.
        load.acked(60, PATIENCE).await?;
        wait_for("a record whose ack is lost", async || {
            let now = scene.records(Signal::Logs).await?;
            Ok(if now > records && swallowed() > bytes { Ok(()) } else { Err(format!("{now} records")) })
        })
        .await?;
        scene.edge.kill().await?;
        load.stop().await?;
        scene.door().set(Link::Open);
        change(&mut scene, round);
        scene.edge.start().await?;
    }
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// X06: the edge is frozen (SIGSTOP) for longer than its requests to the broker may take.
pub(in crate::faults) async fn frozen(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "X06").await?;
    scene.set("EDGE__SPOOL__AFTER", "200ms");
    scene.set("EDGE__KAFKA__PRODUCER__DELIVERY_TIMEOUT", "2s");
    scene.edge.start_ready().await?;
    let load = scene.load(&LoadOptions::mixed(arena.seed))?;
    for round in 0..repeats {
        load.acked(200, PATIENCE).await?;
        scene.door().set(if round % 2 == 0 { Link::Open } else { Link::Held });
        scene.edge.program()?.signal("STOP")?;
        tokio::time::sleep(Duration::from_secs(6)).await;
        scene.edge.program()?.signal("CONT")?;
        load.acked(100, PATIENCE).await?;
        scene.door().set(Link::Open);
    }
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// X09: what a killed edge had sent arrives at the broker late, when its successor has read back and published.
pub(in crate::faults) async fn old_bytes_arrive_late(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "X09").await?;
    scene.set("EDGE__SPOOL__AFTER", "50ms");
    scene.edge.start_ready().await?;
    for round in 0..repeats {
        scene.edge.becomes_well().await?;
        let load = scene.load(&LoadOptions::logs(3, arena.seed + u64::from(round)))?;
        load.acked(50, PATIENCE).await?;
        for proxy in scene.door().proxies() {
            proxy.set(Link::HeldBelow(proxy.next_connection()));
        }
        load.acked(60, PATIENCE).await?;
        scene.edge.kill().await?;
        scene.edge.start().await?;
        load.acked(60, PATIENCE).await?;
        load.stop().await?;
        scene.drained().await?;
        scene.door().set(Link::Open);
    }
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// X11: the broker is frozen with requests in its buffers, and thawed when the edge has died and come back.
pub(in crate::faults) async fn killed_before_a_frozen_broker(
    arena: &mut Arena,
    repeats: u32,
) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "X11").await?;
    scene.set("EDGE__SPOOL__AFTER", "50ms");
    scene.edge.start_ready().await?;
    for round in 0..repeats {
        scene.edge.becomes_well().await?;
        let load = scene.load(&LoadOptions::logs(3, arena.seed + u64::from(round)))?;
        load.acked(50, PATIENCE).await?;
        on_broker(&scene, devstack::Server::freeze).await?;
        load.acked(60, PATIENCE).await?;
        scene.edge.kill().await?;
        scene.edge.start().await?;
        load.acked(60, PATIENCE).await?;
        on_broker(&scene, devstack::Server::thaw).await?;
        load.stop().await?;
    }
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// X10: killed while a follower is frozen: what the leader has appended cannot be read yet, and will be.
pub(in crate::faults) async fn killed_below_the_watermark(
    arena: &mut Arena,
    repeats: u32,
) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::trio(arena, "X10").await?;
    scene.set("EDGE__SPOOL__AFTER", "50ms");
    scene.edge.start_ready().await?;
    for round in 0..repeats {
        scene.edge.becomes_well().await?;
        let load = scene.load(&LoadOptions::mixed(arena.seed + u64::from(round)))?;
        load.acked(100, PATIENCE).await?;
        let at = |act: fn(&devstack::Server) -> devstack::Result<()>| {
            let cluster = Arc::clone(&scene.cluster);
            tokio::task::spawn_blocking(move || act(&cluster.servers()[round as usize % 3]))
        };
        at(devstack::Server::freeze).await.context("freeze a broker")??;
        load.acked(100, PATIENCE).await?;
        scene.edge.kill().await?;
        scene.edge.start().await?;
        // Less than the brokers' session of 3 s and the 5 s after which a follower is left out.
        tokio::time::sleep(Duration::from_millis(1500)).await;
        at(devstack::Server::thaw).await.context("thaw a broker")??;
        load.acked(100, PATIENCE).await?;
        load.stop().await?;
    }
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}
