//! How often the log tells of something that may happen a thousand times a second.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

/// Between two lines.
const INTERVAL: Duration = Duration::from_secs(10);

/// Lets the first event be told at once, and then one in ten seconds for all that came since.
#[derive(Debug, Default)]
pub struct Pace(Mutex<Told>);

#[derive(Debug, Default)]
struct Told {
    at: Option<Instant>,
    /// Events since then.
    untold: u64,
}

impl Pace {
    /// Counts an event. When it is to be told: how many there were since the last one told, this one included.
    pub fn tick(&self) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        told.untold += 1;
        if told.at.is_some_and(|at| at.elapsed() < INTERVAL) {
            return None;
        }
        told.at = Some(Instant::now());
        Some(std::mem::take(&mut told.untold))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn first_event_is_told_at_once_and_the_others_by_their_number() {
        let pace = Pace::default();
        assert_eq!([pace.tick(), pace.tick(), pace.tick()], [Some(1), None, None]);
        tokio::time::advance(INTERVAL).await;
        assert_eq!([pace.tick(), pace.tick()], [Some(3), None]);
    }
}
