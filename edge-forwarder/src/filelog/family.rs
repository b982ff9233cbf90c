//! The files of a log on the disk, and which of them is what.

use std::{
    cmp::Reverse,
    collections::HashMap,
    fs::{self, File, Metadata},
    io,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
    time::Instant,
};

use super::{
    archive,
    discover::is_gone,
    generation::{Generation, head},
    identity::{FileId, Fingerprint},
    log::Log,
    position::Position,
    work::Work,
};

/// Device and inode.
type Place = (u64, u64);

/// What is known of the files beside the open ones.
#[derive(Debug, Default)]
pub(super) struct Family {
    /// What was read to its end, with its size, while something on the disk begins like it.
    finished: Vec<(FileId, u64)>,
    /// By name as well: an inode is soon another file's.
    known: HashMap<(PathBuf, Place), Known>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Known {
    /// It holds what was read to its end.
    Finished(FileId),
    /// It was rotated before the first tailer was there.
    NotOurs,
}

/// A file on the disk that belongs to a log by its name.
#[derive(Debug, Clone)]
pub(super) struct Candidate {
    path: PathBuf,
    place: Place,
    size: u64,
    modified_ms: i64,
    is_archive: bool,
}

/// How logs are looked at.
#[derive(Debug)]
pub(super) struct Look<'a> {
    /// Numbers for what is found.
    pub(super) next_number: &'a mut u64,
    pub(super) first_start_ms: i64,
    /// A disk to unpack archives on.
    pub(super) room: &'a Path,
    /// Begin new files at their end: they were there before the first tailer was.
    pub(super) is_from_end: bool,
    /// What became durable after the checkpoint, and of files that have not been found yet.
    pub(super) durable: &'a mut Vec<(FileId, Position)>,
    pub(super) now: Instant,
}

impl Family {
    /// A file was read to its end.
    pub(super) fn finish(&mut self, id: FileId, size: u64) {
        self.finished.push((id, size));
    }

    pub(super) fn finished(&self) -> impl Iterator<Item = (FileId, u64)> {
        self.finished.iter().copied()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.finished.is_empty() && self.known.is_empty()
    }

    /// Forgets what is not on the disk any more.
    fn forget(&mut self, candidates: &[Candidate]) {
        self.known.retain(|key, _| candidates.iter().any(|candidate| candidate.key() == *key));
        let known = &self.known;
        self.finished.retain(|(id, _)| {
            known.values().any(|known| *known == Known::Finished(*id))
                || candidates.iter().any(|candidate| candidate.place == place(id))
        });
    }
}

impl Candidate {
    /// The file at a path, if it is one and is there.
    pub(super) fn at(path: PathBuf) -> io::Result<Option<Candidate>> {
        let found = match fs::metadata(&path) {
            Ok(found) => found,
            Err(error) if is_gone(&error) => return Ok(None),
            Err(error) => return Err(error),
        };
        let is_archive = path.extension().is_some_and(|extension| extension == "gz");
        let modified_ms = found.mtime().saturating_mul(1000).saturating_add(found.mtime_nsec() / 1_000_000);
        let place = place_of(&found);
        Ok(found.is_file().then_some(Candidate { path, place, size: found.len(), modified_ms, is_archive }))
    }

    /// Whether a file of this name is one of the log's: its own, or rotated. One that is still being compressed is not.
    pub(super) fn is_of(name: &str, log: &str) -> bool {
        let Some(rest) = name.strip_prefix(log) else { return false };
        let is_rotated = rest.starts_with('.') || rest.starts_with('-');
        rest.is_empty() || (is_rotated && !rest.ends_with(".tmp") && !rest.ends_with(".swp"))
    }
}

