//! Programs built from Go modules. A `go.sum` pins every module that goes in.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::toolchain;
use crate::cache::Cache;
use crate::progress::{Progress, Task};
use crate::{Error, Result, checksum, command};

/// A module of our own around programs of others: replacements in a go.mod count only in the main module.
#[derive(Debug)]
pub(crate) struct Module {
    pub(crate) name: &'static str,
    pub(crate) version: &'static str,
    pub(crate) go_mod: &'static str,
    /// Upstream's where there is one: the public checksum database has no entry for some modules.
    pub(crate) go_sum: &'static str,
    /// A program of our own in it; empty when all programs are of the modules that it names.
    pub(crate) main_go: &'static str,
    /// The packages to build, each with the name of its program.
    pub(crate) programs: &'static [(&'static str, &'static str)],
    /// Build tags, separated by commas: of large programs, to leave out what is not needed here.
    pub(crate) tags: &'static str,
    /// What to tell a person who waits.
    pub(crate) takes: &'static str,
}

impl Module {
    /// The same for who only wants them to be there.
    pub(crate) fn fetch(&self, cache: &Cache, progress: &Progress) -> Result<PathBuf> {
        let task = progress.task(self.name);
        let built = self.build(cache, &task);
        task.done(if built.is_ok() { "built" } else { "failed" });
        built
    }

    /// Builds the programs into the cache, unless they are there; the folder that they are in.
    pub(crate) fn build(&self, cache: &Cache, task: &Task) -> Result<PathBuf> {
        let mut inputs = vec![self.go_mod.as_bytes(), self.go_sum.as_bytes()];
        if !self.main_go.is_empty() {
            inputs.push(self.main_go.as_bytes());
        }
        if !self.tags.is_empty() {
            inputs.push(self.tags.as_bytes());
        }
        let inputs = checksum::fingerprint(&inputs);
        let key = format!("{}-{}-{}-{inputs}", self.name, self.version, std::env::consts::ARCH);
        cache.entry(&key, task, |draft| {
            let go = toolchain(cache, task)?;
            self.build_in(&go, draft, task)
        })
    }

    fn build_in(&self, go: &Path, draft: &Path, task: &Task) -> Result<()> {
        let name = self.name;
        let write = |file: &str, text: &str| {
            std::fs::write(draft.join(file), text).map_err(Error::io(format!("write {name}'s {file}")))
        };
        write("go.mod", self.go_mod)?;
        write("go.sum", self.go_sum)?;
        if !self.main_go.is_empty() {
            write("main.go", self.main_go)?;
        }

        task.say(format!("fetching {name}'s modules"));
        let mains = self.programs.iter().map(|(main, _)| *main);
        let mut list = go_command(go, draft);
        list.args(["list", "-mod=mod", "-tags", self.tags, "-deps", "-f", "{{.ImportPath}}"]).args(mains);
        let packages = command::output(&format!("fetch {name}'s modules by go"), &mut list)?.lines().count();

        task.say(format!("compiling {packages} packages; {} the first time", self.takes));
        let mut compiled = 0;
        for (main, program) in self.programs {
            let mut compile = go_command(go, draft);
            compile.args(["build", "-v", "-mod=mod", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w"]);
            compile.args(["-tags", self.tags]).arg("-o").arg(draft.join(program)).arg(main);
            command::run(&format!("compile {program} by go"), &mut compile, |_| {
                compiled += 1;
                task.say_how_far(format!("compiling: {compiled} of at most {packages} packages"));
            })?;
        }

        // `-mod=mod` may add a sum that is missing. Then something went in that is not pinned.
        let sums = draft.join("go.sum");
        let after = std::fs::read_to_string(&sums).map_err(Error::io(format!("read {name}'s go.sum")))?;
        if after == self.go_sum {
            return Ok(());
        }
        let added = after.lines().filter(|line| !self.go_sum.contains(line)).collect::<Vec<_>>().join(", ");
        Err(Error::Files {
            folder: draft.to_path_buf(),
            difference: format!("modules without a pinned sum [{added}]"),
        })
    }
}

fn go_command(go: &Path, folder: &Path) -> Command {
    let mut command = Command::new(go);
    command.current_dir(folder);
    // What decides about the result is stated here, not in the user's environment.
    command.env("CGO_ENABLED", "0").env("GOFLAGS", "").env("GOWORK", "off");
    command
}
