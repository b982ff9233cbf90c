//! One Kafka record from the moment it is cut: its number for ever, where it goes, and how it lies in the spool.
//!
//! **In the spool.** A frame is a length-delimited protobuf head (everything but the value) and the value's bytes as they go
//! to the topic. The head says where the record has been handed to the producer, if it has: after a crash only the topic
//! knows whether it arrived.

use std::sync::Arc;

use bytes::Bytes;
use disk_spool::Frame;
use kafka_client::OutgoingRecord;
use prost::Message;
use telemetry_wire::headers::{Encoding, RecordHeaders, dead_letter};
use thiserror::Error;

/// Names a record for ever, together with the edge's id.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct RecordId {
    /// Chosen when the process started.
    pub(crate) incarnation: u64,
    /// The record's number in it.
    pub(crate) sequence: u64,
    /// Empty for a whole record; else the way to this part of it, such as `1.0`.
    pub(crate) part: String,
}

/// What all incarnations have in common whose records went through one spool: that is how they are told from the records of
/// others while a topic is read back. An edge's id would not do, since it may be another after a restart. Two spools of the
/// same mark only remember some of each other's records in vain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Mark(u16);

impl Mark {
    /// The mark of a spool, by its own number.
    pub(crate) fn of_spool(number: u128) -> Mark {
        Mark((number >> 112) as u16)
    }

    /// The mark as it is written down, and back.
    pub(crate) fn number(self) -> u16 {
        self.0
    }

    /// See [`Mark::number`].
    pub(crate) fn of_number(number: u16) -> Mark {
        Mark(number)
    }

    /// An incarnation with this mark.
    pub(crate) fn incarnation(self, drawn: u64) -> u64 {
        u64::from(self.0) << 48 | drawn >> 16
    }

    /// Whether an incarnation may be one of this spool's.
    pub(crate) fn is_on(self, incarnation: u64) -> bool {
        (incarnation >> 48) as u16 == self.0
    }
}

/// A record, published or to be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Record {
    pub(crate) id: RecordId,
    /// When the last byte of its request had come, in nanoseconds since the epoch.
    pub(crate) received_at: u64,
    pub(crate) items: u64,
    pub(crate) key: Option<Bytes>,
    /// The hash of its resource where that decides the partition, and the count of partitions was not known.
    pub(crate) hash: Option<Bytes>,
    /// Once it is chosen it stays: that is where the record is looked for.
    pub(crate) partition: Option<i32>,
    pub(crate) value: Bytes,
    /// Set when it is meant for the dead-letter topic.
    pub(crate) letter: Option<Letter>,
    /// Set when its items are lines of a log file.
    pub(crate) origin: Option<Origin>,
}

/// The log file whose lines a record holds, in words of whoever reads the file. Together they have [`Origin::MAX_BYTES`] at most.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    /// Names the file.
    pub(crate) file: Arc<str>,
    /// Where its reader stands after these lines.
    pub(crate) position: String,
}

impl Origin {
    /// Within the room that a record has beside its value.
    pub(crate) const MAX_BYTES: usize = 1024;
}

/// Why a record is a dead letter.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Letter {
    pub(crate) reason: &'static str,
    pub(crate) detail: String,
    /// Encoded size of what was given up, when the value is only its head.
    pub(crate) original_bytes: Option<u64>,
}

/// A record that is or may be in its topic already, if it ever got there at or after this offset of its partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SentAt {
    pub(crate) floor: i64,
}

