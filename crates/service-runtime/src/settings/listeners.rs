//! Finds two listeners of one process that want the same port.

use std::net::{IpAddr, SocketAddr};

/// The addresses read so far, each under its key path.
#[derive(Debug, Default)]
pub(super) struct Listeners(Vec<(String, SocketAddr)>);

impl Listeners {
    /// Notes an address. Returns the key path of one that was noted before and leaves no room for it.
    pub(super) fn note(&mut self, path: &str, address: SocketAddr) -> Option<&str> {
        if self.0.iter().all(|(noted, _)| noted != path) {
            self.0.push((path.to_owned(), address));
        }
        let others = self.0.iter().filter(|(noted, _)| noted != path);
        others.clone().find(|(_, other)| is_conflict(*other, address)).map(|(noted, _)| noted.as_str())
    }
}

/// Whether the system binds only one of the two. Port 0 takes a free one.
fn is_conflict(one: SocketAddr, other: SocketAddr) -> bool {
    let (one_ip, other_ip) = (one.ip().to_canonical(), other.ip().to_canonical());
    // `::` takes IPv4 too, as systems are set up.
    let takes = |taker: IpAddr, taken: IpAddr| {
        taker == taken || (taker.is_unspecified() && (taker.is_ipv6() || taken.is_ipv4()))
    };
    one.port() != 0 && one.port() == other.port() && (takes(one_ip, other_ip) || takes(other_ip, one_ip))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_listeners_conflict_where_the_system_would_bind_only_one() {
        for (one, other, expected) in [
            ("127.0.0.1:4317", "127.0.0.1:4317", true),
            ("127.0.0.1:4317", "127.0.0.1:4318", false),
            ("127.0.0.1:0", "127.0.0.1:0", false),
            ("0.0.0.0:4317", "127.0.0.1:4317", true),
            ("[::]:4317", "127.0.0.1:4317", true),
            ("[::]:4317", "0.0.0.0:4317", true),
            ("[::]:4317", "[::1]:4317", true),
            ("0.0.0.0:4317", "[::1]:4317", false),
            ("127.0.0.1:4317", "127.0.0.2:4317", false),
            ("127.0.0.1:4317", "[::1]:4317", false),
            ("[::ffff:127.0.0.1]:4317", "127.0.0.1:4317", true),
        ] {
            let (first, second) = (one.parse().unwrap(), other.parse().unwrap());
            assert_eq!(
                (is_conflict(first, second), is_conflict(second, first)),
                (expected, expected),
                "{one} {other}"
            );
        }
    }
}
