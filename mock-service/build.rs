//! Tells the crate from which commit it is built, for `--version`.

#[path = "../crates/service-runtime/commit.rs"]
mod commit;

#[allow(clippy::print_stdout, reason = "this is how a build script speaks to cargo")]
fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=../crates/service-runtime/commit.rs");
    commit::tell("MOCK_SERVICE_COMMIT");
}
