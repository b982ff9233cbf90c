//! Where each file stands, on the disk.
//!
//! A position in here is durable: everything before it is in its topic or in the spool. It may be older than what is durable,
//! after a crash by a second or so; `mark` says where to look for what came since. Losing the newest checkpoint therefore costs
//! reading back from further behind, and losing both costs doubles, never a line.
//!
//! The file is 8 bytes of magic, a CRC-32C, and a protobuf message. It is written under a temporary name, synced, and renamed
//! over the last one, which is kept as `positions.old`.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
};

use prost::Message;
use service_runtime::error_chain::ErrorChain;

use super::{identity::FileId, position::Position};

const MAGIC: &[u8; 8] = b"EVTAILP1";
const NEWEST: &str = "positions";
const OLDER: &str = "positions.old";
const TEMPORARY: &str = "positions.tmp";

/// What was durable when it was taken.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Checkpoint {
    /// When the first tailer on this directory started, in milliseconds since the epoch: files that were rotated before are
    /// not its own.
    pub(super) first_start_ms: i64,
    /// Nothing was under way: the positions are all there is to know.
    pub(super) is_clean: bool,
    /// Where to look for what became durable since; the publisher's.
    pub(super) mark: Vec<u8>,
    pub(super) files: Vec<FileState>,
    /// Positions of files that nobody has found since they became durable.
    pub(super) unplaced: Vec<(FileId, Position)>,
}

/// A file, as far as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct FileState {
    /// The log that it belongs to: the path that the pattern matches.
    pub(super) log: PathBuf,
    pub(super) id: FileId,
    pub(super) position: Position,
    /// The largest size seen, in bytes.
    pub(super) size: u64,
    /// Everything in it is durable, and nothing comes any more.
    pub(super) is_finished: bool,
}

/// Writes checkpoints into a directory.
#[derive(Debug)]
pub(super) struct CheckpointStore {
    directory: PathBuf,
}

impl CheckpointStore {
    /// In a directory that is made when it is not there.
    pub(super) fn open(directory: &Path) -> io::Result<CheckpointStore> {
        fs::create_dir_all(directory)?;
        Ok(CheckpointStore { directory: directory.to_owned() })
    }

    /// The last checkpoint that can be read; `None` when this is the first start.
    pub(super) fn load(&self) -> Option<Checkpoint> {
        let newest = self.read(NEWEST);
        if newest.is_some() {
            return newest;
        }
        // It was clean when the next one was begun, if at all.
        self.read(OLDER).map(|older| Checkpoint { is_clean: false, ..older })
    }

    fn read(&self, name: &str) -> Option<Checkpoint> {
        let path = self.directory.join(name);
        let bytes = match fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) => {
                if error.kind() != io::ErrorKind::NotFound {
                    tracing::error!(path = %path.display(), %error, "the positions of log files cannot be read");
                }
                return None;
            }
        };
        let decoded = decode(&bytes);
        if decoded.is_none() {
            tracing::error!(path = %path.display(), "the positions of log files are damaged; an older checkpoint is used if there is one");
        }
        decoded
    }

    /// Replaces the last checkpoint; durable when it returns.
    pub(super) fn save(&self, checkpoint: &Checkpoint) -> io::Result<()> {
        let path = |name| self.directory.join(name);
        let mut file = File::create(path(TEMPORARY))?;
        file.write_all(&encode(checkpoint))?;
        file.sync_all()?;
        match fs::rename(path(NEWEST), path(OLDER)) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        fs::rename(path(TEMPORARY), path(NEWEST))?;
        File::open(&self.directory)?.sync_all()
    }
}

fn encode(checkpoint: &Checkpoint) -> Vec<u8> {
    let file = |state: &FileState| StoredFile {
        log: state.log.to_string_lossy().into_owned(),
        id: state.id.to_string(),
        position: state.position.to_string(),
        size: state.size,
        is_finished: state.is_finished,
    };
    let unplaced = |(id, position): &(FileId, Position)| StoredFile {
        id: id.to_string(),
        position: position.to_string(),
        ..StoredFile::default()
    };
    let stored = Stored {
        first_start_ms: checkpoint.first_start_ms,
        is_clean: checkpoint.is_clean,
        mark: checkpoint.mark.clone(),
        files: checkpoint.files.iter().map(file).collect(),
        unplaced: checkpoint.unplaced.iter().map(unplaced).collect(),
    };
    let message = stored.encode_to_vec();
    let mut bytes = Vec::with_capacity(MAGIC.len() + 4 + message.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&crc32c::crc32c(&message).to_le_bytes());
    bytes.extend_from_slice(&message);
    bytes
}

