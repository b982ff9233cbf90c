//! What is on the simulated disk, and what of it is durable.

use std::{
    collections::{BTreeMap, BTreeSet},
    io,
    path::{Path, PathBuf},
};

use super::{Fault, Operation, errno};

/// A disk's sector: a write that is cut short ends at the end of one, or anywhere.
const SECTOR_BYTES: usize = 512;

pub(super) struct World {
    random: u64,
    pub(super) generation: u64,
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) names: BTreeMap<PathBuf, u64>,
    pub(super) durable_names: BTreeMap<PathBuf, u64>,
    unsynced_names: Vec<NameChange>,
    pub(super) directories: BTreeSet<PathBuf>,
    pub(super) locked: BTreeSet<PathBuf>,
    pub(super) faults: Vec<Fault>,
    pub(super) calls: BTreeMap<(Operation, String), u64>,
    pub(super) is_read_only: bool,
    pub(super) has_short_writes: bool,
    pub(super) capacity: u64,
    pub(super) now_ms: u64,
}

/// A file's bytes, whatever its name.
#[derive(Default)]
pub(super) struct Inode {
    pub(super) current: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<DataChange>,
}

pub(super) enum DataChange {
    Write { offset: usize, bytes: Vec<u8> },
    Truncate { length: usize },
}

pub(super) enum NameChange {
    Put { name: PathBuf, inode: u64 },
    Move { from: PathBuf, to: PathBuf, inode: u64 },
    Remove { name: PathBuf },
}

impl Inode {
    pub(super) fn rot(&mut self, place: usize) {
        let place = place % self.current.len().max(1);
        for bytes in [&mut self.current, &mut self.durable] {
            if let Some(byte) = bytes.get_mut(place) {
                *byte ^= 4;
            }
        }
    }
}

impl World {
    pub(super) fn new(seed: u64) -> World {
        World {
            random: seed | 1,
            generation: 0,
            inodes: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            unsynced_names: Vec::new(),
            directories: BTreeSet::new(),
            locked: BTreeSet::new(),
            faults: Vec::new(),
            calls: BTreeMap::new(),
            is_read_only: false,
            has_short_writes: false,
            capacity: u64::MAX,
            now_ms: 1_700_000_000_000,
        }
    }

    /// Xorshift: plain, and the same on every machine.
    pub(super) fn random(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 32
    }

    pub(super) fn enter(&mut self, generation: u64, operation: Operation, path: &Path) -> io::Result<()> {
        if generation != self.generation {
            return Err(io::Error::other("the process was killed"));
        }
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        *self.calls.entry((operation, name.clone())).or_default() += 1;
        let is_change = !matches!(operation, Operation::Open | Operation::Read);
        if is_change {
            self.check_writable()?;
        }
        let fault =
            self.faults.iter_mut().find(|fault| fault.operation == operation && name.contains(&fault.name));
        let Some(fault) = fault else { return Ok(()) };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        fault.times = fault.times.saturating_sub(1);
        let error = io::Error::from_raw_os_error(fault.errno);
        self.faults.retain(|fault| fault.times > 0);
        Err(error)
    }

    pub(super) fn check_writable(&self) -> io::Result<()> {
        if self.is_read_only { Err(io::Error::from_raw_os_error(errno::EROFS)) } else { Ok(()) }
    }

    pub(super) fn used(&self) -> u64 {
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        named.iter().map(|inode| self.inodes[inode].current.len() as u64).sum()
    }

    pub(super) fn new_inode(&mut self, bytes: Vec<u8>) -> u64 {
        let number = self.inodes.last_key_value().map_or(0, |(last, _)| last + 1);
        self.inodes.insert(number, Inode { current: bytes.clone(), durable: bytes, unsynced: Vec::new() });
        number
    }

    pub(super) fn change(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.unsynced_names.push(change);
    }

    pub(super) fn sync_names(&mut self) {
        for change in std::mem::take(&mut self.unsynced_names) {
            change.apply(&mut self.durable_names);
        }
    }

    pub(super) fn change_data(&mut self, inode: u64, change: DataChange) {
        if let Some(inode) = self.inodes.get_mut(&inode) {
            change.apply(&mut inode.current, usize::MAX);
            inode.unsynced.push(change);
        }
    }

    pub(super) fn sync_data(&mut self, inode: u64) {
        if let Some(inode) = self.inodes.get_mut(&inode) {
            for change in std::mem::take(&mut inode.unsynced) {
                change.apply(&mut inode.durable, usize::MAX);
            }
        }
    }

    /// Each change reaches the disk whole, in part, or not at all.
    pub(super) fn lose_data(&mut self, inode: u64) {
        let Some(unsynced) = self.inodes.get_mut(&inode).map(|inode| std::mem::take(&mut inode.unsynced))
        else {
            return;
        };
        for change in unsynced {
            let fate = self.random();
            let length = match &change {
                DataChange::Write { bytes, .. } => bytes.len(),
                DataChange::Truncate { .. } => 0,
            };
            let part = self.random() as usize % (length + 1);
            let part = match fate % 6 {
                0 | 1 => usize::MAX,
                2 => part,
                3 => part / SECTOR_BYTES * SECTOR_BYTES,
                _ => continue,
            };
            if let Some(inode) = self.inodes.get_mut(&inode) {
                change.apply(&mut inode.durable, part);
            }
        }
    }

    pub(super) fn forget_unsynced(&mut self) {
        let names = std::mem::take(&mut self.unsynced_names);
        let survive = self.random() as usize % (names.len() + 1);
        for change in names.into_iter().take(survive) {
            change.apply(&mut self.durable_names);
        }
        self.names = self.durable_names.clone();
        let named: BTreeSet<u64> = self.names.values().copied().collect();
        self.inodes.retain(|inode, _| named.contains(inode));
        for inode in named {
            self.lose_data(inode);
            if let Some(inode) = self.inodes.get_mut(&inode) {
                inode.current = inode.durable.clone();
            }
        }
    }
}

impl DataChange {
    /// At most `part` bytes of a write.
    fn apply(&self, bytes: &mut Vec<u8>, part: usize) {
        match self {
            DataChange::Truncate { length } => bytes.resize(*length, 0),
            DataChange::Write { offset, bytes: written } => {
                let written = &written[..written.len().min(part)];
                let end = offset + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*offset..end].copy_from_slice(written);
            }
        }
    }
}

impl NameChange {
    fn apply(&self, names: &mut BTreeMap<PathBuf, u64>) {
        match self {
            NameChange::Put { name, inode } => {
                names.insert(name.clone(), *inode);
            }
            NameChange::Move { from, to, inode } => {
                names.remove(from);
                names.insert(to.clone(), *inode);
            }
            NameChange::Remove { name } => {
                names.remove(name);
            }
        }
    }
}
