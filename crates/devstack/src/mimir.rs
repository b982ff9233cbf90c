//! Mimir: one process with every module, its blocks in local folders.

mod package;

use std::path::Path;

pub(crate) use package::Package;

use crate::process::Mode;
use crate::question::Question;
use crate::server::Launch;
use crate::{Error, Result, ports};

/// A server's files and addresses, ready to be started.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) launch: Launch,
    pub(crate) question: Question,
    pub(crate) url: String,
}

/// Lays out a server in `folder` on new ports. Data that is there is kept.
pub(crate) fn setup(package: &Package, folder: &Path) -> Result<Setup> {
    for name in ["data", "rules"] {
        let folder = folder.join(name);
        std::fs::create_dir_all(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
    }
    let (http, grpc) = (ports::free(), ports::free());
    let config = folder.join("mimir.yaml");
    let text = include_str!("../mimir/mimir.yaml")
        .replace("@FOLDER@", &folder.to_string_lossy())
        .replace("@HTTP_PORT@", &http.to_string())
        .replace("@GRPC_PORT@", &grpc.to_string());
    std::fs::write(&config, text).map_err(Error::io(format!("write {}", config.display())))?;

    let url = format!("http://127.0.0.1:{http}");
    let mut argument = std::ffi::OsString::from("-config.file=");
    argument.push(&config);
    Ok(Setup {
        launch: Launch {
            mode: Mode::Exec,
            command: vec![package.program().into(), argument],
            log: folder.join("mimir.log"),
        },
        question: Question::Mimir { url: url.clone() },
        url,
    })
}
