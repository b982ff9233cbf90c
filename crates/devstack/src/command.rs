//! Runs the package clients, and says what they said when they fail.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};

use crate::{Error, Result};

/// Enough of a compiler's or package client's end to see why it gave up.
const TAIL_LINES: usize = 25;

/// Runs `command` to its end; each line it prints, on either stream, is given to `line`.
pub(crate) fn run(what: &str, command: &mut Command, mut line: impl FnMut(&str)) -> Result<()> {
    let (output, writer) = std::io::pipe().map_err(Error::io(what))?;
    let second = writer.try_clone().map_err(Error::io(what))?;
    let mut child =
        command.stdin(Stdio::null()).stdout(writer).stderr(second).spawn().map_err(Error::io(what))?;
    // The command keeps its copies of the writing ends, and the pipe would never end.
    command.stdout(Stdio::null()).stderr(Stdio::null());

    let mut tail = VecDeque::new();
    for text in BufReader::new(output).split(b'\n').map_while(std::result::Result::ok) {
        let text = String::from_utf8_lossy(&text).into_owned();
        line(&text);
        if tail.len() == TAIL_LINES {
            tail.pop_front();
        }
        tail.push_back(text);
    }
    let status = child.wait().map_err(Error::io(what))?;
    if status.success() {
        return Ok(());
    }
    let tail = Vec::from(tail).join("\n");
    Err(Error::Command { what: what.to_owned(), status: status.to_string(), tail })
}

/// Runs `command` to its end and gives what it wrote to standard output.
pub(crate) fn output(what: &str, command: &mut Command) -> Result<String> {
    let output = command.stdin(Stdio::null()).output().map_err(Error::io(what))?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let tail = String::from_utf8_lossy(&output.stderr).into_owned();
    Err(Error::Command { what: what.to_owned(), status: output.status.to_string(), tail })
}

/// The path of `program`, when it is installed.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(program)).find(|file| file.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_carries_the_last_lines_of_both_streams() {
        let mut shell = Command::new("sh");
        shell.args(["-c", "for i in $(seq 40); do echo line $i; done; echo wrong >&2; exit 3"]);
        let mut lines = 0;
        let error = run("count", &mut shell, |_| lines += 1).unwrap_err();
        let Error::Command { status, tail, .. } = error else { panic!("{error}") };
        assert_eq!((lines, status.as_str()), (41, "exit status: 3"));
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("line 40\nwrong"), "{tail}");
    }
}
