//! What a pipeline needs of the place its records are stored in, and what such a place can answer.
//!
//! A sink never retries and never decides what becomes of a record: it decodes, encodes, sends one request and
//! classifies the reply into a [`Verdict`]. [`crate::delivery`] is the one place that acts on verdicts, the same way
//! for every sink.

pub mod clickhouse;
mod readback;

use std::{collections::HashSet, future::Future, sync::Arc, time::Duration};

use bytes::Bytes;
use kafka_client::{Credit, Record};

use crate::{
    decode::RowKey,
    derive::Tally,
    intent::{Intent, Stored},
};

/// Where the records of a pipeline are stored.
pub trait Sink: Send + Sync + 'static {
    /// What the records of one partition are decoded into until they are sent.
    type Block: Send + 'static;
    /// A request that is ready to be sent, byte for byte the same at every attempt.
    type Request: Send + Sync + 'static;

    /// An empty block.
    fn new_block(&self) -> Self::Block;

    /// Decodes a fragment into the block: all of it, or on error nothing.
    fn add(&self, block: &mut Self::Block, fragment: &Fragment) -> Result<(), Unreadable>;

    /// Whether the block can take a fragment of this many encoded bytes. An empty block can take any.
    fn has_room(&self, block: &Self::Block, bytes: usize) -> bool;

    /// Items in the block.
    fn items(&self, block: &Self::Block) -> u64;

    /// Turns the block into a request and leaves it empty, its memory kept for the next one. `announced_at` is its intent's,
    /// for a sink whose blocks have one. Takes CPU time: it is called on a blocking thread. `None` when the fragments held
    /// nothing to store.
    fn seal(
        &self,
        block: &mut Self::Block,
        fragments: &[Fragment],
        announced_at: u64,
    ) -> Option<Sealed<Self::Request>>;

    /// Sends the request once. `attempt` counts from 1.
    fn send(&self, request: &Self::Request, attempt: u32) -> impl Future<Output = Verdict> + Send;

    /// What is announced of a block before it is sent. `None`, for a whole sink, when blocks that are sent twice do no harm:
    /// then nothing is announced, and the methods below are not called.
    fn intent(&self, _: &Self::Block) -> Option<Intent> {
        None
    }

    /// Looks what of the fragments' rows, which the request carries, is not there.
    ///
    /// # Errors
    /// What to do instead, as after a request that failed.
    fn read_back(
        &self,
        _: &[Fragment],
        _: &Self::Request,
        _: Rebuilt,
    ) -> impl Future<Output = Result<Missing, Verdict>> + Send {
        async { Ok(Missing::Rows(HashSet::new())) }
    }

    /// Whether no request for the fragments' partition is under way at the server, whoever sent it.
    ///
    /// # Errors
    /// As of [`Sink::read_back`].
    fn is_quiet(&self, _: &[Fragment]) -> impl Future<Output = Result<bool, Verdict>> + Send {
        async { Ok(true) }
    }

    /// A request of these rows of the fragments, under a token for this announcement and number of repairs; `None` when there
    /// are none.
    fn seal_missing(&self, _: &[Fragment], _: &Missing, _: u64, _: u32) -> Option<Sealed<Self::Request>> {
        None
    }

    /// Cuts a fragment in two valid requests that together are the fragment; `None` when it cannot be cut.
    fn halve(&self, fragment: &Fragment) -> Option<[Bytes; 2]>;
}

/// What a store lacks of some fragments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Missing {
    /// Everything.
    All,
    /// These rows.
    Rows(HashSet<RowKey>),
}

impl Missing {
    /// Whether it lacks a row of the record with this offset.
    pub fn is_of_record(&self, offset: i64) -> bool {
        match self {
            Missing::All => true,
            Missing::Rows(rows) => rows.iter().any(|row| row.offset == offset),
        }
    }

    /// Whether it lacks the row.
    pub fn contains(&self, row: &RowKey) -> bool {
        match self {
            Missing::All => true,
            Missing::Rows(rows) => rows.contains(row),
        }
    }

    /// What the store has, in a word.
    pub fn stored(&self) -> Stored {
        match self {
            Missing::All => Stored::Nothing,
            Missing::Rows(rows) if rows.is_empty() => Stored::Whole,
            Missing::Rows(_) => Stored::Part,
        }
    }
}

/// How the rows of a block compare with those that were made of it before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rebuilt {
    /// They are the same.
    Alike,
    /// Another encoder made them: as many of each record, and maybe under other times.
    Otherwise,
}

