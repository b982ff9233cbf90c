//! What librdkafka calls back into while the poll thread polls: callbacks only note what happened, and the poll loop
//! acts after the poll has returned.
//!
//! The rebalance callback in particular does not answer the group; with librdkafka's event interface the answer
//! (assign or unassign) may come at any later time, and the group waits for it. Only while the client is being closed
//! are rebalances answered on the spot, since nobody would do it later.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
    mpsc::{Receiver, Sender, channel},
};

use rdkafka::{
    ClientContext,
    config::RDKafkaLogLevel,
    consumer::{BaseConsumer, Consumer, ConsumerContext, RebalanceProtocol},
    error::{KafkaError, KafkaResult, RDKafkaErrorCode},
    topic_partition_list::TopicPartitionList,
    types::RDKafkaRespErr,
};

use super::commits::CommitReport;
use crate::connection::ConnectionStatus;

pub(super) struct Context {
    status: Arc<ConnectionStatus>,
    closing: AtomicBool,
    rebalances: Sender<RebalanceNotice>,
    commits: Sender<CommitReport>,
}

/// The poll loop's side. The queues need no bound: the group has one rebalance under way at a time, and there is one
/// report for each commit the poll loop has issued.
pub(super) struct Notices {
    pub(super) rebalances: Receiver<RebalanceNotice>,
    pub(super) commits: Receiver<CommitReport>,
}

/// The group gives or takes partitions and waits for the answer.
pub(super) enum RebalanceNotice {
    Assign(TopicPartitionList),
    Revoke(TopicPartitionList),
}

impl Context {
    pub(super) fn new(status: Arc<ConnectionStatus>) -> (Context, Notices) {
        let (rebalances, rebalance_notices) = channel();
        let (commits, commit_reports) = channel();
        let context = Context { status, closing: AtomicBool::new(false), rebalances, commits };
        (context, Notices { rebalances: rebalance_notices, commits: commit_reports })
    }

    /// From now on the callback answers rebalances itself.
    pub(super) fn begin_closing(&self) {
        self.closing.store(true, Ordering::Release);
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        self.status.log(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.status.client_error(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(&self, client: &BaseConsumer<Self>, code: RDKafkaRespErr, list: &mut TopicPartitionList) {
        let is_assign = code == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if self.closing.load(Ordering::Acquire) {
            // An error means that the client is past caring; closing goes on.
            let _ = if is_assign { assign(client, list) } else { unassign(client, list) };
            return;
        }
        let notice = if is_assign {
            RebalanceNotice::Assign(list.clone())
        } else {
            RebalanceNotice::Revoke(list.clone())
        };
        // The receiver lives in the poll loop, which is what has called us.
        let _ = self.rebalances.send(notice);
    }

    fn commit_callback(&self, result: KafkaResult<()>, offsets: &TopicPartitionList) {
        if result.is_ok() {
            self.status.answered();
        }
        let _ = self.commits.send(CommitReport::new(result, offsets));
    }
}

/// Accepts partitions, by the protocol the group has agreed on.
pub(super) fn assign(client: &BaseConsumer<Context>, list: &TopicPartitionList) -> KafkaResult<()> {
    match client.rebalance_protocol() {
        RebalanceProtocol::Cooperative => client.incremental_assign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => client.assign(list),
    }
}

/// Gives partitions back, by the protocol the group has agreed on.
pub(super) fn unassign(client: &BaseConsumer<Context>, list: &TopicPartitionList) -> KafkaResult<()> {
    match client.rebalance_protocol() {
        RebalanceProtocol::Cooperative => client.incremental_unassign(list),
        RebalanceProtocol::Eager | RebalanceProtocol::None => client.unassign(),
    }
}

/// The code of any error of the client library.
pub(super) fn code_of(error: &KafkaError) -> RDKafkaErrorCode {
    error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)
}
