//! Logs of the process: one event a line on standard error, JSON for machines or text for people, and panics among them.

use std::{
    fmt::Write as _,
    panic,
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt as _};

use crate::{Section, Setting, settings::choice};

/// Libraries that log each connection at `info` are kept to warnings by default.
const DEFAULT_LEVEL: &str = "info,hyper=warn,h2=warn,reqwest=warn";

/// What counts where only modules are named.
const LEAST_LEVEL: &str = "info";

/// Form of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// One JSON object a line.
    Json,
    /// Text for people; coloured on a terminal.
    Text,
}

/// How the process logs.
#[derive(Debug, Clone)]
pub struct LogConfig {
    format: LogFormat,
    /// Directives of tracing-subscriber, checked when read.
    level: String,
}

const FORMATS: [(&str, LogFormat); 2] = [("json", LogFormat::Json), ("text", LogFormat::Text)];

impl Setting for LogFormat {
    fn expected() -> String {
        "`json` or `text`".to_owned()
    }

    fn from_text(text: &str) -> Result<Self, String> {
        choice(text, &FORMATS)
    }

    fn to_text(&self) -> String {
        match self {
            Self::Json => "json",
            Self::Text => "text",
        }
        .to_owned()
    }
}

impl LogConfig {
    /// Reads `format` and `level`.
    pub fn read(section: &mut Section<'_>) -> Self {
        let format = section.value("format", LogFormat::Json, "Form of a log line.");
        let level = section.value(
            "level",
            DEFAULT_LEVEL.to_owned(),
            "Least level logged (`error`, `warn`, `info`, `debug`, `trace`; `info` when none is named), then exceptions by module as `module=level`.",
        );
        match parse_level(&level) {
            Ok(_) => Self { format, level },
            Err(what) => {
                section.problem("level", what, format!("give directives such as `{DEFAULT_LEVEL}`"));
                Self { format, level: DEFAULT_LEVEL.to_owned() }
            }
        }
    }

    /// The same for a command that a person runs: text, and warnings only unless a level was asked for. Its answer goes to
    /// standard output.
    #[must_use]
    pub fn for_command(&self) -> Self {
        let level = if self.level == DEFAULT_LEVEL { "warn".to_owned() } else { self.level.clone() };
        Self { format: LogFormat::Text, level }
    }

    /// Sends the events of this process to standard error from now on, panics too. A second call in one process changes nothing.
    pub fn install(&self) {
        let filter = parse_level(&self.level).expect("the level was checked when it was read");
        let lines = fmt().with_env_filter(filter).with_writer(std::io::stderr);
        let installed = match self.format {
            LogFormat::Json => lines.json().flatten_event(true).finish().try_init(),
            LogFormat::Text => {
                lines.with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr())).finish().try_init()
            }
        };
        if installed.is_ok() {
            panic::set_hook(Box::new(log_panic));
        }
    }
}

/// The filter that the directives mean. A word that is no level is refused: the library takes it for the name of a module, logs
/// that one and nothing else, not even why the process ended.
fn parse_level(level: &str) -> Result<EnvFilter, String> {
    let mut least = None;
    let mut directives = Vec::new();
    for directive in level.split(',') {
        let directive = directive.trim();
        let (module, name) = match directive.rsplit_once('=') {
            Some((module, name)) => (Some(module.trim()), name.trim()),
            None => (None, directive),
        };
        let named = canonical(name);
        match (module, named) {
            (None, Some("off")) => return Err("`off` would hide why the process ended".to_owned()),
            (None, Some(named)) if least.replace(named).is_some() => {
                return Err(format!("`{level}` names two least levels"));
            }
            (None, Some(_)) => {}
            (None, None) => return Err(format!("`{directive}` is no level")),
            (Some(module), _) if !is_module(module) => return Err(format!("`{directive}` names no module")),
            (Some(module), Some(named)) => directives.push(format!("{module}={named}")),
            (Some(_), None) => return Err(format!("`{directive}`: `{name}` is no level")),
        }
    }
    directives.insert(0, least.unwrap_or(LEAST_LEVEL).to_owned());
    EnvFilter::builder()
        .parse(directives.join(","))
        .map_err(|error| format!("`{level}` is not a filter: {error}"))
}

