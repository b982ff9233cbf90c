//! Cuts a request into records: by resource, by key, by encoded size. No decode; a record is a slice of the request
//! wherever it can be, and otherwise slices of it under rewritten length prefixes.
//!
//! Sizes are cut at the outermost level that will do: whole resource groups, else whole scope groups under a repeated
//! resource, else items under a repeated resource and scope, else (metrics) data points under a repeated metric. The
//! repeated part, called the *header*, holds every field but the inner messages, so nothing unknown is lost. Each piece
//! decodes to the same (resource, scope, item) triples it was cut from, and merging all pieces gives the request back.
//!
//! Two bounds keep a hostile request from being multiplied:
//! - a header above half of `max_bytes` is not repeated: its group is reported as [`Oversize`];
//! - cutting by trace id stops at [`MAX_KEYED_GROWTH`] times the request's size, and the request goes without keys.

mod by_size;
mod by_trace;

use crate::envelope::{GROUPS, INNER, ResourceGroup};
use crate::key::{self, KeyRule};
use crate::pb::{self, Malformed, Reader, Repeated};
use crate::{Signal, metrics};
use by_size::Cutter;
use bytes::Bytes;
use std::collections::HashMap;
use std::ops::Range;

/// How often a request's bytes may be written again when it is cut by trace id.
pub const MAX_KEYED_GROWTH: usize = 4;

/// How a request is to be cut.
#[derive(Debug, Clone, Copy)]
pub struct SplitOptions<'a> {
    /// What stays together.
    pub grouping: Grouping<'a>,
    /// The largest value of a record, in bytes.
    pub max_bytes: usize,
    /// How much of an oversize item is kept, in bytes.
    pub head_bytes: usize,
}

/// What stays together in one record.
#[derive(Clone, Copy)]
pub enum Grouping<'a> {
    /// The request, as far as its size allows.
    Whole,
    /// Items of equal key; [`KeyRule::None`] is the same as `Whole`.
    Key(&'a KeyRule),
    /// Resource groups for which the function, given the hash of the resource's attributes, returns the same bucket:
    /// a partition, as a rule.
    Bucket(&'a dyn Fn(&[u8; 16]) -> i32),
}

/// A request cut into records.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Split {
    /// The records, groups in order of first appearance.
    pub pieces: Vec<Piece>,
    /// What no record can hold.
    pub oversize: Vec<Oversize>,
}

/// One record to publish.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Piece {
    /// A valid `Export*ServiceRequest` of at most `max_bytes`.
    pub value: Bytes,
    /// Log records, spans or data points in it; can be 0 when a group came without any.
    pub items: u64,
    /// The record's key, when grouped by one.
    pub key: Option<Bytes>,
    /// The bucket, when grouped by one.
    pub bucket: Option<i32>,
}

/// Something that cannot be published within the limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oversize {
    /// The first `head_bytes` of the encoded message that did not fit.
    pub head: Bytes,
    /// The encoded size of that message, in bytes.
    pub size: usize,
    /// Log records, spans or data points it holds.
    pub items: u64,
    /// What was too large.
    pub reason: OversizeReason,
}

/// What was too large to publish.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum OversizeReason {
    /// A single log record, span or data point under its resource and scope.
    Item,
    /// The resource, scope or metric that would have to be repeated, above half of the limit; the message is its group.
    Header,
}

impl OversizeReason {
    /// The reason as a metric label and header value.
    pub const fn as_str(self) -> &'static str {
        match self {
            OversizeReason::Item => "item_too_large",
            OversizeReason::Header => "header_too_large",
        }
    }
}

impl std::fmt::Debug for Grouping<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Grouping::Whole => f.write_str("Whole"),
            Grouping::Key(rule) => f.debug_tuple("Key").field(rule).finish(),
            Grouping::Bucket(_) => f.write_str("Bucket"),
        }
    }
}

/// Cuts `request`, which has passed [`crate::inspect()`], into records.
///
/// # Errors
/// [`Malformed`] when the request is not well-formed; what inspection accepts is cut without error.
pub fn split(signal: Signal, request: &Bytes, options: &SplitOptions<'_>) -> Result<Split, Malformed> {
    match options.grouping {
        Grouping::Key(KeyRule::TraceId) if signal != Signal::Metrics => {
            by_trace::split(signal, request, options)
        }
        Grouping::Whole | Grouping::Key(KeyRule::None | KeyRule::TraceId) => {
            let mut cutter = Cutter::new(signal, request, options);
            cutter.cut(std::slice::from_ref(&(0..request.len())))?;
            Ok(cutter.finish(None, None))
        }
        Grouping::Key(KeyRule::Resource) => by_owner(signal, request, options, |group| {
            Ok(Owner::Key(key::resource_hash(group.resource.attributes())?))
        }),
        Grouping::Key(KeyRule::Attributes(names)) => by_owner(signal, request, options, |group| {
            Ok(Owner::Key(key::selected_hash(group.resource.attributes(), names)?))
        }),
        Grouping::Bucket(bucket) => by_owner(signal, request, options, |group| {
            Ok(Owner::Bucket(bucket(&key::resource_hash(group.resource.attributes())?)))
        }),
    }
}

