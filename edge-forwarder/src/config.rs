//! The edge's configuration, read from the one YAML file and the environment (`EDGE__…`).
//!
//! Every default stands here once, with the consequence of its number; `docs/configuration.md` is generated from this reading.

use std::{fs, net::SocketAddr, time::Duration};

use kafka_client::{ConnectionConfig, ProducerConfig};
use service_runtime::{
    Section, Setting,
    http_server::HttpServerConfig,
    settings::{ByteSize, choice},
};
use telemetry_wire::{Signal, key::KeyRule, partition::Partitioner, pb::MAX_DEPTH};

use crate::{filelog::FilelogConfig, publisher::DrainConfig, receiver::BodyLimits, spool::SpoolConfig};

mod cors;
mod filelog;
mod spool;

pub(crate) use cors::AllowedHeaders;
pub use cors::CorsConfig;

/// The OTLP ports registered for gRPC and HTTP.
const GRPC_LISTEN: &str = "0.0.0.0:4317";
const HTTP_LISTEN: &str = "0.0.0.0:4318";

/// The Collector's gRPC default is 4 MiB and its HTTP default 20 MiB; larger requests only raise the cost of a retry.
const MAX_REQUEST_BYTES: ByteSize = ByteSize::mib(16);

/// Sixteen of the largest requests at a time, or hundreds of usual ones.
const MEMORY_MAX_BYTES: ByteSize = ByteSize::mib(256);

/// A JSON body of the largest size, the reader's scratch, and the protobuf made from it, which is copied as it grows.
const LARGEST_REQUEST_SHARE: usize = 5;

/// Below it a decoder, which holds some 100 KiB besides its output, might never find room beside requests of the smallest limits.
const MIN_MEMORY_BYTES: ByteSize = ByteSize::mib(1);

/// Long enough for the largest request at 5 Mbit/s; a slower sender should send smaller ones.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

/// Far below any network that is of use; a sender that is slower holds memory for nothing.
const MIN_BODY_RATE: ByteSize = ByteSize::kib(1);

/// A buffer of the largest size, the one half as large that it grows from, and a decoder's window.
const LARGEST_BODY_SHARE: usize = 3;

/// Four connections that hold all they may leave nothing; two leave half.
const CONNECTION_PERCENT: u32 = 25;

/// One address that holds all it may leaves half to the others.
const PEER_PERCENT: u32 = 50;

/// What a refused sender is asked to wait. Shorter turns an overload into a storm of retries.
const RETRY_DELAY: Duration = Duration::from_secs(2);

/// Below the ten seconds that SDKs wait for an export: a sender should be refused rather than time out and not know.
const DELIVERY_TIMEOUT: Duration = Duration::from_secs(8);

/// Room in a record for its key, headers and framing beside the value, in bytes; the longest edge id included.
const RECORD_OVERHEAD: usize = 2048;

/// A host name's own limit; the id is in a header of every record.
const MAX_EDGE_ID_BYTES: usize = 255;

/// Below this a request is cut into more records than it is worth.
const MIN_MESSAGE_BYTES: u32 = 16 * 1024;

/// What the edge was told to be.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where telemetry enters.
    pub receivers: ReceiverConfig,
    /// Where it goes.
    pub publisher: PublisherConfig,
    /// Where it waits.
    pub spool: SpoolConfig,
    /// The log files to read; none without.
    pub filelog: Option<FilelogConfig>,
    /// Bound on request bytes held, in bytes.
    pub memory_max_bytes: usize,
}

/// The OTLP receiver.
#[derive(Debug, Clone)]
pub struct ReceiverConfig {
    /// The gRPC port's address.
    pub grpc_listen: SocketAddr,
    /// The HTTP port's address.
    pub http_listen: SocketAddr,
    /// Bound of one request after decompression, in bytes.
    pub max_request_bytes: usize,
    /// Deepest nesting of messages in a request.
    pub max_depth: u32,
    /// Time for a body to arrive.
    pub body_timeout: Duration,
    /// Least bytes a second of a body; 0 demands nothing.
    pub min_body_rate: u64,
    /// What the unfinished bodies of one connection may hold, in bytes.
    pub connection_max_bytes: usize,
    /// What the unfinished bodies of one peer address may hold, in bytes.
    pub peer_max_bytes: usize,
    /// What a sender is asked to wait when it may retry.
    pub retry_delay: Duration,
    /// The web pages whose scripts may send; none without.
    pub cors: Option<CorsConfig>,
    /// Bounds of each listener.
    pub server: HttpServerConfig,
}

