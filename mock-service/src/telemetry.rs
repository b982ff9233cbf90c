//! The OpenTelemetry SDK, set up by the standard `OTEL_*` variables, with an exact account of what it delivered.
//!
//! A signal is on when an OTLP endpoint is configured for it (`OTEL_EXPORTER_OTLP_ENDPOINT` or
//! `OTEL_EXPORTER_OTLP_<SIGNAL>_ENDPOINT`), `OTEL_<SIGNAL>_EXPORTER` is not `none` and `OTEL_SDK_DISABLED` is not
//! `true`. The SDK reads the protocol, headers, timeouts, sampler, batch sizes and resource attributes itself.
//!
//! **The account.** Every item is counted once, when its batch is settled:
//! *exported*: the receiver answered success and did not reject the item in a partial success;
//! *failed*: the batch was refused, timed out, or the item was rejected;
//! *dropped*: produced, but never part of a settled batch (the SDK's queue was full, or the shutdown ran out of time).
//! So exported + failed + dropped = produced.
//!
//! **No retries.** The SDK's exporter would send a batch again after an error it cannot interpret, a timeout for
//! example, although the receiver may have stored it. Then one acked batch could be stored twice and the account
//! would not match what is stored. One attempt per batch keeps it exact: *exported* is a lower bound of what is
//! stored, *exported + failed* an upper one.

mod account;
mod counted;
mod exporters;
mod rejections;

use std::env;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, Protocol};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::logs::SdkLoggerProvider;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use opentelemetry_sdk::resource::{EnvResourceDetector, ResourceBuilder, TelemetryResourceDetector};
use opentelemetry_sdk::trace::SdkTracerProvider;
use opentelemetry_semantic_conventions::attribute as semconv;
use tokio::runtime::Handle;

use self::account::Account;
pub(crate) use self::account::ExportReport;
use self::exporters::Export;
use crate::spans::Tracing;

/// Time the last batches of a signal get at the end; one export may take 10 s by default.
const SHUTDOWN_TIMEOUT: Duration = Duration::from_secs(30);

/// What can be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    pub(crate) const ALL: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];

    fn as_str(self) -> &'static str {
        match self {
            Signal::Traces => "traces",
            Signal::Metrics => "metrics",
            Signal::Logs => "logs",
        }
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The telemetry configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum TelemetryError {
    #[error("OTLP protocol of {signal} is `{protocol}`; supported are `grpc` and `http/protobuf`")]
    Protocol { signal: Signal, protocol: String },
    #[error("OTLP exporter of {signal} cannot be built")]
    Exporter { signal: Signal, source: ExporterBuildError },
}

/// The SDK's providers, one per signal that is on.
#[derive(Debug)]
pub(crate) struct Telemetry {
    traces: Option<SdkTracerProvider>,
    metrics: Option<SdkMeterProvider>,
    logs: Option<SdkLoggerProvider>,
    account: Arc<Account>,
}

impl Telemetry {
    /// Sets up those of `signals` that the environment turns on. `runtime` carries the exporters' connections and
    /// must outlive [`Telemetry::finish`].
    pub(crate) fn from_env(
        service: &'static str,
        signals: &[Signal],
        runtime: &Handle,
    ) -> Result<Self, TelemetryError> {
        Self::with_account(&resource(service), signals, runtime, Arc::default())
    }

    /// The same for several services in one process: each has its name, whatever `OTEL_SERVICE_NAME` says, and one account is
    /// kept of all, so the report of each is the report of all.
    pub(crate) fn of_services(
        services: &[&'static str],
        runtime: &Handle,
    ) -> Result<Vec<Self>, TelemetryError> {
        let account = Arc::new(Account::default());
        let of = |service: &&'static str| {
            Self::with_account(&resource_named(service), &Signal::ALL, runtime, Arc::clone(&account))
        };
        services.iter().map(of).collect()
    }

