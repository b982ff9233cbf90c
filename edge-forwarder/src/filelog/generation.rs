//! One file of a log, read in order: bytes become fragments, fragments records, records a batch.
//!
//! What was read is looked at only after the file has been found to be still the one it was: a file that was truncated and
//! written again in between would otherwise be read from its middle. Bytes after the last line's end stay where they are
//! until the line has ended; they are read again then, so a file costs no buffer.

use std::{
    borrow::Cow,
    fs::File,
    io,
    mem::take,
    ops::Deref,
    os::unix::fs::FileExt,
    time::{Duration, Instant},
};

use super::{
    batch::{Batch, Builder},
    cri::{self, Format, Fragment, Stream},
    identity::{FINGERPRINT_BYTES, FileId, Fingerprint},
    join::Joiner,
    position::Position,
    work::Work,
};

/// One of the files that a log is or was in.
#[derive(Debug)]
pub(super) struct Generation {
    /// Names it among all that this process has seen.
    pub(super) number: u64,
    pub(super) id: FileId,
    /// `None` until it is found, or once its content is gone.
    pub(super) file: Option<File>,
    /// Everything before it is durable.
    pub(super) durable: Position,
    /// The largest size seen, in bytes.
    pub(super) size: u64,
    /// It is not at the log's path any more, since then.
    pub(super) rotated_at: Option<Instant>,
    /// When bytes of it were last read.
    pub(super) read_at: Instant,
    /// When it was last seen to have grown.
    grown_at: Instant,
    pub(super) joiner: Joiner,
    builder: Option<Builder>,
    /// The position after the batch that is being made durable.
    outstanding: Option<Position>,
    /// Where it stood when what it had unfinished went on in the next file.
    carried: Option<Position>,
    /// It waits for memory that others hold.
    is_waiting_for_room: bool,
    format: Option<Format>,
    read: u64,
    /// Up to here it is read again for what was unfinished; no batch can end before.
    resumed_at: u64,
}

/// How a file begins.
#[derive(Debug)]
pub(super) struct Head {
    bytes: [u8; FINGERPRINT_BYTES],
    len: usize,
}

impl Deref for Head {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

/// What came of reading.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Progress {
    /// There may be more.
    Read,
    /// There is no more complete line now.
    End,
    /// What was read before has to go first.
    Full,
    /// The memory of other files has to come back first.
    NoRoom,
    /// It is not the file that it was.
    Replaced,
}

impl Generation {
    /// A file that was read to `durable`, and has to be found.
    pub(super) fn known(number: u64, id: FileId, durable: Position, now: Instant) -> Generation {
        let mut generation = Generation {
            number,
            id,
            file: None,
            durable,
            size: 0,
            rotated_at: None,
            read_at: now,
            grown_at: now,
            joiner: Joiner::default(),
            builder: None,
            outstanding: None,
            carried: None,
            is_waiting_for_room: false,
            format: None,
            read: 0,
            resumed_at: 0,
        };
        generation.resume(durable);
        generation
    }

    /// Goes on from there; nothing may have been read.
    pub(super) fn resume(&mut self, position: Position) {
        self.durable = position;
        self.joiner = Joiner::resumed_at(&position);
        self.read = position.rereads_from();
        self.resumed_at = position.offset;
        self.size = self.size.max(position.offset);
    }

    /// Goes on from the furthest of these positions that is one of its own, and takes its own out; nothing may have been read.
    pub(super) fn resume_after(&mut self, durable: &mut Vec<(FileId, Position)>) {
        let progress = |position: &Position| (position.offset, position.rereads_from());
        let own = durable.extract_if(.., |(file, _)| self.is(file)).map(|(_, position)| position);
        let furthest = own.max_by_key(progress);
        if let Some(position) = furthest.filter(|position| progress(position) > progress(&self.durable)) {
            self.resume(position);
        }
    }

    /// Here is its content. Returns how many bytes of it are known to be missing.
    pub(super) fn found(&mut self, file: File, rotated_at: Option<Instant>) -> io::Result<u64> {
        let size = file.metadata()?.len();
        let lost = self.size.saturating_sub(size.max(self.read));
        self.file = Some(file);
        self.rotated_at = rotated_at;
        self.size = size;
        Ok(lost)
    }

    /// A file that has grown is better known by how it begins.
    pub(super) fn know_better(&mut self) {
        if !self.id.fingerprint.is_short() {
            return;
        }
        if let Some(Ok(head)) = self.file.as_ref().map(head)
            && self.id.fingerprint.matches(&head)
        {
            self.id.fingerprint = Fingerprint::of(&head);
        }
    }

