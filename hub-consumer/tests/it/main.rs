//! hub-consumer against the real servers, and against stubs where a reply must be scripted.

mod blocks;
mod database;
mod insert;
mod native_block;