impl Log {
    /// Finds its files again, and those that are new, among those that are its by their names.
    pub(super) fn look(&mut self, candidates: &[Candidate], look: &mut Look<'_>, work: &mut Work) {
        let live = candidates.iter().find(|candidate| candidate.path == self.path);
        for one in &mut self.generations {
            let is_live = live.is_some_and(|live| live.place == place(&one.id)) && one.file.is_some();
            if !is_live && one.rotated_at.is_none() {
                one.rotated_at = Some(look.now);
            }
        }
        // One that nobody had written to when it was found may have been rotated, and compressed, before it was read.
        self.generations.iter_mut().for_each(Generation::know_better);
        let mut found: Vec<(Age, Generation)> = Vec::new();
        for candidate in candidates {
            if self.is_known(candidate) {
                continue;
            }
            match self.examine(candidate, &found, look, work) {
                Ok(Some(generation)) => found.push((candidate.age(&self.path), generation)),
                Ok(None) => {}
                Err(error) if is_gone(&error) => {}
                Err(error) => {
                    work.sink.metrics.count_file_error();
                    let path = candidate.path.display();
                    tracing::warn!(%path, %error, "a log file cannot be opened; it is tried again");
                }
            }
        }
        found.sort_by(|(one, _), (other, _)| one.cmp(other));
        for (age, generation) in found {
            let before = self.generations.iter().position(|one| self.comes_after(one, &age, candidates));
            self.generations.insert(before.unwrap_or(self.generations.len()), generation);
        }
        self.family.forget(candidates);
    }

    /// Whether a file that is open is younger than one of that age, which was seen later: it may have been between two names.
    fn comes_after(&self, one: &Generation, age: &Age, candidates: &[Candidate]) -> bool {
        let is_untouched = one.offset() == 0 && !one.is_carried();
        let found = candidates.iter().find(|candidate| candidate.place == place(&one.id));
        let is_younger = found.is_some_and(|candidate| candidate.age(&self.path) > *age);
        // What was rotated is older than the file at the path, read or not.
        one.rotated_at.is_none() || (is_untouched && is_younger)
    }

    /// Whether something may be read that has not been, by what its directory says.
    pub(super) fn has_news(&self, candidates: &[Candidate]) -> bool {
        let is_as_read = |one: &Generation| {
            let found = candidates.iter().find(|candidate| candidate.place == place(&one.id));
            one.rotated_at.is_none() && found.is_some_and(|candidate| candidate.size == one.offset())
        };
        !self.generations.iter().all(is_as_read)
    }

    /// Whether it is open, or nothing to be read.
    fn is_known(&self, candidate: &Candidate) -> bool {
        let is_open = |one: &Generation| {
            one.file.is_some() && !candidate.is_archive && place(&one.id) == candidate.place
        };
        let is_done = match self.family.known.get(&candidate.key()) {
            None => false,
            Some(Known::NotOurs) => true,
            // Somebody has written to it again.
            Some(Known::Finished(id)) => {
                candidate.is_archive
                    || self.family.finished.iter().any(|(of, size)| of == id && candidate.size <= *size)
            }
        };
        is_done || self.generations.iter().any(is_open)
    }