/// A frame that no edge of this version has written.
#[derive(Debug, Error)]
#[error("the head of a spooled record cannot be read")]
pub(crate) struct UnreadableHead(#[from] prost::DecodeError);

impl RecordId {
    /// The `index`-th part of what this names.
    pub(crate) fn part(&self, index: usize) -> RecordId {
        let part = if self.part.is_empty() { index.to_string() } else { format!("{}.{index}", self.part) };
        RecordId { part, ..*self }
    }
}

impl Record {
    /// The headers it carries in its topic.
    pub(crate) fn headers(&self, edge_id: &str) -> Vec<(&'static str, Vec<u8>)> {
        let RecordId { incarnation, sequence, part } = &self.id;
        let own = RecordHeaders {
            edge_id: Some(edge_id.to_owned()),
            incarnation: Some(*incarnation),
            sequence: Some(*sequence),
            part: Some(part.clone()).filter(|part| !part.is_empty()),
            item_count: Some(self.items),
            received_at_unix_nano: Some(self.received_at),
            file: self.origin.as_ref().map(|origin| origin.file.to_string()),
            file_position: self.origin.as_ref().map(|origin| origin.position.clone()),
            encoding: Some(Encoding::OtlpProto),
        };
        own.encode()
    }

    /// The headers that a dead letter carries besides.
    pub(crate) fn letter_headers(&self, source_topic: &str) -> Vec<(&'static str, Vec<u8>)> {
        let Some(letter) = &self.letter else { return Vec::new() };
        let mut headers = vec![
            (dead_letter::REASON, letter.reason.into()),
            (dead_letter::DETAIL, letter.detail.as_str().into()),
            (dead_letter::SOURCE_TOPIC, source_topic.into()),
        ];
        if let Some(bytes) = letter.original_bytes {
            headers.push((dead_letter::ORIGINAL_BYTES, bytes.to_string().into_bytes()));
        }
        headers
    }

    /// The record as the producer takes it.
    pub(crate) fn outgoing<'a>(
        &'a self,
        topic: &'a str,
        headers: &'a [(&'a str, &'a [u8])],
    ) -> OutgoingRecord<'a> {
        OutgoingRecord {
            topic,
            partition: self.partition,
            key: self.key.as_deref(),
            value: &self.value,
            headers,
        }
    }

    /// The record as the spool keeps it. `is_taken`: the producer has it, so the spool must not hand it out.
    pub(crate) fn to_frame(&self, sent: Option<SentAt>, is_taken: bool) -> Frame {
        let head = FrameHead {
            incarnation: self.id.incarnation,
            sequence: self.id.sequence,
            part: self.id.part.clone(),
            items: self.items,
            received_at: self.received_at,
            key: self.key.clone(),
            hash: self.hash.clone(),
            partition: self.partition,
            sent_floor: sent.map(|sent| sent.floor),
            letter: self.letter.as_ref().map(|letter| FrameLetter {
                reason: letter.reason.to_owned(),
                detail: letter.detail.clone(),
                original_bytes: letter.original_bytes,
            }),
            origin: self.origin.as_ref().map(|origin| FrameOrigin {
                file: origin.file.to_string(),
                position: origin.position.clone(),
            }),
        };
        Frame {
            head: head.encode_length_delimited_to_vec().into(),
            body: self.value.clone(),
            items: self.items,
            is_taken,
        }
    }

    /// Reads a frame back.
    pub(crate) fn from_payload(mut payload: Bytes) -> Result<(Record, Option<SentAt>), UnreadableHead> {
        let head = FrameHead::decode_length_delimited(&mut payload)?;
        let letter = head.letter.map(|letter| Letter {
            reason: known_reason(&letter.reason),
            detail: letter.detail,
            original_bytes: letter.original_bytes,
        });
        let record = Record {
            id: RecordId { incarnation: head.incarnation, sequence: head.sequence, part: head.part },
            received_at: head.received_at,
            items: head.items,
            key: head.key,
            hash: head.hash,
            partition: head.partition,
            value: payload,
            letter,
            origin: head.origin.map(|FrameOrigin { file, position }| Origin { file: file.into(), position }),
        };
        Ok((record, head.sent_floor.map(|floor| SentAt { floor })))
    }
}

/// Every reason of a dead letter of this program; they are metric labels, so the set is closed.
const REASONS: [&str; 3] = ["item_too_large", "header_too_large", "record_refused"];

fn known_reason(name: &str) -> &'static str {
    REASONS.into_iter().find(|known| *known == name).unwrap_or("other")
}

/// Everything of a record but its value.
#[derive(Clone, PartialEq, Message)]
struct FrameHead {
    #[prost(fixed64, tag = "1")]
    incarnation: u64,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(string, tag = "3")]
    part: String,
    #[prost(uint64, tag = "4")]
    items: u64,
    #[prost(fixed64, tag = "5")]
    received_at: u64,
    #[prost(bytes = "bytes", optional, tag = "6")]
    key: Option<Bytes>,
    #[prost(bytes = "bytes", optional, tag = "7")]
    hash: Option<Bytes>,
    #[prost(int32, optional, tag = "8")]
    partition: Option<i32>,
    #[prost(int64, optional, tag = "9")]
    sent_floor: Option<i64>,
    #[prost(message, optional, tag = "10")]
    letter: Option<FrameLetter>,
    #[prost(message, optional, tag = "11")]
    origin: Option<FrameOrigin>,
}

