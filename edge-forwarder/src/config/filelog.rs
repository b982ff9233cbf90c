//! The settings of log files.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use service_runtime::{
    Section, Setting,
    settings::{ByteSize, choice},
};

use super::{name_of, positive};
use crate::filelog::{FilelogConfig, Join, KubernetesConfig, ParseRules, SelectionConfig, StartAt};
use include::Found;

mod include;

/// Whole batches for the producer, and the memory of a hundred of them is bounded elsewhere.
const BATCH_BYTES: ByteSize = ByteSize::kib(512);

/// A line is at the topic soon enough for a person who watches, and a quiet log sends few records.
const LINGER: Duration = Duration::from_millis(200);

/// Below a quarter of the largest record, so that a line and what was read from it always fit.
const MAX_LINE_BYTES: ByteSize = ByteSize::kib(224);

/// Runtimes cut lines into fragments of 16 KiB, and a fragment is never cut again.
const MIN_LINE_BYTES: usize = 32 * 1024;

/// A hundred full batches.
const MEMORY_MAX_BYTES: ByteSize = ByteSize::mib(64);

/// The lines of a stack trace are written together.
const NEXT_LINE: Duration = Duration::from_millis(500);

/// A runtime writes the fragments of a line as it gets them from the program.
const REST_OF_LINE: Duration = Duration::from_secs(5);

/// Longer than a writer takes to notice that its file was renamed.
const ROTATE_WAIT: Duration = Duration::from_secs(5);

/// With inotify only what was not told waits so long.
const SCAN_INTERVAL: Duration = Duration::from_secs(60);

/// The API tells of a pod before its containers start, unless it is slow.
const POD_WAIT: Duration = Duration::from_secs(5);

/// Without it everything does.
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// Reads them; `None` when no log file is to be read.
pub(super) fn read(
    section: &mut Section<'_>,
    spool_directory: Option<&PathBuf>,
    max_value_bytes: usize,
) -> Option<FilelogConfig> {
    let include: Vec<String> = section.value(
        "include",
        Vec::new(),
        "Log files to read, with `*`, `?`, `[a-z]` and `**`; for the pods of a node `/var/log/pods/*/*/*.log`. None turns reading of files off. \
         Rotated files of a log are found by themselves.",
    );
    let exclude = section.value("exclude", Vec::new(), "Files that are not read although they match.");
    let selection = read_selection(section);
    let kubernetes =
        read_kubernetes(&mut section.section("kubernetes", "What the Kubernetes API says of the pods."));
    let StartAtSetting(start_at) = section.value(
        "start_at",
        StartAtSetting(StartAt::Beginning),
        "Where files begin that are there at the very first start: at their `beginning` or `end`.",
    );
    let resource: BTreeMap<String, String> =
        section.value("resource", BTreeMap::new(), "Resource attributes of all records of log files.");
    let batch_bytes = section.value(
        "batch_bytes",
        BATCH_BYTES,
        "A batch of one file with so many bytes of records goes at once.",
    );
    let linger = positive(section, "linger", LINGER, "How long a batch is collected for.");
    let largest_line = FilelogConfig::largest_line(max_value_bytes);
    let max_line_bytes = section.value(
        "max_line_bytes",
        MAX_LINE_BYTES.min(ByteSize::bytes(largest_line as u64)),
        "The longest text of a log record; a longer line is cut into records that say which part they are.",
    );
    let memory_max_bytes = section.value(
        "memory_max_bytes",
        MEMORY_MAX_BYTES,
        "Bytes of batches and unfinished records, over all files; beyond them reading waits.",
    );
    let next_line = positive(
        section,
        "next_line",
        NEXT_LINE,
        "How long a record of several lines waits for its next line.",
    );
    let rest_of_line = positive(
        section,
        "rest_of_line",
        REST_OF_LINE,
        "How long a line that came in part waits for its rest.",
    );
    let rotate_wait =
        positive(section, "rotate_wait", ROTATE_WAIT, "How long a rotated file is kept open for late lines.");
    let scan_interval = positive(
        section,
        "scan_interval",
        SCAN_INTERVAL,
        "How often all is looked at, in case that a change was not told.",
    );
    let poll_interval =
        positive(section, "poll_interval", POLL_INTERVAL, "The same where the system cannot tell changes.");
    let join = section.value(
        "join",
        JoinSetting::StackTraces,
        "Which lines are one record: `stack_traces` joins those of a trace, `lines` none, `line_start` those up to the next that matches `line_start`.",
    );
    let line_start: Option<String> = section.optional(
        "line_start",
        "What the first line of a record looks like, as a regular expression, with `join: line_start`.",
    );
    let drop_below = section.value(
        "drop_below",
        SeveritySetting(0),
        "Records below this severity are dropped, counted: `none` drops nothing, else one of `debug`, `info`, `warn`, `error`, `fatal`.",
    );
    let drop_matching: BTreeMap<String, String> = section.value(
        "drop_matching",
        BTreeMap::new(),
        "Records whose text matches a regular expression are dropped, counted by the rule's name: `probes: '\"path\":\"/health\"'`.",
    );
    let records_per_second: Option<f64> = section.optional(
        "records_per_second",
        "The most records of each log, with bursts of two seconds; what comes faster is dropped, counted. Unset drops nothing: a log that is too fast waits.",
    );
    let parse = ParseRules::read(&mut section.section("parse", "How the text of a record is read."));
    let config = FilelogConfig {
        include,
        exclude,
        selection,
        kubernetes,
        start_at,
        resource,
        batch_bytes: batch_bytes.as_usize(),
        linger,
        max_line_bytes: max_line_bytes.as_usize(),
        memory_max_bytes: memory_max_bytes.as_usize(),
        next_line,
        rest_of_line,
        rotate_wait,
        scan_interval,
        poll_interval,
        directory: spool_directory.map(|directory| directory.join("filelog")).unwrap_or_default(),
        parse,
        join: match join {
            JoinSetting::Lines => Join::Lines,
            JoinSetting::StackTraces => Join::StackTraces,
            JoinSetting::LineStart => Join::FirstLine(line_start.clone().unwrap_or_default()),
        },
        drop_below: drop_below.0,
        drop_matching,
        records_per_second,
    };
    if (join == JoinSetting::LineStart) != line_start.is_some() {
        section.problem(
            "line_start",
            "`join: line_start` and line_start need each other",
            "both, or neither",
        );
    }
    if config.include.is_empty() {
        return None;
    }
    check(section, &config, spool_directory.is_some(), max_value_bytes);
    warn(section, &config);
    Some(config)
}

