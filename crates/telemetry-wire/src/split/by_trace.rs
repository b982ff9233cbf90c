//! The cut by trace id: one request per trace, with the resource and scope of every item repeated.

use super::by_size::{Cutter, put_ranges};
use super::{Fields, Grouping, Level, MAX_KEYED_GROWTH, Placed, Split, SplitOptions, push_range};
use crate::Signal;
use crate::envelope::{GROUPS, INNER};
use crate::key::trace_key;
use crate::pb::{Malformed, Reader, len_field_size, put_len_header};
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Range;

type TraceKey = Option<[u8; 32]>;

/// Cuts a logs or traces request by trace id, or not at all when that would multiply it.
pub(super) fn split(signal: Signal, request: &Bytes, options: &SplitOptions<'_>) -> Result<Split, Malformed> {
    let mut traces = Traces { signal, request, order: Vec::new(), places: HashMap::new(), written: 0 };
    let mut groups = Fields::new(request, 0..request.len(), Level::Request);
    while let Some(group) = groups.next()? {
        if group.number == GROUPS && !traces.add_group(&group)? {
            let whole = SplitOptions { grouping: Grouping::Whole, ..*options };
            return super::split(signal, request, &whole);
        }
    }
    let single = traces.order.len() == 1;
    let mut split = Split::default();
    for (key, value) in traces.order {
        let value = if single { request.clone() } else { Bytes::from(value) };
        let mut cutter = Cutter::new(signal, &value, options);
        cutter.cut(std::slice::from_ref(&(0..value.len())))?;
        let part = cutter.finish(key.as_ref().map(<[u8; 32]>::as_slice), None);
        split.pieces.extend(part.pieces);
        split.oversize.extend(part.oversize);
    }
    Ok(split)
}

struct Traces<'a> {
    signal: Signal,
    request: &'a Bytes,
    /// The requests being written, in order of first appearance.
    order: Vec<(TraceKey, Vec<u8>)>,
    places: HashMap<TraceKey, usize>,
    /// Bytes written into all of them.
    written: usize,
}

/// The items of one trace under one scope.
#[derive(Default)]
struct Items {
    ranges: Vec<Range<usize>>,
    bytes: usize,
}

impl Traces<'_> {
    /// Deals a resource group out to its traces; false when too much has been written.
    fn add_group(&mut self, group: &Placed<'_>) -> Result<bool, Malformed> {
        let resource = self.header(group, Level::Group)?;
        let mut scopes = Fields::new(self.request, group.value.clone(), Level::Group);
        while let Some(scope) = scopes.next()? {
            if scope.number == INNER && !self.add_scope(&resource, &scope)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn add_scope(&mut self, resource: &[Range<usize>], scope: &Placed<'_>) -> Result<bool, Malformed> {
        let header = self.header(scope, Level::Scope)?;
        let (resource_bytes, header_bytes) = (total(resource), total(&header));
        let allowed = self.request.len().saturating_mul(MAX_KEYED_GROWTH);
        for (key, items) in self.items_by_trace(scope)? {
            let scope_bytes = header_bytes + items.bytes;
            let group_bytes = resource_bytes + len_field_size(INNER, scope_bytes);
            self.written += len_field_size(GROUPS, group_bytes);
            if self.written > allowed {
                return Ok(false);
            }
            let place = *self.places.entry(key).or_insert(self.order.len());
            if place == self.order.len() {
                self.order.push((key, Vec::new()));
            }
            let out = &mut self.order[place].1;
            put_len_header(out, GROUPS, group_bytes);
            put_ranges(out, self.request, resource);
            put_len_header(out, INNER, scope_bytes);
            put_ranges(out, self.request, &header);
            put_ranges(out, self.request, &items.ranges);
        }
        Ok(true)
    }

    /// The items under a scope by trace, in order of first appearance.
    fn items_by_trace(&self, scope: &Placed<'_>) -> Result<Vec<(TraceKey, Items)>, Malformed> {
        let mut places: HashMap<TraceKey, usize> = HashMap::new();
        let mut traces: Vec<(TraceKey, Items)> = Vec::new();
        let mut fields = Fields::new(self.request, scope.value.clone(), Level::Scope);
        while let Some(item) = fields.next()? {
            if item.number != INNER {
                continue;
            }
            let key =
                trace_key(trace_id(self.signal, item.content).map_err(|m| m.shifted(item.value.start))?);
            let place = *places.entry(key).or_insert(traces.len());
            if place == traces.len() {
                traces.push((key, Items::default()));
            }
            let items = &mut traces[place].1;
            items.bytes += item.field.len();
            push_range(&mut items.ranges, item.field);
        }
        Ok(traces)
    }

    fn header(&self, message: &Placed<'_>, level: Level) -> Result<Vec<Range<usize>>, Malformed> {
        let mut header = Vec::new();
        let mut fields = Fields::new(self.request, message.value.clone(), level);
        while let Some(inner) = fields.next()? {
            if inner.number != INNER {
                push_range(&mut header, inner.field);
            }
        }
        Ok(header)
    }
}

fn total(ranges: &[Range<usize>]) -> usize {
    ranges.iter().map(Range::len).sum()
}

fn trace_id(signal: Signal, item: &[u8]) -> Result<&[u8], Malformed> {
    let number = if signal == Signal::Logs { 9 } else { 1 };
    let mut trace_id: &[u8] = &[];
    let mut reader = Reader::new(item);
    while let Some(field) = reader.next()? {
        if field.number == number {
            trace_id = field.bytes()?;
        }
    }
    Ok(trace_id)
}
