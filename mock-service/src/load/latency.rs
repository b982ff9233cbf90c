//! A histogram of latencies in fixed memory, with a relative error below 1 %.
//!
//! Values are microseconds. Below 128 every value has its own bucket; above, each power of two is cut into 64
//! buckets, so a bucket is at most 1/64 of its value wide and its middle at most 1/128 away.

use std::time::Duration;

const LINEAR: u64 = 128;
const CUTS: u64 = 64;
/// log2 of [`CUTS`].
const CUT_BITS: u32 = 6;

#[derive(Debug, Clone, Default)]
pub(super) struct Latencies {
    counts: Vec<u64>,
    total: u64,
    max: Duration,
}

impl Latencies {
    pub(super) fn add(&mut self, latency: Duration) {
        let bucket = bucket(u64::try_from(latency.as_micros()).unwrap_or(u64::MAX));
        if bucket >= self.counts.len() {
            self.counts.resize(bucket + 1, 0);
        }
        self.counts[bucket] += 1;
        self.total += 1;
        self.max = self.max.max(latency);
    }

    /// The latency that the share `quantile` of all stayed below; zero when there is none.
    pub(super) fn quantile(&self, quantile: f64) -> Duration {
        let rank = (quantile * self.total as f64).ceil() as u64;
        let mut seen = 0;
        for (bucket, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= rank && *count > 0 {
                return Duration::from_micros(middle(bucket as u64)).min(self.max);
            }
        }
        self.max
    }

    pub(super) fn max(&self) -> Duration {
        self.max
    }
}

fn bucket(micros: u64) -> usize {
    let bucket = if micros < LINEAR {
        micros
    } else {
        let shift = micros.ilog2() - CUT_BITS;
        LINEAR + u64::from(shift - 1) * CUTS + ((micros >> shift) - CUTS)
    };
    usize::try_from(bucket).expect("64 powers of two with 64 cuts each stay below 5,000")
}

fn middle(bucket: u64) -> u64 {
    if bucket < LINEAR {
        return bucket;
    }
    let shift = (bucket - LINEAR) / CUTS + 1;
    let low = ((bucket - LINEAR) % CUTS + CUTS) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_value_is_read_back_within_one_percent() {
        let mut micros: u64 = 1;
        while micros < u64::MAX / 2 {
            for value in [micros, micros * 2 - 1] {
                let read = middle(bucket(value) as u64);
                assert!(read.abs_diff(value) * 100 <= value, "{value} read as {read}");
            }
            micros *= 2;
        }
        assert!(bucket(u64::MAX) < 5000);
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_values() {
        let mut latencies = Latencies::default();
        assert_eq!(latencies.quantile(0.99), Duration::ZERO);
        for millis in 1..=1000 {
            latencies.add(Duration::from_millis(millis));
        }
        for (quantile, millis) in [(0.5, 500.0), (0.95, 950.0), (0.99, 990.0), (1.0, 1000.0)] {
            let read = latencies.quantile(quantile).as_secs_f64() * 1000.0;
            assert!((read - millis).abs() <= millis / 100.0, "p{quantile}: {read}");
        }
        assert_eq!(latencies.max(), Duration::from_secs(1));
    }
}
