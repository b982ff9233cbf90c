//! The wall clock jumps while the edge runs.

use std::time::Duration;

use anyhow::{Context, Result};
use devstack::Link;

use crate::faults::arena::Arena;
use crate::faults::clock::Clock;
use crate::faults::load::LoadOptions;
use crate::faults::outcome::Outcome;
use crate::faults::scene::Scene;
use crate::process::PATIENCE;

const HOUR: i64 = 3600;

/// V01: an hour ahead, an hour behind, 1970, and right again, with the broker there and away.
pub(in crate::faults) async fn clock_jumps(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for round in 0..repeats {
        let mut scene = Scene::solo(arena, "V01").await?;
        let clock = Clock::new(&scene.folder)?;
        for (variable, value) in clock.variables() {
            scene.set(variable, value);
        }
        scene.set("EDGE__SPOOL__AFTER", "200ms");
        scene.edge.start_ready().await?;
        let load = scene.load(&LoadOptions::mixed(arena.seed))?;
        for name in ["an hour ahead", "an hour behind", "1970", "right"] {
            load.acked(100, PATIENCE).await?;
            // The jump finds the edge without a broker, and then with one.
            scene.door().set(Link::Cut);
            load.acked(100, PATIENCE).await.context("spools before the jump")?;
            match name {
                "an hour ahead" => clock.step_to(HOUR)?,
                "an hour behind" => clock.step_to(-HOUR)?,
                "1970" => clock.step_to_1970()?,
                _ => clock.step_to(0)?,
            }
            load.acked(100, PATIENCE).await.with_context(|| format!("spools with the clock {name}"))?;
            if round % 2 == 1 {
                scene.edge.kill().await?;
                scene.edge.start_ready().await?;
            }
            scene.door().set(Link::Open);
            if let Err(error) = scene.edge.becomes_well().await {
                outcome.failures.push(format!("publishes again with the clock {name}: {error:#}"));
                break;
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        load.stop().await?;
        let patience = Duration::from_secs(if outcome.failures.is_empty() { 90 } else { 5 });
        scene.settle_within(patience, &mut outcome).await?;
        // A kill, in every second round, leaves senders without an answer.
        let counts = scene.ledger.counts();
        let words = scene.ledger.words();
        outcome.check(counts.refused + counts.retryable == 0, format!("refused: {words:?}"));
    }
    Ok(outcome)
}
