//! The dead letters that are to be sent again: which there are, and reading them as the records they were.

use std::{
    collections::{HashMap, HashSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    str,
    sync::Arc,
};

use anyhow::Context as _;
use bytes::Bytes;
use kafka_client::{IsolationLevel, OffsetRange, RangeReader, RangeRecord, admin};
use telemetry_wire::headers::dead_letter as names;

use super::{RedriveArgs, Summary};
use crate::{
    audit::{LetterPlace, redriven_letters},
    config::SignalConfig,
    dead_letter::PART,
    replay::feed,
    sink::{Fragment, Origin},
};

/// A record that was dead-lettered.
#[derive(Debug)]
pub(super) struct Letter {
    /// Why it was.
    pub(super) reason: String,
    /// The record or a part of one, under its place in the topic; `None` when only its head is left.
    pub(super) record: Option<Fragment>,
    /// All letters of this record or part, where they are in the dead-letter topic.
    pub(super) places: Vec<LetterPlace>,
}

/// The letters of one signal that are chosen.
#[derive(Debug)]
pub(super) struct Letters {
    signal: SignalConfig,
    /// Those to be sent.
    places: Vec<LetterPlace>,
    /// Of each record or part that is to be sent and has several letters, those before its latest.
    earlier: HashMap<LetterPlace, Vec<LetterPlace>>,
    chosen: Vec<(String, u64)>,
    given_up: Vec<(String, u64)>,
    next: usize,
}

/// What letters are of: a record, or of metrics a part of one.
#[derive(PartialEq, Eq, Hash)]
struct Key {
    partition: i32,
    offset: i64,
    /// Of the part's bytes.
    part: Option<u64>,
}

/// What the headers of a letter say.
struct Found {
    place: LetterPlace,
    reason: String,
    attempts: u32,
    written_ms: i64,
}

impl Letters {
    /// Looks at all letters that there are now.
    pub(super) async fn find(signal: &SignalConfig, args: &RedriveArgs) -> anyhow::Result<Letters> {
        let (connection, topic) = (signal.consumer.connection.clone(), signal.dead_letter_topic.clone());
        let ends = admin::watermarks(&connection, &topic).await.context("ask for the ends of the topic")?;
        let source = signal.topic.clone();
        let looking = tokio::task::spawn_blocking(move || {
            let reader = RangeReader::isolated(&connection, IsolationLevel::ReadCommitted)?;
            let mut all: HashMap<Key, Vec<Found>> = HashMap::new();
            let mut redriven: HashSet<LetterPlace> = HashSet::new();
            for end in ends {
                let range = OffsetRange {
                    topic: topic.clone(),
                    partition: end.partition,
                    from: end.low,
                    to: end.high,
                };
                reader.read(&range, |letter| {
                    if let Some(places) = redriven_letters(letter) {
                        redriven.extend(places);
                    } else if let Some((key, found)) = found(letter, end.partition, &source) {
                        all.entry(key).or_default().push(found);
                    }
                })?;
            }
            for letters in all.values_mut() {
                letters.retain(|letter| !redriven.contains(&letter.place));
            }
            anyhow::Ok(all)
        });
        let all = looking.await.context("look at the letters")??;
        let mut letters = Letters {
            signal: signal.clone(),
            places: Vec::new(),
            earlier: HashMap::new(),
            chosen: Vec::new(),
            given_up: Vec::new(),
            next: 0,
        };
        for (Key { partition, .. }, mut of_one) in all {
            // Of several letters of a record the one of the most attempts is the latest.
            of_one.sort_by_key(|letter| letter.attempts);
            let Some(found) = of_one.pop() else { continue };
            let millis = |time: jiff::Timestamp| time.as_millisecond();
            let is_chosen = (args.reasons.is_empty() || args.reasons.contains(&found.reason))
                && (args.partitions.is_empty() || args.partitions.contains(&partition))
                && args.from.is_none_or(|from| found.written_ms >= millis(from))
                && args.to.is_none_or(|to| found.written_ms < millis(to));
            if !is_chosen {
                continue;
            }
            if found.attempts >= args.max_attempts {
                letters.given_up.push((found.reason, 1));
                continue;
            }
            letters.chosen.push((found.reason, 1));
            letters.places.push(found.place);
            if !of_one.is_empty() {
                letters.earlier.insert(found.place, of_one.iter().map(|letter| letter.place).collect());
            }
        }
        letters.places.sort_unstable();
        Ok(letters)
    }

    /// Counts those that are chosen, and those that are given up.
    pub(super) fn count_into(&self, summary: &mut Summary) {
        for (reason, count) in &self.chosen {
            summary.entry(reason.clone()).or_default().chosen += count;
        }
        for (reason, count) in &self.given_up {
            summary.entry(reason.clone()).or_default().given_up += count;
        }
    }

    /// The next letters, of about so many bytes; `None` behind the last.
    pub(super) async fn next_chunk(&mut self, bytes: usize) -> anyhow::Result<Option<Vec<Letter>>> {
        if self.next >= self.places.len() {
            return Ok(None);
        }
        let (signal, places) = (self.signal.clone(), self.places[self.next..].to_vec());
        let reading = tokio::task::spawn_blocking(move || read(&signal, &places, bytes));
        let (mut chunk, read) = reading.await.context("read the letters")??;
        self.next += read;
        for letter in &mut chunk {
            if let Some(earlier) = letter.places.first().and_then(|latest| self.earlier.remove(latest)) {
                letter.places.extend(earlier);
            }
        }
        Ok(Some(chunk))
    }
}

/// Reads letters from the beginning of `places` until there are so many bytes; also how many places that were.
fn read(signal: &SignalConfig, places: &[(i32, i64)], bytes: usize) -> anyhow::Result<(Vec<Letter>, usize)> {
    let reader = RangeReader::isolated(&signal.consumer.connection, IsolationLevel::ReadCommitted)?;
    let (mut letters, mut held, mut read) = (Vec::new(), 0, 0);
    // Runs of letters that are next to each other are read at once.
    let runs = places.chunk_by(|one, next| one.0 == next.0 && one.1 + 1 == next.1);
    for run in runs {
        let ((partition, first), (_, last)) = (run[0], run[run.len() - 1]);
        for from in (first..=last).step_by(1000) {
            if held >= bytes {
                return Ok((letters, read));
            }
            let range = OffsetRange {
                topic: signal.dead_letter_topic.clone(),
                partition,
                from,
                to: (from + 1000).min(last + 1),
            };
            read += usize::try_from(range.to - range.from).unwrap_or(0);
            let mut heads = Vec::new();
            reader.read(&range, |record| {
                held += record.value.len();
                let reason = text(record, names::REASON).unwrap_or_default().to_owned();
                if text(record, names::ORIGINAL_BYTES).is_some() {
                    heads.push((letters.len(), source(record), attempts(record) + 1));
                }
                let places = vec![(partition, record.offset)];
                letters.push(Letter { reason, record: record_of(signal, record), places });
            })?;
            for (index, place, attempts) in heads {
                letters[index].record = place.and_then(|place| whole(&reader, signal, place, attempts));
            }
        }
    }
    Ok((letters, read))
}

/// The record itself, when its letter has only its head: from the topic, if that still has it.
fn whole(
    reader: &RangeReader,
    signal: &SignalConfig,
    (partition, offset): (i32, i64),
    attempts: u32,
) -> Option<Fragment> {
    let range = OffsetRange { topic: signal.topic.clone(), partition, from: offset, to: offset + 1 };
    let topic: Arc<str> = signal.topic.as_str().into();
    let mut found = None;
    let read = reader.read(&range, |record| {
        let mut origin = feed::origin(&topic, partition, record);
        origin.headers.insert(0, (names::ATTEMPTS.to_owned(), Bytes::from(attempts.to_string())));
        let value = origin.value.clone();
        found = Some(Fragment::whole(Arc::new(origin), value));
    });
    read.ok().and(found)
}

/// The record of which this is the letter: its place, its own headers, and one more attempt.
fn record_of(signal: &SignalConfig, letter: &RangeRecord<'_>) -> Option<Fragment> {
    let (partition, offset) = source(letter)?;
    let is_own = |name: &str| !name.starts_with(names::PREFIX);
    let mut headers = vec![(names::ATTEMPTS.to_owned(), Bytes::from((attempts(letter) + 1).to_string()))];
    let own = letter.headers.iter().filter(|(name, _)| is_own(name));
    headers.extend(own.map(|(name, value)| ((*name).to_owned(), Bytes::copy_from_slice(value))));
    let value = Bytes::copy_from_slice(letter.value);
    let origin = Origin {
        topic: signal.topic.as_str().into(),
        partition,
        offset,
        timestamp_ms: text(letter, names::SOURCE_TIMESTAMP).and_then(|text| text.parse().ok()),
        key: letter.key.map(Bytes::copy_from_slice),
        value: value.clone(),
        headers,
        credit: None,
    };
    Some(Fragment { origin: Arc::new(origin), value, is_part: text(letter, PART).is_some() })
}

fn found(letter: &RangeRecord<'_>, partition: i32, topic: &str) -> Option<(Key, Found)> {
    if text(letter, names::SOURCE_TOPIC)? != topic {
        return None;
    }
    let found = Found {
        place: (partition, letter.offset),
        reason: text(letter, names::REASON).unwrap_or_default().to_owned(),
        attempts: attempts(letter),
        written_ms: letter.timestamp_ms.unwrap_or(0),
    };
    let hash = || {
        let mut hasher = DefaultHasher::new();
        letter.value.hash(&mut hasher);
        hasher.finish()
    };
    let (partition, offset) = source(letter)?;
    Some((Key { partition, offset, part: text(letter, PART).map(|_| hash()) }, found))
}

/// Where the record was read; an edge's letters were never in the topic.
fn source(letter: &RangeRecord<'_>) -> Option<(i32, i64)> {
    let number = |name| text(letter, name)?.parse().ok();
    Some((i32::try_from(number(names::SOURCE_PARTITION)?).ok()?, number(names::SOURCE_OFFSET)?))
}

fn attempts(letter: &RangeRecord<'_>) -> u32 {
    text(letter, names::ATTEMPTS).and_then(|text| text.parse().ok()).unwrap_or(0)
}

/// The first header of this name: ours stand in front of the record's own.
fn text<'a>(letter: &RangeRecord<'a>, name: &str) -> Option<&'a str> {
    let value = letter.headers.iter().find(|(given, _)| *given == name)?.1;
    str::from_utf8(value).ok()
}
