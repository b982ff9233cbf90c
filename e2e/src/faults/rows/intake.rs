//! Requests that no sender should send: malformed, too large, bombs, and strange but right.

use std::io::Write as _;
use std::time::Duration;

use anyhow::{Context, Result};
use flate2::Compression;
use flate2::write::GzEncoder;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use telemetry_wire::Signal;

use crate::faults::arena::Arena;
use crate::faults::item::{self, Id, LONG_KEY, MANY_ATTRIBUTES};
use crate::faults::load::{self, LoadOptions, Transport};
use crate::faults::outcome::Outcome;
use crate::faults::raw::Raw;
use crate::faults::scene::Scene;
use crate::process::PATIENCE;
use crate::sender::Answer;

const MIB: usize = 1 << 20;

/// What an edge may take beyond its budget for requests: code, librdkafka, its queue, and the allocator's slack.
const CONSTANT: u64 = 192 << 20;

/// R01: truncated and random bytes, and the wrong signal on the path.
pub(in crate::faults) async fn malformed(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut random = StdRng::seed_from_u64(arena.seed);
    let mut scene = Scene::solo(arena, "R01").await?;
    scene.edge.start_ready().await?;
    let raw = Raw::new(&scene.edge)?;
    for _ in 0..repeats {
        let good = item::request(Signal::Logs, &[Id { sender: 9000, number: 1, padding: 50 }]);
        let mut noise = vec![0; random.random_range(1..2000)];
        random.fill(&mut noise[..]);
        noise[0] = 0xff;
        let cut = random.random_range(1..good.len());
        let cases = [
            (Signal::Logs, good[..cut].to_vec(), "truncated"),
            (Signal::Logs, noise, "noise"),
            (Signal::Traces, good.clone(), "logs on the path of traces"),
            (Signal::Metrics, good.clone(), "logs on the path of metrics"),
            (Signal::Logs, b"hello, world".to_vec(), "text"),
        ];
        for (signal, body, name) in cases {
            let http = raw.http(signal, &[], body.clone()).await?;
            outcome.check(http.status == 400, format!("{name} over HTTP: {http:?}"));
            let grpc = raw.grpc(signal, body).await?;
            outcome.check(grpc.grpc_status == Some(3), format!("{name} over gRPC: {grpc:?}"));
        }
    }
    flows(&scene, arena).await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// R02: what becomes a thousand times larger when it is decompressed, and what pretends to be compressed.
pub(in crate::faults) async fn bombs(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "R02").await?;
    scene.set("EDGE__MEMORY__MAX_BYTES", "96MiB");
    scene.edge.start_ready().await?;
    let raw = Raw::new(&scene.edge)?;
    let zeros = vec![0; 64 * MIB];
    let gzipped = gzip(&zeros)?;
    let cases = [
        ("gzip", gzipped.clone()),
        ("gzip", gzip(&gzipped)?),
        ("gzip", [gzip(&zeros[..MIB])?, gzip(&zeros)?].concat()),
        ("zstd", zstd::bulk::compress(&zeros, 3).context("make a zstd bomb")?),
        ("snappy", [vec![0xff, 0xff, 0xff, 0xff, 0x0f], vec![0; 100]].concat()),
        ("gzip", b"not gzip at all".to_vec()),
    ];
    for _ in 0..repeats {
        for (coding, body) in &cases {
            let mut answers = tokio::task::JoinSet::new();
            for _ in 0..8 {
                let (raw, coding, body) = (raw.clone(), (*coding).to_owned(), body.clone());
                answers.spawn(
                    async move { raw.http(Signal::Logs, &[("content-encoding", &coding)], body).await },
                );
            }
            while let Some(reply) = answers.join_next().await {
                let reply = reply.context("a request failed")??;
                // Several at once may also meet the budget, and are asked to come again.
                let is_right = matches!(reply.status, 400 | 413 | 415 | 429 | 503);
                outcome.check(is_right, format!("{coding}, {} bytes: {reply:?}", body.len()));
            }
        }
    }
    bounded(&mut scene, &mut outcome, 96 << 20);
    flows(&scene, arena).await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// R03: more than the limit, plain.
pub(in crate::faults) async fn over_limit(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "R03").await?;
    scene.set("EDGE__MEMORY__MAX_BYTES", "96MiB");
    scene.edge.start_ready().await?;
    let raw = Raw::new(&scene.edge)?;
    for _ in 0..repeats {
        let body = item::request(Signal::Logs, &[Id { sender: 9000, number: 1, padding: 20 << 20 }]);
        let http = raw.http(Signal::Logs, &[], body.clone()).await?;
        outcome.check(http.status == 413, format!("over HTTP: {http:?}"));
        let grpc = raw.grpc(Signal::Logs, body).await?;
        let is_final = grpc.grpc_status == Some(8) && !grpc.has_details;
        outcome.check(is_final, format!("RESOURCE_EXHAUSTED without RetryInfo over gRPC: {grpc:?}"));
    }
    bounded(&mut scene, &mut outcome, 96 << 20);
    flows(&scene, arena).await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// R10: an attribute of ten megabytes, a hundred thousand attributes, a key of a megabyte.
pub(in crate::faults) async fn huge_items(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "R10").await?;
    scene.edge.start_ready().await?;
    let sender = scene.edge.sender()?;
    for _ in 0..repeats {
        for size in [10_000_000, MANY_ATTRIBUTES | 100_000, LONG_KEY | (1 << 20)] {
            for signal in Signal::ALL {
                for transport in [Transport::Http, Transport::Grpc] {
                    let number = scene.sender_number();
                    let answer =
                        load::send(&sender, &scene.ledger, number, signal, transport, (1, size)).await;
                    // Taken whole or as a dead letter, or refused for good; never "try again", which would never end.
                    let is_settled = matches!(answer, Answer::Acked | Answer::Refused(_));
                    outcome.check(is_settled, format!("{signal}, {transport:?}, {size}: {answer:?}"));
                }
            }
        }
    }
    bounded(&mut scene, &mut outcome, 256 << 20);
    flows(&scene, arena).await?;
    scene.settle(&mut outcome).await?;
    outcome.note(format!("dead letters by reason: {:?}", scene.reasons));
    Ok(outcome)
}

