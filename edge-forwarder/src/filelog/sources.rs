//! What is said of a log beside its lines: the resource that they come from.

use std::{collections::BTreeMap, path::Path, time::Instant};

use telemetry_wire::pb;

/// `log.file.path` of the semantic conventions.
const LOG_FILE_PATH: &str = "log.file.path";

/// Fields of `KeyValue`, `AnyValue`, `Resource`, `LogRecord`.
const KEY: u32 = 1;
const VALUE: u32 = 2;
const STRING_VALUE: u32 = 1;
const RESOURCE_ATTRIBUTES: u32 = 1;
const RECORD_ATTRIBUTES: u32 = 6;

/// Where logs come from.
#[derive(Debug)]
pub(super) struct Sources {
    /// An encoded `Resource`.
    fixed: Vec<u8>,
}

impl Sources {
    /// `resource` is said of all of them.
    pub(super) fn new(resource: &BTreeMap<String, String>) -> Sources {
        let mut fixed = Vec::new();
        for (name, value) in resource {
            put_string_attribute(&mut fixed, RESOURCE_ATTRIBUTES, name, value);
        }
        Sources { fixed }
    }

    /// Whether the log is to be read.
    pub(super) fn is_wanted(&self, _path: &Path) -> bool {
        true
    }

    /// The encoded `Resource` of a log; `None` while it is worth waiting for more to be known.
    pub(super) fn resource_of(&mut self, _path: &Path, _now: Instant) -> Option<Vec<u8>> {
        Some(self.fixed.clone())
    }

    /// The encoded attributes that every record of a log has.
    pub(super) fn attributes_of(&self, path: &Path, attributes: &mut Vec<u8>) {
        attributes.clear();
        put_string_attribute(attributes, RECORD_ATTRIBUTES, LOG_FILE_PATH, &path.to_string_lossy());
    }
}

fn put_string_attribute(out: &mut Vec<u8>, field: u32, name: &str, value: &str) {
    let value_bytes = pb::len_field_size(STRING_VALUE, value.len());
    let bytes = pb::len_field_size(KEY, name.len()) + pb::len_field_size(VALUE, value_bytes);
    pb::put_len_header(out, field, bytes);
    pb::put_len_field(out, KEY, name.as_bytes());
    pb::put_len_header(out, VALUE, value_bytes);
    pb::put_len_field(out, STRING_VALUE, value.as_bytes());
}