/// The publisher.
#[derive(Debug, Clone)]
pub struct PublisherConfig {
    /// Names this edge in every record.
    pub edge_id: String,
    /// The producer and its connection.
    pub producer: ProducerConfig,
    /// How a key becomes a partition.
    pub partitioner: Partitioner,
    /// How long a request waits for the broker before the spool gets it too.
    pub spool_after: Duration,
    /// How long what was sent over a connection that has ended may be under way.
    pub settling: Duration,
    /// How long the brokers remember a producer's session.
    pub session_trust: Duration,
    /// How fast each signal's backlog is sent, in bytes a second.
    pub drain_bytes_per_second: u64,
    /// By signal, in the order of [`Signal::ALL`].
    pub routes: [RouteConfig; 3],
}

/// Where the records of one signal go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteConfig {
    /// The topic.
    pub topic: String,
    /// What the key is made of.
    pub key: KeyRule,
}

impl Config {
    /// Reads all of it.
    pub fn read(root: &mut Section<'_>) -> Config {
        let mut receivers = ReceiverConfig::read(
            &mut root.section("receivers", "Where telemetry enters: OTLP/gRPC and OTLP/HTTP."),
        );
        let mut kafka = root.section("kafka", "The brokers.");
        let connection = ConnectionConfig::read(&mut kafka, "edge-forwarder");
        let producer = ProducerConfig::read_or(
            &mut kafka.section("producer", "How records are sent."),
            producer_defaults(connection),
        );
        let publisher = PublisherConfig::read(
            &mut root.section("publisher", "What records are made of a request."),
            producer,
        );
        let (spool, publisher) = spool::read(
            &mut root.section("spool", "The disk that takes what the brokers do not."),
            publisher,
        );
        let filelog = filelog::read(
            &mut root.section("filelog", "Log files that are read: those of containers, or any."),
            spool.directory.as_ref(),
            publisher.max_value_bytes(),
        );
        let mut memory = root.section("memory", "Bound on the memory of requests.");
        let budget = memory.value(
            "max_bytes",
            MEMORY_MAX_BYTES,
            "Request bytes held at a time, from the first byte of a body to its answer; beyond it requests are refused as retryable.",
        );
        let share = receivers.max_request_bytes.saturating_mul(LARGEST_REQUEST_SHARE);
        let needed = share.max(MIN_MEMORY_BYTES.as_usize());
        if budget.as_usize() < needed {
            memory.problem(
                "max_bytes",
                format!("{budget} is below {LARGEST_REQUEST_SHARE} × receivers.max_request_bytes or {MIN_MEMORY_BYTES}"),
                format!("at least {needed} bytes, so that one request in JSON can always be decoded and converted"),
            );
        }
        (receivers.connection_max_bytes, receivers.peer_max_bytes) =
            shares(&mut memory, budget.as_usize(), receivers.max_request_bytes);
        Config { receivers, publisher, spool, filelog, memory_max_bytes: budget.as_usize() }
    }
}

/// What the unfinished bodies of one connection and of one peer may hold, in bytes: never less than a body of the largest size
/// needs with its decoder while it is copied as it grows.
fn shares(memory: &mut Section<'_>, budget: usize, max_request_bytes: usize) -> (usize, usize) {
    let mut read = |key, default, doc| {
        let percent: u32 = memory.value(key, default, doc);
        if !(1..=100).contains(&percent) {
            memory.problem(key, format!("{percent} is out of bounds"), "a number from 1 to 100");
        }
        let least =
            max_request_bytes.saturating_mul(LARGEST_BODY_SHARE).saturating_add(MIN_MEMORY_BYTES.as_usize());
        let share = (budget / 100).saturating_mul(percent.clamp(1, 100) as usize);
        share.max(least).min(budget)
    };
    let connection = read(
        "connection_percent",
        CONNECTION_PERCENT,
        "Percent of max_bytes that the unfinished bodies of one connection may hold, though never less than three of the largest requests.",
    );
    let peer = read(
        "peer_percent",
        PEER_PERCENT,
        "The same for the bodies from one address. Behind a proxy that hides the addresses of senders, 100.",
    );
    (connection, peer)
}

fn producer_defaults(connection: ConnectionConfig) -> ProducerConfig {
    ProducerConfig { delivery_timeout: Some(DELIVERY_TIMEOUT), ..ProducerConfig::new(connection) }
}

