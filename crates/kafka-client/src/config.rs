//! Settings of the clients: what an operator may choose, and how it becomes librdkafka's configuration.
//!
//! What an operator may *not* choose is stated here too, because the promises of the pipeline rest on it: producers
//! are idempotent and wait for all replicas; consumers never commit or store offsets by themselves, never let
//! librdkafka pick a position, and check every record's CRC. The reading of a configuration file is in `read`.

mod read;

use std::{num::NonZeroU32, time::Duration};

use rdkafka::{ClientConfig, config::RDKafkaLogLevel};
use service_runtime::{Secret, tls::TlsConfig};

/// How to reach the cluster; shared by producers, consumers and the admin client.
#[derive(Clone, Debug)]
pub struct ConnectionConfig {
    /// Bootstrap brokers as `host:port`. One that answers is enough.
    pub brokers: Vec<String>,
    /// Name of this client in the broker's logs and quotas.
    pub client_id: String,
    /// TLS to the brokers.
    pub tls: TlsConfig,
    /// Credentials; `None` is no authentication beyond TLS.
    pub sasl: Option<SaslConfig>,
}

/// Credentials.
#[derive(Clone, Debug)]
pub struct SaslConfig {
    /// How they are proven.
    pub mechanism: SaslMechanism,
    /// User name.
    pub username: String,
    /// Password; never printed.
    pub password: Secret,
}

/// SASL mechanisms that need no further library.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SaslMechanism {
    /// The password itself; only over TLS.
    Plain,
    /// Salted challenge, SHA-256.
    ScramSha256,
    /// Salted challenge, SHA-512.
    ScramSha512,
}

impl ConnectionConfig {
    /// Plain-text connection without credentials.
    pub fn plaintext(brokers: &[impl AsRef<str>], client_id: &str) -> ConnectionConfig {
        ConnectionConfig {
            brokers: brokers.iter().map(|broker| broker.as_ref().to_owned()).collect(),
            client_id: client_id.to_owned(),
            tls: TlsConfig::default(),
            sasl: None,
        }
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut client = ClientConfig::new();
        client
            .set("bootstrap.servers", self.brokers.join(","))
            .set("client.id", &self.client_id)
            .set("allow.auto.create.topics", "false")
            .set("statistics.interval.ms", "0")
            .set("socket.keepalive.enable", "true")
            .set("log.connection.close", "false")
            // A broker that comes back is found within three seconds; the default is ten.
            .set("reconnect.backoff.ms", "100")
            .set("reconnect.backoff.max.ms", "3000")
            .set_log_level(RDKafkaLogLevel::Info);
        let protocol = match (self.tls.enabled, self.sasl.is_some()) {
            (false, false) => "plaintext",
            (true, false) => "ssl",
            (false, true) => "sasl_plaintext",
            (true, true) => "sasl_ssl",
        };
        client.set("security.protocol", protocol);
        if self.tls.enabled {
            apply_tls(&self.tls, &mut client);
        }
        if let Some(sasl) = &self.sasl {
            client
                .set("sasl.mechanisms", sasl.mechanism.as_str())
                .set("sasl.username", &sasl.username)
                .set("sasl.password", sasl.password.expose());
        }
        client
    }
}

impl SaslMechanism {
    fn as_str(self) -> &'static str {
        match self {
            SaslMechanism::Plain => "PLAIN",
            SaslMechanism::ScramSha256 => "SCRAM-SHA-256",
            SaslMechanism::ScramSha512 => "SCRAM-SHA-512",
        }
    }
}

/// Settings of a [`Producer`](crate::Producer).
#[derive(Clone, Debug)]
pub struct ProducerConfig {
    /// The cluster.
    pub connection: ConnectionConfig,
    /// Codec of the batches.
    pub compression: Compression,
    /// Codec level; `None` is the codec's own default.
    pub compression_level: Option<i32>,
    /// How long a batch waits for more records.
    pub linger: Duration,
    /// Largest record and largest batch, in bytes before compression. Must not be above the topic's
    /// `max.message.bytes`, or the broker refuses whole batches.
    pub max_message_bytes: u32,
    /// Most records of one batch; `None` leaves it to the sizes. 1 makes a broker's refusal say something about one record.
    pub max_batch_records: Option<NonZeroU32>,
    /// Bytes of records waiting or in flight; beyond it `send` answers "queue full". Rounded down to KiB.
    pub queue_bytes: u64,
    /// After this time without an acknowledgement a record is given up as retryable; `None` never gives one up, which keeps
    /// its place in the idempotent session whatever an outage lasts.
    pub delivery_timeout: Option<Duration>,
}

/// Codecs of record batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Bytes as they are.
    None,
    /// Deflate.
    Gzip,
    /// LZ4 frames.
    Lz4,
    /// Snappy.
    Snappy,
    /// Zstandard.
    Zstd,
}

