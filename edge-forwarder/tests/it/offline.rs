//! `edge-forwarder spool` on directories that an edge has left.

use std::{
    fs,
    path::Path,
    process::{Command, Output},
};

use prost::Message;
use serde_json::Value;
use telemetry_wire::Signal;
use tempfile::TempDir;

use crate::{
    requests::logs,
    support::{Answer, Edge, NO_BROKER, Topics},
};

/// Runs the command on `folder`: whether it succeeded, what it printed, and what it complained of.
fn spool(command: &str, folder: &Path, more: &[&str]) -> (bool, String, String) {
    let mut program = Command::new(env!("CARGO_BIN_EXE_edge-forwarder"));
    let Output { status, stdout, stderr } =
        program.args(["spool", command, "--directory"]).arg(folder).args(more).output().unwrap();
    (status.success(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

/// A running edge without a broker whose spool holds three requests of logs.
async fn edge_with_three_requests(folder: &TempDir) -> Edge {
    let spool = folder.path().display();
    let edge =
        Edge::start(Topics::at(NO_BROKER), &format!("spool: {{directory: '{spool}', after: 100ms}}")).await;
    for number in 0..3 {
        let request = edge.http_post(Signal::Logs, "application/x-protobuf");
        let body = logs([format!("line {number}")]).encode_to_vec();
        assert_eq!(Answer::of(request.body(body)).await.status, 200);
    }
    edge
}

fn only_segment(folder: &TempDir) -> std::path::PathBuf {
    let files = fs::read_dir(folder.path().join("logs")).unwrap();
    let is_segment = |path: &std::path::PathBuf| path.extension().is_some_and(|extension| extension == "seg");
    let segments: Vec<_> = files.map(|file| file.unwrap().path()).filter(is_segment).collect();
    assert_eq!(segments.len(), 1);
    segments[0].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_spool_is_listed_verified_and_dumped_beside_its_edge_but_not_repaired() {
    let folder = TempDir::new().unwrap();
    let edge = edge_with_three_requests(&folder).await;
    let (listed, table, _) = spool("ls", folder.path(), &[]);
    assert!(listed && table.contains("logs: 1 segments") && table.contains("3 records, 3 items"), "{table}");
    assert!(spool("verify", folder.path(), &[]).0);
    let (dumped, lines, _) = spool("dump", folder.path(), &["--signal", "logs", "--values"]);
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(dumped && lines.len() == 3, "{lines:?}");
    assert!(
        lines
            .iter()
            .all(|line| line["state"] == "to send" && line["items"] == 1 && line["value"].is_string())
    );
    let (repaired, _, complaint) = spool("repair", folder.path(), &[]);
    assert!(!repaired && complaint.contains(&std::process::id().to_string()), "{complaint}");
    edge.stop().await;
    assert!(spool("repair", folder.path(), &[]).0);
}

#[tokio::test(flavor = "multi_thread")]
async fn damage_fails_the_verification_and_is_repaired_at_the_price_of_one_record() {
    let folder = TempDir::new().unwrap();
    edge_with_three_requests(&folder).await.stop().await;
    let segment = only_segment(&folder);
    let mut bytes = fs::read(&segment).unwrap();
    let place = bytes.windows(6).position(|window| window == b"line 1").unwrap();
    bytes[place] ^= 1;
    fs::write(&segment, bytes).unwrap();
    let (verified, table, complaint) = spool("verify", folder.path(), &[]);
    assert!(
        !verified && table.contains("damaged bytes") && complaint.contains("repair"),
        "{table}{complaint}"
    );
    assert!(spool("repair", folder.path(), &[]).0);
    let (_, table, _) = spool("ls", folder.path(), &[]);
    assert!(table.contains("to send: 2 records"), "{table}");
}

#[test]
fn a_directory_that_is_no_spool_is_named_with_the_remedy() {
    let folder = TempDir::new().unwrap();
    let (listed, _, complaint) = spool("ls", folder.path(), &[]);
    assert!(
        !listed && complaint.contains("is no spool") && complaint.contains("spool.directory"),
        "{complaint}"
    );
}
