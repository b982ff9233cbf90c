//! Where fetched and built servers are kept: outside the tree, shared by everything on this machine.
//!
//! An entry appears whole or not at all: it is made in a folder beside its place, written through to the disk, and
//! renamed. A lock file per entry keeps two processes from making the same one twice; the lock dies with its holder.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};

use crate::progress::Task;
use crate::{Error, Result};

/// The cache's folder.
#[derive(Debug, Clone)]
pub struct Cache {
    root: PathBuf,
}

impl Cache {
    /// `$EVENTLINE_CACHE`, else `$XDG_CACHE_HOME/eventline`, else `~/.cache/eventline`.
    pub fn from_env() -> Self {
        let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
        let root = set("EVENTLINE_CACHE")
            .or_else(|| set("XDG_CACHE_HOME").map(|folder| folder.join("eventline")))
            .or_else(|| std::env::home_dir().map(|home| home.join(".cache/eventline")))
            .unwrap_or_else(|| std::env::temp_dir().join("eventline-cache"));
        Self { root: std::path::absolute(&root).unwrap_or(root) }
    }

    /// A cache in `root`, an absolute path.
    pub fn at(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// The cache's folder; tests keep their own tools beside the servers.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The folder of entry `key`, a name that says what it is and which version; `make` fills it when it is not there.
    pub(crate) fn entry(
        &self,
        key: &str,
        task: &Task,
        make: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        let place = self.root.join(key);
        if place.is_dir() {
            return Ok(place);
        }
        let _lock = self.lock(key, task)?;
        if place.is_dir() {
            return Ok(place);
        }
        let draft = self.root.join(format!("{key}.draft"));
        remove(&draft)?;
        std::fs::create_dir_all(&draft).map_err(Error::io(format!("create {}", draft.display())))?;
        if let Err(error) = make(&draft).and_then(|()| write_through(&draft)) {
            // The first error is the one to report; a left-over draft is removed by the next attempt.
            let _ = std::fs::remove_dir_all(&draft);
            return Err(error);
        }
        std::fs::rename(&draft, &place).map_err(Error::io(format!("rename {}", draft.display())))?;
        Ok(place)
    }

    /// Waits for and takes the lock `name`; it is free again when the file is closed.
    pub(crate) fn lock(&self, name: &str, task: &Task) -> Result<File> {
        std::fs::create_dir_all(&self.root).map_err(Error::io(format!("create {}", self.root.display())))?;
        let path = self.root.join(format!("{name}.lock"));
        let file = File::create(&path).map_err(Error::io(format!("create {}", path.display())))?;
        match file.try_lock() {
            Ok(()) => return Ok(file),
            Err(TryLockError::WouldBlock) => {
                task.say(format!("waiting: {name} is being worked on elsewhere"))
            }
            Err(TryLockError::Error(source)) => {
                return Err(Error::Io { what: format!("lock {}", path.display()), source });
            }
        }
        file.lock().map_err(Error::io(format!("lock {}", path.display())))?;
        Ok(file)
    }
}

/// Removes a folder that may not be there.
pub(crate) fn remove(folder: &Path) -> Result<()> {
    match std::fs::remove_dir_all(folder) {
        Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
            Err(Error::Io { what: format!("remove {}", folder.display()), source })
        }
        _ => Ok(()),
    }
}

/// Without it a power cut after the rename could leave an entry with empty files, which nothing would ever replace.
fn write_through(folder: &Path) -> Result<()> {
    let what = || format!("write through {}", folder.display());
    for entry in std::fs::read_dir(folder).map_err(Error::io(what()))? {
        let entry = entry.map_err(Error::io(what()))?;
        if entry.file_type().map_err(Error::io(what()))?.is_dir() {
            write_through(&entry.path())?;
        } else {
            File::open(entry.path()).and_then(|file| file.sync_all()).map_err(Error::io(what()))?;
        }
    }
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(Error::io(what()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Progress;

    fn failed() -> Error {
        Error::NotUp { folder: PathBuf::new() }
    }

    #[test]
    fn an_entry_is_made_once_and_kept() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let task = Progress::silent().task("test");
        let made = cache
            .entry("thing-1", &task, |folder| {
                std::fs::write(folder.join("file"), "content").map_err(Error::io("write"))
            })
            .unwrap();
        let again = cache.entry("thing-1", &task, |_| Err(failed())).unwrap();
        assert_eq!(made, again);
        assert_eq!(std::fs::read_to_string(again.join("file")).unwrap(), "content");
    }

    #[test]
    fn a_failed_attempt_leaves_no_entry_and_the_next_one_starts_clean() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let task = Progress::silent().task("test");
        cache
            .entry("thing-1", &task, |folder| {
                std::fs::write(folder.join("half"), "").unwrap();
                Err(failed())
            })
            .unwrap_err();
        assert!(!root.path().join("thing-1").exists());
        let made = cache.entry("thing-1", &task, |_| Ok(())).unwrap();
        assert!(!made.join("half").exists());
    }

    #[test]
    fn two_at_once_make_an_entry_once() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::at(root.path());
        let made = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    let task = Progress::silent().task("test");
                    cache
                        .entry("thing-1", &task, |_| {
                            made.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
                            Ok(())
                        })
                        .unwrap();
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
    }
}
