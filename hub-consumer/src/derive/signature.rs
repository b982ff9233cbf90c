//! The signature of a log record or span: small numbers that say all that rules ask of it, which are the rules for its resource,
//! its fields, and of each attribute that rules look at its class ([`super::classes`]).
//!
//! Nothing of the request is kept: the class is found as soon as the value is seen.

use super::{classes::Class, item::Fields, rules::MOST_ATTRIBUTES, scalar::Scalar};

/// Classes in a word.
const IN_WORD: usize = size_of::<u64>() / size_of::<Class>();
/// The first word holds the rules for the resource, and the fields.
const MOST_WORDS: usize = 1 + MOST_ATTRIBUTES / IN_WORD;
/// Marks a free place in a table; numbers are below.
const FREE: u32 = u32::MAX;
const SMALLEST_TABLE: usize = 256;

/// What tells a log record or span from others as rules see them, and the numbers that rules measure in it.
#[derive(Debug)]
pub(super) struct Signature {
    words: [u64; MOST_WORDS],
    /// Words that are used.
    len: usize,
    /// By attribute, for those that are measured.
    numbers: Box<[f64]>,
}

/// Signatures that came before, each once: a number for each, from 0.
#[derive(Debug)]
pub(super) struct Signatures {
    /// Their words, behind one another.
    words: Vec<u64>,
    len: u32,
    /// Open addressing, linear probing, a power of two long and at most half full. No sender can choose where signatures come to
    /// lie: they are made of numbers that were given out in the order of their coming.
    table: Vec<u32>,
}

impl Signature {
    /// One with so many attributes, none of which has come.
    pub(super) fn new(attributes: usize) -> Signature {
        let len = 1 + attributes.div_ceil(IN_WORD);
        Signature { words: [0; _], len, numbers: vec![0.0; attributes].into() }
    }

    /// No attribute has come.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.words = [0; _];
    }

    /// An attribute has come; of equal ones the last counts.
    #[inline]
    pub(super) fn note(&mut self, slot: usize, class: Class) {
        let (word, shift) = place(slot);
        let others = self.words[word] & !(u64::from(Class::MAX) << shift);
        self.words[word] = others | u64::from(class) << shift;
    }

    /// The number that a measured attribute is; NaN for one that is none.
    #[inline]
    pub(super) fn note_number(&mut self, slot: usize, value: &Scalar<'_>) {
        self.numbers[slot] = value.number().unwrap_or(f64::NAN);
    }

    /// All attributes have come; the resource has these rules, and these are the fields.
    #[inline]
    pub(super) fn finish(&mut self, set: u32, fields: Fields) {
        self.words[0] = u64::from(set) << 32 | u64::from(fields.pack());
    }

    /// The fields.
    pub(super) fn fields(&self) -> Fields {
        Fields::unpack(self.words[0] as u32)
    }

    /// The class of an attribute.
    #[inline]
    pub(super) fn class(&self, slot: usize) -> Class {
        let (word, shift) = place(slot);
        (self.words[word] >> shift) as Class
    }

    /// Whether an attribute is there.
    #[inline]
    pub(super) fn has(&self, slot: usize) -> bool {
        self.class(slot) > 0
    }

    /// The number of a measured attribute that is there; NaN for one that is none.
    #[inline]
    pub(super) fn number(&self, slot: usize) -> f64 {
        self.numbers[slot]
    }

    #[inline]
    fn words(&self) -> &[u64] {
        &self.words[..self.len]
    }
}

impl Signatures {
    /// None.
    pub(super) fn new() -> Signatures {
        Signatures { words: Vec::new(), len: 0, table: Vec::new() }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// The number of one that came before.
    #[inline]
    pub(super) fn find(&self, signature: &Signature) -> Option<u32> {
        let words = signature.words();
        let mask = self.table.len().checked_sub(1)?;
        let mut place = hash(words) & mask;
        loop {
            let number = self.table[place];
            if number == FREE {
                return None;
            }
            let start = number as usize * words.len();
            let known = &self.words[start..start + words.len()];
            if known.iter().zip(words).all(|(known, word)| known == word) {
                return Some(number);
            }
            place = (place + 1) & mask;
        }
    }

    /// Adds one that is not there, under the next number.
    pub(super) fn add(&mut self, signature: &Signature) {
        let words = signature.words();
        self.words.extend_from_slice(words);
        self.len += 1;
        if self.table.len() < 2 * self.len() {
            let table = (2 * self.table.len()).max(SMALLEST_TABLE);
            self.table.clear();
            self.table.resize(table, FREE);
            for (number, words) in self.words.chunks_exact(words.len()).enumerate() {
                put(&mut self.table, words, number as u32);
            }
        } else {
            put(&mut self.table, words, self.len - 1);
        }
    }

    /// Forgets all.
    pub(super) fn clear(&mut self) {
        self.words.clear();
        self.len = 0;
        self.table.fill(FREE);
    }
}

/// Where the class of an attribute stands: which word, and how far from its lower end.
#[inline]
fn place(slot: usize) -> (usize, usize) {
    (1 + slot / IN_WORD, slot % IN_WORD * Class::BITS as usize)
}

fn put(table: &mut [u32], words: &[u64], number: u32) {
    let mask = table.len() - 1;
    let mut place = hash(words) & mask;
    while table[place] != FREE {
        place = (place + 1) & mask;
    }
    table[place] = number;
}

#[inline]
fn hash(words: &[u64]) -> usize {
    let mut hash = 0_u64;
    for word in words {
        hash = (hash.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }
    // The upper bits have seen all of them.
    (hash >> 32) as usize
}
