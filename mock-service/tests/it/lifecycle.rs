//! Start and stop: the lifecycle lines, the drain, its deadline, and a start that fails.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};

use crate::program::{Answer, Service, command, run, without_measures};

fn lifecycle(level: &str, message: &str, error: &str) -> String {
    format!(
        r#"{{"timestamp":"T","level":"{level}","method":"","path":"","status_code":0,"duration_ms":D,"message":"{message}"{error}}}"#
    )
}

#[test]
fn start_and_stop_leave_the_lifecycle_lines() {
    let mut child = command(&["--listen", ":0"]).spawn().unwrap();
    let mut stdout = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let start = stdout.next().unwrap();
    let port = start.split_once("Starting server on :").expect("the address as Go writes it").1;
    let port: u16 = port.trim_end_matches("\"}").parse().unwrap();
    assert_eq!(without_measures(&start), lifecycle("INFO", &format!("Starting server on :{port}"), ""));
    assert!(start.contains(r#""duration_ms":0,"#), "{start}");

    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let rest: Vec<_> = stdout.map(|line| without_measures(&line)).collect();
    let ended = ["Shutting down server...", "Server exited gracefully"];
    assert_eq!(rest, ended.map(|message| lifecycle("INFO", message, "")));
    assert!(child.wait().unwrap().success());
}

/// Sends a list request that waits in its handler, and returns once it is there.
///
/// It is pipelined behind a health request: when that one's answer has come, the server has the next one in hand.
fn list_in_flight(service: &Service) -> TcpStream {
    let mut stream = service.connect();
    let ask = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: menu\r\n\r\n");
    stream.write_all((ask("/health") + &ask("/api/menu")).as_bytes()).unwrap();
    let mut answer = Vec::new();
    while !answer.ends_with(b"}\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte).unwrap();
        answer.extend(byte);
    }
    stream
}

#[test]
fn requests_in_flight_are_answered_before_the_end() {
    let service = Service::start(&["--database-latency", "500ms"]);
    let idle = service.connect();
    let in_flight = list_in_flight(&service);
    service.terminate();
    assert_eq!(Answer::read(in_flight).status, 200);
    let stopped = service.wait();
    drop(idle);
    assert_eq!(stopped.code, Some(0));
    let messages =
        ["Health check", "Shutting down server...", "Listed 5 menu items", "Server exited gracefully"];
    assert_eq!(stopped.lines.len(), messages.len(), "{:?}", stopped.lines);
    for (line, message) in stopped.lines.iter().zip(messages) {
        assert!(line.contains(message), "{line}");
    }
}

#[test]
fn a_drain_that_takes_too_long_is_cut_and_said() {
    let service = Service::start(&["--database-latency", "1h"]);
    let in_flight = list_in_flight(&service);
    let stopped = service.stop();
    drop(in_flight);
    assert_eq!(stopped.code, Some(1));
    let expected = lifecycle("ERROR", "Server forced to shutdown", r#","error":"context deadline exceeded""#);
    assert_eq!(without_measures(stopped.lines.last().unwrap()), expected);
}

#[test]
fn a_taken_port_is_named_on_stderr() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = run(command(&["serve", "--listen", &address]));
    assert_eq!(output.status.code(), Some(1));
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(stderr.contains("server failed to start") && stderr.contains(&address), "{stderr}");
    assert!(output.stdout.is_empty());
}

#[test]
fn the_port_can_come_from_the_environment() {
    let taken = TcpListener::bind("[::]:0").or_else(|_| TcpListener::bind("0.0.0.0:0")).unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    for (variable, value) in [("PORT", port.clone()), ("LISTEN", format!(":{port}"))] {
        let mut command = command(&[]);
        command.env(variable, value);
        let output = run(command);
        assert_eq!(output.status.code(), Some(1), "the port of {variable} is the one that is taken");
        assert!(String::from_utf8(output.stderr).unwrap().contains(&port));
    }
}

#[test]
fn telemetry_that_cannot_be_set_up_is_a_configuration_error() {
    for (variables, named) in [
        (vec![("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], "http/json"),
        (
            vec![("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://x:1")],
            "HTTPS",
        ),
    ] {
        let mut command = command(&["--listen", "127.0.0.1:0"]);
        command.env("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:1").envs(variables);
        let output = run(command);
        assert_eq!(output.status.code(), Some(64));
        let stderr = String::from_utf8(output.stderr).unwrap();
        assert!(stderr.contains("traces") && stderr.contains(named), "{stderr}");
    }
}