impl Compression {
    fn as_str(self) -> &'static str {
        match self {
            Compression::None => "none",
            Compression::Gzip => "gzip",
            Compression::Lz4 => "lz4",
            Compression::Snappy => "snappy",
            Compression::Zstd => "zstd",
        }
    }
}

impl ProducerConfig {
    /// Largest batch as the broker's default `message.max.bytes` (1,048,588) takes it.
    pub const DEFAULT_MAX_MESSAGE_BYTES: u32 = 1_000_000;
    /// 64 MiB: two seconds of a 32 MiB/s edge.
    pub const DEFAULT_QUEUE_BYTES: u64 = 64 * 1024 * 1024;
    /// Short, since requests of an edge carry hundreds of records each already.
    pub const DEFAULT_LINGER: Duration = Duration::from_millis(5);
    /// Long enough for a leader election with default settings.
    pub const DEFAULT_DELIVERY_TIMEOUT: Duration = Duration::from_secs(30);

    /// The defaults, for the given cluster.
    pub fn new(connection: ConnectionConfig) -> ProducerConfig {
        ProducerConfig {
            connection,
            compression: Compression::Lz4,
            compression_level: None,
            linger: Self::DEFAULT_LINGER,
            max_message_bytes: Self::DEFAULT_MAX_MESSAGE_BYTES,
            max_batch_records: None,
            queue_bytes: Self::DEFAULT_QUEUE_BYTES,
            delivery_timeout: Some(Self::DEFAULT_DELIVERY_TIMEOUT),
        }
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        /// Grace for a topic that the cluster does not know yet: long enough for one that has just been created. Half
        /// of the delivery timeout at most, or records for a topic that does not exist would time out instead of
        /// saying so.
        const TOPIC_PROPAGATION: Duration = Duration::from_secs(10);
        let propagation =
            self.delivery_timeout.map_or(TOPIC_PROPAGATION, |all| TOPIC_PROPAGATION.min(all / 2));
        let mut client = self.connection.client_config();
        client
            .set("acks", "all")
            .set("enable.idempotence", "true")
            // A refused record leaves a gap in the session. librdkafka's other way out is to number everything anew and send
            // it again, also what the brokers have and could not say. This way the session ends, and the owner decides.
            .set("enable.gapless.guarantee", "true")
            .set("max.in.flight.requests.per.connection", "5")
            .set("compression.type", self.compression.as_str())
            .set("linger.ms", millis(self.linger))
            .set("message.max.bytes", self.max_message_bytes.to_string())
            .set("batch.size", self.max_message_bytes.min(Self::DEFAULT_MAX_MESSAGE_BYTES).to_string())
            .set("queue.buffering.max.kbytes", (self.queue_bytes / 1024).max(1).to_string())
            .set("queue.buffering.max.messages", "100000")
            // 0 is librdkafka's word for "never".
            .set("message.timeout.ms", millis(self.delivery_timeout.unwrap_or_default()))
            .set("topic.metadata.propagation.max.ms", millis(propagation));
        if let Some(level) = self.compression_level {
            client.set("compression.level", level.to_string());
        }
        if let Some(records) = self.max_batch_records {
            client.set("batch.num.messages", records.to_string());
        }
        client
    }
}

/// Settings of a [`Consumer`](crate::Consumer).
#[derive(Clone, Debug)]
pub struct ConsumerConfig {
    /// The cluster.
    pub connection: ConnectionConfig,
    /// Consumer group.
    pub group_id: String,
    /// Static membership: the same name after a restart keeps the partitions, without a rebalance.
    pub group_instance_id: Option<String>,
    /// Where a partition starts that the group has no committed offset for.
    pub initial_offset: InitialOffset,
    /// How partitions are spread over the members. All members of a group must agree.
    pub assignment: AssignmentStrategy,
    /// Whether records of open and aborted transactions are seen.
    pub isolation: IsolationLevel,
    /// A member that is silent for this long loses its partitions.
    pub session_timeout: Duration,
    /// Longest time that a rebalance waits for the owner's acknowledgement.
    pub rebalance_timeout: Duration,
    /// Bytes handed to the owner and not yet resolved, over all partitions.
    pub buffer_bytes: u64,
    /// The same for one partition.
    pub partition_buffer_bytes: u64,
    /// Bytes fetched from the brokers and not yet polled. Rounded down to KiB.
    pub fetch_queue_bytes: u64,
    /// Largest answer to one fetch request, compressed.
    pub fetch_max_bytes: u32,
    /// Largest share of one partition in it. Must hold the largest batch.
    pub partition_fetch_bytes: u32,
    /// How long a broker may hold a fetch request that has nothing to return.
    pub fetch_wait: Duration,
}

/// Where a partition without a committed offset starts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InitialOffset {
    /// At the first record that the log has.
    Earliest,
    /// After the last record: what is there already is skipped.
    Latest,
}

