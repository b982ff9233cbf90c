//! Classes of values: those that get the same answers to all questions about their attribute.

use super::{
    question::{Answer, Question},
    scalar::Scalar,
};

/// Integers below it have their class looked up: statuses, and most codes.
const SMALL: usize = 1024;

/// Which values get the same answers; 0 is an attribute that is absent.
pub(super) type Class = u16;

/// Classes of one attribute's values, as they came in one block.
#[derive(Debug)]
pub(super) struct Classes {
    /// Questions that are asked about it.
    questions: usize,
    /// The answers of each class from 1 on, behind one another.
    answers: Vec<Answer>,
    /// Of small integers, 0 while it is not known.
    small: Vec<Class>,
    scratch: Vec<Answer>,
}

impl Classes {
    /// None yet, of an attribute with so many questions.
    pub(super) fn new(questions: usize) -> Classes {
        Classes { questions, answers: Vec::new(), small: Vec::new(), scratch: Vec::new() }
    }

    /// The class of a value, if it is found without asking all questions.
    #[inline]
    pub(super) fn find(&self, questions: &[Question], value: &Scalar<'_>) -> Option<Class> {
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

    /// The answer to a question for values of a class; `None` for the class of the absent.
    pub(super) fn answer(&self, class: Class, question: usize) -> Option<Answer> {
        let index = usize::from(class).checked_sub(1)?;
        Some(self.answers[index * self.questions + question])
    }

    /// Forgets them.
    pub(super) fn clear(&mut self) {
        self.answers.clear();
        self.small.clear();
    }
}
