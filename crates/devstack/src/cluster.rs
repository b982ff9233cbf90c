//! Kafka for tests of faults: one broker or several, each behind proxies that its clients really go through.
//!
//! ```text
//!   client ──► Door 0 ──► listener DOOR0 ─┐
//!   client ──► Door 1 ──► listener DOOR1 ─┼─ broker ◄──► the other brokers
//!   judge ───────────────► PLAINTEXT ─────┘
//! ```
//!
//! A client that bootstraps at a door is told the door's addresses in every answer, so what a door does to the traffic is
//! done to all of it. Brokers talk to each other, and whoever judges reads, past the doors.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use crate::kafka::{self, Archive, Node, Package};
use crate::proxy::{Link, Proxy};
use crate::sweeper::SweptFolder;
use crate::{Cache, Error, Part, Progress, Result, Server, ports, random};

/// Settings of a cluster of three: copies that survive one broker, and a new leader within seconds instead of a quarter of
/// a minute.
const REPLICATED: &[(&str, &str)] = &[
    ("default.replication.factor", "3"),
    ("min.insync.replicas", "2"),
    ("unclean.leader.election.enable", "false"),
    ("offsets.topic.replication.factor", "3"),
    ("transaction.state.log.replication.factor", "3"),
    ("transaction.state.log.min.isr", "2"),
    ("share.coordinator.state.topic.replication.factor", "3"),
    ("share.coordinator.state.topic.min.isr", "2"),
    ("controller.quorum.fetch.timeout.ms", "1500"),
    ("controller.quorum.election.timeout.ms", "500"),
    ("controller.quorum.election.backoff.max.ms", "300"),
    ("replica.lag.time.max.ms", "5000"),
];

/// What a cluster is to be.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// How many brokers: one, or three with every partition on all of them and two needed for an ack.
    pub brokers: usize,
    /// How many doors.
    pub doors: usize,
    /// Broker settings beyond the built-in ones, or instead of them.
    pub properties: Vec<(String, String)>,
    /// Where the fetched programs are.
    pub cache: Cache,
}

impl ClusterOptions {
    /// So many brokers behind one door.
    pub fn new(brokers: usize) -> Self {
        Self { brokers, doors: 1, properties: Vec::new(), cache: Cache::from_env() }
    }
}

/// Running brokers. They are stopped when it is dropped, and their data goes.
#[derive(Debug)]
pub struct Cluster {
    servers: Vec<Server>,
    brokers: String,
    doors: Vec<Door>,
    package: Package,
    archive: Option<PathBuf>,
    folder: SweptFolder,
}

/// One way in: a proxy before each broker.
#[derive(Debug)]
pub struct Door {
    proxies: Vec<Proxy>,
}

impl Cluster {
    /// Fetches Kafka when it is not in the cache, starts the brokers side by side, and returns when each has answered.
    /// Blocks for seconds.
    ///
    /// # Errors
    /// What kept a broker from being had; what had been started is stopped.
    #[allow(clippy::needless_pass_by_value, reason = "options are written where the cluster is made")]
    pub fn up(options: ClusterOptions) -> Result<Self> {
        let task = Progress::silent().task(Part::Kafka.as_str());
        let package = Package::fetch(&options.cache, &task)?;
        let archive = package.archive(&options.cache, &task)?;
        let folder = SweptFolder::new()?;
        let mut doors = Vec::new();
        for _ in 0..options.doors {
            doors.push(Door::before(options.brokers)?);
        }
        let nodes = nodes(options.brokers, &doors);
        let properties = properties(&options);
        let start = |node: &Node| start(&package, archive.as_deref(), folder.path(), node, &properties);
        let outcomes: Vec<Result<Server>> = std::thread::scope(|scope| {
            let started: Vec<_> = nodes.iter().map(|node| scope.spawn(|| start(node))).collect();
            started
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
                .collect()
        });
        let servers = outcomes.into_iter().collect::<Result<Vec<_>>>()?;
        let brokers = nodes.iter().map(Node::address).collect::<Vec<_>>().join(",");
        Ok(Self { servers, brokers, doors, package, archive, folder })
    }

    /// The brokers' own addresses, past all doors.
    pub fn brokers(&self) -> &str {
        &self.brokers
    }

    /// A way in.
    ///
    /// # Panics
    /// When the cluster was made with fewer doors.
    pub fn door(&self, number: usize) -> &Door {
        &self.doors[number]
    }