/// R12: strings that are not UTF-8, lone surrogates, NUL bytes. Protobuf passes as it came (docs/wire.md); JSON has to be
/// text.
pub(in crate::faults) async fn strange_text(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    let mut scene = Scene::solo(arena, "R12").await?;
    scene.edge.start_ready().await?;
    let raw = Raw::new(&scene.edge)?;
    let mut number = 0;
    for _ in 0..repeats {
        for bytes in [&[0xff, 0xfe, 0x80][..], &[0xed, 0xa0, 0x80], &[0xc0, 0xaf]] {
            for signal in Signal::ALL {
                number += 1;
                let body = with_bytes(signal, number, bytes);
                let reply = raw.http(signal, &[], body.clone()).await?;
                outcome.check(reply.status == 200, format!("{signal} with {bytes:x?}: {reply:?}"));
                let answer = if reply.status == 200 {
                    Answer::Acked
                } else {
                    Answer::Refused(reply.status.to_string())
                };
                scene.ledger.verbatim(body, answer);
            }
        }
        for text in [r"\ud800", r"\udc00\ud800", "\u{fffd}\u{0}"] {
            let json = format!(r#"{{"resourceLogs":[{{"schemaUrl":"{text}"}}]}}"#).into_bytes();
            let reply = raw.json(Signal::Logs, json).await?;
            // No record in it, so nothing is published whatever the answer is.
            outcome.check(matches!(reply.status, 200 | 400), format!("{text:?} in JSON: {reply:?}"));
            outcome.note(format!("{text:?} in JSON: {}", reply.status));
        }
    }
    flows(&scene, arena).await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}

/// A request one of whose strings ends with `bytes`, which are not UTF-8.
fn with_bytes(signal: Signal, number: u64, bytes: &[u8]) -> Vec<u8> {
    let mut body = item::request(signal, &[Id { sender: 9001, number, padding: 64 }]);
    // The resource's `service.name`, which every signal has: `sender-9001` keeps its length.
    let name = b"sender-9001";
    let at = body.windows(name.len()).position(|window| window == name).unwrap_or_default();
    body[at + name.len() - bytes.len()..at + name.len()].copy_from_slice(bytes);
    body
}

/// Usual senders are served after all this.
async fn flows(scene: &Scene, arena: &Arena) -> Result<()> {
    let load = scene.load(&LoadOptions::mixed(arena.seed))?;
    load.acked(100, PATIENCE).await.context("usual requests flow afterwards")?;
    load.stop().await
}

fn bounded(scene: &mut Scene, outcome: &mut Outcome, budget: u64) {
    let (peak, bound) = (scene.edge.peak_memory(), budget + CONSTANT);
    outcome.check(peak <= bound, format!("{} MiB resident, bound {} MiB", peak >> 20, bound >> 20));
    outcome.note(format!("peak memory {} MiB", peak >> 20));
}

fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bytes).and_then(|()| encoder.finish()).context("make a gzip bomb")
}

