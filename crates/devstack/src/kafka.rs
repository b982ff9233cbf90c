//! The Kafka broker: one process, KRaft, broker and controller in one.
//!
//! Settings follow two aims: up in two seconds on a small heap, and the timeouts that tests wait for (sessions,
//! rebalances, a restart after SIGKILL) as short as the broker allows.

mod archive;
pub(crate) mod metadata;
mod package;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

pub(crate) use package::Package;

use crate::process::Mode;
use crate::question::Question;
use crate::server::Launch;
use crate::{Error, Result, ports, random};

/// A broker's files and addresses, ready to be started.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) launch: Launch,
    pub(crate) question: Question,
    pub(crate) brokers: String,
}

/// How a Java process meets the class-data archive: without it, a start takes three times as long.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Archive<'a> {
    /// Read it, when there is one.
    Use(Option<&'a Path>),
    /// Write it when the process ends.
    Make(&'a Path),
}

/// Lays out a broker in `folder` on new ports. Data that is there is kept. `properties` come last in the
/// configuration, so they win.
pub(crate) fn setup(
    package: &Package,
    archive: Archive<'_>,
    folder: &Path,
    properties: &[(String, String)],
) -> Result<Setup> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).map_err(Error::io(format!("create {}", data.display())))?;
    format(package, &data)?;
    let (port, controller_port) = (ports::free(), ports::free());
    let config = folder.join("server.properties");
    write(&config, server_properties(&data, port, controller_port, properties).as_bytes())?;

    let mut command = package.java(archive, 256);
    command.extend(["kafka.Kafka".into(), config.into()]);
    let brokers = format!("127.0.0.1:{port}");
    Ok(Setup {
        launch: Launch { mode: Mode::Exec, command, log: folder.join("kafka.log") },
        question: Question::Kafka { brokers: brokers.clone() },
        brokers,
    })
}

/// What `kafka-storage format` does, without a second Java process: an identity, and the features to start with.
fn format(package: &Package, data: &Path) -> Result<()> {
    let identity = data.join("meta.properties");
    if identity.exists() {
        return Ok(());
    }
    let checkpoint = data.join("bootstrap.checkpoint");
    std::fs::copy(package.checkpoint(), &checkpoint)
        .map_err(Error::io(format!("write {}", checkpoint.display())))?;
    let (cluster, directory) = (random::kafka_id(), random::kafka_id());
    let text = format!("version=1\ncluster.id={cluster}\nnode.id=1\ndirectory.id={directory}\n");
    write(&identity, text.as_bytes())
}

fn server_properties(
    data: &Path,
    port: u16,
    controller_port: u16,
    properties: &[(String, String)],
) -> String {
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.voters=1@127.0.0.1:{controller_port}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         log.dirs={}\n",
        data.display()
    );
    text.push_str(include_str!("../kafka/server.properties"));
    for (key, value) in properties {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "{key}={value}");
    }
    text
}

fn write(file: &Path, content: &[u8]) -> Result<()> {
    std::fs::write(file, content).map_err(Error::io(format!("write {}", file.display())))
}

/// How long one of Kafka's own tools may take.
const TOOL_PATIENCE: Duration = Duration::from_secs(60);

/// Runs one of Kafka's command-line tools, named by its main class, against `brokers`' own package.
pub(crate) fn tool(package: &Package, archive: Archive<'_>, log: &Path, args: &[&str]) -> Result<()> {
    let mut command = package.java(archive, 128);
    command.extend(args.iter().map(OsString::from));
    let process = crate::process::Process::spawn(Mode::Exec, &command, log)?;
    match process.wait(TOOL_PATIENCE) {
        Some(status) if status.success() => Ok(()),
        ended => Err(Error::Command {
            what: args.first().copied().unwrap_or_default().to_owned(),
            status: ended.map_or("still running after 60 s".into(), |status| status.to_string()),
            tail: crate::server::tail(log, 25),
        }),
    }
}