impl ReceiverConfig {
    fn read(section: &mut Section<'_>) -> ReceiverConfig {
        let grpc_listen = listen(&mut section.section("grpc", "OTLP/gRPC."), GRPC_LISTEN);
        let mut http = section.section("http", "OTLP/HTTP.");
        let http_listen = listen(&mut http, HTTP_LISTEN);
        let cors = CorsConfig::read(
            &mut http.section("cors", "Web pages whose scripts may send: cross-origin resource sharing."),
        );
        let max_request_bytes = section.value(
            "max_request_bytes",
            MAX_REQUEST_BYTES,
            "Largest request, counted after decompression; a larger one is refused for good.",
        );
        if max_request_bytes < ByteSize::kib(1) || max_request_bytes > ByteSize::gib(1) {
            section.problem(
                "max_request_bytes",
                format!("{max_request_bytes} is out of bounds"),
                "a size from 1KiB to 1GiB",
            );
        }
        let max_depth = section.value("max_depth", MAX_DEPTH, "Deepest nesting of messages in a request.");
        if !(8..=MAX_DEPTH).contains(&max_depth) {
            section.problem(
                "max_depth",
                format!("{max_depth} is out of bounds"),
                format!("a number from 8 to {MAX_DEPTH}"),
            );
        }
        ReceiverConfig {
            grpc_listen,
            http_listen,
            max_request_bytes: max_request_bytes.as_usize(),
            max_depth,
            body_timeout: positive(
                section,
                "body_timeout",
                BODY_TIMEOUT,
                "Time for a request's body to arrive.",
            ),
            min_body_rate: section
                .value(
                    "min_body_rate",
                    MIN_BODY_RATE,
                    "Least bytes a second of a request's body as it is sent, over five seconds; a slower one is refused as retryable. `0B` demands nothing.",
                )
                .as_u64(),
            // Known once the memory is.
            connection_max_bytes: usize::MAX,
            peer_max_bytes: usize::MAX,
            retry_delay: positive(
                section,
                "retry_delay",
                RETRY_DELAY,
                "What a refused sender is asked to wait before it tries again.",
            ),
            cors,
            server: HttpServerConfig::read(
                &mut section.section("server", "Bounds of each of the two listeners."),
            ),
        }
    }

    /// The bounds of one body.
    pub(crate) fn body_limits(&self) -> BodyLimits {
        BodyLimits {
            max_bytes: self.max_request_bytes,
            timeout: self.body_timeout,
            min_rate: self.min_body_rate,
        }
    }
}

impl PublisherConfig {
    fn read(section: &mut Section<'_>, producer: ProducerConfig) -> PublisherConfig {
        if producer.max_message_bytes < MIN_MESSAGE_BYTES {
            let found = producer.max_message_bytes;
            section.problem(
                "max_message_bytes",
                format!("kafka.producer.max_message_bytes is {found}"),
                format!("at least {MIN_MESSAGE_BYTES}"),
            );
        }
        let edge_id: Option<String> = section.optional(
            "edge_id",
            "Names this edge in the headers of every record; the host name when not given.",
        );
        let edge_id = edge_id.unwrap_or_else(host_name);
        if edge_id.is_empty() || edge_id.len() > MAX_EDGE_ID_BYTES {
            section.problem(
                "edge_id",
                format!("it has {} bytes", edge_id.len()),
                format!("1 to {MAX_EDGE_ID_BYTES} bytes"),
            );
        }
        let PartitionerSetting(partitioner) = section.value(
            "partitioner",
            PartitionerSetting(Partitioner::default()),
            "How a key becomes a partition; as the other writers of the topics do.",
        );
        let routes = [
            RouteConfig::read(&mut section.section("logs", "Records of logs."), Signal::Logs),
            RouteConfig::read(&mut section.section("traces", "Records of spans."), Signal::Traces),
            RouteConfig::read(&mut section.section("metrics", "Records of metrics."), Signal::Metrics),
        ];
        PublisherConfig {
            edge_id,
            producer,
            partitioner,
            spool_after: spool::AFTER,
            settling: spool::SETTLING,
            session_trust: spool::SESSION_TRUST,
            drain_bytes_per_second: spool::DRAIN_BYTES_PER_SECOND.as_u64(),
            routes,
        }
    }

    /// The route of a signal.
    pub fn route(&self, signal: Signal) -> &RouteConfig {
        &self.routes[signal as usize]
    }

    /// How the backlog is sent: the three signals' share half of the producer's queue, so that fresh data always finds room.
    pub(crate) fn drain(&self) -> DrainConfig {
        let window_kib = (self.producer.queue_bytes / 2 / 3 / 1024).max(1);
        DrainConfig {
            bytes_per_second: self.drain_bytes_per_second,
            window_kib: u32::try_from(window_kib).unwrap_or(u32::MAX),
        }
    }

    /// The largest record as the spool keeps it, in bytes.
    pub(crate) fn max_frame_bytes(&self) -> usize {
        self.max_value_bytes() + 2 * RECORD_OVERHEAD
    }

