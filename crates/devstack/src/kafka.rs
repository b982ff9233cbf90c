//! The Kafka broker: one process, KRaft, broker and controller in one.
//!
//! Settings follow two aims: up in two seconds on a small heap, and the timeouts that tests wait for (sessions,
//! rebalances, a restart after SIGKILL) as short as the broker allows.

mod archive;
pub(crate) mod metadata;
mod package;

use std::ffi::OsString;
use std::fmt::Write as _;
use std::net::SocketAddr;
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

/// Which broker of which cluster it is, and where it listens.
#[derive(Debug, Clone)]
pub(crate) struct Node {
    pub(crate) id: usize,
    /// The cluster's own id, that all of its brokers share.
    pub(crate) cluster: String,
    /// For clients and for the other brokers, under its own address.
    pub(crate) port: u16,
    pub(crate) controller_port: u16,
    /// `id@host:port` of every controller of the cluster.
    pub(crate) voters: String,
    /// Further listeners for clients, each advertised under another address: that of a proxy.
    pub(crate) doors: Vec<Door>,
}

/// A listener whose clients are told to come to another address.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Door {
    pub(crate) port: u16,
    pub(crate) advertised: SocketAddr,
}

impl Node {
    /// A broker without others, on new ports.
    fn alone() -> Self {
        Self::on(ports::free(), ports::free())
    }

    fn on(port: u16, controller_port: u16) -> Self {
        let (cluster, voters) = (random::kafka_id(), voter(1, controller_port));
        Self { id: 1, cluster, port, controller_port, voters, doors: Vec::new() }
    }

    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

/// One controller in the list of all.
pub(crate) fn voter(id: usize, controller_port: u16) -> String {
    format!("{id}@127.0.0.1:{controller_port}")
}

/// Lays out a broker of its own in `folder` on new ports. Data that is there is kept. `properties` come last in the
/// configuration, so they win.
pub(crate) fn setup(
    package: &Package,
    archive: Archive<'_>,
    folder: &Path,
    properties: &[(String, String)],
) -> Result<Setup> {
    setup_node(package, archive, folder, &Node::alone(), properties)
}

/// The same for a broker that may belong to a cluster.
pub(crate) fn setup_node(
    package: &Package,
    archive: Archive<'_>,
    folder: &Path,
    node: &Node,
    properties: &[(String, String)],
) -> Result<Setup> {
    let data = folder.join("data");
    std::fs::create_dir_all(&data).map_err(Error::io(format!("create {}", data.display())))?;
    format(package, &data, node)?;
    let config = folder.join("server.properties");
    write(&config, server_properties(&data, node, properties).as_bytes())?;

    let mut command = package.java(archive, 256);
    command.extend(["kafka.Kafka".into(), config.into()]);
    let brokers = node.address();
    Ok(Setup {
        launch: Launch { mode: Mode::Exec, command, log: folder.join("kafka.log") },
        question: Question::Kafka { brokers: brokers.clone() },
        brokers,
    })
}

/// What `kafka-storage format` does, without a second Java process: an identity, and the features to start with.
fn format(package: &Package, data: &Path, node: &Node) -> Result<()> {
    let identity = data.join("meta.properties");
    if identity.exists() {
        return Ok(());
    }
    let checkpoint = data.join("bootstrap.checkpoint");
    std::fs::copy(package.checkpoint(), &checkpoint)
        .map_err(Error::io(format!("write {}", checkpoint.display())))?;
    let (id, cluster, directory) = (node.id, &node.cluster, random::kafka_id());
    let text = format!("version=1\ncluster.id={cluster}\nnode.id={id}\ndirectory.id={directory}\n");
    write(&identity, text.as_bytes())
}

fn server_properties(data: &Path, node: &Node, properties: &[(String, String)]) -> String {
    let Node { id, controller_port, voters, .. } = node;
    let mut listeners = format!("PLAINTEXT://{}", node.address());
    let mut advertised = listeners.clone();
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for (number, door) in node.doors.iter().enumerate() {
        // Writing to a String cannot fail, here and below.
        let _ = write!(listeners, ",DOOR{number}://127.0.0.1:{}", door.port);
        let _ = write!(advertised, ",DOOR{number}://{}", door.advertised);
        let _ = write!(protocols, ",DOOR{number}:PLAINTEXT");
    }
    let mut text = format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={voters}\n\
         listeners={listeners},CONTROLLER://127.0.0.1:{controller_port}\n\
         advertised.listeners={advertised}\n\
         listener.security.protocol.map={protocols}\n\
         log.dirs={}\n",
        data.display()
    );
    text.push_str(include_str!("../kafka/server.properties"));
    for (key, value) in properties {
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
