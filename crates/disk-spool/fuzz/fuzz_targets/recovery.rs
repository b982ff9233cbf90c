//! Any bytes in a spool's directory: it opens, hands out what is good, takes an append, and opens again.
#![no_main]

#[path = "../script.rs"]
mod script;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| script::run(data));
