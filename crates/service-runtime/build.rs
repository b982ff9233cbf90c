//! Tells the crate which compiler builds it, and from which commit, for `/version`.

use std::env;

#[path = "commit.rs"]
mod commit;

#[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn main() {
    let rustc = env::var("RUSTC").unwrap_or_else(|_| "rustc".to_owned());
    let version = commit::output(&rustc, &["--version"]);
    println!("cargo::rustc-env=SERVICE_RUNTIME_RUSTC={}", version.as_deref().unwrap_or("unknown"));
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=commit.rs");
    commit::tell("SERVICE_RUNTIME_COMMIT");
}
