//! Whether a person can see what the edge is, what is wrong with what it was told, and whether it still turns.

use std::{
    fs,
    io::Read,
    net::TcpListener,
    path::Path,
    process::{Command, Output, Stdio},
    time::Duration,
};

use rustix::process::{Pid, Signal, kill_process};

use crate::support::{Edge, NO_BROKER, Topics, until};

fn program(yaml: &str, folder: &Path) -> Command {
    let file = folder.join("edge.yaml");
    fs::write(&file, format!("kafka: {{brokers: ['{NO_BROKER}']}}\n{yaml}")).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_edge-forwarder"));
    command.arg("--config").arg(file).env("EDGE__ADMIN__LISTEN", "127.0.0.1:0");
    command
}

/// What `--check-config` says of `yaml`: the exit code, and all that it prints.
fn check_config(yaml: &str) -> (i32, String) {
    let folder = tempfile::tempdir().unwrap();
    let Output { status, stdout, stderr } = program(yaml, folder.path())
        .arg("--check-config")
        .env_remove("EDGE__ADMIN__LISTEN")
        .output()
        .unwrap();
    (status.code().unwrap(), String::from_utf8([stdout, stderr].concat()).unwrap())
}

fn check_refused(yaml: &str, parts: &[&str]) {
    let (code, said) = check_config(yaml);
    assert_eq!(code, 64, "{yaml}: {said}");
    assert!(parts.iter().all(|part| said.contains(part)), "{yaml}: {said}");
}

#[test]
fn two_listeners_on_one_address_are_refused_before_the_start() {
    let both = "receivers: {grpc: {listen: '127.0.0.1:4317'}, http: {listen: '0.0.0.0:4317'}}";
    check_refused(both, &["receivers.http.listen", "0.0.0.0:4317 is taken by receivers.grpc.listen"]);
    check_refused("receivers: {http: {listen: '[::]:9464'}}", &["receivers.http.listen", "admin.listen"]);
    check_refused("admin: {listen: '127.0.0.1:4318'}", &["receivers.http.listen", "admin.listen"]);
    let free = "receivers: {grpc: {listen: '127.0.0.1:0'}, http: {listen: '127.0.0.1:0'}}\nadmin: {listen: '127.0.0.1:0'}";
    assert_eq!(check_config(free).0, 0, "port 0 takes a free one each time");
}

#[test]
fn a_spool_directory_that_cannot_be_made_is_refused_before_the_start() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::write(path("file"), "").unwrap();
    std::os::unix::fs::symlink(path("nowhere"), path("link")).unwrap();
    for wrong in [
        path("file"),
        path("file/spool"),
        path("link"),
        "/proc/eventline/spool".into(),
        path(&"x".repeat(300)),
    ] {
        check_refused(&format!("spool: {{directory: '{wrong}'}}"), &["spool.directory", "cannot be made"]);
    }
    for right in [path("a/b/c"), folder.path().display().to_string()] {
        let (code, said) = check_config(&format!("spool: {{directory: '{right}'}}"));
        assert_eq!((code, said.as_str()), (0, "configuration ok\n"));
    }
    assert!(!folder.path().join("a").exists(), "a check leaves nothing behind");
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 2, "a check leaves nothing behind");
}

#[test]
fn an_include_that_reads_nothing_is_warned_of() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name).display().to_string();
    fs::create_dir(path("logs")).unwrap();
    fs::write(path("logs/app.log"), "").unwrap();
    let config = |include: &str, exclude: &str| {
        format!(
            "spool: {{directory: '{}'}}\nfilelog: {{include: ['{include}'], exclude: [{exclude}]}}",
            path("spool")
        )
    };
    let rows = [
        (config(&path("logs"), ""), "matches a directory and no file"),
        (config(&path("*"), ""), "matches a directory and no file"),
        (config(&path("logs/*.txt"), ""), "matches nothing now"),
        (config(&path("logs/*.log"), &format!("'{}'", path("logs/app*"))), "`exclude` matches too"),
    ];
    for (yaml, what) in rows {
        let (code, said) = check_config(&yaml);
        assert_eq!(code, 0, "{said}");
        assert!(said.contains("warning: filelog.include: ") && said.contains(what), "{said}");
        assert!(said.contains("configuration ok"), "{said}");
    }
    assert_eq!(check_config(&config(&path("logs/*.log"), "")).1, "configuration ok\n");
}

#[test]
fn a_level_that_is_called_warning_hides_no_fatal_error_and_other_words_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let yaml = format!("log: {{level: warning}}\nreceivers: {{grpc: {{listen: '{address}'}}}}");
    let output = program(&yaml, folder.path()).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(said.contains("ended with a failure") && said.contains(&address.to_string()), "{said:?}");
    check_refused("log: {level: notice}", &["log.level", "`notice` is no level"]);
    check_refused("log: {level: edge_forwarder}", &["log.level"]);
}

#[test]
fn the_version_has_a_commit() {
    let output = Command::new(env!("CARGO_BIN_EXE_edge-forwarder")).arg("--version").output().unwrap();
    let said = String::from_utf8(output.stdout).unwrap();
    let commit = said.trim().strip_prefix(concat!("edge-forwarder ", env!("CARGO_PKG_VERSION"), " (commit "));
    assert!(commit.is_some_and(|commit| commit.len() > 1 && commit.ends_with(')')), "{said}");
}

#[tokio::test]
async fn errors_of_brokers_come_once_each() {
    let folder = tempfile::tempdir().unwrap();
    let yaml = "receivers: {grpc: {listen: '127.0.0.1:0'}, http: {listen: '127.0.0.1:0'}}";
    let mut command = program(yaml, folder.path());
    command.env("EDGE__KAFKA__BROKERS", "127.0.0.1:1,127.0.0.1:2").stderr(Stdio::piped());
    let mut process = command.spawn().unwrap();
    // Each broker is tried several times meanwhile.
    tokio::time::sleep(Duration::from_secs(3)).await;
    kill_process(Pid::from_child(&process), Signal::TERM).unwrap();
    let mut said = String::new();
    process.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    process.wait().unwrap();
    for broker in ["ipv4#127.0.0.1:1 failed", "ipv4#127.0.0.1:2 failed"] {
        let lines: Vec<_> = said.lines().filter(|line| line.contains(broker)).collect();
        assert_eq!(lines.len(), 1, "{lines:#?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_long_lived_task_is_watched_and_turns() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().display();
    let more = format!("spool: {{directory: '{path}/spool'}}\nfilelog: {{include: ['{path}/*.log']}}");
    let edge = Edge::start(Topics::at(NO_BROKER), &more).await;
    let liveness = edge.runtime.liveness();
    let expected = [
        "drain of logs",
        "drain of metrics",
        "drain of traces",
        "kafka clock",
        "kafka metadata",
        "log files",
        "readiness",
    ];
    until("every task to be watched", async || {
        let mut names = liveness.names();
        names.sort_unstable();
        names == expected
    })
    .await;
    assert_eq!(liveness.silent(), []);
    edge.stop().await;
    until("the watch to end with the tasks", async || {
        !liveness.names().iter().any(|name| name.starts_with("drain") || *name == "log files")
    })
    .await;
    assert_eq!(liveness.silent(), [], "a task that ended in order is not missed");
}
