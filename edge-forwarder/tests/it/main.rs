//! The edge as its senders see it: real ports, real requests, and a real broker where records have to be found again.

#![allow(clippy::unwrap_used, reason = "a test that meets an error has failed")]

mod accepted;
mod broker;
mod drain;
mod kubernetes;
mod offline;
mod refused;
mod requests;
mod runbook;
mod seen;
mod senders;
mod spool;
mod starve;
mod support;
