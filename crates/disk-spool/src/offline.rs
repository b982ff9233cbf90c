//! Looking at a spool's directory, and mending it, without the daemon that owns it.
//!
//! [`list`], [`verify`], [`frames`] and [`frames_from`] take no lock and change nothing: they work on a read-only disk and beside a running
//! daemon, which may be adding to the last segment, so an unfinished frame at its end is no finding. [`repair`] is what
//! opening does, and needs the directory for itself.

use std::{io, ops::ControlFlow, path::Path, sync::Arc, time::Duration};

use bytes::Bytes;

use crate::{
    Finding, Incarnation, Observer, OpenError, Quota, Recovery, Spool, SpoolOptions, Tally, WhenFull,
    filesystem::{Access, Disk, FileSystem},
    format::KIND_SEAL,
    recovery::{
        segment::{Surveyed, TRUSTED_BYTES},
        survey::{Survey, survey},
    },
    walker::{Bounds, Walker},
};

/// What is in a directory.
#[derive(Debug, Clone)]
pub struct Listing {
    /// Which spool it is; `None` where nothing says so.
    pub incarnation: Option<Incarnation>,
    /// Number of the last checkpoint.
    pub checkpoint: u64,
    /// Every frame below is resolved.
    pub watermark: u64,
    /// The sequence after the last frame.
    pub end: u64,
    /// The note of the last checkpoint.
    pub note: Bytes,
    /// Frames that are not resolved.
    pub pending: Tally,
    /// Frames that are lost, as far as was looked.
    pub lost: u64,
    /// In order.
    pub segments: Vec<SegmentListing>,
    /// What is not as it should be.
    pub findings: Vec<Finding>,
}

/// One segment.
#[derive(Debug, Clone)]
pub struct SegmentListing {
    /// Its file's name.
    pub file: String,
    /// Its file's length.
    pub file_bytes: u64,
    /// Sequence of its first frame.
    pub first: u64,
    /// Sequence after its last frame.
    pub end: u64,
    /// It is complete, and says what it holds.
    pub is_sealed: bool,
    /// Every frame of it was read.
    pub is_verified: bool,
    /// Its frames.
    pub total: Tally,
    /// Those that are not resolved.
    pub pending: Tally,
    /// When its first frame was appended, in milliseconds since the epoch.
    pub oldest_ms: u64,
    /// When its newest frame was appended.
    pub newest_ms: u64,
    /// Bytes after the last frame of a segment that is not sealed: being written, or cut off by a crash.
    pub tail_bytes: u64,
}

/// What [`frames`] comes upon.
#[derive(Debug, Clone)]
pub enum Stored {
    /// A good frame.
    Frame {
        /// The segment's name.
        file: String,
        /// Where it begins.
        offset: u64,
        /// Its number.
        sequence: u64,
        /// As appended.
        items: u64,
        /// When it was appended, in milliseconds since the epoch.
        appended_at_ms: u64,
        /// The last checkpoint has it as resolved.
        is_resolved: bool,
        /// What was appended.
        payload: Bytes,
    },
    /// Bytes that are no frame.
    Damage {
        /// The segment's name.
        file: String,
        /// Where they begin.
        offset: u64,
        /// How many.
        bytes: u64,
    },
}

/// What is in a directory, by the headers and seals of its segments; only those without a seal are read.
pub fn list(directory: &Path) -> io::Result<Listing> {
    survey(&Disk, directory, false).map(listing)
}

/// The same by reading every frame.
pub fn verify(directory: &Path) -> io::Result<Listing> {
    survey(&Disk, directory, true).map(listing)
}

/// Shows every frame, in order, until the visitor has seen enough.
pub fn frames(directory: &Path, visit: &mut dyn FnMut(Stored) -> ControlFlow<()>) -> io::Result<()> {
    frames_from(directory, 0, visit)
}

