//! The SDK's exporters and batch processors, one constructor per signal.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry_otlp::{
    ExporterBuildError, LogExporter, MetricExporter, Protocol, RetryPolicy, SpanExporter,
    WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::{self, BatchLogProcessor, SdkLoggerProvider};
use opentelemetry_sdk::metrics::{PeriodicReader, SdkMeterProvider};
use opentelemetry_sdk::trace::{self, BatchSpanProcessor, SdkTracerProvider};
use tokio::runtime::Handle;

use super::account::Counts;
use super::counted::{Counted, Tallied};
use super::variable;

/// Age at which a batch is sent even when it is not full, unless `OTEL_BSP_SCHEDULE_DELAY` (or `BLRP`) says otherwise.
/// Shorter than the SDK's 5 s, so that what the service did is visible while one watches.
const BATCH_DELAY: Duration = Duration::from_secs(1);

/// Items that wait for export, unless `OTEL_BSP_MAX_QUEUE_SIZE` (or `BLRP`) says otherwise: 8 s of 1,000 spans/s.
const QUEUE_SIZE: usize = 8192;

/// Time between two exports of the metrics, unless `OTEL_METRIC_EXPORT_INTERVAL` says otherwise.
const METRIC_INTERVAL: Duration = Duration::from_secs(5);

/// For log records that may be stored twice: a receiver that is away for a minute loses none.
fn repeated() -> RetryPolicy {
    RetryPolicy::default()
        .with_max_retries(8)
        .with_initial_delay(Duration::from_millis(250))
        .with_max_delay(Duration::from_secs(15))
}

/// The time that such an export may take in all.
const REPEATED_WITHIN: Duration = Duration::from_secs(60);

/// What every exporter is made of.
pub(super) struct Export<'a> {
    pub(super) protocol: Protocol,
    pub(super) resource: Resource,
    pub(super) runtime: &'a Handle,
    pub(super) counts: Arc<Counts>,
    /// Whether log records may be sent again, and so be stored twice, rather than be lost.
    pub(super) repeats_logs: bool,
}

impl Export<'_> {
    pub(super) fn traces(self) -> Result<SdkTracerProvider, ExporterBuildError> {
        let builder = SpanExporter::builder();
        let exporter = match self.protocol {
            Protocol::Grpc => builder.with_tonic().with_retry_policy(RetryPolicy::disabled()).build()?,
            _ => builder.with_http().with_retry_policy(RetryPolicy::disabled()).build()?,
        };
        let mut config = trace::BatchConfigBuilder::default();
        if variable("OTEL_BSP_SCHEDULE_DELAY").is_none() {
            config = config.with_scheduled_delay(BATCH_DELAY);
        }
        if variable("OTEL_BSP_MAX_QUEUE_SIZE").is_none() {
            config = config.with_max_queue_size(QUEUE_SIZE);
        }
        let exporter = Counted::new(exporter, self.runtime, &self.counts);
        let processor = BatchSpanProcessor::builder(exporter).with_batch_config(config.build()).build();
        Ok(SdkTracerProvider::builder()
            .with_span_processor(Tallied::new(processor, self.counts))
            .with_resource(self.resource)
            .build())
    }

    pub(super) fn logs(self) -> Result<SdkLoggerProvider, ExporterBuildError> {
        let builder = LogExporter::builder();
        let exporter = match (self.protocol, self.repeats_logs) {
            (Protocol::Grpc, false) => {
                builder.with_tonic().with_retry_policy(RetryPolicy::disabled()).build()?
            }
            (Protocol::Grpc, true) => {
                builder.with_tonic().with_timeout(REPEATED_WITHIN).with_retry_policy(repeated()).build()?
            }
            (_, false) => builder.with_http().with_retry_policy(RetryPolicy::disabled()).build()?,
            (_, true) => {
                builder.with_http().with_timeout(REPEATED_WITHIN).with_retry_policy(repeated()).build()?
            }
        };
        let mut config = logs::BatchConfigBuilder::default();
        if variable("OTEL_BLRP_SCHEDULE_DELAY").is_none() {
            config = config.with_scheduled_delay(BATCH_DELAY);
        }
        if variable("OTEL_BLRP_MAX_QUEUE_SIZE").is_none() {
            config = config.with_max_queue_size(QUEUE_SIZE);
        }
        let exporter = Counted::new(exporter, self.runtime, &self.counts);
        let processor = BatchLogProcessor::builder(exporter).with_batch_config(config.build()).build();
        Ok(SdkLoggerProvider::builder()
            .with_log_processor(Tallied::new(processor, self.counts))
            .with_resource(self.resource)
            .build())
    }

    /// Cumulative temporality, the only one Mimir takes.
    pub(super) fn metrics(self) -> Result<SdkMeterProvider, ExporterBuildError> {
        let builder = MetricExporter::builder();
        let exporter = match self.protocol {
            Protocol::Grpc => builder.with_tonic().with_retry_policy(RetryPolicy::disabled()).build()?,
            _ => builder.with_http().with_retry_policy(RetryPolicy::disabled()).build()?,
        };
        let mut reader = PeriodicReader::builder(Counted::new(exporter, self.runtime, &self.counts));
        if variable("OTEL_METRIC_EXPORT_INTERVAL").is_none() {
            reader = reader.with_interval(METRIC_INTERVAL);
        }
        Ok(SdkMeterProvider::builder().with_reader(reader.build()).with_resource(self.resource).build())
    }
}
