//! Telemetry that can be told from its id alone: whoever reads an item back knows what it must look like.
//!
//! An id is a sender, a number that the sender uses once, and a size. Everything else in the item (times, severity, trace,
//! body, value) is computed from these three, and the resource from the sender. So an item that was bent on its way, or
//! that nobody sent, is found without keeping a copy of what was sent.

use std::fmt;
use std::str::FromStr;

use anyhow::{Context, Result, bail};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use telemetry_wire::Signal;

/// The attribute that holds the id.
const ATTRIBUTE: &str = "fault.id";
/// The first word of every id's text, by which it is found in bytes that cannot be decoded any more.
const WORD: &str = "faultid";
/// In the size of an id: so many more attributes instead of filling.
pub const MANY_ATTRIBUTES: u32 = 1 << 30;
/// In the size of an id: one more attribute with a key of so many bytes instead of filling.
pub const LONG_KEY: u32 = 1 << 29;
/// In the size of an id: a line of a log file, with so many bytes of filling.
pub const LINE: u32 = 1 << 28;
/// Some moment in 2024, in nanoseconds since the epoch.
const BASE_NANOS: u64 = 1_720_000_000_000_000_000;

/// What names an item, and decides what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Id {
    /// Who sent it.
    pub sender: u32,
    /// Unique with its sender.
    pub number: u64,
    /// Bytes of filling, or the number to [`MANY_ATTRIBUTES`], [`LONG_KEY`] or [`LINE`].
    pub padding: u32,
}

/// One item as it was read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// As its id says.
    Intact(Id),
    /// It has an id, and is not what the id says.
    Bent(Id),
    /// It has no id.
    Stranger,
}

impl fmt::Display for Id {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{WORD}-{}-{}-{}-end", self.sender, self.number, self.padding)
    }
}

impl FromStr for Id {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let [WORD, sender, number, padding, "end"] = text.split('-').collect::<Vec<_>>()[..] else {
            bail!("`{text}` is no id")
        };
        Ok(Self { sender: sender.parse()?, number: number.parse()?, padding: padding.parse()? })
    }
}

impl Id {
    /// A number with all of its bits mixed (the finaliser of splitmix64), another one for each `use_`.
    fn mixed(self, use_: u64) -> u64 {
        let mut bits = self.number ^ (u64::from(self.sender) << 40) ^ (use_ << 56);
        bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        bits ^ (bits >> 31)
    }

    fn filling(self) -> String {
        if self.padding & (MANY_ATTRIBUTES | LONG_KEY) != 0 {
            return String::new();
        }
        self.repeated(self.padding & !LINE)
    }

    /// The line of a log file that this names: text, JSON of several kinds, what only looks like JSON, and what is no text.
    #[must_use]
    pub fn line(self) -> Vec<u8> {
        let (id, filling) = (self.to_string(), self.filling());
        let line = match self.number % 6 {
            0 => self.words(),
            1 => format!(
                r#"{{"timestamp":"2026-01-02T03:04:05Z","level":"INFO","id":"{id}","filling":"{filling}"}}"#
            ),
            2 => format!(r#"{{"id":"{id}", "broken: {filling}"#),
            3 => format!(
                r#"{{"a":1,"a":"two","n":[{{"x":null}}],"big":18446744073709551615,"id":"{id}","\u00e4":"{filling}"}}"#
            ),
            4 => return [self.words().as_bytes(), b"\xff\xfe\x00"].concat(),
            _ => format!("  {id} {filling}  "),
        };
        line.into_bytes()
    }

    /// The id before the filling: it can be found although only a head of the item is kept.
    fn words(self) -> String {
        format!("{self} {}", self.filling())
    }

    fn repeated(self, bytes: u32) -> String {
        // Another word each time, or compression would make all sizes alike.
        let words =
            (0..).map(|step| format!("{:016x}", Id { number: self.mixed(1) ^ step, ..self }.mixed(1)));
        let mut text = String::with_capacity(bytes as usize + 16);
        for word in words {
            if text.len() >= bytes as usize {
                break;
            }
            text.push_str(&word);
        }
        text.truncate(bytes as usize);
        text
    }

    fn nanos(self) -> u64 {
        BASE_NANOS + self.mixed(2) % 1_000_000_000_000
    }

    fn attributes(self) -> Vec<KeyValue> {
        let number = AnyValue { value: Some(Value::IntValue(self.mixed(3).cast_signed())) };
        let mut attributes = vec![
            text(ATTRIBUTE, self.to_string()),
            KeyValue { key: "number".into(), value: Some(number), ..KeyValue::default() },
        ];
        if self.padding & MANY_ATTRIBUTES != 0 {
            let more = self.padding & !MANY_ATTRIBUTES;
            attributes.extend((0..more).map(|number| text(&format!("more.{number}"), "x".into())));
        } else if self.padding & LONG_KEY != 0 {
            attributes.push(text(&self.repeated(self.padding & !LONG_KEY), "x".into()));
        }
        attributes
    }

    fn log_record(self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.nanos(),
            observed_time_unix_nano: self.nanos() + 1,
            severity_number: 1 + i32::try_from(self.mixed(4) % 24).unwrap_or_default(),
            severity_text: format!("S{}", self.mixed(4) % 24),
            body: Some(AnyValue { value: Some(Value::StringValue(self.words())) }),
            attributes: self.attributes(),
            trace_id: self.trace_id(),
            span_id: self.mixed(7).to_be_bytes().to_vec(),
            ..LogRecord::default()
        }
    }

