//! How far the group is behind, per owned partition: in records, and in seconds of the broker's clock.
//!
//! The numbers stay right while nothing is read: the end of the log is asked of the broker, not taken from fetched
//! records, and the age of the first uncommitted record grows with the clock. While the broker does not answer,
//! the end last seen counts.
//!
//! Of partitions that nobody owns every member tells ([`orphans`]). [`command`] and that ask the brokers for everything
//! ([`meter`]), by the same definitions and names.

pub mod command;
pub mod meter;
pub mod orphans;
mod trend;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use jiff::Timestamp;
use kafka_client::{Consumer, LookupError, Watermarks};
use service_runtime::error_chain::ErrorChain;
use tokio::{task::JoinHandle, time::Instant};
use tracing::debug;

use self::trend::Trend;
use crate::{
    assignment::{Assignment, Partition, PartitionId},
    metrics::{PartitionLag, SignalMetrics},
};

/// Between two questions for the end of the log: a tenth of any sensible alert.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);
/// Between two updates of the gauges.
const REPORT_INTERVAL: Duration = Duration::from_secs(1);

/// A question for the ends, and when it was asked.
type Looking = (Instant, JoinHandle<Result<Vec<Watermarks>, LookupError>>);

/// Measures the lag of one topic.
#[derive(Debug)]
pub struct LagProbe {
    topic: Arc<str>,
    ends: BTreeMap<i32, Watermarks>,
    /// When they were asked for.
    ends_of: Option<Instant>,
    looking: Option<Looking>,
    /// Of the owned partitions, with a look for each answer.
    trends: BTreeMap<i32, Trend>,
    is_answer_new: bool,
    look_at: Instant,
    report_at: Instant,
}

impl LagProbe {
    /// Knows nothing yet.
    pub fn new(topic: &str) -> Self {
        let now = Instant::now();
        LagProbe {
            topic: topic.into(),
            ends: BTreeMap::new(),
            ends_of: None,
            looking: None,
            trends: BTreeMap::new(),
            is_answer_new: false,
            look_at: now,
            report_at: now,
        }
    }

    /// Asks for the ends at once, and not only when it is time again.
    pub fn look_again(&mut self) {
        self.look_at = Instant::now();
    }

    /// The end of the log that the broker said when it was asked after this moment.
    pub fn end_after(&self, partition: i32, moment: Instant) -> Option<i64> {
        let ends = self.ends_of.filter(|asked_at| *asked_at > moment).map(|_| &self.ends)?;
        ends.get(&partition).map(|ends| ends.high)
    }

    /// Updates the gauges when it is time; never waits.
    pub fn observe<B>(&mut self, consumer: &Consumer, assignment: &Assignment<B>, metrics: &SignalMetrics) {
        self.take_answer();
        let now = Instant::now();
        if self.looking.is_none() && now >= self.look_at {
            self.look_at = now + LOOK_INTERVAL;
            self.looking = Some((now, tokio::spawn(consumer.watermarks(&self.topic))));
        }
        if now >= self.report_at {
            self.report_at = now + REPORT_INTERVAL;
            self.report(consumer.paused_partitions(), assignment, metrics);
        }
    }

    fn take_answer(&mut self) {
        use futures::FutureExt as _;
        let Some((asked_at, looking)) = &mut self.looking else { return };
        let (asked_at, Some(answer)) = (*asked_at, looking.now_or_never()) else { return };
        self.looking = None;
        match answer {
            Ok(Ok(watermarks)) => {
                self.ends = watermarks.into_iter().map(|ends| (ends.partition, ends)).collect();
                self.ends_of = Some(asked_at);
                self.is_answer_new = true;
            }
            // Readiness tells that no broker answers; the next look is soon.
            Ok(Err(failure)) => debug!(error = %ErrorChain(&failure), "end of the log is not known"),
            Err(failure) => {
                debug!(error = %ErrorChain(&failure), "looking for the end of the log was cut off")
            }
        }
    }

