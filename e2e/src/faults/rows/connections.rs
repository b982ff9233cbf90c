//! Connections that cost the edge something and bring it nothing.

use std::time::Duration;

use anyhow::{Context, Result};
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

use crate::faults::arena::Arena;
use crate::faults::edge::Edge;
use crate::faults::load::LoadOptions;
use crate::faults::outcome::Outcome;
use crate::faults::scene::Scene;
use crate::process::PATIENCE;

/// How long a head may take in these scenes, and how long an idle connection is kept.
const HEADER_TIMEOUT: Duration = Duration::from_secs(4);

/// R05: two thousand connections, each of which sends a byte of its head a second.
pub(in crate::faults) async fn slow_loris(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for _ in 0..repeats {
        let mut scene = crowded(arena, "R05").await?;
        // Who is there already stays served; its connections are kept alive.
        let load = scene.load(&LoadOptions::mixed(arena.seed))?;
        load.acked(100, PATIENCE).await?;
        let mut slow = JoinSet::new();
        for _ in 0..2_000 {
            let port = scene.edge.http_port();
            slow.spawn(async move { drip(port).await });
        }
        load.acked(200, PATIENCE).await.context("senders that were there stay served")?;
        let newcomers = scene.load(&LoadOptions::mixed(arena.seed + 1))?;
        newcomers.acked(100, PATIENCE).await.context("new senders are served within the header timeout")?;
        slow.abort_all();
        finish(&mut scene, &mut outcome).await?;
        load.stop().await?;
        newcomers.stop().await?;
        scene.settle(&mut outcome).await?;
    }
    Ok(outcome)
}

/// R07: five thousand connections that are opened and used once.
pub(in crate::faults) async fn idle_connections(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for _ in 0..repeats {
        let mut scene = crowded(arena, "R07").await?;
        let load = scene.load(&LoadOptions::mixed(arena.seed))?;
        load.acked(100, PATIENCE).await?;
        let mut idle = Vec::new();
        for number in 0..5_000 {
            // The listen queue has its own bound: a connection may have to wait for it.
            let connect = TcpStream::connect(("127.0.0.1", scene.edge.http_port()));
            match tokio::time::timeout(Duration::from_secs(5), connect).await {
                Ok(Ok(mut stream)) => {
                    // Refused as unknown path, and kept alive after it.
                    let _ = stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await;
                    idle.push(stream);
                }
                _ => {
                    outcome.note(format!("connection {number} was not taken at once"));
                    break;
                }
            }
        }
        load.acked(200, PATIENCE).await.context("senders that were there stay served")?;
        let newcomers = scene.load(&LoadOptions::mixed(arena.seed + 1))?;
        newcomers.acked(100, PATIENCE).await.context("idle connections give way")?;
        outcome.note(format!("{} connections were made", idle.len()));
        drop(idle);
        finish(&mut scene, &mut outcome).await?;
        load.stop().await?;
        newcomers.stop().await?;
        scene.settle(&mut outcome).await?;
    }
    Ok(outcome)
}

async fn crowded(arena: &mut Arena, row: &str) -> Result<Scene> {
    let mut scene = Scene::solo(arena, row).await?;
    scene.set("EDGE__RECEIVERS__SERVER__HEADER_TIMEOUT", format!("{}s", HEADER_TIMEOUT.as_secs()));
    scene.edge.start_ready().await?;
    Ok(scene)
}

/// Descriptors and memory stay bounded; the bound on connections is 1024 on each of two listeners.
async fn finish(scene: &mut Scene, outcome: &mut Outcome) -> Result<()> {
    let open = open_files(&scene.edge)?;
    outcome.check(open < 2 * 1024 + 300, format!("{open} open files"));
    let peak = scene.edge.peak_memory() >> 20;
    outcome.check(peak < 512, format!("{peak} MiB resident"));
    outcome.note(format!("{open} open files, {peak} MiB"));
    let (is_ready, text) = scene.edge.readiness().await?;
    outcome.check(is_ready, format!("ready, but it says: {text}"));
    Ok(())
}

fn open_files(edge: &Edge) -> Result<usize> {
    let folder = format!("/proc/{}/fd", edge.program()?.pid());
    Ok(std::fs::read_dir(folder).context("list the edge's open files")?.count())
}

/// One slow client, until the edge closes the connection.
async fn drip(port: u16) {
    let Ok(mut stream) = TcpStream::connect(("127.0.0.1", port)).await else { return };
    for byte in b"POST /v1/logs HTTP/1.1\r\nhost: example.org\r\nx-slow: ".iter().chain([b'a'].iter().cycle())
    {
        if stream.write_all(&[*byte]).await.is_err() {
            return;
        }
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}