    fn span(self) -> Span {
        Span {
            trace_id: self.trace_id(),
            span_id: self.mixed(7).to_be_bytes().to_vec(),
            name: self.words(),
            kind: 1 + i32::try_from(self.mixed(8) % 5).unwrap_or_default(),
            start_time_unix_nano: self.nanos(),
            end_time_unix_nano: self.nanos() + self.mixed(9) % 1_000_000,
            attributes: self.attributes(),
            status: Some(Status { message: String::new(), code: 1 }),
            ..Span::default()
        }
    }

    fn data_point(self) -> NumberDataPoint {
        let mut attributes = self.attributes();
        attributes.push(text("filling", self.filling()));
        NumberDataPoint {
            attributes,
            time_unix_nano: self.nanos(),
            value: Some(number_data_point::Value::AsInt(self.mixed(10).cast_signed())),
            ..NumberDataPoint::default()
        }
    }

    fn trace_id(self) -> Vec<u8> {
        [self.mixed(5).to_be_bytes(), self.mixed(6).to_be_bytes()].concat()
    }
}

/// An encoded request of one resource with these items, in this order. All are of one sender.
#[must_use]
pub fn request(signal: Signal, ids: &[Id]) -> Vec<u8> {
    let resource = ids.first().map(|id| resource(id.sender));
    match signal {
        Signal::Logs => {
            let log_records = ids.iter().map(|id| id.log_record()).collect();
            let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
            let resource_logs = vec![ResourceLogs { resource, scope_logs, ..ResourceLogs::default() }];
            ExportLogsServiceRequest { resource_logs }.encode_to_vec()
        }
        Signal::Traces => {
            let spans = ids.iter().map(|id| id.span()).collect();
            let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
            let resource_spans = vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }];
            ExportTraceServiceRequest { resource_spans }.encode_to_vec()
        }
        Signal::Metrics => {
            let data_points = ids.iter().map(|id| id.data_point()).collect();
            let data = Some(metric::Data::Gauge(Gauge { data_points }));
            let metrics = vec![Metric { name: "faults.points".into(), data, ..Metric::default() }];
            let scope_metrics = vec![ScopeMetrics { metrics, ..ScopeMetrics::default() }];
            let resource_metrics =
                vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
            ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
        }
    }
}

