//! From which offset on a partition has to be read to find whatever of the backlog may be in it.
//!
//! A record of the backlog that is handed to the producer cannot land below the floor that its partition has at that moment.
//! The lowest floor over all records without a report is written into the spool's note from time to time, so that after a crash
//! the edge reads that much of each partition and no more. A note that is older than the records is still right, since floors
//! only rise: it only makes the way longer.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use prost::Message;
use tokio::time::Instant;

/// A partition of the topic, or of the dead-letter topic.
pub(super) type Place = (bool, i32);

/// Where a record may be.
#[derive(Debug, Clone, Copy)]
pub(super) struct DoubtAt {
    pub(super) place: Place,
    /// It is not below this.
    pub(super) floor: i64,
    /// Nothing was sent there for it after this.
    pub(super) since: Instant,
}

/// The floors of the backlog's records that are with the producer.
#[derive(Debug, Default)]
pub(super) struct Floors {
    with_the_producer: HashMap<Place, BTreeMap<i64, usize>>,
}

impl Floors {
    /// A record was handed over.
    pub(super) fn enter(&mut self, place: Place, floor: i64) {
        *self.with_the_producer.entry(place).or_default().entry(floor).or_default() += 1;
    }

    /// It has its report.
    pub(super) fn leave(&mut self, place: Place, floor: i64) {
        let Some(floors) = self.with_the_producer.get_mut(&place) else { return };
        if let Some(count) = floors.get_mut(&floor) {
            *count -= 1;
            if *count == 0 {
                floors.remove(&floor);
            }
        }
        if floors.is_empty() {
            self.with_the_producer.remove(&place);
        }
    }

    /// The lowest floor of the records at `place` without a report.
    pub(super) fn lowest(&self, place: Place) -> Option<i64> {
        self.with_the_producer.get(&place)?.keys().next().copied()
    }
}

/// What the spool's checkpoint remembers for the publisher.
#[derive(Clone, PartialEq, Message)]
pub(super) struct Note {
    /// Records that lie in the spool may have been handed to a producer since it was last empty.
    #[prost(bool, tag = "1")]
    pub(super) is_draining: bool,
    /// Where they can be. A partition that is not named here has to be read from its beginning.
    #[prost(message, repeated, tag = "2")]
    floors: Vec<PlaceFloor>,
}

/// The floor of one partition, as it is written down.
#[derive(Clone, Copy, PartialEq, Eq, Message)]
pub(super) struct PlaceFloor {
    #[prost(bool, tag = "1")]
    is_letter: bool,
    #[prost(int32, tag = "2")]
    partition: i32,
    #[prost(int64, tag = "3")]
    pub(super) offset: i64,
}

impl PlaceFloor {
    pub(super) fn new((is_letter, partition): Place, offset: i64) -> PlaceFloor {
        PlaceFloor { is_letter, partition, offset }
    }

    pub(super) fn place(&self) -> Place {
        (self.is_letter, self.partition)
    }
}

impl Note {
    /// A note to write: `floors` of every partition that records may be sent to.
    pub(super) fn draining(floors: impl IntoIterator<Item = (Place, i64)>) -> Note {
        let floors = floors.into_iter().map(|(place, offset)| PlaceFloor::new(place, offset)).collect();
        Note { is_draining: true, floors }
    }

    /// Reads the note of a checkpoint. One that cannot be read says the safe thing: everything may be anywhere.
    pub(super) fn read(bytes: &Bytes) -> Note {
        Note::decode(bytes.clone()).unwrap_or_else(|error| {
            tracing::warn!(%error, "the spool's note cannot be read; whole partitions may have to be read");
            Note { is_draining: true, floors: Vec::new() }
        })
    }

    /// The note as the spool takes it.
    pub(super) fn to_bytes(&self) -> Bytes {
        self.encode_to_vec().into()
    }

    /// Where records can be at `place`.
    pub(super) fn floor(&self, place: Place) -> i64 {
        self.floors.iter().find(|floor| floor.place() == place).map_or(0, |floor| floor.offset)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_floor_stands_until_its_last_record_has_a_report() {
        let mut floors = Floors::default();
        let place = (false, 3);
        for floor in [10, 10, 12] {
            floors.enter(place, floor);
        }
        floors.leave(place, 10);
        assert_eq!(floors.lowest(place), Some(10));
        floors.leave(place, 10);
        assert_eq!((floors.lowest(place), floors.lowest((true, 3))), (Some(12), None));
        floors.leave(place, 12);
        floors.leave(place, 12);
        assert_eq!(floors.lowest(place), None);
    }

    #[test]
    fn a_note_is_read_as_it_was_written_and_a_damaged_one_is_believed_the_least() {
        let note = Note::draining([((false, 0), 7), ((true, 2), 0)]);
        assert_eq!(Note::read(&note.to_bytes()), note);
        assert_eq!((note.floor((false, 0)), note.floor((false, 1))), (7, 0));
        assert!(!Note::read(&Bytes::new()).is_draining, "a new spool");
        assert!(Note::read(&Bytes::from_static(b"\xff")).is_draining);
    }
}
