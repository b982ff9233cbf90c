//! A listener that serves an axum router over HTTP/1.1 and HTTP/2 without TLS (h2c) on one port, with the bounds that a port open
//! to strangers needs, and a stop that answers what was accepted.
//!
//! - Connections: at most `max_connections`, and of one peer address at most `max_connections_per_peer`. When all are taken, the
//!   one that has been idle for longest is closed for the next; when none is idle, new ones wait in the kernel's backlog.
//! - A client that sends nothing, or its request head a byte at a time, is closed after `header_timeout`. An idle HTTP/1.1
//!   connection counts as one whose next head is awaited, so this is its keep-alive time too.
//! - An HTTP/2 peer that no longer answers pings is closed; its streams are at most `max_concurrent_streams`. Its connection is
//!   ended by GOAWAY when it has been idle for `max_connection_idle`, and when it is older than `max_connection_age`.
//! - Bodies are the router's business: it reads them, so it bounds their size and time.
//! - On shutdown the listener closes, idle connections are ended, requests already begun are answered (HTTP/1.1 with
//!   `Connection: close`, HTTP/2 after GOAWAY), and what is not done after `drain_timeout` is cut off and counted.

mod connections;
mod first_bytes;

use std::{
    io,
    net::IpAddr,
    num::{NonZeroU32, NonZeroUsize},
    pin::pin,
    sync::Arc,
    time::Duration,
};

use axum::Router;
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{Section, error_chain::ErrorChain};
use connections::{Bounds, Counted, Ending, Table};
pub use connections::{Closings, Connection};
use first_bytes::FirstBytes;

/// A connection costs two buffers of at most some tens of KiB; senders keep one or two each.
const MAX_CONNECTIONS: NonZeroUsize = NonZeroUsize::new(1024).expect("1024 is not 0");
/// As many requests of one sender as may wait for their answers at a time.
const MAX_CONCURRENT_STREAMS: NonZeroU32 = NonZeroU32::new(128).expect("128 is not 0");
/// Not a divisor of the usual export intervals (1, 5, 60 s), at which a reused connection would meet its end.
const HEADER_TIMEOUT: Duration = Duration::from_secs(35);
/// Time without traffic after which an HTTP/2 peer is asked whether it is there.
const KEEP_ALIVE_INTERVAL: Duration = Duration::from_secs(60);
/// Time it has to answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(20);
/// Longer than the pause between two exports of any usual sender.
const MAX_CONNECTION_IDLE: Duration = Duration::from_secs(300);
/// Senders behind a balancer of connections spread anew so often; each is shortened by up to a tenth, so that they do not all
/// come back at once.
const MAX_CONNECTION_AGE: Duration = Duration::from_secs(3600);
/// Longer than a body may take.
const MAX_CONNECTION_AGE_GRACE: Duration = Duration::from_secs(60);
/// How soon a port whose connections are all taken looks again for an idle one.
const LOOK_AGAIN: Duration = Duration::from_millis(250);
/// Below the process's grace, so that what comes after the listener has time too.
const DRAIN_TIMEOUT: Duration = Duration::from_secs(15);
/// Pause after a failed accept (too many open files): the cause needs time to go away.
const ACCEPT_PAUSE: Duration = Duration::from_millis(500);

/// The bounds of one listener.
#[derive(Debug, Clone)]
pub struct HttpServerConfig {
    /// Connections open at a time.
    pub max_connections: NonZeroUsize,
    /// Of them, from one peer address; half of them when not given.
    pub max_connections_per_peer: Option<NonZeroUsize>,
    /// Time without a request after which an HTTP/2 connection is ended.
    pub max_connection_idle: Duration,
    /// Age at which an HTTP/2 connection is ended.
    pub max_connection_age: Duration,
    /// Time for what is in hand on a connection that is ended for its age.
    pub max_connection_age_grace: Duration,
    /// Requests in flight at a time on one HTTP/2 connection.
    pub max_concurrent_streams: NonZeroU32,
    /// Time to send a request head, or to be idle on HTTP/1.1.
    pub header_timeout: Duration,
    /// Time of silence after which an HTTP/2 peer is pinged.
    pub keep_alive_interval: Duration,
    /// Time to answer that ping.
    pub keep_alive_timeout: Duration,
    /// Time for requests in hand when the server stops.
    pub drain_timeout: Duration,
}

