//! Whose a request is: the connection it comes over and the address behind it, with what each may hold.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr},
    sync::{Arc, Mutex, PoisonError, Weak},
};

use axum::http::Extensions;
use service_runtime::{http_server::Connection, log::Occasional};

use super::answer::Refusal;
use crate::budget::{Holder, Scope, Share};

/// Addresses beyond which those without a request under way are forgotten at each new one.
const MANY_PEERS: usize = 1024;

/// The other end of a connection.
#[derive(Debug, Clone)]
pub(super) struct Sender {
    pub(super) peer: IpAddr,
    pub(super) holder: Holder,
}

/// The shares of all addresses that have a connection.
#[derive(Debug)]
pub(super) struct Peers {
    connection_max_bytes: usize,
    peer_max_bytes: usize,
    shares: Mutex<HashMap<IpAddr, Weak<Share>>>,
}

/// One line for each way in which a sender holds up the others, however often it does.
#[derive(Debug, Default)]
pub(super) struct SlowLines {
    connection: Occasional,
    peer: Occasional,
    stalled: Occasional,
    given_up: Occasional,
}

impl Peers {
    pub(super) fn new(connection_max_bytes: usize, peer_max_bytes: usize) -> Peers {
        Peers { connection_max_bytes, peer_max_bytes, shares: Mutex::default() }
    }

    /// The sender of a request. One that came over no connection is somebody of its own.
    pub(super) fn sender(&self, extensions: &Extensions) -> Sender {
        let connection = extensions.get::<Arc<Connection>>();
        let peer = connection.map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |connection| connection.peer());
        let attach = || Holder {
            connection: Arc::new(Share::new(self.connection_max_bytes)),
            peer: self.share_of(peer),
        };
        let attached = connection.and_then(|connection| connection.attached(attach).cloned());
        Sender { peer, holder: attached.unwrap_or_else(attach) }
    }

    fn share_of(&self, peer: IpAddr) -> Arc<Share> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(&peer).and_then(Weak::upgrade) {
            return share;
        }
        if shares.len() >= MANY_PEERS {
            shares.retain(|_, share| share.strong_count() > 0);
        }
        let share = Arc::new(Share::new(self.peer_max_bytes));
        shares.insert(peer, Arc::downgrade(&share));
        share
    }
}

impl SlowLines {
    /// Writes a line when the refusal is of that kind and none was written lately.
    pub(super) fn tell(&self, refusal: &Refusal, sender: &Sender) {
        let line = match refusal {
            Refusal::Memory { scope: Scope::Connection } => &self.connection,
            Refusal::Memory { scope: Scope::Peer } => &self.peer,
            Refusal::Stalled { .. } | Refusal::SlowBody { .. } => &self.stalled,
            Refusal::GivenUp => &self.given_up,
            _ => return,
        };
        if let Some(more) = line.admit() {
            let (peer, reason) = (sender.peer, refusal.reason());
            tracing::warn!(%peer, reason, %refusal, more, "a sender would hold up others and is refused");
        }
    }
}
