//! The three outer levels of a request — request, resource group, scope group — which all signals share: the field
//! numbers of `ResourceLogs`, `ResourceSpans` and `ResourceMetrics` are the same, and so are those of their scopes.
//!
//! A resource or scope may come after the groups or items it belongs to; parsing a group therefore reads all its fields
//! once, passing over the inner ones, and iteration reads the inner ones in a second pass.

use crate::common::{Attributes, Extent};
use crate::pb::{MAX_DEPTH, Malformed, Reader, Repeated};
use std::borrow::Cow;

/// The bytes of an `Export{Logs,Trace,Metrics}ServiceRequest`, or several of them concatenated.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    bytes: &'a [u8],
}

/// `ResourceLogs`, `ResourceSpans` or `ResourceMetrics`.
#[derive(Debug, Clone)]
pub struct ResourceGroup<'a> {
    /// The resource; empty when the group has none.
    pub resource: Resource<'a>,
    /// The schema URL of the resource.
    pub schema_url: &'a [u8],
    scopes: &'a [u8],
}

/// A resource, identified by its attributes.
#[derive(Debug, Clone, Default)]
pub struct Resource<'a> {
    bytes: Cow<'a, [u8]>,
}

/// `ScopeLogs`, `ScopeSpans` or `ScopeMetrics`.
#[derive(Debug, Clone)]
pub struct ScopeGroup<'a> {
    /// The instrumentation scope; empty when the group has none.
    pub scope: Scope<'a>,
    /// The schema URL of the scope and its items.
    pub schema_url: &'a [u8],
    items: &'a [u8],
}

/// An instrumentation scope.
#[derive(Debug, Clone, Default)]
pub struct Scope<'a> {
    /// The name of the scope.
    pub name: &'a [u8],
    /// The version of the scope.
    pub version: &'a [u8],
    bytes: Cow<'a, [u8]>,
}

impl<'a> Request<'a> {
    /// A request over `bytes`; nothing is read yet.
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { bytes }
    }

    /// The resource groups, in wire order.
    pub fn resources(self) -> impl Iterator<Item = Result<ResourceGroup<'a>, Malformed>> {
        Repeated::new(self.bytes, GROUPS, MAX_DEPTH).map(|bytes| ResourceGroup::parse(bytes?))
    }
}

impl<'a> ResourceGroup<'a> {
    /// Reads one resource group.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut group = ResourceGroup { resource: Resource::default(), schema_url: &[], scopes: &[] };
        let mut scopes = Extent::default();
        let mut reader = Reader::nested(bytes, GROUP_DEPTH_LEFT);
        while let Some(field) = reader.next()? {
            match field.number {
                OWNER => append(&mut group.resource.bytes, field.bytes()?),
                INNER => {
                    field.bytes()?;
                    scopes.cover(field.offset, reader.offset());
                }
                SCHEMA_URL => group.schema_url = field.bytes()?,
                _ => {}
            }
        }
        group.scopes = scopes.of(bytes);
        Ok(group)
    }

    /// The scope groups, in wire order.
    pub fn scopes(&self) -> impl Iterator<Item = Result<ScopeGroup<'a>, Malformed>> + use<'a> {
        Repeated::new(self.scopes, INNER, GROUP_DEPTH_LEFT).map(|bytes| ScopeGroup::parse(bytes?))
    }
}

impl Resource<'_> {
    /// The encoded resource; equal bytes are an equal resource, so that what was derived from them can be kept.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The attributes, in wire order.
    pub fn attributes(&self) -> Attributes<'_> {
        Attributes::new(&self.bytes, 1, SCOPE_DEPTH_LEFT)
    }
}

impl<'a> ScopeGroup<'a> {
    /// Reads one scope group.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, Malformed> {
        let mut group = ScopeGroup { scope: Scope::default(), schema_url: &[], items: &[] };
        let mut items = Extent::default();
        let mut reader = Reader::nested(bytes, SCOPE_DEPTH_LEFT);
        while let Some(field) = reader.next()? {
            match field.number {
                OWNER => group.scope.merge(field.bytes()?)?,
                INNER => {
                    field.bytes()?;
                    items.cover(field.offset, reader.offset());
                }
                SCHEMA_URL => group.schema_url = field.bytes()?,
                _ => {}
            }
        }
        group.items = items.of(bytes);
        Ok(group)
    }

    /// The encoded items, in wire order: log records, spans or metrics, to be read by [`crate::logs::LogRecord`],
    /// [`crate::traces::Span`] or [`crate::metrics::Metric`].
    pub fn items(&self) -> Repeated<'a> {
        Repeated::new(self.items, INNER, SCOPE_DEPTH_LEFT)
    }
}

impl<'a> Scope<'a> {
    /// The encoded scope; equal bytes are an equal scope.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The attributes, in wire order.
    pub fn attributes(&self) -> Attributes<'_> {
        Attributes::new(&self.bytes, 3, ITEM_DEPTH_LEFT)
    }

    fn merge(&mut self, bytes: &'a [u8]) -> Result<(), Malformed> {
        let mut reader = Reader::nested(bytes, ITEM_DEPTH_LEFT);
        while let Some(field) = reader.next()? {
            match field.number {
                1 => self.name = field.bytes()?,
                2 => self.version = field.bytes()?,
                _ => {}
            }
        }
        append(&mut self.bytes, bytes);
        Ok(())
    }
}

/// The field of a request that holds resource groups.
pub(crate) const GROUPS: u32 = 1;
/// The field of a group that holds its resource or scope.
pub(crate) const OWNER: u32 = 1;
/// The field of a group that holds its scope groups or items.
pub(crate) const INNER: u32 = 2;
/// The field of a group that holds its schema URL.
pub(crate) const SCHEMA_URL: u32 = 3;

/// Levels that may nest below a resource group.
pub(crate) const GROUP_DEPTH_LEFT: u32 = MAX_DEPTH - 1;
/// Levels that may nest below a scope group or a resource.
pub(crate) const SCOPE_DEPTH_LEFT: u32 = MAX_DEPTH - 2;
/// Levels that may nest below an item or a scope.
pub(crate) const ITEM_DEPTH_LEFT: u32 = MAX_DEPTH - 3;

/// Merges one more occurrence of a singular message: the concatenation of both.
pub(crate) fn append<'a>(merged: &mut Cow<'a, [u8]>, more: &'a [u8]) {
    if merged.is_empty() {
        *merged = Cow::Borrowed(more);
    } else if !more.is_empty() {
        merged.to_mut().extend_from_slice(more);
    }
}
