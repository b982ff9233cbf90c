//! A set of servers that belong together, and end together.

use std::fs::{File, TryLockError};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use crate::progress::Task;
use crate::question::Question;
use crate::sweeper::SweptFolder;
use crate::{Cache, Endpoints, Error, Part, Progress, Result, Server, clickhouse, kafka, mimir};

/// What a stack is to be.
#[derive(Debug, Clone)]
pub struct StackOptions {
    /// The servers to have.
    pub parts: Vec<Part>,
    /// Where data and logs go, and stay; a temporary folder that is removed at the end when there is none.
    pub folder: Option<PathBuf>,
    /// Whether servers named in the environment are used instead of starting some.
    pub use_given: bool,
    /// Broker settings beyond the built-in ones, or instead of them.
    pub kafka_properties: Vec<(String, String)>,
    /// The URL to which the Alertmanager of Mimir posts what fires and what is resolved, in the webhook format; to nobody when
    /// there is none.
    pub alert_webhook: Option<String>,
    /// Where the fetched programs are.
    pub cache: Cache,
    /// Where progress is shown.
    pub progress: Progress,
}

impl Default for StackOptions {
    /// All parts, temporary data, servers of the environment used, progress shown.
    fn default() -> Self {
        Self {
            parts: Part::ALL.to_vec(),
            folder: None,
            use_given: true,
            kafka_properties: Vec::new(),
            alert_webhook: None,
            cache: Cache::from_env(),
            progress: Progress::detect(),
        }
    }
}

impl StackOptions {
    /// Servers that nobody else uses, for tests that stop, kill or freeze them.
    pub fn own(parts: &[Part]) -> Self {
        Self { parts: parts.to_vec(), use_given: false, progress: Progress::silent(), ..Self::default() }
    }
}

/// Running servers. They are stopped when it is dropped.
#[derive(Debug)]
pub struct Stack {
    servers: Vec<Server>,
    endpoints: Endpoints,
    folder: Folder,
}

#[derive(Debug)]
enum Folder {
    /// Locked for as long as the stack lives: two brokers on the same data would destroy it.
    Named(PathBuf, #[allow(dead_code, reason = "held, never read: the lock ends with it")] File),
    Temporary(SweptFolder),
}

impl Stack {
    /// Fetches what is not in the cache, starts the servers side by side, and returns when each of them has answered a
    /// real request. Blocks: seconds, or minutes when a server must be fetched or built first.
    ///
    /// # Errors
    /// What kept a server from being had: a missing tool with the command that installs it, a wrong checksum, the end
    /// of the server's log. What had been started is stopped.
    #[allow(clippy::needless_pass_by_value, reason = "options are written where the stack is made")]
    pub fn up(options: StackOptions) -> Result<Self> {
        let folder = match &options.folder {
            Some(folder) => Folder::named(folder)?,
            None => Folder::Temporary(SweptFolder::new()?),
        };
        let named = if options.use_given { Endpoints::named_in_env() } else { Endpoints::default() };
        let outcomes: Vec<Result<(Server, Endpoints)>> = std::thread::scope(|scope| {
            let (options, named, path) = (&options, &named, folder.path());
            let start = |part: &Part| {
                let part = *part;
                scope.spawn(move || bring_up(part, options, named, path))
            };
            let started: Vec<_> = options.parts.iter().map(start).collect();
            let join = |thread: std::thread::ScopedJoinHandle<'_, _>| {
                thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            started.into_iter().map(join).collect()
        });
        let mut stack = Self { servers: Vec::new(), endpoints: Endpoints::default(), folder };
        for outcome in outcomes {
            let (server, addresses) = outcome?;
            stack.endpoints.take(server.part(), addresses);
            stack.servers.push(server);
        }
        Ok(stack)
    }

    /// Where the servers are reached.
    pub fn endpoints(&self) -> &Endpoints {
        &self.endpoints
    }

    /// The servers, in the order in which they were asked for.
    pub fn servers(&self) -> &[Server] {
        &self.servers
    }

    /// The broker.
    ///
    /// # Panics
    /// When the stack was made without it, as the other two do.
    pub fn kafka(&self) -> &Server {
        self.server(Part::Kafka)
    }

    /// The store of logs and traces.
    pub fn clickhouse(&self) -> &Server {
        self.server(Part::Clickhouse)
    }

    /// The store of metrics.
    pub fn mimir(&self) -> &Server {
        self.server(Part::Mimir)
    }