impl Default for HttpServerConfig {
    fn default() -> Self {
        Self {
            max_connections: MAX_CONNECTIONS,
            max_connections_per_peer: None,
            max_connection_idle: MAX_CONNECTION_IDLE,
            max_connection_age: MAX_CONNECTION_AGE,
            max_connection_age_grace: MAX_CONNECTION_AGE_GRACE,
            max_concurrent_streams: MAX_CONCURRENT_STREAMS,
            header_timeout: HEADER_TIMEOUT,
            keep_alive_interval: KEEP_ALIVE_INTERVAL,
            keep_alive_timeout: KEEP_ALIVE_TIMEOUT,
            drain_timeout: DRAIN_TIMEOUT,
        }
    }
}

impl HttpServerConfig {
    /// Reads the bounds; all have defaults.
    pub fn read(section: &mut Section<'_>) -> Self {
        Self {
            max_connections: section.value(
                "max_connections",
                MAX_CONNECTIONS,
                "Connections open at a time. When all are taken, the one that has been idle for longest is closed for the next; when none is idle, more wait.",
            ),
            max_connections_per_peer: section.optional(
                "max_connections_per_peer",
                "Connections open at a time from one address; more are closed. Unset: half of max_connections.",
            ),
            max_connection_idle: section.value(
                "max_connection_idle",
                MAX_CONNECTION_IDLE,
                "Time without a request after which an HTTP/2 connection is ended.",
            ),
            max_connection_age: section.value(
                "max_connection_age",
                MAX_CONNECTION_AGE,
                "Age at which an HTTP/2 connection is ended, shortened by up to a tenth; its sender connects anew.",
            ),
            max_connection_age_grace: section.value(
                "max_connection_age_grace",
                MAX_CONNECTION_AGE_GRACE,
                "Time for the requests in hand on such a connection.",
            ),
            max_concurrent_streams: section.value(
                "max_concurrent_streams",
                MAX_CONCURRENT_STREAMS,
                "Requests in flight at a time on one HTTP/2 connection.",
            ),
            header_timeout: section.value(
                "header_timeout",
                HEADER_TIMEOUT,
                "Time to send a request head; also how long an idle HTTP/1.1 connection is kept.",
            ),
            keep_alive_interval: section.value(
                "keep_alive_interval",
                KEEP_ALIVE_INTERVAL,
                "Time of silence after which an HTTP/2 peer is pinged.",
            ),
            keep_alive_timeout: section.value(
                "keep_alive_timeout",
                KEEP_ALIVE_TIMEOUT,
                "Time to answer that ping.",
            ),
            drain_timeout: section.value(
                "drain_timeout",
                DRAIN_TIMEOUT,
                "Time for requests in hand when the server stops.",
            ),
        }
    }
}

impl HttpServerConfig {
    fn max_per_peer(&self) -> usize {
        let half = (self.max_connections.get() / 2).max(1);
        self.max_connections_per_peer.map_or(half, NonZeroUsize::get)
    }
}

/// How a server ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// Connections cut off at the end of `drain_timeout`.
    pub abandoned: usize,
}

/// Serves `router` on `listener` until `shutdown`, then drains. Errors of one connection end that connection only.
pub async fn serve(
    listener: TcpListener,
    router: Router,
    config: &HttpServerConfig,
    shutdown: CancellationToken,
) -> Drained {
    serve_counted(listener, router, config, &Closings::default(), shutdown).await
}

