//! Which offsets of which partitions are judged.

use std::{collections::BTreeMap, str::FromStr, time::Duration};

use anyhow::{Context as _, bail, ensure};
use jiff::{Timestamp, civil::Date, tz::TimeZone};
use kafka_client::{Watermarks, admin};
use service_runtime::RunArgs;
use telemetry_wire::Signal;

use crate::config::SignalConfig;

/// What `audit` is asked.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct AuditArgs {
    /// Where the configuration is.
    #[command(flatten)]
    pub run: RunArgs,
    /// Only this signal: `logs` or `traces`; both when not given.
    #[arg(long, value_parser = crate::lag::command::signal)]
    pub signal: Option<Signal>,
    /// Only this topic, one of those that the configuration names.
    #[arg(long)]
    pub topic: Option<String>,
    /// Only this partition; may be given several times.
    #[arg(long = "partition", value_name = "P")]
    pub partitions: Vec<i32>,
    /// First offset to judge, or a time (RFC 3339 or a UTC date); the beginning of the log when not given.
    #[arg(long, value_name = "TIME|OFFSET")]
    pub from: Option<Position>,
    /// The offset, or the time, to stop before; what the group has committed when not given. Records that are not
    /// committed are judged only when this names them.
    #[arg(long, value_name = "TIME|OFFSET")]
    pub to: Option<Position>,
    /// Judge what came in this time until now, such as `6h` or `2days`.
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration, conflicts_with_all = ["from", "to"])]
    pub last: Option<Duration>,
    /// Read every record of the range and compare its items with its rows, which also finds a record of which as many rows
    /// are doubled as are lost. It costs as much as consuming the range does.
    #[arg(long)]
    pub deep: bool,
    /// Push the verdict as metrics to `telemetry.otlp_endpoint`, for boards and alerts.
    #[arg(long)]
    pub push: bool,
    /// Print JSON instead of the table.
    #[arg(long)]
    pub json: bool,
}

/// A place in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Position {
    /// An offset, the same of every partition.
    Offset(i64),
    /// The first record of this time or later.
    Time(Timestamp),
}

/// The offsets of one partition that are judged, and what they were chosen from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    /// Partition number.
    pub(crate) partition: i32,
    /// The first offset that the topic still has.
    pub(crate) log_start: i64,
    /// The group's committed offset; `None` when it has never committed.
    pub(crate) committed: Option<i64>,
    /// First offset judged.
    pub(crate) from: i64,
    /// The offset before which judging ends.
    pub(crate) to: i64,
    /// Offsets that were asked for and that retention has removed.
    pub(crate) gone: i64,
}

impl FromStr for Position {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Ok(offset) = text.parse::<i64>() {
            return if offset < 0 {
                Err("an offset is not negative".into())
            } else {
                Ok(Position::Offset(offset))
            };
        }
        if let Ok(time) = text.parse() {
            return Ok(Position::Time(time));
        }
        let midnight = text.parse::<Date>().and_then(|date| date.to_zoned(TimeZone::UTC));
        midnight.map(|time| Position::Time(time.timestamp())).map_err(|_| {
            "give an offset, a time like 2026-01-31T08:00:00Z or a date like 2026-01-31".to_owned()
        })
    }
}