fn decode(bytes: &[u8]) -> Option<Checkpoint> {
    let (sum, message) = bytes.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
    if crc32c::crc32c(message) != u32::from_le_bytes(*sum) {
        return None;
    }
    let Stored { first_start_ms, is_clean, mark, files, unplaced } = Stored::decode(message).ok()?;
    let file = |stored: StoredFile| {
        let (id, position) = (stored.id.parse(), stored.position.parse());
        let whole = |error: &(dyn std::error::Error + 'static)| {
            tracing::error!(log = stored.log, error = %ErrorChain(error), "a position is left alone");
        };
        let id = id.inspect_err(|error| whole(error)).ok()?;
        let position = position.inspect_err(|error| whole(error)).ok()?;
        let StoredFile { log, size, is_finished, .. } = stored;
        Some(FileState { log: log.into(), id, position, size, is_finished })
    };
    let unplaced = unplaced.into_iter().filter_map(file).map(|state| (state.id, state.position)).collect();
    let files = files.into_iter().filter_map(file).collect();
    Some(Checkpoint { first_start_ms, is_clean, mark, files, unplaced })
}

#[derive(Clone, PartialEq, Message)]
struct Stored {
    #[prost(int64, tag = "1")]
    first_start_ms: i64,
    #[prost(bool, tag = "2")]
    is_clean: bool,
    #[prost(bytes = "vec", tag = "3")]
    mark: Vec<u8>,
    #[prost(message, repeated, tag = "4")]
    files: Vec<StoredFile>,
    #[prost(message, repeated, tag = "5")]
    unplaced: Vec<StoredFile>,
}

#[derive(Clone, PartialEq, Message)]
struct StoredFile {
    #[prost(string, tag = "1")]
    log: String,
    #[prost(string, tag = "2")]
    id: String,
    #[prost(string, tag = "3")]
    position: String,
    #[prost(uint64, tag = "4")]
    size: u64,
    #[prost(bool, tag = "5")]
    is_finished: bool,
}

#[cfg(test)]
mod tests {
    use super::{super::identity::Fingerprint, *};

    fn checkpoint(offset: u64) -> Checkpoint {
        let id = FileId { device: 1, inode: 2, fingerprint: Fingerprint::of(b"line\n") };
        let file = FileState {
            log: "/var/log/pods/a_b_c/d/0.log".into(),
            id,
            position: Position::at(offset),
            size: offset + 1,
            is_finished: true,
        };
        Checkpoint {
            first_start_ms: 7,
            is_clean: true,
            mark: b"mark".to_vec(),
            files: vec![file],
            unplaced: vec![(id, Position::at(3))],
        }
    }

    fn store() -> (tempfile::TempDir, CheckpointStore) {
        let room = tempfile::tempdir().unwrap();
        let store = CheckpointStore::open(&room.path().join("filelog")).unwrap();
        (room, store)
    }

    #[test]
    fn the_last_one_saved_is_loaded() {
        let (_room, store) = store();
        assert_eq!(store.load(), None);
        store.save(&checkpoint(10)).unwrap();
        store.save(&checkpoint(20)).unwrap();
        assert_eq!(store.load(), Some(checkpoint(20)));
    }

    #[test]
    fn a_damaged_one_gives_way_to_the_one_before_which_is_not_believed_to_be_clean() {
        let (room, store) = store();
        store.save(&checkpoint(10)).unwrap();
        store.save(&checkpoint(20)).unwrap();
        let path = room.path().join("filelog/positions");
        let whole = fs::read(&path).unwrap();
        for at in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            fs::write(&path, damaged).unwrap();
            assert_eq!(store.load(), Some(Checkpoint { is_clean: false, ..checkpoint(10) }), "{at}");
        }
        fs::write(&path, &whole[..whole.len() - 1]).unwrap();
        assert!(!store.load().unwrap().is_clean);
    }

    #[test]
    fn a_crash_between_the_renames_leaves_the_one_before() {
        let (room, store) = store();
        store.save(&checkpoint(10)).unwrap();
        fs::rename(room.path().join("filelog/positions"), room.path().join("filelog/positions.old")).unwrap();
        assert_eq!(store.load().unwrap().files, checkpoint(10).files);
    }
}
