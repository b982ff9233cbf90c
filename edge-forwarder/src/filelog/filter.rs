//! What is left out by declared rules. Each rule counts what it drops, by its name.

use std::{collections::BTreeMap, time::Instant};

use regex::bytes::Regex;

/// The rule that drops by severity, in the metrics.
const BY_SEVERITY: &str = "severity";

/// The rule that drops what comes too fast, in the metrics.
pub(super) const RATE_LIMIT: &str = "rate_limit";

/// The rules that leave out whole logs, in the metrics.
pub(super) const NOT_SELECTED: &str = "not_selected";

/// Rules that look at a record.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    /// Records below this severity are dropped; such without a severity are not.
    min_severity: u8,
    patterns: Vec<(String, Regex)>,
}

/// At most so many records a second, of each log.
#[derive(Debug, Clone, Copy)]
pub(super) struct RateLimit {
    pub(super) records_per_second: f64,
    pub(super) burst: f64,
}

/// How many records of a log may come now.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Allowance {
    records: f64,
    at: Option<Instant>,
}

impl Filter {
    /// `patterns` by their rules' names.
    pub(super) fn new(min_severity: u8, patterns: &BTreeMap<String, String>) -> Result<Filter, regex::Error> {
        let compiled = |(name, pattern): (&String, &String)| Ok((name.clone(), Regex::new(pattern)?));
        Ok(Filter { min_severity, patterns: patterns.iter().map(compiled).collect::<Result<_, _>>()? })
    }

    /// The rule that drops a record.
    pub(super) fn verdict(&self, severity_number: u8, text: &[u8]) -> Option<&str> {
        if severity_number > 0 && severity_number < self.min_severity {
            return Some(BY_SEVERITY);
        }
        self.patterns.iter().find(|(_, pattern)| pattern.is_match(text)).map(|(name, _)| &**name)
    }
}

impl Allowance {
    /// Takes the time that has passed into account.
    pub(super) fn refill(&mut self, limit: &RateLimit, now: Instant) {
        let earned = self.at.map_or(limit.burst, |at| {
            now.saturating_duration_since(at).as_secs_f64() * limit.records_per_second
        });
        self.records = (self.records + earned).min(limit.burst);
        self.at = Some(now);
    }

    /// Whether one more may come, which is counted then.
    pub(super) fn take(&mut self) -> bool {
        let has_one = self.records >= 1.0;
        if has_one {
            self.records -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn records_are_dropped_by_severity_and_by_pattern() {
        let patterns = BTreeMap::from([("probes".to_owned(), r#""path":"/health""#.to_owned())]);
        let filter = Filter::new(9, &patterns).unwrap();
        assert_eq!(filter.verdict(5, b"debug"), Some("severity"));
        assert_eq!(filter.verdict(0, b"nobody knows"), None);
        assert_eq!(filter.verdict(9, br#"{"path":"/health"}"#), Some("probes"));
        assert_eq!(filter.verdict(9, br#"{"path":"/api/menu"}"#), None);
        assert!(Filter::new(0, &BTreeMap::from([("bad".to_owned(), "(".to_owned())])).is_err());
    }

    #[test]
    fn a_burst_is_allowed_and_then_the_rate() {
        let limit = RateLimit { records_per_second: 10.0, burst: 3.0 };
        let (mut allowance, now) = (Allowance::default(), Instant::now());
        allowance.refill(&limit, now);
        let took = |allowance: &mut Allowance| (0..10).filter(|_| allowance.take()).count();
        assert_eq!(took(&mut allowance), 3);
        allowance.refill(&limit, now + Duration::from_millis(200));
        assert_eq!(took(&mut allowance), 2);
        allowance.refill(&limit, now + Duration::from_secs(60));
        assert_eq!(took(&mut allowance), 3, "no more than a burst is saved up");
    }
}
