//! The configuration of the hub: where the records come from, where they go, and the bounds in between.

use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

use kafka_client::{ConnectionConfig, ConsumerConfig, ProducerConfig};
use service_runtime::{
    Section, Setting,
    backoff::BackoffConfig,
    settings::{ByteSize, choice},
    telemetry::TelemetryConfig,
};
use telemetry_wire::{Signal, dead_letter_topic};

use crate::{
    clickhouse::ClickHouseConfig,
    derive::{DeriveConfig, FLUSH, config::DeriveSection},
    mimir::config::MimirConfig,
    pipeline::{LEAVE_TIMEOUT, LostRange, PipelineConfig},
    sink::clickhouse::BlockLimits,
};

/// ClickHouse writes one part per insert: below ten thousand rows merging costs more than inserting.
const MAX_ROWS: usize = 50_000;
/// About 40,000 log records with a dozen resource attributes, which every row repeats.
const MAX_BYTES: ByteSize = ByteSize::mib(64);
/// Every row repeats its resource: a small hostile record could become gigabytes of rows.
const MAX_RECORD_BYTES: ByteSize = ByteSize::mib(128);
/// How stale the newest row may be; also the longest time between two inserts of a partition under light load.
const MAX_AGE: Duration = Duration::from_secs(1);
/// As much as the producer's queue takes. Brokers read requests up to 100 MiB; smaller limits are the topic's to tell.
const MAX_DEAD_LETTER_BYTES: u32 = 64 * 1024 * 1024;
/// Two cores encode about as fast as four inserts are answered.
const WRITE_CONCURRENCY: usize = 4;
/// Enough for an insert under way; a longer one is repeated by the partition's next owner.
const REVOKE_WAIT: Duration = Duration::from_secs(10);
/// What the process reads for itself when `shutdown.grace` is not set.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(25);
/// With [`LEAVE_TIMEOUT`] below the grace time of the process, so that the group is left in order.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);

/// Everything `run` and `migrate` need.
#[derive(Debug, Clone)]
pub struct HubConfig {
    /// The enabled signals.
    pub signals: Vec<SignalConfig>,
    /// Logs and traces; `None` when neither is enabled.
    pub clickhouse: Option<ClickHouseConfig>,
    /// Metrics; `None` when they are not enabled.
    pub mimir: Option<MimirConfig>,
    /// The producer of dead letters.
    pub dead_letter: ProducerConfig,
    /// When a block for ClickHouse is cut.
    pub blocks: BlockLimits,
    /// Bytes of rows that one record may become.
    pub max_record_bytes: ByteSize,
    /// Times and choices of every pipeline.
    pub pipeline: PipelineConfig,
    /// Delays between attempts to write to a sink or to a dead-letter topic.
    pub retry: BackoffConfig,
    /// What is counted of stored records; `None` when nothing is.
    pub derive: Option<DeriveConfig>,
    /// Where the process pushes its own metrics; an audit pushes its verdict there.
    pub telemetry: TelemetryConfig,
}

/// One signal's way in.
#[derive(Debug, Clone)]
pub struct SignalConfig {
    /// The signal.
    pub signal: Signal,
    /// The topic read.
    pub topic: String,
    /// The topic that takes what can never be stored.
    pub dead_letter_topic: String,
    /// The member of the signal's group.
    pub consumer: ConsumerConfig,
}

