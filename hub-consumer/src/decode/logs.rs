//! Log records as rows of `otel_logs`.

use telemetry_wire::common::{AnyValue, KeyValue};
use telemetry_wire::logs::{LogRecord, Request};
use telemetry_wire::{Malformed, Signal};

use super::attributes::{self, AttributeColumn, AttributeMap};
use super::context::{Group, ResourceEntry, Resources, ResourcesMark, ScopeEntry, Scopes, ScopesMark};
use super::plain;
use super::strings::{self, StringColumns};
use super::text::{clean, put_text};
use super::{ITEMS, ORIGINAL_TIMESTAMP, RECEIVED, RecordContext, Rows, Undecodable, column, ordered, ranks};
use crate::clickhouse::block::{BlockWriter, Type, string_len};
use crate::clickhouse::columns::{Column, Need};
use crate::clickhouse::dictionary::Dictionary;
use crate::derive::{Tally, item::Item, watch::Watch};

/// Nanoseconds of the table key's first member, `toStartOfFiveMinutes(Timestamp)`.
const FIVE_MINUTES: i64 = 300 * 1_000_000_000;

/// The most bytes of the columns that have the same width in every row: five indexes into dictionaries of many entries, one
/// of one entry, and 28 bytes of numbers.
const FIXED_BYTES: usize = 5 * size_of::<u32>() + 1 + 28;

const _: () = assert!(
    size_of::<LogRow>() <= FIXED_BYTES + 3 * size_of::<u64>(),
    "with the ends of its three maps a row in the block is no smaller than in memory"
);

/// The log records of a block.
#[derive(Debug, Default)]
pub struct LogRows {
    rows: Vec<LogRow>,
    resources: Resources,
    scopes: Scopes,
    severity_texts: Dictionary,
    attributes: AttributeColumn,
    strings: StringColumns<4>,
    /// The most bytes the rows take in a block, beside the texts that are kept once.
    bytes: usize,
}

/// One log record; positions point into the block's dictionaries and arenas.
#[derive(Clone, Copy, Debug)]
pub struct LogRow {
    timestamp: i64,
    record: u32,
    resource: u32,
    scope: u32,
    severity_text: u32,
    /// Trace id, span id, body, event name.
    strings: strings::Row<4>,
    attributes: AttributeMap,
    flags: u8,
    severity_number: u8,
}

/// A state of [`LogRows`] to go back to.
#[derive(Clone, Copy, Debug)]
pub struct LogMark {
    rows: usize,
    resources: ResourcesMark,
    scopes: ScopesMark,
    severity_texts: usize,
    attributes: attributes::Mark,
    strings: usize,
    bytes: usize,
}

impl LogRows {
    #[inline]
    fn push(
        &mut self,
        bytes: &[u8],
        group: Group,
        context: &RecordContext,
        watch: &mut Watch<'_>,
    ) -> Result<(), Malformed> {
        let mut map = self.attributes.open();
        let plain = plain::read(bytes, |key, value| {
            let number = map.put_scalar(key, &value);
            watch.see(number, key, &value);
        });
        let record = match plain {
            Some(record) => record,
            None => {
                map.restart();
                watch.restart();
                let record = LogRecord::parse(bytes)?;
                for attribute in record.attributes() {
                    let KeyValue { key, value } = attribute?;
                    watch.see(map.put(key, &value)?, key, &value);
                }
                record.into()
            }
        };
        let written = match record.time_unix_nano {
            0 => record.observed_time_unix_nano,
            time => time,
        };
        let time = context.clamp.apply(written);
        if let Some(original) = time.original {
            map.put_text(ORIGINAL_TIMESTAMP, &original.to_string());
        }
        let attributes = map.close();
        watch.item(&Item {
            trace_id: record.trace_id,
            span_id: record.span_id,
            unix_nano: time.timestamp,
            severity: record.severity_number,
            text: if let AnyValue::String(text) = record.body { text } else { &[] },
            ..Item::default()
        });
        let mut strings = self.strings.open();
        strings.put_id(record.trace_id);
        strings.put_id(record.span_id);
        match record.body {
            AnyValue::String(text) => strings.put(&clean(text)),
            body => strings.put_with(|out| put_text(out, &body))?,
        }
        strings.put(&clean(record.event_name));
        let row = LogRow {
            timestamp: time.timestamp,
            record: context.record,
            resource: group.resource,
            scope: group.scope,
            severity_text: self.severity_texts.intern(&clean(record.severity_text)),
            strings: strings.close(),
            attributes,
            flags: record.flags as u8,
            severity_number: record.severity_number,
        };
        self.bytes += group.row_bytes + row.strings.encoded_len() + attributes.encoded_len();
        self.rows.push(row);
        Ok(())
    }

