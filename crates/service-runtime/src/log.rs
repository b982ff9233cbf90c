//! Logs of the process: one event a line on standard error, JSON for machines or text for people, and panics among them.

use std::{fmt::Write as _, panic};

use tracing_subscriber::{EnvFilter, fmt, util::SubscriberInitExt as _};

use crate::{Section, Setting, settings::choice};

/// Libraries that log each connection at `info` are kept to warnings by default.
const DEFAULT_LEVEL: &str = "info,hyper=warn,h2=warn,reqwest=warn";

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
            "Least level logged (`error`, `warn`, `info`, `debug`, `trace`), then exceptions by module as `module=level`.",
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

fn parse_level(level: &str) -> Result<EnvFilter, String> {
    EnvFilter::builder().parse(level).map_err(|error| format!("`{level}` is not a filter: {error}"))
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
