//! Where to look after a crash for lines of log files that a checkpoint of positions does not know.
//!
//! A tailer writes down from time to time how far each file is durable, and a crash makes it ask for what became so after that.
//! The [`TailMark`] in the same checkpoint bounds the question: no batch that the positions lack is in the spool below one
//! sequence, or in a partition below its floor.
//!
//! **Take the mark first, then collect the positions, and only then write the checkpoint.** A batch counts as outstanding from
//! before it is handed over until its owner says that the position of its file has moved ([`Landed::position_moved`]); every
//! mark of that time leads to it. So whatever is not outstanding when the mark is taken is in the positions that are collected
//! after it. A batch that is abandoned, or whose owner went away, stays outstanding to the end of the process: that only makes
//! the way longer.
//!
//! **A first checkpoint has to be durable before the first batch is handed over.** An edge knows its records by the number of
//! its spool, which is in the mark: a spool that has never been written to draws another one with each start.
//!
//! **How it is answered.** First the spool, then the topics: what the drain moves meanwhile is in its topic before its frame goes.
//! The topics are read as for any record in doubt, settling and barrier included (see [`crate::readback`]), so what an earlier
//! process had under way has landed, or never will.

use std::{
    collections::{BTreeMap, HashSet},
    io,
    ops::{ControlFlow, Range},
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use disk_spool::offline::{self, Stored};
use prost::Message;
use telemetry_wire::Signal;
use thiserror::Error;
use tokio::time::Instant;

use super::{
    Publisher, Shared,
    backlog::Backlog,
    floors::{Place, PlaceFloor},
    record::{Mark, Origin, Record},
    route::Route,
};
use crate::readback::{Doubt, ReadBack, ReadBackError};

/// Where tailed lines can be, that are or were outstanding from some moment on. An empty one says: anywhere.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct TailMark {
    /// A partition that is not named here has to be read from its beginning.
    #[prost(message, repeated, tag = "1")]
    floors: Vec<PlaceFloor>,
    /// No such frame of the spool has a lower number.
    #[prost(uint64, tag = "2")]
    spool_sequence: u64,
    /// The spool that this is about, by its mark.
    #[prost(uint32, optional, tag = "3")]
    spool: Option<u32>,
}

/// The batches that the positions may lack.
#[derive(Debug, Default)]
pub(super) struct Outstanding {
    since: Mutex<Since>,
}

/// By number, what the mark was when each was handed over.
#[derive(Debug, Default)]
struct Since {
    next: u64,
    marks: BTreeMap<u64, TailMark>,
}

/// A batch that is durable. Until its owner says that the position of its file has moved, every mark leads to it.
#[derive(Debug)]
#[must_use = "marks stay behind until the position has moved"]
pub(crate) struct Landed {
    outstanding: Arc<Outstanding>,
    number: u64,
}

/// It cannot be told now which positions are durable; to be asked again.
#[derive(Debug, Error)]
pub(crate) enum TailedSinceError {
    /// Nothing can be told without a spool, by which an edge knows its own records.
    #[error("there is no spool")]
    NoSpool,
    /// The disk does not let it be read.
    #[error("the spool cannot be read")]
    Spool(#[from] io::Error),
    /// The brokers do not answer, as a rule.
    #[error("the topics cannot be read back")]
    Topics(#[from] ReadBackError),
}

impl TailMark {
    /// Reads a mark.
    pub(crate) fn from_bytes(bytes: &[u8]) -> Result<TailMark, prost::DecodeError> {
        TailMark::decode(bytes)
    }

    /// The mark as a checkpoint takes it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        self.encode_to_vec()
    }

    fn floor(&self, place: Place) -> Option<i64> {
        self.floors.iter().find(|floor| floor.place() == place).map(|floor| floor.offset)
    }

    /// Where to look in the spool of this mark, which may be another than the one that this is about.
    fn sequence_in(&self, spool: Mark) -> u64 {
        if self.spool == Some(u32::from(spool.number())) { self.spool_sequence } else { 0 }
    }

    /// Goes back to where `earlier` begins. What that does not name it begins at the beginning of.
    fn reach_back_to(&mut self, earlier: &TailMark) {
        self.floors.retain_mut(|floor| {
            let offset = earlier.floor(floor.place());
            floor.offset = floor.offset.min(offset.unwrap_or(0));
            offset.is_some()
        });
        self.spool_sequence = self.spool_sequence.min(earlier.spool_sequence);
    }
}

impl Outstanding {
    /// A batch is about to be handed over; `now` is asked before.
    pub(super) fn enter(self: &Arc<Self>, now: impl FnOnce() -> TailMark) -> Landed {
        let mut since = self.since();
        let number = since.next;
        since.next += 1;
        since.marks.insert(number, now());
        Landed { outstanding: Arc::clone(self), number }
    }

