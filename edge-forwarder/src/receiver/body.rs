//! Reads one request's bytes off the wire within its bounds: compressed size, decompressed size, budget and time.
//!
//! Everything is counted as it arrives: a declared length buys no memory, and a body that comes slowly or not at all holds what it
//! has sent for at most the body timeout.

use std::time::Duration;

use axum::body::Body;
use http_body_util::BodyExt;

use super::{
    answer::Refusal,
    buffer::{BudgetBuffer, Overflow, RequestBytes},
    decompress::{Decoder, Encoding},
    framing::MessageReader,
};
use crate::budget::MemoryBudget;

/// The bounds of one request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct BodyLimits {
    /// Bytes after decompression, and as much before it.
    pub(crate) max_bytes: usize,
    /// From the first wait for the body to its last byte.
    pub(crate) timeout: Duration,
}

/// The body of an OTLP/HTTP request, decompressed.
pub(crate) async fn read_plain(
    body: &mut Body,
    encoding: Encoding,
    limits: BodyLimits,
    budget: &MemoryBudget,
) -> Result<RequestBytes, Refusal> {
    let mut decoder = Decoder::new(encoding, BudgetBuffer::new(limits.max_bytes, budget))?;
    let mut left = limits.max_bytes;
    for_each_chunk(body, limits.timeout, |chunk| {
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
    budget: &MemoryBudget,
) -> Result<RequestBytes, Refusal> {
    let mut reader =
        MessageReader::new(encoding, BudgetBuffer::new(limits.max_bytes, budget), limits.max_bytes);
    for_each_chunk(body, limits.timeout, |chunk| reader.push(chunk)).await?;
    Ok(reader.finish()?.into_request())
}

/// Reads and forgets what is left of a refused HTTP/1 body, up to `max_bytes` and `timeout`: a server that closes with unread
/// bytes resets the connection, and the sender may never see the answer that tells it why.
pub(crate) async fn discard(body: &mut Body, max_bytes: usize, timeout: Duration) {
    let mut left = max_bytes;
    let discarded = for_each_chunk(body, timeout, |chunk| {
        left = left.checked_sub(chunk.len()).ok_or(Overflow::Limit { limit: max_bytes })?;
        Ok(())
    });
    if let Err(refusal) = discarded.await {
        tracing::debug!(%refusal, "the rest of a refused body was not read");
    }
}

async fn for_each_chunk(
    body: &mut Body,
    timeout: Duration,
    mut push: impl FnMut(&[u8]) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    let read = async {
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| Refusal::Disconnected { source: error })?;
            if let Some(chunk) = frame.data_ref() {
                push(chunk)?;
            }
        }
        Ok(())
    };
    tokio::time::timeout(timeout, read).await.unwrap_or(Err(Refusal::SlowBody { timeout }))
}
