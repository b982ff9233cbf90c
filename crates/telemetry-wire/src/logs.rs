//! Log records, read in place.
//!
//! ```
//! # use telemetry_wire::{logs, Malformed};
//! # fn walk(bytes: &[u8]) -> Result<(), Malformed> {
//! for group in logs::Request::new(bytes).resources() {
//!     for scope in group?.scopes() {
//!         for item in scope?.items() {
//!             let record = logs::LogRecord::parse(item?)?;
//!             for attribute in record.attributes() {
//!                 let _ = attribute?.key;
//!             }
//!         }
//!     }
//! }
//! # Ok(())
//! # }
//! ```

use crate::common::{AnyValue, Attributes, Extent};
use crate::envelope::ITEM_DEPTH_LEFT;
pub use crate::envelope::{Request, ResourceGroup as ResourceLogs, ScopeGroup as ScopeLogs};
use crate::pb::{Malformed, Reader};

/// One log record. Strings are bytes as received; ids have any length the sender chose.
#[derive(Debug, Clone, Default)]
pub struct LogRecord<'a> {
    /// When the event happened, in nanoseconds since the epoch; 0 when unknown.
    pub time_unix_nano: u64,
    /// When the event was observed, in nanoseconds since the epoch.
    pub observed_time_unix_nano: u64,
    /// Severity, 0 (unspecified) to 24; any number the sender wrote.
    pub severity_number: i32,
    /// Severity as the source spelled it.
    pub severity_text: &'a [u8],
    /// The body.
    pub body: AnyValue<'a>,
    /// Attributes the sender dropped.
    pub dropped_attributes_count: u32,
    /// The low 8 bits are W3C trace flags.
    pub flags: u32,
    /// 16 bytes, or empty.
    pub trace_id: &'a [u8],
    /// 8 bytes, or empty.
    pub span_id: &'a [u8],
    /// The event's name; empty when the record is no event.
    pub event_name: &'a [u8],
    attributes: &'a [u8],
}

impl<'a> LogRecord<'a> {
    /// Reads one log record; its attributes are read as they are iterated.
    #[inline]
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut record = LogRecord::default();
        let mut attributes = Extent::default();
        let mut reader = Reader::nested(bytes, ITEM_DEPTH_LEFT);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => record.time_unix_nano = field.fixed64()?,
                2 => record.severity_number = field.int32()?,
                3 => record.severity_text = field.bytes()?,
                5 => record.body.merge(field.bytes()?, reader.enter()?)?,
                ATTRIBUTES => {
                    field.bytes()?;
                    attributes.cover(field.offset, reader.offset());
                }
                7 => record.dropped_attributes_count = field.uint32()?,
                8 => record.flags = field.fixed32()?,
                9 => record.trace_id = field.bytes()?,
                10 => record.span_id = field.bytes()?,
                11 => record.observed_time_unix_nano = field.fixed64()?,
                12 => record.event_name = field.bytes()?,
                _ => {}
            }
        }
        record.attributes = attributes.of(bytes);
        Ok(record)
    }

    /// The attributes, in wire order.
    #[inline]
    pub fn attributes(&self) -> Attributes<'a> {
        Attributes::new(self.attributes, ATTRIBUTES, ITEM_DEPTH_LEFT)
    }
}

const ATTRIBUTES: u32 = 6;
