//! The spool's disk loses its power, fills up, becomes read-only, and reports errors.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use devstack::{Direction, Disk, Link};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::faults::arena::Arena;
use crate::faults::injection::Injection;
use crate::faults::load::LoadOptions;
use crate::faults::outcome::Outcome;
use crate::faults::scene::{Scene, segments_in};
use crate::line::wait_for;
use crate::process::PATIENCE;

const MIB: u64 = 1 << 20;

/// S02: the power is cut at random moments.
pub(in crate::faults) async fn power_cut(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    power_cuts(arena, repeats, "S02", false).await
}

/// S03: the power is cut between the making of a segment and the fsync of its directory.
pub(in crate::faults) async fn power_cut_at_rename(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    power_cuts(arena, repeats, "S03", true).await
}

async fn power_cuts(arena: &mut Arena, repeats: u32, row: &str, at_rename: bool) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut random = StdRng::seed_from_u64(arena.seed);
    let mut scene = Scene::solo(arena, row).await?;
    scene.set("EDGE__SPOOL__AFTER", "30ms");
    scene.set("EDGE__SPOOL__MAX_BYTES", "24MiB");
    scene.set("EDGE__SPOOL__SEGMENT_BYTES", "512KiB");
    scene.set("EDGE__KAFKA__PRODUCER__MAX_MESSAGE_BYTES", "64KiB");
    scene.set("EDGE__RECEIVERS__MAX_REQUEST_BYTES", "128KiB");
    scene.set("EDGE__KAFKA__PRODUCER__DELIVERY_TIMEOUT", "3s");
    let mut disk = blocking(|| Disk::ext4(64 * MIB)).await?;
    move_in(&mut scene, &disk);
    scene.edge.start_ready().await?;
    let mut options = LoadOptions::mixed(arena.seed);
    (options.max_padding, options.pause) = (1500, Duration::from_millis(5));
    let load = scene.load(&options)?;
    for round in 0..repeats {
        let weather = [Link::Cut, Link::Lossy(Direction::ToClient), Link::Open, Link::Held];
        scene.door().set(weather[round as usize % 4]);
        if at_rename {
            next_segment(&scene, &disk, round).await?;
        } else {
            tokio::time::sleep(Duration::from_millis(random.random_range(100..1500))).await;
        }
        // Without power nothing is sent any more: what the edge does while the image is copied must not get out, or the
        // topic would know of records that the disk of that machine had never heard of.
        scene.door().set(Link::Cut);
        // Frozen, the edge stops between two system calls; else the cut may fall into the middle of an fsync.
        let is_frozen = at_rename || random.random_range(0..2) == 0;
        if is_frozen {
            scene.edge.program()?.signal("STOP")?;
        }
        let moment = Instant::now();
        let (before, after) = blocking(move || disk.after_power_cut().map(|after| (disk, after))).await?;
        scene.edge.kill().await?;
        scene.ledger.forget_answers_since(moment);
        drop(before);
        disk = after;
        move_in(&mut scene, &disk);
        scene.edge.start_ready().await.with_context(|| format!("round {round}: starts after a power cut"))?;
    }
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// Waits for the moment in which a new segment is there and its directory waits for the disk.
async fn next_segment(scene: &Scene, disk: &Disk, round: u32) -> Result<()> {
    let injection = Injection::all("fsync", "delay_enter=300000");
    let log = scene.folder.join(format!("strace-{round}.log"));
    let folder = disk.outside().join("spool/logs");
    let attached = injection.attach(scene.edge.program()?.pid(), log)?;
    let newest = segments_in(&folder)?.last().cloned();
    wait_for("a new segment", async || {
        let now = segments_in(&folder)?.last().cloned();
        Ok(if now == newest { Err(format!("{now:?}")) } else { Ok(()) })
    })
    .await?;
    drop(attached);
    Ok(())
}

/// S15: fsync answers EIO once for each spool.
pub(in crate::faults) async fn fsync_fails(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "S15").await?;
    scene.set("EDGE__SPOOL__AFTER", "30ms");
    scene.edge.start_ready().await?;
    let load = scene.load(&LoadOptions::mixed(arena.seed))?;
    let mut injected = 0;
    for round in 0..repeats {
        scene.door().set(Link::Cut);
        load.acked(50, PATIENCE).await?;
        let injection = Injection { when: "2".into(), ..Injection::all("fdatasync,fsync", "error=EIO") };
        let log = scene.folder.join(format!("strace-{round}.log"));
        let attached = injection.attach(scene.edge.program()?.pid(), log)?;
        wait_for("an fsync that fails", async || {
            let count = attached.injected();
            Ok(if count > 0 { Ok(()) } else { Err(attached.met()) })
        })
        .await?;
        load.acked(50, PATIENCE).await.context("the spool goes on in a new segment")?;
        injected += attached.injected();
        drop(attached);
        if round % 2 == 1 {
            scene.edge.kill().await?;
            scene.edge.start_ready().await?;
        }
        scene.door().set(Link::Open);
        load.acked(50, PATIENCE).await?;
    }
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    outcome.note(format!("{injected} calls failed"));
    Ok(outcome)
}

