//! One log: a path that matches, and the files that its lines are or were in, oldest first.
//!
//! The files are read one after the other. When a file has been read to its end and the next one has begun, what it had
//! unfinished goes on there; the file itself stays open for a while, since a writer may hold on to it. So rotation loses and
//! doubles nothing, whatever it does:
//!
//! | rotation | found by |
//! |---|---|
//! | rename and create | the open file, or its inode under a name that begins with the log's |
//! | several between two looks | files under such names that nobody has read yet, in the order in which they were last written |
//! | copy and truncate | a copy that begins like the file that was truncated |
//! | compress | the open file, or an archive whose content begins like the file that is gone |
//! | delete | the open file; after a restart nothing, and then the bytes that are known not to have been read count as lost |

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    time::{Duration, Instant},
};

use super::{
    batch::Batch,
    checkpoint::FileState,
    family::Family,
    filter::Allowance,
    generation::{Generation, Progress},
    identity::FileId,
    position::Position,
    work::Work,
};
use crate::metrics::{SeenFile, SeenLog};

/// A log and its files.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) path: PathBuf,
    /// Oldest first; the last one is at the path, unless that is gone.
    pub(super) generations: VecDeque<Generation>,
    /// The files beside the open ones.
    pub(super) family: Family,
    /// How many records may come, where that is limited.
    pub(super) allowance: Allowance,
    /// Since when it is followed.
    pub(super) since: Instant,
}

/// How long things are waited for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    /// A batch is collected for so long.
    pub(super) linger: Duration,
    /// The next line of a record of several.
    pub(super) next_line: Duration,
    /// The rest of a line.
    pub(super) rest_of_line: Duration,
    /// The last lines of a writer that holds on to a rotated file.
    pub(super) rotated: Duration,
}

/// A batch that may go, and whose.
#[derive(Debug)]
pub(super) struct Sealed {
    /// The generation's number.
    pub(super) number: u64,
    pub(super) file: FileId,
    pub(super) batch: Batch,
}

impl Log {
    pub(super) fn new(path: PathBuf, now: Instant) -> Log {
        let (family, allowance) = (Family::default(), Allowance::default());
        Log { path, generations: VecDeque::new(), family, allowance, since: now }
    }

    /// A file that the checkpoint knows.
    pub(super) fn restore(&mut self, state: &FileState, number: u64, now: Instant) {
        if state.is_finished {
            return self.family.finish(state.id, state.size);
        }
        let mut generation = Generation::known(number, state.id, state.position, now);
        generation.size = generation.size.max(state.size);
        self.generations.push_back(generation);
    }

    /// Takes what became durable after the checkpoint; nothing may have been read.
    pub(super) fn resume(&mut self, durable: &mut Vec<(FileId, Position)>) {
        // Those that are there know best which positions are theirs.
        let (there, missing): (Vec<_>, Vec<_>) =
            self.generations.iter_mut().partition(|one| one.file.is_some());
        there.into_iter().chain(missing).for_each(|one| one.resume_after(durable));
    }

    /// Whether the clock has something to do with it.
    pub(super) fn waits_for_time(&self) -> bool {
        self.generations.iter().any(|one| {
            let is_unfinished = one.joiner.is_holding() || one.has_unended();
            is_unfinished || one.may_seal() || one.rotated_at.is_some() || one.has_no_room()
        })
    }

    /// What a checkpoint has to say of it.
    pub(super) fn states(&self) -> impl Iterator<Item = FileState> {
        let open = self.generations.iter().map(|one| (one.id, one.durable, one.size, false));
        let finished = self.family.finished().map(|(id, size)| (id, Position::at(size), size, true));
        let state = |(id, position, size, is_finished)| FileState {
            log: self.path.clone(),
            id,
            position,
            size,
            is_finished,
        };
        open.chain(finished).map(state)
    }

    /// Reads some of the first file that has more, into its batch.
    pub(super) fn read_some(&mut self, work: &mut Work, now: Instant) -> io::Result<Progress> {
        let mut progress = Progress::End;
        for index in 0..self.generations.len() {
            progress = self.generations[index].read_some(work, now)?;
            match progress {
                Progress::End if self.goes_on(index, work, now)? => {}
                Progress::Replaced => {
                    self.replaced(index, now);
                    return Ok(progress);
                }
                progress => return Ok(progress),
            }
        }
        Ok(progress)
    }

