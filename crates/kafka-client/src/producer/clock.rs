//! Notices that the wall clock was set back.

use std::{
    sync::Weak,
    thread,
    time::{Duration, Instant, SystemTime},
};

use tracing::{error, warn};

use super::Shared;
use crate::error::ClientError;

/// How often the two clocks are compared.
const INTERVAL: Duration = Duration::from_secs(1);

/// A clock that is slewed, or set back by less, makes librdkafka late by no more than this.
const TOLERANCE: Duration = Duration::from_secs(2);

/// What the wall clock should say.
#[derive(Debug)]
struct Expectation {
    wall: SystemTime,
    steady: Instant,
}

impl Expectation {
    fn now() -> Expectation {
        Expectation { wall: SystemTime::now(), steady: Instant::now() }
    }

    /// By how much the wall clock at `now` is behind what this one lets expect.
    fn fall(&self, now: &Expectation) -> Duration {
        let expected = self.wall.checked_add(now.steady.saturating_duration_since(self.steady));
        expected.and_then(|expected| expected.duration_since(now.wall).ok()).unwrap_or_default()
    }
}

/// Runs until the last clone of the producer is gone.
pub(super) fn spawn_watch(shared: Weak<Shared>) -> Result<(), ClientError> {
    let watch = move || {
        let mut before = Expectation::now();
        loop {
            // Nobody wakes it earlier; the time is the steady clock's.
            thread::park_timeout(INTERVAL);
            let Some(shared) = shared.upgrade() else { return };
            if let Some(heartbeats) = shared.heartbeats.get() {
                heartbeats.clock.beat();
            }
            let now = Expectation::now();
            let fall = before.fall(&now);
            if fall > TOLERANCE {
                warn!(?fall, "the wall clock was set back, replacing the kafka producer instance");
                if let Err(error) = shared.replace_sleeping_instance() {
                    error!(error = %error, "cannot replace the kafka producer instance");
                }
            }
            before = now;
        }
    };
    thread::Builder::new().name("kafka-clock".to_owned()).spawn(watch).map(drop).map_err(ClientError::Thread)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fall_is_what_the_wall_clock_lacks_against_the_steady_one() {
        let before = Expectation::now();
        let after = |wall: SystemTime| Expectation { wall, steady: before.steady + Duration::from_secs(10) };
        let (second, hour) = (Duration::from_secs(1), Duration::from_secs(3600));
        assert_eq!(before.fall(&after(before.wall + 10 * second)), Duration::ZERO);
        assert_eq!(before.fall(&after(before.wall + hour)), Duration::ZERO, "forward is no harm");
        assert_eq!(before.fall(&after(before.wall - hour)), hour + 10 * second);
        assert!(before.fall(&after(SystemTime::UNIX_EPOCH)) > hour);
    }
}
