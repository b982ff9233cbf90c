//! Boards: their packages, what is generated of them, and their preview.
//!
//! The packages lie outside the tree, one folder for each lock file, and the tree has a link to them.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::steps::Steps;

/// What `npm ci` reads.
const INPUTS: [&str; 3] = ["package.json", "package-lock.json", ".npmrc"];

/// Whether npm is there. Only boards need it: who has none still has a demo.
pub(crate) fn has_npm() -> bool {
    Command::new("npm").arg("--version").output().is_ok_and(|output| output.status.success())
}

/// Installs the packages of `boards/` into the cache, unless they are there, and links them into the tree.
pub(crate) fn install(steps: &mut Steps) -> Result<()> {
    if !has_npm() {
        bail!("npm is missing: install Node.js 20 or later, on Debian with: sudo apt-get install -y npm");
    }
    let boards = steps.root().join("boards");
    let mut hasher = DefaultHasher::new();
    for name in INPUTS {
        std::fs::read(boards.join(name)).with_context(|| format!("read boards/{name}"))?.hash(&mut hasher);
    }
    let folder = cache().join(format!("boards-{:016x}", hasher.finish()));
    let packages = folder.join("node_modules");
    if !packages.is_dir() {
        let draft = folder.with_extension("draft");
        match std::fs::remove_dir_all(&draft) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                return Err(error).with_context(|| format!("remove {}", draft.display()));
            }
            _ => std::fs::create_dir_all(&draft).with_context(|| format!("create {}", draft.display()))?,
        }
        for name in INPUTS {
            std::fs::copy(boards.join(name), draft.join(name))
                .with_context(|| format!("copy boards/{name}"))?;
        }
        steps.command("install the packages of boards", &draft, "npm", &["ci", "--no-audit", "--no-fund"])?;
        std::fs::rename(&draft, &folder).with_context(|| format!("rename {}", draft.display()))?;
    }
    link(&packages, &boards.join("node_modules"))
}

/// Writes `dashboards/`, `docs/metrics.md` and what else is generated.
pub(crate) fn generate(steps: &mut Steps) -> Result<()> {
    npm(steps, "generate boards and rules", &["run", "--silent", "generate"])
}

/// Fails when what is committed is not what would be generated, or the generator does not compile.
pub(crate) fn check(steps: &mut Steps) -> Result<()> {
    npm(steps, "types of boards", &["run", "--silent", "check"])?;
    let before = generated(steps.root())?;
    generate(steps)?;
    if generated(steps.root())? != before {
        bail!(
            "dashboards/ and docs/metrics.md were not what boards/src generates; they are now: look at `git diff`"
        );
    }
    Ok(())
}

/// Runs npm in `boards/`.
pub(crate) fn npm(steps: &mut Steps, name: &str, args: &[&str]) -> Result<()> {
    let boards = steps.root().join("boards");
    steps.command(name, &boards, "npm", args)
}

/// Every generated file with its text.
fn generated(root: &Path) -> Result<Vec<(PathBuf, String)>> {
    let mut files = vec![root.join("docs/metrics.md")];
    for folder in ["dashboards", "dashboards/rules"] {
        for entry in std::fs::read_dir(root.join(folder)).with_context(|| format!("list {folder}"))? {
            files.push(entry.with_context(|| format!("list {folder}"))?.path());
        }
    }
    files.retain(|file| file.is_file());
    files.sort();
    files
        .into_iter()
        .map(|file| {
            let text = std::fs::read_to_string(&file).with_context(|| format!("read {}", file.display()))?;
            Ok((file, text))
        })
        .collect()
}

/// Where devstack keeps its servers too.
fn cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("EVENTLINE_CACHE")
        .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("eventline")))
        .or_else(|| std::env::home_dir().map(|home| home.join(".cache/eventline")))
        .unwrap_or_else(|| std::env::temp_dir().join("eventline-cache"))
}

/// Points `place` at `target`. Packages that a person has installed there by hand stay.
fn link(target: &Path, place: &Path) -> Result<()> {
    match std::fs::read_link(place) {
        Ok(now) if now == target => return Ok(()),
        Ok(_) => std::fs::remove_file(place).context("remove the old link to boards' packages")?,
        Err(_) if place.is_dir() => return Ok(()),
        Err(_) => {}
    }
    std::os::unix::fs::symlink(target, place).context("link boards' packages into the tree")
}
