//! What was sent, and what the senders were answered.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use telemetry_wire::Signal;

use super::item::Id;
use crate::sender::Answer;

/// One request, sent once.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its signal.
    pub signal: Signal,
    /// The first of its ids; the others follow by number.
    pub first: Id,
    /// How many.
    pub count: u32,
    /// None while the sender waits.
    pub answer: Option<Answer>,
    /// When the answer was there.
    pub answered_at: Option<Instant>,
}

impl Sent {
    /// Its ids in order.
    pub fn ids(&self) -> impl Iterator<Item = Id> {
        let first = self.first;
        (0..u64::from(self.count)).map(move |step| Id { number: first.number + step, ..first })
    }

    /// Whether the sender was told that it is durable.
    #[must_use]
    pub fn is_acked(&self) -> bool {
        self.answer == Some(Answer::Acked)
    }
}

/// Items by what their senders were answered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// Durable, the edge said.
    pub acked: u64,
    /// To be sent again, the edge said.
    pub retryable: u64,
    /// Refused for good.
    pub refused: u64,
    /// The connection broke, or the sender waits.
    pub unknown: u64,
}

/// All requests of a scene, shared by its senders.
#[derive(Debug, Default)]
pub struct Ledger {
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    requests: Vec<Sent>,
    verbatim: Vec<(Vec<u8>, Answer)>,
    next_number: HashMap<u32, u64>,
}

impl Ledger {
    /// Writes a new request down, before it is sent; its place, for the answer.
    pub fn issue(&self, signal: Signal, sender: u32, count: u32, padding: u32) -> (usize, Sent) {
        let mut pages = self.pages();
        let next = pages.next_number.entry(sender).or_default();
        let first = Id { sender, number: *next, padding };
        *next += u64::from(count);
        let sent = Sent { signal, first, count, answer: None, answered_at: None };
        pages.requests.push(sent.clone());
        (pages.requests.len() - 1, sent)
    }

    /// Writes down what the sender was told.
    pub fn answer(&self, place: usize, answer: Answer) {
        let sent = &mut self.pages().requests[place];
        sent.answer = Some(answer);
        sent.answered_at = Some(Instant::now());
    }

    /// A request without ids, which must be in a record byte for byte when it was acked, and else not at all.
    pub fn verbatim(&self, body: Vec<u8>, answer: Answer) {
        self.pages().verbatim.push((body, answer));
    }

    /// All of those.
    #[must_use]
    pub fn all_verbatim(&self) -> Vec<(Vec<u8>, Answer)> {
        self.pages().verbatim.clone()
    }

    /// The machine had lost its power at `moment`: nobody got an answer after it.
    pub fn forget_answers_since(&self, moment: Instant) {
        for sent in &mut self.pages().requests {
            if sent.answered_at.is_some_and(|at| at >= moment) {
                sent.answer = Some(Answer::Unknown("the power was cut".into()));
            }
        }
    }

    /// A request whose only copy the test itself has destroyed: it may be there or not.
    pub fn forgive(&self, id: Id) {
        let mut pages = self.pages();
        if let Some(sent) = pages.requests.iter_mut().find(|sent| sent.ids().any(|own| own == id)) {
            sent.answer = Some(Answer::Unknown("destroyed by the test".into()));
        }
    }

    /// Everything sent so far, in the order of sending.
    #[must_use]
    pub fn requests(&self) -> Vec<Sent> {
        self.pages().requests.clone()
    }

    /// Items by answer so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for sent in &self.pages().requests {
            let count = u64::from(sent.count);
            match &sent.answer {
                Some(Answer::Acked) => counts.acked += count,
                Some(Answer::Retryable(_)) => counts.retryable += count,
                Some(Answer::Refused(_)) => counts.refused += count,
                Some(Answer::Unknown(_)) | None => counts.unknown += count,
            }
        }
        counts
    }

    /// The distinct words of the answers that were no acks, each with its number of requests.
    #[must_use]
    pub fn words(&self) -> Vec<(String, usize)> {
        let mut words = std::collections::BTreeMap::<String, usize>::new();
        for sent in &self.pages().requests {
            let word = match &sent.answer {
                Some(Answer::Acked) => continue,
                None => "no answer".to_owned(),
                Some(answer) => format!("{answer:?}").chars().take(160).collect(),
            };
            *words.entry(word).or_default() += 1;
        }
        words.into_iter().collect()
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
