//! mock-service
