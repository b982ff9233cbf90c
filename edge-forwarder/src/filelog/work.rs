//! What reading needs beside the file: the rules, the bounds, one buffer for all files, and the making of records.

use std::time::Instant;

use super::{
    batch::Builder,
    filter::{Allowance, Filter, NOT_SELECTED, RATE_LIMIT, RateLimit},
    join::{JoinRules, Piece},
    parse::{Encoded, LineRecord, Outcome, ParseRules, RecordEncoder},
};
use crate::{budget::MemoryBudget, metrics::FilelogMetrics};

/// Bytes read from a file at a time: a noisy one waits for the others after that.
pub(super) const QUANTUM_BYTES: usize = 256 * 1024;

/// What a record takes beside its body and what was read from it, in bytes.
const RECORD_OVERHEAD_BYTES: usize = 512;

/// Shared by all files of one tailer.
#[derive(Debug)]
pub(super) struct Work {
    pub(super) rules: Rules,
    pub(super) limits: Limits,
    pub(super) budget: MemoryBudget,
    pub(super) scratch: Vec<u8>,
    pub(super) sink: Sink,
}

/// What a record is made of.
#[derive(Debug)]
pub(super) struct Rules {
    pub(super) join: JoinRules,
    pub(super) parse: ParseRules,
    /// For a body whose attributes would be too large.
    pub(super) bare: ParseRules,
    pub(super) filter: Filter,
    pub(super) rate_limit: Option<RateLimit>,
}

/// Bounds, in bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// A batch with so many bytes of records goes.
    pub(super) batch_bytes: usize,
    /// The longest text of a record.
    pub(super) line_bytes: usize,
    /// The largest record; of one that is larger only the text is kept.
    pub(super) record_bytes: usize,
}

/// Makes records.
#[derive(Debug)]
pub(super) struct Sink {
    pub(super) encoder: RecordEncoder,
    /// Encoded attributes of every record of the file at hand.
    pub(super) attributes: Vec<u8>,
    pub(super) observed_unix_nano: u64,
    pub(super) metrics: FilelogMetrics,
    /// Of the log at hand.
    pub(super) allowance: Allowance,
    /// The log at hand is left out.
    pub(super) is_left_out: bool,
    record_bytes: usize,
}

impl Work {
    pub(super) fn new(rules: Rules, limits: Limits, budget: MemoryBudget, metrics: FilelogMetrics) -> Work {
        let sink = Sink {
            encoder: RecordEncoder::default(),
            attributes: Vec::new(),
            observed_unix_nano: 0,
            metrics,
            allowance: Allowance::default(),
            is_left_out: false,
            record_bytes: limits.record_bytes,
        };
        Work { rules, limits, budget, scratch: vec![0; limits.scratch_bytes()], sink }
    }

    /// What comes next is a log's that may have so many records.
    pub(super) fn allow(&mut self, allowance: &mut Allowance, now: Instant) {
        if let Some(limit) = &self.rules.rate_limit {
            allowance.refill(limit, now);
        }
        self.sink.allowance = *allowance;
    }
}

impl Limits {
    /// For records of at most `max_value_bytes` in a topic: a batch begins no record that it might not have room for, and one
    /// line can finish two of them.
    pub(super) fn new(batch_bytes: usize, line_bytes: usize, max_value_bytes: usize) -> Limits {
        let half = max_value_bytes / 2;
        Limits { batch_bytes: batch_bytes.min(half), line_bytes, record_bytes: half / 2 }
    }

    /// The longest text that always fits.
    pub(super) fn largest_line(max_value_bytes: usize) -> usize {
        (max_value_bytes / 4).saturating_sub(4 * 1024)
    }

    /// The buffer for a line and what stands before it, or for a quantum.
    pub(super) fn scratch_bytes(&self) -> usize {
        QUANTUM_BYTES.max(self.line_bytes + RECORD_OVERHEAD_BYTES)
    }

    /// What the bytes of one line may become at most.
    pub(super) fn growth_of(&self, bytes: usize) -> usize {
        (bytes * 4).min(self.record_bytes) + bytes + 2 * RECORD_OVERHEAD_BYTES
    }
}

impl Sink {
    /// Makes a log record of a piece, unless a rule drops it.
    pub(super) fn encode(&mut self, rules: &Rules, piece: &Piece<'_>, builder: &mut Builder) {
        if self.is_left_out {
            return self.metrics.count_dropped(NOT_SELECTED);
        }
        let line = LineRecord {
            body: piece.text,
            time_unix_nano: piece.time_unix_nano,
            observed_unix_nano: self.observed_unix_nano,
            stream: piece.stream,
            part: piece.part,
            attributes: &self.attributes,
        };
        let start = builder.records.len();
        let Encoded { severity_number, outcome } =
            self.encoder.append(&rules.parse, &line, &mut builder.records);
        let mut too_fast = || rules.rate_limit.is_some() && !self.allowance.take();
        let rule =
            rules.filter.verdict(severity_number, piece.text).or_else(|| too_fast().then_some(RATE_LIMIT));
        if let Some(rule) = rule {
            builder.records.truncate(start);
            return self.metrics.count_dropped(rule);
        }
        if builder.records.len() - start > self.record_bytes {
            builder.records.truncate(start);
            self.encoder.append(&rules.bare, &line, &mut builder.records);
        }
        if outcome == Outcome::ParseError {
            self.metrics.count_parse_error();
        }
        builder.items += 1;
        self.metrics.count_records(1);
    }
}
