//! What of an announced block is counted, by every way that it comes to its end, against a sink that answers by script.

use std::{
    collections::{HashSet, VecDeque},
    sync::{Arc, Mutex},
    time::Duration,
};

use bytes::Bytes;
use service_runtime::Readiness;
use telemetry_wire::Signal;
use tokio::time::sleep;

use super::{
    super::tests::{delivery_to, fragment},
    *,
};
use crate::{
    decode::RowKey,
    derive::{Deriving, Program, metrics::DeriveMetrics, rules},
    lease::BootTime,
    sink::{Alone, Sealed, Unreadable},
};

/// Rows of a block, one of each record.
const ROWS: u64 = 4;
const STORED: Verdict = Verdict::Stored { refused: None };

/// Answers inserts and questions in order; its blocks are numbers of rows.
struct CountedSink {
    program: Arc<Program>,
    inserts: Mutex<VecDeque<Verdict>>,
    /// How many rows are missing.
    looks: Mutex<VecDeque<u64>>,
    /// How long an insert takes.
    takes: Duration,
}

impl CountedSink {
    fn sealed(&self, rows: u64) -> Sealed<u64> {
        let mut tally = Tally::new(Arc::clone(&self.program));
        tally.keep(rows as usize);
        Sealed { request: rows, items: rows, tally: Some(Box::new(tally)) }
    }
}

impl Sink for CountedSink {
    type Block = u64;
    type Request = u64;

    fn new_block(&self) -> u64 {
        0
    }

    fn add(&self, block: &mut u64, _: &Fragment) -> Result<(), Unreadable> {
        *block += 1;
        Ok(())
    }

    fn has_room(&self, _: &u64, _: usize) -> bool {
        true
    }

    fn items(&self, block: &u64) -> u64 {
        *block
    }

    fn seal(&self, block: &mut u64, _: &[Fragment], _: u64) -> Option<Sealed<u64>> {
        Some(self.sealed(std::mem::take(block)))
    }

    async fn send(&self, _: &u64, _: u32) -> Verdict {
        sleep(self.takes).await;
        self.inserts.lock().unwrap().pop_front().expect("no more inserts are due")
    }

    async fn read_back(&self, _: &[Fragment], _: &u64, _: Rebuilt) -> Result<Missing, Verdict> {
        let missing = self.looks.lock().unwrap().pop_front().expect("it is not asked more often");
        let row = |offset| RowKey { offset, time: 0, telling: 0 };
        Ok(match missing {
            ROWS => Missing::All,
            missing => Missing::Rows((0..missing as i64).map(row).collect::<HashSet<_>>()),
        })
    }

    fn seal_missing(&self, _: &[Fragment], missing: &Missing, _: u64, _: u32) -> Option<Sealed<u64>> {
        let Missing::Rows(rows) = missing else { return Some(self.sealed(ROWS)) };
        (!rows.is_empty()).then(|| self.sealed(rows.len() as u64))
    }

    fn halve(&self, _: &Fragment) -> Option<[Bytes; 2]> {
        None
    }
}

/// Delivers a block; what is counted of it in the end.
struct Case {
    delivery: Delivery<CountedSink>,
    metrics: DeriveMetrics,
    lease: Lease,
}

impl Case {
    fn new(inserts: &[Verdict], looks: &[u64], lease: Duration, takes: Duration) -> Case {
        let metrics = DeriveMetrics::default();
        let deriving = Deriving::new(&rules::read(rules::SHIPPED).unwrap(), metrics.clone());
        let sink = CountedSink {
            program: deriving.program(Signal::Logs).unwrap(),
            inserts: Mutex::new(inserts.to_vec().into()),
            looks: Mutex::new(looks.to_vec().into()),
            takes,
        };
        let lease = Lease::new(lease);
        lease.prove(BootTime::now());
        Case { delivery: delivery_to(Arc::new(sink), &Readiness::new()), metrics, lease }
    }

    async fn deliver(&self, insertion: Insertion) -> Delivered<u64> {
        let fragments = (0..ROWS).map(|offset| fragment(offset as i64, "row")).collect();
        let claim = Claim { insertion, rebuilt: Rebuilt::Alike, announced_at: 1, lease: self.lease.clone() };
        self.delivery.deliver_pinned(ROWS, fragments, claim).await
    }

