//! Stop, start, kill, freeze and thaw do to a server what they say.

use devstack::{Error, Part, Server, Stack, StackOptions};

use crate::post;

/// Puts one server through every fault; it must come back each time where it was.
fn check(part: Part) {
    let stack = Stack::up(StackOptions::own(&[part])).unwrap();
    let [server] = stack.servers() else { panic!("one server was asked for") };
    let first = server.pid().unwrap();

    server.freeze().unwrap();
    assert!(!server.is_ready(), "{part} answers while it is frozen");
    assert_eq!(server.pid(), Some(first));
    server.thaw().unwrap();
    // A frozen server answers again without being started; start is nothing then.
    assert!(comes_back(server), "{part} does not answer after it was thawed");
    server.start().unwrap();
    assert_eq!(server.pid(), Some(first));

    for end in [Server::stop, Server::kill] {
        end(server).unwrap();
        assert_eq!(server.pid(), None);
        assert!(!server.is_ready(), "{part} answers after its end");
        server.start().unwrap();
        assert!(server.is_ready(), "{part} does not answer on its old address");
    }
    assert_ne!(server.pid(), Some(first));
}

/// Some seconds may pass until a broker has its session again.
fn comes_back(server: &Server) -> bool {
    (0..30).any(|_| server.is_ready())
}

#[test]
fn kafka_survives_every_fault() {
    check(Part::Kafka);
}

#[test]
fn clickhouse_survives_every_fault() {
    check(Part::Clickhouse);
}

#[test]
fn mimir_survives_every_fault() {
    check(Part::Mimir);
}

#[test]
fn an_acknowledged_insert_survives_kill() {
    let stack = Stack::up(StackOptions::own(&[Part::Clickhouse])).unwrap();
    let url = stack.endpoints().clickhouse_url.clone();
    post(&url, "CREATE TABLE t (n UInt64) ENGINE = MergeTree ORDER BY n");
    assert_eq!(post(&url, "INSERT INTO t SELECT number FROM numbers(100000)").0, 200);
    stack.clickhouse().kill().unwrap();
    stack.clickhouse().start().unwrap();
    assert_eq!(post(&url, "SELECT count(), sum(n) FROM t"), (200, "100000\t4999950000\n".to_owned()));
}

#[test]
fn a_server_that_ends_at_once_shows_why() {
    let mut options = StackOptions::own(&[Part::Kafka]);
    options.kafka_properties.push(("num.io.threads".into(), "none".into()));
    let error = Stack::up(options).unwrap_err();
    let Error::Ended { part, tail, .. } = &error else { panic!("{error}") };
    assert_eq!(*part, Part::Kafka);
    assert!(tail.contains("num.io.threads"), "{tail}");
}
