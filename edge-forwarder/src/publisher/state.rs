//! What can become of a record: one state, and every way out of it, on one page.
//!
//! ```text
//!            Sent                Overdue                Written
//!   Fresh ─────────► InFlight ───────────► InFlightWriting ─────► InFlightKept ──Acked──► Done
//!     │                │  │ Acked                 │ Acked              │  ▲
//!     │Unsendable      │  └────────► Done ◄───────┴─(then Written)     │  │ Sent
//!     ▼                │ Failed                                 Failed │  │
//!   Writing ◄──────────┘                                               ▼  │
//!     │ Written                                      sure it is not there ─► Kept
//!     ├──────────────────────────────────────────────────────────────────►  ▲ Missing
//!     │                                              it may be there ────► Doubtful ──Found──► Done
//!     ├─ Unwritten ─► Refused
//!     └─ Postponed ─► Fresh, or Unsure (it may be there): from there only to Writing
//! ```
//!
//! What is `TooLarge` goes from `Fresh` or `InFlight` to `Writing`, and is handed out once it is known to be so. A sender that
//! can wait has its records `Postponed` where another has them back.
//!
//! The sender is told "success" in every state of [`State::is_safe`] and in no other. A record is handed to the producer only
//! from `Fresh` and `Kept`, where it is certain that its topic does not hold it: that is why none is stored twice. A crash
//! leaves what the disk has: `Doubtful` when a producer may have had it, else `Kept`. What the disk has not was never acked.

/// Where a record is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum State {
    /// Only the sender has it.
    Fresh,
    /// The producer has it.
    InFlight,
    /// The producer has it, and it is being written to the spool.
    InFlightWriting,
    /// The topic has it, and a copy that is no longer needed is being written.
    DoneWriting,
    /// It is being written to the spool and the producer does not have it. `is_doubtful`: its topic may.
    Writing {
        /// Its topic may have it.
        is_doubtful: bool,
        /// The spool was told that the producer has it.
        is_taken: bool,
    },
    /// The producer has it, and so has the spool.
    InFlightKept,
    /// The spool has it, its topic has not.
    Kept,
    /// The spool has it, its topic may have it.
    Doubtful,
    /// Its topic, or the dead-letter topic, has it.
    Done,
    /// Only the sender has it, and its topic may have it.
    Unsure,
    /// The sender keeps it.
    Refused,
}

/// What happens to a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// The producer took it.
    Sent,
    /// The producer cannot take it now, or must not.
    Unsendable,
    /// It is too large for the topic, or shared a batch that was: nobody has it.
    TooLarge,
    /// The broker acknowledged it.
    Acked,
    /// The producer gave it up.
    Failed {
        /// The topic may have it all the same.
        is_ambiguous: bool,
    },
    /// The broker is late.
    Overdue,
    /// The spool has it on the disk.
    Written,
    /// The spool does not take it.
    Unwritten,
    /// The spool does not take it now, and its sender waits.
    Postponed,
    /// The topic was read, and has it.
    Found,
    /// The topic was read, and does not have it.
    Missing,
}

/// What has to be done on the way into a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// Nothing.
    None,
    /// Append it to the spool.
    Write {
        /// The spool must not hand it out yet.
        is_taken: bool,
    },
    /// Tell the spool that it is done with.
    Resolve,
    /// Tell the spool to hand it out again.
    GiveBack,
}

impl State {
    /// The state after an event, and what to do. An event that cannot happen in a state changes nothing.
    pub(crate) fn on(self, event: Event) -> (State, Action) {
        use Action::{GiveBack, None, Resolve, Write};
        match (self, event) {
            (State::Fresh, Event::Sent) => (State::InFlight, None),
            (State::Fresh, Event::Unsendable) => {
                (State::Writing { is_doubtful: false, is_taken: false }, Write { is_taken: false })
            }
            (State::Unsure, Event::Unsendable) => {
                (State::Writing { is_doubtful: true, is_taken: false }, Write { is_taken: false })
            }
            // The drain must not have it before it is known how it has to be sent.
            (State::Fresh | State::InFlight, Event::TooLarge) => {
                (State::Writing { is_doubtful: false, is_taken: true }, Write { is_taken: true })
            }
            (State::InFlight, Event::Acked) => (State::Done, None),
            (State::InFlight, Event::Failed { is_ambiguous }) => {
                (State::Writing { is_doubtful: is_ambiguous, is_taken: false }, Write { is_taken: false })
            }
            (State::InFlight, Event::Overdue) => (State::InFlightWriting, Write { is_taken: true }),
            (State::InFlightWriting, Event::Acked) => (State::DoneWriting, None),
            (State::InFlightWriting, Event::Failed { is_ambiguous }) => {
                (State::Writing { is_doubtful: is_ambiguous, is_taken: true }, None)
            }
            (State::InFlightWriting, Event::Written) => (State::InFlightKept, None),
            (State::InFlightWriting, Event::Unwritten) => (State::InFlight, None),
            (State::DoneWriting, Event::Written) => (State::Done, Resolve),
            (State::DoneWriting, Event::Unwritten) => (State::Done, None),
            (State::Writing { is_doubtful, is_taken }, Event::Written) => {
                (kept(is_doubtful), if is_taken { GiveBack } else { None })
            }
            (State::Writing { .. }, Event::Unwritten) => (State::Refused, None),
            (State::Writing { is_doubtful, .. }, Event::Postponed) => {
                (if is_doubtful { State::Unsure } else { State::Fresh }, None)
            }
            (State::InFlightKept, Event::Acked) => (State::Done, Resolve),
            (State::InFlightKept, Event::Failed { is_ambiguous }) => (kept(is_ambiguous), GiveBack),
            (State::Kept, Event::Sent) => (State::InFlightKept, None),
            (State::Doubtful, Event::Found) => (State::Done, Resolve),
            (State::Doubtful, Event::Missing) => (State::Kept, None),
            (state, _) => (state, None),
        }
    }

    /// Whether nothing can lose it any more, so that the sender may forget it.
    pub(crate) fn is_safe(self) -> bool {
        matches!(self, State::DoneWriting | State::InFlightKept | State::Kept | State::Doubtful | State::Done)
    }

    /// Whether its topic may have what is being written to the spool, so that the frame has to say from where on.
    pub(crate) fn is_written_in_doubt(self) -> bool {
        matches!(self, State::InFlightWriting | State::Writing { is_doubtful: true, .. })
    }

    /// Whether it may be handed to the producer: nobody else has it, and its topic does not hold it.
    pub(crate) fn is_sendable(self) -> bool {
        matches!(self, State::Fresh | State::Kept)
    }
}

fn kept(is_doubtful: bool) -> State {
    if is_doubtful { State::Doubtful } else { State::Kept }
}

#[cfg(test)]
mod tests;
