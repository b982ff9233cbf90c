//! gRPC's length-prefixed message, read incrementally: one flag byte, four bytes of big-endian length, the message.
//!
//! A unary request has exactly one. Violations are answered with the codes that gRPC's "Compression" document and its servers
//! use: INTERNAL for a broken frame.

use super::{
    answer::Refusal,
    buffer::{BudgetBuffer, Overflow},
    decompress::{Decoder, Encoding},
};

/// Flag and length before a message.
pub(crate) const PREFIX_BYTES: usize = 5;

/// The state of one request's framing.
pub(crate) struct MessageReader {
    state: State,
    encoding: Encoding,
    /// The limit of the message as framed, compressed or not.
    max_bytes: usize,
}

enum State {
    Prefix {
        bytes: [u8; PREFIX_BYTES],
        filled: usize,
        output: BudgetBuffer,
    },
    Message {
        decoder: Decoder,
        left: usize,
    },
    /// A refusal was returned; nothing more is read.
    Failed,
}

impl MessageReader {
    /// `encoding` is what `grpc-encoding` names; it applies when the message's flag says so.
    pub(crate) fn new(encoding: Encoding, output: BudgetBuffer, max_bytes: usize) -> MessageReader {
        let state = State::Prefix { bytes: [0; PREFIX_BYTES], filled: 0, output };
        MessageReader { state, encoding, max_bytes }
    }

    /// Takes the next bytes of the HTTP/2 stream, cut anywhere.
    pub(crate) fn push(&mut self, mut chunk: &[u8]) -> Result<(), Refusal> {
        if let State::Prefix { bytes, filled, .. } = &mut self.state {
            let taken = chunk.len().min(PREFIX_BYTES - *filled);
            bytes[*filled..*filled + taken].copy_from_slice(&chunk[..taken]);
            *filled += taken;
            chunk = &chunk[taken..];
            if *filled < PREFIX_BYTES {
                return Ok(());
            }
            self.open()?;
        }
        let State::Message { decoder, left } = &mut self.state else {
            return Ok(());
        };
        *left = left
            .checked_sub(chunk.len())
            .ok_or_else(|| framing("a unary request has one message, this one has more"))?;
        if !chunk.is_empty() {
            decoder.push(chunk)?;
        }
        Ok(())
    }

    /// The stream has ended: the message must have, too.
    pub(crate) fn finish(self) -> Result<BudgetBuffer, Refusal> {
        match self.state {
            State::Message { decoder, left: 0 } => Ok(decoder.finish()?),
            State::Message { left, .. } => {
                Err(framing(&format!("the stream ended {left} bytes before the message did")))
            }
            State::Prefix { .. } | State::Failed => Err(framing("the stream ended before a message began")),
        }
    }

    fn open(&mut self) -> Result<(), Refusal> {
        let State::Prefix { bytes, output, .. } = std::mem::replace(&mut self.state, State::Failed) else {
            return Ok(());
        };
        let [flag, length @ ..] = bytes;
        let left = u32::from_be_bytes(length) as usize;
        if left > self.max_bytes {
            return Err(Overflow::Limit { limit: self.max_bytes }.into());
        }
        let encoding = match (flag, self.encoding) {
            (0, _) => Encoding::Identity,
            (1, Encoding::Identity) => {
                return Err(framing(
                    "the message is flagged as compressed but grpc-encoding names no encoding",
                ));
            }
            (1, encoding) => encoding,
            (flag, _) => return Err(framing(&format!("{flag} is not a compression flag, which is 0 or 1"))),
        };
        self.state = State::Message { decoder: Decoder::new(encoding, output)?, left };
        Ok(())
    }
}

fn framing(what: &str) -> Refusal {
    Refusal::Framing { what: what.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::budget::MemoryBudget;

    /// Reads `stream` in chunks of several sizes and demands the same outcome of each.
    fn check(encoding: Encoding, stream: &[u8], expected: Result<&[u8], &str>) {
        for chunk in [1, 3, 5, 6, 1000] {
            let budget = MemoryBudget::new(1 << 20);
            let mut reader = MessageReader::new(encoding, BudgetBuffer::new(100, &budget), 100);
            let pushed = stream.chunks(chunk).try_for_each(|piece| reader.push(piece));
            let read = pushed.and_then(|()| reader.finish());
            match (read, expected) {
                (Ok(buffer), Ok(message)) => assert_eq!(buffer.into_request().bytes, message),
                (Err(refusal), Err(text)) => assert!(refusal.to_string().contains(text), "{refusal}"),
                (read, _) => panic!("chunks of {chunk}: {:?}", read.map(|_| ())),
            }
            assert_eq!(budget.used(), 0);
        }
    }

    #[test]
    fn a_message_is_read_however_it_is_cut() {
        check(Encoding::Identity, b"\0\0\0\0\x05hello", Ok(b"hello"));
        check(Encoding::Gzip, b"\0\0\0\0\x05hello", Ok(b"hello"));
        check(Encoding::Identity, b"\0\0\0\0\0", Ok(b""));
    }

    #[test]
    fn broken_frames_are_named() {
        check(Encoding::Identity, b"", Err("before a message began"));
        check(Encoding::Identity, b"\0\0\0", Err("before a message began"));
        check(Encoding::Identity, b"\0\0\0\0\x05hell", Err("1 bytes before the message did"));
        check(Encoding::Identity, b"\0\0\0\0\x01ab", Err("one message"));
        check(Encoding::Identity, b"\x01\0\0\0\x01a", Err("grpc-encoding names no encoding"));
        check(Encoding::Gzip, b"\x02\0\0\0\x01a", Err("2 is not a compression flag"));
        check(Encoding::Identity, b"\0\xff\xff\xff\xff", Err("larger than 100 bytes"));
        check(Encoding::Gzip, b"\x01\0\0\0\x02ab", Err("not valid gzip"));
    }
}