    fn group(&self, resource: u32, scope: u32) -> Group {
        let entry = self.scopes.get(scope);
        let row_bytes = FIXED_BYTES
            + self.resources.get(resource).attributes.encoded_len()
            + entry.attributes.encoded_len()
            + string_len(self.scopes.names.get(entry.name));
        Group { resource, scope, row_bytes }
    }

    /// Everything but [`Resources::held_bytes`] and [`Scopes::held_bytes`], which do not change within a group.
    #[inline]
    fn own_bytes(&self) -> usize {
        self.bytes + self.severity_texts.held_bytes() + self.attributes.text_bytes()
    }

    fn resource(&self, row: &LogRow) -> &ResourceEntry {
        self.resources.get(row.resource)
    }

    fn scope(&self, row: &LogRow) -> &ScopeEntry {
        self.scopes.get(row.scope)
    }
}

impl Rows for LogRows {
    const SIGNAL: Signal = Signal::Logs;
    const COLUMNS: &'static [Column] = COLUMNS;
    const TELLING: &'static str = "Body";
    type Row = LogRow;
    type Mark = LogMark;

    fn decode(
        &mut self,
        request: &[u8],
        context: &RecordContext,
        tally: Option<&mut Tally>,
    ) -> Result<(), Undecodable> {
        let mut watch = Watch::new(tally);
        for group in Request::new(request).resources() {
            let group = group?;
            let resource = self.resources.number(&group)?;
            watch.enter(resource, &group)?;
            context.check_size(self.rows.len(), self.bytes())?;
            for scope_group in group.scopes() {
                let scope_group = scope_group?;
                let scope = self.scopes.number(&scope_group)?;
                let group = self.group(resource, scope);
                let held = self.resources.held_bytes() + self.scopes.held_bytes();
                context.check_size(self.rows.len(), self.own_bytes() + held)?;
                for item in scope_group.items() {
                    self.push(item?, group, context, &mut watch)?;
                    context.check_size(self.rows.len(), self.own_bytes() + held)?;
                }
            }
        }
        Ok(())
    }

    fn rows(&self) -> &[LogRow] {
        &self.rows
    }

    fn bytes(&self) -> usize {
        self.own_bytes() + self.resources.held_bytes() + self.scopes.held_bytes()
    }

    fn sorting_keys(&self, order: &mut Vec<(u128, u32)>) {
        let service_ranks = ranks(&self.resources.services);
        order.clear();
        order.extend(self.rows.iter().enumerate().map(|(index, row)| {
            let bucket = u32::try_from(row.timestamp / FIVE_MINUTES).unwrap_or(0);
            let service = service_ranks[self.resource(row).service as usize];
            let key =
                u128::from(bucket) << 96 | u128::from(service) << 64 | u128::from(ordered(row.timestamp));
            (key, index as u32)
        }));
    }

    fn timestamp(row: &LogRow) -> i64 {
        row.timestamp
    }

    fn record(row: &LogRow) -> u32 {
        row.record
    }

    fn telling(&self, row: &LogRow) -> &[u8] {
        self.strings.text(&row.strings, 2)
    }

