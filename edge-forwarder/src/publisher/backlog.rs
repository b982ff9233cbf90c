//! What a route keeps in the spool, and what is known of the records in it beyond their frames.

use std::{
    collections::HashMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use disk_spool::{Recovery, Spool};

use super::{
    floors::{DoubtAt, Floors, Note, Place},
    record::Mark,
};

/// The spool of one signal.
#[derive(Debug)]
pub(crate) struct Backlog {
    spool: Spool,
    /// With less room than this the spool counts as full; `None` when it makes room by itself.
    least_room: Option<u64>,
    mark: Mark,
    recovered: Recovered,
    sending: Mutex<Sending>,
}

/// What an earlier process left.
#[derive(Debug)]
pub(super) struct Recovered {
    /// Frames below it are an earlier process's.
    pub(super) below: u64,
    /// What it had written down about them.
    pub(super) note: Note,
}

/// What changes while the backlog is sent.
#[derive(Debug, Default)]
pub(super) struct Sending {
    pub(super) floors: Floors,
    /// Frames given back although their topic may have them.
    pub(super) doubtful: HashMap<u64, DoubtAt>,
    /// Frames that the broker refused in a batch.
    pub(super) refused: HashMap<u64, Refused>,
}

/// A frame that the broker refused in a batch.
#[derive(Debug)]
pub(super) struct Refused {
    /// Its parts and its dead letter are not below these.
    pub(super) floors: Vec<(Place, i64)>,
    /// Some of them may have been sent.
    pub(super) was_tried: bool,
}

impl Refused {
    /// The partition that refused it, if it was no letter.
    pub(super) fn partition(&self) -> Option<i32> {
        self.floors.iter().find(|((is_letter, _), _)| !is_letter).map(|((_, partition), _)| *partition)
    }
}

impl Backlog {
    /// `least_room`: what must be left of the quota for the spool to be of use, in bytes; `None` when it makes room by itself.
    pub(crate) fn new(spool: Spool, recovery: &Recovery, least_room: Option<u64>) -> Backlog {
        let recovered = Recovered { below: recovery.next_sequence, note: Note::read(&recovery.note) };
        Backlog {
            spool,
            least_room,
            mark: Mark::of_spool(recovery.incarnation.0),
            recovered,
            sending: Mutex::default(),
        }
    }

    pub(super) fn spool(&self) -> &Spool {
        &self.spool
    }

    /// By which the records of this spool are known.
    pub(super) fn mark(&self) -> Mark {
        self.mark
    }

    pub(super) fn recovered(&self) -> &Recovered {
        &self.recovered
    }

    pub(super) fn sending(&self) -> MutexGuard<'_, Sending> {
        self.sending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why the spool takes nothing now; `None` while it does.
    pub(super) fn obstacle(&self) -> Option<String> {
        let usage = self.spool.usage();
        let room = usage.quota_bytes.saturating_sub(usage.disk_bytes);
        let is_full = self.least_room.is_some_and(|least| room < least);
        usage.obstacle.or_else(|| is_full.then(|| "its quota is used up".to_owned()))
    }

    /// Ends the spool, with all that is known of it on the disk; blocks.
    pub(super) fn close(&self) {
        self.spool.close();
    }
}

impl Sending {
    /// The frame is resolved.
    pub(super) fn forget(&mut self, sequence: u64) {
        self.doubtful.remove(&sequence);
        self.refused.remove(&sequence);
    }

    /// The lowest floor of what may be at `place` and has no report, or was refused and may be there in part.
    pub(super) fn lowest_floor(&self, place: Place) -> Option<i64> {
        let of_refused =
            |refused: &Refused| refused.floors.iter().find(|(of, _)| *of == place).map(|(_, floor)| *floor);
        let refused = self.refused.values().filter_map(of_refused);
        let doubtful = self.doubtful.values().filter(|doubt| doubt.place == place).map(|doubt| doubt.floor);
        self.floors.lowest(place).into_iter().chain(refused).chain(doubtful).min()
    }
}

impl Recovered {
    /// Whether a frame is an earlier process's.
    pub(super) fn has(&self, sequence: u64) -> bool {
        sequence < self.below
    }

    /// Whether a frame may have been sent by an earlier process as a part of its backlog.
    pub(super) fn may_have_sent(&self, sequence: u64) -> bool {
        self.note.is_draining && self.has(sequence)
    }
}

/// An empty note: nothing that lies in the spool has been sent.
pub(super) fn idle_note() -> Bytes {
    Bytes::new()
}
