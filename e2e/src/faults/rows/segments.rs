//! Damage to the files of a spool whose edge is dead, and a second edge on the same directory.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use devstack::Link;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use telemetry_wire::Signal;

use crate::faults::arena::Arena;
use crate::faults::edge::{Edge, EdgeOptions};
use crate::faults::item::Id;
use crate::faults::ledger::Sent;
use crate::faults::load::{self, LoadOptions, Transport};
use crate::faults::outcome::Outcome;
use crate::faults::scene::Scene;
use crate::process::PATIENCE;
use crate::sender::Answer;

/// Bytes of filling of the items that are to be found in a file.
const FILLING: u32 = 2_000;

/// S07: the cursor points into a segment that is not there any more.
pub(in crate::faults) async fn segment_missing(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "S07").await?;
    scene.set("EDGE__SPOOL__AFTER", "50ms");
    for round in 0..repeats {
        scene.edge.start_ready().await?;
        scene.door().set(Link::Cut);
        let load = scene.load(&LoadOptions::logs(2, arena.seed + u64::from(round)))?;
        load.acked(50, PATIENCE).await?;
        load.stop().await?;
        scene.door().set(Link::Open);
        // Everything delivered and the cursor behind it: what is deleted now is nobody's.
        settle_for_now(&mut scene, &mut outcome).await?;
        let removed = scene.remove_segments()?;
        outcome.note(format!("round {round}: {removed} segments removed"));
    }
    scene.edge.start_ready().await.context("an edge whose segment is missing starts")?;
    let load = scene.load(&LoadOptions::mixed(arena.seed + 1000))?;
    load.acked(100, PATIENCE).await?;
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// S09: the last frame is cut at sampled positions.
pub(in crate::faults) async fn last_frame_cut(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    damaged(arena, repeats, "S09", |file, filling, random| {
        let kept = filling.last + random.random_range(0..u64::from(FILLING));
        file.set_len(kept).context("cut the segment")
    })
    .await
}

/// S10: one bit of a middle frame is flipped at sampled positions.
pub(in crate::faults) async fn bit_flipped(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    damaged(arena, repeats, "S10", |file, filling, random| {
        let at = filling.middle + random.random_range(0..u64::from(FILLING));
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).context("read a byte")?;
        byte[0] ^= 1 << random.random_range(0..8);
        file.write_all_at(&byte, at).context("flip a bit")
    })
    .await
}

/// Where the filling of two records begins in a segment.
struct Fillings {
    middle: u64,
    last: u64,
}

/// Spools some records, kills the edge, damages one record's bytes, and expects all others.
async fn damaged(
    arena: &mut Arena,
    repeats: u32,
    row: &str,
    damage: impl Fn(&File, &Fillings, &mut StdRng) -> Result<()>,
) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut random = StdRng::seed_from_u64(arena.seed);
    let mut scene = Scene::solo(arena, row).await?;
    scene.set("EDGE__SPOOL__AFTER", "10ms");
    scene.set("EDGE__KAFKA__PRODUCER__COMPRESSION", "none");
    for round in 0..repeats {
        scene.door().set(Link::Cut);
        scene.edge.start_ready().await?;
        let sent = spool_some(&scene).await?;
        scene.edge.kill().await?;
        let [middle, last] = [&sent[sent.len() / 2], &sent[sent.len() - 1]].map(|sent| sent.first);
        let (segment, fillings) = find(&scene, middle, last)?;
        damage(&File::options().read(true).write(true).open(segment)?, &fillings, &mut random)?;
        let victim = if row == "S09" { last } else { middle };
        scene.ledger.forgive(victim);
        scene
            .edge
            .start_ready()
            .await
            .with_context(|| format!("round {round}: an edge with damage starts"))?;
        settle_for_now(&mut scene, &mut outcome).await?;
    }
    // All rounds at once: the topics keep what every round has brought.
    scene.judge(&mut outcome).await?;
    outcome.note(format!("{repeats} records destroyed by hand, and not counted as acked"));
    Ok(outcome)
}

/// Settles in the middle of a row; the verdict is the whole row's, and comes at its end.
async fn settle_for_now(scene: &mut Scene, outcome: &mut Outcome) -> Result<()> {
    let mut now = Outcome::default();
    scene.settle(&mut now).await?;
    outcome.failures.extend(now.failures);
    Ok(())
}

/// Acked requests of one item each that are in the spool only, in the order of their frames.
async fn spool_some(scene: &Scene) -> Result<Vec<Sent>> {
    let (sender, number) = (scene.edge.sender()?, scene.sender_number());
    for _ in 0..9 {
        let size = (1, FILLING);
        let answer = load::send(&sender, &scene.ledger, number, Signal::Logs, Transport::Http, size).await;
        if answer != Answer::Acked {
            bail!("the spool does not take: {answer:?}");
        }
    }
    let mut requests = scene.ledger.requests();
    requests.retain(|sent| sent.first.sender == number);
    Ok(requests)
}

/// The segment that holds both records, and where their bytes are in it.
fn find(scene: &Scene, middle: Id, last: Id) -> Result<(PathBuf, Fillings)> {
    for segment in scene.segments()? {
        let bytes = std::fs::read(&segment).context("read a segment")?;
        // Uncompressed, or this row could not aim; see the settings of the scene.
        let filling_of = |id: Id| {
            let body = crate::faults::item::request(Signal::Logs, &[id]);
            let start = bytes.windows(body.len()).position(|window| window == body)?;
            // Its second half is filling.
            Some((start + body.len() - FILLING as usize - 200) as u64)
        };
        if let (Some(middle), Some(last)) = (filling_of(middle), filling_of(last)) {
            return Ok((segment, Fillings { middle, last }));
        }
    }
    bail!("the records are not found in the spool's segments as they were sent")
}

/// S24: a second edge on the same directory.
pub(in crate::faults) async fn second_process(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "S24").await?;
    scene.edge.start_ready().await?;
    let load = scene.load(&LoadOptions::mixed(arena.seed))?;
    for _ in 0..repeats {
        let options = EdgeOptions { env: Vec::new(), ..scene.edge.options.clone() };
        let mut second = Edge::new(options)?;
        second.spawn()?;
        let status = second.wait().await.context("the second edge ends")?;
        outcome.check(!status.success(), format!("the second edge ends with {status}"));
        let spool = scene.edge.options.spool.clone().unwrap_or_default();
        let says = second.log_text();
        let names_it = says.contains(&*spool.to_string_lossy());
        outcome.check(names_it, format!("it names the directory; it says: {}", tail(&says)));
        load.acked(50, PATIENCE).await.context("the first edge goes on")?;
    }
    let (is_ready, text) = scene.edge.readiness().await?;
    outcome.check(is_ready, format!("the first edge stays ready, but it says: {text}"));
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().rev().take(3).collect();
    lines.into_iter().rev().collect::<Vec<_>>().join(" | ")
}
