//! Container logs, and other log files: every line becomes a log record, once, whatever becomes of its file or of this process.
//!
//! ```text
//!   files ─ discover, watch ─► tailer (one thread) ─ cri, join, parse ─► batch ─► publisher ─► durable ─► checkpoint
//!                                 ▲                                                             │
//!                                 └──────────────── positions ◄── topic and spool are asked ◄───┘ after a crash
//! ```
//!
//! **Promise.** The checkpoint moves only past what is in the topic or synced to the spool. What became durable after the last
//! checkpoint is found again by the file and position that each record bears, so a crash leaves neither a hole nor a double.
//! Bytes that are known to have been deleted unread are counted.
//!
//! `container`, `kubernetes` and `select` say whose a log is and whether it is read, `sources` puts that together.
//! `identity` says which file is which, `position` how far it was read, `family` and `log` follow a log through its rotations,
//! `generation` reads one file.

use std::{
    collections::BTreeMap,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::Context;
use regex::bytes::Regex;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use service_runtime::{
    CancellationToken, Condition, Runtime,
    backoff::{Backoff, BackoffConfig},
    error_chain::ErrorChain,
};
use tokio::sync::mpsc::{Receiver, channel};

use crate::{
    budget::MemoryBudget,
    metrics::FilelogMetrics,
    publisher::{Origin, Publisher, TailMark, TailedBatch, unix_nanos},
};

mod archive;
mod batch;
mod checkpoint;
mod container;
mod cri;
mod discover;
mod family;
mod filter;
mod generation;
mod identity;
mod join;
mod kubernetes;
mod log;
mod multiline;
mod parse;
mod position;
mod select;
mod sources;
mod tailer;
mod watch;
mod work;

use checkpoint::{Checkpoint, CheckpointStore};
use discover::PathPattern;
use filter::{Filter, RateLimit};
use identity::FileId;
use join::JoinRules;
pub use kubernetes::KubernetesConfig;
use kubernetes::Pods;
use log::Waits;
use multiline::Joining;
pub(crate) use parse::ParseRules;
use position::Position;
use select::Selection;
pub use select::SelectionConfig;
use sources::Sources;
use tailer::{Handover, Line, Message, Plan, Tailer};
use work::{Limits, Rules, Work};

/// Batches on their way from the thread that reads to the tasks that publish, which take them at once.
const HANDOVERS: usize = 256;

/// How soon the brokers are asked again what is durable.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);

/// A turn of the thread ends within it, or something is wrong.
const LONGEST_SILENCE: Duration = Duration::from_secs(60);

/// How long the end of the process waits for what was read to become durable; what does not is read again, or found.
const FINISH_TIMEOUT: Duration = Duration::from_secs(5);

/// Which log files are read, and how.
#[derive(Debug, Clone, PartialEq)]
pub struct FilelogConfig {
    /// Patterns of paths.
    pub include: Vec<String>,
    /// Patterns of paths that are left out.
    pub exclude: Vec<String>,
    /// Which containers are read.
    pub selection: SelectionConfig,
    /// How the Kubernetes API is asked, if it is.
    pub kubernetes: Option<KubernetesConfig>,
    /// Where files begin that are there at the very first start.
    pub start_at: StartAt,
    /// Resource attributes of all records.
    pub resource: BTreeMap<String, String>,
    /// A batch with so many bytes goes at once.
    pub batch_bytes: usize,
    /// How long a batch is collected for.
    pub linger: Duration,
    /// Bound of a record's text, in bytes.
    pub max_line_bytes: usize,
    /// Bound of batches and unfinished records, in bytes.
    pub memory_max_bytes: usize,
    /// How long a record of several lines waits for the next.
    pub next_line: Duration,
    /// How long a line that came in part waits for its rest.
    pub rest_of_line: Duration,
    /// How long a rotated file is kept open.
    pub rotate_wait: Duration,
    /// How often all is looked at.
    pub scan_interval: Duration,
    /// The same where changes are not told.
    pub poll_interval: Duration,
    /// Where positions are kept.
    pub directory: PathBuf,
    /// How texts are read.
    pub(crate) parse: ParseRules,
    /// How lines are joined to records.
    pub join: Join,
    /// Records below this of OpenTelemetry's severity numbers are dropped.
    pub drop_below: u8,
    /// Records whose text matches are dropped, by the name of the rule.
    pub drop_matching: BTreeMap<String, String>,
    /// Records a second of each log; what comes faster is dropped.
    pub records_per_second: Option<f64>,
}

/// Which lines are one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Join {
    /// Each by itself.
    Lines,
    /// Those of a stack trace.
    StackTraces,
    /// Those up to the next that matches.
    FirstLine(String),
}

/// Where reading begins in files that are there at the very first start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StartAt {
    /// With their first line.
    Beginning,
    /// After their last line.
    End,
}

