//! Opening a directory: whatever is in it, there is a running spool afterwards.
//!
//! [`survey`] reads and judges and changes nothing, so the offline tools use it too; [`mend`] puts right what it found.

pub(crate) mod mend;
pub(crate) mod segment;
pub(crate) mod survey;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::Instant,
};

use crate::{
    Lane, Locking, Observer, Recovery, SpoolOptions,
    filesystem::{FileSystem, Guard},
    format::Incarnation,
    quarantine,
    shared::Shared,
    state::State,
    writer::Writer,
};
use survey::Survey;

/// Why a directory cannot be opened as a spool.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be made.
    #[error("cannot make the spool's directory {directory}; make it, or give this user the right to")]
    Make {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// It cannot be read.
    #[error(
        "cannot read the spool's directory {directory}; it must be a directory that this user may read and write"
    )]
    Read {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// Another process uses it.
    #[error(
        "the spool's directory {directory} is in use by {owner}; stop that process, or use another directory"
    )]
    Locked {
        /// The directory.
        directory: PathBuf,
        /// The process, as it named itself.
        owner: String,
    },
    /// The lock file cannot be opened.
    #[error(
        "cannot lock the spool's directory {directory}; remove the file `lock` in it if it is not a plain file"
    )]
    Lock {
        /// The directory.
        directory: PathBuf,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// No thread can be started.
    #[error("cannot start the spool's thread; this user may have too many")]
    Thread(#[source] io::Error),
}

/// Opens the directory; the writer is ready to run.
pub(crate) fn open(
    options: SpoolOptions,
    lane: Lane,
    observer: Arc<dyn Observer>,
    files: Arc<dyn FileSystem>,
) -> Result<(Writer, Recovery), OpenError> {
    let started = Instant::now();
    let directory = options.directory.clone();
    // A directory that is there needs nobody who may make it.
    if let Err(source) = files.make_directory(&directory)
        && files.list(&directory).is_err()
    {
        return Err(OpenError::Make { directory, source });
    }
    let (guard, read_only) = lock(files.as_ref(), &directory)?;
    let mut survey = survey::survey(files.as_ref(), &directory, false)
        .map_err(|source| OpenError::Read { directory: directory.clone(), source })?;
    let is_writable = read_only.is_none();
    let mended = mend::mend(files.as_ref(), &directory, &mut survey, is_writable);
    let incarnation = survey.incarnation.unwrap_or_else(Incarnation::draw);
    let quarantine_bytes = quarantine::held_bytes(files.as_ref(), &directory);
    let mut state = state_of(&survey, &mended, quarantine_bytes);
    state.obstacle = read_only.map(|error| error.to_string());
    lane.grow(state.segments.values().map(|segment| segment.file_bytes).sum::<u64>() + quarantine_bytes);
    let recovery = Recovery {
        incarnation,
        next_sequence: mended.next,
        note: state.note.clone(),
        pending: state.pending,
        findings: survey.findings,
        took: started.elapsed(),
    };
    for finding in &recovery.findings {
        tracing::warn!(directory = %directory.display(), "{finding}");
    }
    let checkpointed = state.resolved.version();
    let shared = Shared::new(options, incarnation, lane, observer, files, state);
    let writer = Writer {
        shared: Arc::new(shared),
        _guard: guard,
        active: mended.active,
        next: mended.next,
        durable_end: mended.durable_end,
        generation: survey.generation,
        checkpointed,
        is_checkpoint_due: false,
        has_reserve: survey.has_reserve,
        ticks_to_reserve: 0,
        next_tick: Instant::now(),
        group_bytes: 0,
    };
    Ok((writer, recovery))
}

/// Keeps other processes out. The error is why the directory cannot be written to.
pub(crate) fn lock(
    files: &dyn FileSystem,
    directory: &Path,
) -> Result<(Box<dyn Guard>, Option<io::Error>), OpenError> {
    match files.lock(directory) {
        Ok(Locking::Held { guard, read_only }) => Ok((guard, read_only)),
        Ok(Locking::Busy { owner }) => {
            let owner = if owner.is_empty() { "another process".to_owned() } else { owner };
            Err(OpenError::Locked { directory: directory.to_owned(), owner })
        }
        Err(source) => Err(OpenError::Lock { directory: directory.to_owned(), source }),
    }
}

fn state_of(survey: &Survey, mended: &mend::Mended, quarantine_bytes: u64) -> State {
    let mut state = State::default();
    state.resolved = survey.resolved.clone();
    state.corrupt = survey.corrupt;
    state.note = survey.cursor.as_ref().map(|cursor| cursor.note.clone()).unwrap_or_default();
    state.quarantine_bytes = quarantine_bytes;
    let active = mended.active.as_ref().map(|active| active.first);
    for surveyed in &survey.segments {
        let mut segment = surveyed.segment.clone();
        segment.is_active = active == Some(surveyed.first);
        state.pending += segment.pending;
        state.has_done_segment |= !segment.is_active && segment.pending.frames == 0;
        state.segments.insert(surveyed.first, segment);
    }
    state
}
