//! Whether the process still turns: heartbeats of the loops that must never stand still.
//!
//! A port that accepts says nothing about the loop behind it. A loop that must go round at least every so often holds a
//! [`Heartbeat`] and beats it each time; `/livez` fails once one has been silent for longer than its bound, and the orchestrator
//! restarts the process.

use std::{
    sync::{
        Arc, Mutex, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The heartbeats of one process. Clones share them.
#[derive(Debug, Clone)]
pub struct Liveness {
    started: Instant,
    /// Weak: a loop that ended in order has dropped its heartbeat and is no longer asked for.
    pulses: Arc<Mutex<Vec<Weak<Pulse>>>>,
}

/// Beaten by one loop; dropping it ends the watch over it.
#[derive(Debug)]
pub struct Heartbeat {
    started: Instant,
    pulse: Arc<Pulse>,
}

/// A loop that has been silent for longer than it may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Name of the loop.
    pub name: &'static str,
    /// Time since its last beat.
    pub silent_for: Duration,
    /// Longest time it may be silent.
    pub bound: Duration,
}

#[derive(Debug)]
struct Pulse {
    name: &'static str,
    bound: Duration,
    /// Milliseconds from `started` to the last beat.
    last_beat: AtomicU64,
}

impl Liveness {
    /// Watches nothing.
    pub fn new() -> Self {
        Self { started: Instant::now(), pulses: Arc::default() }
    }

    /// Watches a loop that promises to beat at least once in `bound`, from now on.
    pub fn heartbeat(&self, name: &'static str, bound: Duration) -> Heartbeat {
        let pulse = Arc::new(Pulse { name, bound, last_beat: AtomicU64::new(millis_since(self.started)) });
        let mut pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.retain(|pulse| pulse.strong_count() > 0);
        pulses.push(Arc::downgrade(&pulse));
        Heartbeat { started: self.started, pulse }
    }

    /// The loops that have been silent for too long.
    pub fn silent(&self) -> Vec<Silence> {
        let now = millis_since(self.started);
        let pulses = self.pulses.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.iter().filter_map(Weak::upgrade).filter_map(|pulse| pulse.silence(now)).collect()
    }
}

impl Default for Liveness {
    fn default() -> Self {
        Self::new()
    }
}

impl Heartbeat {
    /// The loop has gone round.
    pub fn beat(&self) {
        self.pulse.last_beat.store(millis_since(self.started), Ordering::Relaxed);
    }
}

impl Pulse {
    fn silence(&self, now: u64) -> Option<Silence> {
        let silent_for = Duration::from_millis(now.saturating_sub(self.last_beat.load(Ordering::Relaxed)));
        (silent_for > self.bound).then_some(Silence { name: self.name, silent_for, bound: self.bound })
    }
}

fn millis_since(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loop_is_silent_past_its_bound_and_no_longer_once_it_beats() {
        let pulse =
            Pulse { name: "poll", bound: Duration::from_millis(100), last_beat: AtomicU64::new(1_000) };
        assert_eq!(pulse.silence(1_100), None, "at the bound it is still alive");
        assert_eq!(pulse.silence(1_101).map(|silence| silence.silent_for), Some(Duration::from_millis(101)));
        pulse.last_beat.store(1_050, Ordering::Relaxed);
        assert_eq!(pulse.silence(1_101), None);
    }

    #[test]
    fn a_dropped_heartbeat_is_no_longer_watched() {
        let liveness = Liveness::new();
        // A bound of 0 is passed as soon as a millisecond has gone by.
        let heartbeat = liveness.heartbeat("poll", Duration::ZERO);
        while liveness.silent().is_empty() {
            std::hint::spin_loop();
        }
        drop(heartbeat);
        assert_eq!(liveness.silent(), []);
    }
}
