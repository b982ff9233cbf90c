//! The brokers go away, move, lose answers and refuse.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use devstack::{Cluster, ClusterOptions, Direction, Link};
use telemetry_wire::Signal;

use crate::faults::arena::Arena;
use crate::faults::load::{self, Load, LoadOptions, Transport};
use crate::faults::outcome::Outcome;
use crate::faults::scene::{PARTITIONS, Scene};
use crate::line::wait_for;
use crate::process::PATIENCE;
use crate::sender::Answer;

/// K01: the edge starts while no broker can be reached.
pub(in crate::faults) async fn away_at_start(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for round in 0..repeats {
        let mut scene = Scene::solo(arena, "K01").await?;
        let link = if round % 2 == 0 { Link::Cut } else { Link::HalfOpen };
        scene.door().set(link);
        scene.edge.start_ready().await.context("the edge with a spool is ready without a broker")?;
        let load = scene.load(&LoadOptions::mixed(arena.seed))?;
        load.acked(300, PATIENCE).await?;
        let (is_ready, text) = scene.edge.readiness().await?;
        outcome.check(is_ready, format!("{link:?}: ready while the spool takes, but it says: {text}"));
        scene.door().set(Link::Open);
        load.acked(300, PATIENCE).await?;
        load.stop().await?;
        outcome.check(scene.ledger.counts().retryable == 0, format!("{:?}", scene.ledger.words()));
        scene.settle(&mut outcome).await?;
    }
    Ok(outcome)
}

/// K02: away for longer than every timeout, which are short here; the first records of the outage must be there too.
pub(in crate::faults) async fn away_for_long(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for round in 0..repeats {
        let mut scene = Scene::solo(arena, "K02").await?;
        scene.set("EDGE__SPOOL__AFTER", "200ms");
        scene.set("EDGE__KAFKA__PRODUCER__DELIVERY_TIMEOUT", "2s");
        scene.set("EDGE__PUBLISHER__LOGS__KEY", "resource");
        scene.edge.start_ready().await?;
        let load = scene.load(&LoadOptions::logs(2, arena.seed))?;
        load.acked(50, PATIENCE).await?;
        scene.door().set([Link::Cut, Link::Held, Link::Reset, Link::HalfOpen][round as usize % 4]);
        // Six times the delivery timeout, and more than any backoff of the client.
        tokio::time::sleep(Duration::from_secs(12)).await;
        load.acked(50, PATIENCE).await?;
        load.stop().await?;
        scene.settle(&mut outcome).await?;
        outcome.check(
            scene.steps_back == 0,
            format!("{} steps back within a partition and sender", scene.steps_back),
        );
    }
    Ok(outcome)
}

