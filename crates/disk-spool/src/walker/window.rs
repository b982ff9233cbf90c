//! Buffered reading at any place of a file.

use std::io;

use bytes::Bytes;

use crate::filesystem::{File, read_full_at};

/// What is skipped when the disk cannot read it: a block of most file systems.
const BLOCK_BYTES: usize = 4096;

/// A part of a file in memory.
#[derive(Debug)]
pub(crate) struct Window {
    file: Box<dyn File>,
    bytes: Vec<u8>,
    start: u64,
    /// What is read when less is asked for.
    read_ahead: usize,
    read_error: Option<io::Error>,
}

impl Window {
    /// The most that is in memory.
    pub(crate) const BYTES: usize = 256 << 10;

    pub(crate) fn new(file: Box<dyn File>) -> Window {
        Window { file, bytes: Vec::new(), start: 0, read_ahead: Self::BYTES, read_error: None }
    }

    pub(crate) fn take_read_error(&mut self) -> Option<io::Error> {
        self.read_error.take()
    }

    /// The bytes from `offset` on, `count` of them or up to `limit`; at most [`Window::BYTES`]. What the file does not
    /// have is zeros. Whoever asks for a whole window before the limit may get less, but at least a block.
    pub(crate) fn view(&mut self, offset: u64, count: usize, limit: u64) -> io::Result<&[u8]> {
        let rest = usize::try_from(limit.saturating_sub(offset)).unwrap_or(usize::MAX);
        let count = count.min(rest).min(Self::BYTES);
        let held = offset.checked_sub(self.start).and_then(|skip| usize::try_from(skip).ok());
        let skip = match held {
            // A view of a whole window is content with the rest of the one that is there, unless that is little.
            Some(skip) if count == Self::BYTES && skip + BLOCK_BYTES <= self.bytes.len() => skip,
            Some(skip) if skip.saturating_add(count) <= self.bytes.len() => skip,
            _ => {
                self.fill(offset, rest.min(count.max(self.read_ahead)))?;
                0
            }
        };
        let end = (skip + count).min(self.bytes.len());
        Ok(&self.bytes[skip..end])
    }

    /// The bytes from `offset` on, in memory of their own.
    pub(crate) fn read(&mut self, offset: u64, count: usize) -> io::Result<Bytes> {
        let is_small = count <= Self::BYTES / 4;
        // Where payloads are read past the window, only the next prefix is wanted of it.
        self.read_ahead = if is_small { Self::BYTES } else { BLOCK_BYTES };
        if is_small {
            return Ok(Bytes::copy_from_slice(self.view(offset, count, offset + count as u64)?));
        }
        let mut bytes = vec![0; count];
        self.read_into(&mut bytes, offset)?;
        Ok(Bytes::from(bytes))
    }

    fn fill(&mut self, offset: u64, count: usize) -> io::Result<()> {
        let mut bytes = std::mem::take(&mut self.bytes);
        bytes.clear();
        bytes.resize(count, 0);
        let outcome = self.read_into(&mut bytes, offset);
        self.start = offset;
        if outcome.is_ok() {
            self.bytes = bytes;
        }
        outcome
    }

    /// Fills the buffer; blocks that cannot be read, after a second try, are zeros.
    fn read_into(&mut self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        match read_full_at(self.file.as_ref(), buffer, offset) {
            Ok(_) => return Ok(()),
            Err(error) if is_damage(&error) => {}
            Err(error) => return Err(error),
        }
        for (number, block) in buffer.chunks_mut(BLOCK_BYTES).enumerate() {
            match read_full_at(self.file.as_ref(), block, offset + (number * BLOCK_BYTES) as u64) {
                Ok(_) => {}
                Err(error) if is_damage(&error) => {
                    block.fill(0);
                    self.read_error = Some(error);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }
}

/// Whether an error says that the medium lost these bytes; others, such as too many open files, pass.
pub(crate) fn is_damage(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let damage = [Errno::IO, Errno::BADMSG, Errno::UCLEAN];
    damage.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