    /// Whether it is the file of that name, which may have been given when it was shorter.
    fn is(&self, file: &FileId) -> bool {
        let is_same_place = (file.device, file.inode) == (self.id.device, self.id.inode);
        let may_be = is_same_place || !file.fingerprint.is_empty();
        match self.file.as_ref().map(head) {
            Some(Ok(head)) => may_be && file.fingerprint.matches(&head),
            // Without its content an inode proves nothing: it is soon another file's.
            _ => {
                let is_short = file.fingerprint.is_short() || self.id.fingerprint.is_short();
                file.fingerprint == self.id.fingerprint || (is_same_place && is_short)
            }
        }
    }

    /// Its content is gone. Returns how many bytes of it were not read.
    pub(super) fn give_up(&mut self) -> u64 {
        let lost = self.unread();
        (self.size, self.resumed_at) = (self.read, self.read);
        self.pass_over_nothing();
        lost
    }

    /// Bytes read.
    pub(super) fn offset(&self) -> u64 {
        self.read
    }

    /// Bytes that are there and were not read.
    pub(super) fn unread(&self) -> u64 {
        self.size.saturating_sub(self.read)
    }

    /// Takes note of how large it is now.
    pub(super) fn look_at_size(&mut self) {
        // What cannot be asked now has the size that it had.
        if let Some(Ok(found)) = self.file.as_ref().map(File::metadata) {
            self.size = self.size.max(found.len());
        }
    }

    /// The size of its file now.
    pub(super) fn file_len(&self) -> io::Result<u64> {
        self.file.as_ref().map_or(Ok(0), |file| Ok(file.metadata()?.len()))
    }

    /// Whether something was ever written to it.
    pub(super) fn has_begun(&self) -> io::Result<bool> {
        Ok(self.durable.offset > 0 || self.file_len()? > 0)
    }

    /// The position after all that was read.
    fn position(&self) -> Position {
        // What went on in the next file begins here, until it is durable there.
        let carried = self.carried.map(|carried| carried.after(self.read));
        carried.unwrap_or_else(|| self.joiner.position(self.read))
    }

    /// Whether everything that was read is durable.
    pub(super) fn is_settled(&self) -> bool {
        self.outstanding.is_none()
            && self.builder.is_none()
            && !self.joiner.is_holding()
            && self.durable.offset >= self.read
    }

    /// Whether its batch is being made durable.
    pub(super) fn is_outstanding(&self) -> bool {
        self.outstanding.is_some()
    }

    /// Whether it was rotated so long ago.
    pub(super) fn is_rotated_for(&self, wait: Duration, now: Instant) -> bool {
        self.rotated_at.is_some_and(|since| now.saturating_duration_since(since) >= wait)
    }

    /// Whether the next file has taken over.
    pub(super) fn is_carried(&self) -> bool {
        self.carried.is_some()
    }

    /// Gives what is unfinished to the next file.
    pub(super) fn carry(&mut self) -> Joiner {
        self.carried = Some(self.joiner.position(self.read));
        if self.builder.is_none() && self.outstanding.is_none() {
            self.durable = self.position();
        }
        take(&mut self.joiner)
    }

    /// Whether it waits for memory that others hold.
    pub(super) fn has_no_room(&self) -> bool {
        self.is_waiting_for_room
    }

    /// Whether the batch may go.
    pub(super) fn may_seal(&self) -> bool {
        let has_records = self.builder.as_ref().is_some_and(|builder| builder.items > 0);
        has_records && self.outstanding.is_none() && self.read >= self.resumed_at
    }

    /// Whether the batch has waited long enough, or is large enough.
    pub(super) fn is_due(&self, linger: Duration, work: &Work, now: Instant) -> bool {
        let is_due = |builder: &Builder| now.saturating_duration_since(builder.since) >= linger;
        self.is_full(work) || self.builder.as_ref().is_some_and(is_due)
    }

