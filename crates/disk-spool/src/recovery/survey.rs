//! Reading a directory and judging what is in it. Changes nothing.

use std::{collections::BTreeMap, io, ops::Range, path::Path};

use super::segment::{self, Surveyed};
use crate::{
    Action, Entry, Finding, Incarnation, Tally,
    filesystem::{Access, FileSystem, read_full_at},
    format::{Cursor, Header, HeaderError, MAX_CURSOR_BYTES, MAX_SEQUENCE, PREFIX_BYTES, parse_segment_name},
    quarantine::QUARANTINE,
    resolved::Resolved,
    writer::{CURSORS, RESERVE, RESERVE_BYTES},
};

/// What is in a directory.
#[derive(Debug, Default)]
pub(crate) struct Survey {
    pub(crate) incarnation: Option<Incarnation>,
    /// The newest cursor that can be read.
    pub(crate) cursor: Option<Cursor>,
    /// The highest generation of a cursor.
    pub(crate) generation: u64,
    /// In order.
    pub(crate) segments: Vec<Surveyed>,
    /// Named like segments, and none of ours.
    pub(crate) strays: Vec<Stray>,
    /// Files of writes that did not come to their end.
    pub(crate) temporary: Vec<String>,
    pub(crate) has_reserve: bool,
    pub(crate) resolved: Resolved,
    /// Frames that are lost, as far as that is known without reading sealed segments.
    pub(crate) corrupt: Tally,
    /// Sequence after the last frame that is there or is known to have been there.
    pub(crate) end: u64,
    pub(crate) findings: Vec<Finding>,
}

/// A file that is named like a segment, and is none of ours.
#[derive(Debug)]
pub(crate) struct Stray {
    pub(crate) name: String,
    pub(crate) bytes: u64,
    pub(crate) why: Why,
}

#[derive(Debug)]
pub(crate) enum Why {
    Foreign(Incarnation),
    NotASegment(String),
    /// It cannot be read now, and nothing else says whose it is.
    Unreadable(String),
}

impl Stray {
    pub(crate) fn finding(&self, action: Action) -> Finding {
        let file = self.name.clone();
        match &self.why {
            Why::Foreign(incarnation) => {
                Finding::Foreign { file, incarnation: incarnation.to_string(), action }
            }
            Why::NotASegment(reason) | Why::Unreadable(reason) => {
                Finding::NotASegment { file, reason: reason.clone(), action }
            }
        }
    }
}

/// A file with a segment's name, by its first bytes.
struct Candidate {
    first: u64,
    entry: Entry,
    header: io::Result<Result<Header, HeaderError>>,
}

/// Looks at everything; `is_thorough` reads sealed segments too.
pub(crate) fn survey(files: &dyn FileSystem, directory: &Path, is_thorough: bool) -> io::Result<Survey> {
    let mut survey = Survey::default();
    let mut candidates = Vec::new();
    let mut cursors = Vec::new();
    let mut entries = files.list(directory)?;
    entries.sort_by(|one, other| one.name.cmp(&other.name));
    for entry in entries {
        let name = entry.name.as_str();
        if let Some(first) = parse_segment_name(name) {
            candidates.extend(look_at(files, directory, first, entry)?);
        } else if CURSORS.contains(&name) {
            match read_cursor(files, directory, &entry)? {
                Some(cursor) => cursors.push(cursor),
                None => survey.findings.push(Finding::NotACursor { file: entry.name }),
            }
        } else if name.ends_with(".tmp") && entry.is_file {
            survey.temporary.push(entry.name);
        } else if name == RESERVE && entry.is_file {
            survey.has_reserve = entry.bytes >= RESERVE_BYTES as u64;
        } else if name != "lock" && name != QUARANTINE {
            survey.findings.push(Finding::Unknown { file: entry.name });
        }
    }
    survey.incarnation = choose_incarnation(&cursors, &candidates);
    cursors.retain(|cursor| Some(cursor.incarnation) == survey.incarnation);
    survey.cursor = cursors.into_iter().max_by_key(|cursor| cursor.generation);
    survey.generation = survey.cursor.as_ref().map_or(0, |cursor| cursor.generation);
    let ours = survey.sort_out(files, directory, candidates);
    survey.read_segments(files, directory, ours, is_thorough);
    survey.balance();
    Ok(survey)
}

fn look_at(
    files: &dyn FileSystem,
    directory: &Path,
    first: u64,
    entry: Entry,
) -> io::Result<Option<Candidate>> {
    if !entry.is_file {
        return Ok(Some(Candidate { first, entry, header: Ok(Err(HeaderError::Magic)) }));
    }
    let header = files
        .open(&directory.join(&entry.name), Access::Read)
        .and_then(|file| segment::read_header(file.as_ref()));
    match header {
        // A daemon beside us may have deleted it since the listing.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) if is_exhausted(&error) => Err(error),
        header => Ok(Some(Candidate { first, entry, header })),
    }
}