/// How partitions are spread over the members of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AssignmentStrategy {
    /// Only the partitions that move are taken away.
    CooperativeSticky,
    /// Contiguous ranges per topic; every rebalance takes everything away first.
    Range,
}

/// Which records of transactions are seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IsolationLevel {
    /// Only those of committed transactions.
    ReadCommitted,
    /// All.
    ReadUncommitted,
}

impl ConsumerConfig {
    /// 48 MiB handed out at most.
    pub const DEFAULT_BUFFER_BYTES: u64 = 48 * 1024 * 1024;
    /// Two insert blocks of 50,000 log records of 336 bytes.
    pub const DEFAULT_PARTITION_BUFFER_BYTES: u64 = 32 * 1024 * 1024;
    /// What a pause may throw away; larger costs memory, smaller costs throughput on long round trips.
    pub const DEFAULT_FETCH_QUEUE_BYTES: u64 = 16 * 1024 * 1024;

    /// The defaults, for the given cluster and group.
    pub fn new(connection: ConnectionConfig, group_id: &str) -> ConsumerConfig {
        ConsumerConfig {
            connection,
            group_id: group_id.to_owned(),
            group_instance_id: None,
            initial_offset: InitialOffset::Earliest,
            assignment: AssignmentStrategy::CooperativeSticky,
            isolation: IsolationLevel::ReadCommitted,
            session_timeout: Duration::from_secs(45),
            rebalance_timeout: Duration::from_secs(30),
            buffer_bytes: Self::DEFAULT_BUFFER_BYTES,
            partition_buffer_bytes: Self::DEFAULT_PARTITION_BUFFER_BYTES,
            fetch_queue_bytes: Self::DEFAULT_FETCH_QUEUE_BYTES,
            fetch_max_bytes: 16 * 1024 * 1024,
            partition_fetch_bytes: 4 * 1024 * 1024,
            fetch_wait: Duration::from_millis(500),
        }
    }

    pub(crate) fn client_config(&self) -> ClientConfig {
        let mut client = self.connection.client_config();
        let heartbeat = (self.session_timeout / 10).clamp(Duration::from_millis(100), Duration::from_secs(3));
        client
            .set("group.id", &self.group_id)
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error")
            .set("check.crcs", "true")
            .set("enable.partition.eof", "false")
            .set("isolation.level", self.isolation.as_str())
            .set("partition.assignment.strategy", self.assignment.as_str())
            .set("session.timeout.ms", millis(self.session_timeout))
            .set("heartbeat.interval.ms", millis(heartbeat))
            // The poll thread polls at least every second whatever the owner does, so this only bounds how long a
            // rebalance waits for a member whose process hangs.
            .set("max.poll.interval.ms", "300000")
            .set("queued.max.messages.kbytes", (self.fetch_queue_bytes / 1024).max(1).to_string())
            .set("fetch.max.bytes", self.fetch_max_bytes.to_string())
            .set("max.partition.fetch.bytes", self.partition_fetch_bytes.to_string())
            .set("message.max.bytes", self.partition_fetch_bytes.min(self.fetch_max_bytes).to_string())
            .set("fetch.wait.max.ms", millis(self.fetch_wait))
            // When the fetch queue is full, look again soon; the default of a second leaves an owner that drains the
            // queue at once without records for most of that second.
            .set("fetch.queue.backoff.ms", "10")
            // After a failed fetch: half a second is too long for a broker that restarts in two.
            .set("fetch.error.backoff.ms", "200");
        if let Some(instance) = &self.group_instance_id {
            client.set("group.instance.id", instance);
        }
        client
    }
}

impl InitialOffset {
    fn as_str(self) -> &'static str {
        match self {
            InitialOffset::Earliest => "earliest",
            InitialOffset::Latest => "latest",
        }
    }
}

impl IsolationLevel {
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            IsolationLevel::ReadCommitted => "read_committed",
            IsolationLevel::ReadUncommitted => "read_uncommitted",
        }
    }
}

impl AssignmentStrategy {
    fn as_str(self) -> &'static str {
        match self {
            AssignmentStrategy::CooperativeSticky => "cooperative-sticky",
            AssignmentStrategy::Range => "range",
        }
    }
}

fn apply_tls(tls: &TlsConfig, client: &mut ClientConfig) {
    let identity = tls.identity.as_ref();
    let files = [
        ("ssl.ca.location", tls.ca_file.as_ref()),
        ("ssl.certificate.location", identity.map(|identity| &identity.cert_file)),
        ("ssl.key.location", identity.map(|identity| &identity.key_file)),
    ];
    for (key, file) in files {
        if let Some(file) = file {
            client.set(key, file.to_string_lossy());
        }
    }
    let verify = if tls.insecure_skip_verify { "false" } else { "true" };
    client.set("enable.ssl.certificate.verification", verify);
}

fn millis(duration: Duration) -> String {
    duration.as_millis().to_string()
}
