//! What a client knows about its connection, and what it says in the log.
//!
//! librdkafka reports each failed connection attempt to each broker, and each report twice. During an outage that is several
//! lines a second. So what was said is not said again until a broker has answered or [`SILENCE`] is over, and what is new is
//! counted per facility: the first [`LINES_PER_WINDOW`] of a window pass, the rest is a number in the next one that does.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use rdkafka::{
    config::RDKafkaLogLevel,
    error::{KafkaError, RDKafkaErrorCode},
};
use tracing::{debug, error, info, warn};

use crate::doorbell::Doorbell;

const WINDOW: Duration = Duration::from_secs(30);
const LINES_PER_WINDOW: u32 = 3;
/// Readiness says all the time what this line says once; a person who comes later finds it again.
const SILENCE: Duration = Duration::from_secs(600);
/// Brokers times causes; beyond it only the windows count.
const MAX_TEXTS: usize = 256;
/// librdkafka has a few dozen facilities; more than this would mean that names are made up at run time.
const MAX_FACILITIES: usize = 128;

/// Shared by a client's callbacks and its owner.
#[derive(Debug)]
pub(crate) struct ConnectionStatus {
    role: &'static str,
    connected: AtomicBool,
    lines: LogLimiter,
    doorbell: Doorbell,
}

impl ConnectionStatus {
    /// `doorbell` wakes the thread that probes the connection while it is down.
    pub(crate) fn new(role: &'static str, doorbell: Doorbell) -> Arc<ConnectionStatus> {
        Arc::new(ConnectionStatus {
            role,
            connected: AtomicBool::new(false),
            lines: LogLimiter::default(),
            doorbell,
        })
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.connected.load(Ordering::Acquire)
    }

    /// A broker has answered.
    pub(crate) fn answered(&self) {
        if !self.connected.load(Ordering::Relaxed) && !self.connected.swap(true, Ordering::AcqRel) {
            self.lines.forget();
            info!(role = self.role, "kafka connected");
        }
    }

    /// No broker answers.
    pub(crate) fn unanswered(&self) {
        if self.connected.swap(false, Ordering::AcqRel) {
            warn!(role = self.role, "kafka connection lost, trying again");
            self.doorbell.ring();
        }
    }

    /// librdkafka's log line.
    pub(crate) fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        let role = self.role;
        // That a setting is called experimental is for who sets it, not for who reads the log.
        let is_about_settings = facility == "CONFWARN" && line.contains("is experimental");
        if matches!(level, RDKafkaLogLevel::Debug) || is_about_settings {
            debug!(role, facility, line, "librdkafka");
            return;
        }
        let Some(suppressed) = self.lines.admit(facility, line, Instant::now()) else { return };
        match level {
            RDKafkaLogLevel::Emerg | RDKafkaLogLevel::Alert | RDKafkaLogLevel::Critical => {
                error!(role, facility, line, suppressed, "librdkafka");
            }
            // librdkafka calls a refused connection an error; for an operator it is one only if it lasts, and then
            // readiness says so.
            RDKafkaLogLevel::Error | RDKafkaLogLevel::Warning => {
                warn!(role, facility, line, suppressed, "librdkafka");
            }
            _ => info!(role, facility, line, suppressed, "librdkafka"),
        }
    }

    /// librdkafka's error callback: the state of the whole client, not of one record.
    pub(crate) fn client_error(&self, error: &KafkaError, reason: &str) {
        match error.rdkafka_error_code() {
            // Whoever asks for the connection says so, once.
            Some(RDKafkaErrorCode::AllBrokersDown) => return self.unanswered(),
            Some(RDKafkaErrorCode::Fatal) => error!(role = self.role, reason, "kafka client instance failed"),
            _ => {}
        }
        if let Some(suppressed) = self.lines.admit("client", reason, Instant::now()) {
            warn!(role = self.role, error = %error, reason, suppressed, "kafka client error");
        }
    }
}

#[derive(Debug, Default)]
struct LogLimiter {
    said: Mutex<Said>,
}

