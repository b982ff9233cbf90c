//! hub-consumer against the real servers, and against stubs where a reply must be scripted.

mod blocks;
mod database;
mod decode;
mod insert;
mod line;
mod migrate;
mod native_block;
mod oracle;
mod pipeline;
