//! What the handles, the reader and the writer's thread share.

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use tokio::sync::{Notify, oneshot};

use crate::{
    Frame, Incarnation, Lane, Observer, Refusal, SpoolOptions, filesystem::FileSystem, format::segment_name,
    state::State,
};

/// One spool.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) options: SpoolOptions,
    pub(crate) incarnation: Incarnation,
    /// What the checksums of its frames begin with.
    pub(crate) seed: u32,
    pub(crate) lane: Lane,
    pub(crate) observer: Arc<dyn Observer>,
    pub(crate) files: Arc<dyn FileSystem>,
    state: Mutex<State>,
    queue: Mutex<Queue>,
    /// Wakes the writer.
    pub(crate) writer_bell: Condvar,
    /// Wakes those who wait for a frame to take.
    pub(crate) reader_bell: Notify,
}

/// What waits for the writer.
#[derive(Debug, Default)]
pub(crate) struct Queue {
    pub(crate) appends: VecDeque<Append>,
    /// Payload and prefix bytes of the appends, those of the group under way included.
    pub(crate) bytes: usize,
    pub(crate) checkpoints: Vec<oneshot::Sender<Result<(), Refusal>>>,
    pub(crate) is_closed: bool,
}

/// Frames that are stored together or not at all.
#[derive(Debug)]
pub(crate) struct Append {
    pub(crate) frames: Vec<Frame>,
    /// Bytes on the disk.
    pub(crate) bytes: u64,
    /// The quota has room for them already.
    pub(crate) is_granted: bool,
    pub(crate) since: Instant,
    pub(crate) reply: oneshot::Sender<Result<std::ops::Range<u64>, Refusal>>,
}

impl Shared {
    pub(crate) fn new(
        options: SpoolOptions,
        incarnation: Incarnation,
        lane: Lane,
        observer: Arc<dyn Observer>,
        files: Arc<dyn FileSystem>,
        state: State,
    ) -> Shared {
        Shared {
            options,
            incarnation,
            seed: incarnation.checksum_seed(),
            lane,
            observer,
            files,
            state: Mutex::new(state),
            queue: Mutex::default(),
            writer_bell: Condvar::new(),
            reader_bell: Notify::new(),
        }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.options.directory.join(name)
    }

    pub(crate) fn segment_path(&self, first: u64) -> PathBuf {
        self.path(&segment_name(first))
    }

    /// Tells the owner of a failure, and gives it back.
    pub(crate) fn report(&self, operation: &'static str, error: io::Error) -> io::Error {
        self.observer.disk_error(operation, &error);
        error
    }
}
