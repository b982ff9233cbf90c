//! `receivers.http.cors`: which web pages may send telemetry from a browser.

use std::time::Duration;

use axum::http::{HeaderName, Uri};
use service_runtime::Section;

/// Long enough that a page asks once in a visit, short enough that a change is seen the same day. Browsers cap it (Chrome: 2 h).
const MAX_AGE: Duration = Duration::from_secs(600);

/// What a browser is told.
#[derive(Debug, Clone)]
pub struct CorsConfig {
    /// At least one.
    pub(crate) origins: Vec<OriginPattern>,
    /// Headers besides those that OTLP needs.
    pub(crate) headers: AllowedHeaders,
    /// How long a browser may keep the answer to its question.
    pub(crate) max_age: Duration,
}

/// Which request headers a page may set.
#[derive(Debug, Clone)]
pub(crate) enum AllowedHeaders {
    Any,
    Listed(Vec<HeaderName>),
}

/// An origin, or many: `*` stands for any text without a slash.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum OriginPattern {
    Any,
    Exact(String),
    Around { prefix: String, suffix: String },
}

impl CorsConfig {
    pub(super) fn read(section: &mut Section<'_>) -> Option<CorsConfig> {
        let origins: Vec<String> = section.value(
            "allowed_origins",
            Vec::new(),
            "Origins of the pages, such as `https://shop.example`; `*` stands for any, alone or in one place of a host name. None: browsers may not send.",
        );
        let headers: Vec<String> = section.value(
            "allowed_headers",
            Vec::new(),
            "Request headers that pages may set besides `content-type`, `content-encoding` and `x-requested-with`; `*` stands for any.",
        );
        let max_age = section.value(
            "max_age",
            MAX_AGE,
            "How long a browser may remember what it was allowed; whole seconds.",
        );
        let origins: Vec<OriginPattern> = origins
            .iter()
            .filter_map(|origin| {
                let pattern = OriginPattern::of(origin);
                if pattern.is_none() {
                    section.problem(
                        "allowed_origins",
                        format!("`{origin}` is not an origin"),
                        "`scheme://host` or `scheme://host:port` without a path, with at most one `*`",
                    );
                }
                pattern
            })
            .collect();
        let headers = AllowedHeaders::read(section, &headers);
        (!origins.is_empty()).then_some(CorsConfig { origins, headers, max_age })
    }
}

impl AllowedHeaders {
    fn read(section: &mut Section<'_>, names: &[String]) -> AllowedHeaders {
        if names.iter().any(|name| name == "*") {
            return AllowedHeaders::Any;
        }
        let name = |name: &String| {
            let parsed = name.parse().ok();
            if parsed.is_none() {
                section.problem(
                    "allowed_headers",
                    format!("`{name}` is not the name of a header"),
                    "a name such as `x-tenant`, or `*`",
                );
            }
            parsed
        };
        AllowedHeaders::Listed(names.iter().filter_map(name).collect())
    }
}

impl OriginPattern {
    /// `None` when no browser can send an origin that it matches.
    fn of(text: &str) -> Option<OriginPattern> {
        let text = text.to_ascii_lowercase();
        if text == "*" {
            return Some(OriginPattern::Any);
        }
        if text == "null" {
            return Some(OriginPattern::Exact(text));
        }
        // A letter in the star's place makes an origin that it matches.
        let uri: Uri = text.replacen('*', "x", 1).parse().ok()?;
        let is_origin =
            uri.scheme().is_some() && uri.authority().is_some_and(|host| !host.as_str().contains('@'));
        let has_path = text.splitn(4, '/').count() > 3 || text.contains(['?', '#']);
        if !is_origin || has_path || text.matches('*').count() > 1 {
            return None;
        }
        Some(match text.split_once('*') {
            None => OriginPattern::Exact(text),
            Some((prefix, suffix)) => OriginPattern::Around { prefix: prefix.into(), suffix: suffix.into() },
        })
    }

    /// Whether a page of `origin`, as a browser writes it, may send.
    pub(crate) fn matches(&self, origin: &str) -> bool {
        match self {
            OriginPattern::Any => true,
            OriginPattern::Exact(allowed) => allowed == origin,
            OriginPattern::Around { prefix, suffix } => {
                let middle =
                    origin.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_suffix(suffix.as_str()));
                middle.is_some_and(|middle| !middle.is_empty() && !middle.contains('/'))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an origin of the configuration becomes, and whether a page of `origin` may send then.
    fn check(allowed: &str, origin: &str, expected: Option<bool>) {
        let matched = OriginPattern::of(allowed).map(|pattern| pattern.matches(origin));
        assert_eq!(matched, expected, "{allowed} and {origin}");
    }

    #[test]
    fn an_origin_is_scheme_host_and_port_and_a_star_is_part_of_a_host() {
        check("https://shop.example", "https://shop.example", Some(true));
        check("HTTPS://Shop.Example", "https://shop.example", Some(true));
        check("https://shop.example", "https://shop.example:8443", Some(false));
        check("http://localhost:*", "http://localhost:3000", Some(true));
        check("https://*.shop.example", "https://a.b.shop.example", Some(true));
        check("https://*.shop.example", "https://shop.example", Some(false));
        check("https://*.shop.example", "https://evil.example/.shop.example", Some(false));
        check("*", "https://shop.example", Some(true));
        check("*", "null", Some(true));
        check("null", "null", Some(true));
        for wrong in [
            "shop.example",
            "https://shop.example/",
            "https://shop.example/a",
            "https://*.*.example",
            "",
            "://",
            "https://a@b",
        ] {
            check(wrong, "", None);
        }
    }
}
