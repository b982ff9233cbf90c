//! What the rows of one resource and one scope have in common, worked out once per block however often it comes.
//!
//! A record of a busy service repeats the same resource bytes thousands of times in a block. They are looked up by
//! their bytes; only new ones are parsed.

use telemetry_wire::common::find;
use telemetry_wire::logs::{ResourceLogs, ScopeLogs};
use telemetry_wire::pb::Malformed;

use super::attributes::{self, AttributeColumn, AttributeMap};
use super::text::{clean, put_text};
use crate::clickhouse::block::{put_string, put_varint};
use crate::clickhouse::dictionary::Dictionary;

/// The columns that come from a resource.
#[derive(Debug, Default)]
pub(super) struct Resources {
    pub(super) services: Dictionary,
    pub(super) schema_urls: Dictionary,
    pub(super) attributes: AttributeColumn,
    seen: Dictionary,
    entries: Vec<ResourceEntry>,
    scratch: Vec<u8>,
}

/// One resource with its schema URL.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResourceEntry {
    pub(super) service: u32,
    pub(super) schema_url: u32,
    pub(super) attributes: AttributeMap,
}

/// The columns that come from an instrumentation scope.
#[derive(Debug, Default)]
pub(super) struct Scopes {
    pub(super) schema_urls: Dictionary,
    pub(super) names: Dictionary,
    pub(super) versions: Dictionary,
    pub(super) attributes: AttributeColumn,
    seen: Dictionary,
    entries: Vec<ScopeEntry>,
    scratch: Vec<u8>,
}

/// One scope with its schema URL.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScopeEntry {
    pub(super) schema_url: u32,
    pub(super) name: u32,
    pub(super) version: u32,
    pub(super) attributes: AttributeMap,
}

/// The resource and scope that the rows of one group have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct Group {
    pub(super) resource: u32,
    pub(super) scope: u32,
    /// The most bytes of block that each row takes whatever is in it: what has a fixed width, and what it repeats of its
    /// resource and scope.
    pub(super) row_bytes: usize,
}

/// Where the resources stood, to go back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ResourcesMark {
    services: usize,
    schema_urls: usize,
    attributes: attributes::Mark,
    entries: usize,
}

/// Where the scopes stood, to go back to.
#[derive(Clone, Copy, Debug)]
pub(super) struct ScopesMark {
    schema_urls: usize,
    names: usize,
    versions: usize,
    attributes: attributes::Mark,
    entries: usize,
}

impl Resources {
    /// The number of the group's resource.
    pub(super) fn number(&mut self, group: &ResourceLogs<'_>) -> Result<u32, Malformed> {
        frame(&mut self.scratch, group.resource.as_bytes(), group.schema_url);
        let number = self.seen.intern(&self.scratch);
        if number as usize == self.entries.len() {
            self.add(group)?;
        }
        Ok(number)
    }

    pub(super) fn get(&self, number: u32) -> &ResourceEntry {
        &self.entries[number as usize]
    }

    fn add(&mut self, group: &ResourceLogs<'_>) -> Result<(), Malformed> {
        self.scratch.clear();
        if let Some(service) = find(group.resource.attributes(), b"service.name")? {
            put_text(&mut self.scratch, &service)?;
        }
        let attributes = self.attributes.push(group.resource.attributes())?;
        let schema_url = self.schema_urls.intern(&clean(group.schema_url));
        let service = self.services.intern(&self.scratch);
        self.entries.push(ResourceEntry { service, schema_url, attributes });
        Ok(())
    }

    /// Memory that is taken whether or not a row refers to it; no less than what the block keeps once.
    pub(super) fn held_bytes(&self) -> usize {
        self.seen.held_bytes()
            + self.entries.len() * size_of::<ResourceEntry>()
            + self.services.held_bytes()
            + self.schema_urls.held_bytes()
            + self.attributes.held_bytes()
    }

    pub(super) fn mark(&self) -> ResourcesMark {
        ResourcesMark {
            services: self.services.len(),
            schema_urls: self.schema_urls.len(),
            attributes: self.attributes.mark(),
            entries: self.entries.len(),
        }
    }

    pub(super) fn rollback(&mut self, mark: ResourcesMark) {
        self.services.truncate(mark.services);
        self.schema_urls.truncate(mark.schema_urls);
        self.attributes.rollback(mark.attributes);
        self.seen.truncate(mark.entries);
        self.entries.truncate(mark.entries);
    }

    pub(super) fn clear(&mut self) {
        self.services.clear();
        self.schema_urls.clear();
        self.attributes.clear();
        self.seen.clear();
        self.entries.clear();
    }
}

impl Scopes {
    /// The number of the group's scope.
    pub(super) fn number(&mut self, group: &ScopeLogs<'_>) -> Result<u32, Malformed> {
        frame(&mut self.scratch, group.scope.as_bytes(), group.schema_url);
        let number = self.seen.intern(&self.scratch);
        if number as usize == self.entries.len() {
            self.add(group)?;
        }
        Ok(number)
    }

    pub(super) fn get(&self, number: u32) -> &ScopeEntry {
        &self.entries[number as usize]
    }

    fn add(&mut self, group: &ScopeLogs<'_>) -> Result<(), Malformed> {
        let attributes = self.attributes.push(group.scope.attributes())?;
        self.entries.push(ScopeEntry {
            schema_url: self.schema_urls.intern(&clean(group.schema_url)),
            name: self.names.intern(&clean(group.scope.name)),
            version: self.versions.intern(&clean(group.scope.version)),
            attributes,
        });
        Ok(())
    }

    /// Memory that is taken whether or not a row refers to it; no less than what the block keeps once.
    pub(super) fn held_bytes(&self) -> usize {
        self.seen.held_bytes()
            + self.entries.len() * size_of::<ScopeEntry>()
            + self.schema_urls.held_bytes()
            + self.names.held_bytes()
            + self.versions.held_bytes()
            + self.attributes.held_bytes()
    }

    pub(super) fn mark(&self) -> ScopesMark {
        ScopesMark {
            schema_urls: self.schema_urls.len(),
            names: self.names.len(),
            versions: self.versions.len(),
            attributes: self.attributes.mark(),
            entries: self.entries.len(),
        }
    }

    pub(super) fn rollback(&mut self, mark: ScopesMark) {
        self.schema_urls.truncate(mark.schema_urls);
        self.names.truncate(mark.names);
        self.versions.truncate(mark.versions);
        self.attributes.rollback(mark.attributes);
        self.seen.truncate(mark.entries);
        self.entries.truncate(mark.entries);
    }

    pub(super) fn clear(&mut self) {
        self.schema_urls.clear();
        self.names.clear();
        self.versions.clear();
        self.attributes.clear();
        self.seen.clear();
        self.entries.clear();
    }
}

/// Puts both parts into `out` so that different pairs never look alike.
fn frame(out: &mut Vec<u8>, owner: &[u8], schema_url: &[u8]) {
    out.clear();
    put_varint(out, owner.len() as u64);
    out.extend_from_slice(owner);
    put_string(out, schema_url);
}
