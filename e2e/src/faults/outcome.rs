//! What a row of the catalogue came to.

use super::verdict::Verdict;

/// The result of one row.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// How often the fault was made.
    pub repeats: u32,
    /// What the oracle says of all scenes of the row.
    pub verdict: Verdict,
    /// Checks beyond the oracle's that did not hold, in words.
    pub failures: Vec<String>,
    /// What is worth knowing, in words.
    pub notes: Vec<String>,
}

impl Outcome {
    /// A row that makes its fault so often.
    #[must_use]
    pub fn of(repeats: u32) -> Self {
        Self { repeats, ..Self::default() }
    }

    /// Counts a failure unless `holds`; true when it holds.
    pub fn check(&mut self, holds: bool, promise: impl Into<String>) -> bool {
        if !holds {
            self.failures.push(promise.into());
        }
        holds
    }

    /// Keeps a remark.
    pub fn note(&mut self, text: impl Into<String>) {
        self.notes.push(text.into());
    }

    /// Whether all promises held but that of storing once.
    #[must_use]
    pub fn is_passed_but_for_doubles(&self) -> bool {
        Verdict { doubled: 0, ..self.verdict.clone() }.is_clean() && self.failures.is_empty()
    }

    /// Whether all promises held.
    #[must_use]
    pub fn is_passed(&self) -> bool {
        self.verdict.is_clean() && self.failures.is_empty()
    }
}
