//! Every way in which crashes, takeovers, zombies and a server that loses rows can fall together, explored to the end.
//!
//! Two members, one partition with two records, a broker that keeps one committed position and knows who owns the partition,
//! and a table that knows tokens. A block is one record of two rows on two days, each of which is stored, lost and deduplicated
//! by itself, as ClickHouse does. A member is the protocol as the pipeline runs it: [`Insertion`] and [`Intent`] are the real
//! ones. From every state every possible event is tried; budgets bound how often faults strike.
//!
//! A world in which nothing is left to do must hold each row once, and from every world such a one can be reached. The mutations at the end leave one step of the protocol
//! out each, and the same exploration must find a row that is lost or doubled, or a world without an end.

mod tests;

use std::collections::{HashMap, hash_map::Entry};

use super::{Insertion, Intent, Outcome, Step, Stored};

/// Records of the partition.
const RECORDS: i64 = 2;
/// Rows of a record, each on a day of its own.
const DAYS: usize = 2;

/// A step of the protocol that is left out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mutation {
    None,
    /// Take for settled what would have to be read back.
    SkipReadBack,
    /// The token depends neither on the records' bytes nor on the announcement.
    SkipFingerprint,
    /// The token does not depend on the announcement.
    ShareTokens,
    /// The table is read although an insert that nobody announced here may still come.
    SkipQuiet,
    /// The position moves on before the insert is confirmed.
    CommitBeforeInsert,
    /// A block of unknown past is announced like any other.
    AnnounceDoubtful,
    /// After a lost part the same token is sent again and again believed.
    SkipRepair,
    /// A member that was stopped goes on as if it owned the partition.
    SkipLease,
    /// What nothing announces is taken for not stored.
    ForgetDoubt,
    /// An intent from before the server's window counts as if it were new.
    TrustOldTokens,
    /// The server forgets tokens at once.
    NoTokens,
    /// Every repair of the same rows has the same token.
    ShareRepairs,
}

/// Block, content, and the number of the announcement.
type Token = (i64, u8, u8);

/// A committed position, and the block that is announced with it, by its content and the announcement's number.
type Point = (i64, Option<(i64, u8, u8)>);

/// What a member does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Doing {
    /// It owns nothing.
    Nothing,
    /// It has the partition, and forms the block at its position.
    Forming { position: i64, pending: Option<i64> },
    /// It waits for the broker to acknowledge what it announced.
    Announcing { block: i64, was_announced: bool },
    /// It has a block.
    Storing { block: i64, insertion: Insertion, announcement: u8 },
    /// It has stored all.
    Finished,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Member {
    doing: Doing,
    /// It is stopped, and knows nothing of what happens.
    is_frozen: bool,
    /// It was thawed after its lease had expired.
    is_expired: bool,
    /// The end of the log when it got the partition: what is below may be stored, whatever the metadata says.
    doubtful_below: i64,
}

const IDLE: Member = Member { doing: Doing::Nothing, is_frozen: false, is_expired: false, doubtful_below: 0 };

/// An insert that the server works on, though nobody may wait for it any more.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Running {
    token: Token,
    block: i64,
    content: u8,
    days: [bool; DAYS],
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct World {
    members: [Member; 2],
    /// Who owns the partition, as the broker sees it.
    owner: usize,
    committed: Point,
    /// What was committed before that.
    committed_before: Point,
    /// How many records the log has; it grows to [`RECORDS`].
    end: i64,
    /// Announcements so far.
    announcements: u8,
    /// What the log holds: another content once the topic was made anew.
    content: u8,
    /// Rows of the present content, by record and day.
    rows: [[u8; DAYS]; RECORDS as usize],
    tokens: [Vec<Token>; DAYS],
    running: Vec<Running>,
    faults: u8,
    renewals: u8,
    /// What is announced was announced before the server forgot its tokens.
    is_old: bool,
}

struct Explorer {
    mutation: Mutation,
    /// All worlds, numbered.
    seen: HashMap<World, u32>,
    broken: Option<World>,
}

impl Member {
    fn forming(self, position: i64, pending: Option<i64>) -> Member {
        Member { doing: Doing::Forming { position, pending }, ..self }
    }
}

