//! Requests that were refused as retryable, and of which the producer has a copy, or has had one since.
//!
//! Without a spool a broker that is late means a refusal, and the sender sends the request again, as the specification asks. Each
//! of these would be another copy. So the copy that the producer has is followed to its end, and a request that comes again
//! byte for byte *is* that copy: it waits for the same report. When the report comes between two attempts it is kept for as
//! long as senders go on trying.
//!
//! A copy answers one request. So there are never fewer copies than requests that were answered with success: of two equal
//! requests each has its own, and a request that nobody was told to send again is never taken for another one.
//!
//! Memory: a copy holds its request and its place in the memory budget until it has its report. The producer's queue bounds how
//! many there are. After that it is a hash and its report, of which there are [`MOST_LANDED`].

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use tokio::{
    sync::watch,
    time::{Instant, timeout},
};
use xxhash_rust::xxh3::xxh3_128;

use super::{Published, Unpublished, unix_nanos};

/// For so long a refusal says that the broker is late, if nothing else is heard.
const REFUSED_JUST_NOW: Duration = Duration::from_secs(5);
/// For so long a landed copy waits for its sender: the Collector's exporters give up after five minutes, SDKs before.
const KEPT: Duration = Duration::from_secs(6 * 60);
/// Landed copies that are remembered.
const MOST_LANDED: usize = 10_000;

/// XXH3 of a request's bytes.
type Key = u128;
/// What became of a copy; `None` while the producer has it.
type Report = Option<Result<Published, Unpublished>>;

/// The copies of a signal's requests that no sender waits for.
#[derive(Debug, Default)]
pub(super) struct Unanswered {
    /// Copies that the producer has.
    followed: AtomicUsize,
    /// Copies that the producer has or that are remembered, so that requests pay one load while there are none.
    known: AtomicUsize,
    /// When a request was last refused because the broker is late, in milliseconds since the epoch.
    refused_at: AtomicU64,
    copies: Mutex<Copies>,
}

#[derive(Debug, Default)]
struct Copies {
    /// Those that no request waits for.
    waiting: HashMap<Key, Vec<watch::Receiver<Report>>>,
    /// When copies landed that nobody waited for, the earliest first. Some may have been claimed since.
    landed: VecDeque<(Instant, Key)>,
}

/// A copy that is followed to its end.
#[derive(Debug)]
pub(super) struct Followed {
    unanswered: Arc<Unanswered>,
    key: Key,
    report: watch::Sender<Report>,
}

/// What a request that came again learned of its copy.
#[derive(Debug)]
pub(super) enum Again {
    /// All of it is safe.
    Published(Published),
    /// The copy failed: the request has to be sent.
    Failed,
    /// The producer still has it.
    StillWaiting,
}

/// A copy that a request waits for; it goes back unless that one is told of its end.
struct Claim {
    unanswered: Arc<Unanswered>,
    key: Key,
    report: watch::Receiver<Report>,
    is_told: bool,
}

impl Unanswered {
    /// Whether requests are refused because the broker does not acknowledge.
    pub(super) fn is_late(&self) -> bool {
        let since = now_ms().saturating_sub(self.refused_at.load(Ordering::Relaxed));
        self.followed.load(Ordering::Acquire) > 0 || since < REFUSED_JUST_NOW.as_millis() as u64
    }

    /// A request is refused because the broker does not acknowledge.
    pub(super) fn note_refused(&self) {
        self.refused_at.store(now_ms(), Ordering::Relaxed);
    }

    /// A request is safe.
    pub(super) fn note_taken(&self) {
        if self.refused_at.load(Ordering::Relaxed) > 0 {
            self.refused_at.store(0, Ordering::Relaxed);
        }
    }

    /// The sender of this request is told to come again, and the producer has a copy.
    pub(super) fn follow(self: &Arc<Self>, request: &[u8]) -> Followed {
        let key = xxh3_128(request);
        let (report, waiting) = watch::channel(None);
        self.followed.fetch_add(1, Ordering::Release);
        let mut copies = self.copies();
        copies.waiting.entry(key).or_default().push(waiting);
        self.known.fetch_add(1, Ordering::Release);
        Followed { unanswered: Arc::clone(self), key, report }
    }

