//! The attributes that rules look at, by number, and those of one resource.

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

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.names.len()
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

/// What was seen of one resource; borrowed from the request.
#[derive(Debug)]
pub(super) struct Seen<'r> {
    values: [Option<Scalar<'r>>; MOST_ATTRIBUTES],
}

impl<'r> Seen<'r> {
    /// Nothing.
    pub(super) fn nothing() -> Seen<'r> {
        Seen { values: [None; MOST_ATTRIBUTES] }
    }

    /// An attribute is there; of equal ones the last counts.
    pub(super) fn note(&mut self, number: usize, value: Scalar<'r>) {
        self.values[number] = Some(value);
    }

    /// The value of an attribute, if it is there.
    pub(super) fn get(&self, number: usize) -> Option<&Scalar<'r>> {
        self.values[number].as_ref()
    }
}
