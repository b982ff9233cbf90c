//! What is counted of the pushes themselves. A push tells of those before it.

use std::{sync::atomic::AtomicU64, time::SystemTime};

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge},
    registry::Registry,
};

use super::PushError;

/// The only label value of a push that was taken; the others are of [`PushError::outcome`].
const TAKEN: &str = "taken";

/// `telemetry_*`.
#[derive(Debug)]
pub(super) struct PushMetrics {
    pushes: Family<[(&'static str, &'static str); 1], Counter>,
    last_push: Gauge<f64, AtomicU64>,
}

impl PushMetrics {
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self { pushes: Family::default(), last_push: Gauge::default() };
        registry.register("telemetry_pushes", "Pushes of own metrics, by outcome", metrics.pushes.clone());
        registry.register(
            "telemetry_last_push_timestamp_seconds",
            "When the last push was taken, in seconds since the epoch; 0 before the first",
            metrics.last_push.clone(),
        );
        // From 0, so that the first failure is an increase.
        for outcome in [TAKEN].into_iter().chain(PushError::OUTCOMES) {
            metrics.pushes.get_or_create(&[("outcome", outcome)]).inc_by(0);
        }
        metrics
    }

    pub(super) fn count(&self, pushed: &Result<(), PushError>) {
        let outcome = pushed.as_ref().map_or_else(PushError::outcome, |()| TAKEN);
        self.pushes.get_or_create(&[("outcome", outcome)]).inc();
        if pushed.is_ok() {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
            self.last_push.set(now.as_secs_f64());
        }
    }
}