    /// Waits for the copy of a request that comes again; `None` when there is none.
    pub(super) async fn wait(self: &Arc<Self>, request: &[u8], patience: Duration) -> Option<Again> {
        if self.known.load(Ordering::Acquire) == 0 {
            return None;
        }
        let mut claim = self.claim(xxh3_128(request))?;
        let reported = timeout(patience, claim.report.wait_for(Option::is_some)).await;
        let report = reported.map(|report| report.map_or(None, |report| *report));
        claim.is_told = report.is_ok();
        Some(match report {
            Ok(Some(Ok(published))) => Again::Published(published),
            Ok(_) => Again::Failed,
            Err(_) => Again::StillWaiting,
        })
    }

    fn claim(self: &Arc<Self>, key: Key) -> Option<Claim> {
        let mut copies = self.copies();
        copies.forget_old(&self.known);
        let report = copies.take(key, |_| true)?;
        self.known.fetch_sub(1, Ordering::Release);
        Some(Claim { unanswered: Arc::clone(self), key, report, is_told: false })
    }

    /// A copy that a request does not wait for any more.
    fn put_back(&self, key: Key, report: &watch::Receiver<Report>) {
        let mut copies = self.copies();
        match *report.borrow() {
            Some(Err(_)) => return,
            Some(Ok(_)) => copies.landed.push_back((Instant::now(), key)),
            None => {}
        }
        copies.waiting.entry(key).or_default().push(report.clone());
        self.known.fetch_add(1, Ordering::Release);
    }

