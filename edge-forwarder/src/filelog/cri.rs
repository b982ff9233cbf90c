//! The lines of container runtimes: what was written, by which stream, and when.
//!
//! | format | a line |
//! |---|---|
//! | CRI (containerd, CRI-O) | `2016-10-06T00:17:09.669794202Z stdout F the text`; `P` in place of `F` says that the line goes on |
//! | Docker's json-file | `{"log":"the text\n","stream":"stdout","time":"2016-10-06T00:17:09.669794202Z"}`; without `\n` it goes on |
//! | plain | the text |

use std::borrow::Cow;

use serde::Deserialize;
use thiserror::Error;

/// A container's output streams, and that of a file that has no such.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
    None,
}

/// How the lines of a file are written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Cri,
    Docker,
    Plain,
}

/// A line, or a piece of one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Fragment<'a> {
    /// When it was written, in nanoseconds since the epoch; 0 when that is not said.
    pub(super) time_unix_nano: u64,
    pub(super) stream: Stream,
    /// The line goes on in the stream's next fragment.
    pub(super) is_partial: bool,
    pub(super) text: Cow<'a, [u8]>,
}

/// A line that is not as those of its file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the line is not of the file's format")]
pub(super) struct OtherFormat;

impl Stream {
    pub(super) const COUNT: usize = 3;
    pub(super) const ALL: [Stream; Stream::COUNT] = [Stream::Stdout, Stream::Stderr, Stream::None];

    /// In the text of a position.
    pub(super) fn letter(self) -> char {
        match self {
            Stream::Stdout => 'o',
            Stream::Stderr => 'e',
            Stream::None => 'n',
        }
    }

    /// `log.iostream` of the semantic conventions.
    pub(super) fn name(self) -> Option<&'static str> {
        match self {
            Stream::Stdout => Some("stdout"),
            Stream::Stderr => Some("stderr"),
            Stream::None => None,
        }
    }

    fn of(name: &[u8]) -> Option<Stream> {
        match name {
            b"stdout" => Some(Stream::Stdout),
            b"stderr" => Some(Stream::Stderr),
            _ => None,
        }
    }
}

impl Format {
    /// The format of a file by a line of it.
    pub(super) fn of_line(line: &[u8]) -> Format {
        let is = |format| read_line(format, line).is_ok();
        [Format::Cri, Format::Docker].into_iter().find(|format| is(*format)).unwrap_or(Format::Plain)
    }
}

/// Reads a line, which is given without its end.
pub(super) fn read_line(format: Format, line: &[u8]) -> Result<Fragment<'_>, OtherFormat> {
    match format {
        Format::Cri => read_cri(line).ok_or(OtherFormat),
        Format::Docker => read_docker(line).ok_or(OtherFormat),
        Format::Plain => Ok(Fragment {
            time_unix_nano: 0,
            stream: Stream::None,
            is_partial: false,
            text: Cow::Borrowed(line),
        }),
    }
}

fn read_cri(line: &[u8]) -> Option<Fragment<'_>> {
    let (time, rest) = cut_word(line)?;
    let time_unix_nano = read_time(time)?;
    let (stream, rest) = cut_word(rest)?;
    let stream = Stream::of(stream)?;
    // An empty line may end with its tags.
    let (tags, text) = cut_word(rest).unwrap_or((rest, &[]));
    let is_partial = match tags.split(|byte| *byte == b':').next()? {
        b"P" => true,
        b"F" => false,
        _ => return None,
    };
    Some(Fragment { time_unix_nano, stream, is_partial, text: Cow::Borrowed(text) })
}

fn cut_word(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(|byte| *byte == b' ')?;
    Some((&line[..end], &line[end + 1..]))
}

#[derive(Deserialize)]
struct DockerLine<'a> {
    #[serde(borrow)]
    log: Cow<'a, str>,
    #[serde(borrow, default)]
    stream: Cow<'a, str>,
    #[serde(borrow, default)]
    time: Cow<'a, str>,
}

fn read_docker(line: &[u8]) -> Option<Fragment<'_>> {
    if !line.starts_with(b"{") {
        return None;
    }
    let DockerLine { log, stream, time } = serde_json::from_slice(line).ok()?;
    let stream = Stream::of(stream.as_bytes())?;
    let is_partial = !log.ends_with('\n');
    let text = match log {
        Cow::Borrowed(text) => Cow::Borrowed(text.strip_suffix('\n').unwrap_or(text).as_bytes()),
        Cow::Owned(mut text) => {
            if !is_partial {
                text.pop();
            }
            Cow::Owned(text.into_bytes())
        }
    };
    Some(Fragment { time_unix_nano: read_time(time.as_bytes()).unwrap_or(0), stream, is_partial, text })
}

