//! The oracle: what was answered against what the topics hold.
//!
//! An id goes `issued → answered → settled`. At the end, when nothing moves any more:
//!
//! | answer | in topic or dead-letter topic |
//! |---|---|
//! | acked | exactly once, as it was sent |
//! | retryable or unknown | once at most: nobody sent it again |
//! | refused for good | not at all |
//! | never issued | not at all |

use std::collections::HashMap;
use std::fmt::Write as _;

use super::item::Id;
use super::ledger::Ledger;
use crate::sender::Answer;

/// How often an id was read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Copies {
    /// In the topic.
    pub topic: u32,
    /// In the dead-letter topic.
    pub dead: u32,
}

/// What the topics hold.
#[derive(Debug, Clone, Default)]
pub struct Holdings {
    /// By id.
    pub copies: HashMap<Id, Copies>,
    /// Ids whose item was not as it was sent, and what could not be read at all.
    pub bent: Vec<String>,
    /// Values that prost cannot read.
    pub unreadable: Vec<Vec<u8>>,
    /// Steps back in a sender's numbers, by partition.
    pub steps_back: u64,
    /// Records read.
    pub records: u64,
    /// Dead letters read, by reason.
    pub reasons: HashMap<String, u64>,
}

/// What came of all items of a scene.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Verdict {
    /// Items whose senders were told that they are durable.
    pub acked: u64,
    /// Of those, in the topic.
    pub delivered: u64,
    /// Of those, in the dead-letter topic.
    pub dead_lettered: u64,
    /// Of those, nowhere.
    pub lost: u64,
    /// Items of any answer that are there more than once.
    pub doubled: u64,
    /// Items that are not as they were sent, or that nobody sent.
    pub bent: u64,
    /// Items that were refused for good and are there all the same.
    pub taken_though_refused: u64,
    /// Items not acked that are there; allowed, once.
    pub unasked: u64,
    /// Some of what is wrong, in words.
    pub examples: Vec<String>,
}

const EXAMPLES: usize = 8;

impl Verdict {
    /// Compares both.
    #[must_use]
    pub fn of(ledger: &Ledger, holdings: &Holdings) -> Self {
        let mut verdict = Self::default();
        let mut issued = 0;
        for sent in ledger.requests() {
            for id in sent.ids() {
                let copies = holdings.copies.get(&id).copied().unwrap_or_default();
                issued += u64::from(copies != Copies::default());
                let answer = sent.answer.clone().unwrap_or(Answer::Unknown("no answer".into()));
                verdict.count(id, &answer, copies);
            }
        }
        verdict.count_verbatim(ledger, holdings);
        for bent in &holdings.bent {
            verdict.bent += 1;
            verdict.example(|| format!("bent: {bent}"));
        }
        let strangers = holdings.copies.len() as u64 - issued;
        if strangers > 0 {
            verdict.bent += strangers;
            verdict.example(|| format!("{strangers} ids that nobody sent"));
        }
        verdict
    }

