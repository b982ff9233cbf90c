//! Logs that are written by hand: what the Menu API would print on days that cannot be had on demand, and what it never prints.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

/// A second service of the rules, with minutes of every kind, durations at the bounds of buckets, and lines that are none.
pub const OTHER: &str = "menu-api";

/// A service whose every request was answered, with items that can be ordered only. No rule derives series of it.
pub const CALM: &str = "calm-menu";

/// The id of [`hostile_item`].
const HOSTILE_ID: &str = "66";

/// Bounds of buckets and what lies just beyond them, in milliseconds.
const DURATIONS: [f64; 12] = [0.01, 0.25, 0.3, 1.0, 2.5, 24.0, 25.0, 25.1, 99.0, 100.0, 100.1, 2000.0];

/// What a line may say of an error; the last two are on no list.
const ERRORS: [&str; 5] = [
    "restaurant service timeout",
    "missing menu item ID",
    "handler timeout",
    "disk on fire",
    "{{ $labels.x }} ') OR 1=1 --",
];

/// A request as it is logged.
struct Request<'a> {
    at: Timestamp,
    path: &'a str,
    status: Value,
    took: Value,
    error: Option<&'a str>,
    id: Option<&'a str>,
}

impl Request<'_> {
    fn line(&self) -> String {
        let (level, message) = match self.status.as_u64() {
            Some(500..) => ("ERROR", "Failed to list menu items"),
            Some(400..) => ("WARN", "Menu item ID does not exist"),
            _ => ("INFO", "Listed 5 menu items"),
        };
        let mut line = json!({
            "timestamp": format!("{:.0}", self.at), "level": level, "method": "GET", "path": self.path,
            "status_code": self.status, "duration_ms": self.took, "message": message,
        });
        for (key, value) in [("error", self.error), ("menu_item_id", self.id)] {
            if let Some(value) = value {
                line[key] = value.into();
            }
        }
        line.to_string()
    }
}

/// An item whose texts try what is made of them: its restaurant's owner may have written them.
#[must_use]
pub fn hostile_item() -> Value {
    json!({
        "id": HOSTILE_ID, "name": "O'Brien's \"{{x}}\" \\", "price": 17.49, "available": true, "description": "",
        "restaurant": "Back\\slash') OR 1=1 --\\", "category": "寿司 {{ $value }} ${service}", "prep_time_minutes": 1,
    })
}

/// A log over the ten minutes after `start`, the beginning of a minute.
#[must_use]
pub fn other_lines(start: Timestamp) -> Vec<String> {
    let mut log = Log::default();
    let minute = |number: i64| start + SignedDuration::from_mins(number);
    log.lifecycle(minute(0), "Starting server on :8080");
    // Good; bad; too few to say; exactly at the objective; bad, and just enough to say so.
    for (number, answered, failed) in [(0, 30, 0), (1, 40, 1), (2, 10, 5), (3, 1000, 1), (4, 20, 1)] {
        log.lists(minute(number), answered, failed);
    }
    log.items(minute(5));
    log.odd_requests(minute(6));
    log.lifecycle(minute(7), "Shutting down server...");
    log.lifecycle(minute(7), "Server exited gracefully");
    log.lifecycle(minute(8), "Starting server on :8080");
    log.no_requests(minute(8));
    log.lines
}

/// A log of the minute after `start`: nothing fails, and every viewed item can be ordered.
#[must_use]
pub fn calm_lines(start: Timestamp) -> Vec<String> {
    let mut log = Log::default();
    log.lists(start, 40, 0);
    for id in ["1", "2", "4", "5"] {
        log.item(start, id, 200, 5);
    }
    log.lines
}

#[derive(Default)]
struct Log {
    lines: Vec<String>,
}

impl Log {
    fn request(&mut self, request: &Request<'_>) {
        self.lines.push(request.line());
    }

    fn lifecycle(&mut self, at: Timestamp, message: &str) {
        let line = json!({
            "timestamp": format!("{at:.0}"), "level": "INFO", "method": "", "path": "", "status_code": 0, "duration_ms": 0,
            "message": message,
        });
        self.lines.push(line.to_string());
    }

