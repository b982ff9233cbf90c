//! Whether the process can do its work: a set of named conditions that all must hold.
//!
//! A component creates its [`Condition`] when it is built, which counts as not holding until [`Condition::ready`] is called. Changes
//! are logged here, once each, so components need not.

use std::{fmt, sync::Arc, time::Duration};

use prometheus_client::{
    collector::Collector,
    encoding::{DescriptorEncoder, EncodeMetric as _},
    metrics::{family::Family, gauge::Gauge},
};
use tokio::sync::watch;

/// The conditions of one process. Clones share them.
#[derive(Debug, Clone)]
pub struct Readiness {
    states: Arc<watch::Sender<Vec<ConditionState>>>,
}

/// One condition as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConditionState {
    /// What must hold, such as `kafka`.
    pub name: &'static str,
    /// Whether it does.
    pub holding: Holding,
}

/// Whether a condition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Holding {
    /// It does.
    Yes,
    /// It does, though not as it should, for this reason: the process does its work and somebody ought to look.
    Degraded(String),
    /// It does not, for this reason.
    No(String),
}

/// The handle by which a component tells whether its condition holds.
#[derive(Debug, Clone)]
pub struct Condition {
    index: usize,
    states: Arc<watch::Sender<Vec<ConditionState>>>,
}

impl Readiness {
    /// No conditions: ready.
    pub fn new() -> Self {
        Self { states: Arc::new(watch::Sender::new(Vec::new())) }
    }

    /// Adds a condition that does not hold yet.
    pub fn condition(&self, name: &'static str) -> Condition {
        let mut index = 0;
        self.states.send_modify(|states| {
            index = states.len();
            states.push(ConditionState { name, holding: Holding::No("starting".to_owned()) });
        });
        Condition { index, states: Arc::clone(&self.states) }
    }

    /// Whether every condition holds.
    pub fn is_ready(&self) -> bool {
        all_met(&self.states.borrow())
    }

    /// Every condition as it stands, in the order of creation.
    pub fn report(&self) -> Vec<ConditionState> {
        self.states.borrow().clone()
    }

    /// Waits until every condition holds, at most `limit`. Returns whether they do.
    pub async fn wait_ready(&self, limit: Duration) -> bool {
        let mut changes = self.states.subscribe();
        tokio::time::timeout(limit, changes.wait_for(|states| all_met(states))).await.is_ok()
    }
}

impl Default for Readiness {
    fn default() -> Self {
        Self::new()
    }
}

impl Condition {
    /// The condition holds from now on.
    pub fn ready(&self) {
        self.set(Holding::Yes);
    }

    /// The condition holds, though not as it should, for the given reason, which is worded as for [`Condition::not_ready`].
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(Holding::Degraded(reason.into()));
    }

    /// The condition does not hold, for the given reason: short, lower case, without values that change at each call.
    pub fn not_ready(&self, reason: impl Into<String>) {
        self.set(Holding::No(reason.into()));
    }

    fn set(&self, holding: Holding) {
        self.states.send_if_modified(|states| {
            let state = &mut states[self.index];
            if state.holding == holding {
                return false;
            }
            let condition = state.name;
            match &holding {
                Holding::Yes => tracing::info!(condition, "condition holds"),
                Holding::Degraded(reason) => tracing::warn!(condition, reason, "condition is degraded"),
                Holding::No(reason) => tracing::warn!(condition, reason, "condition does not hold"),
            }
            state.holding = holding;
            true
        });
    }
}

impl ConditionState {
    /// Whether it holds, degraded or not.
    pub fn is_met(&self) -> bool {
        self.unmet().is_none()
    }

    /// Why it does not hold; `None` when it does.
    pub fn unmet(&self) -> Option<&str> {
        match &self.holding {
            Holding::No(reason) => Some(reason),
            Holding::Yes | Holding::Degraded(_) => None,
        }
    }
}

impl fmt::Display for Holding {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Holding::Yes => formatter.write_str("ok"),
            Holding::Degraded(reason) => write!(formatter, "degraded: {reason}"),
            Holding::No(reason) => formatter.write_str(reason),
        }
    }
}

fn all_met(states: &[ConditionState]) -> bool {
    states.iter().all(ConditionState::is_met)
}

/// `ready_condition{condition="…"}`: 1 while it holds, else 0; and `degraded_condition`: 1 while it holds badly.
#[derive(Debug)]
pub(crate) struct ReadinessMetrics(Readiness);

impl ReadinessMetrics {
    pub(crate) fn new(readiness: Readiness) -> Self {
        Self(readiness)
    }
}

impl Collector for ReadinessMetrics {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), fmt::Error> {
        let report = self.0.report();
        let mut encode = |name, help, is_set: fn(&ConditionState) -> bool| {
            let family = Family::<[(&'static str, &'static str); 1], Gauge>::default();
            for state in &report {
                family.get_or_create(&[("condition", state.name)]).set(i64::from(is_set(state)));
            }
            family.encode(encoder.encode_descriptor(name, help, None, family.metric_type())?)
        };
        encode("ready_condition", "Whether a condition of readiness holds", ConditionState::is_met)?;
        encode("degraded_condition", "Whether a condition holds, but not as it should", |state| {
            matches!(state.holding, Holding::Degraded(_))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ready_only_while_every_condition_holds() {
        let readiness = Readiness::new();
        assert!(readiness.is_ready(), "no condition, nothing to wait for");
        let (kafka, sink) = (readiness.condition("kafka"), readiness.condition("sink"));
        assert!(!readiness.is_ready());
        kafka.ready();
        assert!(!readiness.is_ready());
        sink.ready();
        assert!(readiness.is_ready());
        kafka.not_ready("broker is down");
        assert!(!readiness.is_ready());
        sink.degraded("spool is half full");
        let report: Vec<_> =
            readiness.report().into_iter().map(|state| (state.name, state.holding.to_string())).collect();
        assert_eq!(
            report,
            [("kafka", "broker is down".to_owned()), ("sink", "degraded: spool is half full".to_owned())]
        );
        kafka.ready();
        assert!(readiness.is_ready(), "degraded is ready");
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_ends_with_the_last_condition_or_at_the_limit() {
        let readiness = Readiness::new();
        let condition = readiness.condition("kafka");
        assert!(!readiness.wait_ready(Duration::from_secs(5)).await);
        let waiting = tokio::spawn({
            let readiness = readiness.clone();
            async move { readiness.wait_ready(Duration::from_secs(3600)).await }
        });
        condition.ready();
        assert!(waiting.await.unwrap());
    }
}