#[derive(Clone, PartialEq, Message)]
struct FrameLetter {
    #[prost(string, tag = "1")]
    reason: String,
    #[prost(string, tag = "2")]
    detail: String,
    #[prost(uint64, optional, tag = "3")]
    original_bytes: Option<u64>,
}

#[derive(Clone, PartialEq, Message)]
struct FrameOrigin {
    #[prost(string, tag = "1")]
    file: String,
    #[prost(string, tag = "2")]
    position: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> Record {
        Record {
            id: RecordId { incarnation: u64::MAX, sequence: 7, part: String::new() },
            received_at: 1_700_000_000_000_000_001,
            items: 3,
            key: Some(Bytes::from_static(b"key")),
            hash: Some(Bytes::from_static(&[9; 16])),
            partition: Some(0),
            value: Bytes::from_static(b"value"),
            letter: None,
            origin: Some(Origin { file: "803-2a".into(), position: "4096".to_owned() }),
        }
    }

    fn through_the_spool(record: &Record, sent: Option<SentAt>) -> (Record, Option<SentAt>) {
        let frame = record.to_frame(sent, false);
        Record::from_payload([&frame.head[..], &frame.body[..]].concat().into()).unwrap()
    }

    #[test]
    fn a_record_comes_back_from_the_spool_as_it_was() {
        let whole = record();
        assert_eq!(through_the_spool(&whole, None), (whole.clone(), None));
        let letter = Letter { reason: "record_refused", detail: "no".into(), original_bytes: Some(0) };
        let bare = Record {
            key: None,
            hash: None,
            partition: None,
            value: Bytes::new(),
            letter: Some(letter),
            origin: None,
            ..whole
        };
        let sent = Some(SentAt { floor: 0 });
        assert_eq!(through_the_spool(&bare, sent), (bare.clone(), sent));
    }

    #[test]
    fn a_frame_of_a_version_that_read_no_files_is_read_as_before() {
        // Fields 1 to 5: incarnation 1, sequence 2, part "0", 3 items, received at 4.
        let head = [9, 1, 0, 0, 0, 0, 0, 0, 0, 16, 2, 26, 1, b'0', 32, 3, 41, 4, 0, 0, 0, 0, 0, 0, 0];
        let frame = [&[head.len() as u8][..], &head, b"value"].concat();
        let expected = Record {
            id: RecordId { incarnation: 1, sequence: 2, part: "0".to_owned() },
            received_at: 4,
            key: None,
            hash: None,
            partition: None,
            origin: None,
            ..record()
        };
        assert_eq!(Record::from_payload(frame.into()).unwrap(), (expected, None));
    }

    #[test]
    fn parts_and_dead_letters_say_which_file_they_are_of() {
        let whole = record();
        let part = whole.part(1, Bytes::new(), 1);
        let letter = part.clone().refused("no".to_owned());
        for record in [whole, part, letter] {
            let headers = record.headers("edge");
            let headers = RecordHeaders::decode(headers.iter().map(|(name, value)| (*name, &value[..])));
            let of_file = (headers.file.as_deref(), headers.file_position.as_deref());
            assert_eq!(of_file, (Some("803-2a"), Some("4096")), "{:?}", record.id);
        }
    }

    #[test]
    fn incarnations_bear_the_mark_of_their_spool() {
        let mark = Mark::of_spool(0xabcd << 112 | 1);
        assert_eq!(mark.incarnation(u64::MAX), 0xabcd_ffff_ffff_ffff);
        assert!(mark.is_on(mark.incarnation(0)) && !mark.is_on(u64::MAX));
        assert_ne!(mark.incarnation(1 << 16), mark.incarnation(2 << 16));
    }

    #[test]
    fn parts_are_named_by_the_way_to_them() {
        let whole = record().id;
        assert_eq!((whole.part(1).part.as_str(), whole.part(1).part(0).part.as_str()), ("1", "1.0"));
        assert_ne!(whole.part(1), whole.part(11));
    }

    #[test]
    fn bytes_that_are_no_head_are_refused() {
        assert!(
            Record::from_payload(Bytes::from_static(b"\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff")).is_err()
        );
        assert!(Record::from_payload(Bytes::from_static(b"\x05\x08")).is_err());
    }
}
