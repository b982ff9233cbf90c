//! What is not as it should be in a directory, in words for an operator.

/// Something that was not as it should be, and what was done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Finding {
    /// Frames that were not written to their end, in the last segment; they were never acknowledged.
    #[error("{file}: left out {bytes} bytes of a group that was not written to its end, at {offset}")]
    TornTail {
        /// The segment.
        file: String,
        /// Where they begin.
        offset: u64,
        /// How much was left out.
        bytes: u64,
    },
    /// The last segment ends before frames that are known to have been on the disk.
    #[error("{file}: the last {frames} frames are gone, although they had been on the disk")]
    LostTail {
        /// The segment.
        file: String,
        /// How many.
        frames: u64,
    },
    /// Damage in the middle of a segment.
    #[error("{file}: skipped {bytes} damaged bytes at {offset}; {frames} frames are lost")]
    Damage {
        /// The segment.
        file: String,
        /// Where the damage begins.
        offset: u64,
        /// Its length.
        bytes: u64,
        /// Frames lost by it, as far as they were not resolved.
        frames: u64,
    },
    /// Frames that no segment holds, although the cursor does not have them as resolved.
    #[error("{frames} frames before {before} are in no segment; went on with that")]
    MissingFrames {
        /// How many.
        frames: u64,
        /// The next segment that is there.
        before: String,
    },
    /// A segment of another spool.
    #[error("{file}: belongs to another spool ({incarnation}); {action}")]
    Foreign {
        /// The segment.
        file: String,
        /// The other spool.
        incarnation: String,
        /// What was done.
        action: Action,
    },
    /// It is named like a segment, and is none.
    #[error("{file}: is not a segment: {reason}; {action}")]
    NotASegment {
        /// Its name.
        file: String,
        /// What is wrong with it.
        reason: String,
        /// What was done.
        action: Action,
    },
    /// The header is damaged, and the frames are ours.
    #[error("{file}: its header is damaged; read its frames nevertheless")]
    DamagedHeader {
        /// The segment.
        file: String,
    },
    /// It is named like a cursor, and is none that can be read.
    #[error("{file}: is not a cursor of this spool; ignored it")]
    NotACursor {
        /// Its name.
        file: String,
    },
    /// A name that no spool gives.
    #[error("{file}: is no file of a spool; left it alone")]
    Unknown {
        /// Its name.
        file: String,
    },
    /// The disk refused what the opening wanted to do.
    #[error("{file}: could not {operation}: {reason}")]
    NotMended {
        /// The file.
        file: String,
        /// What was tried.
        operation: &'static str,
        /// What the disk said.
        reason: String,
    },
}

impl Finding {
    /// Whether frames that had been acknowledged may be lost by it.
    pub fn is_loss(&self) -> bool {
        match self {
            Finding::LostTail { .. } | Finding::NotASegment { .. } => true,
            Finding::Damage { frames, .. } | Finding::MissingFrames { frames, .. } => *frames > 0,
            _ => false,
        }
    }
}

/// What was done with a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// It lies in `quarantine/` now.
    Quarantined,
    /// It is where it was, and nobody reads it.
    LeftAlone,
}

impl std::fmt::Display for Action {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(match self {
            Action::Quarantined => "moved it to quarantine",
            Action::LeftAlone => "left it alone",
        })
    }
}