    fn counted(&self) -> u64 {
        self.metrics.counted_of("logs")
    }
}

fn unknown() -> Verdict {
    Verdict::Unknown { reason: "timeout", detail: String::new() }
}

#[track_caller]
fn check(insertion: Insertion, inserts: &[Verdict], looks: &[u64], counted: u64) {
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    let case = Case::new(inserts, looks, Duration::from_secs(3600), Duration::ZERO);
    runtime.block_on(case.deliver(insertion));
    let sink = &case.delivery.sink;
    assert!(sink.inserts.lock().unwrap().is_empty() && sink.looks.lock().unwrap().is_empty());
    assert_eq!(case.counted(), counted);
}

#[test]
fn a_block_that_nobody_tried_before_counts_whole_however_it_was_stored() {
    let wait = Verdict::Wait { reason: "down", detail: String::new(), at_least: None };
    check(Insertion::new(), &[STORED], &[], ROWS);
    check(Insertion::new(), &[wait.clone(), wait, STORED], &[], ROWS);
    check(Insertion::new(), &[unknown()], &[0], ROWS);
    check(Insertion::new(), &[unknown(), STORED], &[ROWS, 0], ROWS);
    // The server has the token and has lost a row: it is brought by a repair, and so is another one.
    check(Insertion::new(), &[unknown(), STORED, STORED, STORED], &[1, 1, 1, 0], ROWS);
}

#[test]
fn a_block_that_its_former_owner_has_stored_does_not_count() {
    check(Insertion::announced_before(), &[], &[0], 0);
    check(Insertion::of_unknown_past(), &[], &[0], 0);
}

#[test]
fn a_block_that_its_former_owner_has_announced_and_not_stored_counts_whole() {
    check(Insertion::announced_before(), &[STORED], &[ROWS, 0], ROWS);
    // Its owner was in the middle: nobody has told it that the block is stored.
    check(Insertion::announced_before(), &[STORED], &[2, 0], ROWS);
}

#[test]
fn a_block_of_unknown_past_counts_by_what_was_missing_when_it_was_looked_for_first() {
    check(Insertion::of_unknown_past(), &[STORED], &[ROWS], ROWS);
    check(Insertion::of_unknown_past(), &[STORED], &[3, 0], 3);
    check(Insertion::of_unknown_past(), &[unknown(), STORED], &[3, 1, 0], 3);
}

#[test]
fn a_block_that_is_divided_is_not_counted_before_its_halves_are() {
    let refused = Verdict::Divide { reason: "data", detail: String::new(), alone: Alone::DeadLetter };
    check(Insertion::new(), &[refused], &[], 0);
}

/// A member that was stopped while its insert was under way, and has lost the partition: the next owner found the rows.
#[tokio::test]
async fn who_cannot_prove_that_the_partition_is_its_own_does_not_count() {
    let (lease, insert) = (Duration::from_millis(200), Duration::from_millis(400));
    let case = Arc::new(Case::new(&[STORED], &[], lease, insert));
    let delivering = tokio::spawn({
        let case = Arc::clone(&case);
        async move { case.deliver(Insertion::new()).await }
    });
    while !case.lease.take_wish() {
        assert!(!delivering.is_finished(), "it asks for a proof");
        sleep(Duration::from_millis(5)).await;
    }
    assert_eq!((case.counted(), delivering.is_finished()), (0, false));
    assert!(case.delivery.sink.inserts.lock().unwrap().is_empty(), "its rows are stored");
    case.lease.prove(BootTime::now());
    delivering.await.unwrap();
    assert_eq!(case.counted(), ROWS);

    let case = Arc::new(Case::new(&[STORED], &[], lease, insert));
    let delivering = tokio::spawn({
        let case = Arc::clone(&case);
        async move { case.deliver(Insertion::new()).await }
    });
    while !case.lease.take_wish() {
        assert!(!delivering.is_finished(), "it asks for a proof");
        sleep(Duration::from_millis(5)).await;
    }
    // The pipeline learns that the partition is lost.
    delivering.abort();
    assert!(delivering.await.unwrap_err().is_cancelled());
    assert_eq!(case.counted(), 0);
}