    fn copies(&self) -> MutexGuard<'_, Copies> {
        self.copies.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Copies {
    /// Takes a copy out, one that has landed rather than another.
    fn take(&mut self, key: Key, is_meant: impl Fn(&Report) -> bool) -> Option<watch::Receiver<Report>> {
        let of_key = self.waiting.get_mut(&key)?;
        let landed = of_key.iter().position(|copy| copy.borrow().is_some() && is_meant(&copy.borrow()));
        let index = landed.or_else(|| of_key.iter().position(|copy| is_meant(&copy.borrow())))?;
        let copy = of_key.swap_remove(index);
        if of_key.is_empty() {
            self.waiting.remove(&key);
        }
        Some(copy)
    }

    /// Forgets landed copies for which nobody came.
    fn forget_old(&mut self, known: &AtomicUsize) {
        while let Some((since, key)) = self.landed.front().copied() {
            if since.elapsed() < KEPT && self.landed.len() <= MOST_LANDED {
                return;
            }
            self.landed.pop_front();
            if self.take(key, Option::is_some).is_some() {
                known.fetch_sub(1, Ordering::Release);
            }
        }
    }
}

impl Followed {
    /// The copy has its report: whoever waits for it is told, or the next one that comes.
    pub(super) fn end(self, report: Result<Published, Unpublished>) {
        self.report.send_replace(Some(report));
    }
}

/// Also when the task that follows it is cut off: then the copy is no longer known to be anywhere.
impl Drop for Followed {
    fn drop(&mut self) {
        let mut copies = self.unanswered.copies();
        let mut has_landed = true;
        self.report.send_if_modified(|report| {
            has_landed = report.get_or_insert(Err(Unpublished::NotAcknowledged)).is_ok();
            true
        });
        let mine = self.report.subscribe();
        let is_waiting = copies
            .waiting
            .get(&self.key)
            .is_some_and(|of_key| of_key.iter().any(|copy| copy.same_channel(&mine)));
        if is_waiting && has_landed {
            copies.landed.push_back((Instant::now(), self.key));
        } else if is_waiting && copies.take(self.key, |report| matches!(report, Some(Err(_)))).is_some() {
            self.unanswered.known.fetch_sub(1, Ordering::Release);
        }
        copies.forget_old(&self.unanswered.known);
        self.unanswered.followed.fetch_sub(1, Ordering::Release);
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        if !self.is_told {
            self.unanswered.put_back(self.key, &self.report);
        }
    }
}

fn now_ms() -> u64 {
    unix_nanos() / 1_000_000
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(10);
    const ALL: Published = Published { acked: 3, dead_lettered: 0, kept: 0 };

    #[tokio::test(start_paused = true)]
    async fn a_copy_answers_one_request_and_only_one_that_is_equal() {
        let unanswered = Arc::new(Unanswered::default());
        let copies = [unanswered.follow(b"a"), unanswered.follow(b"a")];
        assert!(unanswered.wait(b"b", SOON).await.is_none());
        for _ in 0..3 {
            assert!(matches!(unanswered.wait(b"a", SOON).await, Some(Again::StillWaiting)));
        }
        let waiting = [(); 3].map(|()| {
            let unanswered = Arc::clone(&unanswered);
            tokio::spawn(async move { unanswered.wait(b"a", Duration::from_secs(9)).await })
        });
        tokio::time::sleep(SOON).await;
        assert!(unanswered.is_late());
        copies.into_iter().for_each(|copy| copy.end(Ok(ALL)));
        assert!(!unanswered.is_late());
        let mut told = Vec::new();
        for waiting in waiting {
            told.push(waiting.await.unwrap());
        }
        let published = |again: &&Option<Again>| matches!(again, Some(Again::Published(ALL)));
        assert_eq!(told.iter().filter(published).count(), 2, "{told:?}");
        assert_eq!(told.iter().filter(|again| again.is_none()).count(), 1, "the third is another request");
        assert_eq!(unanswered.followed.load(Ordering::Relaxed), 0);
    }

    #[tokio::test]
    async fn a_copy_that_lands_between_two_attempts_answers_the_next_one_for_some_minutes() {
        tokio::time::pause();
        let unanswered = Arc::new(Unanswered::default());
        unanswered.follow(b"a").end(Ok(ALL));
        assert!(matches!(unanswered.wait(b"a", SOON).await, Some(Again::Published(ALL))));
        assert!(unanswered.wait(b"a", SOON).await.is_none(), "one copy, one answer");

        unanswered.follow(b"a").end(Ok(ALL));
        tokio::time::advance(KEPT).await;
        assert!(unanswered.wait(b"a", SOON).await.is_none());
        for number in 0..MOST_LANDED + 7 {
            unanswered.follow(&number.to_le_bytes()).end(Ok(ALL));
        }
        let copies = unanswered.copies();
        assert_eq!((copies.waiting.len(), copies.landed.len()), (MOST_LANDED, MOST_LANDED));
        assert_eq!(unanswered.known.load(Ordering::Relaxed), MOST_LANDED);
    }

    #[tokio::test]
    async fn a_copy_that_failed_or_is_no_longer_followed_is_sent_again() {
        let unanswered = Arc::new(Unanswered::default());
        for end in [true, false] {
            let copy = unanswered.follow(b"a");
            let waiting = unanswered.wait(b"a", Duration::from_secs(9));
            let ending = async { if end { copy.end(Err(Unpublished::NotAcknowledged)) } else { drop(copy) } };
            let (again, ()) = tokio::join!(waiting, ending);
            assert!(matches!(again, Some(Again::Failed)), "{again:?}");
            assert_eq!(unanswered.followed.load(Ordering::Relaxed), 0);
        }
    }

    #[tokio::test]
    async fn a_sender_that_leaves_gives_the_copy_back() {
        let unanswered = Arc::new(Unanswered::default());
        let copy = unanswered.follow(b"a");
        let leaving = unanswered.wait(b"a", Duration::from_secs(9));
        assert!(timeout(SOON, leaving).await.is_err());
        assert_eq!(unanswered.known.load(Ordering::Relaxed), 1);
        copy.end(Ok(ALL));
        assert!(matches!(unanswered.wait(b"a", SOON).await, Some(Again::Published(ALL))));
        assert_eq!(unanswered.known.load(Ordering::Relaxed), 0);
    }
}
