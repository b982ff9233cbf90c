//! What the spool needs of its machine: the seam below which faults are injected.
//!
//! [`Disk`] is the real one; [`crate::simulation`] has one that loses what was not synced and fails on request.

use std::{
    any::Any,
    fmt, fs,
    io::{self, IoSlice},
    os::unix::fs::{FileExt, OpenOptionsExt},
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::fs::OFlags;

/// Buffers that one call hands to the kernel; the kernel takes 1024 at most.
const MAX_PARTS: usize = 1024;

/// A file system, and the clock of the machine that it is on.
pub trait FileSystem: Send + Sync + fmt::Debug {
    /// Makes a directory and those above it, durably; content when it is there.
    fn make_directory(&self, path: &Path) -> io::Result<()>;
    /// What is in a directory, in no order.
    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>>;
    /// Makes an empty file, or empties the one that is there, to read and write.
    fn create(&self, path: &Path) -> io::Result<Box<dyn File>>;
    /// Opens a regular file; never follows a link.
    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>>;
    /// Gives a file another name, in place of what had that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Removes a file's name.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a directory durable.
    fn sync_directory(&self, path: &Path) -> io::Result<()>;
    /// Locks a directory against other processes, by a file in it that names the owner.
    fn lock(&self, directory: &Path) -> io::Result<Locking>;
    /// The wall clock, in milliseconds since the epoch.
    fn now_ms(&self) -> u64;
    /// How often the spool looks after itself: probes a disk that failed, drops what is too old, deletes what is done.
    fn tick(&self) -> Duration {
        Duration::from_secs(1)
    }
}

/// An open file. Positions are given with each call; there is no cursor.
pub trait File: Send + fmt::Debug {
    /// Its length.
    fn length(&self) -> io::Result<u64>;
    /// Reads what one call gives; 0 at the end.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize>;
    /// Writes what one call takes of these parts, one after the other.
    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize>;
    /// Cuts it.
    fn truncate(&self, length: u64) -> io::Result<()>;
    /// Makes its bytes and its length durable.
    fn sync(&self) -> io::Result<()>;
}

/// Something in a directory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name; bytes that are not UTF-8 are replaced.
    pub name: String,
    /// A regular file, not a link to one.
    pub is_file: bool,
    /// Its length.
    pub bytes: u64,
}

/// What a file is opened for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Reading.
    Read,
    /// Reading and writing.
    Write,
}

/// What came of locking a directory.
#[derive(Debug)]
pub enum Locking {
    /// Ours until the guard is dropped or the process ends.
    Held {
        /// Holds it.
        guard: Box<dyn Guard>,
        /// Why the owner could not be written down; the directory cannot be written to then.
        read_only: Option<io::Error>,
    },
    /// Another process has it.
    Busy {
        /// What it wrote about itself.
        owner: String,
    },
}

/// Something that is held until it is dropped.
pub trait Guard: Any + Send + fmt::Debug {}

impl<T: Any + Send + fmt::Debug> Guard for T {}

/// Writes all parts.
pub(crate) fn write_all_at(file: &dyn File, parts: &mut [IoSlice<'_>], offset: u64) -> io::Result<()> {
    let mut parts = parts;
    let mut offset = offset;
    IoSlice::advance_slices(&mut parts, 0);
    while !parts.is_empty() {
        let written = match file.write_at(&parts[..parts.len().min(MAX_PARTS)], offset) {
            Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
            Ok(written) => written,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        offset += written as u64;
        IoSlice::advance_slices(&mut parts, written);
    }
    Ok(())
}

/// Reads until the buffer is full or the file ends, and says how much that was.
pub(crate) fn read_full_at(file: &dyn File, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
    let mut filled = 0;
    while filled < buffer.len() {
        match file.read_at(&mut buffer[filled..], offset + filled as u64) {
            Ok(0) => break,
            Ok(read) => filled += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(filled)
}

/// The real one.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl FileSystem for Disk {
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        let is_missing = |path: &&Path| !path.as_os_str().is_empty() && !path.exists();
        let made: Vec<_> = path.ancestors().take_while(is_missing).collect();
        fs::create_dir_all(path)?;
        // A directory whose name is lost takes all that was synced in it along.
        for parent in made.iter().filter_map(|made| made.parent()) {
            let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
            self.sync_directory(parent)?;
        }
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let mut entries = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            // An entry that vanishes between listing and looking is not there.
            let Ok(metadata) = entry.metadata() else { continue };
            entries.push(Entry {
                name: entry.file_name().to_string_lossy().into_owned(),
                is_file: metadata.is_file(),
                bytes: metadata.len(),
            });
        }
        Ok(entries)
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut options = open_options();
        Ok(Box::new(options.write(true).create(true).truncate(true).open(path)?))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let file = open_options().write(access == Access::Write).open(path)?;
        if !file.metadata()?.is_file() {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not a regular file"));
        }
        Ok(Box::new(file))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        fs::File::open(path)?.sync_all()
    }

    fn lock(&self, directory: &Path) -> io::Result<Locking> {
        let path = directory.join("lock");
        // The directory too, since where nothing can be written there may be no file to lock.
        let folder = fs::File::open(directory)?;
        let held = match folder.try_lock() {
            Ok(()) => Some(folder),
            Err(fs::TryLockError::WouldBlock) => return Ok(Locking::Busy { owner: owner_of(&path) }),
            // Some network file systems lock only files.
            Err(fs::TryLockError::Error(_)) => None,
        };
        let (file, read_only) = match open_options().write(true).create(true).truncate(false).open(&path) {
            Ok(file) => (file, None),
            Err(error) => match (open_options().open(&path), &held) {
                (Ok(file), _) => (file, Some(error)),
                (Err(_), Some(_)) => {
                    return Ok(Locking::Held { guard: Box::new(held), read_only: Some(error) });
                }
                (Err(_), None) => return Err(error),
            },
        };
        match file.try_lock() {
            Ok(()) => {}
            Err(fs::TryLockError::WouldBlock) => return Ok(Locking::Busy { owner: owner_of(&path) }),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
        if read_only.is_none() {
            // For the message of a second process only: the kernel's lock counts, so a full disk does no harm here.
            let _ = file.set_len(0);
            let _ = FileExt::write_at(&file, format!("pid {}\n", std::process::id()).as_bytes(), 0);
        }
        Ok(Locking::Held { guard: Box::new((held, file)), read_only })
    }

    fn now_ms(&self) -> u64 {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
    }
}

/// Not through a link, and not waiting for the other end of a pipe.
fn open_options() -> fs::OpenOptions {
    let mut options = fs::OpenOptions::new();
    let flags = OFlags::NOFOLLOW | OFlags::NONBLOCK;
    options.read(true).custom_flags(i32::try_from(flags.bits()).unwrap_or(0));
    options
}

/// What the owner of a lock wrote about itself.
fn owner_of(path: &Path) -> String {
    let mut owner = [0; 64];
    let file = open_options().open(path);
    let read = file.and_then(|file| FileExt::read_at(&file, &mut owner, 0)).unwrap_or(0);
    String::from_utf8_lossy(&owner[..read]).trim().to_owned()
}

impl File for fs::File {
    fn length(&self) -> io::Result<u64> {
        Ok(self.metadata()?.len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        FileExt::read_at(self, buffer, offset)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        Ok(rustix::io::pwritev(self, parts, offset)?)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        self.sync_data()
    }
}