impl World {
    fn new() -> World {
        World {
            members: [Member { doubtful_below: 1, ..IDLE.forming(0, None) }, IDLE],
            owner: 0,
            committed: (0, None),
            committed_before: (0, None),
            end: 1,
            announcements: 0,
            content: 0,
            rows: [[0; DAYS]; RECORDS as usize],
            tokens: Default::default(),
            running: Vec::new(),
            faults: 3,
            renewals: 1,
            is_old: false,
        }
    }

    fn commit(&mut self, point: Point) {
        if self.committed != point {
            self.committed_before = std::mem::replace(&mut self.committed, point);
        }
    }

    fn is_over(&self) -> bool {
        self.running.is_empty() && self.members[self.owner].doing == Doing::Finished
    }

    fn is_right(&self) -> bool {
        self.rows.iter().flatten().all(|rows| *rows == 1)
    }

    fn is_doubled(&self) -> bool {
        self.rows.iter().flatten().any(|rows| *rows > 1)
    }

    /// The server does one day of an insert: the token first, then the rows; it may lose the rows between.
    fn store(&mut self, running: &Running, day: usize, loses_rows: bool, mutation: Mutation) {
        if self.tokens[day].contains(&running.token) && mutation != Mutation::NoTokens {
            return;
        }
        self.tokens[day].push(running.token);
        self.tokens[day].sort_unstable();
        if !loses_rows && running.content == self.content {
            self.rows[running.block as usize][day] += 1;
        }
    }

    fn stored(&self, block: i64) -> Stored {
        match self.rows[block as usize].iter().filter(|rows| **rows > 0).count() {
            0 => Stored::Nothing,
            DAYS => Stored::Whole,
            _ => Stored::Part,
        }
    }
}

/// A token, with everything in it or not.
fn token(block: i64, content: u8, announcement: u8, mutation: Mutation) -> Token {
    match mutation {
        Mutation::SkipFingerprint => (block, 0, 0),
        Mutation::ShareTokens => (block, content, 0),
        _ => (block, content, announcement),
    }
}

/// A repair's token says which rows it brings.
fn repair_token(block: i64, missing: [bool; DAYS], announcement: u8, repairs: u32) -> Token {
    let set = missing.iter().rev().fold(0, |bits, day| bits << 1 | u8::from(*day));
    (block + 100 * (1 + i64::from(repairs)), set, announcement)
}

impl Explorer {
    fn explore(mutation: Mutation) -> Explorer {
        let mut explorer = Explorer { mutation, seen: HashMap::new(), broken: None };
        // From which worlds each can be come to, by their numbers.
        let mut before: Vec<Vec<u32>> = Vec::new();
        let mut ends = Vec::new();
        let mut open = vec![(World::new(), None)];
        while let Some((world, parent)) = open.pop() {
            let number = explorer.seen.len() as u32;
            let number = match explorer.seen.entry(world.clone()) {
                Entry::Occupied(known) => {
                    before[*known.get() as usize].extend(parent);
                    continue;
                }
                Entry::Vacant(new) => *new.insert(number),
            };
            before.push(parent.into_iter().collect());
            if world.is_doubled() || (world.is_over() && !world.is_right()) {
                explorer.broken = Some(world);
                return explorer;
            }
            if world.is_over() {
                ends.push(number);
            }
            let mut next = Vec::new();
            for who in 0..2 {
                explorer.member_steps(&world, who, &mut next);
            }
            explorer.server_steps(&world, &mut next);
            explorer.faults(&world, &mut next);
            open.extend(next.into_iter().map(|next| (next, Some(number))));
        }
        explorer.find_stuck(&before, ends);
        explorer
    }

    /// A world from which no end can be reached is as broken as one that lost a row.
    fn find_stuck(&mut self, before: &[Vec<u32>], ends: Vec<u32>) {
        let mut reaches_end = vec![false; before.len()];
        let mut open = ends;
        while let Some(number) = open.pop() {
            if !std::mem::replace(&mut reaches_end[number as usize], true) {
                open.extend(&before[number as usize]);
            }
        }
        let stuck = self.seen.iter().find(|(_, number)| !reaches_end[**number as usize]);
        self.broken = stuck.map(|(world, _)| world.clone());
    }

