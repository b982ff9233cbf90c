//! Records in OTLP/JSON, as a Collector with `encoding: otlp_json` writes them, turned into the protobuf that everything
//! else reads. Nothing of ours writes them, so this path is kept simple rather than fast.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use serde::de::DeserializeOwned;
use telemetry_wire::Signal;

/// The protobuf of the OTLP/JSON request in `json`.
///
/// # Errors
/// When it is no JSON, or not a request of that signal.
pub(crate) fn json_to_protobuf(signal: Signal, json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    match signal {
        Signal::Logs => transcode::<ExportLogsServiceRequest>(json),
        Signal::Traces => transcode::<ExportTraceServiceRequest>(json),
        Signal::Metrics => transcode::<ExportMetricsServiceRequest>(json),
    }
}

fn transcode<T: DeserializeOwned + Message>(json: &[u8]) -> Result<Vec<u8>, serde_json::Error> {
    Ok(serde_json::from_slice::<T>(json)?.encode_to_vec())
}
