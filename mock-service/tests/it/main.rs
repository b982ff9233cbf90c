//! The Menu API as its users see it: the real program, over real sockets, its real stdout, and a real OTLP receiver.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking, its helpers too")]

mod answers;
mod lifecycle;
mod load;
mod log_lines;
mod orders;
mod program;
mod receiver;
mod tracing;
