//! How the lag of one partition has moved lately.

use std::{collections::VecDeque, time::Duration};

use tokio::time::Instant;

/// Rates are of about so much time: long enough to even out commits, short enough to see a store that is back.
const WINDOW: Duration = Duration::from_secs(30);
/// For how long a group may be behind without moving before its partition counts as stuck.
pub(super) const STUCK: Duration = Duration::from_secs(30);

/// One partition's looks of the last [`WINDOW`], and when its group last moved.
#[derive(Debug)]
pub(super) struct Trend {
    looks: VecDeque<Look>,
    moved_at: Instant,
}

#[derive(Debug, Clone, Copy)]
struct Look {
    at: Instant,
    end: i64,
    position: i64,
}

/// Records a second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Rates {
    /// That came into the log.
    pub(super) records_in: f64,
    /// That the group went past.
    pub(super) records_out: f64,
}

impl Trend {
    /// Nothing was seen yet.
    pub(super) fn new(now: Instant) -> Trend {
        Trend { looks: VecDeque::new(), moved_at: now }
    }

    /// Takes note of where the log ends and where the group stands.
    pub(super) fn saw(&mut self, at: Instant, end: i64, position: i64) {
        let has_moved = self.looks.back().is_none_or(|last| last.position != position);
        if has_moved || position >= end {
            self.moved_at = at;
        }
        self.looks.push_back(Look { at, end, position });
        while self.looks.len() > 2 && at - self.looks[1].at >= WINDOW {
            self.looks.pop_front();
        }
    }

    /// Over the window; zero before there are two looks.
    pub(super) fn rates(&self) -> Rates {
        let (Some(first), Some(last)) = (self.looks.front(), self.looks.back()) else {
            return Rates::default();
        };
        let seconds = (last.at - first.at).as_secs_f64();
        if seconds <= 0.0 {
            return Rates::default();
        }
        // A log that was made anew, or a group that was moved back, has no rate.
        let grown = |from: i64, to: i64| (to - from).max(0) as f64 / seconds;
        Rates { records_in: grown(first.end, last.end), records_out: grown(first.position, last.position) }
    }

    /// Seconds until the lag of the last look is worked off at these rates; `None` when it never is.
    pub(super) fn drain_seconds(&self) -> Option<f64> {
        let last = self.looks.back()?;
        let Rates { records_in, records_out } = self.rates();
        match last.end - last.position {
            ..=0 => Some(0.0),
            records if records_out > records_in => Some(records as f64 / (records_out - records_in)),
            _ => None,
        }
    }

    /// Whether the group is behind and has not moved for [`STUCK`].
    pub(super) fn is_stuck(&self, now: Instant) -> bool {
        let is_behind = self.looks.back().is_some_and(|last| last.position < last.end);
        is_behind && now - self.moved_at >= STUCK
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trend(looks: &[(u64, i64, i64)]) -> (Trend, Instant) {
        let begin = Instant::now();
        let mut trend = Trend::new(begin);
        for (second, end, position) in looks {
            trend.saw(begin + Duration::from_secs(*second), *end, *position);
        }
        (trend, begin)
    }

    #[test]
    fn there_is_an_end_to_a_lag_only_when_more_goes_out_than_comes_in() {
        let drained = |looks: &[_]| trend(looks).0.drain_seconds();
        assert_eq!(drained(&[(0, 100, 100), (10, 200, 200)]), Some(0.0));
        assert_eq!(drained(&[(0, 1000, 0), (10, 1100, 600)]), Some(10.0));
        assert_eq!(drained(&[(0, 1000, 0), (10, 1100, 100)]), None);
        assert_eq!(drained(&[(0, 1000, 0)]), None, "one look has no rate");
    }

    #[test]
    fn rates_are_of_the_last_half_minute() {
        let looks: Vec<_> =
            (0..=20).map(|n| (5 * n, if n < 10 { 0 } else { 500 * (n as i64 - 10) }, 0)).collect();
        assert_eq!(trend(&looks).0.rates(), Rates { records_in: 100.0, records_out: 0.0 });
        assert_eq!(trend(&looks).0.looks.len(), 7);
        assert_eq!(trend(&[(0, 500, 400), (10, 10, 0)]).0.rates(), Rates::default(), "made anew");
    }

    #[test]
    fn a_group_that_is_behind_and_does_not_move_is_stuck() {
        let is_stuck = |looks: &[_], second| {
            let (trend, begin) = trend(looks);
            trend.is_stuck(begin + Duration::from_secs(second))
        };
        assert!(is_stuck(&[(0, 100, 50), (20, 120, 50), (40, 130, 50)], 40));
        assert!(!is_stuck(&[(0, 100, 50), (20, 120, 50)], 29), "not long enough");
        assert!(!is_stuck(&[(0, 100, 50), (20, 120, 51), (40, 130, 51)], 40), "it moved at 20");
        assert!(!is_stuck(&[(0, 50, 50), (60, 50, 50)], 90), "an idle group is not behind");
        assert!(!is_stuck(&[(0, 50, 50), (60, 50, 50), (61, 60, 50)], 62), "it fell behind just now");
    }
}