/// K03: one of three brokers is killed under load, and comes back.
pub(in crate::faults) async fn one_of_three_killed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::trio(arena, "K03").await?;
    scene.edge.start_ready().await?;
    let load = scene.load(&LoadOptions::mixed(arena.seed))?;
    for round in 0..repeats {
        load.acked(200, PATIENCE).await?;
        on(&scene, round, |server| server.kill()).await?;
        let start = std::time::Instant::now();
        load.acked(300, PATIENCE).await?;
        outcome.note(format!("acks go on {:.1} s after the kill", start.elapsed().as_secs_f64()));
        on(&scene, round, |server| server.start()).await?;
    }
    load.acked(200, PATIENCE).await?;
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// X03: one broker after the other is frozen for some seconds, and goes on as if nothing had been.
pub(in crate::faults) async fn one_of_three_frozen(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::trio(arena, "X03").await?;
    scene.set("EDGE__SPOOL__AFTER", "300ms");
    scene.edge.start_ready().await?;
    let load = scene.load(&LoadOptions::mixed(arena.seed))?;
    for round in 0..repeats {
        load.acked(200, PATIENCE).await?;
        on(&scene, round, |server| server.freeze()).await?;
        // Longer than the brokers' session of 3 s: its partitions get other leaders meanwhile.
        tokio::time::sleep(Duration::from_secs(5)).await;
        on(&scene, round, |server| server.thaw()).await?;
    }
    load.acked(200, PATIENCE).await?;
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// X05: two of three brokers are killed, too few for an ack, and come back.
pub(in crate::faults) async fn two_of_three_killed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::trio(arena, "X05").await?;
    scene.set("EDGE__SPOOL__AFTER", "300ms");
    scene.edge.start_ready().await?;
    let load = scene.load(&LoadOptions::mixed(arena.seed))?;
    for round in 0..repeats {
        load.acked(200, PATIENCE).await?;
        on(&scene, round, devstack::Server::kill).await?;
        on(&scene, round + 1, devstack::Server::kill).await?;
        tokio::time::sleep(Duration::from_secs(3)).await;
        load.acked(200, PATIENCE).await.context("the spool takes meanwhile")?;
        // Alone, a broker has no quorum and is never ready: both are started before one is waited for.
        tokio::try_join!(
            on(&scene, round, devstack::Server::start),
            on(&scene, round + 1, devstack::Server::start)
        )?;
    }
    load.acked(200, PATIENCE).await?;
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// K04: the leader of every partition moves again and again, as fast as Kafka's tools can.
pub(in crate::faults) async fn leaders_move(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::trio(arena, "K04").await?;
    scene.set("EDGE__PUBLISHER__LOGS__KEY", "resource");
    // Order is kept on the way through the producer. What a late broker sends to the spool is overtaken by fresh data, by
    // design, and so is what comes before the first broker answers.
    scene.set("EDGE__SPOOL__AFTER", "30s");
    scene.edge.start_ready().await?;
    scene.edge.becomes_well().await?;
    let load = scene.load(&LoadOptions::logs(4, arena.seed))?;
    load.acked(100, PATIENCE).await?;
    for turn in 1..=repeats {
        let (cluster, topic) = (Arc::clone(&scene.cluster), scene.edge.topic(Signal::Logs));
        let moved = tokio::task::spawn_blocking(move || {
            cluster.move_leaders(&topic, PARTITIONS.unsigned_abs() as usize, turn as usize)
        });
        moved.await.context("move the leaders")?.context("move the leaders")?;
        load.acked(50, PATIENCE).await?;
    }
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    outcome.check(scene.steps_back == 0, format!("{} steps back within a key", scene.steps_back));
    Ok(outcome)
}

/// K06: the connection is cut after the broker has appended and before its answer arrives.
pub(in crate::faults) async fn acks_lost(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "K06").await?;
    scene.edge.start_ready().await?;
    let load = scene.load(&LoadOptions::mixed(arena.seed))?;
    for _ in 0..repeats {
        load.acked(100, PATIENCE).await?;
        swallow_an_answer(&scene).await?;
        scene.door().set(Link::Cut);
        tokio::time::sleep(Duration::from_millis(100)).await;
        scene.door().set(Link::Open);
    }
    load.acked(100, PATIENCE).await?;
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// K08: the topic of one signal does not exist, and is made later.
pub(in crate::faults) async fn topic_missing(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for _ in 0..repeats {
        let cluster = arena.solo().await?;
        let mut scene = Scene::without_topics(arena, "K08", cluster)?;
        scene.create_topics(&[Signal::Traces, Signal::Metrics], &[]).await?;
        scene.edge.start().await?;
        let mut options = LoadOptions::mixed(arena.seed);
        options.senders.retain(|(signal, _)| *signal != Signal::Logs);
        let others = scene.load(&options)?;
        let logs = scene.load(&LoadOptions::logs(1, arena.seed))?;
        others.acked(100, PATIENCE).await.context("the other signals flow")?;
        let topic = scene.edge.topic(Signal::Logs);
        let shows = scene.edge.readiness_where(|_, text| text.contains(&topic)).await;
        outcome
            .note(format!("/readyz: {}", shows.context("a missing topic shows")?.trim().replace('\n', ", ")));
        let refused = scene.ledger.counts().refused;
        outcome.check(refused == 0, format!("refused for good: {:?}", scene.ledger.words()));
        scene.create_topics(&[Signal::Logs], &[]).await?;
        scene.edge.becomes_well().await.context("the edge recovers when the topic is made")?;
        logs.acked(50, PATIENCE).await?;
        logs.stop().await?;
        others.stop().await?;
        scene.settle(&mut outcome).await?;
    }
    Ok(outcome)
}

/// K10: requests above the client's limit, the topic's, and items above both.
pub(in crate::faults) async fn too_large(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    for round in 0..repeats {
        let cluster = arena.solo().await?;
        let mut scene = Scene::without_topics(arena, "K10", cluster)?;
        scene.set("EDGE__SPOOL__AFTER", "200ms");
        let limits = [("max.message.bytes", "100000")];
        scene.create_topics(&Signal::ALL, &limits).await?;
        scene.edge.start_ready().await?;
        // Every second round meets the topic's limit only when the spool drains.
        if round % 2 == 1 {
            scene.door().set(Link::Cut);
        }
        let small = scene.load(&LoadOptions::mixed(arena.seed))?;
        let sender = scene.edge.sender()?;
        let cases = [(400, 4_000), (1, 300_000), (1, 2_000_000), (30, 90_000)];
        for (count, padding) in cases {
            for signal in Signal::ALL {
                // A request of many items with one filling each.
                let number = scene.sender_number();
                let answer =
                    load::send(&sender, &scene.ledger, number, signal, Transport::Http, (count, padding))
                        .await;
                let is_fine = matches!(answer, Answer::Acked | Answer::Retryable(_));
                outcome.check(is_fine, format!("{signal}, {count} x {padding} bytes: {answer:?}"));
            }
        }
        scene.door().set(Link::Open);
        small.acked(100, PATIENCE).await.context("small requests flow")?;
        small.stop().await?;
        scene.settle(&mut outcome).await?;
        outcome.note(format!("dead letters by reason: {:?}", scene.reasons));
    }
    Ok(outcome)
}

/// K20: the delivery timeout of records expires in the client's queue, and on their way.
pub(in crate::faults) async fn timeouts_expire(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "K20").await?;
    scene.set("EDGE__SPOOL__AFTER", "200ms");
    scene.set("EDGE__KAFKA__PRODUCER__DELIVERY_TIMEOUT", "1s");
    scene.edge.start_ready().await?;
    let load = scene.load(&LoadOptions::mixed(arena.seed))?;
    for round in 0..repeats {
        load.acked(100, PATIENCE).await?;
        // Held bytes arrive at the broker later, when the client has given the record up.
        let link = [Link::Held, Link::Cut, Link::Lossy(Direction::ToClient)][round as usize % 3];
        scene.door().set(link);
        tokio::time::sleep(Duration::from_secs(4)).await;
        scene.door().set(Link::Open);
    }
    load.acked(100, PATIENCE).await?;
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// X08: acks are lost and then the broker forgets the producer, as it does after a day; here after two seconds.
pub(in crate::faults) async fn producer_forgotten(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let forget = [("producer.id.expiration.ms", "2000"), ("producer.id.expiration.check.interval.ms", "500")];
    let properties = forget.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
    let options = ClusterOptions { properties, ..ClusterOptions::new(1) };
    let cluster = tokio::task::spawn_blocking(|| Cluster::up(options)).await.context("start a broker")?;
    let cluster = Arc::new(cluster.context("start a broker")?);
    let mut scene = Scene::without_topics(arena, "X08", cluster)?;
    scene.create_topics(&Signal::ALL, &[]).await?;
    scene.set("EDGE__SPOOL__AFTER", "200ms");
    // Less than the broker remembers, as an operator has to set it.
    scene.set("EDGE__SPOOL__SESSION_TRUST", "1s");
    scene.edge.start_ready().await?;
    scene.edge.becomes_well().await?;
    let load = scene.load(&LoadOptions::mixed(arena.seed))?;
    for _ in 0..repeats {
        load.acked(100, PATIENCE).await?;
        swallow_an_answer(&scene).await?;
        scene.door().set(Link::Cut);
        tokio::time::sleep(Duration::from_secs(5)).await;
        scene.door().set(Link::Open);
        scene.edge.becomes_well().await?;
    }
    load.stop().await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// N01: the edge is cut off from the brokers in every way, its senders are not.
pub(in crate::faults) async fn cut_off(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "N01").await?;
    scene.edge.start_ready().await?;
    let load = scene.load(&LoadOptions::mixed(arena.seed))?;
    let links = [
        Link::Held,
        Link::Cut,
        Link::HalfOpen,
        Link::Reset,
        Link::Lossy(Direction::ToServer),
        Link::Lossy(Direction::ToClient),
    ];
    for round in 0..repeats {
        load.acked(100, PATIENCE).await?;
        scene.door().set(links[round as usize % links.len()]);
        spools(&scene, &load, &mut outcome, round).await?;
        scene.door().set(Link::Open);
    }
    load.stop().await?;
    outcome.check(scene.ledger.counts().retryable == 0, format!("{:?}", scene.ledger.words()));
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

async fn spools(scene: &Scene, load: &Load, outcome: &mut Outcome, round: u32) -> Result<()> {
    tokio::time::sleep(Duration::from_secs(6)).await;
    load.acked(100, PATIENCE).await.context("senders are acked while the edge is cut off")?;
    let (is_ready, text) = scene.edge.readiness().await?;
    outcome.check(is_ready, format!("round {round}: ready while the spool takes, but it says: {text}"));
    Ok(())
}

/// From now on the brokers' answers do not arrive; returns when one of them has not.
async fn swallow_an_answer(scene: &Scene) -> Result<()> {
    let before = swallowed(scene);
    scene.door().set(Link::Lossy(Direction::ToClient));
    wait_for("a swallowed answer", async || {
        let now = swallowed(scene);
        Ok(if now > before { Ok(()) } else { Err(format!("{now} bytes swallowed")) })
    })
    .await
}

fn swallowed(scene: &Scene) -> u64 {
    scene.door().proxies().iter().map(devstack::Proxy::swallowed_bytes).sum()
}

/// Does something to one broker after the other, on a thread that may block.
async fn on(
    scene: &Scene,
    round: u32,
    act: impl FnOnce(&devstack::Server) -> devstack::Result<()> + Send + 'static,
) -> Result<()> {
    let cluster = Arc::clone(&scene.cluster);
    let acted = tokio::task::spawn_blocking(move || {
        let servers = cluster.servers();
        act(&servers[round as usize % servers.len()])
    });
    acted.await.context("act on a broker")?.context("act on a broker")
}
