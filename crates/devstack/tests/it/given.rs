//! Servers that the user has already are used, asked, and left alone.

use std::net::TcpListener;

use devstack::supervisor::{self, Health};
use devstack::{Part, Stack, StackOptions};

use crate::{Place, devstack, run};

#[test]
fn given_servers_are_used_and_survive_down() {
    let theirs = Stack::up(StackOptions::own(&[Part::Clickhouse, Part::Mimir])).unwrap();
    let folder = Place::new();
    let place = folder.as_str();
    let mut up = devstack(&["up", "--dir", place, "--part", "clickhouse", "--part", "mimir"]);
    up.envs(theirs.endpoints().variables());
    let (up, printed, complaints) = run(&mut up);
    assert!(up, "{complaints}");
    for (variable, address) in theirs.endpoints().variables() {
        assert!(printed.contains(&format!("{variable}={address}\n")), "{printed}");
    }
    let state = supervisor::state(folder.path()).unwrap();
    assert!(state.servers.iter().all(|server| server.process.is_none() && server.log.is_none()));
    let ready = |health: &Health| health.answer.is_ok() && health.pid.is_none();
    assert!(supervisor::ask(&state).iter().all(ready));

    assert!(run(&mut devstack(&["down", "--dir", place])).0);
    assert!(theirs.servers().iter().all(devstack::Server::is_ready));
}

/// `up` with `variable` naming something that is no server of that kind must fail and say so.
fn check_refused(part: Part, address: &str) {
    let folder = Place::new();
    let place = folder.as_str();
    let mut up = devstack(&["up", "--foreground", "--dir", place, "--part", part.as_str()]);
    let (up, _, complaints) = run(up.env(part.variable(), address));
    assert!(!up);
    let expected = format!("{part} server named in {} ({address}) does not answer", part.variable());
    assert!(complaints.contains(&expected), "{complaints}");
}

#[test]
fn a_given_address_where_nobody_listens_is_refused() {
    let port = TcpListener::bind(("127.0.0.1", 0)).unwrap().local_addr().unwrap().port();
    check_refused(Part::Kafka, &format!("127.0.0.1:{port}"));
    check_refused(Part::Clickhouse, &format!("http://127.0.0.1:{port}"));
    check_refused(Part::Mimir, &format!("http://127.0.0.1:{port}"));
}

#[test]
fn a_given_server_of_another_kind_is_refused() {
    let stack = Stack::up(StackOptions::own(&[Part::Clickhouse])).unwrap();
    let url = &stack.endpoints().clickhouse_url;
    check_refused(Part::Mimir, url);
    check_refused(Part::Kafka, url.trim_start_matches("http://"));
}
