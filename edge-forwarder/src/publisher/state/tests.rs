//! Every interleaving of one record's life, with crashes at every point: what was acked is never lost, and nothing is stored
//! twice.
//!
//! The world around the machine is as bad as the real one may be: a broker that stores and does not answer, a failed attempt
//! whose bytes arrive later, a disk that has a frame nobody was told of, a checkpoint that is behind. All reachable worlds are
//! visited, so a rule that is missing is found, as the tests with a rule taken out show.

use std::collections::HashSet;

use super::*;

/// Crashes are the costly part: after the third nothing new can happen.
const MAX_CRASHES: u8 = 3;

type Machine = fn(State, Event) -> (State, Action);

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    /// `None` when this process knows nothing of the record.
    state: Option<State>,
    sender: Sender,
    /// The producer has the record, and whether the broker has stored this attempt.
    attempt: Option<bool>,
    /// Bytes of an attempt that has ended are still under way to the broker.
    straggler: bool,
    /// What the spool is writing.
    writing: Option<Frame>,
    disk: Option<Frame>,
    /// The spool has been told that the frame is done with, and has not written that down.
    is_resolved: bool,
    /// The checkpoint says that the backlog is being sent.
    is_noted: bool,
    stored: u8,
    crashes: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Sender {
    Waiting,
    Acked,
    Gone,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Frame {
    is_taken: bool,
    says_sent: bool,
}

impl World {
    fn start() -> World {
        World {
            state: Some(State::Fresh),
            sender: Sender::Waiting,
            attempt: None,
            straggler: false,
            writing: None,
            disk: None,
            is_resolved: false,
            is_noted: false,
            stored: 0,
            crashes: 0,
        }
    }

    /// Every world that can be next.
    fn successors(self, machine: Machine) -> Vec<World> {
        let mut next = Vec::new();
        self.producer_steps(machine, &mut next);
        self.spool_steps(machine, &mut next);
        if self.crashes < MAX_CRASHES {
            self.crash(&mut next);
        }
        next
    }

    fn producer_steps(self, machine: Machine, next: &mut Vec<World>) {
        let may_send = match self.state {
            Some(State::Fresh) => true,
            // The drain sends only what the spool hands out, and only after the checkpoint has said so.
            Some(State::Kept) => self.is_noted && self.disk.is_some_and(|frame| !frame.is_taken),
            _ => false,
        };
        if may_send {
            let taken = self.disk.map(|frame| Frame { is_taken: true, ..frame });
            next.push(World { attempt: Some(false), disk: taken, ..self }.on(Event::Sent, machine));
        }
        if self.state == Some(State::Fresh) {
            next.push(self.on(Event::Unsendable, machine));
        }
        match self.attempt {
            Some(false) => {
                next.push(World { attempt: Some(true), stored: self.stored + 1, ..self });
                next.push(World { attempt: None, ..self }.on(Event::Failed { is_ambiguous: false }, machine));
                let straggling = World { attempt: None, straggler: true, ..self };
                next.push(straggling.on(Event::Failed { is_ambiguous: true }, machine));
            }
            Some(true) => {
                next.push(World { attempt: None, ..self }.on(Event::Acked, machine));
                next.push(World { attempt: None, ..self }.on(Event::Failed { is_ambiguous: true }, machine));
            }
            None => {}
        }
        if self.state == Some(State::InFlight) && self.writing.is_none() {
            next.push(self.on(Event::Overdue, machine));
        }
        if self.straggler {
            next.push(World { straggler: false, stored: self.stored + 1, ..self });
            next.push(World { straggler: false, ..self });
        }
    }

    fn spool_steps(self, machine: Machine, next: &mut Vec<World>) {
        if let Some(frame) = self.writing {
            let written = World { writing: None, disk: Some(frame), ..self };
            next.push(written.on(Event::Written, machine));
            next.push(World { writing: None, ..self }.on(Event::Unwritten, machine));
        }
        if self.state == Some(State::Doubtful)
            && !self.straggler
            && self.disk.is_some_and(|frame| !frame.is_taken)
        {
            // Reading back waits until nothing is under way any more.
            let seen = if self.stored > 0 { Event::Found } else { Event::Missing };
            next.push(self.on(seen, machine));
        }
        if self.disk.is_some() && !self.is_noted {
            next.push(World { is_noted: true, ..self });
        }
        if self.is_resolved {
            next.push(World { disk: None, is_resolved: false, ..self });
        }
    }

    /// The process dies; the next one knows what the disk tells.
    fn crash(self, next: &mut Vec<World>) {
        // What was being written is there or not.
        let mut disks = vec![self.disk];
        if let Some(frame) = self.writing {
            disks.push(Some(frame));
        }
        for disk in disks {
            // A frame that says where it was sent, or that lay there while the backlog was being sent, may be in its topic.
            let state = disk.map(|frame| kept(frame.says_sent || self.is_noted));
            let is_under_way = self.straggler || self.attempt == Some(false);
            next.push(World {
                state,
                sender: if self.sender == Sender::Acked { Sender::Acked } else { Sender::Gone },
                attempt: None,
                straggler: is_under_way,
                writing: None,
                disk: disk.map(|frame| Frame { is_taken: false, ..frame }),
                is_resolved: false,
                crashes: self.crashes + 1,
                ..self
            });
        }
    }

    fn on(self, event: Event, machine: Machine) -> World {
        let Some(before) = self.state else { return self };
        let (state, action) = machine(before, event);
        let mut world = World { state: Some(state), ..self };
        match action {
            Action::None => {}
            Action::Write { is_taken } => {
                let says_sent =
                    matches!(state, State::InFlightWriting | State::Writing { is_doubtful: true, .. });
                world.writing = Some(Frame { is_taken, says_sent });
            }
            Action::Resolve => world.is_resolved = true,
            Action::GiveBack => world.disk = world.disk.map(|frame| Frame { is_taken: false, ..frame }),
        }
        if world.sender == Sender::Waiting {
            if state.is_safe() {
                world.sender = Sender::Acked;
            } else if state == State::Refused {
                world.sender = Sender::Gone;
            }
        }
        world
    }

    fn fault(self) -> Option<&'static str> {
        let is_kept = self.disk.is_some() && !self.is_resolved;
        if self.stored > 1 {
            Some("stored twice")
        } else if self.sender == Sender::Acked && self.stored == 0 && !is_kept {
            Some("acked and lost")
        } else {
            None
        }
    }
}

