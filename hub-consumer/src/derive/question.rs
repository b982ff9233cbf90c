//! What rules ask of the value of an attribute, each question once, however many rules ask it.

use super::{
    keys::Keys,
    rules::{Choice, HTTP_CLASSES, Source, Values},
    scalar::{self, Condition, Literal, Scalar, position},
};

/// What is asked.
#[derive(Debug, PartialEq)]
pub(super) enum Question {
    /// Whether a condition holds.
    Holds(Condition),
    /// The code of a label's value.
    Code(Pick),
}

/// What comes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// The condition holds.
    Yes,
    /// It does not.
    No,
    /// This is the label's code.
    Code(u32),
    /// A number is wanted, and something else is there.
    NotANumber,
}

/// How the code of a label's value is found.
#[derive(Debug, PartialEq)]
pub(super) struct Pick {
    choose: Choose,
    /// Of a value that the rule does not name.
    pub(super) otherwise: u32,
}

#[derive(Debug, PartialEq)]
enum Choose {
    Listed(Vec<Literal>, Vec<u32>),
    Numbers(Vec<f64>, Vec<u32>),
    /// Texts, or what they begin with.
    Texts(Vec<(Box<[u8]>, Comparison, u32)>),
    Mapped(Vec<(Condition, u32)>),
    HttpStatus([u32; HTTP_CLASSES.len()]),
    /// The value itself, which has no code before it comes.
    AsItComes,
}

/// How a text is compared.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Comparison {
    Whole,
    Prefix,
}

impl Question {
    /// The answer for the value of an attribute that is there.
    #[inline]
    pub(super) fn answer(&self, value: &Scalar<'_>) -> Answer {
        match self {
            Question::Holds(condition) => match condition.ask(Some(value)) {
                scalar::Answer::Yes => Answer::Yes,
                scalar::Answer::No => Answer::No,
                scalar::Answer::NotANumber => Answer::NotANumber,
            },
            Question::Code(pick) => pick.code(value).map_or(Answer::NotANumber, Answer::Code),
        }
    }
}

impl Pick {
    /// `words` has the label's values, by code; new ones are put to it.
    pub(super) fn new(choice: &Choice, words: &mut Vec<String>) -> Pick {
        let named = choice.values.words(&choice.source);
        let named: Vec<u32> = named.iter().map(|word| code_of(words, word)).collect();
        let choose = match &choice.values {
            Values::Listed(literals) => match literals.iter().map(Literal::number).collect() {
                Some(numbers) => Choose::Numbers(numbers, named),
                None => Choose::Listed(literals.clone(), named),
            },
            Values::Mapped(cases) => mapped(cases, &named),
            Values::HttpStatus => Choose::HttpStatus(named.try_into().expect("the words are the classes")),
            Values::Capped(_) | Values::OfField => Choose::AsItComes,
        };
        Pick { choose, otherwise: code_of(words, &choice.otherwise) }
    }

    /// Whether the value is the label's as it comes.
    pub(super) fn is_as_it_comes(&self) -> bool {
        self.choose == Choose::AsItComes
    }

    /// The code for a value; `None` when a number is wanted and the value is none.
    pub(super) fn code(&self, value: &Scalar<'_>) -> Option<u32> {
        let found = match &self.choose {
            Choose::Listed(literals, codes) => position(literals, value).map(|index| codes[index]),
            Choose::Numbers(numbers, codes) => value.number().and_then(|given| {
                numbers.iter().position(|number| *number == given).map(|index| codes[index])
            }),
            Choose::Texts(cases) => {
                let Scalar::Text(text) = value else { return Some(self.otherwise) };
                let holds = |(wanted, comparison, _): &&(Box<[u8]>, Comparison, u32)| match comparison {
                    Comparison::Whole => **text == **wanted,
                    Comparison::Prefix => text.starts_with(wanted),
                };
                cases.iter().find(holds).map(|(_, _, code)| *code)
            }
            Choose::Mapped(cases) => {
                let holds =
                    |(condition, _): &&(Condition, u32)| condition.ask(Some(value)) == scalar::Answer::Yes;
                cases.iter().find(holds).map(|(_, code)| *code)
            }
            Choose::HttpStatus(codes) => {
                let class = (value.number()? / 100.0).floor() - 2.0;
                // A conversion stays within its type: what is too large has no code either.
                if class < 0.0 { None } else { codes.get(class as usize).copied() }
            }
            Choose::AsItComes => None,
        };
        Some(found.unwrap_or(self.otherwise))
    }
}

fn mapped(cases: &[(Condition, String)], codes: &[u32]) -> Choose {
    let cases = || cases.iter().zip(codes).map(|((condition, _), code)| (condition, *code));
    let text = |(condition, code)| {
        let (text, comparison) = text_of(condition)?;
        Some((text, comparison, code))
    };
    match cases().map(text).collect() {
        Some(texts) => Choose::Texts(texts),
        None => Choose::Mapped(cases().map(|(condition, code)| (condition.clone(), code)).collect()),
    }
}

/// The text that a condition compares with, if it does nothing else.
fn text_of(condition: &Condition) -> Option<(Box<[u8]>, Comparison)> {
    match condition {
        Condition::Prefix(text) => Some((text.clone(), Comparison::Prefix)),
        Condition::OneOf(literals) => match literals.as_slice() {
            [Literal::Text(text)] => Some((text.clone(), Comparison::Whole)),
            _ => None,
        },
        Condition::Present(_) | Condition::Range(..) => None,
    }
}

/// The code of a word, which is put to the others if it is new.
pub(super) fn code_of(words: &mut Vec<String>, word: &str) -> u32 {
    let known = words.iter().position(|known| known == word);
    let code = known.unwrap_or_else(|| {
        words.push(word.to_owned());
        words.len() - 1
    });
    code as u32
}

/// The number of the attribute that a choice looks at, if it looks at one.
pub(super) fn slot_of(choice: &Choice, keys: &Keys) -> Option<usize> {
    match &choice.source {
        Source::Resource(key) | Source::Attribute(key) => Some(keys.slot(key)),
        Source::Field(_) => None,
    }
}
