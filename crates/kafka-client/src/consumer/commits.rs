//! Commits under way: issued without waiting, matched with librdkafka's reports.
//!
//! A report names what was committed, not who asked, so it is matched by its content; two pending commits of the same
//! content are answered in order, which is the truth for both, since they leave the group in the same state.

use std::{
    collections::{HashSet, VecDeque},
    time::{Duration, Instant},
};

use rdkafka::{
    consumer::BaseConsumer,
    error::{KafkaError, KafkaResult},
    topic_partition_list::{Offset, TopicPartitionList},
};

use super::{
    CommitReply,
    context::{Context, code_of},
    native_commit,
};
use crate::{error::CommitError, event::CommitOffset};

/// Our limit for the metadata of a committed offset, in bytes; brokers allow 4096 by default.
const MAX_METADATA_BYTES: usize = 512;

/// librdkafka reports every commit, at the latest when the session timeout and a request timeout have passed. This is
/// for the report that never comes, so that no owner waits for ever.
const REPORT_TIMEOUT: Duration = Duration::from_secs(180);

/// Refuses what would be corrupted or misread on its way to the broker and back.
pub(super) fn refuse_malformed(offsets: &[CommitOffset]) -> Result<(), CommitError> {
    let malformed = |reason| Err(CommitError::Malformed { reason });
    let mut seen = HashSet::with_capacity(offsets.len());
    for commit in offsets {
        if commit.offset < 0 {
            return malformed("offset is negative");
        }
        if commit.metadata.len() > MAX_METADATA_BYTES {
            return malformed("metadata is longer than 512 bytes");
        }
        if !commit.metadata.bytes().all(|byte| byte == b' ' || byte.is_ascii_graphic()) {
            return malformed("metadata is not printable ascii");
        }
        if commit.topic.contains('\0') {
            return malformed("topic name holds a nul byte");
        }
        if !seen.insert((&commit.topic, commit.partition)) {
            return malformed("partition is named twice");
        }
    }
    Ok(())
}

/// Commits whose report has not come.
#[derive(Default)]
pub(super) struct PendingCommits(VecDeque<PendingCommit>);

struct PendingCommit {
    content: Vec<Committed>,
    issued: Instant,
    reply: CommitReply,
}

/// One element of a commit, in a form that request and report share.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Committed {
    topic: String,
    partition: i32,
    offset: i64,
    metadata: String,
}

/// librdkafka's report on one commit.
pub(super) struct CommitReport {
    content: Vec<Committed>,
    result: Result<(), CommitError>,
}

impl CommitReport {
    pub(super) fn new(result: KafkaResult<()>, offsets: &TopicPartitionList) -> CommitReport {
        let mut result = result;
        let mut content = Vec::with_capacity(offsets.count());
        for element in offsets.elements() {
            result = result.and_then(|()| element.error());
            content.push(Committed {
                topic: element.topic().to_owned(),
                partition: element.partition(),
                offset: element.offset().to_raw().unwrap_or(-1),
                // Cannot be anything but UTF-8, on which it would panic: it is our own request's, and ASCII.
                metadata: element.metadata().to_owned(),
            });
        }
        content.sort_unstable();
        CommitReport { content, result: result.map_err(|error| CommitError::from_code(code_of(&error))) }
    }
}

impl PendingCommits {
    /// Hands a commit to librdkafka; `reply` gets the result when its report comes.
    pub(super) fn issue(
        &mut self,
        client: &BaseConsumer<Context>,
        offsets: &[CommitOffset],
        reply: CommitReply,
    ) {
        let issued = commit_list(offsets).and_then(|list| native_commit::commit(client, &list));
        if let Err(error) = issued {
            let _ = reply.send(Err(CommitError::from_code(code_of(&error))));
            return;
        }
        let content = offsets.iter().map(|commit| Committed {
            topic: commit.topic.to_string(),
            partition: commit.partition,
            offset: commit.offset,
            metadata: commit.metadata.clone(),
        });
        let mut content: Vec<Committed> = content.collect();
        content.sort_unstable();
        self.0.push_back(PendingCommit { content, issued: Instant::now(), reply });
    }

    /// Answers the commit that a report belongs to. A report without one is of a commit that had timed out.
    pub(super) fn settle(&mut self, report: CommitReport) {
        let position = self.0.iter().position(|pending| pending.content == report.content);
        if let Some(pending) = position.and_then(|position| self.0.remove(position)) {
            let _ = pending.reply.send(report.result);
        }
    }

    /// Gives up waiting for reports that are overdue.
    pub(super) fn expire(&mut self, now: Instant) {
        while self.0.front().is_some_and(|pending| now.duration_since(pending.issued) > REPORT_TIMEOUT) {
            if let Some(pending) = self.0.pop_front() {
                let _ = pending.reply.send(Err(CommitError::TimedOut));
            }
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// As the binding takes them.
pub(crate) fn commit_list(offsets: &[CommitOffset]) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::with_capacity(offsets.len());
    for commit in offsets {
        let mut element = list.add_partition(&commit.topic, commit.partition);
        element.set_offset(Offset::Offset(commit.offset))?;
        element.set_metadata(&commit.metadata);
    }
    Ok(list)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn commit(offset: i64, metadata: &str) -> CommitOffset {
        CommitOffset { topic: Arc::from("otlp_logs"), partition: 3, offset, metadata: metadata.to_owned() }
    }

    #[track_caller]
    fn check(offsets: &[CommitOffset], refused: Option<&str>) {
        match (refuse_malformed(offsets), refused) {
            (Ok(()), None) => {}
            (Err(CommitError::Malformed { reason }), Some(expected)) => assert_eq!(reason, expected),
            (outcome, expected) => panic!("{outcome:?} instead of {expected:?}"),
        }
    }

    #[test]
    fn metadata_that_would_not_come_back_unchanged_is_refused() {
        check(&[commit(7, "v1 last=12 rows=300 ~!")], None);
        check(&[commit(7, &"x".repeat(512))], None);
        check(&[commit(7, &"x".repeat(513))], Some("metadata is longer than 512 bytes"));
        check(&[commit(7, "caf\u{e9}")], Some("metadata is not printable ascii"));
        check(&[commit(7, "a\0b")], Some("metadata is not printable ascii"));
    }

    #[test]
    fn a_commit_that_contradicts_itself_is_refused() {
        check(&[commit(-1, "")], Some("offset is negative"));
        check(&[commit(7, ""), commit(8, "")], Some("partition is named twice"));
    }
}