    /// The mark that leads to all of them, and to whatever is handed over after it.
    fn mark(&self, now: impl FnOnce() -> TailMark) -> TailMark {
        let since = self.since();
        let mut mark = now();
        since.marks.values().for_each(|earlier| mark.reach_back_to(earlier));
        mark
    }

    fn since(&self) -> MutexGuard<'_, Since> {
        self.since.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Landed {
    /// Positions that are collected from now on have it.
    pub(crate) fn position_moved(self) {
        self.outstanding.since().marks.remove(&self.number);
    }
}

impl Publisher {
    /// Where to look after a crash for every batch of lines that is handed over from now on, or whose position has not moved
    /// yet. To be taken before the positions of the same checkpoint are collected.
    pub(crate) fn tail_mark(&self) -> TailMark {
        self.shared.outstanding.mark(|| self.shared.tail_mark_now())
    }

    /// The origin of every batch that an earlier process made durable and that a checkpoint with this mark may not know, in no
    /// order. To be asked before anything is handed over.
    ///
    /// # Errors
    /// A broker does not answer; to be asked again.
    pub(crate) async fn tailed_since(&self, mark: &TailMark) -> Result<Vec<Origin>, TailedSinceError> {
        let shared = &self.shared;
        let route = &shared.routes[Signal::Logs as usize];
        let Some(backlog) = &route.backlog else { return Err(TailedSinceError::NoSpool) };
        let mut found = spooled_since(backlog, mark).await?;
        found.extend(shared.stored_since(route, backlog, mark).await?);
        Ok(found.into_iter().collect())
    }
}

impl Shared {
    /// Nothing that is handed over from now on can be found before this.
    pub(super) fn tail_mark_now(&self) -> TailMark {
        let route = &self.routes[Signal::Logs as usize];
        let mut floors = Vec::new();
        for is_letter in [false, true] {
            let topic = route.topic_for(is_letter);
            let partitions = topic.partitions(&self.producer).unwrap_or(0);
            floors.extend((0..partitions).map(|partition| {
                PlaceFloor::new((is_letter, partition), self.producer.floor(topic.name(), partition))
            }));
        }
        let backlog = route.backlog.as_ref();
        TailMark {
            floors,
            spool_sequence: backlog.map_or(0, |backlog| backlog.spool().next_sequence()),
            spool: backlog.map(|backlog| u32::from(backlog.mark().number())),
        }
    }

