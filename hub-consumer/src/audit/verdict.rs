//! What an audit found, as metrics: boards show them, and alerts fire on them.

use std::{
    collections::BTreeMap,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::Context as _;
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{family::Family, gauge::Gauge},
    registry::Registry,
};
use service_runtime::{
    Runtime, prometheus_client,
    telemetry::{Telemetry, TelemetryConfig},
};

use super::Report;
use crate::SERVICE;

/// The instance of every audit: the next one tells the same series anew.
const INSTANCE: &str = "audit";
/// What the names of an audit's metrics begin with.
const PREFIX: &str = "hub_audit_";

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TopicLabels {
    topic: String,
}

/// Pushes what the audit found to `telemetry.otlp_endpoint`.
///
/// # Errors
/// No endpoint is configured, or it does not take the push.
pub(super) async fn push(report: &Report, config: &TelemetryConfig, runtime: &Runtime) -> anyhow::Result<()> {
    runtime.register_metrics(|registry| register(report, registry));
    let telemetry = Telemetry::new(config, &SERVICE, 0, runtime).context("set up the push of the verdict")?;
    let telemetry =
        telemetry.context("--push needs an endpoint; set telemetry.otlp_endpoint, or leave --push out")?;
    telemetry.of_command(&SERVICE, INSTANCE, PREFIX).push().await.context("push the verdict")
}

fn register(report: &Report, registry: &mut Registry) {
    let (missing, doubled, judged) = (family(), family(), family());
    for (topic, [lost, twice, records]) in by_topic(report) {
        let labels = TopicLabels { topic: topic.to_owned() };
        missing.get_or_create(&labels).set(lost);
        doubled.get_or_create(&labels).set(twice);
        judged.get_or_create(&labels).set(records);
    }
    registry.register(
        "hub_audit_missing_records",
        "Committed records that the table lacks, wholly or in part",
        missing,
    );
    registry.register(
        "hub_audit_doubled_records",
        "Committed records with rows that are there more than once",
        doubled,
    );
    registry.register("hub_audit_judged_records", "Records that the audit judged", judged);
    let ended = Gauge::<i64>::default();
    let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs());
    ended.set(i64::try_from(now).unwrap_or(i64::MAX));
    registry.register(
        "hub_audit_last_success_timestamp_seconds",
        "When the last audit ended with a verdict",
        ended,
    );
}

fn family() -> Family<TopicLabels, Gauge> {
    Family::default()
}

/// Of each topic the records that are missing or incomplete, doubled, and judged.
fn by_topic(report: &Report) -> BTreeMap<&str, [i64; 3]> {
    let mut topics: BTreeMap<&str, [u64; 3]> = BTreeMap::new();
    for partition in &report.partitions {
        let counts = topics.entry(&partition.topic).or_default();
        let found = [
            partition.missing.records + partition.incomplete.records,
            partition.doubled.records,
            partition.records,
        ];
        counts.iter_mut().zip(found).for_each(|(sum, count)| *sum += count);
    }
    topics
        .into_iter()
        .map(|(topic, counts)| (topic, counts.map(|count| i64::try_from(count).unwrap_or(i64::MAX))))
        .collect()
}