fn read_cursor(files: &dyn FileSystem, directory: &Path, entry: &Entry) -> io::Result<Option<Cursor>> {
    if !entry.is_file || entry.bytes > MAX_CURSOR_BYTES {
        return Ok(None);
    }
    let read = files.open(&directory.join(&entry.name), Access::Read).and_then(|file| {
        let mut bytes = vec![0; usize::try_from(entry.bytes).unwrap_or(0)];
        let read = read_full_at(file.as_ref(), &mut bytes, 0)?;
        bytes.truncate(read);
        Ok(bytes)
    });
    match read {
        Ok(bytes) => Ok(Cursor::decode(&bytes)),
        Err(error) if is_exhausted(&error) => Err(error),
        Err(_) => Ok(None),
    }
}

/// Whether it is this process that cannot read, whatever is in the file; judging would take all for damaged.
fn is_exhausted(error: &io::Error) -> bool {
    use rustix::io::Errno;
    let exhausted = [Errno::MFILE, Errno::NFILE, Errno::NOMEM];
    exhausted.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// A cursor says whose directory this is; without one, most of the segments do.
fn choose_incarnation(cursors: &[Cursor], candidates: &[Candidate]) -> Option<Incarnation> {
    let mut votes: BTreeMap<Incarnation, usize> = BTreeMap::new();
    for header in candidates.iter().filter_map(|candidate| candidate.header.as_ref().ok()?.as_ref().ok()) {
        *votes.entry(header.incarnation).or_default() += 1;
    }
    let voted = |cursor: &&Cursor| votes.get(&cursor.incarnation).copied().unwrap_or(0);
    let by_cursor = cursors.iter().max_by_key(|cursor| (voted(cursor), cursor.generation));
    let by_segments = || votes.iter().max_by_key(|(_, votes)| **votes).map(|(incarnation, _)| *incarnation);
    by_cursor.map(|cursor| cursor.incarnation).or_else(by_segments)
}

impl Survey {
    /// Parts our segments from what only has their names.
    fn sort_out(
        &mut self,
        files: &dyn FileSystem,
        directory: &Path,
        candidates: Vec<Candidate>,
    ) -> Vec<(Header, Entry, Option<io::Error>)> {
        let mut ours = Vec::new();
        for Candidate { first, entry, header } in candidates {
            // What its header would say, as far as its name tells.
            let incarnation = self.incarnation.filter(|_| first < MAX_SEQUENCE);
            let named = incarnation.map(|incarnation| Header {
                incarnation,
                first,
                previous_end: first,
                created_ms: 0,
            });
            let why = match header {
                Ok(Ok(header)) if Some(header.incarnation) != self.incarnation => {
                    Why::Foreign(header.incarnation)
                }
                Ok(Ok(header)) if header.first != first => {
                    Why::NotASegment(format!("its header names the frame {}", header.first))
                }
                Ok(Ok(header)) => {
                    ours.push((header, entry, None));
                    continue;
                }
                Ok(Err(_)) if !entry.is_file => Why::NotASegment("it is not a plain file".to_owned()),
                Ok(Err(error)) => {
                    if let Some(header) = named
                        && is_ours(files, directory, &entry, header)
                    {
                        self.findings.push(Finding::DamagedHeader { file: entry.name.clone() });
                        ours.push((header, entry, None));
                        continue;
                    }
                    Why::NotASegment(error.to_string())
                }
                Err(error) => match named {
                    Some(header) => {
                        ours.push((header, entry, Some(error)));
                        continue;
                    }
                    None => Why::Unreadable(error.to_string()),
                },
            };
            self.strays.push(Stray { name: entry.name, bytes: entry.bytes, why });
        }
        ours
    }

    fn read_segments(
        &mut self,
        files: &dyn FileSystem,
        directory: &Path,
        ours: Vec<(Header, Entry, Option<io::Error>)>,
        is_thorough: bool,
    ) {
        let lowest = ours.first().map_or(0, |(header, ..)| header.first);
        self.resolved = Resolved::below(self.cursor.as_ref().map_or(lowest, |cursor| cursor.watermark));
        for range in self.cursor.iter().flat_map(|cursor| &cursor.ranges) {
            self.resolved.insert(range.clone());
        }
        // A segment ends where a later one says that the frames before it end.
        let known_end = self.cursor.as_ref().map_or(0, |cursor| cursor.next);
        let mut limit = MAX_SEQUENCE;
        for (header, entry, error) in ours.into_iter().rev() {
            let outcome = match error {
                Some(error) => Err(error),
                None => self.read_segment(files, directory, header, &entry, limit, is_thorough),
            };
            let surveyed = outcome.unwrap_or_else(|error| {
                let reason = error.to_string();
                self.findings.push(Finding::NotMended {
                    file: entry.name.clone(),
                    operation: "read it",
                    reason,
                });
                // As many frames as it may hold: none of their numbers is taken for free.
                let most = known_end.max(header.first.saturating_add(entry.bytes / PREFIX_BYTES as u64));
                let end = if limit == MAX_SEQUENCE { most.min(MAX_SEQUENCE - 1) } else { limit };
                segment::unread(header, end, entry.bytes)
            });
            limit = limit.min(header.previous_end);
            self.segments.push(surveyed);
        }
        self.segments.reverse();
    }

    fn read_segment(
        &self,
        files: &dyn FileSystem,
        directory: &Path,
        header: Header,
        entry: &Entry,
        limit: u64,
        is_thorough: bool,
    ) -> io::Result<Surveyed> {
        let file = files.open(&directory.join(&entry.name), Access::Read)?;
        let file_bytes = file.length()?;
        let seed = header.incarnation.checksum_seed();
        let limit = limit.max(header.first);
        let complete_below = self.cursor.as_ref().map_or(u64::MAX, |cursor| cursor.complete_below);
        if let Some(seal) = segment::read_seal(file.as_ref(), file_bytes, seed, header.first)
            && seal.end <= limit
            && seal.total.frames == seal.end - header.first
            && !(header.first < complete_below && complete_below < seal.end)
            && !is_thorough
        {
            let mut surveyed = segment::by_seal(header, seal, file_bytes);
            let tallies = self.cursor.iter().flat_map(|cursor| &cursor.tallies);
            for tally in tallies.filter(|tally| tally.segment == header.first) {
                surveyed.segment.pending -= tally.resolved;
            }
            return Ok(surveyed);
        }
        segment::by_frames(file, header, file_bytes, limit, seed, &self.resolved)
    }

    /// Finds the frames that are missing, and counts what is pending of each segment.
    fn balance(&mut self) {
        let segments = std::mem::take(&mut self.segments);
        let mut at = self.resolved.watermark();
        if self.cursor.is_none() {
            at = segments.first().map_or(at, |segment| segment.previous_end);
        }
        let known_end = self.cursor.as_ref().map_or(0, |cursor| cursor.next);
        let synced_end = segments.iter().map(|surveyed| surveyed.synced_end).fold(known_end, u64::max);
        for surveyed in &segments {
            let frames = self.lose(at..surveyed.previous_end);
            if frames > 0 {
                self.findings.push(Finding::MissingFrames { frames, before: surveyed.name() });
            }
            self.resolved
                .insert(at.max(surveyed.previous_end)..surveyed.first.max(at).max(surveyed.previous_end));
            self.judge_damage(surveyed, synced_end);
            at = at.max(surveyed.segment.end);
        }
        let frames = self.lose(at..known_end);
        if frames > 0 {
            let file = segments.last().map_or_else(String::new, Surveyed::name);
            self.findings.push(Finding::LostTail { file, frames });
        }
        self.end = at.max(known_end).max(self.resolved.end());
        self.segments = segments;
        for surveyed in &mut self.segments {
            let segment = &mut surveyed.segment;
            let range = segment.range(surveyed.first);
            segment.pending.frames = range.end - range.start - self.resolved.count(range);
            if segment.pending.frames == 0 {
                segment.pending = Tally::default();
            }
        }
    }

    /// Counts what is missing within a segment, and says so.
    fn judge_damage(&mut self, surveyed: &Surveyed, synced_end: u64) {
        // What its seal does not count was missing already when it was sealed, and was judged then.
        let counted = surveyed.sealed_frames.unwrap_or(u64::MAX);
        let mut losable = counted.saturating_sub(surveyed.segment.total.frames);
        for damage in &surveyed.damage {
            let missing = self.resolved.insert(damage.missing.clone());
            // A hole in a group that was never synced is no loss: nothing of it was acknowledged.
            let unsynced = damage.missing.end.saturating_sub(damage.missing.start.max(synced_end));
            let frames = missing.saturating_sub(unsynced).min(losable);
            losable -= frames;
            self.corrupt.frames += frames;
            let (file, offset) = (surveyed.name(), damage.bytes.start);
            let bytes = damage.bytes.end - offset;
            if frames > 0 {
                self.findings.push(Finding::Damage { file, offset, bytes, frames });
            } else if missing > 0 && surveyed.sealed_frames.is_none() {
                self.findings.push(Finding::TornTail { file, offset, bytes });
            }
        }
    }

    /// Counts frames as lost that are in no segment and not resolved.
    fn lose(&mut self, range: Range<u64>) -> u64 {
        let frames = self.resolved.insert(range);
        self.corrupt.frames += frames;
        frames
    }
}

fn is_ours(files: &dyn FileSystem, directory: &Path, entry: &Entry, header: Header) -> bool {
    let file = files.open(&directory.join(&entry.name), Access::Read);
    let seed = header.incarnation.checksum_seed();
    file.is_ok_and(|file| segment::has_our_frames(file, entry.bytes, seed, header.first))
}
