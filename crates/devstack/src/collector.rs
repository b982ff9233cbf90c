//! The OpenTelemetry Collector, built from its modules with the few parts that a bench compares ours with.

use std::path::PathBuf;

use crate::go::Module;
use crate::{Cache, Progress, Result};

const MODULE: Module = Module {
    name: "collector",
    version: "0.149.0",
    go_mod: include_str!("../collector/go.mod"),
    go_sum: include_str!("../collector/go.sum"),
    main_go: include_str!("../collector/main.go"),
    programs: &[(".", "collector")],
    tags: "",
    takes: "about 3 minutes of two cores",
};

/// The program, built into the cache unless it is there. It has the receiver `filelog` and the exporter `nop`.
///
/// # Errors
/// Go is missing, or a module cannot be had.
pub fn collector(cache: &Cache, progress: &Progress) -> Result<PathBuf> {
    Ok(MODULE.fetch(cache, progress)?.join("collector"))
}
