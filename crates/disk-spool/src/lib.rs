//! A durable queue on a local disk: bytes in, the same bytes out, until their owner says what became of them.
//!
//! ```text
//!  append --> queue --> writer (one thread) --> segments --> take --> resolve --> checkpoint --> segment deleted
//!    ^ Appending          group, write, sync                  ^ give_back |
//!    +--- answered after the sync                             +-----------+
//! ```
//!
//! # Limits
//!
//! | what | limit |
//! |---|---|
//! | a frame's payload | `max_frame_bytes`, 4 GiB, and what one segment holds ([`FRAME_OVERHEAD_BYTES`] less than it) |
//! | a segment | `segment_bytes`; only an append of several frames that is larger by itself may exceed it |
//! | bytes that wait for the disk | `queue_bytes`, prefixes included |
//! | bytes of files | the lane's part of the [`Quota`], segments and quarantine; beside it two cursors and a reserve of 1 MiB |
//! | a note | 1 MiB |
//! | resolved ranges that a cursor holds | 4096; what is resolved above them is handed out again after a restart |
//! | quarantine | 64 MiB of copies in 1024 files; segments put away whole come on top |
//! | sequences | 2^62, never given twice |
//!
//! Memory: `queue_bytes`, what one `take` hands out, two read buffers of 256 KiB, one frame, about 100 bytes for each taken
//! or given-back frame, 50 for each gap between resolved frames, 200 for each segment. The backlog itself costs nothing.
//!
//! # Format
//!
//! One directory is one spool. Numbers are little-endian, checksums are CRC-32C.
//!
//! | file | holds |
//! |---|---|
//! | `<first sequence, 20 digits>.seg` | header, frames, and a seal once it is complete |
//! | `cursor.0`, `cursor.1` | the last two checkpoints; the one with the higher generation counts |
//! | `reserve` | 1 MiB that a checkpoint may use when the disk is full |
//! | `lock` | the owner's process id; locked while it is open |
//! | `quarantine/` | copies of damaged ranges, and files that are named like segments and are none |
//! | `*.tmp` | a write that did not come to its end |
//!
//! | header (56 bytes) | bytes | frame (41 bytes and payload) | bytes | cursor | bytes |
//! |---|---|---|---|---|---|
//! | `DSPOOLSG` | 8 | payload length | 4 | `DSPOOLCU` | 8 |
//! | version (1) | 4 | kind: 1 frame, 2 seal | 1 | version (1) | 4 |
//! | incarnation | 16 | sequence | 8 | incarnation | 16 |
//! | first sequence | 8 | items | 8 | generation, watermark, next sequence, end of complete ranges | 4 x 8 |
//! | end of what came before | 8 | appended at, ms | 8 | number of ranges, of tallies, length of the note | 3 x 8 |
//! | made at, ms | 8 | synced end | 8 | resolved ranges above the watermark | 16 each |
//! | checksum | 4 | checksum of the incarnation, all this and the payload | 4 | resolved frames, items, bytes of a segment | 32 each |
//! | | | payload | | note; checksum | 4 |
//!
//! `synced end` is the sequence after the last frame that was durable when this one was written: it tells a group that was
//! never synced, and so may have holes, from damage. `end of what came before` is the same for a segment: what older ones
//! hold from there on is void, and up to the segment's first sequence there are no frames.
//!
//! A seal is a frame whose sequence is the one after the last and whose payload is frames, items, bytes, and the times of the
//! oldest and newest frame. Frames never cross segments and stand in the order of their sequences, without gaps but for
//! those that a crash or damage made.
//!
//! # Writing
//!
//! A group collects for `group_window`, or until it has `group_bytes`, or while the group before it is synced. It is written
//! with one vectored write and one `fdatasync`; then it is published to the reader, and then its callers are answered. A new
//! segment is written under a temporary name, synced, renamed, and its directory synced, before the first append.
//!
//! A write that fails is cut off again. A sync that fails is never tried again on that file: the group goes into a fresh
//! segment, whose header says where the old one ends, so that what the old one may hold beyond is void. When that fails too
//! the callers are refused, the numbers are not given again, and appends are refused until a probe with each tick
//! (a second) finds the disk well. A checkpoint that meets a full disk removes the reserve and tries again.
//!
//! # Reading
//!
//! [`Spool::take`] hands out what was given back, then reads on, each frame checked, never past what is published. Bytes
//! that are no frame, or that the disk cannot read, are skipped (by their length if a good frame follows there, else to the
//! next bytes that are one), copied to quarantine, and counted by the sequences that are missing. An error that may pass,
//! such as a directory that is not there, ends the take; it is tried again with the next tick.
//!
//! # Deleting
//!
//! A segment goes when all its frames are resolved, whatever became of them, and a durable checkpoint says so. The spool
//! writes one by itself when a segment has become so, or was sealed, with the next tick. Dropping (by quota or age) resolves
//! frames in the same way: counted, checkpointed, deleted.
//!
//! # Recovery
//!
//! Opening reads the cursors, each segment's header and seal, and the frames of segments without a seal, which is the last
//! one, or has been one. Whatever it finds, the spool runs; what was wrong is in [`Recovery::findings`]. Only a directory
//! that cannot be made, read or locked is an [`OpenError`], and so is a process that may open no more files.
//!
//! | found | done |
//! |---|---|
//! | the last segment ends in no frame | cut off; the numbers that it may have held are not given again |
//! | frames missing that are known to have been durable | counted as corrupt |
//! | frames missing in a group that was not synced | nothing: they were never acknowledged |
//! | a damaged header, frames that are ours | read like any other |
//! | another spool's segment, or anything else with a segment's name | put into quarantine |
//! | no cursor that can be read | everything that is there is handed out again: repeats, no loss |
//! | a cursor that has a segment's frames as resolved | deleted, again if need be |
//! | a segment that cannot be read now | what it may hold stays pending, and is read when it can be |
//! | a disk that cannot be written to | drained; appends are refused until it can |
//!
//! Deliberately absent: OTLP, Kafka, retries, rates. This crate knows nothing of what the bytes mean or where they go.

mod filesystem;
mod finding;
mod format;
pub mod offline;
mod options;
mod quarantine;
mod quota;
mod reader;
mod record;
mod recovery;
mod resolved;
mod shared;
pub mod simulation;
mod spool;
mod state;
mod walker;
mod writer;

pub use filesystem::{Access, Disk, Entry, File, FileSystem, Guard, Locking};
pub use finding::{Action, Finding};
pub use format::Incarnation;
pub use options::{Observer, SpoolOptions, WhenFull};
pub use quota::{Lane, Quota};
pub use record::{Frame, Recovery, Refusal, Taken, Tally, Usage};
pub use recovery::OpenError;
pub use spool::{Appending, Checkpointing, Spool};

/// What a segment needs beside the payload of its only frame.
pub const FRAME_OVERHEAD_BYTES: u64 =
    (format::HEADER_BYTES + format::PREFIX_BYTES + format::SEAL_BYTES) as u64;
