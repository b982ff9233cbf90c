//! JSON as Go's `encoding/json` writes it: what a consumer of the original sees, byte for byte within a string.
//!
//! Besides what JSON demands, Go escapes `<`, `>`, `&`, U+2028 and U+2029, so that a hostile id reflected in an
//! answer or a log line cannot become markup in whatever shows it.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

/// Appends `value` and the line feed Go's encoder ends every document with.
pub(crate) fn append_line<T: Serialize>(out: &mut Vec<u8>, value: &T) {
    value
        .serialize(&mut Serializer::with_formatter(&mut *out, GoFormatter))
        .expect("structs of strings and finite numbers always encode, and memory takes every write");
    out.push(b'\n');
}

/// `value` as one line of JSON.
pub(crate) fn line<T: Serialize>(value: &T) -> Vec<u8> {
    let mut out = Vec::with_capacity(256);
    append_line(&mut out, value);
    out
}

struct GoFormatter;

impl Formatter for GoFormatter {
    fn write_string_fragment<W: ?Sized + Write>(&mut self, writer: &mut W, fragment: &str) -> io::Result<()> {
        let mut rest = fragment;
        while let Some(at) = rest.find(['<', '>', '&', '\u{2028}', '\u{2029}']) {
            let escaped = rest[at..].chars().next().expect("find returned the start of a character");
            writer.write_all(&rest.as_bytes()[..at])?;
            write!(writer, "\\u{:04x}", u32::from(escaped))?;
            rest = &rest[at + escaped.len_utf8()..];
        }
        writer.write_all(rest.as_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped_as_go_does() {
        for (text, json) in [
            ("plain", r#""plain""#),
            ("<b>&'\"", r#""\u003cb\u003e\u0026'\"""#),
            ("a\u{2028}b\u{2029}", r#""a\u2028b\u2029""#),
            ("\n\t\u{1}\u{7f}", "\"\\n\\t\\u0001\u{7f}\""),
            ("\u{1f355}", "\"\u{1f355}\""),
        ] {
            assert_eq!(String::from_utf8(line(&text)).unwrap(), format!("{json}\n"));
        }
    }
}
