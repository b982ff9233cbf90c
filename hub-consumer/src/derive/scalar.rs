//! The value of an attribute as rules look at it, and what they ask of it.

use telemetry_wire::common::AnyValue;

/// Longer texts are no numbers that anybody wrote as such.
const MAX_NUMBER_BYTES: usize = 32;

/// A value without its tree: lists, maps and bytes are only known to be there.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) enum Scalar<'a> {
    /// None of the others.
    #[default]
    Other,
    /// A text, not necessarily UTF-8; empty for a value without any.
    Text(&'a [u8]),
    /// An integer.
    Int(i64),
    /// A double.
    Double(f64),
    /// A truth value.
    Truth(bool),
}

impl<'a> Scalar<'a> {
    /// The value, borrowed from the request.
    #[inline]
    pub(super) fn of(value: &AnyValue<'a>) -> Scalar<'a> {
        match value {
            AnyValue::String(text) => Scalar::Text(text),
            AnyValue::Int(number) => Scalar::Int(*number),
            AnyValue::Double(number) => Scalar::Double(*number),
            AnyValue::Bool(truth) => Scalar::Truth(*truth),
            AnyValue::Empty => Scalar::Text(&[]),
            AnyValue::Array(_) | AnyValue::KeyValueList(_) | AnyValue::Bytes(_) => Scalar::Other,
        }
    }

    /// The number it is, in whatever form it was sent.
    #[inline]
    pub(super) fn number(&self) -> Option<f64> {
        match self {
            Scalar::Int(number) => Some(*number as f64),
            Scalar::Double(number) => number.is_finite().then_some(*number),
            Scalar::Text(text) => number_of(text),
            Scalar::Truth(_) | Scalar::Other => None,
        }
    }
}

fn number_of(text: &[u8]) -> Option<f64> {
    if text.len() > MAX_NUMBER_BYTES {
        return None;
    }
    let number: f64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    number.is_finite().then_some(number)
}

/// A value that a rule names.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    /// A text, byte for byte.
    Text(Box<[u8]>),
    /// A number, in whatever form it is sent.
    Number(f64),
    /// A truth value, or its text.
    Truth(bool),
}

impl Literal {
    /// How it stands in a label.
    pub(super) fn word(&self) -> String {
        match self {
            Literal::Text(text) => String::from_utf8_lossy(text).into_owned(),
            Literal::Number(number) => number.to_string(),
            Literal::Truth(truth) => truth.to_string(),
        }
    }

    /// The number, if it is one.
    pub(super) fn number(&self) -> Option<f64> {
        if let Literal::Number(number) = self { Some(*number) } else { None }
    }

    #[inline]
    fn is(&self, value: &Scalar<'_>) -> bool {
        match self {
            Literal::Text(text) => matches!(value, Scalar::Text(given) if **given == **text),
            Literal::Number(number) => value.number() == Some(*number),
            Literal::Truth(truth) => match value {
                Scalar::Truth(given) => given == truth,
                Scalar::Text(text) => *text == truth.to_string().as_bytes(),
                _ => false,
            },
        }
    }
}

/// The first of these that the value is.
#[inline]
pub(super) fn position(literals: &[Literal], value: &Scalar<'_>) -> Option<usize> {
    literals.iter().position(|literal| literal.is(value))
}

/// What is asked of an attribute.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Condition {
    /// It is one of these.
    OneOf(Vec<Literal>),
    /// Its text begins so.
    Prefix(Box<[u8]>),
    /// It is there, or is not.
    Present(bool),
    /// It is a number from the first to the second, both included.
    Range(f64, f64),
}

/// What comes of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Answer {
    /// It holds.
    Yes,
    /// It does not.
    No,
    /// A number was wanted, and something else is there.
    NotANumber,
}

impl Condition {
    /// Whether it holds for the value of an attribute, `None` when the attribute is absent.
    #[inline]
    pub(super) fn ask(&self, value: Option<&Scalar<'_>>) -> Answer {
        let holds = match (self, value) {
            (Condition::Present(wanted), value) => value.is_some() == *wanted,
            (_, None) => false,
            (Condition::OneOf(literals), Some(value)) => position(literals, value).is_some(),
            (Condition::Prefix(prefix), Some(value)) => {
                matches!(value, Scalar::Text(text) if text.starts_with(prefix))
            }
            (Condition::Range(from, to), Some(value)) => match value.number() {
                Some(number) => (*from..=*to).contains(&number),
                None => return Answer::NotANumber,
            },
        };
        if holds { Answer::Yes } else { Answer::No }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Scalar<'_> {
        Scalar::Text(text.as_bytes())
    }

    #[test]
    fn a_number_is_taken_in_every_form_it_is_sent_in() {
        for value in [Scalar::Int(200), Scalar::Double(200.0), text("200"), text("200.0"), text("2e2")] {
            assert_eq!(value.number(), Some(200.0), "{value:?}");
            assert_eq!(Condition::Range(200.0, 299.0).ask(Some(&value)), Answer::Yes);
            assert_eq!(position(&[Literal::Number(404.0), Literal::Number(200.0)], &value), Some(1));
        }
    }

    #[test]
    fn what_is_no_finite_number_is_none() {
        let long = "1".repeat(MAX_NUMBER_BYTES + 1);
        let others = ["", " 1", "1ms", "NaN", "inf", "-infinity", "1e999", "0x10", &long, "\u{661}"];
        for value in others.map(text) {
            assert_eq!(value.number(), None, "{value:?}");
            assert_eq!(Condition::Range(f64::MIN, f64::MAX).ask(Some(&value)), Answer::NotANumber);
        }
        for value in
            [Scalar::Double(f64::NAN), Scalar::Double(f64::INFINITY), Scalar::Truth(true), Scalar::Other]
        {
            assert_eq!(value.number(), None, "{value:?}");
        }
        assert_eq!(Scalar::Text(b"\xff1").number(), None);
    }

    #[test]
    fn texts_are_compared_byte_for_byte() {
        let quoted = Literal::Text(b"a\"b".as_slice().into());
        assert_eq!(position(std::slice::from_ref(&quoted), &text("a\"b")), Some(0));
        assert_eq!(position(&[quoted], &text("a\\\"b")), None);
        assert_eq!(position(&[Literal::Text(b"200".as_slice().into())], &Scalar::Int(200)), None);
        let prefix = Condition::Prefix(b"/api/menu/".as_slice().into());
        let long = format!("/api/menu/{}", "x".repeat(10_000));
        for (path, answer) in [("/api/menu/", Answer::Yes), (&long, Answer::Yes), ("/api/menu", Answer::No)] {
            assert_eq!(prefix.ask(Some(&text(path))), answer);
        }
        assert_eq!(prefix.ask(Some(&Scalar::Int(1))), Answer::No);
    }

    #[test]
    fn a_truth_value_is_also_its_text() {
        let literal = [Literal::Truth(true)];
        assert_eq!(position(&literal, &Scalar::Truth(true)), Some(0));
        assert_eq!(position(&literal, &text("true")), Some(0));
        assert_eq!(position(&literal, &text("false")), None);
    }

    #[test]
    fn an_absent_attribute_holds_only_where_absence_is_asked_for() {
        for condition in [Condition::Present(true), Condition::Range(0.0, 1.0), Condition::OneOf(Vec::new())]
        {
            assert_eq!(condition.ask(None), Answer::No);
        }
        assert_eq!(Condition::Present(false).ask(None), Answer::Yes);
        assert_eq!(Condition::Present(false).ask(Some(&text(""))), Answer::No);
    }
}
