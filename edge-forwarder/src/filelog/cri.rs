//! stub
use std::borrow::Cow;
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Stdout,
    Stderr,
    None,
}
impl Stream {
    pub(super) const COUNT: usize = 3;
    pub(super) const ALL: [Stream; 3] = [Stream::Stdout, Stream::Stderr, Stream::None];
    pub(super) fn letter(self) -> char {
        match self {
            Stream::Stdout => 'o',
            Stream::Stderr => 'e',
            Stream::None => 'n',
        }
    }
}
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Format {
    Cri,
    Plain,
}
impl Format {
    pub(super) fn of_line(line: &[u8]) -> Format {
        if read_line(Format::Cri, line).is_ok() { Format::Cri } else { Format::Plain }
    }
}
#[derive(Debug)]
pub(super) struct Fragment<'a> {
    pub(super) time_unix_nano: u64,
    pub(super) stream: Stream,
    pub(super) is_partial: bool,
    pub(super) text: Cow<'a, [u8]>,
}
pub(super) fn read_line(format: Format, line: &[u8]) -> Result<Fragment<'_>, ()> {
    if format == Format::Plain {
        return Ok(Fragment {
            time_unix_nano: 0,
            stream: Stream::None,
            is_partial: false,
            text: Cow::Borrowed(line),
        });
    }
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let time = parts.next().ok_or(())?;
    if !time.ends_with(b"Z") {
        return Err(());
    }
    let stream = match parts.next() {
        Some(b"stdout") => Stream::Stdout,
        Some(b"stderr") => Stream::Stderr,
        _ => return Err(()),
    };
    let is_partial = match parts.next() {
        Some(b"P") => true,
        Some(b"F") => false,
        _ => return Err(()),
    };
    Ok(Fragment {
        time_unix_nano: 1,
        stream,
        is_partial,
        text: Cow::Borrowed(parts.next().unwrap_or_default()),
    })
}
