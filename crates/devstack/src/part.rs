//! The servers a stack is made of.

use std::fmt;

/// One of the servers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, clap::ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Part {
    /// The broker.
    Kafka,
    /// The store of logs and traces.
    Clickhouse,
    /// The store of metrics.
    Mimir,
}

impl Part {
    /// Every part, in the order in which they are shown.
    pub const ALL: [Self; 3] = [Self::Kafka, Self::Clickhouse, Self::Mimir];

    /// The name in paths and messages.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Kafka => "kafka",
            Self::Clickhouse => "clickhouse",
            Self::Mimir => "mimir",
        }
    }

    /// The environment variable that names a server to use instead of starting one.
    pub fn variable(self) -> &'static str {
        match self {
            Self::Kafka => "KAFKA_BROKERS",
            Self::Clickhouse => "CLICKHOUSE_URL",
            Self::Mimir => "MIMIR_URL",
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}
