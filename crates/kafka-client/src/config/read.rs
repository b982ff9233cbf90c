//! Reads the settings from a configuration file; keys, defaults and documentation stand here once.

use std::time::Duration;

use service_runtime::{
    Section, Setting,
    settings::{ByteSize, choice},
    tls::TlsConfig,
};

use super::{
    AssignmentStrategy, Compression, ConnectionConfig, ConsumerConfig, InitialOffset, IsolationLevel,
    ProducerConfig, SaslConfig, SaslMechanism,
};

/// librdkafka's own upper limit of `queue.buffering.max.kbytes` and `queued.max.messages.kbytes` is about 2 TiB; a
/// pipeline that asks for more than 64 GiB has mistyped a unit.
const MAX_BUFFER: ByteSize = ByteSize::gib(64);

impl ConnectionConfig {
    /// Reads `brokers`, `client_id`, `tls` and `auth.sasl`. `client_id` is the default name.
    pub fn read(section: &mut Section<'_>, client_id: &str) -> ConnectionConfig {
        let brokers: Vec<String> = section.required(
            "brokers",
            "localhost:9092",
            "Bootstrap brokers as `host:port`; one that answers is enough.",
        );
        for broker in &brokers {
            let port = broker.rsplit_once(':').map(|(_, port)| port.parse::<u16>());
            if !matches!(port, Some(Ok(1..))) {
                section.problem(
                    "brokers",
                    format!("`{broker}` is not `host:port`"),
                    "give host and port of each broker",
                );
            }
        }
        if brokers.is_empty() {
            section.problem("brokers", "is empty", "name at least one broker");
        }
        let client_id = section.value(
            "client_id",
            client_id.to_owned(),
            "Name of this process in the broker's logs and quotas.",
        );
        let tls =
            TlsConfig::read(&mut section.section("tls", "Encryption of the connections to the brokers."));
        let sasl = SaslConfig::read(
            &mut section
                .section("auth", "Credentials for the brokers.")
                .section("sasl", "User and password; unset means no authentication beyond TLS."),
        );
        ConnectionConfig { brokers, client_id, tls, sasl }
    }
}

impl SaslConfig {
    fn read(section: &mut Section<'_>) -> Option<SaslConfig> {
        let mechanism: Option<SaslMechanism> =
            section.optional("mechanism", "How the password is proven; setting it switches SASL on.");
        let username: Option<String> = section.optional("username", "User name.");
        let password = section.secret("password", "Password.");
        match (mechanism, username, password) {
            (Some(mechanism), Some(username), Some(password)) => {
                Some(SaslConfig { mechanism, username, password })
            }
            (None, None, None) => None,
            (mechanism, username, password) => {
                let given = [
                    ("mechanism", mechanism.is_some()),
                    ("username", username.is_some()),
                    ("password", password.is_some()),
                ];
                for (key, _) in given.into_iter().filter(|(_, is_given)| !is_given) {
                    section.problem(
                        key,
                        "is missing beside the other keys of `sasl`",
                        "give all three, or none",
                    );
                }
                None
            }
        }
    }
}

impl ProducerConfig {
    /// Reads the producer's keys; `connection` is read by the caller, since consumers may share it.
    pub fn read(section: &mut Section<'_>, connection: ConnectionConfig) -> ProducerConfig {
        ProducerConfig::read_or(section, ProducerConfig::new(connection))
    }

