//! Partial success, and the SDK's own complaints.
//!
//! When a receiver accepts a batch but rejects some of its items, the exporter reports success and mentions the
//! rejected count only in a diagnostic event. This layer reads the count from there; without it the account would
//! call rejected items exported.

use std::fmt;
use std::io;
use std::sync::Arc;

use tracing::field::{Field, Visit};
use tracing::level_filters::LevelFilter;
use tracing::{Event, Subscriber};
use tracing_subscriber::layer::{Context, Layer, SubscriberExt as _};

use super::Signal;
use super::account::Account;

/// Sends warnings of the SDK to stderr and counts rejected items into `account`.
///
/// Only the first call of a process takes effect: there is one stream of diagnostic events.
pub(super) fn watch(account: Arc<Account>) {
    let subscriber = tracing_subscriber::registry()
        .with(LevelFilter::WARN)
        .with(Rejections(account))
        .with(tracing_subscriber::fmt::layer().with_ansi(false).with_writer(io::stderr));
    // Fails only when another subscriber is there already, which then keeps the stream.
    let _ = tracing::subscriber::set_global_default(subscriber);
}

struct Rejections(Arc<Account>);

impl<S: Subscriber> Layer<S> for Rejections {
    fn on_event(&self, event: &Event<'_>, _context: Context<'_, S>) {
        event.record(&mut Counting(&self.0));
    }
}

struct Counting<'a>(&'a Account);

impl Visit for Counting<'_> {
    fn record_i64(&mut self, field: &Field, value: i64) {
        let signal = match field.name() {
            "rejected_spans" => Signal::Traces,
            "rejected_data_points" => Signal::Metrics,
            "rejected_log_records" => Signal::Logs,
            _ => return,
        };
        self.0.of(signal).rejected(u64::try_from(value).unwrap_or_default());
    }

    fn record_debug(&mut self, _field: &Field, _value: &dyn fmt::Debug) {}
}
