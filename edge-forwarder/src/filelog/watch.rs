//! Tells the tailer what has changed: inotify on directories where the kernel has room for it, a clock where not.
//!
//! An event is only a hint to look. A watch that cannot be set, an overflow of the kernel's queue, or a file system that tells
//! nothing costs time until the next look, never a line.

use std::{
    collections::HashMap,
    io,
    mem::MaybeUninit,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll},
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::{Errno, read, write},
};

/// What happens to files in a directory that makes it worth a look.
const EVENTS: WatchFlags = WatchFlags::MODIFY
    .union(WatchFlags::CREATE)
    .union(WatchFlags::DELETE)
    .union(WatchFlags::MOVED_FROM)
    .union(WatchFlags::MOVED_TO)
    .union(WatchFlags::CLOSE_WRITE)
    .union(WatchFlags::ONLYDIR);

/// Room for some dozens of events at a time.
const BUFFER_BYTES: usize = 8 * 1024;

/// Something to look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Hint {
    /// This file may have grown.
    Grown(PathBuf),
    /// Files may have come or gone in this directory.
    Directory(PathBuf),
    /// Anything may have changed.
    Everything,
}

/// Waits for changes.
#[derive(Debug)]
pub(super) struct Watcher {
    inotify: Option<OwnedFd>,
    directories: HashMap<i32, PathBuf>,
    watches: HashMap<PathBuf, i32>,
    bell: Bell,
    /// Directories that could not be watched, until a look at everything.
    is_blind: bool,
}

/// Wakes a [`Watcher`]; clones ring the same.
#[derive(Debug, Clone)]
pub(super) struct Bell(Arc<OwnedFd>);

impl Bell {
    /// Wakes it now, or at its next wait.
    pub(super) fn ring(&self) {
        // It can fail only when it has been rung some 2^64 times since.
        let _ = write(&*self.0, &1u64.to_ne_bytes());
    }
}

impl Watcher {
    /// One that watches nothing yet. Without inotify it never gives hints.
    pub(super) fn new() -> io::Result<Watcher> {
        let bell = Bell(Arc::new(eventfd(0, EventfdFlags::NONBLOCK | EventfdFlags::CLOEXEC)?));
        let inotify = inotify::init(CreateFlags::NONBLOCK | CreateFlags::CLOEXEC);
        if let Err(error) = &inotify {
            tracing::warn!(%error, "inotify is not to be had; log files are looked at by the clock");
        }
        let is_blind = inotify.is_err();
        Ok(Watcher {
            inotify: inotify.ok(),
            directories: HashMap::new(),
            watches: HashMap::new(),
            bell,
            is_blind,
        })
    }

    pub(super) fn bell(&self) -> Bell {
        self.bell.clone()
    }

    /// Whether changes may go unseen, so that the clock has to do.
    pub(super) fn is_blind(&self) -> bool {
        self.is_blind
    }

    /// Watches the files in a directory from now on; as long as it is not there, the nearest one above it.
    pub(super) fn watch(&mut self, directory: &Path) {
        let Some(inotify) = &self.inotify else { return };
        if self.watches.contains_key(directory) {
            return;
        }
        match inotify::add_watch(inotify, directory, EVENTS) {
            Ok(watch) => {
                self.directories.insert(watch, directory.to_owned());
                self.watches.insert(directory.to_owned(), watch);
            }
            Err(Errno::NOENT | Errno::NOTDIR) => {
                if let Some(above) = directory.parent() {
                    self.watch(above);
                }
            }
            Err(error) => {
                if !self.is_blind {
                    let directory = directory.display();
                    tracing::warn!(%directory, %error, "a directory cannot be watched; it is looked at by the clock (fs.inotify.max_user_watches is the usual limit)");
                }
                self.is_blind = true;
            }
        }
    }

