//! Whether the edge takes the commands of `docs/runbook.md`.

use std::process::Command;

const BOOK: &str = include_str!("../../../docs/runbook.md");

#[test]
fn every_command_of_the_runbook_is_one_that_the_edge_takes() {
    let commands: Vec<_> = BOOK.lines().filter_map(|line| line.strip_prefix("edge-forwarder ")).collect();
    assert!(!commands.is_empty());
    for command in commands {
        let words = command.split_whitespace().chain(["--help"]);
        let output = Command::new(env!("CARGO_BIN_EXE_edge-forwarder")).args(words).output().unwrap();
        assert!(output.status.success(), "{command}: {}", String::from_utf8_lossy(&output.stderr));
    }
}
