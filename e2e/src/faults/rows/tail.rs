//! Container logs, through everything that happens to files. A line that is written counts as acked.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use devstack::Link;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use crate::faults::arena::Arena;
use crate::faults::clock::Clock;
use crate::faults::container::{ContainerLog, Pace, Writing, compress};
use crate::faults::outcome::Outcome;
use crate::faults::scene::Scene;
use crate::line::wait_for;

/// A scene whose edge reads the logs of pods.
async fn scene(arena: &mut Arena, row: &str) -> Result<(Scene, PathBuf)> {
    let mut scene = Scene::solo(arena, row).await?;
    let pods = scene.folder.join("pods");
    fs::create_dir_all(&pods).context("make the folder of the pods")?;
    scene.set("EDGE__FILELOG__INCLUDE", format!("{}/*/*/*.log", pods.display()));
    // The lines of these logs are made to look like anything.
    scene.set("EDGE__FILELOG__JOIN", "lines");
    scene.set("EDGE__FILELOG__ROTATE_WAIT", "1s");
    scene.set("EDGE__SPOOL__AFTER", "100ms");
    scene.set("EDGE__SPOOL__SETTLING", "200ms");
    Ok((scene, pods))
}

fn log(scene: &Scene, pods: &Path) -> Result<ContainerLog> {
    ContainerLog::create(pods, &scene.ledger, scene.sender_number())
}

async fn lost_bytes(scene: &Scene) -> Result<f64> {
    Ok(scene.edge.metrics().await?.sum("edge_filelog_lost_bytes_total", &[]))
}

/// Waits until the edge has nothing left to read.
async fn all_read(scene: &Scene) -> Result<()> {
    wait_for("an edge that has read all", async || {
        let lag = scene.edge.metrics().await?.sum("edge_filelog_lag_bytes", &[]);
        Ok(if lag == 0.0 { Ok(()) } else { Err(format!("{lag} bytes")) })
    })
    .await
}

async fn written(writing: &Writing, lines: u64) -> Result<()> {
    let goal = writing.written() + lines;
    wait_for("lines that are written", async || {
        let so_far = writing.written();
        Ok(if so_far >= goal { Ok(()) } else { Err(format!("{so_far} of {goal}")) })
    })
    .await
}

/// T01: two logs, 10,000 lines a second together, renamed every two seconds.
pub(in crate::faults) async fn renamed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for _ in 0..repeats {
        let (mut scene, pods) = scene(arena, "T01").await?;
        scene.edge.start_ready().await?;
        let pace = Pace { lines: 5_000, filling: 60, rotate: Some(Duration::from_secs(2)) };
        let writings = [log(&scene, &pods)?.start(pace), log(&scene, &pods)?.start(pace)];
        written(&writings[0], 30_000).await?;
        for writing in writings {
            writing.stop()?;
        }
        all_read(&scene).await?;
        outcome.check(lost_bytes(&scene).await? == 0.0, "bytes were counted as lost".to_owned());
        scene.settle(&mut outcome).await?;
    }
    Ok(outcome)
}

/// T02: the log is rotated several times while the edge is frozen or dead; the oldest of an edge that was dead is deleted.
pub(in crate::faults) async fn rotated_unseen(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for _ in 0..repeats {
        let (mut scene, pods) = scene(arena, "T02").await?;
        scene.edge.start_ready().await?;
        let mut log = log(&scene, &pods)?;
        (0..50).try_for_each(|_| log.line(100))?;
        all_read(&scene).await?;
        scene.edge.freeze().await?;
        for _ in 0..3 {
            (0..50).try_for_each(|_| log.line(100))?;
            log.rotate()?;
            log.compress()?;
        }
        (0..50).try_for_each(|_| log.line(100))?;
        scene.edge.program()?.signal("CONT")?;
        all_read(&scene).await?;
        outcome.check(lost_bytes(&scene).await? == 0.0, "bytes were counted as lost".to_owned());
        // Read and not durable: the disk and the brokers are out of reach.
        scene.door().set(Link::Cut);
        scene.edge.kill().await?;
        for _ in 0..3 {
            (0..50).try_for_each(|_| log.line(100))?;
            compress(&log.rotate()?)?;
            log.rotated.clear();
        }
        scene.edge.start().await?;
        scene.door().set(Link::Open);
        scene.settle(&mut outcome).await?;
    }
    Ok(outcome)
}

