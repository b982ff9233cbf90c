//! The servers that all tests of a process share.

use std::sync::OnceLock;

use crate::{Endpoints, Stack, StackOptions};

/// The servers of this test run: those named in the environment (as `cargo xtask test` does, and a user may), else a
/// stack that is started at the first call and ends with this process. Topics and databases are the test's own.
///
/// # Panics
/// When the servers cannot be had, with the reason: a test that asks for them cannot go on.
pub fn shared() -> &'static Endpoints {
    static SHARED: OnceLock<Stack> = OnceLock::new();
    let stack = SHARED.get_or_init(|| match Stack::up(StackOptions::default()) {
        Ok(stack) => stack,
        Err(error) => panic!("the shared servers cannot be had: {}", chain(&error)),
    });
    stack.endpoints()
}

fn chain(error: &dyn std::error::Error) -> String {
    let cause = error.source().map(|cause| format!(": {}", chain(cause))).unwrap_or_default();
    format!("{error}{cause}")
}
