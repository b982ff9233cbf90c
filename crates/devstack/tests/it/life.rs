//! How long servers live: as long as their owner wants, and never longer than their owner.

use std::io::{BufRead, BufReader};
use std::process::Stdio;

use devstack::supervisor::State;
use devstack::{Error, Part, Stack, StackOptions};

use crate::{PATIENCE, Watched, devstack, servers_of};

#[test]
fn a_stack_answers_while_it_is_up_and_leaves_nothing_behind() {
    let stack = Stack::up(StackOptions::own(&Part::ALL)).unwrap();
    let processes: Vec<Watched> =
        stack.servers().iter().map(|server| Watched::new(server.pid().unwrap())).collect();
    assert_eq!(processes.len(), 3);
    assert!(stack.servers().iter().all(devstack::Server::is_ready));
    let folder = stack.folder().to_path_buf();
    assert!(folder.join("kafka/data").is_dir());

    drop(stack);
    assert!(processes.iter().all(|process| process.ends(std::time::Duration::ZERO)));
    assert!(!folder.exists());
}

/// The owner is `devstack up --foreground --temporary`: a process with a stack, as a test is.
#[test]
fn servers_end_and_their_data_goes_when_their_owner_is_killed() {
    let mut owner = devstack(&["up", "--foreground", "--temporary"])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(owner.stdout.take().unwrap()).lines().map(Result::unwrap);
    let folder = lines.find_map(|line| line.strip_prefix("DEVSTACK_DIR=").map(str::to_owned)).unwrap();
    let state = std::fs::read(format!("{folder}/state.json")).unwrap();
    let servers = servers_of(&serde_json::from_slice::<State>(&state).unwrap());
    assert_eq!(servers.len(), 3);
    let sweeper = sweeper_of(owner.id());

    owner.kill().unwrap();
    owner.wait().unwrap();
    assert!(servers.iter().all(|server| server.ends(PATIENCE)));
    assert!(sweeper.ends(PATIENCE));
    assert!(!std::path::Path::new(&folder).exists());
}

#[test]
fn a_frozen_server_ends_with_its_stack() {
    let stack = Stack::up(StackOptions::own(&[Part::Clickhouse])).unwrap();
    let server = Watched::new(stack.clickhouse().pid().unwrap());
    stack.clickhouse().freeze().unwrap();
    drop(stack);
    assert!(server.ends(std::time::Duration::ZERO));
}

#[test]
fn a_folder_holds_one_stack_at_a_time_and_keeps_its_data() {
    let folder = tempfile::tempdir().unwrap();
    let options = || StackOptions {
        folder: Some(folder.path().to_path_buf()),
        ..StackOptions::own(&[Part::Clickhouse])
    };
    let stack = Stack::up(options()).unwrap();
    let sql = |stack: &Stack, sql: &str| crate::post(&stack.endpoints().clickhouse_url, sql);
    sql(&stack, "CREATE TABLE kept (n UInt8) ENGINE = MergeTree ORDER BY n");
    assert_eq!(sql(&stack, "INSERT INTO kept VALUES (7)"), (200, String::new()));

    let error = Stack::up(options()).unwrap_err();
    let Error::AlreadyUp { folder: refused, pid } = &error else { panic!("{error}") };
    assert_eq!((refused.as_path(), *pid), (folder.path(), Some(std::process::id().cast_signed())));

    drop(stack);
    let again = Stack::up(options()).unwrap();
    assert_eq!(sql(&again, "SELECT n FROM kept"), (200, "7\n".to_owned()));
}

/// The one child of `owner` that is no server.
fn sweeper_of(owner: u32) -> Watched {
    let children = std::fs::read_dir(format!("/proc/{owner}/task")).unwrap().flat_map(|thread| {
        let text = std::fs::read_to_string(thread.unwrap().path().join("children")).unwrap();
        text.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<i32>>()
    });
    let mut sweepers = children.filter(|child| {
        let command = std::fs::read(format!("/proc/{child}/cmdline")).unwrap();
        command.split(|byte| *byte == 0).nth(1) == Some(b"sweep")
    });
    Watched::new(sweepers.next().unwrap())
}