impl FilelogConfig {
    /// Why a pattern is none.
    pub(crate) fn check_pattern(pattern: &str) -> Result<(), String> {
        if !pattern.starts_with('/') {
            return Err("it does not begin with `/`".to_owned());
        }
        PathPattern::new(pattern).map(|_| ()).map_err(|error| error.to_string())
    }

    /// Why a pattern of names is none.
    pub(crate) fn check_name_pattern(pattern: &str) -> Result<(), String> {
        select::pattern(pattern).map(|_| ())
    }

    /// The longest text of a record in a topic whose records have `max_value_bytes`.
    pub(crate) fn largest_line(max_value_bytes: usize) -> usize {
        Limits::largest_line(max_value_bytes)
    }

    /// The least memory that makes sense.
    pub(crate) fn least_memory(max_value_bytes: usize) -> usize {
        2 * max_value_bytes
    }
}

/// Reads log files until it is stopped.
#[derive(Debug)]
pub(crate) struct Filelog {
    line: Line,
    thread: JoinHandle<()>,
    is_given_up: Arc<AtomicBool>,
    asking: CancellationToken,
}

impl Filelog {
    /// Opens what is there, and begins to read once it is known what of it is durable already. `runtime` tells of it, and watches
    /// the thread and the tasks.
    pub(crate) async fn start(
        config: &FilelogConfig,
        max_value_bytes: usize,
        publisher: &Publisher,
        metrics: FilelogMetrics,
        runtime: &Runtime,
    ) -> anyhow::Result<Filelog> {
        let readiness = runtime.readiness();
        let condition = readiness.condition("filelog");
        allow_many_files();
        let store = CheckpointStore::open(&config.directory)
            .with_context(|| format!("open {} for the positions of log files", config.directory.display()))?;
        let checkpoint = store.load();
        let (sender, output) = channel(HANDOVERS);
        let work = config.work(max_value_bytes, metrics)?;
        let mark_of = publisher.clone();
        let take_mark = Box::new(move || mark_of.tail_mark().to_bytes());
        let selection = Selection::new(&config.selection).map_err(anyhow::Error::msg)?;
        let (mut sources, pods) = (Sources::new(&config.resource, selection), Pods::default());
        if let Some(kubernetes) = &config.kubernetes {
            sources = sources.with_pods(kubernetes, pods.clone());
        }
        let tailer =
            Tailer::new(config.plan()?, work, sources, store, checkpoint.as_ref(), take_mark, sender)
                .context("start to watch log files")?;
        let (line, is_given_up) = (tailer.line(), Arc::new(AtomicBool::new(false)));
        let given_up = Arc::clone(&is_given_up);
        let (heartbeat, guard) =
            (runtime.heartbeat("log files", LONGEST_SILENCE), runtime.guard("log files"));
        let thread = std::thread::Builder::new().name("filelog".to_owned());
        let thread = thread
            .spawn(move || {
                let _guard = guard;
                // It is asked at each turn.
                tailer.run(&|| {
                    heartbeat.beat();
                    given_up.load(Ordering::Acquire)
                });
            })
            .context("start the thread that reads log files")?;
        runtime.spawn("batches of log files", publish(output, publisher.clone(), line.clone()));
        let asking = CancellationToken::new();
        if let Some(kubernetes) = &config.kubernetes {
            let (line, condition) = (line.clone(), readiness.condition("kubernetes"));
            let changed = move || line.tell(Message::PodsChanged);
            let watching = kubernetes::watch(kubernetes, pods, condition, changed, asking.clone()).await?;
            let heartbeat = runtime.heartbeat("pods of the node", LONGEST_SILENCE);
            runtime.spawn("pods of the node", async move { heartbeat.during(Box::pin(watching)).await });
        }
        let asking_of = ask(checkpoint, publisher.clone(), line.clone(), condition, asking.clone());
        runtime.spawn("lines that are durable", asking_of);
        Ok(Filelog { line, thread, is_given_up, asking })
    }

    /// Reads no more, and waits a while for what was read to become durable.
    pub(crate) async fn stop(self) {
        let Filelog { line, thread, is_given_up, asking } = self;
        asking.cancel();
        line.tell(Message::Finish);
        let joining = tokio::task::spawn_blocking(move || thread.join());
        let giving_up = async {
            tokio::time::sleep(FINISH_TIMEOUT).await;
            tracing::warn!(after = ?FINISH_TIMEOUT, "lines of log files are not durable yet; the next start looks for them or reads them again");
            is_given_up.store(true, Ordering::Release);
            line.wake();
            std::future::pending::<()>().await;
        };
        tokio::select! {
            joined = joining => if !matches!(joined, Ok(Ok(()))) {
                tracing::error!("the thread that reads log files failed");
            },
            () = giving_up => {}
        }
    }
}

