//! A dictionary of byte strings for one `LowCardinality` column of one block.
//!
//! Entries are numbered in the order of their first appearance, so that the same records always give the same block,
//! whatever the hash function does. The numbers are what rows keep; the strings are written once per block.
//!
//! A dictionary can go back to an earlier length, because a record that turns out to be malformed half-way must leave
//! no trace in the block it was being added to.

use std::hash::{BuildHasher, RandomState};

use xxhash_rust::xxh3::xxh3_64_with_seed;

/// Marks a free slot of the hash table; an entry's number is therefore below `u32::MAX`.
const FREE: u32 = u32::MAX;
const SMALLEST_TABLE: usize = 64;
/// What an entry takes beside its text: the table has at most four slots for each.
const ENTRY_BYTES: usize = size_of::<Entry>() + 4 * size_of::<u32>();

/// Byte strings, each kept once, numbered from 0 in the order of their first appearance.
#[derive(Debug)]
pub struct Dictionary {
    text: Vec<u8>,
    entries: Vec<Entry>,
    /// Open addressing, linear probing, a power of two long and at most half full.
    table: Vec<u32>,
    /// The strings come from the network: a seed that nobody knows keeps anyone from making them collide.
    seed: u64,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    end: u32,
    hash: u32,
}

impl Default for Dictionary {
    fn default() -> Dictionary {
        Dictionary::new()
    }
}

impl Dictionary {
    /// An empty dictionary.
    pub fn new() -> Dictionary {
        Dictionary {
            text: Vec::new(),
            entries: Vec::new(),
            table: vec![FREE; SMALLEST_TABLE],
            seed: RandomState::new().hash_one(0_u8),
        }
    }

    /// The number of `value`, which is added when it is new.
    #[inline]
    pub fn intern(&mut self, value: &[u8]) -> u32 {
        let hash = self.hash(value);
        let mask = self.table.len() - 1;
        let mut slot = hash as usize & mask;
        loop {
            let number = self.table[slot];
            if number == FREE {
                return self.insert(value, hash, slot);
            }
            if self.entries[number as usize].hash == hash && self.get(number) == value {
                return number;
            }
            slot = (slot + 1) & mask;
        }
    }

    /// The string with this number.
    ///
    /// # Panics
    /// When the dictionary never gave that number out, or has been cut back since.
    #[inline]
    pub fn get(&self, number: u32) -> &[u8] {
        let number = number as usize;
        let start = if number == 0 { 0 } else { self.entries[number - 1].end as usize };
        &self.text[start..self.entries[number].end as usize]
    }

    /// Whether the number stands for a string.
    #[inline]
    pub fn contains(&self, number: u32) -> bool {
        (number as usize) < self.entries.len()
    }

    /// How many strings there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Memory that the strings take; no less than what they take in a block, where each stands once with its length.
    #[inline]
    pub fn held_bytes(&self) -> usize {
        self.text.len() + self.entries.len() * ENTRY_BYTES
    }

    /// All strings by number.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &[u8]> {
        (0..self.entries.len() as u32).map(|number| self.get(number))
    }

    /// Forgets every string numbered `len` and above.
    pub fn truncate(&mut self, len: usize) {
        if len >= self.entries.len() {
            return;
        }
        self.entries.truncate(len);
        self.text.truncate(self.entries.last().map_or(0, |entry| entry.end as usize));
        self.rebuild(self.table.len());
    }

    /// Forgets every string and keeps the memory.
    pub fn clear(&mut self) {
        self.truncate(0);
    }

    fn hash(&self, value: &[u8]) -> u32 {
        xxh3_64_with_seed(value, self.seed) as u32
    }

    fn insert(&mut self, value: &[u8], hash: u32, slot: usize) -> u32 {
        let number = self.entries.len() as u32;
        self.text.extend_from_slice(value);
        let end = u32::try_from(self.text.len()).expect("a block is cut long before its strings reach 4 GiB");
        self.entries.push(Entry { end, hash });
        self.table[slot] = number;
        if self.entries.len() * 2 > self.table.len() {
            self.rebuild(self.table.len() * 2);
        }
        number
    }

    fn rebuild(&mut self, slots: usize) {
        self.table.clear();
        self.table.resize(slots, FREE);
        let mask = slots - 1;
        for (number, entry) in self.entries.iter().enumerate() {
            let mut slot = entry.hash as usize & mask;
            while self.table[slot] != FREE {
                slot = (slot + 1) & mask;
            }
            self.table[slot] = number as u32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_string_keeps_its_number_and_numbers_follow_first_appearance() {
        let mut dictionary = Dictionary::new();
        let words: Vec<String> = (0..1000).map(|n| format!("word {n}")).collect();
        for (number, word) in words.iter().enumerate() {
            assert_eq!(dictionary.intern(word.as_bytes()) as usize, number);
        }
        for (number, word) in words.iter().enumerate().rev() {
            assert_eq!(dictionary.intern(word.as_bytes()) as usize, number);
        }
        assert_eq!(dictionary.len(), words.len());
        assert!(dictionary.iter().eq(words.iter().map(String::as_bytes)));
    }

    #[test]
    fn the_empty_string_is_a_string_like_any_other() {
        let mut dictionary = Dictionary::new();
        assert_eq!(dictionary.intern(b"a"), 0);
        assert_eq!(dictionary.intern(b""), 1);
        assert_eq!(dictionary.intern(b""), 1);
        assert_eq!(dictionary.get(1), b"");
    }

    #[test]
    fn going_back_forgets_exactly_what_came_later() {
        let mut dictionary = Dictionary::new();
        for n in 0..100_u32 {
            dictionary.intern(&n.to_le_bytes());
        }
        dictionary.truncate(40);
        assert_eq!(dictionary.len(), 40);
        assert_eq!(dictionary.intern(&39_u32.to_le_bytes()), 39);
        assert_eq!(dictionary.intern(&77_u32.to_le_bytes()), 40);
        assert_eq!(dictionary.held_bytes(), 41 * (4 + ENTRY_BYTES));
        dictionary.clear();
        assert!(dictionary.is_empty());
        assert_eq!(dictionary.intern(&5_u32.to_le_bytes()), 0);
    }
}
