//! Spans, with their events and links, as rows of `otel_traces`.

use std::ops::Range;

use telemetry_wire::common::KeyValue;
use telemetry_wire::traces::{Event, Link, Request, Span};
use telemetry_wire::{Malformed, Signal};

use super::attributes::{self, AttributeColumn, AttributeMap};
use super::context::{Group, ResourceEntry, Resources, ResourcesMark, ScopeEntry, Scopes, ScopesMark};
use super::strings::{self, StringColumns};
use super::text::clean;
use super::{ITEMS, ORIGINAL_TIMESTAMP, RECEIVED, RecordContext, Rows, Undecodable, column, ordered, ranks};
use crate::clickhouse::block::{BlockWriter, Type, string_len};
use crate::clickhouse::columns::{Column, Need};
use crate::clickhouse::dictionary::Dictionary;
use crate::derive::{Tally, item::Item, watch::Watch};

/// The exporter's words for span kinds, by number; an unknown number is empty.
const KINDS: [&str; 7] = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer", ""];
/// The exporter's words for status codes, by number; an unknown number is empty.
const STATUS_CODES: [&str; 4] = ["Unset", "Ok", "Error", ""];
/// The code of a span that failed.
const ERROR: u8 = 2;

/// The most bytes of the columns that have the same width in every row: two indexes into dictionaries of many entries, three
/// into those of a few, 34 bytes of numbers, and the ends of the seven array columns.
const FIXED_BYTES: usize = 2 * size_of::<u32>() + 3 + 34 + 7 * size_of::<u64>();
/// The most bytes of an event or link beside its strings and attributes; in memory, where one takes more than in the block.
const ELEMENT_BYTES: usize = 24;

const _: () = assert!(
    size_of::<SpanRow>() <= FIXED_BYTES + 2 * size_of::<u64>()
        && size_of::<EventRow>() <= ELEMENT_BYTES + size_of::<u64>()
        && size_of::<LinkRow>() <= ELEMENT_BYTES + size_of::<u64>(),
    "rows in the block, with the ends of their maps, are no smaller than in memory"
);

/// The spans of a block.
#[derive(Debug, Default)]
pub struct SpanRows {
    rows: Vec<SpanRow>,
    resources: Resources,
    scopes: Scopes,
    names: Dictionary,
    attributes: AttributeColumn,
    strings: StringColumns<5>,
    events: Vec<EventRow>,
    event_names: Dictionary,
    event_attributes: AttributeColumn,
    links: Vec<LinkRow>,
    link_strings: StringColumns<3>,
    link_attributes: AttributeColumn,
    /// The most bytes the rows take in a block, beside the texts that are kept once.
    bytes: usize,
}

/// One span; positions point into the block's dictionaries and arenas.
#[derive(Clone, Copy, Debug)]
pub struct SpanRow {
    timestamp: i64,
    duration: u64,
    record: u32,
    resource: u32,
    scope: u32,
    name: u32,
    /// Trace id, span id, parent span id, trace state, status message.
    strings: strings::Row<5>,
    attributes: AttributeMap,
    events: Run,
    links: Run,
    kind: u8,
    status_code: u8,
}

/// The elements of a row in a list of all elements.
#[derive(Clone, Copy, Debug)]
struct Run {
    start: u32,
    count: u32,
}

#[derive(Clone, Copy, Debug)]
struct EventRow {
    timestamp: i64,
    name: u32,
    attributes: AttributeMap,
}

#[derive(Clone, Copy, Debug)]
struct LinkRow {
    /// Trace id, span id, trace state.
    strings: strings::Row<3>,
    attributes: AttributeMap,
}

/// A state of [`SpanRows`] to go back to.
#[derive(Clone, Copy, Debug)]
pub struct SpanMark {
    rows: usize,
    resources: ResourcesMark,
    scopes: ScopesMark,
    names: usize,
    attributes: attributes::Mark,
    strings: usize,
    events: usize,
    event_names: usize,
    event_attributes: attributes::Mark,
    links: usize,
    link_strings: usize,
    link_attributes: attributes::Mark,
    bytes: usize,
}

