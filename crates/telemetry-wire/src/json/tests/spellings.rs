//! The same request in every spelling that the JSON mapping allows is the same request.
//!
//! A generated request is written as JSON by the generated types, and then spelled anew value by value: names in snake
//! case, numbers as texts, with a point or an exponent, enums by name, bytes in the other alphabet, ids in capitals,
//! `null` and unknown fields beside what is there, escapes in texts.

use proptest::prelude::*;
use rand::{SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use serde_json::{Map, Value as Json};

use super::*;
use crate::fixtures::Load;
use crate::json::schema;

/// Writes JSON of a known message in ways of its own choosing.
struct Speller {
    random: StdRng,
}

impl Speller {
    fn message(&mut self, value: &Json, message: &Message) -> String {
        let object = value.as_object().expect("a message is an object");
        let mut fields: Vec<String> = object
            .iter()
            .filter_map(|(name, value)| {
                let field = message.fields.iter().find(|field| field.name == *name)?;
                Some(format!("{}: {}", self.name(field.name), self.field(value, field)))
            })
            .collect();
        for field in message.fields.iter().filter(|field| !object.contains_key(field.name)) {
            if self.random.random_bool(0.1) {
                fields.push(format!("{}: null", self.name(field.name)));
            }
        }
        if self.random.random_bool(0.1) {
            fields.push(r#""unheardOf": [{"of": "\ud800"}, 1e999]"#.to_owned());
        }
        format!("{{ {} }}", fields.join(" ,\n"))
    }

    fn name(&mut self, camel: &str) -> String {
        if self.random.random_bool(0.8) {
            return Json::from(camel).to_string();
        }
        let snake = camel.chars().fold(String::new(), |snake, letter| match letter {
            'A'..='Z' => format!("{snake}_{}", letter.to_ascii_lowercase()),
            _ => format!("{snake}{letter}"),
        });
        Json::from(snake).to_string()
    }

    fn field(&mut self, value: &Json, field: &Field) -> String {
        if value.is_null() {
            return value.to_string();
        }
        match value.as_array().filter(|_| field.is_repeated) {
            Some(elements) => {
                let elements: Vec<_> =
                    elements.iter().map(|element| self.value(element, field.kind)).collect();
                format!("[{}]", elements.join(","))
            }
            None => self.value(value, field.kind),
        }
    }

    fn value(&mut self, value: &Json, kind: Kind) -> String {
        match kind {
            Kind::Message(message) => self.message(value, message),
            Kind::String => self.text(value.as_str().expect("a text")),
            Kind::Id if self.random.random_bool(0.5) => value.to_string().to_ascii_uppercase(),
            Kind::Bytes => {
                let text = value.as_str().expect("base64");
                let other = [text.replace('+', "-").replace('/', "_"), text.trim_end_matches('=').to_owned()];
                Json::from(self.one_of(&[text, &other[0], &other[1]])).to_string()
            }
            Kind::Id | Kind::Bool => value.to_string(),
            Kind::Enum { prefix, names } => {
                let number = value.as_i64().expect("an enum's number");
                match usize::try_from(number).ok().and_then(|number| names.get(number)) {
                    Some(name) if self.random.random_bool(0.5) => format!("\"{prefix}{name}\""),
                    _ => self.whole(&number.to_string()),
                }
            }
            Kind::Double => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                if text.contains(['N', 'I']) { format!("\"{text}\"") } else { self.quoted_or_not(&text) }
            }
            _ => {
                let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                self.whole(&text)
            }
        }
    }

    /// A whole number in one of its spellings.
    fn whole(&mut self, digits: &str) -> String {
        let trimmed = digits.trim_end_matches('0');
        let zeros = digits.len() - trimmed.len();
        let spelled = match trimmed {
            "" => self.one_of(&["0", "-0", "0.0", "0e7"]),
            _ => self.one_of(&[
                digits,
                &format!("{digits}.0"),
                &format!("{digits}00e-2"),
                &format!("{trimmed}E+{zeros}"),
            ]),
        };
        self.quoted_or_not(&spelled)
    }

    fn quoted_or_not(&mut self, number: &str) -> String {
        if self.random.random_bool(0.5) { format!("\"{number}\"") } else { number.to_owned() }
    }

    /// A text with some of its letters escaped.
    fn text(&mut self, text: &str) -> String {
        let mut quoted = "\"".to_owned();
        for letter in text.chars() {
            if self.random.random_bool(0.1) {
                let mut units = [0; 2];
                quoted.extend(letter.encode_utf16(&mut units).iter().map(|unit| format!("\\u{unit:04X}")));
            } else {
                let escaped = Json::from(letter.to_string()).to_string();
                quoted.push_str(&escaped[1..escaped.len() - 1]);
            }
        }
        quoted.push('"');
        quoted
    }

    fn one_of(&mut self, choices: &[&str]) -> String {
        (*choices.choose(&mut self.random).expect("there is a choice")).to_owned()
    }
}

fn check<T>(signal: Signal, request: &T, seed: u64)
where
    T: prost::Message + Default + PartialEq + serde::Serialize + fmt::Debug,
{
    let written = serde_json::to_value(request).unwrap();
    let mut speller = Speller { random: StdRng::seed_from_u64(seed) };
    let json = speller.message(&written, schema::request(signal));
    let read = convert(signal, &json).unwrap_or_else(|error| panic!("{error}\n{json}"));
    assert_eq!(T::decode(&*read).unwrap(), *request, "{json}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn a_request_is_the_same_in_every_spelling(seed: u64) {
        let mut load = Load::new(seed);
        check(Signal::Logs, &load.logs(), seed);
        check(Signal::Traces, &load.traces(), seed);
        check(Signal::Metrics, &load.metrics(), seed);
    }
}

/// Fixtures are what services send; the odd numbers and every field are here.
#[test]
fn every_field_is_the_same_in_every_spelling() {
    for seed in 0..200 {
        check(Signal::Logs, &every_field_of_logs(), seed);
        check(Signal::Traces, &every_field_of_spans(), seed);
        check(Signal::Metrics, &every_field_of_metrics(), seed);
    }
}

#[test]
fn half_of_a_surrogate_pair_costs_only_itself() {
    let text = |json: &str| {
        let json = format!(
            r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{{"stringValue":"{json}"}}}}]}}]}}]}}"#
        );
        let request = ExportLogsServiceRequest::decode(&*convert(Signal::Logs, &json).unwrap()).unwrap();
        let body = request.resource_logs[0].scope_logs[0].log_records[0].body.clone();
        match body.unwrap().value {
            Some(Value::StringValue(text)) => text,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(text(r"a\ud83eb"), "a\u{fffd}b");
    assert_eq!(text(r"\udd14\ud83e"), "\u{fffd}\u{fffd}");
    assert_eq!(text(r"\ud83e\ud83e\udd14\ud83e"), "\u{fffd}\u{1f914}\u{fffd}");
    assert_eq!(text(r"\ud83e\n\u00e4퟿"), "\u{fffd}\nä\u{d7ff}");
}

#[test]
fn the_first_unknown_field_is_named() {
    let unknown = |json: &Json| {
        transcode(Signal::Logs, json.to_string().as_bytes(), &mut Vec::new()).unwrap().unknown_field
    };
    assert_eq!(unknown(&json!({"resourceLogs": []})), None);
    assert_eq!(unknown(&json!({"resourceLog": []})).as_deref(), Some("ExportLogsServiceRequest.resourceLog"));
    let inner = json!({"resourceLogs": [{"scopeLogs": [{"logRecords": [{"sevrity": 1}, {"other": 1}]}]}]});
    assert_eq!(unknown(&inner).as_deref(), Some("LogRecord.sevrity"));
    let long = Json::Object(Map::from_iter([("x".repeat(1000), Json::Null)]));
    assert_eq!(unknown(&long).map(|name| name.chars().count()), Some("ExportLogsServiceRequest.".len() + 41));
}
