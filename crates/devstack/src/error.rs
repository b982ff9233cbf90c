//! What can go wrong between "I need a broker" and a broker that answers.

use std::io;
use std::path::PathBuf;

use crate::Part;

/// The outcome of everything this crate does.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// Why a server could not be had. Causes are in [`std::error::Error::source`], not in the text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A file, a directory or a process of ours could not be used.
    #[error("cannot {what}")]
    Io {
        /// What was tried, as verb and noun.
        what: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// Programs that fetch or run the servers are not installed.
    #[error("missing {}; install with: {command}", programs.join(", "))]
    MissingTools {
        /// The programs, each with what it is needed for.
        programs: Vec<String>,
        /// The command that installs them.
        command: String,
    },
    /// A program ended with an error.
    #[error("{what} failed ({status}); its last lines:\n{tail}")]
    Command {
        /// What the program was to do.
        what: String,
        /// Its exit status.
        status: String,
        /// The end of what it printed.
        tail: String,
    },
    /// A fetched file is not the one that was pinned.
    #[error(
        "{} does not have its pinned checksum: expected sha256 {expected}, found {found}; \
         delete it and fetch again; if it stays so, the package was changed after it was pinned: do not use it",
        file.display()
    )]
    Checksum {
        /// The file.
        file: PathBuf,
        /// What the source code pins.
        expected: String,
        /// What the file has.
        found: String,
    },
    /// The files of a package are not exactly the pinned ones.
    #[error(
        "{} does not hold exactly the pinned files: {difference}; delete the folder and fetch again",
        folder.display()
    )]
    Files {
        /// Where they lie.
        folder: PathBuf,
        /// What is missing or too much.
        difference: String,
    },
    /// There is no package of this server for this machine.
    #[error(
        "there is no {part} package for {platform}; start one yourself and give its address in {variable}"
    )]
    Platform {
        /// The server.
        part: Part,
        /// Processor and system.
        platform: String,
        /// The environment variable that takes the address.
        variable: &'static str,
    },
    /// A server ended before it answered.
    #[error("{part} ended ({status}) before it answered; the end of {}:\n{tail}", log.display())]
    Ended {
        /// The server.
        part: Part,
        /// Its exit status.
        status: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A server runs and does not answer.
    #[error("{part} did not answer within {seconds} s: {answer}; the end of {}:\n{tail}", log.display())]
    Silent {
        /// The server.
        part: Part,
        /// How long it was asked.
        seconds: u64,
        /// What came instead of the answer.
        answer: String,
        /// Its log.
        log: PathBuf,
        /// The log's last lines.
        tail: String,
    },
    /// A server that the user named does not answer.
    #[error("the {part} server named in {variable} ({address}) does not answer: {answer}")]
    Given {
        /// The server.
        part: Part,
        /// The environment variable that named it.
        variable: &'static str,
        /// The address.
        address: String,
        /// What came instead of the answer.
        answer: String,
    },
    /// A server that was not started here was to be stopped, started, killed or frozen.
    #[error("{part} was not started by this stack, so it is not ours to {verb}; ask for StackOptions::own")]
    NotOurs {
        /// The server.
        part: Part,
        /// What was asked for.
        verb: &'static str,
    },
    /// A stack runs in this folder already.
    #[error(
        "a stack is up in {} already{}; end it with: devstack down --dir {}",
        folder.display(), pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default(), folder.display()
    )]
    AlreadyUp {
        /// The folder.
        folder: PathBuf,
        /// The process that owns it, when it says so.
        pid: Option<i32>,
    },
    /// No stack runs in this folder.
    #[error("no stack is up in {}; start it with: devstack up --dir {}", folder.display(), folder.display())]
    NotUp {
        /// The folder.
        folder: PathBuf,
    },
    /// The state that an earlier `up` wrote cannot be read.
    #[error("{} is not the state of a stack; delete it", file.display())]
    State {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
}

impl Error {
    /// For `map_err`: an [`Error::Io`] that says what was tried.
    pub(crate) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    /// Whether starting the same server again, on other ports, may help.
    pub(crate) fn is_early_end(&self) -> bool {
        matches!(self, Self::Ended { .. })
    }
}
