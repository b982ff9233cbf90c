//! Into the spool: what the broker cannot take, and what it does not acknowledge in time.

use std::ops::Range;

use disk_spool::{Frame, Refusal};
use kafka_client::Delivery;

use super::{Parcel, Settlement};
use crate::publisher::{
    Unpublished,
    state::{Event, State},
    trail::Trailing,
};

impl Settlement<'_> {
    /// Puts what could not be sent into the spool and waits for the disk.
    pub(super) async fn keep_unsent(&mut self) -> Result<(), Unpublished> {
        if self.unsent.is_empty() {
            return Ok(());
        }
        let mut parcels = std::mem::take(&mut self.unsent);
        let reason = parcels.iter().find_map(|parcel| parcel.refusal);
        // The drain must not have a refused record before it is known as one.
        let has_refused = parcels.iter().any(|parcel| parcel.is_alone);
        let written = self.write(parcels.iter(), has_refused).await;
        let event = if written.is_ok() { Event::Written } else { Event::Unwritten };
        for parcel in &mut parcels {
            parcel.apply(event);
            debug_assert_eq!(parcel.state.is_safe(), written.is_ok());
        }
        match written {
            Ok(sequences) => {
                if has_refused {
                    self.note_refused(sequences, &parcels);
                }
                self.kept(parcels.iter().map(|parcel| parcel.record.items).sum());
                Ok(())
            }
            Err(None) => Err(reason.unwrap_or(Unpublished::NotAcknowledged)),
            Err(Some(refusal)) => Err(refusal.into()),
        }
    }

    /// The broker has refused some of what the spool has now: it goes on alone, and in parts. Then the drain may have all.
    fn note_refused(&self, sequences: Range<u64>, parcels: &[Parcel]) {
        let Some(backlog) = &self.route.backlog else { return };
        for (sequence, parcel) in sequences.zip(parcels) {
            if parcel.is_alone {
                let record = &parcel.record;
                let place = (record.letter.is_some(), record.partition.unwrap_or_default());
                self.shared.note_refused(self.route, backlog, sequence, place, parcel.floor);
            }
            backlog.spool().give_back(sequence);
        }
    }

    /// Puts what the broker has not acknowledged yet into the spool as well; its reports are awaited elsewhere. False when the
    /// spool does not take it.
    pub(super) async fn keep_overdue(&mut self) -> bool {
        let mut late: Vec<(Parcel, Delivery)> = std::mem::take(&mut self.sent).into();
        for (parcel, _) in &mut late {
            parcel.apply(Event::Overdue);
        }
        let written = self.write(late.iter().map(|(parcel, _)| parcel), true).await;
        let event = if written.is_ok() { Event::Written } else { Event::Unwritten };
        for (parcel, _) in &mut late {
            parcel.apply(event);
        }
        let Ok(sequences) = written else {
            self.sent = late.into();
            return false;
        };
        self.kept(late.iter().map(|(parcel, _)| parcel.record.items).sum());
        for (sequence, (parcel, delivery)) in sequences.zip(late) {
            debug_assert_eq!(parcel.state, State::InFlightKept);
            let trailing = Trailing::of_sender(sequence, &parcel.record, parcel.floor);
            self.shared.trail(self.route.signal, trailing, delivery);
        }
        true
    }

    async fn write(
        &self,
        parcels: impl Iterator<Item = &Parcel>,
        is_taken: bool,
    ) -> Result<Range<u64>, Option<Refusal>> {
        let Some(backlog) = &self.route.backlog else { return Err(None) };
        let frames: Vec<Frame> =
            parcels.map(|parcel| parcel.record.to_frame(parcel.sent_at(), is_taken)).collect();
        let refused = |refusal: Refusal| {
            tracing::debug!(signal = self.route.signal.as_str(), %refusal, "the spool does not take records");
            Some(refusal)
        };
        backlog.spool().append(frames).map_err(refused)?.await.map_err(refused)
    }

    fn kept(&mut self, items: u64) {
        self.published.kept += items;
        self.shared.metrics.count_kept(self.route.signal, items);
    }
}