    fn with_account(
        resource: &Resource,
        signals: &[Signal],
        runtime: &Handle,
        account: Arc<Account>,
    ) -> Result<Self, TelemetryError> {
        let mut telemetry =
            Telemetry { traces: None, metrics: None, logs: None, account: Arc::clone(&account) };
        let _context = runtime.enter(); // gRPC channels are bound to the runtime they are made in
        for &signal in signals {
            let Some(protocol) = protocol(signal, variable)? else { continue };
            let export = Export { protocol, resource: resource.clone(), runtime, counts: account.of(signal) };
            let failed = |source| TelemetryError::Exporter { signal, source };
            match signal {
                Signal::Traces => telemetry.traces = Some(export.traces().map_err(failed)?),
                Signal::Metrics => telemetry.metrics = Some(export.metrics().map_err(failed)?),
                Signal::Logs => telemetry.logs = Some(export.logs().map_err(failed)?),
            }
        }
        if telemetry.is_on() {
            rejections::watch(account);
        }
        Ok(telemetry)
    }

    pub(crate) fn is_on(&self) -> bool {
        self.traces.is_some() || self.metrics.is_some() || self.logs.is_some()
    }

    pub(crate) fn tracing(&self) -> Tracing {
        match &self.traces {
            Some(provider) => Tracing::Enabled(provider.tracer(env!("CARGO_PKG_NAME"))),
            None => Tracing::Disabled,
        }
    }

    /// The meter provider; one that exports nothing while metrics are off.
    pub(crate) fn meters(&self) -> SdkMeterProvider {
        self.metrics.clone().unwrap_or_default()
    }

    /// The logger provider, while logs are on.
    pub(crate) fn loggers(&self) -> Option<&SdkLoggerProvider> {
        self.logs.as_ref()
    }

    /// Sends what is left and returns the account, or `None` when no signal is on.
    ///
    /// Blocks, so it must be called outside the runtime. An error of the shutdown needs no report of its own: what
    /// was not delivered is in the account.
    pub(crate) fn finish(self) -> Option<ExportReport> {
        if let Some(provider) = &self.traces {
            let _ = provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
        }
        if let Some(provider) = &self.logs {
            let _ = provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
        }
        if let Some(provider) = &self.metrics {
            let _ = provider.shutdown_with_timeout(SHUTDOWN_TIMEOUT);
        }
        self.is_on().then(|| self.account.report())
    }
}

/// The protocol `signal` is exported by, or `None` when it is off. `variable` looks an environment variable up.
fn protocol(
    signal: Signal,
    variable: impl Fn(&str) -> Option<String>,
) -> Result<Option<Protocol>, TelemetryError> {
    let name = signal.as_str().to_uppercase();
    let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"))
        || variable(&format!("OTEL_{name}_EXPORTER")).is_some_and(|value| value == "none");
    let configured = |what: &str| {
        variable(&format!("OTEL_EXPORTER_OTLP_{name}_{what}"))
            .or_else(|| variable(&format!("OTEL_EXPORTER_OTLP_{what}")))
    };
    if disabled || configured("ENDPOINT").is_none() {
        return Ok(None);
    }
    match configured("PROTOCOL").as_deref() {
        Some("grpc") => Ok(Some(Protocol::Grpc)),
        Some("http/protobuf") | None => Ok(Some(Protocol::HttpBinary)),
        Some(other) => Err(TelemetryError::Protocol { signal, protocol: other.to_owned() }),
    }
}

/// A variable that is set; by the specification an empty one counts as unset.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Our defaults first, so that whatever the environment says wins.
fn resource(service: &'static str) -> Resource {
    let resource = of_environment(service);
    match variable("OTEL_SERVICE_NAME") {
        Some(name) => resource.with_service_name(name).build(),
        None => resource.build(),
    }
}

/// The name is ours whatever the environment says, and the rest is its own.
fn resource_named(service: &'static str) -> Resource {
    of_environment(service).with_service_name(service).build()
}

fn of_environment(service: &'static str) -> ResourceBuilder {
    Resource::builder_empty()
        .with_attributes([
            KeyValue::new(semconv::SERVICE_NAME, service),
            KeyValue::new(semconv::SERVICE_VERSION, env!("CARGO_PKG_VERSION")),
            KeyValue::new(semconv::SERVICE_INSTANCE_ID, format!("{:032x}", rand::random::<u128>())),
        ])
        .with_detectors(&[Box::new(TelemetryResourceDetector), Box::new(EnvResourceDetector::new())])
}
