//! Which file is it? The one question that rotation, truncation and reused inodes make hard.
//!
//! A file is known by its device and inode *and* by how it begins: an inode may come back with other content, and the same
//! content may come back under another inode, copied or compressed. How it begins is a hash of its first bytes, at most
//! [`FINGERPRINT_BYTES`]; a file that is shorter is known by what it has, and by more once it has grown. A container's log
//! begins with a time in nanoseconds, so two of them never begin alike.

use std::{fmt, str::FromStr};

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

/// How many of its first bytes make a file known.
pub(super) const FINGERPRINT_BYTES: usize = 1024;

/// How a file begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub(super) struct Fingerprint {
    /// How many bytes are hashed.
    len: u16,
    hash: u64,
}

/// A file, for as long as it is that file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct FileId {
    pub(super) device: u64,
    pub(super) inode: u64,
    pub(super) fingerprint: Fingerprint,
}

/// A text that names no file.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` names no file")]
pub(super) struct NotAFileId(String);

impl Fingerprint {
    /// Of a file that begins with `head`; what is beyond the first [`FINGERPRINT_BYTES`] does not matter.
    pub(super) fn of(head: &[u8]) -> Fingerprint {
        let head = &head[..head.len().min(FINGERPRINT_BYTES)];
        Fingerprint { len: head.len() as u16, hash: xxh3_64(head) }
    }

    /// Whether a file that begins with `head` may be the one this was made of, which may have grown since.
    pub(super) fn matches(self, head: &[u8]) -> bool {
        head.get(..usize::from(self.len)).is_some_and(|head| Fingerprint::of(head) == self)
    }

    /// Whether more bytes of the file would make it better known.
    pub(super) fn is_short(self) -> bool {
        usize::from(self.len) < FINGERPRINT_BYTES
    }

    /// Whether nothing is known of the content.
    pub(super) fn is_empty(self) -> bool {
        self.len == 0
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FileId { device, inode, fingerprint: Fingerprint { len, hash } } = self;
        write!(formatter, "{device}:{inode}:{len}:{hash:016x}")
    }
}

impl FromStr for FileId {
    type Err = NotAFileId;

    fn from_str(text: &str) -> Result<FileId, NotAFileId> {
        let read = || {
            let mut fields = text.split(':');
            let device = fields.next()?.parse().ok()?;
            let inode = fields.next()?.parse().ok()?;
            let len = fields.next()?.parse().ok()?;
            let hash = u64::from_str_radix(fields.next()?, 16).ok()?;
            let is_end = fields.next().is_none();
            is_end.then_some(FileId { device, inode, fingerprint: Fingerprint { len, hash } })
        };
        read().ok_or_else(|| NotAFileId(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_known_again_after_it_has_grown_and_not_after_it_was_replaced() {
        let young = Fingerprint::of(b"first line\n");
        assert!(young.matches(b"first line\nsecond line\n"));
        assert!(!young.matches(b"other line\n"));
        assert!(!young.matches(b"first"), "it has shrunk");
        let long: Vec<u8> = (0..4096u32).map(|byte| byte as u8).collect();
        let grown = Fingerprint::of(&long);
        assert!(!grown.is_short() && grown == Fingerprint::of(&long[..FINGERPRINT_BYTES]));
    }

    #[test]
    fn an_empty_file_may_become_any() {
        let empty = Fingerprint::of(b"");
        assert!(empty.is_empty() && empty.is_short() && empty.matches(b"anything"));
    }

    #[test]
    fn its_text_is_read_back() {
        let file = FileId { device: 2049, inode: u64::MAX, fingerprint: Fingerprint::of(b"line\n") };
        assert_eq!(file.to_string().parse(), Ok(file));
        for text in ["", "1:2:3", "1:2:3:x", "1:2:3:4:5", "1:2:70000:0"] {
            assert_eq!(text.parse::<FileId>(), Err(NotAFileId(text.to_owned())));
        }
    }
}
