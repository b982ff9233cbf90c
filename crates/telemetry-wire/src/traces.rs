//! Spans with their events and links, read in place.

use crate::common::{Attributes, Extent};
use crate::envelope::ITEM_DEPTH_LEFT;
pub use crate::envelope::{Request, ResourceGroup as ResourceSpans, ScopeGroup as ScopeSpans};
use crate::pb::{Malformed, Reader, Repeated};

/// One span. Strings are bytes as received; ids have any length the sender chose.
#[derive(Debug, Clone, Default)]
pub struct Span<'a> {
    /// 16 bytes.
    pub trace_id: &'a [u8],
    /// 8 bytes.
    pub span_id: &'a [u8],
    /// W3C trace state.
    pub trace_state: &'a [u8],
    /// 8 bytes; empty for a root span.
    pub parent_span_id: &'a [u8],
    /// The operation's name.
    pub name: &'a [u8],
    /// Span kind, 0 (unspecified) to 5; any number the sender wrote.
    pub kind: i32,
    /// Start, in nanoseconds since the epoch.
    pub start_time_unix_nano: u64,
    /// End, in nanoseconds since the epoch.
    pub end_time_unix_nano: u64,
    /// Attributes the sender dropped.
    pub dropped_attributes_count: u32,
    /// Events the sender dropped.
    pub dropped_events_count: u32,
    /// Links the sender dropped.
    pub dropped_links_count: u32,
    /// The low 8 bits are W3C trace flags.
    pub flags: u32,
    /// The outcome; unset when the span has none.
    pub status: Status<'a>,
    attributes: &'a [u8],
    events: &'a [u8],
    links: &'a [u8],
}

/// The outcome of a span.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Status<'a> {
    /// 0 unset, 1 ok, 2 error; any number the sender wrote.
    pub code: i32,
    /// Text for people.
    pub message: &'a [u8],
}

/// Something that happened within a span.
#[derive(Debug, Clone, Default)]
pub struct Event<'a> {
    /// When, in nanoseconds since the epoch.
    pub time_unix_nano: u64,
    /// What.
    pub name: &'a [u8],
    /// Attributes the sender dropped.
    pub dropped_attributes_count: u32,
    attributes: &'a [u8],
}

/// A pointer to another span.
#[derive(Debug, Clone, Default)]
pub struct Link<'a> {
    /// 16 bytes.
    pub trace_id: &'a [u8],
    /// 8 bytes.
    pub span_id: &'a [u8],
    /// W3C trace state.
    pub trace_state: &'a [u8],
    /// Attributes the sender dropped.
    pub dropped_attributes_count: u32,
    /// The low 8 bits are W3C trace flags.
    pub flags: u32,
    attributes: &'a [u8],
}

impl<'a> Span<'a> {
    /// Reads one span; attributes, events and links are read as they are iterated.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut span = Span::default();
        let (mut attributes, mut events, mut links) =
            (Extent::default(), Extent::default(), Extent::default());
        let mut reader = Reader::nested(bytes, ITEM_DEPTH_LEFT);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => span.trace_id = field.bytes()?,
                2 => span.span_id = field.bytes()?,
                3 => span.trace_state = field.bytes()?,
                4 => span.parent_span_id = field.bytes()?,
                5 => span.name = field.bytes()?,
                6 => span.kind = field.int32()?,
                7 => span.start_time_unix_nano = field.fixed64()?,
                8 => span.end_time_unix_nano = field.fixed64()?,
                ATTRIBUTES | EVENTS | LINKS => {
                    field.bytes()?;
                    let extent = match field.number {
                        ATTRIBUTES => &mut attributes,
                        EVENTS => &mut events,
                        _ => &mut links,
                    };
                    extent.cover(field.offset, reader.offset());
                }
                10 => span.dropped_attributes_count = field.uint32()?,
                12 => span.dropped_events_count = field.uint32()?,
                14 => span.dropped_links_count = field.uint32()?,
                15 => span.status.merge(field.bytes()?)?,
                16 => span.flags = field.fixed32()?,
                _ => {}
            }
        }
        (span.attributes, span.events, span.links) =
            (attributes.of(bytes), events.of(bytes), links.of(bytes));
        Ok(span)
    }

    /// The attributes, in wire order.
    #[inline]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.attributes, ATTRIBUTES, ITEM_DEPTH_LEFT)
    }

    /// The events, in wire order.
    pub fn events(&self) -> impl Iterator<Item = Result<Event<'a>, Malformed>> + use<'a> {
        Repeated::new(self.events, EVENTS, ITEM_DEPTH_LEFT).map(|bytes| Event::parse(bytes?))
    }

    /// The links, in wire order.
    pub fn links(&self) -> impl Iterator<Item = Result<Link<'a>, Malformed>> + use<'a> {
        Repeated::new(self.links, LINKS, ITEM_DEPTH_LEFT).map(|bytes| Link::parse(bytes?))
    }
}

impl<'a> Status<'a> {
    fn merge(&mut self, bytes: &'a [u8]) -> Result<(), Malformed> {
        let mut reader = Reader::nested(bytes, PART_DEPTH_LEFT);
        while let Some(field) = reader.next()? {
            match field.number {
                2 => self.message = field.bytes()?,
                3 => self.code = field.int32()?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> Event<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut event = Event::default();
        let mut attributes = Extent::default();
        let mut reader = Reader::nested(bytes, PART_DEPTH_LEFT);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => event.time_unix_nano = field.fixed64()?,
                2 => event.name = field.bytes()?,
                EVENT_ATTRIBUTES => {
                    field.bytes()?;
                    attributes.cover(field.offset, reader.offset());
                }
                4 => event.dropped_attributes_count = field.uint32()?,
                _ => {}
            }
        }
        event.attributes = attributes.of(bytes);
        Ok(event)
    }

    /// The attributes, in wire order.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.attributes, EVENT_ATTRIBUTES, PART_DEPTH_LEFT)
    }
}

impl<'a> Link<'a> {
    fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut link = Link::default();
        let mut attributes = Extent::default();
        let mut reader = Reader::nested(bytes, PART_DEPTH_LEFT);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => link.trace_id = field.bytes()?,
                2 => link.span_id = field.bytes()?,
                3 => link.trace_state = field.bytes()?,
                LINK_ATTRIBUTES => {
                    field.bytes()?;
                    attributes.cover(field.offset, reader.offset());
                }
                5 => link.dropped_attributes_count = field.uint32()?,
                6 => link.flags = field.fixed32()?,
                _ => {}
            }
        }
        link.attributes = attributes.of(bytes);
        Ok(link)
    }

    /// The attributes, in wire order.
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.attributes, LINK_ATTRIBUTES, PART_DEPTH_LEFT)
    }
}

const ATTRIBUTES: u32 = 9;
const EVENTS: u32 = 11;
const LINKS: u32 = 13;
const EVENT_ATTRIBUTES: u32 = 3;
const LINK_ATTRIBUTES: u32 = 4;

/// Levels that may nest below an event, a link or a status.
const PART_DEPTH_LEFT: u32 = ITEM_DEPTH_LEFT - 1;