    /// Has Mimir evaluate a file of alerting and recording rules for a tenant, in Prometheus' form, within about two seconds and
    /// from then on. `name` is the file's, such as `alerts.yaml`; one of the same name is replaced, and an empty one
    /// (`groups: []`) takes its rules away. Mimir says in its log what is wrong with a file, and goes on with the rules it had.
    ///
    /// # Errors
    /// The user named the server, or the file cannot be written.
    ///
    /// # Panics
    /// When the stack was made without Mimir.
    pub fn put_mimir_rules(&self, tenant: &str, name: &str, yaml: &str) -> Result<()> {
        if self.mimir().log().is_none() {
            return Err(Error::NotOurs { part: Part::Mimir, verb: "give rules to" });
        }
        mimir::put_rules(&self.folder().join(Part::Mimir.as_str()), tenant, name, yaml)
    }

    /// The folder with a folder of data, configuration and logs for each server.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    fn server(&self, part: Part) -> &Server {
        let found = self.servers.iter().find(|server| server.part() == part);
        found.expect("the stack was made with this part in StackOptions::parts")
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        std::thread::scope(|scope| {
            for server in &self.servers {
                // A server that the user named is refused, and goes on.
                scope.spawn(|| server.stop());
            }
        });
    }
}

impl Folder {
    fn named(folder: &Path) -> Result<Self> {
        let folder = std::path::absolute(folder).map_err(Error::io("find the stack's folder"))?;
        std::fs::create_dir_all(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
        let path = folder.join("lock");
        let what = || format!("lock {}", path.display());
        let options = File::options().create(true).read(true).write(true).truncate(false).open(&path);
        let mut lock = options.map_err(Error::io(what()))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = std::fs::read_to_string(&path).ok().and_then(|text| text.trim().parse().ok());
                return Err(Error::AlreadyUp { folder, pid });
            }
            Err(TryLockError::Error(source)) => return Err(Error::Io { what: what(), source }),
        }
        lock.set_len(0).and_then(|()| writeln!(lock, "{}", std::process::id())).map_err(Error::io(what()))?;
        Ok(Self::Named(folder, lock))
    }

    fn path(&self) -> &Path {
        match self {
            Self::Named(path, _) => path,
            Self::Temporary(folder) => folder.path(),
        }
    }
}

/// One server, and an [`Endpoints`] with its addresses only.
fn bring_up(
    part: Part,
    options: &StackOptions,
    named: &Endpoints,
    folder: &Path,
) -> Result<(Server, Endpoints)> {
    let address = named.address(part);
    if !address.is_empty() {
        let server = Server::given(part, address.to_owned(), Question::about(part, named))?;
        return Ok((server, named.clone()));
    }
    let task = options.progress.task(part.as_str());
    let folder = folder.join(part.as_str());
    std::fs::create_dir_all(&folder).map_err(Error::io(format!("create {}", folder.display())))?;
    let (server, endpoints) = match part {
        Part::Kafka => kafka(options, &task, &folder)?,
        Part::Clickhouse => clickhouse(options, &task, &folder)?,
        Part::Mimir => mimir(options, &task, &folder)?,
    };
    task.done(&format!("up at {}", endpoints.address(part)));
    Ok((server, endpoints))
}

fn kafka(options: &StackOptions, task: &Task, folder: &Path) -> Result<(Server, Endpoints)> {
    let package = kafka::Package::fetch(&options.cache, task)?;
    let archive = package.archive(&options.cache, task)?;
    task.say("starting");
    Server::bring_up(Part::Kafka, || {
        let archive = kafka::Archive::Use(archive.as_deref());
        let setup = kafka::setup(&package, archive, folder, &options.kafka_properties)?;
        let endpoints = Endpoints { kafka_brokers: setup.brokers, ..Endpoints::default() };
        Ok((setup.launch, setup.question, endpoints))
    })
}

fn clickhouse(options: &StackOptions, task: &Task, folder: &Path) -> Result<(Server, Endpoints)> {
    let package = clickhouse::Package::fetch(&options.cache, task)?;
    task.say("starting");
    Server::bring_up(Part::Clickhouse, || {
        let setup = clickhouse::setup(&package, folder)?;
        let (clickhouse_url, clickhouse_native) = (setup.url, setup.native);
        let endpoints = Endpoints { clickhouse_url, clickhouse_native, ..Endpoints::default() };
        Ok((setup.launch, setup.question, endpoints))
    })
}

fn mimir(options: &StackOptions, task: &Task, folder: &Path) -> Result<(Server, Endpoints)> {
    let package = mimir::Package::fetch(&options.cache, task)?;
    task.say("starting");
    Server::bring_up(Part::Mimir, || {
        let setup = mimir::setup(&package, folder, options.alert_webhook.as_deref())?;
        let endpoints = Endpoints { mimir_url: setup.url, ..Endpoints::default() };
        Ok((setup.launch, setup.question, endpoints))
    })
}
