//! Wakes a thread that waits for several things at once: queue events, commands, released credit, acknowledgements.
//!
//! Rings are not counted: one ring or many before the thread looks are the same, and the thread looks at everything
//! when it wakes. So the channel holds one ring, and a ring that finds it full is not lost.

use std::{
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    time::Duration,
};

/// The side that wakes; cheap to clone and to ring, never blocks.
#[derive(Clone, Debug)]
pub(crate) struct Doorbell(SyncSender<()>);

/// The side that waits.
#[derive(Debug)]
pub(crate) struct Listener(pub(crate) Receiver<()>);

pub(crate) fn doorbell() -> (Doorbell, Listener) {
    let (sender, receiver) = sync_channel(1);
    (Doorbell(sender), Listener(receiver))
}

impl Doorbell {
    pub(crate) fn ring(&self) {
        // Full means that a wake-up is already pending; disconnected, that nobody waits any more.
        let _ = self.0.try_send(());
    }
}

impl Listener {
    /// Waits for a ring, at most `timeout`. False when nobody is left who could ring.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        !matches!(self.0.recv_timeout(timeout), Err(RecvTimeoutError::Disconnected))
    }
}