    /// The same with defaults of the caller's.
    pub fn read_or(section: &mut Section<'_>, defaults: ProducerConfig) -> ProducerConfig {
        let compression = section.value("compression", defaults.compression, "Codec of the record batches.");
        let compression_level = section.optional(
            "compression_level",
            "Level of the codec (gzip 0 to 9, lz4 0 to 12, zstd 1 to 22); unset is the codec's default.",
        );
        let linger = section.value("linger", defaults.linger, "How long a batch waits for more records.");
        let max_message_bytes = section.value(
            "max_message_bytes",
            ByteSize::bytes(defaults.max_message_bytes.into()),
            "Largest record, and largest batch before compression. Must not be above the topics' `max.message.bytes`.",
        );
        let queue_bytes = section.value(
            "queue_bytes",
            ByteSize::bytes(defaults.queue_bytes),
            "Bytes of records that wait for the broker; when full, senders are refused as retryable.",
        );
        let delivery_timeout = section.value(
            "delivery_timeout",
            defaults.delivery_timeout.unwrap_or(ProducerConfig::DEFAULT_DELIVERY_TIMEOUT),
            "What no broker has acknowledged by then counts as failed for now: a sender is told to come again. The record stays with the producer.",
        );
        let max_message_bytes = bounded(
            section,
            "max_message_bytes",
            max_message_bytes,
            ByteSize::bytes(1_000),
            ByteSize::bytes(1_000_000_000),
        );
        let queue_bytes = bounded(section, "queue_bytes", queue_bytes, ByteSize::mib(1), MAX_BUFFER);
        if queue_bytes < max_message_bytes {
            section.problem(
                "queue_bytes",
                "is smaller than `max_message_bytes`",
                "make room for a few of the largest records",
            );
        }
        if delivery_timeout <= linger || delivery_timeout < Duration::from_secs(1) {
            section.problem("delivery_timeout", "is too short", "give at least 1s, and more than `linger`");
        }
        if linger > Duration::from_secs(900) {
            section.problem("linger", "is above 15 minutes", "give milliseconds, such as `5ms`");
        }
        check_level(section, compression, compression_level);
        ProducerConfig {
            compression,
            compression_level,
            linger,
            max_message_bytes: u32::try_from(max_message_bytes).unwrap_or(defaults.max_message_bytes),
            queue_bytes,
            delivery_timeout: Some(delivery_timeout),
            ..defaults
        }
    }
}

impl ConsumerConfig {
    /// Reads the consumer's keys except the group, which the caller names; `connection` is read by the caller too.
    pub fn read(section: &mut Section<'_>, connection: ConnectionConfig, group_id: &str) -> ConsumerConfig {
        let mut config = ConsumerConfig::new(connection, group_id);
        config.read_membership(section);
        config.read_sizes(section);
        config
    }

    fn read_membership(&mut self, section: &mut Section<'_>) {
        self.group_instance_id = section.optional(
            "group_instance_id",
            "Static membership: a restart under the same name keeps the partitions. One name per process.",
        );
        self.initial_offset = section.value(
            "initial_offset",
            self.initial_offset,
            "Where a partition starts that the group has no committed offset for.",
        );
        self.assignment = section.value(
            "assignment",
            self.assignment,
            "How partitions are spread over the members; all members of a group must agree.",
        );
        self.isolation = section.value(
            "isolation",
            self.isolation,
            "Whether records of open and aborted transactions are read.",
        );
        self.session_timeout = section.value(
            "session_timeout",
            self.session_timeout,
            "A member that is silent for this long loses its partitions.",
        );
        self.rebalance_timeout = section.value(
            "rebalance_timeout",
            self.rebalance_timeout,
            "How long partitions that are taken away may be finished and committed.",
        );
        let seconds = |seconds| Duration::from_secs(seconds);
        if !(seconds(1)..=seconds(1800)).contains(&self.session_timeout) {
            section.problem("session_timeout", "is out of range", "give 1s to 30m, as the broker allows");
        }
        if !(seconds(1)..=seconds(240)).contains(&self.rebalance_timeout) {
            section.problem("rebalance_timeout", "is out of range", "give 1s to 4m");
        }
    }

