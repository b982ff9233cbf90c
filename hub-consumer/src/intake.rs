//! What a record's headers say about its bytes: turns a record into a fragment of protobuf.

use std::sync::Arc;

use bytes::Bytes;
use kafka_client::Record;
use telemetry_wire::{
    Signal,
    headers::{Encoding, RecordHeaders},
};

use crate::{
    decode::json_to_protobuf,
    sink::{Fragment, Origin, Unreadable},
};

/// The record names an encoding that this version does not know.
#[derive(Debug, thiserror::Error)]
#[error("encoding `{0}` is not known")]
struct UnknownEncoding(String);

/// The record as protobuf. Records without our headers are protobuf.
///
/// # Errors
/// The record is in an encoding that is not known, or is not what it says it is. It comes back whole.
pub fn open(signal: Signal, record: Record) -> Result<Fragment, (Fragment, Unreadable)> {
    let origin = Arc::new(Origin::from(record));
    let headers = origin.headers.iter().map(|(name, value)| (name.as_str(), value.as_ref()));
    let protobuf = match RecordHeaders::decode(headers).encoding {
        None | Some(Encoding::OtlpProto) => Ok(origin.value.clone()),
        Some(Encoding::OtlpJson) => json_to_protobuf(signal, &origin.value)
            .map(Bytes::from)
            .map_err(|error| Unreadable::new("malformed_json", error)),
        Some(Encoding::Other(name)) => Err(Unreadable::new("unknown_encoding", UnknownEncoding(name))),
    };
    match protobuf {
        Ok(value) => Ok(Fragment::whole(origin, value)),
        Err(error) => {
            let value = origin.value.clone();
            Err((Fragment::whole(origin, value), error))
        }
    }
}
