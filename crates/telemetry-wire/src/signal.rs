//! The three signals and the names each of them has on the wire: topic, HTTP path, gRPC method.

use std::{fmt, str::FromStr};

/// One of the three kinds of telemetry the line carries.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Signal {
    /// Log records.
    Logs,
    /// Spans.
    Traces,
    /// Data points.
    Metrics,
}

/// The text is not `logs`, `traces` or `metrics`.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unknown signal; one of logs, traces, metrics is expected")]
pub struct UnknownSignal;

impl Signal {
    /// Every signal, in the order of declaration.
    pub const ALL: [Signal; 3] = [Signal::Logs, Signal::Traces, Signal::Metrics];

    /// The name used in metric labels, configuration and logs.
    pub const fn as_str(self) -> &'static str {
        match self {
            Signal::Logs => "logs",
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
        }
    }

    /// The topic used when the configuration names none; the Collector's defaults, so that fleets can be mixed.
    pub const fn default_topic(self) -> &'static str {
        match self {
            Signal::Logs => "otlp_logs",
            Signal::Traces => "otlp_spans",
            Signal::Metrics => "otlp_metrics",
        }
    }

    /// The OTLP/HTTP path.
    pub const fn http_path(self) -> &'static str {
        match self {
            Signal::Logs => "/v1/logs",
            Signal::Traces => "/v1/traces",
            Signal::Metrics => "/v1/metrics",
        }
    }

    /// The OTLP/gRPC method path.
    pub const fn grpc_path(self) -> &'static str {
        match self {
            Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
            Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
            Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Signal {
    type Err = UnknownSignal;

    fn from_str(text: &str) -> Result<Self, UnknownSignal> {
        Signal::ALL.into_iter().find(|signal| signal.as_str() == text).ok_or(UnknownSignal)
    }
}

/// The topic that takes the records given up from `topic`.
pub fn dead_letter_topic(topic: &str) -> String {
    format!("{topic}.dlq")
}