/// Shows the frames from a sequence on; segments that end before it are not read.
///
/// Beside a running daemon the last frames may be some that are not synced yet, so whoever wants only what is durable ends at a
/// sequence that is known to be.
pub fn frames_from(
    directory: &Path,
    from: u64,
    visit: &mut dyn FnMut(Stored) -> ControlFlow<()>,
) -> io::Result<()> {
    let survey = survey(&Disk, directory, false)?;
    let mut visit = |stored| match stored {
        Stored::Frame { sequence, .. } if sequence < from => ControlFlow::Continue(()),
        stored => visit(stored),
    };
    for surveyed in survey.segments.iter().filter(|surveyed| surveyed.segment.end > from) {
        match walk(directory, &survey, surveyed, &mut visit) {
            Ok(ControlFlow::Continue(())) => {}
            Ok(ControlFlow::Break(())) => break,
            // The daemon beside us deleted it: everything in it is resolved.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Does what opening does: puts strays and damage into quarantine, cuts an unfinished end off, deletes what is resolved.
pub fn repair(directory: &Path) -> Result<Recovery, OpenError> {
    // A directory that is not there is not made for this.
    Disk.list(directory).map_err(|source| OpenError::Read { directory: directory.to_owned(), source })?;
    let options = SpoolOptions {
        directory: directory.to_owned(),
        segment_bytes: u64::MAX,
        group_window: Duration::ZERO,
        group_bytes: 0,
        queue_bytes: 0,
        max_frame_bytes: TRUSTED_BYTES,
        when_full: WhenFull::Refuse,
        max_age: None,
    };
    let (spool, recovery) = Spool::open(options, Quota::new(u64::MAX).lane(0), Arc::new(Unobserved))?;
    spool.close();
    Ok(recovery)
}

fn listing(survey: Survey) -> Listing {
    let segments: Vec<_> = survey.segments.iter().map(segment_listing).collect();
    let mut findings = survey.findings;
    findings.extend(survey.strays.iter().map(|stray| stray.finding(crate::Action::LeftAlone)));
    let mut pending = Tally::default();
    segments.iter().for_each(|segment| pending += segment.pending);
    Listing {
        incarnation: survey.incarnation,
        checkpoint: survey.generation,
        watermark: survey.resolved.watermark(),
        end: survey.end,
        note: survey.cursor.map(|cursor| cursor.note).unwrap_or_default(),
        pending,
        lost: survey.corrupt.frames,
        segments,
        findings,
    }
}

fn segment_listing(surveyed: &Surveyed) -> SegmentListing {
    let segment = &surveyed.segment;
    SegmentListing {
        file: surveyed.name(),
        file_bytes: segment.file_bytes,
        first: surveyed.first,
        end: segment.end,
        is_sealed: surveyed.is_sealed,
        is_verified: surveyed.is_read,
        total: segment.total,
        pending: segment.pending,
        oldest_ms: segment.oldest_ms,
        newest_ms: segment.newest_ms,
        tail_bytes: surveyed.tail.end - surveyed.tail.start,
    }
}

fn walk(
    directory: &Path,
    survey: &Survey,
    surveyed: &Surveyed,
    visit: &mut dyn FnMut(Stored) -> ControlFlow<()>,
) -> io::Result<ControlFlow<()>> {
    let seed = survey.incarnation.map_or(0, Incarnation::checksum_seed);
    let file = Disk.open(&directory.join(surveyed.name()), Access::Read)?;
    let mut walker = Walker::new(file, seed, surveyed.first, TRUSTED_BYTES);
    let bounds = Bounds { limit: surveyed.segment.length, end: surveyed.segment.end };
    while walker.offset() < bounds.limit {
        let (file, offset) = (surveyed.name(), walker.offset());
        let prefix = walker.peek(bounds)?;
        let payload = match prefix {
            Some(prefix) => walker.payload(prefix)?.map(|payload| (prefix, payload)),
            None => None,
        };
        let stored = match payload {
            Some((prefix, payload)) => {
                walker.pass(prefix)?;
                if prefix.kind == KIND_SEAL {
                    break;
                }
                Stored::Frame {
                    file,
                    offset,
                    sequence: prefix.sequence,
                    items: prefix.items,
                    appended_at_ms: prefix.appended_at_ms,
                    is_resolved: survey.resolved.contains(prefix.sequence),
                    payload,
                }
            }
            None => {
                let range = walker.resync(bounds)?;
                Stored::Damage { file, offset: range.start, bytes: range.end - range.start }
            }
        };
        if visit(stored).is_break() {
            return Ok(ControlFlow::Break(()));
        }
    }
    Ok(ControlFlow::Continue(()))
}

/// What the disk refuses is among the findings.
#[derive(Debug)]
struct Unobserved;

impl Observer for Unobserved {
    fn synced(&self, _: usize, _: usize, _: Duration) {}
    fn disk_error(&self, operation: &'static str, error: &io::Error) {
        tracing::warn!(operation, %error, "the disk refused an operation");
    }
}
