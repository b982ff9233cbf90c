//! A disk in memory for tests: it forgets what was not synced, and fails on request.
//!
//! | event | what is there afterwards |
//! |---|---|
//! | [`SimulatedDisk::kill`] | everything that was written; the handles of the killed process are dead |
//! | [`SimulatedDisk::power_cut`] | what was synced; of what was not, each write survives whole, in part, or not at all, and of the changes of names a part from the first on |
//! | a sync that fails | as with a power cut, each write reached the disk or did not; reading shows them all, and the next sync is content although it writes none of them |
//!
//! The choices come from a seed. Making a folder is durable at once.

mod file;
mod world;

use std::{
    fmt, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::filesystem::{Access, Entry, File, FileSystem, Locking};
use file::SimulatedFile;
use world::{NameChange, World};

/// The disk. Clones are the same one.
#[derive(Clone)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
}

/// The disk as one process sees it, until it is killed.
#[derive(Clone, Debug)]
struct Mounted {
    disk: SimulatedDisk,
    generation: u64,
}

/// What can fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// [`FileSystem::create`].
    Create,
    /// [`FileSystem::open`].
    Open,
    /// [`File::read_at`].
    Read,
    /// [`File::write_at`].
    Write,
    /// [`File::truncate`].
    Truncate,
    /// [`File::sync`].
    Sync,
    /// [`FileSystem::rename`], by the new name.
    Rename,
    /// [`FileSystem::remove`].
    Remove,
    /// [`FileSystem::sync_directory`].
    SyncDirectory,
}

/// A failure to come.
#[derive(Debug, Clone)]
pub struct Fault {
    /// What fails.
    pub operation: Operation,
    /// Only where the name contains this.
    pub name: String,
    /// So many go well before.
    pub after: u64,
    /// So many fail.
    pub times: u64,
    /// With this number of the system.
    pub errno: i32,
}

/// The numbers of the errors that tests ask for.
pub mod errno {
    /// The medium failed.
    pub const EIO: i32 = 5;
    /// Too many open files.
    pub const EMFILE: i32 = 24;
    /// Not allowed.
    pub const EACCES: i32 = 13;
    /// No room.
    pub const ENOSPC: i32 = 28;
    /// Mounted for reading only.
    pub const EROFS: i32 = 30;
}

impl SimulatedDisk {
    /// An empty one.
    pub fn new(seed: u64) -> SimulatedDisk {
        SimulatedDisk { world: Arc::new(Mutex::new(World::new(seed))) }
    }

    /// As a process sees it that starts now.
    pub fn mount(&self) -> Arc<dyn FileSystem> {
        Arc::new(Mounted { disk: self.clone(), generation: self.lock().generation })
    }

    /// Ends the process that uses it, as SIGKILL does.
    pub fn kill(&self) {
        let mut world = self.lock();
        world.generation += 1;
        world.locked.clear();
    }

    /// Ends the process and the machine.
    pub fn power_cut(&self) {
        self.kill();
        self.lock().forget_unsynced();
    }

    /// Has something fail.
    pub fn fail(&self, fault: Fault) {
        self.lock().faults.push(fault);
    }

    /// Takes all faults back, and says how many had not been used up.
    pub fn heal(&self) -> usize {
        let mut world = self.lock();
        world.is_read_only = false;
        world.capacity = u64::MAX;
        std::mem::take(&mut world.faults).len()
    }

    /// Whether changes are refused.
    pub fn set_read_only(&self, is_read_only: bool) {
        self.lock().is_read_only = is_read_only;
    }

    /// Bytes of all files together that it has room for.
    pub fn set_capacity(&self, bytes: u64) {
        self.lock().capacity = bytes;
    }

    /// Whether writes take only a part, at random.
    pub fn set_short_writes(&self, is_short: bool) {
        self.lock().has_short_writes = is_short;
    }

    /// Bytes of all files.
    pub fn used(&self) -> u64 {
        self.lock().used()
    }

    /// How often an operation was called, failures included, on names that contain this.
    pub fn calls(&self, operation: Operation, name: &str) -> u64 {
        let world = self.lock();
        let calls =
            world.calls.iter().filter(|((called, file), _)| *called == operation && file.contains(name));
        calls.map(|(_, count)| *count).sum()
    }

    /// Moves the clock on.
    pub fn advance(&self, time: Duration) {
        self.lock().now_ms += u64::try_from(time.as_millis()).unwrap_or(0);
    }

    /// All files.
    pub fn files(&self) -> Vec<PathBuf> {
        self.lock().names.keys().cloned().collect()
    }

