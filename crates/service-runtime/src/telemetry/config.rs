//! The section `telemetry`.

use std::time::Duration;

use reqwest::Url;

use crate::{Section, http_client::HttpClientConfig};

/// As often as the boards are looked at, and as rules are evaluated.
const INTERVAL: Duration = Duration::from_secs(10);
/// A store takes a series for ended when it is silent for five minutes; two pushes may fail before.
const LONGEST_INTERVAL: Duration = Duration::from_secs(90);
/// More often than once a second nothing can be seen of it.
const SHORTEST_INTERVAL: Duration = Duration::from_secs(1);

/// Where the process pushes its own metrics, and how often.
#[derive(Debug, Clone)]
pub struct TelemetryConfig {
    /// The endpoint; `None` pushes nothing.
    pub http: Option<HttpClientConfig>,
    /// Time from one push to the next.
    pub interval: Duration,
    /// The label `instance`; `None` is host name and admin port.
    pub instance: Option<String>,
}

impl TelemetryConfig {
    /// Reads the section `telemetry` below `root`: the process does, and a command that pushes something at its end.
    pub fn of(root: &mut Section<'_>) -> Self {
        Self::read(&mut root.section(
            "telemetry",
            "Push of the process's own metrics by OTLP, under the names and labels that a scrape of `/metrics` gives.",
        ))
    }

    /// Reads the keys.
    pub fn read(section: &mut Section<'_>) -> Self {
        let endpoint: Option<Url> = section.optional(
            "otlp_endpoint",
            "URL of an OTLP/HTTP metrics endpoint, such as `http://mimir:8080/otlp/v1/metrics`: the store itself, never an \
             edge. Unset pushes nothing.",
        );
        let interval = section.value(
            "interval",
            INTERVAL,
            "Time from one push to the next, from 1s to 1m 30s; one that takes longer, and longer than 5s, is given up.",
        );
        if !(SHORTEST_INTERVAL..=LONGEST_INTERVAL).contains(&interval) {
            section.problem("interval", "is out of range", "give a duration from 1s to 1m 30s");
        }
        let instance: Option<String> =
            section.optional("instance", "The label `instance`; unset is host name and admin port.");
        if instance.as_ref().is_some_and(String::is_empty) {
            section.problem("instance", "is empty", "give a name, or remove it");
        }
        // Without an endpoint the other keys are read all the same, so that each is known and checked.
        let or_nowhere = || Url::parse("https://localhost").expect("the URL that stands here can be parsed");
        let http =
            HttpClientConfig::read_for(section, "otlp_endpoint", endpoint.clone().unwrap_or_else(or_nowhere));
        Self { http: endpoint.map(|_| http), interval, instance }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Settings;

    /// The section as read from `yaml`, and the keys of the problems.
    fn read(yaml: &str) -> (TelemetryConfig, Vec<String>) {
        let mut settings = Settings::from_yaml("EDGE", yaml, []);
        let config = TelemetryConfig::read(&mut settings.root().section("telemetry", "Push."));
        let problems = settings.finish().err().map(|problems| problems.to_string()).unwrap_or_default();
        (config, problems.lines().filter_map(|line| Some(line.split_once(':')?.0.to_owned())).collect())
    }

    #[test]
    fn without_an_endpoint_nothing_is_pushed_and_the_other_keys_are_still_checked() {
        let (config, problems) = read("telemetry: {tls: {insecure_skip_verify: true}}");
        assert!(config.http.is_none() && problems.is_empty(), "{problems:?}");
        let (_, problems) = read("telemetry: {interval: 0s, instance: '', headers: {'a b': c}, endpoint: x}");
        let expected =
            ["telemetry.interval", "telemetry.instance", "telemetry.headers", "telemetry.endpoint"];
        assert_eq!(problems, expected);
    }

    #[test]
    fn an_endpoint_is_taken_as_it_stands() {
        let (config, problems) = read("telemetry: {otlp_endpoint: 'http://h:1/a/v1/metrics?b=c'}");
        assert_eq!(problems, [""; 0]);
        let client = config.http.unwrap().build().unwrap();
        assert_eq!(client.url("").as_str(), "http://h:1/a/v1/metrics?b=c");
        let (_, problems) = read("telemetry: {otlp_endpoint: 'http://h', tls: {insecure_skip_verify: true}}");
        assert_eq!(problems, ["telemetry.otlp_endpoint"]);
    }
}
