//! Serves HTTP/1.1 connections until told to stop, then lets the requests in flight finish.
//!
//! Bounds: connections at once, time to send a request's head (which is also how long an idle connection is kept),
//! and the time a drain may take. What the handlers may take is theirs to bound.

use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use crate::spans::Peer;

/// Connections served at once; the next ones wait in the kernel's backlog. Each costs about 16 KiB of buffers.
const MAX_CONNECTIONS: usize = 4096;

/// Time for a request's head to arrive, counted from the moment the connection falls idle. The original has 10 s for
/// the head and 60 s idle; here one timer serves both.
const HEADER_TIMEOUT: Duration = Duration::from_secs(60);

/// Time requests in flight have to finish after a stop; the original's.
pub(crate) const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// Pause after `accept` failed, so that running out of file descriptors does not become a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// The drain deadline passed with connections still open; they were cut.
#[derive(Debug, thiserror::Error)]
#[error("context deadline exceeded")]
pub(crate) struct DrainTimedOut;

/// Serves until `stop` resolves and calls `draining` then; ends when every connection is closed.
pub(crate) async fn serve(
    listener: TcpListener,
    router: Router,
    stop: impl Future<Output = ()>,
    draining: impl FnOnce(),
) -> Result<(), DrainTimedOut> {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let graceful = GracefulShutdown::new();
    let mut connections = JoinSet::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        tokio::select! {
            () = &mut stop => break,
            // Cancel-safe: a permit or a connection that is not returned is given back by its drop.
            (permit, accepted) = accept(&listener, &slots) => match accepted {
                Ok((stream, peer)) => {
                    let watcher = graceful.watcher();
                    let router = router.clone();
                    connections.spawn(async move {
                        connection(stream, Peer(peer), router, watcher).await;
                        drop(permit);
                    });
                }
                Err(_) => tokio::time::sleep(ACCEPT_PAUSE).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
    drop(listener);
    draining();
    let drained = tokio::time::timeout(DRAIN_DEADLINE, graceful.shutdown()).await;
    connections.shutdown().await;
    drained.map_err(|_| DrainTimedOut)
}

type Permit = Result<tokio::sync::OwnedSemaphorePermit, tokio::sync::AcquireError>;

async fn accept(
    listener: &TcpListener,
    slots: &Arc<Semaphore>,
) -> (Permit, io::Result<(TcpStream, SocketAddr)>) {
    let permit = Arc::clone(slots).acquire_owned().await;
    (permit, listener.accept().await)
}

/// Serves one connection to its end. How it ended is the client's affair: the original logs nothing either.
async fn connection(stream: TcpStream, peer: Peer, router: Router, watcher: Watcher) {
    // Answers are small and written whole: waiting to fill a segment would only add latency.
    let _ = stream.set_nodelay(true);
    let service = service_fn(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(peer);
        router.clone().oneshot(request)
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEADER_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    let _ = watcher.watch(connection).await;
}
