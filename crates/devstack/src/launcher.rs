//! Finds `devstack-launch`, and builds it when a test of another crate is the first to need it.
//!
//! Cargo builds a package's programs for its own tests only, so `cargo test -p SOME-OTHER-CRATE` alone would find none.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::SystemTime;

use crate::{Error, Result, command};

const NAME: &str = "devstack-launch";
const MANIFEST: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml");
const SOURCE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/src/bin/devstack-launch.rs");

/// The launcher's path. Looked for beside this program and, for tests, in the folder above.
pub(crate) fn path() -> Result<PathBuf> {
    static FOUND: Mutex<Option<PathBuf>> = Mutex::new(None);
    let mut found = FOUND.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(path) = &*found {
        return Ok(path.clone());
    }
    let this = std::env::current_exe().map_err(Error::io("find this program's own path"))?;
    let folder = profile_folder(&this);
    let path = folder.join(NAME);
    if is_stale(&path) {
        build(&folder)?;
    }
    *found = Some(path.clone());
    Ok(path)
}

/// A command that becomes `program` and is killed by the kernel when the calling thread ends; add its arguments.
///
/// # Errors
/// The launcher cannot be found or built.
pub fn tethered(program: &Path) -> Result<Command> {
    let mut command = Command::new(path()?);
    command.arg("exec").arg(std::process::id().to_string()).arg(program);
    Ok(command)
}

/// `target/debug` for `target/debug/devstack` and for `target/debug/deps/it-1234`.
fn profile_folder(program: &Path) -> PathBuf {
    let folder = program.parent().unwrap_or(Path::new("/"));
    match folder.file_name().and_then(|name| name.to_str()) {
        Some("deps" | "examples") => folder.parent().unwrap_or(folder).to_path_buf(),
        _ => folder.to_path_buf(),
    }
}

/// Missing, or older than its source; a launcher that was copied to a machine without sources is never stale.
fn is_stale(launcher: &Path) -> bool {
    let modified = |path: &Path| std::fs::metadata(path).and_then(|file| file.modified()).ok();
    match (modified(launcher), modified(Path::new(SOURCE))) {
        (None, _) => true,
        (Some(built), written) => written.unwrap_or(SystemTime::UNIX_EPOCH) > built,
    }
}

fn build(folder: &Path) -> Result<()> {
    let target = folder.parent().unwrap_or(folder);
    // Cargo's dev profile is the one whose folder has another name.
    let profile = match folder.file_name().and_then(|name| name.to_str()) {
        None | Some("debug") => "dev",
        Some(name) => name,
    };
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--manifest-path", MANIFEST, "--bin", NAME, "--profile", profile]);
    cargo.arg("--target-dir").arg(target);
    command::run("build devstack-launch", &mut cargo, |_| {})
}
