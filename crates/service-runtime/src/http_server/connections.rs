//! The connections of one listener: who is at their other ends, since when they are idle, and which of them are ended.

use std::{
    any::Any,
    collections::{HashMap, hash_map::RandomState},
    hash::BuildHasher,
    net::IpAddr,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use axum::http::{Request, Version};
use hyper::service::Service;
use prometheus_client::metrics::{counter::Counter, family::Family};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::log::Occasional;

/// A connection between two requests is not idle; one that was closed then would take a request with it.
const LEAST_IDLE: Duration = Duration::from_secs(1);

/// Time to answer what came while an idle connection was being ended.
const IDLE_GRACE: Duration = Duration::from_secs(1);

/// One connection, as requests find it among their extensions.
#[derive(Debug)]
pub struct Connection {
    peer: IpAddr,
    opened: Instant,
    in_flight: AtomicUsize,
    /// Milliseconds from `opened` to the end of the last request.
    idle_from: AtomicU64,
    is_http2: AtomicBool,
    /// Somebody else needs its place.
    is_unwanted: CancellationToken,
    attached: OnceLock<Box<dyn Any + Send + Sync>>,
}

/// How often connections were closed to keep within the bounds, by reason: `idle`, `age`, `no_room` (an idle one, for the next),
/// `peer` (one too many of an address). Clones count together.
#[derive(Debug, Clone, Default)]
pub struct Closings {
    counters: Family<[(&'static str, &'static str); 1], Counter>,
    lines: Arc<[Occasional; 4]>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Reason {
    Idle,
    Age,
    NoRoom,
    Peer,
}

/// When connections are ended.
#[derive(Debug, Clone, Copy)]
pub(super) struct Bounds {
    pub(super) idle: Duration,
    pub(super) age: Duration,
    pub(super) age_grace: Duration,
}

/// A connection is to be ended, and what is in hand on it has so long.
#[derive(Debug)]
pub(super) struct Ending {
    pub(super) grace: Duration,
}

/// The open connections of a listener; clones share them.
#[derive(Debug, Clone)]
pub(super) struct Table {
    open: Arc<Mutex<Open>>,
    max_per_peer: usize,
    closings: Closings,
}

#[derive(Debug, Default)]
struct Open {
    connections: HashMap<u64, Arc<Connection>>,
    of_peer: HashMap<IpAddr, usize>,
    next: u64,
}

/// A connection's place in the table, given back on drop.
#[derive(Debug)]
pub(super) struct Entry {
    number: u64,
    connection: Arc<Connection>,
    table: Table,
}

/// Counts the requests in hand, and tells them their connection.
#[derive(Debug, Clone)]
pub(super) struct Counted<S> {
    service: S,
    connection: Arc<Connection>,
}

/// One request in hand.
struct InFlight(Arc<Connection>);

impl Connection {
    fn new(peer: IpAddr) -> Connection {
        Connection {
            peer: peer.to_canonical(),
            opened: Instant::now(),
            in_flight: AtomicUsize::new(0),
            idle_from: AtomicU64::new(0),
            is_http2: AtomicBool::new(false),
            is_unwanted: CancellationToken::new(),
            attached: OnceLock::new(),
        }
    }

    /// The address at the other end: the sender's, or that of what stands before it.
    pub fn peer(&self) -> IpAddr {
        self.peer
    }

    /// What a user of the server keeps with the connection; the first one that is attached stays. `None` when that is of another
    /// type.
    pub fn attached<T: Send + Sync + 'static>(&self, attach: impl FnOnce() -> T) -> Option<&T> {
        self.attached.get_or_init(|| Box::new(attach())).downcast_ref()
    }

    /// How long no request has been in hand.
    fn idle_for(&self) -> Duration {
        if self.in_flight.load(Ordering::Acquire) > 0 {
            return Duration::ZERO;
        }
        self.opened.elapsed().saturating_sub(Duration::from_millis(self.idle_from.load(Ordering::Relaxed)))
    }
}

impl Closings {
    /// The counter family, to be registered: label `reason`.
    pub fn counters(&self) -> Family<[(&'static str, &'static str); 1], Counter> {
        self.counters.clone()
    }

    fn count(&self, reason: Reason, peer: IpAddr) {
        let name = match reason {
            Reason::Idle => "idle",
            Reason::Age => "age",
            Reason::NoRoom => "no_room",
            Reason::Peer => "peer",
        };
        self.counters.get_or_create(&[("reason", name)]).inc();
        let Some(more) = self.lines[reason as usize].admit() else { return };
        match reason {
            Reason::Idle => tracing::info!(%peer, more, "a connection was idle for too long and is closed"),
            Reason::Age => tracing::info!(%peer, more, "a connection is old and is closed"),
            Reason::NoRoom => {
                tracing::warn!(%peer, more, "all connections are taken; the one that was idle for longest is closed");
            }
            Reason::Peer => {
                tracing::warn!(%peer, more, "an address has too many connections; a new one is closed");
            }
        }
    }
}

impl Table {
    pub(super) fn new(max_per_peer: usize, closings: Closings) -> Table {
        Table { open: Arc::default(), max_per_peer, closings }
    }

    /// A place for a new connection; `None` when its peer has as many as it may.
    pub(super) fn enter(&self, peer: IpAddr) -> Option<Entry> {
        let connection = Arc::new(Connection::new(peer));
        let mut open = self.open();
        let of_peer = open.of_peer.entry(connection.peer).or_default();
        if *of_peer >= self.max_per_peer {
            drop(open);
            self.closings.count(Reason::Peer, peer);
            return None;
        }
        *of_peer += 1;
        let number = open.next;
        open.next += 1;
        open.connections.insert(number, Arc::clone(&connection));
        Some(Entry { number, connection, table: self.clone() })
    }

    /// Ends the connection that has been idle for longest, if one has.
    pub(super) fn make_room(&self) {
        let open = self.open();
        let is_ending = open.connections.values().any(|connection| connection.is_unwanted.is_cancelled());
        let longest = open.connections.values().max_by_key(|connection| connection.idle_for());
        if let Some(longest) = longest.filter(|longest| !is_ending && longest.idle_for() >= LEAST_IDLE) {
            longest.is_unwanted.cancel();
        }
    }

    fn open(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    pub(super) fn connection(&self) -> Arc<Connection> {
        Arc::clone(&self.connection)
    }

    /// Resolves when the connection is to be ended.
    pub(super) async fn ends(&self, bounds: Bounds) -> Ending {
        let connection = &*self.connection;
        // Up to a tenth less, differently for each.
        let share = RandomState::new().hash_one(self.number) % 1000;
        let old_at = connection.opened + bounds.age - bounds.age / 10_000 * share as u32;
        loop {
            let idle_at = Instant::now() + bounds.idle.saturating_sub(connection.idle_for());
            let is_unwanted = tokio::select! {
                () = connection.is_unwanted.cancelled() => true,
                () = sleep_until(idle_at.min(old_at)) => false,
            };
            let (reason, grace) = if is_unwanted {
                (Reason::NoRoom, IDLE_GRACE)
            } else if connection.idle_for() >= bounds.idle {
                (Reason::Idle, IDLE_GRACE)
            } else if Instant::now() < old_at {
                continue;
            } else if connection.is_http2.load(Ordering::Relaxed) {
                (Reason::Age, bounds.age_grace)
            } else {
                // HTTP/1.1 has no way to say that a connection ends before a request is on its way; it ends when it is idle.
                connection.is_unwanted.cancelled().await;
                (Reason::NoRoom, IDLE_GRACE)
            };
            self.table.closings.count(reason, connection.peer);
            return Ending { grace };
        }
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        let mut open = self.table.open();
        open.connections.remove(&self.number);
        let peer = self.connection.peer;
        if let Some(of_peer) = open.of_peer.get_mut(&peer) {
            *of_peer -= 1;
            if *of_peer == 0 {
                open.of_peer.remove(&peer);
            }
        }
    }
}

impl<S> Counted<S> {
    pub(super) fn new(service: S, connection: Arc<Connection>) -> Counted<S> {
        Counted { service, connection }
    }
}

impl<S, B> Service<Request<B>> for Counted<S>
where
    S: Service<Request<B>, Future: Send + 'static>,
{
    type Response = S::Response;
    type Error = S::Error;
    type Future = Pin<Box<dyn Future<Output = Result<S::Response, S::Error>> + Send>>;

    fn call(&self, mut request: Request<B>) -> Self::Future {
        let in_flight = InFlight::begin(&self.connection);
        if request.version() == Version::HTTP_2 {
            self.connection.is_http2.store(true, Ordering::Relaxed);
        }
        request.extensions_mut().insert(Arc::clone(&self.connection));
        let answer = self.service.call(request);
        Box::pin(async move {
            let _in_flight = in_flight;
            answer.await
        })
    }
}

impl InFlight {
    fn begin(connection: &Arc<Connection>) -> InFlight {
        connection.in_flight.fetch_add(1, Ordering::AcqRel);
        InFlight(Arc::clone(connection))
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        let since = self.0.opened.elapsed().as_millis();
        self.0.idle_from.store(u64::try_from(since).unwrap_or(u64::MAX), Ordering::Relaxed);
        self.0.in_flight.fetch_sub(1, Ordering::AcqRel);
    }
}
