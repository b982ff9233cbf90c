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
#[inline]
pub(super) fn put_id(out: &mut Vec<u8>, id: &[u8]) {
    if id.iter().all(|byte| *byte == 0) {
        return;
    }
    match <&[u8; 16]>::try_from(id) {
        Ok(trace_id) => out.extend_from_slice(trace_id.map(|byte| HEX[usize::from(byte)]).as_flattened()),
        Err(_) => out.extend(id.iter().flat_map(|byte| HEX[usize::from(*byte)])),
    }
}

/// The two digits of every byte.
const HEX: [[u8; 2]; 256] = {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 256];
    let mut byte = 0;
    while byte < 256 {
        pairs[byte] = [DIGITS[byte >> 4], DIGITS[byte & 0xf]];
        byte += 1;
    }
    pairs
};

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
    if value < 0 {
        out.push(b'-');
    }
    put_digits(out, value.unsigned_abs());
}

/// Most numbers in telemetry are short: status codes, ports, counts, milliseconds.
fn put_digits(out: &mut Vec<u8>, mut value: u64) {
    const MOST: usize = 20;
    let mut digits = [0; MOST];
    let mut at = MOST;
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn put_double(out: &mut Vec<u8>, value: f64) {
    let magnitude = value.abs();
    if put_short_double(out, value) {
        return;
    }
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

/// Appends a number that has at most three decimals, and says whether it is one.
///
/// Different decimals of up to 15 digits are different doubles, so the decimal that reads as `value` is the only one of
/// its length or shorter, which is what the shortest form asks for; formatting it takes a fifth of the general algorithm's time.
fn put_short_double(out: &mut Vec<u8>, value: f64) -> bool {
    const DECIMALS: u64 = 1_000;
    let scaled = (value.abs() * DECIMALS as f64).round();
    let is_short = scaled < 1e15 && scaled / DECIMALS as f64 == value.abs();
    if !is_short {
        return false;
    }
    if value.is_sign_negative() {
        out.push(b'-');
    }
    let scaled = scaled as u64;
    put_digits(out, scaled / DECIMALS);
    let mut decimals = scaled % DECIMALS;
    let mut unit = DECIMALS / 10;
    if decimals > 0 {
        out.push(b'.');
    }
    while decimals > 0 {
        out.push(b'0' + (decimals / unit) as u8);
        decimals %= unit;
        unit /= 10;
    }
    true
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
