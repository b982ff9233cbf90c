//! What a client on the other side of each link sees.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::time::Instant;

use super::*;

/// Only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long a test watches that nothing comes.
const SILENCE: Duration = Duration::from_millis(200);

/// A server that sends back what it gets, on each connection, and a proxy before it.
fn echo() -> Proxy {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let target = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(std::result::Result::ok) {
            std::thread::spawn(move || {
                let mut writer = stream.try_clone().unwrap();
                // Ends with the client or with the link.
                let _ = std::io::copy(&mut &stream, &mut writer);
            });
        }
    });
    Proxy::to(target).unwrap()
}

fn connect(proxy: &Proxy) -> TcpStream {
    let stream = TcpStream::connect(proxy.address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

fn sent_back(stream: &mut TcpStream, text: &[u8]) -> std::io::Result<Vec<u8>> {
    stream.write_all(text)?;
    let mut answer = vec![0; text.len()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn is_silent(stream: &mut TcpStream) -> bool {
    stream.set_read_timeout(Some(SILENCE)).unwrap();
    let outcome = stream.read(&mut [0; 1]);
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    outcome.is_err_and(|error| matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut))
}

/// Waits for a state of the proxy that one of its threads is about to reach.
fn comes(is_there: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_there() {
        assert!(start.elapsed() < PATIENCE);
        std::thread::yield_now();
    }
}

#[test]
fn an_open_link_passes_everything_on_many_connections() {
    let proxy = echo();
    let mut streams: Vec<_> = (0..20).map(|_| connect(&proxy)).collect();
    for stream in &mut streams {
        assert_eq!(sent_back(stream, b"hello").unwrap(), b"hello");
    }
    assert_eq!(proxy.connections(), 20);
    let large = vec![7; 3_000_000];
    let mut reader = streams[0].try_clone().unwrap();
    let expected = large.clone();
    let reading = std::thread::spawn(move || {
        let mut answer = vec![0; expected.len()];
        reader.read_exact(&mut answer).unwrap();
        answer == expected
    });
    streams[0].write_all(&large).unwrap();
    assert!(reading.join().unwrap());
}

#[test]
fn a_cut_ends_what_is_open_and_refuses_until_it_is_mended() {
    let proxy = echo();
    let mut stream = connect(&proxy);
    sent_back(&mut stream, b"hello").unwrap();
    proxy.set(Link::Cut);
    assert_eq!(stream.read(&mut [0; 1]).unwrap(), 0, "closed in order");
    // The end of a connection may be seen a moment before the port is closed.
    let is_refused = || {
        let outcome = TcpStream::connect(proxy.address());
        outcome.is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
    };
    comes(is_refused);
    proxy.set(Link::Open);
    comes(|| TcpStream::connect(proxy.address()).is_ok());
    assert_eq!(sent_back(&mut connect(&proxy), b"again").unwrap(), b"again");
}

#[test]
fn a_reset_is_seen_as_one() {
    let proxy = echo();
    let mut stream = connect(&proxy);
    sent_back(&mut stream, b"hello").unwrap();
    proxy.set(Link::Reset);
    assert_eq!(stream.read(&mut [0; 1]).unwrap_err().kind(), ErrorKind::ConnectionReset);
}

#[test]
fn a_held_link_loses_nothing() {
    let proxy = echo();
    let mut stream = connect(&proxy);
    sent_back(&mut stream, b"hello").unwrap();
    proxy.set(Link::Held);
    stream.write_all(b"later").unwrap();
    assert!(is_silent(&mut stream));
    proxy.set(Link::Open);
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"later");
}

#[test]
fn old_connections_are_held_while_new_ones_pass() {
    let proxy = echo();
    let mut old = connect(&proxy);
    sent_back(&mut old, b"hello").unwrap();
    proxy.set(Link::HeldBelow(proxy.next_connection()));
    old.write_all(b"later").unwrap();
    assert_eq!(sent_back(&mut connect(&proxy), b"new").unwrap(), b"new");
    assert!(is_silent(&mut old));
    proxy.set(Link::Open);
    let mut answer = [0; 5];
    old.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"later");
}

#[test]
fn what_was_swallowed_is_followed_by_nothing() {
    for link in [Link::HalfOpen, Link::Lossy(Direction::ToServer), Link::Lossy(Direction::ToClient)] {
        let proxy = echo();
        let mut stream = connect(&proxy);
        sent_back(&mut stream, b"hello").unwrap();
        proxy.set(link);
        stream.write_all(b"lost").unwrap();
        assert!(is_silent(&mut stream), "{link:?}");
        assert_eq!(proxy.swallowed_bytes(), 4, "{link:?}");
        proxy.set(Link::Open);
        // The pumps see the link when they next look; sooner or later the connection is reset, and never answers.
        let error = sent_back(&mut stream, b"more").unwrap_err();
        let kinds = [ErrorKind::ConnectionReset, ErrorKind::BrokenPipe, ErrorKind::UnexpectedEof];
        assert!(kinds.contains(&error.kind()), "{link:?}: {error}");
        assert_eq!(sent_back(&mut connect(&proxy), b"new").unwrap(), b"new");
    }
}

#[test]
fn a_connection_is_cut_after_so_many_bytes() {
    let proxy = echo();
    proxy.set(Link::CutAfter { direction: Direction::ToClient, bytes: 10 });
    let mut stream = connect(&proxy);
    stream.write_all(b"0123456789abcdef").unwrap();
    let mut answer = Vec::new();
    // Closed with bytes unread, the kernel may make it a reset.
    let _ = stream.read_to_end(&mut answer);
    assert_eq!(answer, b"0123456789");
}

#[test]
fn a_slow_link_takes_its_time() {
    let proxy = echo();
    let delay = Duration::from_millis(50);
    proxy.set(Link::Slow { delay, bytes_per_second: NonZeroU32::new(100_000) });
    let mut stream = connect(&proxy);
    let start = Instant::now();
    sent_back(&mut stream, &[1; 10_000]).unwrap();
    // 50 ms and 10,000 / 100,000 s, there and back.
    assert!(start.elapsed() >= Duration::from_millis(300), "{:?}", start.elapsed());
}
