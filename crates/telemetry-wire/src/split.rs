//! Cuts a request into records.