impl SpanRows {
    fn push(
        &mut self,
        bytes: &[u8],
        group: Group,
        context: &RecordContext,
        watch: &mut Watch<'_>,
    ) -> Result<(), Malformed> {
        let span = Span::parse(bytes)?;
        let time = context.clamp.apply(span.start_time_unix_nano);
        let kind = index_of(span.kind, &KINDS);
        watch.span(kind);
        let mut map = self.attributes.open();
        for attribute in span.attributes() {
            let KeyValue { key, value } = attribute?;
            watch.see(map.put(key, &value)?, key, &value);
        }
        if let Some(original) = time.original {
            map.put_text(ORIGINAL_TIMESTAMP, &original.to_string());
        }
        let attributes = map.close();
        let mut strings = self.strings.open();
        strings.put_id(span.trace_id);
        strings.put_id(span.span_id);
        strings.put_id(span.parent_span_id);
        strings.put(&clean(span.trace_state));
        strings.put(&clean(span.status.message));
        let row = SpanRow {
            timestamp: time.timestamp,
            duration: span.end_time_unix_nano.saturating_sub(span.start_time_unix_nano),
            record: context.record,
            resource: group.resource,
            scope: group.scope,
            name: self.names.intern(&clean(span.name)),
            strings: strings.close(),
            attributes,
            events: self.push_events(&span)?,
            links: self.push_links(&span)?,
            kind,
            status_code: index_of(span.status.code, &STATUS_CODES),
        };
        watch.item(&Item {
            trace_id: span.trace_id,
            span_id: span.span_id,
            unix_nano: time.timestamp,
            span_kind: kind,
            is_error: row.status_code == ERROR,
            duration_nanos: row.duration,
            ..Item::default()
        });
        self.bytes += group.row_bytes + row.strings.encoded_len() + attributes.encoded_len();
        self.rows.push(row);
        Ok(())
    }

    fn push_events(&mut self, span: &Span<'_>) -> Result<Run, Malformed> {
        let start = self.events.len();
        for event in span.events() {
            let event = event?;
            let Event { time_unix_nano, name, .. } = event;
            let attributes = self.event_attributes.push(event.attributes())?;
            self.events.push(EventRow {
                timestamp: i64::try_from(time_unix_nano).unwrap_or(i64::MAX),
                name: self.event_names.intern(&clean(name)),
                attributes,
            });
            self.bytes += ELEMENT_BYTES + attributes.encoded_len();
        }
        Ok(Run::since(start, self.events.len()))
    }

    fn push_links(&mut self, span: &Span<'_>) -> Result<Run, Malformed> {
        let start = self.links.len();
        for link in span.links() {
            let link = link?;
            let Link { trace_id, span_id, trace_state, .. } = link;
            let attributes = self.link_attributes.push(link.attributes())?;
            let mut strings = self.link_strings.open();
            strings.put_id(trace_id);
            strings.put_id(span_id);
            strings.put(&clean(trace_state));
            let row = LinkRow { strings: strings.close(), attributes };
            self.links.push(row);
            self.bytes += ELEMENT_BYTES + row.strings.encoded_len() + attributes.encoded_len();
        }
        Ok(Run::since(start, self.links.len()))
    }

    fn group(&self, resource: u32, scope: u32) -> Group {
        let entry = self.scopes.get(scope);
        let row_bytes = FIXED_BYTES
            + self.resources.get(resource).attributes.encoded_len()
            + string_len(self.scopes.names.get(entry.name))
            + string_len(self.scopes.versions.get(entry.version));
        Group { resource, scope, row_bytes }
    }

    /// Everything but [`Resources::held_bytes`] and [`Scopes::held_bytes`], which do not change within a group.
    #[inline]
    fn own_bytes(&self) -> usize {
        self.bytes
            + self.names.held_bytes()
            + self.attributes.text_bytes()
            + self.event_names.held_bytes()
            + self.event_attributes.text_bytes()
            + self.link_attributes.text_bytes()
    }

    fn resource(&self, row: &SpanRow) -> &ResourceEntry {
        self.resources.get(row.resource)
    }

    fn scope(&self, row: &SpanRow) -> &ScopeEntry {
        self.scopes.get(row.scope)
    }

    fn write_event_column(&self, column: &Column, rows: &[SpanRow], block: &mut BlockWriter<'_>) {
        let counts = rows.iter().map(|row| row.events.count);
        let events = || rows.iter().flat_map(|row| &self.events[row.events.range()]);
        match column.name {
            "Events.Timestamp" => {
                block.time_arrays(column.name, counts, events().map(|event| event.timestamp))
            }
            "Events.Name" => {
                let names = events().map(|event| event.name);
                block.low_cardinality_arrays(column.name, counts, &self.event_names, names);
            }
            "Events.Attributes" => {
                let maps = || events().map(|event| event.attributes);
                self.event_attributes.write_arrays(column.name, block, counts, maps);
            }
            name => unreachable!("{name} is in the list of columns and has no writer"),
        }
    }