    /// What a member can do next, with every answer that it can get.
    fn member_steps(&self, world: &World, who: usize, open: &mut Vec<World>) {
        let member = world.members[who];
        if member.is_frozen {
            return;
        }
        let mut go = |world: &World, doing: Doing| {
            let mut next = world.clone();
            next.members[who].doing = doing;
            open.push(next);
        };
        match member.doing {
            Doing::Nothing | Doing::Finished => {}
            Doing::Forming { position, pending } if position >= world.end => {
                // What is stored is committed, and more is waited for.
                let mut done = world.clone();
                done.commit((position, None));
                match (world.owner == who, position >= RECORDS) {
                    (false, _) => go(world, Doing::Nothing),
                    (true, true) => go(&done, Doing::Finished),
                    (true, false) => go(&done, Doing::Forming { position, pending }),
                }
            }
            Doing::Forming { position, pending } => {
                let was_announced = pending == Some(position);
                go(world, Doing::Announcing { block: position, was_announced });
            }
            Doing::Announcing { block, was_announced } => {
                if world.owner != who {
                    // Refused: its generation is over, and its state goes with it.
                    return go(world, Doing::Nothing);
                }
                let mut announced = world.clone();
                let (insertion, announcement) = match world.committed.1 {
                    // What was announced before keeps its number.
                    Some((_, _, number))
                        if was_announced && (!world.is_old || self.mutation == Mutation::TrustOldTokens) =>
                    {
                        (Insertion::announced_before(), number)
                    }
                    _ if (was_announced || block < member.doubtful_below)
                        && self.mutation != Mutation::ForgetDoubt =>
                    {
                        (Insertion::of_unknown_past(), world.announcements)
                    }
                    _ => (Insertion::new(), world.announcements),
                };
                announced.announcements = world.announcements.max(announcement + 1);
                announced.is_old = false;
                // Whose past is not known is not announced: the next owner knows as little.
                let is_told = !insertion.needs_quiet() || self.mutation == Mutation::AnnounceDoubtful;
                announced.commit(match self.mutation {
                    Mutation::CommitBeforeInsert => (block + 1, None),
                    _ => (block, is_told.then_some((block, world.content, announcement))),
                });
                go(&announced, Doing::Storing { block, insertion, announcement });
            }
            Doing::Storing { block, mut insertion, announcement } => match insertion.step() {
                Step::Settled => go(world, Doing::Forming { position: block + 1, pending: None }),
                Step::ReadBack
                    if insertion.needs_quiet()
                        && !world.running.is_empty()
                        && self.mutation != Mutation::SkipQuiet => {}
                Step::ReadBack => {
                    let stored = if self.mutation == Mutation::SkipReadBack {
                        Stored::Whole
                    } else {
                        world.stored(block)
                    };
                    insertion.read_back(stored);
                    if self.mutation == Mutation::SkipRepair && insertion.step() == Step::Repair {
                        insertion = Insertion::new();
                        insertion.inserted(Outcome::Confirmed);
                    }
                    go(world, Doing::Storing { block, insertion, announcement });
                }
                // Its lease is over: it asks for a new one, and is refused.
                Step::Insert | Step::Repair
                    if member.is_expired && self.mutation != Mutation::SkipLease && world.owner != who =>
                {
                    go(world, Doing::Nothing);
                }
                Step::Insert => {
                    let running = Running {
                        token: token(block, world.content, announcement, self.mutation),
                        block,
                        content: world.content,
                        days: [true; DAYS],
                    };
                    self.answers(world, &running, &mut |world, outcome| {
                        let mut insertion = insertion;
                        insertion.inserted(outcome);
                        go(world, Doing::Storing { block, insertion, announcement });
                    });
                }
                Step::Repair => {
                    if !world.running.is_empty() {
                        return;
                    }
                    let missing = world.rows[block as usize].map(|rows| rows == 0);
                    let repairs = match self.mutation {
                        Mutation::ShareRepairs => 0,
                        _ => insertion.repairs(),
                    };
                    let running = Running {
                        token: repair_token(block, missing, announcement, repairs),
                        block,
                        content: world.content,
                        days: missing,
                    };
                    self.answers(world, &running, &mut |world, outcome| {
                        let mut insertion = insertion;
                        // The number would grow for ever.
                        let is_counted = self.mutation != Mutation::ShareRepairs;
                        insertion.repaired(if is_counted { outcome } else { Outcome::Unknown });
                        go(world, Doing::Storing { block, insertion, announcement });
                    });
                }
            },
        }
    }

