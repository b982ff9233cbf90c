//! A ClickHouse table as a sink: blocks of [`crate::decode`] sent by [`crate::clickhouse::insert`].
//!
//! The deduplication token is `<cluster>/<topic>/<partition>/<first>-<last>/<fingerprint>/<announced at>`: the range says which
//! records, the fingerprint of their bytes that they are still the same ones after a topic was made anew, and the moment of
//! the announcement that nobody else has spent it.
//!
//! A table that has changed under us (`Schema` errors) is looked at again. When it takes other columns now, the verdict
//! is [`Verdict::Stale`]: nothing was stored, and the records are encoded anew.

use std::{
    io::Write,
    marker::PhantomData,
    num::NonZeroUsize,
    sync::{Arc, PoisonError, RwLock},
    time::{SystemTime, UNIX_EPOCH},
};

use bytes::Bytes;
use service_runtime::{error_chain::ErrorChain, settings::ByteSize};
use tracing::warn;

use super::{Alone, Fragment, Missing, Rebuilt, Sealed, Sink, Unreadable, Verdict, readback::Times};
use crate::{
    clickhouse::{
        compression::Body,
        errors::InsertError,
        insert::{InsertClient, OpenError, Target},
    },
    decode::{Block, DecodeSettings, Rows, Source},
    derive::Program,
    intent::Intent,
};

/// When a block is cut.
#[derive(Debug, Clone, Copy)]
pub struct BlockLimits {
    /// Rows; the last record may add more.
    pub max_rows: NonZeroUsize,
    /// Bytes of decoded columns; the last record may add more.
    pub max_bytes: ByteSize,
}

/// One table, and the rows `R` that go into it.
#[derive(Debug)]
pub struct TableSink<R> {
    pub(super) client: InsertClient,
    pub(super) table: String,
    pub(super) cluster: String,
    decode: DecodeSettings,
    derive: Option<Arc<Program>>,
    limits: BlockLimits,
    /// Replaced when the table has changed; held for the time of a clone.
    target: RwLock<Arc<Target>>,
    rows: PhantomData<fn() -> R>,
}

/// What a [`TableSink`] is opened with.
#[derive(Debug, Clone)]
pub struct TableSinkConfig {
    /// Name of the table.
    pub table: String,
    /// Id of the Kafka cluster, for tokens.
    pub cluster: String,
    /// How records are decoded.
    pub decode: DecodeSettings,
    /// What is counted of them.
    pub derive: Option<Arc<Program>>,
    /// When a block is cut.
    pub limits: BlockLimits,
}

/// An insert, ready to be sent any number of times.
#[derive(Debug)]
pub struct Insert {
    pub(super) target: Arc<Target>,
    pub(super) body: Body,
    pub(super) token: String,
    /// When its rows are from.
    pub(super) times: Times,
}

impl<R: Rows> TableSink<R> {
    /// Looks at the table.
    ///
    /// # Errors
    /// The server does not answer, or the table cannot take these rows.
    pub async fn open(client: InsertClient, config: TableSinkConfig) -> Result<Self, OpenError> {
        let TableSinkConfig { table, cluster, decode, derive, limits } = config;
        let target = client.open(&table, Block::<R>::COLUMNS).await?;
        client.check(&table).await?;
        client.prove_deduplication(&target).await?;
        warn_of_missing(&table, &target);
        let target = RwLock::new(Arc::new(target));
        Ok(TableSink { client, table, cluster, decode, derive, limits, target, rows: PhantomData })
    }

    /// A block that nothing is derived from.
    pub(super) fn uncounted_block(&self) -> Block<R> {
        Block::new(self.decode.clone())
    }

    /// The body of a request of about `bytes` before they are compressed.
    pub(super) fn compressed(&self, bytes: usize, encode: impl FnOnce(&mut dyn Write)) -> Body {
        let compressed = self.client.compression().compress_with(bytes, encode);
        compressed.expect("compressing in memory cannot fail")
    }

    pub(super) fn target(&self) -> Arc<Target> {
        Arc::clone(&self.target.read().unwrap_or_else(PoisonError::into_inner))
    }

    pub(super) fn token(
        &self,
        block: &Block<R>,
        fragments: &[Fragment],
        announced_at: u64,
    ) -> Option<String> {
        let origin = &fragments.first()?.origin;
        let (first, last) = (block.first_offset()?, block.last_offset()?);
        let (cluster, topic, partition) = (&self.cluster, &origin.topic, origin.partition);
        let fingerprint = block.fingerprint();
        Some(format!("{cluster}/{topic}/{partition}/{first}-{last}/{fingerprint:032x}/{announced_at:x}"))
    }