    /// What a file holds.
    pub fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let world = self.lock();
        world.names.get(path).map(|inode| world.inodes[inode].current.clone())
    }

    /// Puts a file there, durable.
    pub fn put(&self, path: &Path, bytes: &[u8]) {
        let mut world = self.lock();
        let inode = world.new_inode(bytes.to_vec());
        world.names.insert(path.to_owned(), inode);
        world.durable_names.insert(path.to_owned(), inode);
    }

    /// Has the medium rot under a file: one bit of the byte at `place`, counted around its end. Open files see it too. A file that
    /// is not there, or is empty, has nothing that could.
    pub fn rot(&self, path: &Path, place: usize) {
        let mut world = self.lock();
        let Some(inode) = world.names.get(path).copied() else { return };
        if let Some(inode) = world.inodes.get_mut(&inode) {
            inode.rot(place);
        }
    }

    /// Takes a file away, durably.
    pub fn take_away(&self, path: &Path) {
        let mut world = self.lock();
        world.names.remove(path);
        world.durable_names.remove(path);
    }

    /// Gives a file another name, durably.
    pub fn move_to(&self, from: &Path, to: &Path) {
        let bytes = self.read(from).unwrap_or_default();
        self.put(to, &bytes);
        self.take_away(from);
    }

    fn lock(&self) -> MutexGuard<'_, World> {
        self.world.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for SimulatedDisk {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("SimulatedDisk").finish_non_exhaustive()
    }
}

impl Mounted {
    /// The disk, if the process lives and this operation does not fail.
    fn enter(&self, operation: Operation, path: &Path) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.disk.lock();
        world.enter(self.generation, operation, path)?;
        Ok(world)
    }
}

impl Mounted {
    /// The same for an open file, which goes by the name that it has now.
    fn enter_file(&self, operation: Operation, file: &SimulatedFile) -> io::Result<MutexGuard<'_, World>> {
        let mut world = self.disk.lock();
        let named = world.names.iter().find(|(_, inode)| **inode == file.inode).map(|(path, _)| path.clone());
        world.enter(self.generation, operation, named.as_deref().unwrap_or(&file.path))?;
        Ok(world)
    }
}

impl FileSystem for Mounted {
    fn make_directory(&self, path: &Path) -> io::Result<()> {
        let mut world = self.disk.lock();
        if !world.directories.contains(path) {
            world.check_writable()?;
            world.directories.insert(path.to_owned());
        }
        Ok(())
    }

    fn list(&self, directory: &Path) -> io::Result<Vec<Entry>> {
        let world = self.disk.lock();
        if !world.directories.contains(directory) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let files = world.names.iter().filter(|(path, _)| path.parent() == Some(directory));
        let files = files.map(|(path, inode)| Entry {
            name: name(path),
            is_file: true,
            bytes: world.inodes[inode].current.len() as u64,
        });
        let folders = world.directories.iter().filter(|path| path.parent() == Some(directory));
        let folders = folders.map(|path| Entry { name: name(path), is_file: false, bytes: 0 });
        Ok(files.chain(folders).collect())
    }

    fn create(&self, path: &Path) -> io::Result<Box<dyn File>> {
        let mut world = self.enter(Operation::Create, path)?;
        let inode = world.new_inode(Vec::new());
        world.change(NameChange::Put { name: path.to_owned(), inode });
        Ok(self.handle(path, inode))
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn File>> {
        let world = self.enter(Operation::Open, path)?;
        if access == Access::Write {
            world.check_writable()?;
        }
        let inode = *world.names.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(self.handle(path, inode))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.enter(Operation::Rename, to)?;
        let inode = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        world.change(NameChange::Move { from: from.to_owned(), to: to.to_owned(), inode });
        Ok(())
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut world = self.enter(Operation::Remove, path)?;
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change(NameChange::Remove { name: path.to_owned() });
        Ok(())
    }

    fn sync_directory(&self, path: &Path) -> io::Result<()> {
        self.enter(Operation::SyncDirectory, path)?.sync_names();
        Ok(())
    }

    fn lock(&self, directory: &Path) -> io::Result<Locking> {
        let mut world = self.disk.lock();
        if !world.locked.insert(directory.to_owned()) {
            return Ok(Locking::Busy { owner: "pid of a simulated process".to_owned() });
        }
        let read_only = world.check_writable().err();
        let guard = SimulatedGuard { mounted: self.clone(), directory: directory.to_owned() };
        Ok(Locking::Held { guard: Box::new(guard), read_only })
    }

    fn now_ms(&self) -> u64 {
        self.disk.lock().now_ms
    }

    fn tick(&self) -> Duration {
        Duration::from_millis(2)
    }
}

impl Mounted {
    fn handle(&self, path: &Path, inode: u64) -> Box<dyn File> {
        Box::new(SimulatedFile { mounted: self.clone(), path: path.to_owned(), inode })
    }
}

#[derive(Debug)]
struct SimulatedGuard {
    mounted: Mounted,
    directory: PathBuf,
}

impl Drop for SimulatedGuard {
    fn drop(&mut self) {
        let mut world = self.mounted.disk.lock();
        if world.generation == self.mounted.generation {
            world.locked.remove(&self.directory);
        }
    }
}