/// T03: copied and truncated between two writes.
pub(in crate::faults) async fn copied_and_truncated(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let (mut scene, pods) = scene(arena, "T03").await?;
    scene.edge.start_ready().await?;
    let mut log = log(&scene, &pods)?;
    for round in 0..repeats {
        (0..200 + round).try_for_each(|_| log.line(100))?;
        let copy = log.copy_and_truncate()?;
        (0..400).try_for_each(|_| log.line(100))?;
        if round % 2 == 1 {
            compress(&copy)?;
        }
        all_read(&scene).await?;
    }
    outcome.check(lost_bytes(&scene).await? == 0.0, "bytes were counted as lost".to_owned());
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// T04: while the edge is away, the log is deleted and its inode comes back with another file of the same length.
pub(in crate::faults) async fn inode_reused(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let (mut scene, pods) = scene(arena, "T04").await?;
    let mut log = log(&scene, &pods)?;
    for _ in 0..repeats {
        scene.edge.start_ready().await?;
        (0..10).try_for_each(|_| log.line(100))?;
        all_read(&scene).await?;
        scene.edge.stop().await?;
        // The same file with other content: no other inode is more surely the same.
        fs::write(log.path(), "").context("empty the log")?;
        (0..10).try_for_each(|_| log.line(100))?;
    }
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// T06: lines of up to 200 KB in fragments of 16 KiB, with rotations in the middle.
pub(in crate::faults) async fn fragments(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for round in 0..repeats {
        let (mut scene, pods) = scene(arena, "T06").await?;
        scene.edge.start_ready().await?;
        let mut log = log(&scene, &pods)?;
        for filling in [10, 16_000, 17_000, 40_000, 200_000, 0] {
            log.line(filling)?;
            log.line_across_rotation(filling / 8)?;
            if round % 2 == 1 {
                scene.edge.kill().await?;
                scene.edge.start().await?;
            }
        }
        all_read(&scene).await?;
        scene.settle(&mut outcome).await?;
    }
    Ok(outcome)
}

/// T09: killed at random moments while logs rotate every 300 ms and the broker comes and goes.
pub(in crate::faults) async fn killed_while_rotating(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut random = StdRng::seed_from_u64(arena.seed);
    let (mut scene, pods) = scene(arena, "T09").await?;
    scene.edge.start_ready().await?;
    let pace = Pace { lines: 500, filling: 100, rotate: Some(Duration::from_millis(300)) };
    let writings = [log(&scene, &pods)?.start(pace), log(&scene, &pods)?.start(pace)];
    for round in 0..repeats {
        match round % 5 {
            1 => scene.door().set(Link::Cut),
            2 => scene.door().set(Link::Open),
            3 => scene.door().set(Link::Cut),
            _ => scene.door().set(Link::Open),
        }
        tokio::time::sleep(Duration::from_millis(random.random_range(20..1500))).await;
        scene.edge.kill().await?;
        scene.edge.start().await?;
    }
    scene.door().set(Link::Open);
    written(&writings[0], 200).await?;
    for writing in writings {
        writing.stop()?;
    }
    all_read(&scene).await?;
    outcome.check(lost_bytes(&scene).await? == 0.0, "bytes were counted as lost".to_owned());
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// T14: no broker and a spool at its quota: reading stops, and goes on where it was.
pub(in crate::faults) async fn spool_full(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for _ in 0..repeats {
        let (mut scene, pods) = scene(arena, "T14").await?;
        scene.set("EDGE__KAFKA__PRODUCER__MAX_MESSAGE_BYTES", "256KiB");
        scene.set("EDGE__FILELOG__MAX_LINE_BYTES", "32KiB");
        scene.set("EDGE__SPOOL__SEGMENT_BYTES", "1MiB");
        scene.set("EDGE__SPOOL__MAX_BYTES", "8MiB");
        scene.edge.start_ready().await?;
        scene.door().set(Link::Cut);
        let pace = Pace { lines: 4_000, filling: 1_000, rotate: Some(Duration::from_secs(1)) };
        let writing = log(&scene, &pods)?.start(pace);
        wait_for("a spool that is full", async || {
            let (is_ready, text) = scene.edge.readiness().await?;
            Ok(if text.contains("quota") { Ok(()) } else { Err(format!("ready {is_ready}: {text}")) })
        })
        .await?;
        written(&writing, 4_000).await?;
        let lag = scene.edge.metrics().await?.sum("edge_filelog_lag_bytes", &[]);
        outcome.check(lag > 100_000.0, format!("{lag} bytes wait in the files"));
        writing.stop()?;
        scene.door().set(Link::Open);
        all_read(&scene).await?;
        outcome.check(lost_bytes(&scene).await? == 0.0, "bytes were counted as lost".to_owned());
        scene.settle(&mut outcome).await?;
    }
    Ok(outcome)
}

/// T17: the clock jumps while logs are read and rotated.
pub(in crate::faults) async fn clock_jumps(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for _ in 0..repeats {
        let (mut scene, pods) = scene(arena, "T17").await?;
        let clock = Clock::new(&scene.folder)?;
        for (variable, value) in clock.variables() {
            scene.set(variable, value);
        }
        scene.edge.start_ready().await?;
        let pace = Pace { lines: 500, filling: 100, rotate: Some(Duration::from_millis(500)) };
        let writing = log(&scene, &pods)?.start(pace);
        for seconds in [3600, -3600, 0] {
            written(&writing, 500).await?;
            clock.step_to(seconds)?;
        }
        clock.step_to_1970()?;
        written(&writing, 500).await?;
        clock.step_to(0)?;
        writing.stop()?;
        all_read(&scene).await?;
        scene.settle(&mut outcome).await?;
    }
    Ok(outcome)
}

/// T18: files that no program should write, beside one that is as it should be.
pub(in crate::faults) async fn strange_files(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for _ in 0..repeats {
        let (mut scene, pods) = scene(arena, "T18").await?;
        let strange = pods.join("production_strange_1").join("app");
        fs::create_dir_all(&strange).context("make a folder")?;
        symlink("loop.log", strange.join("loop.log")).context("make a loop of links")?;
        symlink(&pods, strange.join("again")).context("make a loop of folders")?;
        fs::create_dir(strange.join("folder.log")).context("make a folder that is named like a log")?;
        scene.edge.start_ready().await?;
        let pace = Pace { lines: 500, filling: 100, rotate: Some(Duration::from_millis(500)) };
        let writing = log(&scene, &pods)?.start(pace);
        for number in 0..200 {
            let path = strange.join(format!("{number}.log"));
            fs::write(&path, "").context("make a file that vanishes")?;
            fs::remove_file(&path).context("let it vanish")?;
        }
        written(&writing, 500).await?;
        writing.stop()?;
        all_read(&scene).await?;
        scene.settle(&mut outcome).await?;
    }
    Ok(outcome)
}