fn read_selection(section: &mut Section<'_>) -> SelectionConfig {
    let names = |section: &mut Section<'_>, key, documentation| section.value(key, Vec::new(), documentation);
    let labels =
        |section: &mut Section<'_>, key, documentation| section.value(key, BTreeMap::new(), documentation);
    SelectionConfig {
        include_namespaces: names(
            section,
            "include_namespaces",
            "Namespaces of pods that are read, with `*` and `?`; none means all.",
        ),
        exclude_namespaces: names(section, "exclude_namespaces", "Namespaces of pods that are not read."),
        include_containers: names(section, "include_containers", "Containers that are read; none means all."),
        exclude_containers: names(section, "exclude_containers", "Containers that are not read."),
        include_labels: labels(
            section,
            "include_labels",
            "Labels that a pod must have to be read, all of them: `team: '*'`. Needs `kubernetes.node`.",
        ),
        exclude_labels: labels(
            section,
            "exclude_labels",
            "A pod that has one of these labels is not read: `logs: 'off'`. Needs `kubernetes.node`.",
        ),
    }
}

/// `None` when the API is not to be asked.
fn read_kubernetes(section: &mut Section<'_>) -> Option<KubernetesConfig> {
    let node: Option<String> = section.optional(
        "node",
        "The own node's name, from `spec.nodeName`; with it the API is watched for the node's pods. Unset, only paths tell of pods.",
    );
    let kubeconfig = section.optional(
        "kubeconfig",
        "File that says how to reach the API; not needed inside a pod, whose service account is used.",
    );
    let cluster = section.optional(
        "cluster",
        "The cluster's name, `k8s.cluster.name`. Unset, it is what kubeadm calls it, if that may be read.",
    );
    let labels: Vec<String> = section.value(
        "labels",
        vec!["*".to_owned()],
        "Labels of pods that become attributes `k8s.pod.label.<label>`, with `*` and `?`.",
    );
    let is_by_well_known_labels = section.value(
        "well_known_labels",
        false,
        "Whether the labels `app.kubernetes.io/instance`, `name` and `version` say a service's name and version.",
    );
    let wait = positive(
        section,
        "wait",
        POD_WAIT,
        "How long a new pod's log waits for the API to know the pod; then it is read with what its path says.",
    );
    for label in &labels {
        if let Err(reason) = FilelogConfig::check_name_pattern(label) {
            section.problem("labels", reason, "label names with `*` and `?`");
        }
    }
    Some(KubernetesConfig { node: node?, kubeconfig, cluster, labels, is_by_well_known_labels, wait })
}

