//! Runs the program and speaks HTTP to it byte by byte, so that no client library tidies up a request on the way.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

/// Longest time anything here may take; reached only when the program is broken.
const PATIENCE: Duration = Duration::from_secs(30);

/// The program with an environment of its own: no `OTEL_*` and no proxy of the caller leaks in.
pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mock-service"));
    command.args(args).env_clear().stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

pub(crate) fn run(mut command: Command) -> Output {
    command.output().expect("the program starts")
}

/// A running `serve`, killed when dropped.
pub(crate) struct Service {
    child: Child,
    pub(crate) address: SocketAddr,
    lines: mpsc::Receiver<String>,
}

/// What a stopped service left behind.
pub(crate) struct Stopped {
    pub(crate) code: Option<i32>,
    /// The lines of stdout not read before.
    pub(crate) lines: Vec<String>,
    pub(crate) stderr: String,
}

impl Service {
    /// Starts on a free loopback port; the failure rate is 0 unless `args` give one.
    pub(crate) fn start(args: &[&str]) -> Self {
        Self::start_with(args, &[])
    }

    pub(crate) fn start_with(args: &[&str], environment: &[(&str, &str)]) -> Self {
        let failures: &[&str] = if args.contains(&"--failure-rate") { &[] } else { &["--failure-rate", "0"] };
        let mut command = command(&["serve", "--listen", "127.0.0.1:0"]);
        command.args(failures).args(args).envs(environment.iter().copied());
        let mut child = command.spawn().expect("the program starts");
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            stdout.lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
        });
        let start = lines.recv_timeout(PATIENCE).expect("a start line");
        let address = start.split_once("Starting server on ").expect("the start line").1;
        let address = address.trim_end_matches("\"}").parse().expect("an address in the start line");
        Service { child, address, lines }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.ask("GET", path)
    }

    pub(crate) fn ask(&self, method: &str, path: &str) -> Answer {
        self.ask_with(method, path, "")
    }

    /// `headers`: whole lines, each ended by CR LF.
    pub(crate) fn ask_with(&self, method: &str, path: &str, headers: &str) -> Answer {
        ask(self.address, method, path, headers)
    }

    pub(crate) fn connect(&self) -> TcpStream {
        connect(self.address)
    }

    /// The next line of stdout.
    pub(crate) fn line(&self) -> String {
        self.lines.recv_timeout(PATIENCE).expect("a log line")
    }

    pub(crate) fn terminate(&self) {
        kill_process(Pid::from_child(&self.child), Signal::TERM).expect("the service is running");
    }

    /// Waits for the end of a service that was told to stop.
    pub(crate) fn wait(mut self) -> Stopped {
        let mut stderr = String::new();
        self.child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        let code = self.child.wait().unwrap().code();
        Stopped { code, lines: self.lines.iter().collect(), stderr }
    }

    pub(crate) fn stop(self) -> Stopped {
        self.terminate();
        self.wait()
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends one request on a connection of its own. `headers`: whole lines, each ended by CR LF.
pub(crate) fn ask(address: SocketAddr, method: &str, path: &str, headers: &str) -> Answer {
    let mut stream = connect(address);
    // A service that refuses early closes before it has read everything; what it said can still be read.
    let _ = write!(
        stream,
        "{method} {path} HTTP/1.1\r\nHost: menu.test:8080\r\n{headers}Connection: close\r\n\r\n"
    );
    Answer::read(stream)
}

fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the service accepts connections");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// An HTTP answer, read to the end of its connection.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: String,
}

impl Answer {
    pub(crate) fn read(mut stream: TcpStream) -> Self {
        let mut text = String::new();
        stream.read_to_string(&mut text).expect("a whole answer");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head and a body");
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
        Answer { status, head: head.to_owned(), body: body.to_owned() }
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let headers = self.head.lines().skip(1).filter_map(|line| line.split_once(": "));
        headers.into_iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }
}

/// A log line with its two measured values checked and replaced: `"timestamp":"T"` and `"duration_ms":D`.
pub(crate) fn without_measures(line: &str) -> String {
    let timestamp = between(line, "\"timestamp\":\"", "\"");
    let digits = timestamp.replace(|c: char| c.is_ascii_digit(), "0");
    assert_eq!(digits, "0000-00-00T00:00:00Z", "whole seconds in UTC: {line}");
    let duration = between(line, "\"duration_ms\":", ",");
    assert!(duration.parse::<f64>().is_ok_and(|ms| (0.0..60_000.0).contains(&ms)), "milliseconds: {line}");
    line.replace(timestamp, "T").replace(&format!("\"duration_ms\":{duration},"), "\"duration_ms\":D,")
}

pub(crate) fn between<'a>(text: &'a str, before: &str, after: &str) -> &'a str {
    let rest = text.split_once(before).unwrap_or_else(|| panic!("{before} in {text}")).1;
    rest.split_once(after).unwrap_or_else(|| panic!("{after} in {text}")).0
}