impl HubConfig {
    /// Reads the whole configuration.
    pub fn read(root: &mut Section<'_>) -> Self {
        let mut kafka = root.section("kafka", "The cluster that the records are read from.");
        let connection = ConnectionConfig::read(&mut kafka, "hub-consumer");
        let mut section = kafka.section("consumer", "How records are fetched; the same for every signal.");
        let consumer = ConsumerConfig::read(&mut section, connection.clone(), "");

        let mut section = root.section("signals", "What is read, and under which group.");
        let signals: Vec<SignalConfig> = Signal::ALL
            .into_iter()
            .filter_map(|signal| SignalConfig::read(&mut section, signal, &consumer))
            .collect();
        if signals.is_empty() {
            section.problem("logs.enabled", "no signal is enabled", "enable at least one");
        }
        let is_enabled = |wanted: &[Signal]| signals.iter().any(|config| wanted.contains(&config.signal));

        let mut section = root.section("clickhouse", "The sink of logs and traces.");
        let clickhouse = (is_enabled(&[Signal::Logs, Signal::Traces]) || has_url(&mut section))
            .then(|| ClickHouseConfig::read(&mut section));
        let derive = DeriveSection::read(root);
        let mut section =
            root.section("mimir", "The sink of metrics: Mimir, Prometheus 3 or VictoriaMetrics.");
        let mimir = (is_enabled(&[Signal::Metrics]) || derive.needs_mimir() || has_url(&mut section))
            .then(|| MimirConfig::read(&mut section));
        let derive = derive.with(mimir.as_ref());

        let dead_letter = read_dead_letter(root, connection);

        let retry = BackoffConfig::read_or(
            &mut root.section("retry", "Delays between attempts to write; there is no limit of attempts."),
            BackoffConfig::between(Duration::from_millis(500), Duration::from_secs(30)).unwrap_or_default(),
        );
        let mut section = root.section("blocks", "When a block of a partition is cut and stored.");
        let (blocks, max_record_bytes) = read_blocks(&mut section);
        let max_block_age =
            section.value("max_age", MAX_AGE, "A block is cut when its first record has waited this long. When it is stored, its commit waits as long for the next block to be begun.");
        let grace = read_grace(root);
        let mut section = root.section("pipeline", "Times and choices.");
        let pipeline = read_pipeline(&mut section, max_block_age, &consumer);
        check_drain(&mut section, pipeline.drain_timeout, grace, derive.is_some());
        let telemetry = TelemetryConfig::of(root);
        HubConfig {
            signals,
            clickhouse,
            mimir,
            dead_letter,
            blocks,
            max_record_bytes,
            pipeline,
            retry,
            telemetry,
            derive,
        }
    }
}

impl SignalConfig {
    fn read(signals: &mut Section<'_>, signal: Signal, consumer: &ConsumerConfig) -> Option<Self> {
        let (doc, group_id) = match signal {
            Signal::Logs => ("Log records.", "hub-logs"),
            Signal::Traces => ("Spans.", "hub-traces"),
            Signal::Metrics => ("Data points.", "hub-metrics"),
        };
        let mut section = signals.section(signal.as_str(), doc);
        let is_enabled = section.value("enabled", true, "Whether this signal is read.");
        let topic = section.value("topic", signal.default_topic().to_owned(), "The topic.");
        let group_id = section.value(
            "group_id",
            group_id.to_owned(),
            "The consumer group; its offsets are the progress.",
        );
        let dead_letter_topic = section
            .optional("dead_letter_topic", "Takes what can never be stored; unset is `<topic>.dlq`.")
            .unwrap_or_else(|| dead_letter_topic(&topic));
        if dead_letter_topic == topic {
            section.problem("dead_letter_topic", "is the topic itself", "name another topic");
        }
        let consumer = ConsumerConfig { group_id, ..consumer.clone() };
        is_enabled.then_some(SignalConfig { signal, topic, dead_letter_topic, consumer })
    }
}

/// What follows the drain has to fit into the grace time too.
fn check_drain(section: &mut Section<'_>, drain_timeout: Duration, grace: Duration, derives: bool) {
    let rest = if derives { LEAVE_TIMEOUT + FLUSH } else { LEAVE_TIMEOUT };
    if drain_timeout.saturating_add(rest) >= grace {
        let after = if derives { " and pushing derived metrics" } else { "" };
        section.problem(
            "drain_timeout",
            format!("leaves less than {rest:?} of `shutdown.grace` for leaving the groups{after}"),
            "lower it, or raise `shutdown.grace`",
        );
    }
}

/// The time that the process has for its end; a key of the process, read here for the rule that binds it.
fn read_grace(root: &mut Section<'_>) -> Duration {
    let mut section = root.section("shutdown", "End of the process on SIGTERM or SIGINT.");
    section.value("grace", SHUTDOWN_GRACE, "Time to finish accepted work.")
}

