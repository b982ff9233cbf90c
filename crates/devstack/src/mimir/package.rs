//! Mimir, built from its Go module.

use std::path::PathBuf;

use crate::Result;
use crate::cache::Cache;
use crate::go::Module;
use crate::progress::Task;

const MODULE: Module = Module {
    name: "mimir",
    // Release tags do not resolve as a module, so it is a commit of the main branch.
    version: "1.3.1-0.20260423142704-aced80d74930",
    go_mod: include_str!("../../mimir/go.mod"),
    go_sum: include_str!("../../mimir/go.sum"),
    main_go: "",
    programs: &[("github.com/grafana/mimir/cmd/mimir", "mimir")],
    tags: "",
    takes: "about 10 minutes of two cores",
};

/// A built Mimir.
#[derive(Debug)]
pub(crate) struct Package {
    folder: PathBuf,
}

impl Package {
    /// Builds Mimir into the cache, unless it is there.
    pub(crate) fn fetch(cache: &Cache, task: &Task) -> Result<Self> {
        Ok(Self { folder: MODULE.build(cache, task)? })
    }

    /// The program.
    pub(crate) fn program(&self) -> PathBuf {
        self.folder.join("mimir")
    }
}