/// S17: the disk is full before the quota is, in the middle of a frame.
pub(in crate::faults) async fn disk_full(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for _ in 0..repeats {
        let (mut scene, _disk) = on_small_disk(arena, "S17", 6 * MIB).await?;
        scene.door().set(Link::Cut);
        let load = scene.load(&heavy(arena.seed))?;
        refuses(&mut scene, &mut outcome).await?;
        scene.door().set(Link::Open);
        scene.edge.readiness_becomes(true).await.context("ready again when the broker is back")?;
        load.acked(100, PATIENCE).await?;
        load.stop().await?;
        scene.settle(&mut outcome).await?;
        outcome.check(scene.ledger.counts().refused == 0, format!("{:?}", scene.ledger.words()));
    }
    Ok(outcome)
}

/// S18: somebody else fills the volume while the spool has little on it.
pub(in crate::faults) async fn volume_filled(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for _ in 0..repeats {
        let (mut scene, disk) = on_small_disk(arena, "S18", 24 * MIB).await?;
        scene.door().set(Link::Cut);
        let load = scene.load(&LoadOptions::mixed(arena.seed))?;
        load.acked(100, PATIENCE).await?;
        let hog = disk.outside().join("hog");
        fill(&hog)?;
        refuses(&mut scene, &mut outcome).await?;
        // The volume stays full: what is spooled must drain all the same, and a crash must not make it worse.
        scene.edge.kill().await?;
        scene.edge.start().await.context("starts on a full volume")?;
        scene.door().set(Link::Open);
        load.acked(100, PATIENCE).await.context("flows through the broker while the volume is full")?;
        std::fs::remove_file(&hog).context("give the room back")?;
        scene.edge.readiness_becomes(true).await.context("ready again with room")?;
        scene.door().set(Link::Cut);
        load.acked(100, PATIENCE).await.context("spools again with room")?;
        load.stop().await?;
        scene.settle(&mut outcome).await?;
    }
    Ok(outcome)
}

/// S21: the disk becomes read-only while the edge runs, and is so at a start.
pub(in crate::faults) async fn read_only(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for _ in 0..repeats {
        let mut scene = Scene::solo(arena, "S21").await?;
        small_segments(&mut scene);
        let disk = blocking(|| Disk::ext4(64 * MIB)).await?;
        move_in(&mut scene, &disk);
        scene.edge.start_ready().await?;
        let load = scene.load(&LoadOptions::mixed(arena.seed))?;
        scene.door().set(Link::Cut);
        load.acked(100, PATIENCE).await?;
        // An orderly remount is not allowed while files are open for writing; the kernel's own, after an error, is. It must
        // not fall into an fsync: of several callers at once the kernel tells some that all is well, although the
        // transaction that they waited for is thrown away (seen with four plain writers), and no program can notice that.
        scene.edge.freeze().await?;
        let disk = blocking(move || disk.break_down().map(|()| disk)).await?;
        scene.edge.program()?.signal("CONT")?;
        refuses(&mut scene, &mut outcome).await?;
        scene.door().set(Link::Open);
        load.acked(100, PATIENCE).await.context("flows through the broker while the disk is read-only")?;
        // A new mount, as after a restart of the machine, and then one that is read-only from the start.
        let disk = blocking(move || disk.after_power_cut()).await?;
        scene.edge.kill().await?;
        move_in(&mut scene, &disk);
        let disk = blocking(move || disk.set_read_only(true).map(|()| disk)).await?;
        scene.door().set(Link::Cut);
        scene.edge.start().await.context("starts on a read-only disk")?;
        refuses(&mut scene, &mut outcome).await?;
        let disk = blocking(move || disk.set_read_only(false).map(|()| disk)).await?;
        load.acked(100, PATIENCE).await.context("spools again when the disk is writable")?;
        scene.edge.readiness_becomes(true).await?;
        load.stop().await?;
        scene.settle(&mut outcome).await?;
        drop(disk);
    }
    Ok(outcome)
}