    /// The largest value of a record, in bytes.
    pub(crate) fn max_value_bytes(&self) -> usize {
        (self.producer.max_message_bytes as usize).saturating_sub(RECORD_OVERHEAD).max(1)
    }
}

impl RouteConfig {
    fn read(section: &mut Section<'_>, signal: Signal) -> RouteConfig {
        let topic: String = section.value(
            "topic",
            signal.default_topic().to_owned(),
            "The topic; its dead letters go to `<topic>.dlq`.",
        );
        if !is_topic_name(&topic) {
            section.problem(
                "topic",
                format!("`{topic}` is not a topic name"),
                "1 to 245 letters, digits, dots, dashes or underscores",
            );
        }
        let kind = section.value(
            "key",
            KeyKind::None,
            match signal {
                Signal::Logs => {
                    "What a record's key is made of: `none`, `trace_id`, `resource` (the hash of its attributes) or `attributes`. \
                     Lines read from files have no key with `trace_id`: those of a file stay together."
                }
                _ => {
                    "What a record's key is made of: `none`, `trace_id`, `resource` (the hash of its attributes) or `attributes`."
                }
            },
        );
        let names: Vec<String> = section.value(
            "key_attributes",
            Vec::new(),
            "The resource attributes whose hash is the key, with `key: attributes`.",
        );
        if (kind == KeyKind::Attributes) == names.is_empty() {
            section.problem(
                "key_attributes",
                "`key: attributes` and key_attributes need each other",
                "both, or neither",
            );
        }
        if kind == KeyKind::TraceId && signal == Signal::Metrics {
            section.problem("key", "metrics have no trace id", "`none`, `resource` or `attributes`");
        }
        let key = match kind {
            KeyKind::None => KeyRule::None,
            KeyKind::TraceId => KeyRule::TraceId,
            KeyKind::Resource => KeyRule::Resource,
            KeyKind::Attributes => KeyRule::Attributes(names),
        };
        RouteConfig { topic, key }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyKind {
    None,
    TraceId,
    Resource,
    Attributes,
}

const KEY_KINDS: [(&str, KeyKind); 4] = [
    ("none", KeyKind::None),
    ("trace_id", KeyKind::TraceId),
    ("resource", KeyKind::Resource),
    ("attributes", KeyKind::Attributes),
];

impl Setting for KeyKind {
    fn expected() -> String {
        "one of `none`, `trace_id`, `resource`, `attributes`".to_owned()
    }

    fn from_text(text: &str) -> Result<KeyKind, String> {
        choice(text, &KEY_KINDS)
    }

    fn to_text(&self) -> String {
        name_of(&KEY_KINDS, *self)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct PartitionerSetting(Partitioner);

const PARTITIONERS: [(&str, PartitionerSetting); 3] = [
    ("sarama_compat", PartitionerSetting(Partitioner::SaramaCompat)),
    ("murmur2", PartitionerSetting(Partitioner::Murmur2)),
    ("crc32", PartitionerSetting(Partitioner::Crc32)),
];

impl Setting for PartitionerSetting {
    fn expected() -> String {
        "one of `sarama_compat` (the Collector), `murmur2` (Java clients), `crc32` (librdkafka)".to_owned()
    }

    fn from_text(text: &str) -> Result<PartitionerSetting, String> {
        choice(text, &PARTITIONERS)
    }

    fn to_text(&self) -> String {
        name_of(&PARTITIONERS, *self)
    }
}

fn name_of<T: Copy + PartialEq>(names: &[(&str, T)], value: T) -> String {
    names.iter().find(|(_, known)| *known == value).map_or_else(String::new, |(name, _)| (*name).to_owned())
}

fn listen(section: &mut Section<'_>, default: &str) -> SocketAddr {
    let default = default.parse().expect("the default is an address");
    section.listener(
        "listen",
        default,
        "Address and port. gRPC and HTTP are told apart by content type, so either port takes both.",
    )
}

fn positive(section: &mut Section<'_>, key: &'static str, default: Duration, doc: &'static str) -> Duration {
    let value = section.value(key, default, doc);
    if value.is_zero() {
        section.problem(key, "it is zero", "a duration such as `30s`");
    }
    value
}

fn is_topic_name(name: &str) -> bool {
    // Kafka's bound is 249 bytes; four are kept for `.dlq`.
    let is_legal = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    (1..=245).contains(&name.len()) && name != "." && name != ".." && name.bytes().all(is_legal)
}

fn host_name() -> String {
    let name = fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "unknown-host".to_owned(),
        name => name.chars().take(MAX_EDGE_ID_BYTES).collect(),
    }
}

#[cfg(test)]
mod tests;