    /// Waits until there is a hint, the bell rings, or `timeout` is over, and returns the hints.
    pub(super) fn wait(&mut self, timeout: Duration) -> Vec<Hint> {
        let timeout = Timespec { tv_sec: timeout.as_secs() as i64, tv_nsec: timeout.subsec_nanos().into() };
        let mut ready = vec![PollFd::new(&*self.bell.0, PollFlags::IN)];
        if let Some(inotify) = &self.inotify {
            ready.push(PollFd::new(inotify, PollFlags::IN));
        }
        // Interrupted or not, what follows looks for itself.
        let _ = poll(&mut ready, Some(&timeout));
        let _ = read(&*self.bell.0, &mut [0; 8]);
        self.hints()
    }

    fn hints(&mut self) -> Vec<Hint> {
        let Watcher { inotify: Some(inotify), directories, watches, .. } = self else { return Vec::new() };
        let mut hints = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); BUFFER_BYTES];
        let mut events = inotify::Reader::new(inotify.as_fd(), &mut buffer);
        // The end is an error: there is nothing more to read now.
        while let Ok(event) = events.next() {
            if event.events().contains(ReadFlags::QUEUE_OVERFLOW) {
                hints.push(Hint::Everything);
                continue;
            }
            let Some(directory) = directories.get(&event.wd()) else { continue };
            if event.events().contains(ReadFlags::IGNORED) {
                // The directory is gone, or was moved to another file system.
                watches.remove(directory);
                hints.extend(directories.remove(&event.wd()).map(Hint::Directory));
                continue;
            }
            let is_growth = event.events().intersects(ReadFlags::MODIFY | ReadFlags::CLOSE_WRITE);
            let hint = match event.file_name() {
                Some(name) if is_growth => Hint::Grown(directory.join(name.to_string_lossy().as_ref())),
                _ => Hint::Directory(directory.clone()),
            };
            if hints.last() != Some(&hint) {
                hints.push(hint);
            }
        }
        hints
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, time::Instant};

    use super::*;

    fn hints_until(watcher: &mut Watcher, wanted: &Hint) -> Vec<Hint> {
        let (mut all, started) = (Vec::new(), Instant::now());
        while !all.contains(wanted) {
            assert!(started.elapsed() < Duration::from_secs(30), "no {wanted:?} in {all:?}");
            all.extend(watcher.wait(Duration::from_millis(100)));
        }
        all
    }

    #[test]
    fn growth_names_the_file_and_comings_and_goings_the_directory() {
        let root = tempfile::tempdir().unwrap();
        let (path, directory) = (root.path().join("0.log"), root.path().to_owned());
        let mut watcher = Watcher::new().unwrap();
        watcher.watch(&directory);
        fs::write(&path, "line\n").unwrap();
        let hints = hints_until(&mut watcher, &Hint::Grown(path.clone()));
        assert!(hints.contains(&Hint::Directory(directory.clone())));
        fs::rename(&path, root.path().join("0.log.1")).unwrap();
        hints_until(&mut watcher, &Hint::Directory(directory));
    }

    #[test]
    fn a_directory_that_goes_and_comes_again_is_watched_again() {
        let root = tempfile::tempdir().unwrap();
        let directory = root.path().join("app");
        let mut watcher = Watcher::new().unwrap();
        watcher.watch(&directory);
        assert!(!watcher.is_blind(), "what is not there is no failure");
        fs::create_dir(&directory).unwrap();
        watcher.watch(&directory);
        fs::remove_dir(&directory).unwrap();
        hints_until(&mut watcher, &Hint::Directory(directory.clone()));
        fs::create_dir(&directory).unwrap();
        watcher.watch(&directory);
        fs::write(directory.join("0.log"), "line\n").unwrap();
        hints_until(&mut watcher, &Hint::Grown(directory.join("0.log")));
    }

    #[test]
    fn the_bell_ends_a_wait_even_if_it_rang_before() {
        let mut watcher = Watcher::new().unwrap();
        watcher.bell().ring();
        let started = Instant::now();
        assert_eq!(watcher.wait(Duration::from_secs(60)), []);
        assert!(started.elapsed() < Duration::from_secs(30));
    }
}
