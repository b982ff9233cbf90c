//! The dead-letter topic: what no record of the topic can hold, with the reason, and as much of its bytes as fit there.

use bytes::Bytes;
use telemetry_wire::split::{Oversize, Piece};

use super::record::{Letter, Record, RecordId};

/// How much of what does not fit is kept, in bytes: enough to know whose it is.
pub(super) const HEAD_BYTES: usize = 64 * 1024;

impl Record {
    /// A record of the topic. `is_hash`: its key is no key but the hash that chooses its partition.
    pub(super) fn whole(id: RecordId, received_at: u64, piece: Piece, is_hash: bool) -> Record {
        let Piece { value, items, key, bucket } = piece;
        let (key, hash) = if is_hash { (None, key) } else { (key, None) };
        Record { id, received_at, items, key, hash, partition: bucket, value, letter: None, origin: None }
    }

    /// What was too large to be cut.
    pub(super) fn oversize(id: RecordId, received_at: u64, oversize: Oversize) -> Record {
        let letter = Letter {
            reason: oversize.reason.as_str(),
            detail: "it does not fit in one record".to_owned(),
            original_bytes: u64::try_from(oversize.size).ok(),
        };
        Record {
            id,
            received_at,
            items: oversize.items,
            key: None,
            hash: None,
            partition: None,
            value: oversize.head,
            letter: Some(letter),
            origin: None,
        }
    }

    /// The dead letter of a record that the broker refused for good.
    pub(super) fn refused(self, detail: String) -> Record {
        let letter = Letter { reason: "record_refused", detail, original_bytes: None };
        // Another topic, another partition.
        Record { partition: None, hash: None, letter: Some(letter), ..self }
    }

    /// The letter with less of its bytes; `None` when there is nothing left to leave out.
    pub(super) fn head_only(&self) -> Option<Record> {
        let letter = self.letter.as_ref().filter(|_| self.value.len() > HEAD_BYTES)?;
        let whole = u64::try_from(self.value.len()).unwrap_or(u64::MAX);
        let letter = Letter { original_bytes: letter.original_bytes.or(Some(whole)), ..letter.clone() };
        Some(Record { value: self.value.slice(..HEAD_BYTES), letter: Some(letter), ..self.clone() })
    }

    /// The `index`-th part of it. It goes where the whole was meant to go, so that it is looked for there.
    pub(super) fn part(&self, index: usize, value: Bytes, items: u64) -> Record {
        Record { id: self.id.part(index), items, value, ..self.clone() }
    }
}
