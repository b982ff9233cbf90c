//! An open file of the simulated disk.

use std::{
    io::{self, IoSlice},
    path::PathBuf,
};

use super::{Mounted, Operation, world::DataChange};
use crate::filesystem::File;

#[derive(Debug)]
pub(super) struct SimulatedFile {
    pub(super) mounted: Mounted,
    pub(super) path: PathBuf,
    pub(super) inode: u64,
}

impl File for SimulatedFile {
    fn length(&self) -> io::Result<u64> {
        let world = self.mounted.disk.lock();
        Ok(world.inodes.get(&self.inode).map_or(0, |inode| inode.current.len() as u64))
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<usize> {
        let world = self.mounted.enter_file(Operation::Read, self)?;
        let bytes = world.inodes.get(&self.inode).map(|inode| inode.current.as_slice()).unwrap_or_default();
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        Ok(count)
    }

    fn write_at(&self, parts: &[IoSlice<'_>], offset: u64) -> io::Result<usize> {
        let mut world = self.mounted.enter_file(Operation::Write, self)?;
        let whole = parts.iter().map(|part| part.len()).sum::<usize>();
        let count = if world.has_short_writes { 1 + world.random() as usize % whole.max(1) } else { whole };
        let mut bytes = Vec::with_capacity(count);
        for part in parts {
            bytes.extend_from_slice(&part[..part.len().min(count - bytes.len())]);
        }
        let length = world.inodes.get(&self.inode).map_or(0, |inode| inode.current.len() as u64);
        let grows = (offset + bytes.len() as u64).saturating_sub(length);
        let room = world.capacity.saturating_sub(world.used());
        if grows > room {
            let fits = (bytes.len() as u64).saturating_sub(grows - room);
            if fits == 0 {
                return Err(io::Error::from_raw_os_error(super::errno::ENOSPC));
            }
            bytes.truncate(fits as usize);
        }
        let count = bytes.len();
        world.change_data(self.inode, DataChange::Write { offset: offset as usize, bytes });
        Ok(count)
    }

    fn truncate(&self, length: u64) -> io::Result<()> {
        let mut world = self.mounted.enter_file(Operation::Truncate, self)?;
        world.change_data(self.inode, DataChange::Truncate { length: length as usize });
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        match self.mounted.enter_file(Operation::Sync, self) {
            Ok(mut world) => {
                world.sync_data(self.inode);
                Ok(())
            }
            Err(error) => {
                let mut world = self.mounted.disk.lock();
                if world.generation == self.mounted.generation {
                    world.lose_data(self.inode);
                }
                Err(error)
            }
        }
    }
}