    fn read_sizes(&mut self, section: &mut Section<'_>) {
        let buffer = section.value(
            "buffer_bytes",
            ByteSize::bytes(self.buffer_bytes),
            "Bytes of records in hand over all partitions; when reached, all partitions are paused.",
        );
        let partition = section.value(
            "partition_buffer_bytes",
            ByteSize::bytes(self.partition_buffer_bytes),
            "The same for one partition, which alone is paused.",
        );
        let queue = section.value(
            "fetch_queue_bytes",
            ByteSize::bytes(self.fetch_queue_bytes),
            "Bytes fetched ahead of what is in hand.",
        );
        let fetch = section.value(
            "fetch_max_bytes",
            ByteSize::bytes(self.fetch_max_bytes.into()),
            "Largest answer to one fetch request.",
        );
        let share = section.value(
            "partition_fetch_bytes",
            ByteSize::bytes(self.partition_fetch_bytes.into()),
            "Largest share of one partition in it; at least the topics' `max.message.bytes`.",
        );
        self.fetch_wait = section.value(
            "fetch_wait",
            self.fetch_wait,
            "How long a broker may hold a fetch request that has nothing to return.",
        );
        let smallest = ByteSize::mib(1);
        self.buffer_bytes = bounded(section, "buffer_bytes", buffer, smallest, MAX_BUFFER);
        self.partition_buffer_bytes =
            bounded(section, "partition_buffer_bytes", partition, smallest, MAX_BUFFER);
        self.fetch_queue_bytes = bounded(section, "fetch_queue_bytes", queue, smallest, ByteSize::gib(2));
        let largest_fetch = ByteSize::bytes(1_000_000_000);
        let fetch = bounded(section, "fetch_max_bytes", fetch, smallest, largest_fetch);
        let share = bounded(section, "partition_fetch_bytes", share, smallest, largest_fetch);
        self.fetch_max_bytes = u32::try_from(fetch).unwrap_or(self.fetch_max_bytes);
        self.partition_fetch_bytes = u32::try_from(share).unwrap_or(self.partition_fetch_bytes);
        if self.partition_buffer_bytes > self.buffer_bytes {
            section.problem(
                "partition_buffer_bytes",
                "is larger than `buffer_bytes`",
                "make it a part of that",
            );
        }
        if share > fetch {
            section.problem(
                "partition_fetch_bytes",
                "is larger than `fetch_max_bytes`",
                "make it a part of that",
            );
        }
        if self.fetch_wait > Duration::from_secs(30) {
            section.problem("fetch_wait", "is above 30s", "give a second or less");
        }
    }
}

/// The size in bytes; out of the range it is a problem.
fn bounded(section: &mut Section<'_>, key: &str, size: ByteSize, low: ByteSize, high: ByteSize) -> u64 {
    if !(low..=high).contains(&size) {
        section.problem(key, format!("{size} is out of range"), format!("give a size from {low} to {high}"));
    }
    size.as_u64()
}

fn check_level(section: &mut Section<'_>, compression: Compression, level: Option<i32>) {
    let range = match compression {
        Compression::None | Compression::Snappy => {
            if level.is_some() {
                section.problem("compression_level", "is set, but the codec has no levels", "remove it");
            }
            return;
        }
        Compression::Gzip => 0..=9,
        Compression::Lz4 => 0..=12,
        Compression::Zstd => 1..=22,
    };
    if level.is_some_and(|level| !range.contains(&level)) {
        let remedy = format!("give {} to {}", range.start(), range.end());
        section.problem("compression_level", "is out of the codec's range", remedy);
    }
}

impl Setting for Compression {
    fn expected() -> String {
        "`lz4`, `zstd`, `gzip`, `snappy` or `none`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        choice(
            text,
            &[
                ("lz4", Compression::Lz4),
                ("zstd", Compression::Zstd),
                ("gzip", Compression::Gzip),
                ("snappy", Compression::Snappy),
                ("none", Compression::None),
            ],
        )
    }

    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Setting for SaslMechanism {
    fn expected() -> String {
        "`PLAIN`, `SCRAM-SHA-256` or `SCRAM-SHA-512`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        choice(
            text,
            &[
                ("PLAIN", SaslMechanism::Plain),
                ("SCRAM-SHA-256", SaslMechanism::ScramSha256),
                ("SCRAM-SHA-512", SaslMechanism::ScramSha512),
            ],
        )
    }

    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Setting for InitialOffset {
    fn expected() -> String {
        "`earliest` or `latest`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        choice(text, &[("earliest", InitialOffset::Earliest), ("latest", InitialOffset::Latest)])
    }

    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Setting for AssignmentStrategy {
    fn expected() -> String {
        "`cooperative-sticky` or `range`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        choice(
            text,
            &[
                ("cooperative-sticky", AssignmentStrategy::CooperativeSticky),
                ("range", AssignmentStrategy::Range),
            ],
        )
    }

    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

impl Setting for IsolationLevel {
    fn expected() -> String {
        "`read_committed` or `read_uncommitted`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        choice(
            text,
            &[
                ("read_committed", IsolationLevel::ReadCommitted),
                ("read_uncommitted", IsolationLevel::ReadUncommitted),
            ],
        )
    }

    fn to_text(&self) -> String {
        self.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests;