/// Publishes what the tailer hands over, each batch by itself.
async fn publish(mut output: Receiver<Handover>, publisher: Publisher, line: Line) {
    while let Some(Handover { ticket, file, batch }) = output.recv().await {
        let (publisher, line) = (publisher.clone(), line.clone());
        tokio::spawn(async move {
            let origin = Origin { file: file.to_string().into(), position: batch.position.to_string() };
            let tailed = TailedBatch {
                request: batch.request,
                items: batch.items,
                received_at: unix_nanos(),
                reservation: batch.reservation,
                origin,
            };
            // What is abandoned the next process asks for.
            if let Ok(landed) = publisher.publish_tailed(tailed).await {
                line.tell(Message::Durable(ticket, Some(landed)));
            }
        });
    }
}

/// Finds out what became durable after the checkpoint, however long that takes, and lets the reading begin.
async fn ask(
    checkpoint: Option<Checkpoint>,
    publisher: Publisher,
    line: Line,
    condition: Condition,
    stop: CancellationToken,
) {
    let unsettled = checkpoint.filter(|checkpoint| !checkpoint.is_clean);
    let Some(Checkpoint { mark, .. }) = unsettled else {
        condition.ready();
        return line.tell(Message::Begin(Vec::new()));
    };
    let mark = TailMark::from_bytes(&mark).unwrap_or_else(|error| {
        tracing::error!(error = %ErrorChain(&error), "it is not known where to look for the lines of log files; all is read");
        TailMark::default()
    });
    let bounds = BackoffConfig::between(FIRST_PAUSE, LONGEST_PAUSE).unwrap_or_default();
    let mut backoff = Backoff::new(&bounds);
    loop {
        let Some(asked) = stop.run_until_cancelled(publisher.tailed_since(&mark)).await else { return };
        match asked {
            Ok(origins) => {
                tracing::info!(batches = origins.len(), "it is known which lines of log files are durable");
                condition.ready();
                return line.tell(Message::Begin(origins.iter().filter_map(position_of).collect()));
            }
            Err(error) => {
                let reason = ErrorChain(&error).to_string();
                tracing::warn!(
                    error = reason,
                    "it cannot be told yet which lines of log files are durable; the files wait"
                );
                condition.degraded(format!("log files are not read yet: {reason}"));
            }
        }
        if !backoff.wait(&stop).await {
            return;
        }
    }
}

fn position_of(origin: &Origin) -> Option<(FileId, Position)> {
    let file = origin.file.parse().ok()?;
    let position = origin.position.parse().ok()?;
    Some((file, position))
}

/// Each log is an open file, and the usual limit of a process is a thousand.
fn allow_many_files() {
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    if let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }) {
        tracing::warn!(%error, "the limit of open files cannot be raised");
    }
}

impl FilelogConfig {
    fn plan(&self) -> anyhow::Result<Plan> {
        let patterns = |texts: &[String]| {
            let pattern =
                |text: &String| PathPattern::new(text).with_context(|| format!("read the pattern `{text}`"));
            texts.iter().map(pattern).collect::<anyhow::Result<Vec<_>>>()
        };
        let waits = Waits {
            linger: self.linger,
            next_line: self.next_line,
            rest_of_line: self.rest_of_line,
            rotated: self.rotate_wait,
        };
        Ok(Plan {
            include: patterns(&self.include)?,
            exclude: patterns(&self.exclude)?,
            is_from_end: self.start_at == StartAt::End,
            waits,
            scan_interval: self.scan_interval,
            blind_interval: self.poll_interval,
            room: self.directory.clone(),
        })
    }

    fn work(&self, max_value_bytes: usize, metrics: FilelogMetrics) -> anyhow::Result<Work> {
        let limits = Limits::new(self.batch_bytes, self.max_line_bytes, max_value_bytes);
        let lines = match &self.join {
            Join::Lines => None,
            Join::StackTraces => Some(Joining::default()),
            Join::FirstLine(pattern) => {
                Some(Joining::by_first_line(Regex::new(pattern).context("read filelog.line_start")?))
            }
        };
        let burst = |records_per_second: f64| RateLimit {
            records_per_second,
            burst: (2.0 * records_per_second).max(1.0),
        };
        let rules = Rules {
            join: JoinRules { lines, max_bytes: self.max_line_bytes },
            parse: self.parse.clone(),
            bare: ParseRules::bare(),
            filter: Filter::new(self.drop_below, &self.drop_matching)
                .context("read filelog.drop_matching")?,
            rate_limit: self.records_per_second.map(burst),
        };
        Ok(Work::new(rules, limits, MemoryBudget::new(self.memory_max_bytes), metrics))
    }

    /// Why a pattern of texts is none.
    pub(crate) fn check_regex(pattern: &str) -> Result<(), String> {
        Regex::new(pattern).map(|_| ()).map_err(|error| error.to_string())
    }
}
