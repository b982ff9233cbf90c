//! What a pipeline owns, and how it comes and goes: assignment, revocation, a position that is gone, the end.
//!
//! Giving back is the one place where the loop waits for work under way, since the consumer waits for it too: when the
//! revocation is acknowledged, no state of the partition may be left that could still commit.

use kafka_client::{AckGuard, AssignedPartition, CommitError, RevokedPartition};
use service_runtime::error_chain::ErrorChain;
use tokio::time::{Instant, timeout};
use tracing::{error, info, warn};

use super::{COMMIT_RETRY, Done, LEAVE_TIMEOUT, LostRange, Pipeline, PipelineError, Wiring, ticks};
use crate::{
    assignment::{Gap, PartitionId},
    lease::Lease,
    metrics::ABANDONED,
    sink::Sink,
};

impl<S: Sink> Pipeline<S> {
    pub(super) fn own(&mut self, generation: u64, partitions: Vec<AssignedPartition>, ack: AckGuard) {
        info!(generation, partitions = partitions.len(), "partitions assigned");
        for AssignedPartition { topic, partition, committed } in partitions {
            let id = PartitionId { topic, partition, generation };
            let lease = Lease::new(self.wiring.config.lease);
            if let Some(stale) = self.assignment.insert(&id, committed, lease) {
                self.wiring.metrics.records_resolved(ABANDONED, stale.tracker.unresolved());
            }
        }
        self.wiring.lag.look_again();
        self.obstacle = None;
        ack.ack();
    }

    pub(super) async fn give_back(&mut self, partitions: Vec<RevokedPartition>, lost: bool, ack: AckGuard) {
        info!(partitions = partitions.len(), lost, "partitions revoked");
        let ids: Vec<PartitionId> = partitions
            .into_iter()
            .map(|RevokedPartition { topic, partition, generation }| PartitionId {
                topic,
                partition,
                generation,
            })
            .collect();
        if !lost {
            for id in &ids {
                if let Some(state) = self.assignment.get_mut(id) {
                    state.close();
                }
            }
            let wait = self.wiring.config.revoke_wait;
            if timeout(wait, self.settle(&ids)).await.is_err() {
                warn!("partitions are given back with blocks under way; their next owner reads them again");
            }
        }
        for id in &ids {
            let Some(state) = self.assignment.remove(id) else { continue };
            self.wiring.metrics.records_resolved(ABANDONED, state.tracker.unresolved());
            self.wiring.metrics.forget(&id.topic, id.partition);
        }
        ack.ack();
    }

    /// Works until nothing of these partitions is under way and what is resolved is committed. The other partitions go on
    /// as far as their records are in hand: events wait.
    async fn settle(&mut self, ids: &[PartitionId]) {
        let mut tick = ticks();
        self.commit_resolved();
        while ids.iter().any(|id| self.assignment.get_mut(id).is_some_and(|state| state.is_busy())) {
            tokio::select! {
                Some(done) = self.work.join_next() => self.on_done(done),
                _ = tick.tick() => self.on_tick(),
            }
            self.commit_resolved();
        }
    }

    pub(super) fn on_lost_range(&mut self, id: &PartitionId, position: i64, low: i64) {
        let lost = u64::try_from(low - position).unwrap_or(0);
        let (topic, partition) = (&id.topic, id.partition);
        self.wiring.metrics.out_of_range(topic, partition, lost as i64);
        error!(%topic, partition, position, low, lost, "position is not in the log any more");
        let Some(state) = self.assignment.get_mut(id) else { return };
        state.is_stalled = true;
        // A position behind the end is another matter: the log was cut or made anew, and offsets repeat. That is never
        // gone over without an operator.
        if lost > 0 && self.wiring.config.lost_range == LostRange::Resume {
            state.gap = Some(Gap { lost, end: low });
        }
    }

    /// Moves partitions behind what is gone from their log, once all that was read before is stored and committed.
    pub(super) fn go_over_gaps(&mut self) {
        if self.is_draining || Instant::now() < self.commit_not_before {
            return;
        }
        for (id, state) in self.assignment.iter_mut() {
            let Some(gap) = state.take_gap() else { continue };
            let seeking = self.wiring.consumer.seek(id.generation, &id.topic, id.partition, gap.end);
            self.work.spawn(async move { Done::Seek { id, gap, result: seeking.await } });
        }
    }

    /// The loss is counted here, when the group's offset lies behind it: before, the gap may be found and reported again.
    pub(super) fn on_gone_over(&mut self, id: &PartitionId, gap: Gap, result: &Result<(), CommitError>) {
        let (topic, partition) = (&id.topic, id.partition);
        match result {
            Ok(()) => self.wiring.metrics.records_lost(topic, partition, gap.lost),
            Err(failure) => {
                let error = ErrorChain(failure);
                error!(%topic, partition, %error, "partition cannot go on at the start of the log");
            }
        }
        let Some(state) = self.assignment.get_mut(id) else { return };
        if result.is_ok() {
            state.is_stalled = false;
        } else {
            state.gap.get_or_insert(gap);
            self.commit_not_before = Instant::now() + COMMIT_RETRY;
        }
    }

    /// Delivers and commits what was decoded, then leaves the group.
    pub(super) async fn drain(mut self) -> Result<(), PipelineError> {
        self.is_draining = true;
        let ids: Vec<PartitionId> = self.assignment.iter().map(|(id, _)| id).collect();
        for id in &ids {
            if let Some(state) = self.assignment.get_mut(id) {
                state.stop_taking();
                if state.is_forming_again() {
                    state.open = None;
                }
            }
            self.cut(id);
        }
        let limit = self.wiring.config.drain_timeout;
        if timeout(limit, self.settle(&ids)).await.is_err() {
            warn!(unresolved = self.assignment.unresolved(), "drain ended with records under way");
        }
        self.wiring.metrics.records_resolved(ABANDONED, self.assignment.unresolved());
        self.work.abort_all();
        let Wiring { consumer, mut events, .. } = self.wiring;
        // The last revocation is acknowledged by being dropped; everything that could be committed is.
        let discard = async { while events.recv().await.is_some() {} };
        let leaving = async { tokio::join!(consumer.shutdown(), discard) };
        if timeout(LEAVE_TIMEOUT, leaving).await.is_err() {
            warn!("group is not left in order; it takes this member for lost after its session timeout");
        }
        Ok(())
    }
}