    /// Looks at the table again after it refused `refused`. `true` when it takes other columns now.
    async fn has_changed(&self, refused: &Target) -> bool {
        let looked = self.client.open(&self.table, Block::<R>::COLUMNS).await;
        let target = match self.client.check(&self.table).await.and(looked) {
            Ok(target) => Arc::new(target),
            Err(failure) => {
                warn!(table = self.table, error = %ErrorChain(&failure), "table cannot be inserted into");
                return false;
            }
        };
        let has_changed = target.columns() != refused.columns();
        if has_changed {
            warn_of_missing(&self.table, &target);
        }
        *self.target.write().unwrap_or_else(PoisonError::into_inner) = target;
        has_changed
    }
}

impl<R: Rows> Sink for TableSink<R> {
    type Block = Block<R>;
    type Request = Insert;

    fn new_block(&self) -> Block<R> {
        let block = self.uncounted_block();
        match &self.derive {
            Some(program) => block.counted_by(program),
            None => block,
        }
    }

    fn add(&self, block: &mut Block<R>, fragment: &Fragment) -> Result<(), Unreadable> {
        let origin = &fragment.origin;
        let source =
            Source { partition: origin.partition, offset: origin.offset, timestamp_ms: origin.timestamp_ms };
        match block.push(&fragment.value, source) {
            Ok(_) => Ok(()),
            Err(undecodable) => Err(Unreadable::new(undecodable.reason(), undecodable)),
        }
    }

    fn has_room(&self, block: &Block<R>, bytes: usize) -> bool {
        let fits = block.bytes() + bytes <= self.limits.max_bytes.as_usize();
        block.records() == 0 || (fits && block.rows() < self.limits.max_rows.get())
    }

    fn items(&self, block: &Block<R>) -> u64 {
        block.rows() as u64
    }

    fn seal(
        &self,
        block: &mut Block<R>,
        fragments: &[Fragment],
        announced_at: u64,
    ) -> Option<Sealed<Insert>> {
        let items = block.rows() as u64;
        let sealed = (items > 0).then(|| {
            let (target, times) = (self.target(), Times::of(block.timestamps()));
            let body = self.compressed(block.bytes(), |to| block.encode(target.columns(), to));
            let token = self.token(block, fragments, announced_at).expect("a block with rows has records");
            Sealed {
                request: Insert { target, body, token, times },
                items,
                tally: block.take_tally().map(Box::new),
            }
        });
        block.clear();
        sealed
    }

    async fn send(&self, insert: &Insert, _attempt: u32) -> Verdict {
        let Err(failure) = self.client.insert(&insert.target, &insert.body, &insert.token).await else {
            return Verdict::Stored { refused: None };
        };
        let (reason, detail) = (failure.reason(), ErrorChain(&failure).to_string());
        match failure {
            InsertError::Ambiguous(_) => Verdict::Unknown { reason, detail },
            InsertError::Retryable(_) => Verdict::Wait { reason, detail, at_least: None },
            InsertError::Data(_) => Verdict::Divide { reason, detail, alone: Alone::DeadLetter },
            InsertError::Schema(_) if self.has_changed(&insert.target).await => Verdict::Stale,
            InsertError::Schema(_) => Verdict::Alert { reason, detail },
        }
    }

    fn intent(&self, block: &Block<R>) -> Option<Intent> {
        Some(Intent {
            first: block.first_offset()?,
            last: block.last_offset()?,
            records: block.records() as u64,
            fingerprint: block.fingerprint(),
            encoder: self.decode.encoder_id(),
            announced_at: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |since| since.as_nanos() as u64),
        })
    }

    async fn read_back(
        &self,
        fragments: &[Fragment],
        insert: &Insert,
        rebuilt: Rebuilt,
    ) -> Result<Missing, Verdict> {
        self.look(fragments, insert, rebuilt).await
    }

    async fn is_quiet(&self, fragments: &[Fragment]) -> Result<bool, Verdict> {
        self.has_no_insert(fragments).await
    }

    fn seal_missing(
        &self,
        fragments: &[Fragment],
        missing: &Missing,
        announced_at: u64,
        repairs: u32,
    ) -> Option<Sealed<Insert>> {
        self.encode_missing(fragments, missing, announced_at, repairs)
    }

    /// A record is inserted whole or not at all: its rows carry its offset, and a replay counts them by it.
    fn halve(&self, _: &Fragment) -> Option<[Bytes; 2]> {
        None
    }
}

fn warn_of_missing(table: &str, target: &Target) {
    if !target.not_stored().is_empty() {
        let columns = target.not_stored().join(", ");
        warn!(table, columns, "table lacks columns; their values are not stored");
    }
}
