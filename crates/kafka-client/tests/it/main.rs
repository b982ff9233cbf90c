//! The Kafka client against brokers: librdkafka's mock cluster where the protocol's faults must be scripted, and the
//! real broker that `devstack` starts for what a mock does not do as the real one does.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail the test, as the tests do")]

mod backpressure;
mod broker;
mod cluster;
mod consumer;
mod member;
mod producer;
mod rebalance;