fn read_dead_letter(root: &mut Section<'_>, connection: ConnectionConfig) -> ProducerConfig {
    let mut section = root.section(
        "dead_letter",
        "The producer of dead letters. Of a record that is larger than `max_message_bytes`, or than the topic allows, the \
         first 16 KiB are written.",
    );
    let defaults = ProducerConfig {
        max_message_bytes: MAX_DEAD_LETTER_BYTES,
        // One record a batch: what a broker refuses is then the record itself, and no other suffers with it.
        max_batch_records: Some(NonZeroU32::MIN),
        ..ProducerConfig::new(connection)
    };
    let mut config = ProducerConfig::read_or(&mut section, defaults);
    // The queue is rounded down to KiB. A record that never fits in it must be refused as too large, not as "not now".
    let queue = u32::try_from(config.queue_bytes / 1024 * 1024).unwrap_or(u32::MAX);
    config.max_message_bytes = config.max_message_bytes.min(queue);
    config
}

fn read_blocks(section: &mut Section<'_>) -> (BlockLimits, ByteSize) {
    let max_rows = section.value(
        "max_rows",
        NonZeroUsize::new(MAX_ROWS).expect("not zero"),
        "A block is cut when it has this many rows; its last record may add more.",
    );
    let max_bytes = section.value(
        "max_bytes",
        MAX_BYTES,
        "A block is cut when its decoded columns take this many bytes; its last record may add more.",
    );
    let max_record_bytes = section.value(
        "max_record_bytes",
        MAX_RECORD_BYTES,
        "A record that becomes more bytes of rows is dead-lettered.",
    );
    if max_bytes < ByteSize::mib(1) {
        section.problem("max_bytes", "is below 1MiB", "give some megabytes, or every record is an insert");
    }
    if !(ByteSize::mib(1)..=ByteSize::gib(1)).contains(&max_record_bytes) {
        section.problem("max_record_bytes", "is out of range", "give a size from 1MiB to 1GiB");
    }
    (BlockLimits { max_rows, max_bytes }, max_record_bytes)
}

/// Of the session timeout, what an acknowledged commit proves an assignment for: the rest is for the request that is sent then.
const LEASE_SHARE: u32 = 4;

fn read_pipeline(
    section: &mut Section<'_>,
    max_block_age: Duration,
    consumer: &ConsumerConfig,
) -> PipelineConfig {
    let write_concurrency = section.value(
        "write_concurrency",
        NonZeroUsize::new(WRITE_CONCURRENCY).expect("not zero"),
        "Requests to a sink that are encoded or under way at once, per signal; never two of one partition.",
    );
    let revoke_wait = section.value(
        "revoke_wait",
        REVOKE_WAIT,
        "How long partitions that are taken away may finish what is under way.",
    );
    let drain_timeout = section.value(
        "drain_timeout",
        DRAIN_TIMEOUT,
        "How long a shutdown may store and commit what was decoded. Must be more than 5s below `shutdown.grace`, 8s with \
         `derive.enabled`.",
    );
    let lost_range = section.value(
        "lost_range",
        LostRange::Stop,
        "When retention removed records before they were read: wait for an operator (`stop`), or count the loss and go on \
         at the first record there is (`resume`).",
    );
    if revoke_wait >= consumer.rebalance_timeout {
        section.problem(
            "revoke_wait",
            "is not below `kafka.consumer.rebalance_timeout`",
            "leave some seconds for the commit",
        );
    }
    let lease = consumer.session_timeout / LEASE_SHARE;
    PipelineConfig { max_block_age, revoke_wait, drain_timeout, write_concurrency, lost_range, lease }
}

/// Whether the section of a sink that nothing needs is filled in all the same, and has to be read to be checked.
fn has_url(section: &mut Section<'_>) -> bool {
    let url: Option<String> = section.optional("url", "Base URL of the server.");
    url.is_some()
}

impl Setting for LostRange {
    fn expected() -> String {
        "`stop` or `resume`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        choice(text, &[("stop", LostRange::Stop), ("resume", LostRange::Resume)])
    }

    fn to_text(&self) -> String {
        match self {
            LostRange::Stop => "stop",
            LostRange::Resume => "resume",
        }
        .to_owned()
    }
}

#[cfg(test)]
mod tests {
    use service_runtime::{RuntimeConfig, Settings};

    use super::*;

