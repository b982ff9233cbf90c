//! The Menu API as its users see it: the real program, over real sockets, its real stdout, and a real OTLP receiver.

mod answers;
mod lifecycle;
mod load;
mod log_lines;
mod program;
mod receiver;
mod tracing;