/// What resource groups are gathered by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Owner {
    Key([u8; 16]),
    Bucket(i32),
}

fn by_owner(
    signal: Signal,
    request: &Bytes,
    options: &SplitOptions<'_>,
    owner: impl Fn(&ResourceGroup<'_>) -> Result<Owner, Malformed>,
) -> Result<Split, Malformed> {
    let mut places = HashMap::new();
    let mut owners: Vec<(Owner, Vec<Range<usize>>)> = Vec::new();
    let mut reader = Reader::new(request);
    while let Some(field) = reader.next()? {
        if field.number != GROUPS {
            continue;
        }
        let owner = owner(&ResourceGroup::parse(field.bytes()?)?)?;
        let place = *places.entry(owner).or_insert(owners.len());
        if place == owners.len() {
            owners.push((owner, Vec::new()));
        }
        push_range(&mut owners[place].1, field.offset..reader.offset());
    }
    let mut split = Split::default();
    for (owner, ranges) in owners {
        let mut cutter = Cutter::new(signal, request, options);
        cutter.cut(&ranges)?;
        let part = match owner {
            Owner::Key(key) => cutter.finish(Some(&key), None),
            Owner::Bucket(bucket) => cutter.finish(None, Some(bucket)),
        };
        split.pieces.extend(part.pieces);
        split.oversize.extend(part.oversize);
    }
    Ok(split)
}

/// Adds a range, growing the last one when they touch.
fn push_range(ranges: &mut Vec<Range<usize>>, more: Range<usize>) {
    match ranges.last_mut() {
        Some(last) if last.end == more.start => last.end = more.end,
        _ => ranges.push(more),
    }
}

/// Reads the fields of the message at `range` of a request, with positions counted from the request's start.
struct Fields<'a> {
    reader: Reader<'a>,
    base: usize,
}

/// A field with its place in the request.
struct Placed<'a> {
    number: u32,
    /// The content; empty unless length-delimited.
    content: &'a [u8],
    /// The whole field, key included.
    field: Range<usize>,
    /// The content's place.
    value: Range<usize>,
}

impl<'a> Fields<'a> {
    fn new(request: &'a [u8], range: Range<usize>, level: Level) -> Self {
        Self {
            reader: Reader::nested(&request[range.clone()], pb::MAX_DEPTH - level as u32),
            base: range.start,
        }
    }

    fn next(&mut self) -> Result<Option<Placed<'a>>, Malformed> {
        let Some(field) = self.reader.next().map_err(|malformed| malformed.shifted(self.base))? else {
            return Ok(None);
        };
        let content: &[u8] = if let pb::Value::Len(bytes) = field.value { bytes } else { &[] };
        let end = self.base + self.reader.offset();
        let place = self.base + field.offset..end;
        Ok(Some(Placed { number: field.number, content, field: place, value: end - content.len()..end }))
    }
}

/// The messages a request is made of, outermost first; the number is the depth of nesting.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Request = 0,
    Group = 1,
    Scope = 2,
    Item = 3,
    Data = 4,
}

impl Level {
    /// The field that holds the messages of the next level.
    const fn inner_field(self) -> u32 {
        match self {
            Level::Request => GROUPS,
            Level::Group | Level::Scope => INNER,
            Level::Item | Level::Data => metrics::POINTS,
        }
    }
}

/// Log records, spans or data points in one message of the request.
fn count_items(signal: Signal, level: Level, message: &[u8]) -> Result<u64, Malformed> {
    let inner = match level {
        Level::Request => Level::Group,
        Level::Group => Level::Scope,
        Level::Scope if signal == Signal::Metrics => Level::Item,
        Level::Scope => {
            return Repeated::new(message, INNER, pb::MAX_DEPTH)
                .try_fold(0, |count, item| item.map(|_| count + 1));
        }
        Level::Item if signal == Signal::Metrics => return metrics::count_points(message),
        Level::Item | Level::Data => return Ok(1),
    };
    let mut messages = Repeated::new(message, level.inner_field(), pb::MAX_DEPTH);
    messages.try_fold(0, |count, message| Ok(count + count_items(signal, inner, message?)?))
}
