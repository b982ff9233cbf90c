//! telemetry-wire
