//! The attributes that rules look at, by number, and those of one record.

use super::{
    rules::{MOST_ATTRIBUTES, PARSE_ERROR},
    scalar::Scalar,
};

/// Keys that are looked for, in byte order.
#[derive(Debug)]
pub(super) struct Keys {
    names: Vec<Box<[u8]>>,
    /// Of the attribute that says that a line was no JSON, if it is looked for.
    pub(super) parse_error: Option<usize>,
}

impl Keys {
    /// These, each once.
    pub(super) fn new<'k>(keys: impl Iterator<Item = &'k [u8]>) -> Keys {
        let mut names: Vec<Box<[u8]>> = keys.map(Into::into).collect();
        names.sort_unstable();
        names.dedup();
        assert!(names.len() <= MOST_ATTRIBUTES, "attributes are bounded when rules are read");
        let parse_error = names.iter().position(|name| **name == *PARSE_ERROR);
        Keys { names, parse_error }
    }

    /// The number of a key.
    pub(super) fn find(&self, key: &[u8]) -> Option<usize> {
        self.names.binary_search_by(|name| (**name).cmp(key)).ok()
    }

    /// The number of a key that is one of them.
    pub(super) fn slot(&self, key: &[u8]) -> usize {
        self.find(key).expect("the keys are those of the rules")
    }
}

/// What was seen of one record, or of one resource; borrowed from the request.
#[derive(Debug)]
pub(super) struct Seen<'r> {
    there: u32,
    values: [Scalar<'r>; MOST_ATTRIBUTES],
}

impl<'r> Seen<'r> {
    /// Nothing.
    pub(super) fn nothing() -> Seen<'r> {
        Seen { there: 0, values: [Scalar::Other; MOST_ATTRIBUTES] }
    }

    /// Forgets everything.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.there = 0;
    }

    /// An attribute is there; of equal ones the last counts.
    #[inline]
    pub(super) fn note(&mut self, number: usize, value: Scalar<'r>) {
        self.values[number] = value;
        self.there |= 1 << number;
    }

    /// The value of an attribute, if it is there.
    #[inline]
    pub(super) fn get(&self, number: usize) -> Option<Scalar<'r>> {
        (self.there >> number & 1 == 1).then(|| self.values[number])
    }

    /// Whether one of these is there.
    #[inline]
    pub(super) fn has_any(&self, mask: u32) -> bool {
        self.there & mask != 0
    }
}
