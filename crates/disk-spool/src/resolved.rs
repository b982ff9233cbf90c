//! Which frames are resolved: all below a watermark, and ranges above it.

use std::{collections::BTreeMap, ops::Range};

/// A set of sequences that fills up from below.
#[derive(Debug, Clone, Default)]
pub(crate) struct Resolved {
    watermark: u64,
    /// Start to end; apart from each other and above the watermark.
    ranges: BTreeMap<u64, u64>,
    /// Grows with each change.
    version: u64,
}

impl Resolved {
    pub(crate) fn below(watermark: u64) -> Resolved {
        Resolved { watermark, ..Resolved::default() }
    }

    /// Differs from what it was when the set has changed.
    pub(crate) fn version(&self) -> u64 {
        self.version
    }

    /// Everything below is in the set.
    pub(crate) fn watermark(&self) -> u64 {
        self.watermark
    }

    /// The sequence after the last that is in the set.
    pub(crate) fn end(&self) -> u64 {
        self.ranges.last_key_value().map_or(self.watermark, |(_, end)| *end)
    }

    /// What is in the set above the watermark, in order.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<u64>> {
        self.ranges.iter().map(|(start, end)| *start..*end)
    }

    pub(crate) fn contains(&self, sequence: u64) -> bool {
        sequence < self.watermark
            || self.ranges.range(..=sequence).next_back().is_some_and(|(_, end)| sequence < *end)
    }

    /// The first sequence from `sequence` on that is not in the set.
    pub(crate) fn first_missing(&self, sequence: u64) -> u64 {
        let sequence = sequence.max(self.watermark);
        match self.ranges.range(..=sequence).next_back() {
            Some((_, end)) => sequence.max(*end),
            None => sequence,
        }
    }

    /// How many of the range are in the set.
    pub(crate) fn count(&self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let low = range.end.min(self.watermark).saturating_sub(range.start);
        let before = self.ranges.range(..range.start).next_back();
        let within = self.ranges.range(range.start..range.end);
        let overlap =
            |(start, end): (&u64, &u64)| (*end).min(range.end).saturating_sub((*start).max(range.start));
        low + before.into_iter().chain(within).map(overlap).sum::<u64>()
    }

    /// Puts the range into the set and says how many of it are new there.
    pub(crate) fn insert(&mut self, range: Range<u64>) -> u64 {
        if range.is_empty() {
            return 0;
        }
        let new = range.end - range.start - self.count(range.clone());
        if new == 0 {
            return 0;
        }
        self.version += 1;
        let (mut start, mut end) = (range.start, range.end);
        // Those that touch it become one with it; there is no other before the one that starts last before it.
        if let Some((&other, &other_end)) = self.ranges.range(..=start).next_back()
            && other_end >= start
        {
            start = other;
            end = end.max(other_end);
        }
        while let Some((&other, &other_end)) = self.ranges.range(start..=end).next() {
            self.ranges.remove(&other);
            end = end.max(other_end);
        }
        if start <= self.watermark {
            self.raise(end);
        } else {
            self.ranges.insert(start, end);
        }
        new
    }

    fn raise(&mut self, watermark: u64) {
        self.watermark = self.watermark.max(watermark);
        while let Some(first) = self.ranges.first_entry()
            && *first.key() <= self.watermark
        {
            self.watermark = self.watermark.max(first.remove());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_behaves_like_a_plain_set(
            watermark in 0u64..20,
            inserts in proptest::collection::vec((0u64..60, 0u64..12), 0..30),
            asked in (0u64..70, 0u64..30),
        ) {
            let mut resolved = Resolved::below(watermark);
            let mut plain: BTreeSet<u64> = (0..watermark).collect();
            for (start, length) in inserts {
                let before = plain.len();
                plain.extend(start..start + length);
                prop_assert_eq!(resolved.insert(start..start + length), (plain.len() - before) as u64);
                let low = (0..).find(|sequence| !plain.contains(sequence)).unwrap();
                prop_assert_eq!(resolved.watermark(), low);
                let mut last = low;
                for range in resolved.ranges() {
                    prop_assert!(range.start > last && !range.is_empty());
                    last = range.end;
                }
            }
            let (start, length) = asked;
            let counted = plain.range(start..start + length).count() as u64;
            prop_assert_eq!(resolved.count(start..start + length), counted);
            prop_assert_eq!(resolved.contains(start), plain.contains(&start));
            let missing = (start..).find(|sequence| !plain.contains(sequence)).unwrap();
            prop_assert_eq!(resolved.first_missing(start), missing);
        }
    }
}