    /// What the topics have of tailed lines from the mark on.
    async fn stored_since(
        &self,
        route: &Route,
        backlog: &Backlog,
        mark: &TailMark,
    ) -> Result<impl Iterator<Item = Origin>, ReadBackError> {
        // The spool may be another than the one that the mark is about: put in its place, or numbered anew while it was empty.
        let before = mark.spool.and_then(|number| u16::try_from(number).ok()).map(Mark::of_number);
        let marks = before.into_iter().chain([backlog.mark()]).collect();
        let mut readback = ReadBack::of_origins(&self.readback, &self.producer, &self.metrics, marks);
        let mut doubts = Vec::new();
        let since = Instant::now();
        for is_letter in [false, true] {
            let topic: Arc<str> = route.topic_for(is_letter).name().into();
            let partitions = match readback.partition_count(&topic).await? {
                Some(partitions) => partitions,
                // Without a dead-letter topic nothing is in it.
                None if is_letter => 0,
                None => return Err(ReadBackError::UnknownTopic),
            };
            doubts.extend((0..partitions).map(|partition| {
                let floor = mark.floor((is_letter, partition)).unwrap_or(0);
                Doubt { topic: Arc::clone(&topic), partition, floor, since }
            }));
        }
        readback.look_for(&doubts).await?;
        Ok(readback.into_found())
    }
}

/// What the spool had of tailed lines from the mark on when it was opened.
pub(super) async fn spooled_since(backlog: &Backlog, mark: &TailMark) -> io::Result<HashSet<Origin>> {
    let sequences = mark.sequence_in(backlog.mark())..backlog.recovered().below;
    let directory = backlog.spool().directory().to_owned();
    let read = tokio::task::spawn_blocking(move || origins_in(&directory, sequences));
    read.await.unwrap_or_else(|failed| Err(io::Error::other(failed)))
}

fn origins_in(directory: &Path, sequences: Range<u64>) -> io::Result<HashSet<Origin>> {
    let mut found = HashSet::new();
    if sequences.is_empty() {
        return Ok(found);
    }
    offline::frames_from(directory, sequences.start, &mut |stored| {
        // What is damaged is not durable, and what cannot be read is reported by the drain.
        let Stored::Frame { sequence, payload, .. } = stored else { return ControlFlow::Continue(()) };
        if sequence >= sequences.end {
            return ControlFlow::Break(());
        }
        found.extend(Record::from_payload(payload).ok().and_then(|(record, _)| record.origin));
        ControlFlow::Continue(())
    })?;
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark(floors: &[(Place, i64)], spool_sequence: u64) -> TailMark {
        let floors = floors.iter().map(|(place, offset)| PlaceFloor::new(*place, *offset)).collect();
        TailMark { floors, spool_sequence, spool: Some(0xabcd) }
    }

    #[test]
    fn a_mark_leads_to_every_batch_whose_position_has_not_moved() {
        let (log, letter) = ((false, 0), (true, 0));
        let outstanding = Arc::new(Outstanding::default());
        let first = outstanding.enter(|| mark(&[(log, 7), (letter, 3)], 20));
        // A topic that was made anew begins below.
        let second = outstanding.enter(|| mark(&[(log, 5), (letter, 4)], 21));
        let now = || mark(&[(log, 9), (letter, 4)], 30);
        assert_eq!(outstanding.mark(now), mark(&[(log, 5), (letter, 3)], 20));
        first.position_moved();
        assert_eq!(outstanding.mark(now), mark(&[(log, 5), (letter, 4)], 21));
        drop(second);
        assert_eq!(outstanding.mark(now), mark(&[(log, 5), (letter, 4)], 21), "nobody has its position");
    }

    #[test]
    fn what_was_handed_over_while_a_topic_was_not_known_is_looked_for_in_all_of_it() {
        let outstanding = Arc::new(Outstanding::default());
        let _first = outstanding.enter(|| mark(&[], 1));
        let mark = outstanding.mark(|| mark(&[((false, 0), 9)], 2));
        assert_eq!((mark.floor((false, 0)), mark.spool_sequence), (None, 1));
    }

    #[test]
    fn a_spool_that_was_put_in_the_place_of_another_is_read_from_its_beginning() {
        let mark = mark(&[], 20);
        let sequences = [0xabcd, 0xabce].map(|number| mark.sequence_in(Mark::of_number(number)));
        assert_eq!(sequences, [20, 0]);
        assert_eq!(TailMark::default().sequence_in(Mark::of_number(0)), 0);
    }

    #[test]
    fn a_mark_is_read_as_it_was_written() {
        let mark = mark(&[((false, 0), 0), ((true, 2), 1)], 3);
        assert_eq!(TailMark::from_bytes(&mark.to_bytes()).unwrap(), mark);
        assert_eq!(TailMark::from_bytes(&[]).unwrap().floor((false, 0)), None, "nothing is known");
        assert!(TailMark::from_bytes(b"\xff").is_err());
    }
}
