//! Where the tailer looks: for new logs, and for what has become of the files of those that it follows.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use super::Tailer;
use crate::filelog::{
    discover::Visitor,
    family::{Candidate, Look},
    log::Log,
    sources::Verdict,
    watch::Watcher,
};

impl Tailer {
    /// Looks at everything: new logs, and the files of all of them.
    pub(super) fn scan(&mut self, now: Instant) {
        let interval =
            if self.watcher.is_blind() { self.plan.blind_interval } else { self.plan.scan_interval };
        self.scan_at = now + interval;
        let mut found = Found { watcher: &mut self.watcher, files: Vec::new(), failures: 0 };
        self.plan.include.iter().for_each(|pattern| pattern.walk(&mut found));
        let Found { files, failures, .. } = found;
        (0..failures).for_each(|_| self.work.sink.metrics.count_file_error());
        for path in files {
            let is_archive = path.extension().is_some_and(|extension| extension == "gz");
            if !is_archive && !self.by_path.contains_key(&path) && self.is_wanted(&path) {
                self.log_at(&path);
            }
        }
        let directories: Vec<PathBuf> = self.by_directory.keys().cloned().collect();
        directories.iter().for_each(|directory| self.look_in(directory, now));
    }

    /// Whether a path is to be a log: it is not left out, and no file of another.
    fn is_wanted(&self, path: &Path) -> bool {
        let is_left_out = || self.sources.verdict(path, Duration::ZERO) == Verdict::Leave;
        !self.is_excluded(path) && !is_left_out() && !self.is_file_of_another(path)
    }

    /// What to do with the lines of a log that is followed.
    pub(super) fn verdict(&self, log: &Log, now: Instant) -> Verdict {
        if self.is_excluded(&log.path) {
            return Verdict::Leave;
        }
        self.sources.verdict(&log.path, now.saturating_duration_since(log.since))
    }

    fn is_excluded(&self, path: &Path) -> bool {
        self.plan.exclude.iter().any(|pattern| pattern.matches(path))
    }

    fn is_file_of_another(&self, path: &Path) -> bool {
        let Some(name) = path.file_name().map(|name| name.to_string_lossy()) else { return true };
        let others = path.parent().and_then(|directory| self.by_directory.get(directory));
        others.into_iter().flatten().filter_map(|log| self.logs.get(log)?.path.file_name()).any(|other| {
            let other = other.to_string_lossy();
            name != other && Candidate::is_of(&name, &other)
        })
    }

    pub(super) fn log_at(&mut self, path: &Path) -> u64 {
        if let Some(log) = self.by_path.get(path) {
            return *log;
        }
        let real = fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        if let Some(log) = self.by_path.get(&real) {
            // A link to a log that is followed already.
            let log = *log;
            self.by_path.insert(path.to_owned(), log);
            return log;
        }
        let number = self.number();
        self.logs.insert(number, Log::new(path.to_owned(), Instant::now()));
        self.by_path.insert(path.to_owned(), number);
        if real != path {
            // Of what a link leads to, only its own directory tells.
            self.watcher.watch(real.parent().unwrap_or(Path::new("/")));
            self.by_path.insert(real, number);
        }
        let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
        self.by_directory.entry(directory).or_default().insert(number);
        number
    }

    pub(super) fn number(&mut self) -> u64 {
        self.next_number += 1;
        self.next_number
    }

    /// Looks at the files of the logs of one directory.
    pub(super) fn look_in(&mut self, directory: &Path, now: Instant) {
        self.watcher.watch(directory);
        let names = match fs::read_dir(directory) {
            Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect(),
            Err(_) => Vec::new(),
        };
        let logs: Vec<u64> = self.by_directory.get(directory).into_iter().flatten().copied().collect();
        for number in logs {
            self.look_at(number, directory, &names, now);
        }
    }

    fn look_at(&mut self, number: u64, directory: &Path, names: &[String], now: Instant) {
        let Tailer { logs, work, plan, next_number, durable, .. } = self;
        let Some(log) = logs.get_mut(&number) else { return };
        let own = log.path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let of_log = names.iter().filter(|name| Candidate::is_of(name, &own));
        let candidates: Vec<Candidate> =
            of_log.filter_map(|name| Candidate::at(directory.join(name)).ok().flatten()).collect();
        let mut look = Look {
            next_number,
            first_start_ms: self.first_start_ms,
            room: &plan.room,
            is_from_end: self.is_first_start && plan.is_from_end,
            durable,
            now,
        };
        log.look(&candidates, &mut look, work);
        if !self.has_begun {
            return;
        }
        log.give_up_missing(work);
        log.close_finished(&plan.waits, now);
        if log.is_over() {
            self.forget(number);
        } else if log.has_news(&candidates) {
            self.is_dirty = true;
            self.wake(number);
        }
    }

    pub(super) fn forget(&mut self, number: u64) {
        let Some(log) = self.logs.remove(&number) else { return };
        self.unknown.remove(&number);
        self.is_dirty = true;
        self.by_path.retain(|_, of| *of != number);
        if let Some(directory) = log.path.parent()
            && let Some(logs) = self.by_directory.get_mut(directory)
        {
            logs.remove(&number);
            if logs.is_empty() {
                self.by_directory.remove(directory);
            }
        }
    }
}

/// What a walk finds.
struct Found<'a> {
    watcher: &'a mut Watcher,
    files: Vec<PathBuf>,
    failures: usize,
}

impl Visitor for Found<'_> {
    fn directory(&mut self, path: &Path) {
        self.watcher.watch(path);
    }

    fn file(&mut self, path: PathBuf) {
        self.files.push(path);
    }

    fn failed(&mut self, path: &Path, error: &io::Error) {
        tracing::warn!(path = %path.display(), %error, "a directory of log files cannot be listed");
        self.failures += 1;
    }
}