/// R18: many times what the edge can take, for some seconds.
pub(in crate::faults) async fn overload(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut scene = Scene::solo(arena, "R18").await?;
    // The disk would take more than these senders can send.
    scene.set("EDGE__SPOOL__MAX_BYTES", "32MiB");
    scene.set("EDGE__SPOOL__SEGMENT_BYTES", "2MiB");
    overloaded(arena, scene, repeats).await
}

/// X07: the same to an edge without a spool, whose records time out on their way.
pub(in crate::faults) async fn overload_without_spool(arena: &mut Arena, repeats: u32) -> Result<Outcome> {
    let mut scene = Scene::solo(arena, "X07").await?;
    scene.edge.options.spool = None;
    overloaded(arena, scene, repeats).await
}

async fn overloaded(arena: &Arena, mut scene: Scene, repeats: u32) -> Result<Outcome> {
    let mut outcome = Outcome::of(repeats);
    scene.set("EDGE__MEMORY__MAX_BYTES", "16MiB");
    scene.set("EDGE__RECEIVERS__MAX_REQUEST_BYTES", "2MiB");
    scene.set("EDGE__KAFKA__PRODUCER__QUEUE_BYTES", "8MiB");
    scene.edge.start_ready().await?;
    for round in 0..repeats {
        // A slow link makes few senders too many.
        let bytes_per_second = std::num::NonZeroU32::new(1_000_000);
        scene.door().set(devstack::Link::Slow { delay: Duration::from_millis(5), bytes_per_second });
        let senders = Signal::ALL.into_iter().cycle().take(60).enumerate();
        let transport = |index| if index % 2 == 0 { Transport::Http } else { Transport::Grpc };
        let options = LoadOptions {
            senders: senders.map(|(index, signal)| (signal, transport(index))).collect(),
            max_items: 50,
            max_padding: 8_000,
            pause: Duration::from_millis(1),
            seed: arena.seed + u64::from(round),
        };
        let load = scene.load(&options)?;
        tokio::time::sleep(Duration::from_secs(10)).await;
        load.acked(100, PATIENCE).await.context("some are served all the time")?;
        load.stop().await?;
        scene.door().set(devstack::Link::Open);
    }
    let counts = scene.ledger.counts();
    outcome.check(counts.refused == 0, format!("{:?}", scene.ledger.words()));
    outcome.check(counts.retryable > 0, "there was no overload: nobody was asked to come again");
    outcome.check(counts.unknown == 0, format!("{:?}", scene.ledger.words()));
    outcome.note(format!("{counts:?}"));
    bounded(&mut scene, &mut outcome, 16 << 20);
    flows(&scene, arena).await?;
    scene.settle(&mut outcome).await?;
    Ok(outcome)
}
