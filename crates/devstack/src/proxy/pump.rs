//! One connection of a proxy: two pumps, one for each direction, that look at the link before every step.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::watch;

use super::{Direction, Link, Shared};

const CHUNK: usize = 64 * 1024;

/// What the link asks of a pump that holds a chunk, or is about to wait for one.
#[derive(Debug, PartialEq, Eq)]
enum Order {
    Pass(Duration),
    Wait,
    Swallow,
    Close,
    Reset,
}

/// Why a connection is over.
#[derive(Debug, PartialEq, Eq)]
enum End {
    /// One side has nothing more to send; the other half lives on.
    Finished,
    /// In order, by the link.
    Closed,
    Reset,
}

/// What the two pumps of a connection share.
#[derive(Debug, Default)]
struct Passage {
    number: u64,
    /// Some bytes were swallowed: nothing may follow them.
    has_lost: AtomicBool,
    to_server: AtomicU64,
    to_client: AtomicU64,
}

/// Pumps until one side ends, or the link ends the connection.
pub(super) async fn run(
    mut client: TcpStream,
    number: u64,
    shared: &Shared,
    mut link: watch::Receiver<Link>,
) {
    let passage = Passage { number, ..Passage::default() };
    let end = match connect(shared, &mut link).await {
        Ok(mut server) => {
            let end = {
                let (from_client, to_client) = client.split();
                let (from_server, to_server) = server.split();
                let up = pump(from_client, to_server, Direction::ToServer, &passage, shared, link.clone());
                let down = pump(from_server, to_client, Direction::ToClient, &passage, shared, link);
                tokio::pin!(up, down);
                // A side that has ended its half in order may still wait for the rest of the other half.
                tokio::select! {
                    end = &mut up => if end == End::Finished { down.await } else { end },
                    end = &mut down => if end == End::Finished { up.await } else { end },
                }
            };
            leave(&server, &end);
            end
        }
        Err(end) => end,
    };
    leave(&client, &end);
}

/// The server's side of a new connection. While the link is held, nobody gets through to it.
async fn connect(shared: &Shared, link: &mut watch::Receiver<Link>) -> Result<TcpStream, End> {
    loop {
        let now = *link.borrow_and_update();
        match now {
            Link::Held => link.changed().await.map_err(|_| End::Closed)?,
            Link::Cut => return Err(End::Closed),
            Link::Reset => return Err(End::Reset),
            _ => break,
        }
    }
    let target = shared.target().ok_or(End::Closed)?;
    let server = TcpStream::connect(target).await.map_err(|_| End::Reset)?;
    // Small requests and answers: waiting for more of them would be a delay of our own.
    let _ = server.set_nodelay(true);
    Ok(server)
}

/// Moves bytes in one direction until it ends.
async fn pump(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    direction: Direction,
    passage: &Passage,
    shared: &Shared,
    mut link: watch::Receiver<Link>,
) -> End {
    let mut buffer = vec![0; CHUNK];
    // Bytes of the buffer that were read and have not been passed on.
    let mut waiting = 0..0_usize;
    loop {
        let order = order(*link.borrow_and_update(), direction, waiting.len(), passage);
        match order {
            Order::Close => return End::Closed,
            Order::Reset => return End::Reset,
            Order::Wait => {
                if link.changed().await.is_err() {
                    return End::Closed;
                }
                continue;
            }
            Order::Swallow if !waiting.is_empty() => {
                passage.has_lost.store(true, Ordering::Relaxed);
                shared.swallowed.fetch_add(waiting.len() as u64, Ordering::Relaxed);
                waiting = 0..0;
            }
            Order::Pass(pause) if !waiting.is_empty() => {
                if !pause.is_zero() {
                    tokio::time::sleep(pause).await;
                }
                let allowed = allowed(*link.borrow(), direction, waiting.len(), passage);
                let chunk = &buffer[waiting.start..waiting.start + allowed];
                if to.write_all(chunk).await.is_err() {
                    return End::Reset;
                }
                passage.count(direction).fetch_add(allowed as u64, Ordering::Relaxed);
                shared.passed.fetch_add(allowed as u64, Ordering::Relaxed);
                waiting.start += allowed;
                continue;
            }
            Order::Pass(_) | Order::Swallow => {}
        }
        tokio::select! {
            changed = link.changed() => if changed.is_err() { return End::Closed },
            read = from.read(&mut buffer) => match read {
                Ok(0) => {
                    // The other direction may still have something to say.
                    let _ = to.shutdown().await;
                    return End::Finished;
                }
                Ok(bytes) => waiting = 0..bytes,
                Err(_) => return End::Reset,
            },
        }
    }
}

/// What to do with `waiting` bytes in hand; 0 when the pump is about to read.
fn order(link: Link, direction: Direction, waiting: usize, passage: &Passage) -> Order {
    let order = match link {
        Link::Open => Order::Pass(Duration::ZERO),
        Link::Slow { delay, bytes_per_second } => {
            let at_rate = bytes_per_second
                .map(|rate| Duration::from_secs_f64(waiting as f64 / f64::from(rate.get())))
                .unwrap_or_default();
            Order::Pass(delay + at_rate)
        }
        Link::Held => Order::Wait,
        Link::HeldBelow(number) if passage.number < number => Order::Wait,
        Link::HeldBelow(_) => Order::Pass(Duration::ZERO),
        Link::Cut => Order::Close,
        Link::Reset => Order::Reset,
        Link::HalfOpen => Order::Swallow,
        Link::Lossy(lost) if lost == direction => Order::Swallow,
        Link::Lossy(_) => Order::Pass(Duration::ZERO),
        Link::CutAfter { direction: counted, bytes } => {
            let passed = passage.count(counted).load(Ordering::Relaxed);
            if passed >= bytes { Order::Close } else { Order::Pass(Duration::ZERO) }
        }
    };
    let lossy = matches!(link, Link::HalfOpen | Link::Lossy(_));
    match order {
        // Nothing may follow what was lost, in either direction: the peers would be out of step.
        Order::Pass(_) if passage.has_lost.load(Ordering::Relaxed) && !lossy => Order::Reset,
        order => order,
    }
}

/// How many of `waiting` bytes may pass now.
fn allowed(link: Link, direction: Direction, waiting: usize, passage: &Passage) -> usize {
    match link {
        Link::CutAfter { direction: counted, bytes } if counted == direction => {
            let left = bytes.saturating_sub(passage.count(counted).load(Ordering::Relaxed));
            waiting.min(usize::try_from(left).unwrap_or(waiting))
        }
        _ => waiting,
    }
}

impl Passage {
    fn count(&self, direction: Direction) -> &AtomicU64 {
        match direction {
            Direction::ToServer => &self.to_server,
            Direction::ToClient => &self.to_client,
        }
    }
}

/// Prepares what dropping the stream does: an orderly end, or a reset.
fn leave(stream: &TcpStream, end: &End) {
    if *end == End::Reset {
        // Lingering for no time makes the kernel send a reset at the close.
        let _ = stream.set_zero_linger();
    }
}