    fn write_link_column(&self, column: &Column, rows: &[SpanRow], block: &mut BlockWriter<'_>) {
        let counts = rows.iter().map(|row| row.links.count);
        let links = || rows.iter().flat_map(|row| &self.links[row.links.range()]);
        let strings = |index| links().map(move |link| self.link_strings.get(&link.strings, index));
        match column.name {
            "Links.TraceId" => block.string_arrays(column.name, counts, strings(0)),
            "Links.SpanId" => block.string_arrays(column.name, counts, strings(1)),
            "Links.TraceState" => block.string_arrays(column.name, counts, strings(2)),
            "Links.Attributes" => {
                let maps = || links().map(|link| link.attributes);
                self.link_attributes.write_arrays(column.name, block, counts, maps);
            }
            name => unreachable!("{name} is in the list of columns and has no writer"),
        }
    }
}

impl Run {
    fn since(start: usize, end: usize) -> Run {
        Run { start: start as u32, count: (end - start) as u32 }
    }

    fn range(self) -> Range<usize> {
        self.start as usize..(self.start + self.count) as usize
    }
}

impl Rows for SpanRows {
    const SIGNAL: Signal = Signal::Traces;
    const COLUMNS: &'static [Column] = COLUMNS;
    const TELLING: &'static str = "SpanId";
    type Row = SpanRow;
    type Mark = SpanMark;

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

    fn rows(&self) -> &[SpanRow] {
        &self.rows
    }

    fn bytes(&self) -> usize {
        self.own_bytes() + self.resources.held_bytes() + self.scopes.held_bytes()
    }

    fn sorting_keys(&self, order: &mut Vec<(u128, u32)>) {
        let service_ranks = ranks(&self.resources.services);
        let name_ranks = ranks(&self.names);
        order.clear();
        order.extend(self.rows.iter().enumerate().map(|(index, row)| {
            // The key's third member, toDateTime(Timestamp), orders nothing that the fourth, Timestamp, does not.
            let service = service_ranks[self.resource(row).service as usize];
            let name = name_ranks[row.name as usize];
            let key = u128::from(service) << 96 | u128::from(name) << 64 | u128::from(ordered(row.timestamp));
            (key, index as u32)
        }));
    }

    fn timestamp(row: &SpanRow) -> i64 {
        row.timestamp
    }

    fn record(row: &SpanRow) -> u32 {
        row.record
    }

    fn telling(&self, row: &SpanRow) -> &[u8] {
        self.strings.text(&row.strings, 1)
    }

    fn write(&self, column: &Column, rows: &[SpanRow], block: &mut BlockWriter<'_>) {
        let (name, resources, scopes) = (column.name, &self.resources, &self.scopes);
        let strings = |index| rows.iter().map(move |row| self.strings.get(&row.strings, index));
        match name {
            "Timestamp" => block.fixed(name, column.kind, rows.iter().map(|row| row.timestamp)),
            "TraceId" => block.encoded_strings(name, strings(0)),
            "SpanId" => block.encoded_strings(name, strings(1)),
            "ParentSpanId" => block.encoded_strings(name, strings(2)),
            "TraceState" => block.encoded_strings(name, strings(3)),
            "StatusMessage" => block.encoded_strings(name, strings(4)),
            "SpanName" => block.low_cardinality(name, &self.names, rows.iter().map(|row| row.name)),
            "SpanKind" => {
                block.low_cardinality(name, &words(&KINDS), rows.iter().map(|row| u32::from(row.kind)));
            }
            "StatusCode" => {
                let codes = rows.iter().map(|row| u32::from(row.status_code));
                block.low_cardinality(name, &words(&STATUS_CODES), codes);
            }
            "ServiceName" => {
                block.low_cardinality(
                    name,
                    &resources.services,
                    rows.iter().map(|row| self.resource(row).service),
                );
            }
            "ResourceAttributes" => {
                resources
                    .attributes
                    .write(name, block, || rows.iter().map(|row| self.resource(row).attributes));
            }
            "ScopeName" => block.strings(name, rows.iter().map(|row| scopes.names.get(self.scope(row).name))),
            "ScopeVersion" => {
                block.strings(name, rows.iter().map(|row| scopes.versions.get(self.scope(row).version)));
            }
            "SpanAttributes" => self.attributes.write(name, block, || rows.iter().map(|row| row.attributes)),
            "Duration" => block.fixed(name, column.kind, rows.iter().map(|row| row.duration)),
            _ if name.starts_with("Events.") => self.write_event_column(column, rows, block),
            _ => self.write_link_column(column, rows, block),
        }
    }

