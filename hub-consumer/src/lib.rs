//! hub-consumer
