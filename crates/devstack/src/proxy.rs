//! A TCP proxy that stands between a client and a server, and does to their traffic what bad networks do.
//!
//! ```text
//!   client ──► 127.0.0.1:P ──► pump to the server ──► 127.0.0.1:S server
//!              Proxy       ◄── pump to the client ◄──
//! ```
//!
//! - The [`Link`] can be changed at any moment; it holds for the connections that exist and for those to come.
//! - Bytes are only ever passed on whole and in order, delayed, held back, or lost together with everything after them:
//!   a connection that has lost bytes is reset as soon as the link would let others through, as TCP would do at the
//!   latest when it gave up. So a proxy never makes a stream that no network could make.
//! - The listening port lies outside the range of outgoing connections, so that nobody else gets it while it is closed.
//!
//! What is deliberately not here: any knowledge of what is inside the bytes.

mod pump;

use std::net::{Ipv4Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::{Error, Result, ports};

/// What happens to the traffic.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Link {
    /// Everything passes.
    #[default]
    Open,
    /// Each chunk of at most 64 KiB waits for `delay`, and then for as long as its bytes take at the rate.
    Slow {
        /// In each direction.
        delay: Duration,
        /// In each direction of each connection; none when only the delay is wanted.
        bytes_per_second: Option<NonZeroU32>,
    },
    /// Nothing passes and nothing is lost: a partition during which TCP keeps what was sent. New connections are made
    /// and hang.
    Held,
    /// The same, but only for connections with a number below this; see [`Proxy::next_connection`]. What an old process had
    /// sent before it died arrives late, as by a kernel that sends again, while a new one gets through.
    HeldBelow(u64),
    /// Connections are closed in order, and new ones are refused.
    Cut,
    /// Connections are reset, and new ones are reset at once.
    Reset,
    /// Bytes in this direction are swallowed, the others pass.
    Lossy(Direction),
    /// All bytes are swallowed: connections stay open, and nobody answers.
    HalfOpen,
    /// A connection is closed once so many of its bytes have passed in this direction; counted from its beginning.
    CutAfter {
        /// Whose bytes count.
        direction: Direction,
        /// How many pass.
        bytes: u64,
    },
}

/// Where bytes go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// From the client.
    ToServer,
    /// From the server.
    ToClient,
}

/// A running proxy; it ends, with its connections, when it is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    shared: Arc<Shared>,
    link: watch::Sender<Link>,
    /// None only while it is dropped.
    runtime: Option<Runtime>,
}

/// What the accepting task and the pumps know.
#[derive(Debug)]
struct Shared {
    target: Mutex<Option<SocketAddr>>,
    connections: AtomicU64,
    accepted: AtomicU64,
    passed: AtomicU64,
    swallowed: AtomicU64,
}

impl Proxy {
    /// A proxy on a port of its own, without a server behind it: connections are closed until [`Proxy::lead_to`].
    ///
    /// # Errors
    /// The port or the threads cannot be had.
    pub fn listen() -> Result<Self> {
        let mut builder = tokio::runtime::Builder::new_multi_thread();
        let runtime = builder.worker_threads(1).thread_name("devstack-proxy").enable_all().build();
        let runtime = runtime.map_err(Error::io("start a proxy's threads"))?;
        let listener = {
            let _entered = runtime.enter();
            bind(SocketAddr::from((Ipv4Addr::LOCALHOST, ports::free())))?
        };
        let address = listener.local_addr().map_err(Error::io("ask for a proxy's port"))?;
        let shared = Arc::new(Shared {
            target: Mutex::new(None),
            connections: AtomicU64::new(0),
            accepted: AtomicU64::new(0),
            passed: AtomicU64::new(0),
            swallowed: AtomicU64::new(0),
        });
        let (link, changes) = watch::channel(Link::Open);
        runtime.spawn(accept(listener, address, Arc::clone(&shared), changes));
        Ok(Self { address, shared, link, runtime: Some(runtime) })
    }

    /// A proxy in front of `target`.
    ///
    /// # Errors
    /// Those of [`Proxy::listen`].
    pub fn to(target: SocketAddr) -> Result<Self> {
        let proxy = Self::listen()?;
        proxy.lead_to(target);
        Ok(proxy)
    }

    /// Names the server; for connections made from now on.
    pub fn lead_to(&self, target: SocketAddr) {
        *self.shared.target.lock().unwrap_or_else(PoisonError::into_inner) = Some(target);
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Changes what happens to the traffic, at once.
    pub fn set(&self, link: Link) {
        self.link.send_replace(link);
    }

    /// What happens to the traffic now.
    pub fn link(&self) -> Link {
        *self.link.borrow()
    }

    /// Connections that are open now.
    pub fn connections(&self) -> u64 {
        self.shared.connections.load(Ordering::Relaxed)
    }

    /// The number that the next connection will have; they count from 0.
    pub fn next_connection(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Bytes passed on since the start, in both directions.
    pub fn passed_bytes(&self) -> u64 {
        self.shared.passed.load(Ordering::Relaxed)
    }

    /// Bytes swallowed since the start.
    pub fn swallowed_bytes(&self) -> u64 {
        self.shared.swallowed.load(Ordering::Relaxed)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // A proxy may be dropped inside of another runtime, where waiting for this one is not allowed.
            runtime.shutdown_background();
        }
    }
}

/// Tokio sets SO_REUSEADDR, so that the port can be had again although old connections linger on it.
fn bind(address: SocketAddr) -> Result<TcpListener> {
    let listener = std::net::TcpListener::bind(address).map_err(Error::io("open a proxy's port"))?;
    listener.set_nonblocking(true).map_err(Error::io("open a proxy's port"))?;
    TcpListener::from_std(listener).map_err(Error::io("open a proxy's port"))
}

async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    shared: Arc<Shared>,
    mut changes: watch::Receiver<Link>,
) {
    let mut open = Some(listener);
    let mut connections = JoinSet::new();
    loop {
        let link = *changes.borrow_and_update();
        if link == Link::Cut {
            // The kernel refuses for as long as nobody listens.
            open = None;
        } else if open.is_none() {
            open = bind(address).ok();
        }
        let Some(listener) = &open else {
            // Cut, or the port is not free yet.
            let retry = tokio::time::sleep(Duration::from_millis(50));
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return },
                () = retry, if link != Link::Cut => {}
            }
            continue;
        };
        tokio::select! {
            changed = changes.changed() => if changed.is_err() { return },
            accepted = listener.accept() => if let Ok((client, _)) = accepted {
                connections.spawn(serve(client, Arc::clone(&shared), changes.clone()));
            },
            Some(_ended) = connections.join_next() => {}
        }
    }
}

async fn serve(client: TcpStream, shared: Arc<Shared>, link: watch::Receiver<Link>) {
    let number = shared.accepted.fetch_add(1, Ordering::Relaxed);
    shared.connections.fetch_add(1, Ordering::Relaxed);
    pump::run(client, number, &shared, link).await;
    shared.connections.fetch_sub(1, Ordering::Relaxed);
}

impl Shared {
    fn target(&self) -> Option<SocketAddr> {
        *self.target.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
