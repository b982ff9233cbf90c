//! Reads runs of offsets of a topic again, and passes the records on in their order.

use std::sync::Arc;

use anyhow::Context as _;
use bytes::Bytes;
use kafka_client::{OffsetRange, RangeReader, RangeRecord};
use tokio::sync::mpsc;

use super::READ_AHEAD;
use crate::{
    config::SignalConfig,
    intent::Insertion,
    resend::{Resender, Settled},
    sink::{Fragment, Origin, Sink},
};

/// Offsets between two runs that are read and dropped: to seek costs some milliseconds, as much as some hundred records.
const READ_THROUGH: i64 = 500;

/// Reads these runs of offsets, first and last, and stores what is in them. `settled` is told of every block.
pub(super) async fn resend<S: Sink>(
    resender: &Resender<'_, S>,
    signal: &SignalConfig,
    partition: i32,
    runs: &[[i64; 2]],
    past: Insertion,
    settled: impl FnMut(Settled),
) -> anyhow::Result<()> {
    let (sender, mut records) = mpsc::channel(READ_AHEAD);
    let (signal, runs) = (signal.clone(), runs.to_vec());
    let reading = tokio::task::spawn_blocking(move || read(&signal, partition, &runs, &sender));
    let mut batch = resender.batch(past, settled);
    while let Some(origin) = records.recv().await {
        let value = origin.value.clone();
        batch.add(Fragment::whole(Arc::new(origin), value)).await?;
    }
    // Of a topic that could not be read to the end, what was read is stored first.
    batch.end().await?;
    reading.await.context("read the topic")?.context("read the topic")
}

/// Sends the records of these runs on. Ends early when nobody takes them any more.
fn read(
    signal: &SignalConfig,
    partition: i32,
    runs: &[[i64; 2]],
    sender: &mpsc::Sender<Origin>,
) -> anyhow::Result<()> {
    let reader = RangeReader::isolated(&signal.consumer.connection, signal.consumer.isolation)?;
    let topic: Arc<str> = signal.topic.as_str().into();
    for near in runs.chunk_by(|one, next| next[0] - one[1] <= READ_THROUGH) {
        if sender.is_closed() {
            return Ok(());
        }
        let (from, to) = (near[0][0], near[near.len() - 1][1] + 1);
        let range = OffsetRange { topic: signal.topic.clone(), partition, from, to };
        let mut runs = near.iter().peekable();
        reader.read(&range, |record| {
            while runs.next_if(|[_, last]| *last < record.offset).is_some() {}
            if runs.peek().is_some_and(|[first, _]| *first <= record.offset) {
                // Nobody takes them when the replay was ended.
                let _ = sender.blocking_send(origin(&topic, partition, record));
            }
        })?;
    }
    Ok(())
}

pub(crate) fn origin(topic: &Arc<str>, partition: i32, record: &RangeRecord<'_>) -> Origin {
    let headers = record.headers.iter();
    Origin {
        topic: Arc::clone(topic),
        partition,
        offset: record.offset,
        timestamp_ms: record.timestamp_ms,
        key: record.key.map(Bytes::copy_from_slice),
        value: Bytes::copy_from_slice(record.value),
        headers: headers.map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value))).collect(),
        credit: None,
    }
}
