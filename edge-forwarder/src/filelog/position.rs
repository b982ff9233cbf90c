//! How far a file was read, exactly: the offset, and what was read before it and is not part of any record yet.
//!
//! A record may begin long before it ends: the runtime cuts long lines into fragments, a stack trace has many lines, the
//! other stream's lines stand between. So a position says for each stream where its unfinished record begins; reading again
//! from there, without making records, brings it back. An unfinished record may also begin in the file before this one,
//! which was rotated in the middle of it.

use std::{fmt, str::FromStr};

use thiserror::Error;

use super::cri::Stream;

/// A place in a file between two reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Position {
    /// Bytes read.
    pub(super) offset: u64,
    held: [Held; Stream::COUNT],
}

/// What a stream has unfinished.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Held {
    pub(super) begins: Begins,
    /// How many parts of the same record were made already: it was longer than a record may be.
    pub(super) parts: u32,
}

/// Where an unfinished record begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Begins {
    /// There is none.
    #[default]
    Nowhere,
    /// At this offset of the file.
    At(u64),
    /// In the file before this one.
    Before,
}

/// A text that is no position.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("`{0}` is no position in a file")]
pub(super) struct NotAPosition(String);

impl Position {
    /// After `offset` bytes, with nothing unfinished.
    pub(super) fn at(offset: u64) -> Position {
        Position { offset, ..Position::default() }
    }

    /// The same after more bytes.
    pub(super) fn after(self, offset: u64) -> Position {
        Position { offset, ..self }
    }

    pub(super) fn held(&self, stream: Stream) -> Held {
        self.held[stream as usize]
    }

    pub(super) fn set_held(&mut self, stream: Stream, held: Held) {
        self.held[stream as usize] = held;
    }

    /// Where to read again from, to have the unfinished records back.
    pub(super) fn rereads_from(&self) -> u64 {
        let begins = self.held.iter().filter_map(|held| match held.begins {
            Begins::At(offset) => Some(offset),
            Begins::Before => Some(0),
            Begins::Nowhere => None,
        });
        begins.fold(self.offset, u64::min)
    }

    /// Whether some record is unfinished.
    pub(super) fn has_held(&self) -> bool {
        self.held.iter().any(|held| held.begins != Begins::Nowhere)
    }

    /// Whether an unfinished record begins in the file before.
    pub(super) fn needs_before(&self) -> bool {
        self.held.iter().any(|held| held.begins == Begins::Before)
    }
}

impl fmt::Display for Position {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.offset)?;
        for stream in Stream::ALL {
            let held = self.held(stream);
            if held == Held::default() {
                continue;
            }
            write!(formatter, ";{}", stream.letter())?;
            match held.begins {
                Begins::Nowhere => {}
                Begins::At(offset) => write!(formatter, "@{offset}")?,
                Begins::Before => write!(formatter, "^")?,
            }
            if held.parts > 0 {
                write!(formatter, "+{}", held.parts)?;
            }
        }
        Ok(())
    }
}

impl FromStr for Position {
    type Err = NotAPosition;

    fn from_str(text: &str) -> Result<Position, NotAPosition> {
        let read = || {
            let mut fields = text.split(';');
            let mut position = Position::at(fields.next()?.parse().ok()?);
            for field in fields {
                let stream = Stream::ALL.into_iter().find(|stream| field.starts_with(stream.letter()))?;
                let (begins, parts) = field[1..].split_once('+').unwrap_or((&field[1..], "0"));
                let begins = match begins {
                    "" => Begins::Nowhere,
                    "^" => Begins::Before,
                    at => Begins::At(at.strip_prefix('@')?.parse().ok()?),
                };
                position.set_held(stream, Held { begins, parts: parts.parse().ok()? });
            }
            Some(position)
        };
        read().ok_or_else(|| NotAPosition(text.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn position(offset: u64, held: &[(Stream, Begins, u32)]) -> Position {
        let mut position = Position::at(offset);
        for (stream, begins, parts) in held {
            position.set_held(*stream, Held { begins: *begins, parts: *parts });
        }
        position
    }

    #[test]
    fn its_text_is_read_back() {
        let positions = [
            position(0, &[]),
            position(u64::MAX, &[(Stream::Stdout, Begins::At(7), 0)]),
            position(90, &[(Stream::Stdout, Begins::Before, 3), (Stream::Stderr, Begins::At(70), 0)]),
            position(5, &[(Stream::None, Begins::Nowhere, 2)]),
        ];
        for position in positions {
            assert_eq!(position.to_string().parse(), Ok(position), "{position}");
        }
        for text in ["", "-1", "1;x@2", "1;o@", "1;o+", "1;o2"] {
            assert_eq!(text.parse::<Position>(), Err(NotAPosition(text.to_owned())));
        }
    }

    #[test]
    fn the_first_unfinished_record_says_where_to_read_again() {
        let held = [(Stream::Stdout, Begins::At(40), 0), (Stream::Stderr, Begins::At(20), 1)];
        assert_eq!(position(90, &held).rereads_from(), 20);
        assert_eq!(position(90, &[(Stream::Stdout, Begins::Before, 0)]).rereads_from(), 0);
    }
}
