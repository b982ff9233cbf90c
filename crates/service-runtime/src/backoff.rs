//! Waiting longer after each failure, with jitter, without an end: what is retried here must not be dropped, so there is no limit
//! of attempts or of time; the caller stops on success, on a permanent error, or on shutdown.
//!
//! The only module that names the `backoff` crate. It computes durations; the waiting is tokio's.
//!
//! The n-th delay is drawn from `d ± d × randomization_factor` where `d = min(initial_interval × multiplierⁿ, max_interval)`, so no
//! delay is longer than `max_interval × (1 + randomization_factor)`. Names and defaults are those of the OpenTelemetry Collector.

use std::time::Duration;

use ::backoff::backoff::Backoff as _;
use tokio_util::sync::CancellationToken;

use crate::Section;

#[allow(clippy::disallowed_types, reason = "this is the one module that may name the unmaintained crate")]
type Exponential = ::backoff::ExponentialBackoff;

/// A server that restarts is back after some seconds; asking sooner than this finds it down again.
const INITIAL_INTERVAL: Duration = Duration::from_secs(5);
/// The longest a healed server waits to be noticed.
const MAX_INTERVAL: Duration = Duration::from_secs(30);
/// With the intervals above the sixth delay is the longest.
const MULTIPLIER: f64 = 1.5;
/// Half of the interval either way, so that many processes that failed together do not come back together.
const RANDOMIZATION_FACTOR: f64 = 0.5;

/// The bounds of the delays, checked: no value of this type makes delays that shrink, overflow or are 0 on average.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BackoffConfig {
    initial_interval: Duration,
    max_interval: Duration,
    multiplier: f64,
    randomization_factor: f64,
}

impl Default for BackoffConfig {
    fn default() -> Self {
        Self {
            initial_interval: INITIAL_INTERVAL,
            max_interval: MAX_INTERVAL,
            multiplier: MULTIPLIER,
            randomization_factor: RANDOMIZATION_FACTOR,
        }
    }
}

/// Bounds that make no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum InvalidBackoff {
    /// The first delay is 0, or the longest one is shorter than the first.
    #[error("intervals must hold 0 < initial_interval <= max_interval <= 1 day")]
    Intervals,
    /// Delays would shrink or explode.
    #[error("multiplier must be from 1 to 10")]
    Multiplier,
    /// A delay could be negative or be doubled.
    #[error("randomization_factor must be from 0 to 1")]
    RandomizationFactor,
}

impl BackoffConfig {
    /// Exponential delays from `initial_interval` to `max_interval` with the default growth and jitter.
    pub fn between(initial_interval: Duration, max_interval: Duration) -> Result<Self, InvalidBackoff> {
        Self::new(initial_interval, max_interval, MULTIPLIER, RANDOMIZATION_FACTOR)
    }

    /// Checks the four bounds.
    pub fn new(
        initial_interval: Duration,
        max_interval: Duration,
        multiplier: f64,
        randomization_factor: f64,
    ) -> Result<Self, InvalidBackoff> {
        const DAY: Duration = Duration::from_secs(86_400);
        if initial_interval.is_zero() || max_interval < initial_interval || max_interval > DAY {
            return Err(InvalidBackoff::Intervals);
        }
        if !(1.0..=10.0).contains(&multiplier) {
            return Err(InvalidBackoff::Multiplier);
        }
        if !(0.0..=1.0).contains(&randomization_factor) {
            return Err(InvalidBackoff::RandomizationFactor);
        }
        Ok(Self { initial_interval, max_interval, multiplier, randomization_factor })
    }

    /// Reads `initial_interval`, `max_interval`, `multiplier` and `randomization_factor`.
    pub fn read(section: &mut Section<'_>) -> Self {
        Self::read_or(section, Self::default())
    }

    /// The same with other defaults.
    pub fn read_or(section: &mut Section<'_>, default: Self) -> Self {
        let read = Self::new(
            section.value(
                "initial_interval",
                default.initial_interval,
                "Delay before the first retry, on average.",
            ),
            section.value("max_interval", default.max_interval, "Longest delay, on average."),
            section.value(
                "multiplier",
                default.multiplier,
                "Growth of the delay from one retry to the next, 1 to 10.",
            ),
            section.value(
                "randomization_factor",
                default.randomization_factor,
                "Share of a delay by which it varies, 0 to 1.",
            ),
        );
        read.unwrap_or_else(|error| {
            let key = match error {
                InvalidBackoff::Intervals => "max_interval",
                InvalidBackoff::Multiplier => "multiplier",
                InvalidBackoff::RandomizationFactor => "randomization_factor",
            };
            section.problem(key, "is out of bounds", error.to_string());
            default
        })
    }
}