    fn mark(&self) -> SpanMark {
        SpanMark {
            rows: self.rows.len(),
            resources: self.resources.mark(),
            scopes: self.scopes.mark(),
            names: self.names.len(),
            attributes: self.attributes.mark(),
            strings: self.strings.mark(),
            events: self.events.len(),
            event_names: self.event_names.len(),
            event_attributes: self.event_attributes.mark(),
            links: self.links.len(),
            link_strings: self.link_strings.mark(),
            link_attributes: self.link_attributes.mark(),
            bytes: self.bytes,
        }
    }

    fn rollback(&mut self, mark: SpanMark) {
        self.rows.truncate(mark.rows);
        self.resources.rollback(mark.resources);
        self.scopes.rollback(mark.scopes);
        self.names.truncate(mark.names);
        self.attributes.rollback(mark.attributes);
        self.strings.rollback(mark.strings);
        self.events.truncate(mark.events);
        self.event_names.truncate(mark.event_names);
        self.event_attributes.rollback(mark.event_attributes);
        self.links.truncate(mark.links);
        self.link_strings.rollback(mark.link_strings);
        self.link_attributes.rollback(mark.link_attributes);
        self.bytes = mark.bytes;
    }

    fn clear(&mut self) {
        self.rows.clear();
        self.resources.clear();
        self.scopes.clear();
        self.names.clear();
        self.attributes.clear();
        self.strings.rollback(0);
        self.events.clear();
        self.event_names.clear();
        self.event_attributes.clear();
        self.links.clear();
        self.link_strings.rollback(0);
        self.link_attributes.clear();
        self.bytes = 0;
    }
}

const COLUMNS: &[Column] = &[
    column("Timestamp", Type::DateTime64, Need::Required),
    column("TraceId", Type::String, Need::Required),
    column("SpanId", Type::String, Need::Required),
    column("ParentSpanId", Type::String, Need::Required),
    column("TraceState", Type::String, Need::Required),
    column("SpanName", Type::LowCardinality, Need::Required),
    column("SpanKind", Type::LowCardinality, Need::Required),
    column("ServiceName", Type::LowCardinality, Need::Required),
    column("ResourceAttributes", Type::Map, Need::Required),
    column("ScopeName", Type::String, Need::Optional),
    column("ScopeVersion", Type::String, Need::Optional),
    column("SpanAttributes", Type::Map, Need::Required),
    column("Duration", Type::UInt64, Need::Required),
    column("StatusCode", Type::LowCardinality, Need::Required),
    column("StatusMessage", Type::String, Need::Required),
    column("Events.Timestamp", Type::ArrayDateTime64, Need::Required),
    column("Events.Name", Type::ArrayLowCardinality, Need::Required),
    column("Events.Attributes", Type::ArrayMap, Need::Required),
    column("Links.TraceId", Type::ArrayString, Need::Required),
    column("Links.SpanId", Type::ArrayString, Need::Required),
    column("Links.TraceState", Type::ArrayString, Need::Required),
    column("Links.Attributes", Type::ArrayMap, Need::Required),
    column("source_topic", Type::LowCardinality, Need::Optional),
    column("source_partition", Type::UInt16, Need::Required),
    column("source_offset", Type::UInt64, Need::Required),
    column(ITEMS, Type::UInt32, Need::Required),
    column(RECEIVED, Type::DateTime, Need::Optional),
];

/// The place of `number` in a list whose last word stands for every unknown number.
fn index_of(number: i32, words: &[&str]) -> u8 {
    let unknown = words.len() - 1;
    usize::try_from(number).map_or(unknown, |number| number.min(unknown)) as u8
}

fn words(words: &[&str]) -> Dictionary {
    let mut dictionary = Dictionary::new();
    for word in words {
        dictionary.intern(word.as_bytes());
    }
    dictionary
}