/// The same, and counts in `closings` the connections that it closes to keep within its bounds. Each request has an
/// `Arc<`[`Connection`]`>` among its extensions.
pub async fn serve_counted(
    listener: TcpListener,
    router: Router,
    config: &HttpServerConfig,
    closings: &Closings,
    shutdown: CancellationToken,
) -> Drained {
    let server = Server {
        connections: connection_builder(config),
        table: Table::new(config.max_per_peer(), closings.clone()),
        bounds: Bounds {
            idle: config.max_connection_idle,
            age: config.max_connection_age,
            age_grace: config.max_connection_age_grace,
        },
        router,
        header_timeout: config.header_timeout,
        draining: CancellationToken::new(),
        cut_off: CancellationToken::new(),
        tracker: TaskTracker::new(),
    };
    let slots = Arc::new(Semaphore::new(config.max_connections.get().min(Semaphore::MAX_PERMITS)));
    while let Some(accepted) = shutdown.run_until_cancelled(server.accept(&listener, &slots)).await {
        match accepted {
            Ok((stream, peer, slot)) => server.spawn_connection(stream, peer, slot),
            Err(error) => {
                tracing::warn!(error = %ErrorChain(&error), "cannot accept a connection");
                shutdown.run_until_cancelled(sleep(ACCEPT_PAUSE)).await;
            }
        }
    }
    drop(listener);
    server.drain(config.drain_timeout).await
}

struct Server {
    connections: auto::Builder<TokioExecutor>,
    table: Table,
    bounds: Bounds,
    router: Router,
    header_timeout: Duration,
    draining: CancellationToken,
    cut_off: CancellationToken,
    tracker: TaskTracker,
}

impl Server {
    /// A slot first, then a connection: when all are taken and none is idle, nothing is accepted.
    async fn accept(
        &self,
        listener: &TcpListener,
        slots: &Arc<Semaphore>,
    ) -> io::Result<(TcpStream, IpAddr, OwnedSemaphorePermit)> {
        let mut waiting = pin!(Arc::clone(slots).acquire_owned());
        let slot = loop {
            if slots.available_permits() == 0 {
                self.table.make_room();
            }
            if let Ok(slot) = timeout(LOOK_AGAIN, waiting.as_mut()).await {
                break slot.expect("the semaphore is never closed");
            }
        };
        let (stream, peer) = listener.accept().await?;
        Ok((stream, peer.ip(), slot))
    }

    fn spawn_connection(&self, stream: TcpStream, peer: IpAddr, slot: OwnedSemaphorePermit) {
        let Some(entry) = self.table.enter(peer) else { return };
        // Answers are small and awaited; a delay to fill packets only costs. It fails on a connection that is already gone.
        let _ = stream.set_nodelay(true);
        let io = TokioIo::new(FirstBytes::new(stream, self.header_timeout));
        let service = Counted::new(TowerToHyperService::new(self.router.clone()), entry.connection());
        let bounds = self.bounds;
        let connection = self.connections.serve_connection(io, service).into_owned();
        let (draining, cut_off) = (self.draining.clone(), self.cut_off.clone());
        self.tracker.spawn(async move {
            let _slot = slot;
            let mut connection = pin!(connection);
            let ended = tokio::select! {
                ended = connection.as_mut() => ended,
                () = draining.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection => ended,
                        () = cut_off.cancelled() => return,
                    }
                }
                Ending { grace } = entry.ends(bounds) => {
                    connection.as_mut().graceful_shutdown();
                    tokio::select! {
                        ended = connection => ended,
                        () = sleep(grace) => return,
                        () = cut_off.cancelled() => return,
                    }
                }
            };
            // Resets, timeouts and broken requests are the peer's doing and come at the peer's rate.
            if let Err(error) = ended {
                tracing::debug!(error = %ErrorChain(error.as_ref()), "connection ended");
            }
        });
    }

    async fn drain(&self, limit: Duration) -> Drained {
        self.draining.cancel();
        self.tracker.close();
        if timeout(limit, self.tracker.wait()).await.is_ok() {
            return Drained { abandoned: 0 };
        }
        let abandoned = self.tracker.len();
        tracing::warn!(abandoned, "connections were cut off at the end of the drain time");
        self.cut_off.cancel();
        self.tracker.wait().await;
        Drained { abandoned }
    }
}

fn connection_builder(config: &HttpServerConfig) -> auto::Builder<TokioExecutor> {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(config.header_timeout);
    builder
        .http2()
        .timer(TokioTimer::new())
        .keep_alive_interval(config.keep_alive_interval)
        .keep_alive_timeout(config.keep_alive_timeout)
        .max_concurrent_streams(config.max_concurrent_streams.get());
    builder
}
