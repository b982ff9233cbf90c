//! Reads one request's bytes off the wire within its bounds: compressed size, decompressed size, budget and time.
//!
//! Everything is counted as it arrives: a declared length buys no memory. A body that comes slowly or not at all holds what it
//! has sent for at most the body timeout, shorter when less than `min_rate` comes in a [`WINDOW`], and shorter still when memory
//! is short and it is among the slowest.

use std::{future::pending, pin::pin, sync::Arc, time::Duration};

use axum::body::Body;
use http_body_util::BodyExt;
use tokio::time::{Instant, sleep};

use super::{
    answer::Refusal,
    buffer::{BudgetBuffer, Overflow, RequestBytes},
    decompress::{Decoder, Encoding},
    framing::MessageReader,
};
use crate::budget::{self, Holder, MemoryBudget};

/// The bounds of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// Bytes after decompression, and as much before it.
    pub(crate) max_bytes: usize,
    /// From the first wait for the body to its last byte.
    pub(crate) timeout: Duration,
    /// Bytes a second, as they are sent.
    pub(crate) min_rate: u64,
}

/// Over so long the least rate is demanded: longer than a lost packet holds a connection up.
const WINDOW: Duration = Duration::from_secs(5);

/// The body of an OTLP/HTTP request, decompressed.
pub(crate) async fn read_plain(
    body: &mut Body,
    encoding: Encoding,
    limits: BodyLimits,
    memory: &BodyMemory<'_>,
) -> Result<RequestBytes, Refusal> {
    let mut decoder = Decoder::new(encoding, memory.buffer(limits))?;
    let mut left = limits.max_bytes;
    for_each_chunk(body, limits, Some(&memory.body), |chunk| {
        left = left.checked_sub(chunk.len()).ok_or(Overflow::Limit { limit: limits.max_bytes })?;
        Ok(decoder.push(chunk)?)
    })
    .await?;
    Ok(decoder.finish()?.into_request())
}

/// The one message of a unary gRPC request, decompressed.
pub(crate) async fn read_message(
    body: &mut Body,
    encoding: Encoding,
    limits: BodyLimits,
    memory: &BodyMemory<'_>,
) -> Result<RequestBytes, Refusal> {
    let mut reader = MessageReader::new(encoding, memory.buffer(limits), limits.max_bytes);
    for_each_chunk(body, limits, Some(&memory.body), |chunk| reader.push(chunk)).await?;
    Ok(reader.finish()?.into_request())
}

/// Reads and forgets what is left of a refused HTTP/1 body, within `limits`: a server that closes with unread bytes resets the
/// connection, and the sender may never see the answer that tells it why.
pub(crate) async fn discard(body: &mut Body, limits: BodyLimits) {
    let BodyLimits { max_bytes, .. } = limits;
    let mut left = max_bytes;
    let discarded = for_each_chunk(body, limits, None, |chunk| {
        left = left.checked_sub(chunk.len()).ok_or(Overflow::Limit { limit: max_bytes })?;
        Ok(())
    });
    if let Err(refusal) = discarded.await {
        tracing::debug!(%refusal, "the rest of a refused body was not read");
    }
}

async fn for_each_chunk(
    body: &mut Body,
    limits: BodyLimits,
    counted: Option<&budget::Body>,
    mut push: impl FnMut(&[u8]) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let BodyLimits { timeout, min_rate, .. } = limits;
    let mut bytes = 0;
    let end = sleep(timeout);
    let window = sleep(WINDOW);
    let (mut end, mut window) = (pin!(end), pin!(window));
    loop {
        let frame = tokio::select! {
            // What has come is taken first; the clocks are looked at only when nothing has.
            biased;
            frame = body.frame() => frame,
            () = given_up(counted) => return Err(Refusal::GivenUp),
            () = end.as_mut() => return Err(Refusal::SlowBody { timeout }),
            () = window.as_mut() => {
                if bytes < min_rate * WINDOW.as_secs() {
                    return Err(Refusal::Stalled { min_rate });
                }
                bytes = 0;
                window.as_mut().reset(Instant::now() + WINDOW);
                continue;
            }
        };
        let Some(frame) = frame else { return Ok(()) };
        let frame = frame.map_err(|error| Refusal::Disconnected { source: error })?;
        if let Some(chunk) = frame.data_ref() {
            bytes += chunk.len() as u64;
            if let Some(counted) = counted {
                counted.came(chunk.len());
            }
            push(chunk)?;
        }
    }
}

async fn given_up(counted: Option<&budget::Body>) {
    match counted {
        Some(body) => body.given_up().await,
        None => pending().await,
    }
}

/// What a body's bytes are kept in, and whose they are.
pub(crate) struct BodyMemory<'a> {
    budget: &'a MemoryBudget,
    body: Arc<budget::Body>,
}

impl BodyMemory<'_> {
    /// For one body of `holder`.
    pub(crate) fn new<'a>(budget: &'a MemoryBudget, holder: &Holder) -> BodyMemory<'a> {
        BodyMemory { budget, body: budget.body(holder) }
    }

    fn buffer(&self, limits: BodyLimits) -> BudgetBuffer {
        BudgetBuffer::of_body(limits.max_bytes, self.budget, &self.body)
    }
}
