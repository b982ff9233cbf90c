//! What a pipeline owns, and how it comes and goes: assignment, revocation, a position that is gone, the end.
//!
//! Giving back is the one place where the loop waits for work under way, since the consumer waits for it too: when the
//! revocation is acknowledged, no state of the partition may be left that could still commit.

use std::sync::Arc;

use kafka_client::{AckGuard, AssignedPartition, CommitError, RevokedPartition};
use service_runtime::error_chain::ErrorChain;
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::{Done, LostRange, Pipeline, PipelineError, Wiring};
use crate::{assignment::PartitionId, metrics::ABANDONED, sink::Sink};

impl<S: Sink> Pipeline<S> {
    pub(super) fn own(&mut self, generation: u64, partitions: Vec<AssignedPartition>, ack: AckGuard) {
        info!(generation, partitions = partitions.len(), "partitions assigned");
        for AssignedPartition { topic, partition, committed } in partitions {
            let id = PartitionId { topic, partition, generation };
            if let Some(stale) = self.assignment.insert(&id, committed) {
                self.wiring.metrics.records_resolved(ABANDONED, stale.tracker.unresolved());
            }
            if self.is_draining
                && let Some(state) = self.assignment.get_mut(&id)
            {
                state.close();
            }
        }
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

    /// Works until nothing of these partitions is under way and what is resolved is committed.
    async fn settle(&mut self, ids: &[PartitionId]) {
        self.commit_resolved();
        while ids.iter().any(|id| self.assignment.get_mut(id).is_some_and(|state| state.is_busy())) {
            match self.work.join_next().await {
                Some(done) => self.on_done(done),
                // Only a commit is left, and it failed a moment ago.
                None => tokio::time::sleep_until(self.commit_not_before).await,
            }
            self.commit_resolved();
        }
    }

    pub(super) fn on_lost_range(&mut self, id: PartitionId, position: i64, low: i64) {
        let lost = (low - position).max(0);
        if let Some(state) = self.assignment.get_mut(&id) {
            state.is_stalled = true;
        }
        let (topic, partition, generation) = (Arc::clone(&id.topic), id.partition, id.generation);
        self.wiring.metrics.records_lost(&topic, partition, lost);
        error!(%topic, partition, position, low, lost, "position is not in the log any more");
        // A position behind the end is another matter: the log was cut or made anew, and offsets repeat. That is never
        // gone over without an operator.
        if lost > 0 && self.wiring.config.lost_range == LostRange::Resume {
            let seeking = self.wiring.consumer.seek(generation, &topic, partition, low);
            self.work.spawn(async move { Done::Seek { id, result: seeking.await } });
        }
    }

    pub(super) fn on_resumed(&mut self, id: &PartitionId, result: Result<(), CommitError>) {
        let Some(state) = self.assignment.get_mut(id) else { return };
        match result {
            Ok(()) => state.is_stalled = false,
            Err(failure) => {
                error!(error = %ErrorChain(&failure), "partition cannot go on at the start of the log")
            }
        }
    }

    /// Delivers and commits what was decoded, then leaves the group.
    pub(super) async fn drain(mut self) -> Result<(), PipelineError> {
        self.is_draining = true;
        let ids: Vec<PartitionId> = self.assignment.iter().map(|(id, _)| id).collect();
        for id in &ids {
            if let Some(state) = self.assignment.get_mut(id) {
                state.is_closed = true;
                state.waiting.clear();
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
        tokio::join!(consumer.shutdown(), discard);
        Ok(())
    }
}