    fn write(&self, column: &Column, rows: &[LogRow], block: &mut BlockWriter<'_>) {
        let (name, resources, scopes) = (column.name, &self.resources, &self.scopes);
        let strings = |index| rows.iter().map(move |row| self.strings.get(&row.strings, index));
        match name {
            "Timestamp" => block.fixed(name, column.kind, rows.iter().map(|row| row.timestamp)),
            "TraceId" => block.encoded_strings(name, strings(0)),
            "SpanId" => block.encoded_strings(name, strings(1)),
            "Body" => block.encoded_strings(name, strings(2)),
            "EventName" => block.encoded_strings(name, strings(3)),
            "TraceFlags" => block.fixed(name, column.kind, rows.iter().map(|row| row.flags)),
            "SeverityNumber" => block.fixed(name, column.kind, rows.iter().map(|row| row.severity_number)),
            "SeverityText" => {
                block.low_cardinality(name, &self.severity_texts, rows.iter().map(|row| row.severity_text));
            }
            "ServiceName" => {
                block.low_cardinality(
                    name,
                    &resources.services,
                    rows.iter().map(|row| self.resource(row).service),
                );
            }
            "ResourceSchemaUrl" => {
                let urls = rows.iter().map(|row| self.resource(row).schema_url);
                block.low_cardinality(name, &resources.schema_urls, urls);
            }
            "ResourceAttributes" => {
                resources
                    .attributes
                    .write(name, block, || rows.iter().map(|row| self.resource(row).attributes));
            }
            "ScopeSchemaUrl" => {
                block.low_cardinality(
                    name,
                    &scopes.schema_urls,
                    rows.iter().map(|row| self.scope(row).schema_url),
                );
            }
            "ScopeName" => block.strings(name, rows.iter().map(|row| scopes.names.get(self.scope(row).name))),
            "ScopeVersion" => {
                block.low_cardinality(name, &scopes.versions, rows.iter().map(|row| self.scope(row).version));
            }
            "ScopeAttributes" => {
                scopes.attributes.write(name, block, || rows.iter().map(|row| self.scope(row).attributes));
            }
            "LogAttributes" => self.attributes.write(name, block, || rows.iter().map(|row| row.attributes)),
            _ => unreachable!("{name} is in the list of columns and has no writer"),
        }
    }

    fn mark(&self) -> LogMark {
        LogMark {
            rows: self.rows.len(),
            resources: self.resources.mark(),
            scopes: self.scopes.mark(),
            severity_texts: self.severity_texts.len(),
            attributes: self.attributes.mark(),
            strings: self.strings.mark(),
            bytes: self.bytes,
        }
    }

    fn rollback(&mut self, mark: LogMark) {
        self.rows.truncate(mark.rows);
        self.resources.rollback(mark.resources);
        self.scopes.rollback(mark.scopes);
        self.severity_texts.truncate(mark.severity_texts);
        self.attributes.rollback(mark.attributes);
        self.strings.rollback(mark.strings);
        self.bytes = mark.bytes;
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.resources.clear();
        self.scopes.clear();
        self.severity_texts.clear();
        self.attributes.clear();
        self.strings.rollback(0);
        self.bytes = 0;
    }
}

const COLUMNS: &[Column] = &[
    column("Timestamp", Type::DateTime64, Need::Required),
    column("TraceId", Type::String, Need::Required),
    column("SpanId", Type::String, Need::Required),
    column("TraceFlags", Type::UInt8, Need::Required),
    column("SeverityText", Type::LowCardinality, Need::Required),
    column("SeverityNumber", Type::UInt8, Need::Required),
    column("ServiceName", Type::LowCardinality, Need::Required),
    column("Body", Type::String, Need::Required),
    column("ResourceSchemaUrl", Type::LowCardinality, Need::Optional),
    column("ResourceAttributes", Type::Map, Need::Required),
    column("ScopeSchemaUrl", Type::LowCardinality, Need::Optional),
    column("ScopeName", Type::String, Need::Optional),
    column("ScopeVersion", Type::LowCardinality, Need::Optional),
    column("ScopeAttributes", Type::Map, Need::Optional),
    column("LogAttributes", Type::Map, Need::Required),
    column("EventName", Type::String, Need::Optional),
    column("source_topic", Type::LowCardinality, Need::Optional),
    column("source_partition", Type::UInt16, Need::Required),
    column("source_offset", Type::UInt64, Need::Required),
    column(ITEMS, Type::UInt32, Need::Required),
    column(RECEIVED, Type::DateTime, Need::Optional),
];
