//! What is owned, under which generation, and what of it is committed.

use bytes::Bytes;

use super::*;
use crate::sink::Origin;

/// How long the end of a block waits for the next one.
const PATIENCE: Duration = Duration::from_secs(1);

fn poison(offset: i64) -> Fragment {
    let origin = Origin {
        topic: "otlp_logs".into(),
        partition: 0,
        offset,
        timestamp_ms: None,
        key: None,
        value: Bytes::new(),
        headers: Vec::new(),
        credit: None,
    };
    Fragment::whole(Arc::new(origin), Bytes::new())
}

/// Assigns a partition whose committed offset is 10.
fn assign(assignment: &mut Assignment<()>, generation: u64, partition: i32) -> PartitionId {
    let id = PartitionId { topic: "otlp_logs".into(), partition, generation };
    let committed = CommittedOffset { offset: 10, metadata: String::new() };
    assignment.insert(&id, Some(committed), Lease::new(Duration::from_secs(10)));
    id
}

#[test]
fn result_of_an_older_generation_cannot_touch_a_partition_that_came_back() {
    let mut assignment = Assignment::default();
    let before = assign(&mut assignment, 1, 0);
    assert!(assignment.get_mut(&before).unwrap().tracker.receive(10, None));
    assert!(assignment.remove(&before).is_some());
    let after = assign(&mut assignment, 2, 0);
    assert!(assignment.get_mut(&before).is_none());
    assert!(assignment.remove(&before).is_none());
    assert!(assignment.start_commits(PATIENCE).is_empty());
    assert_eq!(assignment.get_mut(&after).unwrap().tracker.position(), Some(10));
}

#[test]
fn assignment_without_revocation_cancels_what_the_older_generation_has_under_way() {
    let mut assignment = Assignment::default();
    let before = assign(&mut assignment, 1, 0);
    let cancel = assignment.get_mut(&before).unwrap().cancel.clone();
    assign(&mut assignment, 2, 0);
    assert!(cancel.is_cancelled());
}

#[test]
fn gap_is_gone_over_only_when_what_was_read_before_it_is_committed() {
    let mut assignment = Assignment::default();
    let id = assign(&mut assignment, 1, 0);
    let state = assignment.get_mut(&id).unwrap();
    assert!(state.tracker.receive(10, None));
    state.gap = Some(Gap { lost: 89, end: 100 });
    assert!(state.take_gap().is_none(), "10 is not stored");
    assert!(state.tracker.resolve(10));
    assert!(state.take_gap().is_none(), "its commit is due");
    assert_eq!(assignment.start_commits(PATIENCE).len(), 1);
    let state = assignment.get_mut(&id).unwrap();
    assert!(state.take_gap().is_none(), "its commit is under way");
    state.tracker.commit_finished(true);
    assert_eq!(state.take_gap().map(|gap| gap.end), Some(100));
    assert!(state.take_gap().is_none(), "once");
}

#[test]
fn dead_letters_of_a_partition_are_few_at_once_and_all_come() {
    let mut state: Partition<()> = Partition::new(1, None, Lease::new(Duration::from_secs(10)));
    for offset in 0..100 {
        let fragment = poison(offset);
        state.unreadable.push_back((fragment, Unreadable::new("malformed", std::fmt::Error)));
    }
    let mut written = Vec::new();
    while state.is_busy() {
        let started: Vec<_> = std::iter::from_fn(|| state.start_dead_letter()).collect();
        assert!(started.len() <= DEAD_LETTERS_AT_ONCE && state.dead_letters <= DEAD_LETTERS_AT_ONCE);
        written.extend(started.into_iter().map(|(fragment, _)| fragment.origin.offset));
        state.dead_letters -= 1;
    }
    assert_eq!(written, (0..100).collect::<Vec<i64>>());
}

#[test]
fn commits_are_grouped_by_the_generation_of_their_partition() {
    let mut assignment = Assignment::default();
    for (generation, partition) in [(1, 0), (2, 1), (2, 2)] {
        let id = assign(&mut assignment, generation, partition);
        let tracker = &mut assignment.get_mut(&id).unwrap().tracker;
        assert!(tracker.receive(10, None) && tracker.resolve(10));
    }
    let due = assignment.start_commits(PATIENCE);
    let sizes: Vec<_> = due.iter().map(|(generation, commits)| (*generation, commits.len())).collect();
    assert_eq!(sizes, [(1, 1), (2, 2)]);
    assert!(due.values().flatten().all(|commit| commit.offset == 11));
    assert!(assignment.start_commits(PATIENCE).is_empty(), "one commit in flight per partition");
}

#[test]
fn the_end_of_a_block_waits_for_the_announcement_of_the_next() {
    let mut assignment = Assignment::default();
    let id = assign(&mut assignment, 1, 0);
    let state = assignment.get_mut(&id).unwrap();
    let fill =
        || OpenBlock { block: (), fragments: Vec::new(), opened_at: Instant::now(), is_complete: false };
    assert!(state.tracker.receive(10, None) && state.tracker.receive(11, None) && state.tracker.resolve(10));
    state.open = Some(fill());
    assert!(assignment.start_commits(PATIENCE).is_empty(), "11 is being filled in");
    let state = assignment.get_mut(&id).unwrap();
    state.tracker.announce("11".to_owned());
    state.open = None;
    let due = assignment.start_commits(PATIENCE);
    assert_eq!((due[&1][0].offset, due[&1][0].metadata.as_str()), (11, "11"), "one commit says both");

    let state = assignment.get_mut(&id).unwrap();
    state.tracker.commit_finished(true);
    state.tracker.withdraw();
    assert!(state.tracker.resolve(11) && state.tracker.receive(12, None));
    state.settled_at = Some(Instant::now());
    assert!(assignment.start_commits(PATIENCE).is_empty(), "the next one may be begun in a moment");
    assert_eq!(assignment.start_commits(Duration::ZERO)[&1][0].offset, 12, "it was not");

    let state = assignment.get_mut(&id).unwrap();
    state.tracker.commit_finished(true);
    assert!(state.tracker.resolve(12));
    state.open = Some(fill());
    state.is_closed = true;
    assert_eq!(
        assignment.start_commits(PATIENCE)[&1][0].offset,
        13,
        "nothing more comes of one that goes away"
    );
}
