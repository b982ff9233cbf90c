//! Which lines belong together: a stack trace is one record with the line that it explains.
//!
//! Without a pattern of its own a log is joined by what stack traces look like: Java's and .NET's and JavaScript's `at …`,
//! `Caused by:` and `… more`, Python's `Traceback`, Go's `goroutine`. With a pattern, every line that does not match it goes on
//! with the record before. A JSON line never belongs to another.

use regex::bytes::Regex;

use super::parse::is_like_json;

/// How lines are joined.
#[derive(Debug, Clone, Default)]
pub(super) struct Joining {
    /// What the first line of a record looks like; `None` for stack traces.
    line_start: Option<Regex>,
}

/// Whether a line begins a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Follows {
    Begins,
    Continues,
}

/// What the lines before have begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum JoinState {
    #[default]
    Nothing,
    /// A Python traceback whose exception has not come yet.
    Traceback,
    /// A Python traceback with its exception, which another may explain.
    Exception,
    /// A Go panic, to the end of its goroutines.
    Panic,
}

impl Joining {
    /// Joins by a pattern of first lines.
    pub(super) fn by_first_line(line_start: Regex) -> Joining {
        Joining { line_start: Some(line_start) }
    }

    /// Whether a record may have a line after this one.
    pub(super) fn can_begin(&self, line: &[u8]) -> bool {
        !is_like_json(line)
    }

    /// What a line is after the ones before it.
    pub(super) fn follows(&self, state: &mut JoinState, line: &[u8]) -> Follows {
        if is_like_json(line) {
            *state = JoinState::Nothing;
            return Follows::Begins;
        }
        let continues = match &self.line_start {
            Some(pattern) => !pattern.is_match(line),
            None => continues_trace(state, line),
        };
        if continues { Follows::Continues } else { Follows::Begins }
    }
}

fn continues_trace(state: &mut JoinState, line: &[u8]) -> bool {
    let indented = line.len() - line.trim_ascii_start().len();
    let text = line.trim_ascii_start();
    match *state {
        JoinState::Traceback => {
            // The exception is the first line that is not indented.
            if indented == 0 {
                *state = JoinState::Exception;
            }
            return true;
        }
        JoinState::Exception if text.is_empty() => return true,
        JoinState::Exception => *state = JoinState::Nothing,
        JoinState::Panic => {
            let is_frame =
                line.ends_with(b")") || line.starts_with(b"\t") || text.starts_with(b"created by ");
            if text.is_empty() || is_frame || text.starts_with(b"goroutine ") || text.starts_with(b"[signal ")
            {
                return true;
            }
            let is_end = text.starts_with(b"exit status ");
            *state = JoinState::Nothing;
            if is_end {
                return true;
            }
        }
        JoinState::Nothing => {}
    }
    if text.starts_with(b"Traceback (most recent call last):") {
        *state = JoinState::Traceback;
        return true;
    }
    if line.starts_with(b"panic: ") || line.starts_with(b"fatal error: ") {
        *state = JoinState::Panic;
        return false;
    }
    if is_between_tracebacks(text) {
        *state = JoinState::Exception;
        return true;
    }
    text.starts_with(b"Caused by: ")
        || text.starts_with(b"Suppressed: ")
        || text.starts_with(b"--- End of ")
        || (indented > 0 && (text.starts_with(b"at ") || is_more(text)))
}

fn is_between_tracebacks(text: &[u8]) -> bool {
    text.starts_with(b"During handling of the above exception")
        || text.starts_with(b"The above exception was the direct cause")
}

/// `... 12 more`, and `... 3 common frames omitted`.
fn is_more(text: &[u8]) -> bool {
    text.strip_prefix(b"... ").is_some_and(|rest| rest.first().is_some_and(u8::is_ascii_digit))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The records that the lines become.
    fn joined(joining: &Joining, lines: &str) -> Vec<String> {
        let (mut records, mut state): (Vec<String>, JoinState) = (Vec::new(), JoinState::default());
        for line in lines.lines() {
            match joining.follows(&mut state, line.as_bytes()) {
                Follows::Begins => records.push(line.to_owned()),
                Follows::Continues => {
                    let last = records.last_mut().unwrap();
                    last.push('\n');
                    last.push_str(line);
                }
            }
        }
        records
    }

    #[track_caller]
    fn check(lines: &str, firsts: &[&str]) {
        let records = joined(&Joining::default(), lines);
        let found: Vec<&str> =
            records.iter().map(|record| record.lines().next().unwrap_or_default()).collect();
        assert_eq!(found, firsts);
    }

    #[test]
    fn a_java_trace_belongs_to_the_line_that_it_explains() {
        check(
            "2026-01-02 ERROR order failed java.lang.IllegalStateException: no stock\n\
             \tat com.example.Stock.take(Stock.java:17)\n\
             \tat com.example.Order.place(Order.java:42)\n\
             Caused by: java.io.IOException: closed\n\
             \tat com.example.Db.read(Db.java:3)\n\
             \t... 12 more\n\
             \tSuppressed: java.lang.RuntimeException: late\n\
             2026-01-02 INFO next\n\
             {\"level\":\"info\"}\n\
             \tat a line that continues JSON, which nothing does",
            &[
                "2026-01-02 ERROR order failed java.lang.IllegalStateException: no stock",
                "2026-01-02 INFO next",
                "{\"level\":\"info\"}",
            ],
        );
    }

    #[test]
    fn python_tracebacks_end_with_their_exception() {
        check(
            "ERROR:root:order failed\n\
             Traceback (most recent call last):\n  File \"a.py\", line 1, in <module>\n    take()\nValueError: no stock\n\n\
             During handling of the above exception, another exception occurred:\n\n\
             Traceback (most recent call last):\n  File \"b.py\", line 2, in <module>\nKeyError: 'x'\n\
             INFO:root:next",
            &["ERROR:root:order failed", "INFO:root:next"],
        );
    }

    #[test]
    fn a_go_panic_takes_its_goroutines_with_it() {
        check(
            "listening\npanic: runtime error: index out of range\n\n\
             goroutine 1 [running]:\nmain.take(0x1)\n\t/app/main.go:7 +0x1d\nmain.main()\n\t/app/main.go:3\nexit status 2\nlistening",
            &["listening", "panic: runtime error: index out of range", "listening"],
        );
    }

    #[test]
    fn traces_of_dotnet_and_javascript() {
        check(
            "Unhandled exception. System.Exception: no stock\n   at Order.Place() in /app/Order.cs:line 4\n\
             --- End of stack trace from previous location ---\n   at Program.Main()\n\
             TypeError: x is not a function\n    at take (/app/index.js:3:5)\nnext\n  indented prose",
            &[
                "Unhandled exception. System.Exception: no stock",
                "TypeError: x is not a function",
                "next",
                "  indented prose",
            ],
        );
    }

    #[test]
    fn a_pattern_says_what_begins_a_record() {
        let joining = Joining::by_first_line(Regex::new(r"^\d{4}-").unwrap());
        assert_eq!(joined(&joining, "2026-01 a\n b\nc\n2026-02 d"), ["2026-01 a\n b\nc", "2026-02 d"]);
        assert_eq!(joined(&joining, "2026-01 a\n{}\n{}"), ["2026-01 a", "{}", "{}"]);
    }
}
