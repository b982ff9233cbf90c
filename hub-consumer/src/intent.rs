//! How the blocks of one partition are stored exactly once: what is announced, and what is done after each answer. Pure: no
//! I/O, no clock.
//!
//! The group's committed position of a partition carries, beside the offset, what is about to be inserted: an [`Intent`].
//!
//! 1. *Form* a block of records `first..=last`.
//! 2. *Announce* it: commit the position, which is `first` or a record before it that is still on its way to the dead letters,
//!    with the intent as metadata. One commit completes the block before and announces this one.
//! 3. *Insert* only after the broker has acknowledged that commit, under a lease on the partition that such an acknowledgement
//!    gives, with a deduplication token made of the range, a fingerprint of its bytes, and the moment of the announcement: a
//!    token that the server knows can only have been spent by this very announcement.
//! 4. *Confirmed*, and never in doubt: settled, go on with 1.
//! 5. *Unknown* outcome: *read back* which rows of the range the table has.
//!    - All: settled.
//!    - Not all: insert again with the same token, which completes what is missing and drops what is there; then read back.
//!    - Still not all, though that insert was confirmed: the server has the token and lost the rows. *Repair*: once it runs no
//!      insert of the range, insert exactly the missing rows under a token of their own; then read back. A repair that was
//!      confirmed and is not there was lost the same way, and the next one has another token.
//! 6. *Take over* a partition: an intent in the committed metadata names the range that may be stored. Form exactly that block
//!    again, and begin with 5. A fingerprint that differs means that the log is another one: what is there of the old content
//!    does not count.
//!    An intent that is older than half of the server's window for tokens counts as 7: its token may be forgotten.
//! 7. What else the log held when the partition was taken over may be stored too, whatever the metadata says: once the server
//!    runs no insert for the partition, read back; insert what is not there at all, repair what is there in part.
//!
//! A zombie that wakes up in 3 finds its lease expired, or sends a token that the server knows. `docs/exactly-once.md` lists
//! every hole and what closes it; the tests below explore every interleaving of crashes, takeovers and zombies.

use std::fmt;

#[cfg(test)]
mod model;

/// A block that is about to be inserted, as the committed metadata says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Intent {
    /// Offset of its first record.
    pub first: i64,
    /// Offset of its last record.
    pub last: i64,
    /// Records in it; fewer than offsets when some were unreadable.
    pub records: u64,
    /// Hash of the records' offsets and bytes.
    pub fingerprint: u128,
    /// What else its rows depend on: the encoder's version and its settings.
    pub encoder: u32,
    /// When it was announced first, in nanoseconds since the epoch; part of the token, so that no two announcements share one.
    pub announced_at: u64,
}

/// The metadata of a committed position is none of ours.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no intent of this version")]
pub struct UnknownMetadata(String);

/// Names the form; another one begins otherwise.
const VERSION: &str = "v1";

impl Intent {
    /// Reads committed metadata; `None` when nothing was announced.
    ///
    /// # Errors
    /// Something else was written there, by another program or version.
    pub fn parse(metadata: &str) -> Result<Option<Intent>, UnknownMetadata> {
        if metadata.is_empty() {
            return Ok(None);
        }
        let parsed = || {
            let mut words = metadata.split(' ');
            let is_ours = words.next()? == VERSION;
            let (first, last) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let records = words.next()?.parse().ok()?;
            let fingerprint = u128::from_str_radix(words.next()?, 16).ok()?;
            let encoder = u32::from_str_radix(words.next()?, 16).ok()?;
            let announced_at = words.next()?.parse().ok()?;
            let intent = Intent { first, last, records, fingerprint, encoder, announced_at };
            (is_ours && words.next().is_none() && first <= last).then_some(intent)
        };
        parsed().map(Some).ok_or_else(|| UnknownMetadata(metadata.to_owned()))
    }

    /// Whether the other announces the same records, whatever encodes them.
    pub fn is_of_same_records(&self, other: &Intent) -> bool {
        let bare = |intent: &Intent| Intent { encoder: 0, announced_at: 0, ..*intent };
        bare(self) == bare(other)
    }
}

/// Printable ASCII of at most 130 bytes.
impl fmt::Display for Intent {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Intent { first, last, records, fingerprint, encoder, announced_at } = self;
        write!(out, "{VERSION} {first} {last} {records} {fingerprint:032x} {encoder:08x} {announced_at}")
    }
}

/// What to do next with a block.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Step {
    /// Insert it, with its token.
    Insert,
    /// Look what of it the table has.
    ReadBack,
    /// Insert what the table lacks, under another token.
    Repair,
    /// Nothing: all of it is stored.
    Settled,
}

/// What came of an insert.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The server says that it has the rows.
    Confirmed,
    /// The server has refused it, and nothing of it is stored.
    NotStored,
    /// It may or may not be stored, in part or as a whole, now or a little later.
    Unknown,
}

/// What of a block the table has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Stored {
    /// All rows.
    Whole,
    /// Some.
    Part,
    /// None.
    Nothing,
}