    fn lists(&mut self, at: Timestamp, answered: usize, failed: usize) {
        for number in 0..answered {
            let is_failed = number < failed;
            self.request(&Request {
                at,
                path: "/api/menu",
                status: if is_failed { 500 } else { 200 }.into(),
                took: DURATIONS[number % DURATIONS.len()].into(),
                error: is_failed.then_some(ERRORS[number % ERRORS.len()]),
                id: None,
            });
        }
    }

    fn item(&mut self, at: Timestamp, id: &str, status: u16, times: usize) {
        for number in 0..times {
            self.request(&Request {
                at,
                path: &format!("/api/menu/{id}"),
                status: status.into(),
                took: DURATIONS[(number + 5) % DURATIONS.len()].into(),
                error: (status == 404).then_some("menu item not found"),
                id: Some(id),
            });
        }
    }

    /// Views of every item, of one that the menu does not have, and what else a route answers.
    fn items(&mut self, at: Timestamp) {
        for (id, times) in [("1", 7), ("2", 5), ("3", 11), ("4", 3), ("5", 2), (HOSTILE_ID, 6), ("77", 4)] {
            self.item(at, id, 200, times);
        }
        self.item(at, "pizza", 404, 6);
        self.item(at, "stale", 404, 1);
        for (status, error) in [(500, ERRORS[3]), (503, ERRORS[2]), (503, ERRORS[2]), (400, ERRORS[1])] {
            let (path, took) = ("/api/menu/1", json!(3000.5));
            self.request(&Request { at, path, status: status.into(), took, error: Some(error), id: None });
        }
        for (path, status) in [("/api/menu", 301), ("/health", 200), ("/health", 503), ("/metrics", 404)] {
            self.request(&Request {
                at,
                path,
                status: status.into(),
                took: json!(0.02),
                error: None,
                id: None,
            });
        }
    }

    /// Requests whose texts and numbers are not what they should be.
    fn odd_requests(&mut self, at: Timestamp) {
        let long = "x".repeat(10 * 1024);
        let ids = [
            long.as_str(),
            "') OR 1=1 --",
            "{{x}}",
            "${__user.login}$__timeFilter(x)",
            "\"quoted\"",
            "a\\'b",
            "line\nbreak\r\n",
            "a\u{0}b\tc",
            "寿司🍣",
            "قائمة\u{202e}",
            "1%",
            ".*",
        ];
        for id in ids {
            self.item(at, id, 404, 1);
        }
        let mut list = |path: &str, status: Value, took: Value, error: Option<&str>| {
            self.request(&Request { at, path, status, took, error, id: None });
        };
        for took in [json!("fast"), json!(null), json!({"ms": 3}), json!([1]), json!(true)] {
            list("/api/menu", json!(200), took, None);
        }
        for status in [json!("abc"), json!(null), json!({"code": 500}), json!(-1)] {
            list("/api/menu", status, json!(1.5), None);
        }
        list(&format!("/api/menu/{long}/{long}"), json!(404), json!(0.1), None);
        list("/api/menu", json!(500), json!(0.1), Some(ERRORS[4]));
    }

    /// Lines that are no JSON object, or half of one. They are of the time at which they are written.
    fn no_requests(&mut self, at: Timestamp) {
        for line in [
            "panic: runtime error: index out of range [5] with length 5",
            "plain words",
            "[1, 2, 3]",
            "\"text\"",
            "{\"timestamp\":\"2026",
            "{\"level\":\"INFO\"}",
        ] {
            self.lines.push(line.to_owned());
        }
        self.lines.push(format!("{{\"timestamp\":\"{at:.0}\",\"status_code\":200}}"));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_has_lines_of_every_kind_at_their_minutes() {
        let start: Timestamp = "2026-11-30T12:00:00Z".parse().unwrap();
        let lines = other_lines(start);
        let parsed: Vec<Value> = lines.iter().filter_map(|line| serde_json::from_str(line).ok()).collect();
        assert_eq!(lines.len() - parsed.len(), 3, "panic, plain words, half an object");
        let lists = parsed.iter().filter(|line| line["path"] == "/api/menu" && line["status_code"] == 500);
        assert_eq!(lists.count(), 1 + 5 + 1 + 1 + 1);
        assert!(lines.iter().any(|line| line.len() > 20 * 1024));
        assert_eq!(parsed[1]["timestamp"], "2026-11-30T12:00:00Z");
        assert!(calm_lines(start).iter().all(|line| line.contains("200")));
    }
}
