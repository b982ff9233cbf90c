//! Integration tests of the service runtime, one binary for the sake of link time.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test as the tests themselves do")]

mod admin;
mod client;
mod process;
mod run;
mod server;
mod telemetry;
mod tls_server;