    /// The brokers, to stop, kill, freeze and start them.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// Gives every partition of `topic` its next copy as leader, in turns, by Kafka's own tools. Blocks for seconds.
    ///
    /// # Errors
    /// A tool refuses; the end of what it printed is in the error.
    pub fn move_leaders(&self, topic: &str, partitions: usize, turn: usize) -> Result<()> {
        let file = self.folder.path().join(format!("{topic}.reassign.json"));
        let text = reassignment(topic, partitions, self.servers.len(), turn);
        std::fs::write(&file, text).map_err(Error::io("write the reassignment"))?;
        let file = file.to_string_lossy();
        self.tool(&[
            "org.apache.kafka.tools.reassign.ReassignPartitionsCommand",
            "--bootstrap-server",
            &self.brokers,
            "--reassignment-json-file",
            &file,
            "--execute",
        ])?;
        self.tool(&[
            "org.apache.kafka.tools.LeaderElectionCommand",
            "--bootstrap-server",
            &self.brokers,
            "--election-type",
            "preferred",
            "--all-topic-partitions",
        ])
    }

    /// Runs one of Kafka's command-line tools, its main class first. Blocks for about a second.
    ///
    /// # Errors
    /// It fails; the end of what it printed is in the error.
    pub fn tool(&self, args: &[&str]) -> Result<()> {
        let log = self.folder.path().join("tools.log");
        kafka::tool(&self.package, Archive::Use(self.archive.as_deref()), &log, args)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            for server in &self.servers {
                // Its data goes with it, so there is nothing to stop in order.
                scope.spawn(|| server.kill());
            }
        });
    }
}

impl Door {
    fn before(brokers: usize) -> Result<Self> {
        Ok(Self { proxies: (0..brokers).map(|_| Proxy::listen()).collect::<Result<_>>()? })
    }

    /// Where clients bootstrap.
    pub fn brokers(&self) -> String {
        let addresses: Vec<_> = self.proxies.iter().map(|proxy| proxy.address().to_string()).collect();
        addresses.join(",")
    }

    /// Changes what happens to the traffic of all brokers.
    pub fn set(&self, link: Link) {
        for proxy in &self.proxies {
            proxy.set(link);
        }
    }

    /// The proxies, one before each broker.
    pub fn proxies(&self) -> &[Proxy] {
        &self.proxies
    }
}

fn nodes(brokers: usize, doors: &[Door]) -> Vec<Node> {
    let cluster = random::kafka_id();
    let controllers: Vec<u16> = (0..brokers).map(|_| ports::free()).collect();
    let voters: Vec<_> =
        controllers.iter().enumerate().map(|(index, port)| kafka::voter(index + 1, *port)).collect();
    let node = |(index, controller_port): (usize, &u16)| Node {
        id: index + 1,
        cluster: cluster.clone(),
        port: ports::free(),
        controller_port: *controller_port,
        voters: voters.join(","),
        doors: doors.iter().map(|door| lead(&door.proxies[index])).collect(),
    };
    controllers.iter().enumerate().map(node).collect()
}

/// A listener behind a proxy.
fn lead(proxy: &Proxy) -> kafka::Door {
    let port = ports::free();
    proxy.lead_to(SocketAddr::from((Ipv4Addr::LOCALHOST, port)));
    kafka::Door { port, advertised: proxy.address() }
}

fn properties(options: &ClusterOptions) -> Vec<(String, String)> {
    let replicated = if options.brokers > 1 { REPLICATED } else { &[] };
    let own = replicated.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned()));
    own.chain(options.properties.iter().cloned()).collect()
}

fn start(
    package: &Package,
    archive: Option<&Path>,
    folder: &Path,
    node: &Node,
    properties: &[(String, String)],
) -> Result<Server> {
    let folder = folder.join(format!("kafka-{}", node.id));
    std::fs::create_dir_all(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
    let (server, ()) = Server::bring_up(Part::Kafka, || {
        let setup = kafka::setup_node(package, Archive::Use(archive), &folder, node, properties)?;
        Ok((setup.launch, setup.question, ()))
    })?;
    Ok(server)
}

/// Kafka's JSON for "the copies of each partition in this order"; the first is the preferred leader.
fn reassignment(topic: &str, partitions: usize, brokers: usize, turn: usize) -> String {
    let entries: Vec<_> = (0..partitions)
        .map(|partition| {
            let order: Vec<_> =
                (0..brokers).map(|copy| ((partition + turn + copy) % brokers + 1).to_string()).collect();
            format!(r#"{{"topic":"{topic}","partition":{partition},"replicas":[{}]}}"#, order.join(","))
        })
        .collect();
    format!(r#"{{"version":1,"partitions":[{}]}}"#, entries.join(","))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_turn_gives_every_partition_another_leader() {
        let first = |turn| reassignment("t", 1, 3, turn);
        assert_eq!(
            first(0),
            r#"{"version":1,"partitions":[{"topic":"t","partition":0,"replicas":[1,2,3]}]}"#
        );
        assert!(first(1).contains("[2,3,1]"));
        assert!(first(3).contains("[1,2,3]"));
    }
}