/// Nanoseconds since the epoch of a time as RFC 3339 has it: `2016-10-06T00:17:09.669794202Z`, or with an offset. A space may
/// stand for the `T`, a comma for the point, and without a zone it is UTC. `None` when it is none, or before the epoch.
pub(super) fn read_time(text: &[u8]) -> Option<u64> {
    let (date_time, rest) = text.split_first_chunk::<19>()?;
    let separators = [date_time[4], date_time[7], date_time[10], date_time[13], date_time[16]];
    if !matches!(separators, [b'-', b'-', b'T' | b't' | b' ', b':', b':']) {
        return None;
    }
    let number = |from: usize, to: usize| digits(&date_time[from..to]);
    let (year, month, day) = (number(0, 4)?, number(5, 7)?, number(8, 10)?);
    let (hour, minute, second) = (number(11, 13)?, number(14, 16)?, number(17, 19)?);
    // A leap second counts as the next one.
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (nanos, zone) = read_fraction(rest)?;
    let seconds = days_from_epoch(year, month, day) * 86_400 + hour * 3_600 + minute * 60 + second;
    let seconds = u64::try_from(seconds - read_zone(zone)?).ok()?;
    seconds.checked_mul(1_000_000_000)?.checked_add(nanos)
}

fn digits(text: &[u8]) -> Option<i64> {
    text.iter()
        .try_fold(0, |number, byte| byte.is_ascii_digit().then(|| number * 10 + i64::from(byte - b'0')))
}

