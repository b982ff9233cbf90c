//! Every interleaving of one record's life, with crashes at every point: what was acked is never lost, and nothing is stored
//! twice.
//!
//! The world around the machine is as bad as the real one may be: a broker that stores and does not answer, a failed attempt
//! whose bytes arrive later, a disk that has a frame nobody was told of, a checkpoint that is behind. All reachable worlds are
//! visited, so a rule that is missing is found, as the tests with a rule taken out show.
//!
//! There are two kinds of senders. One is told "try again" and sends another request, which is another record. The other waits,
//! and when the process dies the next one asks the spool and the topic for the lines, and reads them again if none has them: for
//! that one it is the lines that must be stored once, whatever record holds them.

use std::collections::HashSet;

use super::*;

/// Crashes are the costly part: after the third nothing new can happen.
const MAX_CRASHES: u8 = 3;

type Machine = fn(State, Event) -> (State, Action);

/// Where the next process looks for lines, in order.
const LOOKS: [Look; 2] = [Look::Spool, Look::Topic];

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Look {
    Spool,
    Topic,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct World {
    /// `None` when this process knows nothing of the record.
    state: Option<State>,
    sender: Sender,
    /// The sender waits as long as it takes.
    is_patient: bool,
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
    /// The next process of a patient one, which has found nothing in so many places.
    Asking {
        looks: usize,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Frame {
    is_taken: bool,
    says_sent: bool,
}

impl World {
    fn start(is_patient: bool) -> World {
        World {
            state: Some(State::Fresh),
            sender: Sender::Waiting,
            is_patient,
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
    fn successors(self, machine: Machine, looks: [Look; 2]) -> Vec<World> {
        let mut next = Vec::new();
        self.producer_steps(machine, &mut next);
        self.spool_steps(machine, &mut next);
        self.ask(looks, &mut next);
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
        if matches!(self.state, Some(State::Fresh | State::Unsure)) {
            next.push(self.on(Event::Unsendable, machine));
        }
        if self.state == Some(State::Fresh) {
            next.push(self.on(Event::TooLarge, machine));
        }
        match self.attempt {
            Some(false) => {
                if self.state == Some(State::InFlight) {
                    next.push(World { attempt: None, ..self }.on(Event::TooLarge, machine));
                }
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
            // Of what the producer has too, nobody need be told that the spool has not.
            let is_with_producer = matches!(self.state, Some(State::InFlightWriting | State::DoneWriting));
            let refused =
                if self.is_patient && !is_with_producer { Event::Postponed } else { Event::Unwritten };
            next.push(World { writing: None, ..self }.on(refused, machine));
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

    /// The next process of a patient sender looks whether the lines are anywhere, and reads them again if they are not.
    fn ask(self, order: [Look; 2], next: &mut Vec<World>) {
        let Sender::Asking { looks } = self.sender else { return };
        let is_there = match order.get(looks) {
            Some(Look::Spool) => self.disk.is_some(),
            // Reading back waits until nothing is under way any more.
            Some(Look::Topic) if self.straggler => return,
            Some(Look::Topic) => self.stored > 0,
            None => {
                next.push(World { state: Some(State::Fresh), sender: Sender::Waiting, ..self });
                return;
            }
        };
        let sender = if is_there { Sender::Acked } else { Sender::Asking { looks: looks + 1 } };
        next.push(World { sender, ..self });
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
            let died = World {
                state,
                sender: match self.sender {
                    Sender::Acked => Sender::Acked,
                    _ if self.is_patient => Sender::Asking { looks: 0 },
                    _ => Sender::Gone,
                },
                attempt: None,
                straggler: is_under_way,
                writing: None,
                disk: disk.map(|frame| Frame { is_taken: false, ..frame }),
                is_resolved: false,
                crashes: self.crashes + 1,
                ..self
            };
            next.push(died);
            // The answer was given, and the tailer's checkpoint does not know it.
            if self.is_patient && self.sender == Sender::Acked {
                next.push(World { sender: Sender::Asking { looks: 0 }, ..died });
            }
        }
    }

    fn on(self, event: Event, machine: Machine) -> World {
        let Some(before) = self.state else { return self };
        let (state, action) = machine(before, event);
        let mut world = World { state: Some(state), ..self };
        match action {
            Action::None => {}
            Action::Write { is_taken } => {
                world.writing = Some(Frame { is_taken, says_sent: state.is_written_in_doubt() });
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

/// Visits every world of both senders; the first fault ends it.
fn explore(machine: Machine, looks: [Look; 2]) -> Result<HashSet<World>, (&'static str, World)> {
    let mut waiting = vec![World::start(false), World::start(true)];
    let mut seen = waiting.iter().copied().collect::<HashSet<_>>();
    while let Some(world) = waiting.pop() {
        for next in world.successors(machine, looks) {
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
    let worlds = explore(State::on, LOOKS).unwrap_or_else(|(fault, world)| panic!("{fault}: {world:?}"));
    assert!(worlds.len() > 150, "{} worlds are too few to have been all", worlds.len());
    let states: HashSet<_> = worlds.iter().filter_map(|world| world.state).collect();
    assert_eq!(states.len(), 14, "every state is met: {states:?}");
    for is_patient in [false, true] {
        let mut of_sender = worlds.iter().filter(|world| world.is_patient == is_patient);
        assert!(of_sender.any(|world| world.crashes == MAX_CRASHES && world.stored == 1));
    }
}

#[test]
fn a_sender_that_waits_is_never_refused_and_can_always_go_on() {
    let worlds = explore(State::on, LOOKS).unwrap_or_else(|(fault, world)| panic!("{fault}: {world:?}"));
    for world in worlds.iter().filter(|world| world.is_patient && world.sender != Sender::Acked) {
        assert!(world.state != Some(State::Refused) && world.sender != Sender::Gone, "{world:?}");
        assert!(!world.successors(State::on, LOOKS).is_empty(), "nothing can happen any more: {world:?}");
    }
}

#[test]
fn every_record_that_is_safe_can_still_arrive() {
    let mut waiting = vec![World::start(false), World::start(true)];
    let mut seen = waiting.iter().copied().collect::<HashSet<_>>();
    let mut arrived = 0;
    while let Some(world) = waiting.pop() {
        let next = world.successors(State::on, LOOKS);
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
    explore(machine, LOOKS).expect_err("a machine without the rule is found out").0
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

#[test]
fn sending_again_what_the_spool_did_not_take_and_the_topic_may_have_stores_it_twice() {
    let fault = fault_with(|state, event| match (state, event) {
        (State::Writing { .. }, Event::Postponed) => (State::Fresh, Action::None),
        _ => state.on(event),
    });
    assert_eq!(fault, "stored twice");
}

#[test]
fn keeping_what_may_be_in_the_topic_as_if_it_were_not_stores_it_twice() {
    let fault = fault_with(|state, event| match (state, event) {
        (State::Unsure, Event::Unsendable) => State::Fresh.on(Event::Unsendable),
        _ => state.on(event),
    });
    assert_eq!(fault, "stored twice");
}

#[test]
fn asking_the_topic_before_the_spool_stores_lines_twice() {
    let fault =
        explore(State::on, [Look::Topic, Look::Spool]).expect_err("the drain moves a frame in between").0;
    assert_eq!(fault, "stored twice");
    for one in LOOKS {
        assert!(explore(State::on, [one, one]).is_err(), "{one:?} alone does not do");
    }
}
