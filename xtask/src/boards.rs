//! Boards: their packages, what is generated of them, and their preview.
//!
//! The packages lie outside the tree, one folder for each lock file, and the tree has a link to them.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::{grafana, steps::Steps};

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

/// Boards' own tests: queries, rules by promtool, the preview in a browser.
pub(crate) fn test(steps: &mut Steps) -> Result<()> {
    let promtool = Command::new(steps.root().join("target/debug/devstack")).arg("promtool").output();
    let promtool = promtool.context("ask devstack for promtool")?;
    let path = String::from_utf8_lossy(&promtool.stdout).trim().to_owned();
    if !promtool.status.success() || path.is_empty() {
        bail!("devstack has no promtool: {}", String::from_utf8_lossy(&promtool.stderr).trim());
    }
    let boards = steps.root().join("boards");
    let env = [("PROMTOOL".to_owned(), path)];
    steps.command_with(env.to_vec(), "tests of boards", &boards, "npm", &["test", "--silent"])
}

/// Takes the pictures of `docs/img` from the demo that is kept, and writes down when.
pub(crate) fn pictures(steps: &mut Steps) -> Result<()> {
    let demo = grafana::demo(steps)?;
    let url = demo
        .get("BOARDS_URL")
        .context("the demo that is kept serves no boards: install Node.js, then run it again")?;
    install(steps)?;
    let out = steps.root().join("docs/img").display().to_string();
    let trace = format!("trace_id={}", demo.get("FAILED_TRACE").map_or("", String::as_str));
    let options = ["--url", url, "--out", &out, "--from", "now-15m", "--var", &trace];
    let sizes = ["--width", "1280", "--width", "1920", "--theme", "dark"];
    npm(steps, "pictures", &[&["run", "--silent", "shots", "--"], &options[..], &sizes[..]].concat())?;
    let light = ["--width", "1280", "--theme", "light", "platform-overview"];
    npm(
        steps,
        "a picture on white",
        &[&["run", "--silent", "shots", "--"], &options[..], &light[..]].concat(),
    )?;
    let today = Command::new("date").args(["-u", "+%Y-%m-%d"]).output().context("ask for the date")?;
    let page = format!(
        "# Pictures\n\nTaken on {} from `make demo KEEP=1` with `make boards`: previews, drawn with Grafana's published components and not by Grafana.\n",
        String::from_utf8_lossy(&today.stdout).trim()
    );
    std::fs::write(steps.root().join("docs/img/README.md"), page)
        .context("write down when the pictures were taken")
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