/// Days from 1970-01-01 to a day of the Gregorian calendar, by counting years from March.
fn days_from_epoch(year: i64, month: i64, day: i64) -> i64 {
    let year = if month > 2 { year } else { year - 1 };
    let day_of_year = (153 * (month + if month > 2 { -3 } else { 9 }) + 2) / 5 + day - 1;
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The nanoseconds of a fraction, and what follows it. Digits beyond nanoseconds are passed over.
fn read_fraction(text: &[u8]) -> Option<(u64, &[u8])> {
    let Some(fraction) = text.strip_prefix(b".").or_else(|| text.strip_prefix(b",")) else {
        return Some((0, text));
    };
    let len = fraction.iter().position(|byte| !byte.is_ascii_digit()).unwrap_or(fraction.len());
    let (fraction, rest) = fraction.split_at(len);
    let kept = &fraction[..len.min(9)];
    let nanos = digits(kept)? as u64 * 10u64.pow(9 - kept.len() as u32);
    (len > 0).then_some((nanos, rest))
}

/// Seconds that a zone is ahead of UTC.
fn read_zone(zone: &[u8]) -> Option<i64> {
    let (sign, zone) = match zone {
        b"" | b"Z" | b"z" => return Some(0),
        [b'+', zone @ ..] => (1, zone),
        [b'-', zone @ ..] => (-1, zone),
        _ => return None,
    };
    let (hours, minutes) = match zone.len() {
        2 => (zone, &b"00"[..]),
        4 => zone.split_at(2),
        5 if zone[2] == b':' => (&zone[..2], &zone[3..]),
        _ => return None,
    };
    Some(sign * (digits(hours)? * 3_600 + digits(minutes)? * 60))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fragment(stream: Stream, is_partial: bool, text: &[u8]) -> Result<Fragment<'_>, OtherFormat> {
        Ok(Fragment {
            time_unix_nano: 1_475_713_029_669_794_202,
            stream,
            is_partial,
            text: Cow::Borrowed(text),
        })
    }

    #[test]
    fn lines_of_the_container_runtime_interface() {
        fn read(line: &[u8]) -> Result<Fragment<'_>, OtherFormat> {
            read_line(Format::Cri, line)
        }
        let time = "2016-10-06T00:17:09.669794202Z";
        let line = |rest: &str| format!("{time} {rest}").into_bytes();
        assert_eq!(read(&line("stdout F the text")), fragment(Stream::Stdout, false, b"the text"));
        assert_eq!(read(&line("stderr P  two  blanks ")), fragment(Stream::Stderr, true, b" two  blanks "));
        assert_eq!(read(&line("stdout F:tag ")), fragment(Stream::Stdout, false, b""));
        assert_eq!(read(&line("stdout F")), fragment(Stream::Stdout, false, b""));
        let no_text = [line("stdout F "), b"\xff".to_vec()].concat();
        assert_eq!(read(&no_text), fragment(Stream::Stdout, false, b"\xff"));
        for other in ["", "stdin F x", "stdout X x", "stdout"] {
            assert_eq!(read(&line(other)), Err(OtherFormat), "{other}");
        }
        assert_eq!(read(b"plain text of some words"), Err(OtherFormat));
    }

    #[test]
    fn lines_of_dockers_json_file() {
        let read = |line: &'static str| read_line(Format::Docker, line.as_bytes());
        let line = r#"{"log":"the text\n","stream":"stdout","time":"2016-10-06T00:17:09.669794202Z"}"#;
        assert_eq!(read(line), fragment(Stream::Stdout, false, b"the text"));
        let line = r#"{"log":"a \"b\" \u00e4","stream":"stderr","time":"2016-10-06T02:17:09.669794202+02:00","attrs":{}}"#;
        assert_eq!(read(line), fragment(Stream::Stderr, true, "a \"b\" \u{e4}".as_bytes()));
        for other in ["{}", "text", r#"{"log":1,"stream":"stdout"}"#, r#"{"log":"x","stream":"other"}"#] {
            assert_eq!(read(other), Err(OtherFormat), "{other}");
        }
    }

    #[test]
    fn a_line_tells_the_format_of_its_file() {
        assert_eq!(Format::of_line(b"2016-10-06T00:17:09Z stdout F x"), Format::Cri);
        assert_eq!(Format::of_line(br#"{"log":"x\n","stream":"stdout","time":""}"#), Format::Docker);
        assert_eq!(Format::of_line(br#"{"level":"info"}"#), Format::Plain);
        assert_eq!(Format::of_line(b""), Format::Plain);
    }

    #[test]
    fn times_in_their_many_forms() {
        let nanos = 1_475_713_029_669_794_202;
        let cases: [(&str, Option<u64>); 14] = [
            ("2016-10-06T00:17:09.669794202Z", Some(nanos)),
            ("2016-10-06 00:17:09,669794202", Some(nanos)),
            ("2016-10-06T02:47:09.669794202999+02:30", Some(nanos)),
            ("2016-10-05T19:17:09.669794202-0500", Some(nanos)),
            ("2016-10-06T00:17:09.67Z", Some(1_475_713_029_670_000_000)),
            ("1970-01-01T00:00:00Z", Some(0)),
            ("2000-02-29T23:59:60Z", Some(951_868_800_000_000_000)),
            ("1969-12-31T23:59:59Z", None),
            ("2016-13-06T00:17:09Z", None),
            ("2016-10-06T00:17:09.Z", None),
            ("2016-10-06T00:17:09+2", None),
            ("2016-10-06T00:17", None),
            ("", None),
            ("9999-12-31T23:59:59Z", None),
        ];
        for (text, expected) in cases {
            assert_eq!(read_time(text.as_bytes()), expected, "{text}");
        }
    }

    proptest! {
        #[test]
        fn times_are_those_that_a_library_reads(seconds in 0..9_000_000_000i64, nanos in 0..1_000_000_000i32) {
            let time = jiff::Timestamp::new(seconds, nanos).unwrap();
            prop_assert_eq!(read_time(time.to_string().as_bytes()), u64::try_from(time.as_nanosecond()).ok());
        }

        #[test]
        fn any_bytes_are_a_line_or_none(line in proptest::collection::vec(any::<u8>(), 0..200)) {
            for format in [Format::Cri, Format::Docker, Format::Plain] {
                let _ = read_line(format, &line);
            }
            prop_assert_eq!(&*read_line(Format::Plain, &line).unwrap().text, &line[..]);
        }

        #[test]
        fn any_text_comes_out_of_its_cri_line(text in proptest::collection::vec(any::<u8>(), 0..200)) {
            let line = [b"2016-10-06T00:17:09.669794202Z stdout F ", &text[..]].concat();
            prop_assert_eq!(&*read_line(Format::Cri, &line).unwrap().text, &text[..]);
        }
    }
}
