//! Puts records together: a long line from its fragments, a stack trace from its lines, each stream by itself.
//!
//! What is finished is handed out at once, without a copy where one line is one record. What is not is held, and [`Joiner`]
//! always knows where it began: that is the part of a [`Position`] that an offset cannot tell.
//! A line that is longer than a record may be is handed out in parts.

use std::mem::take;

use super::{
    cri::{Fragment, Stream},
    multiline::{Follows, JoinState, Joining},
    parse::PartOf,
    position::{Begins, Held, Position},
};

/// What is unfinished in each stream of one container.
#[derive(Debug, Default)]
pub(super) struct Joiner {
    streams: [Open; Stream::COUNT],
}

#[derive(Debug, Default)]
struct Open {
    text: Vec<u8>,
    time_unix_nano: u64,
    held: Held,
    /// The last line has not ended yet.
    is_cut: bool,
    state: JoinState,
    /// Fragments below this offset were part of records already.
    passed: u64,
}

/// A record, or a part of one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Piece<'a> {
    pub(super) text: &'a [u8],
    pub(super) time_unix_nano: u64,
    pub(super) stream: Stream,
    pub(super) part: Option<PartOf>,
}

/// How records are put together.
#[derive(Debug, Clone)]
pub(super) struct JoinRules {
    /// Which lines belong together; `None` makes each line a record.
    pub(super) lines: Option<Joining>,
    /// Bytes of the longest record; a longer line is cut.
    pub(super) max_bytes: usize,
}

impl Joiner {
    /// One that stands at `position` once the file was read to there from [`Position::rereads_from`].
    pub(super) fn resumed_at(position: &Position) -> Joiner {
        let mut joiner = Joiner::default();
        for stream in Stream::ALL {
            let Held { begins, parts } = position.held(stream);
            let passed = match begins {
                Begins::At(offset) => offset,
                Begins::Before => 0,
                Begins::Nowhere => position.offset,
            };
            let held = Held { begins: Begins::Nowhere, parts };
            joiner.streams[stream as usize] = Open { passed, held, is_cut: parts > 0, ..Open::default() };
        }
        joiner
    }

    /// Takes a fragment that begins at `offset`, and hands out what it finishes.
    pub(super) fn push(
        &mut self,
        rules: &JoinRules,
        fragment: &Fragment<'_>,
        offset: u64,
        emit: &mut dyn FnMut(Piece<'_>),
    ) {
        let stream = fragment.stream;
        let open = &mut self.streams[stream as usize];
        if offset < open.passed {
            return;
        }
        if open.is_cut {
            if !open.text.is_empty() && open.text.len() + fragment.text.len() > rules.max_bytes {
                open.emit_part(stream, false, emit);
            }
            return open.add(rules, fragment, offset, emit);
        }
        let follows = rules
            .lines
            .as_ref()
            .map_or(Follows::Begins, |lines| lines.follows(&mut open.state, &fragment.text));
        let has_room = open.text.len() + 1 + fragment.text.len() <= rules.max_bytes;
        if follows == Follows::Continues && open.is_held() && has_room {
            open.text.push(b'\n');
            return open.add(rules, fragment, offset, emit);
        }
        open.finish(stream, emit);
        if fragment.is_partial || rules.can_be_continued(&fragment.text) {
            return open.add(rules, fragment, offset, emit);
        }
        let text = &fragment.text;
        emit(Piece { text, time_unix_nano: fragment.time_unix_nano, stream, part: None });
    }

    /// Hands out what is held, finished or not: nothing has come for a while, or nothing will.
    pub(super) fn flush(&mut self, emit: &mut dyn FnMut(Piece<'_>)) {
        for stream in Stream::ALL {
            let open = &mut self.streams[stream as usize];
            if open.is_cut && open.is_held() {
                open.emit_part(stream, false, emit);
            }
            open.finish(stream, emit);
        }
    }

    /// Whether something is held.
    pub(super) fn is_holding(&self) -> bool {
        self.streams.iter().any(Open::is_held)
    }

    /// Whether some line has not ended.
    pub(super) fn is_cut(&self) -> bool {
        self.streams.iter().any(|open| open.is_cut && open.is_held())
    }

    /// Bytes held.
    pub(super) fn bytes(&self) -> usize {
        self.streams.iter().map(|open| open.text.len()).sum()
    }

    /// The position after `offset` bytes of the file.
    pub(super) fn position(&self, offset: u64) -> Position {
        let mut position = Position::at(offset);
        for stream in Stream::ALL {
            position.set_held(stream, self.streams[stream as usize].held);
        }
        position
    }

    /// The file goes on in another, which was read to `position`: what that has not finished comes with it.
    pub(super) fn carried_to(mut self, position: &Position) -> Joiner {
        let is_fresh = position.offset == 0;
        let mut carried = Joiner::resumed_at(position);
        for stream in Stream::ALL {
            let open = &mut self.streams[stream as usize];
            if !is_fresh && position.held(stream).begins != Begins::Before {
                continue;
            }
            if open.held.begins != Begins::Nowhere {
                open.held.begins = Begins::Before;
            }
            open.passed = 0;
            carried.streams[stream as usize] = take(open);
        }
        carried
    }
}

impl Open {
    fn is_held(&self) -> bool {
        self.held.begins != Begins::Nowhere
    }

    /// Adds to what is held, and hands it out when nothing can follow.
    fn add(
        &mut self,
        rules: &JoinRules,
        fragment: &Fragment<'_>,
        offset: u64,
        emit: &mut dyn FnMut(Piece<'_>),
    ) {
        if !self.is_held() {
            self.held.begins = Begins::At(offset);
            self.time_unix_nano = fragment.time_unix_nano;
        }
        self.text.extend_from_slice(&fragment.text);
        self.is_cut = fragment.is_partial;
        if self.is_cut {
            return;
        }
        if self.held.parts > 0 {
            self.emit_part(fragment.stream, true, emit);
        } else if !rules.can_be_continued(&self.text) {
            self.finish(fragment.stream, emit);
        }
    }

    /// Hands out a part of a line that goes on, or the last of them.
    fn emit_part(&mut self, stream: Stream, is_last: bool, emit: &mut dyn FnMut(Piece<'_>)) {
        let part = Some(PartOf { index: self.held.parts, is_last });
        emit(Piece { text: &self.text, time_unix_nano: self.time_unix_nano, stream, part });
        self.text.clear();
        let parts = if is_last { 0 } else { self.held.parts + 1 };
        self.held = Held { begins: Begins::Nowhere, parts };
    }

    /// Hands out a record that is held as a whole.
    fn finish(&mut self, stream: Stream, emit: &mut dyn FnMut(Piece<'_>)) {
        if !self.is_held() {
            return;
        }
        emit(Piece { text: &self.text, time_unix_nano: self.time_unix_nano, stream, part: None });
        // A long record is rare, and its memory is not kept for the next.
        self.text = Vec::new();
        self.held = Held::default();
    }
}

impl JoinRules {
    /// Whether a line may follow that belongs to this one. None does to JSON.
    fn can_be_continued(&self, line: &[u8]) -> bool {
        self.lines.as_ref().is_some_and(|lines| lines.can_begin(line))
    }
}

#[cfg(test)]
mod tests;
