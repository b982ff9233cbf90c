//! `devstack up|status|env|logs|down`, as a person or a script uses them.

use std::process::Stdio;
use std::time::Instant;

use devstack::supervisor;

use crate::{Place, Watched, devstack, run, servers_of};

#[test]
fn up_stays_until_down_and_every_command_tells_the_truth() {
    let folder = Place::new();
    let place = folder.as_str();
    let at = |command: &str| run(&mut devstack(&[command, "--dir", place]));

    let (found, _, complaints) = at("status");
    assert!(!found && complaints.contains(&format!("devstack up --dir {place}")), "{complaints}");

    let (up, printed, complaints) = at("up");
    assert!(up, "{complaints}");
    let state = supervisor::state(folder.path()).unwrap();
    let owner = Watched::new(state.supervisor.pid);
    let servers = servers_of(&state);
    for (name, value) in state.endpoints.variables() {
        assert!(printed.contains(&format!("{name}={value}\n")), "{printed}");
        assert!(at("env").1.contains(&format!("export {name}='{value}'\n")));
    }

    let (again, _, complaints) = at("up");
    assert!(!again && complaints.contains("already (pid"), "{complaints}");
    let (all_ready, table, _) = at("status");
    assert!(all_ready && table.matches("ready").count() == 3, "{table}");
    assert!(at("logs").1.contains("kafka.log <=="));

    // One server of three is dead: status says which, and fails.
    let kafka = state.servers.iter().find_map(|server| server.process).unwrap();
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(kafka.pid).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    assert!(servers[0].ends(crate::PATIENCE));
    let (all_ready, table, _) = at("status");
    assert!(
        !all_ready && table.contains("not ours or gone") && table.matches("ready").count() == 2,
        "{table}"
    );

    assert!(at("down").0);
    let gone = |process: &Watched| process.ends(std::time::Duration::ZERO);
    assert!(gone(&owner) && servers.iter().all(gone));
    assert!(at("down").1.contains("no stack is up in"));
    assert!(folder.path().join("clickhouse/data").is_dir());
    assert!(run(&mut devstack(&["down", "--purge", "--dir", place])).0);
    assert!(!folder.path().exists());
}

#[test]
fn a_killed_supervisor_takes_the_servers_with_it_and_up_works_again() {
    let folder = Place::new();
    let place = folder.as_str();
    let up = ["up", "--dir", place, "--part", "clickhouse"];
    assert!(run(&mut devstack(&up)).0);
    let state = supervisor::state(folder.path()).unwrap();
    let servers = servers_of(&state);
    let pid = rustix::process::Pid::from_raw(state.supervisor.pid).unwrap();
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
    assert!(servers.iter().all(|server| server.ends(crate::PATIENCE)));

    let (up, _, complaints) = run(&mut devstack(&up));
    assert!(up, "{complaints}");
    assert_ne!(supervisor::state(folder.path()).unwrap().supervisor, state.supervisor);
    assert!(run(&mut devstack(&["down", "--dir", place])).0);
}

#[test]
fn servers_stay_when_nobody_reads_what_up_prints() {
    let folder = Place::new();
    let mut up = devstack(&["up", "--foreground", "--part", "clickhouse", "--dir", folder.as_str()]);
    let mut owner = up.stdout(Stdio::piped()).spawn().unwrap();
    drop(owner.stdout.take());
    let deadline = Instant::now() + crate::PATIENCE;
    while supervisor::state(folder.path()).is_err() && Instant::now() < deadline {
        std::thread::yield_now();
    }
    assert!(run(&mut devstack(&["down", "--dir", folder.as_str()])).0);
    assert!(owner.wait().unwrap().success(), "it ended by `down`, not by a closed pipe");
}