    const MINIMAL: &str = "
kafka:
  brokers: [localhost:9092]
clickhouse:
  url: http://localhost:8123
mimir:
  url: http://localhost:8080
";

    fn read(yaml: &str) -> Result<HubConfig, String> {
        let mut settings = Settings::from_yaml("HUB", yaml, []);
        let config = HubConfig::read(&mut settings.root());
        settings.finish().map(|()| config).map_err(|problems| problems.to_string())
    }

    fn check_problem(yaml: &str, key: &str) {
        let problems = read(yaml).unwrap_err();
        assert!(problems.contains(key), "`{key}` is not named in: {problems}");
    }

    #[test]
    fn minimal_configuration_reads_every_signal_under_a_group_of_its_own() {
        let config = read(MINIMAL).unwrap();
        let groups: Vec<_> = config.signals.iter().map(|signal| signal.consumer.group_id.as_str()).collect();
        assert_eq!(groups, ["hub-logs", "hub-traces", "hub-metrics"]);
        let topics: Vec<_> = config.signals.iter().map(|signal| signal.dead_letter_topic.as_str()).collect();
        assert_eq!(topics, ["otlp_logs.dlq", "otlp_spans.dlq", "otlp_metrics.dlq"]);
    }

    #[test]
    fn every_problem_is_reported_at_once() {
        let problems = read("signals: {logs: {topic: a, dead_letter_topic: a}}").unwrap_err();
        for key in ["kafka.brokers", "clickhouse.url", "mimir.url", "signals.logs.dead_letter_topic"] {
            assert!(problems.contains(key), "`{key}` is not named in: {problems}");
        }
    }

    #[test]
    fn sink_of_a_disabled_signal_is_not_required() {
        let logs_only = "
kafka: {brokers: [localhost:9092]}
signals: {metrics: {enabled: false}, traces: {enabled: false}}
clickhouse: {url: http://localhost:8123}
";
        let config = read(logs_only).unwrap();
        assert!(config.mimir.is_none() && config.clickhouse.is_some());
        assert_eq!(config.signals.len(), 1);
    }

    #[test]
    fn filled_section_of_a_disabled_sink_is_still_checked() {
        check_problem(
            &format!("{MINIMAL}  delta_temporality: maybe\nsignals: {{metrics: {{enabled: false}}}}"),
            "delta",
        );
    }

    #[test]
    fn bounds_across_sections_are_checked() {
        check_problem(&format!("{MINIMAL}pipeline: {{revoke_wait: 40s}}"), "pipeline.revoke_wait");
        check_problem(&format!("{MINIMAL}blocks: {{max_record_bytes: 2GiB}}"), "blocks.max_record_bytes");
        check_problem(&format!("{MINIMAL}pipeline: {{drain_timeout: 20s}}"), "pipeline.drain_timeout");
        check_problem(&format!("{MINIMAL}shutdown: {{grace: 15s}}"), "pipeline.drain_timeout");
        read(&format!("{MINIMAL}pipeline: {{drain_timeout: 20s}}\nshutdown: {{grace: 26s}}")).unwrap();
        let off = "signals: {logs: {enabled: false}, traces: {enabled: false}, metrics: {enabled: false}}";
        check_problem(&format!("{MINIMAL}{off}"), "no signal is enabled");
    }

    #[test]
    fn grace_that_is_not_set_is_the_one_of_the_process() {
        let mut settings = Settings::from_yaml("HUB", "", []);
        let root = &mut settings.root();
        assert_eq!(RuntimeConfig::read(root).shutdown_grace, read_grace(root));
    }

    #[test]
    fn dead_letter_that_never_fits_in_the_queue_is_above_the_largest_record() {
        let largest = |more: &str| {
            let dead_letter = read(&format!("{MINIMAL}{more}")).unwrap().dead_letter;
            assert!(u64::from(dead_letter.max_message_bytes) <= dead_letter.queue_bytes / 1024 * 1024);
            dead_letter.max_message_bytes
        };
        assert_eq!(largest(""), MAX_DEAD_LETTER_BYTES);
        assert_eq!(largest("dead_letter: {max_message_bytes: 1MB}"), 1_000_000);
        assert_eq!(largest("dead_letter: {max_message_bytes: 2MB, queue_bytes: 2MB}"), 1_999_872);
    }
}