/// Where the insertion of one block stands: the one place that decides what to do next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Insertion {
    state: State,
    /// Repairs that were confirmed, which number their tokens.
    repairs: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum State {
    Insert {
        is_in_doubt: bool,
    },
    ReadBack {
        /// The token was confirmed since the doubt began, so sending it again would change nothing.
        is_token_spent: bool,
        /// The rows that are there may be of blocks with other bounds.
        has_other_bounds: bool,
    },
    Repair,
    Settled,
}

impl Insertion {
    /// A block that nobody can have tried before.
    pub fn new() -> Insertion {
        Insertion { state: State::Insert { is_in_doubt: false }, repairs: 0 }
    }

    /// A block that was announced before, with the same records, and not so long ago that its token may be forgotten.
    pub fn announced_before() -> Insertion {
        let state = State::ReadBack { is_token_spent: false, has_other_bounds: false };
        Insertion { state, repairs: 0 }
    }

    /// A block whose records may be stored, by whatever blocks.
    pub fn of_unknown_past() -> Insertion {
        let state = State::ReadBack { is_token_spent: false, has_other_bounds: true };
        Insertion { state, repairs: 0 }
    }

    /// Whether nothing may be under way at the server when the table is read: what nobody announced here may still come.
    pub fn needs_quiet(&self) -> bool {
        matches!(self.state, State::ReadBack { has_other_bounds: true, .. })
    }

    /// What to do next.
    pub fn step(&self) -> Step {
        match self.state {
            State::Insert { .. } => Step::Insert,
            State::ReadBack { .. } => Step::ReadBack,
            State::Repair => Step::Repair,
            State::Settled => Step::Settled,
        }
    }

    /// The insert of [`Step::Insert`] has ended.
    pub fn inserted(&mut self, outcome: Outcome) {
        let State::Insert { is_in_doubt } = self.state else { return };
        self.state = match outcome {
            Outcome::Confirmed if !is_in_doubt => State::Settled,
            Outcome::Confirmed => State::ReadBack { is_token_spent: true, has_other_bounds: false },
            Outcome::NotStored => State::Insert { is_in_doubt },
            Outcome::Unknown => State::ReadBack { is_token_spent: false, has_other_bounds: false },
        };
    }

    /// The table was read.
    pub fn read_back(&mut self, stored: Stored) {
        let State::ReadBack { is_token_spent, has_other_bounds } = self.state else { return };
        self.state = match stored {
            Stored::Whole => State::Settled,
            _ if is_token_spent => State::Repair,
            Stored::Part if has_other_bounds => State::Repair,
            // Nobody else can bring it any more, and its token is new.
            Stored::Nothing if has_other_bounds => State::Insert { is_in_doubt: false },
            Stored::Part | Stored::Nothing => State::Insert { is_in_doubt: true },
        };
    }

    /// Distinguishes the token of the next repair.
    pub fn repairs(&self) -> u32 {
        self.repairs
    }

    /// The insert of [`Step::Repair`] has ended. Whatever the answer, the table says what came of it.
    pub fn repaired(&mut self, outcome: Outcome) {
        if self.state == State::Repair && outcome != Outcome::NotStored {
            self.repairs += u32::from(outcome == Outcome::Confirmed);
            self.state = State::ReadBack { is_token_spent: true, has_other_bounds: true };
        }
    }
}

impl Default for Insertion {
    fn default() -> Insertion {
        Insertion::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INTENT: Intent = Intent {
        first: 0,
        last: i64::MAX,
        records: u64::MAX,
        fingerprint: u128::MAX,
        encoder: 0xabc,
        announced_at: u64::MAX,
    };

    #[test]
    fn an_intent_comes_back_from_its_metadata_which_is_short_and_printable() {
        let metadata = INTENT.to_string();
        assert_eq!(Intent::parse(&metadata), Ok(Some(INTENT)));
        assert!(
            metadata.len() <= 130 && metadata.bytes().all(|byte| (32..127).contains(&byte)),
            "{metadata}"
        );
        assert_eq!(Intent::parse(""), Ok(None));
    }

    #[test]
    fn what_is_no_intent_is_none() {
        let ours = INTENT.to_string();
        for metadata in [
            "v2 1 2 3 4 5 6",
            "v1 1 2 3 4 5",
            "v1 2 1 1 0 0 0",
            "v1 a 2 1 0 0 0",
            "someone else's",
            &format!("{ours} more"),
            &ours[1..],
        ] {
            assert!(Intent::parse(metadata).is_err(), "{metadata}");
        }
    }

    #[test]
    fn the_happy_path_is_one_insert() {
        let mut insertion = Insertion::new();
        assert_eq!(insertion.step(), Step::Insert);
        insertion.inserted(Outcome::NotStored);
        assert_eq!(insertion.step(), Step::Insert);
        insertion.inserted(Outcome::Confirmed);
        assert_eq!(insertion.step(), Step::Settled);
    }
}
