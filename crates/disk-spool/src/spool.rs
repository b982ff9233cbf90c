//! The handle that owners use.

use std::{
    future::Future,
    ops::Range,
    path::Path,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    thread::JoinHandle,
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::oneshot;

use crate::{
    Frame, Lane, Observer, OpenError, Recovery, Refusal, SpoolOptions, Taken, Usage, WhenFull,
    filesystem::{Disk, FileSystem},
    format::{MAX_NOTE_BYTES, PREFIX_BYTES},
    reader::Reader,
    recovery,
    shared::{Append, Shared},
};

/// A durable queue. Clones share it; when the last one goes, it closes by itself, on its own thread.
#[derive(Debug, Clone)]
pub struct Spool {
    handle: Arc<Handle>,
}

#[derive(Debug)]
struct Handle {
    shared: Arc<Shared>,
    reader: Mutex<Reader>,
    writer: Mutex<Option<JoinHandle<()>>>,
}

/// Resolves to the numbers of the frames once they are on the disk. Dropping it takes nothing back.
#[derive(Debug)]
pub struct Appending(oneshot::Receiver<Result<Range<u64>, Refusal>>);

/// Resolves once the checkpoint is on the disk.
#[derive(Debug)]
pub struct Checkpointing(oneshot::Receiver<Result<(), Refusal>>);

impl Spool {
    /// Opens the directory, which belongs to this process until the spool is closed. Whatever is in it, there is a
    /// running spool then; what was not as it should be is in the [`Recovery`].
    pub fn open(
        options: SpoolOptions,
        lane: Lane,
        observer: Arc<dyn Observer>,
    ) -> Result<(Spool, Recovery), OpenError> {
        Spool::open_with(options, lane, observer, Arc::new(Disk))
    }

    /// Opens it on another file system.
    pub fn open_with(
        options: SpoolOptions,
        lane: Lane,
        observer: Arc<dyn Observer>,
        files: Arc<dyn FileSystem>,
    ) -> Result<(Spool, Recovery), OpenError> {
        let (writer, recovery) = recovery::open(options, lane, observer, files)?;
        let shared = Arc::clone(&writer.shared);
        let thread = std::thread::Builder::new().name("spool-writer".to_owned());
        let writer = thread.spawn(move || writer.run()).map_err(OpenError::Thread)?;
        let handle = Handle { shared, reader: Mutex::default(), writer: Mutex::new(Some(writer)) };
        Ok((Spool { handle: Arc::new(handle) }, recovery))
    }

    /// Queues frames for the disk, all of them or none; never blocks.
    pub fn append(&self, frames: Vec<Frame>) -> Result<Appending, Refusal> {
        let shared = &self.handle.shared;
        let options = &shared.options;
        let bytes = size_of_frames(&frames, options)?;
        if let Some(reason) = shared.state().obstacle.clone() {
            return Err(Refusal::Disk { reason });
        }
        let (reply, receiver) = oneshot::channel();
        let mut queue = shared.queue();
        if queue.is_closed {
            return Err(Refusal::Closed);
        }
        if queue.bytes.saturating_add(bytes) > options.queue_bytes {
            return Err(Refusal::Busy);
        }
        if frames.is_empty() {
            let next = shared.state().resolved.watermark();
            let _ = reply.send(Ok(next..next));
            return Ok(Appending(receiver));
        }
        let is_granted = shared.lane.try_grow(bytes as u64);
        if !is_granted && options.when_full == WhenFull::Refuse {
            drop(queue);
            shared.state().wants_room = true;
            return Err(Refusal::Full);
        }
        let is_first = queue.appends.is_empty();
        queue.bytes += bytes;
        let is_complete = queue.bytes >= options.group_bytes;
        queue.appends.push_back(Append {
            frames,
            bytes: bytes as u64,
            is_granted,
            since: Instant::now(),
            reply,
        });
        if is_first || is_complete {
            shared.writer_bell.notify_one();
        }
        Ok(Appending(receiver))
    }

    /// Hands out the oldest frames that are neither taken nor resolved: at most `max_bytes` of payload, but at least one
    /// frame when there is one; none once the spool is closed. Reads the disk, so call it where blocking is allowed.
    pub fn take(&self, max_bytes: usize) -> Vec<Taken> {
        if self.handle.shared.queue().is_closed {
            return Vec::new();
        }
        let mut reader = self.handle.reader.lock().unwrap_or_else(PoisonError::into_inner);
        reader.take(&self.handle.shared, max_bytes)
    }

    /// Waits until there is a frame to take. It may be gone when it is asked for, by its age or because it is damaged.
    pub async fn pending(&self) {
        let shared = &self.handle.shared;
        loop {
            let mut notified = std::pin::pin!(shared.reader_bell.notified());
            // From here on a bell is heard, so what is published after the look below is not missed.
            notified.as_mut().enable();
            let has_frame = {
                let state = shared.state();
                state.available() > 0 && !state.is_reading_blocked
            };
            if has_frame {
                return;
            }
            notified.await;
        }
    }

    /// The frame is done with, whatever became of it; unknown and repeated numbers are passed over. A frame that is not
    /// taken may be resolved too, by a late answer: it is not handed out then. If it never was handed out, what it counts
    /// in items and bytes stays pending until its segment is done.
    pub fn resolve(&self, sequence: u64) {
        self.handle.shared.state().resolve(sequence);
    }

    /// A taken frame was not delivered: it is handed out again, before newer ones.
    pub fn give_back(&self, sequence: u64) {
        let shared = &self.handle.shared;
        if shared.state().give_back(sequence) {
            shared.reader_bell.notify_waiters();
        }
    }

    /// Writes down what is resolved so far, and `note` with it. A note may have 1 MiB.
    pub fn checkpoint(&self, note: Bytes) -> Checkpointing {
        let shared = &self.handle.shared;
        let (reply, receiver) = oneshot::channel();
        if note.len() > MAX_NOTE_BYTES {
            let _ = reply.send(Err(Refusal::TooLarge { bytes: note.len() }));
            return Checkpointing(receiver);
        }
        shared.state().note = note;
        let mut queue = shared.queue();
        if queue.is_closed {
            let _ = reply.send(Err(Refusal::Closed));
        } else {
            queue.checkpoints.push(reply);
            shared.writer_bell.notify_one();
        }
        Checkpointing(receiver)
    }

    /// What it holds and has done.
    pub fn usage(&self) -> Usage {
        let shared = &self.handle.shared;
        let state = shared.state();
        Usage {
            pending: state.pending,
            taken: state.taken(),
            disk_bytes: state.segments.values().map(|segment| segment.file_bytes).sum::<u64>()
                + state.quarantine_bytes,
            quota_bytes: shared.lane.ceiling(),
            oldest_pending_ms: state.oldest_pending_ms(),
            corrupt: state.corrupt,
            dropped_full: state.dropped_full,
            dropped_aged: state.dropped_aged,
            segments: state.segments.len(),
            obstacle: state.obstacle.clone(),
        }
    }

    /// Where its files are.
    pub fn directory(&self) -> &Path {
        &self.handle.shared.options.directory
    }

    /// No frame that is appended from now on has a lower number, in this process or in a later one.
    pub fn next_sequence(&self) -> u64 {
        self.handle.shared.state().next_sequence()
    }

    /// Writes what waits, checkpoints with the last note, and gives the directory free; blocks.
    pub fn close(&self) {
        self.handle.shut();
        let writer = self.handle.writer.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(writer) = writer
            && writer.join().is_err()
        {
            tracing::error!("the spool's thread panicked");
        }
    }
}

impl Handle {
    fn shut(&self) {
        self.shared.queue().is_closed = true;
        self.shared.writer_bell.notify_one();
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shut();
    }
}

/// Bytes on the disk, if every frame is small enough.
fn size_of_frames(frames: &[Frame], options: &SpoolOptions) -> Result<usize, Refusal> {
    let mut total = 0usize;
    for frame in frames {
        let bytes = frame.payload_bytes();
        let is_too_large = bytes > options.max_frame_bytes
            || u32::try_from(bytes).is_err()
            || bytes as u64 + crate::FRAME_OVERHEAD_BYTES > options.segment_bytes;
        if is_too_large {
            return Err(Refusal::TooLarge { bytes });
        }
        total = total.saturating_add(bytes + PREFIX_BYTES);
    }
    Ok(total)
}

impl Appending {
    /// Waits without a runtime; blocks.
    pub fn wait(self) -> Result<Range<u64>, Refusal> {
        self.0.blocking_recv().unwrap_or(Err(Refusal::Closed))
    }
}

impl Checkpointing {
    /// Waits without a runtime; blocks.
    pub fn wait(self) -> Result<(), Refusal> {
        self.0.blocking_recv().unwrap_or(Err(Refusal::Closed))
    }
}

impl Future for Appending {
    type Output = Result<Range<u64>, Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(Refusal::Closed)))
    }
}

impl Future for Checkpointing {
    type Output = Result<(), Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(|answer| answer.unwrap_or(Err(Refusal::Closed)))
    }
}
