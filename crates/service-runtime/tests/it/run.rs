//! From arguments and signals to exit codes, seen from outside the process.

use std::{ffi::OsStr, io::Write as _, net::TcpListener, os::unix::ffi::OsStrExt as _};

use rustix::process::Signal;
use serde_json::Value;

use crate::process::{Process, command, events, run_to_end};

fn messages(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|event| event["message"].as_str()).collect()
}

/// The field of the event with this message.
fn field<'a>(events: &'a [Value], message: &str, field: &str) -> &'a str {
    let event = events.iter().find(|event| event["message"] == message);
    let event = event.unwrap_or_else(|| panic!("no {message:?} in {events:?}"));
    event[field].as_str().unwrap_or_else(|| panic!("no {field} in {event}"))
}

/// The process behaves so by itself: exit code, and the error it ends with.
fn check_failure(behaviour: &str, error: &str) {
    let output = run_to_end(&[], &[("DEMO__BEHAVIOUR", behaviour)]);
    let events = events(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{events:?}");
    assert_eq!(field(&events, "ended with a failure", "error"), error);
}

#[test]
fn an_app_that_returns_leaves_with_0() {
    let output = run_to_end(&[], &[("DEMO__BEHAVIOUR", "leave")]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"");
    let events = events(&output.stderr);
    assert_eq!(field(&events, "starting", "service"), "process");
    assert_eq!(field(&events, "starting", "version"), env!("CARGO_PKG_VERSION"));
    assert_eq!(messages(&events).last(), Some(&"ended in order"));
}

#[test]
fn an_app_that_fails_leaves_with_1_and_logs_the_chain() {
    check_failure("fail", "connect to the broker: no route to host");
}

#[test]
fn an_app_that_panics_leaves_with_1_and_logs_the_panic_as_an_event() {
    check_failure("panic", "the app panicked");
}

#[test]
fn a_task_that_panics_ends_the_process_in_order_with_1() {
    let output = run_to_end(&[], &[("DEMO__BEHAVIOUR", "panic-in-task")]);
    let events = events(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{events:?}");
    let panic = events.iter().find(|event| event["location"].is_string()).expect("an event of the panic");
    assert_eq!(panic["message"], "panic");
    assert_eq!(panic["panic"], "the task gives up");
    assert_eq!(field(&events, "task panicked; the process shuts down", "task"), "receiver");
    assert_eq!(field(&events, "ended with a failure", "error"), "a task panicked");
}

#[test]
fn a_wrong_configuration_leaves_with_64_and_every_problem_on_a_line() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    writeln!(
        file,
        "behaviour: dance\nlog: {{level: 'a=b=c', format: xml}}\nshutdown: {{grace: 1}}\nadmin: {{listne: x}}"
    )
    .unwrap();
    let path = file.path().to_str().unwrap();
    for args in [&["--config", path][..], &["--config", path, "--check-config"]] {
        let output = run_to_end(args, &[]);
        assert_eq!(output.status.code(), Some(64));
        let text = String::from_utf8(output.stderr).unwrap();
        let paths: Vec<_> = text.lines().map(|line| line.split(':').next().unwrap()).collect();
        assert_eq!(
            paths,
            ["log.format", "log.level", "shutdown.grace", "behaviour", "admin.listne"],
            "{text}"
        );
        assert_eq!(output.stdout, b"");
    }
}

#[test]
fn a_variable_that_is_no_text_is_a_problem() {
    let mut command = command(&[]);
    command.env("DEMO__BEHAVIOUR", OsStr::from_bytes(b"dr\xffain")).env("OTHER", OsStr::from_bytes(b"\xff"));
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(64));
    assert_eq!(output.stderr, b"DEMO__BEHAVIOUR: holds bytes that are not UTF-8; give text\n");
}

#[test]
fn checking_a_right_configuration_says_so_and_starts_nothing() {
    let output = run_to_end(&["--check-config"], &[("DEMO__BEHAVIOUR", "fail")]);
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(output.stdout, b"configuration ok\n");
    assert_eq!(output.stderr, b"");
}

#[test]
fn a_signal_drains_the_work_in_hand_then_leaves_with_0() {
    for signal in [Signal::TERM, Signal::INT] {
        let mut process = Process::start(&[]);
        process.wait_for("condition holds");
        process.signal(signal);
        process.wait_for("condition does not hold");
        process.release();
        let (code, events) = process.end();
        assert_eq!(code, Some(0), "{events:?}");
        assert_eq!(messages(&events)[messages(&events).len() - 2..], ["publisher drained", "ended in order"]);
    }
}

#[test]
fn past_the_grace_time_it_leaves_with_1_and_names_what_was_late() {
    let mut process = Process::start(&[("DEMO__SHUTDOWN__GRACE", "50ms")]);
    process.wait_for("condition holds");
    process.signal(Signal::TERM);
    let (code, events) = process.end();
    assert_eq!(code, Some(1), "{events:?}");
    assert_eq!(field(&events, "work was given up", "late"), "publisher");
    let error = field(&events, "ended with a failure", "error");
    assert_eq!(error, "the grace time passed before all work was done");
}

#[test]
fn a_second_signal_ends_it_at_once() {
    let mut process = Process::start(&[("DEMO__SHUTDOWN__GRACE", "1day")]);
    process.wait_for("condition holds");
    process.signal(Signal::TERM);
    process.wait_for("condition does not hold");
    process.signal(Signal::INT);
    let (code, events) = process.end();
    assert_eq!(code, Some(1), "{events:?}");
    assert_eq!(field(&events, "ended with a failure", "error"), "a second signal came");
}

#[test]
fn a_taken_admin_port_is_a_failure_for_a_service_and_of_no_concern_to_a_command() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let env = [("DEMO__ADMIN__LISTEN", address.as_str()), ("DEMO__BEHAVIOUR", "leave")];
    let output = run_to_end(&[], &env);
    assert_eq!(output.status.code(), Some(1));
    let error = format!("bind the admin server to {address}: Address already in use (os error 98)");
    assert_eq!(field(&events(&output.stderr), "ended with a failure", "error"), error);
    assert_eq!(run_to_end(&["--once"], &env).status.code(), Some(0));
}

#[test]
fn text_logs_are_lines_for_people() {
    let output = run_to_end(&[], &[("DEMO__BEHAVIOUR", "leave"), ("DEMO__LOG__FORMAT", "text")]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert!(text.lines().any(|line| line.contains("INFO") && line.ends_with("ended in order")), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours when it is no terminal: {text:?}");
}
