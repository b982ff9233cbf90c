//! Container logs, and other log files: every line becomes a log record, once, whatever becomes of its file or of this process.
//!
//! ```text
//!   files ─ discover, watch ─► tailer (one thread) ─ cri, join, parse ─► batch ─► publisher ─► durable ─► checkpoint
//!                                 ▲                                                             │
//!                                 └──────────────── positions ◄── topic and spool are asked ◄───┘ after a crash
//! ```
//!
//! **Promise.** The checkpoint moves only past what is in the topic or synced to the spool. What became durable after the last
//! checkpoint is found again by the file and position that each record bears, so a crash leaves neither a hole nor a double.
//! Bytes that are known to have been deleted unread are counted.
//!
//! `identity` says which file is which, `position` how far it was read, `family` and `log` follow a log through its rotations,
//! `generation` reads one file.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

mod archive;
mod batch;
mod checkpoint;
mod cri;
mod discover;
mod family;
mod filter;
mod generation;
mod identity;
mod join;
mod log;
mod multiline;
mod parse;
mod position;
mod sources;
mod tailer;
mod watch;
mod work;

use discover::PathPattern;
use work::Limits;

/// Which log files are read, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FilelogConfig {
    /// Patterns of paths.
    pub include: Vec<String>,
    /// Patterns of paths that are left out.
    pub exclude: Vec<String>,
    /// Where files begin that are there at the very first start.
    pub start_at: StartAt,
    /// Resource attributes of all records.
    pub resource: BTreeMap<String, String>,
    /// A batch with so many bytes goes at once.
    pub batch_bytes: usize,
    /// How long a batch is collected for.
    pub linger: Duration,
    /// Bound of a record's text, in bytes.
    pub max_line_bytes: usize,
    /// Bound of batches and unfinished records, in bytes.
    pub memory_max_bytes: usize,
    /// How long a record of several lines waits for the next.
    pub next_line: Duration,
    /// How long a line that came in part waits for its rest.
    pub rest_of_line: Duration,
    /// How long a rotated file is kept open.
    pub rotate_wait: Duration,
    /// How often all is looked at.
    pub scan_interval: Duration,
    /// The same where changes are not told.
    pub poll_interval: Duration,
    /// Where positions are kept.
    pub directory: PathBuf,
}

/// Where reading begins in files that are there at the very first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// With their first line.
    Beginning,
    /// After their last line.
    End,
}

impl FilelogConfig {
    /// Why a pattern is none.
    pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
        if !pattern.starts_with('/') {
            return Err("it does not begin with `/`".to_owned());
        }
        PathPattern::new(pattern).map(|_| ()).map_err(|error| error.to_string())
    }

    /// The longest text of a record in a topic whose records have `max_value_bytes`.
    pub(crate) fn largest_line(max_value_bytes: usize) -> usize {
        Limits::largest_line(max_value_bytes)
    }

    /// The least memory that makes sense.
    pub(crate) fn least_memory(max_value_bytes: usize) -> usize {
        2 * max_value_bytes
    }
}
