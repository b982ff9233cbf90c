//! Putting right what a survey found, as far as the disk lets us.

use std::{io, path::Path};

use super::{
    segment::Surveyed,
    survey::{Survey, Why},
};
use crate::{
    Action, Finding,
    filesystem::{Access, FileSystem, write_all_at},
    format::{Incarnation, MAX_SEQUENCE, PREFIX_BYTES, parse_segment_name},
    quarantine,
    writer::Active,
};

/// A stray whose name is further than this from what we know says nothing about our sequences.
const MAX_STRAY_DISTANCE: u64 = 1 << 32;

/// Where writing goes on.
#[derive(Debug)]
pub(crate) struct Mended {
    /// The last segment, if it can be added to.
    pub(crate) active: Option<Active>,
    pub(crate) next: u64,
    pub(crate) durable_end: u64,
}

/// Removes leftovers, puts strays away, cuts the torn tail; notes what the disk refused.
pub(crate) fn mend(
    files: &dyn FileSystem,
    directory: &Path,
    survey: &mut Survey,
    is_writable: bool,
) -> Mended {
    let mut troubles = Vec::new();
    let mut mender = Mender { files, directory, is_writable, troubles: &mut troubles };
    for name in &survey.temporary {
        mender.attempt(name, "remove it", || files.remove(&directory.join(name)));
    }
    let mut next = survey.end;
    for stray in &survey.strays {
        let is_readable = !matches!(stray.why, Why::Unreadable(_));
        let is_away = is_readable
            && mender.attempt(&stray.name, "move it to quarantine", || {
                quarantine::put_away(files, directory, &stray.name)
            });
        let action = if is_away { Action::Quarantined } else { Action::LeftAlone };
        survey.findings.push(stray.finding(action));
        // Without its header nobody knows which frames of ours it held, but their numbers are not given out again.
        if let (Why::NotASegment(_) | Why::Unreadable(_), Some(first)) =
            (&stray.why, parse_segment_name(&stray.name))
            && first <= survey.end.saturating_add(MAX_STRAY_DISTANCE)
        {
            next = next.max(first.saturating_add(stray.bytes / PREFIX_BYTES as u64));
        }
    }
    for surveyed in &survey.segments {
        for damage in surveyed.damage.iter().filter(|damage| !damage.bytes.is_empty()) {
            mender.keep(surveyed, damage.bytes.clone());
        }
    }
    let seed = survey.incarnation.unwrap_or(Incarnation(0)).checksum_seed();
    let active = survey.segments.last_mut().and_then(|last| {
        // An unfinished frame was never acknowledged, if the bytes that were cut are such; if they are not, their
        // numbers were given out. So they are not given out again.
        next = next.max(survey.end + (last.tail.end - last.tail.start) / PREFIX_BYTES as u64);
        mender.last_segment(last, seed, survey.end, next, &mut survey.findings)
    });
    survey.findings.append(&mut troubles);
    Mended { active, next: next.min(MAX_SEQUENCE - 1), durable_end: survey.end }
}

struct Mender<'a> {
    files: &'a dyn FileSystem,
    directory: &'a Path,
    is_writable: bool,
    troubles: &'a mut Vec<Finding>,
}

impl Mender<'_> {
    fn attempt(&mut self, file: &str, operation: &'static str, act: impl FnOnce() -> io::Result<()>) -> bool {
        if !self.is_writable {
            return false;
        }
        let outcome = act();
        if let Err(error) = &outcome {
            let reason = error.to_string();
            self.troubles.push(Finding::NotMended { file: file.to_owned(), operation, reason });
        }
        outcome.is_ok()
    }

    fn keep(&mut self, surveyed: &Surveyed, range: std::ops::Range<u64>) {
        let (files, directory, name) = (self.files, self.directory, surveyed.name());
        self.attempt(&name, "copy damage to quarantine", || {
            quarantine::keep(files, directory, &name, range).map(drop)
        });
    }

    /// Cuts the tail off, and opens the segment to be added to, or ends it.
    fn last_segment(
        &mut self,
        last: &mut Surveyed,
        seed: u32,
        end: u64,
        next: u64,
        findings: &mut Vec<Finding>,
    ) -> Option<Active> {
        if last.is_sealed || !last.is_read {
            return None;
        }
        let name = last.name();
        let tail = last.tail.clone();
        if !tail.is_empty() {
            let (offset, bytes) = (tail.start, tail.end - tail.start);
            findings.push(Finding::TornTail { file: name.clone(), offset, bytes });
            if last.segment.end < end {
                self.keep(last, tail);
            }
        }
        let (files, path) = (self.files, self.directory.join(&name));
        let mut file = None;
        let is_continued = next == last.segment.end
            && last.damage.is_empty()
            && last.tail.is_empty()
            && !last.has_bad_header;
        let segment = &mut last.segment;
        let is_mended = self.attempt(&name, "make its end good", || {
            let opened = files.open(&path, Access::Write)?;
            if opened.length()? > segment.length {
                opened.truncate(segment.length)?;
                segment.file_bytes = segment.length;
            }
            if !is_continued {
                // Complete, so that it need not be read at the next opening.
                let seal = segment.seal().encode(seed, segment.newest_ms);
                write_all_at(opened.as_ref(), &mut [io::IoSlice::new(&seal)], segment.length)?;
                segment.file_bytes = segment.length + seal.len() as u64;
            }
            // What a killed process had written may be in memory only.
            opened.sync()?;
            file = Some(opened);
            Ok(())
        });
        let sum = segment.seal();
        let active = Active { first: last.first, file: file?, length: segment.length, sum };
        (is_mended && is_continued).then(|| {
            segment.file_bytes = segment.length + crate::format::SEAL_BYTES as u64;
            active
        })
    }
}
