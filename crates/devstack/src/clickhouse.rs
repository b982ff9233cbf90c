//! The ClickHouse server: HTTP and native, one process, its engine a shared library that `devstack-launch` runs.

mod package;

use std::ffi::OsString;
use std::path::Path;

pub(crate) use package::Package;

use crate::process::Mode;
use crate::question::Question;
use crate::server::Launch;
use crate::{Error, Result, ports};

/// A user that must give [`PASSWORD`], for tests of credentials. The user `default` needs none.
pub const PASSWORD_USER: &str = "eventline";
/// The password of [`PASSWORD_USER`].
pub const PASSWORD: &str = "eventline-password";
/// The SHA-256 of [`PASSWORD`], as ClickHouse's users file wants it.
const PASSWORD_SHA256: &str = include_str!("../clickhouse/password.sha256");
/// A storage policy with the volumes `hot` and `cold`, for `TTL … TO VOLUME 'cold'`. Both are local folders.
pub const STORAGE_POLICY: &str = "hot_cold";

/// A server's files and addresses, ready to be started.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) launch: Launch,
    pub(crate) question: Question,
    pub(crate) url: String,
    pub(crate) native: String,
}

/// Lays out a server in `folder` on new ports. Data that is there is kept.
pub(crate) fn setup(package: &Package, folder: &Path) -> Result<Setup> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).map_err(Error::io(format!("create {}", data.display())))?;
    let (http, native) = (ports::free(), ports::free());
    let (config, users) = (folder.join("config.xml"), folder.join("users.xml"));
    write(&config, &fill(include_str!("../clickhouse/config.xml"), folder))?;
    write(&users, &fill(include_str!("../clickhouse/users.xml"), folder))?;

    let mut command: Vec<OsString> = vec![package.library().into()];
    command.extend(["--path".into(), data.into()]);
    command.extend(["--config-file".into(), config.into()]);
    // The configuration's own level is passed over, and the default is trace.
    command.extend(["--log-level", "error", "--listen_host", "127.0.0.1"].map(OsString::from));
    command.extend(["--http_port".into(), http.to_string().into()]);
    command.extend(["--tcp_port".into(), native.to_string().into()]);
    command.extend(["--multiquery", "--query", SESSION].map(OsString::from));
    let url = format!("http://127.0.0.1:{http}");
    Ok(Setup {
        launch: Launch { mode: Mode::Clickhouse, command, log: folder.join("clickhouse.log") },
        question: Question::Clickhouse { url: url.clone() },
        url,
        native: format!("127.0.0.1:{native}"),
    })
}

/// The SQL session that is the server: it opens the ports, then reads a pipe that stays open until SIGTERM.
const SESSION: &str = "SYSTEM START LISTEN HTTP; SYSTEM START LISTEN TCP; \
                       SELECT count() FROM file('-', 'LineAsString', 'line String') FORMAT Null";

fn fill(template: &str, folder: &Path) -> String {
    template
        .replace("@FOLDER@", &folder.to_string_lossy())
        .replace("@POLICY@", STORAGE_POLICY)
        .replace("@USER@", PASSWORD_USER)
        .replace("@PASSWORD_SHA256@", PASSWORD_SHA256.trim())
}

fn write(file: &Path, content: &str) -> Result<()> {
    std::fs::write(file, content).map_err(Error::io(format!("write {}", file.display())))
}