/// The delays of one run of failures.
#[derive(Debug)]
pub struct Backoff(Exponential);

impl Backoff {
    /// Begins with the first delay of `config`.
    pub fn new(config: &BackoffConfig) -> Self {
        let mut exponential = Exponential {
            current_interval: config.initial_interval,
            initial_interval: config.initial_interval,
            max_interval: config.max_interval,
            multiplier: config.multiplier,
            randomization_factor: config.randomization_factor,
            max_elapsed_time: None,
            ..Exponential::default()
        };
        exponential.reset();
        Self(exponential)
    }

    /// How long to wait before the next attempt.
    pub fn next_delay(&mut self) -> Duration {
        self.0.next_backoff().expect("without a limit of elapsed time there is always a next delay")
    }

    /// Forgets the failures: call it after a success.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Waits for the next delay, or until `cancel`. Returns whether the whole delay has passed, that is, whether to try again.
    pub async fn wait(&mut self, cancel: &CancellationToken) -> bool {
        let delay = self.next_delay();
        cancel.run_until_cancelled(tokio::time::sleep(delay)).await.is_some()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::Settings;

    fn configs() -> impl Strategy<Value = BackoffConfig> {
        (1u64..10_000, 1u64..10_000, 1.0f64..10.0, 0.0f64..1.0).prop_map(
            |(first, more, multiplier, factor)| {
                let first = Duration::from_millis(first);
                BackoffConfig::new(first, first + Duration::from_millis(more), multiplier, factor)
                    .expect("within bounds")
            },
        )
    }

    proptest! {
        #[test]
        fn delays_stay_within_the_jittered_interval_which_grows_to_its_maximum(config in configs()) {
            let mut backoff = Backoff::new(&config);
            let mut mean = config.initial_interval.as_secs_f64();
            let max = config.max_interval.as_secs_f64();
            for _ in 0..40 {
                let delay = backoff.next_delay().as_secs_f64();
                let spread = mean * config.randomization_factor;
                // The crate counts in whole nanoseconds and draws from a range one wider.
                prop_assert!(delay >= mean - spread - 1e-6 && delay <= mean + spread + 1e-6, "{delay} around {mean} ± {spread}");
                mean = (mean * config.multiplier).min(max);
            }
            prop_assert!((backoff.0.current_interval.as_secs_f64() - mean).abs() < 1e-6, "interval {:?}", backoff.0.current_interval);
            backoff.reset();
            prop_assert_eq!(backoff.0.current_interval, config.initial_interval);
        }

        #[test]
        fn no_bounds_make_it_panic(first in any::<u64>(), max in any::<u64>(), multiplier in any::<f64>(), factor in any::<f64>()) {
            if let Ok(config) = BackoffConfig::new(Duration::from_nanos(first), Duration::from_nanos(max), multiplier, factor) {
                let mut backoff = Backoff::new(&config);
                let longest = config.max_interval.mul_f64(1.0 + config.randomization_factor) + Duration::from_micros(1);
                for _ in 0..100 {
                    prop_assert!(backoff.next_delay() <= longest);
                }
            }
        }
    }

    #[test]
    fn bounds_that_make_no_sense_are_problems_and_give_the_defaults() {
        let yaml = "initial_interval: 1m, max_interval: 1s, multiplier: 0.5, randomization_factor: 2";
        for (yaml, key) in [
            (yaml, "retry.max_interval"),
            ("max_interval: 2days", "retry.max_interval"),
            ("multiplier: 0.5", "retry.multiplier"),
            ("randomization_factor: 2", "retry.randomization_factor"),
        ] {
            let mut settings = Settings::from_yaml("EDGE", &format!("retry: {{{yaml}}}"), []);
            let config = BackoffConfig::read(&mut settings.root().section("retry", "Retries."));
            assert_eq!(config, BackoffConfig::default());
            let problems = settings.finish().unwrap_err();
            assert_eq!(problems.iter().map(|problem| problem.path.as_str()).collect::<Vec<_>>(), [key]);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn waiting_passes_the_delay_unless_it_is_cancelled() {
        let second = Duration::from_secs(1);
        let config = BackoffConfig::new(second, second, 1.0, 0.0).unwrap();
        let (mut backoff, cancel, start) =
            (Backoff::new(&config), CancellationToken::new(), tokio::time::Instant::now());
        assert!(backoff.wait(&cancel).await);
        let waited = start.elapsed();
        assert!(waited >= second && waited <= second + Duration::from_millis(1), "{waited:?}");
        cancel.cancel();
        assert!(!backoff.wait(&cancel).await);
        assert_eq!(start.elapsed(), waited);
    }
}
