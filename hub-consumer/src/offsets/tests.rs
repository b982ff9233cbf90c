//! The promises of the offset state machine: never skips an unresolved record, never goes back, reaches the end.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::{CommitPoint, OffsetTracker};

const GENERATION: u64 = 3;

fn tracker_from(committed: Option<i64>) -> OffsetTracker {
    let point = committed.map(|offset| CommitPoint { offset, metadata: String::new() });
    OffsetTracker::new(GENERATION, point)
}

fn due(tracker: &OffsetTracker) -> Option<i64> {
    tracker.commit_due().map(|point| point.offset)
}

#[test]
fn later_record_resolved_first_does_not_move_the_position() {
    let mut tracker = tracker_from(Some(10));
    assert!(tracker.receive(10, Some(100)));
    assert!(tracker.receive(11, Some(110)));
    assert!(tracker.resolve(11));
    assert_eq!(due(&tracker), None);
    assert_eq!(tracker.first_unresolved().unwrap().timestamp_ms, Some(100));
    assert!(tracker.resolve(10));
    assert_eq!(due(&tracker), Some(12));
    assert_eq!(tracker.last_resolved_timestamp_ms(), Some(110));
}

#[test]
fn redelivered_record_is_refused_and_does_not_resolve_twice() {
    let mut tracker = tracker_from(Some(5));
    assert!(!tracker.receive(4, None));
    assert!(tracker.receive(5, None));
    assert!(!tracker.receive(5, None));
    assert!(tracker.resolve(5));
    assert!(!tracker.resolve(5));
    assert_eq!(tracker.unresolved(), 0);
}

#[test]
fn failed_commit_is_due_again_and_only_one_is_in_flight() {
    let mut tracker = tracker_from(Some(0));
    assert!(tracker.receive(0, None));
    assert!(tracker.resolve(0));
    let point = tracker.commit_due().unwrap();
    tracker.commit_started(point.clone());
    assert_eq!(tracker.commit_due(), None);
    tracker.commit_finished(false);
    assert_eq!(tracker.commit_due(), Some(point.clone()));
    assert_eq!(tracker.committed_offset(), Some(0));
    tracker.commit_started(point);
    tracker.commit_finished(true);
    assert_eq!(tracker.commit_due(), None);
    assert_eq!(tracker.committed_offset(), Some(1));
}

#[test]
fn what_an_earlier_owner_announced_stays_until_something_else_is() {
    let announced = CommitPoint { offset: 7, metadata: "v1 7-9".to_owned() };
    let mut tracker = OffsetTracker::new(GENERATION, Some(announced));
    assert!(tracker.receive(7, None));
    assert_eq!(tracker.commit_due(), None);
    tracker.announce("v1 7-9 again".to_owned());
    assert_eq!(tracker.commit_due(), Some(CommitPoint { offset: 7, metadata: "v1 7-9 again".to_owned() }));
    tracker.withdraw();
    assert!(tracker.resolve(7));
    assert_eq!(tracker.commit_due(), Some(CommitPoint { offset: 8, metadata: String::new() }));
}

#[test]
fn group_without_an_offset_commits_nothing_before_a_record_is_resolved() {
    let mut tracker = tracker_from(None);
    assert_eq!(due(&tracker), None);
    assert!(tracker.receive(42, None));
    assert_eq!(due(&tracker), None);
    assert!(tracker.resolve(42));
    assert_eq!(due(&tracker), Some(43));
}

#[derive(Debug, Clone)]
enum Action {
    /// Receive the record this far above the last one.
    Receive {
        gap: i64,
    },
    /// Resolve the outstanding record with this index, modulo their number.
    Resolve {
        index: usize,
    },
    StartCommit,
    FinishCommit {
        is_committed: bool,
    },
}

fn actions() -> impl Strategy<Value = Vec<Action>> {
    let action = prop_oneof![
        3 => (1..4i64).prop_map(|gap| Action::Receive { gap }),
        3 => any::<usize>().prop_map(|index| Action::Resolve { index }),
        1 => Just(Action::StartCommit),
        1 => any::<bool>().prop_map(|is_committed| Action::FinishCommit { is_committed }),
    ];
    proptest::collection::vec(action, 0..200)
}

/// The tracker beside a map from every received offset to "is resolved".
struct Model {
    tracker: OffsetTracker,
    received: BTreeMap<i64, bool>,
    last: i64,
    in_flight: Option<i64>,
    committed: i64,
}

impl Model {
    fn apply(&mut self, action: &Action) -> Result<(), TestCaseError> {
        match action {
            Action::Receive { gap } => {
                self.last += gap;
                self.received.insert(self.last, false);
                prop_assert!(self.tracker.receive(self.last, Some(self.last)));
            }
            Action::Resolve { index } => {
                let open: Vec<i64> = self.open().collect();
                if let Some(offset) = open.get(index % open.len().max(1)) {
                    self.received.insert(*offset, true);
                    prop_assert!(self.tracker.resolve(*offset));
                }
            }
            Action::StartCommit => {
                if let Some(point) = self.tracker.commit_due() {
                    prop_assert_eq!(self.in_flight, None);
                    prop_assert!(point.offset > self.committed, "went back or stood still");
                    prop_assert!(
                        self.open().all(|offset| offset >= point.offset),
                        "skipped an unresolved record"
                    );
                    self.in_flight = Some(point.offset);
                    self.tracker.commit_started(point);
                }
            }
            Action::FinishCommit { is_committed } => {
                if let Some(offset) = self.in_flight.take() {
                    self.tracker.commit_finished(*is_committed);
                    if *is_committed {
                        self.committed = offset;
                    }
                }
            }
        }
        let open = self.open().count();
        prop_assert_eq!(self.tracker.unresolved(), open);
        let first = self.open().next();
        prop_assert_eq!(self.tracker.first_unresolved().map(|record| record.offset), first);
        Ok(())
    }

    fn open(&self) -> impl Iterator<Item = i64> + '_ {
        self.received.iter().filter(|(_, is_resolved)| !**is_resolved).map(|(offset, _)| *offset)
    }
}

proptest! {
    #[test]
    fn position_never_skips_and_never_goes_back(start in 0..1000i64, actions in actions()) {
        let mut model = Model {
            tracker: tracker_from(Some(start)),
            received: BTreeMap::new(),
            last: start - 1,
            in_flight: None,
            committed: start,
        };
        for action in &actions {
            model.apply(action)?;
        }
        // Whatever happened: once everything is resolved and committed, the position is the end.
        let open: Vec<i64> = model.open().collect();
        for offset in open {
            prop_assert!(model.tracker.resolve(offset));
        }
        model.tracker.commit_finished(false);
        if let Some(point) = model.tracker.commit_due() {
            model.tracker.commit_started(point);
            model.tracker.commit_finished(true);
        }
        prop_assert_eq!(model.tracker.committed_offset(), Some((model.last + 1).max(model.committed)));
    }
}
