//! Settings of what is derived.

use std::{path::PathBuf, time::Duration};

use reqwest::{Url, header::HeaderValue};
use service_runtime::{Section, http_client::HttpClientConfig};

use super::rules::{self, Rule};
use crate::mimir::config::MimirConfig;

/// As often as alerts are evaluated where seconds matter.
const INTERVAL: Duration = Duration::from_secs(10);
/// Below it the store is asked more than it can answer; above it a query finds no sample within its look-back.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(120);

/// What is derived, and where it goes.
#[derive(Debug, Clone)]
pub struct DeriveConfig {
    /// Between two pushes.
    pub interval: Duration,
    /// `service.instance.id`; `None` is the host's name and a random number.
    pub instance: Option<String>,
    /// The endpoint.
    pub endpoint: MimirConfig,
    /// What is counted.
    pub rules: Vec<Rule>,
}

/// What the section says, before the endpoint is known.
#[derive(Debug)]
pub(crate) struct DeriveSection {
    is_enabled: bool,
    interval: Duration,
    instance: Option<String>,
    url: Option<Url>,
    tenant: Option<HeaderValue>,
    rules: Vec<Rule>,
}

impl DeriveSection {
    /// Reads the section, and the rules, which are checked also when nothing is derived.
    pub(crate) fn read(root: &mut Section<'_>) -> DeriveSection {
        let mut section = root.section(
            "derive",
            "Counters and histograms of the log records and spans that this hub has stored, pushed to a metrics store by \
             OTLP; see derived-metrics.md.",
        );
        let is_enabled = section.value("enabled", false, "Whether they are made.");
        let interval = section.value("interval", INTERVAL, "Between two pushes.");
        if !INTERVALS.contains(&interval) {
            section.problem("interval", "is out of range", "give 1s to 2m");
        }
        let instance: Option<String> = section.optional(
            "instance",
            "The identity of this hub, in the label `instance`; no two hubs may share one. Unset is the host's name and a \
             number that each process draws.",
        );
        if instance.as_ref().is_some_and(|instance| instance.is_empty() || instance.len() > 200) {
            section.problem("instance", "is empty or too long", "give 1 to 200 bytes");
        }
        let url = section.optional(
            "url",
            "Base URL of the store, when it is another than `mimir.url`; all else is as in `mimir`.",
        );
        let tenant: Option<String> =
            section.optional("tenant", "Tenant of the series, when it is another than `mimir.tenant`.");
        let tenant = tenant.and_then(|tenant| {
            let header = HeaderValue::try_from(tenant).ok();
            if header.is_none() {
                section.problem("tenant", "cannot stand in an HTTP header", "use visible ASCII characters");
            }
            header
        });
        let rules_file: Option<PathBuf> = section.optional(
            "rules_file",
            "YAML file with the rules; unset is the shipped ones, for the Menu API (`hub-consumer/derive/menu.yaml`).",
        );
        let rules = read_rules(&mut section, rules_file);
        DeriveSection { is_enabled, interval, instance, url, tenant, rules }
    }

    /// Whether the section `mimir` has to say where the series go.
    pub(crate) fn needs_mimir(&self) -> bool {
        self.is_enabled && self.url.is_none()
    }

    /// What is to be done; `None` when nothing is derived.
    pub(crate) fn with(self, mimir: Option<&MimirConfig>) -> Option<DeriveConfig> {
        let DeriveSection { is_enabled, interval, instance, url, tenant, rules } = self;
        let mut endpoint = match (url, mimir) {
            (None, mimir) => mimir?.clone(),
            (Some(url), None) => MimirConfig::plain(HttpClientConfig::plain(url)),
            (Some(url), Some(mimir)) => MimirConfig { http: mimir.http.clone().at(url), ..mimir.clone() },
        };
        endpoint.tenant = tenant.or(endpoint.tenant);
        is_enabled.then_some(DeriveConfig { interval, instance, endpoint, rules })
    }
}

fn read_rules(section: &mut Section<'_>, file: Option<PathBuf>) -> Vec<Rule> {
    let (name, text) = match file {
        None => (rules::SHIPPED_NAME.to_owned(), rules::SHIPPED.to_owned()),
        Some(file) => match std::fs::read_to_string(&file) {
            Ok(text) => (file.display().to_string(), text),
            Err(error) => {
                let what = format!("cannot read `{}`: {error}", file.display());
                section.problem("rules_file", what, "give the path of a readable YAML file");
                return Vec::new();
            }
        },
    };
    rules::read(&text).unwrap_or_else(|problems| {
        for problem in problems {
            // The path within the file comes behind the file's, so that each line can be found.
            section.problem(
                "rules_file",
                format!("{name}: {}: {}", problem.path, problem.what),
                problem.remedy,
            );
        }
        Vec::new()
    })
}