/// A request with what it carries.
#[derive(Debug)]
pub struct Sealed<R> {
    /// The request.
    pub request: R,
    /// Items in it.
    pub items: u64,
    /// What they add to the derived metrics, once they are stored.
    pub tally: Option<Box<Tally>>,
}

/// A record, or a part of one, on its way to a sink.
#[derive(Debug, Clone)]
pub struct Fragment {
    /// The record it comes from; the last fragment that goes away releases the record's credit.
    pub origin: Arc<Origin>,
    /// An `Export*ServiceRequest` in protobuf; for a whole record that cannot be decoded, its bytes.
    pub value: Bytes,
    /// The rest of the record went another way.
    pub is_part: bool,
}

/// A record as it was read.
#[derive(Debug)]
pub struct Origin {
    /// Topic name.
    pub topic: Arc<str>,
    /// Partition number.
    pub partition: i32,
    /// Offset in the partition.
    pub offset: i64,
    /// The broker's timestamp, milliseconds since the epoch.
    pub timestamp_ms: Option<i64>,
    /// Key, if any.
    pub key: Option<Bytes>,
    /// Exactly the bytes of the record.
    pub value: Bytes,
    /// Headers in order.
    pub headers: Vec<(String, Bytes)>,
    /// Holds the partition back while the record is unresolved; a record that was made, not consumed, has none.
    pub credit: Option<Credit>,
}

impl From<Record> for Origin {
    fn from(record: Record) -> Self {
        Origin {
            topic: record.topic,
            partition: record.partition,
            offset: record.offset,
            timestamp_ms: record.timestamp_ms,
            key: record.key,
            value: record.value,
            headers: record.headers,
            credit: Some(record.credit),
        }
    }
}

impl Fragment {
    /// A whole record. `value` is its request in protobuf.
    pub fn whole(origin: Arc<Origin>, value: Bytes) -> Self {
        Fragment { origin, value, is_part: false }
    }

    /// A part of this fragment's record.
    pub fn part(&self, value: Bytes) -> Self {
        Fragment { origin: Arc::clone(&self.origin), value, is_part: true }
    }
}

/// The bytes are no request of the signal; they will never be.
#[derive(Debug, Clone, thiserror::Error)]
#[error("record cannot be decoded")]
pub struct Unreadable {
    /// Label for metrics and reason of the dead letter.
    pub reason: &'static str,
    #[source]
    cause: Arc<dyn std::error::Error + Send + Sync>,
}

impl Unreadable {
    /// Wraps what the decoder said.
    pub fn new(reason: &'static str, cause: impl std::error::Error + Send + Sync + 'static) -> Self {
        Unreadable { reason, cause: Arc::new(cause) }
    }
}

/// What became of one request.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// Everything that can be stored is stored; go on.
    Stored {
        /// Items the sink refused for good, already gone: sending them again cannot help.
        refused: Option<Refused>,
    },
    /// Nothing is wrong with the request: send the same bytes again later, without limit.
    Wait {
        /// Label for metrics.
        reason: &'static str,
        /// What the sink said.
        detail: String,
        /// The sink asked for at least this delay.
        at_least: Option<Duration>,
    },
    /// Nobody knows what became of the request: look, or send the same bytes again.
    Unknown {
        /// Label for metrics.
        reason: &'static str,
        /// What is known.
        detail: String,
    },
    /// The sink or our configuration of it is wrong, not the data: not ready, an error in the log, and the same bytes
    /// again at a slow pace until an operator has healed it.
    Alert {
        /// Label for metrics.
        reason: &'static str,
        /// What the sink said.
        detail: String,
    },
    /// Nothing is stored and the request no longer fits the sink, which has changed: encode the records anew.
    Stale,
    /// The request is too large, or something in it can never be stored: send its halves.
    Divide {
        /// Label for metrics and reason of the dead letter.
        reason: &'static str,
        /// What the sink said.
        detail: String,
        /// What to do once there is nothing left to divide.
        alone: Alone,
    },
}

/// Items that a sink refused while it stored the others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Label for metrics.
    pub reason: &'static str,
    /// How many; 0 when the sink does not say.
    pub items: u64,
    /// What the sink said.
    pub detail: String,
}

/// What becomes of a fragment that cannot be divided any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alone {
    /// The sink blamed the data: dead-letter it.
    DeadLetter,
    /// The sink failed without blaming anything: dead-letter it only when the sink stored something else meanwhile,
    /// so that a broken sink cannot send everything to the dead letters.
    DeadLetterOnceOthersPass,
    /// It was only about the amount: wait.
    Wait,
}