    fn report<B>(&mut self, paused: usize, assignment: &Assignment<B>, metrics: &SignalMetrics) {
        let (now, now_ms) = (Instant::now(), Timestamp::now().as_millisecond());
        let mut trends = std::mem::take(&mut self.trends);
        for (PartitionId { topic, partition, .. }, state) in assignment.iter() {
            let mut lag = lag_of(state, self.ends.get(&partition), now_ms);
            let mut trend = trends.remove(&partition).unwrap_or_else(|| Trend::new(now));
            if let (true, Some(end), Some(records)) = (self.is_answer_new, lag.log_end, lag.records()) {
                trend.saw(now, end, end - records);
            }
            lag.drain_seconds = trend.drain_seconds();
            lag.is_stuck = trend.is_stuck(now);
            self.trends.insert(partition, trend);
            metrics.lag(&topic, partition, &lag);
        }
        self.is_answer_new = false;
        metrics.partitions(self.trends.len(), paused);
    }
}

fn lag_of<B>(state: &Partition<B>, ends: Option<&Watermarks>, now_ms: i64) -> PartitionLag {
    let mut lag = PartitionLag {
        committed: state.tracker.committed_offset(),
        log_start: ends.map(|ends| ends.low),
        // The broker was asked a moment ago; what has come since is beyond what it said.
        log_end: ends.map(|ends| state.tracker.next().map_or(ends.high, |next| next.max(ends.high))),
        ..PartitionLag::default()
    };
    lag.bytes = lag.records().and_then(|records| match (records, state.tracker.mean_bytes()) {
        (0, _) => Some(0),
        // What is not read yet is taken to be like what was.
        (_, mean) => mean.map(|mean| (mean * records as f64) as u64),
    });
    let waits = state.tracker.first_unresolved();
    if waits.is_none() && lag.records() == Some(0) {
        lag.seconds = Some(0.0);
        return lag;
    }
    // What waits may not have been fetched: it came after the last resolved record, so that one's age is a bound. When
    // nothing was received in this assignment either, nobody here knows.
    let since_ms = match waits {
        Some(record) => record.timestamp_ms,
        None => state.tracker.last_resolved_timestamp_ms(),
    };
    lag.seconds = since_ms.map(|since_ms| (now_ms - since_ms).max(0) as f64 / 1000.0);
    lag
}

#[cfg(test)]
mod tests {
    use kafka_client::CommittedOffset;

    use super::*;

    fn check(received: &[(i64, i64)], resolved: &[i64], high: i64, expected: (Option<i64>, Option<f64>)) {
        let mut assignment: Assignment<()> = Assignment::default();
        let committed = Some(CommittedOffset { offset: 10, metadata: String::new() });
        let id = PartitionId { topic: "t".into(), partition: 0, generation: 1 };
        assignment.insert(&id, committed, crate::lease::Lease::new(Duration::from_secs(10)));
        let state = assignment.get_mut(&id).unwrap();
        for (offset, timestamp_ms) in received {
            assert!(state.tracker.receive(*offset, Some(*timestamp_ms)));
        }
        for offset in resolved {
            assert!(state.tracker.resolve(*offset));
        }
        let lag = lag_of(state, Some(&Watermarks { partition: 0, low: 0, high }), 60_000);
        assert_eq!((lag.records(), lag.seconds), expected);
    }

    #[test]
    fn lag_is_the_age_of_the_first_unresolved_record_by_the_brokers_clock() {
        check(&[(10, 20_000), (11, 50_000)], &[], 12, (Some(2), Some(40.0)));
        check(&[(10, 20_000), (11, 50_000)], &[11], 12, (Some(2), Some(40.0)));
    }

    #[test]
    fn records_received_since_the_broker_was_asked_count() {
        check(&[(10, 20_000), (11, 50_000)], &[], 10, (Some(2), Some(40.0)));
    }

    #[test]
    fn lag_is_zero_at_the_end_of_the_log() {
        check(&[], &[], 10, (Some(0), Some(0.0)));
    }

    #[test]
    fn records_not_yet_fetched_are_not_older_than_the_last_resolved_one() {
        check(&[(10, 30_000)], &[10], 15, (Some(5), Some(30.0)));
    }

    #[test]
    fn age_of_records_is_not_known_before_any_was_received() {
        check(&[], &[], 5_000, (Some(4_990), None));
    }
}