impl AuditArgs {
    /// The configured signal of metrics, when it is named: only `replay` knows what to do with it.
    pub(crate) fn metrics<'a>(&self, signals: &'a [SignalConfig]) -> Option<&'a SignalConfig> {
        let metrics = signals.iter().find(|config| config.signal == Signal::Metrics)?;
        let is_named = self.signal == Some(Signal::Metrics) || self.topic.as_ref() == Some(&metrics.topic);
        is_named.then_some(metrics)
    }

    /// The configured signals of logs and traces that are asked about.
    pub(crate) fn chosen<'a>(&self, signals: &'a [SignalConfig]) -> anyhow::Result<Vec<&'a SignalConfig>> {
        ensure!(
            self.signal != Some(Signal::Metrics) && self.metrics(signals).is_none(),
            "metrics go to Mimir, which does not keep where a sample came from; give `logs` or `traces`"
        );
        let audited = || signals.iter().filter(|config| config.signal != Signal::Metrics);
        let chosen: Vec<_> = audited()
            .filter(|config| self.signal.is_none_or(|signal| signal == config.signal))
            .filter(|config| self.topic.as_ref().is_none_or(|topic| *topic == config.topic))
            .collect();
        if chosen.is_empty() {
            let known: Vec<_> =
                audited().map(|config| format!("{} ({})", config.topic, config.signal)).collect();
            bail!(
                "nothing to audit; the configuration's topics of logs and traces are: {}",
                known.join(", ")
            );
        }
        Ok(chosen)
    }

    /// Asks the cluster for the ranges of one topic.
    pub(crate) async fn spans(&self, config: &SignalConfig) -> anyhow::Result<Vec<Span>> {
        let (connection, topic) = (&config.consumer.connection, config.topic.as_str());
        let unknown =
            || format!("ask the brokers about topic `{topic}`; check kafka.brokers and the topic's name");
        let group = &config.consumer.group_id;
        // The group first: what is committed now was stored or dead-lettered before we look there.
        let committed = admin::committed(connection, group, topic).await.with_context(unknown)?;
        let ends = admin::watermarks(connection, topic).await.with_context(unknown)?;
        for wanted in &self.partitions {
            let is_there = ends.iter().any(|end| end.partition == *wanted);
            ensure!(is_there, "topic `{topic}` has no partition {wanted}; it has {}", ends.len());
        }
        let from = match self.last {
            Some(last) => Some(Position::Time(Timestamp::now() - last)),
            None => self.from,
        };
        let from = AuditArgs::resolve(config, from, &ends).await?;
        let to = AuditArgs::resolve(config, self.to, &ends).await?;
        let committed: BTreeMap<i32, i64> = committed
            .into_iter()
            .filter_map(|(partition, position)| Some((partition, position?.offset)))
            .collect();
        let wanted =
            ends.iter().filter(|end| self.partitions.is_empty() || self.partitions.contains(&end.partition));
        let at = |places: &Option<BTreeMap<i32, i64>>, partition| {
            places.as_ref().and_then(|places| places.get(&partition).copied())
        };
        let spans = wanted.map(|end| {
            span(
                *end,
                at(&from, end.partition),
                at(&to, end.partition),
                committed.get(&end.partition).copied(),
            )
        });
        Ok(spans.collect())
    }

    /// A position as an offset of every partition.
    pub(crate) async fn resolve(
        config: &SignalConfig,
        position: Option<Position>,
        ends: &[Watermarks],
    ) -> anyhow::Result<Option<BTreeMap<i32, i64>>> {
        Ok(match position {
            None => None,
            Some(Position::Offset(offset)) => Some(ends.iter().map(|end| (end.partition, offset)).collect()),
            Some(Position::Time(time)) => {
                let connection = &config.consumer.connection;
                let found = admin::offsets_at(connection, &config.topic, time.as_millisecond()).await;
                let found = found.with_context(|| format!("find {time} in topic `{}`", config.topic))?;
                let found: BTreeMap<_, _> = found.into_iter().collect();
                let at = |end: &Watermarks| found.get(&end.partition).copied().flatten().unwrap_or(end.high);
                Some(ends.iter().map(|end| (end.partition, at(end))).collect())
            }
        })
    }
}

fn span(end: Watermarks, from: Option<i64>, to: Option<i64>, committed: Option<i64>) -> Span {
    let Watermarks { partition, low, high } = end;
    // Without a commit nothing was promised yet.
    let to = to.unwrap_or(committed.unwrap_or(low)).clamp(0, high);
    let asked = from.unwrap_or(low);
    let from = asked.max(low);
    let gone = (from.min(to.max(asked)) - asked).max(0);
    Span { partition, log_start: low, committed, from: from.min(to.max(low)), to: to.max(low), gone }
}

#[cfg(test)]
mod tests {
    use super::*;

    const END: Watermarks = Watermarks { partition: 0, low: 10, high: 100 };

    #[test]
    fn what_is_not_committed_is_judged_only_when_asked_for() {
        let judged = |to, committed| {
            let Span { from, to, .. } = span(END, None, to, committed);
            (from, to)
        };
        assert_eq!(judged(None, Some(60)), (10, 60));
        assert_eq!(judged(Some(80), Some(60)), (10, 80));
        assert_eq!(judged(Some(500), Some(60)), (10, 100), "the log ends there");
        assert_eq!(judged(None, None), (10, 10), "nothing was promised");
        assert_eq!(judged(None, Some(5)), (10, 10), "retention passed the group");
    }

    #[test]
    fn what_retention_took_is_counted_when_it_was_asked_for() {
        assert_eq!(span(END, Some(4), None, Some(60)).gone, 6);
        assert_eq!(span(END, None, None, Some(60)).gone, 0);
        assert_eq!(span(END, Some(2), Some(7), Some(60)).gone, 5);
        assert_eq!(span(END, Some(40), Some(20), Some(60)).gone, 0);
    }

    #[test]
    fn positions_are_offsets_times_or_dates() {
        assert_eq!("42".parse(), Ok(Position::Offset(42)));
        assert_eq!("5000000000".parse(), Ok(Position::Offset(5_000_000_000)));
        let midnight = Timestamp::from_second(1_769_817_600).unwrap();
        assert_eq!("2026-01-31".parse(), Ok(Position::Time(midnight)));
        assert_eq!("2026-01-31T00:00:00Z".parse(), Ok(Position::Time(midnight)));
        assert!("-1".parse::<Position>().is_err());
        assert!("yesterday".parse::<Position>().is_err());
    }
}