    /// Whether every promise held.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.lost + self.doubled + self.bent + self.taken_though_refused == 0
    }

    /// Adds another scene's.
    pub fn add(&mut self, other: Self) {
        self.acked += other.acked;
        self.delivered += other.delivered;
        self.dead_lettered += other.dead_lettered;
        self.lost += other.lost;
        self.doubled += other.doubled;
        self.bent += other.bent;
        self.taken_though_refused += other.taken_though_refused;
        self.unasked += other.unasked;
        self.examples.extend(other.examples);
    }

    fn count(&mut self, id: Id, answer: &Answer, copies: Copies) {
        let all = copies.topic + copies.dead;
        if all > 1 {
            self.doubled += 1;
            self.example(|| format!("doubled: {id}, {answer:?}, {copies:?}"));
        }
        match answer {
            Answer::Acked => {
                self.acked += 1;
                self.delivered += u64::from(copies.topic > 0);
                self.dead_lettered += u64::from(copies.dead > 0 && copies.topic == 0);
                if all == 0 {
                    self.lost += 1;
                    self.example(|| format!("lost: {id}"));
                }
            }
            Answer::Refused(text) if all > 0 => {
                self.taken_though_refused += 1;
                self.example(|| format!("taken though refused ({text}): {id}"));
            }
            _ => self.unasked += u64::from(all > 0),
        }
    }

    /// What was sent without ids must be there byte for byte; what cannot be read and was not sent so is bent.
    fn count_verbatim(&mut self, ledger: &Ledger, holdings: &Holdings) {
        let mut found = holdings.unreadable.clone();
        for (body, answer) in ledger.all_verbatim() {
            let copies = found.iter().filter(|value| **value == body).count() as u64;
            found.retain(|value| *value != body);
            self.doubled += copies.saturating_sub(1);
            if answer == Answer::Acked {
                self.acked += 1;
                self.delivered += copies.min(1);
                self.lost += u64::from(copies == 0);
            } else if matches!(answer, Answer::Refused(_)) {
                self.taken_though_refused += copies.min(1);
            }
            if answer == Answer::Acked && copies != 1 {
                self.example(|| format!("{copies} copies of a request of {} bytes without ids", body.len()));
            }
        }
        if !found.is_empty() {
            self.bent += found.len() as u64;
            self.example(|| format!("{} values that cannot be read and that nobody sent", found.len()));
        }
    }

    fn example(&mut self, text: impl FnOnce() -> String) {
        if self.examples.len() < EXAMPLES {
            self.examples.push(text());
        }
    }

    /// One line for a person.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!(
            "acked {}, delivered {}, dead-lettered {}, lost {}, doubled {}",
            self.acked, self.delivered, self.dead_lettered, self.lost, self.doubled
        );
        if self.bent + self.taken_though_refused > 0 {
            // Writing to a String cannot fail.
            let _ = write!(text, ", bent {}, taken though refused {}", self.bent, self.taken_though_refused);
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use telemetry_wire::Signal;

    /// One request of two items, answered, and its first id.
    fn sent(ledger: &Ledger, answer: Answer) -> Id {
        let (place, sent) = ledger.issue(Signal::Logs, 1, 2, 0);
        ledger.answer(place, answer);
        sent.first
    }

    fn holding(copies: &[(Id, u32, u32)]) -> Holdings {
        let copies = copies.iter().map(|(id, topic, dead)| (*id, Copies { topic: *topic, dead: *dead }));
        Holdings { copies: copies.collect(), ..Holdings::default() }
    }

    fn second(id: Id) -> Id {
        Id { number: id.number + 1, ..id }
    }

    #[test]
    fn each_broken_promise_is_counted_as_what_it_is() {
        let ledger = Ledger::default();
        let acked = sent(&ledger, Answer::Acked);
        let unknown = sent(&ledger, Answer::Unknown(String::new()));
        let refused = sent(&ledger, Answer::Refused(String::new()));

        let clean = holding(&[(acked, 1, 0), (second(acked), 0, 1), (unknown, 1, 0)]);
        let verdict = Verdict::of(&ledger, &clean);
        assert!(verdict.is_clean(), "{verdict:?}");
        assert_eq!((verdict.acked, verdict.delivered, verdict.dead_lettered, verdict.unasked), (2, 1, 1, 1));

        let broken = |copies: &[_]| Verdict::of(&ledger, &holding(copies));
        assert_eq!(broken(&[(acked, 1, 0)]).lost, 1);
        assert_eq!(broken(&[(acked, 2, 0), (second(acked), 1, 0)]).doubled, 1);
        assert_eq!(broken(&[(acked, 1, 1), (unknown, 2, 0)]).doubled, 2);
        assert_eq!(broken(&[(refused, 1, 0)]).taken_though_refused, 1);
        assert_eq!(broken(&[(Id { sender: 9, ..acked }, 1, 0)]).bent, 1);
    }

    #[test]
    fn answers_after_a_power_cut_bind_nobody() {
        let ledger = Ledger::default();
        let before = sent(&ledger, Answer::Acked);
        let cut = std::time::Instant::now();
        sent(&ledger, Answer::Acked);
        ledger.forget_answers_since(cut);
        let verdict = Verdict::of(&ledger, &holding(&[(before, 1, 0), (second(before), 1, 0)]));
        assert!(verdict.is_clean() && verdict.acked == 2, "{verdict:?}");
    }
}
