//! What is being done, for people who wait: spinners on a terminal, plain lines everywhere else.

use std::io::IsTerminal;
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

/// How often a plain line repeats what still goes on.
const REPEAT: Duration = Duration::from_secs(10);

/// Where progress is shown. Clones show in the same place.
#[derive(Debug, Clone)]
pub struct Progress(Place);

#[derive(Debug, Clone)]
enum Place {
    Nowhere,
    Lines,
    Terminal(MultiProgress),
}

impl Progress {
    /// Spinners when standard error is a terminal, else lines on standard error.
    pub fn detect() -> Self {
        if std::io::stderr().is_terminal() {
            Self(Place::Terminal(MultiProgress::new()))
        } else {
            Self(Place::Lines)
        }
    }

    /// Nothing is shown.
    pub fn silent() -> Self {
        Self(Place::Nowhere)
    }

    /// Opens a line about `what`.
    pub(crate) fn task(&self, what: &str) -> Task {
        let view = match &self.0 {
            Place::Nowhere => View::Nothing,
            Place::Lines => View::Lines(Lines::start(what)),
            Place::Terminal(terminal) => {
                let bar = terminal.add(ProgressBar::new_spinner());
                let style = ProgressStyle::with_template("{spinner} {prefix:10} {wide_msg} {elapsed}");
                bar.set_style(style.expect("the template above is valid"));
                bar.set_prefix(what.to_owned());
                bar.enable_steady_tick(Duration::from_millis(120));
                View::Spinner(bar)
            }
        };
        Task { view, start: Instant::now() }
    }
}

/// One thing that takes its time.
#[derive(Debug)]
pub(crate) struct Task {
    view: View,
    start: Instant,
}

#[derive(Debug)]
enum View {
    Nothing,
    Lines(Lines),
    Spinner(ProgressBar),
}

impl Task {
    /// Says what is done now.
    pub(crate) fn say(&self, message: impl Into<String>) {
        match &self.view {
            View::Nothing => {}
            View::Lines(lines) => lines.say(message.into()),
            View::Spinner(bar) => bar.set_message(message.into()),
        }
    }

    /// Says how far the thing of the last [`Task::say`] is; too often for a line of its own.
    pub(crate) fn say_how_far(&self, message: impl Into<String>) {
        match &self.view {
            View::Nothing => {}
            View::Lines(lines) => lines.set(message.into()),
            View::Spinner(bar) => bar.set_message(message.into()),
        }
    }

    /// Closes the line with its outcome and the time it took.
    pub(crate) fn done(self, message: &str) {
        let message = format!("{message} ({:.1} s)", self.start.elapsed().as_secs_f64());
        match self.view {
            View::Nothing => {}
            View::Lines(lines) => lines.say(message),
            View::Spinner(bar) => bar.finish_with_message(message),
        }
    }
}

/// Plain lines: one for each message, and the last one again every [`REPEAT`].
#[derive(Debug)]
struct Lines {
    what: String,
    /// The last message, and since when it holds.
    current: Arc<Mutex<(String, Instant)>>,
    end: Option<Sender<()>>,
    repeater: Option<JoinHandle<()>>,
}

impl Lines {
    fn start(what: &str) -> Self {
        let current = Arc::new(Mutex::new((String::new(), Instant::now())));
        let (end, ended) = channel();
        let (shared, name) = (Arc::clone(&current), what.to_owned());
        let repeater = std::thread::spawn(move || {
            while ended.recv_timeout(REPEAT) == Err(RecvTimeoutError::Timeout) {
                let (message, since) = shared.lock().unwrap_or_else(PoisonError::into_inner).clone();
                if since.elapsed() >= REPEAT / 2 && !message.is_empty() {
                    line(&name, &format!("{message} … {} s", since.elapsed().as_secs()));
                }
            }
        });
        Self { what: what.to_owned(), current, end: Some(end), repeater: Some(repeater) }
    }

    fn say(&self, message: String) {
        line(&self.what, &message);
        *self.current.lock().unwrap_or_else(PoisonError::into_inner) = (message, Instant::now());
    }

    fn set(&self, message: String) {
        self.current.lock().unwrap_or_else(PoisonError::into_inner).0 = message;
    }
}

impl Drop for Lines {
    fn drop(&mut self) {
        self.end.take();
        if let Some(repeater) = self.repeater.take() {
            // It cannot panic, and if it did, progress lines are all that is lost.
            let _ = repeater.join();
        }
    }
}

#[allow(clippy::print_stderr, reason = "progress is for the person at the terminal, not for a log")]
fn line(what: &str, message: &str) {
    eprintln!("{what}: {message}");
}