fn check(section: &mut Section<'_>, config: &FilelogConfig, has_spool: bool, max_value_bytes: usize) {
    for (key, patterns) in [("include", &config.include), ("exclude", &config.exclude)] {
        for pattern in patterns {
            if let Err(reason) = FilelogConfig::check_pattern(pattern) {
                section.problem(
                    key,
                    format!("`{pattern}`: {reason}"),
                    "an absolute path such as `/var/log/pods/*/*/*.log`",
                );
            }
        }
    }
    if let Err(reason) = config.selection.check() {
        section.problem("include_namespaces", reason, "names with `*`, `?` and `[a-z]`");
    }
    if config.selection.needs_labels() && config.kubernetes.is_none() {
        section.problem(
            "include_labels",
            "pods are selected by labels, and the Kubernetes API is not asked",
            "set filelog.kubernetes.node, or leave out include_labels and exclude_labels",
        );
    }
    if !has_spool {
        section.problem(
            "include",
            "log files are read, and there is no spool",
            "set spool.directory: positions are kept there, and what the brokers do not take",
        );
    }
    let first_line = match &config.join {
        Join::FirstLine(pattern) => Some(("line_start", pattern)),
        Join::Lines | Join::StackTraces => None,
    };
    let dropped = config.drop_matching.values().map(|pattern| ("drop_matching", pattern));
    for (key, pattern) in first_line.into_iter().chain(dropped) {
        if let Err(reason) = FilelogConfig::check_regex(pattern) {
            section.problem(
                key,
                format!("`{pattern}` is no regular expression: {reason}"),
                "one of Rust's regex crate",
            );
        }
    }
    if config.records_per_second.is_some_and(|records| !(records > 0.0 && records.is_finite())) {
        section.problem("records_per_second", "it is not above zero", "a number such as `1000`, or none");
    }
    let largest_line = FilelogConfig::largest_line(max_value_bytes);
    if !(MIN_LINE_BYTES..=largest_line).contains(&config.max_line_bytes) {
        section.problem(
            "max_line_bytes",
            format!("it is {} bytes", config.max_line_bytes),
            format!("32KiB to a quarter of kafka.producer.max_message_bytes, here {largest_line} bytes"),
        );
    }
    let least_memory = FilelogConfig::least_memory(max_value_bytes);
    if config.memory_max_bytes < least_memory {
        section.problem(
            "memory_max_bytes",
            format!("it is {} bytes", config.memory_max_bytes),
            format!("at least {least_memory} bytes, twice the largest record"),
        );
    }
    if config.batch_bytes == 0 {
        section.problem("batch_bytes", "it is zero", "a size such as `512KiB`");
    }
}

/// Says what an include does not do that it was probably meant to. A log may come later, so none of it is a problem.
fn warn(section: &mut Section<'_>, config: &FilelogConfig) {
    for pattern in &config.include {
        let (what, remedy) = match include::look(pattern, &config.exclude) {
            Found::Files => continue,
            Found::Directories => {
                ("matches a directory and no file", "give a pattern of files, such as `/var/log/app/*.log`")
            }
            Found::Excluded => ("matches only files that `exclude` matches too", "make `exclude` narrower"),
            Found::Nothing => (
                "matches nothing now",
                "compare it with the paths that are there, and with who may read them",
            ),
        };
        section.warning("include", format!("`{pattern}` {what}"), remedy);
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct StartAtSetting(StartAt);

const START_AT: [(&str, StartAtSetting); 2] =
    [("beginning", StartAtSetting(StartAt::Beginning)), ("end", StartAtSetting(StartAt::End))];

impl Setting for StartAtSetting {
    fn expected() -> String {
        "`beginning` or `end`".to_owned()
    }

    fn from_text(text: &str) -> Result<StartAtSetting, String> {
        choice(text, &START_AT)
    }

    fn to_text(&self) -> String {
        name_of(&START_AT, *self)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum JoinSetting {
    Lines,
    StackTraces,
    LineStart,
}

const JOINS: [(&str, JoinSetting); 3] = [
    ("lines", JoinSetting::Lines),
    ("stack_traces", JoinSetting::StackTraces),
    ("line_start", JoinSetting::LineStart),
];

impl Setting for JoinSetting {
    fn expected() -> String {
        "one of `lines`, `stack_traces`, `line_start`".to_owned()
    }

    fn from_text(text: &str) -> Result<JoinSetting, String> {
        choice(text, &JOINS)
    }

    fn to_text(&self) -> String {
        name_of(&JOINS, *self)
    }
}

/// A severity, as OpenTelemetry numbers them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct SeveritySetting(u8);

const SEVERITIES: [(&str, SeveritySetting); 6] = [
    ("none", SeveritySetting(0)),
    ("debug", SeveritySetting(5)),
    ("info", SeveritySetting(9)),
    ("warn", SeveritySetting(13)),
    ("error", SeveritySetting(17)),
    ("fatal", SeveritySetting(21)),
];

impl Setting for SeveritySetting {
    fn expected() -> String {
        "one of `none`, `debug`, `info`, `warn`, `error`, `fatal`".to_owned()
    }

    fn from_text(text: &str) -> Result<SeveritySetting, String> {
        choice(text, &SEVERITIES)
    }

    fn to_text(&self) -> String {
        name_of(&SEVERITIES, *self)
    }
}
