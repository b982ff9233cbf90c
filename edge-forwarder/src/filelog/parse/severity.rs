//! Words and numbers for how severe something is, as OpenTelemetry counts it: 1 trace, 5 debug, 9 info, 13 warn, 17 error, 21
//! fatal, and what lies between.

/// The longest word that is one.
const MAX_WORD_BYTES: usize = 13;

/// How far a severity is looked for in a text that is no JSON.
const GUESS_BYTES: usize = 64;

/// The severity that a word stands for, in any case.
pub(super) fn of_word(word: &[u8]) -> Option<u8> {
    let mut lower = [0; MAX_WORD_BYTES];
    let lower = lower.get_mut(..word.len())?;
    lower.copy_from_slice(word);
    lower.make_ascii_lowercase();
    let severity = match &*lower {
        b"trace" | b"verbose" | b"finest" | b"finer" | b"trc" => 1,
        b"debug" | b"fine" | b"dbg" | b"config" => 5,
        b"info" | b"information" | b"informational" | b"inf" | b"log" => 9,
        b"notice" => 10,
        b"warn" | b"warning" | b"wrn" => 13,
        b"error" | b"err" | b"severe" => 17,
        b"critical" | b"crit" | b"dpanic" => 18,
        b"alert" => 19,
        b"fatal" | b"panic" | b"emerg" | b"emergency" | b"ftl" => 21,
        _ => return None,
    };
    Some(severity)
}

/// The severity of bunyan's and pino's numbers.
pub(super) fn of_number(number: i64) -> Option<(u8, &'static [u8])> {
    let severity: (u8, &[u8]) = match number {
        10 => (1, b"trace"),
        20 => (5, b"debug"),
        30 => (9, b"info"),
        40 => (13, b"warn"),
        50 => (17, b"error"),
        60 => (21, b"fatal"),
        _ => return None,
    };
    Some(severity)
}

/// The severity that a text without a structure names near its beginning: `E0102 15:04:05`, `[WARN]`, `ERROR `, `level=info`.
pub(super) fn guessed(text: &[u8]) -> Option<(u8, &[u8])> {
    let beginning = &text[..text.len().min(GUESS_BYTES)];
    let of_klog = match beginning {
        [letter, date @ ..]
            if date.len() > 4 && date[..4].iter().all(u8::is_ascii_digit) && date[4] == b' ' =>
        {
            b"IWEF".iter().position(|known| known == letter)
        }
        _ => None,
    };
    if let Some(index) = of_klog {
        return Some(([9, 13, 17, 21][index], &beginning[..1]));
    }
    let mut before = b' ';
    for word in beginning.split_inclusive(|byte| !byte.is_ascii_alphabetic()) {
        let letters = word.strip_suffix(b" ").unwrap_or(word);
        let letters = match letters {
            [letters @ .., last] if !last.is_ascii_alphabetic() => letters,
            letters => letters,
        };
        // A word of prose is none: it is written in capitals, or stands behind `level=`.
        let is_meant = before == b'=' || (letters.len() > 2 && letters.iter().all(u8::is_ascii_uppercase));
        if is_meant && let Some(severity) = of_word(letters) {
            return Some((severity, letters));
        }
        before = word.last().copied().unwrap_or(b' ');
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_in_any_case() {
        for (word, severity) in
            [("INFO", 9), ("Warning", 13), ("eRr", 17), ("informational", 9), ("PANIC", 21)]
        {
            assert_eq!(of_word(word.as_bytes()), Some(severity), "{word}");
        }
        for word in ["", "informationally", "hello", "inform"] {
            assert_eq!(of_word(word.as_bytes()), None, "{word}");
        }
    }

    #[test]
    fn plain_texts_name_it_near_their_beginning() {
        let cases: [(&str, Option<(u8, &str)>); 9] = [
            ("E0102 15:04:05.000 1 main.go:1] gone", Some((17, "E"))),
            ("2026-01-02 03:04:05 [WARN] disk", Some((13, "WARN"))),
            ("2026-01-02 03:04:05,678 ERROR [main] com.example.App - gone", Some((17, "ERROR"))),
            ("time=\"2026\" level=info msg=\"listening\"", Some((9, "info"))),
            ("an error of the info desk", None),
            ("Error: gone", None),
            ("I am here 1234", None),
            ("", None),
            ("DEBUG", Some((5, "DEBUG"))),
        ];
        for (text, expected) in cases {
            let found = guessed(text.as_bytes())
                .map(|(severity, word)| (severity, std::str::from_utf8(word).unwrap()));
            assert_eq!(found, expected, "{text}");
        }
    }
}
