//! The log contract: one JSON object per line on stdout, fields in a fixed order.
//!
//! A line is one `write` of its whole length under the stdout lock, so that lines of concurrent requests never mix.
//! The write blocks when nobody reads the pipe, as the original's does: the log is part of the service's answer, not
//! an afterthought that may be lost.

use std::fmt;
use std::io::{self, Write as _};
use std::time::Duration;

use jiff::Timestamp;
use opentelemetry::trace::SpanContext;
use serde::{Serialize, Serializer};

use crate::json;

#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "UPPERCASE")]
pub(crate) enum Level {
    Info,
    Warn,
    Error,
}

/// One line. `trace_id` and `span_id` are the only additions to the original, present while tracing is on.
#[derive(Debug, Serialize)]
pub(crate) struct LogLine<'a> {
    pub(crate) timestamp: WholeSeconds,
    pub(crate) level: Level,
    pub(crate) method: &'a str,
    /// As Go's `URL.Path`: percent-decoded, without the query.
    pub(crate) path: &'a str,
    pub(crate) status_code: u16,
    pub(crate) duration_ms: Milliseconds,
    pub(crate) message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) error: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) menu_item_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) trace_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) span_id: Option<String>,
}

impl<'a> LogLine<'a> {
    /// A line of the process itself (start, stop): no request, so method, path, status and duration are empty or 0.
    pub(crate) fn lifecycle(level: Level, message: &'a str) -> Self {
        LogLine {
            timestamp: WholeSeconds::now(),
            level,
            method: "",
            path: "",
            status_code: 0,
            duration_ms: Milliseconds(Duration::ZERO),
            message,
            error: None,
            menu_item_id: None,
            trace_id: None,
            span_id: None,
        }
    }

    pub(crate) fn correlate(&mut self, span: &SpanContext) {
        self.trace_id = Some(span.trace_id().to_string());
        self.span_id = Some(span.span_id().to_string());
    }

    /// Writes the line. A closed stdout is ignored, as the original does: the answers go on.
    pub(crate) fn print(&self) {
        let _ = io::stdout().lock().write_all(&json::line(self));
    }
}

/// The current time in UTC as RFC 3339 without fraction.
#[derive(Debug)]
pub(crate) struct WholeSeconds(Timestamp);

impl WholeSeconds {
    pub(crate) fn now() -> Self {
        let now = Timestamp::now();
        Self(Timestamp::from_second(now.as_second()).unwrap_or(now))
    }
}

impl fmt::Display for WholeSeconds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl Serialize for WholeSeconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// A duration as a JSON number of milliseconds: `0` for none, else with its fraction.
#[derive(Debug)]
pub(crate) struct Milliseconds(pub(crate) Duration);

impl Serialize for Milliseconds {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.is_zero() {
            return serializer.serialize_u8(0);
        }
        serializer.serialize_f64(self.0.as_secs_f64() * 1000.0)
    }
}
