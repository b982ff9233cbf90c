//! Bodies that have not come to their end, and what they may hold meanwhile.
//!
//! A sender chooses how fast its body comes, and a compressed one may hold a thousand times what was sent. So what bodies under
//! way hold is bounded for each connection and each peer address ([`Share`]); and once three quarters of a bound are in use, of
//! the process's budget too, the slowest of the bodies that count for it are given up until it is less. A body is given up only
//! when it is slow: less than [`SLOW`] bytes came in the last second or so. What has come to its end counts for nobody but the
//! process: how long it is kept is not its sender's choice.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError, Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use service_runtime::CancellationToken;
use tokio::time::Instant;

use super::{BudgetExhausted, Scope, take};

/// Bytes a second; a sender that is slower may be asked to come again while memory is short.
const SLOW: u64 = 64 * 1024;

/// Nothing is known of the speed of a younger body.
const LEAST_AGE: Duration = Duration::from_millis(500);

/// Over so long the speed is measured.
const WINDOW: Duration = Duration::from_secs(1);

/// How often it is looked who is slow, at most: with thousands of bodies a look takes a part of a millisecond.
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A bound on what bodies under way hold together.
#[derive(Debug)]
pub(crate) struct Share {
    limit: usize,
    used: AtomicUsize,
}

/// Whose a body is.
#[derive(Debug, Clone)]
pub(crate) struct Holder {
    pub(crate) connection: Arc<Share>,
    pub(crate) peer: Arc<Share>,
}

/// One body under way.
#[derive(Debug)]
pub(crate) struct Body {
    holder: Holder,
    held: AtomicUsize,
    started: Instant,
    speed: Mutex<Speed>,
    given_up: CancellationToken,
}

/// Bytes of this window, and the speed in the one before.
#[derive(Debug)]
struct Speed {
    since: Instant,
    bytes: u64,
    before: u64,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Bodies {
    open: Mutex<Open>,
    /// Every so many bodies those that have ended are forgotten.
    begun: AtomicU64,
}

#[derive(Debug, Default)]
struct Open {
    bodies: HashMap<u64, Weak<Body>>,
    looked_at: Option<Instant>,
    /// As many as there were when the ended ones were last forgotten.
    lasting: usize,
}

impl Share {
    /// One of `limit` bytes.
    pub(crate) fn new(limit: usize) -> Share {
        Share { limit, used: AtomicUsize::new(0) }
    }
}

impl Body {
    pub(super) fn grow(&self, bytes: usize) -> Result<(), BudgetExhausted> {
        let Holder { connection, peer } = &self.holder;
        let exhausted = |share: &Share, scope| BudgetExhausted { limit: share.limit, scope };
        take(&connection.used, bytes, connection.limit)
            .ok_or_else(|| exhausted(connection, Scope::Connection))?;
        take(&peer.used, bytes, peer.limit).ok_or_else(|| {
            connection.used.fetch_sub(bytes, Ordering::Relaxed);
            exhausted(peer, Scope::Peer)
        })?;
        self.held.fetch_add(bytes, Ordering::Relaxed);
        Ok(())
    }

    pub(super) fn shrink(&self, bytes: usize) {
        self.held.fetch_sub(bytes, Ordering::Relaxed);
        self.holder.connection.used.fetch_sub(bytes, Ordering::Relaxed);
        self.holder.peer.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// So many bytes came.
    pub(crate) fn came(&self, bytes: usize) {
        self.speed().note(bytes as u64, Instant::now());
    }

    /// Resolves when the body is too slow to be kept while memory is short.
    pub(crate) async fn given_up(&self) {
        self.given_up.cancelled().await;
    }

    fn speed(&self) -> MutexGuard<'_, Speed> {
        self.speed.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Speed {
    fn note(&mut self, bytes: u64, now: Instant) {
        if now.duration_since(self.since) >= WINDOW {
            *self = Speed { since: now, bytes: 0, before: self.now(now) };
        }
        self.bytes += bytes;
    }

    /// In bytes a second.
    fn now(&self, now: Instant) -> u64 {
        let age = now.duration_since(self.since);
        let of_window = self.bytes * 1000 / u64::try_from(age.max(WINDOW).as_millis()).unwrap_or(u64::MAX);
        if age < WINDOW { of_window.max(self.before) } else { of_window }
    }
}

impl Bodies {
    pub(super) fn begin(&self, holder: &Holder) -> Arc<Body> {
        let now = Instant::now();
        let body = Arc::new(Body {
            holder: holder.clone(),
            held: AtomicUsize::new(0),
            started: now,
            speed: Mutex::new(Speed { since: now, bytes: 0, before: 0 }),
            given_up: CancellationToken::new(),
        });
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let mut open = self.open();
        if open.bodies.len() >= 2 * open.lasting.max(64) {
            open.bodies.retain(|_, body| body.strong_count() > 0);
            open.lasting = open.bodies.len();
        }
        open.bodies.insert(number, Arc::downgrade(&body));
        body
    }

    /// Gives up the slowest bodies of whatever is short: the connection or the peer of `body`, or the process, of whose `limit`
    /// bytes `used` are in use.
    pub(super) fn make_room(&self, body: &Body, used: usize, limit: usize) {
        let Holder { connection, peer } = &body.holder;
        let of = |share: &Share| excess(share.used.load(Ordering::Relaxed), share.limit);
        let (of_process, of_peer, of_connection) = (excess(used, limit), of(peer), of(connection));
        if of_process + of_peer + of_connection == 0 {
            return;
        }
        let now = Instant::now();
        let mut open = self.open();
        if open.looked_at.is_some_and(|at| now.duration_since(at) < LOOK_INTERVAL) {
            return;
        }
        open.looked_at = Some(now);
        let bodies: Vec<Arc<Body>> = open.bodies.values().filter_map(Weak::upgrade).collect();
        drop(open);
        give_up(&bodies, of_connection, now, |other| Arc::ptr_eq(&other.holder.connection, connection));
        give_up(&bodies, of_peer, now, |other| Arc::ptr_eq(&other.holder.peer, peer));
        give_up(&bodies, of_process, now, |_| true);
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes in use above three quarters of the limit.
fn excess(used: usize, limit: usize) -> usize {
    used.saturating_sub(limit / 4 * 3)
}

/// Gives up the slowest of the bodies that count, until together they hold `excess` bytes; those that were given up before
/// and have not ended yet are among them.
fn give_up(bodies: &[Arc<Body>], excess: usize, now: Instant, counts: impl Fn(&Body) -> bool) {
    if excess == 0 {
        return;
    }
    let held = |body: &Body| body.held.load(Ordering::Relaxed);
    let counting = || bodies.iter().filter(|body| counts(body));
    let leaving: usize = counting().filter(|body| body.given_up.is_cancelled()).map(|body| held(body)).sum();
    let mut excess = excess.saturating_sub(leaving);
    let is_known = |body: &&Arc<Body>| {
        held(body) > 0 && !body.given_up.is_cancelled() && now.duration_since(body.started) >= LEAST_AGE
    };
    let speeds = counting().filter(is_known).map(|body| (body.speed().now(now), body));
    let mut slow: Vec<_> = speeds.filter(|(speed, _)| *speed < SLOW).collect();
    slow.sort_by_key(|(speed, _)| *speed);
    for (_, body) in slow {
        if excess == 0 {
            return;
        }
        excess = excess.saturating_sub(held(body));
        body.given_up.cancel();
    }
}

#[cfg(test)]
mod tests;
