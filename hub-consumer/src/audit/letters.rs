//! Which offsets were dead-lettered: read from the headers of the dead-letter topic.
//!
//! Memory: 8 bytes for each dead letter of the range, of which there may be [`MOST`].

use std::{collections::BTreeMap, str};

use anyhow::{Context as _, ensure};
use kafka_client::{OffsetRange, RangeReader, RangeRecord, admin};
use telemetry_wire::headers::dead_letter as names;

use super::range::Span;
use crate::config::SignalConfig;

/// 80 MB of offsets.
const MOST: usize = 10_000_000;

/// Offsets of the ranges that were dead-lettered, whole or in part, by partition; in order, each once.
pub(super) type Letters = BTreeMap<i32, Vec<i64>>;

/// Reads the dead-letter topic as it is now.
pub(super) async fn read(config: &SignalConfig, spans: &[Span]) -> anyhow::Result<Letters> {
    let (connection, topic) = (config.consumer.connection.clone(), config.dead_letter_topic.clone());
    let ends = admin::watermarks(&connection, &topic).await.with_context(|| {
        format!(
            "read the dead-letter topic `{topic}`; create it, or correct signals.{}.dead_letter_topic",
            config.signal
        )
    })?;
    let (source, spans) = (config.topic.clone(), spans.to_vec());
    let reading = tokio::task::spawn_blocking(move || {
        let reader = RangeReader::isolated(&connection, kafka_client::IsolationLevel::ReadCommitted)?;
        let mut letters = Letters::new();
        let mut count = 0;
        for end in ends {
            let range =
                OffsetRange { topic: topic.clone(), partition: end.partition, from: end.low, to: end.high };
            reader.read(&range, |letter| {
                let Some((partition, offset)) = origin(letter, &source) else { return };
                let is_judged =
                    |span: &Span| span.partition == partition && (span.from..span.to).contains(&offset);
                if count < MOST && spans.iter().any(is_judged) {
                    letters.entry(partition).or_default().push(offset);
                    count += 1;
                }
            })?;
        }
        ensure!(count < MOST, "the range has more than {MOST} dead letters; audit shorter ranges");
        for offsets in letters.values_mut() {
            offsets.sort_unstable();
            offsets.dedup();
        }
        Ok(letters)
    });
    reading
        .await
        .context("read the dead letters")?
        .with_context(|| format!("read the dead-letter topic `{}`", config.dead_letter_topic))
}

/// Where a dead letter came from, when that is a record of `topic`.
fn origin(letter: &RangeRecord<'_>, topic: &str) -> Option<(i32, i64)> {
    // Ours stand in front of the record's own, which may be those of an earlier life as a dead letter.
    let first = |name: &str| {
        let value = letter.headers.iter().find(|(given, _)| *given == name)?.1;
        str::from_utf8(value).ok()
    };
    if first(names::SOURCE_TOPIC)? != topic {
        return None;
    }
    Some((first(names::SOURCE_PARTITION)?.parse().ok()?, first(names::SOURCE_OFFSET)?.parse().ok()?))
}
