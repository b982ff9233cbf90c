//! A record on its way through a settlement.

use bytes::Bytes;
use telemetry_wire::split::Split;

use crate::publisher::{
    Unpublished,
    record::{Record, SentAt},
    state::{Action, Event, State},
};

/// How much of what does not fit is kept, in bytes: enough to know whose it is.
pub(super) const HEAD_BYTES: usize = crate::publisher::dead_letter::HEAD_BYTES;

/// A record, where it is, and what is known of it.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) record: Record,
    /// The value is no slice of what it was cut from: the reservation holds its bytes besides those.
    pub(super) is_copy: bool,
    /// It was refused with others.
    pub(super) is_alone: bool,
    pub(super) state: State,
    /// It cannot land in its partition below this.
    pub(super) floor: i64,
    /// Why it could not be sent, for the sender of a request that is refused for it.
    pub(super) refusal: Option<Unpublished>,
}

impl Parcel {
    pub(super) fn new(record: Record, is_copy: bool) -> Parcel {
        Parcel { record, is_copy, is_alone: false, state: State::Fresh, floor: 0, refusal: None }
    }

    /// Whether it goes by the producer whose batches hold one record.
    pub(super) fn is_judged_alone(&self) -> bool {
        self.is_alone || self.record.letter.is_some()
    }

    /// Takes the event; what it asks for is returned.
    pub(super) fn apply(&mut self, event: Event) -> Action {
        let (state, action) = self.state.on(event);
        self.state = state;
        action
    }

    /// What its frame says of where it may be.
    pub(super) fn sent_at(&self) -> Option<SentAt> {
        self.state.is_written_in_doubt().then_some(SentAt { floor: self.floor })
    }
}

/// Bytes of the pieces that are not slices of what they were cut from.
pub(super) fn copied_bytes(source: &Bytes, cut: &Split) -> usize {
    cut.pieces.iter().filter(|piece| is_copy(source, &piece.value)).map(|piece| piece.value.len()).sum()
}

pub(super) fn is_copy(source: &Bytes, value: &Bytes) -> bool {
    !source.as_ptr_range().contains(&value.as_ptr())
}