/// X12: the quota is used up and the policy is to drop the oldest; what is missing is what the edge says it has dropped.
pub(in crate::faults) async fn oldest_dropped(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for _ in 0..repeats {
        let mut scene = Scene::solo(arena, "X12").await?;
        small_segments(&mut scene);
        scene.set("EDGE__SPOOL__MAX_BYTES", "8MiB");
        scene.set("EDGE__SPOOL__WHEN_FULL", "drop_oldest");
        scene.edge.start_ready().await?;
        scene.door().set(Link::Cut);
        let load = scene.load(&heavy(arena.seed))?;
        let dropped = async |scene: &Scene| {
            let page = scene.edge.metrics().await?;
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count of items")]
            anyhow::Ok(page.sum("edge_spool_dropped_items_total", &[]) as u64)
        };
        wait_for("dropped items", async || {
            let count = dropped(&scene).await?;
            Ok(if count > 2_000 { Ok(()) } else { Err(format!("{count}")) })
        })
        .await?;
        load.stop().await?;
        outcome.check(scene.ledger.counts().retryable == 0, format!("{:?}", scene.ledger.words()));
        scene.door().set(Link::Open);
        scene.drained().await?;
        let count = dropped(&scene).await?;
        let mut settled = Outcome::of(1);
        scene.settle_within(Duration::from_secs(1), &mut settled).await?;
        let lost = std::mem::take(&mut settled.verdict.lost);
        outcome.check(lost == count, format!("{lost} items are missing, {count} were said to be dropped"));
        settled.verdict.acked = settled.verdict.acked.saturating_sub(lost);
        settled.verdict.examples.clear();
        outcome.verdict.add(settled.verdict);
        outcome.failures.extend(settled.failures);
        outcome.note(format!("{count} items dropped by the declared policy, and not counted as acked"));
    }
    Ok(outcome)
}

/// Waits until the edge refuses because of its disk; it must do so as the rules ask.
async fn refuses(scene: &mut Scene, outcome: &mut Outcome) -> Result<()> {
    let text = scene.edge.readiness_becomes(false).await.context("not ready when the disk does not take")?;
    outcome.check(text.to_lowercase().contains("spool"), format!("/readyz names the spool: {text}"));
    let before = scene.ledger.counts().retryable;
    wait_for("a refusal", async || {
        let now = scene.ledger.counts();
        Ok(if now.retryable > before { Ok(()) } else { Err(format!("{now:?}")) })
    })
    .await?;
    outcome.check(scene.ledger.counts().refused == 0, format!("{:?}", scene.ledger.words()));
    Ok(())
}

async fn on_small_disk(arena: &mut Arena, row: &str, bytes: u64) -> Result<(Scene, Disk)> {
    let mut scene = Scene::solo(arena, row).await?;
    small_segments(&mut scene);
    let disk = blocking(move || Disk::small(bytes)).await?;
    move_in(&mut scene, &disk);
    scene.edge.start_ready().await?;
    Ok((scene, disk))
}

/// Many files on a small disk, and a quota above what the disk has.
fn small_segments(scene: &mut Scene) {
    scene.set("EDGE__SPOOL__AFTER", "50ms");
    scene.set("EDGE__SPOOL__MAX_BYTES", "64MiB");
    scene.set("EDGE__SPOOL__SEGMENT_BYTES", "1MiB");
    scene.set("EDGE__KAFKA__PRODUCER__MAX_MESSAGE_BYTES", "256KiB");
    scene.set("EDGE__RECEIVERS__MAX_REQUEST_BYTES", "512KiB");
}

fn move_in(scene: &mut Scene, disk: &Disk) {
    scene.edge.options.prefix = disk.prefix();
    scene.edge.options.spool = Some(disk.directory().join("spool"));
}

fn heavy(seed: u64) -> LoadOptions {
    LoadOptions {
        max_items: 20,
        max_padding: 8_000,
        pause: Duration::from_millis(1),
        ..LoadOptions::mixed(seed)
    }
}

/// Writes until nothing more goes in.
fn fill(path: &std::path::Path) -> Result<()> {
    use std::io::Write as _;
    let mut file = std::fs::File::create(path).context("make the file that fills the volume")?;
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![0; size]).is_ok() {}
    }
    Ok(())
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> devstack::Result<T> + Send + 'static,
) -> Result<T> {
    tokio::task::spawn_blocking(work).await.context("work on a disk")?.context("work on a disk")
}
