//! Attribute values and bodies as text, as the Collector's ClickHouse exporter stores them.
//!
//! | value            | text                                                                          |
//! |------------------|-------------------------------------------------------------------------------|
//! | none             | empty                                                                         |
//! | string           | itself, U+FFFD for every invalid UTF-8 sequence                               |
//! | bool, int        | `true`, `-5`                                                                  |
//! | double           | shortest digits that read back equal; exponent below 1e-6 and from 1e21 on    |
//! | bytes            | standard base64 with padding                                                  |
//! | array, map       | JSON without blanks, keys in byte order, the last of equal keys, bytes base64 |
//!
//! `go_as_string.json` holds what pdata v1.67 itself (the Collector's data model, in Go) makes of some 150 values.
//! Two differences are on purpose. NaN and the infinities inside an array or map are the strings `"NaN"`, `"Infinity"` and
//! `"-Infinity"`, as in protobuf's JSON; Go loses the whole value there. And invalid UTF-8 inside JSON is U+FFFD
//! itself, not its escape.

use std::borrow::Cow;
use std::io::Write;

use telemetry_wire::common::{AnyValue, ArrayValue, KeyValueList};
use telemetry_wire::pb::{Malformed, lossy};

#[cfg(test)]
mod tests;

/// `bytes` as valid UTF-8; copies only when something must be replaced.
#[inline]
pub(super) fn clean(bytes: &[u8]) -> Cow<'_, [u8]> {
    if bytes.is_ascii() { Cow::Borrowed(bytes) } else { clean_non_ascii(bytes) }
}

fn clean_non_ascii(bytes: &[u8]) -> Cow<'_, [u8]> {
    match lossy(bytes) {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

/// Appends the text of `value`.
pub(super) fn put_text(out: &mut Vec<u8>, value: &AnyValue<'_>) -> Result<(), Malformed> {
    match value {
        AnyValue::Empty => {}
        AnyValue::String(text) => out.extend_from_slice(&clean(text)),
        AnyValue::Bool(value) => put_bool(out, *value),
        AnyValue::Int(value) => put_int(out, *value),
        AnyValue::Double(value) => put_double(out, *value),
        AnyValue::Bytes(bytes) => put_base64(out, bytes),
        AnyValue::Array(array) => put_json_array(out, array)?,
        AnyValue::KeyValueList(map) => put_json_map(out, map)?,
    }
    Ok(())
}

/// Appends lower-case hex, or nothing when every byte is zero, which is how OTLP spells "no id".
pub(super) fn put_id(out: &mut Vec<u8>, id: &[u8]) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if id.iter().all(|byte| *byte == 0) {
        return;
    }
    for byte in id {
        out.extend_from_slice(&[DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 0xf)]]);
    }
}

fn put_json(out: &mut Vec<u8>, value: &AnyValue<'_>) -> Result<(), Malformed> {
    match value {
        AnyValue::Empty => out.extend_from_slice(b"null"),
        AnyValue::String(text) => put_json_string(out, text),
        AnyValue::Double(value) if !value.is_finite() => {
            out.push(b'"');
            put_double(out, *value);
            out.push(b'"');
        }
        AnyValue::Bytes(bytes) => {
            out.push(b'"');
            put_base64(out, bytes);
            out.push(b'"');
        }
        AnyValue::Bool(_)
        | AnyValue::Int(_)
        | AnyValue::Double(_)
        | AnyValue::Array(_)
        | AnyValue::KeyValueList(_) => {
            put_text(out, value)?;
        }
    }
    Ok(())
}

fn put_json_array(out: &mut Vec<u8>, array: &ArrayValue<'_>) -> Result<(), Malformed> {
    out.push(b'[');
    for (index, value) in array.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        put_json(out, &value?)?;
    }
    out.push(b']');
    Ok(())
}

fn put_json_map(out: &mut Vec<u8>, map: &KeyValueList<'_>) -> Result<(), Malformed> {
    let mut entries = map.iter().collect::<Result<Vec<_>, _>>()?;
    // A stable sort keeps equal keys in wire order, so that the last of a run is the one that counts.
    entries.sort_by_key(|entry| entry.key);
    out.push(b'{');
    let mut first = true;
    for (index, entry) in entries.iter().enumerate() {
        if entries.get(index + 1).is_some_and(|next| next.key == entry.key) {
            continue;
        }
        if !first {
            out.push(b',');
        }
        first = false;
        put_json_string(out, entry.key);
        out.push(b':');
        put_json(out, &entry.value)?;
    }
    out.push(b'}');
    Ok(())
}

fn put_json_string(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for character in lossy(text).chars() {
        match character {
            '"' => out.extend_from_slice(b"\\\""),
            '\\' => out.extend_from_slice(b"\\\\"),
            '\n' => out.extend_from_slice(b"\\n"),
            '\r' => out.extend_from_slice(b"\\r"),
            '\t' => out.extend_from_slice(b"\\t"),
            '\u{8}' => out.extend_from_slice(b"\\b"),
            '\u{c}' => out.extend_from_slice(b"\\f"),
            // Go escapes these two because they end a line in JavaScript.
            '\0'..='\x1f' | '\u{2028}' | '\u{2029}' => {
                put_formatted(out, format_args!("\\u{:04x}", u32::from(character)));
            }
            _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
        }
    }
    out.push(b'"');
}

fn put_bool(out: &mut Vec<u8>, value: bool) {
    out.extend_from_slice(if value { b"true" } else { b"false" });
}

fn put_int(out: &mut Vec<u8>, value: i64) {
    // Most integers in telemetry are status codes, ports and counts.
    const LENGTH: usize = 20;
    let mut digits = [0; LENGTH];
    let mut at = LENGTH;
    let mut rest = value.unsigned_abs();
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    if value < 0 {
        out.push(b'-');
    }
    out.extend_from_slice(&digits[at..]);
}

fn put_double(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if value.is_nan() {
        out.extend_from_slice(b"NaN");
    } else if value.is_infinite() {
        out.extend_from_slice(if value > 0.0 { b"Infinity" } else { b"-Infinity" });
    } else if magnitude == 0.0 || (1e-6..1e21).contains(&magnitude) {
        put_formatted(out, format_args!("{value}"));
    } else {
        let start = out.len();
        put_formatted(out, format_args!("{value:e}"));
        if magnitude >= 1e21 {
            let exponent =
                out[start..].iter().position(|byte| *byte == b'e').expect("formatted with an exponent");
            out.insert(start + exponent + 1, b'+');
        }
    }
}

fn put_base64(out: &mut Vec<u8>, bytes: &[u8]) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for chunk in bytes.chunks(3) {
        let bits =
            chunk.iter().fold(0_u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let index = (bits >> (18 - 6 * digit)) as usize & 0x3f;
            out.push(if digit <= chunk.len() { DIGITS[index] } else { b'=' });
        }
    }
}

fn put_formatted(out: &mut Vec<u8>, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a Vec takes every write");
}
