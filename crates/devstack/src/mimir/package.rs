//! Mimir, built from its Go module. `mimir/go.sum` pins every module that goes in.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::go;
use crate::cache::Cache;
use crate::progress::Task;
use crate::{Error, Result, checksum, command};

/// The module's version. Release tags do not resolve as a module, so it is a commit of the main branch.
const VERSION: &str = "1.3.1-0.20260423142704-aced80d74930";
const MAIN: &str = "github.com/grafana/mimir/cmd/mimir";
/// Our own module: Mimir's needs the replacements of its go.mod, which count only in the main module.
const GO_MOD: &str = include_str!("../../mimir/go.mod");
/// Upstream's, because the public checksum database has no entry for some of the replacements.
const GO_SUM: &str = include_str!("../../mimir/go.sum");

/// A built Mimir.
#[derive(Debug)]
pub(crate) struct Package {
    folder: PathBuf,
}

impl Package {
    /// Builds Mimir into the cache, unless it is there.
    pub(crate) fn fetch(cache: &Cache, task: &Task) -> Result<Self> {
        let inputs = checksum::fingerprint(&[GO_MOD.as_bytes(), GO_SUM.as_bytes()]);
        let key = format!("mimir-{VERSION}-{}-{inputs}", std::env::consts::ARCH);
        let folder = cache.entry(&key, task, |draft| {
            let go = go::toolchain(cache, task)?;
            build(&go, draft, task)
        })?;
        Ok(Self { folder })
    }

    /// The program.
    pub(crate) fn program(&self) -> PathBuf {
        self.folder.join("mimir")
    }
}

fn build(go: &Path, draft: &Path, task: &Task) -> Result<()> {
    let sums = draft.join("go.sum");
    std::fs::write(draft.join("go.mod"), GO_MOD).map_err(Error::io("write Mimir's go.mod"))?;
    std::fs::write(&sums, GO_SUM).map_err(Error::io("write Mimir's go.sum"))?;

    task.say("fetching Mimir's modules");
    let mut list = go_command(go, draft);
    list.args(["list", "-mod=mod", "-deps", "-f", "{{.ImportPath}}", MAIN]);
    let packages = command::output("fetch Mimir's modules by go", &mut list)?.lines().count();

    task.say(format!("compiling {packages} packages; about 10 minutes of two cores the first time"));
    let mut compile = go_command(go, draft);
    compile.args(["build", "-v", "-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o"]);
    compile.arg(draft.join("mimir")).arg(MAIN);
    let mut compiled = 0;
    command::run("compile Mimir by go", &mut compile, |_| {
        compiled += 1;
        task.say_how_far(format!("compiling: {compiled} of at most {packages} packages"));
    })?;

    // `-mod=mod` may add a sum that is missing. Then something went in that is not pinned.
    let after = std::fs::read_to_string(&sums).map_err(Error::io("read Mimir's go.sum"))?;
    if after == GO_SUM {
        return Ok(());
    }
    let added = after.lines().filter(|line| !GO_SUM.contains(line)).collect::<Vec<_>>().join(", ");
    Err(Error::Files {
        folder: draft.to_path_buf(),
        difference: format!("modules without a pinned sum [{added}]"),
    })
}

fn go_command(go: &Path, folder: &Path) -> Command {
    let mut command = Command::new(go);
    command.current_dir(folder);
    // What decides about the result is stated here, not in the user's environment.
    command.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOWORK", "off");
    command
}