#[derive(Debug, Default)]
struct Said {
    facilities: HashMap<String, LineCount>,
    /// When each text was last written.
    texts: HashMap<String, Instant>,
}

#[derive(Clone, Copy, Debug)]
struct LineCount {
    since: Instant,
    passed: u32,
    suppressed: u64,
}

impl LogLimiter {
    /// The number of lines held back since the last one that passed, or `None` when this one is held back.
    fn admit(&self, facility: &str, line: &str, now: Instant) -> Option<u64> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        let Said { facilities, texts } = &mut *said;
        let text = what_is_said(line);
        let is_repeated = texts.get(text).is_some_and(|at| now.duration_since(*at) < SILENCE);
        let key = if facilities.len() < MAX_FACILITIES || facilities.contains_key(facility) {
            facility
        } else {
            "other"
        };
        let fresh = LineCount { since: now, passed: 0, suppressed: 0 };
        let count = facilities.entry(key.to_owned()).or_insert(fresh);
        if now.duration_since(count.since) >= WINDOW {
            *count = LineCount { suppressed: count.suppressed, ..fresh };
        }
        if is_repeated || count.passed == LINES_PER_WINDOW {
            count.suppressed += 1;
            return None;
        }
        count.passed += 1;
        texts.retain(|_, at| now.duration_since(*at) < SILENCE);
        if texts.len() < MAX_TEXTS {
            texts.insert(text.to_owned(), now);
        }
        Some(std::mem::take(&mut count.suppressed))
    }

    /// What is said from now on is news.
    fn forget(&self) {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).texts.clear();
    }
}

/// The text without what differs each time: the thread before it, and after it how long that took and how often it came.
fn what_is_said(line: &str) -> &str {
    let line = line.strip_prefix("[thrd:").and_then(|rest| Some(rest.split_once("]: ")?.1)).unwrap_or(line);
    let line = line.rsplit_once(" (after ").map_or(line, |(said, _)| said);
    line.rsplit_once(": ").filter(|(_, tail)| tail.starts_with("sent ")).map_or(line, |(said, _)| said)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flood_of_lines_becomes_three_and_a_number() {
        let limiter = LogLimiter::default();
        let start = Instant::now();
        let passed =
            (0..1000).filter(|line| limiter.admit("FAIL", &line.to_string(), start).is_some()).count();
        assert_eq!(passed, LINES_PER_WINDOW as usize);
        assert_eq!(limiter.admit("FAIL", "a", start + WINDOW), Some(997));
        assert_eq!(limiter.admit("FAIL", "b", start + WINDOW), Some(0), "the number is told once");
    }

    #[test]
    fn one_facility_does_not_silence_another() {
        let limiter = LogLimiter::default();
        let now = Instant::now();
        while limiter.admit("FAIL", "a", now).is_some() {}
        assert_eq!(limiter.admit("REBALANCE", "b", now), Some(0));
    }

    #[test]
    fn a_cause_is_said_once_until_a_broker_answers_or_it_is_long_ago() {
        let limiter = LogLimiter::default();
        let start = Instant::now();
        let refused = |port: u32| {
            format!("127.0.0.1:{port}/bootstrap: Connect to ipv4#127.0.0.1:{port} failed: Connection refused")
        };
        let said = |facility, line: String, now| limiter.admit(facility, &line, now).is_some();
        let line = |port| {
            format!("[thrd:127.0.0.1:{port}/bootstrap]: {} (after 0ms in state CONNECT)", refused(port))
        };
        assert!(said("FAIL", line(1), start));
        assert!(
            !said("client", format!("{} (after 0ms in state CONNECT)", refused(1)), start),
            "the same by another way"
        );
        let again = format!("{} (after 3ms in state CONNECT, 30 identical error(s) suppressed)", refused(1));
        assert!(!said("FAIL", again, start + 2 * WINDOW), "the same later");
        assert!(said("FAIL", line(2), start), "of another broker");
        assert!(said("FAIL", line(1), start + SILENCE));
        limiter.forget();
        assert!(said("FAIL", line(1), start + SILENCE), "after a broker has answered");
    }
}