    /// Reads some of it into the batch.
    pub(super) fn read_some(&mut self, work: &mut Work, now: Instant) -> io::Result<Progress> {
        if self.is_full(work) {
            return Ok(Progress::Full);
        }
        let Some(file) = &self.file else { return Ok(Progress::End) };
        let mut scratch = take(&mut work.scratch);
        let outcome = read_checked(file, self.read, &mut scratch, self.id.fingerprint);
        let progress = match outcome {
            Ok(Checked { is_replaced: true, .. }) => Ok(Progress::Replaced),
            Ok(Checked { read, size, fingerprint, .. }) => {
                if size > self.size {
                    self.grown_at = now;
                }
                (self.size, self.id.fingerprint) = (size, fingerprint);
                self.builder.get_or_insert_with(|| Builder::new(&work.budget, now));
                Ok(self.take_lines(work, &scratch[..read], now))
            }
            Err(error) => Err(error),
        };
        work.scratch = scratch;
        self.is_waiting_for_room = matches!(progress, Ok(Progress::NoRoom));
        self.pass_over_nothing();
        progress
    }

    /// Takes the lines that have ended, as long as the batch has room.
    fn take_lines(&mut self, work: &mut Work, bytes: &[u8], now: Instant) -> Progress {
        let mut taken = 0;
        for end in memchr::memchr_iter(b'\n', bytes) {
            if !self.has_room(work, end + 1 - taken) {
                break;
            }
            self.take_line(work, &bytes[taken..end], self.read + taken as u64);
            taken = end + 1;
            if self.is_full(work) {
                break;
            }
        }
        let is_longer_than_any = taken == 0 && bytes.len() == work.limits.scratch_bytes();
        if is_longer_than_any && self.has_room(work, bytes.len()) {
            taken = bytes.len();
            self.take_text(work, &plain(bytes, true), self.read);
        }
        self.read += taken as u64;
        work.sink.metrics.count_read(taken as u64);
        if taken > 0 {
            self.read_at = now;
        }
        match taken {
            0 if memchr::memchr(b'\n', bytes).is_none() => Progress::End,
            0 => Progress::NoRoom,
            _ if self.is_full(work) => Progress::Full,
            _ => Progress::Read,
        }
    }

    /// The last line of a file that nobody writes to any more has no end. False when it has to wait for room.
    pub(super) fn take_rest(&mut self, work: &mut Work, now: Instant) -> io::Result<bool> {
        let Some(file) = &self.file else { return Ok(true) };
        let mut rest = vec![0; self.unread().min(work.limits.scratch_bytes() as u64) as usize];
        let read = file.read_at(&mut rest, self.read)?;
        rest.truncate(read);
        if rest.is_empty() {
            return Ok(true);
        }
        self.builder.get_or_insert_with(|| Builder::new(&work.budget, now));
        if memchr::memchr(b'\n', &rest).is_some() || !self.has_room(work, rest.len()) {
            return Ok(false);
        }
        self.take_line(work, &rest, self.read);
        self.read += rest.len() as u64;
        self.read_at = now;
        work.sink.metrics.count_read(rest.len() as u64);
        self.pass_over_nothing();
        Ok(true)
    }

    /// Whether its last line has no end yet, and that may be all that ever comes of it. A runtime always writes whole lines.
    pub(super) fn has_unended(&self) -> bool {
        self.unread() > 0
            && self.rotated_at.is_none()
            && self.format.is_none_or(|format| format == Format::Plain)
    }

    /// Takes the beginning of a last line whose end has not come for so long, as a part of it.
    pub(super) fn take_unended(&mut self, wait: Duration, work: &mut Work, now: Instant) -> io::Result<()> {
        let is_still = now.saturating_duration_since(self.grown_at) >= wait;
        let Some(file) = self.file.as_ref().filter(|_| self.has_unended() && is_still) else { return Ok(()) };
        let mut line = vec![0; self.unread().min(work.limits.line_bytes as u64) as usize];
        let read = file.read_at(&mut line, self.read)?;
        line.truncate(read);
        let is_whole = self.file_len()? == self.read + line.len() as u64;
        let is_unended = is_whole && !line.is_empty() && memchr::memchr(b'\n', &line).is_none();
        if !is_unended || Format::of_line(&line) != Format::Plain {
            return Ok(());
        }
        self.builder.get_or_insert_with(|| Builder::new(&work.budget, now));
        if self.has_room(work, line.len()) {
            self.take_text(work, &plain(&line, true), self.read);
            self.read += line.len() as u64;
            work.sink.metrics.count_read(line.len() as u64);
        }
        self.pass_over_nothing();
        Ok(())
    }

    fn take_line(&mut self, work: &mut Work, line: &[u8], offset: u64) {
        let format = *self.format.get_or_insert_with(|| Format::of_line(line));
        let fragment = cri::read_line(format, line).unwrap_or_else(|_| {
            work.sink.metrics.count_format_error();
            plain(line, false)
        });
        self.take_text(work, &fragment, offset);
    }