    /// The content of a file is gone, and its inode has another.
    fn replaced(&mut self, index: usize, now: Instant) {
        let one = &mut self.generations[index];
        let path = self.path.display();
        tracing::info!(%path, offset = one.offset(), size = one.size, "a log file was truncated");
        one.file = None;
        one.rotated_at = one.rotated_at.or(Some(now));
    }

    /// Whether the file after this one is to be read now. What this one has unfinished goes on there.
    fn goes_on(&mut self, index: usize, work: &mut Work, now: Instant) -> io::Result<bool> {
        let Some(next) = self.generations.get(index + 1) else { return Ok(false) };
        let has_begun = next.has_begun()?;
        let one = &mut self.generations[index];
        if one.is_carried() {
            return Ok(true);
        }
        if one.rotated_at.is_none() || !has_begun || !one.take_rest(work, now)? {
            return Ok(false);
        }
        let joiner = one.carry();
        let next = &mut self.generations[index + 1];
        next.joiner = joiner.carried_to(&next.durable);
        Ok(true)
    }

    /// Hands out what was waited for long enough: the rest of a record, a file that nobody writes to any more.
    pub(super) fn expire(&mut self, waits: &Waits, work: &mut Work, now: Instant) -> io::Result<()> {
        for index in 0..self.generations.len() {
            let next = self.generations.get(index + 1);
            let has_next = next.is_some();
            let next_has_begun = next.map_or(Ok(false), Generation::has_begun)?;
            let one = &mut self.generations[index];
            let since_read = now.saturating_duration_since(one.read_at);
            let is_abandoned = one.is_rotated_for(waits.rotated, now) && !has_next;
            if is_abandoned && one.unread() > 0 && since_read >= waits.rotated {
                one.take_rest(work, now)?;
            }
            one.take_unended(waits.rest_of_line, work, now)?;
            let wait = if one.joiner.is_cut() { waits.rest_of_line } else { waits.next_line };
            // As long as there is more to read, here or in the next file, what is held may go on there; and what came from the
            // file before is this one's only once something of it was read.
            let is_at_end = one.offset() > 0 && one.file_len()? <= one.offset() && !next_has_begun;
            if since_read >= wait && is_at_end {
                one.flush(work, now);
            }
        }
        Ok(())
    }

    /// The batches that may go now; `is_last` when nothing is read any more.
    pub(super) fn seal(
        &mut self,
        linger: Duration,
        resource: &[u8],
        work: &Work,
        now: Instant,
        is_last: bool,
    ) -> Vec<Sealed> {
        let mut sealed = Vec::new();
        for one in &mut self.generations {
            if (is_last || one.is_due(linger, work, now))
                && one.may_seal()
                && let Some(batch) = one.seal(resource)
            {
                sealed.push(Sealed { number: one.number, file: one.id, batch });
            }
        }
        sealed
    }

    /// Closes the files that are durable to their end and will not go on.
    pub(super) fn close_finished(&mut self, waits: &Waits, now: Instant) {
        while let Some(one) = self.generations.front_mut() {
            // It may have grown since it was read, or not have been read at all. One that is at its path may be another by now.
            if one.rotated_at.is_some() {
                one.look_at_size();
            }
            let one = &self.generations[0];
            let is_resolved = match self.generations.get(1) {
                _ if !one.durable.has_held() => true,
                Some(next) => next.durable.offset > 0 && !next.durable.needs_before(),
                None => false,
            };
            let is_over = one.is_rotated_for(waits.rotated, now) && one.unread() == 0 && one.is_settled();
            if !is_over || !is_resolved {
                return;
            }
            let size = one.size;
            let id = one.id;
            self.generations.pop_front();
            self.family.finish(id, size);
        }
    }

    /// Whether nothing of it was ever read.
    pub(super) fn is_untouched(&self) -> bool {
        self.family.is_empty() && self.generations.iter().all(|one| one.offset() == 0 && !one.is_carried())
    }

    /// Whether nothing is left of it.
    pub(super) fn is_over(&self) -> bool {
        self.generations.is_empty() && self.family.is_empty()
    }

    /// What is known of it, for whoever asks later how much of it is not durable.
    pub(super) fn seen(&self) -> SeenLog {
        let files = self.generations.iter().map(|one| SeenFile {
            device: one.id.device,
            inode: one.id.inode,
            size: one.size,
            durable: one.durable.offset,
        });
        SeenLog { path: self.path.clone(), files: files.collect() }
    }
}
