//! Copies of what is damaged, for a person to look at.

use std::{
    io::{self, IoSlice},
    ops::Range,
    path::Path,
};

use crate::filesystem::{Access, FileSystem, read_full_at, write_all_at};

/// The folder in a spool's directory.
pub(crate) const QUARANTINE: &str = "quarantine";

/// Beyond so many bytes nothing more is copied.
const MAX_BYTES: u64 = 64 << 20;

/// Beyond so many files nothing more is copied.
const MAX_FILES: usize = 1024;

const CHUNK_BYTES: u64 = 1 << 20;

/// Copies a range of a file, and says how many bytes that takes. What is there already is not copied again.
pub(crate) fn keep(
    files: &dyn FileSystem,
    directory: &Path,
    file: &str,
    range: Range<u64>,
) -> io::Result<u64> {
    let folder = directory.join(QUARANTINE);
    files.make_directory(&folder)?;
    let entries = files.list(&folder)?;
    let name = format!("{file}.{}-{}", range.start, range.end);
    let held: u64 = entries.iter().map(|entry| entry.bytes).sum();
    let is_full = entries.len() >= MAX_FILES || held.saturating_add(range.end - range.start) > MAX_BYTES;
    if is_full || entries.iter().any(|entry| entry.name == name) {
        return Ok(0);
    }
    let source = files.open(&directory.join(file), Access::Read)?;
    let copy = files.create(&folder.join(&name))?;
    let mut offset = range.start;
    while offset < range.end {
        let mut chunk = vec![0; (range.end - offset).min(CHUNK_BYTES) as usize];
        // What cannot be read is zeros in the copy.
        let _ = read_full_at(source.as_ref(), &mut chunk, offset);
        write_all_at(copy.as_ref(), &mut [IoSlice::new(&chunk)], offset - range.start)?;
        offset += chunk.len() as u64;
    }
    Ok(range.end - range.start)
}

/// Bytes in the folder.
pub(crate) fn held_bytes(files: &dyn FileSystem, directory: &Path) -> u64 {
    let entries = files.list(&directory.join(QUARANTINE)).unwrap_or_default();
    entries.iter().filter(|entry| entry.is_file).map(|entry| entry.bytes).sum()
}

/// Moves a file there whole, under a name that is free.
pub(crate) fn put_away(files: &dyn FileSystem, directory: &Path, file: &str) -> io::Result<()> {
    let folder = directory.join(QUARANTINE);
    files.make_directory(&folder)?;
    let entries = files.list(&folder)?;
    let is_free = |name: &String| !entries.iter().any(|entry| entry.name == *name);
    let names = std::iter::once(file.to_owned()).chain((1u64..).map(|number| format!("{file}.{number}")));
    let name = names.into_iter().find(is_free).unwrap_or_default();
    files.rename(&directory.join(file), &folder.join(name))?;
    files.sync_directory(directory)
}
