//! A Go that is new enough for what is built here, whatever Go the system's packages have.
//!
//! The Go project also publishes its toolchain as a module. Recent releases of Go fetch it by themselves; older ones,
//! such as Debian 12's, can still download it as they would any module, and then it is run from there.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

pub(crate) use module::Module;

use crate::cache::Cache;
use crate::progress::Task;
use crate::{Error, Part, Result, command, tools};

mod module;

/// The newest that any `go.mod` here asks for: major, minor, patch.
const NEEDED: [u32; 3] = [1, 26, 0];
const VERSION: &str = "1.26.8";
/// The module sums of the toolchain, per architecture in Go's naming.
const SUMS: [(&str, &str); 2] = [
    ("amd64", "h1:ZOmGe1OnfREDMIdb1Qi4G9JSuDPBLGExZMQ4nis1RXM="),
    ("arm64", "h1:sYL/O6MqS68ML0kjsQ36WoYIpJqkw60TxizWUYUKQMc="),
];

/// The path of a `go` that can build what is pinned here.
pub(crate) fn toolchain(cache: &Cache, task: &Task) -> Result<PathBuf> {
    tools::ensure(&[tools::GO], cache, task)?;
    let installed = PathBuf::from("go");
    let says = command::output("ask go for its version", Command::new(&installed).arg("version"))?;
    if version(&says).is_some_and(|version| version >= NEEDED) {
        return Ok(installed);
    }
    task.say(format!("fetching Go {VERSION}: {} is too old", says.trim()));
    download(&installed)
}

/// `go version go1.19.8 linux/amd64` to its three numbers.
fn version(says: &str) -> Option<[u32; 3]> {
    let text = says.split_whitespace().find_map(|word| word.strip_prefix("go1."))?;
    let mut numbers = text.split('.').map(|number| {
        let digits: String = number.chars().take_while(char::is_ascii_digit).collect();
        digits.parse().unwrap_or(0)
    });
    Some([1, numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)])
}

fn download(go: &Path) -> Result<PathBuf> {
    let architecture = match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    };
    let Some((_, sum)) = SUMS.into_iter().find(|(name, _)| *name == architecture) else {
        let (part, platform) = (Part::Mimir, format!("{architecture} with Go older than {NEEDED:?}"));
        return Err(Error::Platform { part, platform, variable: part.variable() });
    };
    let module = format!("golang.org/toolchain@v0.0.1-go{VERSION}.linux-{architecture}");
    let mut fetch = Command::new(go);
    fetch.args(["mod", "download", "-json", &module]).env("GOFLAGS", "").current_dir(std::env::temp_dir());
    let answer = downloaded("fetch the Go toolchain by go", &mut fetch)?;
    if answer.sum != sum {
        return Err(Error::Checksum { file: answer.dir, expected: sum.to_owned(), found: answer.sum });
    }
    // A module's files carry no permissions; Go does the same to a toolchain that it fetches by itself.
    for folder in ["bin", "pkg/tool"] {
        make_executable(&answer.dir.join(folder))?;
    }
    Ok(answer.dir.join("bin/go"))
}

/// Runs `go mod download -json` for one module.
pub(crate) fn downloaded(what: &str, fetch: &mut Command) -> Result<Download> {
    let answer = command::output(what, fetch)?;
    serde_json::from_str(&answer)
        .map_err(|source| Error::Io { what: "read what go mod download says".into(), source: source.into() })
}

/// What `go mod download -json` prints, as far as it is read.
#[derive(Debug, serde::Deserialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Download {
    /// The module's files.
    pub(crate) dir: PathBuf,
    sum: String,
}

fn make_executable(folder: &Path) -> Result<()> {
    let what = || format!("make the files of {} executable", folder.display());
    for entry in std::fs::read_dir(folder).map_err(Error::io(what()))? {
        let path = entry.map_err(Error::io(what()))?.path();
        if path.is_dir() {
            make_executable(&path)?;
        } else {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o555))
                .map_err(Error::io(what()))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_go_are_read_and_compared() {
        assert_eq!(version("go version go1.19.8 linux/amd64"), Some([1, 19, 8]));
        assert_eq!(version("go version go1.27rc1 linux/arm64"), Some([1, 27, 0]));
        assert_eq!(version("gccgo 12"), None);
        assert!(version("go version go1.26.8 linux/amd64").unwrap() >= NEEDED);
        assert!(version("go version go1.25.9 linux/amd64").unwrap() < NEEDED);
    }
}