    /// Takes a fragment, in pieces if it is longer than a record may be.
    fn take_text(&mut self, work: &mut Work, fragment: &Fragment<'_>, offset: u64) {
        let max_bytes = work.limits.line_bytes;
        if fragment.text.len() <= max_bytes {
            return self.push(work, fragment, offset);
        }
        let mut taken = 0;
        for piece in fragment.text.chunks(max_bytes) {
            let at = offset + taken as u64;
            taken += piece.len();
            let is_partial = fragment.is_partial || taken < fragment.text.len();
            let text = Cow::Borrowed(piece);
            self.push(work, &Fragment { text, is_partial, ..*fragment }, at);
        }
    }

    fn push(&mut self, work: &mut Work, fragment: &Fragment<'_>, offset: u64) {
        let Some(builder) = &mut self.builder else { return };
        let Work { rules, sink, .. } = work;
        self.joiner.push(&rules.join, fragment, offset, &mut |piece| sink.encode(rules, &piece, builder));
    }

    /// Hands out what is held, since nothing has come for a while or nothing will. What was read before has to go first.
    pub(super) fn flush(&mut self, work: &mut Work, now: Instant) {
        if !self.joiner.is_holding() || self.may_seal() || self.read < self.resumed_at {
            return;
        }
        let bytes = self.joiner.bytes();
        self.builder.get_or_insert_with(|| Builder::new(&work.budget, now));
        if !self.has_room(work, bytes) {
            return;
        }
        let Some(builder) = &mut self.builder else { return };
        let Work { rules, sink, .. } = work;
        self.joiner.flush(&mut |piece| sink.encode(rules, &piece, builder));
        self.pass_over_nothing();
    }

    /// The batch, to be made durable.
    pub(super) fn seal(&mut self, resource: &[u8]) -> Option<Batch> {
        let position = self.position();
        let batch = self.builder.take()?.seal(resource, position);
        self.outstanding = Some(position);
        Some(batch)
    }

    /// The batch that was out is durable.
    pub(super) fn settled(&mut self) {
        if let Some(position) = self.outstanding.take() {
            self.durable = position;
        }
        self.pass_over_nothing();
    }

    /// What was read so far may have no records, and then there is nothing to wait for.
    fn pass_over_nothing(&mut self) {
        if self.builder.as_ref().is_some_and(|builder| builder.items == 0) {
            self.builder = None;
        }
        if self.builder.is_none() && self.outstanding.is_none() && self.read >= self.resumed_at {
            self.durable = self.position();
        }
    }

    /// Whether the batch may take what `bytes` of the file become.
    fn has_room(&mut self, work: &Work, bytes: usize) -> bool {
        let growth = work.limits.growth_of(bytes);
        self.builder.as_mut().is_some_and(|builder| builder.reserve(growth).is_ok())
    }

    fn is_full(&self, work: &Work) -> bool {
        self.builder.as_ref().is_some_and(|builder| builder.records.len() >= work.limits.batch_bytes)
    }
}

/// Bytes of a file that was still the same after they were read.
struct Checked {
    read: usize,
    size: u64,
    fingerprint: Fingerprint,
    is_replaced: bool,
}

/// Reads, and looks then whether it is the file that it was.
fn read_checked(file: &File, offset: u64, bytes: &mut [u8], fingerprint: Fingerprint) -> io::Result<Checked> {
    let read = file.read_at(bytes, offset)?;
    let size = file.metadata()?.len();
    let head = head(file)?;
    let is_replaced = size < offset + read as u64 || !fingerprint.matches(&head);
    let fingerprint =
        if fingerprint.is_short() && !is_replaced { Fingerprint::of(&head) } else { fingerprint };
    Ok(Checked { read, size, fingerprint, is_replaced })
}

/// The first bytes of a file, as far as a fingerprint looks.
pub(super) fn head(file: &File) -> io::Result<Head> {
    let mut head = Head { bytes: [0; FINGERPRINT_BYTES], len: 0 };
    while head.len < FINGERPRINT_BYTES {
        match file.read_at(&mut head.bytes[head.len..], head.len as u64)? {
            0 => break,
            read => head.len += read,
        }
    }
    Ok(head)
}

fn plain(text: &[u8], is_partial: bool) -> Fragment<'_> {
    Fragment { time_unix_nano: 0, stream: Stream::None, is_partial, text: Cow::Borrowed(text) }
}