    /// What a file is: one that is looked for, one that was read, or a new one, which is returned. `found` are new ones too.
    fn examine(
        &mut self,
        candidate: &Candidate,
        found: &[(Age, Generation)],
        look: &mut Look<'_>,
        work: &mut Work,
    ) -> io::Result<Option<Generation>> {
        // From here on it is one file, whatever happens to its name. If it is another by now, the next look will tell.
        let file = File::open(&candidate.path)?;
        if place_of(&file.metadata()?) != candidate.place {
            return Ok(None);
        }
        let head = candidate.head(&file)?;
        let is_live = candidate.path == self.path;
        let rotated_at = (!is_live).then_some(look.now);
        if let Some(missing) =
            self.generations.iter_mut().find(|one| one.file.is_none() && candidate.is(&one.id, &head))
        {
            let file = candidate.content(file, missing.offset(), look.room)?;
            let lost = missing.found(file, rotated_at)?;
            let (path, offset, generation) = (candidate.path.display(), missing.offset(), missing.number);
            tracing::debug!(%path, generation, id = %missing.id, offset, "a log file is found again");
            // Where it was another file may come to be.
            (missing.id.device, missing.id.inode) = candidate.place;
            count_lost(&self.path, missing, lost, work);
            return Ok(None);
        }
        if let Some(index) = self.family.finished.iter().position(|(id, _)| candidate.is(id, &head)) {
            let (id, size) = self.family.finished[index];
            if candidate.is_archive || candidate.size <= size {
                self.family.known.insert(candidate.key(), Known::Finished(id));
                return Ok(None);
            }
            self.family.finished.swap_remove(index);
            let mut again = Generation::known(look.number(), id, Position::at(size), look.now);
            again.found(candidate.content(file, size, look.room)?, rotated_at)?;
            return Ok(Some(again));
        }
        // It is a copy that is being made of one that is open.
        let is_copy = |one: &Generation| !one.id.fingerprint.is_empty() && one.id.fingerprint.matches(&head);
        if self.generations.iter().any(is_copy) || found.iter().any(|(_, one)| is_copy(one)) {
            return Ok(None);
        }
        if !is_live && candidate.modified_ms < look.first_start_ms {
            self.family.known.insert(candidate.key(), Known::NotOurs);
            return Ok(None);
        }
        let (device, inode) = candidate.place;
        let id = FileId { device, inode, fingerprint: Fingerprint::of(&head) };
        let mut new = Generation::known(look.number(), id, Position::default(), look.now);
        new.found(candidate.content(file, 0, look.room)?, rotated_at)?;
        if look.is_from_end && is_live {
            new.resume(Position::at(new.size));
        }
        new.resume_after(look.durable);
        let (path, offset, generation) = (candidate.path.display(), new.offset(), new.number);
        tracing::debug!(%path, generation, id = %new.id, offset, "a log file begins");
        Ok(Some(new))
    }

    /// Files that were looked for and are nowhere.
    pub(super) fn give_up_missing(&mut self, work: &mut Work) {
        for one in self.generations.iter_mut().filter(|one| one.file.is_none()) {
            let lost = one.give_up();
            count_lost(&self.path, one, lost, work);
        }
    }
}

/// Orders the files of a log, oldest first.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Age {
    /// Numbered by their rotations since: `app.log.2.gz` is older than `app.log.1`.
    Numbered(Reverse<u32>),
    /// Named by when they were rotated. When they were last written tells less: compressing writes.
    Named(String),
    Live,
}

impl Look<'_> {
    fn number(&mut self) -> u64 {
        *self.next_number += 1;
        *self.next_number
    }
}

impl Candidate {
    fn key(&self) -> (PathBuf, Place) {
        (self.path.clone(), self.place)
    }

    fn age(&self, log: &Path) -> Age {
        let name = |path: &Path| {
            path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default()
        };
        let (own, log) = (name(&self.path), name(log));
        let suffix =
            own.strip_prefix(&log).unwrap_or(&own).trim_end_matches(".gz").trim_start_matches(['.', '-']);
        match suffix.parse() {
            _ if suffix.is_empty() => Age::Live,
            Ok(rotations) if suffix.len() <= 4 => Age::Numbered(Reverse(rotations)),
            _ => Age::Named(suffix.to_owned()),
        }
    }

    fn head(&self, file: &File) -> io::Result<Vec<u8>> {
        if self.is_archive { archive::head(file) } else { Ok(head(file)?.to_vec()) }
    }

    fn content(&self, file: File, from: u64, room: &Path) -> io::Result<File> {
        if self.is_archive { archive::unpacked(&file, from, room) } else { Ok(file) }
    }

    /// Whether this is that file, or its content in another.
    fn is(&self, id: &FileId, head: &[u8]) -> bool {
        let is_same_place = !self.is_archive && place(id) == self.place;
        // An empty file may have become any, but only where it was.
        let may_be = if id.fingerprint.is_empty() { is_same_place && head.is_empty() } else { true };
        may_be && id.fingerprint.matches(head)
    }
}

fn place_of(found: &Metadata) -> Place {
    (found.dev(), found.ino())
}

fn place(id: &FileId) -> Place {
    (id.device, id.inode)
}

fn count_lost(path: &Path, one: &Generation, bytes: u64, work: &mut Work) {
    if bytes > 0 {
        let (path, offset) = (path.display(), one.offset());
        tracing::error!(%path, offset, bytes, "bytes of a log file are gone that were not read");
        work.sink.metrics.count_lost(bytes);
    }
}
