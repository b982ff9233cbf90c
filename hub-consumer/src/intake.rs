//! What encoding a record's bytes are in: turns a record into a fragment of protobuf.
//!
//! Our header says it. A Collector's Kafka exporter writes no header, and with `encoding: otlp_json` it writes JSON, so
//! a record without the header that looks like JSON and holds nothing as protobuf is read as JSON.

use std::sync::Arc;

use bytes::Bytes;
use kafka_client::Record;
use telemetry_wire::{
    InspectLimits, Signal,
    headers::{Encoding, RecordHeaders},
    inspect, json,
};

use crate::{
    decode::NO_ITEMS,
    sink::{Fragment, Origin, Unreadable},
};

#[cfg(test)]
mod tests;

/// The reason of a record that is to be JSON and is none, or not that of such a request.
const MALFORMED_JSON: &str = "malformed_json";

/// The record names an encoding that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("encoding `{0}` is not known")]
struct UnknownEncoding(String);

/// JSON in which nothing of the request was found: another signal's, or no telemetry at all.
#[derive(Debug, thiserror::Error)]
#[error("the record is JSON without items; `{unknown_field}` is not a field of this request")]
struct NoItems {
    unknown_field: String,
}

/// The record as protobuf.
///
/// # Errors
/// The record is in an encoding that is not known, or is not what it says it is. It comes back whole.
pub fn open(signal: Signal, record: Record) -> Result<Fragment, (Fragment, Unreadable)> {
    let origin = Arc::new(Origin::from(record));
    let headers = origin.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
    match protobuf(signal, &origin.value, headers) {
        Ok(value) => Ok(Fragment::whole(origin, value)),
        Err(error) => {
            let value = origin.value.clone();
            Err((Fragment::whole(origin, value), error))
        }
    }
}

/// The value of a record with these headers as protobuf.
pub(crate) fn protobuf<'a>(
    signal: Signal,
    value: &Bytes,
    headers: impl IntoIterator<Item = (&'a str, &'a [u8])>,
) -> Result<Bytes, Unreadable> {
    match RecordHeaders::decode(headers).encoding {
        None if looks_like_json(value) => unlabelled(signal, value),
        None | Some(Encoding::OtlpProto) => Ok(value.clone()),
        Some(Encoding::OtlpJson) => from_json(signal, value),
        Some(Encoding::Other(name)) => Err(Unreadable::new("unknown_encoding", UnknownEncoding(name))),
    }
}

/// Whether the first byte that is no white space opens a JSON object. Protobuf may look so too: a line feed and a brace
/// begin a resource of 123 bytes.
fn looks_like_json(value: &[u8]) -> bool {
    value.iter().find(|byte| !b" \t\n\r".contains(byte)) == Some(&b'{')
}

/// JSON can by chance be well-formed protobuf, all of it fields that nobody knows; it must not vanish as a request
/// without items.
fn unlabelled(signal: Signal, value: &Bytes) -> Result<Bytes, Unreadable> {
    let as_protobuf = inspect(signal, value, &InspectLimits::default());
    if as_protobuf.as_ref().is_ok_and(|summary| summary.items > 0) {
        return Ok(value.clone());
    }
    match from_json(signal, value) {
        Err(error) if error.reason == MALFORMED_JSON && as_protobuf.is_ok() => Ok(value.clone()),
        read => read,
    }
}

fn from_json(signal: Signal, value: &[u8]) -> Result<Bytes, Unreadable> {
    let mut request = Vec::new();
    let read = json::transcode(signal, value, &mut request)
        .map_err(|error| Unreadable::new(MALFORMED_JSON, error))?;
    // What was just written is well-formed; nesting beyond the limit is found by whoever decodes it.
    let items = inspect(signal, &request, &InspectLimits::default()).map_or(1, |summary| summary.items);
    match read.unknown_field {
        Some(unknown_field) if items == 0 => Err(Unreadable::new(NO_ITEMS, NoItems { unknown_field })),
        _ => Ok(Bytes::from(request)),
    }
}
