//! Where the servers of a stack are reached.

use crate::Part;

/// The addresses of a stack's servers. An address is empty when the stack was made without that server.
#[derive(Debug, Clone, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Endpoints {
    /// Kafka's bootstrap addresses, `host:port[,host:port…]`, without TLS.
    pub kafka_brokers: String,
    /// ClickHouse over HTTP, without a slash at the end. The user `default` has no password.
    pub clickhouse_url: String,
    /// ClickHouse's native protocol, `host:port`; may be empty when the user named the server.
    pub clickhouse_native: String,
    /// Mimir's base address, without a slash at the end; OTLP goes to `/otlp/v1/metrics` below it, PromQL to
    /// `/prometheus/api/v1/query`.
    pub mimir_url: String,
}

impl Endpoints {
    /// The servers named in the environment, when all three are: `KAFKA_BROKERS`, `CLICKHOUSE_URL`, `MIMIR_URL`.
    pub fn from_env() -> Option<Self> {
        let named = Self::named_in_env();
        Part::ALL.iter().all(|part| !named.address(*part).is_empty()).then_some(named)
    }

    /// The same as environment variables, without the empty ones.
    pub fn variables(&self) -> Vec<(&'static str, &str)> {
        let all = [
            (Part::Kafka.variable(), self.kafka_brokers.as_str()),
            (Part::Clickhouse.variable(), &self.clickhouse_url),
            (NATIVE, &self.clickhouse_native),
            (Part::Mimir.variable(), &self.mimir_url),
        ];
        all.into_iter().filter(|(_, value)| !value.is_empty()).collect()
    }

    /// What the environment names, each part by itself.
    pub(crate) fn named_in_env() -> Self {
        let value = |name: &str| std::env::var(name).unwrap_or_default().trim().to_owned();
        let url = |part: Part| value(part.variable()).trim_end_matches('/').to_owned();
        Self {
            kafka_brokers: value(Part::Kafka.variable()),
            clickhouse_url: url(Part::Clickhouse),
            clickhouse_native: value(NATIVE),
            mimir_url: url(Part::Mimir),
        }
    }

    /// The address that makes `part` usable.
    pub(crate) fn address(&self, part: Part) -> &str {
        match part {
            Part::Kafka => &self.kafka_brokers,
            Part::Clickhouse => &self.clickhouse_url,
            Part::Mimir => &self.mimir_url,
        }
    }

    /// Takes the addresses of `part` from `other`.
    pub(crate) fn take(&mut self, part: Part, other: Self) {
        match part {
            Part::Kafka => self.kafka_brokers = other.kafka_brokers,
            Part::Clickhouse => {
                self.clickhouse_url = other.clickhouse_url;
                self.clickhouse_native = other.clickhouse_native;
            }
            Part::Mimir => self.mimir_url = other.mimir_url,
        }
    }
}

const NATIVE: &str = "CLICKHOUSE_NATIVE";
