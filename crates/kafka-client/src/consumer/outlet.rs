//! The way to the owner: the bounded event channel, and before it a backlog for what does not fit.
//!
//! The poll thread must never wait for the owner, so an event that finds the channel full is kept, and later ones
//! behind it. The backlog is bounded although it has no limit of its own: records are charged before they get here,
//! so the credit marks pause their partitions, and there are at most a few other events at a time.

use std::{collections::VecDeque, sync::Arc};

use tokio::sync::mpsc::{self, error::TrySendError};

use crate::event::ConsumerEvent;

pub(super) struct Outlet {
    events: mpsc::Sender<ConsumerEvent>,
    backlog: VecDeque<ConsumerEvent>,
    closed: bool,
}

impl Outlet {
    pub(super) fn new(events: mpsc::Sender<ConsumerEvent>) -> Outlet {
        Outlet { events, backlog: VecDeque::new(), closed: false }
    }

    /// Hands an event over, now or as soon as there is room.
    pub(super) fn push(&mut self, event: ConsumerEvent) {
        self.backlog.push_back(event);
        self.drain();
    }

    /// Hands an event over only if there is room now; for news that repeats itself.
    pub(super) fn offer(&mut self, event: ConsumerEvent) {
        if self.backlog.is_empty() {
            let _ = self.events.try_send(event);
        }
    }

    /// Moves what fits from the backlog into the channel.
    pub(super) fn drain(&mut self) {
        while let Some(event) = self.backlog.pop_front() {
            match self.events.try_send(event) {
                Ok(()) => {}
                Err(TrySendError::Full(event)) => {
                    self.backlog.push_front(event);
                    return;
                }
                Err(TrySendError::Closed(_event)) => {
                    self.backlog.clear();
                    self.closed = true;
                }
            }
        }
        self.closed |= self.events.is_closed();
    }

    /// Drops the waiting records of a partition; their credit is released.
    pub(super) fn forget_records(&mut self, topic: &Arc<str>, partition: i32) {
        self.backlog.retain(|event| {
            !matches!(event, ConsumerEvent::Record(record) if record.partition == partition && record.topic == *topic)
        });
    }

    pub(super) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether the owner has dropped its end.
    pub(super) fn is_closed(&self) -> bool {
        self.closed
    }
}