/// Visits every world; the first fault ends it.
fn explore(machine: Machine) -> Result<HashSet<World>, (&'static str, World)> {
    let mut seen = HashSet::from([World::start()]);
    let mut waiting = vec![World::start()];
    while let Some(world) = waiting.pop() {
        for next in world.successors(machine) {
            if let Some(fault) = next.fault() {
                return Err((fault, next));
            }
            if seen.insert(next) {
                waiting.push(next);
            }
        }
    }
    Ok(seen)
}

#[test]
fn what_is_acked_is_never_lost_and_nothing_is_stored_twice() {
    let worlds = explore(State::on).unwrap_or_else(|(fault, world)| panic!("{fault}: {world:?}"));
    assert!(worlds.len() > 150, "{} worlds are too few to have been all", worlds.len());
    let states: HashSet<_> = worlds.iter().filter_map(|world| world.state).collect();
    assert_eq!(states.len(), 13, "every state is met: {states:?}");
    assert!(worlds.iter().any(|world| world.crashes == MAX_CRASHES && world.stored == 1));
}

#[test]
fn every_record_that_is_safe_can_still_arrive() {
    let mut seen = HashSet::from([World::start()]);
    let mut waiting = vec![World::start()];
    let mut arrived = 0;
    while let Some(world) = waiting.pop() {
        let next = world.successors(State::on);
        if world.sender == Sender::Acked && world.stored == 0 {
            assert!(!next.is_empty(), "nothing can happen any more: {world:?}");
        }
        arrived += usize::from(world.sender == Sender::Acked && world.stored == 1);
        waiting.extend(next.into_iter().filter(|next| seen.insert(*next)));
    }
    assert!(arrived > 0);
}

/// The fault that is found when one rule is another.
fn fault_with(machine: Machine) -> &'static str {
    explore(machine).expect_err("a machine without the rule is found out").0
}

#[test]
fn sending_what_is_in_doubt_without_reading_back_stores_it_twice() {
    let fault = fault_with(|state, event| match (state, event) {
        (State::InFlightKept, Event::Failed { .. }) => (State::Kept, Action::GiveBack),
        _ => state.on(event),
    });
    assert_eq!(fault, "stored twice");
}

#[test]
fn a_late_ack_that_is_not_taken_stores_it_twice() {
    let fault = fault_with(|state, event| match (state, event) {
        (State::InFlightKept, Event::Acked) => (State::Kept, Action::GiveBack),
        _ => state.on(event),
    });
    assert_eq!(fault, "stored twice");
}

#[test]
fn an_answer_before_the_disk_has_it_loses_it() {
    let fault = fault_with(|state, event| match (state, event) {
        (State::Fresh, Event::Unsendable) => (State::Kept, Action::Write { is_taken: false }),
        _ => state.on(event),
    });
    assert_eq!(fault, "acked and lost");
}

#[test]
fn a_frame_that_is_resolved_before_the_broker_has_it_loses_it() {
    let fault = fault_with(|state, event| match (state, event) {
        (State::InFlightWriting, Event::Written) => (State::InFlightKept, Action::Resolve),
        _ => state.on(event),
    });
    assert_eq!(fault, "acked and lost");
}
