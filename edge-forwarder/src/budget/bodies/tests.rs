//! Who is bounded, and who is given up, while the clock stands or is moved by hand.

use tokio::time::advance;

use super::*;
use crate::budget::{MemoryBudget, Reservation};

/// A body of `holder` that holds `bytes` and of which `came` have come.
fn body(budget: &MemoryBudget, holder: &Holder, bytes: usize, came: usize) -> (Arc<Body>, Reservation) {
    let body = budget.body(holder);
    let mut reservation = budget.reservation_for(&body);
    reservation.grow(bytes).unwrap();
    body.came(came);
    (body, reservation)
}

fn holder(connection: usize, peer: &Arc<Share>) -> Holder {
    Holder { connection: Arc::new(Share::new(connection)), peer: Arc::clone(peer) }
}

fn is_given_up(body: &Body) -> bool {
    body.given_up.is_cancelled()
}

#[tokio::test(start_paused = true)]
async fn a_connection_and_a_peer_hold_no_more_than_their_shares_until_a_body_has_ended() {
    let budget = MemoryBudget::new(1000);
    let peer = Arc::new(Share::new(150));
    let (one, other) = (holder(100, &peer), holder(100, &peer));
    let (_, mut first) = body(&budget, &one, 90, 1);
    let refused = first.grow(11).unwrap_err();
    assert_eq!((refused.limit, refused.scope), (100, Scope::Connection));
    let (_, mut second) = body(&budget, &other, 60, 1);
    assert_eq!(second.grow(1).unwrap_err().scope, Scope::Peer);
    assert_eq!(budget.used(), 150, "what was refused is not counted");
    first.settle();
    second.grow(40).unwrap();
    first.grow(800).unwrap();
    assert_eq!(first.grow(100).unwrap_err().scope, Scope::Process, "a body that has ended is the process's");
    drop((first, second));
    let used = |share: &Share| share.used.load(Ordering::Relaxed);
    assert_eq!((budget.used(), used(&peer), used(&one.connection), used(&other.connection)), (0, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_slowest_is_given_up_first_and_no_more_than_needed() {
    let budget = MemoryBudget::new(1000);
    let peer = Arc::new(Share::new(1000));
    let of = |came| body(&budget, &holder(1000, &peer), 200, came);
    let ((slowest, _a), (slower, _b), (fast, _c)) = (of(10), of(500), of(SLOW as usize));
    let (young, mut reservation) = of(0);
    assert!(!is_given_up(&slowest), "nothing is known yet");
    advance(LEAST_AGE).await;
    let (_, _more) = body(&budget, &holder(1000, &peer), 10, 0);
    assert!(is_given_up(&young), "of which nothing came");
    assert!(!is_given_up(&slowest) && !is_given_up(&slower), "one is enough");
    // It has not ended yet, and it is known that it will.
    advance(LOOK_INTERVAL).await;
    let (_, _more) = body(&budget, &holder(1000, &peer), 100, 0);
    assert!(!is_given_up(&slowest));
    reservation.settle();
    drop(reservation);
    advance(LOOK_INTERVAL).await;
    let (_, _more) = body(&budget, &holder(1000, &peer), 200, 0);
    assert!(is_given_up(&slowest) && !is_given_up(&slower) && !is_given_up(&fast));
}

#[tokio::test(start_paused = true)]
async fn a_fast_body_is_kept_whoever_is_short_and_a_slow_one_only_while_nobody_is() {
    let budget = MemoryBudget::new(10_000);
    let (mine, others) = (Arc::new(Share::new(400)), Arc::new(Share::new(400)));
    let one = holder(400, &mine);
    let (fast, _a) = body(&budget, &one, 150, 2 * SLOW as usize);
    let (slow, _b) = body(&budget, &one, 100, 100);
    let (of_others, _c) = body(&budget, &holder(400, &others), 100, 1);
    advance(LEAST_AGE).await;
    let (_, mut more) = body(&budget, &one, 40, 1);
    assert!(!is_given_up(&slow), "three quarters are not in use yet");
    advance(LOOK_INTERVAL).await;
    more.grow(50).unwrap();
    assert!(is_given_up(&slow) && !is_given_up(&fast));
    assert!(!is_given_up(&of_others), "another peer has enough");
}

#[tokio::test(start_paused = true)]
async fn a_body_that_began_fast_and_stalls_is_slow() {
    let now = Instant::now();
    let mut speed = Speed { since: now, bytes: 0, before: 0 };
    speed.note(10 * SLOW, now);
    assert!(speed.now(now + WINDOW / 2) >= SLOW);
    assert!(speed.now(now + 11 * WINDOW) < SLOW);
    speed.note(1, now + 11 * WINDOW);
    assert!(speed.now(now + 11 * WINDOW) < SLOW, "a drop does not make it fast");
}
