//! Records that came before, by their bytes: a number for each, from 0.

use super::record::Record;

/// Marks a free place; numbers are below.
const FREE: u32 = u32::MAX;
const SMALLEST_TABLE: usize = 256;

/// Some records, each once.
#[derive(Debug)]
pub(super) struct Known {
    /// What tells them from each other, behind one another, in words.
    words: Vec<u64>,
    len: u32,
    /// Open addressing, linear probing, a power of two long and at most half full. No sender can choose where records come to
    /// lie: a record is made of numbers that were given out in the order of their coming.
    table: Vec<u32>,
}

impl Known {
    /// None.
    pub(super) fn new() -> Known {
        Known { words: Vec::new(), len: 0, table: Vec::new() }
    }

    /// How many.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// The number of a record that came before.
    #[inline]
    pub(super) fn find(&self, record: &Record) -> Option<u32> {
        let words = record.words();
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
    pub(super) fn add(&mut self, record: &Record) {
        let words = record.words();
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
