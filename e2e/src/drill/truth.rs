//! How old the first uncommitted record is, by the clock of who sent it.

use anyhow::{Context, Result};
use kafka_client::{OffsetRange, RangeReader, admin};
use telemetry_wire::Signal;

use super::stream;
use crate::Line;

/// Its age in seconds; 0 when everything is committed.
pub(super) async fn age(line: &Line) -> Result<f64> {
    let (connection, topic) = (line.connection(), line.topic(Signal::Logs));
    let ends = admin::watermarks(&connection, &topic).await.context("ask for the ends")?;
    let committed = line.committed(Signal::Logs).await?;
    let first = ends.into_iter().filter_map(|end| {
        let (_, offset) = committed.iter().find(|(partition, _)| *partition == end.partition)?;
        (*offset < end.high).then_some((end.partition, *offset))
    });
    let first: Vec<(i32, i64)> = first.collect();
    let reading = tokio::task::spawn_blocking(move || {
        let reader = RangeReader::new(&connection)?;
        let mut oldest = None;
        for (partition, offset) in first {
            let range = OffsetRange { topic: topic.clone(), partition, from: offset, to: offset + 1 };
            reader.read(&range, |record| {
                let sent_at = stream::sent_at(record.value);
                oldest = [oldest, sent_at].into_iter().flatten().min();
            })?;
        }
        anyhow::Ok(oldest)
    });
    let oldest = reading.await.context("read the first records")??;
    Ok(oldest.map_or(0.0, |sent_at| stream::now().saturating_sub(sent_at) as f64 / 1e9))
}