    /// Every way in which an insert can be answered.
    fn answers(&self, world: &World, running: &Running, then: &mut dyn FnMut(&World, Outcome)) {
        let mut done = world.clone();
        for day in (0..DAYS).filter(|day| running.days[*day]) {
            done.store(running, day, false, self.mutation);
        }
        then(&done, Outcome::Confirmed);
        if world.faults == 0 {
            return;
        }
        let mut faulty = world.clone();
        faulty.faults -= 1;
        // Refused at the door.
        then(&faulty, Outcome::NotStored);
        // The connection breaks: the server goes on with it, or has never seen it, or crashed in the middle.
        then(&faulty, Outcome::Unknown);
        let mut goes_on = faulty.clone();
        goes_on.running.push(running.clone());
        then(&goes_on, Outcome::Unknown);
        let mut half = faulty.clone();
        let first = running.days.iter().position(|is_of_it| *is_of_it);
        first.into_iter().for_each(|day| half.store(running, day, false, self.mutation));
        then(&half, Outcome::Unknown);
        for lost in 0..DAYS {
            let mut crashed = faulty.clone();
            (0..=lost).filter(|day| running.days[*day]).for_each(|day| {
                crashed.store(running, day, day == lost, self.mutation);
            });
            then(&crashed, Outcome::Unknown);
        }
    }

    /// What the server still works on comes to its end.
    fn server_steps(&self, world: &World, open: &mut Vec<World>) {
        for index in 0..world.running.len() {
            let mut next = world.clone();
            let running = next.running.remove(index);
            for day in (0..DAYS).filter(|day| running.days[*day]) {
                next.store(&running, day, false, self.mutation);
            }
            open.push(next);
        }
    }

    fn faults(&self, world: &World, open: &mut Vec<World>) {
        // A member that was stopped goes on, some time after its lease.
        for who in (0..2).filter(|who| world.members[*who].is_frozen) {
            let mut thawed = world.clone();
            thawed.members[who] = Member { is_frozen: false, is_expired: true, ..thawed.members[who] };
            open.push(thawed);
        }
        if world.end < RECORDS {
            let mut next = world.clone();
            next.end += 1;
            open.push(next);
        }
        if world.is_over() || world.faults == 0 {
            return;
        }
        // The owner is killed, or stopped for longer than its session; the other takes over.
        // Somebody may move the position back meanwhile, which also erases what was announced; or an earlier commit comes late.
        let points = [world.committed, (0, None), world.committed_before];
        for (is_killed, point) in points.into_iter().flat_map(|point| [(true, point), (false, point)]) {
            let mut next = world.clone();
            next.faults -= 1;
            next.committed = point;
            let (from, to) = (world.owner, 1 - world.owner);
            if next.members[to].is_frozen {
                continue;
            }
            if is_killed {
                next.members[from] = IDLE;
            } else {
                next.members[from].is_frozen = true;
            }
            let (position, announced) = next.committed;
            // A range whose bytes are others now is not the announced one.
            let pending =
                announced.filter(|(_, content, _)| *content == world.content).map(|(block, ..)| block);
            next.members[to] = Member { doubtful_below: world.end, ..IDLE.forming(position, pending) };
            next.owner = to;
            open.push(next);
        }
        // So much time passes that the server forgets its tokens: whoever has a block meanwhile is stopped.
        let is_storing = |member: &Member| {
            !member.is_frozen && matches!(member.doing, Doing::Storing { .. } | Doing::Announcing { .. })
        };
        if world.running.is_empty() && !world.is_old && !world.members.iter().any(is_storing) {
            let mut next = world.clone();
            (next.faults, next.is_old, next.tokens) = (world.faults - 1, true, Default::default());
            open.push(next);
        }
        // The topic is made anew while nobody works: the same offsets, other records, and a group that begins again.
        let is_idle = world.members.iter().all(|member| !matches!(member.doing, Doing::Storing { .. }));
        if world.renewals > 0 && is_idle && world.running.is_empty() {
            let mut next = world.clone();
            (next.renewals, next.faults) = (0, world.faults - 1);
            next.content = 1;
            next.rows = [[0; DAYS]; RECORDS as usize];
            (next.committed, next.committed_before, next.end) = ((0, None), (0, None), 1);
            next.members = [Member { doubtful_below: 1, ..IDLE.forming(0, None) }, IDLE];
            next.owner = 0;
            open.push(next);
        }
    }
}
