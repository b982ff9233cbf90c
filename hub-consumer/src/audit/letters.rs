//! Which offsets are dead-lettered: read from the headers of the dead-letter topic. A letter that was redriven counts no more:
//! either its record is stored, and missing if it leaves the table again, or it has a newer letter.
//!
//! Memory: 24 bytes for each dead letter of the range and each note of one, of which there may be [`MOST`].

use std::{
    collections::{BTreeMap, HashSet},
    str,
};

use anyhow::{Context as _, ensure};
use kafka_client::{OffsetRange, RangeReader, RangeRecord, admin};
use telemetry_wire::headers::dead_letter as names;

use super::range::Span;
use crate::config::SignalConfig;

/// 240 MB of places.
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
        let mut letters: BTreeMap<i32, Vec<(i64, LetterPlace)>> = BTreeMap::new();
        let mut redriven: HashSet<LetterPlace> = HashSet::new();
        let mut count = 0;
        for end in ends {
            let range =
                OffsetRange { topic: topic.clone(), partition: end.partition, from: end.low, to: end.high };
            reader.read(&range, |letter| {
                let Some((partition, offset)) = origin(letter, &source) else { return };
                let is_judged =
                    |span: &Span| span.partition == partition && (span.from..span.to).contains(&offset);
                if count >= MOST || !spans.iter().any(is_judged) {
                    return;
                }
                let places = redriven_letters(letter);
                count += places.as_ref().map_or(1, Vec::len);
                match places {
                    Some(places) => redriven.extend(places),
                    None => {
                        letters.entry(partition).or_default().push((offset, (end.partition, letter.offset)));
                    }
                }
            })?;
        }
        ensure!(count < MOST, "the range has more than {MOST} dead letters; audit shorter ranges");
        let open = letters.into_iter().map(|(partition, letters)| {
            let mut offsets: Vec<i64> = letters
                .into_iter()
                .filter(|(_, place)| !redriven.contains(place))
                .map(|(offset, _)| offset)
                .collect();
            offsets.sort_unstable();
            offsets.dedup();
            (partition, offsets)
        });
        Ok(open.collect())
    });
    reading
        .await
        .context("read the dead letters")?
        .with_context(|| format!("read the dead-letter topic `{}`", config.dead_letter_topic))
}

/// Where a letter is in the dead-letter topic: partition and offset.
pub(crate) type LetterPlace = (i32, i64);

/// The letters that a note names; `None` of a letter.
pub(crate) fn redriven_letters(record: &RangeRecord<'_>) -> Option<Vec<LetterPlace>> {
    let (_, value) = record.headers.iter().find(|(name, _)| *name == names::REDRIVEN)?;
    let places = str::from_utf8(value).ok()?.split(',');
    let place = |text: &str| {
        let (partition, offset) = text.split_once(':')?;
        Some((partition.parse().ok()?, offset.parse().ok()?))
    };
    Some(places.filter_map(place).collect())
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
