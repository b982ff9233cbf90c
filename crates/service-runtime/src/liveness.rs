//! Whether the process still turns: heartbeats of the loops that must never stand still.
//!
//! A port that accepts says nothing about the loop behind it. A loop that must go round at least every so often holds a
//! [`Heartbeat`] and beats it each time; `/livez` fails once one has been silent for longer than its bound, or its loop has
//! panicked, and the orchestrator restarts the process.

use std::{
    fmt,
    pin::pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// The heartbeats of one process. Clones share them.
#[derive(Debug, Clone)]
pub struct Liveness {
    started: Instant,
    watched: Arc<Mutex<Watched>>,
}

#[derive(Debug, Default)]
struct Watched {
    /// Weak: a loop that ended in order has dropped its heartbeat and is no longer asked for.
    pulses: Vec<Weak<Pulse>>,
    panicked: Vec<&'static str>,
}

/// Beaten by one loop; dropping it ends the watch over it, unless it is dropped by a panic.
#[derive(Debug)]
pub struct Heartbeat {
    liveness: Liveness,
    pulse: Arc<Pulse>,
}

/// A loop that does not turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Silence {
    /// Name of the loop.
    pub name: &'static str,
    /// What is known of it.
    pub cause: Cause,
}

/// Why a loop does not turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Cause {
    /// It has not beaten for longer than it may.
    Silent {
        /// Time since its last beat.
        silent_for: Duration,
        /// Longest time it may be silent.
        bound: Duration,
    },
    /// It has panicked.
    Panicked,
}

impl fmt::Display for Silence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.cause {
            Cause::Silent { silent_for, bound } => {
                write!(f, "{}: silent for {silent_for:?}, at most {bound:?}", self.name)
            }
            Cause::Panicked => write!(f, "{}: panicked", self.name),
        }
    }
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
        Self { started: Instant::now(), watched: Arc::default() }
    }

    /// Watches a loop that promises to beat at least once in `bound`, from now on.
    pub fn heartbeat(&self, name: &'static str, bound: Duration) -> Heartbeat {
        let pulse = Arc::new(Pulse { name, bound, last_beat: AtomicU64::new(millis_since(self.started)) });
        let mut watched = self.watched();
        watched.pulses.retain(|pulse| pulse.strong_count() > 0);
        watched.pulses.push(Arc::downgrade(&pulse));
        drop(watched);
        Heartbeat { liveness: self.clone(), pulse }
    }

    /// The loops that have panicked or been silent for too long.
    pub fn silent(&self) -> Vec<Silence> {
        let now = millis_since(self.started);
        let watched = self.watched();
        let panicked = watched.panicked.iter().map(|name| Silence { name, cause: Cause::Panicked });
        let pulses = watched.pulses.iter().filter_map(Weak::upgrade);
        panicked.chain(pulses.filter_map(|pulse| pulse.silence(now))).collect()
    }

    /// Names of the loops that are watched, in the order in which that began.
    pub fn names(&self) -> Vec<&'static str> {
        self.watched().pulses.iter().filter_map(Weak::upgrade).map(|pulse| pulse.name).collect()
    }

    fn watched(&self) -> MutexGuard<'_, Watched> {
        self.watched.lock().unwrap_or_else(PoisonError::into_inner)
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
        self.pulse.last_beat.store(millis_since(self.liveness.started), Ordering::Relaxed);
    }

    /// Waits for what may take any time, such as an answer from outside: meanwhile the loop counts as turning for as long as its
    /// task is run at all.
    pub async fn during<T>(&self, wait: impl Future<Output = T>) -> T {
        let mut wait = pin!(wait);
        loop {
            self.beat();
            if let Ok(output) = tokio::time::timeout(self.pulse.bound / 4, wait.as_mut()).await {
                self.beat();
                return output;
            }
        }
    }
}

impl Drop for Heartbeat {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.liveness.watched().panicked.push(self.pulse.name);
        }
    }
}

impl Pulse {
    fn silence(&self, now: u64) -> Option<Silence> {
        let silent_for = Duration::from_millis(now.saturating_sub(self.last_beat.load(Ordering::Relaxed)));
        let cause = Cause::Silent { silent_for, bound: self.bound };
        (silent_for > self.bound).then_some(Silence { name: self.name, cause })
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
        let silent_for = Duration::from_millis(101);
        let cause = Cause::Silent { silent_for, bound: pulse.bound };
        assert_eq!(pulse.silence(1_101).map(|silence| silence.cause), Some(cause));
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

    #[test]
    fn a_loop_that_panics_is_named_for_ever() {
        let liveness = Liveness::new();
        let heartbeat = liveness.heartbeat("tailer", Duration::from_secs(3600));
        let thread = std::thread::spawn(move || {
            heartbeat.beat();
            panic!("the tailer gives up");
        });
        assert!(thread.join().is_err());
        assert_eq!(liveness.silent(), [Silence { name: "tailer", cause: Cause::Panicked }]);
    }

    #[tokio::test]
    async fn a_wait_for_something_outside_is_no_silence() {
        let liveness = Liveness::new();
        let heartbeat = liveness.heartbeat("drain", Duration::from_millis(200));
        let waited = heartbeat.during(tokio::time::sleep(Duration::from_millis(600)));
        let looked = async {
            let mut silent = Vec::new();
            for _ in 0..10 {
                tokio::time::sleep(Duration::from_millis(50)).await;
                silent.extend(liveness.silent());
            }
            silent
        };
        let ((), silent) = tokio::join!(waited, looked);
        assert_eq!(silent, []);
    }
}