/// Every item of a record's value.
///
/// # Errors
/// The bytes are no request of this signal.
pub fn read(signal: Signal, value: &[u8]) -> Result<Vec<Reading>> {
    let mut found = Vec::new();
    match signal {
        Signal::Logs => {
            let request = ExportLogsServiceRequest::decode(value).context("decode logs")?;
            for part in request.resource_logs {
                for record in part.scope_logs.into_iter().flat_map(|scope| scope.log_records) {
                    if let Some(reading) = read_line(&record) {
                        found.push(reading);
                        continue;
                    }
                    let id = id_of(&record.attributes);
                    found.push(judge(id, &part.resource, |id| id.log_record() == record));
                }
            }
        }
        Signal::Traces => {
            let request = ExportTraceServiceRequest::decode(value).context("decode spans")?;
            for part in request.resource_spans {
                for span in part.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                    found.push(judge(id_of(&span.attributes), &part.resource, |id| id.span() == span));
                }
            }
        }
        Signal::Metrics => {
            let request = ExportMetricsServiceRequest::decode(value).context("decode metrics")?;
            for part in request.resource_metrics {
                let metrics = part.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
                for point in metrics.flat_map(points) {
                    let id = id_of(&point.attributes);
                    found.push(judge(id, &part.resource, |id| id.data_point() == point));
                }
            }
        }
    }
    Ok(found)
}

/// A record that was a line of a log file, if it was one.
fn read_line(record: &LogRecord) -> Option<Reading> {
    let body = match record.body.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.as_bytes(),
        Value::BytesValue(bytes) => bytes,
        _ => return None,
    };
    let id = ids_in_head(body).into_iter().next().filter(|id| id.padding & LINE != 0)?;
    Some(if id.line() == body { Reading::Intact(id) } else { Reading::Bent(id) })
}

/// The ids that can be seen in bytes that are only the head of a request.
#[must_use]
pub fn ids_in_head(bytes: &[u8]) -> Vec<Id> {
    let text = String::from_utf8_lossy(bytes);
    let mut ids: Vec<Id> = text
        .match_indices(WORD)
        .filter_map(|(start, _)| {
            let end = text[start..].find("-end")? + start + "-end".len();
            text[start..end].parse().ok()
        })
        .collect();
    ids.dedup();
    ids
}

fn judge(id: Option<Id>, of: &Option<Resource>, is_as_sent: impl FnOnce(Id) -> bool) -> Reading {
    match id {
        None => Reading::Stranger,
        Some(id) if of.as_ref() == Some(&resource(id.sender)) && is_as_sent(id) => Reading::Intact(id),
        Some(id) => Reading::Bent(id),
    }
}

fn resource(sender: u32) -> Resource {
    let attributes = vec![
        text("service.name", format!("sender-{sender}")),
        text("service.instance.id", format!("{:08x}", sender.wrapping_mul(0x9e37_79b9))),
    ];
    Resource { attributes, ..Resource::default() }
}

fn points(metric: Metric) -> Vec<NumberDataPoint> {
    match metric.data {
        Some(metric::Data::Gauge(gauge)) if metric.name == "faults.points" => gauge.data_points,
        // An empty point has no id, and is a stranger.
        _ => vec![NumberDataPoint::default()],
    }
}

fn id_of(attributes: &[KeyValue]) -> Option<Id> {
    let found = attributes.iter().find(|pair| pair.key == ATTRIBUTE)?;
    match found.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => text.parse().ok(),
        _ => None,
    }
}

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value)) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids() -> Vec<Id> {
        (0..5).map(|number| Id { sender: 7, number, padding: 40 }).collect()
    }

    #[test]
    fn what_is_sent_reads_as_intact_and_what_is_changed_as_bent() {
        for signal in Signal::ALL {
            let mut bytes = request(signal, &ids());
            let expected: Vec<_> = ids().into_iter().map(Reading::Intact).collect();
            assert_eq!(read(signal, &bytes).unwrap(), expected);
            // The filling of the last item; the length of everything stays.
            let filling = ids()[4].filling();
            let at = bytes.windows(40).rposition(|window| window == filling.as_bytes()).unwrap();
            bytes[at] = b'x';
            assert_eq!(read(signal, &bytes).unwrap()[4], Reading::Bent(ids()[4]), "{signal}");
        }
    }

    #[test]
    fn another_senders_resource_is_seen() {
        let foreign = Id { sender: 8, ..ids()[0] };
        let bytes = request(Signal::Logs, &[ids()[0], foreign]);
        assert_eq!(read(Signal::Logs, &bytes).unwrap(), [Reading::Intact(ids()[0]), Reading::Bent(foreign)]);
    }

    #[test]
    fn an_id_is_found_in_a_head() {
        let bytes = request(Signal::Logs, &ids());
        assert_eq!(ids_in_head(&bytes[..bytes.len() / 2]).first(), Some(&ids()[0]));
    }
}
