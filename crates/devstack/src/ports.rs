//! Ports for servers that must know theirs before they start, and keep it when they are started again.
//!
//! They lie below the range from which the kernel serves outgoing connections: a port of that range could be taken by
//! any client while its server is stopped. That another server takes it between here and the start is unlikely but
//! possible; whoever starts a server tries again with other ports then.

use std::collections::HashSet;
use std::net::{Ipv4Addr, TcpListener};
use std::sync::{Mutex, PoisonError};

use crate::random;

/// Wide enough that several runs at once on one machine rarely meet.
const RANGE: u16 = 12_000;

/// A port on 127.0.0.1 that nobody listens on and that this process has not given out before.
pub(crate) fn free() -> u16 {
    static GIVEN: Mutex<Option<HashSet<u16>>> = Mutex::new(None);
    let mut given = GIVEN.lock().unwrap_or_else(PoisonError::into_inner);
    let given = given.get_or_insert_default();
    let first = ephemeral_start().saturating_sub(RANGE).max(1024);
    let offset = u16::try_from(random::number() % u64::from(RANGE)).unwrap_or_default();
    let candidates = (0..RANGE).map(|step| first + (offset + step) % RANGE);
    let mut free = candidates.filter(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok());
    let port = free.find(|port| given.insert(*port));
    // With the range used up the kernel's choice is as good as any.
    port.unwrap_or_else(|| {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|listener| listener.local_addr());
        listener.map(|address| address.port()).unwrap_or(first)
    })
}

fn ephemeral_start() -> u16 {
    let text = std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    text.split_whitespace().next().and_then(|start| start.parse().ok()).unwrap_or(32_768)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_distinct_and_out_of_reach_of_outgoing_connections() {
        let ports: HashSet<u16> = (0..50).map(|_| free()).collect();
        assert_eq!(ports.len(), 50);
        assert!(ports.iter().all(|port| *port < ephemeral_start()), "{ports:?}");
        assert!(ports.iter().all(|port| TcpListener::bind((Ipv4Addr::LOCALHOST, *port)).is_ok()));
    }
}
