//! Runs the TypeScript half of a test: Node.js on a script of `boards/`.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};
use devstack::Endpoints;

/// Runs Node.js in `boards/` with these arguments, TypeScript allowed, and returns what it printed.
///
/// # Errors
/// Node.js or the packages are missing, or it ends with a failure; what it printed is in the error.
pub async fn node(args: &[&str], env: &[(&str, String)]) -> Result<String> {
    let boards = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../boards"));
    let program = ready(boards, std::env::var_os("PATH").as_deref())?;
    let mut command = Command::new(program);
    command.args(["--import", "tsx"]).args(args).current_dir(boards);
    command.envs(env.iter().map(|(name, value)| (*name, value)));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let running = tokio::task::spawn_blocking(move || command.output());
    let Output { status, stdout, stderr } = running.await.context("wait for node")?.context("start node")?;
    let printed = String::from_utf8_lossy(&stdout).into_owned();
    if !status.success() {
        bail!("node {} ended with {status}\n{printed}\n{}", args.join(" "), String::from_utf8_lossy(&stderr));
    }
    Ok(printed)
}

/// Where the stores of a line of this name are, and the truth of what they hold, for what asks them in `boards/`.
#[must_use]
pub fn environment(endpoints: &Endpoints, name: &str, facts: &Path) -> [(&'static str, String); 5] {
    [
        ("CLICKHOUSE_URL", endpoints.clickhouse_url.clone()),
        ("CLICKHOUSE_DATABASE", name.to_owned()),
        ("MIMIR_URL", endpoints.mimir_url.clone()),
        ("MIMIR_TENANT", name.to_owned()),
        ("BOARDS_FACTS", facts.display().to_string()),
    ]
}

/// The program that is to be run, once everything is there that it needs.
fn ready(boards: &Path, path: Option<&OsStr>) -> Result<PathBuf> {
    let folders = path.map(std::env::split_paths).into_iter().flatten();
    let node = folders.map(|folder| folder.join("node")).find(|file| file.is_file());
    let node = node.context(
        "Node.js is missing: install version 20 or later, on Debian with `sudo apt-get install -y nodejs npm`",
    )?;
    if !boards.join("node_modules/tsx").exists() {
        bail!("boards/node_modules is missing: `cargo xtask dashboards` installs the packages of boards");
    }
    Ok(node)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_missing_is_named_with_the_command_that_brings_it() {
        let empty = tempfile::tempdir().unwrap();
        let path = || Some(empty.path().as_os_str());
        assert!(ready(empty.path(), path()).unwrap_err().to_string().contains("install -y nodejs npm"));
        std::fs::write(empty.path().join("node"), "").unwrap();
        assert!(ready(empty.path(), path()).unwrap_err().to_string().contains("cargo xtask dashboards"));
        std::fs::create_dir_all(empty.path().join("node_modules/tsx")).unwrap();
        assert_eq!(ready(empty.path(), path()).unwrap(), empty.path().join("node"));
    }
}