/// Whether it is a path of modules, with or without a span after it.
fn is_module(text: &str) -> bool {
    let path = text.split('[').next().unwrap_or_default();
    !text.is_empty()
        && path.chars().all(|character| character.is_alphanumeric() || "_:-.".contains(character))
}

/// A level as the library names it, from what other programs call it too.
fn canonical(name: &str) -> Option<&'static str> {
    Some(match name.to_ascii_lowercase().as_str() {
        "error" | "err" => "error",
        "warn" | "warning" => "warn",
        "info" | "information" => "info",
        "debug" => "debug",
        "trace" => "trace",
        "off" => "off",
        _ => return None,
    })
}

/// Lets one line of many through, so that what comes at a stranger's rate does not fill the log.
#[derive(Debug, Default)]
pub struct Occasional(Mutex<Held>);

#[derive(Debug, Default)]
struct Held {
    last: Option<Instant>,
    back: u64,
}

impl Occasional {
    /// Between two lines.
    const PAUSE: Duration = Duration::from_secs(60);

    /// `Some` when the line is to be written, with the number of those held back since the last one.
    pub fn admit(&self) -> Option<u64> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        if held.last.is_some_and(|last| now.duration_since(last) < Occasional::PAUSE) {
            held.back += 1;
            return None;
        }
        held.last = Some(now);
        Some(std::mem::take(&mut held.back))
    }
}

/// A panic becomes one event instead of loose lines between the JSON ones.
fn log_panic(panic: &panic::PanicHookInfo<'_>) {
    let message = panic.payload_as_str().unwrap_or("no message");
    let mut location = String::new();
    if let Some(place) = panic.location() {
        let _ = write!(location, "{}:{}", place.file(), place.line());
    }
    let thread = std::thread::current();
    let backtrace = std::backtrace::Backtrace::capture();
    tracing::error!(panic = message, location, thread = thread.name().unwrap_or("unnamed"), %backtrace, "panic");
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the library makes of the directives, or why they are refused.
    fn check(level: &str, expected: Result<&str, &str>) {
        match (parse_level(level).map(|filter| filter.to_string()), expected) {
            (Ok(filter), Ok(expected)) => {
                let parts = |text: &str| {
                    let mut parts: Vec<String> = text.split(',').map(str::to_owned).collect();
                    parts.sort();
                    parts
                };
                assert_eq!(parts(&filter), parts(expected), "{level}");
            }
            (Err(what), Err(expected)) => assert!(what.contains(expected), "{level}: {what}"),
            (found, expected) => panic!("{level}: {found:?}, not {expected:?}"),
        }
    }

    #[test]
    fn a_level_is_understood_or_refused_and_never_taken_for_a_module() {
        check("warning", Ok("warn"));
        check("WARN", Ok("warn"));
        check(" Error ", Ok("error"));
        check("info,hyper=warning", Ok("info,hyper=warn"));
        check("hyper=off, debug", Ok("debug,hyper=off"));
        check("hyper=warn", Ok("info,hyper=warn"));
        check(DEFAULT_LEVEL, Ok(DEFAULT_LEVEL));
        check("info,edge_forwarder[task{name=a}]=debug", Ok("info,edge_forwarder[task{name=a}]=debug"));
        for (wrong, what) in [
            ("", "`` is no level"),
            ("notice", "`notice` is no level"),
            ("fatal", "no level"),
            ("info;hyper=warn", "no module"),
            ("info hyper", "no level"),
            ("edge_forwarder", "no level"),
            ("hyper=loud", "`loud` is no level"),
            ("=info", "no module"),
            ("off", "why the process ended"),
            ("5", "no level"),
            ("info,debug", "two least levels"),
            ("info,", "no level"),
        ] {
            check(wrong, Err(what));
        }
    }
}
