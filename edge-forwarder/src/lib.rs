//! edge-forwarder
