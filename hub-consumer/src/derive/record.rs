//! The log record or span at hand, as its attributes come: of each that rules look at a class.
//!
//! Values that get the same answers to all questions are of one class. So a record is a few small numbers, and records with the
//! same numbers add the same; what that is was worked out when the first of them came ([`super::tally`]).
//!
//! Nothing of the request is kept: a class is found as soon as the value is seen.

use super::{item::Fields, question::Question, rules::MOST_ATTRIBUTES, scalar::Scalar};

/// Integers below it have their class looked up: statuses, and most codes.
const SMALL: usize = 1024;
/// Classes in a word.
const IN_WORD: usize = size_of::<u64>() / size_of::<Class>();
/// The first word holds the rules for its resource, and its fields.
const MOST_WORDS: usize = 1 + MOST_ATTRIBUTES / IN_WORD;

/// Which values get the same answers; 0 is an attribute that is absent.
pub(super) type Class = u16;

/// Classes of one attribute's values, as they came in one block.
#[derive(Debug)]
pub(super) struct Classes {
    /// Questions that are asked about it.
    questions: usize,
    /// The answers of each class from 1 on, behind one another.
    answers: Vec<u32>,
    /// Of small integers, 0 while it is not known.
    small: Vec<Class>,
    scratch: Vec<u32>,
}

/// What is known of a record: numbers that say all that rules ask of it.
#[derive(Debug)]
pub(super) struct Record {
    words: [u64; MOST_WORDS],
    /// Words that are used.
    len: usize,
    /// By attribute, for those that are measured.
    numbers: [f64; MOST_ATTRIBUTES],
}

impl Classes {
    /// None yet, of an attribute with so many questions.
    pub(super) fn new(questions: usize) -> Classes {
        Classes { questions, answers: Vec::new(), small: Vec::new(), scratch: Vec::new() }
    }

    /// The class of a value, if it came before.
    #[inline]
    pub(super) fn find(&mut self, questions: &[Question], value: &Scalar<'_>) -> Option<Class> {
        match (value, questions) {
            (_, []) => Some(1),
            (Scalar::Int(number), _) => {
                let class = usize::try_from(*number).ok().and_then(|number| self.small.get(number));
                class.copied().filter(|class| *class > 0)
            }
            (_, [question]) => {
                let answer = question.answer(value);
                self.answers.iter().position(|known| *known == answer).map(|index| index as Class + 1)
            }
            _ => None,
        }
    }

    /// The class of a value that [`Classes::find`] did not find; `None` when there is no room for it.
    pub(super) fn add(&mut self, questions: &[Question], value: &Scalar<'_>) -> Option<Class> {
        self.scratch.clear();
        self.scratch.extend(questions.iter().map(|question| question.answer(value)));
        let known = self.answers.chunks_exact(self.questions).position(|known| *known == *self.scratch);
        let number = known.unwrap_or(self.answers.len() / self.questions) + 1;
        let class = Class::try_from(number).ok()?;
        if known.is_none() {
            self.answers.extend_from_slice(&self.scratch);
        }
        if let Scalar::Int(number) = value
            && let Ok(number @ ..SMALL) = usize::try_from(*number)
        {
            self.small.resize(SMALL, 0);
            self.small[number] = class;
        }
        Some(class)
    }

    /// The answer to a question for values of a class; `None` for that of the absent.
    pub(super) fn answer(&self, class: Class, question: usize) -> Option<u32> {
        let index = usize::from(class).checked_sub(1)?;
        Some(self.answers[index * self.questions + question])
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.answers.clear();
        self.small.clear();
    }
}

impl Record {
    /// One of which so many attributes are looked at, and none has come.
    pub(super) fn new(attributes: usize) -> Record {
        let len = 1 + attributes.div_ceil(IN_WORD);
        Record { words: [0; _], len, numbers: [0.0; MOST_ATTRIBUTES] }
    }

    /// No attribute has come.
    #[inline]
    pub(super) fn clear(&mut self) {
        self.words = [0; _];
    }

    /// An attribute has come; of equal ones the last counts.
    #[inline]
    pub(super) fn note(&mut self, slot: usize, class: Class) {
        let (word, shift) = place(slot);
        let others = self.words[word] & !(u64::from(Class::MAX) << shift);
        self.words[word] = others | u64::from(class) << shift;
    }

    /// The number that a measured attribute is; NaN for one that is none.
    #[inline]
    pub(super) fn note_number(&mut self, slot: usize, value: &Scalar<'_>) {
        self.numbers[slot] = value.number().unwrap_or(f64::NAN);
    }

    /// All attributes have come; the record is of a resource with these rules, and has these fields.
    #[inline]
    pub(super) fn finish(&mut self, set: u32, fields: Fields) {
        self.words[0] = u64::from(set) << 32 | u64::from(fields.pack());
    }

    /// What tells it from others.
    #[inline]
    pub(super) fn words(&self) -> &[u64] {
        &self.words[..self.len]
    }

    /// Its fields.
    pub(super) fn fields(&self) -> Fields {
        Fields::unpack(self.words[0] as u32)
    }

    /// The class of an attribute.
    #[inline]
    pub(super) fn class(&self, slot: usize) -> Class {
        let (word, shift) = place(slot);
        (self.words[word] >> shift) as Class
    }

    /// Whether an attribute is there.
    #[inline]
    pub(super) fn has(&self, slot: usize) -> bool {
        self.class(slot) > 0
    }

    /// The number of a measured attribute, if it is there.
    #[inline]
    pub(super) fn number(&self, slot: usize) -> Option<f64> {
        self.has(slot).then(|| self.numbers[slot])
    }
}

/// Where the class of an attribute stands: which word, and how far from its lower end.
#[inline]
fn place(slot: usize) -> (usize, usize) {
    (1 + slot / IN_WORD, slot % IN_WORD * Class::BITS as usize)
}
